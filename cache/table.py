"""What a shard says about its clips: everything outside the frames, checked before it is believed.

Conventions
-----------
The user block, the file's length and the SHA-256 of the bytes outside the frames are checked first, so that HDF5 never
parses damaged bytes (some flipped bits make it hang). The HDF5 file is closed again before the table is handed out.
"""

import hashlib
import json
import operator
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from cache.errors import IntegrityError
from cache.layout import (
    FORMAT_VERSION,
    SHARD_GLOB,
    USER_BLOCK_BYTES,
    Key,
    UserBlock,
    decode_name,
    parse_dtype,
    shard_generation,
)

HINT = "delete it and run `cli featurize` to compute its clips again"


@dataclass(frozen=True, eq=False)
class ShardTable:
    """The rows and attributes of one shard.

    Attributes
    ----------
    path : Path
    block : UserBlock
    generation : int
        From the file name.
    mode, fingerprint : str
    settings, versions : dict
        From their JSON.
    n_mels : int
    dtype : numpy.dtype
        ``<f2`` or ``<f4``.
    names : list of str [n_clips]
    digests : list of str [n_clips]
    start, stop : np.ndarray [shape=(n_clips,), int64]
        Rows of ``/frames``.
    crc32 : np.ndarray [shape=(n_clips,), uint32]
    seconds : np.ndarray [shape=(n_clips,), float64]
    problems : list of str [n_clips]
        Empty for a clip with frames.
    """

    path: Path
    block: UserBlock
    generation: int
    mode: str
    fingerprint: str
    settings: dict[str, Any]
    versions: dict[str, Any]
    n_mels: int
    dtype: np.dtype[np.floating]
    names: list[str]
    digests: list[str]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    crc32: npt.NDArray[np.uint32]
    seconds: npt.NDArray[np.float64]
    problems: list[str]

    @cached_property
    def keys(self) -> list[Key]:
        """(name, digest) of each row."""
        return list(map(Key, self.names, self.digests))


def shard_paths(folder: str | os.PathLike[str]) -> list[Path]:
    """List the shards of a mode's folder, the lowest generation first, then by file name.

    Parameters
    ----------
    folder : path
        Without such a folder the list is empty.

    Returns
    -------
    list of Path
        A file that is called ``shard-*.h5``, but not as earmark names one, comes first; reading it fails.
    """
    return sorted(Path(folder).glob(SHARD_GLOB), key=_order)


def _order(path: Path) -> tuple[int, str]:
    try:
        return shard_generation(path.name), path.name
    except IntegrityError:
        return -1, path.name


def read_table(path: str | os.PathLike[str]) -> ShardTable:
    """Read everything of a shard but its frames.

    Parameters
    ----------
    path : path
        A sealed shard.

    Returns
    -------
    ShardTable

    Raises
    ------
    IntegrityError
        The shard fails a check; the message names it and the reason.
    """
    path = Path(path)
    try:
        return inspect_shard(path, name=path.name)
    except IntegrityError as error:
        msg = f"shard {path} fails its checks: {error}; {HINT}"
        raise IntegrityError(msg) from error


def inspect_shard(path: Path, *, name: str) -> ShardTable:
    """Do what :func:`read_table` does, with bare reasons in the errors.

    Parameters
    ----------
    path : Path
    name : str
        The file name that the user block must give; a shard that is not sealed yet lies under another one.

    Raises
    ------
    IntegrityError
        The reason, without the path.
    """
    try:
        with path.open("rb", buffering=0) as file:
            block = _read_block(file, name)
        # h5py checks the file's length once more; without chunk cache a handle costs no megabytes.
        with h5py.File(path, "r", locking=False, rdcc_nbytes=0) as h5:
            table = _read_h5(h5, path, block)
    except IntegrityError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        msg = f"it cannot be read ({error})"
        raise IntegrityError(msg) from error
    _check_rows(table)
    return table


def _read_block(file: BinaryIO, name: str) -> UserBlock:
    """Read the user block and check it against the file's name, its length and its structure."""
    block = UserBlock.unpack(file.read(USER_BLOCK_BYTES))
    if block.shard_name != name:
        msg = f"it was sealed as {block.shard_name!r}: renamed, or swapped with another file"
        raise IntegrityError(msg)
    file_bytes = os.fstat(file.fileno()).st_size
    if file_bytes != block.file_bytes:
        msg = f"it has {file_bytes} bytes instead of {block.file_bytes}"
        raise IntegrityError(msg)
    digest = hashlib.sha256()
    for first, last in structure_spans(block):
        file.seek(first)
        digest.update(file.read(last - first))
    if digest.digest() != block.sha256_structure:
        raise IntegrityError("the bytes outside the frames do not match their SHA-256")
    return block


def structure_spans(block: UserBlock) -> list[tuple[int, int]]:
    """Give the first byte and the end of each stretch after the user block that holds no frames."""
    if not block.frames_bytes:
        return [(USER_BLOCK_BYTES, block.file_bytes)]
    frames_end = block.frames_offset + block.frames_bytes
    return [(USER_BLOCK_BYTES, block.frames_offset), (frames_end, block.file_bytes)]


def _read_h5(h5: h5py.File, path: Path, block: UserBlock) -> ShardTable:
    attributes = dict(h5.attrs)
    if attributes["format_version"] != FORMAT_VERSION:
        msg = f"format_version is {attributes['format_version']} instead of {FORMAT_VERSION}"
        raise IntegrityError(msg)
    frames, clips = h5["frames"], h5["clips"]
    _check_frames_place(frames, block)
    return ShardTable(
        path=path,
        block=block,
        generation=shard_generation(block.shard_name),
        mode=str(attributes["mode"]),
        fingerprint=str(attributes["fingerprint"]),
        settings=json.loads(attributes["settings"]),
        versions=json.loads(attributes["versions"]),
        n_mels=int(frames.shape[1]),
        dtype=parse_dtype(frames.dtype),
        names=[decode_name(name) for name in clips["name"][:]],
        digests=[digest.decode("ascii") for digest in clips["digest"][:].tolist()],
        start=clips["start"][:],
        stop=clips["stop"][:],
        crc32=clips["crc32"][:],
        seconds=clips["seconds"][:],
        problems=[problem.decode("utf-8") for problem in clips["problem"][:]],
    )


def _check_frames_place(frames: h5py.Dataset, block: UserBlock) -> None:
    """Compare the chunk that HDF5 finds with the bytes that the user block names."""
    if frames.dtype != parse_dtype(frames.dtype):
        msg = f"/frames is stored as {frames.dtype.str} instead of little-endian floats"
        raise IntegrityError(msg)
    chunks: list[Any] = []
    if frames.chunks is not None:
        frames.id.chunk_iter(chunks.append)
    if not frames.size and not chunks and not block.frames_bytes:
        return
    # Releases of HDF5 differ in whether a chunk's address counts the user block.
    places = {(block.frames_offset, block.frames_bytes, 0)}
    places.add((block.frames_offset - USER_BLOCK_BYTES, block.frames_bytes, 0))
    found = [(chunk.byte_offset, chunk.size, chunk.filter_mask) for chunk in chunks]
    if len(found) != 1 or found[0] not in places or frames.nbytes != block.frames_bytes or frames.compression:
        msg = f"/frames is not the one plain chunk that the user block names: HDF5 finds {found}"
        raise IntegrityError(msg)


def _check_rows(table: ShardTable) -> None:
    """Check that the rows are sorted and tile the frames, and that exactly the rows without frames have a problem."""
    n_clips = len(table.names)
    lengths = {len(column) for column in (table.digests, table.start, table.stop, table.crc32, table.seconds)}
    if lengths | {len(table.problems)} != {n_clips}:
        raise IntegrityError("the datasets of /clips differ in length")
    total = table.block.frames_bytes // (table.n_mels * table.dtype.itemsize)
    edges = np.concatenate([[0], table.stop])
    if not np.array_equal(edges[:-1], table.start) or edges[-1] != total or bool((np.diff(edges) < 0).any()):
        msg = f"start and stop of /clips do not tile the {total} rows of /frames"
        raise IntegrityError(msg)
    keys = table.keys
    if not all(map(operator.lt, keys, keys[1:])):
        raise IntegrityError("the rows of /clips are not sorted by name and digest, each once")
    if (np.diff(edges) > 0).tolist() != [not problem for problem in table.problems]:
        raise IntegrityError("a row of /clips has both frames and a problem, or neither")
