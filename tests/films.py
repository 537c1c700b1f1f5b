"""Small films for the tests: a grey picture and a sound track."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from sounds import Signal

_CODECS = {
    ".mp4": ("aac", "mpeg4"),
    ".m4a": ("aac", None),
    ".mkv": ("flac", "mpeg4"),
    ".webm": ("libopus", "libvpx"),
    ".ts": ("mp2", "mpeg2video"),
}
FPS = 25  # the least that MPEG-2 has is 23.976


def write_film(
    path: Path,
    samples: Signal,
    *,
    rate_hz: int = 48_000,
    layout: str = "mono",
    first: int = 0,
    clock_seconds: float = 0.0,
) -> Path:
    """Write samples [n] or [n, channels] as a film; the sound begins ``first`` samples after the picture.

    ``clock_seconds`` is what the film's clock says at its begin.
    """
    sound_codec, picture_codec = _CODECS[path.suffix]
    channels = np.ascontiguousarray(np.atleast_2d(samples.T), np.float32)
    with av.open(str(path), "w") as container:
        track = container.add_stream(sound_codec, rate=rate_hz, layout=layout)
        if picture_codec:
            _add_picture(container, picture_codec, (first + channels.shape[1]) / rate_hz, clock_seconds)
        resampler = av.AudioResampler(format=track.format.name, layout=layout, rate=rate_hz)
        frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=layout)
        frame.rate, frame.pts, frame.time_base = rate_hz, first + round(clock_seconds * rate_hz), Fraction(1, rate_hz)
        for part in [*resampler.resample(frame), None]:
            for packet in track.encode(part):
                container.mux(packet)
    return path


def _add_picture(container: Any, codec: str, seconds: float, clock_seconds: float = 0.0) -> None:
    stream = container.add_stream(codec, rate=FPS)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    picture = np.full((48, 64, 3), 90, np.uint8)
    begin = round(clock_seconds * FPS)
    for number in range(begin, begin + max(1, round(seconds * FPS))):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode():
        container.mux(packet)
