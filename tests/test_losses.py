import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from train.losses import LossByOrigin, Targets, cross_entropy, weighted_mean

K = 4
LOGITS = torch.randn(6, K, generator=torch.Generator().manual_seed(3))


def targets(labels: list[list[int]], shares: list[list[float]], verified: list[list[bool]]) -> Targets:
    return Targets(torch.eye(K)[torch.tensor(labels)], torch.tensor(shares), torch.tensor(verified))


PLAIN = targets([[0, 1, 2, 3, 0, 1]], [[1.0] * 6], [[True, True, False, True, False, False]])
MIXED = targets(
    [[0, 1, 2, 3, 0, 1], [1, 1, 3, 0, 2, 2]],
    [[0.9, 0.5, 0.25, 0.7, 0.6, 1.0], [0.1, 0.5, 0.75, 0.3, 0.4, 0.0]],
    [[True, True, False, True, False, False], [False, True, True, True, False, False]],
)


def test_the_loss_of_plain_windows_is_the_log_loss() -> None:
    losses = cross_entropy(LOGITS, PLAIN)
    expected = log_loss([0, 1, 2, 3, 0, 1], torch.softmax(LOGITS, dim=1).numpy(), labels=range(K))
    assert float(weighted_mean(losses, PLAIN, unverified_weight=1.0)) == pytest.approx(expected, rel=1e-5)


def test_parts_weigh_as_much_as_their_share() -> None:
    """Mixing the targets first and the losses afterwards is the same."""
    soft = (MIXED.classes * MIXED.shares[:, :, None]).sum(dim=0)
    expected = torch.nn.functional.cross_entropy(LOGITS, soft)
    losses = cross_entropy(LOGITS, MIXED)
    assert float(weighted_mean(losses, MIXED, unverified_weight=1.0)) == pytest.approx(float(expected), rel=1e-5)


def test_unverified_labels_weigh_less() -> None:
    losses = cross_entropy(LOGITS, PLAIN)[0].numpy()
    found = float(weighted_mean(torch.from_numpy(losses)[None], PLAIN, unverified_weight=0.25))
    assert found == pytest.approx(np.average(losses, weights=[1, 1, 0.25, 1, 0.25, 0.25]), rel=1e-5)


def test_labels_that_do_not_count_give_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    weighted_mean(cross_entropy(logits, PLAIN), PLAIN, unverified_weight=0.0).backward()
    assert (logits.grad.abs().sum(dim=1) > 0).tolist() == PLAIN.verified[0].tolist()
    nobody = Targets(PLAIN.classes, PLAIN.shares, torch.zeros(1, 6, dtype=torch.bool))
    logits.grad = None
    loss = weighted_mean(cross_entropy(logits, nobody), nobody, unverified_weight=0.0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


def test_means_are_kept_apart_by_origin() -> None:
    counted = LossByOrigin(K, torch.device("cpu"))
    for batch in (PLAIN, MIXED):
        counted.add(cross_entropy(LOGITS, batch), batch)
    losses = torch.cat([cross_entropy(LOGITS, batch).ravel() for batch in (PLAIN, MIXED)]).numpy()
    shares = torch.cat([batch.shares.ravel() for batch in (PLAIN, MIXED)]).numpy()
    verified = torch.cat([batch.verified.ravel() for batch in (PLAIN, MIXED)]).numpy()
    means = counted.means()
    assert means["loss"] == pytest.approx(np.average(losses, weights=shares), rel=1e-5)
    assert means["loss_verified"] == pytest.approx(np.average(losses, weights=shares * verified), rel=1e-5)
    assert means["loss_unverified"] == pytest.approx(np.average(losses, weights=shares * ~verified), rel=1e-5)


def test_an_origin_without_labels_has_no_mean() -> None:
    counted = LossByOrigin(K, torch.device("cpu"))
    all_verified = Targets(PLAIN.classes, PLAIN.shares, torch.ones(1, 6, dtype=torch.bool))
    counted.add(cross_entropy(LOGITS, all_verified), all_verified)
    means = counted.means()
    assert math.isnan(means["loss_unverified"])
    assert means["loss"] == means["loss_verified"]


def test_classes_whose_loss_is_no_number_are_named() -> None:
    counted = LossByOrigin(K, torch.device("cpu"))
    assert counted.broken_classes() == []
    logits = LOGITS.clone()
    logits[2] = float("nan")  # a clip of class 2, mixed with one of class 3
    counted.add(cross_entropy(logits, MIXED), MIXED)
    assert counted.broken_classes() == [2, 3]
    counted.add(cross_entropy(torch.full_like(LOGITS, float("nan")), MIXED), MIXED)
    assert counted.broken_classes() == [2, 3]  # where it began
