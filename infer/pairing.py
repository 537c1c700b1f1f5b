"""Recordings of two event lists, matched by their names.

Conventions
-----------
Names are compared as they are, those without an equal then without their folder, and at last also without their suffix,
where it is a sound's or a film's. A shortened name counts only where it is that of one recording in each list.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from infer.events import Event
from infer.recordings import SUFFIXES


class Pair(NamedTuple):
    """The events of one recording in two lists, in any order."""

    predicted: Sequence[Event]
    truth: Sequence[Event]


@dataclass(frozen=True)
class Pairing:
    """Two lists, recording by recording.

    Attributes
    ----------
    pairs : dict of {str: Pair}
        By the truth's name of the recording; recordings of one list only are there too, with no events in the other.
    only_predicted, only_truth : list of str
        Recordings that one list only names.
    """

    pairs: dict[str, Pair]
    only_predicted: list[str]
    only_truth: list[str]


def pair_recordings(
    predicted: Mapping[str, Sequence[Event]], truth: Mapping[str, Sequence[Event]], *, unnamed: bool = False
) -> Pairing:
    """Match the recordings of two event lists.

    Parameters
    ----------
    predicted, truth : mapping of {str: sequence of Event}
        Recording → its events.
    unnamed : bool
        One of the lists does not name its recording. Where each is of a single recording, that is taken for the same.

    Returns
    -------
    Pairing
    """
    if unnamed and len(predicted) == len(truth) == 1:
        partners = dict(zip(truth, predicted, strict=True))
    else:
        partners = _partners(list(truth), list(predicted))
    taken = set(partners.values())
    only_predicted = [name for name in predicted if name not in taken]
    only_truth = [name for name in truth if name not in partners]
    pairs = {name: Pair(predicted[partners[name]] if name in partners else (), truth[name]) for name in truth}
    pairs |= {name: Pair(predicted[name], ()) for name in only_predicted}
    return Pairing(pairs, only_predicted, only_truth)


def _partners(names: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Give each name that has one its other name."""
    partners: dict[str, str] = {}
    for shorten in (str, _without_folder, _without_suffix):
        theirs = _unique(others, shorten)
        # Names that are equal stay so when they are shortened: no later step parts what an earlier one matched.
        partners |= {name: theirs[short] for short, name in _unique(names, shorten).items() if short in theirs}
    return partners


def _unique(names: Sequence[str], shorten: Callable[[str], str]) -> dict[str, str]:
    """Give the short names that belong to one name only: short → name."""
    counts = Counter(map(shorten, names))
    return {short: name for name in names if counts[short := shorten(name)] == 1}


def _without_folder(name: str) -> str:
    """Leave the folder out, and whether accents stand apart from their letters, as a Mac's file system has them."""
    return unicodedata.normalize("NFC", re.split(r"[\\/]", name)[-1])


def _without_suffix(name: str) -> str:
    path = PurePosixPath(_without_folder(name))
    return path.stem if path.suffix.lower() in SUFFIXES else path.name
