"""Scores of event lists: segment-based and event-based F1 and error rate.

Conventions
-----------
Source: Mesaros, Heittola, Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences 6(6), 162 (2016);
computed as their toolbox sed_eval 0.2.1 does, with the counts of all recordings pooled. Event-based, an event found is
correct where it is matched with a true one of its class whose times it fits (see event_matching). Segment-based, time
is cut into segments from 0 on, and a class is active in those that an event of it touches: an active segment counts as
an event does above.

A ratio of nothing to nothing is None; where one list has the class and the other has not, precision, recall and F1 are
0 (sed_eval's ``zero_score``). The macro average is the mean over the classes of the truth. Of what is wrong, an event
found in the time of a missed one under another label is a substitution; the rest are deletions and insertions.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from infer.event_matching import FittingEvents, Tolerance, largest_matching
from infer.events import Event
from infer.pairing import Pair

Span = tuple[int, int]
"""The first segment, and the one behind the last."""


@dataclass(frozen=True)
class Counts:
    """What was found of what there is: events, or segments in which a class is active.

    Parameters
    ----------
    truth, predicted, correct : int
        How many there are, how many were found, and how many of these rightly.
    """

    truth: int = 0
    predicted: int = 0
    correct: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Pool two counts."""
        return Counts(self.truth + other.truth, self.predicted + other.predicted, self.correct + other.correct)

    @property
    def precision(self) -> float | None:
        """Share of the found that is right."""
        return self._ratio(self.correct, self.predicted)

    @property
    def recall(self) -> float | None:
        """Share of the truth that was found."""
        return self._ratio(self.correct, self.truth)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two."""
        return self._ratio(2 * self.correct, self.truth + self.predicted)

    def _ratio(self, part: int, whole: int) -> float | None:
        if not self.truth and not self.predicted:
            return None
        return part / whole if whole else 0.0


@dataclass(frozen=True)
class EventScores:
    """The scores of an event list.

    Parameters
    ----------
    by_class : mapping of {str: Counts}
        Of each class in one of the lists.
    substitutions : int
    """

    by_class: Mapping[str, Counts]
    substitutions: int

    @property
    def total(self) -> Counts:
        """All classes pooled: the micro average."""
        return sum(self.by_class.values(), Counts())

    @property
    def deletions(self) -> int:
        """How many were missed, not even found under another label."""
        return self.total.truth - self.total.correct - self.substitutions

    @property
    def insertions(self) -> int:
        """How many were found where there is nothing."""
        return self.total.predicted - self.total.correct - self.substitutions

    @property
    def error_rate(self) -> float | None:
        """Substitutions, deletions and insertions by what there is; None where there is nothing, can be above 1."""
        total = self.total
        errors = self.substitutions + self.deletions + self.insertions
        return errors / total.truth if total.truth else None

    def macro(self, what: str) -> float | None:
        """Return the mean over the classes of the truth of ``precision``, ``recall`` or ``f1``."""
        values = [getattr(counts, what) for counts in self.by_class.values() if counts.truth]
        return float(np.mean(values)) if values else None


def event_based(pairs: Iterable[Pair], *, tolerance: Tolerance | None = None) -> EventScores:
    """Score events by their times.

    Parameters
    ----------
    pairs : iterable of Pair
        One a recording.
    tolerance : Tolerance
        By default onsets within 0.2 s, offsets within 0.2 s or half the true event's length.

    Notes
    -----
    Where several matchings are largest, the one made decides what is left over and so, rarely, how much of that counts
    as substituted; sed_eval may make another. Everything else is the same in all of them.
    """
    tolerance = tolerance or Tolerance()
    by_class: defaultdict[str, Counts] = defaultdict(Counts)
    substitutions = 0
    for predicted, truth in pairs:
        superfluous, missed = list[Event](), list[Event]()
        for label, (found, there) in _by_label(predicted, truth).items():
            partners = _partners(found, there, tolerance)
            by_class[label] += Counts(len(there), len(found), int((partners >= 0).sum()))
            matched = set(partners.tolist())
            superfluous += [event for index, event in enumerate(found) if index not in matched]
            missed += [event for event, partner in zip(there, partners, strict=True) if partner < 0]
        substitutions += _substitutions(sorted(superfluous), sorted(missed), tolerance)
    return EventScores(dict(sorted(by_class.items())), substitutions)


def segment_based(pairs: Iterable[Pair], *, segment_seconds: float = 1.0) -> EventScores:
    """Score segments by the classes that are active in them.

    Parameters
    ----------
    pairs : iterable of Pair
        One a recording.
    segment_seconds : float > 0

    Raises
    ------
    InputError
        The segments are not above 0 s, or too short to be counted.
    """
    if not 0 < segment_seconds < math.inf:
        message = f"segments must be longer than 0 s; got {segment_seconds}"
        raise InputError(message)
    by_class: defaultdict[str, Counts] = defaultdict(Counts)
    substitutions = 0
    for predicted, truth in pairs:
        rows = list[tuple[list[Span], list[Span], list[Span]]]()
        for label, (found, there) in _by_label(predicted, truth).items():
            spans = _active(there, segment_seconds), _active(found, segment_seconds)
            rows.append((*spans, _common(*spans)))
            by_class[label] += Counts(*map(_length, rows[-1]))
        substitutions += _substituted_segments(rows)
    return EventScores(dict(sorted(by_class.items())), substitutions)


def _by_label(predicted: Iterable[Event], truth: Iterable[Event]) -> dict[str, tuple[list[Event], list[Event]]]:
    """Sort events by class, and in each by time, so that their order in a list does not matter."""
    groups: defaultdict[str, tuple[list[Event], list[Event]]] = defaultdict(lambda: ([], []))
    for side, events in enumerate((predicted, truth)):
        for event in sorted(events):
            groups[event.label][side].append(event)
    return groups


# --- events ----------------------------------------------------------------------------------------------------------


def _partners(found: Sequence[Event], there: Sequence[Event], tolerance: Tolerance) -> NDArray[np.intp]:
    fits = FittingEvents(found, tolerance)
    return largest_matching(len(there), len(found), lambda index: fits(there[index]))


def _substitutions(superfluous: Sequence[Event], missed: Sequence[Event], tolerance: Tolerance) -> int:
    """Count what was found in its time under another label: one after the other, as sed_eval does."""
    fits = FittingEvents(superfluous, tolerance)
    free = np.ones(len(superfluous), bool)
    for event in missed:
        index = fits(event)
        free[index[free[index]][:1]] = False
    return int((~free).sum())


# --- segments --------------------------------------------------------------------------------------------------------


def _active(events: Iterable[Event], segment_seconds: float) -> list[Span]:
    """Give the segments that any of the events touches, as spans that do not meet, ascending."""
    spans: list[Span] = []
    for event in events:
        begin, end = event.onset / segment_seconds, event.offset / segment_seconds
        if math.isinf(end):
            message = f"segments of {segment_seconds} s are too short for an event that ends at {event.offset} s"
            raise InputError(message)
        first, stop = math.floor(begin), math.ceil(end)
        if spans and first <= spans[-1][1]:
            first, stop = spans[-1][0], max(stop, spans.pop()[1])
        spans.append((first, stop))
    return spans


def _common(ones: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Give what two lists of spans have in common."""
    common: list[Span] = []
    i = j = 0
    while i < len(ones) and j < len(others):
        first, stop = max(ones[i][0], others[j][0]), min(ones[i][1], others[j][1])
        common += [(first, stop)] if first < stop else []
        if ones[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return common


def _length(spans: Iterable[Span]) -> int:
    return sum(stop - first for first, stop in spans)


def _substituted_segments(rows: Iterable[tuple[Sequence[Span], ...]]) -> int:
    """Count in each segment the pairs of a class that is missed and one that is found wrongly.

    Parameters
    ----------
    rows : iterable of (true spans, found spans, common spans)
        One a class.
    """
    changes: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        for kind, spans in enumerate(row):
            for first, stop in spans:
                changes[first][kind] += 1
                changes[stop][kind] -= 1
    bounds = sorted(changes)
    active = [0, 0, 0]
    substituted = 0
    for first, stop in pairwise(bounds):
        active = [count + change for count, change in zip(active, changes[first], strict=True)]
        n_truth, n_predicted, n_correct = active
        substituted += (stop - first) * (min(n_truth, n_predicted) - n_correct)
    return substituted
