"""Losses: how far scores are from labels, and from whose.

Conventions
-----------
B windows, K classes, P parts: a window that is mixed of two clips has two parts, each with the clip's target, its share
of the window and the weight of its label.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """What the windows of a batch should be told as.

    Parameters
    ----------
    classes : Tensor [shape=(P, B, K)]
        Class shares of each part's clip; a row sums to 1.
    shares : Tensor [shape=(P, B)]
        Each part's share of its window; they sum to 1 over the parts.
    verified : Tensor [shape=(P, B), bool]
        Whether somebody verified the label of the part's clip.
    """

    classes: Tensor
    shares: Tensor
    verified: Tensor


def cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    """Return the cross-entropy of each part, before shares and weights.

    Parameters
    ----------
    logits : Tensor [shape=(B, K)]

    Returns
    -------
    Tensor [shape=(P, B)]
    """
    return -(targets.classes * torch.log_softmax(logits.float(), dim=1)).sum(dim=2)


def weighted_mean(losses: Tensor, targets: Targets, *, unverified_weight: float) -> Tensor:
    """Return the mean of all parts by their shares, those of unverified labels weighed by ``unverified_weight``.

    Parameters
    ----------
    losses : Tensor [shape=(P, B)]
    """
    weights = targets.shares * torch.where(targets.verified, 1.0, unverified_weight)
    # Where every label is unverified and the weight 0, there is nothing to learn, and no division by 0.
    return (losses * weights).sum() / weights.sum().clamp_min(1e-9)


class LossByOrigin:
    """Running mean losses of verified and of unverified labels, and the classes where they stopped being numbers.

    Sums stay on the device: a number would make each step wait for it.
    """

    def __init__(self, n_classes: int, device: torch.device) -> None:
        self._sums = torch.zeros(2, 2, device=device)
        self._broken = torch.zeros(n_classes, device=device)

    def add(self, losses: Tensor, targets: Targets) -> None:
        """Count a batch's losses [P, B]."""
        for row, chosen in zip(self._sums, (targets.verified, ~targets.verified), strict=True):
            shares = targets.shares * chosen
            row += torch.stack([(losses.detach() * shares).sum(), shares.sum()])
        broken = (targets.classes * ~losses.detach().isfinite()[:, :, None]).sum(dim=(0, 1))
        self._broken = torch.where(self._broken.any(), self._broken, broken)

    def broken_classes(self) -> list[int]:
        """Return the classes in the first batch of which a loss was not a number: after it, all are."""
        return self._broken.nonzero().ravel().tolist()

    def means(self) -> dict[str, float]:
        """Return ``loss``, ``loss_verified`` and ``loss_unverified``; NaN for an origin that no label has."""
        (verified, unverified), total = self._sums.tolist(), self._sums.sum(dim=0).tolist()
        rows = {"loss": total, "loss_verified": verified, "loss_unverified": unverified}
        return {name: loss / count if count else float("nan") for name, (loss, count) in rows.items()}
