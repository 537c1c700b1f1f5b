"""The front-end: a recording → log-mel frames of each mode.

Conventions
-----------
Frames are time-major, ``[n_frames, n_mels]``, float32, in dB relative to a power of 1. The numbers are librosa's
(``melspectrogram`` of the trimmed and padded signal, then ``power_to_db``) within 0.01 dB: Hann window, frames
centred by zero padding, Slaney's mel scale and band areas.

The FFT runs in float64 like librosa's own. Single precision would stay within 0.002 dB at a range of 80 dB, but not at
the ranges that another mode may ask for, and it overflows for the largest samples that a file can hold.
"""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import cast

import numba
import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from featurize.audio import MAX_CLIP_MINUTES, QuarantineError, Recording, Samples, decode, resample, trim
from featurize.melbank import band_edges, mel_filters
from featurize.modes import FeatureMode, resolve_modes

_BLOCK_FRAMES = 64  # one FFT batch: 64 frames of 2560 float64 stay in the cache of a core
_AMIN = 1e-10  # librosa.power_to_db's floor

Frames = NDArray[np.float32]


def compute(
    path: Path | str, modes: Iterable[str | FeatureMode], *, max_clip_minutes: float = MAX_CLIP_MINUTES
) -> dict[str, Frames]:
    """Decode one file, once, and compute its frames for each mode.

    Parameters
    ----------
    path : Path
        The sound file.
    modes : iterable of str or FeatureMode
        Names or modes; ``"all"`` means LH and X.
    max_clip_minutes : float > 0
        Longer files are refused unread.

    Returns
    -------
    dict of {str: ndarray [shape=(n_frames, n_mels), float32]}
        Mode name → log-mel frames in dB.

    Raises
    ------
    QuarantineError
        If the file cannot be used; see ``featurize.audio.decode``.
    """
    recording = decode(path, max_clip_minutes=max_clip_minutes)
    try:
        return {mode.name: log_mel(recording, mode) for mode in resolve_modes(modes)}
    except InputError as error:
        raise QuarantineError(path, str(error), seconds=recording.seconds) from error


def log_mel(recording: Recording, mode: FeatureMode) -> Frames:
    """Compute a recording's frames for one mode.

    Returns
    -------
    ndarray [shape=(n_frames, n_mels), float32]
        ``mode.window_frames`` frames for a head-only mode, at least as many for others.

    Raises
    ------
    InputError
        If the samples are so large that they overflow when resampled.
    """
    samples = resample(recording, sample_rate_hz=mode.sample_rate_hz)
    samples = trim(samples, trim_db=mode.trim_db)
    return power_to_db(mel_power(fit_window(samples, mode), mode), top_db=mode.top_db)


def fit_window(samples: Samples, mode: FeatureMode) -> Samples:
    """Cut to the first window (head-only modes), or pad with zeros on both sides to a whole one."""
    if mode.head_only:
        samples = samples[: mode.window_samples]
    missing = mode.window_samples - len(samples)
    if missing <= 0:
        return samples
    before = missing // 2
    return np.pad(samples, (before, missing - before))


def mel_power(samples: Samples, mode: FeatureMode) -> NDArray[np.float64]:
    """Return the mel power spectrogram of a signal, as ``librosa.feature.melspectrogram`` with its defaults.

    Parameters
    ----------
    samples : ndarray [shape=(n,), float32]
        Signal at the mode's rate.

    Returns
    -------
    ndarray [shape=(1 + n // hop_samples, n_mels), float64]
        Power, >= 0.
    """
    bank = _mel_bank(mode)
    window = _hann(mode.n_fft)
    framed = np.lib.stride_tricks.sliding_window_view(np.pad(samples, mode.n_fft // 2), mode.n_fft)[:: mode.hop_samples]
    power = np.empty((len(framed), mode.n_mels), np.float64)
    # The buffers of a block are written again and again: fresh memory would cost more than the FFT.
    windowed = np.empty((_BLOCK_FRAMES, mode.n_fft), np.float64)
    spectrum = np.empty((_BLOCK_FRAMES, mode.n_fft // 2 + 1), np.complex128)
    for start in range(0, len(framed), _BLOCK_FRAMES):
        block = framed[start : start + _BLOCK_FRAMES]
        n = len(block)
        np.multiply(block, window, out=windowed[:n])
        np.fft.rfft(windowed[:n], out=spectrum[:n])
        _band_power(spectrum[:n], *bank, power[start : start + n])
    return power


@cache
def _hann(n_fft: int) -> NDArray[np.float64]:
    """Periodic Hann window, as scipy's ``get_window("hann", n_fft, fftbins=True)``."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


@cache
def _mel_bank(mode: FeatureMode) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Weights [n_mels, n_bins] of the mel filters, and the first and one-past-last bin of each band."""
    weights = mel_filters(
        sample_rate_hz=mode.sample_rate_hz,
        n_fft=mode.n_fft,
        n_mels=mode.n_mels,
        fmin_hz=mode.fmin_hz,
        fmax_hz=mode.fmax_hz,
    )
    return weights.astype(np.float64), *band_edges(weights)


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile when first called, and keep the machine code on disk where there is a place for it."""
    try:
        return cast(Callable[..., None], numba.njit(cache=True, nogil=True)(function))
    # A read-only installation, and no home folder to write to.
    except RuntimeError:
        return cast(Callable[..., None], numba.njit(nogil=True)(function))


@_compiled
def _band_power(spectrum, weights, first, stop, out):  # type: ignore[no-untyped-def] # numba infers the types
    """Sum the power of each band's few bins: a mel filter is zero almost everywhere."""
    n_bins = spectrum.shape[1]
    power = np.empty(n_bins)
    for frame in range(spectrum.shape[0]):
        for k in range(n_bins):
            value = spectrum[frame, k]
            power[k] = value.real * value.real + value.imag * value.imag
        for band in range(weights.shape[0]):
            total = 0.0
            for k in range(first[band], stop[band]):
                total += weights[band, k] * power[k]
            out[frame, band] = total


def power_to_db(power: NDArray[np.float64], *, top_db: float) -> Frames:
    """Return ``10 log10(max(power, 1e-10))``, raised to ``top_db`` below its maximum, as librosa's ``power_to_db``.

    Parameters
    ----------
    power : ndarray [shape=(n_frames, n_mels)]
        Power, >= 0; overwritten.
    """
    np.maximum(power, _AMIN, out=power)
    np.log10(power, out=power)
    power *= 10.0
    np.maximum(power, power.max() - top_db, out=power)
    return power.astype(np.float32)
