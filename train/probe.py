"""Begin a pretrained network on a corpus: its batch statistics and its last layer, before any convolution moves.

A last layer that was fitted on the features as they are spoils them less, when all is trained then, than one that was
drawn at random (Kumar et al., 2022, "Fine-Tuning can Distort Pretrained Features", arXiv:2202.10054).
"""

import warnings
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.convnet import ConvNet
from train.dataset import Clips
from train.device import Engine

_BATCH = 64
_INVERSE_PENALTY = 0.01
_MOST_STEPS = 60
_MOST_FOR_STATISTICS = 2_000  # clips: means and variances of more of them differ by less than batches do
_MOST_CELLS = 20_000 * 41  # clips times classes: more of them take longer than they help
_BELOW = 2.0  # how much lower than the others a class begins that has no clip


def adapt_statistics(model: ConvNet, clips: Clips, engine: Engine, *, rng: np.random.Generator) -> None:
    """Set the means and variances of batch normalisation to those of a corpus (Li et al., 2016, arXiv:1603.04779).

    Parameters
    ----------
    model : ConvNet
        On the engine's device.
    clips : Clips
    engine : Engine
    rng : Generator
        Draws the clips to take them from, where there are very many.
    """
    layers = [layer for layer in model.features if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
    training = model.training
    model.train()
    for _ in _features(model, clips, engine, chosen=_draw(clips.n_clips, _MOST_FOR_STATISTICS, rng)):
        pass
    model.train(training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def fit_last_layer(
    model: ConvNet,
    clips: Clips,
    engine: Engine,
    *,
    targets: NDArray[np.int64],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Set the last layer by logistic regression on what the convolutions give, classes weighing the same.

    Parameters
    ----------
    model : ConvNet
        On the engine's device.
    clips : Clips
    engine : Engine
    targets : ndarray [shape=(n_clips,), int64]
        Class of each clip.
    weights : ndarray [shape=(n_clips,), float64]
        Weight of each clip in the loss.
    rng : Generator
        Draws the clips to fit on, where there are very many.
    """
    n_classes = int(model.settings["n_classes"])
    chosen = _draw(clips.n_clips, max(1, _MOST_CELLS // n_classes), rng)
    training = model.training
    model.eval()
    hidden, of = zip(*_features(model, clips, engine, chosen=chosen), strict=True)
    model.train(training)
    x, rows = torch.cat(hidden).cpu().numpy(), np.concatenate(of)
    del hidden  # as large as x
    if len(np.unique(targets[rows])) < 2 or not weights[rows].any():
        return
    _set_last_layer(cast(nn.Linear, model.head[1]), *_fit(x, targets[rows], weights[rows], n_classes))


def _draw(n_clips: int, most: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark so many clips, or all of them."""
    chosen = np.zeros(n_clips, np.bool_)
    chosen[rng.permutation(n_clips)[:most]] = True
    return chosen


def _features(
    model: ConvNet, clips: Clips, engine: Engine, *, chosen: NDArray[np.bool_]
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Yield pooled features [B, F] and the clips [B] that they are of."""
    with torch.inference_mode():
        for windows, of in clips.batches(_BATCH):
            rows = of.numpy()
            windows, rows = windows[torch.from_numpy(chosen[rows])], rows[chosen[rows]]
            if len(rows):
                with engine.autocast():
                    hidden = model.pooled(model.normalise(windows.to(engine.device).float()))
                yield hidden.float(), rows


def _fit(
    x: NDArray[np.float32], classes: NDArray[np.int64], weights: NDArray[np.float64], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the last layer's matrix [K, F] and bias [K]; overwrites ``x``."""
    # Imported where it is used: it takes a second and 70 MB, which no process needs that resumes or only reads.
    from sklearn.linear_model import LogisticRegression

    mean, spread = x.mean(axis=0), x.std(axis=0) + np.float32(1e-3) * x.std()
    x -= mean
    x /= spread
    regression = LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=_MOST_STEPS)
    with warnings.catch_warnings():  # of too few steps, which are meant, or few clips a class
        warnings.simplefilter("ignore", UserWarning)
        regression.fit(x, classes, sample_weight=weights)
    matrix, bias = regression.coef_ / spread, regression.intercept_
    if len(matrix) == 1:  # of two classes scikit-learn gives the second's score
        matrix, bias = np.concatenate([-matrix, matrix]) / 2, np.concatenate([-bias, bias]) / 2
    bias = bias - matrix @ mean
    whole = np.zeros((n_classes, x.shape[1])), np.full(n_classes, bias.min() - _BELOW)
    whole[0][regression.classes_], whole[1][regression.classes_] = matrix, bias
    return whole


def _set_last_layer(layer: nn.Linear, matrix: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(matrix))
        layer.bias.copy_(torch.from_numpy(bias))
