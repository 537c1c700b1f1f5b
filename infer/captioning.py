"""Find the events of recordings, in parallel over them.

Conventions
-----------
A task is one recording, a worker goes through it in bounded memory and gives back its events. A recording that cannot
be decoded to its end is a result with a problem, and has no events.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from cache.errors import InputError
from featurize.audio import QuarantineError
from featurize.jobs import Backend, run_apart, run_past_deaths
from infer.detection import DetectionRules
from infer.events import Event
from infer.listener import Listener
from infer.soundtrack import open_stream
from infer.tagging import KILLS
from infer.trained import Trained, load_trained


@dataclass(frozen=True)
class CaptionTask:
    """A recording, and what to find its events with.

    Parameters
    ----------
    path : str
    base : str
        Folder that a relative path begins at: workers may be anywhere.
    trained : Trained
    rules : DetectionRules
    """

    path: str
    base: str
    trained: Trained
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

    def apart(suspects: Sequence[CaptionTask]) -> Iterator[Captioned]:
        for task, found in run_apart(caption_task, suspects, jobs=jobs):
            yield found or Captioned(task.path, problem=KILLS)

    tasks = [replace(asked, path=path) for path in paths]
    yield from run_past_deaths(caption_task, tasks, apart, jobs=jobs, backend=backend, scheduler=scheduler)


def caption_task(task: CaptionTask) -> Captioned:
    """Find the events of one recording."""
    listener = Listener(load_trained(task.trained), task.rules)
    try:
        with open_stream(os.path.join(task.base, task.path)) as stream:
            events = tuple(sorted(listener.listen(stream)))
            return Captioned(task.path, stream.sample_rate_hz, listener.seconds, events)
    except QuarantineError as error:
        return Captioned(task.path, problem=error.reason)
    except InputError as error:  # of its samples: rules and networks were checked before
        return Captioned(task.path, problem=str(error))
