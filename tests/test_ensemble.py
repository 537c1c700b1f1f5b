import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import InputError
from infer.ensemble import ModeLogs, geometric_mean, join_modes


def probabilities(n_clips: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(4), n_clips)


@given(n_members=st.integers(1, 6), n_clips=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_equals_the_root_of_the_plain_product(n_members: int, n_clips: int, seed: int) -> None:
    members = [probabilities(n_clips, seed + number) for number in range(n_members)]
    joined = np.exp(geometric_mean([np.log(member) for member in members]))
    product = np.prod(members, axis=0) ** (1 / n_members)
    assert joined == pytest.approx(product / product.sum(axis=1, keepdims=True))
    assert joined.sum(axis=1) == pytest.approx(np.ones(n_clips))


def test_equal_members_change_nothing() -> None:
    p = np.log(probabilities(3, 1))
    assert geometric_mean([p] * 5) == pytest.approx(p)


def test_a_group_of_many_weighs_as_one_of_few() -> None:
    first, second = np.log(probabilities(3, 1)), np.log(probabilities(3, 2))
    few = geometric_mean([geometric_mean([first]), second])
    many = geometric_mean([geometric_mean([first] * 9), second])
    assert many == pytest.approx(few)


def test_a_class_is_joined_over_the_members_that_know_it() -> None:
    first, second, third = np.log([[0.2, 0.3, 0.5]]), np.log([[0.6, 0.399, 0.001]]), np.log([[0.4, 0.59, 0.01]])
    knows = [np.array([True, True, True]), np.array([True, True, False]), np.array([True, True, False])]
    joined = np.exp(geometric_mean([first, second, third], knows))
    expected = np.array([(0.2 * 0.6 * 0.4) ** (1 / 3), (0.3 * 0.399 * 0.59) ** (1 / 3), 0.5])
    assert joined[0] == pytest.approx(expected / expected.sum())


def test_a_class_that_no_member_knows_is_joined_over_all() -> None:
    members = [np.log(probabilities(3, seed)) for seed in (1, 2)]
    knows = [np.array([True, True, False, True])] * 2
    assert geometric_mean(members, knows) == pytest.approx(geometric_mean(members))


def test_tiny_probabilities_do_not_vanish() -> None:
    members = [np.array([[-800.0, -801.0, 0.0]])] * 4
    assert np.diff(geometric_mean(members)[0, :2]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("members", "words"), [([], "got none"), ([np.zeros((2, 3)), np.zeros((3, 3))], r"got \[\(2, 3\), \(3, 3\)\]")]
)
def test_members_that_do_not_fit_are_refused(members: list, words: str) -> None:
    with pytest.raises(InputError, match=f"members of one shape; {words}"):
        geometric_mean(members)


def test_a_clip_is_joined_over_the_modes_that_have_it() -> None:
    first, second = np.log(probabilities(2, 1)), np.log(probabilities(1, 2))
    known, joined = join_modes(4, [ModeLogs([0, 3], first), ModeLogs(np.array([3]), second)])
    assert known.tolist() == [True, False, False, True]
    assert joined[0] == pytest.approx(first[0])
    assert joined[1] == pytest.approx(geometric_mean([first[1:], second])[0])


def test_a_mode_has_no_say_in_classes_that_it_does_not_know_if_another_does() -> None:
    first, second, third = (np.log(probabilities(2, seed)) for seed in (1, 2, 3))
    knows = np.array([True, True, False, False])
    by_clip = np.array([[True, True, True, False], [True, False, True, False]])
    modes = [ModeLogs([0, 1], first), ModeLogs([0, 2], second, knows), ModeLogs([1, 2], third, by_clip)]
    known, joined = join_modes(3, modes)
    assert known.all()
    expected = np.array(
        [
            [*(first + second)[0, :2] / 2, *first[0, 2:]],
            [*(first[1, :3] + third[0, :3]) / 2, first[1, 3]],
            [(second + third)[1, 0] / 2, second[1, 1], third[1, 2], (second + third)[1, 3] / 2],
        ]
    )
    assert np.exp(joined) == pytest.approx(np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True))
