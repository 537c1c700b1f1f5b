"""How weights move: the optimizer, its learning rate over a training, and the average of the weights."""

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train.recipe import Recipe

_WARM_UP = 0.1
_Tensors = tuple[Tensor, ...] | list[Tensor]


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW; matrices and kernels decay, biases and batch normalisation do not."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Return the learning rate when this share of all steps, from 0 to 1, is done."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if progress < _WARM_UP:
        return recipe.learning_rate * max(progress, 1e-3) / _WARM_UP
    return recipe.learning_rate * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))) / 2


def make_average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """Return what keeps the moving average of a network's weights and batch statistics; None where none is asked for.

    While few steps are done the average forgets faster, so that it does not hang on to where the weights began.
    """
    if not recipe.average_decay:
        return None

    def average(averaged: _Tensors, current: _Tensors, n_averaged: Tensor | int) -> None:
        steps = float(n_averaged)
        decay = min(recipe.average_decay, (1 + steps) / (10 + steps))
        get_ema_multi_avg_fn(decay)(averaged, current, n_averaged)  # type: ignore[no-untyped-call]

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
