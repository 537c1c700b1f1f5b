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


def geometric_mean(members: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Join members' log-probabilities: ``log((p_1 · … · p_n)^(1/n))``, rescaled so that each row sums to 1.

    Parameters
    ----------
    members : sequence of ndarray [shape=(n_clips, n_classes)]

    Raises
    ------
    InputError
        If there is none, or shapes differ.
    """
    shapes = {member.shape for member in members}
    if len(shapes) != 1:
        message = f"an ensemble needs members of one shape; got {sorted(shapes) or 'none'}"
        raise InputError(message)
    return renormalise(np.mean(members, axis=0))
