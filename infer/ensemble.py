"""Joining probabilities: the rooted geometric mean.

Conventions
-----------
Log-probabilities, ``[n_clips, n_classes]``. A mean over members has the n-th root in it, so that joining it with
another mean weighs both alike, however many members each has.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from train.scores import renormalise


def geometric_mean(
    members: Sequence[NDArray[np.float64]], knows: Sequence[NDArray[np.bool_]] | None = None
) -> NDArray[np.float64]:
    """Join members' log-probabilities: ``log((p_1 · … · p_n)^(1/n))``, rescaled so that each row sums to 1.

    Each class is joined over the members that know it, and over all where none does: what a network says of a class
    that it never heard is next to nothing, and would all but strike out the class, whatever the others say.

    Parameters
    ----------
    members : sequence of ndarray [shape=(n_clips, n_classes)]
    knows : sequence of ndarray [shape=(n_classes,), bool], optional
        The classes that each member was trained on; all of them without it.

    Raises
    ------
    InputError
        If there is none, or shapes differ.
    """
    shapes = {member.shape for member in members}
    if len(shapes) != 1:
        message = f"an ensemble needs members of one shape; got {sorted(shapes) or 'none'}"
        raise InputError(message)
    if knows is None:
        return renormalise(np.mean(members, axis=0))
    counted = np.array(knows) | ~np.any(knows, axis=0)
    return renormalise(np.mean(members, axis=0, where=counted[:, None, :]))


def join_modes(
    n_clips: int, modes: Sequence[tuple[Sequence[int] | NDArray[np.intp], NDArray[np.float64]]]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Join modes by the rooted geometric mean, each clip over the modes that have it.

    Parameters
    ----------
    n_clips : int
    modes : sequence of (rows, ndarray [shape=(len(rows), n_classes)])
        One or more. Of each mode: its clips, each once, and their log-probabilities.

    Returns
    -------
    known : ndarray [shape=(n_clips,), bool]
        True for clips that a mode has.
    log_p : ndarray [shape=(known.sum(), n_classes)]
        Theirs, in order.
    """
    total, n_modes = np.zeros((n_clips, modes[0][1].shape[1])), np.zeros(n_clips, np.int64)
    for rows, log_p in modes:
        total[rows] += log_p
        n_modes[rows] += 1
    known = n_modes > 0
    return known, renormalise(total[known] / n_modes[known, None])
