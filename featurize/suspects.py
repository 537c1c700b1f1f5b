"""Shards whose workers may die: each is made in the end, and the clip that kills is quarantined.

Conventions
-----------
Nobody knows of which task a worker died. Those in work are suspects: each is made anew in a process of its own, on this
machine. One that kills this process too is made clip by clip, and a clip at which two processes die that decoded
nothing before is quarantined. What died by accident is thus made as if nothing had happened, and a shard's bytes are
those of its plan. Every death settles a shard or a clip, so there is an end to them.
"""

import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from cache import ClipRow, StoreLock
from featurize.jobs import Backend, LoneWorker, WorkerDiedError, run_apart, run_tasks
from featurize.shards import ShardResult, ShardTask, clip_rows, make_shard, seal_task
from featurize.sources import Source, look

HEADERS = "headers"
"""Noted in the lock while lengths are read from headers; where a run died of that, the next one leaves it."""
_DEATHS = 2  # of processes of its own that a clip is quarantined for
_UNEXPLAINED = 2  # deaths that no suspect repeated, after which there are fewer workers
_WITNESS_RATE_HZ = 8_000


@dataclass
class ShardMaker:
    """Makes the shards of a run, whatever happens to the workers.

    Parameters
    ----------
    lock : StoreLock
        Held. It is told what this process is at itself, and tells of what the process of an earlier run died.
    jobs, backend, scheduler
        As in ``featurize.jobs.run_tasks``.
    remark : callable, optional
        Called with a sentence where a worker died.
    """

    lock: StoreLock
    jobs: int
    backend: Backend = "loky"
    scheduler: str | None = None
    remark: Callable[[str], object] | None = None

    def make(self, tasks: Sequence[ShardTask]) -> Generator[ShardResult]:
        """Make the shards, and yield results as they come.

        Raises
        ------
        WorkerDiedError
            If processes die before they decode a clip, or at any clip.
        """
        suspects, waiting = self._split(tasks)
        if suspects:
            self.lock.note(name for task in suspects for name in _names(task))
            self._say(f"an earlier run died at {_count(suspects)}, made again, in a process of its own each")
            yield from self._make_apart(suspects, self.jobs)
            self.lock.note([])
        jobs, unexplained = self.jobs, 0
        while waiting:
            try:
                yield from self._make_all(waiting, jobs)
                return
            except WorkerDiedError as error:
                suspects, waiting = error.in_work, error.waiting
            self._say(f"a worker process died: {_count(suspects)} in work made again, in a process of its own each")
            explained = yield from self._make_apart(suspects, jobs)
            unexplained += not explained
            if unexplained >= _UNEXPLAINED:
                jobs = max(1, jobs // 2)  # memory may be short
            if self._runs_here(jobs, waiting):  # and this process must not die
                yield from self._make_apart(waiting, jobs)
                return

    def _split(self, tasks: Sequence[ShardTask]) -> tuple[list[ShardTask], list[ShardTask]]:
        """Part the tasks that an earlier run died of from the others."""
        if HEADERS in self.lock.left and self._runs_here(self.jobs, tasks):
            return list(tasks), []
        parts: tuple[list[ShardTask], list[ShardTask]] = ([], [])
        for task in tasks:
            parts[self.lock.left.isdisjoint(_names(task))].append(task)
        return parts

    def _runs_here(self, jobs: int, tasks: Sequence[ShardTask]) -> bool:
        """Tell whether these tasks run in this process."""
        return self.backend == "loky" and min(jobs, len(tasks)) == 1

    def _make_all(self, tasks: list[ShardTask], jobs: int) -> Generator[ShardResult]:
        if self._runs_here(jobs, tasks):
            for task in tasks:
                self.lock.note(_names(task))
                yield make_shard(task)
        else:
            yield from run_tasks(make_shard, tasks, jobs=jobs, backend=self.backend, scheduler=self.scheduler)

    def _make_apart(self, tasks: list[ShardTask], jobs: int) -> Generator[ShardResult, None, bool]:
        """Make each shard in a process of its own; tell whether one died again."""
        died: list[ShardTask] = []
        for task, result in run_apart(make_shard, tasks, jobs=jobs):
            if result is None:
                died.append(task)
            else:
                yield result
        for task in died:
            self._say(f"a worker process died: {len(task.sources)} clips are tried one by one")
            yield seal_task(task, _rows_one_by_one(task))
        return bool(died)

    def _say(self, sentence: str) -> None:
        if self.remark:
            self.remark(sentence)


def _names(task: ShardTask) -> set[str]:
    return {f"{mode.folder}/{plan.filename}" for mode, _, plan in task.outputs}


def _count(tasks: Sequence[ShardTask]) -> str:
    return "1 shard" if len(tasks) == 1 else f"{len(tasks)} shards"


def _rows_one_by_one(task: ShardTask) -> list[list[ClipRow]]:
    """Decode the clips in processes that may die, a new one for the clip at which the last one died."""
    rows: list[list[ClipRow]] = []
    deaths = 0
    while len(rows) < len(task.sources):
        first = len(rows)
        with LoneWorker() as worker:
            worker.start(abs, 0)()  # where not even this can be done, it is no clip's fault
            try:
                while len(rows) < len(task.sources):
                    source = task.sources[len(rows)]
                    rows.append(worker.start(clip_rows, source, task.modes, task.max_clip_minutes)())
                break
            except WorkerDiedError as error:
                how = error.how
        deaths = deaths + 1 if len(rows) == first else 0
        if deaths == _DEATHS:
            _require_a_sound_machine(task)
            rows.append(_killer_rows(task, task.sources[first], how))
            deaths = 0
    return rows


def _killer_rows(task: ShardTask, source: Source, how: str) -> list[ClipRow]:
    reason = f"kills the process that decodes it ({how})"
    return [ClipRow(source.name, source.digest, 0.0, None, reason) for _ in task.modes]


def _require_a_sound_machine(task: ShardTask) -> None:
    """Let a process compute a clip that cannot harm it.

    Raises
    ------
    WorkerDiedError
        If it dies: it is not the clips that kill.
    """
    with tempfile.TemporaryDirectory() as folder, LoneWorker() as worker:
        path = Path(folder) / "witness.wav"
        soundfile.write(path, np.zeros(_WITNESS_RATE_HZ, np.float32), _WITNESS_RATE_HZ)
        try:
            worker.start(clip_rows, look(path.name, str(path)), task.modes, task.max_clip_minutes)()
        except WorkerDiedError as error:
            message = (
                f"worker processes die even at a second of silence ({error.how}): see to the machine, and run again"
            )
            raise WorkerDiedError(message) from error
