from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import InputError
from infer.detection import DetectionRules, EventJoiner, events_of, smoothed, windows_of
from infer.events import Event

CLASSES = ("Bark", "Cough", "Knock")
PLAIN = DetectionRules(smoothed_windows=0, start_score=0.6, end_score=0.3)


@given(first=st.integers(0, 50), n=st.integers(1, 400), length=st.integers(1, 100), step=st.integers(1, 50))
def test_windows_cover_the_span_and_stay_inside(first: int, n: int, length: int, step: int) -> None:
    windows = windows_of((first, first + n), length=length, step=step)
    assert windows[0][0] == first
    assert windows[-1][1] == first + n
    starts = np.array([window[0] for window in windows])
    assert all(stop - start == min(n, length) for start, stop in windows)
    assert np.all(np.diff(starts) <= step + 1)
    assert np.all(np.diff(starts) >= 0)


def log_p(*bark: float) -> np.ndarray:
    """What is not Bark is Cough, but for a little."""
    rest = np.array(bark)
    return np.log(np.stack([rest, 0.999 - rest, np.full(len(rest), 0.001)], axis=1))


def found(*bark: float, rules: DetectionRules = PLAIN) -> list[Event]:
    windows = windows_of((100, 100 + 50 + 25 * (len(bark) - 1)), length=50, step=25)
    assert len(windows) == len(bark)
    span = (windows[0][0], windows[-1][1])
    return events_of(span, windows, log_p(*bark), classes=CLASSES, rules=rules, frame_seconds=0.02)


def test_an_event_that_fills_its_span_has_the_spans_times() -> None:
    [event] = found(0.9)
    assert (event.onset, event.offset, event.label, event.score) == (2.0, 3.0, "Bark", pytest.approx(0.9))
    [event] = found(0.9, 0.75, 0.9)
    assert (event.onset, event.offset) == (2.0, 4.0)


def test_an_event_begins_at_the_higher_threshold_and_ends_at_the_lower() -> None:
    barks, coughs = found(0.9, 0.5, 0.35, 0.1), found(0.65, 0.5, 0.35, 0.5)
    assert [(event.label, event.onset, event.offset) for event in barks] == [
        ("Bark", 2.0, 3.75),
        ("Cough", pytest.approx(2.75), 4.5),
    ]
    assert barks[0].score == pytest.approx(0.9)
    assert [(event.label, event.onset, event.offset) for event in coughs] == [
        ("Bark", 2.0, 4.5),
        ("Cough", 2.0, 4.5),
    ]


def test_nothing_sure_is_no_event() -> None:
    assert found(0.5, 0.45, 0.5) == []


def test_a_single_odd_window_is_smoothed_away() -> None:
    odd = [0.9, 0.9, 0.01, 0.9, 0.9]
    assert [event.label for event in found(*odd)] == ["Bark", "Cough", "Bark"]
    smooth = found(*odd, rules=DetectionRules(smoothed_windows=2, start_score=0.6, end_score=0.3))
    assert [(event.label, event.onset) for event in smooth] == [("Bark", 2.0)]


def test_smoothing_is_the_geometric_mean_over_what_is_there() -> None:
    rows = log_p(0.9, 0.5, 0.1)
    means = smoothed(rows, to_either_side=1)
    assert np.exp(means).sum(axis=1) == pytest.approx(np.ones(3))
    middle = np.exp(rows).prod(axis=0) ** (1 / 3)
    assert np.exp(means[1]) == pytest.approx(middle / middle.sum())
    assert smoothed(rows, to_either_side=0) == pytest.approx(rows)


# --- joining ---------------------------------------------------------------------------------------------------------


def test_events_of_a_class_are_joined_over_short_gaps() -> None:
    joiner = EventJoiner(DetectionRules(gap_seconds=0.5))
    assert joiner.add([Event(0, 1, "Bark", 0.7), Event(0.5, 0.8, "Cough"), Event(1.4, 2, "Bark", 0.9)]) == []
    assert joiner.add([Event(2.6, 3, "Bark", 0.8)]) == [Event(0, 2, "Bark", 0.9)]
    assert joiner.finish() == [Event(0.5, 0.8, "Cough"), Event(2.6, 3, "Bark", 0.8)]
    assert joiner.finish() == []


def test_an_event_waits_while_something_may_be_joined_to_it() -> None:
    joiner = EventJoiner(DetectionRules(gap_seconds=0.5))
    joiner.add([Event(0, 1, "Bark")])
    assert joiner.finish(before=1.4) == []
    assert joiner.finish(before=1.6) == [Event(0, 1, "Bark")]


def test_short_events_are_dropped_after_joining() -> None:
    joiner = EventJoiner(DetectionRules(gap_seconds=0.5, least_seconds=0.3))
    joiner.add([Event(0, 0.2, "Bark"), Event(0.3, 0.5, "Bark"), Event(3, 3.2, "Cough")])
    assert joiner.finish() == [Event(0, 0.5, "Bark")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window_seconds": 0.0}, "window_seconds must be above 0; got 0.0"),
        ({"step_seconds": float("inf")}, "step_seconds must be above 0; got inf"),
        ({"gap_seconds": -1.0}, "gap_seconds must be 0 or more; got -1.0"),
        ({"end_score": 0.6}, r"end_score must be above 0 and up to start_score \(0\.4\); got 0\.6"),
        ({"start_score": 1.1}, r"up to start_score"),
        ({"gate_db": float("nan")}, "gate_db must be a number"),
    ],
)
def test_rules_are_checked(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        DetectionRules(**changes)
