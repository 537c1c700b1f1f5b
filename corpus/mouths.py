"""Mouths: barks, meows, coughs, laughter and coarser sounds of bodies.

Every voice is a function ``(studio, seconds) -> wave``: dry mono float32 of ``studio.samples(seconds)`` samples. A
voiced sound is a source of pulses (or of noise) heard through moving formants.
"""

import numpy as np

from corpus.waves import (
    Curve,
    Studio,
    Wave,
    bend,
    cents,
    drift,
    fade,
    partials,
    place,
    resonances,
    shaped,
    silence,
    times,
    turns,
    unit,
)


def voiced(
    studio: Studio, f0_hz: Curve, formants_hz: list[list[float]], *, rough: float = 0.0, breath: float = 0.05
) -> Wave:
    """Return a vowel, peak 1: pulses of the given pitch and breath noise through moving formants.

    ``rough`` is the jitter of the pitch in cents; ``breath`` the level of noise beside the pulses.
    """
    f0 = f0_hz * cents(drift(studio, len(f0_hz), 60, rough)) if rough else f0_hz
    source = partials(studio, turns(studio, f0), float(f0.max()), 1 / np.arange(1, 60) ** 0.8)
    source = source + np.float32(breath) * studio.noise(len(source))
    return unit(resonances(studio, source, formants_hz, width_octaves=0.25))


def bark(studio: Studio, seconds: float) -> Wave:
    """Return woofs: short harsh arches of pitch, one to four a second."""
    canvas = silence(studio, seconds)
    f0_hz, span, gap = studio.octaves(180, 700), studio.octaves(0.11, 0.24), studio.octaves(0.28, 0.8)
    low = studio.octaves(450, 1000)
    for start in times(studio, seconds, max(gap, 1.3 * span), 0.15):
        n_samples = studio.samples(span * studio.octaves(0.85, 1.2))
        f0 = f0_hz * cents(bend(n_samples, [-900, 0, 200, -200, -1100]))
        woof = voiced(studio, f0, [[low, 1.7 * low, low], [2.6 * low]], rough=50, breath=0.5)
        place(studio, canvas, woof * fade(studio, n_samples, 0.02, 0.05), start, studio.between(0.6, 1))
    return canvas


def meow(studio: Studio, seconds: float) -> Wave:
    """Return miaows: long arches of pitch with the mouth opening and closing."""
    canvas = silence(studio, seconds)
    f0_hz, low, start = studio.octaves(320, 900), studio.octaves(600, 1100), 0.0
    while start < seconds:
        length = min(studio.octaves(0.45, 1.3), max(seconds - start, 0.25))
        n_samples = studio.samples(length)
        f0 = f0_hz * cents(bend(n_samples, [-500, 100, 250, 150, -600])) * cents(drift(studio, n_samples, 8, 25))
        cry = voiced(studio, f0, [[low, 2.2 * low, 0.8 * low], [2.8 * low, 2.2 * low]], breath=0.03)
        place(
            studio, canvas, cry * fade(studio, n_samples, 0.12 * length, 0.25 * length), start, studio.between(0.6, 1)
        )
        start += length + studio.octaves(0.2, 1.0)
    return canvas


def laughter(studio: Studio, seconds: float) -> Wave:
    """Return peals of ha-ha-ha: four to six voiced puffs a second, sinking in pitch, with breath between."""
    canvas = silence(studio, seconds)
    f0_hz, pace, low = studio.octaves(110, 550), studio.octaves(0.15, 0.25), studio.octaves(350, 1200)
    airy = studio.octaves(0.03, 0.6)
    start = studio.between(0, 0.05)
    while start < seconds:
        n_puffs = studio.whole(4, 9)
        for number in range(n_puffs):
            n_samples = studio.samples(pace * studio.between(0.5, 0.62))
            sunk = -60.0 * number + studio.between(-40, 40)
            f0 = f0_hz * cents(bend(n_samples, [sunk - 150, sunk + 100, sunk - 200]))
            puff = voiced(studio, f0, [[low], [1.9 * low], [4 * low]], rough=15, breath=airy)
            place(
                studio, canvas, puff * fade(studio, n_samples, 0.03, 0.05), start, studio.between(0.6, 1) * 0.93**number
            )
            breath = resonances(studio, studio.noise(studio.samples(0.4 * pace)), [[1.6 * low], [3.5 * low]])
            place(studio, canvas, unit(breath) * fade(studio, len(breath), 0.02, 0.03), start + 0.6 * pace, 0.4 * airy)
            start += pace * studio.between(0.93, 1.07)
        start += studio.octaves(0.25, 0.8)
    return canvas


def cough(studio: Studio, seconds: float) -> Wave:
    """Return coughs: an explosion of breath, a hoarse voiced middle, and often a second, weaker burst."""
    canvas = silence(studio, seconds)
    low, start = studio.octaves(450, 950), studio.between(0, 0.1)
    while start < seconds:
        for _ in range(studio.whole(1, 3)):
            burst = resonances(
                studio, studio.noise(studio.samples(studio.between(0.05, 0.09))), [[1.5 * low], [3.2 * low]], floor=0.15
            )
            place(studio, canvas, unit(burst) * fade(studio, len(burst), 0.004, 0.03), start)
            n_samples = studio.samples(studio.octaves(0.12, 0.25))
            f0 = studio.octaves(90, 260) * cents(bend(n_samples, [200, 0, -500]))
            middle = voiced(studio, f0, [[low, 0.8 * low], [2.3 * low]], rough=120, breath=0.8)
            place(studio, canvas, middle * fade(studio, n_samples, 0.03, 0.1), start + 0.06, 0.5)
            after = start + 0.06 + n_samples / studio.sample_rate_hz
            place(studio, canvas, unit(burst) * fade(studio, len(burst), 0.02, 0.04), after, studio.between(0, 0.45))
            start = after + studio.octaves(0.12, 0.3)
        start += studio.octaves(0.5, 1.5)
    return canvas


def burping(studio: Studio, seconds: float) -> Wave:
    """Return belches: slow irregular pulses through a throat that opens and closes."""
    canvas = silence(studio, seconds)
    f0_hz, low, start = studio.octaves(38, 110), studio.octaves(250, 1000), 0.0
    while start < seconds:
        length = min(studio.octaves(0.35, 1.5), max(seconds - start, 0.25))
        n_samples = studio.samples(length)
        f0 = f0_hz * cents(bend(n_samples, [studio.between(-300, 300) for _ in range(4)]))
        belch = voiced(
            studio,
            f0,
            [[low, 1.8 * low, 1.2 * low, 0.7 * low], [2.4 * low, 3.2 * low, 1.9 * low]],
            rough=250,
            breath=0.1,
        )
        flutter = np.exp(drift(studio, n_samples, 18, 0.35)).astype(np.float32)
        place(studio, canvas, belch * flutter * fade(studio, n_samples, 0.03, 0.1), start, studio.between(0.6, 1))
        start += length + studio.octaves(0.3, 1.2)
    return canvas


def fart(studio: Studio, seconds: float) -> Wave:
    """Return a buzzing of lips: quick pulses that slide in pitch and sputter out."""
    canvas = silence(studio, seconds)
    start, low = 0.0, studio.octaves(250, 900)
    while start < seconds:
        length = min(studio.octaves(0.2, 1.0), max(seconds - start, 0.15))
        n_samples = studio.samples(length)
        f0 = studio.octaves(70, 260) * cents(bend(n_samples, [studio.between(-800, 800) for _ in range(3)]))
        f0 = f0 * cents(drift(studio, n_samples, 40, 120))
        buzz = shaped(studio, partials(studio, turns(studio, f0), float(f0.max()), np.ones(60)), low, 4 * low, 1.2)
        gate = drift(studio, n_samples, studio.between(14, 26), 1.0) > -0.5
        sputter = np.convolve(gate, np.ones(200) / 200, "same").astype(np.float32)
        place(studio, canvas, unit(buzz * sputter) * fade(studio, n_samples, 0.01, 0.05), start, studio.between(0.6, 1))
        start += length + studio.octaves(0.08, 0.8)
    return canvas
