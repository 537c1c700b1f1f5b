"""Networks: log-mel windows → class scores.

Conventions
-----------
A window is ``[n_frames, n_mels]``, as stored: in dB, or in natural logarithms where the mode says so. A batch adds the
first axis. A model normalises what it is given, so that its file holds everything between the store and the scores. B:
batch, M: mels, T: frames, K: classes.
"""

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache.errors import InputError

Normalisation = Literal["samplewise", "featurewise", "peakwise", "none"]


class Normalise(nn.Module):
    """Bring stored values to about zero mean and unit spread, or leave them as they are.

    ``samplewise``: each window by its own mean and (standard deviation + 1); ``featurewise``: all by the mean and
    standard deviation of the training windows, which ``fit`` sets; ``peakwise``: each window relative to its loudest
    value, whatever the level of the recording, then as ``featurewise``; ``none``: as stored.

    Parameters
    ----------
    kind : "samplewise", "featurewise", "peakwise" or "none"
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: Normalisation) -> None:
        super().__init__()
        if kind not in get_args(Normalisation):
            message = f"normalisation must be one of {', '.join(get_args(Normalisation))}; got {kind!r}"
            raise InputError(message)
        self.kind = kind
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def fit(self, mean: float, std: float) -> None:
        """Set the mean and standard deviation of the training windows; ``peakwise``, of what is below their peaks."""
        self.mean.fill_(mean)
        self.std.fill_(std if std > 0 else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, M] as stored → [B, T, M]."""
        if self.kind == "none":
            return x
        if self.kind == "peakwise":
            return (x - (x.amax(dim=(1, 2), keepdim=True) + self.mean)) / self.std
        if self.kind == "featurewise":
            return (x - self.mean) / self.std
        x = x - x.mean(dim=(1, 2), keepdim=True)
        # The norm over the root of the count: Tensor.std takes ten times as long on a CPU.
        std: Tensor = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) / math.sqrt(x[0].numel())
        return x / (std + 1.0)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: ``ceil(n / stride)`` out, the odd one of the padding at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, M, T] → [B, C', ceil(M / s), ceil(T / s)]."""
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


_LEAST_MELS, _LEAST_FRAMES = 29, 187


def _pad(image: Tensor) -> Tensor:
    """Bring an image [B, 1, M, T] to the least size that the layers leave something of; 0 is a window's mean."""
    missing_mels, missing_frames = _LEAST_MELS - image.shape[2], _LEAST_FRAMES - image.shape[3]
    if missing_mels <= 0 and missing_frames <= 0:
        return image
    return F.pad(image, (0, max(0, missing_frames), 0, max(0, missing_mels)))


class AlexNetLike(nn.Module):
    """The AlexNet-like network of the origin (daisukelab's notebook), with Keras's paddings.

    Weights begin, and batch statistics move, as PyTorch has it. Where an epoch is a few steps, as on 200 clips, Keras's
    defaults do worse at the notebook's learning rate (cross-validated on 200 clips: its weights, on X after 100
    epochs: loss 1.46 instead of 1.09, held-out log loss 0.96 instead of 0.77; its momentum of the batch statistics, on
    LH after 200 epochs, four folds: mAP@3 0.757 instead of 0.817).

    1,437,417 parameters on LH windows (128 mels, 201 frames) and 1,109,737 on X windows (48, 301), at 41 classes.

    Parameters
    ----------
    n_mels, n_frames : int
        Size of a window. What is smaller than the least that the layers leave something of (29 mels, 187 frames) is
        padded to that with its mean, behind its last frame and above its highest band.
    n_classes : int
    normalisation : "samplewise" or "featurewise"
    """

    def __init__(self, *, n_mels: int, n_frames: int, n_classes: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "network": "alexnet-like",
            "n_mels": n_mels,
            "n_frames": n_frames,
            "n_classes": n_classes,
            "normalisation": normalisation,
        }
        self.normalise = Normalise(normalisation)
        # Shapes for LH (M, T) = (128, 201).
        self.features = nn.Sequential(
            SameConv2d(1, 48, 11, stride=(2, 3)),  # (B, 48, 64, 67)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=(1, 2)),  # (B, 48, 62, 33)
            nn.BatchNorm2d(48),
            SameConv2d(48, 128, 5, stride=(2, 3)),  # (B, 128, 31, 11)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (B, 128, 15, 5)
            nn.BatchNorm2d(128),
            SameConv2d(128, 192, 3, stride=(1, 2)),  # (B, 192, 15, 3)
            nn.ReLU(),
            SameConv2d(192, 192, 3),
            nn.ReLU(),
            SameConv2d(192, 128, 3),  # (B, 128, 15, 3)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=(1, 2)),  # (B, 128, 13, 1)
            nn.BatchNorm2d(128),
        )
        self.head = nn.Sequential(
            nn.Flatten(),  # (B, 1664)
            nn.Linear(self._flat_size(n_mels, n_frames), 256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, n_classes),
        )

    def _flat_size(self, n_mels: int, n_frames: int) -> int:
        with torch.inference_mode():
            size = self.features.eval()(_pad(torch.zeros(1, 1, n_mels, n_frames))).numel()
        self.features.train()
        return int(size)

    def scores(self, x: Tensor) -> Tensor:
        """Normalised windows [B, T, M] → logits [B, K]."""
        image = _pad(x.transpose(1, 2).unsqueeze(1))  # (B, 1, M, T)
        hidden = self.head[:-1](self.features(image.contiguous(memory_format=torch.channels_last)))  # (B, 256)
        # Logits of bfloat16 would tie, and ties decide ranks: the last product is float32 always.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head[-1](hidden.float())  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Windows as stored [B, T, M] → logits [B, K]."""
        return self.scores(self.normalise(x))
