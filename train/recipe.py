"""Recipes: the settings of a training.

The notebook's values come from daisukelab's Kaggle notebook, with these mends: an epoch draws as many windows as the
training folds hold, classes in equal shares, instead of enlarging the small classes with copies; erasing comes after
normalisation in both views; windows cover the whole clip, its tail included; scores are a clip's, from the last
epoch.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from cache.errors import InputError
from train.models import Normalisation


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Parameters
    ----------
    name : str
    epochs : int > 0
    batch_size : int > 0
        Windows a step; each is mixed from two that are drawn.
    learning_rate : float > 0
        Adam's, constant.
    mixup_alpha : float > 0
        Shares are drawn from Beta(alpha, alpha), per window.
    max_shift : float in [0, 1]
        Largest shift in time, as a share of the window.
    flip : bool
        Reverse half of the windows in time.
    erase_probability : float in [0, 1]
    window_overlap : float in [0, 1)
        Windows of a long clip share this part of their length.

    Raises
    ------
    InputError
        If a setting breaks its rule.
    """

    name: str
    epochs: int = 200
    batch_size: int = 32
    learning_rate: float = 1e-4
    mixup_alpha: float = 1.0
    max_shift: float = 0.4
    flip: bool = True
    erase_probability: float = 0.5
    window_overlap: float = 0.1

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size", "learning_rate", "mixup_alpha"):
            if not 0 < getattr(self, field) < math.inf:
                self._refuse(field, "must be above 0")
        for field in ("max_shift", "erase_probability"):
            if not 0 <= getattr(self, field) <= 1:
                self._refuse(field, "must be from 0 to 1")
        if not 0 <= self.window_overlap < 1:
            self._refuse("window_overlap", "must be from 0 to below 1")

    def _refuse(self, field: str, rule: str) -> None:
        message = f"recipe {self.name!r}: {field} {rule}; got {getattr(self, field)!r}"
        raise InputError(message)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return dataclasses.asdict(self)

    @staticmethod
    def normalisation(*, head_only: bool) -> Normalisation:
        """Return how a mode's windows are normalised: LH by themselves, X by the training windows."""
        return "samplewise" if head_only else "featurewise"


RECIPES = {"notebook": Recipe(name="notebook")}
