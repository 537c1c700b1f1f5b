"""Instruments: bowed, blown and plucked sounds with a pitch.

Every voice is a function ``(studio, seconds) -> wave``: dry mono float32 of ``studio.samples(seconds)`` samples. What
tells one instrument from another lies in time: how a note starts and swells, whether its pitch or its loudness
trembles, how notes follow each other, which partials there are. Pitch ranges overlap as they do in reality.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.waves import (
    Curve,
    Studio,
    Wave,
    cents,
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
    wobble,
)

Range = tuple[float, float]
Amplitudes = npt.NDArray[np.float64]

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10), tuple(range(12)))


def rolloff(n_partials: int, slope: float) -> Amplitudes:
    """Return amplitudes that fall as k^-slope, float64 [n_partials]."""
    return np.arange(1, n_partials + 1, dtype=np.float64) ** -slope


def melody(studio: Studio, lowest_hz: float, highest_hz: float, n_notes: int) -> list[float]:
    """Return the fundamentals of a random walk over the degrees of a random scale, within the range."""
    scale = SCALES[studio.whole(0, len(SCALES) - 1)]
    root_hz = studio.octaves(lowest_hz, highest_hz)
    degree, found = 0, []
    for _ in range(n_notes):
        octave, step = divmod(degree, len(scale))
        found.append(root_hz * 2 ** (octave + scale[step] / 12))
        degree += studio.whole(-3, 3)
        if not lowest_hz <= found[-1] <= highest_hz:
            degree = 0
    return [min(max(f0, lowest_hz), highest_hz) for f0 in found]


@dataclass(frozen=True)
class Tone:
    """How a sustained instrument sounds; every pair is a range that a clip or a note draws from.

    Parameters
    ----------
    f0_hz : tuple of float
        Range of the fundamental.
    spectrum : callable
        Amplitudes of the partials, drawn once a clip.
    note_seconds, gap_seconds : tuple of float
        Lengths of notes and of the rests between them; a negative gap overlaps (legato).
    attack_seconds, release_seconds : tuple of float
    vibrato_hz, vibrato_cents : tuple of float
        Trembling of the pitch.
    tremolo : tuple of float in [0, 1]
        Depth of the trembling of loudness, at the vibrato's rate.
    swell : tuple of float in [0, 1]
        How much the note's brightness follows an arch over the note, as brass does.
    scoop_cents : tuple of float
        How far below its pitch a note starts, and ends.
    breath : tuple of float
        Level of blown or bow noise beside the tone.
    """

    f0_hz: Range
    spectrum: Callable[[Studio], Amplitudes]
    note_seconds: Range = (0.25, 1.5)
    gap_seconds: Range = (0.0, 0.1)
    attack_seconds: Range = (0.02, 0.06)
    release_seconds: Range = (0.04, 0.12)
    vibrato_hz: Range = (5.0, 6.0)
    vibrato_cents: Range = (0.0, 4.0)
    tremolo: Range = (0.0, 0.05)
    swell: Range = (0.0, 0.0)
    scoop_cents: Range = (0.0, 0.0)
    breath: Range = (0.0, 0.0)


def pitch_curve(studio: Studio, tone: Tone, f0_hz: float, trembling: Curve) -> Curve:
    """Return a note's fundamental over time: scoops at both ends, vibrato growing in over the first 0.15 s."""
    n_samples = len(trembling)
    grown = np.minimum(np.arange(n_samples) / studio.samples(0.15), 1.0)
    depth = studio.between(*tone.vibrato_cents)
    scoop = studio.between(*tone.scoop_cents)
    edge = studio.samples(studio.between(0.07, 0.14))
    ends = np.minimum(np.minimum(np.arange(n_samples), np.arange(n_samples)[::-1]) / edge, 1.0)
    return f0_hz * cents(depth * grown * trembling - scoop * (1 - ends) ** 2)


def swelling(studio: Studio, phase: Curve, f0_max_hz: float, amplitudes: Amplitudes, swell: float) -> Wave:
    """Return a tone that opens to its full spectrum in the middle: dark and bright, mixed along an arch."""
    bright = partials(studio, phase, f0_max_hz, amplitudes)
    if swell == 0:
        return bright
    dark = partials(studio, phase, f0_max_hz, amplitudes[:3] * rolloff(3, 2.0))
    arch = np.float32(swell) * (np.sin(np.pi * np.arange(len(phase)) / len(phase)) ** 2).astype(np.float32)
    return bright * arch + dark * (1 - arch) * np.float32(0.6)


def sustained_note(studio: Studio, tone: Tone, amplitudes: Amplitudes, f0_hz: float, seconds: float) -> Wave:
    """Return one note of a sustained instrument, peak about 1."""
    n_samples = studio.samples(seconds)
    trembling = wobble(studio, n_samples, studio.between(*tone.vibrato_hz))
    f0 = pitch_curve(studio, tone, f0_hz, trembling)
    wave = swelling(studio, turns(studio, f0), float(f0.max()), amplitudes, studio.between(*tone.swell))
    breath = np.float32(studio.between(*tone.breath))
    if breath > 0:
        wave = wave + breath * unit(shaped(studio, studio.noise(n_samples), f0_hz, 6 * f0_hz, 1.0))
    wave *= 1 + np.float32(studio.between(*tone.tremolo)) * trembling.astype(np.float32)
    wave *= fade(studio, n_samples, studio.between(*tone.attack_seconds), studio.between(*tone.release_seconds))
    return wave


def phrase(studio: Studio, seconds: float, tone: Tone) -> Wave:
    """Return a melody on a sustained instrument: one long note, or several until the time is filled."""
    canvas = silence(studio, seconds)
    amplitudes = tone.spectrum(studio)
    usual = studio.octaves(*tone.note_seconds)
    start, notes = 0.0, melody(studio, *tone.f0_hz, 1 + int(seconds / min(tone.note_seconds)))
    for f0_hz in notes:
        length = min(usual * studio.octaves(0.7, 1.4), seconds - start)
        place(
            studio,
            canvas,
            sustained_note(studio, tone, amplitudes, f0_hz, max(length, 0.08)),
            start,
            studio.between(0.6, 1.0),
        )
        start += length + studio.between(*tone.gap_seconds)
        if start > seconds - 0.1:
            break
    return canvas


def _string_spectrum(studio: Studio) -> Amplitudes:
    return rolloff(40, studio.between(0.8, 1.3)) * np.exp(0.5 * studio.rng.standard_normal(40))


def _flute_spectrum(studio: Studio) -> Amplitudes:
    return rolloff(6, studio.between(1.8, 3.0))


def _clarinet_spectrum(studio: Studio) -> Amplitudes:
    amplitudes = rolloff(24, studio.between(0.6, 1.1))
    amplitudes[1::2] *= studio.between(0.01, 0.05)
    return amplitudes


def _oboe_spectrum(studio: Studio) -> Amplitudes:
    amplitudes = rolloff(24, studio.between(0.5, 0.9))
    amplitudes[:2] *= studio.between(0.15, 0.4)
    return amplitudes


def _brass_spectrum(studio: Studio) -> Amplitudes:
    return rolloff(28, studio.between(0.4, 0.8))


def _saxophone_spectrum(studio: Studio) -> Amplitudes:
    return rolloff(32, studio.between(0.7, 1.2)) * np.exp(0.4 * studio.rng.standard_normal(32))


VIOLIN = Tone(
    (196, 1500),
    _string_spectrum,
    (0.4, 2.0),
    (-0.05, 0.02),
    (0.05, 0.12),
    (0.06, 0.15),
    (5.2, 6.8),
    (35, 70),
    (0.05, 0.2),
    breath=(0.01, 0.04),
)
CELLO = Tone(
    (65, 420),
    _string_spectrum,
    (0.8, 3.0),
    (0.0, 0.1),
    (0.15, 0.35),
    (0.15, 0.35),
    (3.6, 4.6),
    (12, 30),
    (0.1, 0.35),
    (0.3, 0.7),
    breath=(0.02, 0.06),
)
FLUTE = Tone(
    (250, 1900),
    _flute_spectrum,
    (0.3, 1.6),
    (0.0, 0.12),
    (0.04, 0.09),
    (0.04, 0.1),
    (4.4, 5.6),
    (3, 12),
    (0.3, 0.6),
    breath=(0.08, 0.25),
)
CLARINET = Tone((147, 1300), _clarinet_spectrum, (0.15, 1.4), (-0.01, 0.0), (0.015, 0.03), (0.02, 0.04))
OBOE = Tone(
    (233, 1400),
    _oboe_spectrum,
    (0.25, 1.2),
    (0.03, 0.12),
    (0.01, 0.03),
    (0.03, 0.06),
    (6.2, 7.6),
    (10, 25),
    (0.3, 0.55),
)
TRUMPET = Tone(
    (165, 950),
    _brass_spectrum,
    (0.12, 0.9),
    (0.02, 0.1),
    (0.02, 0.05),
    (0.04, 0.08),
    (4.8, 5.6),
    (0, 15),
    swell=(0.75, 1.0),
)
SAXOPHONE = Tone(
    (110, 750),
    _saxophone_spectrum,
    (0.3, 1.2),
    (0.0, 0.12),
    (0.03, 0.06),
    (0.05, 0.1),
    (4.5, 5.5),
    (10, 30),
    (0.0, 0.15),
    (0.2, 0.5),
    (150, 350),
    (0.02, 0.1),
)


def violin(studio: Studio, seconds: float) -> Wave:
    """Return a bowed melody with a wide, quick vibrato and hardly any gap between notes."""
    return phrase(studio, seconds, VIOLIN)


def cello(studio: Studio, seconds: float) -> Wave:
    """Return long low bowed notes that swell and fade, with a slow vibrato."""
    return phrase(studio, seconds, CELLO)


def flute(studio: Studio, seconds: float) -> Wave:
    """Return nearly pure tones in breath noise, whose loudness trembles more than their pitch."""
    return phrase(studio, seconds, FLUTE)


def clarinet(studio: Studio, seconds: float) -> Wave:
    """Return a smooth line of odd partials with neither vibrato nor gaps."""
    return phrase(studio, seconds, CLARINET)


def oboe(studio: Studio, seconds: float) -> Wave:
    """Return detached nasal notes, weak in their first partials, with a quick tremor."""
    return phrase(studio, seconds, OBOE)


def trumpet(studio: Studio, seconds: float) -> Wave:
    """Return tongued notes that open to brightness and close again."""
    return phrase(studio, seconds, TRUMPET)


def saxophone(studio: Studio, seconds: float) -> Wave:
    """Return notes that are scooped into from below and fall off, some of them growled."""
    wave = phrase(studio, seconds, SAXOPHONE)
    if studio.chance(0.3):
        wave = wave * (1 + 0.6 * wobble(studio, len(wave), studio.between(22, 32))).astype(np.float32)
    return wave


def harmonica(studio: Studio, seconds: float) -> Wave:
    """Return chords of beating reeds, drawn and blown in turn, trembling under the player's hand."""
    canvas = silence(studio, seconds)
    root_hz = studio.octaves(240, 700)
    blow, draw = (1.0, 1.26, 1.498), (1.122, 1.335, 1.682)
    amplitudes, wah_hz = rolloff(20, studio.between(0.5, 1.0)), studio.between(4.5, 7.5)
    starts = [*times(studio, seconds, studio.octaves(0.25, 0.8), 0.25), seconds]
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
        n_samples = studio.samples(max(stop - start, 0.06))
        chord = np.zeros(n_samples, np.float32)
        for ratio in (blow if number % 2 else draw)[: studio.whole(2, 3)]:
            for detuned in (1.0, 1 + studio.between(0.003, 0.008)):
                f0_hz = root_hz * ratio * detuned
                chord += partials(studio, turns(studio, np.full(n_samples, f0_hz)), f0_hz, amplitudes)
        hand = 1 - 0.35 * (1 + wobble(studio, n_samples, wah_hz)).astype(np.float32)
        place(studio, canvas, chord * hand * fade(studio, n_samples, 0.03, 0.03), start)
    return canvas


def plucked(studio: Studio, f0_hz: float, seconds: float, t60_seconds: float, slope: float) -> Wave:
    """Return one plucked string: stretched partials, the high ones dying first (as the square root of their number)."""
    number = np.arange(1, 1 + min(30, int(9000 / f0_hz)))
    stretched = f0_hz * number * np.sqrt(1 + 2e-4 * studio.rng.random() * number**2)
    comb = np.abs(np.sin(np.pi * number * studio.between(0.12, 0.35))) + 0.05
    return unit(modes(studio, seconds, stretched, comb * number**-slope, t60_seconds / np.sqrt(number)))


def acoustic_guitar(studio: Studio, seconds: float) -> Wave:
    """Return strummed or picked chords: four to six strings struck one after the other, ringing on."""
    canvas = silence(studio, seconds)
    slope, t60 = studio.between(0.6, 1.2), studio.octaves(1.2, 4.0)
    spread = studio.octaves(0.012, 0.04) if studio.chance(0.6) else studio.octaves(0.12, 0.3)
    root_hz = studio.octaves(82, 400)
    for start in times(studio, seconds, spread * 6 + studio.octaves(0.25, 1.2), 0.15):
        root = root_hz * 2 ** (studio.whole(-3, 4) / 12)
        for string, semitones in enumerate((0, 7, 12, 15 + studio.whole(0, 1), 19, 24)[: studio.whole(4, 6)]):
            at = start + string * spread * studio.between(0.8, 1.2)
            ringing = min(t60 * 0.7, seconds - at)
            if ringing > 0.02:
                place(
                    studio,
                    canvas,
                    plucked(studio, root * 2 ** (semitones / 12), ringing, t60, slope),
                    at,
                    studio.between(0.5, 1),
                )
    return canvas


def double_bass(studio: Studio, seconds: float) -> Wave:
    """Return a walking line of low plucked strings, each slid into, with a thump of the finger."""
    canvas = silence(studio, seconds)
    gap, t60, slope = studio.octaves(0.3, 0.9), studio.octaves(0.5, 1.6), studio.between(0.7, 1.4)
    starts = times(studio, seconds, gap, 0.05)
    for start, f0_hz in zip(starts, melody(studio, 41, 165, len(starts)), strict=True):
        n_samples = studio.samples(min(1.4 * gap, seconds - start))
        slide = cents(-studio.between(60, 200) * np.exp(-np.arange(n_samples) / studio.samples(0.06)))
        tone = partials(studio, turns(studio, f0_hz * slide), f0_hz, rolloff(20, slope))
        thump = shaped(studio, studio.noise(n_samples) * decay(studio, n_samples, 0.06), 80, 900)
        place(
            studio,
            canvas,
            tone * decay(studio, n_samples, t60) * fade(studio, n_samples, 0.008, 0.05) + 0.4 * unit(thump),
            start,
        )
    return canvas


def electric_piano(studio: Studio, seconds: float) -> Wave:
    """Return chords of struck tines: a soft tone with a bell at the onset, under a slow tremolo of loudness."""
    canvas = silence(studio, seconds)
    gap, t60, bell = studio.octaves(0.35, 1.4), studio.octaves(1.5, 4.0), studio.between(0.3, 0.9)
    root_hz = studio.octaves(110, 600)
    for start in times(studio, seconds, gap, 0.1):
        for semitones in ((0,), (0, 4, 7), (0, 3, 10), (0, 5, 9, 14))[studio.whole(0, 3)]:
            f0 = root_hz * 2 ** ((semitones + studio.whole(-2, 2)) / 12)
            frequency, level = f0 * np.array([1, 2, 3, 7.1, 11.3]), np.array([1, 0.35, 0.12, bell, 0.4 * bell])
            tine = modes(studio, min(1.6 * gap, seconds - start), frequency, level, [t60, t60 / 2, t60 / 3, 0.25, 0.15])
            place(studio, canvas, tine * fade(studio, len(tine), 0.003, 0.06), start, studio.between(0.6, 1.0))
    depth = np.float32(studio.between(0.5, 0.8))
    tremor = 0.5 + 0.5 * wobble(studio, len(canvas), studio.between(3.5, 6.0), 0.02).astype(np.float32)
    return canvas * (1 - depth * tremor)
