"""Tag any number of recordings, in parallel and in flat memory.

Conventions
-----------
A task is a few recordings: a worker decodes them, computes what a store lacks of their frames, asks the networks and
gives back tags only. Results come in the order of the recordings. A recording that cannot be decoded is a result too;
silence has no tags.
"""

import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cache.errors import InputError
from featurize.audio import MAX_CLIP_MINUTES, QuarantineError
from featurize.jobs import Backend, run_apart, run_past_deaths
from infer.silence import is_silent
from infer.soundtrack import read_recording
from infer.stored import find_frames
from infer.tagger import Frames, Tagger
from infer.tags import Tagged
from infer.trained import Trained, load_trained

PER_TASK = 32
"""Recordings that a worker takes at once, at most: those of one length share a batch."""
KILLS = "ends the process that decodes it"


@dataclass(frozen=True)
class TagTask:
    """Some recordings, and what to tag them with.

    Parameters
    ----------
    number : int
        Of the task, from 0.
    recordings : tuple of str
    base : str
        Folder that relative paths begin at: workers may be anywhere.
    trained : Trained
    n_tags : int > 0
        Tags a recording.
    store : str
        Folder in which frames are looked for; empty for none.
    max_clip_minutes : float > 0
        Longer recordings are refused.
    """

    number: int
    recordings: tuple[str, ...]
    base: str
    trained: Trained
    n_tags: int = 3
    store: str = ""
    max_clip_minutes: float = MAX_CLIP_MINUTES


def make_tasks(recordings: Sequence[str], asked: TagTask, *, jobs: int) -> list[TagTask]:
    """Cut the recordings into tasks that are otherwise like ``asked``, a few for each worker at least."""
    size = min(PER_TASK, -(-len(recordings) // (4 * jobs)) or 1)
    parts = [recordings[first : first + size] for first in range(0, len(recordings), size)]
    return [replace(asked, number=number, recordings=tuple(part)) for number, part in enumerate(parts)]


def tag_all(
    tasks: Sequence[TagTask], *, jobs: int, backend: Backend = "loky", scheduler: str | None = None
) -> Generator[list[Tagged]]:
    """Tag the recordings of all tasks; yield those of a task at a time, in order.

    A recording at which a worker dies is a problem of that recording.

    Raises
    ------
    WorkerDiedError
        If workers die without a recording to blame.
    """
    early: dict[int, list[Tagged]] = {}
    following = tasks[0].number if tasks else 0
    apart = partial(_tag_apart, jobs=jobs)
    answers = run_past_deaths(tag_task, tasks, apart, jobs=jobs, backend=backend, scheduler=scheduler)
    for number, rows in answers:
        early[number] = rows
        while following in early:
            yield early.pop(following)
            following += 1


def _tag_apart(tasks: Sequence[TagTask], *, jobs: int) -> Generator[tuple[int, list[Tagged]]]:
    """Tag the recordings of tasks in a process of its own each: one of them ended a worker."""
    for task in tasks:
        alone = [replace(task, recordings=(path,)) for path in task.recordings]
        rows = {path: Tagged(path, problem=KILLS) for path in task.recordings}
        for each, answer in run_apart(tag_task, alone, jobs=jobs):
            if answer:
                rows[each.recordings[0]] = answer[1][0]
        yield task.number, list(rows.values())


def tag_task(task: TagTask) -> tuple[int, list[Tagged]]:
    """Tag the recordings of one task; return its number and one row a recording, in order."""
    tagger = load_trained(task.trained)
    rows = [Tagged(path) for path in task.recordings]
    frames: dict[int, Mapping[str, Frames]] = {}
    for number, path in enumerate(task.recordings):
        try:
            found, seconds = _frames(os.path.join(task.base, path), task, tagger)
            rows[number] = Tagged(path, seconds)
            if not all(is_silent(found[mode.name], mode) for mode in tagger.modes):
                frames[number] = found
        except QuarantineError as error:
            rows[number] = Tagged(path, error.seconds, problem=error.reason)
    if frames:
        p = np.exp(tagger.log_probabilities(list(frames.values())))
        best = np.argsort(-p, axis=1, kind="stable")[:, : task.n_tags]
        for number, row, classes in zip(frames, p, best.tolist(), strict=True):
            rows[number] = replace(rows[number], tags=tuple((tagger.classes[k], float(row[k])) for k in classes))
    return task.number, rows


def _frames(path: str, task: TagTask, tagger: Tagger) -> tuple[Mapping[str, Frames], float]:
    """Return a recording's frames, from the store where it has them in all modes, and its length in seconds."""
    if task.store and (stored := find_frames(path, Path(task.store), tagger.modes)):
        return stored
    recording = read_recording(path, max_clip_minutes=task.max_clip_minutes)
    try:
        return tagger.frames(recording), recording.seconds
    except InputError as error:
        raise QuarantineError(path, str(error), seconds=recording.seconds) from error
