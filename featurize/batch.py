"""The parallel featurizer: a clip table in, sealed shards out.

Conventions
-----------
One task is one shard (of every mode that lacks it): decode, compute, write, seal. A clip is decoded once for all
modes. A recording that cannot be used becomes a row with its reason; it never stops the batch. What a rerun does is
a pure decision on keys: done, stale or missing.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import soundfile
import soxr

from cache import (
    ClipRow,
    Key,
    ShardPlan,
    StoreIndex,
    StoreLock,
    decide,
    plan_shards,
    read_index,
    remove_leftovers,
    require_space,
    write_shard,
)
from cache.errors import CorpusError
from cache.table import read_table, shard_paths
from featurize.audio import MAX_CLIP_MINUTES, QuarantineError, decode
from featurize.jobs import Backend, run_tasks
from featurize.logmel import log_mel
from featurize.modes import FeatureMode, difference
from featurize.sources import Progress, Source, look_at_all

_PROBES = 8  # clips that --dry-run times
_TOO_LONG = "--max-clip-minutes"  # in the reason of a clip that another limit may let in


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
    todo : dict of {str: int}
        Mode → clips to compute.
    n_bytes : int
        Estimated size on disk.
    seconds : float
        Estimated time; NaN where it was not asked for.
    """

    tasks: list["ShardTask"]
    todo: dict[str, int]
    kept: dict[str, int]
    notes: dict[str, list[str]]
    n_bytes: int
    seconds: float = math.nan


@dataclass(frozen=True)
class ShardTask:
    """One unit of work: the sources of a shard, and the modes that lack it."""

    sources: tuple[Source, ...]
    outputs: tuple[tuple[FeatureMode, str, ShardPlan], ...]
    max_clip_minutes: float


@dataclass(frozen=True)
class ShardResult:
    """What comes back of a task: how many clips it held, and those whose file changed meanwhile."""

    n_clips: int
    changed: tuple[str, ...]


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
    max_clip_minutes : float > 0
    wait : bool
        Wait for another run that holds the store.
    progress : callable, optional
        ``progress(stage, done, total)``.
    """

    store: Path
    modes: Sequence[FeatureMode]
    jobs: int = 1
    backend: Backend = "loky"
    scheduler: str | None = None
    max_clip_minutes: float = MAX_CLIP_MINUTES
    wait: bool = False
    progress: Progress | None = None
    _sources: list[Source] = field(default_factory=list, init=False)

    def plan(self, clips: pd.DataFrame, *, time_it: bool = False) -> FeaturizePlan:
        """Decide what there is to do; writes nothing.

        Parameters
        ----------
        clips : DataFrame
            The clip table.
        time_it : bool
            Compute a few clips to estimate the time.
        """
        self._sources = look_at_all(clips, jobs=self.jobs, progress=self.progress)
        readable = [source for source in self._sources if source.digest]
        tasks, todo, notes = self._plan_tasks(readable)
        kept = {mode.name: len(readable) - todo[mode.name] for mode in self.modes}
        seconds = self._estimate_seconds(tasks) if time_it else math.nan
        return FeaturizePlan(tasks, todo, kept, notes, _estimate_bytes(tasks), seconds)

    def run(self, clips: pd.DataFrame) -> dict[str, ModeReport]:
        """Compute what is missing, and report each mode.

        Raises
        ------
        LockedError
            If another run holds the store.
        NoSpaceError
            If the disk cannot hold what is to be written.
        CorpusError
            If files changed while they were read; all others are done.
        """
        with StoreLock(self.store, wait=self.wait):
            plan = self.plan(clips)
            require_space(self.store, plan.n_bytes)
            changed = self._work(plan)
        if changed:
            message = f"{len(changed)} files changed while they were read, such as {changed[0]!r}; run again for them"
            raise CorpusError(message)
        return {mode.name: self._report(mode, plan) for mode in self.modes}

    def _work(self, plan: FeaturizePlan) -> list[str]:
        folders = [self.store / mode.folder for mode in self.modes]
        total, done = sum(len(task.sources) for task in plan.tasks), 0
        changed: list[str] = []
        try:
            for folder in folders:
                remove_leftovers(folder)
            for result in run_tasks(
                make_shard, plan.tasks, jobs=self.jobs, backend=self.backend, scheduler=self.scheduler
            ):
                done += result.n_clips
                changed += result.changed
                if self.progress:
                    self.progress("featurize", done, total)
        except BaseException:
            # Workers that were stopped in the middle leave temporary files; they are dead by now.
            for folder in folders:
                remove_leftovers(folder)
            raise
        return changed

    def _plan_tasks(self, readable: list[Source]) -> tuple[list[ShardTask], dict[str, int], dict[str, list[str]]]:
        by_key = {source.key: source for source in readable}
        shared: dict[tuple[Key, ...], list[tuple[FeatureMode, str, ShardPlan]]] = {}
        todo: dict[str, int] = {}
        notes: dict[str, list[str]] = {}
        for mode in self.modes:
            folder = self.store / mode.folder
            index = _forgiving(read_index(folder), self.max_clip_minutes)
            shards = plan_shards(list(by_key), index, clips_per_shard=clips_per_shard(len(by_key)))
            notes[mode.name] = self._explain(mode, list(by_key), index)
            todo[mode.name] = sum(len(shard.keys) for shard in shards)
            for shard in shards:
                shared.setdefault(shard.keys, []).append((mode, str(folder), shard))
        tasks = [
            ShardTask(tuple(by_key[key] for key in keys), tuple(outputs), self.max_clip_minutes)
            for keys, outputs in shared.items()
        ]
        return tasks, todo, notes

    def _explain(self, mode: FeatureMode, wanted: list[Key], index: StoreIndex) -> list[str]:
        if not index.rows:
            return list(self._other_settings(mode))
        stale = [key.name for key, decision in zip(wanted, decide(wanted, index), strict=True) if decision == "stale"]
        if not stale:
            return []
        some = ", ".join(stale[:3]) + (", …" if len(stale) > 3 else "")
        return [f"{len(stale)} {'clip has' if len(stale) == 1 else 'clips have'} changed: {some}"]

    def _other_settings(self, mode: FeatureMode) -> Iterator[str]:
        for folder in sorted(self.store.glob(f"{mode.name}-*")):
            paths = shard_paths(folder)
            if paths:
                words = difference(read_table(paths[0]).settings, mode.to_dict())
                yield f"the settings changed ({words}): what {folder.name} holds does not serve"

    def _report(self, mode: FeatureMode, plan: FeaturizePlan) -> ModeReport:
        folder = self.store / mode.folder
        rows = read_index(folder).by_key
        quarantined = [(source.name, source.problem) for source in self._sources if source.problem]
        found = [rows[source.key] for source in self._sources if source.digest]
        quarantined += [(row.key.name, row.problem) for row in found if row.problem]
        keys = [row.key for row in found if row.has_frames]
        planned = {key for task in plan.tasks for m, _, shard in task.outputs if m == mode for key in shard.keys}
        computed = sum(key in planned for key in keys)
        notes = plan.notes[mode.name]
        return ModeReport(
            mode, folder, len(self._sources), computed, len(keys) - computed, sorted(quarantined), notes, keys
        )

    def _estimate_seconds(self, tasks: list[ShardTask]) -> float:
        """Time a few clips and scale by the length of all."""
        pairs = [(source, task) for task in tasks for source in task.sources]
        if not pairs:
            return 0.0
        probes = pairs[:: -(-len(pairs) // _PROBES)]
        _time_clips(probes[:1])  # pays for compilation
        spent = _time_clips(probes)
        length = sum(max(source.seconds, 0.1) for source, _ in probes)
        total = sum(max(source.seconds, 0.1) for source, _ in pairs)
        return spent * total / length / min(self.jobs, len(tasks))


def _time_clips(pairs: Sequence[tuple[Source, ShardTask]]) -> float:
    start = time.perf_counter()
    for source, task in pairs:
        list(_clip_rows(source, [mode for mode, _, _ in task.outputs], task.max_clip_minutes))
    return time.perf_counter() - start


def clips_per_shard(n_clips: int) -> int:
    """Return the size of shards for a corpus: 16 for a small one, up to 512; a power of two.

    Small shards keep all workers busy and lose little when a run is killed; large ones keep the number of files
    small.
    """
    return min(512, max(16, 1 << max(0, (n_clips // 32).bit_length() - 1)))


def _forgiving(index: StoreIndex, max_clip_minutes: float) -> StoreIndex:
    """Show clips that were too long for an earlier limit, and are not for this one, as changed."""
    limit = max_clip_minutes * 60
    return StoreIndex(
        tuple(
            row._replace(key=Key(row.key.name, "")) if _TOO_LONG in row.problem and row.seconds <= limit else row
            for row in index.rows
        )
    )


def _estimate_bytes(tasks: Iterable[ShardTask]) -> int:
    total = 0
    for task in tasks:
        for mode, _, _ in task.outputs:
            frames = sum(mode.n_frames(source.seconds) for source in task.sources)
            total += frames * mode.n_mels * np.dtype(mode.dtype).itemsize + 400 * len(task.sources) + 16_384
    return total


def make_shard(task: ShardTask) -> ShardResult:
    """Decode, compute, write and seal one shard of each mode that lacks it; runs in a worker."""
    modes = [mode for mode, _, _ in task.outputs]
    rows: dict[str, list[ClipRow]] = {mode.name: [] for mode in modes}
    changed: list[str] = []
    for source in task.sources:
        made = list(_clip_rows(source, modes, task.max_clip_minutes))
        if not source.is_unchanged():
            changed.append(source.name)
            continue
        for mode, row in zip(modes, made, strict=True):
            rows[mode.name].append(row)
    for mode, folder, plan in task.outputs:
        if rows[mode.name]:
            _seal(mode, folder, plan, rows.pop(mode.name))
    return ShardResult(len(task.sources), tuple(changed))


def _clip_rows(source: Source, modes: Sequence[FeatureMode], max_clip_minutes: float) -> Iterator[ClipRow]:
    """Decode one clip once, and give a row for each mode."""
    try:
        recording = decode(source.path, max_clip_minutes=max_clip_minutes)
    except QuarantineError as error:
        for _ in modes:
            yield ClipRow(source.name, source.digest, error.seconds, None, error.reason)
        return
    for mode in modes:
        frames = log_mel(recording, mode).astype(mode.dtype)
        yield ClipRow(source.name, source.digest, recording.seconds, frames)


def _seal(mode: FeatureMode, folder: str, plan: ShardPlan, rows: list[ClipRow]) -> None:
    plan = ShardPlan.of((row.key for row in rows), generation=plan.generation)
    write_shard(
        folder,
        plan,
        rows,
        settings=mode.to_dict(),
        fingerprint=mode.fingerprint(),
        mode=mode.name,
        versions=library_versions(),
        n_mels=mode.n_mels,
        dtype=mode.dtype,
    )


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that the numbers depend on."""
    return {
        "librosa": librosa.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "numpy": np.__version__,
        "soxr": soxr.__version__,
    }
