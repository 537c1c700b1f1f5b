import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import InputError
from train.metrics import accuracy, average_precision_at_3, mean_and_error, top_classes, validate


def published_map_at_3(truth: list[int], ranked: list[list[int]]) -> float:
    """The competition's formula, plainly: mean over clips of the sum over k of P(k) · rel(k).

    rel(k) is 1 where the k-th label is right and was not named before; P(k) is the precision of the first k.
    """
    total = 0.0
    for right, labels in zip(truth, ranked, strict=True):
        hits = 0
        for k, label in enumerate(labels[:3], start=1):
            if label == right and label not in labels[: k - 1]:
                hits += 1
                total += hits / k
    return total / len(truth)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    n, ranks = draw(st.integers(1, 20)), draw(st.integers(0, 5))
    truth = draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    label = st.integers(-1, 5)
    ranked = draw(st.lists(st.lists(label, min_size=ranks, max_size=ranks), min_size=n, max_size=n))
    return truth, ranked


@given(answers())
def test_equals_the_published_formula(case: tuple[list[int], list[list[int]]]) -> None:
    truth, ranked = case
    table = np.array(ranked, np.int64).reshape(len(truth), -1)
    ap = average_precision_at_3(truth, table)
    assert float(ap.mean()) == pytest.approx(published_map_at_3(truth, ranked))
    assert set(ap.tolist()) <= {0.0, 1 / 3, 0.5, 1.0}
    assert accuracy(truth, table) == np.mean([bool(r) and r[0] == t for t, r in zip(truth, ranked, strict=True)])


@pytest.mark.parametrize(
    ("ranked", "ap"),
    [
        ([2, 0, 1], 1.0),
        ([0, 2, 1], 1 / 2),
        ([0, 1, 2], 1 / 3),
        ([0, 1, 3], 0.0),
        ([0, 1, 3, 2], 0.0),  # the fourth does not count
        ([2, 2, 2], 1.0),  # named three times, counts once
        ([0, 0, 2], 1 / 3),
        ([-1, -1, -1], 0.0),  # no class given
        ([2], 1.0),
    ],
)
def test_golden_numbers(ranked: list[int], ap: float) -> None:
    assert average_precision_at_3([2], [ranked]).tolist() == [ap]


def test_identity_and_worst() -> None:
    truth = np.arange(5)
    assert average_precision_at_3(truth, truth[:, None]).tolist() == [1.0] * 5
    assert average_precision_at_3(truth, (truth[:, None] + [1, 2, 3]) % 5).tolist() == [0.0] * 5
    assert accuracy(truth, truth[:, None]) == 1.0
    assert accuracy(truth, (truth[:, None] + 1) % 5) == 0.0


def test_no_clips_have_no_accuracy() -> None:
    none = np.zeros((0, 3), np.int64)
    assert average_precision_at_3(np.zeros(0, np.int64), none).shape == (0,)
    assert math.isnan(accuracy(np.zeros(0, np.int64), none))


@pytest.mark.parametrize(
    ("truth", "ranked", "words"),
    [
        ([1, 2], [[1, 2, 3]], r"got \(2,\) and \(1, 3\)"),
        ([[1]], [[1]], r"got \(1, 1\)"),
        ([1], [1], r"and \(1,\)"),
        ([1.0], [[1]], "got float64 and int64"),
        (["Bark"], [["Bark"]], "must hold class indices"),
        ([-1], [[-1]], "must be 0 or more"),
    ],
)
def test_malformed_input_is_refused(truth: list, ranked: list, words: str) -> None:
    with pytest.raises(InputError, match=words):
        validate(truth, ranked)


def test_top_classes_of_equal_probabilities_go_by_index() -> None:
    probabilities = np.array([[0.2, 0.4, 0.4, 0.0], [0.25] * 4, [0.0, 0.0, 0.0, 1.0]])
    assert top_classes(probabilities).tolist() == [[1, 2, 0], [0, 1, 2], [3, 0, 1]]
    assert top_classes(probabilities, 1).tolist() == [[1], [0], [3]]
    assert top_classes(probabilities[:, :2]).tolist() == [[1, 0], [0, 1], [0, 1]]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5]), min_size=4, max_size=4), min_size=1, max_size=8))
def test_top_classes_equal_a_plain_sort(rows: list[list[float]]) -> None:
    expected = [sorted(range(4), key=lambda i, row=row: (-row[i], i))[:3] for row in rows]
    assert top_classes(np.array(rows)).tolist() == expected


def test_mean_and_its_error() -> None:
    mean, error = mean_and_error(np.array([1.0, 0.5, 0.0, 0.5]))
    assert mean == 0.5
    assert error == pytest.approx(np.sqrt(0.5 / 3) / 2)
    assert math.isnan(mean_and_error(np.zeros(0))[0])
    assert mean_and_error(np.array([0.5]))[0] == 0.5
    assert math.isnan(mean_and_error(np.array([0.5]))[1])


def test_the_error_of_groups_is_that_of_what_was_drawn() -> None:
    """Ten copies of each of a hundred draws tell no more than the draws."""
    values = np.random.default_rng(0).random(100)
    mean, error = mean_and_error(np.repeat(values, 10), np.repeat(np.arange(100), 10))
    assert (mean, error) == pytest.approx(mean_and_error(values))
    assert error > 3 * mean_and_error(np.repeat(values, 10))[1]
    assert mean_and_error(values, [f"{n}" for n in range(100)]) == pytest.approx(mean_and_error(values))
    assert math.isnan(mean_and_error(values, np.zeros(100))[1])


def test_the_error_of_uneven_groups_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 60)
    groups = np.repeat(np.arange(60), sizes)
    drawn = [(rng.normal(size=60).repeat(sizes), groups) for _ in range(400)]
    means, errors = zip(*(mean_and_error(values, groups) for values, groups in drawn), strict=True)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)


def test_the_error_of_a_guess_among_all_kaggle_clips() -> None:
    """Domain knowledge: about 0.0044 for 1,600 clips of a system at 0.95."""
    ap = np.repeat([1.0, 0.5, 1 / 3, 0.0], [1480, 60, 20, 40])
    assert mean_and_error(ap)[1] == pytest.approx(0.0044, abs=0.0006)
