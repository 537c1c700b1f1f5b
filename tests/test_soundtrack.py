import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from films import write_film
from sounds import Signal, sine

from featurize.audio import QuarantineError, decode
from infer.soundtrack import open_stream, read_recording

RATE_HZ = 48_000


def beep_at(seconds: float, *, total: float = 2.0) -> Signal:
    signal = np.zeros(round(total * RATE_HZ), np.float32)
    beep = sine(RATE_HZ // 2, 1_000, rate_hz=RATE_HZ)
    first = round(seconds * RATE_HZ)
    signal[first : first + len(beep)] = beep
    return signal


def onset_seconds(samples: Signal, rate_hz: int) -> float:
    return float(np.flatnonzero(np.abs(samples) > 0.2)[0] / rate_hz)


@pytest.mark.parametrize("suffix", [".mp4", ".m4a", ".mkv", ".webm"])
def test_the_sound_track_of_a_film_keeps_its_times(tmp_path: Path, suffix: str) -> None:
    path = write_film(tmp_path / f"film{suffix}", beep_at(1.0))
    recording = read_recording(path, max_clip_minutes=1)
    assert recording.sample_rate_hz == RATE_HZ
    assert recording.seconds == pytest.approx(2.0, abs=0.05)
    assert onset_seconds(recording.samples, RATE_HZ) == pytest.approx(1.0, abs=0.005)
    assert np.abs(recording.samples).max() == pytest.approx(0.5, abs=0.1)


def test_a_track_that_begins_later_than_the_picture_keeps_its_times(tmp_path: Path) -> None:
    path = write_film(tmp_path / "late.mkv", beep_at(1.0), first=3 * RATE_HZ)
    recording = read_recording(path, max_clip_minutes=1)
    assert onset_seconds(recording.samples, RATE_HZ) == pytest.approx(4.0, abs=0.005)


@pytest.mark.parametrize("name", ["film.ts", "film.mkv"])
def test_times_count_from_where_the_film_begins(tmp_path: Path, name: str) -> None:
    path = write_film(tmp_path / name, beep_at(1.0), first=RATE_HZ, clock_seconds=600.0)
    recording = read_recording(path, max_clip_minutes=1)
    assert onset_seconds(recording.samples, RATE_HZ) == pytest.approx(2.0, abs=0.06)
    assert recording.seconds == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
def test_a_stream_that_is_cut_short_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    soundfile.write(path, sine(3 * RATE_HZ, 1_000), RATE_HZ)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(QuarantineError) as whole:
        decode(path)
    with pytest.raises(QuarantineError) as in_blocks, open_stream(path) as stream:
        list(stream.blocks)
    assert str(in_blocks.value) == str(whole.value)


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_film_that_is_cut_short_says_so(tmp_path: Path, suffix: str) -> None:
    path = write_film(tmp_path / f"cut{suffix}", beep_at(1.0, total=20.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(QuarantineError, match=r"is cut short: [\d.]+ of 20\.0 seconds are there"):
        read_recording(path, max_clip_minutes=1)


def test_channels_are_averaged(tmp_path: Path) -> None:
    beep = beep_at(0.2)
    path = write_film(tmp_path / "stereo.mkv", np.stack([beep, np.zeros_like(beep)], axis=1), layout="stereo")
    assert np.abs(read_recording(path, max_clip_minutes=1).samples).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_file_streams_to_what_it_decodes_to(tmp_path: Path, channels: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (700_000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", noise, 44_100)
    with open_stream(tmp_path / "a.flac") as stream:
        assert (stream.sample_rate_hz, stream.seconds) == (44_100, pytest.approx(700_000 / 44_100))
        blocks = list(stream.blocks)
    assert len(blocks) > 2
    assert np.array_equal(np.concatenate(blocks), decode(tmp_path / "a.flac").samples)
    assert np.array_equal(read_recording(tmp_path / "a.flac", max_clip_minutes=1).samples, np.concatenate(blocks))


def test_a_film_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "long.m4a", beep_at(0.0, total=10.0))
    with pytest.raises(QuarantineError, match=r"is 0\.2 minutes long, over the 0\.1 of"):
        read_recording(path, max_clip_minutes=0.1)


def test_what_cannot_be_decoded_says_why(tmp_path: Path) -> None:
    for name, content, words in (
        ("text.mp4", b"this is no film", "cannot be decoded"),
        ("text.wav", b"this is no sound", "cannot be decoded"),
        ("empty.webm", b"", "cannot be decoded"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(QuarantineError, match=words), open_stream(tmp_path / name) as stream:
            list(stream.blocks)
    with pytest.raises(QuarantineError, match="cannot be read: No such file"), open_stream(tmp_path / "none.mp4"):
        pass


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    import av
    from films import _add_picture

    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        _add_picture(container, "mpeg4", 1.0)
    with pytest.raises(QuarantineError, match="holds no sound track"), open_stream(tmp_path / "silent.mp4"):
        pass


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused(tmp_path: Path, bad: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.1, bad]), 44_100, subtype="FLOAT")
    with pytest.raises(QuarantineError, match="holds NaN or infinity"), open_stream(tmp_path / "a.wav") as stream:
        list(stream.blocks)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(QuarantineError, match=r"need PyAV; install the extra, pip install 'earmark\[video\]'"):
        read_recording(tmp_path / "a.mp4", max_clip_minutes=1)
