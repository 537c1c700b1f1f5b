"""Reading a pack, and making a store of it again.

Conventions
-----------
:mod:`cache.pack` describes the file. Its length and the SHA-256 of its bytes are checked before HDF5 sees it (damaged
bytes can make HDF5 hang), then the CRC-32 of each clip. Shards are sealed by :func:`cache.writer.write_shard`, one at
a time. Their bytes are those that were packed wherever HDF5 lays files out as it did then; where another release
does not, the rows are compared instead.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from cache.errors import IntegrityError, NotFoundError
from cache.integrity import check_shard
from cache.layout import USER_BLOCK_BYTES, UserBlock, decode_name, folder_name, shard_generation
from cache.lock import StoreLock
from cache.plan import ShardPlan
from cache.space import require_space
from cache.writer import ClipRow, write_shard

PACK_NAME = "earmark-pack"
PACK_VERSION = 1


@dataclass(frozen=True, eq=False)
class PackedShard:
    """One shard as a pack holds it.

    Attributes
    ----------
    folder : str
        Name of the mode's folder.
    name : str
        File name.
    mode, fingerprint : str
    settings, versions : dict
    n_mels : int
    dtype : numpy.dtype
    sha256_all : bytes [32]
        Of the shard's bytes after its user block.
    rows : list of ClipRow
        Frames in the stored type, whole by their CRC-32.
    """

    folder: str
    name: str
    mode: str
    fingerprint: str
    settings: dict[str, Any]
    versions: dict[str, Any]
    n_mels: int
    dtype: np.dtype[np.floating]
    sha256_all: bytes
    rows: list[ClipRow]


@dataclass(frozen=True)
class UnpackReport:
    """What :func:`unpack_store` did.

    Attributes
    ----------
    store : Path
    shards : int
        How many the pack holds.
    written : int
        How many were not there, or not whole.
    identical : int
        How many of those have the very bytes that were packed; the others have the same rows.
    kept : int
        How many were there.
    different : tuple of Path
        Those kept whose bytes are others than the packed ones.
    """

    store: Path
    shards: int
    written: int
    identical: int
    kept: int
    different: tuple[Path, ...]


def hash_file(file: BinaryIO) -> bytes:
    """Give the SHA-256 of everything after the user block [32]."""
    file.seek(USER_BLOCK_BYTES)
    return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type] # any file opened for reading will do


def check_pack(path: str | os.PathLike[str]) -> None:
    """Check a pack's user block, its length and the SHA-256 of its bytes.

    Raises
    ------
    NotFoundError
        There is no such file.
    IntegrityError
        The first check that fails, with the path and the next step.
    """
    path = Path(path)
    if not path.is_file():
        message = f"there is no pack at {path}: name the file that cli cache pack wrote"
        raise NotFoundError(message)
    with path.open("rb") as file:
        if reason := _damage(file):
            message = f"{path} is not a whole pack: {reason}; copy it anew, or pack the store again"
            raise IntegrityError(message)


def _damage(file: BinaryIO) -> str:
    try:
        block = UserBlock.unpack(file.read(USER_BLOCK_BYTES))
    except IntegrityError as error:
        return str(error)
    if block.shard_name != PACK_NAME:
        return f"it was sealed as {block.shard_name!r}"
    length = os.fstat(file.fileno()).st_size
    if length != block.file_bytes:
        return f"it has {length} bytes instead of {block.file_bytes}"
    return "" if hash_file(file) == block.sha256_all else "the bytes after the user block do not match their SHA-256"


def read_pack(path: str | os.PathLike[str]) -> Iterator[PackedShard]:
    """Read a pack's shards through plain HDF5, one at a time; the file's bytes were checked before.

    Parameters
    ----------
    path : path

    Yields
    ------
    PackedShard
        Folder by folder, in the order of the shards.

    Raises
    ------
    IntegrityError
        The file is not laid out as a pack is, or a clip does not match its CRC-32.
    """
    try:
        with h5py.File(path, "r", locking=False) as h5:
            if h5.attrs["pack_version"] != PACK_VERSION:
                message = f"it has version {h5.attrs['pack_version']}; this earmark reads {PACK_VERSION}"
                raise IntegrityError(message)
            for name, group in h5.items():
                yield from _read_folder(name, group)
    except IntegrityError as error:
        message = f"{path} cannot be unpacked: {error}; pack the store again"
        raise IntegrityError(message) from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        message = f"{path} cannot be read as a pack ({error!r}): pack the store again"
        raise IntegrityError(message) from error


def _read_folder(name: str, group: h5py.Group) -> Iterator[PackedShard]:
    mode, fingerprint = str(group.attrs["mode"]), str(group.attrs["fingerprint"])
    # The name becomes a folder of the store: it must not lead out of it.
    if folder_name(mode, fingerprint) != name or Path(name).name != name:
        message = f"group {name!r} holds features of {folder_name(mode, fingerprint)!r}"
        raise IntegrityError(message)
    shards, frames = group["shards"], group["frames"]
    counts = shards["rows"][:].tolist()
    if sum(counts) != len(group["clips"]["name"]):
        message = f"the shards hold {sum(counts)} rows, and group {name!r} has {len(group['clips']['name'])}"
        raise IntegrityError(message)
    first = 0
    for number, n_rows in enumerate(counts):
        yield PackedShard(
            folder=name,
            name=decode_name(shards["name"][number]),
            mode=mode,
            fingerprint=fingerprint,
            settings=json.loads(group.attrs["settings"]),
            versions=json.loads(shards["versions"][number]),
            n_mels=int(frames.shape[1]),
            dtype=frames.dtype,
            sha256_all=bytes.fromhex(shards["sha256_all"][number].decode("ascii")),
            rows=list(_read_rows(group["clips"], frames, slice(first, first + n_rows))),
        )
        first += n_rows


def _read_rows(clips: h5py.Group, frames: h5py.Dataset, span: slice) -> Iterator[ClipRow]:
    names = ("name", "digest", "problem", "start", "stop", "crc32", "seconds")
    columns = [clips[name][span].tolist() for name in names]
    for name, digest, problem, start, stop, crc32, seconds in zip(*columns, strict=True):
        clip = decode_name(name)
        if problem:
            yield ClipRow(clip, digest.decode("ascii"), seconds, None, problem.decode("utf-8"))
            continue
        data = frames[start:stop]
        if zlib.crc32(data.data) != crc32:
            message = f"the frames of clip {clip!r} do not match their CRC-32"
            raise IntegrityError(message)
        yield ClipRow(clip, digest.decode("ascii"), seconds, data)


def unpack_store(path: str | os.PathLike[str], store: str | os.PathLike[str], *, wait: bool = False) -> UnpackReport:
    """Make the shards of a pack again.

    Parameters
    ----------
    path : path
        The pack.
    store : path
        The store, made where it is not there. Whole shards of the packed names that it holds are kept.
    wait : bool
        Wait for another run that holds the store.

    Returns
    -------
    UnpackReport

    Raises
    ------
    NotFoundError
        There is no such file.
    IntegrityError
        The file is not a whole pack, or a shard made of it is not the one that was packed.
    LockedError
        Another run holds the store.
    NoSpaceError
        The disk cannot hold the shards.
    """
    check_pack(path)
    store = Path(store)
    with StoreLock(store, wait=wait):
        require_space(store, Path(path).stat().st_size)
        shards = written = identical = 0
        different: list[Path] = []
        for packed in read_pack(path):
            target = store / packed.folder / packed.name
            plan = _plan(packed, path)
            shards += 1
            if kept := _whole_block(target):
                if kept.sha256_all != packed.sha256_all:
                    different.append(target)
                continue
            written += 1
            identical += _unpack_shard(packed, plan, target)
    return UnpackReport(store, shards, written, identical, shards - written, tuple(different))


def _plan(packed: PackedShard, path: str | os.PathLike[str]) -> ShardPlan:
    plan = ShardPlan.of((row.key for row in packed.rows), generation=shard_generation(packed.name))
    if plan.filename != packed.name:
        message = f"{path}: the clips of shard {packed.name} are those of {plan.filename}: pack the store again"
        raise IntegrityError(message)
    return plan


def _whole_block(path: Path) -> UserBlock | None:
    """Give the user block of a shard that is there and whole."""
    try:
        return check_shard(path).block
    except IntegrityError:
        return None


def _unpack_shard(packed: PackedShard, plan: ShardPlan, target: Path) -> bool:
    """Seal a shard, compare it with the packed one, and tell whether it has the very bytes."""
    write_shard(
        target.parent,
        plan,
        packed.rows,
        settings=packed.settings,
        fingerprint=packed.fingerprint,
        mode=packed.mode,
        versions=packed.versions,
        n_mels=packed.n_mels,
        dtype=packed.dtype,
    )
    table = check_shard(target, frames=False)
    rows = [
        (row.key, row.seconds, row.problem, 0 if row.frames is None else zlib.crc32(row.frames.data))
        for row in packed.rows
    ]
    if rows != list(
        zip(table.keys, table.rows.seconds.tolist(), table.problems, table.rows.crc32.tolist(), strict=True)
    ):
        message = f"shard {target} does not hold the rows that were packed: run cli cache verify, and unpack again"
        raise IntegrityError(message)
    return table.block.sha256_all == packed.sha256_all
