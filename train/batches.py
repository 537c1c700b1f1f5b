"""The batches of an epoch: which clips are drawn, and which piece of each.

Conventions
-----------
Classes are drawn in equal shares, and their windows in shares of `train.dataset.draw_shares`; or every window once. A
batch holds the windows to learn from, and behind them, where they are to be mixed, as many partners. All draws come
from one generator, so that an epoch is a function of its seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.crops import LENGTH_STEP
from train.dataset import Clips, WindowDataset, balanced_draw
from train.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Windows and where they are from.

    Parameters
    ----------
    windows : Tensor [shape=(P * B, T, M)]
        As stored; the second half are the partners of the first where P is 2.
    clips : Tensor [shape=(P, B), int64]
        Of each window: its clip, as the dataset counts.
    """

    windows: Tensor
    clips: Tensor


def _rounded(n_frames: int) -> int:
    return round(n_frames / LENGTH_STEP) * LENGTH_STEP if n_frames > LENGTH_STEP else n_frames


def count_steps(dataset: Clips, recipe: Recipe) -> int:
    """Return the steps of an epoch: it draws as many windows, or crops, as the training folds hold."""
    return max(1, round(len(dataset) / recipe.batch_size))


def draw_batches(
    dataset: Clips,
    labels: NDArray[np.int64],
    recipe: Recipe,
    *,
    window_frames: int,
    mixed: bool,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[Batch]:
    """Draw and gather an epoch.

    Parameters
    ----------
    dataset : Clips
    labels : ndarray [shape=(dataset.n_clips,), int64]
        Class of each clip.
    recipe : Recipe
    window_frames : int
        Crops are measured in windows of this length.
    mixed : bool
        Draw a partner for each window.
    seed : int
    groups : ndarray [shape=(dataset.n_clips,), int64], optional
        Group of each clip, where those of a class are balanced.
    """
    rng = np.random.default_rng(seed)
    drawn = np.stack([_draw(dataset, labels, groups, rng, recipe) for _ in range(2 if mixed else 1)])
    shortest, longest = (max(1, round(share * window_frames)) for share in (recipe.shortest_crop, recipe.longest_crop))
    for part in np.array_split(drawn, count_steps(dataset, recipe), axis=1):
        if isinstance(dataset, WindowDataset):
            windows, clips = dataset.__getitems__(part.ravel())
        else:
            windows = dataset.crop(part.ravel(), _rounded(int(rng.integers(shortest, longest + 1))), rng)
            clips = torch.from_numpy(part.ravel())
        yield Batch(windows, clips.reshape(part.shape))


def _draw(
    dataset: Clips,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    rng: np.random.Generator,
    recipe: Recipe,
) -> NDArray[np.int64]:
    if recipe.balanced:
        of_windows = None if groups is None else groups[dataset.clip]
        return balanced_draw(labels[dataset.clip], len(dataset), rng, groups=of_windows)
    return rng.permutation(len(dataset))
