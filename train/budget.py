"""What a training takes, and how much of one fits into a time: arithmetic on measured costs.

Conventions
-----------
Times are seconds of the clock, costs are those of an average fold. Folds are given to workers in their order, mode by
mode, each to the worker that is free first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cache.errors import InputError
from corpus.rows import counted

LEAST_SHARE = 1 / 8
"""Of a recipe's epochs: with fewer, a training of fewer folds is the better use of the time."""
MARGIN = 0.15
"""A plan fills a budget to 1 / (1 + MARGIN) of it: what foretold and real times differ by (see docs/scale.md)."""


@dataclass(frozen=True)
class FoldCost:
    """What a fold of a mode takes.

    Attributes
    ----------
    start_seconds : float
        Before the first epoch and after the last.
    epoch_seconds : float
        An epoch, with its scoring and saving.
    n_bytes : int
        On disk.
    """

    start_seconds: float
    epoch_seconds: float
    n_bytes: int = 0

    def to_dict(self) -> dict[str, float]:
        """Return the seconds by name."""
        return {"start_seconds": round(self.start_seconds, 2), "epoch_seconds": round(self.epoch_seconds, 3)}

    def seconds(self, epochs: int) -> float:
        """Return the time of so many epochs, 0 for none."""
        return self.start_seconds + epochs * self.epoch_seconds if epochs > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What a run's training takes.

    Parameters
    ----------
    folds : mapping of {str: FoldCost}
        Mode → one fold of it.
    n_folds : int
        Of the corpus.
    workers : int > 0
    first_round : float in [0, 1]
        Share of the epochs that a first round of all folds takes; 0 where there is none.
    start_seconds : float
        Until workers have begun.
    done : mapping of {(str, int): int}
        Epochs that are done, by mode and fold; ``done_first`` those of the first round.
    """

    folds: Mapping[str, FoldCost]
    n_folds: int
    workers: int = 1
    first_round: float = 0.0
    start_seconds: float = 0.0
    done: Mapping[tuple[str, int], int] = field(default_factory=dict)
    done_first: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def seconds(self, epochs: int, n_folds: int | None = None) -> float:
        """Return the time of so many epochs of so many folds of each mode, all by default.

        Fewer folds than all have no first round, which needs all.
        """
        n_folds = self.n_folds if n_folds is None else n_folds
        total = self._round(epochs, n_folds, self.done)
        if first := self.first_epochs(epochs, n_folds):
            total += self._round(first, n_folds, self.done_first)
        return total + self.start_seconds if total else 0.0

    def first_epochs(self, epochs: int, n_folds: int) -> int:
        """Return the epochs of the first round; 0 where there is none."""
        return max(1, round(self.first_round * epochs)) if self.first_round and n_folds == self.n_folds else 0

    def _round(self, epochs: int, n_folds: int, done: Mapping[tuple[str, int], int]) -> float:
        keys = [(mode, fold) for mode in self.folds for fold in range(n_folds)]
        return makespan(
            [self.folds[mode].seconds(epochs - done.get((mode, fold), 0)) for mode, fold in keys], self.workers
        )

    def n_bytes(self, n_folds: int | None = None) -> int:
        """Return what the folds take on disk."""
        n_folds = self.n_folds if n_folds is None else n_folds
        rounds = 2 if self.first_epochs(1, n_folds) else 1
        return rounds * n_folds * sum(cost.n_bytes for cost in self.folds.values())


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return when the last of some tasks ends that workers take in their order."""
    ends = [0.0] * max(1, workers)
    for each in seconds:
        first = ends.index(min(ends))
        ends[first] += each
    return max(ends)


@dataclass(frozen=True)
class Choice:
    """Epochs, folds of each mode, and the seconds that training them takes."""

    epochs: int
    folds: int
    seconds: float


def choose(
    cost: TrainingCost, *, budget_seconds: float, epochs: int, other_seconds: float, fold_seconds: float
) -> Choice:
    """Choose how much of a training fits into a budget.

    All folds are trained for as many epochs as fit, up to the recipe's. Where an eighth of the recipe's do not fit, as
    many folds are trained as fit with these, and for as many epochs as fit then.

    Parameters
    ----------
    cost : TrainingCost
    budget_seconds : float
    epochs : int
        The recipe's.
    other_seconds, fold_seconds : float
        What else the budget has to hold: at all, and for each fold of all modes (its predictions).

    Raises
    ------
    InputError
        If not even one fold fits; tells the least budget.
    """
    least = max(1, math.ceil(epochs * LEAST_SHARE))

    def needed(epochs: int, folds: int) -> float:
        return other_seconds + fold_seconds * folds + cost.seconds(epochs, folds)

    room = budget_seconds / (1 + MARGIN)
    for folds in range(cost.n_folds, 0, -1):
        if needed(least, folds) <= room:
            most = max(number for number in range(least, epochs + 1) if needed(number, folds) <= room)
            return Choice(most, folds, cost.seconds(most, folds))
    minutes = math.ceil(needed(least, 1) * (1 + MARGIN) / 60)
    message = (
        f"--budget is too short: the least, {counted(least, 'epoch')} of one fold, takes {minutes}m with all around it "
        f"on this machine; give --budget {minutes}m or more, or --mode for one view"
    )
    raise InputError(message)


def fold_limits(
    modes: Sequence[str], seconds: float, workers: int, *, expected: Mapping[str, float] | None = None
) -> list[float]:
    """Share a time out among folds that workers take in their order, so that the last ends when it is over.

    Parameters
    ----------
    modes : sequence of str
        Each fold's mode.
    seconds : float
        May be infinite; below 0 is 0.
    workers : int > 0
    expected : mapping of {str: float}, optional
        Mode → expected seconds of a fold of it; without, every fold gets the same.

    Returns
    -------
    list of float
        Seconds of each fold.
    """
    weights = [expected[mode] for mode in modes] if expected else [1.0] * len(modes)
    if not math.isfinite(seconds) or not sum(weights):
        return [math.inf if not math.isfinite(seconds) else max(0.0, seconds)] * len(modes)
    scale = max(0.0, seconds) / makespan(weights, workers)
    return [scale * weight for weight in weights]
