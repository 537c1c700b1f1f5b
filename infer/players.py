"""Sounds for a report's players: embedded where they are small, linked where not.

Conventions
-----------
A link is relative to the report's folder and percent-encoded. What browsers do not play (AIFF, Sun AU, telephone
codecs …) is embedded as FLAC of 16 bits, mono or stereo, at its own rate. Nothing is changed on disk.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from cache.regular import open_regular
from corpus.files import suffix_of

_MIMES = {
    ".wav": "audio/wav",
    ".wave": "audio/wav",
    ".bwf": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
}
_PLAYED_WAV = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"}
_MOST_BYTES = 1_000_000  # of one embedded sound
_MOST_SECONDS = 120  # of one that is encoded anew


@dataclass(frozen=True)
class Sound:
    """What a player plays: bytes of a type, or a link; ``note`` says what is to be known of it, else empty."""

    mime: str
    data: bytes = b""
    link: str = ""
    note: str = ""


class Players:
    """Sounds within a budget of bytes, spent in the order of asking.

    Parameters
    ----------
    folder : Path
        Where the report will stand.
    most_bytes : int
        All embedded sounds hold at most so many.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._left = most_bytes

    def get(self, path: str) -> Sound | None:
        """Return the sound of a file; None where it cannot be read."""
        try:
            playable, n_bytes = _mime_as_is(path), os.stat(path).st_size
            if playable and n_bytes <= min(self._left, _MOST_BYTES):
                with open_regular(path) as file:
                    return self._spend(Sound(playable, file.read()))
            if not playable and (data := _encoded(path)) and len(data) <= self._left:
                return self._spend(Sound("audio/flac", data, note="played as FLAC"))
        except (OSError, soundfile.SoundFileError, ValueError):
            return None
        note = "" if playable else "browsers may not play this format"
        return Sound(playable or "application/octet-stream", link=relative_link(path, self._folder), note=note)

    def _spend(self, sound: Sound) -> Sound:
        self._left -= len(sound.data)
        return sound


def relative_link(path: str, folder: Path) -> str:
    """Return a file's address as seen from a folder: percent-encoded, so that no character of it has a meaning."""
    return quote(os.fsencode(os.path.relpath(path, folder.absolute())), safe="/")


def _mime_as_is(path: str) -> str | None:
    """Return the type of a file that browsers play as it is."""
    mime = _MIMES.get(suffix_of(path))
    if mime == "audio/wav":
        with open_regular(path) as file:  # soundfile takes no name that is not UTF-8
            return mime if soundfile.info(file).subtype in _PLAYED_WAV else None
    return mime


def _encoded(path: str) -> bytes:
    """Return a sound as FLAC; empty where that would be too long."""
    with open_regular(path) as file, soundfile.SoundFile(file) as sound:
        if sound.frames > _MOST_SECONDS * sound.samplerate:
            return b""
        samples, rate_hz = sound.read(dtype="float32", always_2d=True), sound.samplerate
    samples = samples if samples.shape[1] <= 2 else samples.mean(axis=1, keepdims=True)
    data = io.BytesIO()
    soundfile.write(data, np.nan_to_num(samples).clip(-1, 1), rate_hz, format="FLAC", subtype="PCM_16")
    return data.getvalue() if data.tell() <= _MOST_BYTES * 4 else b""
