"""WAV files to measure on: 16 bit, 44.1 kHz, mono, sounds with silence around them.

Conventions
-----------
A corpus is a folder ``sounds/`` of WAV files in a root: the layout "one folder a class". Lengths follow a log-normal
distribution cut at 0.3 and 30 s whose mean is 6.8 s, as FSDKaggle2018's training half has it.
"""

import io
import os
import struct
from pathlib import Path
from statistics import NormalDist

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 44_100
SHORTEST, LONGEST, MEAN_SECONDS = 0.3, 30.0, 6.8
LOG_WIDTH = 1.1
FOLDER = "sounds"
LONG_EVERY = 50
"""Of the clips of ``write_short_corpus``, each fiftieth is as long as a clip of the competition can be."""

Signal = NDArray[np.float64]


def clip_seconds(n_clips: int, rng: np.random.Generator, *, mean: float = MEAN_SECONDS) -> list[float]:
    """Give lengths at even quantiles of the distribution, shuffled: few clips have its mean too."""
    quantiles = np.array([NormalDist().inv_cdf((number + 0.5) / n_clips) for number in range(n_clips)])
    low, high = np.log(SHORTEST), np.log(LONGEST)
    for _ in range(50):
        middle = (low + high) / 2
        seconds = np.clip(np.exp(middle + LOG_WIDTH * quantiles), SHORTEST, LONGEST)
        low, high = (middle, high) if seconds.mean() < mean else (low, middle)
    return [float(value) for value in rng.permutation(seconds)]


def make_sound(seconds: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Make a dying note, a coloured noise, a sweep or some knocks, in digital or faint silence."""
    n_samples = round(seconds * RATE_HZ)
    before, after = (int(n_samples * share) for share in rng.uniform(0, 0.25, 2))
    n = n_samples - before - after
    t = np.arange(n) / RATE_HZ
    sound = np.pad(KINDS[rng.integers(len(KINDS))](t, rng), (before, after))
    sound *= 10 ** (rng.uniform(-24, -0.5) / 20) / np.abs(sound).max()
    if rng.random() < 0.5:
        sound += 10 ** (-75 / 20) * rng.standard_normal(n_samples)
    return np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)


def note(t: Signal, rng: np.random.Generator) -> Signal:
    pitch_hz, fade = rng.uniform(80, 1500), rng.uniform(0.2, 2)
    waves = (np.sin(2 * np.pi * pitch_hz * part * t) / part for part in range(1, 7))
    return np.asarray(sum(waves) * np.exp(-t / fade))


def hiss(t: Signal, rng: np.random.Generator) -> Signal:
    white = rng.standard_normal(len(t))
    return np.convolve(white, np.exp(-np.arange(32) * rng.uniform(0.02, 1)), mode="same")


def sweep(t: Signal, rng: np.random.Generator) -> Signal:
    low_hz, high_hz = np.sort(rng.uniform(50, 15_000, 2))
    return np.sin(2 * np.pi * (low_hz + (high_hz - low_hz) * t / (2 * t[-1])) * t)


def knocks(t: Signal, rng: np.random.Generator) -> Signal:
    since = t % rng.uniform(0.1, 0.8)
    return rng.standard_normal(len(t)) * np.exp(-since / rng.uniform(0.01, 0.1))


KINDS = (note, hiss, sweep, knocks)


def write_corpus(root: Path, n_clips: int, *, seed: int) -> list[Path]:
    """Write sounds of the competition's lengths; give their paths."""
    rng = np.random.default_rng(seed)
    paths = [_path(root, number) for number in range(n_clips)]
    for path, seconds in zip(paths, clip_seconds(n_clips, rng), strict=True):
        soundfile.write(path, make_sound(seconds, rng), RATE_HZ, subtype="PCM_16")
    return paths


def link_corpus(root: Path, sources: list[Path]) -> list[Path]:
    """Put files that are there in the layout of a corpus."""
    paths = [_path(root, number) for number in range(len(sources))]
    for path, source in zip(paths, sources, strict=True):
        path.symlink_to(source.resolve())
    return paths


def write_short_corpus(root: Path, n_clips: int, *, seed: int) -> None:
    """Write clips of half a second, and some of 30 s, no two of the same bytes."""
    rng = np.random.default_rng(seed)
    kinds = [_wav(make_sound(seconds, rng)) for seconds in (0.5, LONGEST)]
    for number in range(n_clips):
        digits = [number // 128**place % 128 for place in range(4)]  # faint: 48 dB below full scale
        content = kinds[number % LONG_EVERY == 0][:-8] + struct.pack("<4h", *digits)
        _path(root, number).write_bytes(content)


def _wav(samples: NDArray[np.int16]) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return content.getvalue()


def _path(root: Path, number: int) -> Path:
    os.makedirs(root / FOLDER, exist_ok=True)
    return root / FOLDER / f"{number:06d}.wav"
