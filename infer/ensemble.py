"""Joining probabilities: the rooted geometric mean.

Conventions
-----------
Log-probabilities, ``[n_clips, n_classes]``. A mean over members has the n-th root in it, so that joining it with
another mean weighs both alike, however many members each has.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from train.scores import renormalise


class ModeLogs(NamedTuple):
    """What one mode says of some clips.

    Attributes
    ----------
    rows : sequence of int
        The clips, each once.
    log_p : ndarray [shape=(len(rows), n_classes)]
        Log-probabilities.
    knows : ndarray [shape=(n_classes,) or (len(rows), n_classes), bool]
        The classes that some network asked was trained on.
    """

    rows: Sequence[int] | NDArray[np.intp]
    log_p: NDArray[np.float64]
    knows: NDArray[np.bool_] | bool = True


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


def join_modes(n_clips: int, modes: Sequence[ModeLogs]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Join modes by the rooted geometric mean, each clip over the modes that have it.

    As in `geometric_mean`, a mode has a say in the classes that it knows alone, where another knows the class.

    Parameters
    ----------
    n_clips : int
    modes : sequence of ModeLogs
        One or more.

    Returns
    -------
    known : ndarray [shape=(n_clips,), bool]
        True for clips that a mode has.
    log_p : ndarray [shape=(known.sum(), n_classes)]
        Theirs, in order.
    """
    shape = n_clips, modes[0].log_p.shape[1]
    n_modes = np.zeros((n_clips, 1), np.int64)
    counted, n_counted, total = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape)
    for mode in modes:
        knows = np.broadcast_to(mode.knows, mode.log_p.shape)
        n_modes[mode.rows] += 1
        total[mode.rows] += mode.log_p
        n_counted[mode.rows] += knows
        counted[mode.rows] += np.where(knows, mode.log_p, 0.0)
    known = n_modes[:, 0] > 0
    mean = np.where(n_counted, counted / np.maximum(n_counted, 1), total / np.maximum(n_modes, 1))
    return known, renormalise(mean[known])
