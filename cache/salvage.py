"""Which clips a damaged shard holds, as far as that can be proven.

Conventions
-----------
A shard's file name is a hash of its keys: keys that give the name are the shard's, wherever they were found. They are
looked for in the shards of the same store whose structure is whole (the shards of two modes hold the same clips under
the same hash), and then in the damaged bytes themselves, which have them twice: in the index, and in ``/clips``. Those
are searched, never parsed by HDF5, which they can make hang or crash: strings lie in HDF5's global heaps, a column of
strings is a run of references into these, and the digests are a run of hexadecimal digits.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice, product
from pathlib import Path

import numpy as np

from cache.columns import find_index
from cache.errors import InputError, IntegrityError
from cache.layout import USER_BLOCK_BYTES, Key, UserBlock, decode_name, shard_filename, shard_generation
from cache.regular import open_regular
from cache.table import ShardTable

_SCAN_BYTES = 1 << 24  # searched where the user block does not tell where the frames begin
_TRIES = 1000  # pairs of columns; a damaged shard has few
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, length
_OBJECT = struct.Struct("<HH4xQ")  # number, count of references, length; the bytes follow, padded to 8
_REFERENCE = struct.Struct("<IQI")  # length of the string, address of its heap, its number there
_DIGEST_CHARACTERS = 64
_HASH_CHARACTERS = 16
_INDEX_HEADER = re.compile(rb"\{\"dtype\":")  # the first of its sorted keys, behind its length
_INDEX_LENGTH_BYTES = 8
_HEX_RUN = re.compile(rb"[0-9a-f]{%d,}" % _DIGEST_CHARACTERS)


class KeyRing:
    """The keys of a store's shards, by the hash in their names.

    Parameters
    ----------
    tables : iterable of ShardTable
        Shards whose structure is whole, of any mode.
    """

    def __init__(self, tables: Iterable[ShardTable]) -> None:
        self._keys = {_key_hash(table.block.shard_name): table.keys for table in tables}

    def keys_of(self, path: Path, filename: str) -> list[Key]:
        """Give the keys of a shard.

        Parameters
        ----------
        path : Path
            Where the damaged shard lies.
        filename : str
            The name that the keys must give.

        Returns
        -------
        list of Key
            Sorted; empty where nothing proves them.
        """
        keys = self._keys.get(_key_hash(filename), [])
        return keys if is_proven(keys, filename) else salvage_keys(path, filename)


def _key_hash(filename: str) -> str:
    return Path(filename).stem[-_HASH_CHARACTERS:]


def is_proven(keys: Iterable[Key], filename: str) -> bool:
    """Tell whether these are the keys that a shard of this file name holds."""
    try:
        return shard_filename(keys, shard_generation(filename)) == filename
    except (InputError, IntegrityError):
        return False


def salvage_keys(path: Path, filename: str) -> list[Key]:
    """Search the bytes of a damaged shard for its keys.

    Parameters
    ----------
    path : Path
        Any file, or none.
    filename : str
        The name that the keys must give.

    Returns
    -------
    list of Key
        Sorted; empty where none are found that give the name.
    """
    try:
        with open_regular(path) as file:
            data = _outside_frames(file.read(_SCAN_BYTES))
    except OSError:
        return []
    for keys in _indexed_keys(data):
        if is_proven(keys, filename):
            return keys
    pairs = ((names, digests) for names in _name_columns(data) for digests in _digest_columns(data, len(names)))
    for names, digests in islice(pairs, _TRIES):
        keys = list(map(Key, names, digests))
        if is_proven(keys, filename):
            return sorted(keys)
    return []


def _outside_frames(data: bytes) -> bytes:
    try:
        block = UserBlock.unpack(data[:USER_BLOCK_BYTES])
    except IntegrityError:
        return data
    return data[: block.frames_offset or None]


def _indexed_keys(data: bytes) -> Iterator[list[Key]]:
    """Yield the keys of what looks like an index."""
    for match in _INDEX_HEADER.finditer(data):
        with suppress(IntegrityError):
            _, rows, _ = find_index(data[match.start() - _INDEX_LENGTH_BYTES :])
            names = map(decode_name, rows.names.tolist())
            yield list(map(Key, names, rows.hex_digests))


def _name_columns(data: bytes) -> Iterator[list[str]]:
    """Yield the runs of references to strings, followed."""
    strings = _referred_strings(data)
    for first in strings:
        if first - _REFERENCE.size not in strings:
            column = []
            place = first
            while place in strings:
                column.append(decode_name(strings[place]))
                place += _REFERENCE.size
            yield column


def _referred_strings(data: bytes) -> dict[int, bytes]:
    """Give, for each place of a reference to a string, the string's bytes."""
    heaps: dict[int, dict[int, bytes]] = {}
    starts = [match.start() for match in re.finditer(b"GCOL", data)]
    # An address counts from the end of the user block; releases of HDF5 differ in that for chunks.
    for start, base in product(starts, (USER_BLOCK_BYTES, 0)):
        heaps.setdefault(start - base, _heap_objects(data, start))
    found: dict[int, bytes] = {}
    for place in _places_of(data, np.array(sorted(heaps), dtype="<i8")):
        length, heap, number = _REFERENCE.unpack_from(data, place)
        string = heaps[heap].get(number, b"")
        if string and len(string) == length:
            found[place] = string
    return found


def _heap_objects(data: bytes, start: int) -> dict[int, bytes]:
    """Give the objects of a global heap by their number."""
    objects: dict[int, bytes] = {}
    if start + _HEAP.size > len(data):
        return objects
    _, _, n_bytes = _HEAP.unpack_from(data, start)
    place, end = start + _HEAP.size, min(start + n_bytes, len(data))
    while place + _OBJECT.size <= end:
        number, _, length = _OBJECT.unpack_from(data, place)
        place += _OBJECT.size
        if number == 0:  # the free rest
            break
        objects[number] = data[place : place + length]
        place += -(-length // 8) * 8
    return objects


def _places_of(data: bytes, heaps: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    """Find where references to these heaps begin, at any alignment, in rising order."""
    places: list[int] = []
    for shift in range(8):
        count = (len(data) - shift) // 8
        if count > 0:
            numbers = np.frombuffer(data, "<i8", count, shift)
            near = np.flatnonzero((numbers >= 0) & (numbers < len(data)))  # few are: the search below is dear
            places.extend((shift + 8 * near[np.isin(numbers[near], heaps)] - 4).tolist())
    return sorted(place for place in places if 0 <= place <= len(data) - _REFERENCE.size)


def _digest_columns(data: bytes, n_clips: int) -> Iterator[list[str]]:
    """Yield the runs of hexadecimal digits that are long enough for so many digests."""
    length = n_clips * _DIGEST_CHARACTERS
    for run in _HEX_RUN.finditer(data):
        # The bytes beside the digests can happen to be such digits as well.
        for first in range(run.start(), min(run.end() - length, run.start() + _DIGEST_CHARACTERS) + 1):
            text = data[first : first + length].decode("ascii")
            yield [text[place : place + _DIGEST_CHARACTERS] for place in range(0, length, _DIGEST_CHARACTERS)]
