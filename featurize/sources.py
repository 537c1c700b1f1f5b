"""Source files: what a clip's file holds at this moment.

Conventions
-----------
A clip is known by (name, SHA-256 of its file's bytes). A file that changes between this look and its decoding is
noticed by its size and time of change, and left for the next run.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd
import soundfile

from cache import Key
from featurize.audio import open_regular

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, the clips done, and all clips."""


@dataclass(frozen=True)
class Source:
    """A clip's file.

    Parameters
    ----------
    name : str
        The clip's ``fname``.
    path : str
        Absolute.
    digest : str
        SHA-256 of the bytes, hex; empty where the file cannot be read.
    stamp : tuple of int
        Inode, size and time of change in ns.
    seconds : float
        Length that the header tells; 0 where it tells none.
    problem : str
        Why the file cannot be read, else empty.
    """

    name: str
    path: str
    digest: str
    stamp: tuple[int, int, int]
    seconds: float
    problem: str = ""

    @property
    def key(self) -> Key:
        """The clip's key in a store."""
        return Key(self.name, self.digest)

    def is_unchanged(self) -> bool:
        """Tell whether the file is still the one that was looked at."""
        try:
            return _stamp(os.stat(self.path)) == self.stamp
        except OSError:
            return False


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def look(name: str, path: str) -> Source:
    """Read a file once: digest its bytes, and ask its header for its length."""
    path = os.path.abspath(path)  # a worker may run in another folder
    try:
        with open_regular(path) as file:
            stamp = _stamp(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return Source(name, path, "", (0, 0, 0), 0.0, f"cannot be read: {error.strerror or error}")
    return Source(name, path, digest, stamp, _header_seconds(path))


def _header_seconds(path: str) -> float:
    try:
        # Bytes, because soundfile cannot encode a path that is not UTF-8.
        info = soundfile.info(os.fsencode(path))
    # soundfile asks for settings by a TypeError where a file is named .raw.
    except (soundfile.LibsndfileError, OSError, TypeError):
        return 0.0
    return float(info.duration) if info.frames < 1 << 62 else 0.0


def look_at_all(clips: pd.DataFrame, *, jobs: int, progress: Progress | None = None) -> list[Source]:
    """Look at every clip's file, in the clip table's order.

    Threads do: reading and hashing release the interpreter's lock.
    """
    names: Sequence[str] = clips["fname"].tolist()
    paths: Sequence[str] = clips["path"].tolist()
    sources: list[Source] = []
    with ThreadPoolExecutor(jobs) as pool:
        for source in pool.map(look, names, paths):
            sources.append(source)
            if progress:
                progress("check", len(sources), len(names))
    return sources
