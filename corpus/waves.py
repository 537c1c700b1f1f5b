"""Waves: the building blocks that every synthetic sound is made of.

Conventions: a wave is mono float32 [n_samples]; a curve is a control signal, float64 [n_samples], one value a sample;
frequencies are in hertz, times in seconds, pitch bends in cents, levels as linear amplitudes unless a name says
``_db``. All chance comes from the studio's generator, so a wave depends on nothing but its studio and its arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]

TABLE_SIZE = 4096
"""Samples in one period of a wavetable: linear interpolation then errs 90 dB below the tenth partial."""
MODE_BLOCK = 64
LARGEST_PRODUCT = 1 << 17
FRAME = 1024
HOP = FRAME // 2


@dataclass(frozen=True)
class Studio:
    """Where a sound is made: its source of chance and its sample rate.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of chance.
    sample_rate_hz : int
        Samples a second of every wave made here.
    """

    rng: np.random.Generator
    sample_rate_hz: int = 44100

    def samples(self, seconds: float) -> int:
        """Return the number of samples in so many seconds, at least one."""
        return max(1, round(seconds * self.sample_rate_hz))

    def between(self, low: float, high: float) -> float:
        """Draw evenly from [low, high)."""
        return float(self.rng.uniform(low, high))

    def octaves(self, low: float, high: float) -> float:
        """Draw evenly on a logarithmic scale from [low, high), as pitches and time spans are."""
        return float(low * (high / low) ** self.rng.random())

    def chance(self, probability: float) -> bool:
        """Say yes with the given probability in [0, 1]."""
        return bool(self.rng.random() < probability)

    def whole(self, low: int, high: int) -> int:
        """Draw a whole number from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def noise(self, n_samples: int) -> Wave:
        """Return white noise of unit variance, float32 [n_samples].

        Its values are evenly distributed, which is quicker to draw than normal ones and sounds the same.
        """
        return (self.rng.random(n_samples, dtype=np.float32) - np.float32(0.5)) * np.float32(np.sqrt(12))


def silence(studio: Studio, seconds: float) -> Wave:
    """Return an empty wave to place sounds on, float32 [n_samples]."""
    return np.zeros(studio.samples(seconds), np.float32)


def place(studio: Studio, canvas: Wave, sound: Wave, start_seconds: float, gain: float = 1.0) -> None:
    """Add a sound to the canvas, in place; what reaches beyond the canvas's end is cut off."""
    start = round(start_seconds * studio.sample_rate_hz)
    room = canvas[start : start + len(sound)]
    room += np.float32(gain) * sound[: len(room)]


def bend(n_samples: int, points: Sequence[float]) -> Curve:
    """Return straight lines through evenly spaced points, float64 [n_samples]."""
    return np.interp(np.arange(n_samples), np.linspace(0, max(n_samples - 1, 1), len(points)), points)


def drift(studio: Studio, n_samples: int, rate_hz: float, depth: float) -> Curve:
    """Return a slow random walk around zero: normal values of deviation ``depth``, ``rate_hz`` of them a second."""
    n_points = max(2, int(n_samples / studio.sample_rate_hz * rate_hz) + 2)
    return bend(n_samples, list(depth * studio.rng.standard_normal(n_points)))


def wobble(studio: Studio, n_samples: int, rate_hz: float, irregularity: float = 0.08) -> Curve:
    """Return a sine of about ``rate_hz``, in [-1, 1], with a random phase and a wandering rate, float64 [n_samples]."""
    rate = rate_hz * (1 + drift(studio, n_samples, 3.0, irregularity))
    turns = np.cumsum(rate) / studio.sample_rate_hz
    return np.sin(2 * np.pi * (turns + studio.rng.random()))


def cents(curve: Curve | float) -> Curve:
    """Return the frequency ratio of a bend in cents."""
    return np.exp2(np.asarray(curve, np.float64) / 1200)


def fade(studio: Studio, n_samples: int, attack_seconds: float, release_seconds: float) -> Wave:
    """Return an envelope in [0, 1] that rises and falls as a half cosine, float32 [n_samples]."""
    envelope = np.ones(n_samples, np.float32)
    attack = min(n_samples, studio.samples(attack_seconds))
    release = min(n_samples, studio.samples(release_seconds))
    envelope[:attack] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(attack, dtype=np.float32) / attack)
    envelope[-release:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1, dtype=np.float32) / release)
    return envelope


def decay(studio: Studio, n_samples: int, t60_seconds: float) -> Wave:
    """Return an exponential that falls by 60 dB in ``t60_seconds``, float32 [n_samples], in (0, 1]."""
    rate = -np.log(1000) / (t60_seconds * studio.sample_rate_hz)
    falling: Wave = np.exp(np.float32(rate) * np.arange(n_samples, dtype=np.float32))
    return falling


def turns(studio: Studio, f0_hz: Curve) -> Curve:
    """Return the phase of an oscillator of the given frequency, in periods, from a random start."""
    return np.cumsum(f0_hz) / studio.sample_rate_hz + studio.rng.random()


def partials(studio: Studio, phase: Curve, f0_max_hz: float, amplitudes: npt.ArrayLike) -> Wave:
    """Return a harmonic sound from a wavetable: partial k has ``amplitudes[k - 1]``, random phases, no aliasing.

    Parameters
    ----------
    phase : float64 [n_samples]
        In periods, as `turns` gives it.
    f0_max_hz : float
        The highest frequency that the phase runs at: partials above 0.45 of the sample rate are left out.
    amplitudes : array-like of float [n_partials]

    Returns
    -------
    float32 [n_samples]
        Peak about 1 at most.
    """
    n_partials = max(1, min(np.size(amplitudes), int(0.45 * studio.sample_rate_hz / f0_max_hz), TABLE_SIZE // 8))
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, np.complex128)
    angles = np.exp(2j * np.pi * studio.rng.random(np.size(amplitudes)))
    spectrum[1 : n_partials + 1] = (np.asarray(amplitudes) * angles)[:n_partials]
    period = np.fft.irfft(spectrum)
    table: Wave = (np.append(period, period[0]) / (np.abs(period).max() + 1e-12)).astype(np.float32)
    position = (phase % 1.0) * TABLE_SIZE
    index = position.astype(np.int32)
    fraction: Wave = (position - index).astype(np.float32)
    return table[index] * (1 - fraction) + table[index + 1] * fraction


def modes(
    studio: Studio, seconds: float, frequency_hz: npt.ArrayLike, amplitude: npt.ArrayLike, t60_seconds: npt.ArrayLike
) -> Wave:
    """Return what a struck body radiates: a sum of exponentially decaying sines with random phases.

    Modes above 0.48 of the sample rate are left out. The powers of each mode's pole are split into block and offset
    (z^(256 b + j) = z^(256 b) z^j), so that the sum over modes is one matrix product.

    Parameters
    ----------
    seconds : float
    frequency_hz, amplitude, t60_seconds : array-like of float [n_modes]
        ``t60_seconds`` may be a single value.
    """
    frequency, level, t60 = np.broadcast_arrays(
        np.asarray(frequency_hz, np.float64), np.asarray(amplitude, np.float64), np.asarray(t60_seconds, np.float64)
    )
    heard = frequency < 0.48 * studio.sample_rate_hz
    pole = (-np.log(1000) / t60[heard] + 2j * np.pi * frequency[heard]) / studio.sample_rate_hz
    start = level[heard] * np.exp(2j * np.pi * studio.rng.random(len(frequency)))[heard]
    n_samples = studio.samples(seconds)
    # Products small enough for BLAS to stay on one thread: a second one would spin longer than it works.
    rows = max(1, LARGEST_PRODUCT // (2 * MODE_BLOCK * max(1, len(pole))))
    n_blocks = -(-n_samples // (MODE_BLOCK * rows)) * rows
    outer = start * np.exp(np.arange(n_blocks)[:, None] * MODE_BLOCK * pole)
    inner = np.exp(pole[:, None] * np.arange(MODE_BLOCK))
    left = np.concatenate([outer.real, -outer.imag], axis=1).astype(np.float32)
    right = np.concatenate([inner.real, inner.imag]).astype(np.float32)
    products = left.reshape(n_blocks // rows, rows, len(right)) @ right
    return products.reshape(-1)[:n_samples]


def fast_length(n_samples: int) -> int:
    """Return the next length of the form 2^a, 3·2^a or 5·2^a, whose Fourier transform is quick."""
    power = 1 << max(n_samples - 1, 1).bit_length()
    return min(length for length in (power, 3 * power // 4, 5 * power // 8) if length >= n_samples)


def shaped(studio: Studio, wave: Wave, low_hz: float, high_hz: float, slope_octaves: float = 0.5) -> Wave:
    """Return the wave band-limited to [low_hz, high_hz], with Gaussian skirts so many octaves wide."""
    n_fft = fast_length(len(wave))
    octave = np.log2(np.fft.rfftfreq(n_fft, 1 / studio.sample_rate_hz).astype(np.float32) + np.float32(1e-3))
    outside = np.maximum(np.maximum(np.log2(low_hz) - octave, octave - np.log2(high_hz)), 0)
    gain = np.exp(-0.5 * (outside / slope_octaves) ** 2).astype(np.float32)
    return np.fft.irfft(np.fft.rfft(wave, n_fft) * gain, n_fft)[: len(wave)].astype(np.float32, copy=False)


def resonances(
    studio: Studio,
    wave: Wave,
    tracks_hz: Sequence[Sequence[float]],
    *,
    width_octaves: float = 0.35,
    floor: float = 0.02,
) -> Wave:
    """Return the wave heard through moving resonances: formants, or the band of a scrape.

    The filter works on overlapping windows of 1024 samples, each multiplied in the frequency domain.

    Parameters
    ----------
    tracks_hz : sequence of sequences of float
        Each resonance's centre at evenly spaced times over the wave; a single value stays.
    width_octaves : float
        The resonances' standard deviation on a logarithmic frequency scale.
    floor : float in [0, 1]
        What passes between the resonances.
    """
    n_frames = len(wave) // HOP + 2
    padded = np.zeros((n_frames + 1) * HOP, np.float32)
    padded[HOP : HOP + len(wave)] = wave
    octave = np.log2(np.fft.rfftfreq(FRAME, 1 / studio.sample_rate_hz).astype(np.float32) + np.float32(1))
    gain = np.full((n_frames, FRAME // 2 + 1), floor, np.float32)
    for number, track in enumerate(tracks_hz):
        centre = np.log2(bend(n_frames, list(track))).astype(np.float32)
        gain += np.exp(np.float32(-0.5 / width_octaves**2) * (octave - centre[:, None]) ** 2) * np.float32(0.7**number)
    window = np.sin(np.pi * (np.arange(FRAME, dtype=np.float32) + 0.5) / FRAME)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP] * window
    heard: Wave = np.fft.irfft(np.fft.rfft(frames, axis=1) * gain[: len(frames)], FRAME, axis=1).astype(np.float32)
    heard *= window
    out = np.zeros_like(padded)
    out[: len(heard) * HOP] += heard[:, :HOP].reshape(-1)
    out[HOP : (len(heard) + 1) * HOP] += heard[:, HOP:].reshape(-1)
    return out[HOP : HOP + len(wave)]


def times(
    studio: Studio, seconds: float, gap_seconds: float, irregularity: float = 0.1, *, at_most: int = 10_000
) -> list[float]:
    """Return the starts of repeated events: gaps of about ``gap_seconds`` with a relative deviation; at least one."""
    found = [studio.between(0.0, min(0.3 * gap_seconds, 0.1 * seconds))]
    while len(found) < at_most:
        step = gap_seconds * max(0.15, 1 + irregularity * studio.rng.standard_normal())
        if found[-1] + step >= seconds:
            break
        found.append(found[-1] + step)
    return found


def unit(wave: Wave) -> Wave:
    """Return the wave scaled to a peak of 1; silence stays silent."""
    return wave / np.float32(np.abs(wave).max(initial=0.0) + 1e-9)
