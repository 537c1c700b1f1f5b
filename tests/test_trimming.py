"""Trimming equals librosa's, sample for sample, also where rounding decides."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE_HZ, Signal, chirp, clicks, noise, padded, pluck, sine

import featurize.trimming
from featurize.trimming import trim


def both_trims(signal: Signal, trim_db: float = 60) -> tuple[Signal, Signal]:
    return trim(signal, trim_db=trim_db), librosa.effects.trim(signal, top_db=trim_db)[0]


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 1023, 1024, 2047, 2048, 2049, 13_230, 100_000])
@pytest.mark.parametrize("before", [0, 1, 511, 512, 2048, 30_000])
def test_trimming_is_librosas(n: int, before: int) -> None:
    for signal in (noise(n, seed=n), sine(n, 440), pluck(n, decay_samples=700), clicks(n), np.zeros(n, np.float32)):
        for after in (0, 1, 700, 9_999):
            ours, reference = both_trims(padded(signal, before, after))
            np.testing.assert_array_equal(ours, reference)


def test_without_a_threshold_nothing_is_cut() -> None:
    signal = padded(noise(RATE_HZ), 20_000, 20_000)
    assert trim(signal, trim_db=None) is signal


@pytest.mark.parametrize("trim_db", [1e-8, 1e-4, 0.5, 20, 60, 99.9999, 120])
def test_other_thresholds_are_librosas(trim_db: float) -> None:
    for signal in (
        noise(20_000),
        chirp(20_000),
        pluck(60_000),
        1e-4 * noise(9_000),
        padded(noise(5_000), 4_000, 4_000),
    ):
        ours, reference = both_trims(signal.astype(np.float32), trim_db)
        np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_frames_on_the_threshold_are_rounded_as_librosas(power: int) -> None:
    """Steps of exactly 60 dB, and that moved by rounding errors of single precision."""
    loud = np.full(8_192, 0.5, np.float32)
    for last_bits in range(-40, 40):
        quiet = np.float32(0.5e-3) + np.float32(2.0**-34 * 10**power * last_bits)
        signal = np.concatenate([np.full(8_192, quiet, np.float32), loud, np.full(8_192, quiet, np.float32)])
        ours, reference = both_trims(signal)
        np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize("n", [1, 512, 9_999, 700_000])
def test_levels_are_rounded_as_librosas(n: int) -> None:
    for signal in (noise(n, seed=n), pluck(n, decay_samples=700), 1e-5 * noise(n, seed=n), np.zeros(n, np.float32)):
        reference = librosa.amplitude_to_db(librosa.feature.rms(y=signal)[0], ref=np.max, top_db=None)
        found = featurize.trimming._rounded_levels_db(signal.astype(np.float32))
        np.testing.assert_array_equal(found, reference)
        assert found.dtype == reference.dtype


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40_000), start_db=st.floats(-130, 0), end_db=st.floats(-130, 0))
def test_trimming_of_fades_is_librosas(seed: int, n: int, start_db: float, end_db: float) -> None:
    fade = np.concatenate([np.linspace(start_db, 0, n), np.linspace(0, end_db, n)])
    signal = (noise(2 * n, seed=seed) * 10 ** (fade / 20)).astype(np.float32)
    ours, reference = both_trims(signal)
    np.testing.assert_array_equal(ours, reference)
