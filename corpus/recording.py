"""Recordings: a dry sound as somebody's microphone gives it.

Rooms, microphones, band limits, background and level are drawn at random for every clip, alike for all classes: a
clip's average spectrum tells more about its recording than about its source, as in a collection made by many hands.
"""

import numpy as np
import numpy.typing as npt

from corpus.waves import Studio, Wave, fast_length

SOUND_TILT_DB = 1.5
"""Standard deviation of the slope, in dB an octave, that a microphone and its place give to a sound."""
SOUND_KNOTS_DB = 3.0
"""Standard deviation of the octave bands around that slope."""
NOISE_TILT_DB = 2.5
NOISE_KNOTS_DB = 5.0
SNR_DB = (12.0, 50.0)
"""Range of the sound's level over the background's."""
LEVEL_DB = (-24.0, -0.5)
"""Range of the recording's peak below full scale."""
T60_SECONDS = (0.08, 0.9)
"""Range of the room's reverberation time."""
WET_DB = (-30.0, -6.0)
"""Range of the room's energy beside the direct sound's."""

GRID_OCTAVES = np.linspace(-6, 6, 769)
"""Where gains are drawn: octaves from 500 Hz, a 64th apart."""

Grid = npt.NDArray[np.float64]


def colour_db(studio: Studio, *, tilt_db: float, knots_db: float) -> Grid:
    """Return a random smooth gain in dB over `GRID_OCTAVES`: a slope, and a random point for each octave."""
    points = knots_db * studio.rng.standard_normal(10)
    slope = studio.rng.normal(0, tilt_db) * GRID_OCTAVES
    return np.clip(slope + np.interp(GRID_OCTAVES, np.arange(-4, 6), points), -40, 40)


def band_db(studio: Studio) -> Grid:
    """Return the gain in dB of a device's band limits: some recordings lack the lows, many lack the highs."""
    frequency_hz = 500 * np.exp2(GRID_OCTAVES)
    low_hz = studio.octaves(20, 250) if studio.chance(0.5) else 10.0
    high_hz = studio.octaves(3500, 16000) if studio.chance(0.6) else 20000.0
    return -20 * (np.log10(1 + (low_hz / frequency_hz) ** 4) + np.log10(1 + (frequency_hz / high_hz) ** 8))


def room(studio: Studio, n_fft: int, t60_seconds: float) -> npt.NDArray[np.complex64]:
    """Return a room's transfer function [n_fft // 2 + 1]: the direct sound and a decaying tail."""
    n_tail = studio.samples(t60_seconds)
    fading = np.exp(np.float32(-6.9) * np.arange(n_tail, dtype=np.float32) / np.float32(n_tail))
    tail = studio.noise(n_tail) * fading
    tail *= np.float32(10 ** (studio.between(*WET_DB) / 20) / (np.linalg.norm(tail) + 1e-9))
    tail[0] += 1
    return np.fft.rfft(tail, n_fft).astype(np.complex64, copy=False)


def background(studio: Studio, n_bins: int) -> npt.NDArray[np.complex64]:
    """Return the spectrum of white noise [n_bins]."""
    return studio.noise(2 * n_bins).view(np.complex64)


def record(studio: Studio, dry: Wave, *, before_seconds: float, after_seconds: float) -> Wave:
    """Return the recording of a sound: in a room, with silence around, over background noise, at some level.

    Parameters
    ----------
    dry : float32 [n_samples]
    before_seconds, after_seconds : float
        Silence (background only) around the sound.

    Returns
    -------
    float32 [n_samples + silence], in [-1, 1]
    """
    before, after = round(before_seconds * studio.sample_rate_hz), round(after_seconds * studio.sample_rate_hz)
    n_samples = before + len(dry) + after
    t60 = studio.octaves(*T60_SECONDS)
    n_fft = fast_length(n_samples + studio.samples(t60))  # the tail must not come round to the beginning
    frequency_hz = np.arange(n_fft // 2 + 1, dtype=np.float32) * np.float32(studio.sample_rate_hz / n_fft)
    bins = np.clip(64 * np.log2(np.maximum(frequency_hz, 8) / np.float32(500)) + 384, 0, 768).astype(np.int32)
    device_db = band_db(studio)
    gain_db = device_db + colour_db(studio, tilt_db=SOUND_TILT_DB, knots_db=SOUND_KNOTS_DB)
    sound = np.fft.rfft(np.pad(dry, (before, n_fft - before - len(dry)))) * room(studio, n_fft, t60)
    sound *= (10 ** (gain_db / 20)).astype(np.float32)[bins]
    noise_db = device_db + colour_db(studio, tilt_db=NOISE_TILT_DB, knots_db=NOISE_KNOTS_DB)
    noise = background(studio, len(bins)) * (10 ** (noise_db / 20)).astype(np.float32)[bins]
    noise_ratio = 10 ** (-studio.between(*SNR_DB) / 20) * np.sqrt(n_fft / len(dry))
    noise *= np.float32(noise_ratio * np.linalg.norm(sound) / (np.linalg.norm(noise) + 1e-9))
    heard = np.fft.irfft(sound + noise, n_fft)[:n_samples].astype(np.float32, copy=False)
    level = 10 ** (studio.between(*LEVEL_DB) / 20)
    return heard * np.float32(level / (np.abs(heard).max() + 1e-9))
