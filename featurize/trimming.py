"""Trimming: where a signal's first and last loud frames are.

Conventions
-----------
Samples are float32, mono, ``[n]``. Levels are in dB relative to the loudest frame, one for each centred frame of 2048
samples, a frame every 512: ``1 + n // 512`` of them.
"""

import numpy as np
from numpy.typing import NDArray

from featurize.audio import Samples
from featurize.compiling import compiled

_FRAME = 2048  # librosa.effects.trim's defaults, in samples
_HOP = 512
_AMIN = 1e-10  # librosa's floor of a power
# librosa sums squares in float32, which moves a level by less than this: nearer to the threshold, only sums taken as it
# takes them can say.
_DOUBT_DB = 1e-3
_BLOCK_FRAMES = 1024  # frames whose squares are held at once: 8 MB


def trim(samples: Samples, *, trim_db: float | None) -> Samples:
    """Cut leading and trailing silence, sample for sample as ``librosa.effects.trim`` does.

    Frame energies come from sums over blocks of 512 samples, which the overlapping frames of 2048 share. Where the
    first or the last loud frame lies on the threshold within rounding, librosa's own rounding decides.

    Parameters
    ----------
    samples : ndarray [shape=(n,), float32]
        n > 0.
    trim_db : float > 0, optional
        Frames this far below the loudest are silent; None cuts nothing.

    Returns
    -------
    ndarray [shape=(m,), float32]
        A view of ``samples``.
    """
    if trim_db is None:
        return samples
    level_db = _frame_levels_db(samples)
    surely = np.flatnonzero(level_db > -trim_db + _DOUBT_DB)
    perhaps = np.flatnonzero(level_db > -trim_db - _DOUBT_DB)
    if surely.size == 0 or surely[0] != perhaps[0] or surely[-1] != perhaps[-1]:
        surely = np.flatnonzero(_rounded_levels_db(samples) > -trim_db)
    if surely.size == 0:
        return samples[:0]
    return samples[surely[0] * _HOP : min(len(samples), (surely[-1] + 1) * _HOP)]


def _frame_levels_db(samples: Samples) -> NDArray[np.float64]:
    """Level of each centred frame relative to the loudest, in dB; ``1 + n // 512`` frames."""
    shared = _FRAME // _HOP
    # Half a frame of silence, which librosa's centring puts before and after the signal, is whole blocks.
    energy = np.zeros(len(samples) // _HOP + shared, np.float64)
    _sum_squares(samples, energy[shared // 2 :])
    power = np.lib.stride_tricks.sliding_window_view(energy, shared).sum(axis=1) / _FRAME
    level = 10 * np.log10(np.maximum(power, _AMIN))
    return np.asarray(level - level.max())


def _rounded_levels_db(samples: Samples) -> NDArray[np.float32]:
    """Take the same levels operation by operation as librosa does, in float32; importing it would take 1.4 s."""
    half = _FRAME // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, half), _FRAME)[::_HOP]
    blocks = range(0, len(frames), _BLOCK_FRAMES)
    power = np.concatenate([np.square(frames[first : first + _BLOCK_FRAMES]).mean(axis=1) for first in blocks])
    magnitude = np.sqrt(power)
    level = 10.0 * np.log10(np.maximum(_AMIN, np.square(magnitude)))
    level -= 10.0 * np.log10(np.maximum(_AMIN, magnitude.max() ** 2))
    return np.asarray(level)


@compiled
def _sum_squares(samples, energy):  # type: ignore[no-untyped-def] # numba infers the types
    """Sum the squares of each block of ``_HOP`` samples; the last block may be shorter."""
    for block in range(-(-len(samples) // _HOP)):
        part = samples[block * _HOP : (block + 1) * _HOP]  # a slice: its indices need no checks
        total = 0.0
        for n in range(len(part)):
            sample = np.float64(part[n])
            total += sample * sample
        energy[block] = total
