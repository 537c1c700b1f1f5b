"""Where frames and bands lie: against librosa's centre frequencies, and in ranges of every width."""

from typing import Any

import librosa
import numpy as np
import pytest

from cache.errors import InputError
from featurize.modes import DCASE, LH, LOG, FeatureMode, X
from infer.axes import Grid

each_mode = pytest.mark.parametrize("mode", [LH, X, LOG, DCASE], ids=["lh", "x", "log", "dcase"])


def grid_of(mode: FeatureMode, **changes: Any) -> Grid:
    return Grid.of({**mode.to_dict(), **changes})


def centres_hz(mode: FeatureMode) -> np.ndarray:
    if mode.scale == "log":
        return np.geomspace(mode.fmin_hz, mode.fmax_hz, mode.n_mels + 2)[1:-1]
    return librosa.mel_frequencies(mode.n_mels + 2, fmin=mode.fmin_hz, fmax=mode.fmax_hz, htk=mode.scale == "htk")[1:-1]


@each_mode
def test_bands_lie_at_their_centre_frequencies(mode: FeatureMode) -> None:
    grid = grid_of(mode)
    positions = [grid.band_of(frequency_hz) for frequency_hz in centres_hz(mode)]
    np.testing.assert_allclose(positions, np.arange(mode.n_mels), atol=1e-6)
    assert grid.band_of(mode.fmin_hz) == pytest.approx(-1)
    assert grid.band_of(mode.fmax_hz) == pytest.approx(mode.n_mels)


@each_mode
def test_ticks_stand_at_the_bands_whose_centres_are_nearest(mode: FeatureMode) -> None:
    ticks = grid_of(mode).frequency_ticks()
    wanted = {"100": 100, "500": 500, "1k": 1000, "2k": 2000, "5k": 5000, "10k": 10_000}
    wanted = {label: hz for label, hz in wanted.items() if mode.fmin_hz <= hz <= mode.fmax_hz}
    found = {label: band for band, label in ticks.items() if label}
    assert wanted.items() <= {label: wanted.get(label) for label in found}.items()
    for label, frequency_hz in wanted.items():
        nearest = np.abs(grid_of(mode).band_of(frequency_hz) - np.arange(mode.n_mels)).argmin()
        assert nearest == np.abs(centres_hz(mode) - frequency_hz).argmin()
        assert abs(found[label] - nearest) <= 0.5


@pytest.mark.parametrize(
    ("low_hz", "high_hz", "labels"),
    [
        (20, 22_050, ["100", "500", "1k", "2k", "5k", "10k", "20k"]),
        (0, 8000, ["100", "500", "1k", "2k", "5k"]),
        (2000, 96_000, ["5k", "10k", "20k", "50k"]),
        (3000, 4000, ["3.2k", "3.4k", "3.5k", "3.6k", "3.8k"]),
        (100, 106, ["101", "102", "103", "104", "105"]),
    ],
)
def test_every_range_has_round_labels_apart_from_each_other(low_hz: float, high_hz: float, labels: list[str]) -> None:
    grid = grid_of(LH, fmin_hz=low_hz, fmax_hz=high_hz, n_mels=64)
    ticks = grid.frequency_ticks()
    assert list(ticks) == sorted(ticks)
    assert -0.5 <= min(ticks) < max(ticks) <= 63.5
    labelled = {band: label for band, label in ticks.items() if label}
    assert list(labelled.values()) == labels
    assert min(np.diff(list(labelled))) >= 0.055 * 64


def test_frames_are_a_hop_apart() -> None:
    assert grid_of(LH).hop_seconds == grid_of(X).hop_seconds == pytest.approx(0.02)


@pytest.mark.parametrize("changes", [{"scale": "bark"}, {"hop_samples": None}, {"sample_rate_hz": 0}])
def test_settings_that_do_not_tell_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="do not say where frames and bands lie"):
        grid_of(LH, **changes)
    with pytest.raises(InputError, match="featurize anew"):
        Grid.of({})
