"""Decoding and resampling: every kind of file either decodes whole, or is refused with its reason."""

import contextlib
import os
import pickle
import re
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import (
    RATE_HZ,
    chunk,
    int16_bytes,
    noise,
    quantised,
    wav_bytes,
    write_sound,
)

from cache.errors import InputError
from featurize.audio import QuarantineError, Recording, decode, resample
from featurize.sources import look

N = 5_001


def patched(content: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """The content with these bytes so far after a mark."""
    at = content.index(mark) + offset
    return content[:at] + new + content[at + len(new) :]


def encoded(suffix: str, n: int = N, rate_hz: int = RATE_HZ, **options: Any) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        return write_sound(folder / f"whole.{suffix}", noise(n), rate_hz, **options).read_bytes()

    return make


def expected(path: Path) -> npt.NDArray[np.float32]:
    samples = soundfile.read(path, dtype="float32", always_2d=True)[0]
    mono: npt.NDArray[np.float32] = np.mean(samples.T, axis=0)
    return mono


# ------------------------------------------------------------------ files that decode


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        *[("wav", {"subtype": s}) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")],
        *[("wav", {"subtype": s}) for s in ("ALAW", "ULAW", "IMA_ADPCM", "MS_ADPCM")],
        ("wav", {"format": "WAVEX", "subtype": "PCM_24"}),
        ("wav", {"format": "WAV", "endian": "BIG"}),
        ("wav", {"format": "RF64"}),
        ("w64", {"subtype": "PCM_24"}),
        *[("aiff", {"subtype": s}) for s in ("PCM_S8", "PCM_16", "FLOAT", "ULAW", "IMA_ADPCM")],
        *[("au", {"subtype": s}) for s in ("PCM_16", "ULAW", "DOUBLE")],
        *[("caf", {"subtype": s}) for s in ("PCM_24", "ALAC_16", "ALAC_32")],
        *[("flac", {"subtype": s}) for s in ("PCM_16", "PCM_24")],
        ("ogg", {"subtype": "VORBIS"}),
        ("mp3", {}),
        ("voc", {}),
        ("svx", {"format": "SVX"}),
        ("nist", {}),
        ("avr", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value.values()),
)
def test_formats_and_subtypes_decode_as_soundfile_does(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    path = write_sound(tmp_path / f"a.{suffix}", noise(N), **options)
    recording = decode(path)
    assert recording.sample_rate_hz == RATE_HZ
    assert recording.samples.dtype == np.float32
    assert len(recording.samples) >= N
    np.testing.assert_array_equal(recording.samples, expected(path))


def test_opus_decodes(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.opus", noise(N), 48_000, format="OGG", subtype="OPUS")
    np.testing.assert_array_equal(decode(path).samples, expected(path))


@pytest.mark.parametrize("channels", [2, 3, 6, 8, 24])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_channels_are_averaged(tmp_path: Path, channels: int, subtype: str) -> None:
    signal = np.stack([noise(N, seed=seed) for seed in range(channels)], axis=1)
    path = write_sound(tmp_path / "a.wav", signal, format="WAVEX", subtype=subtype)
    np.testing.assert_array_equal(decode(path).samples, expected(path))


def test_blocks_of_a_long_file_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurize.audio._BLOCK_SAMPLES", 1000)
    path = write_sound(tmp_path / "a.wav", np.stack([noise(N), noise(N, seed=1)], axis=1))
    np.testing.assert_array_equal(decode(path).samples, expected(path))
    path = write_sound(tmp_path / "b.flac", noise(N), subtype="PCM_24")
    np.testing.assert_array_equal(decode(path).samples, expected(path))


@pytest.mark.parametrize("rate_hz", [1, 8_000, 11_025, 22_050, 48_000, 96_000, 192_000, 2**31 - 1])
def test_rates_are_kept(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(int16_bytes(500), rate_hz=rate_hz))
    recording = decode(path)
    assert recording.sample_rate_hz == rate_hz
    assert recording.seconds == pytest.approx(500 / rate_hz)


@pytest.mark.parametrize(
    ("content", "n"),
    [
        (wav_bytes(int16_bytes(N), stated=0xFFFFFFFF, riff=0xFFFFFFFF), N),
        (wav_bytes(int16_bytes(N), stated=0x7FFFF000, riff=0x7FFFF024), N),
        (wav_bytes(int16_bytes(N), riff=20), N),
        (wav_bytes(int16_bytes(N), riff=99_999_999), N),
        (wav_bytes(int16_bytes(N), riff=0), N),
        (wav_bytes(int16_bytes(N)[:-1], pad=False), N - 1),
        (wav_bytes(int16_bytes(N)[:-1]), N - 1),
        (wav_bytes(int16_bytes(N)[:-1], bits=8, pad=False), 2 * N - 1),
        (wav_bytes(int16_bytes(N), stated=2 * N + 1), N),
        (wav_bytes(int16_bytes(N), before=chunk(b"LIST", b"INFOISFT\x04\0\0\0abcd")), N),
        (wav_bytes(int16_bytes(N), before=chunk(b"LIST", bytes(64)), after=chunk(b"LIST", bytes(64))), N),
        (wav_bytes(int16_bytes(N), before=chunk(b"junk", b"\1" * 65)), N),
        (wav_bytes(int16_bytes(N), before=b"".join(chunk(b"ab%02d" % i, b"12345678") for i in range(99))), N),
        (wav_bytes(int16_bytes(N)) + b"appended garbage", N),
        (wav_bytes(int16_bytes(1)), 1),
        (wav_bytes(bytes(2 * N)), N),
        (wav_bytes(struct.pack("<h", 1000) * N), N),
        (wav_bytes(struct.pack("<hh", 32767, -32768) * N), 2 * N),
        (wav_bytes(int16_bytes(1024 * 4), channels=1024), 4),
    ],
    ids=[
        "streamed by ffmpeg",
        "streamed by sox",
        "RIFF size too small",
        "RIFF size too large",
        "RIFF size 0",
        "odd data without pad",
        "odd data with pad",
        "8 bit, odd, without pad",
        "size counts the pad",
        "LIST before",
        "LIST of zeros",
        "unknown chunk",
        "many unknown chunks",
        "garbage after",
        "1 sample",
        "digital silence",
        "DC",
        "full scale",
        "1024 channels",
    ],
)
def test_odd_but_whole_files_decode(tmp_path: Path, content: bytes, n: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    samples = decode(path).samples
    assert len(samples) == n
    np.testing.assert_array_equal(samples, expected(path))


def test_streamed_au_and_aiff_decode(tmp_path: Path) -> None:
    for suffix, mark, offset in (("au", b".snd", 8), ("aiff", b"SSND", 4)):
        path = write_sound(tmp_path / f"a.{suffix}", quantised(noise(N)))
        path.write_bytes(patched(path.read_bytes(), mark, offset, b"\xff" * 4))
        np.testing.assert_array_equal(decode(path).samples, quantised(noise(N)))


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_stated_length_is_not_taken_for_a_short_one(tmp_path: Path, mode: str) -> None:
    """libsndfile guesses its length, and is often a frame too high."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(6 * RATE_HZ), RATE_HZ, bitrate_mode=mode, compression_level=0.5)
    content = path.read_bytes()
    # MPEG-1 layer III: 144 * bit rate / sample rate bytes a frame; the first holds the tag and no sound.
    kilobits = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320][content[2] >> 4]
    frame_bytes = 144_000 * kilobits // RATE_HZ + (content[2] >> 1 & 1)
    assert content[frame_bytes] == 0xFF
    path.write_bytes(content[frame_bytes:])
    assert len(decode(path).samples) > RATE_HZ
    path.write_bytes(b"ID3\4\0\0" + bytes([0, 0, 8, 0]) + bytes(1024) + content[frame_bytes:])
    assert len(decode(path).samples) > RATE_HZ


def test_a_link_and_an_odd_name_decode(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(N))
    (tmp_path / "link.wav").symlink_to(path)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \n\t'\".wav"))
    odd.write_bytes(path.read_bytes())
    for other in (tmp_path / "link.wav", odd):
        np.testing.assert_array_equal(decode(other).samples, decode(path).samples)


# ------------------------------------------------------------------ files that are refused

FLOAT_NAN = np.array([0.1, np.nan, 0.2, np.inf], np.float32)
CUT = "is cut short: holds [0-9]+ of the [0-9]+ bytes that its header promises"
COUNT = "holds [0-9]+ of the [0-9]+ frames that its header promises"
UNKNOWN = "cannot be decoded: Format not recognised"


def cut(suffix: str, keep: float = 0.7, **options: Any) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        whole = encoded(suffix, 20_001, **options)(folder)
        return whole[: int(len(whole) * keep)]

    return make


def changed(suffix: str, mark: bytes, offset: int, new: bytes) -> Callable[[Path], bytes]:
    return lambda folder: patched(encoded(suffix)(folder), mark, offset, new)


BROKEN: dict[str, tuple[str, bytes | Callable[[Path], bytes], str]] = {
    "empty": ("wav", b"", r"the file is empty \(0 bytes\)"),
    "header only": ("wav", wav_bytes(b""), "holds no samples"),
    "aiff header only": ("aiff", encoded("aiff", 0), "holds no samples"),
    "header cut": ("wav", wav_bytes(int16_bytes(N))[:30], "cannot be decoded: Error in WAV file"),
    "only RIFF": ("wav", b"RIFF", UNKNOWN),
    "no data chunk": ("wav", b"RIFF\x1c\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8, 16, 2, 16), "No 'data'"),
    "data size 0": ("wav", wav_bytes(int16_bytes(N), stated=0), "no samples: its header says 0 bytes, though 10002"),
    "wav cut": ("wav", cut("wav"), CUT),
    "wav cut by one sample": ("wav", wav_bytes(int16_bytes(N), stated=2 * N + 2), "holds 10002 of the 10004 bytes"),
    "wav cut after many chunks": (
        "wav",
        wav_bytes(int16_bytes(N), before=b"".join(chunk(b"ab%02d" % i, b"12345678") for i in range(99)))[:-999],
        CUT,
    ),
    "wav cut after an odd chunk": ("wav", wav_bytes(int16_bytes(N), before=chunk(b"junk", b"\1" * 65))[:-999], CUT),
    "24 bit cut": ("wav", cut("wav", subtype="PCM_24"), CUT),
    "ADPCM cut": ("wav", cut("wav", subtype="IMA_ADPCM"), CUT),
    "MS ADPCM cut": ("wav", cut("wav", subtype="MS_ADPCM"), CUT),
    "GSM cut": ("wav", cut("wav", subtype="GSM610"), CUT),
    "GSM cut by a byte": ("wav", lambda folder: encoded("wav", 640, subtype="GSM610")(folder)[:-1], "is cut short"),
    "RIFX cut": ("wav", cut("wav", format="WAV", endian="BIG"), CUT),
    "WAVEX cut": ("wav", cut("wav", format="WAVEX"), CUT),
    "RF64 cut": ("wav", cut("wav", format="RF64"), CUT),
    "W64 cut": ("w64", cut("w64"), CUT),
    "aiff cut": ("aiff", cut("aiff"), COUNT),
    "aiff cut by a byte of sound": ("aiff", cut("aiff", 0.99999), COUNT),
    "au cut": ("au", cut("au"), CUT),
    "caf cut": ("caf", cut("caf", 0.98), CUT),
    "caf cut in half": ("caf", cut("caf", 0.5), "cannot be decoded: .*malformed"),
    "flac cut": ("flac", cut("flac"), "cannot be decoded: .*lost sync"),
    "mp3 cut": ("mp3", cut("mp3"), COUNT),
    "ogg cut": ("ogg", cut("ogg", 0.5), "holds no samples"),
    "voc cut": ("voc", cut("voc"), "is cut short"),
    "svx cut": ("svx", cut("svx", format="SVX"), CUT),
    "nist cut": ("nist", cut("nist"), COUNT),
    "avr cut": ("avr", cut("avr"), COUNT),
    "flipped byte in a flac": ("flac", changed("flac", b"fLaC", 4_000, b"\0\0\0\0"), "cannot be decoded"),
    "sample rate 0": ("wav", wav_bytes(int16_bytes(N), rate_hz=0), "cannot be decoded: .*SF_INFO struct incomplete"),
    "no channels": ("wav", wav_bytes(int16_bytes(N), channels=0), "cannot be decoded: Channel count is zero"),
    "text": ("wav", b"fname,label\na.wav,Bark\n" * 50, UNKNOWN),
    "web page": ("wav", b"<!DOCTYPE html><html><body>Not found</body></html>", UNKNOWN),
    "random bytes": ("wav", np.random.default_rng(1).bytes(5_000), UNKNOWN),
    "zeros": ("wav", bytes(5_000), UNKNOWN),
    "NaN and infinity": (
        "wav",
        lambda folder: write_sound(folder / "w.wav", FLOAT_NAN, subtype="FLOAT").read_bytes(),
        r"holds NaN or infinity \(2 of 4 samples\)",
    ),
    "too large for a float": (
        "wav",
        lambda folder: write_sound(folder / "w.wav", [1e300, 0], subtype="DOUBLE").read_bytes(),
        r"holds NaN or infinity \(1 of 2 samples\)",
    ),
}


@pytest.mark.parametrize(("suffix", "content", "reason"), BROKEN.values(), ids=BROKEN)
def test_broken_files_are_refused(
    tmp_path: Path, suffix: str, content: bytes | Callable[[Path], bytes], reason: str
) -> None:
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content(tmp_path))
    with pytest.raises(QuarantineError, match=f"^{re.escape(str(path))}: .*({reason})") as caught:
        decode(path)
    assert re.search(reason, caught.value.reason)
    assert str(path) not in caught.value.reason


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 31])
@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM"])
def test_any_number_of_blocks_is_whole(tmp_path: Path, subtype: str, n_blocks: int) -> None:
    n = n_blocks * {"GSM610": 320, "IMA_ADPCM": 505, "MS_ADPCM": 500}[subtype]
    path = write_sound(tmp_path / "a.wav", noise(n), 8_000, subtype=subtype)
    assert len(decode(path).samples) >= n


def refused(path: Path) -> str:
    """The reason, which both looking and decoding must give without waiting for anything."""
    with pytest.raises(QuarantineError) as caught:
        decode(path)
    assert look(path.name, str(path)).problem == caught.value.reason
    return caught.value.reason


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "pipe.wav")
    reasons: list[str] = []
    paths = [tmp_path / "pipe.wav", tmp_path / "link.wav"]
    thread = threading.Thread(target=lambda: reasons.extend(map(refused, paths)), daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert reasons == ["cannot be read: not a regular file"] * 2


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.wav")
        assert "cannot be read" in refused(tmp_path / "socket.wav")
    assert refused(tmp_path / "folder.wav") == "cannot be read: Is a directory"
    assert refused(tmp_path / "missing.wav") == "cannot be read: No such file or directory"
    assert "symbolic links" in refused(tmp_path / "loop.wav")
    assert refused(Path(os.devnull)) == "cannot be read: not a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(N))
    path.chmod(0)
    assert refused(path) == "cannot be read: Permission denied"


def test_a_long_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour at 8 kHz, whose sound is a hole in the file."""
    path = tmp_path / "long.wav"
    header = wav_bytes(b"", stated=2 * 3600 * 8000, riff=2 * 3600 * 8000 + 36, rate_hz=8000)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 2 * 3600 * 8000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(QuarantineError, match=r"is 60.0 minutes long, over the 10 of --max-clip-minutes") as caught:
        decode(path)
    assert caught.value.seconds == 3600


def test_a_streamed_long_file_is_read_no_further_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sound(tmp_path / "a.wav", noise(3 * 8000), 8000)
    assert decode(path, max_clip_minutes=3 / 60).seconds == 3
    monkeypatch.setattr("featurize.audio.UNKNOWN_FRAMES", 1)  # as if its length were unknown
    monkeypatch.setattr("featurize.audio._BLOCK_SAMPLES", 500)
    with pytest.raises(QuarantineError, match="minutes long") as caught:
        decode(path, max_clip_minutes=1 / 60)
    assert 1 < caught.value.seconds < 1.1


def test_the_reason_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(QuarantineError("a.wav", "is odd", seconds=2.5)))
    assert (str(error), error.path, error.reason, error.seconds) == ("a.wav: is odd", Path("a.wav"), "is odd", 2.5)


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from(["wav", "aiff", "au", "w64", "caf", "voc", "nist"]),
    places=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_headers_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, places: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    content = bytearray(encoded(suffix, 200)(folder))
    for place, value in places:
        content[place % len(content)] = value
    path = folder / f"damaged.{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(QuarantineError):
        samples = decode(path).samples
        assert len(samples) > 0
        assert np.isfinite(samples).all()


# ------------------------------------------------------------------ resampling


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("n", [1, 2, 3, 1_000, 50_001])
@pytest.mark.parametrize("target_hz", [44_100, 26_000])
def test_resampling_is_librosas(rate_hz: int, n: int, target_hz: int) -> None:
    signal = noise(n)
    ours = resample(Recording(signal, rate_hz), sample_rate_hz=target_hz)
    reference = librosa.resample(signal, orig_sr=rate_hz, target_sr=target_hz, res_type="soxr_hq")
    np.testing.assert_array_equal(ours, reference)


def test_samples_too_large_to_resample_are_named() -> None:
    recording = Recording(np.array([3.4e38, -3.4e38] * 1000, np.float32), 48_000)
    with pytest.raises(InputError, match=r"overflows when resampled to 44100 Hz: its samples reach 3.4e"):
        resample(recording, sample_rate_hz=44_100)
