"""Removing what nothing refers to.

Conventions
-----------
First a plan that can be read and compared, then its removals, under the store's lock. What can go:

- ``leftover``: a temporary file of a killed run,
- ``folder``: the shards of a mode's folder whose fingerprint nobody knows any more,
- ``shard``: a shard that holds only rows superseded by newer ones of the same names,
- ``rows``: such rows of a shard that holds others as well; it is sealed anew without them, then removed.

Shards that fail their checks, files that earmark did not write, and the current row of every name stay. Which row is
current stays as it is, at every moment: a run that is killed halfway loses nothing, and the next one ends its work.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cache.errors import InputError, IntegrityError
from cache.integrity import check_shard
from cache.inventory import ModeFolder, Place, scan_store, total_bytes
from cache.layout import Key, folder_name, shard_filename
from cache.lock import StoreLock
from cache.plan import ShardPlan
from cache.space import require_space
from cache.writer import read_rows, write_shard

_ROW_BYTES = 256  # of a row outside the frames, about
_NAMED = 3

_UNKNOWN_MODE = "its mode is not known here: give the --config that defines it, or remove the folder by hand"


@dataclass(frozen=True)
class Removal:
    """One thing to remove.

    Attributes
    ----------
    kind : {"leftover", "folder", "shard", "rows"}
    path : Path
        The file or folder.
    n_bytes : int
        What is freed, about.
    reason : str
    files : tuple of Path
        What is unlinked.
    keys : tuple of Key
        For ``rows``, what the shard holds from then on; sorted.
    """

    kind: Literal["leftover", "folder", "shard", "rows"]
    path: Path
    n_bytes: int
    reason: str
    files: tuple[Path, ...]
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True)
class PrunePlan:
    """What :func:`prune` is going to do; equal plans do the same.

    Attributes
    ----------
    store : Path
    known : frozenset of str
        Fingerprints that something refers to.
    modes : frozenset of str or None
        Names of modes that are known; None for all.
    keep : frozenset of Key
        Superseded rows that something refers to.
    removals : tuple of Removal
    left_alone : tuple of (Path, str)
        What looks superfluous or broken but stays, and why.
    """

    store: Path
    known: frozenset[str]
    modes: frozenset[str] | None
    keep: frozenset[Key]
    removals: tuple[Removal, ...]
    left_alone: tuple[tuple[Path, str], ...]

    @property
    def n_bytes(self) -> int:
        """What is freed, about."""
        return sum(removal.n_bytes for removal in self.removals)


@dataclass(frozen=True)
class PruneReport:
    """What :func:`prune` did.

    Attributes
    ----------
    freed_bytes : int
    left_alone : tuple of (Path, str)
        As in the plan, and the shards whose frames turned out to be damaged.
    """

    freed_bytes: int
    left_alone: tuple[tuple[Path, str], ...]


def plan_prune(
    store: str | os.PathLike[str],
    *,
    known: Collection[str],
    modes: Collection[str] | None = None,
    keep: Collection[Key] = frozenset(),
) -> PrunePlan:
    """Decide what can go; reads only, and takes no lock.

    Parameters
    ----------
    store : path
        The store that holds the modes' folders.
    known : collection of str
        Fingerprints of folders that stay.
    modes : collection of str, optional
        Names of modes: folders of others stay too, as somebody may have defined them elsewhere.
    keep : collection of Key
        Rows that stay even if superseded: a store may serve corpora with equal names.

    Raises
    ------
    NotFoundError
        There is no such store.
    InputError
        A mode's folder is given instead of the store.
    """
    root = Path(store).absolute()
    removals = [_leftover(path) for path in sorted(root.glob(".lock.owner.*"))]
    left_alone: list[tuple[Path, str]] = []
    kept = frozenset(keep)
    for folder in scan_store(store):
        if folder.path == root:
            message = f"{store} is a mode's folder: give the store that holds it, {root.parent}"
            raise InputError(message)
        removals += map(_leftover, folder.leftovers)
        left_alone += [(shard.path, f"fails its checks: {shard.reason}") for shard in folder.bad]
        if not folder.tables:
            continue
        strange = _strange(folder)
        if strange:
            left_alone.append((folder.path, strange))
        elif folder.tables[0].fingerprint not in known and modes is not None and folder.tables[0].mode not in modes:
            left_alone.append((folder.path, _UNKNOWN_MODE))
        elif folder.tables[0].fingerprint not in known:
            removals.append(_whole_folder(folder))
            left_alone += _unknown_files(folder)
        else:
            found = _superseded(folder, kept)
            if _has_ties(folder) and any(removal.kind == "rows" for removal in found):
                found = [removal for removal in found if removal.kind == "shard"]
                left_alone.append(
                    (folder.path, "rows of one name and generation differ: their shards stay as they are")
                )
            removals += found
    names = None if modes is None else frozenset(modes)
    return PrunePlan(root, frozenset(known), names, kept, tuple(removals), tuple(left_alone))


def _leftover(path: Path) -> Removal:
    return Removal("leftover", path, total_bytes([path]), "a run that was killed left it behind", (path,))


def _strange(folder: ModeFolder) -> str:
    """Say why a folder's shards cannot be judged by its name; empty where they can."""
    for table in folder.tables:
        if (
            folder_name(table.mode, table.fingerprint) != folder.path.name
            or table.features != folder.tables[0].features
        ):
            return f"{table.path.name} in it holds {table.features}"
    return ""


def _whole_folder(folder: ModeFolder) -> Removal:
    files = tuple(table.path for table in folder.tables)
    clips = len(folder.by_name)
    reason = f"neither a mode of this version nor a run has its settings ({clips} clips in {len(files)} shards)"
    return Removal("folder", folder.path, total_bytes(files), reason, files)


def _unknown_files(folder: ModeFolder) -> Iterator[tuple[Path, str]]:
    known = {table.path for table in folder.tables} | {shard.path for shard in folder.bad} | set(folder.leftovers)
    return ((path, "earmark did not write it") for path in sorted(folder.path.iterdir()) if path not in known)


def _superseded(folder: ModeFolder, keep: frozenset[Key]) -> list[Removal]:
    """Plan for each shard what is to become of its superseded rows."""
    gone: dict[int, set[int]] = {}
    for place, key in folder.superseded.items():
        if key not in keep or folder.by_key[key] != place:
            gone.setdefault(place.shard, set()).add(place.row)
    removals = [_without(folder, shard, rows) for shard, rows in sorted(gone.items())]
    # After a kill between the two steps of a rewrite, the shard that it sealed is there already.
    sealed = {_target(removal) for removal in removals if removal.kind == "rows"}
    return [removal for removal in removals if removal.path not in sealed]


def _without(folder: ModeFolder, shard: int, rows: set[int]) -> Removal:
    table = folder.tables[shard]
    names = [table.names[row] for row in sorted(rows)]
    newer = folder.tables[folder.by_name[names[0]].shard].path.name
    listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    reason = f"{len(rows)} of its {len(table.names)} rows have newer ones: {listed} (in {newer})"
    if len(rows) == len(table.names):
        return Removal("shard", table.path, total_bytes([table.path]), reason, (table.path,))
    n_bytes = sum(folder.frames_bytes(Place(shard, row)) + _ROW_BYTES for row in rows)
    keys = tuple(key for row, key in enumerate(table.keys) if row not in rows)
    return Removal("rows", table.path, n_bytes, reason, (table.path,), keys)


def _target(removal: Removal) -> Path:
    """Give the path of the shard that a rewrite seals."""
    generation = int(removal.path.name.split("-")[1])
    return removal.path.with_name(shard_filename(removal.keys, generation))


def _has_ties(folder: ModeFolder) -> bool:
    """Tell whether file names decide which of several rows is current: a shard sealed anew would have another one.

    Without ties, what is current follows from the generations, and removals change nothing, in whatever order.
    """
    seen: dict[tuple[int, str], tuple[Key, int, str]] = {}
    for table in folder.tables:
        for key, crc32, problem in zip(table.keys, table.rows.crc32.tolist(), table.problems, strict=True):
            row = key, crc32, problem
            if seen.setdefault((table.generation, key.name), row) != row:
                return True
    return False


def prune(plan: PrunePlan, *, wait: bool = False) -> PruneReport:
    """Remove what a plan lists, under the store's lock.

    Readers that were opened before name the shard that has gone, and have to be opened anew.

    Parameters
    ----------
    plan : PrunePlan
    wait : bool
        Wait for another run to end, instead of raising an error.

    Raises
    ------
    LockedError
        Another run holds the store.
    InputError
        The store is not what it was when the plan was made.
    NoSpaceError
        There is no room for a shard that is sealed anew; nothing is lost.
    """
    with StoreLock(plan.store, wait=wait):
        if _lasting(plan_prune(plan.store, known=plan.known, modes=plan.modes, keep=plan.keep)) != _lasting(plan):
            message = f"{plan.store} has changed since the list was made: run cli cache prune again"
            raise InputError(message)
        # Whoever takes the lock clears leftovers away.
        freed = sum(removal.n_bytes for removal in plan.removals if removal.kind == "leftover")
        damaged: list[tuple[Path, str]] = []
        for removal in _lasting(plan)[0]:
            try:
                freed += _remove(removal)
            except IntegrityError as error:
                damaged.append((removal.path, str(error)))
    return PruneReport(freed, plan.left_alone + tuple(damaged))


def _lasting(plan: PrunePlan) -> tuple[list[Removal], tuple[tuple[Path, str], ...]]:
    return [removal for removal in plan.removals if removal.kind != "leftover"], plan.left_alone


def _remove(removal: Removal) -> int:
    freed = total_bytes(removal.files)
    if removal.kind == "rows":
        freed -= _rewrite(removal)
    for path in removal.files:
        path.unlink(missing_ok=True)
    if removal.kind == "folder" and not any(removal.path.iterdir()):
        removal.path.rmdir()
    return freed


def _rewrite(removal: Removal) -> int:
    """Seal the shard's rows that stay under their own name; give the size of the new file."""
    table = check_shard(removal.path)
    plan = ShardPlan(removal.keys, table.generation)
    require_space(removal.path.parent, table.block.file_bytes)
    kept = set(removal.keys)
    record = write_shard(
        removal.path.parent,
        plan,
        read_rows(table, [row for row, key in enumerate(table.keys) if key in kept]),
        settings=table.settings,
        fingerprint=table.fingerprint,
        mode=table.mode,
        versions=table.versions,
        n_mels=table.n_mels,
        dtype=table.dtype,
    )
    return record.n_bytes
