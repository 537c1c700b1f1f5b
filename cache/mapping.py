"""One run of addresses in which the frames of all shards lie.

Conventions
-----------
Addresses are reserved when the run is made, which takes no memory; a file is mapped into its place when it is first
needed. So the frames of a store are one array, though they lie in many files, and a batch of windows is gathered from
it in one call. Reading where nothing is mapped ends the process: whoever reads asks for the file first. Mapped files
are not kept open. Offsets are in bytes. Python's own ``mmap`` cannot map at a given place: the C library's is called.
"""

import ctypes
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.errors import NoSpaceError

_HUGE_PAGE_BYTES = 1 << 21
_PROT_NONE = 0  # mmap has no name for it
_MAP_FIXED = 0x10  # on Linux, macOS and the BSDs
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class FrameMap:
    """Places for the frames of several files, and what is mapped there.

    Parameters
    ----------
    spans : sequence of (int, int)
        Of each file, the offset and the length of its frames; length 0 takes no place.

    Attributes
    ----------
    first : list of int
        Offset of each file's frames from the begin of the run.

    Raises
    ------
    NoSpaceError
        The system grants no run of addresses of this length.
    """

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._spans = list(spans)
        self._mapped = [False] * len(spans)
        self.first: list[int] = []
        n_bytes = 0
        for offset, length in spans:
            self.first.append(n_bytes + offset % _HUGE_PAGE_BYTES)
            n_bytes += -(-(offset % _HUGE_PAGE_BYTES + length) // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
        # The array's pages live as long as what is made of it.
        self._run = _Run(max(n_bytes, _HUGE_PAGE_BYTES))

    def array(self, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Give the whole run as one read-only array ``[n_bytes // itemsize]``."""
        return np.asarray(self._run).view(dtype)

    def has(self, file: int) -> bool:
        """Tell whether a file is mapped."""
        return self._mapped[file]

    def map(self, file: int, descriptor: int) -> None:
        """Map the frames of an open file into its place.

        Raises
        ------
        OSError
            The system cannot map it.
        """
        offset, length = self._spans[file]
        lead = offset % _HUGE_PAGE_BYTES  # mapped as well, for a huge page is mapped whole or not as one
        if length:
            self._run.map(self.first[file] - lead, length + lead, descriptor, offset - lead)
        self._mapped[file] = True

    def will_need(self, first: int, last: int) -> None:
        """Let the system begin to read mapped bytes that are going to be read.

        A page that is touched unread is waited for, and of random reads the system soon reads no more than that page:
        a clip of 51 kB in 13 waits, instead of all clips of a batch at once.
        """
        self._run.will_need(first - first % mmap.PAGESIZE, last)


class _Run:
    """Reserved addresses, given back when nothing refers to them any more."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes + _HUGE_PAGE_BYTES
        self._address: int | None = None
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        try:
            self._address = _mmap(None, self._n_bytes, _PROT_NONE, flags, -1, 0)
        except OSError as error:
            message = f"no {n_bytes / 1e9:,.1f} GB of addresses are to be had ({error.strerror}): raise `ulimit -v`"
            raise NoSpaceError(message) from error
        self._first = self._address + -self._address % _HUGE_PAGE_BYTES
        self._length = n_bytes

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"shape": (self._length,), "typestr": "|u1", "data": (self._first, True), "version": 3}

    def map(self, first: int, n_bytes: int, descriptor: int, offset: int) -> None:
        _mmap(self._first + first, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, descriptor, offset)

    def will_need(self, first: int, last: int) -> None:
        # Advice: where the system cannot follow it, reading is slow and right.
        _libc.madvise(self._first + first, last - first, mmap.MADV_WILLNEED)

    def __del__(self) -> None:
        if self._address is not None:
            _libc.munmap(self._address, self._n_bytes)


def _mmap(address: int | None, n_bytes: int, protection: int, flags: int, descriptor: int, offset: int) -> int:
    found = _libc.mmap(address, n_bytes, protection, flags, descriptor, offset)
    if found == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(found)
