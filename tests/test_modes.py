"""Feature modes."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import InputError
from featurize.modes import (
    DCASE,
    LH,
    LOG,
    MODES,
    FeatureMode,
    X,
    completed,
    difference,
    get_mode,
    resolve_modes,
)
from featurize.own_modes import read_modes

OTHER_VALUES: dict[str, Any] = {
    "sample_rate_hz": 48_000,
    "n_fft": 2048,
    "hop_samples": 441,
    "n_mels": 64,
    "fmin_hz": 50,
    "fmax_hz": 16_000,
    "window_seconds": 5,
    "scale": "log",
    "win_samples": 2000,
    "log_offset": 0.001,
    "head_only": False,
    "trim_db": 40,
    "top_db": 100,
    "dtype": "float32",
}


def test_the_values_are_the_origins() -> None:
    common = {"fmin_hz": 20.0, "scale": "mel", "trim_db": 60.0, "top_db": 80.0, "dtype": "float16"}
    common |= {"win_samples": None, "power": 2, "log_offset": None}
    lh = {"name": "lh", "sample_rate_hz": 44_100, "n_fft": 2560, "hop_samples": 882, "n_mels": 128, "fmax_hz": 22_050.0}
    x = {"name": "x", "sample_rate_hz": 26_000, "n_fft": 960, "hop_samples": 520, "n_mels": 48, "fmax_hz": 13_000.0}
    assert dataclasses.asdict(LH) == {**common, **lh, "window_seconds": 4.0, "head_only": True}
    assert dataclasses.asdict(X) == {**common, **x, "window_seconds": 6.0, "head_only": False}
    assert (LH.window_samples, LH.window_frames) == (176_400, 201)
    assert (X.window_samples, X.window_frames) == (156_000, 301)


def test_every_setting_but_the_name_changes_the_fingerprint() -> None:
    assert {*OTHER_VALUES, "power"} == {field.name for field in dataclasses.fields(LH)} - {"name"}
    endless = dataclasses.replace(LH, top_db=None)  # log_offset asks for it
    others = [
        dataclasses.replace(endless if field == "log_offset" else LH, **{field: value})
        for field, value in OTHER_VALUES.items()
    ]
    others += [endless, DCASE, dataclasses.replace(DCASE, power=2)]
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
        ("n_mels", 2**14, "at most 13096 with n_fft 2560: more would fill the memory"),
        ("name", "b" * 41, "at most 40 letters long"),
        ("fmin_hz", -1, "finite number"),
        ("fmin_hz", math.nan, "finite number"),
        ("fmax_hz", 20.0, "above fmin_hz"),
        ("fmax_hz", 22_051, "half the sample rate"),
        ("fmax_hz", None, "finite number"),
        ("window_seconds", 0, "above 0"),
        ("window_seconds", 1e-9, "at least one sample"),
        ("trim_db", math.nan, "finite number"),
        ("trim_db", -math.inf, "finite number"),
        ("trim_db", 0, "above 0"),
        ("top_db", 0.0, "above 0"),
        ("head_only", 1, "true or false"),
        ("scale", "bark", "mel, htk or log"),
        ("scale", ["mel"], "mel, htk or log"),
        ("win_samples", 1102.0, "must be an integer"),
        ("win_samples", True, "must be an integer"),
        ("win_samples", "1102", "must be an integer"),
        ("win_samples", 1, r"from 2 to n_fft \(2560\)"),
        ("win_samples", 2561, r"from 2 to n_fft \(2560\)"),
        ("power", 3, r"1 \(magnitude\) or 2 \(power\)"),
        ("power", 2.0, r"1 \(magnitude\) or 2 \(power\)"),
        ("power", True, r"1 \(magnitude\) or 2 \(power\)"),
        ("power", 1, "2 where frames are in dB; give log_offset"),
        ("log_offset", 0, "above 0"),
        ("log_offset", math.inf, "finite number"),
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
    with pytest.raises(InputError, match="mode must be one of lh, x, log, dcase; got 'lhh', did you mean 'lh'"):
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


def test_an_earlier_front_end_had_the_mel_scale() -> None:
    first = {name: value for name, value in X.to_dict().items() if name != "scale"} | {"front_end": 1}
    assert difference(completed(first), completed(X.to_dict())) == "front_end 1 → 2"
    assert completed(completed(LOG.to_dict())) == completed(LOG.to_dict())


def test_log_has_lhs_windows_of_the_whole_clip() -> None:
    assert (LOG.scale, LOG.fmin_hz, LOG.fmax_hz, LOG.head_only) == ("log", 20.0, 14_000.0, False)
    assert (LOG.n_mels, LOG.window_frames) == (LH.n_mels, LH.window_frames)


def test_a_logarithmic_scale_begins_above_0() -> None:
    with pytest.raises(InputError, match=r"mode 'log': fmin_hz must be above 0 on a logarithmic scale; got 0\.0"):
        dataclasses.replace(LOG, fmin_hz=0)


def test_what_came_later_leaves_older_stores_as_they_are() -> None:
    # Fingerprints of the stores that front-end 2 began with, and nothing in their settings that they did not have.
    found = {name: MODES[name].fingerprint() for name in ("lh", "x", "log")}
    assert found == {"lh": "1752fa3be810", "x": "afedbf59fbce", "log": "3f6f0592c079"}
    for name in found:
        assert not {"win_samples", "power", "log_offset"} & set(MODES[name].to_dict())
    assert DCASE.to_dict().items() >= {"win_samples": 1102, "power": 1, "log_offset": 0.001, "top_db": None}.items()
    other = dataclasses.replace(DCASE, win_samples=2048, power=2)
    words = difference(completed(other.to_dict()), completed(DCASE.to_dict()))
    assert words == "win_samples None → 1102, power 2 → 1"


def test_dcase_has_the_baselines_values() -> None:
    assert (DCASE.sample_rate_hz, DCASE.n_fft, DCASE.win_samples, DCASE.hop_samples) == (44_100, 2048, 1102, 441)
    assert (DCASE.scale, DCASE.n_mels, DCASE.fmin_hz, DCASE.fmax_hz) == ("htk", 64, 125, 7500)
    assert (DCASE.power, DCASE.log_offset, DCASE.trim_db, DCASE.top_db) == (1, 0.001, None, None)
    assert (DCASE.window_frames, DCASE.head_only) == (25, False)
    assert DCASE.n_frames(0.1) == 25
    assert DCASE.n_frames(10) == 1001
    assert get_mode("dcase") is DCASE


def test_without_end_is_one_setting_and_json_has_no_infinity() -> None:
    endless = dataclasses.replace(LH, trim_db=math.inf, top_db=math.inf)
    assert endless == dataclasses.replace(LH, trim_db=None, top_db=None)
    assert json.loads(json.dumps(endless.to_dict(), allow_nan=False))["top_db"] is None
    assert dataclasses.replace(LH, win_samples=2560) == LH


def test_natural_logarithms_have_no_range_in_db() -> None:
    with pytest.raises(InputError, match=r"mode 'lh': top_db must be infinite \(inf\) with log_offset.*; got 80\.0"):
        dataclasses.replace(LH, log_offset=0.01)


# --- modes of one's own --------------------------------------------------------------------------------------------

BARK: dict[str, Any] = {
    "sample_rate_hz": 16_000,
    "n_fft": 512,
    "hop_samples": 160,
    "n_mels": 40,
    "fmin_hz": 50,
    "fmax_hz": 8_000,
    "window_seconds": 2,
    "head_only": False,
}


def test_own_modes_are_built_from_tables() -> None:
    ln = {**BARK, "win_samples": 400, "scale": "htk", "power": 1, "log_offset": 0.01, "trim_db": math.inf}
    tables = {"bark": BARK, "fine": {"base": "log", "n-mels": 96}, "plain": {"base": "lh"}}
    found = read_modes(tables | {"ln": {**ln, "top_db": math.inf}, "base": {"base": "dcase", "n_mels": 128}})
    assert found == {
        "bark": FeatureMode(name="bark", **BARK),
        "fine": dataclasses.replace(LOG, name="fine", n_mels=96),
        "plain": dataclasses.replace(LH, name="plain"),
        "ln": FeatureMode(name="ln", **{**ln, "trim_db": None, "top_db": None}),
        "base": dataclasses.replace(DCASE, name="base", n_mels=128),
    }
    assert (found["bark"].scale, found["bark"].dtype, found["bark"].top_db) == ("mel", "float16", 80.0)
    assert found["bark"].folder == f"bark-{found['bark'].fingerprint()}"
    assert len({mode.fingerprint() for mode in [*found.values(), *MODES.values()]}) == len(MODES) + 4
    assert read_modes({}) == {}
    assert sorted(MODES) == ["dcase", "lh", "log", "x"]


def test_own_modes_are_looked_up_beside_the_others() -> None:
    known = MODES | read_modes({"bark": BARK})
    assert get_mode("bark", known).n_mels == 40
    assert resolve_modes(["all", "bark"], known) == [LH, X, known["bark"]]
    with pytest.raises(InputError, match="one of lh, x, log, dcase, bark; got 'brak', did you mean 'bark'"):
        get_mode("brak", known)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (3, r"modes must be tables of settings, \[modes\.NAME\]; got 3"),
        ([BARK], r"modes must be tables of settings, \[modes\.NAME\]; got \[\{"),
        ({"bark": 3}, r"mode 'bark': must be a table of settings, \[modes\.bark\]; got 3"),
        ({"lh": BARK}, "mode 'lh': the name is taken"),
        ({"x": {}}, "mode 'x': the name is taken"),
        ({"log": {"base": "lh"}}, "mode 'log': the name is taken"),
        ({"all": BARK}, "mode 'all': the name is taken"),
        ({"Bark": BARK}, "mode 'Bark': name must be a lower-case word; got 'Bark'"),
        ({"a/b": BARK}, "mode 'a/b': name must be a lower-case word"),
        ({"": BARK}, "mode '': name must be a lower-case word"),
        ({"bark": {**BARK, "n_ftt": 512}}, "mode 'bark': 'n_ftt' is not a setting of a mode; did you mean 'n_fft'"),
        (
            {"bark": {**BARK, "zzz": 1}},
            "mode 'bark': 'zzz' is not a setting of a mode; known are sample_rate_hz, n_fft",
        ),
        ({"bark": {**BARK, "name": "dog"}}, "mode 'bark': 'name' is not a setting of a mode"),
        ({"bark": {**BARK, "front_end": 2}}, "mode 'bark': 'front_end' is not a setting of a mode"),
        ({"bark": {**BARK, "deeper": {}}}, "mode 'bark': 'deeper' is not a setting of a mode"),
        (
            {"bark": {"n_fft": 512, "n_mels": 40}},
            "mode 'bark': lacks sample_rate_hz, hop_samples, fmin_hz, .*base = 'lh'",
        ),
        ({"bark": {"base": "hl"}}, "mode 'bark': base must be one of lh, x, log, dcase; got 'hl'"),
        ({"bark": {"base": ["lh"]}}, "mode 'bark': base must be one of lh, x, log, dcase; got \\['lh'\\]"),
        ({"bark": {**BARK, "n-mels": 9}}, "mode 'bark': 'n_mels' is given twice, with dashes and with underscores"),
        ({"bark": {**BARK, "n_fft": 2**20, "n_mels": 32}}, "mode 'bark': n_mels must be at most 31 with n_fft 1048576"),
        ({"b" * 300: BARK}, "name must be at most 40 letters long"),
        ({"bark": {**BARK, "n_fft": 513}}, "mode 'bark': n_fft must be even.*; got 513"),
        ({"bark": {**BARK, "n_fft": "512"}}, "mode 'bark': n_fft must be a positive integer; got '512'"),
        ({"bark": {**BARK, "fmax_hz": 8_001}}, "mode 'bark': fmax_hz must .* up to half the sample rate; got 8001.0"),
        ({"bark": {**BARK, "scale": "log", "fmin_hz": 0}}, "mode 'bark': fmin_hz must be above 0"),
        ({"bark": {**BARK, "head_only": "no"}}, "mode 'bark': head_only must be true or false; got 'no'"),
        ({"bark": {**BARK, "power": 1}}, "mode 'bark': power must be 2 where frames are in dB"),
        ({"bark": {**BARK, "log_offset": 1}}, r"mode 'bark': top_db must be infinite \(inf\)"),
        ({"bark": {**BARK, "dtype": "int8"}}, "mode 'bark': dtype must be float16 or float32; got 'int8'"),
    ],
)
def test_a_wrong_table_is_named(tables: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_modes(tables)
    assert "\n" not in str(caught.value)


@given(n=st.integers(1, 30_000_000), rate_hz=st.integers(1, 200_000))
def test_frames_are_never_more_than_foretold(n: int, rate_hz: int) -> None:
    n_resampled = math.ceil(n * (X.sample_rate_hz / rate_hz))
    assert 1 + n_resampled // X.hop_samples <= max(X.n_frames(n / rate_hz), X.window_frames)
    assert LH.n_frames(n / rate_hz) == LH.window_frames
