"""Objects: engines, tools, doors, shots, and hands at work.

Every voice is a function ``(studio, seconds) -> wave``: dry mono float32 of ``studio.samples(seconds)`` samples. Most
are noise, told apart by the pattern of their bursts and by where their band moves.
"""

import numpy as np

from corpus.percussion import click, struck
from corpus.waves import (
    Studio,
    Wave,
    bend,
    cents,
    decay,
    drift,
    fade,
    modes,
    partials,
    place,
    resonances,
    shaped,
    silence,
    times,
    turns,
    unit,
    wobble,
)


def scrape(studio: Studio, seconds: float, track_hz: list[float], width_octaves: float = 0.5) -> Wave:
    """Return one rubbing movement: noise in a band that moves along the track, swelling and fading, peak 1."""
    n_samples = studio.samples(seconds)
    wave = resonances(studio, studio.noise(n_samples), [track_hz], width_octaves=width_octaves)
    return unit(wave * fade(studio, n_samples, 0.35 * seconds, 0.35 * seconds))


def applause(studio: Studio, seconds: float) -> Wave:
    """Return a crowd of clapping hands: claps at random from dozens of pairs of hands, swelling now and then."""
    canvas = silence(studio, seconds)
    low_hz, high_hz = studio.octaves(250, 1500), studio.octaves(2000, 10000)
    bend_by = [studio.octaves(0.6, 1.6) for _ in range(16)]
    hands = [click(studio, studio.octaves(0.015, 0.05), ratio * low_hz, ratio * high_hz) for ratio in bend_by]
    for at in studio.rng.uniform(0, seconds, max(1, int(seconds * studio.octaves(25, 250)))):
        place(studio, canvas, hands[studio.whole(0, 15)], float(at), studio.octaves(0.2, 1))
    return canvas * np.exp(drift(studio, len(canvas), 0.8, 0.3)).astype(np.float32)


def bus(studio: Studio, seconds: float) -> Wave:
    """Return a heavy engine: firing pulses that rev up and down through gears, over rumble and brakes' hiss."""
    n_samples = studio.samples(seconds)
    revs = [studio.octaves(22, 90) for _ in range(2 + int(seconds / 0.8))]
    f0 = bend(n_samples, revs) * cents(drift(studio, n_samples, 12, 12))
    firing = partials(studio, turns(studio, f0), float(f0.max()), 1 / np.arange(1, 40) ** 0.4)
    engine = resonances(studio, firing, [[studio.octaves(120, 300)], [studio.octaves(500, 1500)]], width_octaves=1.0)
    wave = unit(engine) + 0.3 * unit(shaped(studio, studio.noise(n_samples), 30, 400, 1.0))
    if studio.chance(0.5):
        hiss = scrape(studio, min(seconds, studio.between(0.4, 1.0)), [6000, studio.octaves(2500, 6000)], 1.0)
        place(studio, wave, hiss, studio.between(0, 0.7 * seconds), 0.5)
    return wave


def microwave_oven(studio: Studio, seconds: float) -> Wave:
    """Return a humming transformer and fan, the beeps at the end or of its keys, and perhaps the door."""
    n_samples = studio.samples(seconds)
    mains = 100.0 if studio.chance(0.5) else 120.0
    hum = partials(
        studio, turns(studio, np.full(n_samples, mains)), mains, 1 / np.arange(1, 12) ** studio.between(0.3, 1.2)
    )
    fan = shaped(studio, studio.noise(n_samples), studio.octaves(150, 500), studio.octaves(900, 4000), 1.0)
    turning = 1 + 0.4 * wobble(studio, n_samples, studio.between(9, 14), 0.02).astype(np.float32)
    wave = studio.octaves(0.05, 0.5) * hum + studio.octaves(0.05, 0.5) * unit(fan) * turning
    beep_hz, on = studio.octaves(900, 2400), studio.between(0.08, 0.35)
    first = studio.between(0, 0.5 * seconds)
    for start in times(studio, seconds - first, 2 * on, 0.0, at_most=studio.whole(2, 5)):
        tone = modes(studio, on, [beep_hz, 3 * beep_hz], [0.6, 0.1], 1e3)
        place(studio, wave, tone * fade(studio, len(tone), 0.004, 0.004), first + start)
    if studio.chance(0.5):
        place(
            studio,
            wave,
            struck(studio, 0.2, studio.octaves(150, 400), (1.0, 2.3, 3.7), 0.2, 0.4),
            studio.between(0, seconds),
        )
    return wave


def computer_keyboard(studio: Studio, seconds: float) -> Wave:
    """Return typing: every stroke a pair of clicks, key down and key up, at an uneven pace."""
    canvas = silence(studio, seconds)
    low_hz, high_hz, pace = studio.octaves(700, 2200), studio.octaves(4000, 12000), studio.octaves(0.11, 0.24)
    for start in times(studio, seconds, pace, 0.4):
        level, dull = studio.between(0.4, 1), studio.octaves(0.8, 1.25)
        place(studio, canvas, click(studio, 0.025, dull * low_hz, high_hz), start, level)
        place(
            studio,
            canvas,
            click(studio, 0.015, 1.4 * dull * low_hz, high_hz),
            start + studio.between(0.06, 0.1),
            0.45 * level,
        )
    return canvas


def finger_snapping(studio: Studio, seconds: float) -> Wave:
    """Return snaps in a slow, even beat: one sharp resonant click each, after a soft rub."""
    canvas = silence(studio, seconds)
    centre_hz, gap = studio.octaves(1200, 3200), studio.octaves(0.38, 0.9)
    for start in times(studio, seconds, gap, 0.05):
        place(studio, canvas, scrape(studio, 0.05, [1.5 * centre_hz]), start, 0.06)
        place(
            studio, canvas, click(studio, studio.between(0.03, 0.06), centre_hz / 1.25, centre_hz * 1.25), start + 0.05
        )
    return canvas


def scissors(studio: Studio, seconds: float) -> Wave:
    """Return snips: blades sliding with a rising hiss, closed by a click, one to three times a second."""
    canvas = silence(studio, seconds)
    low_hz, span, pace = studio.octaves(1500, 3000), studio.octaves(0.12, 0.24), studio.octaves(1.6, 3.0)
    for start in times(studio, seconds, span * pace, 0.08):
        slide = scrape(studio, span, [low_hz, 1.6 * low_hz, 4 * low_hz], 0.35)
        place(studio, canvas, slide, start, 0.7)
        place(studio, canvas, struck(studio, 0.06, 2.2 * low_hz, (1.0, 1.7, 2.9), 0.06, 0.2), start + 0.9 * span, 0.8)
    return canvas


def writing(studio: Studio, seconds: float) -> Wave:
    """Return pencil strokes, four to nine a second, up and down in pitch, in words with pauses between."""
    canvas = silence(studio, seconds)
    centre_hz, stroke = studio.octaves(1500, 5000), studio.octaves(0.07, 0.17)
    start = 0.0
    while start < seconds:
        for number in range(studio.whole(4, 10)):
            length = stroke * studio.octaves(0.7, 1.4)
            up = 1.6 if number % 2 else 1 / 1.6
            place(
                studio,
                canvas,
                scrape(studio, length, [centre_hz / up, centre_hz * up], 0.4),
                start,
                studio.octaves(0.4, 1),
            )
            start += length
        start += studio.octaves(0.08, 0.3)
    return canvas


def tearing(studio: Studio, seconds: float) -> Wave:
    """Return paper or cloth torn in long pulls: crackling noise whose band rises as the sheet gets shorter."""
    canvas = silence(studio, seconds)
    low_hz, start = studio.octaves(500, 1500), 0.0
    while start < seconds:
        length = studio.octaves(0.5, 1.8)
        n_samples = studio.samples(length)
        crackle = np.exp(drift(studio, n_samples, 60, 1.1)).astype(np.float32)
        pull = resonances(
            studio, studio.noise(n_samples) * crackle, [[low_hz, 6 * low_hz]], width_octaves=0.8, floor=0.05
        )
        place(studio, canvas, unit(pull * fade(studio, n_samples, 0.05, 0.1)), start, studio.between(0.5, 1))
        start += length + studio.octaves(0.1, 0.5)
    return canvas


def drawer(studio: Studio, seconds: float) -> Wave:
    """Return a drawer pulled and pushed: a rumbling slide, ball bearings ticking ever faster, and a thud."""
    canvas = silence(studio, seconds)
    f0_hz, start = studio.octaves(80, 220), 0.0
    while start < seconds:
        span = studio.octaves(0.4, 1.2)
        slide = scrape(studio, span, [studio.octaves(200, 500), studio.octaves(500, 1400)], 0.8)
        place(studio, canvas, slide, start, 0.5)
        for at in span * np.sqrt(np.arange(1, 14) / 14):
            place(studio, canvas, click(studio, 0.015, 900, 5000), start + float(at), 0.35)
        place(studio, canvas, struck(studio, 0.3, f0_hz, (1.0, 1.8, 2.9, 4.3, 6.1), 0.3, 0.3), start + span)
        for at in studio.rng.exponential(0.06, studio.whole(2, 7)):
            place(studio, canvas, click(studio, 0.03, 1500, 8000), start + span + 0.04 + float(at), 0.25)
        start += span + studio.octaves(0.5, 1.2)
    return canvas


def squeak(studio: Studio, seconds: float) -> Wave:
    """Return stick-slip squeals of hinges and soles: a few harmonics that glide and wander restlessly."""
    canvas = silence(studio, seconds)
    f0_hz, start = studio.octaves(450, 2600), 0.0
    while start < seconds:
        length = studio.octaves(0.12, 0.8)
        n_samples = studio.samples(length)
        glide = [studio.between(-700, 700) for _ in range(studio.whole(3, 6))]
        f0 = f0_hz * cents(bend(n_samples, glide) + drift(studio, n_samples, 25, 60))
        tone = partials(studio, turns(studio, f0), float(f0.max()), 1 / np.arange(1, 12) ** studio.between(0.3, 1.0))
        rough = np.exp(drift(studio, n_samples, 30, 0.6)).astype(np.float32)
        place(studio, canvas, tone * rough * fade(studio, n_samples, 0.02, 0.04), start, studio.octaves(0.3, 1))
        start += length + studio.octaves(0.03, 0.4)
    return canvas


def gunshot(studio: Studio, seconds: float) -> Wave:
    """Return shots: a crack whose tail loses its highs first, single with an echo, or in automatic fire."""
    canvas = silence(studio, seconds)
    tail, automatic = studio.octaves(0.4, 1.6), studio.chance(0.35)
    gap = studio.octaves(0.07, 0.13) if automatic else studio.octaves(0.5, 2.5)
    n_samples = studio.samples(min(tail, seconds))
    noise = studio.noise(n_samples)
    shot = shaped(studio, noise, 60, 700, 1.0) * decay(studio, n_samples, tail)
    shot += 0.6 * shaped(studio, noise, 700, 3000, 1.0) * decay(studio, n_samples, 0.4 * tail)
    shot += noise * decay(studio, n_samples, 0.12 * tail)
    for start in times(studio, seconds, gap, 0.03 if automatic else 0.3, at_most=12):
        place(studio, canvas, shot, start, studio.between(0.7, 1))
        place(studio, canvas, shot, start + studio.between(0.12, 0.3), 0.0 if automatic else 0.25)
    return canvas


def fireworks(studio: Studio, seconds: float) -> Wave:
    """Return rockets: a whistle that rises, a boom, and a crackling shower after it."""
    canvas = silence(studio, seconds)
    start = 0.0
    while start < seconds:
        rise = studio.octaves(0.3, 0.9)
        if studio.chance(0.7):
            n_samples = studio.samples(rise)
            f0 = studio.octaves(700, 1600) * cents(bend(n_samples, [0, 1100, 1700]))
            whistle = partials(studio, turns(studio, f0), float(f0.max()), [1, 0.2, 0.1])
            place(studio, canvas, whistle * fade(studio, n_samples, 0.3 * rise, 0.05), start, 0.3)
        place(studio, canvas, click(studio, studio.octaves(0.3, 0.9), 40, 900), start + rise)
        for at in studio.rng.exponential(studio.octaves(0.3, 0.8), studio.whole(15, 60)):
            place(
                studio,
                canvas,
                click(studio, 0.02, 1500, 12000),
                start + rise + 0.1 + float(at),
                studio.octaves(0.05, 0.5),
            )
        start += rise + studio.octaves(0.5, 2.0)
    return canvas
