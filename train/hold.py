"""Holding a run's folder, so that two commands do not train the same folds at a time.

Conventions
-----------
The folder itself is locked, and no file is made for it: a finished run may be read-only. The lock ends with its
process, however that ends. Folds given one by one to several machines are for ``cli train``, which holds nothing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.errors import LockedError


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Hold the folder of a run, which is made where it is not there.

    Raises
    ------
    LockedError
        Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        message = f"another cli run works on {folder}: wait for it to end, or give another --run NAME"
        raise LockedError(message) from error
    except OSError:  # a file system without locks, or one that wants a file open for writing
        pass
    try:
        yield
    finally:
        os.close(descriptor)
