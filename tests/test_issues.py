"""Label errors by confident learning."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stores import clip_table

from cache.errors import InputError
from train.issues import (
    COLUMNS,
    class_thresholds,
    confident_classes,
    judge_labels,
    list_issues,
    other_margins,
    score_issues,
    wrong_labels,
)

NAMES = ("Bark", "Flute", "Gong")


def table_of(p: NDArray[np.float64], *, classes: tuple[str, ...] = NAMES) -> pd.DataFrame:
    table = pd.DataFrame(p, columns=list(classes))
    table.insert(0, "fname", [f"{row}.wav" for row in range(len(p))])
    return table


def clips_of(labels: list[str], verified: list[bool | None] | None = None) -> pd.DataFrame:
    flags = verified or [False] * len(labels)
    rows = zip(labels, flags, strict=True)
    return clip_table(
        [{"fname": f"{row}.wav", "label": label, "manually_verified": flag} for row, (label, flag) in enumerate(rows)]
    )


# Bark is predicted with 0.6 on average, Flute with 0.5, Gong with 0.2.
LABELS = ["Bark", "Bark", "Flute", "Flute", "Gong", "Gong"]
P = np.array(
    [
        [0.9, 0.05, 0.05],
        [0.3, 0.6, 0.1],  # reaches Flute's threshold
        [0.1, 0.9, 0.0],
        [0.55, 0.1, 0.35],  # reaches Gong's threshold only, though Bark is likelier
        [0.1, 0.65, 0.25],  # reaches two: the likelier
        [0.45, 0.4, 0.15],  # reaches none
    ]
)
INDICES = np.array([0, 0, 1, 1, 2, 2])


def test_a_threshold_is_the_mean_probability_of_the_clips_so_labelled() -> None:
    assert class_thresholds(INDICES, P) == pytest.approx([0.6, 0.5, 0.2])
    thresholds = class_thresholds(np.array([0, 0]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert thresholds[0] > 0
    assert np.isinf(thresholds[1])


def test_a_clip_counts_as_the_class_whose_threshold_it_reaches() -> None:
    assert confident_classes(INDICES, P).tolist() == [0, 1, 1, 2, 1, -1]


def test_the_margin_is_of_the_likeliest_other_class() -> None:
    assert other_margins(INDICES, P) == pytest.approx([-0.85, 0.3, -0.8, 0.45, 0.4, 0.3])


def test_the_likeliest_errors_come_first() -> None:
    issues = list_issues(judge_labels(clips_of(LABELS), table_of(P)))
    assert list(issues.columns) == list(COLUMNS)
    assert issues["fname"].tolist() == ["3.wav", "4.wav", "1.wav"]
    assert issues["suggested"].tolist() == ["Bark", "Flute", "Flute"]
    assert issues["p_label"].tolist() == [0.1, 0.25, 0.3]
    assert issues["p_suggested"].tolist() == [0.55, 0.65, 0.6]
    assert issues["score"].tolist() == pytest.approx([0.45, 0.4, 0.3])


def test_verified_clips_set_thresholds_and_are_listed_only_on_demand() -> None:
    judged = judge_labels(clips_of(LABELS, [False, True, True, None, True, False]), table_of(P))
    assert list_issues(judged)["fname"].tolist() == ["3.wav"]  # a missing flag is no verification
    assert list_issues(judged, include_verified=True)["fname"].tolist() == ["3.wav", "4.wav", "1.wav"]


def test_clips_without_prediction_or_label_are_passed_over() -> None:
    clips = clips_of([*LABELS, "Bark"])
    clips.loc[3, "label"] = None
    shuffled = table_of(P).sample(frac=1, random_state=1)
    judged = judge_labels(clips, shuffled)
    assert judged["fname"].tolist() == [f"{row}.wav" for row in (0, 1, 2, 4, 5)]
    assert judged["p_label"].tolist() == [0.9, 0.3, 0.9, 0.25, 0.15]


def test_labels_of_classes_that_the_networks_did_not_hear_are_not_judged() -> None:
    """Neither do they move the thresholds of the others."""
    unheard = {"3.wav", "5.wav"}
    judged = judge_labels(clips_of(LABELS), table_of(P), unheard=unheard)
    kept = [row for row in range(6) if f"{row}.wav" not in unheard]
    assert 3 not in kept
    expected = judge_labels(clips_of(LABELS).iloc[kept], table_of(P))
    pd.testing.assert_frame_equal(judged, expected)
    assert judge_labels(clips_of(LABELS), table_of(P), unheard={f"{row}.wav" for row in range(6)}).empty


def test_an_error_is_found_though_no_clip_of_the_true_class_is_judged() -> None:
    """The threshold of a class whose clips are all passed over is the mean of the others'."""
    p = np.array([[0.9, 0.1, 0.0], [0.05, 0.0, 0.95], [0.1, 0.9, 0.0], [0.5, 0.5, 0.0]])
    clips = clips_of(["Bark", "Bark", "Flute", "Gong"])
    without = judge_labels(clips.iloc[:3], table_of(p[:3]))
    assert list_issues(without).empty  # no clip is a Gong, as far as is known
    judged = judge_labels(clips, table_of(p), unheard={"3.wav"})
    assert list_issues(judged)["fname"].tolist() == ["1.wav"]
    assert list_issues(judged)["suggested"].tolist() == ["Gong"]


def test_predictions_of_another_corpus_or_of_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match="for no labelled clip of this corpus; is it the right CORPUS"):
        judge_labels(clips_of(LABELS).assign(fname=[f"other-{row}" for row in range(6)]), table_of(P))
    with pytest.raises(InputError, match=r"must be a class of the run \(Bark, Flute, Gong\); got 'Oboe'"):
        judge_labels(clips_of([*LABELS[:5], "Oboe"]), table_of(P))


@settings(deadline=None)
@given(
    n_clips=st.integers(2, 60),
    n_classes=st.integers(2, 6),
    sharpness=st.sampled_from([0.05, 0.3, 1.0, 10.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_cleanlab(n_clips: int, n_classes: int, sharpness: float, seed: int) -> None:
    cleanlab = pytest.importorskip("cleanlab.filter")
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n_clips)])
    p = rng.dirichlet(np.full(n_classes, sharpness), len(labels))
    p[np.arange(len(labels)), labels] += rng.random(len(labels))
    p /= p.sum(axis=1, keepdims=True)
    ranked = cleanlab.find_label_issues(
        labels, p, filter_by="confident_learning", return_indices_ranked_by="normalized_margin", n_jobs=1
    )
    names = tuple("abcdef"[:n_classes])
    issues = list_issues(judge_labels(clips_of([names[label] for label in labels]), table_of(p, classes=names)))
    assert issues["fname"].tolist() == [f"{row}.wav" for row in ranked]


def test_scores_against_the_truth() -> None:
    assert score_issues(["a", "b", "c", "d", "e"], {"a", "c", "z"}) == {
        "listed": 5,
        "errors": 3,
        "found": 2,
        "precision": 0.4,
        "recall": pytest.approx(2 / 3),
        "precision_at_errors": pytest.approx(2 / 3),
    }
    short = score_issues(["a"], {"a", "b"})
    assert (short["precision"], short["recall"], short["precision_at_errors"]) == (1.0, 0.5, 0.5)
    assert score_issues([], {"a"})["precision"] is None
    assert score_issues(["a"], set())["recall"] is None


def test_wrong_labels_are_those_that_the_truth_has_not() -> None:
    clips = clips_of(LABELS)
    truth = clips[["fname", "label"]].astype(str)
    assert wrong_labels(clips, truth) == set()
    truth.loc[2, "label"] = "Gong"
    assert wrong_labels(clips, truth.iloc[::-1]) == {"2.wav"}
    with pytest.raises(InputError, match=r"must have a row for every clip; '0\.wav' has none"):
        wrong_labels(clips, truth.iloc[1:])
