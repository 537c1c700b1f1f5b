"""Small makers of signals and sound files for the tests; all of them are seeded."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile

Signal = npt.NDArray[np.float32]
RATE_HZ = 44_100


def noise(n: int, *, seed: int = 0, level: float = 0.1, tilt_db_per_octave: float = 0.0) -> Signal:
    """Gaussian noise [n] of this peak, whose spectrum rises or falls by so many dB an octave."""
    white = np.random.default_rng(seed).standard_normal(n)
    if tilt_db_per_octave:
        spectrum = np.fft.rfft(white)
        octaves = np.log2(np.maximum(np.arange(len(spectrum)), 1) / len(spectrum))
        white = np.fft.irfft(spectrum * 10 ** (tilt_db_per_octave * octaves / 20), n)
    peak = np.abs(white).max(initial=0.0) or 1.0
    return (white * (level / peak)).astype(np.float32)


def sine(n: int, frequency_hz: float, *, rate_hz: int = RATE_HZ, level: float = 0.5) -> Signal:
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(n) / rate_hz)).astype(np.float32)


def chirp(n: int, *, rate_hz: int = RATE_HZ, level: float = 0.5) -> Signal:
    """A sweep from 20 Hz to half the sample rate [n]."""
    frequency_hz = np.geomspace(20, rate_hz / 2, n)
    return (level * np.sin(2 * np.pi * np.cumsum(frequency_hz) / rate_hz)).astype(np.float32)


def pluck(n: int, *, seed: int = 0, decay_samples: float = 2_000) -> Signal:
    """Noise that dies away [n]."""
    fade = np.exp(-np.arange(n) / decay_samples)
    return (noise(n, seed=seed, level=0.9) * fade).astype(np.float32)


def clicks(n: int, *, seed: int = 0, count: int = 5) -> Signal:
    """A few single samples in silence [n]."""
    rng = np.random.default_rng(seed)
    signal = np.zeros(n, np.float32)
    signal[rng.integers(n, size=count)] = rng.uniform(-1, 1, count)
    return signal


def padded(signal: Signal, before: int, after: int) -> Signal:
    """The signal in digital silence."""
    return np.pad(signal, (before, after))


def quantised(signal: Signal) -> Signal:
    """The signal in steps of 16 bits."""
    return (np.round(np.clip(signal, -1, 32767 / 32768) * 32768) / 32768).astype(np.float32)


def write_sound(path: Path, signal: npt.ArrayLike, rate_hz: int = RATE_HZ, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, rate_hz, **options)
    return path


def chunk(name: bytes, data: bytes) -> bytes:
    """A RIFF chunk, with its pad byte."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def wav_bytes(
    data: bytes,
    *,
    stated: int | None = None,
    riff: int | None = None,
    rate_hz: int = RATE_HZ,
    channels: int = 1,
    bits: int = 16,
    before: bytes = b"",
    after: bytes = b"",
    pad: bool = True,
) -> bytes:
    """A WAV file made by hand: ``stated`` and ``riff`` are the sizes that it claims, right where they are None."""
    width = channels * bits // 8
    fmt = chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * width % (1 << 32), width, bits))
    size = len(data) if stated is None else stated
    body = b"WAVE" + fmt + before + b"data" + struct.pack("<I", size) + data
    body += (b"\0" * (len(data) % 2) if pad else b"") + after
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def int16_bytes(n: int, *, seed: int = 0) -> bytes:
    """Noise [n] as little-endian 16-bit samples."""
    return np.random.default_rng(seed).integers(-9_000, 9_000, n).astype("<i2").tobytes()


def clip_table(paths: list[Path]) -> pd.DataFrame:
    """The columns of a clip table that the featurizer reads; a clip's name is its file's."""
    return pd.DataFrame({"fname": [path.name for path in paths], "path": [str(path) for path in paths]})
