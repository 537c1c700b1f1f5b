"""Whether a shard is what was sealed: every byte, checked.

Conventions
-----------
A check reads the file once, clip by clip, in bounded memory, and never maps it (a file that is cut short while it is
mapped ends the process). Reasons are one sentence; the path is told apart from them.
"""

import hashlib
import os
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cache.errors import IntegrityError, NotFoundError
from cache.hdf5 import check_hdf5
from cache.layout import SHARD_GLOB
from cache.table import HINT, ShardTable, inspect_shard, structure_spans

_NAMED = 3  # so many clips are named in a reason


@dataclass(frozen=True)
class BadShard:
    """A shard that fails its checks.

    Attributes
    ----------
    path : Path
    reason : str
        One sentence, without the path.
    clips : list of str
        The names that the shard holds, as far as they can be read; each has to be computed anew.
    """

    path: Path
    reason: str
    clips: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class VerifyReport:
    """What :func:`verify_store` found.

    Attributes
    ----------
    shards : int
        How many were checked.
    bad : list of BadShard
    """

    shards: int
    bad: list[BadShard]

    @property
    def ok(self) -> bool:
        """Whether every shard passed."""
        return not self.bad


def check_shard(path: str | os.PathLike[str], *, frames: bool = True, name: str | None = None) -> ShardTable:
    """Check a shard: user block, length, hashes, HDF5 structure, rows, and the frames of every clip.

    Parameters
    ----------
    path : path
    frames : bool
        False leaves the frames' bytes unread.
    name : str, optional
        The file name that the user block must give, where it is not that of ``path``.

    Returns
    -------
    ShardTable

    Raises
    ------
    IntegrityError
        The first check that fails, with the path and the next step.
    """
    path = Path(path)
    try:
        table = inspect_shard(path, name=path.name if name is None else name)
        if frames:
            check_frames(table)
    except IntegrityError as error:
        msg = f"shard {path} fails its checks: {error}; {HINT}"
        raise IntegrityError(msg) from error
    return table


def check_frames(table: ShardTable) -> None:
    """Check the frames of a shard whose other bytes are known to be whole.

    Raises
    ------
    IntegrityError
        The reason, without the path: clips that do not match their CRC-32 or hold values that are not finite, bytes
        that do not match their SHA-256, or HDF5 reading other values than the bytes hold.
    """
    try:
        with table.path.open("rb") as file:
            _check_bytes(file, table)
        check_hdf5(table)
    except IntegrityError:
        raise
    except OSError as error:
        msg = f"it cannot be read ({error})"
        raise IntegrityError(msg) from error


def _check_bytes(file: BinaryIO, table: ShardTable) -> None:
    """Read everything after the user block once, in the order of the file."""
    before, *after = structure_spans(table.block)
    digest = hashlib.sha256(_read_span(file, *before))
    damaged: list[str] = []
    infinite: list[str] = []
    row_bytes = table.n_mels * table.dtype.itemsize
    edges = (table.block.frames_offset + row_bytes * np.append(table.start, table.stop[-1:])).tolist()
    for name, crc, first, last in zip(table.names, table.rows.crc32.tolist(), edges[:-1], edges[1:], strict=True):
        data = _read_span(file, first, last)
        digest.update(data)
        if first == last:
            continue
        if zlib.crc32(data) != crc:
            damaged.append(name)
        elif not np.isfinite(np.frombuffer(data, table.dtype)).all():
            infinite.append(name)
    for span in after:
        digest.update(_read_span(file, *span))
    _refuse(damaged, "do not match their CRC-32", table)
    _refuse(infinite, "hold values that are not finite", table)
    if digest.digest() != table.block.sha256_all:
        raise IntegrityError("the bytes after the user block do not match their SHA-256")


def _read_span(file: BinaryIO, first: int, last: int) -> bytes:
    if first == last:
        return b""
    file.seek(first)
    return file.read(last - first)


def _refuse(names: list[str], what: str, table: ShardTable) -> None:
    if names:
        listed = ", ".join(map(repr, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
        msg = f"the frames of {len(names)} of its {len(table.names)} clips {what}: {listed}"
        raise IntegrityError(msg)


def verify_store(folder: str | os.PathLike[str]) -> VerifyReport:
    """Check every byte of every shard of a store.

    Parameters
    ----------
    folder : path
        A mode's folder, or the store that holds the folders of several modes.

    Returns
    -------
    VerifyReport
        Shards in the order of their paths.

    Raises
    ------
    NotFoundError
        There is no such folder, or no shard in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"there is no store at {folder}: run `cli featurize`, or give --store"
        raise NotFoundError(msg)
    paths = sorted(path for pattern in (SHARD_GLOB, f"*/{SHARD_GLOB}") for path in folder.glob(pattern))
    if not paths:
        msg = f"the store {folder} holds no shard; run cli featurize, or name another with --store"
        raise NotFoundError(msg)
    whole: list[ShardTable] = []
    bad: list[BadShard] = []
    for path in paths:
        verdict = _verify_shard(path)
        if isinstance(verdict, ShardTable):
            whole.append(verdict)
        else:
            bad.append(verdict)
    bad.extend(_strangers(whole))
    return VerifyReport(len(paths), sorted(bad, key=lambda shard: shard.path))


def _verify_shard(path: Path) -> ShardTable | BadShard:
    names: list[str] = []
    try:
        table = inspect_shard(path, name=path.name)
        names = table.names
        check_frames(table)
    except IntegrityError as error:
        return BadShard(path, str(error), names)
    return table


def _strangers(tables: list[ShardTable]) -> list[BadShard]:
    """Find the shards whose features differ from those of most shards in the same folder."""
    strangers: list[BadShard] = []
    for folder in {table.path.parent for table in tables}:
        beside = [table for table in tables if table.path.parent == folder]
        (usual, _), *others = Counter(table.features for table in beside).most_common()
        if others:
            strangers.extend(
                BadShard(table.path, f"it holds {table.features}, the other shards {usual}", table.names)
                for table in beside
                if table.features != usual
            )
    return strangers
