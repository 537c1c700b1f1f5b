import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import noise

from cache.errors import InputError
from featurize.audio import Recording, resample
from featurize.logmel import mel_power
from featurize.modes import MODES
from featurize.stream import FrameStream

N = 60_000


def streamed(samples: np.ndarray, mode_name: str, cuts: list[int], rate_hz: int = 44_100) -> np.ndarray:
    stream = FrameStream(MODES[mode_name], rate_hz)
    parts = [stream.push(part) for part in np.split(samples, sorted(cuts))]
    return np.concatenate([*parts, stream.finish()])


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, N), max_size=6))
def test_frames_are_those_of_the_whole_recording_however_it_is_cut(cuts: list[int]) -> None:
    samples = noise(N, seed=1)
    assert streamed(samples, "lh", cuts) == pytest.approx(mel_power(samples, MODES["lh"]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_a_recording_at_another_rate_is_resampled_on_the_way(rate_hz: int) -> None:
    samples = noise(N, seed=2)
    whole = resample(Recording(samples, rate_hz), sample_rate_hz=26_000)
    expected = mel_power(whole, MODES["x"])
    found = streamed(samples, "x", [100, 20_000, 45_678], rate_hz)
    assert abs(len(found) - len(expected)) <= 1
    n = min(len(found), len(expected)) - 1
    decibels = 10 * np.log10((found[:n] + 1e-12) / (expected[:n] + 1e-12))
    assert np.abs(decibels).max() < 0.01


def test_a_few_samples_have_a_frame() -> None:
    samples = noise(100)
    assert streamed(samples, "lh", [1, 50]) == pytest.approx(mel_power(samples, MODES["lh"]))


def test_what_is_kept_does_not_grow() -> None:
    stream = FrameStream(MODES["lh"], 44_100)
    for _ in range(50):
        stream.push(noise(10_000))
    assert len(stream._samples) < 10_000


def test_samples_that_overflow_are_refused() -> None:
    with pytest.raises(InputError, match="overflows when resampled to 26000 Hz: its samples are too large"):
        FrameStream(MODES["x"], 44_100).push(np.full(44_100, 3.4e38, np.float32))
