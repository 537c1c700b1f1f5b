"""Power spectra: analytic truths, and equality with numpy's FFT."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from librosa import util
from scipy.signal import get_window
from sounds import noise

from featurize.spectrum import LANES, FramePower, hann

# 2 n for the n that the radices 4, 5, 3 and 2 divide, alone and together; and lengths that go through numpy.
LENGTHS = [2, 4, 6, 8, 10, 12, 16, 18, 24, 30, 50, 60, 90, 128, 250, 400, 480, 960, 1024, 1800, 2048, 2560]
OTHER_LENGTHS = [14, 22, 26, 98, 1022, 1922]


def by_numpy(
    samples: npt.NDArray[np.float32], start: int, hop: int, n_fft: int, win: int | None = None
) -> npt.NDArray[np.float64]:
    win = win or n_fft
    window = np.zeros(n_fft)
    window[(n_fft - win) // 2 :][:win] = get_window("hann", win)
    frames = np.zeros((LANES, n_fft))
    for lane, frame in enumerate(frames):
        for n in range(n_fft):
            at = start + lane * hop + n
            if 0 <= at < len(samples):
                frame[n] = samples[at]
    return np.abs(np.fft.rfft(frames * window)).T ** 2


def assert_equal(samples: npt.NDArray[np.float32], start: int, hop: int, n_fft: int, win: int | None = None) -> None:
    expected = by_numpy(samples, start, hop, n_fft, win)
    found = FramePower(n_fft, win)(samples, start, hop)
    assert found.shape == (n_fft // 2 + 1, LANES)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * max(expected.max(), 1e-30))


@pytest.mark.parametrize("n_fft", LENGTHS + OTHER_LENGTHS)
def test_equality_with_numpy(n_fft: int) -> None:
    assert_equal(noise(LANES * 100 + n_fft), 7, 93, n_fft)


@pytest.mark.parametrize(("n_fft", "win"), [(2048, 1102), (2048, 1103), (480, 2), (480, 479), (480, 480), (98, 60)])
def test_a_shorter_window_stands_in_the_middle(n_fft: int, win: int) -> None:
    assert_equal(noise(LANES * 100 + n_fft), -7, 93, n_fft, win)
    expected = util.pad_center(get_window("hann", win), size=n_fft)
    np.testing.assert_allclose(FramePower(n_fft, win).window, expected, atol=1e-14)


@pytest.mark.parametrize("start", [-10_000, -61, -60, -59, -1, 0, 1, 339, 340, 341, 10_000])
def test_outside_the_signal_there_is_silence(start: int) -> None:
    assert_equal(noise(400), start, 10, 60)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(LENGTHS), st.integers(1, 5_000), st.integers(-500, 5_500), st.integers(1, 300), st.integers(0, 99)
)
def test_equality_with_numpy_of_whatever_can_be_thought_of(n_fft: int, n: int, start: int, hop: int, seed: int) -> None:
    assert_equal(noise(n, seed=seed), start, hop, n_fft)


@pytest.mark.parametrize("n_fft", [960, 2560])
def test_a_cosine_lights_its_bin_and_its_neighbours(n_fft: int) -> None:
    k = 37
    samples = np.cos(2 * np.pi * k * np.arange(4 * n_fft) / n_fft).astype(np.float32)
    power = FramePower(n_fft)(samples, 0, n_fft // 10)
    # The Hann window's transform is n/2 at its bin, and -n/4 beside it; a cosine has half of it.
    np.testing.assert_allclose(
        power[[k - 1, k, k + 1]].T, LANES * [[n_fft**2 / 64, n_fft**2 / 16, n_fft**2 / 64]], rtol=1e-5
    )
    power[k - 1 : k + 2] = 0
    assert power.max() < 1e-8 * n_fft**2


def test_energy_is_kept() -> None:
    samples = noise(100 + 500 * LANES + 2560)
    power = FramePower(2560)(samples, 100, 500)
    for lane in range(LANES):
        frame = samples[100 + lane * 500 :][:2560] * hann(2560)
        both_sides = 2 * power[:, lane].sum() - power[0, lane] - power[-1, lane]
        np.testing.assert_allclose(both_sides / 2560, (frame**2).sum(), rtol=1e-12)


def test_two_can_be_used_side_by_side() -> None:
    one, two = FramePower(480), FramePower(480)
    first, second = noise(9000), noise(9000, seed=1)
    expected = one(first, 0, 100).copy()
    held = one(first, 0, 100)
    two(second, 0, 100)
    np.testing.assert_array_equal(held, expected)


def test_the_largest_samples_have_finite_power() -> None:
    assert np.isfinite(FramePower(960)(3.4e38 * np.sign(noise(9000)), 0, 100)).all()
