"""One epoch of a fold: batches in, weights moved, losses out."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from cache.errors import EarmarkError
from featurize.modes import units_per_db
from train import augment
from train.batches import Batch, count_steps, draw_batches
from train.dataset import Clips
from train.device import Engine
from train.job import FoldJob
from train.losses import LossByOrigin, Targets, cross_entropy, weighted_mean
from train.networks import Network
from train.optimizer import learning_rate

WHAT_NEXT = "try another --seed under another --run NAME"


class DivergedError(EarmarkError):
    """The loss of a fold is not a number any more."""


@dataclass
class State:
    """What changes from epoch to epoch.

    Parameters
    ----------
    model : Network
        The network that is trained.
    optimizer : Optimizer
    average : AveragedModel or None
    epoch : int
        Epochs done.
    seconds, waited : float
        Time used, and how much of it went into waiting for batches.
    """

    model: Network
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    epoch: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def kept(self) -> Network:
        """The network that is scored and kept: of the averaged weights, where they are averaged."""
        return cast(Network, self.average.module) if self.average else self.model

    def to_dict(self, job: FoldJob) -> dict[str, Any]:
        """Return all that resuming needs; tensors are those of the state."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "epoch": self.epoch,
            "seconds": self.seconds,
            "waited": self.waited,
            "settings": job.settings,
        }


def train_epoch(job: FoldJob, state: State, clips: Clips, engine: Engine) -> dict[str, float]:
    """Train the epoch that follows.

    Parameters
    ----------
    job : FoldJob
    state : State
        Its weights move; its count of epochs is left to the caller.
    clips : Clips
        The clips of ``job.trained``.
    engine : Engine

    Returns
    -------
    dict
        loss, loss_verified, loss_unverified: means over the epoch; learning_rate: of its last step.

    Raises
    ------
    DivergedError
        If the loss is not a number any more.
    """
    recipe, seed = job.recipe, job.seed_of(state.epoch + 1)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed + 1)  # dropout; with one seed its masks would follow the generator's draws
    mixed = recipe.mixup_alpha > 0 and state.epoch < recipe.epochs * (1 - recipe.unmixed_share)
    frames, n_steps = job.settings["window_frames"], count_steps(clips, recipe)
    batches = draw_batches(
        clips,
        job.targets[job.trained],
        recipe,
        window_frames=frames,
        mixed=mixed,
        seed=seed,
        groups=job.balanced_groups,
    )
    losses = LossByOrigin(len(job.settings["classes"]), engine.device)
    state.model.train()
    for step, batch in enumerate(_timed(batches, state), state.epoch * n_steps):
        rate = learning_rate(recipe, step / (recipe.epochs * n_steps))
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        _step(job, state, batch, losses, engine, generator)
    means = losses.means()
    if not math.isfinite(means["loss"]):
        raise _diverged(job, state.epoch + 1, means["loss"], losses.broken_classes(), rate)
    return {**means, "learning_rate": rate}


def _diverged(job: FoldJob, epoch: int, loss: float, broken: Sequence[int], rate: float) -> DivergedError:
    classes = job.settings["classes"]
    whose = "every class" if len(broken) == len(classes) else ", ".join(classes[number] for number in broken[:5])
    message = (
        f"{job.title} diverged in epoch {epoch}: its loss is {loss} for clips of {whose}, at a learning rate of "
        f"{rate:.2g}; {WHAT_NEXT}"
    )
    return DivergedError(message)


def _timed(batches: Iterator[Batch], state: State) -> Iterator[Batch]:
    """Pass batches on, and count the time that they take."""
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        state.waited += time.perf_counter() - asked
        if batch is None:
            return
        yield batch


def _step(
    job: FoldJob, state: State, batch: Batch, losses: LossByOrigin, engine: Engine, generator: torch.Generator
) -> None:
    x, shares = _augmented(job, state.model, batch, engine, generator)
    targets = _targets(job, batch, shares, engine)
    with engine.autocast():
        logits = state.model.scores(x)
    by_part = cross_entropy(logits, targets)
    loss = weighted_mean(by_part, targets, unverified_weight=job.recipe.unverified_weight)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if job.recipe.clip_norm:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), job.recipe.clip_norm)
    state.optimizer.step()
    if state.average:
        state.average.update_parameters(state.model)
    losses.add(by_part, targets)


def _augmented(
    job: FoldJob, model: Network, batch: Batch, engine: Engine, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Normalise, mix, shift, flip, erase and mask a batch; return it [B, T, M] and the parts' shares [P, B]."""
    recipe = job.recipe
    x = batch.windows.to(engine.device).float()
    if recipe.reverberate_probability:
        mode = job.settings["mode"]
        x = augment.reverberate(
            x,
            probability=recipe.reverberate_probability,
            per_db=units_per_db(mode),
            frame_seconds=mode["hop_samples"] / mode["sample_rate_hz"],
            generator=generator,
        )
    x = model.normalise(x)
    if len(batch.clips) == 2:
        half = batch.clips.shape[1]
        x, share = augment.mixup(x[:half], x[half:], alpha=recipe.mixup_alpha, generator=generator)
        shares = torch.stack([share, 1 - share])
    else:
        shares = torch.ones(batch.clips.shape, device=engine.device)
    if recipe.max_shift or recipe.flip:
        x = augment.shift_and_flip(x, max_shift=recipe.max_shift, flip=recipe.flip, generator=generator)
    if recipe.erase_probability:
        x = augment.erase(x, probability=recipe.erase_probability, generator=generator)
    if recipe.max_band_shift:
        x = augment.shift_bands(x, most=recipe.max_band_shift, generator=generator)
    if recipe.equaliser_std:
        x = augment.equalise(x, std=recipe.equaliser_std, generator=generator)
    if recipe.mask_bands or recipe.mask_frames:
        x = augment.mask(x, bands=recipe.mask_bands, frames=recipe.mask_frames, generator=generator)
    return x, shares


def _targets(job: FoldJob, batch: Batch, shares: Tensor, engine: Engine) -> Targets:
    rows = job.trained[batch.clips.numpy()]
    classes, verified = torch.from_numpy(job.targets[rows]), torch.from_numpy(job.verified[rows])
    one_hot = F.one_hot(classes, len(job.settings["classes"])).float()
    return Targets(one_hot.to(engine.device), shares, verified.to(engine.device))
