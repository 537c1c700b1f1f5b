"""Recordings of any length and kind, block by block: sound files, and the sound tracks of films.

Conventions
-----------
Blocks are float32, mono, ``[n]``, full scale at ±1, at the file's own rate; channels are averaged. What libsndfile does
not decode (mp4, mkv, webm, m4a …) goes through PyAV, of the extra ``video``: the first sound track, as it plays. Times
count from where the film begins, as players show them, whatever its clock says there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from cache.regular import open_regular
from corpus.files import suffix_of
from featurize.audio import QuarantineError, Recording, Samples, decode, explain, too_long
from featurize.promise import UNKNOWN_FRAMES, find_shortfall

FILM_SUFFIXES = frozenset(
    {".3gp", ".aac", ".ac3", ".amr", ".ape", ".asf", ".avi", ".flv", ".m2ts", ".m4a", ".m4v", ".mka", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wma", ".wmv", ".wv"}
)
"""Suffixes, in lower case, of what goes through PyAV."""
_BLOCK_SAMPLES = 1 << 18  # of all channels together
_TIMED = ("matroska", "mp4")  # formats whose header tells how long they are; of others it is an estimate
_SLACK_SECONDS, _SLACK_SHARE = 1.0, 0.02  # writers round, and count a last frame's length or not


@dataclass(frozen=True)
class SoundStream:
    """An open recording.

    Attributes
    ----------
    sample_rate_hz : int
    seconds : float
        As its header says; 0 where that is unknown.
    blocks : iterator of ndarray [shape=(n,), float32]
        One after the other; can be gone through once.
    """

    sample_rate_hz: int
    seconds: float
    blocks: Iterator[Samples]


@contextmanager
def open_stream(path: Path | str) -> Iterator[SoundStream]:
    """Open a recording to go through it once, in flat memory.

    Raises
    ------
    QuarantineError
        If it cannot be decoded, holds no sound, or holds NaN or infinity, here or while blocks are read.
    """
    if suffix_of(str(path)) in FILM_SUFFIXES:
        with _open_film(Path(path)) as stream:
            yield stream
        return
    try:
        with (
            open_regular(path) as file,
            soundfile.SoundFile(file.fileno(), closefd=False) as sound,
        ):
            seconds = sound.frames / sound.samplerate if sound.frames < UNKNOWN_FRAMES else 0.0
            yield SoundStream(sound.samplerate, seconds, _sound_blocks(sound, file, Path(path)))
    except soundfile.LibsndfileError as error:
        raise QuarantineError(path, f"cannot be decoded: {explain(error)}") from error
    except OSError as error:
        raise QuarantineError(path, f"cannot be read: {error.strerror or error}") from error


def read_recording(path: Path | str, *, max_clip_minutes: float) -> Recording:
    """Decode a recording whole, as ``featurize.audio.decode``, sound tracks of films too.

    Raises
    ------
    QuarantineError
        As there.
    """
    if suffix_of(str(path)) not in FILM_SUFFIXES:
        return decode(path, max_clip_minutes=max_clip_minutes)
    blocks: list[Samples] = []
    n_samples = 0
    with open_stream(path) as stream:
        for block in stream.blocks:
            blocks.append(block)
            n_samples += len(block)
            if n_samples > max_clip_minutes * 60 * stream.sample_rate_hz:
                seconds = max(stream.seconds, n_samples / stream.sample_rate_hz)
                raise QuarantineError(path, too_long(seconds, max_clip_minutes=max_clip_minutes), seconds=seconds)
    return Recording(np.concatenate(blocks), stream.sample_rate_hz)


def _sound_blocks(sound: soundfile.SoundFile, file: BinaryIO, path: Path) -> Iterator[Samples]:
    n_frames = max(1, _BLOCK_SAMPLES // sound.channels)
    n_read = 0
    while len(block := sound.read(n_frames, dtype="float32", always_2d=True)):
        n_read += len(block)
        yield _checked(block[:, 0] if sound.channels == 1 else block.mean(axis=1), path)
    if reason := find_shortfall(sound, file, n_frames=n_read):
        raise QuarantineError(path, reason)


def _checked(samples: Samples, path: Path) -> Samples:
    if not np.isfinite(samples).all():
        raise QuarantineError(path, "holds NaN or infinity")
    return samples


@contextmanager
def _open_film(path: Path) -> Iterator[SoundStream]:
    try:
        import av
    except ImportError as error:
        reason = f"cannot be decoded: {path.suffix} files need PyAV; install the extra, pip install 'earmark[video]'"
        raise QuarantineError(path, reason) from error
    try:
        open_regular(path).close()  # a pipe would make PyAV wait
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                raise QuarantineError(path, "holds no sound track")
            track = container.streams.audio[0]
            seconds = float(container.duration / av.time_base) if container.duration else 0.0
            yield SoundStream(track.rate, seconds, _film_blocks(container, track, path))
    except av.FFmpegError as error:
        raise QuarantineError(path, f"cannot be decoded: {error.strerror}") from error
    except OSError as error:
        raise QuarantineError(path, f"cannot be read: {error.strerror or error}") from error


def _film_blocks(container: Any, track: Any, path: Path) -> Iterator[Samples]:
    """Give the frames of a track, silence where it has gaps, so that times are those of the film."""
    import av

    resampler = av.AudioResampler(format="fltp", layout=track.layout, rate=track.rate)
    begin = max(container.start_time or 0, 0) / av.time_base  # recorded television begins at any hour
    n_given = 0
    packets = _Packets(container, track)
    for frame in packets.frames():
        start = round((frame.time - begin) * track.rate) if frame.time is not None else n_given
        if start - n_given > track.rate // 50:  # less is the rounding of time stamps
            yield from _silence(start - n_given)
            n_given = start
        for part in resampler.resample(frame):
            samples = part.to_ndarray().mean(axis=0, dtype=np.float32)
            n_given += len(samples)
            yield _checked(samples, path)
    if not n_given:
        raise QuarantineError(path, "holds no samples")
    if reason := packets.find_shortfall():
        raise QuarantineError(path, reason)


class _Packets:
    """What a container holds of all its streams, of which one is decoded."""

    def __init__(self, container: Any, track: Any) -> None:
        self._container, self._track = container, track
        self._reached = 0.0

    def frames(self) -> Iterator[Any]:
        for packet in self._container.demux():
            if packet.pts is not None:
                self._reached = max(self._reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream == self._track:
                yield from packet.decode()

    def find_shortfall(self) -> str:
        """Say so where no stream reaches the length that the header tells; the sound may end before the picture."""
        import av

        timed = any(name in self._container.format.name for name in _TIMED)
        promised = float(self._container.duration / av.time_base) if timed and self._container.duration else 0.0
        if promised - self._reached <= max(_SLACK_SECONDS, _SLACK_SHARE * promised):
            return ""
        return f"is cut short: {self._reached:.1f} of {promised:.1f} seconds are there"


def _silence(n_samples: int) -> Iterator[Samples]:
    for first in range(0, n_samples, _BLOCK_SAMPLES):
        yield np.zeros(min(_BLOCK_SAMPLES, n_samples - first), np.float32)
