"""Scoring a file of events found against one of true events.

Conventions
-----------
Both are event lists (see event_lists). Recordings are matched by name (see pairing); where one list lacks one, it
counts as having no event there. Scores are those of event_scores; a number that cannot be given is None.
"""

from pathlib import Path
from typing import Any

from infer.event_lists import read_event_list, recording_of
from infer.event_matching import Tolerance
from infer.event_scores import Counts, EventScores, event_based, segment_based
from infer.pairing import pair_recordings


def evaluate_events(
    predicted: Path, truth: Path, *, tolerance: Tolerance | None = None, segment_seconds: float = 1.0
) -> dict[str, Any]:
    """Score an event list.

    Parameters
    ----------
    predicted, truth : Path
        Event lists: files or folders.
    tolerance : Tolerance
        Of the event-based score; by default onsets within 0.2 s, offsets within 0.2 s or half the true event's length.
    segment_seconds : float > 0
        Of the segment-based score.

    Returns
    -------
    dict
        recordings (how many), only_in_events and only_in_truth (names), collar_seconds, length_share, onset_only,
        segment_seconds; event_based and segment_based: f1, precision, recall, truth, predicted, correct (counts of all
        classes), macro (f1, precision, recall), by_class (label → the six), substitutions, deletions, insertions and
        error_rate.

    Raises
    ------
    NotFoundError, InputError
        A list is not there, or breaks a rule.
    """
    tolerance = tolerance or Tolerance()
    lists = [read_event_list(path) for path in (predicted, truth)]
    unnamed = any(list(names) == [recording_of(path)] for names, path in zip(lists, (predicted, truth), strict=True))
    pairing = pair_recordings(*lists, unnamed=unnamed)
    return {
        "recordings": len(pairing.pairs),
        "only_in_events": pairing.only_predicted,
        "only_in_truth": pairing.only_truth,
        "collar_seconds": tolerance.collar_seconds,
        "length_share": tolerance.length_share,
        "onset_only": tolerance.onset_only,
        "segment_seconds": segment_seconds,
        "event_based": _numbers(event_based(pairing.pairs.values(), tolerance=tolerance)),
        "segment_based": _numbers(segment_based(pairing.pairs.values(), segment_seconds=segment_seconds)),
    }


def _numbers(scores: EventScores) -> dict[str, Any]:
    return {
        **_counts(scores.total),
        "macro": {what: scores.macro(what) for what in ("f1", "precision", "recall")},
        "substitutions": scores.substitutions,
        "deletions": scores.deletions,
        "insertions": scores.insertions,
        "error_rate": scores.error_rate,
        "by_class": {label: _counts(counts) for label, counts in scores.by_class.items()},
    }


def _counts(counts: Counts) -> dict[str, float | int | None]:
    return {what: getattr(counts, what) for what in ("f1", "precision", "recall", "truth", "predicted", "correct")}
