import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from train.optimizer import learning_rate, make_average, make_optimizer
from train.recipe import RECIPES

BEST = RECIPES["best"]


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_one_cycle_rises_and_falls() -> None:
    rates = [learning_rate(BEST, step / 1000) for step in range(1000)]
    assert np.argmax(rates) == 100
    assert max(rates) == BEST.learning_rate
    assert 0 < rates[0] < BEST.learning_rate / 50
    assert 0 < rates[-1] < BEST.learning_rate / 50
    assert np.all(np.diff(rates[:100]) >= 0)
    assert np.all(np.diff(rates[100:]) <= 0)
    assert learning_rate(BEST, 0.55) == pytest.approx(BEST.learning_rate / 2)


def test_a_constant_rate_is_constant() -> None:
    assert {learning_rate(RECIPES["notebook"], step / 10) for step in range(10)} == {1e-4}


def test_only_matrices_and_kernels_decay() -> None:
    model = small()
    optimizer = make_optimizer(model, dataclasses.replace(BEST, weight_decay=0.5, learning_rate=0.1))
    before = [weight.detach().clone() for weight in model.parameters()]
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.allclose(new, old * 0.95 if old.ndim > 1 else old)


def test_the_notebooks_optimizer_is_adam() -> None:
    recipe = RECIPES["notebook"]
    ours, adams = small(), small()
    pair = (make_optimizer(ours, recipe), torch.optim.Adam(adams.parameters(), lr=recipe.learning_rate))
    x = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        for model, optimizer in zip((ours, adams), pair, strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(ours.parameters(), adams.parameters(), strict=True))


def test_the_average_follows_the_weights_and_the_batch_statistics() -> None:
    model = small()
    average = make_average(model, dataclasses.replace(BEST, average_decay=0.9))
    expected = None
    for step in range(200):
        with torch.no_grad():
            model[0].weight.fill_(step)
        model[1].running_mean.fill_(2 * step)
        average.update_parameters(model)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = step if expected is None else expected * decay + step * (1 - decay)
    assert float(average.module[0].weight.detach().mean()) == pytest.approx(expected, rel=1e-4)
    assert float(average.module[1].running_mean.mean()) == pytest.approx(2 * expected, rel=1e-4)
    assert float(model[0].weight.detach().mean()) == 199


def test_no_average_is_kept_where_none_is_asked_for() -> None:
    assert make_average(small(), RECIPES["notebook"]) is None
