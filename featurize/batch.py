"""The parallel featurizer: a clip table in, sealed shards out.

Conventions
-----------
One task is one shard (of every mode that lacks it): decode, compute, write, seal. A clip is decoded once for all
modes. A recording that cannot be used becomes a row with its reason; it never stops the batch. What a rerun does is
a pure decision on keys: done, stale or missing.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cache import (
    IndexRow,
    Key,
    ShardPlan,
    StoreIndex,
    StoreLock,
    plan_shards,
    read_index,
    require_space,
    tidy,
)
from cache.errors import CorpusError, InputError
from featurize.audio import LIMIT_OPTION, MAX_CLIP_MINUTES, too_long
from featurize.estimate import estimate_bytes, estimate_seconds
from featurize.jobs import Backend
from featurize.modes import FeatureMode
from featurize.notes import explain
from featurize.shards import ShardTask
from featurize.sources import Progress, Source, look_at_all, measure_all
from featurize.suspects import HEADERS, ShardMaker

if TYPE_CHECKING:  # a third of a second for every worker
    import pandas as pd


@dataclass(frozen=True)
class ModeReport:
    """What a run did for a mode.

    Parameters
    ----------
    mode : FeatureMode
    store : Path
        The mode's folder.
    clips : int
        Clips asked for.
    computed, kept : int
        Clips whose frames this run wrote, and clips whose frames were there.
    quarantined : list of (str, str)
        Name and reason of every clip that has no frames, old and new.
    notes : list of str
        Sentences that say why something is computed anew.
    keys : list of Key
        The clips that have frames, in the clip table's order.
    """

    mode: FeatureMode
    store: Path
    clips: int
    computed: int
    kept: int
    quarantined: list[tuple[str, str]]
    notes: list[str]
    keys: list[Key]


@dataclass(frozen=True)
class FeaturizePlan:
    """What a run is going to do, and what it expects of it (``--dry-run``).

    Parameters
    ----------
    sources : list of Source
        Every clip's file, in the clip table's order.
    tasks : list of ShardTask
    todo, kept : dict of {str: int}
        Mode → clips to compute, and clips whose frames are there.
    notes : dict of {str: list of str}
        Mode → sentences that say why something is computed anew.
    n_bytes : int
        Estimated size on disk.
    seconds : float
        Estimated time; NaN where it was not asked for.
    """

    sources: list[Source]
    tasks: list["ShardTask"]
    todo: dict[str, int]
    kept: dict[str, int]
    notes: dict[str, list[str]]
    n_bytes: int
    seconds: float = math.nan


@dataclass
class Featurizer:
    """A batch over one store.

    Parameters
    ----------
    store : Path
    modes : sequence of FeatureMode
    jobs : int > 0
    backend, scheduler
        As in ``featurize.jobs.run_tasks``.
    max_clip_minutes : float > 0, optional
        What is longer has no frames, and what an earlier limit kept out is let in. Without one, new clips may last 10
        minutes, and clips that the store holds stay as they are.
    wait : bool
        Wait for another run that holds the store.
    remark : callable, optional
        Called with a sentence where another run is waited for, or a worker died.
    progress : callable, optional
        ``progress(stage, done, total)``; for "featurize" also with the seconds of sound that are done.
    """

    store: Path
    modes: Sequence[FeatureMode]
    jobs: int = 1
    backend: Backend = "loky"
    scheduler: str | None = None
    max_clip_minutes: float | None = None
    wait: bool = False
    remark: Callable[[str], object] | None = None
    progress: Progress | None = None
    _seconds: dict[Key, float] = field(default_factory=dict, init=False, repr=False)

    def plan(self, clips: "pd.DataFrame", *, time_it: bool = False) -> FeaturizePlan:
        """Decide what there is to do; writes nothing.

        Parameters
        ----------
        clips : DataFrame
            The clip table.
        time_it : bool
            Compute a few clips to estimate the time.
        """
        start = time.perf_counter()
        plan = self._plan(look_at_all(clips, jobs=self.jobs, progress=self.progress))
        if not time_it:
            return plan
        planning = time.perf_counter() - start  # which the run does as well
        seconds = planning + estimate_seconds(plan.tasks, jobs=self.jobs) if plan.tasks else 0.0
        return replace(plan, seconds=seconds)

    def _plan(self, sources: list[Source], *, measure: bool = True) -> FeaturizePlan:
        by_key = {source.key: source for source in sources if source.digest}
        tasks, todo, kept, notes = self._plan_tasks(by_key, measure=measure)
        return FeaturizePlan(sources, tasks, todo, kept, notes, estimate_bytes(tasks))

    def stored_keys(self, plan: FeaturizePlan) -> dict[str, list[Key]]:
        """Return the keys of a plan's clips that have frames now, by mode, in the clip table's order."""
        found = {}
        for mode in self.modes:
            rows = read_index(self.store / mode.folder).by_key
            wanted = [source.key for source in plan.sources if source.digest]
            found[mode.name] = [key for key in wanted if key in rows and not self._problem(rows[key])]
        return found

    def run(self, clips: "pd.DataFrame") -> dict[str, ModeReport]:
        """Compute what is missing, and report each mode.

        Where nothing is missing, the store is neither locked nor written to, unless a killed run left something behind.

        Raises
        ------
        LockedError
            If another run holds the store.
        NoSpaceError
            If the disk cannot hold what is to be written.
        CorpusError
            If files changed while they were read; all others are done.
        InputError
            If workers on other machines do not share the store.
        WorkerDiedError
            If worker processes die at whatever clip.
        """
        plan = self._plan(look_at_all(clips, jobs=self.jobs, progress=self.progress), measure=False)
        if plan.tasks:
            with StoreLock(self.store, wait=self.wait, on_wait=self.remark) as lock:
                lock.note([HEADERS])  # which libsndfile may die of
                plan = self._plan(plan.sources, measure=HEADERS not in lock.left)  # others may have written meanwhile
                lock.note([])
                require_space(self.store, plan.n_bytes)
                self._work(plan, lock)
        else:
            tidy(self.store)
        return {mode.name: self._report(mode, plan) for mode in self.modes}

    def _work(self, plan: FeaturizePlan, lock: StoreLock) -> None:
        total, done, seconds = sum(len(task.sources) for task in plan.tasks), 0, 0.0
        changed: list[str] = []
        maker = ShardMaker(lock, self.jobs, self.backend, self.scheduler, self.remark)
        progress = self.progress or (lambda *_: None)
        progress("featurize", 0, total, 0.0)  # the time that follows counts
        with closing(maker.make(plan.tasks)) as results:
            for result in results:
                done += result.n_clips
                seconds += result.seconds
                changed += result.changed
                progress("featurize", done, total, seconds)
        if changed:
            message = f"{len(changed)} files changed while they were read, such as {changed[0]!r}; run again for them"
            raise CorpusError(message)

    def _plan_tasks(
        self, by_key: dict[Key, Source], *, measure: bool
    ) -> tuple[list[ShardTask], dict[str, int], dict[str, int], dict[str, list[str]]]:
        wanted = list(by_key)
        shared: dict[tuple[Key, ...], list[tuple[FeatureMode, str, ShardPlan]]] = {}
        todo: dict[str, int] = {}
        kept: dict[str, int] = {}
        notes: dict[str, list[str]] = {}
        for mode in self.modes:
            folder = self.store / mode.folder
            index = read_index(folder)
            forgiving = _forgiving(index, self.max_clip_minutes)
            shards = plan_shards(wanted, forgiving, clips_per_shard=clips_per_shard(len(wanted)))
            notes[mode.name] = explain(folder, mode, wanted, index=index, forgiving=forgiving)
            todo[mode.name] = sum(len(shard.keys) for shard in shards)
            rows = [index.by_key[key] for key in wanted if key in index.by_key]
            kept[mode.name] = sum(not self._problem(row) for row in rows)
            for shard in shards:
                shared.setdefault(shard.keys, []).append((mode, str(folder.absolute()), shard))
        if measure:
            self._measure({key: by_key[key] for keys in shared for key in keys})
        tasks = [
            ShardTask(
                tuple(by_key[key] for key in keys),
                tuple(self._seconds.get(key, 0.0) for key in keys),
                tuple(outputs),
                self._limit_minutes,
            )
            for keys, outputs in shared.items()
        ]
        return tasks, todo, kept, notes

    def _measure(self, sources: dict[Key, Source]) -> None:
        """Ask the headers that were not asked before."""
        new = {key: source for key, source in sources.items() if key not in self._seconds}
        lengths = measure_all(list(new.values()), jobs=self.jobs)
        self._seconds.update(zip(new, lengths, strict=True))

    @property
    def _limit_minutes(self) -> float:
        return MAX_CLIP_MINUTES if self.max_clip_minutes is None else self.max_clip_minutes

    def _problem(self, row: IndexRow) -> str:
        """Say why a clip of the store is not to be used; empty where it is."""
        if row.has_frames and self.max_clip_minutes is not None and row.seconds > self.max_clip_minutes * 60:
            return too_long(row.seconds, max_clip_minutes=self.max_clip_minutes)
        return row.problem

    def _report(self, mode: FeatureMode, plan: FeaturizePlan) -> ModeReport:
        folder = self.store / mode.folder
        rows = read_index(folder).by_key
        quarantined = [(source.name, source.problem) for source in plan.sources if source.problem]
        wanted = [source.key for source in plan.sources if source.digest]
        if lost := [key.name for key in wanted if key not in rows]:
            message = (
                f"{folder} lacks {len(lost)} of the clips just computed, such as {lost[0]!r}: the workers wrote to a "
                "folder of that name elsewhere; give a --store that all of them share"
            )
            raise InputError(message)
        problems = {key: self._problem(rows[key]) for key in wanted}
        quarantined += [(key.name, problem) for key, problem in problems.items() if problem]
        keys = [key for key, problem in problems.items() if not problem]
        planned = {key for task in plan.tasks for m, _, shard in task.outputs if m == mode for key in shard.keys}
        computed = sum(key in planned for key in keys)
        notes = plan.notes[mode.name]
        return ModeReport(
            mode, folder, len(plan.sources), computed, len(keys) - computed, sorted(quarantined), notes, keys
        )


def clips_per_shard(n_clips: int) -> int:
    """Return the size of shards for a corpus: 16 for a small one, from 512 clips on 32, up to 512; a power of two.

    Small shards keep all workers busy and lose little when a run is killed; large ones keep the number of files
    small, and sealing one costs 10 ms whatever its size.
    """
    least = 16 if n_clips < 512 else 32
    return min(512, max(least, 1 << max(0, (n_clips // 32).bit_length() - 1)))


def _forgiving(index: StoreIndex, max_clip_minutes: float | None) -> StoreIndex:
    """Show clips that were too long for an earlier limit, and are not for this one, as stale."""
    if max_clip_minutes is None:
        return index
    limit = max_clip_minutes * 60
    return StoreIndex(
        tuple(
            row._replace(key=Key(row.key.name, "")) if LIMIT_OPTION in row.problem and row.seconds <= limit else row
            for row in index.rows
        )
    )
