"""A fold's job: all that its training needs, as plain data and a reader, so that it travels to a worker."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import StoreReader, open_store
from train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FoldJob:
    """All that a fold's training needs.

    Parameters
    ----------
    folder : Path
        The fold's folder, ``runs/<run>/<mode>/fold-<k>``.
    reader : StoreReader
        Training clips that have frames.
    labels : ndarray [shape=(n,), int64]
        Class of each clip of the reader.
    held : ndarray [shape=(n,), bool]
        True for the clips of the held fold.
    scored : ndarray [shape=(n,), bool]
        True for the clips that count in a score (the verified ones, where there are any).
    targets : ndarray [shape=(n,), int64]
        Class that training takes each clip for; -1 for clips that it leaves out.
    verified : ndarray [shape=(n,), bool]
        Whether training takes the label as verified.
    recipe : Recipe
    settings : dict
        What the run is made with; goes into ``model.json`` and is compared on the next call.
    prior : list of float
        How common each class is to be taken for, by the clips outside the held fold; see
        ``train.prior.class_prior``.
    threads : int > 0
    device : str
    resident : bool, optional
        Copy the frames to the device first; None: on a GPU, where they take up to half of its free memory.
    groups : ndarray [shape=(n,), int64], optional
        Group of each clip, such as its recorder, where the corpus has any.
    seconds_limit : float
        Stop after the epoch in which this much time is used; one epoch is trained at least.
    fresh : bool
        Begin at the first epoch whatever the folder holds.
    stale_history : float, optional
        When the ``history.csv`` that a fresh fold replaces was changed, in seconds since 1970.
    """

    folder: Path
    reader: StoreReader
    labels: NDArray[np.int64]
    held: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    targets: NDArray[np.int64]
    verified: NDArray[np.bool_]
    recipe: Recipe
    settings: dict[str, Any]
    prior: list[float]
    threads: int
    device: str = "auto"
    resident: bool | None = None
    groups: NDArray[np.int64] | None = None
    seconds_limit: float = math.inf
    fresh: bool = False
    stale_history: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A reader pickles for its own machine; a job may go to another that shares the store.
        return {**self.__dict__, "reader": (self.reader.path, self.reader.keys)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, reader=open_store(*state["reader"]))

    @property
    def title(self) -> str:
        """Mode and fold, for messages."""
        return f"{self.reader.mode} fold {self.settings['fold']}"

    @cached_property
    def trained(self) -> NDArray[np.int64]:
        """The clips that training draws from, as indices into the reader."""
        return np.flatnonzero(~self.held & (self.targets >= 0))

    @property
    def balanced_groups(self) -> NDArray[np.int64] | None:
        """Groups of the clips of ``trained``, where draws are to be balanced between those of a class."""
        wanted = self.recipe.balanced_groups and bool(self.verified[self.trained].all())
        return self.groups[self.trained] if wanted and self.groups is not None else None

    @property
    def unseen_classes(self) -> list[str]:
        """Classes of which no clip counts in the loss: all of theirs are held, left out, or weigh nothing."""
        counted = self.verified[self.trained] | (self.recipe.unverified_weight > 0)
        seen = set(self.targets[self.trained][counted].tolist())
        return [name for number, name in enumerate(self.settings["classes"]) if number not in seen]

    def seed_of(self, epoch: int) -> int:
        """Return the seed of an epoch's random numbers; epoch 0 is what comes before the first."""
        text = f"{self.settings['seed']}/{self.reader.mode}/{self.settings['fold']}/{epoch}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
