"""Which modes a store holds for a corpus."""

import dataclasses
from pathlib import Path

import pytest
from sounds import clip_table, noise, write_sound

from featurize.batch import Featurizer
from featurize.modes import LH, MODES, Dtype, FeatureMode, X
from featurize.stored import known_fingerprints, stored_modes, stored_variant


def featurize(folder: Path, names: list[str], *modes: FeatureMode) -> None:
    paths = [write_sound(folder / "audio" / name, noise(100)) for name in names]
    Featurizer(folder / "store", modes).run(clip_table(paths))


def test_an_empty_store_has_none(tmp_path: Path) -> None:
    assert stored_variant(tmp_path / "store", LH, ["a.wav"]) is None
    assert stored_modes(tmp_path / "store", ["a.wav"]) == []


def test_modes_come_in_their_own_order(tmp_path: Path) -> None:
    featurize(tmp_path, ["a.wav"], X, LH)
    assert stored_modes(tmp_path / "store", ["a.wav"]) == [LH, X]
    assert stored_modes(tmp_path / "store", ["other.wav"]) == []


def test_own_modes_come_after_the_others(tmp_path: Path) -> None:
    own = dataclasses.replace(X, name="own", n_mels=40)
    featurize(tmp_path, ["a.wav"], own, X)
    assert stored_modes(tmp_path / "store", ["a.wav"]) == [X]
    assert stored_modes(tmp_path / "store", ["a.wav"], known=MODES | {"own": own}) == [X, own]
    assert own.fingerprint() not in known_fingerprints(tmp_path / "runs")
    both = {dataclasses.replace(own, dtype=dtype).fingerprint() for dtype in ("float16", "float32")}
    assert both <= known_fingerprints(tmp_path / "runs", known=MODES | {"own": own})


@pytest.mark.parametrize(("halves", "singles", "expected"), [(1, 1, "float16"), (1, 2, "float32"), (2, 1, "float16")])
def test_the_type_with_more_clips_is_taken(tmp_path: Path, halves: int, singles: int, expected: Dtype) -> None:
    names = ["a.wav", "b.wav"]
    featurize(tmp_path, names[:halves], X)
    featurize(tmp_path, names[:singles], dataclasses.replace(X, dtype="float32"))
    found = stored_variant(tmp_path / "store", X, names)
    assert found == dataclasses.replace(X, dtype=expected)
