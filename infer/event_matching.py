"""Events of two lists that are the same sound: by their times, each with one other at most.

Conventions
-----------
An event found fits a true one where onset lies within a collar of onset, and offset of offset within the larger of the
collar and a share of the true event's length; what fits is told by time alone. Compared are differences as they are
rounded, which sed_eval does too: 3.0 and 3.2 s are more than a collar of 0.2 s apart, 1.0 and 1.2 s are not.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from infer.events import Event


@dataclass(frozen=True)
class Tolerance:
    """How far apart the times of two events may be that are the same.

    Parameters
    ----------
    collar_seconds : float >= 0
        Between onsets, and at least between offsets.
    length_share : float in [0, 1]
        Offsets may differ by this share of the true event's length where that is more.
    onset_only : bool
        Offsets do not matter.

    Raises
    ------
    InputError
        A number is out of its range.
    """

    collar_seconds: float = 0.2
    length_share: float = 0.5
    onset_only: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.collar_seconds < np.inf:
            message = f"the collar must be 0 s or more; got {self.collar_seconds}"
            raise InputError(message)
        if not 0 <= self.length_share <= 1:
            message = f"the share of the length must be from 0 to 1; got {self.length_share}"
            raise InputError(message)


class FittingEvents:
    """Events found, to be asked which of them fit a true one.

    Parameters
    ----------
    predicted : sequence of Event
        Sorted.
    tolerance : Tolerance
    """

    def __init__(self, predicted: Sequence[Event], tolerance: Tolerance) -> None:
        self._onsets = [event.onset for event in predicted]
        self._offsets = np.array([event.offset for event in predicted])
        self._tolerance = tolerance

    def __call__(self, event: Event) -> NDArray[np.intp]:
        """Return the indices of the events that fit a true one by their times, ascending."""
        collar = self._tolerance.collar_seconds
        first = bisect_left(self._onsets, True, key=lambda onset: event.onset - onset <= collar)
        stop = bisect_left(self._onsets, True, key=lambda onset: onset - event.onset > collar)
        if self._tolerance.onset_only:
            return np.arange(first, stop)
        allowed = max(collar, self._tolerance.length_share * event.seconds)
        return first + np.flatnonzero(np.abs(event.offset - self._offsets[first:stop]) <= allowed)


def largest_matching(n_left: int, n_right: int, fits: Callable[[int], NDArray[np.intp]]) -> NDArray[np.intp]:
    """Match as many as can be, each with one other that fits: by augmenting paths, the shortest first (Kuhn 1955).

    Parameters
    ----------
    n_left, n_right : int
    fits : callable
        Left index → right indices that it may be matched with. It is asked each time anew, so that memory does not grow
        with the pairs that fit: ten thousand events at once have a hundred million.

    Returns
    -------
    ndarray [shape=(n_left,)]
        The right index of each left one; -1 where it has none. No matching has more.
    """
    right_of, left_of = np.full(n_left, -1), np.full(n_right, -1)
    reached_from = np.full(n_right, -1)
    for start in range(n_left):
        end, reached = _search(start, fits, left_of, reached_from)
        if end < 0:
            continue  # what a search in vain reached stays so: it leads nowhere, whatever is matched later
        while end >= 0:  # every second pair of the path is parted, and the others are matched
            left = reached_from[end]
            left_of[end], right_of[left], end = left, end, right_of[left]
        reached_from[np.concatenate(reached)] = -1
    return right_of


def _search(
    start: int,
    fits: Callable[[int], NDArray[np.intp]],
    left_of: NDArray[np.intp],
    reached_from: NDArray[np.intp],
) -> tuple[int, list[NDArray[np.intp]]]:
    """Find the nearest right index without a partner, -1 where there is none, and all that were reached on the way."""
    queue, reached = deque([start]), list[NDArray[np.intp]]()
    while queue:
        left = queue.popleft()
        new = fits(left)
        new = new[reached_from[new] < 0]
        free = new[left_of[new] < 0][:1]
        reached.append(free if len(free) else new)
        reached_from[reached[-1]] = left
        if len(free):
            return int(free[0]), reached
        queue.extend(left_of[new].tolist())
    return -1, reached
