"""What a run's training is going to take on this machine, from a few seconds of training on noise.

Conventions
-----------
As in ``train.budget``; folds that are done, or in part, count for what is left of them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from featurize.jobs import Backend, run_tasks
from featurize.modes import FeatureMode
from train.budget import TrainingCost, makespan
from train.checkpoint import read_info
from train.history import read_epochs
from train.plan import RunRequest
from train.speed import Speed, SpeedProbe, fold_cost, mean_speed, time_training


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What is to be trained.

    Parameters
    ----------
    modes : sequence of FeatureMode
    clip_seconds : sequence of float
        Length of every training clip.
    n_classes, n_folds : int
        Of the corpus.
    workers, threads : int > 0
        Folds trained at a time, and the threads of each.
    first_round : float
        Share of the epochs of a first round; 0 where there is none.
    """

    modes: Sequence[FeatureMode]
    clip_seconds: Sequence[float]
    n_classes: int
    n_folds: int
    workers: int
    threads: int
    first_round: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What was measured: the training's cost, and mode → seconds to score a stored frame with one network."""

    cost: TrainingCost
    frame_seconds: Mapping[str, float]


def measure_training(
    task: TrainingTask, request: RunRequest, *, backend: Backend = "loky", scheduler: str | None = None
) -> Measured:
    """Train on noise where folds will be trained, as many at a time, and tell what the run takes.

    Parameters
    ----------
    task : TrainingTask
    request : RunRequest
        The recipe, the device, the run's folder.
    backend, scheduler
        As in ``featurize.jobs.run_tasks``.
    """
    lengths = tuple(sorted(task.clip_seconds)[:: max(1, len(task.clip_seconds) // 1000)])
    probes = [
        SpeedProbe(
            mode=mode,
            recipe=request.recipe,
            n_classes=task.n_classes,
            clip_seconds=lengths,
            device=request.device,
            threads=task.threads,
        )
        for mode in task.modes
        for _ in range(task.workers)
    ]
    begun = time.monotonic()
    timed = list(run_tasks(_time, list(enumerate(probes)), jobs=task.workers, backend=backend, scheduler=scheduler))
    waited = time.monotonic() - begun - makespan([speed.probe_seconds for _, speed in timed], task.workers)
    by_mode: dict[str, list[Speed]] = {mode.name: [] for mode in task.modes}
    for number, speed in timed:
        by_mode[probes[number].mode.name].append(speed)
    speeds = {name: mean_speed(found) for name, found in by_mode.items()}
    folds = {
        mode.name: fold_cost(
            speeds[mode.name],
            mode,
            request.recipe,
            task.clip_seconds,
            n_folds=task.n_folds,
            n_classes=task.n_classes,
        )
        for mode in task.modes
    }
    cost = TrainingCost(
        folds=folds,
        n_folds=task.n_folds,
        workers=task.workers,
        first_round=task.first_round,
        start_seconds=max(0.0, waited) + max(speed.start_seconds for speed in speeds.values()),
        done={} if request.force else epochs_done(request.folder, list(folds), task.n_folds),
        done_first={} if request.force else epochs_done(request.folder / "first-round", list(folds), task.n_folds),
    )
    return Measured(cost, {name: speed.frame_seconds for name, speed in speeds.items()})


def _time(numbered: tuple[int, SpeedProbe]) -> tuple[int, Speed]:
    return numbered[0], time_training(numbered[1])


def epochs_done(run: Path, modes: Sequence[str], n_folds: int) -> dict[tuple[str, int], int]:
    """Return how many epochs of each fold of a run are done, by mode and fold; folds without any are left out."""
    done: dict[tuple[str, int], int] = {}
    for mode in modes:
        for fold in range(n_folds):
            folder = run / mode / f"fold-{fold}"
            info = read_info(folder)
            if epochs := int(info["epoch"]) if info else read_epochs(folder):
                done[mode, fold] = epochs
    return done


def is_trained(request: RunRequest, task: TrainingTask) -> bool:
    """Tell whether all folds that are asked for are trained to their last epoch."""
    folds = range(task.n_folds) if request.folds is None else request.folds
    done = {} if request.force else epochs_done(request.folder, [mode.name for mode in task.modes], task.n_folds)
    return all(done.get((mode.name, fold), 0) >= request.recipe.epochs for mode in task.modes for fold in folds)
