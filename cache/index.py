"""Which rows a mode's folder holds, without their frames.

Conventions
-----------
Of several rows of one name, or of one key, the **current** one stands in the shard with the highest generation, and of
those in the shard whose file name sorts last. Reading an index touches only the bytes outside the frames.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from cache.errors import IntegrityError
from cache.layout import Key
from cache.table import ShardTable, read_table, shard_paths


class IndexRow(NamedTuple):
    """One row of a store.

    Attributes
    ----------
    key : Key
        Name of the clip and digest of its source.
    n_frames : int >= 0
        0 where the clip has a problem.
    problem : str
        Why the clip has no frames; empty where it has some.
    seconds : float
        Length of the decoded source.
    generation : int
        Of the shard.
    shard : str
        File name of the shard.
    """

    key: Key
    n_frames: int
    problem: str
    seconds: float
    generation: int
    shard: str

    @property
    def has_frames(self) -> bool:
        """Whether the clip was featurized; if not, ``problem`` says why."""
        return not self.problem


@dataclass(frozen=True)
class StoreIndex:
    """The rows of a mode's folder.

    Attributes
    ----------
    rows : tuple of IndexRow
        Sorted by generation, then by shard, then by key: a later row supersedes an earlier one of the same name.
    """

    rows: tuple[IndexRow, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def by_key(self) -> dict[Key, IndexRow]:
        """The current row of each (name, digest)."""
        return {row.key: row for row in self.rows}

    @cached_property
    def by_name(self) -> dict[str, IndexRow]:
        """The current row of each name."""
        return {row.key.name: row for row in self.rows}

    @cached_property
    def generations(self) -> dict[str, int]:
        """The highest generation of the shards that hold a name."""
        return {row.key.name: row.generation for row in self.rows}


def read_index(folder: str | os.PathLike[str]) -> StoreIndex:
    """Read the rows of a mode's folder.

    Parameters
    ----------
    folder : path
        ``<store>/<mode>-<fingerprint>``; where there is none, the index is empty.

    Returns
    -------
    StoreIndex

    Raises
    ------
    IntegrityError
        A shard fails the checks of the bytes outside its frames; the first one is named.
    """
    return StoreIndex(tuple(row for path in shard_paths(folder) for row in _rows(read_table(path))))


def scan_index(folder: str | os.PathLike[str]) -> tuple[StoreIndex, list[Path]]:
    """Read the rows of a mode's folder as far as its shards are whole.

    Parameters
    ----------
    folder : path
        As for :func:`read_index`.

    Returns
    -------
    StoreIndex
        The rows of the shards that pass the checks of the bytes outside their frames.
    list of Path
        The shards that fail them; :func:`cache.integrity.verify_store` gives the reasons.
    """
    rows: list[IndexRow] = []
    bad: list[Path] = []
    for path in shard_paths(folder):
        try:
            rows.extend(_rows(read_table(path)))
        except IntegrityError:
            bad.append(path)
    return StoreIndex(tuple(rows)), bad


def _rows(table: ShardTable) -> Iterator[IndexRow]:
    n_frames = (table.stop - table.start).tolist()
    columns = zip(table.keys, n_frames, table.problems, table.rows.seconds.tolist(), strict=True)
    return (IndexRow(*row, table.generation, table.path.name) for row in columns)
