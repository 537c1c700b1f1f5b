"""Mending a store: what is damaged is computed anew from the corpus, and nothing else.

Conventions
-----------
A shard is sealed again under the plan that it was made by (the same clips and the same generation, proven by its file
name), so that its bytes are those of before. Rows that match their CRC-32 are kept. A file is replaced only when the
new one is whole; what cannot be mended is moved away (``<name>.bad``), never deleted. Whole shards are not touched.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cache import BadShard, Key, StoreLock, scan_index, verify_store
from cache.errors import EarmarkError, InputError, NotFoundError
from cache.salvage import is_proven
from cache.table import ShardTable
from featurize.audio import MAX_CLIP_MINUTES
from featurize.batch import Featurizer
from featurize.jobs import run_tasks
from featurize.mend import Mended, RepairTask, ShardRepair, Target, mend_shards
from featurize.modes import MODES, FeatureMode
from featurize.sources import Progress
from featurize.stored import variants


@dataclass(frozen=True)
class Moved:
    """A file that was moved away, and why."""

    path: Path
    to: Path
    reason: str


@dataclass
class RepairReport:
    """What :func:`repair_store` did.

    Parameters
    ----------
    shards : int
        How many were checked.
    repaired : list of ShardRepair
    moved : list of Moved
    left : list of (Path, str)
        What is still bad, and why it was left.
    computed : dict of {str: int}
        Mode → clips that the featurizer computed in place of what was moved away.
    """

    shards: int
    repaired: list[ShardRepair] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    left: list[tuple[Path, str]] = field(default_factory=list)
    computed: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the store is whole now."""
        return not self.left


def repair_store(
    store: str | os.PathLike[str],
    clips: pd.DataFrame,
    *,
    modes: Sequence[FeatureMode] | None = None,
    known: Mapping[str, FeatureMode] = MODES,
    jobs: int = 1,
    progress: Progress | None = None,
) -> RepairReport:
    """Check every byte of a store and mend what is damaged.

    Parameters
    ----------
    store : path
        The store that holds the modes' folders.
    clips : DataFrame
        The clip table of the corpus that the store was made from.
    modes : sequence of FeatureMode, optional
        Only their folders, of both stored types; all known ones without it.
    known : mapping of {str: FeatureMode}
        The modes that there are; this version's by default.
    jobs : int > 0
    progress : callable, optional
        ``progress(stage, done, total)``.

    Returns
    -------
    RepairReport

    Raises
    ------
    NotFoundError
        There is no such store, or no shard in it.
    InputError
        The path is that of a mode's folder.
    LockedError
        Another run holds the store.
    """
    store = Path(store).absolute()
    all_folders = _folders(known.values())
    if store.name in all_folders:
        msg = f"{store} is the folder of one mode: give the store, {store.parent}"
        raise InputError(msg)
    if not store.is_dir():
        msg = f"the store {store} is not there; run cli featurize, or name another with --store"
        raise NotFoundError(msg)
    with StoreLock(store):
        verified = verify_store(store)
        report = RepairReport(verified.shards)
        folders = all_folders if modes is None else _folders(modes)
        emptied = _Repair(store, folders, frozenset(all_folders), clips, jobs, progress, report).run(verified.bad)
    _featurize(store, emptied, clips, jobs, progress, report)
    report.repaired.sort(key=lambda repaired: repaired.path)
    return report


def _folders(modes: Iterable[FeatureMode]) -> dict[str, FeatureMode]:
    """Give the modes in each stored type, by the names of their folders."""
    return {variant.folder: variant for mode in modes for variant in variants(mode)}


def _featurize(
    store: Path,
    modes: list[FeatureMode],
    clips: pd.DataFrame,
    jobs: int,
    progress: Progress | None,
    report: RepairReport,
) -> None:
    """Compute the clips that no shard holds any more, by an ordinary run."""
    for mode in modes:
        folder = store / mode.folder
        if any(path.parent == folder for path, _ in report.left):
            continue
        try:
            result = Featurizer(store, [mode], jobs=jobs, progress=progress).run(clips)[mode.name]
        except EarmarkError as error:
            report.left.append((folder, str(error)))
            continue
        report.computed[mode.name] = report.computed.get(mode.name, 0) + result.computed


@dataclass
class _Repair:
    """A repair under way, under the store's lock: of the variants' folders, out of those that are known."""

    store: Path
    variants: dict[str, FeatureMode]
    known: frozenset[str]
    clips: pd.DataFrame
    jobs: int
    progress: Progress | None
    report: RepairReport

    def run(self, bad: list[BadShard]) -> list[FeatureMode]:
        """Mend what can be mended; give the modes whose folders lost a shard."""
        known = {
            folder: [shard for shard in bad if shard.path.parent == self.store / folder] for folder in self.variants
        }
        for shard in bad:
            if shard.path.parent.parent != self.store or shard.path.parent.name not in self.variants:
                self.report.left.append((shard.path, f"{shard.reason}; {self._why_left(shard.path.parent.name)}"))
        emptied = {self._mode_of(shard.path) for shards in known.values() for shard in shards if self._clear(shard)}
        seconds = self._long_clips() if any(known.values()) else {}
        tasks = [task for folder, shards in known.items() for task in self._plan(folder, shards, seconds)]
        self._work(tasks)
        for shard in (shard for shards in known.values() for shard in shards):
            if (not shard.keys or _is_copy(shard)) and os.path.lexists(shard.path) and not self._is_needed(shard):
                self._move(shard.path, shard.reason)
                emptied.add(self._mode_of(shard.path))
        return sorted(emptied, key=lambda mode: mode.folder)

    def _why_left(self, folder: str) -> str:
        if folder in self.known:
            return "its mode was not asked for: repair without --mode"
        return "its folder is of no mode and settings known here: give the --config that has them, or move it away"

    def _mode_of(self, path: Path) -> FeatureMode:
        return self.variants[path.parent.name]

    def _is_needed(self, shard: BadShard) -> bool:
        """Tell whether a shard still holds rows of another that could not be sealed."""
        failed = {path for path, _ in self.report.left}
        return shard.block is not None and shard.path.with_name(shard.block.shard_name) in failed

    def _clear(self, shard: BadShard) -> bool:
        """Move away what is no shard of this folder; tell whether its clips are left to the featurizer."""
        if shard.fault not in ("folder", "file"):
            return False
        self._move(shard.path, shard.reason)
        return shard.fault == "folder" or not shard.keys

    def _move(self, path: Path, reason: str) -> None:
        """Give a file a name that is no shard's and that no other file has."""
        to, number = path.with_name(f"{path.name}.bad"), 1
        while os.path.lexists(to):
            number += 1
            to = path.with_name(f"{path.name}.bad{number}")
        try:
            path.rename(to)
            self.report.moved.append(Moved(path, to, reason))
        except OSError as error:
            self.report.left.append((path, f"{reason}; it cannot be moved away ({error.strerror})"))

    def _plan(self, folder: str, bad: list[BadShard], seconds: dict[Key, float]) -> list[RepairTask]:
        """Say which shards of a folder to seal, from which rows."""
        mode = self.variants[folder]
        donors = [shard for shard in bad if shard.fault in ("frames", "name") and _fits(shard.table, mode)]
        misplaced = [shard for shard in donors if shard.fault == "name"]
        lent = {key for shard in misplaced if shard.table for key in shard.table.keys}
        places = {shard.path for shard in misplaced}
        linked: list[Target] = []
        groups: list[tuple[list[Target], list[BadShard]]] = [(linked, misplaced)]
        for target in _targets(bad, misplaced):
            if target.path in places or not lent.isdisjoint(target.keys):
                linked.append(target)
            else:
                groups.append(([target], []))
        tasks: list[RepairTask] = []
        for targets, lenders in groups:
            own = [shard for shard in donors if shard.fault == "frames" and shard.path in {t.path for t in targets}]
            tasks.append(RepairTask(mode, tuple(targets), (*own, *lenders), self._paths_of(targets), seconds))
        return [task for task in tasks if task.targets]

    def _paths_of(self, targets: list[Target]) -> dict[str, str]:
        names = {key.name for target in targets for key in target.keys}
        clips = zip(self.clips["fname"], self.clips["path"], strict=True)
        return {name: os.path.abspath(path) for name, path in clips if name in names}  # a worker may run elsewhere

    def _long_clips(self) -> dict[Key, float]:
        """Give the length of the clips that an earlier, higher limit let in."""
        rows = (row for folder in self.variants for row in scan_index(self.store / folder)[0].rows)
        return {row.key: row.seconds for row in rows if row.has_frames and row.seconds > MAX_CLIP_MINUTES * 60}

    def _work(self, tasks: list[RepairTask]) -> None:
        total = sum(len(target.keys) for task in tasks for target in task.targets)
        done = 0
        with closing(run_tasks(mend_shards, tasks, jobs=self.jobs)) as results:
            for mended in (mended for result in results for mended in result):
                done += len(mended.target.keys)
                self._note(mended)
                if self.progress:
                    self.progress("repair", done, total)

    def _note(self, mended: Mended) -> None:
        path = mended.target.path
        if mended.error:
            self.report.left.append((path, mended.error))
            return
        if mended.written:
            self.report.repaired.append(mended.written)
        if (mended.written is None or mended.written.path != path) and os.path.lexists(path):
            self._move(path, _say_lost(len(mended.lost)))


def _say_lost(n_clips: int) -> str:
    if not n_clips:
        return "its clips are not those that its name stands for"
    words = "is lost: its file is" if n_clips == 1 else "are lost: their files are"
    return f"{n_clips} of its clips {words} gone from this corpus or changed (another one may have it)"


def _is_copy(shard: BadShard) -> bool:
    """Tell whether a file is a shard under another generation's name: sealed so, it would supersede newer rows."""
    return (
        shard.fault == "name"
        and shard.block is not None
        and shard.block.shard_name.split("-")[-1] == shard.path.name.split("-")[-1]
    )


def _fits(table: ShardTable | None, mode: FeatureMode) -> bool:
    return table is not None and (table.mode, table.fingerprint, table.n_mels, table.dtype.name) == (
        mode.name,
        mode.fingerprint(),
        mode.n_mels,
        mode.dtype,
    )


def _targets(bad: list[BadShard], misplaced: list[BadShard]) -> Iterator[Target]:
    """Yield the shards to be sealed: those that are bad, and those that lie under another name alone."""
    promised = {shard.block.shard_name: shard.block.sha256_all for shard in bad if shard.block}
    keys = {shard.path: shard.keys for shard in bad if shard.keys and shard.fault != "folder" and not _is_copy(shard)}
    for shard in misplaced:
        if shard.block and shard.table and is_proven(shard.table.keys, shard.block.shard_name):
            place = shard.path.with_name(shard.block.shard_name)
            if not os.path.lexists(place):
                keys.setdefault(place, tuple(shard.table.keys))
    return (Target(path, held, promised.get(path.name)) for path, held in sorted(keys.items()))
