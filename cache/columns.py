"""The rows of shards as columns: a few arrays, whatever the number of clips.

Conventions
-----------
Text is kept as UTF-8 in one run of bytes, with the end of each piece. :func:`pack_index` turns a shard's rows and its
header into the bytes of ``/index``, :func:`unpack_index` turns them back; the arrays are little-endian, each begins at
a multiple of 8 bytes.
"""

import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cache.errors import IntegrityError

_NUMBERS = {"digests": np.uint8, "stop": np.int64, "crc32": np.uint32, "seconds": np.float64}
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8


@dataclass(frozen=True, eq=False)
class Texts:
    """Pieces of UTF-8.

    Attributes
    ----------
    data : np.ndarray [shape=(n_bytes,), uint8]
        All pieces, one after the other.
    ends : np.ndarray [shape=(n,), int64]
        Where each piece ends.
    """

    data: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pieces: Iterable[bytes]) -> Self:
        """Join pieces."""
        pieces = list(pieces)
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return cls(np.frombuffer(b"".join(pieces), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> bytes:
        first = int(self.ends[index - 1]) if index else 0
        return self.data[first : int(self.ends[index])].tobytes()

    def tolist(self) -> list[bytes]:
        """Give all pieces."""
        data, ends = self.data.tobytes(), chain([0], self.ends.tolist())
        return [data[first:last] for first, last in pairwise(ends)]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one shard, or of several in a row.

    Attributes
    ----------
    names : Texts
        As :func:`cache.layout.encode_name` gives them.
    problems : Texts
        Empty for a clip with frames.
    digests : np.ndarray [shape=(n, 32), uint8]
        SHA-256 of the sources.
    stop : np.ndarray [shape=(n,), int64]
        Where each clip's frames end, counted in rows of its shard's ``/frames``; they begin where the last clip's end.
    crc32 : np.ndarray [shape=(n,), uint32]
        Of the frames.
    seconds : np.ndarray [shape=(n,), float64]
        Length of the sources.
    """

    names: Texts
    problems: Texts
    digests: npt.NDArray[np.uint8]
    stop: npt.NDArray[np.int64]
    crc32: npt.NDArray[np.uint32]
    seconds: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.stop)

    @property
    def has_problem(self) -> npt.NDArray[np.bool_]:
        """Which rows have no frames ``[n]``."""
        return np.diff(self.problems.ends, prepend=0) > 0

    @property
    def hex_digests(self) -> list[str]:
        """The digests as 64 hexadecimal digits each."""
        return to_hex(self.digests)


def to_hex(digests: npt.NDArray[np.uint8]) -> list[str]:
    """Write digests ``[n, 32]`` as 64 hexadecimal digits each."""
    return [digest.tobytes().hex() for digest in digests]


def pack_index(header: Mapping[str, Any], rows: Rows) -> bytes:
    """Give the bytes of ``/index``.

    Parameters
    ----------
    header : mapping
        What JSON can hold.
    rows : Rows
    """
    arrays = [
        rows.names.ends.astype("<i8"),
        rows.problems.ends.astype("<i8"),
        rows.stop.astype("<i8"),
        rows.seconds.astype("<f8"),
        rows.digests.astype("u1"),
        rows.crc32.astype("<u4"),
        rows.names.data,
        rows.problems.data,
    ]
    text = json.dumps({"n_clips": len(rows), **header}, sort_keys=True, separators=(",", ":")).encode()
    parts = [_LENGTH.pack(len(text)), _padded(text), *(_padded(array.tobytes()) for array in arrays)]
    return b"".join(parts)


def unpack_index(data: bytes) -> tuple[dict[str, Any], Rows]:
    """Turn the bytes of ``/index`` back into header and rows.

    Raises
    ------
    IntegrityError
        They are not what :func:`pack_index` gives.
    """
    header, rows, n_bytes = find_index(data)
    if n_bytes != len(data):
        msg = f"its index cannot be read ({len(data)} bytes instead of {n_bytes})"
        raise IntegrityError(msg)
    return header, rows


def find_index(data: bytes) -> tuple[dict[str, Any], Rows, int]:
    """Do as :func:`unpack_index` with bytes that may go on behind the index; also give its length.

    Raises
    ------
    IntegrityError
        The bytes do not begin with what :func:`pack_index` gives.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        return header, *_unpack_rows(data, _LENGTH.size + _rounded(length), header.pop("n_clips"))
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        msg = f"its index cannot be read ({error})"
        raise IntegrityError(msg) from error


def _unpack_rows(data: bytes, offset: int, n_clips: int) -> tuple[Rows, int]:
    def take(dtype: str, count: int) -> npt.NDArray[Any]:
        nonlocal offset
        array = np.frombuffer(data, dtype, count, offset)
        offset += _rounded(array.nbytes)
        return array

    name_ends, problem_ends, stop = take("<i8", n_clips), take("<i8", n_clips), take("<i8", n_clips)
    seconds, digests, crc32 = take("<f8", n_clips), take("u1", 32 * n_clips), take("<u4", n_clips)
    names, problems = (Texts(take("u1", _last(ends)), ends) for ends in (name_ends, problem_ends))
    return Rows(names, problems, digests.reshape(-1, 32), stop, crc32, seconds), offset


def _last(ends: npt.NDArray[np.int64]) -> int:
    """Give the length of all pieces, after checking that the ends rise."""
    if len(ends) and (ends[0] < 0 or bool((np.diff(ends) < 0).any())):
        raise ValueError("its texts do not follow each other")
    return int(ends[-1]) if len(ends) else 0


def _rounded(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _padded(data: bytes) -> bytes:
    return data.ljust(_rounded(len(data)), b"\0")


def concatenate(parts: Iterable[Rows]) -> Rows:
    """Put the rows of several shards one after the other; ``stop`` still counts within each shard.

    A part is let go of before the next one is asked for.
    """
    columns: dict[str, bytearray] = defaultdict(bytearray)
    for part in parts:
        for text in ("names", "problems"):
            texts = getattr(part, text)
            columns[f"{text} ends"] += (texts.ends + len(columns[text])).tobytes()
            columns[text] += texts.data.tobytes()
        for name in _NUMBERS:
            columns[name] += getattr(part, name).tobytes()
    arrays: dict[str, Any] = {name: np.frombuffer(columns[name], dtype) for name, dtype in _NUMBERS.items()}
    arrays["digests"] = arrays["digests"].reshape(-1, 32)
    for name in ("names", "problems"):
        ends = np.frombuffer(columns[f"{name} ends"], np.int64)
        arrays[name] = Texts(np.frombuffer(columns[name], np.uint8), ends)
    return Rows(**arrays)
