"""Percussion: struck bars, plates, skins, glass and metal.

Every voice is a function ``(studio, seconds) -> wave``: dry mono float32 of ``studio.samples(seconds)`` samples. The
ratios of a body's modes, how long each rings, and the pattern of the strokes tell one from another.
"""

import numpy as np

from corpus.waves import (
    Studio,
    Wave,
    decay,
    fade,
    modes,
    partials,
    place,
    shaped,
    silence,
    times,
    turns,
    unit,
)

BAR_RATIOS = (1.0, 2.756, 5.404, 8.933)
"""Transverse modes of a free bar (Fletcher and Rossing, The Physics of Musical Instruments, on bars)."""
TUBE_RATIOS = tuple(k * k / 40.5 for k in (5, 7, 9, 11, 13))
"""Modes 2 to 6 of a free tube go as squares of odd numbers; 1 is the note heard, half of mode 4 (same book)."""


def struck(
    studio: Studio, seconds: float, f0_hz: float, ratios: tuple[float, ...], t60_seconds: float, slope: float
) -> Wave:
    """Return one stroke on a body of the given mode ratios; higher modes are weaker and shorter."""
    ratio = np.array(ratios)
    level = ratio**-slope * np.exp(0.4 * studio.rng.standard_normal(len(ratio)))
    return unit(modes(studio, seconds, f0_hz * ratio, level, t60_seconds / np.sqrt(ratio / ratio[0])))


def click(studio: Studio, seconds: float, low_hz: float, high_hz: float) -> Wave:
    """Return a noise burst that has fallen by 60 dB after ``seconds``, band-limited, peak 1."""
    n_samples = studio.samples(seconds)
    return unit(shaped(studio, studio.noise(n_samples) * decay(studio, n_samples, seconds), low_hz, high_hz))


def glockenspiel(studio: Studio, seconds: float) -> Wave:
    """Return a quick melody on small steel bars."""
    canvas = silence(studio, seconds)
    root_hz, t60, slope = studio.octaves(700, 2600), studio.octaves(0.5, 1.8), studio.between(0.3, 1.0)
    for start in times(studio, seconds, studio.octaves(0.15, 0.5), 0.06):
        f0_hz = root_hz * 2 ** ((0, 2, 4, 7, 9, 12)[studio.whole(0, 5)] / 12)
        place(
            studio,
            canvas,
            struck(studio, min(t60, seconds - start), f0_hz, BAR_RATIOS, t60, slope),
            start,
            studio.between(0.4, 1),
        )
    return canvas


def chime(studio: Studio, seconds: float) -> Wave:
    """Return wind chimes: a few tubes hit at random, each ringing long over the others."""
    canvas = silence(studio, seconds)
    tubes = [studio.octaves(500, 1100) * 2 ** (step / 5) for step in range(studio.whole(4, 7))]
    t60, slope, gap = studio.octaves(2.5, 6.0), studio.between(0.2, 0.8), studio.octaves(0.12, 0.5)
    for start in times(studio, seconds, gap, 0.8, at_most=40):
        f0_hz = tubes[studio.whole(0, len(tubes) - 1)]
        place(
            studio,
            canvas,
            struck(studio, seconds - start, f0_hz, TUBE_RATIOS, t60, slope),
            start,
            studio.octaves(0.15, 1),
        )
    return canvas


def gong(studio: Studio, seconds: float) -> Wave:
    """Return a big plate: dense beating modes, the high ones blooming after the stroke."""
    canvas = silence(studio, seconds)
    lowest_hz, n_modes = studio.octaves(50, 220), studio.whole(25, 50)
    frequency = lowest_hz * np.cumsum(np.append(1.0, studio.rng.exponential(0.45, n_modes - 1)))
    t60 = studio.octaves(4, 10)
    for start in times(studio, seconds, studio.octaves(1.5, 8.0), 0.2):
        left = seconds - start
        level = np.exp(0.7 * studio.rng.standard_normal(n_modes)) * (frequency / lowest_hz) ** -0.4
        beating = np.concatenate([frequency, frequency * (1 + 0.004 * studio.rng.random(n_modes))])
        high = beating > 5 * lowest_hz
        level, spans = np.tile(level, 2), t60 * (beating / lowest_hz) ** -0.35
        low = modes(studio, left, beating[~high], level[~high], spans[~high])
        bloom = modes(studio, left, beating[high], level[high], spans[high])
        rise = 1 - decay(studio, len(bloom), 3 * studio.between(0.15, 0.5))
        place(
            studio, canvas, unit(low * fade(studio, len(low), 0.01, 0.05) + bloom * rise), start, studio.between(0.5, 1)
        )
    return canvas


def cowbell(studio: Studio, seconds: float) -> Wave:
    """Return a steady beat on a bell of two strong modes about a fifth apart, soon damped."""
    canvas = silence(studio, seconds)
    f0_hz, second, t60 = studio.octaves(350, 1100), studio.between(1.42, 1.55), studio.octaves(0.15, 0.5)
    ratios = (1.0, second, 2.0 * studio.between(1.0, 1.1), 3.0, 2.08 * second, 4.4)
    for number, start in enumerate(times(studio, seconds, studio.octaves(0.16, 0.6), 0.04)):
        stroke = struck(studio, min(t60, seconds - start), f0_hz, ratios, t60, 0.7)
        place(studio, canvas, stroke, start, 1.0 if number % 2 == 0 else studio.between(0.3, 1))
    return canvas


def bass_drum(studio: Studio, seconds: float) -> Wave:
    """Return kicks: a tone that falls by two octaves within a tenth of a second, after a click of the beater."""
    canvas = silence(studio, seconds)
    f0_hz, drop, fall = studio.octaves(38, 110), studio.between(1.5, 4.0), studio.octaves(0.02, 0.07)
    t60, punch = studio.octaves(0.2, 0.7), studio.between(0.05, 0.5)
    for start in times(studio, seconds, studio.octaves(0.3, 1.1), 0.03):
        n_samples = studio.samples(min(t60, seconds - start))
        f0 = f0_hz * (1 + drop * np.exp(-np.arange(n_samples) / studio.samples(fall)))
        tone = partials(studio, turns(studio, f0), float(f0.max()), [1, 0.3, 0.15, 0.08]) * decay(
            studio, n_samples, t60
        )
        place(studio, canvas, tone * fade(studio, n_samples, 0.001, 0.02), start)
        place(studio, canvas, click(studio, 0.03, 800, 6000), start, punch)
    return canvas


def snare_drum(studio: Studio, seconds: float) -> Wave:
    """Return backbeats and rolls: a short tone of the skin under the rattle of the wires."""
    canvas = silence(studio, seconds)
    f0_hz, t60, body = studio.octaves(140, 320), studio.octaves(0.15, 0.4), studio.between(0.3, 0.8)
    starts = [(start, 1.0) for start in times(studio, seconds, studio.octaves(0.35, 1.0), 0.04)]
    if studio.chance(0.6):
        first = studio.between(0, 0.6 * seconds)
        starts += [
            (first + at, studio.between(0.2, 0.6))
            for at in times(studio, 0.35 * seconds, studio.between(0.045, 0.075), 0.08)
        ]
    for start, gain in starts:
        skin = struck(studio, 0.15, f0_hz, (1.0, 1.59, 2.14, 2.65), 0.15, 0.6)
        place(studio, canvas, click(studio, t60, 900, 12000), start, gain)
        place(studio, canvas, skin, start, gain * body)
    return canvas


def hi_hat(studio: Studio, seconds: float) -> Wave:
    """Return a stream of eighths on two cymbals: short closed strokes, and now and then an open one that is choked."""
    canvas = silence(studio, seconds)
    low_hz, gap = studio.octaves(2500, 7000), studio.octaves(0.11, 0.28)
    metal = low_hz * studio.rng.uniform(0.8, 3.0, 16)
    for start in times(studio, seconds, gap, 0.03):
        t60 = studio.octaves(0.3, 0.6) if studio.chance(0.2) else studio.octaves(0.04, 0.09)
        sizzle = click(studio, t60, low_hz, 16000)
        ring = modes(studio, t60, metal, 0.3, t60)
        place(studio, canvas, sizzle + unit(ring), start, studio.between(0.4, 1))
    return canvas


def tambourine(studio: Studio, seconds: float) -> Wave:
    """Return shaken jingles: each stroke a spray of tiny plates, forth and back, every other one accented."""
    canvas = silence(studio, seconds)
    jingles = [studio.octaves(3000, 9000) for _ in range(10)]
    gap = studio.octaves(0.09, 0.2) if studio.chance(0.7) else studio.octaves(0.3, 0.7)
    for number, start in enumerate(times(studio, seconds, gap, 0.06)):
        accent = 1.0 if number % 2 == 0 else studio.between(0.3, 0.6)
        for _ in range(studio.whole(6, 12)):
            f0_hz = jingles[studio.whole(0, 9)]
            at = start + studio.rng.exponential(0.015)
            place(
                studio, canvas, modes(studio, 0.1, [f0_hz, 1.47 * f0_hz, 2.1 * f0_hz], [1, 0.6, 0.4], 0.12), at, accent
            )
    return canvas


def keys_jangling(studio: Studio, seconds: float) -> Wave:
    """Return a bunch of keys shaken: irregular pings of hard little bars, in waves of density."""
    canvas = silence(studio, seconds)
    keys = [studio.octaves(1800, 6500) for _ in range(8)]
    shake_hz, lag = studio.between(1.0, 2.5), studio.between(0, 1)
    for at in times(studio, seconds, 0.03, 0.8):
        shaken = np.sin(2 * np.pi * (shake_hz * at + lag)) > 0
        if studio.chance(1.0 if shaken else 0.15):
            ping = struck(
                studio, 0.14, keys[studio.whole(0, 7)], (1.0, 1.9, 2.756, 5.4), studio.octaves(0.06, 0.2), 0.3
            )
            place(studio, canvas, ping, at, studio.octaves(0.1, 1))
    return canvas


def shatter(studio: Studio, seconds: float) -> Wave:
    """Return breaking glass: a crack, then splinters that ring high, thick at first and ever rarer."""
    canvas = silence(studio, seconds)
    lowest_hz, crack = studio.octaves(900, 3000), studio.octaves(0.2, 1.0)
    for start in times(studio, seconds, studio.octaves(1.2, 4.0), 0.3, at_most=3):
        place(studio, canvas, click(studio, studio.octaves(0.05, 0.3), 0.5 * lowest_hz, 14000), start, crack)
        span = studio.octaves(0.15, 0.5)
        for at in studio.rng.exponential(span, studio.whole(40, 90)):
            f0_hz = studio.octaves(lowest_hz, 4 * lowest_hz)
            splinter = modes(studio, 0.12, [f0_hz, 1.63 * f0_hz], [1, 0.5], studio.octaves(0.04, 0.25))
            place(studio, canvas, splinter, start + float(at), studio.octaves(0.05, 0.6) * np.exp(-at / (3 * span)))
    return canvas


def knock(studio: Studio, seconds: float) -> Wave:
    """Return groups of two to five even knocks on wood."""
    canvas = silence(studio, seconds)
    f0_hz, gap, t60 = studio.octaves(90, 450), studio.octaves(0.12, 0.26), studio.octaves(0.06, 0.16)
    start = studio.between(0, 0.1)
    while start < seconds:
        for _ in range(studio.whole(2, 5)):
            body = struck(studio, t60, f0_hz, (1.0, 1.7, 2.6, 3.9, 5.5), t60, 0.5)
            place(studio, canvas, body, start, studio.between(0.6, 1))
            place(studio, canvas, click(studio, 0.02, 400, 5000), start, 0.5)
            start += gap * studio.between(0.92, 1.08)
        start += studio.octaves(0.4, 1.2)
    return canvas


def telephone(studio: Studio, seconds: float) -> Wave:
    """Return a telephone of one of four kinds: bell, electronic warble, dialled digits, or line tones."""
    return (_bell, _warble, _dialled, _line_tone)[studio.whole(0, 3)](studio, seconds)


def _bell(studio: Studio, seconds: float) -> Wave:
    canvas = silence(studio, seconds)
    gongs = (studio.octaves(1000, 2200), studio.octaves(1200, 2600))
    on, off, rate = studio.between(0.6, 1.6), studio.between(0.3, 1.2), studio.between(18, 26)
    for ring in times(studio, seconds, on + off, 0.02):
        for number, at in enumerate(times(studio, on, 1 / rate, 0.03)):
            place(
                studio, canvas, struck(studio, 0.35, gongs[number % 2], (1.0, 2.0, 3.01, 4.2), 0.5, 0.4), ring + at, 0.7
            )
    return canvas


def _warble(studio: Studio, seconds: float) -> Wave:
    canvas = silence(studio, seconds)
    first_hz, ratio, rate = studio.octaves(500, 1800), studio.between(1.15, 1.4), studio.between(9, 16)
    on, off = studio.between(0.6, 1.5), studio.between(0.3, 1.2)
    for ring in times(studio, seconds, on + off, 0.01):
        n_samples = studio.samples(min(on, seconds - ring))
        switch = np.floor(np.arange(n_samples) * 2 * rate / studio.sample_rate_hz) % 2
        f0 = first_hz * np.where(switch > 0, ratio, 1.0)
        tone = partials(studio, turns(studio, f0), float(f0.max()), [1, 0.1, 0.4, 0.05, 0.2])
        place(studio, canvas, tone * fade(studio, n_samples, 0.005, 0.01), ring)
    return canvas


def _dialled(studio: Studio, seconds: float) -> Wave:
    """Touch-tone digits: a low and a high frequency each (ITU-T Q.23)."""
    canvas = silence(studio, seconds)
    on, gap = studio.between(0.07, 0.16), studio.between(0.16, 0.3)
    tuning = studio.octaves(0.8, 1.25)
    for start in times(studio, seconds, on + gap * 0.5, 0.08):
        pair = ((697, 770, 852, 941)[studio.whole(0, 3)], (1209, 1336, 1477)[studio.whole(0, 2)])
        tone = modes(studio, min(on, seconds - start), tuning * np.array(pair), 0.5, 1e3)
        place(studio, canvas, tone * fade(studio, len(tone), 0.004, 0.004), start)
    return canvas


def _line_tone(studio: Studio, seconds: float) -> Wave:
    canvas = silence(studio, seconds)
    low_hz, ratio, on = studio.octaves(330, 620), studio.between(1.09, 1.29), studio.between(0.25, 0.7)
    for start in times(studio, seconds, 2 * on, 0.0):
        n_samples = studio.samples(min(on, seconds - start))
        tone = modes(
            studio, n_samples / studio.sample_rate_hz, [low_hz, ratio * low_hz, 2 * low_hz], [0.5, 0.5, 0.1], 1e3
        )
        place(studio, canvas, tone * fade(studio, len(tone), 0.005, 0.005), start)
    return canvas
