"""Progress of folds in training, read from their ``history.csv``, wherever they are trained."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from train.job import FoldJob


def read_progress(jobs: Sequence[FoldJob]) -> tuple[int, int, str]:
    """Return epochs done, epochs in all, and a note on the fold that moved last.

    Returns
    -------
    (int, int, str)
        The note holds mode, fold, loss and mAP@3; empty before the first epoch. The history of an earlier training,
        which a fresh fold keeps until its first epoch is done, does not count.
    """
    done, newest, note = 0, 0.0, ""
    for job in jobs:
        row, changed = _last_row(job.folder / "history.csv")
        if row is None or changed == job.stale_history:
            continue
        done += int(row["epoch"])
        if changed > newest:
            newest, note = changed, f"{job.title} loss {float(row['loss']):.3f} mAP@3 {float(row['map3']):.3f}"
    return done, sum(job.recipe.epochs for job in jobs), note


def read_epochs(folder: Path) -> int:
    """Return the epochs that a fold's ``history.csv`` tells of; 0 where there is none."""
    row, _ = _last_row(folder / "history.csv")
    return int(row["epoch"]) if row else 0


def _last_row(path: Path) -> tuple[dict[str, str] | None, float]:
    """Return the last whole line as a row, and when the file changed; a line that is being written does not count."""
    try:
        with path.open(encoding="utf-8") as file:
            text, changed = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None, 0.0
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    return (rows[-1] if rows else None), changed
