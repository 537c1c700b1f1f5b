"""Sound files → mono samples: decoding, resampling, trimming.

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
from featurize.compiling import compiled
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
        raise QuarantineError(path, f"cannot be decoded: {_explain(error)}") from error
    except OSError as error:
        raise QuarantineError(path, f"cannot be read: {error.strerror or error}") from error


def _explain(error: soundfile.LibsndfileError) -> str:
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


_TRIM_FRAME = 2048  # librosa.effects.trim's defaults, in samples
_TRIM_HOP = 512
_AMIN = 1e-10  # librosa's floor of a power
# librosa sums squares in float32, which moves a level by less than this: nearer to the threshold, only sums taken as it
# takes them can say.
_DOUBT_DB = 1e-3
_TRIM_BLOCK = 1024  # frames whose squares are held at once: 8 MB


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
    return samples[surely[0] * _TRIM_HOP : min(len(samples), (surely[-1] + 1) * _TRIM_HOP)]


def _frame_levels_db(samples: Samples) -> NDArray[np.float64]:
    """Level of each centred frame relative to the loudest, in dB; ``1 + n // 512`` frames."""
    shared = _TRIM_FRAME // _TRIM_HOP
    # Half a frame of silence, which librosa's centring puts before and after the signal, is whole blocks.
    energy = np.zeros(len(samples) // _TRIM_HOP + shared, np.float64)
    _sum_squares(samples, energy[shared // 2 :])
    power = np.lib.stride_tricks.sliding_window_view(energy, shared).sum(axis=1) / _TRIM_FRAME
    level = 10 * np.log10(np.maximum(power, _AMIN))
    return np.asarray(level - level.max())


def _rounded_levels_db(samples: Samples) -> NDArray[np.float32]:
    """The same levels, operation by operation as librosa takes them in float32; importing it would take 1.4 s."""
    half = _TRIM_FRAME // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, half), _TRIM_FRAME)[::_TRIM_HOP]
    blocks = range(0, len(frames), _TRIM_BLOCK)
    power = np.concatenate([np.square(frames[first : first + _TRIM_BLOCK]).mean(axis=1) for first in blocks])
    magnitude = np.sqrt(power)
    level = 10.0 * np.log10(np.maximum(_AMIN, np.square(magnitude)))
    level -= 10.0 * np.log10(np.maximum(_AMIN, magnitude.max() ** 2))
    return np.asarray(level)


@compiled
def _sum_squares(samples, energy):  # type: ignore[no-untyped-def] # numba infers the types
    """Sum the squares of each block of ``_TRIM_HOP`` samples; the last block may be shorter."""
    for block in range(-(-len(samples) // _TRIM_HOP)):
        part = samples[block * _TRIM_HOP : (block + 1) * _TRIM_HOP]  # a slice: its indices need no checks
        total = 0.0
        for n in range(len(part)):
            sample = np.float64(part[n])
            total += sample * sample
        energy[block] = total
