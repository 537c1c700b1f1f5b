r"""The audio files of a folder: found by one listing, never opened.

A file counts where it is regular or a link to a regular file; pipes, devices, sockets, broken links and folders do not,
whatever their name. Hidden entries (``.DS_Store``, ``._clip.wav``) and ``__MACOSX`` are passed over. A name that is not
UTF-8 is shown with backslash escapes (``caf\xe9.wav``), while its path keeps the bytes and can be opened. Names are
compared as they are: two that differ in letter case or in Unicode's composition only are two clips.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import pandas as pd
import soundfile

from cache.errors import CorpusError
from corpus.rows import TEXT, counted, named

# Header-less RAW and the MATLAB containers are left out: libsndfile opens them, but such files are rarely sounds.
_SUFFIXES_BY_FORMAT = {
    "AIFF": ("aiff", "aif", "aifc"),
    "AU": ("au", "snd"),
    "AVR": ("avr",),
    "CAF": ("caf",),
    "FLAC": ("flac",),
    "HTK": ("htk",),
    "IRCAM": ("sf",),
    "MP3": ("mp3",),
    "NIST": ("nist", "sph"),
    "OGG": ("ogg", "oga", "opus"),
    "PAF": ("paf",),
    "PVF": ("pvf",),
    "RF64": ("rf64",),
    "SDS": ("sds",),
    "SVX": ("svx", "8svx", "iff"),
    "VOC": ("voc",),
    "W64": ("w64",),
    "WAV": ("wav", "wave", "bwf"),
    "WVE": ("wve",),
    "XI": ("xi",),
}

AUDIO_SUFFIXES: frozenset[str] = frozenset(
    f".{suffix}" for name in soundfile.available_formats() for suffix in _SUFFIXES_BY_FORMAT.get(name, ())
)
"""Suffixes, in lower case and with their dot, of the formats that this machine's libsndfile decodes."""

FOREIGN_SUFFIXES = frozenset({".aac", ".ac3", ".amr", ".ape", ".m4a", ".mka", ".mp4", ".webm", ".wma", ".wv"})
"""Suffixes of sounds that libsndfile does not decode: worth a word to the user, where other files are not."""


# Made by unpackers and file systems, not by the owner of the sounds.
_PASSED_OVER = frozenset({"__MACOSX", "lost+found"})


class Problem(TypedDict):
    """A clip or a folder, and in a few words what is wrong with it."""

    fname: str
    reason: str


@dataclass(frozen=True)
class FolderListing:
    """What one folder holds, each group sorted by name.

    Attributes
    ----------
    files : dict of str to str
        Shown name → absolute path of each regular file, audio or not.
    folders : list of str
        Raw names of the folders and of the links to folders.
    irregular : list of str
        Shown names of what is neither: pipes, devices, sockets, broken links.
    """

    files: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    irregular: list[str] = field(default_factory=list)

    @property
    def audio(self) -> dict[str, str]:
        """The part of `files` that has an audio suffix."""
        return {name: path for name, path in self.files.items() if suffix_of(name) in AUDIO_SUFFIXES}


def suffix_of(name: str) -> str:
    """Give the suffix of a file name in lower case, with its dot; empty where there is none."""
    return os.path.splitext(name)[1].lower()


def shown_name(raw_name: str) -> str:
    r"""Turn a name as the file system gives it into valid Unicode: bytes that are not UTF-8 become ``\xNN``."""
    return os.fsencode(raw_name).decode("utf-8", "backslashreplace")


def list_folder(folder: str | Path) -> FolderListing:
    """List one folder, not those below it.

    Parameters
    ----------
    folder : str or Path
        The folder; relative paths are taken from the working directory.

    Returns
    -------
    FolderListing
        Its files, folders and the rest. Nothing is opened, so that a pipe cannot make the caller wait.

    Raises
    ------
    CorpusError
        The folder cannot be listed, or two names in it look the same once shown.
    """
    listing = FolderListing()
    for entry in list_entries(Path(folder).absolute()):
        shown = shown_name(entry.name)
        if holds(entry.is_file):
            if shown in listing.files:
                msg = f"{shown_name(str(folder))}: two files are both shown as {shown!r}; rename one of them"
                raise CorpusError(msg)
            listing.files[shown] = entry.path
        elif holds(entry.is_dir):
            listing.folders.append(entry.name)
        else:
            listing.irregular.append(shown)
    return listing


def match_files(
    fnames: "pd.Series[str]", *, paths: Mapping[str, str], audio: Iterable[str], folder: str | Path, source: str
) -> "pd.Series[str]":
    """Give each row of a table its file, one to one.

    Parameters
    ----------
    fnames : pandas.Series of str
        The clips' names in the table.
    paths : mapping of str to str
        fname → absolute path of every regular file there is.
    audio : iterable of str
        Those of the names that must have a row.
    folder, source : str or Path, str
        The audio folder and the name of the table, for the messages.

    Returns
    -------
    pandas.Series of str
        The absolute paths, with the index of `fnames`.

    Raises
    ------
    CorpusError
        A row has no file, or an audio file no row.
    """
    place = shown_name(str(folder))
    absent = fnames[~fnames.isin(list(paths))]
    if len(absent):
        msg = (
            f"{place} has no regular file for {counted(len(absent), 'row')} of {source}: {named(absent)}; add or unlist"
        )
        raise CorpusError(msg)
    unlisted = sorted(set(audio) - set(fnames))
    if unlisted:
        what = f"{counted(len(unlisted), 'audio file')} in {place}"
        msg = f"{source} has no row for {what}: {named(unlisted)}; list or remove"
        raise CorpusError(msg)
    return fnames.map(paths).astype(TEXT)


def list_entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """List a folder, sorted by name, without what is hidden or not its owner's.

    Raises
    ------
    CorpusError
        The folder cannot be listed.
    """
    folder = str(folder)
    try:
        with os.scandir(folder) as entries:
            ours = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _PASSED_OVER]
            return sorted(ours, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        msg = f"{shown_name(folder)} cannot be listed ({error.strerror}); check its permissions"
        raise CorpusError(msg) from error


def holds(check: Callable[[], bool]) -> bool:
    """Ask an entry what it is; a link that loops or may not be followed is nothing."""
    try:
        return check()
    except OSError:
        return False
