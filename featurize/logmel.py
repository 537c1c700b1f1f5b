"""The front-end: a recording → log-mel frames of each mode.

Conventions
-----------
Frames are time-major, ``[n_frames, n_mels]``, float32, in dB relative to a power of 1. The numbers are librosa's
(``melspectrogram`` of the trimmed and padded signal, then ``power_to_db``) within 0.01 dB: Hann window, frames
centred by zero padding, Slaney's mel scale and band areas. Where a mode has a ``log_offset``, frames are natural
logarithms instead, and bands may sum magnitudes.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import InputError
from featurize.audio import MAX_CLIP_MINUTES, QuarantineError, Recording, Samples, decode, resample
from featurize.compiling import compiled
from featurize.melbank import band_edges, htk_filters, log_filters, mel_filters
from featurize.modes import FeatureMode, resolve_modes
from featurize.spectrum import LANES, FramePower
from featurize.trimming import trim

_AMIN = 1e-10  # librosa.power_to_db's floor
_BANKS = {"mel": mel_filters, "htk": htk_filters, "log": log_filters}

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
        Mode name → log-mel frames; in dB, or natural logarithms for a mode with a ``log_offset``.

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
    samples, before, after = fit_window(samples, mode)
    return to_log(mel_power(samples, mode, before=before, after=after), mode)


def fit_window(samples: Samples, mode: FeatureMode) -> tuple[Samples, int, int]:
    """Cut to the first window (head-only modes); also give the silence that a whole window lacks on each side.

    Returns
    -------
    samples : ndarray [shape=(m,), float32]
        A view.
    before, after : int >= 0
    """
    if mode.head_only:
        samples = samples[: mode.window_samples]
    missing = max(0, mode.window_samples - len(samples))
    return samples, missing // 2, missing - missing // 2


def mel_power(samples: Samples, mode: FeatureMode, *, before: int = 0, after: int = 0) -> NDArray[np.float64]:
    """Return the mel spectrogram of a signal, as ``librosa.feature.melspectrogram`` with this mode's settings.

    Parameters
    ----------
    samples : ndarray [shape=(n,), float32]
        Signal at the mode's rate.
    before, after : int >= 0
        Samples of silence around it, which cost nothing.

    Returns
    -------
    ndarray [shape=(1 + (before + n + after) // hop_samples, n_mels), float64]
        Power, or magnitude where ``mode.power`` is 1; >= 0.
    """
    bank, hop = _mel_bank(mode), mode.hop_samples
    spectrum = FramePower(mode.n_fft, mode.win_samples)
    power = np.zeros((1 + (before + len(samples) + after) // hop, mode.n_mels), np.float64)
    start = before + mode.n_fft // 2  # of the signal, seen from the first sample of frame 0
    first = max(0, (start - mode.n_fft) // hop + 1)
    stop = min(len(power), -(-(start + len(samples)) // hop))
    for frame in range(first, stop, LANES):
        block = spectrum(samples, frame * hop - start, hop)
        if mode.power == 1:
            np.sqrt(block, out=block)
        _sum_bands(block, *bank, power[frame : min(frame + LANES, stop)])
    return power


@cache
def _mel_bank(mode: FeatureMode) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Weights [n_mels, n_bins] of the filters, and the first and one-past-last bin of each band."""
    weights = _BANKS[mode.scale](
        sample_rate_hz=mode.sample_rate_hz,
        n_fft=mode.n_fft,
        n_mels=mode.n_mels,
        fmin_hz=mode.fmin_hz,
        fmax_hz=mode.fmax_hz,
    )
    return weights.astype(np.float64), *band_edges(weights)


@compiled
def _sum_bands(power, weights, first, stop, out):  # type: ignore[no-untyped-def] # numba infers the types
    """Sum the power of each band's few bins: a mel filter is zero almost everywhere."""
    totals = np.empty(power.shape[1])
    for band in range(weights.shape[0]):
        totals[:] = 0.0
        for k in range(first[band], stop[band]):
            weight = weights[band, k]
            for lane in range(len(totals)):
                totals[lane] += weight * power[k, lane]
        for frame in range(out.shape[0]):
            out[frame, band] = totals[frame]


def to_log(power: NDArray[np.float64], mode: FeatureMode) -> Frames:
    """Return what a mode makes of its bands: dB, or natural logarithms where it has a ``log_offset``.

    Parameters
    ----------
    power : ndarray [shape=(n_frames, n_mels)]
        As from ``mel_power``; overwritten.
    mode : FeatureMode
    """
    if mode.log_offset is not None:
        return natural_log(power, offset=mode.log_offset)
    return power_to_db(power, top_db=mode.top_db)


def power_to_db(power: NDArray[np.float64], *, top_db: float | None) -> Frames:
    """Return ``10 log10(max(power, 1e-10))``, raised to ``top_db`` below its maximum, as librosa's ``power_to_db``.

    Parameters
    ----------
    power : ndarray [shape=(n_frames, n_mels)]
        Power, >= 0; overwritten.
    """
    np.maximum(power, _AMIN, out=power)
    np.log10(power, out=power)
    power *= 10.0
    if top_db is not None:
        np.maximum(power, power.max() - top_db, out=power)
    return power.astype(np.float32)


def natural_log(bands: NDArray[np.float64], *, offset: float) -> Frames:
    """Return ``ln(bands + offset)``.

    Parameters
    ----------
    bands : ndarray [shape=(n_frames, n_mels)]
        Magnitude or power, >= 0; overwritten.
    offset : float > 0
    """
    bands += offset
    np.log(bands, out=bands)
    return bands.astype(np.float32)
