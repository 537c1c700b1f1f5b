"""Scores of event lists: by hand, by sed_eval, by plain formulas and by properties."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from cache.errors import InputError
from infer.event_matching import FittingEvents, Tolerance, largest_matching
from infer.event_scores import Counts, EventScores, event_based, segment_based
from infer.events import Event
from infer.pairing import Pair, pair_recordings

GOLDENS = json.loads(Path(__file__).with_name("sed_eval_goldens.json").read_text(encoding="utf-8"))
ONSET_ONLY = Tolerance(onset_only=True)


def bark(onset: float, offset: float) -> Event:
    return Event(onset, offset, "Bark")


def to_events(lists: dict[str, list]) -> dict[str, list[Event]]:
    return {name: [Event(*row) for row in rows] for name, rows in lists.items()}


def check_against(expected: dict, scores: EventScores) -> None:
    """Compare with sed_eval, which has no number (None) for the recall of what is not there, and the F1 of it."""

    def check(wanted: dict, counts: Counts) -> None:
        assert (counts.truth, counts.predicted, counts.correct) == tuple(
            wanted[key] for key in ("truth", "predicted", "correct")
        )
        for key in ("precision", "recall", "f1"):
            if wanted[key] is None:
                assert not counts.truth
                assert getattr(counts, key) == 0
            else:
                assert getattr(counts, key) == pytest.approx(wanted[key], abs=1e-12)

    check(expected, scores.total)
    assert list(scores.by_class) == sorted(expected["by_class"])
    for label, wanted in expected["by_class"].items():
        check(wanted, scores.by_class[label])
    for key, value in expected["macro"].items():
        assert scores.macro(key) == (None if value is None else pytest.approx(value, abs=1e-12))
    if expected["substitutions"] is not None:
        for key in ("substitutions", "deletions", "insertions"):
            assert getattr(scores, key) == expected[key], key
        if expected["truth"]:
            assert scores.error_rate == pytest.approx(expected["error_rate"], abs=1e-12)


class TestSedEval:
    @pytest.mark.parametrize("case", GOLDENS, ids=lambda case: f"{case['kind']} {case['settings']}")
    def test_the_numbers_are_sed_evals(self, case: dict) -> None:
        wanted = case["settings"]
        pairs = pair_recordings(to_events(case["predicted"]), to_events(case["truth"])).pairs
        tolerance = Tolerance(wanted["collar"], wanted["length_share"], wanted["onset_only"])
        check_against(case["event_based"], event_based(pairs.values(), tolerance=tolerance))
        check_against(case["segment_based"], segment_based(pairs.values(), segment_seconds=wanted["segment"]))

    def test_there_are_cases_of_each_kind(self) -> None:
        assert len(GOLDENS) >= 14
        assert sum(case["event_based"]["correct"] > 10 for case in GOLDENS) >= 8
        assert sum((case["event_based"]["substitutions"] or 0) > 0 for case in GOLDENS) >= 6


class TestEventBased:
    def test_by_hand(self) -> None:
        truth = [bark(1.0, 2.0), bark(5.0, 6.0), Event(8.0, 9.0, "Meow"), Event(20.0, 21.0, "Meow")]
        found = [bark(1.1, 2.4), bark(5.5, 6.0), bark(8.0, 9.0), Event(30.0, 31.0, "Purr")]
        scores = event_based([Pair(found, truth)])
        assert scores.by_class == {"Bark": Counts(2, 3, 1), "Meow": Counts(2, 0, 0), "Purr": Counts(0, 1, 0)}
        assert scores.total == Counts(4, 4, 1)
        assert (scores.substitutions, scores.deletions, scores.insertions) == (1, 2, 2)
        assert scores.error_rate == 5 / 4
        assert (scores.total.precision, scores.total.recall, scores.total.f1) == (0.25, 0.25, 0.25)
        assert scores.macro("f1") == (2 / 5 + 0) / 2  # Purr is no class of the truth
        assert scores.macro("precision") == 1 / 6
        assert scores.macro("recall") == 1 / 4

    @pytest.mark.parametrize(
        ("found", "correct"),
        [
            (bark(10.25, 14.0), 1),  # an onset at the very collar
            (bark(10.375, 14.0), 0),
            (bark(9.75, 14.0), 1),
            (bark(9.625, 14.0), 0),
            (bark(10.0, 16.0), 1),  # an offset at half the length
            (bark(10.0, 16.125), 0),
            (bark(10.0, 12.0), 1),
            (bark(10.0, 11.875), 0),
            (Event(10.0, 14.0, "Meow"), 0),
        ],
    )
    def test_what_fits_a_long_event(self, found: Event, correct: int) -> None:
        scores = event_based([Pair([found], [bark(10.0, 14.0)])], tolerance=Tolerance(0.25, 0.5))
        assert scores.total.correct == correct

    def test_the_collar_is_the_least_tolerance_of_an_offset(self) -> None:
        short = [bark(1.0, 1.125)]
        assert event_based([Pair([bark(1.0, 1.375)], short)], tolerance=Tolerance(0.25)).total.correct == 1
        assert event_based([Pair([bark(1.0, 1.5)], short)], tolerance=Tolerance(0.25)).total.correct == 0

    def test_the_share_is_of_the_true_events_length(self) -> None:
        pair = Pair([bark(1.0, 9.0)], [bark(1.0, 3.0)])
        assert event_based([pair]).total.correct == 0
        assert event_based([Pair(*reversed(pair))]).total.correct == 0
        assert event_based([Pair([bark(1.0, 9.0)], [bark(1.0, 6.0)])]).total.correct == 0
        assert event_based([Pair([bark(1.0, 6.0)], [bark(1.0, 9.0)])]).total.correct == 1

    def test_onsets_alone(self) -> None:
        pair = Pair([bark(1.0, 9.0)], [bark(1.0, 1.5)])
        assert event_based([pair]).total.correct == 0
        assert event_based([pair], tolerance=ONSET_ONLY).total.correct == 1

    def test_an_event_is_matched_once(self) -> None:
        scores = event_based([Pair([bark(1.0, 2.0)] * 3, [bark(1.0, 2.0)])])
        assert scores.total == Counts(1, 3, 1)
        assert scores.insertions == 2

    def test_the_matching_is_not_the_first_that_offers_itself(self) -> None:
        # The first true event fits both that were found, the second only the first of these.
        truth, found = [bark(1.0, 3.0), bark(1.125, 1.5)], [bark(1.0, 1.75), bark(1.0, 3.0)]
        assert event_based([Pair(found, truth)], tolerance=Tolerance(0.25, 1.0)).total.correct == 2

    def test_an_event_is_substituted_once(self) -> None:
        there = [Event(1.0, 2.0, "Meow"), Event(1.0, 2.0, "Purr"), Event(1.0, 2.0, "Moo")]
        scores = event_based([Pair([bark(1.0, 2.0), bark(1.125, 2.0)], there)])
        assert (scores.substitutions, scores.deletions, scores.insertions) == (2, 1, 0)

    def test_recordings_are_kept_apart(self) -> None:
        pairs = [Pair([bark(1.0, 2.0)], []), Pair([], [bark(1.0, 2.0)])]
        scores = event_based(pairs)
        assert scores.total == Counts(1, 1, 0)
        assert (scores.substitutions, scores.deletions, scores.insertions) == (0, 1, 1)

    def test_ten_thousand_events_that_all_fit_each_other(self) -> None:
        events = [bark(index / 1e6, 1 + index / 1e6) for index in range(10_000)]
        assert event_based([Pair(events[:-1], events)]).total == Counts(10_000, 9_999, 9_999)

    @pytest.mark.parametrize("collar", [-0.1, math.nan, math.inf])
    def test_the_collar_is_checked(self, collar: float) -> None:
        with pytest.raises(InputError, match="collar must be 0 s or more; got"):
            Tolerance(collar)

    @pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
    def test_the_share_is_checked(self, share: float) -> None:
        with pytest.raises(InputError, match="share of the length must be from 0 to 1; got"):
            Tolerance(0.2, share)


class TestSegmentBased:
    def test_by_hand(self) -> None:
        truth = [bark(0.5, 2.5), Event(2.0, 4.0, "Meow")]
        found = [bark(1.0, 2.0), bark(1.5, 2.0), Event(2.0, 3.0, "Purr"), Event(3.9, 5.1, "Meow")]
        scores = segment_based([Pair(found, truth)])
        assert scores.by_class == {"Bark": Counts(3, 1, 1), "Meow": Counts(2, 3, 1), "Purr": Counts(0, 1, 0)}
        # Segment 0: Bark missed. 2: Bark and Meow missed, Purr found. 4 and 5: Meow found.
        assert (scores.substitutions, scores.deletions, scores.insertions) == (1, 2, 2)
        assert scores.error_rate == 1.0

    def test_times_without_end_cost_nothing(self) -> None:
        scores = segment_based([Pair([bark(0.0, 1e12)], [bark(1e12, 2e12)])], segment_seconds=1e-3)
        assert scores.total == Counts(10**15, 10**15, 0)

    def test_segments_too_short_to_count(self) -> None:
        with pytest.raises(InputError, match=r"segments of 1e-09 s are too short for an event that ends at 1e\+300 s"):
            segment_based([Pair([bark(0.0, 1e300)], [])], segment_seconds=1e-9)

    @pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
    def test_the_length_is_checked(self, seconds: float) -> None:
        with pytest.raises(InputError, match="segments must be longer than 0 s; got"):
            segment_based([], segment_seconds=seconds)


class TestNothing:
    @pytest.mark.parametrize("score", [event_based, segment_based])
    def test_no_event_in_either_list(self, score) -> None:
        for pairs in ([], [Pair([], [])]):
            scores = score(pairs)
            assert (scores.by_class, scores.total, scores.error_rate) == ({}, Counts(), None)
            assert (scores.total.precision, scores.total.recall, scores.total.f1) == (None, None, None)
            assert scores.macro("f1") is None

    @pytest.mark.parametrize("score", [event_based, segment_based])
    def test_no_event_in_one_of_them(self, score) -> None:
        for pair, rate in ((Pair([bark(0.0, 1.0)], []), None), (Pair([], [bark(0.0, 1.0)]), 1.0)):
            scores = score([pair])
            assert (scores.total.precision, scores.total.recall, scores.total.f1) == (0, 0, 0)
            assert scores.error_rate == rate


# --- properties ------------------------------------------------------------------------------------------------------

onsets = st.integers(0, 400).map(lambda step: step / 16)
lengths = st.integers(1, 80).map(lambda step: step / 16)
events = st.builds(
    lambda onset, length, label: Event(onset, onset + length, label), onsets, lengths, st.sampled_from(["A", "B", "C"])
)
event_lists = st.lists(events, max_size=25)
tolerances = st.builds(
    Tolerance, st.sampled_from([0.0, 0.0625, 0.25, 1.0]), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()
)
segment_lengths = st.sampled_from([0.125, 0.5, 1.0, 3.0])
quickly = settings(deadline=None, max_examples=60)


def plain_segments(found: list[Event], truth: list[Event], seconds: float) -> tuple[dict[str, Counts], int]:
    """Segment by segment, as the definition says: counts a class, and substitutions."""
    labels = {event.label for event in [*found, *truth]}
    counts, substitutions = {label: Counts() for label in labels}, 0
    for segment in range(math.ceil(40 / seconds)):
        begin, end = segment * seconds, (segment + 1) * seconds
        active = [{e.label for e in side if e.onset < end and e.offset > begin} for side in (truth, found)]
        for label in labels:
            is_true, is_found = (label in side for side in active)
            counts[label] += Counts(is_true, is_found, is_true and is_found)
        substitutions += min(len(active[0] - active[1]), len(active[1] - active[0]))
    return counts, substitutions


def most_matches(left: list[int], fits: dict[int, list[int]]) -> int:
    """The size of the largest matching, by trying all."""
    if not left:
        return 0
    first, *rest = left
    without = most_matches(rest, fits)
    others = [
        1 + most_matches(rest, {key: [i for i in row if i != taken] for key, row in fits.items()})
        for taken in fits[first]
    ]
    return max([without, *others])


class TestProperties:
    @quickly
    @given(st.lists(event_lists, max_size=3), tolerances, segment_lengths)
    def test_a_list_against_itself_is_perfect(self, lists, tolerance, seconds) -> None:
        pairs = [Pair(row, list(reversed(row))) for row in lists]
        for scores in (event_based(pairs, tolerance=tolerance), segment_based(pairs, segment_seconds=seconds)):
            perfect = 1.0 if any(lists) else None
            assert (scores.total.precision, scores.total.recall, scores.total.f1) == (perfect,) * 3
            assert scores.macro("f1") == perfect
            assert scores.error_rate == (0.0 if any(lists) else None)

    @quickly
    @given(event_lists.filter(bool), tolerances)
    def test_beyond_the_collar_nothing_is_right(self, row, tolerance) -> None:
        seconds = 40 + tolerance.collar_seconds
        late = [Event(event.onset + seconds, event.offset + seconds, event.label) for event in row]
        scores = event_based([Pair(late, row)], tolerance=tolerance)
        assert scores.total == Counts(len(row), len(row), 0)
        assert (scores.total.f1, scores.error_rate) == (0.0, 2.0)

    @quickly
    @given(event_lists, event_lists, tolerances, segment_lengths)
    def test_exchanged_lists_exchange_precision_and_recall(self, found, truth, tolerance, seconds) -> None:
        # A share of the true event's length is not the same seen from the other side.
        tolerance = Tolerance(tolerance.collar_seconds, 0.0, tolerance.onset_only)

        def both(pair: Pair) -> tuple[EventScores, EventScores]:
            return event_based([pair], tolerance=tolerance), segment_based([pair], segment_seconds=seconds)

        for one, other in zip(both(Pair(found, truth)), both(Pair(truth, found)), strict=True):
            for label, counts in one.by_class.items():
                assert counts.precision == other.by_class[label].recall
                assert counts.recall == other.by_class[label].precision
                assert counts.f1 == other.by_class[label].f1
            assert (one.total.precision, one.total.f1) == (other.total.recall, other.total.f1)

    @quickly
    @given(event_lists, event_lists, tolerances, segment_lengths, st.randoms())
    def test_order_does_not_matter(self, found, truth, tolerance, seconds, random) -> None:
        mixed = Pair(random.sample(found, len(found)), random.sample(truth, len(truth)))
        pair = Pair(found, truth)
        assert event_based([mixed], tolerance=tolerance) == event_based([pair], tolerance=tolerance)
        assert segment_based([mixed], segment_seconds=seconds) == segment_based([pair], segment_seconds=seconds)

    @quickly
    @given(event_lists, event_lists, segment_lengths)
    def test_segments_are_those_of_the_definition(self, found, truth, seconds) -> None:
        scores = segment_based([Pair(found, truth)], segment_seconds=seconds)
        assert (scores.by_class, scores.substitutions) == plain_segments(found, truth, seconds)

    @quickly
    @given(event_lists, event_lists, tolerances)
    def test_errors_add_up(self, found, truth, tolerance) -> None:
        scores = event_based([Pair(found, truth)], tolerance=tolerance)
        assert min(scores.substitutions, scores.deletions, scores.insertions) >= 0
        assert scores.total.correct + scores.substitutions + scores.deletions == len(truth)
        assert scores.total.correct + scores.substitutions + scores.insertions == len(found)


class TestMatching:
    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.lists(st.integers(0, 5), max_size=4, unique=True), max_size=6))
    def test_small_ones_against_all_there_are(self, rows) -> None:
        fits = {index: sorted(row) for index, row in enumerate(rows)}
        partners = largest_matching(len(rows), 6, lambda index: np.array(fits[index], np.intp))
        matched = [(left, right) for left, right in enumerate(partners.tolist()) if right >= 0]
        assert all(right in fits[left] for left, right in matched)
        assert len({right for _, right in matched}) == len(matched) == most_matches(list(fits), fits)

    @pytest.mark.parametrize("share", [0.005, 0.01, 0.05, 0.5])
    def test_large_ones_against_scipy(self, rng, share) -> None:
        fits = rng.random((300, 280)) < share
        partners = largest_matching(300, 280, lambda index: np.flatnonzero(fits[index]))
        best = maximum_bipartite_matching(csr_array(fits), perm_type="column")
        assert 0 < (partners >= 0).sum() == (best >= 0).sum()
        assert len(set(partners[partners >= 0])) == (partners >= 0).sum()

    @quickly
    @given(event_lists, events, tolerances)
    def test_what_fits_is_found_by_halving_as_by_asking_each(self, found, event, tolerance) -> None:
        found = sorted(found)
        allowed = max(tolerance.collar_seconds, tolerance.length_share * event.seconds)
        plain = [
            index
            for index, other in enumerate(found)
            if abs(event.onset - other.onset) <= tolerance.collar_seconds
            and (tolerance.onset_only or abs(event.offset - other.offset) <= allowed)
        ]
        assert FittingEvents(found, tolerance)(event).tolist() == plain

    def test_differences_are_compared_as_they_are_rounded(self) -> None:
        assert event_based([Pair([bark(1.2, 2.0)], [bark(1.0, 2.0)])]).total.correct == 1
        assert event_based([Pair([bark(3.2, 4.0)], [bark(3.0, 4.0)])]).total.correct == 0
