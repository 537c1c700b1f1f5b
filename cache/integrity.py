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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from cache.errors import IntegrityError, NotFoundError
from cache.hdf5 import check_hdf5
from cache.layout import SHARD_GLOB, USER_BLOCK_BYTES, Key, UserBlock, foreign_to
from cache.regular import open_regular
from cache.salvage import KeyRing
from cache.table import HINT, ShardTable, inspect_shard, structure_spans

_NAMED = 3  # so many clips are named in a reason

Fault = Literal["frames", "structure", "name", "folder", "file"]
"""What is wrong with a shard: the frames of some clips; the bytes outside the frames; a whole structure that was sealed
under another name; features of another mode or fingerprint than its folder's; nothing that can be read as a file."""


class DamagedFramesError(IntegrityError):
    """The frames of a shard fail their checks.

    Parameters
    ----------
    reason : str
    rows : list of int
        The rows whose frames are damaged, or may be.
    """

    def __init__(self, reason: str, rows: list[int]) -> None:
        super().__init__(reason)
        self.rows = rows


@dataclass(frozen=True)
class BadShard:
    """A shard that fails its checks.

    Attributes
    ----------
    path : Path
    reason : str
        One sentence, without the path.
    clips : list of str
        The names of the clips that cannot be read because of it, as far as they can be proven. Where only frames are
        damaged, these are the clips whose frames are.
    fault : Fault
    table : ShardTable, optional
        What the file holds, where its structure is whole.
    damaged : tuple of int
        The rows of ``table`` whose frames are damaged, or may be.
    block : UserBlock, optional
        The user block, where it is whole.
    keys : tuple of Key
        The clips that a shard of this file name holds; empty where nothing proves them.
    """

    path: Path
    reason: str
    clips: list[str] = field(default_factory=list)
    fault: Fault = "structure"
    table: ShardTable | None = None
    damaged: tuple[int, ...] = ()
    block: UserBlock | None = None
    keys: tuple[Key, ...] = ()


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
    DamagedFramesError
        Clips that do not match their CRC-32 or hold values that are not finite, or bytes that do not match their
        SHA-256. The reason stands without the path.
    IntegrityError
        HDF5 reads other values than the bytes hold.
    """
    try:
        with open_regular(table.path) as file:
            _check_bytes(file, table)
        check_hdf5(table)
    except IntegrityError:
        raise
    except OSError as error:
        msg = f"it cannot be read ({error.strerror or error})"
        raise DamagedFramesError(msg, _rows_with_frames(table)) from error


def _check_bytes(file: BinaryIO, table: ShardTable) -> None:
    """Read everything after the user block once, in the order of the file."""
    before, *after = structure_spans(table.block)
    digest = hashlib.sha256(_read_span(file, *before))
    damaged: list[int] = []
    infinite: list[int] = []
    row_bytes = table.n_mels * table.dtype.itemsize
    edges = (table.block.frames_offset + row_bytes * np.append(table.start, table.stop[-1:])).tolist()
    for row, (crc, first, last) in enumerate(zip(table.rows.crc32.tolist(), edges[:-1], edges[1:], strict=True)):
        data = _read_span(file, first, last)
        digest.update(data)
        if first == last:
            continue
        if zlib.crc32(data) != crc:
            damaged.append(row)
        elif not np.isfinite(np.frombuffer(data, table.dtype)).all():
            infinite.append(row)
    for span in after:
        digest.update(_read_span(file, *span))
    wrong = {"do not match their CRC-32": damaged, "hold values that are not finite": infinite}
    if reasons := [_say(what, rows, table) for what, rows in wrong.items() if rows]:
        raise DamagedFramesError("; ".join(reasons), sorted(damaged + infinite))
    if digest.digest() != table.block.sha256_all:
        msg = "the bytes after the user block do not match their SHA-256"
        raise DamagedFramesError(msg, _rows_with_frames(table))


def _read_span(file: BinaryIO, first: int, last: int) -> bytes:
    if first == last:
        return b""
    file.seek(first)
    return file.read(last - first)


def _rows_with_frames(table: ShardTable) -> list[int]:
    return [row for row, problem in enumerate(table.problems) if not problem]


def _say(what: str, rows: list[int], table: ShardTable) -> str:
    listed = ", ".join(repr(table.names[row]) for row in rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")
    return f"the frames of {len(rows)} of its {len(table.names)} clips {what}: {listed}"


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
    paths, bad = _list_shards(folder)
    if not paths and not bad:
        msg = f"the store {folder} holds no shard; run cli featurize, or name another with --store"
        raise NotFoundError(msg)
    whole: list[ShardTable] = []
    for path in paths:
        verdict = _examine(path)
        if isinstance(verdict, ShardTable):
            whole.append(verdict)
        else:
            bad.append(verdict)
    strangers = _find_strangers(whole)
    whole = [table for table in whole if table.path not in {shard.path for shard in strangers}]
    return VerifyReport(len(paths), sorted(_with_clips([*bad, *strangers], whole), key=lambda shard: shard.path))


def _list_shards(folder: Path) -> tuple[list[Path], list[BadShard]]:
    """List what is called a shard in a folder and the folders in it, and name the folders that cannot be listed."""
    paths: list[Path] = []
    bad: list[BadShard] = []
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        if place != folder and place.match(SHARD_GLOB):
            continue
        try:
            paths.extend(path for path in sorted(place.iterdir()) if path.match(SHARD_GLOB))
        except OSError as error:
            bad.append(BadShard(place, f"the folder cannot be listed ({error.strerror})", fault="file"))
    return paths, bad


def _examine(path: Path) -> ShardTable | BadShard:
    """Check a shard by itself; a bad one's clips are told later."""
    block: UserBlock | None = None
    try:
        with open_regular(path) as file:
            head = file.read(USER_BLOCK_BYTES)
    except OSError as error:
        return BadShard(path, f"it cannot be read ({error.strerror or error})", fault="file")
    try:
        block = UserBlock.unpack(head)
        table = inspect_shard(path, name=path.name)
    except IntegrityError as error:
        return _examine_misnamed(BadShard(path, str(error), block=block))
    bad = _examine_frames(BadShard(path, "", fault="frames", table=table, block=block))
    bad = _examine_folder(bad)
    return bad if bad.reason else table


def _examine_misnamed(bad: BadShard) -> BadShard:
    """See whether a shard that fails its checks passes them under the name that it was sealed under."""
    if bad.block is None or bad.block.shard_name == bad.path.name:
        return bad
    try:
        table = inspect_shard(bad.path, name=bad.block.shard_name)
    except IntegrityError:
        return bad
    return _examine_folder(_examine_frames(replace(bad, fault="name", table=table)))


def _examine_frames(bad: BadShard) -> BadShard:
    try:
        if bad.table is not None:
            check_frames(bad.table)
    except IntegrityError as error:
        rows = error.rows if isinstance(error, DamagedFramesError) else []
        return replace(bad, reason=_join(bad.reason, str(error)), damaged=tuple(rows))
    return bad


def _examine_folder(bad: BadShard) -> BadShard:
    if bad.table is None or not foreign_to(bad.path.parent.absolute().name, bad.table.mode, bad.table.fingerprint):
        return bad
    return _stranger(bad, f"its folder is for {bad.path.parent.absolute().name}")


def _stranger(bad: BadShard, other: str) -> BadShard:
    held = "" if bad.table is None else bad.table.features
    return replace(bad, reason=_join(f"it holds {held}, {other}", bad.reason), fault="folder")


def _join(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def _find_strangers(tables: list[ShardTable]) -> list[BadShard]:
    """Find the shards whose features differ from those of most shards in the same folder."""
    strangers: list[BadShard] = []
    for folder in {table.path.parent for table in tables}:
        beside = [table for table in tables if table.path.parent == folder]
        (usual, _), *others = Counter(table.features for table in beside).most_common()
        if others:
            strangers.extend(
                _stranger(BadShard(table.path, "", table=table), f"the other shards {usual}")
                for table in beside
                if table.features != usual
            )
    return strangers


def _with_clips(bad: list[BadShard], whole: list[ShardTable]) -> list[BadShard]:
    """Add to each shard which clips cannot be read because of it."""
    ring = KeyRing([*(shard.table for shard in bad if shard.table is not None), *whole])
    paths = {table.path for table in whole}
    return [_with_own_clips(shard, ring, paths) for shard in bad]


def _with_own_clips(bad: BadShard, ring: KeyRing, whole: set[Path]) -> BadShard:
    if bad.table is not None and bad.fault in ("frames", "folder"):
        rows = bad.damaged if bad.fault == "frames" and bad.damaged else range(len(bad.table.names))
        return replace(bad, clips=[bad.table.names[row] for row in rows], keys=tuple(bad.table.keys))
    keys = ring.keys_of(bad.path, bad.path.name)
    sealed_name = bad.block.shard_name if bad.block else bad.path.name
    # What was sealed under another name is in doubt too, unless it is whole there.
    elsewhere = sealed_name != bad.path.name and bad.path.parent / sealed_name not in whole
    held = ring.keys_of(bad.path, sealed_name) if elsewhere else []
    names = sorted({key.name for key in [*keys, *held]})
    told = f"its name stands for {len(keys)} clips" if keys else "nothing proves which clips its name stands for"
    return replace(bad, clips=names, keys=tuple(keys), reason=_join(bad.reason, told))
