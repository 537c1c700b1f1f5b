"""Random synthesizer patches."""

import itertools

import numpy as np
import pytest

from corpus.patches import LONGEST_SECONDS, Envelope, draw_patch, render_patch
from corpus.sources import SHARES, SOURCES
from corpus.waves import Studio


def studio(seed: int = 0) -> Studio:
    return Studio(np.random.default_rng(seed))


@pytest.mark.parametrize("number", range(40))
def test_a_sound_is_sound(number: int) -> None:
    wave = render_patch(number, 0, seed=3)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert 0.01 < np.abs(wave).max() <= 1
    assert 0.2 <= len(wave) / 44_100 <= LONGEST_SECONDS + 1.4


def test_the_same_numbers_give_the_same_sound_and_others_another() -> None:
    first = render_patch(5, 1, seed=2)
    assert np.array_equal(first, render_patch(5, 1, seed=2))
    for other in (render_patch(5, 2, seed=2), render_patch(6, 1, seed=2), render_patch(5, 1, seed=3)):
        assert len(other) != len(first) or not np.array_equal(other, first)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
@pytest.mark.parametrize("seed", range(12))
def test_a_source_plays_at_any_pitch_and_length(source, seed: int) -> None:
    play = source(studio(seed))
    for n_samples, ratio in ((9_000, 2.8), (22_050, 0.35), (44_100, 1.0)):
        wave = play(studio(seed + 1), n_samples, ratio)
        assert wave.shape == (n_samples,)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()


def test_a_played_pitch_moves_the_spectrum() -> None:
    play = SOURCES[0](studio(4))

    def peak_hz(ratio: float) -> float:
        spectrum = np.abs(np.fft.rfft(play(studio(1), 44_100, ratio)))
        return float(np.argmax(spectrum))

    assert peak_hz(2.0) > 1.4 * peak_hz(1.0)


def test_takes_of_a_patch_are_nearer_to_each_other_than_to_those_of_another() -> None:
    def bands(number: int, take: int) -> np.ndarray:
        power = np.abs(np.fft.rfft(render_patch(number, take, seed=1), 2**18)) ** 2
        edges = np.geomspace(10, len(power) - 1, 25).astype(int)
        return 10 * np.log10([power[a:b].mean() + 1e-9 for a, b in itertools.pairwise(edges)])

    numbers = range(30)
    takes = np.array([[bands(number, take) for take in range(2)] for number in numbers])
    takes -= takes.mean(axis=-1, keepdims=True)
    distance = np.linalg.norm(takes[:, None, 0] - takes[None, :, 1], axis=-1)  # [patch, patch of the other take]
    others = distance[~np.eye(len(numbers), dtype=bool)]
    assert np.median(np.diag(distance)) < 0.9 * np.median(others)


def test_every_source_and_envelope_comes_up() -> None:
    assert sum(SHARES) == pytest.approx(1)
    found = [draw_patch(studio(seed)) for seed in range(300)]
    assert {patch.source.__qualname__.split(".")[0] for patch in found} == {source.__name__ for source in SOURCES}
    assert {patch.envelope.kind for patch in found} == {"decay", "sustain", "swell", "plain", "gate"}
    assert 0.25 < np.mean([patch.rhythm is not None for patch in found]) < 0.55


@pytest.mark.parametrize("kind", ["decay", "sustain", "swell", "plain", "gate"])
def test_an_envelope_begins_and_ends_in_silence(kind: str) -> None:
    curve = Envelope(kind, 0.05, 1.0, 0.5, 0.1).curve(studio(), 44_100)
    assert curve.dtype == np.float32
    assert curve[0] < 0.01
    assert curve[-1] < 0.01
    assert 0.1 < curve.max() <= 1
