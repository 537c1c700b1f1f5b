"""The time of a run is foretold by clips that are computed, and shards that are sealed elsewhere."""

import itertools
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from sounds import clip_table, noise, write_sound

import featurize.estimate
from featurize.batch import Featurizer
from featurize.estimate import estimate_seconds
from featurize.modes import LH, X
from featurize.shards import ShardTask

N_CLIPS = 40


@pytest.fixture
def clips(tmp_path: Path) -> pd.DataFrame:
    return clip_table([write_sound(tmp_path / f"{n:02d}.wav", noise(4_000, seed=n)) for n in range(N_CLIPS)])


def tasks_of(clips: pd.DataFrame, store: Path) -> list[ShardTask]:
    return Featurizer(store, [LH, X]).plan(clips).tasks


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass between one look at the clock and the next."""
    ticks = itertools.count()
    monkeypatch.setattr(featurize.estimate.time, "perf_counter", lambda: float(next(ticks)))


@pytest.mark.usefixtures("clock")
def test_clips_and_shards_count(clips: pd.DataFrame, tmp_path: Path) -> None:
    tasks = tasks_of(clips, tmp_path / "store")
    assert len(tasks) == 3
    # 8 of 40 clips take a second, all of the same length, and each of 3 tasks takes another one to seal. The very first
    # clip, which loads what is compiled, also takes one.
    assert estimate_seconds(tasks, jobs=1) == pytest.approx(1 + 5 + 3)
    assert estimate_seconds(tasks, jobs=2) == pytest.approx(featurize.estimate._START_SECONDS + (5 + 3) / 2)
    assert estimate_seconds(tasks, jobs=99) == pytest.approx(featurize.estimate._START_SECONDS + (5 + 3) / 3)


def test_nothing_stays_behind(clips: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    tasks = tasks_of(clips, tmp_path / "store")
    assert estimate_seconds(tasks, jobs=1) > 0
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "store").exists()


def test_without_clips_it_takes_no_time() -> None:
    assert estimate_seconds([], jobs=2) == 0


@pytest.mark.usefixtures("clock")
def test_clips_that_cannot_be_decoded_take_time_too(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.wav").write_bytes(b"no sound %d" % n)
    broken = clip_table(sorted(tmp_path.glob("*.wav")))
    assert estimate_seconds(tasks_of(broken, tmp_path / "store"), jobs=1) == pytest.approx(3)


def test_a_file_that_is_gone_meanwhile_is_left_out(clips: pd.DataFrame, tmp_path: Path) -> None:
    tasks = tasks_of(clips, tmp_path / "store")
    for path in clips["path"]:
        Path(path).unlink()
    assert estimate_seconds(tasks, jobs=1) >= 0
