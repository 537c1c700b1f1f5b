"""The class list is the published one."""

import pytest

from corpus.classes import CLASS_COUNTS, FSDKAGGLE2018_CLASSES, nearest_class, unknown_label_message


def test_classes_are_41_sorted_names_fit_for_a_submission():
    assert len(FSDKAGGLE2018_CLASSES) == 41
    assert list(FSDKAGGLE2018_CLASSES) == sorted(set(FSDKAGGLE2018_CLASSES))
    assert not any(set(name) & set(" ,\"'") for name in FSDKAGGLE2018_CLASSES)
    assert tuple(CLASS_COUNTS) == FSDKAGGLE2018_CLASSES


def test_counts_sum_to_the_published_totals():
    assert sum(count.train for count in CLASS_COUNTS.values()) == 9473
    assert sum(count.verified for count in CLASS_COUNTS.values()) == 3710
    assert sum(count.test for count in CLASS_COUNTS.values()) == 1600


@pytest.mark.parametrize(
    ("label", "train", "verified"),
    [("Applause", 300, 61), ("Gunshot_or_gunfire", 147, 145), ("Glockenspiel", 94, 70)],
)
def test_counts_of_the_extreme_classes(label, train, verified):
    assert (CLASS_COUNTS[label].train, CLASS_COUNTS[label].verified) == (train, verified)


def test_test_counts_span_scissors_to_saxophone():
    tests = {label: count.test for label, count in CLASS_COUNTS.items()}
    assert tests["Scissors"] == tests["Bus"] == min(tests.values()) == 25
    assert tests["Saxophone"] == max(tests.values()) == 110


@pytest.mark.parametrize(
    ("label", "near"),
    [
        ("Hi-Hat", "Hi-hat"),
        ("hi hat", "Hi-hat"),
        ("bass drum", "Bass_drum"),
        ("Saxofone", "Saxophone"),
        ("GUNSHOT_OR_GUNFIRE", "Gunshot_or_gunfire"),
        ("qqq", None),
        ("", None),
    ],
)
def test_nearest_class(label, near):
    assert nearest_class(label) == near


def test_unknown_label_message_names_the_label_and_the_near_match():
    assert unknown_label_message("Hi-Hat") == (
        "'Hi-Hat' is not one of the 41 classes of FSDKaggle2018 (did you mean 'Hi-hat'?)"
    )
    assert unknown_label_message("Theremin").endswith("'Theremin' is not one of the 41 classes of FSDKaggle2018")
