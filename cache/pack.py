"""One portable HDF5 file of a whole store.

Conventions
-----------
A pack is HDF5 as every release from 1.8 on reads it, without filters, behind a user block as shards have it, which
names the file ``earmark-pack``. Each mode's folder is a group of its name, ``/lh-<fingerprint>``, with the attributes
``format_version``, ``mode``, ``fingerprint`` and ``settings`` of its shards, and

- ``frames`` ``[total_frames, n_mels]``, in chunks of about 1 MiB of whole rows,
- ``clips``, the columns of the shards' ``/clips``, one row a row of a shard, shard by shard in the order of
  :mod:`cache.index` (a later row of a name supersedes an earlier one); ``start`` and ``stop`` are rows of ``frames``,
- ``shards``, one row a shard: ``name``, ``versions`` (JSON), ``sha256_all`` (64 hexadecimal digits), ``rows``.

No time, host or path stands in a pack: its bytes depend on the store's content alone. Unpacking seals the shards anew.
"""

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from cache.errors import IntegrityError, NoSpaceError
from cache.hdf5 import reserve_frames
from cache.image import SparseImage
from cache.integrity import verify_store
from cache.inventory import shard_folders
from cache.layout import FORMAT_VERSION, TEMP_SUFFIX, USER_BLOCK_BYTES, UserBlock, encode_name
from cache.outfile import check_out
from cache.space import NO_SPACE_ERRNOS, require_space
from cache.table import ShardTable, read_table, shard_paths
from cache.unpack import PACK_NAME, PACK_VERSION, PackedShard, hash_file, read_pack
from cache.writer import fsync

CHUNK_BYTES = 2**20
_ROW_BYTES = 512  # of a row outside the frames, at most, names of usual length

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, the rows done, and all rows."""


@dataclass(frozen=True)
class PackReport:
    """What :func:`pack_store` wrote.

    Attributes
    ----------
    path : Path
    n_bytes : int
    folders : dict of {str: dict of {str: int}}
        Folder → shards, rows and frames.
    """

    path: Path
    n_bytes: int
    folders: dict[str, dict[str, int]]


@dataclass(frozen=True)
class _Shard:
    path: Path
    block: UserBlock
    n_rows: int
    n_frames: int


@dataclass(frozen=True)
class _Folder:
    """A mode's folder to pack; ``head`` is the table of its first shard, which stands for all."""

    name: str
    head: ShardTable
    shards: tuple[_Shard, ...]

    @property
    def n_rows(self) -> int:
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_frames(self) -> int:
        return sum(shard.n_frames for shard in self.shards)

    @property
    def row_bytes(self) -> int:
        return self.head.n_mels * self.head.dtype.itemsize

    @property
    def chunk_rows(self) -> int:
        return min(max(1, CHUNK_BYTES // self.row_bytes), self.n_frames)


def pack_store(
    store: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    modes: Collection[str] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> PackReport:
    """Write a store into one file, read it back, compare it with the shards, and give it its name.

    Parameters
    ----------
    store : path
        The store, or a mode's folder.
    out : path
        The file.
    modes : collection of str
        Names of the modes to pack; all by default.
    force : bool
        Replace a file that is there.
    progress : callable, optional

    Returns
    -------
    PackReport

    Raises
    ------
    NotFoundError
        There is no such store, or no shard of these modes in it, or no folder for the file.
    InputError
        The file is there.
    IntegrityError
        A shard fails its checks, or what was written is not what is read back. There is no file then.
    NoSpaceError
        The disk cannot hold the file.
    """
    out = Path(out)
    check_out(out, force=force)
    folders = [_checked_folder(path) for path in shard_folders(store, modes)]
    require_space(out.parent, sum(map(_expected_bytes, folders)))
    temp = out.with_name(f".earmark-{os.getpid()}-{uuid.uuid4().hex}{TEMP_SUFFIX}")
    try:
        n_bytes = _write(temp, folders, progress)
        _compare(temp, folders, progress)
        os.replace(temp, out)
    except OSError as error:
        if error.errno in NO_SPACE_ERRNOS:
            message = f"no space left for {out} ({error.strerror}): make room and pack again"
            raise NoSpaceError(message) from error
        raise
    finally:
        temp.unlink(missing_ok=True)
    fsync(out.absolute().parent)
    counts = {
        folder.name: {"shards": len(folder.shards), "rows": folder.n_rows, "frames": folder.n_frames}
        for folder in folders
    }
    return PackReport(out, n_bytes, counts)


def _checked_folder(path: Path) -> _Folder:
    """Check every byte of a folder's shards, and gather what their places in the pack follow from."""
    report = verify_store(path)
    if report.bad:
        worst = report.bad[0]
        message = (
            f"{len(report.bad)} of the {report.shards} shards in {path} fail their checks, such as {worst.path.name}: "
            f"{worst.reason}; run cli cache repair, then pack again"
        )
        raise IntegrityError(message)
    shards: list[_Shard] = []
    head: ShardTable | None = None
    for shard in shard_paths(path):
        table = read_table(shard)
        head = head or table
        if table.settings != head.settings:
            message = f"shard {shard} has other settings than {head.path.name} beside it: move one of them away"
            raise IntegrityError(message)
        shards.append(_Shard(shard, table.block, len(table.names), int(table.stop[-1])))
    if head is None:
        message = f"the shards of {path} are gone: something else removes them; pack again"
        raise IntegrityError(message)
    return _Folder(path.name, head, tuple(shards))


def _expected_bytes(folder: _Folder) -> int:
    return folder.n_frames * folder.row_bytes + CHUNK_BYTES + folder.n_rows * _ROW_BYTES + len(folder.shards) * 1024


# --- writing ---------------------------------------------------------------------------------------------------------


def _write(temp: Path, folders: list[_Folder], progress: Progress | None) -> int:
    """Write the structure, the frames, and last the user block; give the length of the file."""
    image = SparseImage()
    places = _lay_out(image, folders)
    n_bytes = max([len(image), *(offset + size for offsets, size in places for offset in offsets)])
    with temp.open("x+b") as file:
        for offset, page in image.pages():
            file.seek(offset)
            file.write(page)
        _write_frames(file, folders, places, progress)
        file.truncate(n_bytes)
        digest = hash_file(file)
        file.seek(0)
        file.write(UserBlock(PACK_NAME, n_bytes, 0, 0, 0, 0, digest, digest).pack())
        file.flush()
        os.fsync(file.fileno())
    return n_bytes


def _write_frames(
    file: BinaryIO, folders: list[_Folder], places: list[tuple[list[int], int]], progress: Progress | None
) -> None:
    done, total = 0, sum(len(offsets) for offsets, _ in places)
    for folder, (offsets, chunk_bytes) in zip(folders, places, strict=True):
        for offset, chunk in zip(offsets, _frame_chunks(folder.shards, chunk_bytes), strict=True):
            file.seek(offset)
            file.write(chunk)
            done += 1
            if progress:
                progress("pack", done, total)


def _frame_chunks(shards: Iterable[_Shard], chunk_bytes: int) -> Iterator[bytes]:
    """Cut the frames of all shards, one after the other, into chunks; the last one may be shorter."""
    pending = bytearray()
    for shard in shards:
        with shard.path.open("rb") as file:
            file.seek(shard.block.frames_offset)
            left = shard.block.frames_bytes
            while left:
                data = file.read(min(left, chunk_bytes - len(pending)))
                if not data:
                    message = f"shard {shard.path} was cut short while it was packed: run cli cache verify"
                    raise IntegrityError(message)
                pending += data
                left -= len(data)
                if len(pending) == chunk_bytes:
                    yield bytes(pending)
                    pending.clear()
    if pending:
        yield bytes(pending)


def _lay_out(image: SparseImage, folders: list[_Folder]) -> list[tuple[list[int], int]]:
    """Let HDF5 write all but the frames; give each folder's chunks as offsets and their size."""
    with h5py.File(image, "w", userblock_size=USER_BLOCK_BYTES, libver=("earliest", "v108")) as h5:
        h5.attrs["pack_version"] = PACK_VERSION
        return [_lay_out_folder(h5.create_group(folder.name), folder, image) for folder in folders]


def _lay_out_folder(group: h5py.Group, folder: _Folder, image: SparseImage) -> tuple[list[int], int]:
    group.attrs["format_version"] = FORMAT_VERSION
    group.attrs["mode"] = folder.head.mode
    group.attrs["fingerprint"] = folder.head.fingerprint
    group.attrs["settings"] = json.dumps(folder.head.settings, sort_keys=True)
    _write_clips(group.create_group("clips"), group.create_group("shards"), folder)
    return _reserve_frames(group, folder, image), folder.chunk_rows * folder.row_bytes


def _write_clips(clips: h5py.Group, shards: h5py.Group, folder: _Folder) -> None:
    text = h5py.string_dtype("utf-8")
    n_rows, n_shards = folder.n_rows, len(folder.shards)
    for name, dtype in (("start", "<i8"), ("stop", "<i8"), ("crc32", "<u4"), ("seconds", "<f8"), ("digest", "S64")):
        clips.create_dataset(name, shape=(n_rows,), dtype=dtype)
    for group, names in ((clips, ("name", "problem")), (shards, ("name", "versions"))):
        for name in names:
            group.create_dataset(name, shape=(n_rows if group == clips else n_shards,), dtype=text)
    shards.create_dataset("sha256_all", data=[shard.block.sha256_all.hex().encode() for shard in folder.shards])
    shards.create_dataset("rows", data=np.array([shard.n_rows for shard in folder.shards], "<i8"))
    row = first_frame = 0
    for number, shard in enumerate(folder.shards):
        table = read_table(shard.path)
        span = slice(row, row + shard.n_rows)
        for name, values in _columns(table, first_frame).items():
            clips[name][span] = values
        shards["name"][number] = encode_name(shard.path.name)
        shards["versions"][number] = json.dumps(table.versions, sort_keys=True)
        row, first_frame = span.stop, first_frame + shard.n_frames


def _columns(table: ShardTable, first_frame: int) -> dict[str, Any]:
    rows = table.rows
    return {
        "name": np.array(rows.names.tolist(), dtype=object),
        "start": table.start + first_frame,
        "stop": table.stop + first_frame,
        "digest": np.array(rows.hex_digests, dtype="S64"),
        "crc32": rows.crc32,
        "seconds": rows.seconds,
        "problem": np.array(rows.problems.tolist(), dtype=object),
    }


def _reserve_frames(group: h5py.Group, folder: _Folder, image: SparseImage) -> list[int]:
    """Make ``frames`` with its bytes reserved but not written; give the offsets of its chunks, in their order."""
    shape = (folder.n_frames, folder.head.n_mels)
    frames, offsets = reserve_frames(group, shape, folder.head.dtype, chunk_rows=folder.chunk_rows)
    if not offsets:
        return []
    # Releases of HDF5 differ in whether a chunk's address counts the user block: a marked chunk shows it.
    chunk_bytes = folder.chunk_rows * folder.row_bytes
    mark = hashlib.sha256(b"earmark").digest()[:chunk_bytes]
    frames.write_direct_chunk((0, 0), mark.ljust(chunk_bytes, b"\0"))
    image.seek(offsets[0])
    shift = 0 if image.read(len(mark)) == mark else USER_BLOCK_BYTES
    return [offset + shift for offset in offsets]


# --- reading back ----------------------------------------------------------------------------------------------------


def _compare(temp: Path, folders: list[_Folder], progress: Progress | None) -> None:
    """Read the file with plain HDF5, and compare every row with the shards and every clip with its CRC-32."""
    expected = [(folder, shard) for folder in folders for shard in folder.shards]
    done, total = 0, sum(shard.n_rows for _, shard in expected)
    for (folder, shard), packed in zip(expected, read_pack(temp), strict=True):
        table = read_table(shard.path)
        if difference := _difference(packed, folder, table):
            message = f"{temp} does not give back {difference} of shard {shard.path}: pack again, on another disk"
            raise IntegrityError(message)
        done += shard.n_rows
        if progress:
            progress("read back", done, total)


def _difference(packed: PackedShard, folder: _Folder, table: ShardTable) -> str:
    """Name the first thing in which a packed shard differs from its table; empty where none does."""
    crc32 = [0 if row.frames is None else zlib.crc32(row.frames.data) for row in packed.rows]
    for what, got, wanted in (
        ("the folder", packed.folder, folder.name),
        ("the name", packed.name, table.path.name),
        ("the settings", packed.settings, table.settings),
        ("the versions", packed.versions, table.versions),
        ("the SHA-256", packed.sha256_all, table.block.sha256_all),
        ("the keys", [row.key for row in packed.rows], table.keys),
        ("the lengths", [row.seconds for row in packed.rows], table.rows.seconds.tolist()),
        ("the problems", [row.problem for row in packed.rows], table.problems),
        ("the frames", crc32, table.rows.crc32.tolist()),
    ):
        if got != wanted:
            return what
    return ""
