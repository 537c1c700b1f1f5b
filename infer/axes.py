"""Where the frames and bands of a stored mode lie in time and frequency.

Conventions
-----------
Everything follows from the settings that a store gives, never from this version's modes. Frame ``i`` is centred at
``i * hop_seconds`` from the first one. Bands are counted by position, from 0 at the centre of the lowest; bands are
evenly spaced on the mode's frequency scale, so a frequency between two centres has a position between two integers.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from cache.errors import InputError
from featurize.melbank import hz_to_htk, hz_to_mel

_SCALES: Mapping[str, Callable[[float], float]] = {"mel": hz_to_mel, "htk": hz_to_htk, "log": math.log}
"""Frequency in Hz → where bands are evenly spaced."""

_LABEL_DISTANCE = 0.055  # of the axis, at least, between two labels


@dataclass(frozen=True)
class Grid:
    """The places of frames and bands.

    Parameters
    ----------
    hop_seconds : float > 0
        From one frame to the next.
    n_bands : int > 0
    scale : callable
        Frequency in Hz → where bands are evenly spaced.
    fmin_hz, fmax_hz : float
        Lower edge of the lowest band and upper edge of the highest, which lie one position below and above their
        centres.
    """

    hop_seconds: float
    n_bands: int
    scale: Callable[[float], float]
    fmin_hz: float
    fmax_hz: float

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Take the places from a mode's settings.

        Raises
        ------
        InputError
            They do not tell them: another version stored them.
        """
        try:
            return cls(
                hop_seconds=settings["hop_samples"] / settings["sample_rate_hz"],
                n_bands=settings["n_mels"],
                scale=_SCALES[settings.get("scale", "mel")],
                fmin_hz=settings["fmin_hz"],
                fmax_hz=settings["fmax_hz"],
            )
        except (KeyError, TypeError, ZeroDivisionError) as error:
            message = f"the stored settings do not say where frames and bands lie ({error!r}): featurize anew"
            raise InputError(message) from error

    def band_of(self, frequency_hz: float) -> float:
        """Return the position of a frequency among the bands' centres; the highest is at ``n_bands - 1``."""
        low, high = self.scale(self.fmin_hz), self.scale(self.fmax_hz)
        return (self.scale(frequency_hz) - low) / (high - low) * (self.n_bands + 1) - 1

    def frequency_ticks(self) -> dict[float, str]:
        """Return marks at round frequencies: position → label, empty where another label is too close."""
        ticks: dict[float, str] = {}
        labelled: list[float] = []
        for round_hz in (_decades(), *_multiples(self.fmin_hz, self.fmax_hz)):
            for frequency_hz in round_hz:
                band = self._inside(frequency_hz)
                if band is not None and band not in ticks:
                    free = all(abs(band - other) >= _LABEL_DISTANCE * self.n_bands for other in labelled)
                    ticks[band] = _label(frequency_hz) if free else ""
                    labelled += [band] if free else []
            if len(labelled) > 1:
                break
        return dict(sorted(ticks.items()))

    def _inside(self, frequency_hz: float) -> float | None:
        """Return the position of a frequency, where that lies on the axis."""
        if not self.fmin_hz <= frequency_hz <= self.fmax_hz:
            return None
        band = self.band_of(frequency_hz)
        return band if -0.5 <= band <= self.n_bands - 0.5 else None


def _decades() -> list[float]:
    """Give 1, 2, 5, 10 … in Hz, first those that people look for first; the others give way where labels get close."""
    exponents = range(5, -1, -1)
    return [float(digit * 10**exponent) for digits in ((1,), (5, 2)) for exponent in exponents for digit in digits]


def _multiples(fmin_hz: float, fmax_hz: float) -> Iterator[list[float]]:
    """Give the multiples of ever smaller round steps, for ranges that hold too few of the others."""
    largest_hz = 10.0 ** math.floor(math.log10(fmax_hz - fmin_hz))
    for step_hz in (largest_hz, largest_hz / 2, largest_hz / 5, largest_hz / 10):
        yield [step_hz * count for count in range(math.ceil(fmin_hz / step_hz), math.floor(fmax_hz / step_hz) + 1)]


def _label(frequency_hz: float) -> str:
    return f"{frequency_hz / 1000:g}k" if frequency_hz >= 1000 else f"{frequency_hz:g}"
