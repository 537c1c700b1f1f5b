import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from train.history import read_progress
from train.job import FoldJob
from train.loop import HISTORY_COLUMNS


def job_in(folder: Path, title: str = "lh fold 0", epochs: int = 5) -> FoldJob:
    folder.mkdir(exist_ok=True)
    return SimpleNamespace(folder=folder, title=title, stale_history=None, recipe=SimpleNamespace(epochs=epochs))  # type: ignore[return-value]


def write_history(job: FoldJob, epochs: int, *, changed: float, rest: str = "") -> None:
    lines = [",".join(HISTORY_COLUMNS)] + [
        f"{n},{2 / n},{2 / n},,1.0,{n / 10},0.5,0.0001,{n}.0" for n in range(1, epochs + 1)
    ]
    path = job.folder / "history.csv"
    path.write_text("\n".join(lines) + "\n" + rest)
    os.utime(path, (changed, changed))


def test_nothing_is_done_before_the_first_epoch(tmp_path: Path) -> None:
    jobs = [job_in(tmp_path / "a"), job_in(tmp_path / "b", epochs=3)]
    assert read_progress(jobs) == (0, 8, "")
    write_history(jobs[0], 0, changed=1)
    assert read_progress(jobs) == (0, 8, "")
    assert read_progress([]) == (0, 0, "")


def test_epochs_are_counted_and_the_newest_fold_is_named(tmp_path: Path) -> None:
    jobs = [job_in(tmp_path / name, f"x fold {name}") for name in "abc"]
    write_history(jobs[0], 4, changed=100)
    write_history(jobs[1], 2, changed=300)
    write_history(jobs[2], 3, changed=200)
    assert read_progress(jobs) == (9, 15, "x fold b loss 1.000 mAP@3 0.200")


@pytest.mark.parametrize("rest", ["3,0.7", "3,0.7,0.7,,1.0,0.3,0.5,0.0001,3.", "3"])
def test_a_line_that_is_being_written_does_not_count(tmp_path: Path, rest: str) -> None:
    job = job_in(tmp_path / "a")
    write_history(job, 2, changed=1, rest=rest)
    assert read_progress([job])[0] == 2


def test_a_fold_that_is_cleared_meanwhile_counts_nothing(tmp_path: Path) -> None:
    job = job_in(tmp_path / "a")
    job.folder.rmdir()
    assert read_progress([job]) == (0, 5, "")
