import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import clip_table

from cache.errors import InputError
from train.folds import assign_folds


def table_of(counts: dict[tuple[str, bool], int], **columns: list) -> pd.DataFrame:
    rows = [
        {"fname": f"{label}-{verified}-{number}.wav", "label": label, "manually_verified": verified}
        for (label, verified), count in counts.items()
        for number in range(count)
    ]
    table = clip_table(rows)
    for name, values in columns.items():
        table[name] = pd.array(values, dtype=table[name].dtype)
    return table


COUNTS = {("Bark", True): 11, ("Bark", False): 20, ("Flute", True): 7, ("Flute", False): 5}


def test_every_clip_is_in_one_fold_and_labels_and_verification_are_spread() -> None:
    table = table_of(COUNTS)
    folds = assign_folds(table, n_folds=5, seed=1)
    assert folds.shape == (len(table),)
    assert folds.dtype == np.int64
    for stratum in COUNTS:
        inside = ((table["label"] == stratum[0]) & (table["manually_verified"] == stratum[1])).to_numpy(bool)
        sizes = np.bincount(folds[inside], minlength=5)
        assert sizes.max() - sizes.min() <= 1, stratum


def test_the_seed_decides() -> None:
    table = table_of(COUNTS)
    first = assign_folds(table, n_folds=5, seed=1)
    assert np.array_equal(first, assign_folds(table, n_folds=5, seed=1))
    assert not np.array_equal(first, assign_folds(table, n_folds=5, seed=2))


def test_a_group_stays_together_and_clips_without_one_are_on_their_own() -> None:
    n = sum(COUNTS.values())
    groups = [f"g{number // 4}" if number < 24 else None for number in range(n)]
    table = table_of(COUNTS, group=groups)
    folds = assign_folds(table, n_folds=4, seed=3)
    for group in table["group"].dropna().unique():
        assert len(set(folds[(table["group"] == group).fillna(value=False).to_numpy(bool)])) == 1
    assert len(set(folds[24:])) == 4
    assert set(folds) == set(range(4))


def test_a_fold_column_is_taken_as_it_is() -> None:
    given_folds = [0, 2, 1, 1, 2, 0]
    table = table_of({("Bark", True): 6}, fold=given_folds)
    assert assign_folds(table, n_folds=5, seed=1).tolist() == given_folds


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ([0, 1, None], "1 have none, such as 'Bark-True-2.wav'"),
        ([0, 2, 2], "must hold 0 to K-1"),
        ([0, 0, 0], "K >= 2"),
        ([-1, 0, 1], "must hold 0 to K-1"),
    ],
)
def test_a_wrong_fold_column_is_refused(folds: list, words: str) -> None:
    with pytest.raises(InputError, match=words):
        assign_folds(table_of({("Bark", True): 3}, fold=folds), n_folds=2, seed=1)


def test_a_class_with_fewer_clips_than_folds_goes_to_as_many_folds_as_it_has_clips() -> None:
    folds = assign_folds(table_of({("Bark", True): 20, ("Gong", True): 2}), n_folds=5, seed=1)
    assert len(set(folds[20:])) == 2
    assert np.bincount(folds).min() >= 4


def test_classes_of_one_clip_each_make_plain_folds() -> None:
    folds = assign_folds(table_of({(f"c{number}", True): 1 for number in range(6)}), n_folds=3, seed=1)
    assert np.bincount(folds).tolist() == [2, 2, 2]


@pytest.mark.parametrize("n_folds", [1, 44, -2])
def test_a_number_of_folds_that_cannot_be_is_refused(n_folds: int) -> None:
    with pytest.raises(InputError, match=rf"from 2 to the number of training clips \(43\); got {n_folds}"):
        assign_folds(table_of(COUNTS), n_folds=n_folds, seed=1)


def test_fewer_groups_than_folds_are_refused() -> None:
    table = table_of({("Bark", True): 6}, group=["a", "a", "a", "b", "b", "b"])
    with pytest.raises(InputError, match=r"up to the number of groups \(2\); got 3"):
        assign_folds(table, n_folds=3, seed=1)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.dictionaries(st.tuples(st.sampled_from("abcd"), st.booleans()), st.integers(1, 9), min_size=1),
    n_folds=st.integers(2, 6),
    seed=st.integers(0, 2**31 - 1),
    group_size=st.sampled_from([None, 1, 2]),
)
def test_folds_are_a_partition_whatever_the_counts(
    counts: dict[tuple[str, bool], int], n_folds: int, seed: int, group_size: int | None
) -> None:
    table = table_of(counts)
    if group_size:
        table["group"] = [f"g{number // group_size}" for number in range(len(table))]
    try:
        folds = assign_folds(table, n_folds=n_folds, seed=seed)
    except InputError:
        assert group_size or n_folds > len(table)  # groups can be too few, or too uneven
        return
    assert set(folds) == set(range(n_folds))
