"""A file that HDF5 writes to without touching the disk.

Conventions
-----------
HDF5 brings the process down where the disk fills up under it. So it lays its structure out here, in memory; bytes that
it reserves but does not write take no room, and plain writes put both into a real file afterwards.
"""

import io
from collections.abc import Iterator
from typing import Any

_PAGE_BYTES = 4096


class SparseImage(io.RawIOBase):
    """A binary file of any length whose unwritten pages are zeros and take no memory."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._position = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """Yield the offset and the bytes of every page that was written to, in the order of the file."""
        return ((page * _PAGE_BYTES, bytes(self._pages[page])) for page in sorted(self._pages))

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def seekable(self) -> bool:
        """Say that it has positions."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which may lie behind the end."""
        self._position = offset + (0, self._position, self._length)[whence]
        return self._position

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Set the length; what lies behind it is not forgotten, as HDF5 never asks for that."""
        self._length = self._position if size is None else size
        return self._length

    def write(self, data: Any) -> int:
        """Write bytes at the position."""
        view = memoryview(data).cast("B")
        for page, inside, first, last in self._spans(len(view)):
            self._pages.setdefault(page, bytearray(_PAGE_BYTES))[inside] = view[first:last]
        self._position += len(view)
        self._length = max(self._length, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read bytes at the position; behind the end they are zeros."""
        view = memoryview(buffer).cast("B")
        empty = bytes(_PAGE_BYTES)
        for page, inside, first, last in self._spans(len(view)):
            view[first:last] = self._pages.get(page, empty)[inside]
        self._position += len(view)
        return len(view)

    def _spans(self, n_bytes: int) -> Iterator[tuple[int, slice, int, int]]:
        """Cut a stretch at the position into pages: page, part of it, and part of the stretch."""
        first = 0
        while first < n_bytes:
            page, start = divmod(self._position + first, _PAGE_BYTES)
            last = min(first + _PAGE_BYTES - start, n_bytes)
            yield page, slice(start, start + last - first), first, last
            first = last
