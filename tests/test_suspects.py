"""Workers that die: accidents leave no trace, and a clip that kills is quarantined."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import deadly
import pandas as pd
import pytest
from sounds import clip_table, noise, write_sound

import featurize.shards
import featurize.suspects
from cache import StoreLock, read_index
from featurize.batch import Featurizer, ModeReport
from featurize.jobs import LoneWorker, WorkerDiedError
from featurize.modes import LH, X
from featurize.shards import ShardResult, ShardTask

TESTS = Path(__file__).parent
BOTH = (LH, X)


@pytest.fixture(autouse=True)
def _deadly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the workers of this process decode with what kills them, and import it."""
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent), *filter(None, [path])]))
    monkeypatch.setattr(featurize.suspects, "make_shard", deadly.deadly_make_shard)
    monkeypatch.setattr(featurize.suspects, "clip_rows", deadly.deadly_clip_rows)
    monkeypatch.setattr(featurize.shards, "decode", featurize.shards.decode)


def make_clips(folder: Path, n_clips: int, killers: dict[int, str] | None = None) -> pd.DataFrame:
    """Short noises; some have a word in their name."""
    words = killers or {}
    names = [f"{i:02}{words.get(i, '')}.wav" for i in range(n_clips)]
    return clip_table([write_sound(folder / name, noise(900 + 10 * i, seed=i)) for i, name in enumerate(names)])


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def undisturbed(store: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The store of a run in which nothing dies."""
    with monkeypatch.context() as patch:
        patch.setattr(featurize.suspects, "make_shard", featurize.shards.make_shard)
        Featurizer(store, BOTH).run(clips)
    return contents(store)


def run(store: Path, clips: pd.DataFrame, *, jobs: int = 2) -> tuple[dict[str, ModeReport], list[str]]:
    told: list[str] = []
    return Featurizer(store, BOTH, jobs=jobs, remark=told.append).run(clips), told


def test_an_accident_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = make_clips(tmp_path / "audio", 48, {20: "-memory-once"})
    reports, told = run(tmp_path / "store", clips)
    assert (tmp_path / "audio/20-memory-once.died").exists()
    assert [len(told), told[0].split(":")[0]] == [1, "a worker process died"]
    assert [(report.computed, report.quarantined) for report in reports.values()] == [(48, []), (48, [])]
    assert contents(tmp_path / "store") == undisturbed(tmp_path / "whole", clips, monkeypatch)


def test_clips_that_kill_are_quarantined_and_all_others_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = make_clips(tmp_path / "audio", 64, {16: "-segfault", 17: "-exit", 40: "-memory"})
    reports, told = run(tmp_path / "store", clips)
    expected = [
        ("16-segfault.wav", "kills the process that decodes it (SIGSEGV)"),
        ("17-exit.wav", "kills the process that decodes it (exit status 3)"),
        ("40-memory.wav", "kills the process that decodes it (SIGKILL)"),
    ]
    assert [(report.computed, report.quarantined) for report in reports.values()] == [(61, expected)] * 2
    assert told.count("a worker process died: 16 clips are tried one by one") == 2
    found, whole = contents(tmp_path / "store"), undisturbed(tmp_path / "whole", clips, monkeypatch)
    assert found.keys() == whole.keys()
    assert sum(whole[path] == data for path, data in found.items() if path.endswith(".h5")) == 4  # without a killer
    for mode in BOTH:
        rows, there = (read_index(tmp_path / store / mode.folder).by_key for store in ("store", "whole"))
        assert list(rows) == list(there)
    reports, told = run(tmp_path / "store", clips, jobs=1)  # which would die of them
    assert (reports["x"].computed, reports["x"].kept, reports["x"].quarantined, told) == (0, 61, expected, [])
    assert contents(tmp_path / "store") == found


COMMAND = "import deadly, cli; deadly.install(); cli.main()"


@pytest.mark.parametrize("word", ["segfault", pytest.param("header", marks=pytest.mark.slow)])
def test_a_command_that_a_clip_killed_goes_on_when_it_is_run_again(tmp_path: Path, word: str) -> None:
    """With one job the clips are decoded in the command's own process; headers always are."""
    clips = make_clips(tmp_path / "audio" / "noise", 20, {17: f"-{word}"})
    command = [sys.executable, "-X", "faulthandler=0", "-c", COMMAND, "featurize", "audio", "--jobs", "1"]
    died = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    assert died.returncode == -signal.SIGSEGV
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n_done, suspects = (16, "1 shard") if word == "segfault" else (0, "2 shards")
    assert done.stderr.splitlines() == [
        f"an earlier run died at {suspects}, made again, in a process of its own each",
        "a worker process died: 4 clips are tried one by one",
    ]
    assert f"x: 20 clips: {19 - n_done} computed, {n_done} kept, 1 quarantined" in done.stdout
    assert f"quarantined: noise/17-{word}.wav: kills the process that decodes it (SIGSEGV)" in done.stdout
    run(tmp_path / "other", clips.assign(fname="noise/" + clips["fname"]), jobs=2)
    assert contents(tmp_path / "features") == contents(tmp_path / "other")


def test_what_a_killed_run_was_at_is_forgotten_once_it_is_done(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "audio", 20)
    task = Featurizer(tmp_path / "store", BOTH).plan(clips).tasks[1]
    lock = StoreLock(tmp_path / "store")
    lock.__enter__()
    lock.note(featurize.suspects._names(task))
    lock._lock.release()  # as the system does for a process that is killed
    _, told = run(tmp_path / "store", clips, jobs=1)
    assert told == ["an earlier run died at 1 shard, made again, in a process of its own each"]
    assert {path.name for path in (tmp_path / "store").iterdir()} == {LH.folder, X.folder, ".lock"}


@pytest.mark.parametrize(("dies_again", "jobs"), [(False, [8, 8, 4, 2]), (True, [8] * 20)])
def test_deaths_that_no_suspect_repeats_lead_to_fewer_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_again: bool, jobs: list[int]
) -> None:
    """However often workers die, every death settles a task."""
    tasks = Featurizer(tmp_path / "store", BOTH).plan(make_clips(tmp_path, 20)).tasks[:1] * 21
    asked: list[int] = []

    def run_and_die(function: object, tasks: list[ShardTask], *, jobs: int, **_: object) -> Iterator[ShardResult]:
        asked.append(jobs)
        raise WorkerDiedError(in_work=tasks[:1], waiting=tasks[1:])
        yield

    def apart(function: object, tasks: list[ShardTask], *, jobs: int) -> Iterator[tuple[ShardTask, ShardResult | None]]:
        yield from ((task, None if dies_again else ShardResult(1, 1.0, ())) for task in tasks)

    monkeypatch.setattr(featurize.suspects, "run_tasks", run_and_die)
    monkeypatch.setattr(featurize.suspects, "run_apart", apart)
    monkeypatch.setattr(featurize.suspects, "_rows_one_by_one", lambda _: [])
    monkeypatch.setattr(featurize.suspects, "seal_task", lambda *_: ShardResult(1, 1.0, ()))
    with StoreLock(tmp_path / "store") as lock:
        results = list(featurize.suspects.ShardMaker(lock, 8).make(tasks))
    assert len(results) == 21
    assert asked == jobs


def test_a_clip_at_which_one_process_died_is_tried_again(tmp_path: Path) -> None:
    task = Featurizer(tmp_path / "store", [X]).plan(make_clips(tmp_path, 3, {0: "-memory-once"})).tasks[0]
    rows = featurize.suspects._rows_one_by_one(task)
    assert (tmp_path / "00-memory-once.died").exists()
    assert [row.problem for clip in rows for row in clip] == ["", "", ""]


def die(*_: object) -> None:
    os._exit(7)


def test_a_machine_on_which_all_processes_die_quarantines_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Featurizer(tmp_path / "store", BOTH).plan(make_clips(tmp_path, 2)).tasks[0]
    monkeypatch.setattr(featurize.suspects, "clip_rows", die)
    with pytest.raises(WorkerDiedError, match=r"die even at a second of silence \(exit status 7\)"):
        featurize.suspects._rows_one_by_one(task)


def test_processes_that_cannot_even_start_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = make_clips(tmp_path / "audio", 33)
    monkeypatch.setattr(featurize.suspects, "make_shard", die)
    monkeypatch.setattr(LoneWorker, "start", lambda *_: die_in_call)
    with pytest.raises(WorkerDiedError, match=r"a worker process died .*; run again"):
        run(tmp_path / "store", clips)


def die_in_call() -> None:
    raise WorkerDiedError
