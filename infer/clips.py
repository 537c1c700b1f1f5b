"""A clip as a store holds it, mode by mode."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache import StoreReader, open_store, read_index
from cache.errors import InputError, NotFoundError
from cache.inventory import shard_folders
from featurize.modes import MODES, FeatureMode
from featurize.stored import variants


@dataclass(frozen=True, eq=False)
class StoredClip:
    """The frames of a clip in one mode.

    Attributes
    ----------
    name, mode : str
    settings : mapping
        The mode's, as they were stored.
    seconds : float
        Length of the decoded source.
    frames : ndarray [shape=(n_frames, n_bands), float16 or float32]
        In dB or, where the settings have a ``log_offset``, natural logarithms; read-only, on the mapped bytes.
    """

    name: str
    mode: str
    settings: Mapping[str, Any]
    seconds: float
    frames: npt.NDArray[np.floating]


class _Place(NamedTuple):
    reader: StoreReader
    clip: int


def read_clip(
    store: str | os.PathLike[str],
    name: str,
    modes: Collection[str] = (),
    *,
    known: Mapping[str, FeatureMode] = MODES,
) -> tuple[list[StoredClip], dict[str, str]]:
    """Read the current frames of one clip.

    Parameters
    ----------
    store : path
        The store, or a mode's folder.
    name : str
        The clip.
    modes : collection of str
        Names of modes that must have it; by default those that do.
    known : mapping of {str: FeatureMode}
        The modes whose settings are preferred; this version's by default.

    Returns
    -------
    clips : list of StoredClip
        One a mode, by name of the mode. Of several folders of a mode the one with the known settings is read,
        float16 before float32.
    problems : dict of {str: str}
        Mode → why the clip has no frames there.

    Raises
    ------
    NotFoundError
        There is no such store; no mode, or not each that was asked for, has frames of the clip. The near match or the
        reason is told.
    InputError
        A mode has the clip in several settings, none of them known.
    IntegrityError
        A shard fails its checks.
    """
    folders = shard_folders(store, modes)
    places: dict[str, list[_Place]] = {}
    problems: dict[str, str] = {}
    for folder in folders:
        reader = open_store(folder)
        if name in reader.names:
            places.setdefault(reader.mode, []).append(_Place(reader, reader.names.index(name)))
        elif row := read_index(folder).by_name.get(name):
            problems[reader.mode] = row.problem
    problems = {mode: problem for mode, problem in problems.items() if mode not in places}
    if not places and not problems:
        message = f"the store {os.fspath(store)} has no clip {name!r}{_hint(folders, name)}"
        raise NotFoundError(message)
    _require_frames(name, modes or (() if places else problems), places, problems)
    return [_read(name, _choose(places[mode], name, known)) for mode in sorted(places)], problems


def _read(name: str, place: _Place) -> StoredClip:
    reader, clip = place
    return StoredClip(name, reader.mode, reader.settings, float(reader.seconds[clip]), reader[clip])


def _choose(places: Sequence[_Place], name: str, modes: Mapping[str, FeatureMode]) -> _Place:
    if len(places) == 1:
        return places[0]
    mode = places[0].reader.mode
    ours = [variant.fingerprint() for variant in variants(modes[mode])] if mode in modes else []
    known = [place for place in places if place.reader.fingerprint in ours]
    if not known:
        folders = ", ".join(place.reader.path for place in places)
        message = f"mode {mode} has clip {name!r} in several settings: give one of the folders as --store: {folders}"
        raise InputError(message)
    return min(known, key=lambda place: ours.index(place.reader.fingerprint))


def _require_frames(name: str, modes: Collection[str], found: Collection[str], problems: Mapping[str, str]) -> None:
    for mode in modes:
        if mode in problems:
            message = f"clip {name!r} is quarantined in mode {mode}: {problems[mode]}; mend its file and featurize anew"
            raise NotFoundError(message)
        if mode not in found:
            message = f"mode {mode} has no clip {name!r}: run cli featurize, or leave --mode out"
            raise NotFoundError(message)


def _hint(folders: Sequence[Path], name: str) -> str:
    known = sorted({other for folder in folders for other in read_index(folder).by_name})
    # A file's path, or its name without folders, is given as often as a misspelt name.
    same = [other for other in known if PurePath(other).name == PurePath(name).name]
    near = same or get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ": run cli featurize, or name another with --store"
