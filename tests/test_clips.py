"""Reading one clip from a store: which row, which folder, and what is said where there is none."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from cache import ClipRow, ShardPlan, write_shard
from cache.errors import InputError, IntegrityError, NotFoundError
from featurize.modes import LH, FeatureMode, X
from infer.clips import read_clip

X32 = dataclasses.replace(X, dtype="float32")
OLD = dataclasses.replace(X, top_db=60)
OLDER = dataclasses.replace(X, top_db=70)


def put(store: Path, mode: FeatureMode, name: str, level_db: float, *, generation: int = 0, problem: str = "") -> Path:
    """Write a shard of one clip, whose frames are all of this level."""
    frames = None if problem else np.full((mode.window_frames, mode.n_mels), level_db)
    row = ClipRow(name, f"{generation:064x}", 1.5, frames, problem)
    record = write_shard(
        store / mode.folder,
        ShardPlan.of([row.key], generation=generation),
        [row],
        settings=mode.to_dict(),
        fingerprint=mode.fingerprint(),
        mode=mode.name,
        versions={},
        n_mels=mode.n_mels,
        dtype=mode.dtype,
    )
    return record.path


def levels(store: Path, *modes: str) -> dict[str, float]:
    clips, problems = read_clip(store, "a.wav", modes)
    assert problems == {}
    return {clip.mode: float(clip.frames[0, 0]) for clip in clips}


def test_a_clip_is_read_in_each_mode_with_its_stored_settings(tmp_path: Path) -> None:
    put(tmp_path, X, "a.wav", -10)
    put(tmp_path, X, "b.wav", -50)
    put(tmp_path, LH, "a.wav", -20)
    clips, problems = read_clip(tmp_path, "a.wav")
    assert problems == {}
    assert [(clip.mode, clip.name, clip.seconds) for clip in clips] == [("lh", "a.wav", 1.5), ("x", "a.wav", 1.5)]
    for clip, mode, level in zip(clips, (LH, X), (-20, -10), strict=True):
        assert clip.settings == mode.to_dict()
        assert clip.frames.dtype == np.float16
        np.testing.assert_array_equal(clip.frames, np.full((mode.window_frames, mode.n_mels), level))


def test_modes_can_be_chosen_and_a_modes_folder_is_a_store_too(tmp_path: Path) -> None:
    put(tmp_path, X, "a.wav", -10)
    put(tmp_path, LH, "a.wav", -20)
    assert levels(tmp_path, "x") == {"x": -10}
    assert levels(tmp_path, "x", "lh") == {"lh": -20, "x": -10}
    assert levels(tmp_path / LH.folder) == {"lh": -20}


def test_of_several_generations_the_newest_is_read(tmp_path: Path) -> None:
    put(tmp_path, X, "a.wav", -10, generation=1)
    put(tmp_path, X, "a.wav", -20, generation=0)
    assert levels(tmp_path) == {"x": -10}
    put(tmp_path, X, "a.wav", 0, generation=2, problem="holds no samples")
    with pytest.raises(NotFoundError, match="quarantined in mode x: holds no samples"):
        read_clip(tmp_path, "a.wav")


def test_this_versions_settings_come_first_and_float16_before_float32(tmp_path: Path) -> None:
    put(tmp_path, OLDER, "a.wav", 0, problem="is 12.0 minutes long")
    put(tmp_path, OLD, "a.wav", -10)
    assert levels(tmp_path) == {"x": -10}
    put(tmp_path, X32, "a.wav", -20)
    assert levels(tmp_path) == {"x": -20}
    put(tmp_path, X, "a.wav", -30)
    assert levels(tmp_path) == {"x": -30}


def test_a_folder_that_lacks_the_clip_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, X, "b.wav", -10)
    put(tmp_path, X32, "a.wav", -20)
    assert levels(tmp_path) == {"x": -20}


def test_several_settings_none_of_them_this_versions_are_refused(tmp_path: Path) -> None:
    put(tmp_path, OLD, "a.wav", -10)
    put(tmp_path, OLDER, "a.wav", -20)
    with pytest.raises(InputError, match=f"give one of the folders as --store: .*{OLDER.folder}"):
        read_clip(tmp_path, "a.wav")
    assert levels(tmp_path / OLDER.folder) == {"x": -20}
    ((clip,), _) = read_clip(tmp_path, "a.wav", known={"x": OLD})  # as of a --config
    assert clip.frames.max() == -10


def test_a_quarantined_clip_is_told_with_its_reason(tmp_path: Path) -> None:
    put(tmp_path, LH, "a.wav", 0, problem="overflows when resampled")
    with pytest.raises(NotFoundError, match=r"'a\.wav' is quarantined in mode lh: overflows when resampled"):
        read_clip(tmp_path, "a.wav")
    put(tmp_path, X, "a.wav", -10)
    clips, problems = read_clip(tmp_path, "a.wav")
    assert [clip.mode for clip in clips] == ["x"]
    assert problems == {"lh": "overflows when resampled"}
    with pytest.raises(NotFoundError, match="quarantined in mode lh"):
        read_clip(tmp_path, "a.wav", ["x", "lh"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dog/01.wv", "; did you mean 'dog/01.wav'?"),
        ("01.wav", "; did you mean 'dog/01.wav'?"),
        ("/home/somebody/sounds/of/animals/dog/01.wav", "; did you mean 'dog/01.wav'?"),
        ("something else", ": run cli featurize, or name another with --store"),
    ],
)
def test_an_unknown_name_gets_the_near_match(tmp_path: Path, name: str, words: str) -> None:
    put(tmp_path, X, "dog/01.wav", -10)
    put(tmp_path, X, "cat/02.wav", -10)
    with pytest.raises(NotFoundError, match=re.escape(f"has no clip {name!r}{words}") + "$"):
        read_clip(tmp_path, name)


def test_a_mode_without_the_clip_is_named(tmp_path: Path) -> None:
    put(tmp_path, X, "a.wav", -10)
    put(tmp_path, LH, "b.wav", -10)
    with pytest.raises(NotFoundError, match=r"mode lh has no clip 'a\.wav'"):
        read_clip(tmp_path, "a.wav", ["lh", "x"])


def test_a_damaged_clip_and_a_damaged_shard_are_not_shown(tmp_path: Path) -> None:
    path = put(tmp_path, X, "a.wav", -10)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"clip 'a\.wav' do not match their CRC-32"):
        read_clip(tmp_path, "a.wav")
    path.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match=path.name):
        read_clip(tmp_path, "a.wav")
