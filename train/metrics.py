"""Scores of ranked tags: mAP@3 and its standard error, accuracy.

Conventions
-----------
One true class a clip. ``ranked`` holds class indices, best first, ``[n_clips, n_ranks]``; -1 stands for "no class
given". AP@3 of a clip is 1, 1/2, 1/3 or 0 for the true class at rank 1, 2, 3 or none: the mean over clips is the
competition's mAP@3. A class that is named twice counts where it stands first.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import InputError


def validate(truth: ArrayLike, ranked: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Check shapes and types, and return both as integer arrays.

    Raises
    ------
    InputError
        If ``truth`` is not [n], ``ranked`` not [n, ranks], their lengths differ, or a true class is negative.
    """
    truth, ranked = np.asarray(truth), np.asarray(ranked)
    if truth.ndim != 1 or ranked.ndim != 2 or len(truth) != len(ranked):
        message = f"truth must be [n] and ranked [n, ranks]; got {truth.shape} and {ranked.shape}"
        raise InputError(message)
    if not (np.issubdtype(truth.dtype, np.integer) and np.issubdtype(ranked.dtype, np.integer)):
        message = f"truth and ranked must hold class indices; got {truth.dtype} and {ranked.dtype}"
        raise InputError(message)
    if (truth < 0).any():
        message = f"true classes must be 0 or more (-1 is no class); got {truth.min()}"
        raise InputError(message)
    return truth, ranked


def top_classes(probabilities: NDArray[np.floating], n_ranks: int = 3) -> NDArray[np.int64]:
    """Return the indices of the likeliest classes, best first; of equal ones the lower index stands first.

    Parameters
    ----------
    probabilities : ndarray [shape=(n_clips, n_classes)]

    Returns
    -------
    ndarray [shape=(n_clips, min(n_ranks, n_classes)), int64]
    """
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :n_ranks]


def average_precision_at_3(truth: ArrayLike, ranked: ArrayLike) -> NDArray[np.float64]:
    """Return each clip's AP@3, in {0, 1/3, 1/2, 1}.

    Parameters
    ----------
    truth : array_like of int [shape=(n,)]
    ranked : array_like of int [shape=(n, ranks)]
    """
    truth, ranked = validate(truth, ranked)
    hits = ranked[:, :3] == truth[:, None]
    rank = hits.argmax(axis=1) if hits.size else np.zeros(len(truth), np.int64)
    return np.where(hits.any(axis=1), 1.0 / (1 + rank), 0.0)


def mean_and_error(values: NDArray[np.float64], groups: ArrayLike | None = None) -> tuple[float, float]:
    """Return the mean and its standard error; NaN where there are too few values, or groups, to say.

    Clips of one group, such as a recorder's, are right or wrong together: then the groups are what was drawn, and their
    sums of deviations give the error (Cameron and Miller, 2015, "A practitioner's guide to cluster-robust inference").
    Where each value is its own group, as without groups, it is ``s / sqrt(n)``.

    Parameters
    ----------
    values : ndarray [shape=(n,)]
    groups : array_like [shape=(n,)], optional
        What each value belongs to.
    """
    n = len(values)
    if not n:
        return math.nan, math.nan
    mean = float(values.mean())
    member = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.bincount(member, values - mean)
    n_groups = len(sums)
    if n_groups < 2:
        return mean, math.nan
    return mean, math.sqrt(n_groups / (n_groups - 1) * float(np.square(sums).sum())) / n


def accuracy(truth: ArrayLike, ranked: ArrayLike) -> float:
    """Return the share of clips whose first class is the true one; NaN for no clips."""
    first = average_precision_at_3(truth, ranked) == 1.0
    return float(first.mean()) if len(first) else math.nan
