"""Calibration: a temperature that makes probabilities mean what they say.

Conventions
-----------
Log-probabilities ``[n, n_classes]`` are of clips that the networks were not trained on. Confidence is the probability
of the likeliest class; it is calibrated where, of clips with a confidence of 0.8, eight of ten are right.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017 (arXiv:1706.04599): one
temperature divides all scores, which leaves their order alone. Theirs maximises the likelihood of the labels. Here it
is the likelihood of being right or wrong: a class of which training knew one recorder only is told as another with
confidence, and the labels' likelihood would then make all other clips unsure.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from cache.errors import InputError
from train.scores import renormalise

N_BINS = 10
LEAST_CLIPS = 20
_LOWEST, _HIGHEST = 0.05, 20.0
_TINY = 1e-12


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it does to clips that it was not fitted on.

    Parameters
    ----------
    temperature : float > 0
        Scores are divided by it.
    clips : int
        Clips that it was fitted on; 0 where it was not.
    error_before, error_after : float in [0, 1]
        Expected calibration error without and with it; ``error_after`` by cross-validation. NaN without clips.
    error_by_chance : float in [0, 1]
        What perfectly calibrated probabilities would show on so many clips.
    """

    temperature: float = 1.0
    clips: int = 0
    error_before: float = math.nan
    error_after: float = math.nan
    error_by_chance: float = math.nan

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON-able values; None for what is not a number."""
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make it of what ``to_dict`` returned.

        Raises
        ------
        InputError
            If a value is missing, unknown or no number, or the temperature is not one that is ever fitted.
        """
        names = {each.name for each in fields(cls)}
        numbers: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
        plain = all(type(value) in (int, float) for value in numbers.values())
        if set(numbers) != names or not plain or not _LOWEST <= numbers["temperature"] <= _HIGHEST:
            rule = f"a calibration must hold {', '.join(sorted(names))}, its temperature from {_LOWEST} to {_HIGHEST}"
            message = f"{rule}; got {values}"
            raise InputError(message)
        return cls(**numbers)


def temper(log_p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return log-probabilities at a temperature; above 1 they are less sure."""
    return renormalise(log_p / temperature)


def calibrate(log_p: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int = 0, n_parts: int = 5) -> Calibration:
    """Fit a temperature, and measure what it does.

    Parameters
    ----------
    log_p : ndarray [shape=(n, n_classes)]
    labels : ndarray [shape=(n,), int64]
        Index into the classes.
    seed : int
        Of the parts, each of which is measured at the temperature of the others.
    n_parts : int >= 2

    Returns
    -------
    Calibration
        Temperature 1 for fewer than 20 clips.
    """
    n_clips = len(labels)
    if n_clips < LEAST_CLIPS:
        return Calibration()
    rng = np.random.default_rng(seed)
    part = rng.permutation(n_clips) % n_parts
    held = np.empty_like(log_p)
    for number in range(n_parts):
        rest = part != number
        held[~rest] = temper(log_p[~rest], fit_temperature(log_p[rest], labels[rest]))
    return Calibration(
        temperature=fit_temperature(log_p, labels),
        clips=n_clips,
        error_before=_error(log_p, labels),
        error_after=_error(held, labels),
        error_by_chance=_error_by_chance(held, rng),
    )


def fit_temperature(log_p: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature at which it is likeliest that clips are right and wrong as they are.

    Parameters
    ----------
    log_p : ndarray [shape=(n, n_classes)]
    labels : ndarray [shape=(n,), int64]

    Returns
    -------
    float
        From 0.05 to 20.
    """
    right = log_p.argmax(axis=1) == labels

    def loss(log_temperature: float) -> float:
        confidence = np.exp(temper(log_p, math.exp(log_temperature)).max(axis=1))
        return -float(np.log(np.where(right, confidence, 1 - confidence) + _TINY).mean())

    found = minimize_scalar(loss, bounds=(math.log(_LOWEST), math.log(_HIGHEST)), method="bounded")
    return math.exp(found.x)


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], *, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error: how far confidence is from the share of right clips, on average.

    Parameters
    ----------
    confidence : ndarray [shape=(n,)]
        In [0, 1].
    right : ndarray [shape=(n,), bool]
    n_bins : int > 0
        Bins hold equally many clips each, in the order of confidence (Nguyen and O'Connor, 2015, arXiv:1508.05154),
        so that none is judged by one or two.

    Raises
    ------
    InputError
        If there is no clip.
    """
    if not len(confidence):
        message = "a calibration error needs one clip or more; got none"
        raise InputError(message)
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(n_bins, len(order)))
    gaps = [abs(confidence[rows].mean() - right[rows].mean()) * len(rows) for rows in bins]
    return float(sum(gaps) / len(confidence))


def _error(log_p: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return calibration_error(np.exp(log_p.max(axis=1)), log_p.argmax(axis=1) == labels)


def _error_by_chance(log_p: NDArray[np.float64], rng: np.random.Generator) -> float:
    confidence = np.exp(log_p.max(axis=1))
    return float(np.mean([calibration_error(confidence, rng.random(len(log_p)) < confidence) for _ in range(20)]))
