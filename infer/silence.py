"""Silence: what is quieter than any sound that can be told.

Conventions
-----------
Levels are in dB from a tone at full scale, measured over all bands of a frame.
"""

from functools import cache

import numpy as np

from featurize.logmel import mel_power
from featurize.modes import FeatureMode
from infer.tagger import Frames

SILENCE_DB = -80.0


@cache
def full_scale(mode: FeatureMode) -> float:
    """Return what a tone of 1 kHz at full scale gives over all bands of a mode."""
    n_samples = 2 * mode.n_fft
    tone = np.sin(2 * np.pi * 1_000 / mode.sample_rate_hz * np.arange(n_samples)).astype(np.float32)
    middle = mode.n_fft // mode.hop_samples  # of frames, and of the tone
    return float(mel_power(tone, mode)[middle].sum())


def gate(mode: FeatureMode, level_db: float) -> float:
    """Return what a mode's bands sum to at a level: power, or magnitude where the mode has that."""
    return full_scale(mode) * float(10 ** (level_db / (10 if mode.power == 2 else 20)))


def is_silent(frames: Frames, mode: FeatureMode) -> bool:
    """Tell whether no frame [n_frames, n_mels], as a store holds it, is above silence."""
    values = frames.astype(np.float64)
    bands = 10 ** (values / 10) if mode.log_offset is None else np.exp(values) - mode.log_offset
    return bool(bands.sum(axis=1).max() <= gate(mode, SILENCE_DB))
