"""Opening files without waiting for them.

Conventions
-----------
What is named like a sound or a shard can be anything: a pipe, a device, a folder. Only regular files are opened.
"""

import hashlib
import os
import stat
from io import FileIO
from pathlib import Path


def open_regular(path: Path | str) -> FileIO:
    """Open a regular file for reading; a pipe, which could make the caller wait for ever, is refused.

    Raises
    ------
    OSError
        If it is no regular file, or cannot be opened.
    """
    stream = open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError("not a regular file")
    return stream


def digest_regular(path: Path | str) -> str:
    """Return the SHA-256 of a regular file's bytes, in hexadecimal.

    Raises
    ------
    OSError
        As `open_regular`.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
