"""The network of the recipe "best": fully convolutional, for spectrograms of any length and any number of bands."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models import Normalisation, Normalise

STAGES = ((32,), (64,), (128,), (256, 256))
"""Channels of each convolution; what stands together is pooled together, the last stage not at all."""


class ConvNet(nn.Module):
    """Convolutions over time and frequency, pooled to one vector by mean and maximum over time.

    Five by five with stride 2, then three by three; each followed by batch normalisation and ReLU, and at a stage's end
    by pooling before them: on a quarter of the values, normalisation and ReLU take a quarter of the time. Pooling over
    time is the sum of mean and maximum (Kong et al., 2020, "PANNs", arXiv:1912.10211, section II-A): the mean tells
    lasting sounds, the maximum short ones. Frequencies are averaged before that in a few parts: where in the spectrum a
    shape lies tells what it is (Phaye, Benetos and Wang, 2019, "SubSpectralNet", arXiv:1810.12642).

    The logarithm of ``prior`` is added to the scores in ``forward``, and not in ``scores``, which training uses:
    training draws classes in equal shares, and clips to be tagged come as the prior says.

    Parameters
    ----------
    n_mels : int > 0
    n_classes : int > 0
    normalisation : "samplewise", "featurewise" or "peakwise"
    stages : sequence of sequence of int
        See `STAGES`.
    n_parts : int > 0
        Parts of the spectrum that are averaged by themselves, or as many as there are rows left.
    dropout : float in [0, 1)
        Share of the pooled values that training leaves out.
    """

    log_prior: Tensor

    def __init__(
        self,
        *,
        n_mels: int,
        n_classes: int,
        normalisation: Normalisation,
        stages: Sequence[Sequence[int]] = STAGES,
        n_parts: int = 8,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "network": "fully-convolutional",
            "n_mels": n_mels,
            "n_classes": n_classes,
            "normalisation": normalisation,
            "stages": [list(stage) for stage in stages],
            "n_parts": n_parts,
            "dropout": dropout,
        }
        self.normalise = Normalise(normalisation)
        self.register_buffer("log_prior", torch.zeros(n_classes))
        layers: list[nn.Module] = []
        n_in, n_rows = 1, -(-n_mels // 2)
        for number, stage in enumerate(stages):
            for n_out in stage[:-1]:
                layers += _convolution(n_in, n_out, pooled=False)
                n_in = n_out
            layers += _convolution(n_in, stage[-1], pooled=number < len(stages) - 1)
            n_in = stage[-1]
            n_rows = -(-n_rows // 2) if number < len(stages) - 1 else n_rows
        # Shapes for LH, (M, T) = (128, 201), after each stage: (B, 32, 32, 51), (B, 64, 16, 26), (B, 128, 8, 13) and
        # (B, 256, 8, 13).
        self.features = nn.Sequential(*layers)
        self.n_parts = min(n_parts, n_rows)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_in * self.n_parts, n_classes))

    def set_prior(self, prior: Tensor) -> None:
        """Set the shares of the classes [K] in what is going to be scored."""
        self.log_prior.copy_(prior.clamp_min(1e-9).log())

    def pooled(self, x: Tensor) -> Tensor:
        """Normalised spectrograms [B, T, M] → what the last layer takes [B, F], not negative."""
        image = x.transpose(1, 2).unsqueeze(1)  # (B, 1, M, T)
        hidden = self.features(image.contiguous(memory_format=torch.channels_last))  # (B, C, M', T')
        # Not mean(dim=2): the gradient of that has no memory of its own, and all layers before take longer with it.
        parts = [F.avg_pool2d(part, (part.shape[2], 1)) for part in hidden.tensor_split(self.n_parts, dim=2)]
        hidden = torch.cat(parts, dim=2).flatten(1, 2)  # (B, C * parts, T')
        return hidden.mean(dim=2) + hidden.amax(dim=2)

    def scores(self, x: Tensor) -> Tensor:
        """Normalised spectrograms [B, T, M] → logits [B, K]."""
        hidden = self.head[0](self.pooled(x))
        # Logits of bfloat16 would tie, and ties decide ranks: the last product is float32 always.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head[1](hidden.float())  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Spectrograms as stored [B, T, M] → logits [B, K]."""
        return self.scores(self.normalise(x)) + self.log_prior


def _convolution(n_in: int, n_out: int, *, pooled: bool) -> list[nn.Module]:
    first = n_in == 1
    convolution = nn.Conv2d(n_in, n_out, 5 if first else 3, 2 if first else 1, 2 if first else 1, bias=False)
    # Rounded up, so that something is left of the smallest spectrogram.
    pooling = [nn.MaxPool2d(2, ceil_mode=True)] if pooled else []
    return [convolution, *pooling, nn.BatchNorm2d(n_out), nn.ReLU()]
