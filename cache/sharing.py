"""Arrays that processes of one machine share.

Conventions
-----------
What is pickled is the path of a temporary file, written when the arrays are first pickled; whoever unpickles maps that
file. So a pickle is small whatever the arrays hold, and workers share the pages. The file goes when its maker lets go
of the arrays, or ends; what has been mapped by then stays readable.
"""

import contextlib
import json
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.errors import NoSpaceError, NotFoundError
from cache.space import NO_SPACE_ERRNOS

_ALIGNMENT = 64


class SharedArrays(Mapping[str, npt.NDArray[Any]]):
    """Named arrays, read-only.

    Parameters
    ----------
    arrays : mapping of {str: np.ndarray}
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        for array in self._arrays.values():
            array.flags.writeable = False
        self._path = ""

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __getstate__(self) -> str:
        # A cleaner of temporary files may have been here since.
        if not self._path or not os.path.exists(self._path):
            self._path = _write(self._arrays)
            # A forked child inherits these promises, and must not keep them; a child of multiprocessing ends without
            # those of weakref.
            weakref.finalize(self, _remove, self._path, os.getpid())
            Finalize(None, _remove, (self._path, os.getpid()), exitpriority=0)
        return self._path

    def __setstate__(self, path: str) -> None:
        self._path = path
        self._arrays = _map(path)


def _write(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Write a header, as a line of JSON, and the arrays, each aligned."""
    descriptor, path = tempfile.mkstemp(prefix="earmark-", suffix=".arrays")
    try:
        with os.fdopen(descriptor, "wb") as file:
            header = json.dumps([(name, array.dtype.str, array.shape) for name, array in arrays.items()])
            file.write(header.encode() + b"\n")
            for array in arrays.values():
                file.write(bytes(-file.tell() % _ALIGNMENT))
                file.write(array.data)
    except OSError as error:
        os.unlink(path)
        if error.errno in NO_SPACE_ERRNOS:
            message = f"no space left for {path} ({error.strerror}): make room, or set TMPDIR to another folder"
            raise NoSpaceError(message) from error
        raise
    return path


def _map(path: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with open(path, "rb") as file:
            header = file.readline()
            offset = len(header)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        message = (
            f"what was pickled lies in {path}, which is gone: it lives as long as its maker, on one machine; "
            "open the store anew"
        )
        raise NotFoundError(message) from error
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, dtype, shape in json.loads(header):
        offset += -offset % _ALIGNMENT
        array = np.frombuffer(mapped, dtype, int(np.prod(shape)), offset).reshape(shape)
        arrays[name] = array
        offset += array.nbytes
    return arrays


def _remove(path: str, maker: int) -> None:
    if os.getpid() == maker:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
