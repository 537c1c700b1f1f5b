"""The scores of a report: headline, a class each, and the confusions of classes.

Conventions
-----------
Scores are those of `infer.evaluate`: of training clips, out of fold, the verified ones count (all where the corpus does
not say which are), of test clips those with a label. ``se`` is a standard error, None where there are too few clips.
Of a matrix of confusions rows are true classes and columns the likeliest ones, in numbers of clips.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from corpus.groups import groups_of
from infer.evaluate import rank, score, scored_clips
from train.metrics import mean_and_error

_MOST_ORDERED = 1000  # classes; optimal ordering takes the cube of them


class Score(TypedDict):
    """mAP@3 with its standard error, the clips that it is of, and their groups; None where clips have no groups."""

    map3: float
    se: float | None
    clips: int
    groups: int | None


class ViewScores(TypedDict):
    """The scores of one view: those of its folds, of all of them, and of the test clips by usage (``all`` too)."""

    view: str
    folds: dict[int, Score]
    out_of_fold: Score
    test: dict[str, Score]


def view_scores(
    view: str, out_of_fold: pd.DataFrame, test: pd.DataFrame | None, clips: pd.DataFrame, folds: Mapping[str, int]
) -> ViewScores:
    """Score one view.

    Parameters
    ----------
    view : str
    out_of_fold, test : DataFrame
        Probabilities: ``fname`` and one column a class; ``test`` is None where no test clip has a label.
    clips : DataFrame
        The clip table.
    folds : mapping of {str: int}
        Clip → the fold that held it out.
    """
    training = clips[clips["split"] == "train"]
    in_corpus = out_of_fold[out_of_fold["fname"].isin(training["fname"])]
    fold_of = in_corpus["fname"].map(folds)
    parts = {int(fold): in_corpus[fold_of == fold] for fold in sorted(fold_of.dropna().unique())}
    counted = _counted(training, out_of_fold)
    scores = {fold: _score(part[part["fname"].isin(counted)], training) for fold, part in parts.items()}
    return {
        "view": view,
        "folds": {fold: found for fold, found in scores.items() if found is not None},
        "out_of_fold": _whole(score(rank(in_corpus), training, source=view)),
        "test": {} if test is None else _by_usage(score(rank(test), clips[clips["split"] == "test"], source=view)),
    }


def _counted(training: pd.DataFrame, predicted: pd.DataFrame) -> set[str]:
    """Return the clips that count in all folds alike, so that one without verified clips is not scored on others."""
    return set(scored_clips(set(predicted["fname"]), training)["fname"])


def _score(part: pd.DataFrame, training: pd.DataFrame) -> Score | None:
    return _whole(score(rank(part), training, source="a fold")) if len(part) else None


def _whole(result: Mapping[str, Any]) -> Score:
    return {"map3": result["map3"], "se": result["map3_se"], "clips": result["clips"], "groups": result["groups"]}


def _by_usage(result: Mapping[str, Any]) -> dict[str, Score]:
    return {name: _whole(part) for name, part in result["by_usage"].items()} | {"all": _whole(result)}


def class_scores(judged: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return AP@3 and counts of each class, the least out-of-fold AP@3 first.

    Parameters
    ----------
    judged : DataFrame
        As from `infer.report_clips.judge_clips`.
    classes : sequence of str

    Returns
    -------
    DataFrame
        ``label``, ``oof`` and ``test`` (mean AP@3, NaN without scored clips), ``oof_se``, ``test_se``, ``oof_clips``
        and ``test_clips`` (scored), ``train``, ``verified``, ``unverified`` (training clips; those of unknown state
        are in neither of the latter two).
    """
    training = judged[judged["split"] == "train"]
    rows = []
    for number, label in enumerate(classes):
        own = training[training["truth"] == number]
        row: dict[str, Any] = {"label": label, "train": len(own)}
        row |= {"verified": int((own["verified"] == 1).sum()), "unverified": int((own["verified"] == 0).sum())}
        for name, split in (("oof", "train"), ("test", "test")):
            part = judged[(judged["split"] == split) & judged["scored"] & (judged["truth"] == number)]
            row[name], row[f"{name}_se"] = mean_and_error(part["ap3"].to_numpy(np.float64), groups_of(part))
            row[f"{name}_clips"] = len(part)
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["oof", "label"], na_position="last", kind="stable").reset_index(drop=True)


def count_confusions(truth: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Count clips by true and likeliest class; pairs with a -1 are passed over.

    Returns
    -------
    ndarray [shape=(n_classes, n_classes), int64]
    """
    both = (truth >= 0) & (predicted >= 0)
    flat = np.bincount(truth[both] * n_classes + predicted[both], minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes)


def order_classes(confusions: NDArray[np.int64]) -> list[int]:
    """Order classes so that those which are confused stand beside one another.

    Classes are near where a large share of either's clips counts as the other; average linkage, then the order of the
    leaves with the least sum of distances between neighbours (Bar-Joseph et al., Bioinformatics 17, 2001).

    Returns
    -------
    list of int
        Each class once.
    """
    n_classes = len(confusions)
    if n_classes < 3 or n_classes > _MOST_ORDERED:
        return list(range(n_classes))
    shares = confusions / np.maximum(confusions.sum(axis=1, keepdims=True), 1)
    nearness = (shares + shares.T) / 2
    np.fill_diagonal(nearness, 0.0)
    distances = squareform(1.0 - nearness / max(nearness.max(), 1e-12), checks=False)
    return [int(leaf) for leaf in leaves_list(linkage(distances, "average", optimal_ordering=True))]
