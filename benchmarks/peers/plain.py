"""Training as it is commonly written: a ``DataLoader`` over h5py, a clip at a time, and a float32 loop.

Conventions
-----------
``__getitem__`` opens the file once a worker, reads the crop of one clip, normalises and augments it. The batch is mixed
with itself in another order, so that half as many clips are read as by this project's training, which draws partners.
Clips and batches are those that the other contestant gets, in windows of one length or at its lengths of crops. No
average of weights is kept and no gradient is clipped, which saves time too. The network is the same one, in float32,
contiguous (NCHW).
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from peers.ways import shard_places
from train.crops import ClipDataset
from train.job import FoldJob
from train.networks import Network, build_network
from train.recipe import Recipe

WORKERS = (0, 1, 2)


class Piece(NamedTuple):
    """A clip of the dataset, and how many frames to cut out of it."""

    clip: int
    n_frames: int


Batches = Sequence[Sequence[Piece]]


class H5Clips(Dataset[tuple[Tensor, int]]):
    """Crops of the clips that another dataset holds, read by h5py, ready for the network."""

    def __init__(self, job: FoldJob, spans: ClipDataset) -> None:
        self._paths, places = shard_places(Path(job.reader.path))
        self._places = [places[row] for row in job.trained.tolist()]
        self._first, self._stop = spans.first.tolist(), spans.stop.tolist()
        self._labels = job.targets[job.trained].tolist()
        self._files: dict[int, h5py.Dataset] = {}
        self._mean, self._std, self._recipe = 0.0, 1.0, job.recipe

    def prepare(self, model: Network) -> None:
        """Take over what the network normalises with."""
        self._mean, self._std = float(model.normalise.mean), float(model.normalise.std)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, piece: Piece) -> tuple[Tensor, int]:
        shard, start = self._places[piece.clip]
        if shard not in self._files:
            self._files[shard] = h5py.File(self._paths[shard])["frames"]
        earliest, latest = self._range(piece)
        begin = start + int(torch.randint(earliest, latest + 1, ()))
        x = torch.from_numpy(self._files[shard][begin : begin + piece.n_frames]).float()
        x = self._coloured((x - x.max() - self._mean) / self._std)
        self._mask(x.T, self._recipe.mask_bands)
        self._mask(x, self._recipe.mask_frames)
        return x, self._labels[piece.clip]

    def _range(self, piece: Piece) -> tuple[int, int]:
        """Where a crop may begin: within the sound, or around it where that is shorter."""
        first, stop = self._first[piece.clip], self._stop[piece.clip]
        if stop - first <= piece.n_frames:
            return max(stop - piece.n_frames, 0), max(stop - piece.n_frames, 0)
        return first, stop - piece.n_frames

    def _coloured(self, x: Tensor) -> Tensor:
        """Move a crop up or down, and add a curve over its bands."""
        n_mels = x.shape[1]
        if most := round(self._recipe.max_band_shift * n_mels):
            x = x[:, (torch.arange(n_mels) + torch.randint(-most, most + 1, ())).clamp(0, n_mels - 1)]
        if std := self._recipe.equaliser_std:
            x = x + F.interpolate(torch.randn(1, 1, 5) * std, size=n_mels, mode="linear", align_corners=True)[0]
        return x

    def _mask(self, x: Tensor, widest: float) -> None:
        """Overwrite two stretches of the first axis with 0."""
        for _ in range(2):
            width = round(float(torch.rand(())) * widest * len(x))
            begin = int(torch.randint(0, len(x) - width + 1, ()))
            x[begin : begin + width] = 0.0

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": {}}


class PlainTraining:
    """A network of the same settings and weights, and the loop around it."""

    def __init__(self, model: Network, recipe: Recipe, clips: H5Clips, device: torch.device) -> None:
        self.model = plain_copy(model).to(device)
        self._alpha, self._rng = recipe.mixup_alpha, np.random.default_rng(0)
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.learning_rate)
        self._clips, self._device = clips, device

    def epoch(self, batches: Batches, n_workers: int) -> float:
        """Train an epoch; give its mean loss."""
        loader = DataLoader(self._clips, batch_sampler=batches, num_workers=n_workers)
        self.model.train()
        total = 0.0
        with warnings.catch_warnings():  # more workers than this machine has cores
            warnings.filterwarnings("ignore", "This DataLoader will create")
            for x, labels in loader:
                total += self._step(x.to(self._device), labels.to(self._device))
        return total / len(batches)

    def _step(self, x: Tensor, labels: Tensor) -> float:
        share, order = float(self._rng.beta(self._alpha, self._alpha)) if self._alpha else 1.0, torch.randperm(len(x))
        logits = self.model.scores(share * x + (1 - share) * x[order])
        loss = share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, labels[order])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.item()


def plain_copy(model: Network) -> Network:
    """Return the same network in float32 and contiguous memory: its images are given so, and its weights lie so."""
    copy = build_network(model.settings)
    copy.load_state_dict(model.state_dict())
    copy.features.register_forward_pre_hook(contiguous)
    return copy


def contiguous(_: nn.Module, images: tuple[Tensor]) -> tuple[Tensor]:
    """Name the one channel's stride as a contiguous image has it: no value moves."""
    return (images[0].squeeze(1).unsqueeze(1),)


def batches_like(made: Iterator[tuple[NDArray[np.int64], int]]) -> Batches:
    return [[Piece(clip, n_frames) for clip in clips.tolist()] for clips, n_frames in made]


def of_length(batches: Batches, n_frames: int | None) -> Batches:
    """Return the same clips in pieces of one length, or as they are."""
    return [[Piece(piece.clip, n_frames or piece.n_frames) for piece in batch] for batch in batches]
