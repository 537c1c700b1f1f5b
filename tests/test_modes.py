"""Feature modes."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import InputError
from featurize.modes import LH, MODES, FeatureMode, X, difference, get_mode, resolve_modes

OTHER_VALUES: dict[str, Any] = {
    "sample_rate_hz": 48_000,
    "n_fft": 2048,
    "hop_samples": 441,
    "n_mels": 64,
    "fmin_hz": 50,
    "fmax_hz": 16_000,
    "window_seconds": 5,
    "scale": "log",
    "head_only": False,
    "trim_db": 40,
    "top_db": 100,
    "dtype": "float32",
}


def test_the_values_are_the_origins() -> None:
    common = {"fmin_hz": 20.0, "scale": "mel", "trim_db": 60.0, "top_db": 80.0, "dtype": "float16"}
    lh = {"name": "lh", "sample_rate_hz": 44_100, "n_fft": 2560, "hop_samples": 882, "n_mels": 128, "fmax_hz": 22_050.0}
    x = {"name": "x", "sample_rate_hz": 26_000, "n_fft": 960, "hop_samples": 520, "n_mels": 48, "fmax_hz": 13_000.0}
    assert dataclasses.asdict(LH) == {**common, **lh, "window_seconds": 4.0, "head_only": True}
    assert dataclasses.asdict(X) == {**common, **x, "window_seconds": 6.0, "head_only": False}
    assert (LH.window_samples, LH.window_frames) == (176_400, 201)
    assert (X.window_samples, X.window_frames) == (156_000, 301)


def test_every_setting_but_the_name_changes_the_fingerprint() -> None:
    assert set(OTHER_VALUES) == {field.name for field in dataclasses.fields(LH)} - {"name"}
    others = [dataclasses.replace(LH, **{field: value}) for field, value in OTHER_VALUES.items()]
    fingerprints = {mode.fingerprint() for mode in [LH, X, *others]}
    assert len(fingerprints) == len(others) + 2
    assert dataclasses.replace(LH, name="other").fingerprint() == LH.fingerprint()


def test_the_front_ends_version_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = LH.fingerprint()
    monkeypatch.setattr("featurize.modes.FRONT_END_VERSION", 99)
    assert LH.fingerprint() != before


def test_integers_and_floats_of_one_value_are_one_setting() -> None:
    assert dataclasses.replace(LH, fmin_hz=20, trim_db=60).folder == dataclasses.replace(LH, fmin_hz=20.0).folder
    assert LH.folder == f"lh-{LH.fingerprint()}"
    assert len(LH.fingerprint()) == 12


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_settings_survive_json(mode: FeatureMode) -> None:
    assert FeatureMode.from_dict(json.loads(json.dumps(mode.to_dict()))) == mode


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("name", "LH", "lower-case word"),
        ("name", "", "lower-case word"),
        ("name", "a/b", "lower-case word"),
        ("name", 3, "must be a word"),
        ("sample_rate_hz", 0, "positive integer"),
        ("sample_rate_hz", 44_100.0, "positive integer"),
        ("n_mels", True, "positive integer"),
        ("n_mels", -1, "positive integer"),
        ("hop_samples", "882", "positive integer"),
        ("n_fft", 961, "must be even"),
        ("n_fft", 2**20 + 2, "at most 1048576"),
        ("sample_rate_hz", 10**400, "at most 1000000"),
        ("window_seconds", 1e300, "at most 3600"),
        ("fmin_hz", -1, "finite number"),
        ("fmin_hz", math.nan, "finite number"),
        ("fmax_hz", 20.0, "above fmin_hz"),
        ("fmax_hz", 22_051, "half the sample rate"),
        ("fmax_hz", None, "finite number"),
        ("window_seconds", 0, "above 0"),
        ("window_seconds", 1e-9, "at least one sample"),
        ("trim_db", math.inf, "finite number"),
        ("top_db", 0.0, "above 0"),
        ("head_only", 1, "true or false"),
        ("scale", "bark", "mel or log"),
        ("scale", ["mel"], "mel or log"),
        ("dtype", "float64", "float16 or float32"),
        ("dtype", ["float16"], "float16 or float32"),
    ],
)
def test_a_bad_setting_is_named(field: str, value: object, rule: str) -> None:
    with pytest.raises(InputError, match=f"{field} .*{rule}.*; got ") as caught:
        FeatureMode.from_dict({**LH.to_dict(), field: value})
    assert repr(value) in str(caught.value)


def test_unknown_missing_and_foreign_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown mode settings \['hop'\]; known are"):
        FeatureMode.from_dict({**LH.to_dict(), "hop": 3})
    settings = LH.to_dict()
    del settings["n_mels"]
    with pytest.raises(InputError, match=r"incomplete: .*n_mels"):
        FeatureMode.from_dict(settings)
    with pytest.raises(InputError, match="front-end 0; this one is 2: featurize anew"):
        FeatureMode.from_dict({**LH.to_dict(), "front_end": 0})


def test_names_are_looked_up() -> None:
    assert get_mode("x") is X
    with pytest.raises(InputError, match="mode must be one of lh, x, log; got 'lhh', did you mean 'lh'"):
        get_mode("lhh")
    assert resolve_modes(["all"]) == [LH, X]
    assert resolve_modes(["x", "all", X]) == [X, LH]
    own = dataclasses.replace(X, name="own")
    assert resolve_modes([own, "lh"]) == [own, LH]


def test_differences_are_said_in_words() -> None:
    other = dataclasses.replace(LH, n_mels=64, dtype="float32")
    assert difference(LH.to_dict(), other.to_dict()) == "n_mels 128 → 64, dtype float16 → float32"
    assert difference(LH.to_dict(), LH.to_dict()) == ""
    assert difference({"old": 1}, {"new": 2}) == "new None → 2, old 1 → None"


@given(n=st.integers(1, 30_000_000), rate_hz=st.integers(1, 200_000))
def test_frames_are_never_more_than_foretold(n: int, rate_hz: int) -> None:
    n_resampled = math.ceil(n * (X.sample_rate_hz / rate_hz))
    assert 1 + n_resampled // X.hop_samples <= max(X.n_frames(n / rate_hz), X.window_frames)
    assert LH.n_frames(n / rate_hz) == LH.window_frames
