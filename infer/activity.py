"""When something sounds: spans of a recording that stand out from its background.

Conventions
-----------
Power is ``[n_frames, n_bands]``, not in dB. The background is told band by band: the power that a band has, or less, in
a fifth of the time. A frame is active where what is left of it, the background taken away, is more than the background
and above the gate. Spans are ``(first, stop)`` in frames, in order, without overlap.

Source of taking twice the background away, and of leaving a little of it: Berouti, Schwartz and Makhoul, "Enhancement
of speech corrupted by acoustic noise", ICASSP 1979. Without what is left, chance peaks of the background would stand
out from nothing, which no sound does that networks were trained on.
"""

import numpy as np
from numpy.typing import NDArray

Power = NDArray[np.floating]
Span = tuple[int, int]

_QUANTILE = 0.2
_SMOOTHED_FRAMES = 5  # a single frame of noise is anything from nothing to four times its mean
_TAKEN_AWAY = 2.0
_LEFT = 0.03
_AMIN = 1e-10


def background(power: Power) -> NDArray[np.float64]:
    """Return the background [n_bands] of a stretch of a recording."""
    kernel = min(_SMOOTHED_FRAMES, len(power))
    sums = np.cumsum(np.concatenate([np.zeros((1, power.shape[1])), power]), axis=0)
    means = (sums[kernel:] - sums[:-kernel]) / kernel
    return np.asarray(np.maximum(np.quantile(means, _QUANTILE, axis=0), _AMIN))


def foreground(power: Power, behind: NDArray[np.float64]) -> Power:
    """Return what is left of the power when twice the background is taken away; no less than 0.03 of the background."""
    return np.maximum(power - _TAKEN_AWAY * behind, _LEFT * behind)


def is_active(power: Power, behind: NDArray[np.float64], *, gate: float) -> NDArray[np.bool_]:
    """Tell the active frames.

    Parameters
    ----------
    power : ndarray [shape=(n_frames, n_bands)]
    behind : ndarray [shape=(n_bands,)]
    gate : float
        Power over all bands; what has less is silence.
    """
    level = foreground(power, behind).sum(axis=1)
    return np.asarray((level > behind.sum()) & (level > gate))


def runs(mask: NDArray[np.bool_]) -> list[Span]:
    """Return where a mask is true: (first, stop) of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


def joined(spans: list[Span], *, pause: int) -> list[Span]:
    """Join spans between which there are so many frames or fewer."""
    found: list[Span] = []
    for first, stop in spans:
        if found and first - found[-1][1] <= pause:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((first, stop))
    return found
