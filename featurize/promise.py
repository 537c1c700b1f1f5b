"""What the header of a sound file promises, where libsndfile mends a shorter file without a word.

Conventions
-----------
A promise is a count of bytes or frames that the file itself states. Writers that do not know the length beforehand
state 0, -1 or the largest number; that promises nothing. libsndfile tells what it mended in its log only, of which
soundfile hands out the first 2 kB: the chunks of a WAV file, where anything can stand before the sound, are walked
here instead.
"""

import os
import re
import struct
from typing import BinaryIO

import soundfile

_UNKNOWN_BYTES = 0x7FFF0000  # streamed files state at least this many: ffmpeg 0xFFFFFFFF, sox 0x7FFFF000
UNKNOWN_FRAMES = 1 << 62
"""What libsndfile gives as the length of a file of unknown length, at least."""
# "SSND : 40010 (should be 19983)": the first number is the header's, the second what the file holds.
_MENDED_BYTES = re.compile(r"^\s*(?:data|SSND|BODY|Data Size|Data length)[ :]*(\d+) \(?should be (\d+)", re.MULTILINE)
_MENDED_FILE = re.compile(r"^\s*(?:Riff size|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)  # RF64, W64
_STATED_FRAMES = re.compile(r"^  Frames\s*:\s*(\d+)$|'COMM' chunk \((\d+)\)", re.MULTILINE)  # AVR, AIFF
_SPHERE_FRAMES = re.compile(rb"sample_count -i (\d+)")


def find_shortfall(file: soundfile.SoundFile, stream: BinaryIO, *, n_frames: int) -> str:
    """Say in what a decoded file falls short of its header; empty where it does not.

    Parameters
    ----------
    file : SoundFile
        The open file.
    stream : binary file
        The same file's bytes, seekable; its position is moved.
    n_frames : int >= 0
        Frames that were decoded.
    """
    promised = promised_frames(file, stream)
    if n_frames < promised:
        return f"holds {n_frames} of the {promised} frames that its header promises"
    in_chunks = file.format in ("WAV", "WAVEX")
    stated, held = _data_bytes(stream) if in_chunks else _logged_bytes(file)
    if n_frames == 0:
        # A recorder that was switched off before it could fill in the length leaves 0.
        unclosed = stated == 0 and held > 0
        return f"holds no samples: its header says 0 bytes, though {held} follow" if unclosed else "holds no samples"
    # One byte is the pad of an odd chunk, which many writers forget.
    if held + 1 < stated < _UNKNOWN_BYTES:
        return f"is cut short: holds {held} of the {stated} bytes that its header promises"
    # libsndfile calls whole WAV files with an odd number of GSM 6.10 blocks truncated: the chunks know better.
    is_whole = in_chunks and not held < stated < _UNKNOWN_BYTES
    if "truncated" in file.extra_info and not is_whole:
        return "is cut short: holds fewer frames than its header promises"
    return ""


def promised_frames(file: soundfile.SoundFile, stream: BinaryIO) -> int:
    """Return the number of frames that the header states; 0 where it states none.

    Parameters
    ----------
    file, stream
        As for :func:`find_shortfall`.
    """
    if file.frames >= UNKNOWN_FRAMES or (file.format == "MP3" and not _has_mp3_count(stream)):
        return 0
    stated = 0
    if file.format in ("AVR", "AIFF") and (match := _STATED_FRAMES.search(file.extra_info)):
        stated = int(match[1] or match[2])
    if file.format == "NIST":
        stream.seek(0)
        count = _SPHERE_FRAMES.search(stream.read(1024))
        stated = int(count[1]) if count else 0
    return max(int(file.frames), stated if stated < _UNKNOWN_BYTES else 0)


def _has_mp3_count(stream: BinaryIO) -> bool:
    """Tell whether an MP3 file begins with a frame that states the length; without one, libsndfile guesses it."""
    stream.seek(0)
    tag = stream.read(10)
    skip = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        skip = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    stream.seek(skip)
    head = stream.read(512)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _data_bytes(stream: BinaryIO) -> tuple[int, int]:
    """Walk the chunks of a WAV file: the bytes that its data chunk states, and those that there are."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    header = ">4sI" if stream.read(4) == b"RIFX" else "<4sI"
    position = 12
    while position + 8 <= end:
        stream.seek(position)
        name, stated = struct.unpack(header, stream.read(8))
        position += 8
        if name == b"data":
            return stated, end - position
        position += stated + stated % 2
    return 0, 0


def _logged_bytes(file: soundfile.SoundFile) -> tuple[int, int]:
    """Look up in libsndfile's log how many bytes were stated and are held; 0 and 0 where it mended nothing."""
    pattern = _MENDED_FILE if file.format in ("RF64", "W64") else _MENDED_BYTES
    worst = max(pattern.finditer(file.extra_info), key=lambda match: int(match[1]) - int(match[2]), default=None)
    return (int(worst[1]), int(worst[2])) if worst else (0, 0)
