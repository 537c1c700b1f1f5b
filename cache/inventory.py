"""What a store holds, folder by folder.

Conventions
-----------
Sizes are in bytes. Shards are ordered as in :mod:`cache.index`; a row is **superseded** where a later row has its name.
A shard that fails the checks of the bytes outside its frames is told with its reason, and stops nothing.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from cache.errors import IntegrityError, NotFoundError
from cache.integrity import BadShard
from cache.layout import TEMP_SUFFIX, Key
from cache.table import ShardTable, inspect_shard, list_folder, shard_paths


class Place(NamedTuple):
    """Where a row stands: the position of its shard among the whole ones, and its row there."""

    shard: int
    row: int


@dataclass(frozen=True, eq=False)
class ModeFolder:
    """A mode's folder, as far as it can be read.

    Attributes
    ----------
    path : Path
    tables : tuple of ShardTable
        The whole shards, in their order.
    bad : tuple of BadShard
        The others.
    leftovers : tuple of Path
        Temporary files, of killed writers or of one that is at work.
    """

    path: Path
    tables: tuple[ShardTable, ...]
    bad: tuple[BadShard, ...]
    leftovers: tuple[Path, ...]

    def _places(self) -> Iterator[tuple[Key, Place]]:
        for shard, table in enumerate(self.tables):
            for row, key in enumerate(table.keys):
                yield key, Place(shard, row)

    @cached_property
    def by_name(self) -> dict[str, Place]:
        """The current row of each name."""
        return {key.name: place for key, place in self._places()}

    @cached_property
    def by_key(self) -> dict[Key, Place]:
        """The current row of each (name, digest)."""
        return dict(self._places())

    @cached_property
    def superseded(self) -> dict[Place, Key]:
        """The rows that are not the current ones of their names."""
        current = self.by_name
        return {place: key for key, place in self._places() if current[key.name] != place}

    def frames_bytes(self, place: Place) -> int:
        """Give the size of a row's frames."""
        table = self.tables[place.shard]
        n_frames = int(table.stop[place.row] - table.start[place.row])
        return n_frames * table.n_mels * table.dtype.itemsize


def scan_store(store: str | os.PathLike[str]) -> list[ModeFolder]:
    """Read the rows of every mode's folder.

    Parameters
    ----------
    store : path
        The store that holds the folders of several modes, or a mode's folder.

    Returns
    -------
    list of ModeFolder
        Those that hold shards or leftovers, by name.

    Raises
    ------
    NotFoundError
        There is no such store.
    """
    found = (_read_folder(path) for path in _folders(store))
    return [folder for folder in found if folder.tables or folder.bad or folder.leftovers]


def shard_folders(store: str | os.PathLike[str], modes: Collection[str] = ()) -> list[Path]:
    """List the modes' folders that hold shards.

    Parameters
    ----------
    store : path
        As for :func:`scan_store`.
    modes : collection of str
        Names of modes; all by default.

    Raises
    ------
    NotFoundError
        There is no such store, or no shard of these modes in it.
    """
    there = [path for path in _folders(store) if shard_paths(path)]
    found = [path for path in there if not modes or path.name.rpartition("-")[0] in modes]
    if not found:
        what = f"no shard of mode {' or '.join(modes)}" if there else "no shard"
        message = f"the store {os.fspath(store)} holds {what}; run cli featurize, or name another with --store"
        raise NotFoundError(message)
    return found


def _folders(store: str | os.PathLike[str]) -> list[Path]:
    root = Path(store).absolute()
    if not root.is_dir():
        message = f"the store {os.fspath(store)} is not there; run cli featurize, or name another with --store"
        raise NotFoundError(message)
    return [path for path in (root, *list_folder(root, "*-*")) if path.is_dir()]


def _read_folder(path: Path) -> ModeFolder:
    tables: list[ShardTable] = []
    bad: list[BadShard] = []
    for shard in shard_paths(path):
        try:
            tables.append(inspect_shard(shard, name=shard.name))
        except IntegrityError as error:
            bad.append(BadShard(shard, str(error)))
    return ModeFolder(path, tuple(tables), tuple(bad), tuple(list_folder(path, f".shard-*{TEMP_SUFFIX}")))


def take_inventory(store: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the modes of a store.

    Parameters
    ----------
    store : path
        As for :func:`scan_store`.

    Returns
    -------
    list of dict
        folder, mode, fingerprint, clips (current, with frames), quarantined, seconds (of the clips), rows, superseded
        (rows), superseded_bytes, shards, bytes (of all shards), settings (empty where no shard can be read), versions
        (each set of libraries that took part), leftovers, leftover_bytes, bad (path and reason); by folder.

    Raises
    ------
    NotFoundError
        There is no such store, or no shard in it.
    """
    return [_mode_inventory(_read_folder(path)) for path in shard_folders(store)]


def _mode_inventory(folder: ModeFolder) -> dict[str, Any]:
    mode, _, fingerprint = folder.path.name.rpartition("-")
    first = folder.tables[0] if folder.tables else None
    current = [(folder.tables[shard], row) for shard, row in folder.by_name.values()]
    seconds = [float(table.rows.seconds[row]) for table, row in current if not table.problems[row]]
    paths = [table.path for table in folder.tables] + [shard.path for shard in folder.bad]
    versions: list[dict[str, Any]] = []
    for table in folder.tables:
        if table.versions not in versions:
            versions.append(table.versions)
    return {
        "folder": folder.path.name,
        "mode": first.mode if first else mode,
        "fingerprint": first.fingerprint if first else fingerprint,
        "clips": len(seconds),
        "quarantined": len(current) - len(seconds),
        "seconds": round(sum(seconds), 3),
        "rows": sum(len(table.names) for table in folder.tables),
        "superseded": len(folder.superseded),
        "superseded_bytes": sum(map(folder.frames_bytes, folder.superseded)),
        "shards": len(paths),
        "bytes": total_bytes(paths),
        "settings": first.settings if first else {},
        "versions": versions,
        "leftovers": [path.name for path in folder.leftovers],
        "leftover_bytes": total_bytes(folder.leftovers),
        "bad": [{"path": str(shard.path), "reason": shard.reason} for shard in folder.bad],
    }


def total_bytes(paths: Iterable[Path]) -> int:
    """Add up the sizes of files; one that has gone meanwhile counts as empty."""
    total = 0
    for path in paths:
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # a run at work has just given it its name
            continue
    return total
