"""The archives that a user has already: Zenodo's, or Kaggle's in any of the forms in which it gives them."""

from pathlib import Path

from cache.errors import InputError, NotFoundError
from corpus.archives import KAGGLE, KAGGLE_TABLES, KAGGLE_WHOLE, Archive
from corpus.competition import find_kaggle, find_zenodo

Supplied = dict[Archive, Path]


def find_supplied(folder: Path, zenodo: tuple[Archive, ...]) -> Supplied:
    """Find the archives in a folder; where there are several sets, Zenodo's come first, then Kaggle's one big file.

    Parameters
    ----------
    folder : Path
        Looked into, not below.
    zenodo : tuple of Archive
        Zenodo's archives: `corpus.archives.ZENODO`.

    Returns
    -------
    dict of Archive to Path
        At least one audio archive, with the tables that it needs.

    Raises
    ------
    NotFoundError
        There is no such folder.
    InputError
        It holds no audio archive, or not the tables of one.
    """
    if not folder.is_dir():
        message = f"there is no folder {folder} to take archives from"
        raise NotFoundError(message)
    for archives in (zenodo, (KAGGLE_WHOLE,), KAGGLE):
        found = {archive: folder / archive.name for archive in archives if (folder / archive.name).is_file()}
        filled = {name for archive in found for name in archive.fills}
        if any("audio" in name for name in filled):
            _check_tables(folder, filled)
            return _without_doubles(found)
    names = [archive.name for archive in (*zenodo, KAGGLE_WHOLE, *KAGGLE) if "audio" in archive.name]
    message = f"{folder} holds none of {', '.join(names)}: name the folder of the archives"
    if find_zenodo(folder) or find_kaggle(folder):
        message = f"{folder} holds no archives, but clips that are unpacked already: next: cli run {folder}"
    raise InputError(message)


def _check_tables(folder: Path, filled: set[str]) -> None:
    """Refuse training clips without labels, before gigabytes are unpacked."""
    for audio, table in (("FSDKaggle2018.audio_train", "FSDKaggle2018.meta"), ("audio_train", KAGGLE_TABLES[0])):
        if audio in filled and table not in filled:
            message = f"{folder} holds the archive of {audio}, but not that of {table}, its labels: add {table}.zip"
            raise InputError(message)


def _without_doubles(found: Supplied) -> Supplied:
    """Leave out what another file holds too: a table is as good unpacked as packed."""
    first: dict[tuple[str, ...], Archive] = {}
    for archive in found:
        first.setdefault(archive.fills, archive)
    return {archive: found[archive] for archive in first.values()}
