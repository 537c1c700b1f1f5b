"""Sealing shards: a shard has its final name only when it is whole.

Conventions
-----------
Temporary sibling → write → close → reopen and check every byte → fsync → rename → fsync of the folder. HDF5 never
writes to the disk: it lays the structure out in memory, with room for the frames at the end, and plain writes put both
into the file. A full disk therefore raises an error, where HDF5 would bring down the process, and frames of the stored
type are never copied.
"""

import hashlib
import io
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cache.errors import InputError, IntegrityError, NoSpaceError
from cache.integrity import check_shard
from cache.layout import (
    FORMAT_VERSION,
    MAX_FRAMES_BYTES,
    TEMP_SUFFIX,
    USER_BLOCK_BYTES,
    Key,
    UserBlock,
    encode_name,
    parse_dtype,
)
from cache.plan import ShardPlan
from cache.space import NO_SPACE_ERRNOS

_ALIGNMENT_BYTES = 64  # a cache line


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


@dataclass(frozen=True)
class _Header:
    mode: str
    fingerprint: str
    settings: str
    versions: str
    n_mels: int
    dtype: np.dtype[np.floating]


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
    structure, frames_offset = _lay_out(stored, header)
    path = Path(folder) / plan.filename
    with _no_space_named(path.parent):
        _make_folder(path.parent)
        n_bytes = _seal(path, structure, frames_offset, stored)
    n_frames = sum(len(row.frames) for row in stored if row.frames is not None)
    problems = tuple((row.name, row.problem) for row in stored if row.frames is None)
    return ShardRecord(path, len(stored), n_frames, n_bytes, problems)


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove what killed writers left behind.

    Parameters
    ----------
    folder : path
        A mode's folder, under the store's lock: no other run can be writing there.

    Returns
    -------
    list of Path
        The removed files.
    """
    leftovers = sorted(Path(folder).glob(f".shard-*{TEMP_SUFFIX}"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def _header(
    mode: str,
    fingerprint: str,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    n_mels: int,
    dtype: npt.DTypeLike,
) -> _Header:
    if n_mels < 1:
        msg = f"n_mels must be at least 1; got {n_mels}"
        raise InputError(msg)
    texts = [json.dumps(dict(value), sort_keys=True, allow_nan=False) for value in (settings, versions)]
    return _Header(mode, fingerprint, texts[0], texts[1], n_mels, parse_dtype(dtype))


def _checked_rows(plan: ShardPlan, rows: Iterable[ClipRow], header: _Header) -> list[ClipRow]:
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


def _checked_row(row: ClipRow, header: _Header) -> ClipRow:
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


def _lay_out(rows: list[ClipRow], header: _Header) -> tuple[bytes, int]:
    """Let HDF5 lay the file out in memory.

    Returns
    -------
    bytes
        The file up to the frames, with a user block of zeros.
    int
        Offset of the frames in the file; they end it. 0 where there are none.
    """
    image = io.BytesIO()
    # Aligned frames let every row of a usual width begin on a cache line.
    with h5py.File(
        image,
        "w",
        userblock_size=USER_BLOCK_BYTES,
        libver=("earliest", "v108"),
        alignment_threshold=4096,
        alignment_interval=_ALIGNMENT_BYTES,
    ) as h5:
        _write_attributes(h5, header)
        _write_clips(h5, rows)
        offset = _reserve_frames(h5, rows, header)
    structure = image.getvalue()
    if offset and offset < len(structure):
        # Releases of HDF5 differ in whether a chunk's address counts the user block; the check after writing, which
        # reads rows through HDF5, would find a wrong guess.
        offset += USER_BLOCK_BYTES
    return structure, offset


def _write_attributes(h5: h5py.File, header: _Header) -> None:
    h5.attrs["format_version"] = FORMAT_VERSION
    for name in ("mode", "fingerprint", "settings", "versions"):
        h5.attrs[name] = getattr(header, name)


def _write_clips(h5: h5py.File, rows: list[ClipRow]) -> None:
    clips = h5.create_group("clips")
    text = h5py.string_dtype("utf-8")
    # A string of HDF5 ends at its first NUL.
    problems = [row.problem.replace("\0", "�").encode("utf-8", "backslashreplace") for row in rows]
    stop = np.cumsum([0 if row.frames is None else len(row.frames) for row in rows], dtype=np.int64)
    clips.create_dataset("name", data=np.array([encode_name(row.name) for row in rows], dtype=object), dtype=text)
    clips.create_dataset("start", data=np.concatenate([[0], stop[:-1]]).astype("<i8"))
    clips.create_dataset("stop", data=stop.astype("<i8"))
    clips.create_dataset("digest", data=np.array([row.digest.encode("ascii") for row in rows], dtype="S64"))
    crc32 = [0 if row.frames is None else zlib.crc32(row.frames.data) for row in rows]
    clips.create_dataset("crc32", data=np.array(crc32, dtype="<u4"))
    clips.create_dataset("seconds", data=np.array([row.seconds for row in rows], dtype="<f8"))
    clips.create_dataset("problem", data=np.array(problems, dtype=object), dtype=text)


def _reserve_frames(h5: h5py.File, rows: list[ClipRow], header: _Header) -> int:
    """Make ``/frames`` as the last thing in the file, its bytes reserved but not written; give their address."""
    n_frames = sum(len(row.frames) for row in rows if row.frames is not None)
    shape = (n_frames, header.n_mels)
    if not n_frames:
        h5.create_dataset("frames", shape=shape, dtype=header.dtype)
        return 0
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(shape)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    stored_type = h5py.h5t.py_create(header.dtype, logical=True)
    frames = h5py.h5d.create(h5.id, b"frames", stored_type, h5py.h5s.create_simple(shape), settings)
    chunks: list[Any] = []
    frames.chunk_iter(chunks.append)
    return int(chunks[0].byte_offset)


def _seal(path: Path, structure: bytes, frames_offset: int, rows: list[ClipRow]) -> int:
    """Write a temporary sibling, check it, and give it its name; give the length of the file."""
    temp = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex}{TEMP_SUFFIX}")
    try:
        block = _write_temp(temp, path.name, structure, frames_offset, rows)
        check_shard(temp, name=path.name)
        _fsync(temp)
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    _fsync(path.parent)
    return block.file_bytes


def _write_temp(temp: Path, name: str, structure: bytes, frames_offset: int, rows: list[ClipRow]) -> UserBlock:
    """Write the structure, the frames, and last the user block, which makes the file a shard."""
    before = structure[USER_BLOCK_BYTES:].ljust(max(frames_offset - USER_BLOCK_BYTES, 0), b"\0")
    digest = hashlib.sha256(before)
    structure_digest = digest.digest()
    frames_bytes = 0
    with temp.open("xb") as file:
        file.write(bytes(USER_BLOCK_BYTES))
        file.write(before)
        for row in rows:
            if row.frames is not None:
                digest.update(row.frames.data)
                frames_bytes += row.frames.nbytes
                file.write(row.frames.data)
        block = UserBlock(name, file.tell(), frames_offset, frames_bytes, digest.digest(), structure_digest)
        file.seek(0)
        file.write(block.pack())
    return block


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _fsync(folder.parent)


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
