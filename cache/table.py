"""What a shard says about its clips: everything outside the frames, checked before it is believed.

Conventions
-----------
The user block, the file's length and the SHA-256 of the bytes outside the frames are checked first; then the rows come
from ``/index`` among those very bytes. HDF5 takes no part, so damaged bytes are never parsed by it (some flipped bits
make it hang), and no lock of its own is taken on a network file system.
"""

import fnmatch
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cache.columns import Rows, unpack_index
from cache.errors import InputError, IntegrityError
from cache.layout import SHARD_GLOB, USER_BLOCK_BYTES, Key, UserBlock, decode_name, parse_dtype, shard_generation
from cache.regular import open_regular

HINT = "run `cli cache repair` to mend it"


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
    rows : Rows
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
    rows: Rows

    @cached_property
    def names(self) -> list[str]:
        """The clips' names."""
        return [decode_name(name) for name in self.rows.names.tolist()]

    @cached_property
    def keys(self) -> list[Key]:
        """(name, digest) of each row."""
        return list(map(Key, self.names, self.rows.hex_digests))

    @cached_property
    def problems(self) -> list[str]:
        """Why a clip has no frames; empty where it has some."""
        return [problem.decode("utf-8") for problem in self.rows.problems.tolist()]

    @cached_property
    def start(self) -> npt.NDArray[np.int64]:
        """First row of ``/frames`` of each clip ``[n_clips]``."""
        return np.concatenate([np.zeros(1, np.int64), self.rows.stop[:-1]])[: len(self.rows)]

    @property
    def stop(self) -> npt.NDArray[np.int64]:
        """End of each clip in ``/frames`` ``[n_clips]``."""
        return self.rows.stop

    @property
    def features(self) -> str:
        """What the shards of one folder must have in common, in words."""
        return f"{self.mode}-{self.fingerprint} [{self.n_mels} mels, {self.dtype.name}]"


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
    return sorted(list_folder(folder, SHARD_GLOB), key=_order)


def list_folder(folder: str | os.PathLike[str], pattern: str) -> list[Path]:
    """List what a folder holds under such names; nothing where it is not there.

    Raises
    ------
    InputError
        The folder cannot be listed: to take that for an empty one would have all of it computed anew.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        msg = f"{os.fspath(folder)} cannot be listed ({error.strerror}): make it readable"
        raise InputError(msg) from error
    return [Path(folder, name) for name in sorted(names) if fnmatch.fnmatchcase(name, pattern)]


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
        with open_regular(path) as file:
            block, structure = _read_structure(file, name)
    except OSError as error:
        if isinstance(error, IntegrityError):
            raise
        msg = f"it cannot be read ({error.strerror or error})"
        raise IntegrityError(msg) from error
    header, rows = unpack_index(_index_bytes(block, structure))
    try:
        table = ShardTable(
            path=path,
            block=block,
            generation=shard_generation(block.shard_name),
            rows=rows,
            dtype=parse_dtype(header.pop("dtype")),
            **header,
        )
    except (TypeError, KeyError, ValueError) as error:
        msg = f"its index does not say what it must ({error})"
        raise IntegrityError(msg) from error
    _check_rows(table)
    return table


def _read_structure(file: BinaryIO, name: str) -> tuple[UserBlock, bytes]:
    """Read the user block and the bytes outside the frames, and check them against the file's name and length."""
    block = UserBlock.unpack(file.read(USER_BLOCK_BYTES))
    if block.shard_name != name:
        msg = f"it was sealed as {block.shard_name!r}: renamed, or swapped with another file"
        raise IntegrityError(msg)
    file_bytes = os.fstat(file.fileno()).st_size
    if file_bytes != block.file_bytes:
        msg = f"it has {file_bytes} bytes instead of {block.file_bytes}"
        raise IntegrityError(msg)
    spans: list[bytes] = []
    for first, last in structure_spans(block):
        file.seek(first)
        spans.append(file.read(last - first))
    structure = b"".join(spans)
    if hashlib.sha256(structure).digest() != block.sha256_structure:
        raise IntegrityError("the bytes outside the frames do not match their SHA-256")
    return block, structure


def _index_bytes(block: UserBlock, structure: bytes) -> bytes:
    """Take ``/index`` out of the structure."""
    first = block.index_offset - USER_BLOCK_BYTES
    if block.frames_bytes and block.index_offset > block.frames_offset:
        first -= block.frames_bytes
    return structure[first : first + block.index_bytes]


def structure_spans(block: UserBlock) -> list[tuple[int, int]]:
    """Give the first byte and the end of each stretch after the user block that holds no frames."""
    if not block.frames_bytes:
        return [(USER_BLOCK_BYTES, block.file_bytes)]
    frames_end = block.frames_offset + block.frames_bytes
    return [(USER_BLOCK_BYTES, block.frames_offset), (frames_end, block.file_bytes)]


def _check_rows(table: ShardTable) -> None:
    """Check that the rows tile the frames, and that exactly the rows without frames have a problem."""
    if table.block.frames_offset % table.dtype.itemsize:
        msg = f"its frames begin at byte {table.block.frames_offset}, which is not a multiple of {table.dtype.itemsize}"
        raise IntegrityError(msg)
    total = table.block.frames_bytes // (table.n_mels * table.dtype.itemsize)
    lengths = table.stop - table.start
    if (lengths < 0).any() or (table.stop[-1] if len(lengths) else 0) != total:
        msg = f"the clips do not tile the {total} rows of /frames"
        raise IntegrityError(msg)
    if ((lengths > 0) == table.rows.has_problem).any():
        raise IntegrityError("a clip has both frames and a problem, or neither")
