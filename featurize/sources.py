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
from typing import TYPE_CHECKING, Protocol, TypeVar

import soundfile

from cache import Key
from cache.regular import open_regular
from featurize.promise import UNKNOWN_FRAMES

if TYPE_CHECKING:  # a third of a second for every worker
    import pandas as pd

Item = TypeVar("Item")
Result = TypeVar("Result")
_PIECE_BYTES = 1 << 18  # files up to this size are read in one piece
_SLICE = 16  # files that a thread takes at once


class Progress(Protocol):
    """Called with the stage's name, the clips done, all clips, and where known the seconds of sound done."""

    def __call__(self, stage: str, done: int, total: int, seconds: float = ..., /) -> object:
        """Show it."""


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
    problem : str
        Why the file cannot be read, else empty.
    """

    name: str
    path: str
    digest: str
    stamp: tuple[int, int, int]
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
    """Read a file once and digest its bytes."""
    path = os.path.abspath(path)  # a worker may run in another folder
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if status.st_size > _PIECE_BYTES:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            else:  # a quarter of the time, where there are many small files
                digest = hashlib.sha256(file.readall()).hexdigest()
    except OSError as error:
        return Source(name, path, "", (0, 0, 0), f"cannot be read: {error.strerror or error}")
    return Source(name, path, digest, _stamp(status))


def header_seconds(path: str) -> float:
    """Return the length that a file's header tells; 0 where it tells none."""
    try:
        # Bytes, because soundfile cannot encode a path that is not UTF-8.
        info = soundfile.info(os.fsencode(path))
    # soundfile asks for settings by a TypeError where a file is named .raw.
    except (soundfile.LibsndfileError, OSError, TypeError):
        return 0.0
    return float(info.duration) if info.frames < UNKNOWN_FRAMES else 0.0


def look_at_all(clips: "pd.DataFrame", *, jobs: int, progress: Progress | None = None) -> list[Source]:
    """Look at every clip's file, in the clip table's order."""
    pairs = list(zip(clips["fname"].tolist(), clips["path"].tolist(), strict=True))
    return _in_threads(lambda pair: look(*pair), pairs, jobs=jobs, stage="check", progress=progress)


def measure_all(sources: Sequence[Source], *, jobs: int, progress: Progress | None = None) -> list[float]:
    """Ask the header of every source for its length, in seconds."""
    paths = [source.path for source in sources]
    return _in_threads(header_seconds, paths, jobs=jobs, stage="measure", progress=progress)


def _in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, jobs: int, stage: str, progress: Progress | None
) -> list[Result]:
    """Call a function that reads a file for each item; reading and hashing release the interpreter's lock."""
    slices = [items[first : first + _SLICE] for first in range(0, len(items), _SLICE)]
    results: list[Result] = []
    with ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(lambda part: [function(item) for item in part], slices):
            results += part
            if progress:
                progress(stage, len(results), len(items))
    return results
