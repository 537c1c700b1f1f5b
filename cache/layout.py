"""The format of a shard, on one page.

Conventions
-----------
A mode's folder ``<store>/<mode>-<fingerprint>/`` holds sealed shards ``shard-<generation>-<key hash>.h5`` and nothing
else that counts. A shard is an HDF5 file behind a user block of 512 bytes:

============  ========================================================================================================
user block    :class:`UserBlock`: magic, shard name, file length, where index and frames lie, two SHA-256, own CRC-32
structure     what HDF5 needs to find its way, attributes, ``/clips``, ``/index``: everything outside the frames
``/frames``   ``[total_frames, n_mels]`` little-endian float16 or float32, time-major, one chunk, no filter
============  ========================================================================================================

``/clips`` is a group of datasets, one row a clip, sorted by (name, digest); the rows tile ``/frames`` in this order:

- ``name`` variable-length UTF-8 (a file name that is not UTF-8 keeps its bytes, as Python's ``surrogateescape`` does),
- ``start``, ``stop`` int64, the rows of ``/frames``; equal where the clip has a problem,
- ``digest`` 64 ASCII characters, the SHA-256 of the source file's bytes in hexadecimal,
- ``crc32`` uint32, of the clip's frames as stored, ``seconds`` float64, the length of the decoded source,
- ``problem`` variable-length UTF-8, why the clip has no frames; empty where it has some.

``/index`` holds the same rows and attributes once more, as bytes that are read without HDF5 (:mod:`cache.columns`): a
store of 400 shards opens ten times as fast, and nothing parses a file of HDF5 but sealing and verifying, which compare
the two.

Root attributes: ``format_version``, ``mode``, ``fingerprint``, ``settings`` and ``versions`` (JSON, keys sorted).
No time, host or path stands in a shard: its bytes depend on its content alone.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from cache.errors import InputError, IntegrityError

FORMAT_VERSION = 2
USER_BLOCK_BYTES = 512
MAX_FRAMES_BYTES = 2**32 - 1
"""The largest chunk that HDF5 can hold, in bytes."""

TEMP_SUFFIX = ".part"
SHARD_GLOB = "shard-*.h5"

_MAGIC = b"EARMARK\n"
_NAME_BYTES = 128
# magic, version, length of the name, name, file length, offset and length of frames and of index, SHA-256 of all, of
# the structure
_BLOCK = struct.Struct(f"<8sII{_NAME_BYTES}sQQQQQ32s32s")
_CRC = struct.Struct("<I")
_SHARD_NAME = re.compile(r"shard-(\d{4,9})-[0-9a-f]{16}\.h5")
_FOLDER_NAME = re.compile(r".+-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DTYPES: dict[str, np.dtype[np.floating]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


class Key(NamedTuple):
    """What a row of the store belongs to.

    Attributes
    ----------
    name : str
        The clip's name in its corpus; not empty, without NUL.
    digest : str
        SHA-256 of the source file's bytes, 64 hexadecimal digits in lower case.
    """

    name: str
    digest: str


def encode_name(name: str) -> bytes:
    """Give the bytes under which a clip's name is stored.

    Parameters
    ----------
    name : str
        As the file system gives it: bytes that are not UTF-8 stand as lone surrogates.

    Returns
    -------
    bytes
        UTF-8, the lone surrogates turned back into their bytes.

    Raises
    ------
    InputError
        The name is empty, holds NUL, or would be read back as another one.
    """
    if name and "\0" not in name:
        try:
            data = name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = b""
        if data and decode_name(data) == name:
            return data
    msg = f"a clip's name must be a file name, not empty and without NUL; got {name!r}: rename the file"
    raise InputError(msg)


def decode_name(data: bytes) -> str:
    """Give the name that :func:`encode_name` turned into these bytes."""
    return data.decode("utf-8", "surrogateescape")


def check_key(key: Key) -> None:
    """Refuse a key that the store cannot hold.

    Raises
    ------
    InputError
        The name is not one, or the digest is not 64 hexadecimal digits in lower case.
    """
    encode_name(key.name)
    if not _DIGEST.fullmatch(key.digest):
        msg = f"clip {key.name!r}: a digest must be 64 hexadecimal digits in lower case (SHA-256); got {key.digest!r}"
        raise InputError(msg)


def parse_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating]:
    """Give the stored type, little-endian, for ``float16`` or ``float32``.

    Raises
    ------
    InputError
        Any other type.
    """
    try:
        return _DTYPES[np.dtype(dtype).name]
    except (KeyError, TypeError) as error:
        msg = f"frames are stored as float16 or float32; got dtype={dtype!r}"
        raise InputError(msg) from error


def folder_name(mode: str, fingerprint: str) -> str:
    """Give the name of a mode's folder inside the store."""
    return f"{mode}-{fingerprint}"


def foreign_to(folder: str, mode: str, fingerprint: str) -> bool:
    """Tell whether a mode's folder says by its name that it holds other features than these.

    Parameters
    ----------
    folder : str
        The folder's name; one that does not end in a fingerprint of 12 hexadecimal digits says nothing.
    mode, fingerprint : str
    """
    return bool(_FOLDER_NAME.fullmatch(folder)) and folder != folder_name(mode, fingerprint)


def shard_filename(keys: Iterable[Key], generation: int) -> str:
    """Give the file name of the shard that holds these keys.

    Parameters
    ----------
    keys : iterable of Key
        In any order.
    generation : int >= 0
        0 for clips new to the folder; a shard of a higher generation supersedes the rows of the same names.

    Returns
    -------
    str
        ``shard-<generation>-<16 hexadecimal digits of the SHA-256 over the sorted keys>.h5``

    Raises
    ------
    InputError
        A key or the generation breaks its rule.
    """
    if not 0 <= generation < 10**9:
        msg = f"a shard's generation must be in 0 … 999999999; got {generation}"
        raise InputError(msg)
    digest = hashlib.sha256()
    for key in sorted(keys):
        check_key(key)
        name = encode_name(key.name)
        # The length in front keeps two lists of keys from giving one stream of bytes.
        digest.update(len(name).to_bytes(8, "little") + name + bytes.fromhex(key.digest))
    return f"shard-{generation:04d}-{digest.hexdigest()[:16]}.h5"


def shard_generation(filename: str) -> int:
    """Read the generation out of a shard's file name.

    Raises
    ------
    IntegrityError
        The name is not one that :func:`shard_filename` gives.
    """
    match = _SHARD_NAME.fullmatch(filename)
    if match is None:
        msg = f"{filename!r} is not the name of a shard (shard-<generation>-<16 hexadecimal digits>.h5): move it away"
        raise IntegrityError(msg)
    return int(match[1])


@dataclass(frozen=True)
class UserBlock:
    """The first 512 bytes of a shard, which are checked before HDF5 sees the file.

    Attributes
    ----------
    shard_name : str
        The file name that the shard was sealed under.
    file_bytes : int
        Length of the whole file.
    frames_offset, frames_bytes : int
        The bytes of ``/frames``, counted from the start of the file; 0 and 0 where there are none.
    index_offset, index_bytes : int
        The bytes of ``/index``, likewise.
    sha256_all : bytes [32]
        SHA-256 of everything after the block.
    sha256_structure : bytes [32]
        SHA-256 of everything after the block but the frames.
    """

    shard_name: str
    file_bytes: int
    frames_offset: int
    frames_bytes: int
    index_offset: int
    index_bytes: int
    sha256_all: bytes
    sha256_structure: bytes

    def pack(self) -> bytes:
        """Give the block's 512 bytes; the last four are the CRC-32 of the others.

        Raises
        ------
        InputError
            The shard's name takes more than 128 bytes.
        """
        name = encode_name(self.shard_name)
        if len(name) > _NAME_BYTES:
            msg = f"a shard's file name must take at most {_NAME_BYTES} bytes; {self.shard_name!r} takes {len(name)}"
            raise InputError(msg)
        places = (self.file_bytes, self.frames_offset, self.frames_bytes, self.index_offset, self.index_bytes)
        body = _BLOCK.pack(
            _MAGIC, FORMAT_VERSION, len(name), name, *places, self.sha256_all, self.sha256_structure
        ).ljust(USER_BLOCK_BYTES - _CRC.size, b"\0")
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read a block back.

        Parameters
        ----------
        data : bytes [512]

        Raises
        ------
        IntegrityError
            The reason why these bytes are not a whole block of this format's version.
        """
        if len(data) != USER_BLOCK_BYTES:
            msg = f"the user block has {len(data)} bytes instead of {USER_BLOCK_BYTES}"
            raise IntegrityError(msg)
        if not data.startswith(_MAGIC):
            raise IntegrityError(
                "the user block does not begin with earmark's magic: another kind of file, or overwritten"
            )
        body, crc = data[: -_CRC.size], _CRC.unpack(data[-_CRC.size :])[0]
        if zlib.crc32(body) != crc:
            raise IntegrityError("the user block does not match its CRC-32")
        _, version, name_bytes, name, *values = _BLOCK.unpack_from(body)
        if version != FORMAT_VERSION:
            msg = f"the shard has format version {version}; this earmark reads {FORMAT_VERSION}"
            raise IntegrityError(msg)
        block = cls(decode_name(name[:name_bytes]), *values)
        block._check_places()
        if name_bytes > _NAME_BYTES or not block.shard_name or "\0" in block.shard_name or block.pack() != data:
            raise IntegrityError("the user block holds other bytes than its fields give")
        return block

    def _check_places(self) -> None:
        for part in ("frames", "index"):
            first, length = getattr(self, f"{part}_offset"), getattr(self, f"{part}_bytes")
            end = first + length
            if not (USER_BLOCK_BYTES <= first < end <= self.file_bytes if length else first == 0):
                msg = f"the bytes {first} … {end} of the {part} do not lie within the {self.file_bytes} of the file"
                raise IntegrityError(msg)
