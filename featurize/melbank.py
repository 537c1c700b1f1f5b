"""Filter banks: triangles on Slaney's mel scale, on HTK's, or on a logarithmic one.

Conventions
-----------
A bank is ``[n_mels, 1 + n_fft // 2]``, float32: one row a band, one column a bin of the real FFT. Bands are evenly
spaced on their scale, and each has unit area over frequency in Hz, but for HTK's, whose peak is 1.

The numbers of mel banks equal those of librosa's ``filters.mel`` with its defaults (``htk=False, norm="slaney"``),
without what importing it costs. HTK's triangles are straight over mels, as in HTK itself, in VGGish and in TensorFlow's
``linear_to_mel_weight_matrix``; librosa's ``htk=True, norm=None`` has the same edges, but is straight over Hz.

References
----------
.. [1] M. Slaney, "Auditory Toolbox: A MATLAB Toolbox for Auditory Modeling Work", version 2, Technical Report
   1998-010, Interval Research Corporation, 1998.
.. [2] J. C. Brown, "Calculation of a constant Q spectral transform", J. Acoust. Soc. Am. 89(1), 425-434, 1991.
.. [3] S. Young et al., "The HTK Book", version 3.4, Cambridge University, 2006, section 5.4.
"""

import math

import numpy as np
from numpy.typing import NDArray

# Slaney's scale: 3 mels every 200 Hz up to 1000 Hz, then a factor of 6.4 in frequency every 27 mels.
_HZ_PER_MEL = 200.0 / 3
_CORNER_HZ = 1000.0
_CORNER_MEL = _CORNER_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(frequency_hz: float) -> float:
    """Convert a frequency to Slaney's mel scale: linear below 1 kHz, logarithmic above [1]_.

    Parameters
    ----------
    frequency_hz : float >= 0

    Returns
    -------
    float >= 0
    """
    if frequency_hz < _CORNER_HZ:
        return frequency_hz / _HZ_PER_MEL
    # np.log, as librosa: it may differ from math.log in the last bit.
    return float(_CORNER_MEL + np.log(frequency_hz / _CORNER_HZ) / _LOG_STEP)


def hz_to_htk(frequency_hz: float) -> float:
    """Convert a frequency to HTK's mel scale, ``1127 ln(1 + f / 700)`` [3]_.

    Parameters
    ----------
    frequency_hz : float >= 0

    Returns
    -------
    float >= 0
    """
    return 1127.0 * math.log1p(frequency_hz / 700.0)


def mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert mels to frequencies in Hz; the inverse of :func:`hz_to_mel`."""
    return np.where(
        mels < _CORNER_MEL,
        _HZ_PER_MEL * mels,
        _CORNER_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _CORNER_MEL) - _CORNER_MEL)),
    )


def mel_filters(*, sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> NDArray[np.float32]:
    """Build a mel filter bank.

    Parameters
    ----------
    sample_rate_hz, n_fft, n_mels : int > 0
    fmin_hz, fmax_hz : float
        Lower edge of the lowest band and upper edge of the highest.

    Returns
    -------
    ndarray [shape=(n_mels, 1 + n_fft // 2), float32]
        Weights, >= 0. A band that is narrower than the spacing of the bins may be zero everywhere.
    """
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / sample_rate_hz)
    edges_hz = mel_to_hz(np.linspace(hz_to_mel(fmin_hz), hz_to_mel(fmax_hz), n_mels + 2))
    lower, centre, upper = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    # librosa rounds the triangles to float32 before it scales them.
    triangles = _triangles(bins_hz, lower, centre, upper).astype(np.float32)
    return (triangles * (2.0 / (upper - lower))).astype(np.float32)


def htk_filters(*, sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> NDArray[np.float32]:
    """Build a bank of triangles over HTK's mel scale, whose peak is 1 [3]_.

    Parameters
    ----------
    sample_rate_hz, n_fft, n_mels : int > 0
    fmin_hz, fmax_hz : float
        Lower edge of the lowest band and upper edge of the highest.

    Returns
    -------
    ndarray [shape=(n_mels, 1 + n_fft // 2), float32]
        Weights, 0 … 1. A band that is narrower than the spacing of the bins may be zero everywhere.
    """
    bins_mel = np.array([hz_to_htk(frequency_hz) for frequency_hz in np.fft.rfftfreq(n_fft, 1.0 / sample_rate_hz)])
    edges_mel = np.linspace(hz_to_htk(fmin_hz), hz_to_htk(fmax_hz), n_mels + 2)
    return _triangles(bins_mel, edges_mel[:-2, None], edges_mel[1:-1, None], edges_mel[2:, None]).astype(np.float32)


def log_filters(*, sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> NDArray[np.float32]:
    """Build a bank of bands that are evenly spaced on a logarithmic scale, at a constant ratio of frequencies [2]_.

    The edges are ``fmin_hz * (fmax_hz / fmin_hz) ** (k / (n_mels + 1))``. Where they lie closer than the FFT's bins, a
    triangle reaches one bin to either side of its centre instead, which is to interpolate the power between the two
    bins around it: no band is zero everywhere, and centres keep their places.

    Parameters
    ----------
    sample_rate_hz, n_fft, n_mels : int > 0
    fmin_hz, fmax_hz : float > 0
        Lower edge of the lowest band and upper edge of the highest, but for the reach of narrow bands.

    Returns
    -------
    ndarray [shape=(n_mels, 1 + n_fft // 2), float32]
        Weights, >= 0; every band has one above 0.
    """
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / sample_rate_hz)
    spacing_hz = sample_rate_hz / n_fft
    edges_hz = np.geomspace(fmin_hz, fmax_hz, n_mels + 2)
    centre = edges_hz[1:-1, None]
    lower = np.minimum(edges_hz[:-2, None], centre - spacing_hz)
    upper = np.maximum(edges_hz[2:, None], centre + spacing_hz)
    weights = _triangles(bins_hz, lower, centre, upper) * (2.0 / (upper - lower))
    return weights.astype(np.float32)


def _triangles(
    bins: NDArray[np.floating], lower: NDArray[np.float64], centre: NDArray[np.float64], upper: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the triangles [n_mels, n_bins] that rise from 0 at ``lower`` to 1 at ``centre``; edges are [n_mels, 1]."""
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


def band_edges(weights: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first bin of each band, and the one past its last; equal for a band without bins.

    Parameters
    ----------
    weights : ndarray [shape=(n_mels, n_bins)]

    Returns
    -------
    first, stop : ndarray [shape=(n_mels,), int64]
    """
    used = weights > 0
    first = used.argmax(axis=1)
    stop = np.where(used.any(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1), first)
    return first, stop
