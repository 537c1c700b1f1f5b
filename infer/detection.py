"""Events from what networks say of overlapping windows.

Conventions
-----------
Windows are ``(first, stop)`` in frames, within an active span; log-probabilities ``[n_windows, n_classes]``. A class
begins where its probability reaches the higher threshold and lasts, to both sides, while it is above the lower one. An
event that reaches the edge of its span has the span's own time there; else the time half-way between two windows.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from infer.activity import Span, runs
from infer.events import Event
from train.scores import renormalise


@dataclass(frozen=True, kw_only=True)
class DetectionRules:
    """What makes an event.

    Parameters
    ----------
    window_seconds, step_seconds : float > 0
        Length of the windows that networks hear, and the step between them.
    smoothed_windows : int >= 0
        A class's log-probability is averaged over so many windows to either side.
    start_score, end_score : float in [0, 1]
        Thresholds: the higher begins an event, the lower ends it.
    least_seconds : float >= 0
        Shorter events are dropped.
    gap_seconds : float >= 0
        Events of one class with no more than this between them are one.
    pause_seconds : float >= 0
        An active span goes on over pauses up to this.
    gate_db : float
        What is quieter is silence, in dB below a tone at full scale.

    Raises
    ------
    InputError
        If a value breaks its rule.
    """

    window_seconds: float = 4.0
    step_seconds: float = 0.5
    smoothed_windows: int = 2
    start_score: float = 0.4
    end_score: float = 0.2
    least_seconds: float = 0.1
    gap_seconds: float = 0.5
    pause_seconds: float = 0.5
    gate_db: float = -80.0

    def __post_init__(self) -> None:
        for name in ("window_seconds", "step_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                self._refuse(name, "must be above 0")
        for name in ("smoothed_windows", "least_seconds", "gap_seconds", "pause_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                self._refuse(name, "must be 0 or more")
        if not 0 < self.end_score <= self.start_score <= 1:
            self._refuse("end_score", f"must be above 0 and up to start_score ({self.start_score})")
        if math.isnan(self.gate_db):
            self._refuse("gate_db", "must be a number")

    def _refuse(self, name: str, rule: str) -> None:
        message = f"{name} {rule}; got {getattr(self, name)}"
        raise InputError(message)


def windows_of(span: Span, *, length: int, step: int) -> list[Span]:
    """Cut a span into overlapping windows: evenly, about a step apart, the last one ends with the span."""
    first, stop = span
    if stop - first <= length:
        return [span]
    n_steps = -(-(stop - first - length) // step)
    starts = first + np.round(np.arange(n_steps + 1) * ((stop - first - length) / n_steps)).astype(int)
    return [(start, start + length) for start in starts.tolist()]


def smoothed(log_p: NDArray[np.float64], *, to_either_side: int) -> NDArray[np.float64]:
    """Average each class over neighbouring windows; rows are probabilities again, as logarithms."""
    sums = np.cumsum(np.concatenate([np.zeros((1, log_p.shape[1])), log_p]), axis=0)
    each = np.arange(len(log_p))
    first, stop = np.maximum(each - to_either_side, 0), np.minimum(each + to_either_side + 1, len(log_p))
    return renormalise((sums[stop] - sums[first]) / (stop - first)[:, None])


def events_of(
    span: Span,
    windows: Sequence[Span],
    log_p: NDArray[np.float64],
    *,
    classes: Sequence[str],
    rules: DetectionRules,
    frame_seconds: float,
) -> list[Event]:
    """Find the events of one active span.

    Parameters
    ----------
    span : (int, int)
    windows : sequence of (int, int)
        As from `windows_of`.
    log_p : ndarray [shape=(len(windows), len(classes))]
    classes : sequence of str
    rules : DetectionRules
    frame_seconds : float > 0
        Step between frames.
    """
    p = np.exp(smoothed(log_p, to_either_side=rules.smoothed_windows))
    centres = np.array(windows).mean(axis=1)
    edges = np.concatenate([[span[0]], (centres[1:] + centres[:-1]) / 2, [span[1]]]) * frame_seconds
    found = []
    for number in np.flatnonzero((p >= rules.start_score).any(axis=0)).tolist():
        for first, stop in runs(p[:, number] >= rules.end_score):
            score = float(p[first:stop, number].max())
            if score >= rules.start_score:
                found.append(Event(float(edges[first]), float(edges[stop]), classes[number], min(score, 1.0)))
    return sorted(found)


class EventJoiner:
    """Joins events of one class over gaps, and gives those that nothing can be joined to any more.

    Parameters
    ----------
    rules : DetectionRules
    """

    def __init__(self, rules: DetectionRules) -> None:
        self._rules = rules
        self._open: dict[str, Event] = {}

    def add(self, events: Iterable[Event]) -> list[Event]:
        """Take events, in the order of their onsets, and return those that are whole."""
        whole = []
        for event in events:
            before = self._open.get(event.label)
            if before and event.onset - before.offset <= self._rules.gap_seconds:
                event = Event(
                    before.onset, max(before.offset, event.offset), event.label, max(before.score, event.score)
                )
            elif before:
                whole.append(before)
            self._open[event.label] = event
        return self._long_enough(whole)

    def finish(self, *, before: float = math.inf) -> list[Event]:
        """Return the events that end so long before this time that nothing later is joined to them."""
        whole = [event for event in self._open.values() if event.offset + self._rules.gap_seconds < before]
        for event in whole:
            del self._open[event.label]
        return self._long_enough(whole)

    def _long_enough(self, events: Iterable[Event]) -> list[Event]:
        return sorted(event for event in events if event.seconds >= self._rules.least_seconds)
