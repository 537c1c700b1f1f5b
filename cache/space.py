"""Room on the disk.

Conventions
-----------
Sizes are in bytes. What is free is what a user without special rights can still write.
"""

import errno
import os
from pathlib import Path

from cache.errors import NoSpaceError

NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
"""The disk is full, the file is larger than allowed, the quota is used up."""


def free_space(path: str | os.PathLike[str]) -> int:
    """Give the bytes that can still be written at a path.

    Parameters
    ----------
    path : path
        Need not exist: the nearest folder above it that does is asked.

    Returns
    -------
    int
    """
    path = Path(path).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def require_space(path: str | os.PathLike[str], needed_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Parameters
    ----------
    path : path
        As for :func:`free_space`.
    needed_bytes : int

    Raises
    ------
    NoSpaceError
        What is needed and what is there.
    """
    free = free_space(path)
    if needed_bytes > free:
        msg = (
            f"{os.fspath(path)} needs {needed_bytes / 1e6:,.1f} MB, but only {free / 1e6:,.1f} MB are free: "
            "make room, or choose another folder"
        )
        raise NoSpaceError(msg)
