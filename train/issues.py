"""Label errors that out-of-fold probabilities point at: confident learning.

Conventions
-----------
Labels are class indices ``[n]``, probabilities ``[n, n_classes]`` of networks that never saw the clip in training.

The method is that of Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70 (2021): a clip counts as of class k where its probability of k reaches k's threshold, which is the mean
probability of k over the clips labelled k. Clips that count as of another class than their label (the off-diagonal of
the confident joint, equations 1 and 2) are candidates; the likeliest errors are those with the least normalised
margin. This is cleanlab's ``filter_by="confident_learning"``, ranked by ``"normalized_margin"``. A threshold of a
class's own makes good for classes that networks are sure or unsure of as a whole. Pruning by estimated noise rates,
the paper's other family, has no threshold that can be told to a user, and gives no class for a clip it lists.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache.errors import InputError

COLUMNS = ("fname", "label", "suggested", "p_label", "p_suggested", "score", "manually_verified")
_ROUNDING = 1e-6  # what probabilities may fall short of a threshold, or of each other, by rounding; as cleanlab


def class_thresholds(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each class's mean probability over the clips so labelled (equation 2); infinity for a class without any.

    Parameters
    ----------
    labels : ndarray [shape=(n,), int64]
    probabilities : ndarray [shape=(n, n_classes)]

    Returns
    -------
    ndarray [shape=(n_classes,), float64]
    """
    n_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=n_classes)
    own = probabilities[np.arange(len(labels)), labels]
    totals = np.bincount(labels, weights=own, minlength=n_classes)
    # A class of which no clip has any probability must not have all clips reach its threshold.
    return np.where(counts > 0, np.maximum(totals / np.maximum(counts, 1), 2 * _ROUNDING), np.inf)


def confident_classes(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, unjudged: NDArray[np.bool_] | bool = False
) -> NDArray[np.int64]:
    """Return the class that each clip counts as, or -1 where it reaches no threshold.

    Where it reaches several, it counts as of the likeliest class. Classes marked as ``unjudged`` [n_classes] have
    clips, none of which is among these: their threshold is the mean of the others'.
    """
    thresholds = class_thresholds(labels, probabilities)
    if (finite := np.isfinite(thresholds)).any():
        thresholds = np.where(unjudged & ~finite, thresholds[finite].mean(), thresholds)
    reached = probabilities >= thresholds - _ROUNDING
    several = reached.sum(axis=1) > 1
    found = np.where(several, probabilities.argmax(axis=1), reached.argmax(axis=1))
    return np.where(reached.any(axis=1), found, -1)


def other_margins(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the likeliest other class is likelier than the label, in [-1, 1].

    It is the normalised margin with its sign changed: the greater, the likelier the label is wrong.
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    return np.asarray(others.max(axis=1, initial=-np.inf) - probabilities[rows, labels])


def judge_labels(clips: pd.DataFrame, probabilities: pd.DataFrame, *, unheard: Collection[str] = ()) -> pd.DataFrame:
    """Judge the label of every clip that has a prediction.

    Parameters
    ----------
    clips : DataFrame
        Training clips of the clip table; those whose label is missing are passed over.
    probabilities : DataFrame
        ``fname`` and one column a class: out-of-fold, rows that sum to 1.
    unheard : collection of str, optional
        Names of clips whose label no network could know that told them: they are passed over, too.

    Returns
    -------
    DataFrame
        `COLUMNS`, ``suspect`` and ``confident``, in the order of the clip table. ``suggested`` is the likeliest class,
        which may be the label; ``score`` is that of `other_margins`, so ``p_suggested - p_label`` where the two
        differ; ``suspect`` tells candidates, ``confident`` whether the class suggested reaches its threshold.

    Raises
    ------
    InputError
        If no clip has a prediction, or one is labelled with a class that the predictions lack.
    """
    classes = pd.Index([name for name in probabilities.columns if name != "fname"])
    rows = pd.Index(probabilities["fname"]).get_indexer(pd.Index(clips["fname"]))
    known = (rows >= 0) & clips["label"].notna().to_numpy(bool)
    if not known.any():
        message = (
            "the run has predictions for no labelled clip of this corpus; is it the right CORPUS, or another --run?"
        )
        raise InputError(message)
    passed_over = known & clips["fname"].isin(unheard).to_numpy(bool)
    unjudged = classes.isin(clips.loc[passed_over, "label"])
    known &= ~passed_over
    judged = clips[known]
    labels = classes.get_indexer(pd.Index(judged["label"])).astype(np.int64)
    if (labels < 0).any():
        label = judged["label"].iloc[int(labels.argmin())]
        message = f"every label must be a class of the run ({', '.join(classes)}); got {label!r}: train on these labels"
        raise InputError(message)
    values = probabilities[list(classes)].to_numpy(np.float64)
    return _judged(judged, classes, labels, values[rows[known]], unjudged)


def _judged(
    clips: pd.DataFrame,
    classes: pd.Index,
    labels: NDArray[np.int64],
    p: NDArray[np.float64],
    unjudged: NDArray[np.bool_],
) -> pd.DataFrame:
    counted_as, margins = confident_classes(labels, p, unjudged=unjudged), other_margins(labels, p)
    each, likeliest = np.arange(len(labels)), p.argmax(axis=1)
    columns = {
        "fname": clips["fname"].to_numpy(),
        "label": clips["label"].to_numpy(),
        "suggested": classes.to_numpy()[likeliest],
        "p_label": p[each, labels],
        "p_suggested": p[each, likeliest],
        "score": margins,
        "manually_verified": clips["manually_verified"].array,
        "suspect": (counted_as >= 0) & (counted_as != labels) & (margins > _ROUNDING),
        "confident": counted_as == likeliest,
    }
    return pd.DataFrame(columns)


def list_issues(judged: pd.DataFrame, *, include_verified: bool = False) -> pd.DataFrame:
    """Return the likeliest label errors, best first; equally likely ones in the order of the clip table.

    Parameters
    ----------
    judged : DataFrame
        As from `judge_labels`.
    include_verified : bool
        List clips whose label was verified by hand, too.

    Returns
    -------
    DataFrame
        `COLUMNS`.
    """
    listed = judged["suspect"]
    if not include_verified:
        listed = listed & ~judged["manually_verified"].fillna(value=False).astype(bool)
    found = judged.loc[listed, list(COLUMNS)].sort_values("score", ascending=False, kind="stable")
    return found.reset_index(drop=True)


def score_issues(issues: Collection[str], wrong: Collection[str]) -> dict[str, float | int | None]:
    """Score a list of label errors against the truth.

    Parameters
    ----------
    issues : collection of str
        Clips, likeliest error first, each once.
    wrong : collection of str
        The clips whose label is wrong.

    Returns
    -------
    dict
        ``listed``, ``errors`` (wrong labels there are), ``found`` (of these listed), ``precision`` (found / listed),
        ``recall`` (found / errors), and ``precision_at_errors``: the share of wrong labels among the first so many
        clips as there are errors, places that a shorter list leaves empty counting as misses. None where nothing is
        divided by.
    """
    hits = [name in wrong for name in issues]
    n_errors = len(wrong)
    return {
        "listed": len(hits),
        "errors": n_errors,
        "found": sum(hits),
        "precision": sum(hits) / len(hits) if hits else None,
        "recall": sum(hits) / n_errors if n_errors else None,
        "precision_at_errors": sum(hits[:n_errors]) / n_errors if n_errors else None,
    }


def wrong_labels(clips: pd.DataFrame, truth: pd.DataFrame) -> set[str]:
    """Return the clips whose label differs from that of a truth table with ``fname`` and ``label``.

    Raises
    ------
    InputError
        If the truth lacks a clip.
    """
    true_labels = clips["fname"].map(dict(zip(truth["fname"], truth["label"], strict=True)))
    if true_labels.isna().any():
        name = clips.loc[true_labels.isna().to_numpy(), "fname"].iloc[0]
        message = f"the truth must have a row for every clip; {name!r} has none"
        raise InputError(message)
    return set(clips.loc[(true_labels != clips["label"]).to_numpy(), "fname"])
