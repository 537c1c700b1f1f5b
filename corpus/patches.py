"""Patches: random ways to make a sound, for networks to learn what sounds differ in before they hear a recording.

A patch is a synthesizer whose settings were drawn once: a source (see `corpus.sources`), its envelope, rhythm and
effects. Each time it is played, pitch, length, timing, room and background differ, as they do between sounds of one
kind. Networks that were trained to tell thousands of such patches apart know much about sounds that they never heard
(Cherep and Singh, 2024, "Contrastive Learning from Synthetic Audio Doppelgängers", arXiv:2406.05923).

Conventions are those of `corpus.waves`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from corpus.sources import SHARES, SOURCES, Play, boost, low_pass, seconds_of, sloped_noise
from corpus.waves import Studio, Wave, place, unit

LONGEST_SECONDS = 5.5


@dataclass(frozen=True)
class Envelope:
    """How a note's level goes: ``decay``, ``sustain``, ``swell``, ``plain`` or ``gate``, with its times in seconds."""

    kind: str
    attack_seconds: float
    fall_seconds: float
    level: float
    release_seconds: float

    @classmethod
    def draw(cls, draw: Studio) -> "Envelope":
        """Draw one."""
        kind = str(draw.rng.choice(["decay", "sustain", "swell", "plain", "gate"], p=[0.4, 0.25, 0.1, 0.15, 0.1]))
        times = draw.octaves(0.001, 0.15), draw.octaves(0.03, 2.5), draw.between(0.1, 0.9), draw.octaves(0.02, 0.6)
        return cls(kind, *times)

    def curve(self, studio: Studio, n_samples: int) -> Wave:
        """Return the level, float32 [n_samples]."""
        seconds, whole = seconds_of(studio, n_samples), n_samples / studio.sample_rate_hz
        attack = self.attack_seconds * studio.octaves(0.7, 1.4)
        if self.kind == "swell":
            attack = whole * (0.2 + 0.6 * self.level)
        fall = self.fall_seconds * studio.octaves(0.6, 1.6)
        curve = np.minimum(1, seconds / max(attack, 1e-4)) * np.minimum(
            1, (whole - seconds) / min(self.release_seconds, whole / 2)
        )
        after = np.maximum(0, seconds - attack)
        if self.kind == "decay":
            curve = curve * np.exp(-3 * after / fall)
        elif self.kind == "sustain":
            curve = curve * (self.level + (1 - self.level) * np.exp(-5 * after / fall))
        elif self.kind == "gate":
            curve = curve * (np.sin(2 * np.pi * seconds / fall) > -self.level)
        level: Wave = curve.astype(np.float32)
        return level


@dataclass(frozen=True)
class Rhythm:
    """How notes follow each other: gaps in seconds, how irregular, faster or slower, how unequal in level."""

    notes: int
    gap_seconds: float
    irregularity: float
    growth: float
    accent: float

    @classmethod
    def draw(cls, draw: Studio) -> "Rhythm":
        """Draw one."""
        irregularity, growth = draw.rng.choice([0, 0.05, 0.3, 1]), draw.rng.choice([1, 1, 1, 0.9, 1.1])
        notes, gap = int(draw.octaves(2, 24)), draw.octaves(0.03, 0.6)
        return cls(notes, gap, float(irregularity), float(growth), draw.between(0, 0.6))

    def starts(self, studio: Studio, seconds: float) -> list[float]:
        """Return when notes begin, the first at once."""
        gap, at, found = self.gap_seconds * studio.octaves(0.75, 1.33), 0.0, list[float]()
        most = max(2, int(self.notes * studio.octaves(0.6, 1.6)))
        while at < seconds - 0.03 and len(found) < min(most, 40):
            found.append(at)
            at += gap * max(0.2, 1 + self.irregularity * studio.rng.normal(0, 0.5))
            gap = max(0.02, gap * self.growth)
        return found


@dataclass(frozen=True)
class Patch:
    """A way to make a sound: see the fields' names; ``octaves`` is how far pitches differ, up and down."""

    source: Play
    envelope: Envelope
    rhythm: Rhythm | None
    seconds: float
    octaves: float
    tremolo: tuple[float, float] | None
    boosts: tuple[tuple[float, float, float], ...]
    drive: float
    low_pass_hz: float
    high_pass_hz: float

    def render(self, studio: Studio) -> Wave:
        """Play the patch once, in some room, before some background: float32 [n_samples], in [-1, 1]."""
        seconds = float(np.clip(self.seconds * studio.octaves(0.6, 1.7), 0.2, LONGEST_SECONDS))
        wave = unit(self._notes(studio, seconds))
        if self.drive:
            wave = np.tanh(np.float32(self.drive) * wave)
        if self.low_pass_hz:
            wave = low_pass(studio, low_pass(studio, wave, self.low_pass_hz), self.low_pass_hz)
        if self.high_pass_hz:
            wave = wave - low_pass(studio, wave, self.high_pass_hz)
        for centre, width, gain_db in self.boosts:
            wave = boost(studio, wave, centre, width, gain_db)
        return _heard(studio, wave)

    def _notes(self, studio: Studio, seconds: float) -> Wave:
        ratio = 2 ** studio.between(-self.octaves, self.octaves)
        if self.rhythm is None:
            return self._note(studio, studio.samples(seconds), ratio)
        wave = np.zeros(studio.samples(seconds), np.float32)
        note = self._note(studio, studio.samples(max(2.5 * self.rhythm.gap_seconds, 0.12)), ratio)
        for start in self.rhythm.starts(studio, seconds):
            place(studio, wave, note, start, float(np.exp(self.rhythm.accent * studio.rng.standard_normal())))
        return wave

    def _note(self, studio: Studio, n_samples: int, ratio: float) -> Wave:
        wave = self.source(studio, n_samples, ratio)
        if self.tremolo:
            rate, depth = self.tremolo
            turn = 2 * np.pi * rate * seconds_of(studio, n_samples)
            wave = wave * (1 - depth * (0.5 + 0.5 * np.sin(turn))).astype(np.float32)
        return wave * self.envelope.curve(studio, n_samples)


def _heard(studio: Studio, wave: Wave) -> Wave:
    """Return what a recorder gets: a room, a response of its own, background, silence around, some level.

    Milder than `corpus.recording`: behind that much noise and colour, fewer patches can be told apart.
    """
    if studio.chance(0.6):
        wave = _in_a_room(studio, wave)
    for _ in range(studio.whole(0, 2)):
        wave = boost(studio, wave, studio.octaves(80, 9000), studio.between(0.4, 1.5), studio.between(-9, 9))
    if studio.chance(0.25):
        wave = low_pass(studio, wave, studio.octaves(2500, 15_000))
    wave = unit(wave)
    if studio.chance(0.6):
        level = 10 ** (studio.between(-80, -28) / 20)
        wave = wave + np.float32(level) * sloped_noise(studio, len(wave), studio.between(-2.5, 0.5))
    if studio.chance(0.5):
        around = studio.samples(studio.between(0, 0.4)), studio.samples(studio.between(0, 0.5))
        wave = np.pad(wave, around)
    return unit(wave) * np.float32(10 ** (studio.between(-18, -0.5) / 20))


def _in_a_room(studio: Studio, wave: Wave) -> Wave:
    n_tail = studio.samples(studio.octaves(0.05, 1.8))
    falling = studio.rng.standard_normal(n_tail) * np.exp(-6.9 * np.arange(n_tail) / n_tail)
    tail = low_pass(studio, falling.astype(np.float32), studio.octaves(1500, 12_000))
    wet = fftconvolve(wave, tail / (np.linalg.norm(tail) + 1e-9))[: len(wave) + min(n_tail, studio.samples(0.5))]
    wet *= studio.between(0.05, 0.8)
    wet[: len(wave)] += wave
    heard: Wave = wet.astype(np.float32)
    return heard


def draw_patch(draw: Studio) -> Patch:
    """Draw a patch."""
    number = int(draw.rng.choice(len(SOURCES), p=SHARES))
    boosts = [
        (draw.octaves(100, 9000), draw.between(0.05, 0.6), draw.between(-12, 12)) for _ in range(draw.whole(0, 3))
    ]
    return Patch(
        source=SOURCES[number](draw),
        envelope=Envelope.draw(draw),
        rhythm=Rhythm.draw(draw) if draw.chance(0.4) else None,
        seconds=draw.octaves(0.25, 4.5),
        octaves=float(draw.rng.choice([0.05, 0.3, 1, 1.5])),
        tremolo=(draw.octaves(2, 90), draw.between(0.2, 1)) if draw.chance(0.15) else None,
        boosts=tuple(boosts),
        drive=draw.octaves(1, 12) if draw.chance(0.15) else 0.0,
        low_pass_hz=draw.octaves(800, 18_000) if draw.chance(0.3) else 0.0,
        high_pass_hz=draw.octaves(40, 1500) if draw.chance(0.2) else 0.0,
    )


def render_patch(number: int, take: int, *, seed: int) -> Wave:
    """Play a patch: the same numbers and seed give the same sound.

    Parameters
    ----------
    number : int
        Which patch.
    take : int
        Which of its sounds.
    seed : int

    Returns
    -------
    float32 [n_samples], in [-1, 1]
        At 44.1 kHz, up to 6.9 s.
    """
    patch = draw_patch(Studio(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))))
    return patch.render(Studio(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, take)))))
