"""Find the events of recordings, in parallel over them.

Conventions
-----------
A task is one recording, a worker goes through it in bounded memory and gives back its events. A recording that cannot
be decoded to its end is a result with a problem, and has no events.
"""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from featurize.audio import QuarantineError
from featurize.jobs import Backend, WorkerDiedError, run_apart, run_tasks
from infer.detection import DetectionRules
from infer.events import Event
from infer.listener import Listener
from infer.soundtrack import open_stream
from infer.tagging import KILLS, load


@dataclass(frozen=True)
class CaptionTask:
    """A recording, and what to find its events with.

    Parameters
    ----------
    path : str
    base : str
        Folder that a relative path begins at: workers may be anywhere.
    networks : str
        Folder of a run or of a bundle.
    modes : tuple of str
        Modes to ask; none for all that there are.
    device : str
    runtime : "torch" or "onnx"
    rules : DetectionRules
    """

    path: str
    base: str
    networks: str
    modes: tuple[str, ...] = ()
    device: str = "cpu"
    runtime: str = "torch"
    rules: DetectionRules = field(default_factory=DetectionRules)


@dataclass(frozen=True)
class Captioned:
    """A recording and its events.

    Attributes
    ----------
    path : str
    sample_rate_hz : int
        0 where there is a problem.
    seconds : float
        How long it is.
    events : tuple of Event
    problem : str
        Why it has no events, else empty.
    """

    path: str
    sample_rate_hz: int = 0
    seconds: float = 0.0
    events: tuple[Event, ...] = ()
    problem: str = ""


def caption_all(
    paths: Sequence[str],
    asked: CaptionTask,
    *,
    jobs: int,
    backend: Backend = "loky",
    scheduler: str | None = None,
) -> Generator[Captioned]:
    """Find the events of each recording, and yield them as they come.

    Parameters
    ----------
    paths : sequence of str
    asked : CaptionTask
        What all of them have in common.
    jobs, backend, scheduler
        As in ``featurize.jobs.run_tasks``.
    """
    waiting = [replace(asked, path=path) for path in paths]
    while waiting:
        try:
            yield from run_tasks(caption_task, waiting, jobs=jobs, backend=backend, scheduler=scheduler)
            return
        except WorkerDiedError as error:
            suspects, waiting = error.in_work, error.waiting
        for task, found in run_apart(caption_task, suspects, jobs=jobs):
            yield found or Captioned(task.path, problem=KILLS)


def caption_task(task: CaptionTask) -> Captioned:
    """Find the events of one recording."""
    listener = Listener(load(task.networks, task.modes, task.device, task.runtime), task.rules)
    try:
        with open_stream(os.path.join(task.base, task.path)) as stream:
            events = tuple(sorted(listener.listen(stream)))
            return Captioned(task.path, stream.sample_rate_hz, listener.seconds, events)
    except QuarantineError as error:
        return Captioned(task.path, problem=error.reason)
