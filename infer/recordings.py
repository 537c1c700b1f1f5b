"""The recordings that a user names: files as they are, folders with all that lies below them.

Conventions
-----------
A file that is named counts whatever it is called; in folders those count whose suffix says that they hold sound. A file
that is reached twice counts once. A folder that cannot be listed stands for what it holds. Nothing is opened.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cache.errors import CorpusError, NotFoundError
from corpus.files import AUDIO_SUFFIXES, holds, list_entries, shown_name, suffix_of
from infer.soundtrack import FILM_SUFFIXES

SUFFIXES = AUDIO_SUFFIXES | FILM_SUFFIXES


def find_recordings(paths: Iterable[Path | str]) -> list[str]:
    """Return the recordings of some files and folders, those of a folder sorted by name, its own before those below.

    Parameters
    ----------
    paths : iterable of path
        As given they begin what is returned.

    Raises
    ------
    NotFoundError
        If a path is not there, or nothing is found at all.
    """
    given = [str(path) for path in paths]
    if absent := [path for path in given if not os.path.exists(path)]:
        message = f"there is no file or folder {shown_name(absent[0])}"
        raise NotFoundError(message)
    found: dict[str, str] = {}
    for path in given:
        for recording in _below(path, set()) if os.path.isdir(path) else [path]:
            found.setdefault(os.path.realpath(recording), recording)
    if not found:
        message = f"{', '.join(map(shown_name, given))} holds no recording; name files, or another folder"
        raise NotFoundError(message)
    return list(found.values())


def _below(folder: str, seen: set[str]) -> Iterator[str]:
    """Yield the recordings in and below a folder; links to folders are followed, a loop of them once."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = list_entries(folder)
    except CorpusError:
        yield folder  # which whoever opens it will say why it cannot be read
        return
    for entry in entries:
        if suffix_of(entry.name) in SUFFIXES and holds(entry.is_file):
            yield os.path.join(folder, entry.name)
    for entry in entries:
        if holds(entry.is_dir):
            yield from _below(os.path.join(folder, entry.name), seen)
