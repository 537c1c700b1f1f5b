"""The network of the DCASE 2018 baseline (task 2): windows → class scores.

Conventions
-----------
As in ``train.models``. B: batch, T: frames, M: mels, K: classes.

References
----------
.. [1] The baseline's code and README: github.com/DCASE-REPO/dcase2018_baseline, task2/model.py and task2/main.py.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models import Normalisation, Normalise

WEIGHTS_STD = 1e-3
"""Standard deviation of the normal law of the first weights, where values beyond two of it are drawn anew."""


class SameMaxPool2d(nn.Module):
    """Maximum of 3 × 3 at stride 2 with TensorFlow's "same" padding: ``ceil(n / 2)`` out."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, M] → [B, C, ceil(T / 2), ceil(M / 2)]."""
        # An odd size is padded by one on each side; an even one at the end only, which is what ceil_mode does.
        return F.max_pool2d(x, 3, stride=2, padding=(x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)


class BaselineNet(nn.Module):
    """The three-layer network of the DCASE 2018 baseline [1]_.

    At 41 classes 658,591 parameters: 658,100 weights and 491 biases, whatever the size of a window, as the last layer
    sees each map's maximum only.

    Parameters
    ----------
    n_mels, n_frames : int > 0
        Size of a window; the baseline's is 64 and 25.
    n_classes : int > 0
    normalisation : "samplewise", "featurewise" or "none"
        The baseline has none.
    """

    def __init__(self, *, n_mels: int, n_frames: int, n_classes: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "network": "dcase-baseline",
            "n_mels": n_mels,
            "n_frames": n_frames,
            "n_classes": n_classes,
            "normalisation": normalisation,
        }
        self.normalise = Normalise(normalisation)
        # Shapes for (T, M) = (25, 64).
        self.features = nn.Sequential(
            nn.Conv2d(1, 100, 7, padding=3),  # (B, 100, 25, 64)
            nn.ReLU(),
            SameMaxPool2d(),  # (B, 100, 13, 32)
            nn.Conv2d(100, 150, 5, padding=2),
            nn.ReLU(),
            SameMaxPool2d(),  # (B, 150, 7, 16)
            nn.Conv2d(150, 200, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(200, n_classes)
        self.apply(_begin)

    def scores(self, x: Tensor) -> Tensor:
        """Normalised windows [B, T, M] → logits [B, K]."""
        image = x.unsqueeze(1)  # (B, 1, T, M)
        hidden = self.features(image.contiguous(memory_format=torch.channels_last)).amax(dim=(2, 3))  # (B, 200)
        # Logits of bfloat16 would tie, and ties decide ranks: the last product is float32 always.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(hidden.float())  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Windows as stored [B, T, M] → logits [B, K]."""
        return self.scores(self.normalise(x))


def _begin(layer: nn.Module) -> None:
    """Draw a layer's weights as the baseline does, and set its biases to 0."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=WEIGHTS_STD, a=-2 * WEIGHTS_STD, b=2 * WEIGHTS_STD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
