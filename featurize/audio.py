"""Sound files → mono samples: decoding and resampling.

Conventions
-----------
Samples are float32, mono, ``[n]``, full scale at ±1. Channels are averaged, as librosa does. What cannot be decoded
whole raises ``QuarantineError`` with a reason; nothing is replaced or made up.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from cache.errors import InputError
from cache.regular import open_regular
from featurize.promise import UNKNOWN_FRAMES, find_shortfall

MAX_CLIP_MINUTES = 10.0
LIMIT_OPTION = "--max-clip-minutes"
"""Stands in the reason of every clip that another limit may let in."""
_BLOCK_SAMPLES = 1 << 20  # of all channels together: bounds the memory of many-channel files
_BLOCK_INT16 = 1 << 17
_INT16_SCALE = np.float32(1 / 32768)

Samples = NDArray[np.float32]


class QuarantineError(InputError):
    """A recording that must not be featurized; ``reason`` says why, without the file's name.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it.
    seconds : float
        Its length as far as known, else 0.
    """

    def __init__(self, path: Path | str, reason: str, *, seconds: float = 0.0) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason
        self.seconds = seconds

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (str(self.path), self.reason, self.seconds))


def _rebuild(path: str, reason: str, seconds: float) -> QuarantineError:
    return QuarantineError(path, reason, seconds=seconds)


@dataclass(frozen=True)
class Recording:
    """A decoded file: ``samples`` [n], float32, mono, and their rate in Hz."""

    samples: Samples
    sample_rate_hz: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


def decode(path: Path | str, *, max_clip_minutes: float = MAX_CLIP_MINUTES) -> Recording:
    """Decode a sound file once, whole, to mono.

    Parameters
    ----------
    path : Path
        Anything that libsndfile decodes: any rate, channel count and subtype.
    max_clip_minutes : float > 0
        A file that says it is longer is refused unread.

    Raises
    ------
    QuarantineError
        If it cannot be decoded, holds no samples, fewer frames than its header promises, NaN or infinity, or is too
        long.
    """
    try:
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size == 0:
                raise QuarantineError(path, "the file is empty (0 bytes)")
            with soundfile.SoundFile(stream.fileno(), closefd=False) as file:
                return Recording(_read(file, stream, Path(path), max_clip_minutes), file.samplerate)
    except soundfile.LibsndfileError as error:
        raise QuarantineError(path, f"cannot be decoded: {explain(error)}") from error
    except OSError as error:
        raise QuarantineError(path, f"cannot be read: {error.strerror or error}") from error


def explain(error: soundfile.LibsndfileError) -> str:
    """Say why libsndfile cannot decode a file."""
    text = error.error_string.strip().rstrip(".")
    # What libmpg123 cannot make sense of, libsndfile calls a pipe.
    return "Format not recognised" if "regular file" in text else text or "damaged or cut short"


def _read(file: soundfile.SoundFile, stream: BinaryIO, path: Path, max_clip_minutes: float) -> Samples:
    limit = int(max_clip_minutes * 60 * file.samplerate)
    if limit < file.frames < UNKNOWN_FRAMES:
        raise _too_long(path, file.frames / file.samplerate, max_clip_minutes)
    plain = _is_plain_int16(file)
    samples = _read_int16(file) if plain else _read_blocks(file, limit + 1)
    if len(samples) > limit:
        raise _too_long(path, len(samples) / file.samplerate, max_clip_minutes)
    if reason := find_shortfall(file, stream, n_frames=len(samples)):
        raise QuarantineError(path, reason)
    if not (plain or np.isfinite(samples).all()):
        bad = int(len(samples) - np.isfinite(samples).sum())
        raise QuarantineError(path, f"holds NaN or infinity ({bad} of {len(samples)} samples)")
    return samples


def too_long(seconds: float, *, max_clip_minutes: float) -> str:
    """Say that a recording of this length is over the limit."""
    return f"is {seconds / 60:.1f} minutes long, over the {max_clip_minutes:g} of {LIMIT_OPTION}: use cli caption"


def _too_long(path: Path, seconds: float, max_clip_minutes: float) -> QuarantineError:
    return QuarantineError(path, too_long(seconds, max_clip_minutes=max_clip_minutes), seconds=seconds)


def _is_plain_int16(file: soundfile.SoundFile) -> bool:
    return bool(file.subtype == "PCM_16" and file.channels == 1 and file.frames < UNKNOWN_FRAMES)


def _read_int16(file: soundfile.SoundFile) -> Samples:
    # Equals the float32 decode bit for bit (a power of two), at a third of its time: block by block, which stay in a
    # core's own cache.
    samples = np.empty(file.frames, np.float32)
    block = np.empty(min(_BLOCK_INT16, len(samples)), np.int16)
    n = 0
    while n < len(samples) and (n_read := file.buffer_read_into(block[: len(samples) - n].data, "int16")):
        np.multiply(block[:n_read], _INT16_SCALE, out=samples[n : n + n_read])
        n += n_read
    return samples[:n]


def _read_blocks(file: soundfile.SoundFile, limit_frames: int) -> Samples:
    block_frames = max(1, _BLOCK_SAMPLES // file.channels)
    blocks: list[Samples] = []
    n_frames = 0
    while n_frames < limit_frames:
        block = file.read(block_frames, dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block[:, 0] if file.channels == 1 else block.mean(axis=1))
        n_frames += len(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def resample(recording: Recording, *, sample_rate_hz: int) -> Samples:
    """Resample as ``librosa.load`` does: soxr at high quality, to exactly ``ceil(n * ratio)`` samples.

    Returns
    -------
    ndarray [shape=(ceil(n * sample_rate_hz / recording.sample_rate_hz),), float32]

    Raises
    ------
    InputError
        If the samples are so large that the resampler overflows.
    """
    samples = recording.samples
    if recording.sample_rate_hz == sample_rate_hz:
        return samples
    n_out = math.ceil(len(samples) * (float(sample_rate_hz) / recording.sample_rate_hz))
    resampled: Samples = soxr.resample(samples, recording.sample_rate_hz, sample_rate_hz, quality="soxr_hq")
    if not np.isfinite(resampled).all():
        message = f"overflows when resampled to {sample_rate_hz} Hz: its samples reach {np.abs(samples).max():.3g}"
        raise InputError(message)
    if len(resampled) >= n_out:
        return resampled[:n_out]
    return np.pad(resampled, (0, n_out - len(resampled)))
