from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infer.activity import background, foreground, is_active, joined, runs


def noise(n_frames: int, n_bands: int = 8, seed: int = 0) -> np.ndarray:
    """Power of stationary noise, as a mean of a few exponential variates, as mel bands are; mean 1."""
    return np.random.default_rng(seed).exponential(1.0, (n_frames, n_bands, 6)).mean(axis=2)


def test_the_background_of_noise_is_nearly_its_mean_and_events_do_not_count() -> None:
    power = noise(3_000)
    alone = background(power)
    assert alone == pytest.approx(np.full(8, 0.85), abs=0.12)
    power[100:800] += 1e6
    assert background(power) == pytest.approx(alone, rel=0.15)


def test_noise_alone_is_hardly_ever_active() -> None:
    power = noise(3_000)
    assert is_active(power, background(power), gate=1e-6).mean() < 0.001


def test_a_sound_above_the_background_is_active() -> None:
    power = noise(1_000)
    power[400:450, 3] += 30.0
    active = is_active(power, background(power), gate=1e-6)
    assert active[400:450].all()
    assert active.sum() == pytest.approx(50, abs=2)


def test_what_is_below_the_gate_is_silence() -> None:
    power = np.zeros((100, 4))
    power[50:60] = 10 ** (-65 / 10) / 4
    behind = background(power)
    assert not is_active(power, behind, gate=1e-6).any()
    assert runs(is_active(power, behind, gate=1e-7)) == [(50, 60)]


def test_silence_has_a_background_above_nothing() -> None:
    assert (background(np.zeros((50, 3))) > 0).all()
    assert (background(np.zeros((1, 3))) > 0).all()


def test_a_little_of_the_background_is_left_between_its_peaks() -> None:
    power = noise(200)
    behind = background(power)
    left = foreground(power, behind)
    assert left.min(axis=0) == pytest.approx(0.03 * behind)
    assert np.all(left <= np.maximum(power, 0.03 * behind))
    power[100] += 1e6
    assert foreground(power, behind)[100] == pytest.approx(power[100] - 2 * behind)
    assert foreground(power, 0 * behind) == pytest.approx(power), "with nothing behind it, a sound is heard as it is"


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_where_the_mask_is_true(mask: list[bool]) -> None:
    found = np.zeros(len(mask), bool)
    spans = runs(np.array(mask, bool))
    for first, stop in spans:
        assert first < stop
        assert not found[first:stop].any()
        found[first:stop] = True
    assert found.tolist() == mask
    assert all(later[0] > earlier[1] for earlier, later in pairwise(spans))


def test_spans_are_joined_over_short_pauses() -> None:
    assert joined([(0, 2), (4, 5), (8, 9)], pause=2) == [(0, 5), (8, 9)]
    assert joined([(0, 2), (4, 5), (8, 9)], pause=3) == [(0, 9)]
    assert joined([], pause=3) == []
