"""Holding a folder, so that two commands do not train the same folds at a time.

Conventions
-----------
The folder itself is locked, and no file is made for it: a finished run may be read-only. The lock ends with its
process, however that ends. ``cli run`` holds the run. Whoever trains a fold holds that fold alone, so that the folds of
a run can be given to several ``cli train``, on several machines.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.errors import LockedError

_POLL_SECONDS = 0.1


@contextmanager
def hold_folder(folder: Path, *, held_by: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold a folder, which is made where it is not there.

    Parameters
    ----------
    folder : path
    held_by : str
        What another process does that holds it, for the message.
    patience_seconds : float >= 0
        How long to wait for another process.

    Raises
    ------
    LockedError
        Another process holds it, and does not let go in that time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(descriptor, patience_seconds):
            message = f"{held_by} {folder}: wait for it to end, or give another --run NAME"
            raise LockedError(message)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience_seconds: float) -> bool:
    """Lock an open folder; false where another process has it locked."""
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)
        except OSError:  # a file system without locks, or one that wants a file open for writing
            return True
        else:
            return True
