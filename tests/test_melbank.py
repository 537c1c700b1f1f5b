"""Filter banks: Slaney's scale and HTK's, equality with librosa's, and what a sine lights on the logarithmic scale."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sounds import chirp, write_sound

from featurize.logmel import compute
from featurize.melbank import band_edges, htk_filters, hz_to_htk, hz_to_mel, log_filters, mel_filters, mel_to_hz
from featurize.modes import DCASE, LH, LOG, FeatureMode, X

NAMES = ("sample_rate_hz", "n_fft", "n_mels", "fmin_hz", "fmax_hz")
BANKS = st.fixed_dictionaries(
    {
        "sample_rate_hz": st.integers(1_000, 192_000),
        "n_fft": st.integers(1, 2_100).map(lambda half: 2 * half),
        "n_mels": st.integers(1, 160),
        "fmin_hz": st.floats(1e-3, 2_000),
        "fmax_hz": st.floats(100, 96_000),
    }
).filter(lambda bank: bank["fmin_hz"] + 1 < bank["fmax_hz"] <= bank["sample_rate_hz"] / 2)


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


@pytest.mark.parametrize("mode", [LH, X], ids=["lh", "x"])
def test_the_modes_banks_are_librosas(mode: FeatureMode) -> None:
    values = {name: getattr(mode, name) for name in NAMES}
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


# --- HTK's scale ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hz", [0.0, 125.0, 700.0, 1000.0, 7500.0, 22_050.0])
def test_htks_scale_is_librosas(hz: float) -> None:
    # Both factors are rounded, 2595 lg against 1127 ln: they differ in the sixth digit.
    assert hz_to_htk(hz) == pytest.approx(librosa.hz_to_mel(hz, htk=True), rel=2e-5)
    assert hz_to_htk(700 * (np.e - 1)) == pytest.approx(1127)


def test_htk_bands_are_triangles_over_mels() -> None:
    bank = htk_filters(**{name: getattr(DCASE, name) for name in NAMES})
    assert bank.shape == (64, 1025)
    assert bank.dtype == np.float32
    step = (hz_to_htk(7500) - hz_to_htk(125)) / 65
    for column, weights in enumerate(bank.T):
        # Analytic: a frequency between two centres shares its weight out between both, in proportion.
        place = (hz_to_htk(column * 44_100 / 2048) - hz_to_htk(125)) / step - 1
        below = int(np.floor(place))
        expected = np.zeros(66)
        if -1 <= place < 64:
            expected[[below + 1, below + 2]] = below + 1 - place, place - below
        np.testing.assert_allclose(weights, expected[1:65], atol=1e-6)
    assert bank.max() <= 1
    assert bank.any(axis=1).all()
    assert not bank[:, 0].any()  # DC


def test_htk_bands_are_librosas_but_for_their_bend() -> None:
    # Straight over Hz instead of mels: at these widths a difference of half a percent of the peak at most.
    values = {"sr": 44_100, "n_fft": 2048, "n_mels": 64, "fmin": 125, "fmax": 7500, "norm": None}
    bank = htk_filters(**{name: getattr(DCASE, name) for name in NAMES})
    np.testing.assert_allclose(bank, librosa.filters.mel(**values, htk=True), atol=0.005)
    assert np.abs(bank - librosa.filters.mel(**values, htk=False)).max() > 0.5  # Slaney's scale is another


# --- the logarithmic scale -----------------------------------------------------------------------------------------


def log_bank() -> npt.NDArray[np.float32]:
    return log_filters(**{name: getattr(LOG, name) for name in NAMES})


def test_log_bands_are_triangles_whose_edges_rise_by_one_ratio() -> None:
    # A bin each 1 Hz, and edges an octave apart: 16, 32, 64, 128, 256 Hz.
    bank = log_filters(sample_rate_hz=8_000, n_fft=8_000, n_mels=3, fmin_hz=16, fmax_hz=256)
    assert bank.shape == (3, 4_001)
    assert bank.dtype == np.float32
    for row, (lower, centre, upper) in zip(bank, [(16, 32, 64), (32, 64, 128), (64, 128, 256)], strict=True):
        peak = 2 / (upper - lower)
        assert row.argmax() == centre
        inside = np.flatnonzero(row > 1e-6 * peak)
        assert (inside[0], inside[-1]) == (lower + 1, upper - 1)
        assert row[centre] == pytest.approx(peak)
        assert row[(lower + centre) // 2] == pytest.approx(peak / 2)
        assert row[(centre + upper) // 2] == pytest.approx(peak / 2)
        assert row.sum() == pytest.approx(1)  # unit area over Hz


def test_a_band_narrower_than_a_bin_interpolates() -> None:
    bank = log_filters(sample_rate_hz=1_000, n_fft=100, n_mels=1, fmin_hz=42, fmax_hz=43)
    centre = np.sqrt(42 * 43) / 10  # in bins of 10 Hz
    assert np.flatnonzero(bank[0]).tolist() == [4, 5]
    np.testing.assert_allclose(bank[0, 4:6] * 10, [5 - centre, centre - 4], rtol=1e-6)


@settings(max_examples=200, deadline=None)
@example({"sample_rate_hz": 44_100, "n_fft": 64, "n_mels": 128, "fmin_hz": 1e-3, "fmax_hz": 22_050.0})
@example({"sample_rate_hz": 8_000, "n_fft": 2, "n_mels": 160, "fmin_hz": 3_900.0, "fmax_hz": 4_000.0})
@given(values=BANKS)
def test_no_log_band_is_dead(values: dict[str, Any]) -> None:
    bank = log_filters(**values)
    assert np.isfinite(bank).all()
    assert (bank >= 0).all()
    assert bank.any(axis=1).all()
    first, stop = band_edges(bank)
    assert (first < stop).all()


def test_a_sine_at_a_bands_centre_lights_its_own_band() -> None:
    # Analytic: on a bin or off it, Hann's main lobe is two bins to either side of the sine, and falls towards both.
    bank, spacing_hz = log_bank().astype(np.float64), LOG.sample_rate_hz / LOG.n_fft
    edges_hz = np.geomspace(LOG.fmin_hz, LOG.fmax_hz, LOG.n_mels + 2)
    n = np.arange(LOG.n_fft)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / LOG.n_fft)
    wide = 0
    for band, centre_hz in enumerate(edges_hz[1:-1]):
        turns = centre_hz / LOG.sample_rate_hz * n
        # Sine and cosine together: the mirror image at the negative frequency cancels, whatever the phase.
        power = sum(np.abs(np.fft.rfft(hann * wave(2 * np.pi * turns))) ** 2 for wave in (np.sin, np.cos))
        level_db = 10 * np.log10(bank @ power)
        brightest = int(level_db.argmax())
        if edges_hz[band + 1] - edges_hz[band] >= spacing_hz:
            wide += 1
            assert brightest == band
            assert level_db[band] > np.delete(level_db, band).max() + 1
        else:  # neighbours closer than a bin show the same lobe
            assert level_db[band] > level_db[brightest] - 0.6
            assert abs(edges_hz[brightest + 1] - centre_hz) <= spacing_hz / 2
        far = np.abs(edges_hz[1:-1] - centre_hz) > 5 * np.maximum(spacing_hz, np.diff(edges_hz)[1:])
        assert (level_db[far] < level_db[band] - 30).all()
    assert wide == 82


def test_the_front_end_uses_the_scale(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", chirp(3 * 44_100))
    frames = compute(path, ["log"])["log"]
    samples = soundfile.read(path, dtype="float32")[0]
    missing = LOG.window_samples - len(samples)
    samples = np.pad(samples, (missing // 2, missing - missing // 2))
    power = np.abs(librosa.stft(samples, n_fft=LOG.n_fft, hop_length=LOG.hop_samples)) ** 2
    np.testing.assert_allclose(frames, librosa.power_to_db(log_bank() @ power).T, atol=0.01)
    assert frames.shape == (201, 128)
    assert compute(path, [dataclasses.replace(LOG, scale="mel")])["log"].shape == frames.shape
    # An octave is as many bands, wherever it lies: the sweep climbs in a straight line where bins resolve it.
    ridge = frames[80:140].argmax(axis=1)
    assert ridge[0] > 46
    assert np.ptp(ridge - np.linspace(ridge[0], ridge[-1], len(ridge))) < 1.5
