"""Power spectra of the frames of a signal, several frames at once.

Conventions
-----------
A block is ``LANES`` frames: what a step computes it computes for all of them at once, each in its lane. Complex numbers
lie in one array ``work``, as ``[2, 2, n, LANES]`` (buffer, real and imaginary part, position, lane), so that the
innermost loops run over neighbours in memory and become vector instructions, whatever the length of the transform. All
distances are constants of the compiled code: only then can the compiler prove that what a step reads and what it writes
never overlap.

Numbers are float64, as in librosa's own FFT. Single precision would take half the time and stay within 0.002 dB at a
range of 80 dB, but not at the ranges that another mode may ask for, and it overflows for the largest samples that a
file can hold.

A real frame of ``2 n`` samples is transformed as ``n`` complex numbers [1]_, by Stockham's algorithm in steps of radix
4, 5, 3 and 2 [2]_. Lengths with other prime factors go through numpy.

References
----------
.. [1] W. H. Press et al., "Numerical Recipes", 3rd edition, Cambridge University Press, 2007, section 12.3.2.
.. [2] C. Van Loan, "Computational Frameworks for the Fast Fourier Transform", SIAM, 1992, section 1.7.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from featurize.compiling import compiled

LANES = 16
"""Frames of a block: two of the widest vector registers, and few enough for a core's own cache."""
# Between the parts of a buffer: at distances of whole pages a processor takes what is read for what is being written.
_GAP = 72

Step = Callable[[NDArray[np.float64], NDArray[np.complex128]], None]


class FramePower:
    """The power spectra of frames of ``n_fft`` samples.

    Parameters
    ----------
    n_fft : int > 0
        Even.
    win_samples : int, at most n_fft, optional
        Length of the Hann window in the middle of a frame, with zeros around it; None means ``n_fft``.
    """

    def __init__(self, n_fft: int, win_samples: int | None = None) -> None:
        self.n_fft = n_fft
        self.window = hann(n_fft) if win_samples is None else centred(hann(win_samples), n_fft)
        self._plan = _plan(n_fft // 2)
        self._work = np.empty(5 * _part(n_fft // 2))

    def __call__(self, samples: NDArray[np.float32], start: int, hop_samples: int) -> NDArray[np.float64]:
        """Transform ``LANES`` frames, each windowed; outside the signal there is silence.

        Parameters
        ----------
        samples : ndarray [shape=(n,), float32]
        start : int
            First sample of the first frame; may be negative.
        hop_samples : int > 0

        Returns
        -------
        ndarray [shape=(n_fft // 2 + 1, LANES), float64]
            Power, >= 0; overwritten by the next call.
        """
        span = _cut(samples, start, start + (LANES - 1) * hop_samples + self.n_fft)
        if self._plan is None:
            frames = np.lib.stride_tricks.sliding_window_view(span, self.n_fft)[::hop_samples]
            return np.ascontiguousarray(np.abs(np.fft.rfft(frames * self.window)).T ** 2)
        _load_frames(span, self.window, hop_samples, self._work)
        for step, turns in self._plan:
            step(self._work, turns)
        first = _target(_part(self.n_fft // 2))
        return self._work[first : first + (self.n_fft // 2 + 1) * LANES].reshape(-1, LANES)


@cache
def hann(n: int) -> NDArray[np.float64]:
    """Periodic Hann window [n], as scipy's ``get_window("hann", n, fftbins=True)``."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def centred(window: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Put a window in the middle of ``n`` samples, zeros around it, as librosa's ``util.pad_center``."""
    before = (n - len(window)) // 2
    return np.pad(window, (before, n - len(window) - before))


def _cut(samples: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
    """Give samples ``start … stop``, zeros where there are none."""
    if start >= 0 and stop <= len(samples):
        return samples[start:stop]
    span = np.zeros(stop - start, np.float32)
    known = samples[max(start, 0) : max(stop, 0)]
    span[max(-start, 0) : max(-start, 0) + len(known)] = known
    return span


@compiled
def _load_frames(span, window, hop_samples, work):  # type: ignore[no-untyped-def] # numba infers the types
    """Write the windowed frames' even samples as real parts, and the odd ones as imaginary parts."""
    # Unsigned, so that no index is asked whether it counts from the end.
    n, lanes, hop, two = len(window) // np.uint64(2), np.uint64(LANES), np.uint64(hop_samples), np.uint64(2)
    part = n * lanes + np.uint64(_GAP)
    for j in range(n):
        even, odd = two * j, two * j + np.uint64(1)
        for lane in range(lanes):
            work[j * lanes + lane] = span[even + lane * hop] * window[even]
            work[part + j * lanes + lane] = span[odd + lane * hop] * window[odd]


def _split(n: int, source: int, part: int) -> Step:
    """Make the last step: from the transform of the packed frames to the power of the frames' own bins 0 … n."""
    target = _target(part)

    def step(work, turns):  # type: ignore[no-untyped-def]
        for lane in range(LANES):
            even, odd = work[source + lane], work[source + part + lane]
            work[target + lane] = (even + odd) ** 2
            work[target + n * LANES + lane] = (even - odd) ** 2
        for k in range(1, n):
            low, high, to = source + k * LANES, source + (n - k) * LANES, target + k * LANES
            # Slices, for of mirrored places the compiler cannot prove that they do not overlap.
            low_real, high_real, power = work[low : low + LANES], work[high : high + LANES], work[to : to + LANES]
            low_imag, high_imag = work[low + part : low + part + LANES], work[high + part : high + part + LANES]
            cosine, sine = turns[k, 0].real, turns[k, 0].imag
            for lane in range(len(power)):
                even_real, even_imag = low_real[lane] + high_real[lane], low_imag[lane] - high_imag[lane]
                odd_real, odd_imag = low_imag[lane] + high_imag[lane], high_real[lane] - low_real[lane]
                real = even_real + cosine * odd_real - sine * odd_imag
                imag = even_imag + cosine * odd_imag + sine * odd_real
                power[lane] = 0.25 * (real * real + imag * imag)

    return cast(Step, compiled(step))


@cache
def _plan(n: int) -> list[tuple[Step, NDArray[np.complex128]]] | None:
    """Give the steps of a transform of ``n`` complex numbers and their twiddle factors; None where no radix fits."""
    steps: list[tuple[Step, NDArray[np.complex128]]] = []
    length, stride, part = n, LANES, _part(n)
    while length > 1:
        radix = next((radix for radix in _STEPS if length % radix == 0), None)
        if radix is None:
            return None
        turns = np.exp(-2j * np.pi * np.outer(np.arange(length // radix), np.arange(radix)) / length)
        source, target = _source(len(steps), part), _source(len(steps) + 1, part)
        steps.append((_STEPS[radix](length // radix, stride, source, target, part), turns))
        length, stride = length // radix, stride * radix
    steps.append((_split(n, _source(len(steps), part), part), np.exp(-1j * np.pi * np.arange(n) / n)[:, None]))
    return steps


def _part(n: int) -> int:
    """Give the length of the real or the part part of a buffer: room for ``n + 1`` positions, and a gap."""
    return n * LANES + _GAP


def _source(step: int, part: int) -> int:
    """Tell where a step reads: it writes to the other buffer."""
    return step % 2 * 2 * part


def _target(part: int) -> int:
    """Tell where the last step writes: behind both buffers."""
    return 4 * part


@compiled
def _quarter_back(z):  # type: ignore[no-untyped-def]
    """Multiply by -i."""
    return complex(z.imag, -z.real)


@compiled
def _get(work, at, part):  # type: ignore[no-untyped-def]
    return complex(work[at], work[at + part])


@compiled
def _put(work, at, part, z):  # type: ignore[no-untyped-def]
    work[at] = z.real
    work[at + part] = z.imag


def _radix_2(n: int, stride: int, source: int, target: int, part: int) -> Step:
    def step(work, turns):  # type: ignore[no-untyped-def]
        for p in range(n):
            turn = turns[p, 1]
            for q in range(stride):
                at, to = source + p * stride + q, target + 2 * p * stride + q
                a, b = _get(work, at, part), _get(work, at + n * stride, part)
                _put(work, to, part, a + b)
                _put(work, to + stride, part, turn * (a - b))

    return cast(Step, compiled(step))


def _radix_3(n: int, stride: int, source: int, target: int, part: int) -> Step:
    sine = math.sqrt(3) / 2

    def step(work, turns):  # type: ignore[no-untyped-def]
        for p in range(n):
            turn1, turn2 = turns[p, 1], turns[p, 2]
            for q in range(stride):
                at, to = source + p * stride + q, target + 3 * p * stride + q
                a = _get(work, at, part)
                b = _get(work, at + n * stride, part)
                c = _get(work, at + 2 * n * stride, part)
                total, across = b + c, _quarter_back(sine * (b - c))
                centre = a - 0.5 * total
                _put(work, to, part, a + total)
                _put(work, to + stride, part, turn1 * (centre + across))
                _put(work, to + 2 * stride, part, turn2 * (centre - across))

    return cast(Step, compiled(step))


def _radix_4(n: int, stride: int, source: int, target: int, part: int) -> Step:
    def step(work, turns):  # type: ignore[no-untyped-def]
        for p in range(n):
            turn1, turn2, turn3 = turns[p, 1], turns[p, 2], turns[p, 3]
            for q in range(stride):
                at, to = source + p * stride + q, target + 4 * p * stride + q
                a = _get(work, at, part)
                b = _get(work, at + n * stride, part)
                c = _get(work, at + 2 * n * stride, part)
                d = _get(work, at + 3 * n * stride, part)
                even, odd = a + c, b + d
                centre, across = a - c, _quarter_back(b - d)
                _put(work, to, part, even + odd)
                _put(work, to + stride, part, turn1 * (centre + across))
                _put(work, to + 2 * stride, part, turn2 * (even - odd))
                _put(work, to + 3 * stride, part, turn3 * (centre - across))

    return cast(Step, compiled(step))


def _radix_5(n: int, stride: int, source: int, target: int, part: int) -> Step:
    cosine1, cosine2 = math.cos(2 * math.pi / 5), math.cos(4 * math.pi / 5)
    sine1, sine2 = math.sin(2 * math.pi / 5), math.sin(4 * math.pi / 5)

    def step(work, turns):  # type: ignore[no-untyped-def]
        for p in range(n):
            turn1, turn2, turn3, turn4 = turns[p, 1], turns[p, 2], turns[p, 3], turns[p, 4]
            for q in range(stride):
                at, to = source + p * stride + q, target + 5 * p * stride + q
                a = _get(work, at, part)
                b = _get(work, at + n * stride, part)
                c = _get(work, at + 2 * n * stride, part)
                d = _get(work, at + 3 * n * stride, part)
                e = _get(work, at + 4 * n * stride, part)
                outer, inner = b + e, c + d
                outer_across, inner_across = _quarter_back(b - e), _quarter_back(c - d)
                _put(work, to, part, a + outer + inner)
                centre, across = a + cosine1 * outer + cosine2 * inner, sine1 * outer_across + sine2 * inner_across
                _put(work, to + stride, part, turn1 * (centre + across))
                _put(work, to + 4 * stride, part, turn4 * (centre - across))
                centre, across = a + cosine2 * outer + cosine1 * inner, sine2 * outer_across - sine1 * inner_across
                _put(work, to + 2 * stride, part, turn2 * (centre + across))
                _put(work, to + 3 * stride, part, turn3 * (centre - across))

    return cast(Step, compiled(step))


_STEPS = {4: _radix_4, 5: _radix_5, 3: _radix_3, 2: _radix_2}  # in the order in which they are tried
