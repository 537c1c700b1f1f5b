"""Sealing shards: a shard has its final name only when it is whole.

Conventions
-----------
Temporary sibling → write → close → reopen and check every byte → fsync → rename → fsync of the folder. HDF5 never
writes to the disk: it lays the structure out in memory, with room for the frames at the end, and plain writes put both
into the file. A full disk therefore raises an error, where HDF5 would bring down the process, and frames of the stored
type are never copied.
"""

import errno
import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.columns import Rows, Texts
from cache.errors import InputError, IntegrityError, NoSpaceError
from cache.hdf5 import Header, Layout, lay_out
from cache.integrity import check_shard
from cache.layout import (
    MAX_FRAMES_BYTES,
    TEMP_SUFFIX,
    USER_BLOCK_BYTES,
    Key,
    UserBlock,
    encode_name,
    parse_dtype,
)
from cache.plan import ShardPlan
from cache.regular import open_regular
from cache.space import NO_SPACE_ERRNOS
from cache.table import ShardTable

_MOST_PIECES = 1000  # of one write; Linux and macOS take 1024


@dataclass(frozen=True, eq=False)
class ClipRow:
    """What the featurizer hands over for one clip.

    Attributes
    ----------
    name : str
    digest : str
        SHA-256 of the source file's bytes, 64 hexadecimal digits.
    seconds : float >= 0
        Length of the decoded source; 0 where it could not be decoded.
    frames : np.ndarray [shape=(n_frames, n_mels), floating] or None
        At least one frame; None where there is a problem.
    problem : str
        Why there are no frames; empty where there are.
    """

    name: str
    digest: str
    seconds: float
    frames: npt.NDArray[np.floating] | None
    problem: str = ""

    @property
    def key(self) -> Key:
        """(name, digest)."""
        return Key(self.name, self.digest)


@dataclass(frozen=True)
class ShardRecord:
    """What is told of a sealed shard; small, so that it travels between processes.

    Attributes
    ----------
    path : Path
    n_clips : int
        Rows, those with a problem included.
    n_frames : int
    n_bytes : int
        Of the file.
    problems : tuple of (str, str)
        Name and reason of each clip without frames.
    """

    path: Path
    n_clips: int
    n_frames: int
    n_bytes: int
    problems: tuple[tuple[str, str], ...]


def write_shard(
    folder: str | os.PathLike[str],
    plan: ShardPlan,
    rows: Iterable[ClipRow],
    *,
    settings: Mapping[str, Any],
    fingerprint: str,
    mode: str,
    versions: Mapping[str, str],
    n_mels: int,
    dtype: npt.DTypeLike,
) -> ShardRecord:
    """Write, check and seal one shard.

    Parameters
    ----------
    folder : path
        The mode's folder; made where it is not there.
    plan : ShardPlan
        Names the shard and says which clips it must hold.
    rows : iterable of ClipRow
        Exactly the plan's clips, in any order. Frames of the stored type are not copied.
    settings : mapping
        The mode's settings, as JSON can hold them.
    fingerprint, mode : str
    versions : mapping of str
        Libraries that took part in the numbers.
    n_mels : int >= 1
    dtype : {"float16", "float32"}
        The stored type; frames of another type are rounded to it.

    Returns
    -------
    ShardRecord

    Raises
    ------
    InputError
        The rows are not the plan's, a row breaks a rule of :class:`ClipRow`, its values are not finite in the stored
        type, or the frames exceed 4 GiB.
    NoSpaceError
        The disk is full; nothing is left of the shard.
    IntegrityError
        What was written is not what is read back; nothing is left of the shard.
    """
    header = _header(mode, fingerprint, settings, versions, n_mels, dtype)
    stored = _checked_rows(plan, rows, header)
    path = Path(folder) / plan.filename
    layout = lay_out(header, _columns(stored))
    with _no_space_named(path.parent):
        make_folder(path.parent)
        n_bytes = _seal(path, layout, stored)
    n_frames = sum(len(row.frames) for row in stored if row.frames is not None)
    problems = tuple((row.name, row.problem) for row in stored if row.frames is None)
    return ShardRecord(path, len(stored), n_frames, n_bytes, problems)


def read_rows(table: ShardTable, rows: Iterable[int]) -> Iterator[ClipRow]:
    """Give rows of a shard back, as :func:`write_shard` takes them; their frames are not checked.

    Parameters
    ----------
    table : ShardTable
    rows : iterable of int
        Positions in the table.

    Raises
    ------
    OSError
        The file cannot be read, or ends before a row does.
    """
    row_bytes = table.n_mels * table.dtype.itemsize
    with open_regular(table.path) as file:
        for row in rows:
            first, last = int(table.start[row]), int(table.stop[row])
            file.seek(table.block.frames_offset + first * row_bytes)
            data = file.read((last - first) * row_bytes)
            if len(data) < (last - first) * row_bytes:
                raise OSError(errno.EIO, "the file ends within its frames", str(table.path))
            frames = np.frombuffer(data, table.dtype).reshape(-1, table.n_mels)
            problem = table.problems[row]
            yield ClipRow(*table.keys[row], float(table.rows.seconds[row]), None if problem else frames, problem)


def find_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Find what killed writers left behind, and what is being written.

    Parameters
    ----------
    folder : path
        A mode's folder, or the store that holds the folders of several modes.

    Returns
    -------
    list of Path
        Temporary files.
    """
    name = f".shard-*{TEMP_SUFFIX}"
    found = (path for pattern in (name, f"*/{name}") for path in Path(folder).glob(pattern))
    return sorted(path for path in found if path.is_file())


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove what killed writers left behind.

    Parameters
    ----------
    folder : path
        As for :func:`find_leftovers`, under the store's lock: no other run can be writing there.

    Returns
    -------
    list of Path
        The removed files.
    """
    leftovers = find_leftovers(folder)
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that they outlast a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync(folder.parent)


def _header(
    mode: str,
    fingerprint: str,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    n_mels: int,
    dtype: npt.DTypeLike,
) -> Header:
    if n_mels < 1:
        msg = f"n_mels must be at least 1; got {n_mels}"
        raise InputError(msg)
    # Through JSON and back: what is stored is what will be read, and a number that JSON cannot hold is refused here.
    plain = [json.loads(json.dumps(dict(value), allow_nan=False)) for value in (settings, versions)]
    return Header(mode, fingerprint, plain[0], plain[1], n_mels, parse_dtype(dtype))


def _checked_rows(plan: ShardPlan, rows: Iterable[ClipRow], header: Header) -> list[ClipRow]:
    """Give the rows in the plan's order, frames in the stored type."""
    stored = sorted((_checked_row(row, header) for row in rows), key=lambda row: row.key)
    got, wanted = [row.key for row in stored], list(plan.keys)
    if got != wanted:
        strange = sorted(set(got) ^ set(wanted)) or sorted(key for key in set(got) if got.count(key) > 1)
        msg = (
            f"a shard must hold exactly the planned clips; {strange[0].name!r} is missing, not planned, or there twice"
        )
        raise InputError(msg)
    n_bytes = sum(row.frames.nbytes for row in stored if row.frames is not None)
    if n_bytes > MAX_FRAMES_BYTES:
        msg = f"a shard holds at most {MAX_FRAMES_BYTES:,} bytes of frames; got {n_bytes:,}: plan fewer clips a shard"
        raise InputError(msg)
    return stored


def _checked_row(row: ClipRow, header: Header) -> ClipRow:
    if not 0 <= row.seconds < np.inf:
        msg = f"clip {row.name!r}: seconds must be finite and not negative; got {row.seconds}"
        raise InputError(msg)
    if (row.frames is None) != bool(row.problem):
        msg = f"clip {row.name!r} must have either frames or a problem; got problem={row.problem!r}"
        raise InputError(msg)
    if row.frames is None:
        return row
    if row.frames.ndim != 2 or row.frames.shape[1] != header.n_mels or not len(row.frames):
        msg = f"clip {row.name!r}: frames must have shape (1 or more, {header.n_mels}); got {row.frames.shape}"
        raise InputError(msg)
    with np.errstate(over="ignore"):  # an overflow is infinite, and refused below by name
        frames = np.ascontiguousarray(row.frames, dtype=header.dtype)
    if not np.isfinite(frames).all():
        msg = f"clip {row.name!r}: frames must be finite as {header.dtype.name}; mend the front-end"
        raise InputError(msg)
    return ClipRow(row.name, row.digest, row.seconds, frames)


def _columns(rows: list[ClipRow]) -> Rows:
    lengths = [0 if row.frames is None else len(row.frames) for row in rows]
    # A string of HDF5 ends at its first NUL.
    problems = [row.problem.replace("\0", "�").encode("utf-8", "backslashreplace") for row in rows]
    crc32 = [0 if row.frames is None else zlib.crc32(row.frames.data) for row in rows]
    return Rows(
        names=Texts.of(encode_name(row.name) for row in rows),
        problems=Texts.of(problems),
        digests=np.frombuffer(bytes.fromhex("".join(row.digest for row in rows)), np.uint8).reshape(-1, 32),
        stop=np.cumsum(lengths, dtype=np.int64),
        crc32=np.array(crc32, np.uint32),
        seconds=np.array([row.seconds for row in rows], np.float64),
    )


def _seal(path: Path, layout: Layout, rows: list[ClipRow]) -> int:
    """Write a temporary sibling, check it, and give it its name; give the length of the file."""
    temp = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex}{TEMP_SUFFIX}")
    try:
        block = _write_temp(temp, path.name, layout, rows)
        check_shard(temp, name=path.name)
        fsync(temp)
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    fsync(path.parent)
    return block.file_bytes


def _write_temp(temp: Path, name: str, layout: Layout, rows: list[ClipRow]) -> UserBlock:
    """Write the structure, the frames, and last the user block, which makes the file a shard."""
    before = memoryview(layout.structure)[USER_BLOCK_BYTES:]
    frames = [memoryview(row.frames.data).cast("B") for row in rows if row.frames is not None]
    digest = hashlib.sha256(before)
    structure_digest = digest.digest()
    for piece in frames:
        digest.update(piece)
    frames_bytes = sum(map(len, frames))
    block = UserBlock(
        shard_name=name,
        file_bytes=USER_BLOCK_BYTES + len(before) + frames_bytes,
        frames_offset=layout.frames_offset,
        frames_bytes=frames_bytes,
        index_offset=layout.index_offset,
        index_bytes=layout.index_bytes,
        sha256_all=digest.digest(),
        sha256_structure=structure_digest,
    )
    with temp.open("xb", buffering=0) as file:
        _write_all(file.fileno(), [memoryview(bytes(USER_BLOCK_BYTES)), before, *frames])
        file.seek(0)
        file.write(block.pack())
    return block


def _write_all(descriptor: int, pieces: list[memoryview]) -> None:
    """Write pieces one after the other, in as few calls as the system takes.

    What is written in one call may lie in huge pages of the page cache, from which windows are gathered faster.
    """
    while pieces:
        written = os.writev(descriptor, pieces[:_MOST_PIECES])
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.pop(0))
        if written:
            pieces[0] = pieces[0][written:]


def fsync(path: Path) -> None:
    """Let a file, or the names in a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _no_space_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except OSError as error:
        if error.errno in NO_SPACE_ERRNOS:
            msg = f"no space left for a shard in {folder} ({error.strerror}): make room and run again"
            raise NoSpaceError(msg) from error
        raise
