"""The recordings that a user names: files as they are, folders with all that lies below them.

Conventions
-----------
A file that is named counts whatever it is called; in folders those count whose suffix says that they hold sound. A file
that is reached twice counts once. Nothing is opened.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cache.errors import NotFoundError
from corpus.files import AUDIO_SUFFIXES, list_folder, shown_name, suffix_of
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
    CorpusError
        If a folder cannot be listed.
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
    listing = list_folder(folder)
    for path in listing.files.values():
        if suffix_of(path) in SUFFIXES:
            yield os.path.join(folder, os.path.basename(path))
    for name in listing.folders:
        yield from _below(os.path.join(folder, name), seen)
