"""Mel filter banks: Slaney's scale, and equality with librosa's."""

import warnings
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from featurize.melbank import band_edges, hz_to_mel, mel_filters, mel_to_hz
from featurize.modes import MODES, FeatureMode


def librosas(
    *, sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float
) -> npt.NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters")
        bank: npt.NDArray[np.float32] = librosa.filters.mel(
            sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, fmin=fmin_hz, fmax=fmax_hz
        )
        return bank


@pytest.mark.parametrize(("hz", "mel"), [(0, 0), (60, 0.9), (200, 3), (1000, 15), (6400, 42)])
def test_slaneys_scale(hz: float, mel: float) -> None:
    assert hz_to_mel(hz) == pytest.approx(mel)
    assert mel_to_hz(np.array([float(mel)]))[0] == pytest.approx(hz)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_the_modes_banks_are_librosas(mode: FeatureMode) -> None:
    names = ("sample_rate_hz", "n_fft", "n_mels", "fmin_hz", "fmax_hz")
    values = {name: getattr(mode, name) for name in names}
    bank = mel_filters(**values)
    assert bank.dtype == np.float32
    np.testing.assert_array_equal(bank, librosas(**values))


@settings(max_examples=200, deadline=None)
@example(44_100, 2048, 128, 0.0, 22_050.0)
@example(16_000, 512, 40, 1_000.0, 8_000.0)
@example(8_000, 64, 128, 0.0, 4_000.0)
@given(
    sample_rate_hz=st.integers(1_000, 192_000),
    n_fft=st.integers(1, 2_100).map(lambda half: 2 * half),
    n_mels=st.integers(1, 160),
    fmin_hz=st.floats(0, 2_000),
    fmax_hz=st.floats(100, 96_000),
)
def test_other_banks_are_librosas(sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> None:
    assume(fmin_hz + 1 < fmax_hz <= sample_rate_hz / 2)
    values: dict[str, Any] = {
        "sample_rate_hz": sample_rate_hz,
        "n_fft": n_fft,
        "n_mels": n_mels,
        "fmin_hz": fmin_hz,
        "fmax_hz": fmax_hz,
    }
    bank = mel_filters(**values)
    np.testing.assert_array_equal(bank, librosas(**values))
    first, stop = band_edges(bank)
    inside = (np.arange(bank.shape[1]) >= first[:, None]) & (np.arange(bank.shape[1]) < stop[:, None])
    assert not bank[~inside].any()
    assert (stop - first)[~bank.any(axis=1)].sum() == 0
