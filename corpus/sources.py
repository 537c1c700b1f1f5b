"""Sources of random patches: what makes a sound, before envelope, rhythm and effects.

Conventions are those of `corpus.waves`. A source is drawn from a studio and returns a function that plays it: studio,
number of samples, ratio to its pitch → wave.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import fftconvolve, lfilter

from corpus.waves import Curve, Studio, Wave, drift, turns, unit

Play = Callable[[Studio, int, float], Wave]

HIGHEST_SHARE = 0.45
"""Of the sample rate: partials above are left out."""
RATIOS = {
    "bar": ((2 * np.arange(18) + 3) / 3) ** 2,
    "membrane": np.array([1, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 3.652, 4.06, 4.154, 4.6, 4.9, 5.1]),
    "bell": np.array([0.5, 1, 1.2, 1.5, 2, 2.5, 2.67, 3, 4, 5.3, 6.7, 8, 9.6, 11, 13, 15, 17, 19]),
}
"""Frequencies of the modes of bodies (Fletcher and Rossing, 1998, "The Physics of Musical Instruments")."""


def seconds_of(studio: Studio, n_samples: int) -> Wave:
    """Return the time of each sample."""
    return np.arange(n_samples, dtype=np.float32) / np.float32(studio.sample_rate_hz)


def resonate(studio: Studio, wave: Wave, centre_hz: float, width_hz: float) -> Wave:
    """Return the wave through two poles at a frequency, of such a bandwidth."""
    radius = np.exp(-np.pi * width_hz / studio.sample_rate_hz)
    angle = 2 * np.pi * min(centre_hz / studio.sample_rate_hz, 0.47)
    heard: Wave = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wave).astype(np.float32)
    return heard


def _level_resonance(studio: Studio, wave: Wave, centre_hz: float, width_hz: float) -> Wave:
    """Resonate, at a level that hardly depends on the bandwidth."""
    return resonate(studio, wave, centre_hz, width_hz) * np.float32(0.3 * np.sqrt(studio.sample_rate_hz / width_hz))


def low_pass(studio: Studio, wave: Wave, cutoff_hz: float) -> Wave:
    """Return what a single pole passes."""
    pole = np.exp(-2 * np.pi * min(cutoff_hz / studio.sample_rate_hz, 0.49))
    passed: Wave = lfilter([1 - pole], [1, -pole], wave).astype(np.float32)
    return passed


def sloped_noise(studio: Studio, n_samples: int, slope: float) -> Wave:
    """Return noise whose power goes with this power of the frequency: 0 is white, -1 pink; unit variance."""
    spectrum = np.fft.rfft(studio.rng.standard_normal(n_samples))
    frequency = np.maximum(np.fft.rfftfreq(n_samples, 1 / studio.sample_rate_hz), 40)
    wave = np.fft.irfft(spectrum * (frequency / 1000) ** (slope / 2), n_samples).astype(np.float32)
    return wave / np.float32(wave.std() + 1e-9)


def boost(studio: Studio, wave: Wave, centre_hz: float, width: float, gain_db: float) -> Wave:
    """Raise or lower what is around a frequency; ``width`` is its share of the frequency."""
    gain = np.float32(0.7 * (10 ** (gain_db / 20) - 1))
    return wave + gain * resonate(studio, wave, centre_hz, centre_hz * width)


def harmonic(draw: Studio) -> Play:
    """Return a tone: partials that fall off, stretched or not, with formants, vibrato, glide, damping and breath."""
    f0, slope, count = draw.octaves(45, 1500), draw.between(0.3, 2.5), np.arange(1, 41)
    amplitude = count**-slope * np.exp(draw.between(0, 0.8) * draw.rng.standard_normal(40))
    amplitude[1::2] *= draw.rng.choice([1, 1, 0.1, 0.5])
    stretch = draw.octaves(1e-5, 3e-3) * draw.chance(0.25)
    formants = [(draw.octaves(250, 5000), draw.between(0.1, 0.5), draw.between(3, 18)) for _ in range(draw.whole(0, 3))]
    rate, depth = draw.between(3, 8), draw.between(0, 0.02) * draw.chance(0.5)
    glide, damping = draw.between(-0.5, 0.5) * draw.chance(0.25), draw.octaves(0.1, 3) * draw.chance(0.33)
    breath = draw.octaves(0.01, 0.4) * draw.chance(0.33)

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        seconds, pitch = seconds_of(studio, n_samples), f0 * ratio
        vibrato = 1 + depth * np.sin(2 * np.pi * (rate * studio.octaves(0.8, 1.25) * seconds + studio.rng.random()))
        phase = turns(studio, pitch * vibrato * 2 ** (glide * seconds / max(float(seconds[-1]), 0.1)))
        gains = amplitude.copy()
        for centre, width, gain_db in formants:
            gains *= 10 ** (gain_db / 20 * np.exp(-((np.log(pitch * count / centre) / width) ** 2)))
        wave = np.zeros(n_samples, np.float32)
        for number, gain in zip(count * np.sqrt(1 + stretch * count**2), gains, strict=True):
            if pitch * number > HIGHEST_SHARE * studio.sample_rate_hz:
                break
            partial = np.sin(2 * np.pi * (phase * number + studio.rng.random())).astype(np.float32)
            wave += np.float32(gain) * (partial * np.exp(-seconds * damping * number / 2) if damping else partial)
        if breath:
            noise = studio.rng.standard_normal(n_samples).astype(np.float32)
            wave += np.float32(8 * breath) * resonate(studio, noise, min(3 * pitch, 15_000), 2 * pitch)
        return wave

    return play


def _mode_ratios(draw: Studio, n_modes: int) -> Curve:
    kind = str(draw.rng.choice(["bar", "membrane", "bell", "plate", "any"]))
    if kind == "plate":
        return np.sort(20 ** draw.rng.random(n_modes))
    if kind == "any":
        return 1 + np.sort(draw.rng.exponential(3, n_modes))
    found: Curve = RATIOS[kind][:n_modes] / RATIOS[kind][0]
    return found


def struck(draw: Studio) -> Play:
    """Return a struck body: modes that die away, the higher the faster, a drop in pitch, the noise of the blow."""
    ratios = _mode_ratios(draw, draw.whole(2, 17))
    amplitude = np.exp(draw.rng.standard_normal(len(ratios)) - draw.between(0, 0.25) * np.arange(len(ratios)))
    f0, t60, falling = draw.octaves(50, 4000), draw.octaves(0.04, 5), draw.between(0, 1.2)
    click, click_seconds = draw.octaves(0.05, 1.5) * draw.chance(0.5), draw.octaves(0.0005, 0.02)
    drop = draw.between(0, 0.6) * draw.chance(0.33)

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        seconds, wave = seconds_of(studio, n_samples), np.zeros(n_samples, np.float32)
        base = turns(studio, f0 * ratio * (1 + drop * np.exp(-30 * seconds)))
        for mode, gain in zip(ratios, amplitude * studio.rng.uniform(0.3, 1, len(ratios)), strict=True):
            if f0 * ratio * mode < 0.47 * studio.sample_rate_hz:
                fading = np.exp(-seconds * np.float32(6.9 * mode**falling / t60))
                wave += np.float32(gain) * fading * np.sin(2 * np.pi * (base * mode + studio.rng.random()))
        if click:
            wave += click * studio.rng.standard_normal(n_samples) * np.exp(-seconds / np.float32(click_seconds))
        return wave.astype(np.float32)

    return play


def modulated(draw: Studio) -> Play:
    """Return frequency modulation by one sine (Chowning, 1973), whose index dies away."""
    f0, index, fading = draw.octaves(45, 2500), draw.octaves(0.3, 15), draw.octaves(0.05, 3)
    other = float(draw.rng.choice([0.5, 1, 1.41, 2, 3, 3.5, draw.octaves(0.1, 12)]))

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        seconds = seconds_of(studio, n_samples).astype(np.float64)
        phase = 2 * np.pi * f0 * ratio * seconds
        wave: Wave = np.sin(phase + index * np.exp(-seconds / fading) * np.sin(other * phase)).astype(np.float32)
        return wave

    return play


def noisy(draw: Studio) -> Play:
    """Return noise of some slope, through resonances, that may wax and wane."""
    slope = draw.between(-3, 2)
    peaks = [(draw.octaves(120, 12_000), draw.octaves(30, 2500)) for _ in range(draw.whole(0, 3))]
    dry, rate, depth = draw.between(0, 0.3), draw.octaves(0.3, 25), draw.between(0, 1) * draw.chance(0.5)

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        noise = sloped_noise(studio, n_samples, slope)
        wave = np.float32(dry) * noise if peaks else noise
        for centre, width in peaks:
            wave = wave + _level_resonance(studio, noise, centre * ratio, width)
        turn = rate * studio.octaves(0.8, 1.25) * seconds_of(studio, n_samples) + studio.rng.random()
        waxing: Wave = (1 + depth * np.sin(2 * np.pi * turn)).astype(np.float32)
        return wave * waxing

    return play


def pulsed(draw: Studio) -> Play:
    """Return a train of short bursts, regular or not, through resonances: rattles, crackles, motors."""
    rate, irregular = draw.octaves(3, 180), float(draw.rng.choice([0, 0.1, 1]))
    peaks = [(draw.octaves(150, 13_000), draw.octaves(40, 3000)) for _ in range(draw.whole(1, 4))]
    spread, length = draw.between(0, 1.5), draw.octaves(0.0002, 0.004)

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        gap = studio.sample_rate_hz / (rate * studio.octaves(0.7, 1.4))
        count = int(3 * n_samples / gap) + 4
        drawn = (
            studio.rng.exponential(gap, count) if irregular == 1 else studio.rng.normal(gap, irregular * gap / 2, count)
        )
        starts = np.concatenate([[0], np.cumsum(np.maximum(drawn, 0.15 * gap))]).astype(np.int64)
        starts = starts[starts < n_samples]
        signs = studio.rng.choice([-1, 1], len(starts))
        impulses = np.zeros(n_samples, np.float32)
        impulses[starts] = signs * np.exp(spread * studio.rng.standard_normal(len(starts)))
        n_burst = studio.samples(length) + 2
        burst = studio.rng.standard_normal(n_burst) * np.exp(-np.arange(n_burst) / (n_burst / 3))
        train = fftconvolve(impulses, burst)[:n_samples].astype(np.float32)
        return sum(
            (_level_resonance(studio, train, centre * ratio, width) for centre, width in peaks),
            np.zeros(n_samples, np.float32),
        )

    return play


def voiced(draw: Studio) -> Play:
    """Return a throat: pulses and breath through three formants that move, at a pitch that rises and falls."""
    f0, contour, range_octaves = draw.octaves(70, 1100), draw.rng.uniform(-1, 1, 4), draw.between(0, 1)
    size, breath, rough = draw.between(0.8, 1.6), draw.octaves(0.005, 1), draw.between(0, 0.06)
    limits = ((250, 950), (800, 2600), (2200, 3600))
    vowels = [[size * draw.between(*each) for each in limits] for _ in range(draw.whole(1, 3))]
    tilt, width = draw.between(0.5, 2), draw.octaves(50, 250)

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        way = np.linspace(0, 1, n_samples)
        bent = range_octaves * np.interp(way, np.linspace(0, 1, 4), contour) + drift(studio, n_samples, 100, rough)
        pulses = (turns(studio, f0 * ratio * 2**bent) % 1) ** tilt - 0.5
        wave = (0.5 * pulses + 0.5 * np.diff(pulses, prepend=0)).astype(np.float32)
        wave += np.float32(breath) * studio.rng.standard_normal(n_samples).astype(np.float32)
        other, heard = studio.octaves(0.85, 1.18), np.zeros(n_samples, np.float32)
        for number, vowel in enumerate(vowels):
            share = np.clip(1 - np.abs(len(vowels) * way - number - 0.5), 0, 1) if len(vowels) > 1 else np.ones(1)
            for gain, centre in zip((1, 0.6, 0.3), vowel, strict=True):
                heard += gain * share.astype(np.float32) * _level_resonance(studio, wave, other * centre, width)
        return heard

    return play


def swept(draw: Studio) -> Play:
    """Return a pitch that glides, once or to and fro: a sine, a sawtooth, or noise around it."""
    first, last = draw.octaves(60, 8000), draw.octaves(60, 8000)
    kind, cycles = str(draw.rng.choice(["saw", "sine", "noise"])), draw.octaves(0.5, 20) * draw.chance(0.33)

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        way = np.linspace(0, 1, n_samples)
        if cycles:
            way = 0.5 - 0.5 * np.cos(2 * np.pi * cycles * studio.octaves(0.8, 1.25) * seconds_of(studio, n_samples))
        highest = HIGHEST_SHARE * studio.sample_rate_hz
        phase = turns(studio, np.clip(first * ratio * (last / first) ** way, 30, highest))
        if kind == "saw":
            return (2 * (phase % 1) - 1).astype(np.float32)
        wave: Wave = np.sin(2 * np.pi * phase).astype(np.float32)
        return wave * studio.rng.standard_normal(n_samples).astype(np.float32) if kind == "noise" else wave

    return play


def paired(draw: Studio) -> Play:
    """Return two sources at once."""
    first, second = (SINGLE[draw.whole(0, len(SINGLE) - 1)](draw) for _ in range(2))
    share = np.float32(draw.between(0.2, 0.8))

    def play(studio: Studio, n_samples: int, ratio: float) -> Wave:
        one, other = (unit(source(studio, n_samples, ratio)) for source in (first, second))
        return share * one + (1 - share) * other

    return play


SINGLE: tuple[Callable[[Studio], Play], ...] = (harmonic, struck, modulated, noisy, pulsed, voiced, swept)
SOURCES = (*SINGLE, paired)
SHARES = (0.22, 0.17, 0.1, 0.12, 0.12, 0.15, 0.06, 0.06)
"""Of the patches, how many have each of `SOURCES`."""
