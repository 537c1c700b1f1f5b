"""How fast a recipe trains on this machine: measured on made-up frames, before there is anything to train on.

Conventions
-----------
A probe trains a fresh network for some seconds on noise whose clips are as long as the corpus's; nothing but seconds
comes of it. As many probes run at a time as folds will, so that what they take from one another is measured, too.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from cache import StoreReader
from featurize.modes import FeatureMode
from train.budget import FoldCost
from train.checkpoint import save_last
from train.dataset import window_starts
from train.device import Engine, pick_engine
from train.epoch import State, train_epoch
from train.frames import MemoryFrames
from train.job import FoldJob
from train.loop import open_job_clips, start_fold
from train.recipe import Recipe
from train.scores import clip_log_probabilities

_LENGTHS = 16  # different ones, at even quantiles: as many as fill batches when whole clips are scored
_MOST_CLIPS = 192
_MOST_FRAMES = 200_000
_MOST_ROUNDS = 50
_SCORING_SECONDS = 0.3
TRAINING_SECONDS = 2.0
"""A probe trains so long, an epoch at least."""
_SAVING_SHARE = 0.1  # of an epoch, as train.loop saves
_SILENCE_DB = -100.0
_CELL_BYTES = 13  # of oof.csv


@dataclass(frozen=True, kw_only=True)
class SpeedProbe:
    """What is to be timed.

    Parameters
    ----------
    mode : FeatureMode
    recipe : Recipe
    n_classes : int >= 2
    clip_seconds : tuple of float
        Lengths of the clips that there will be, or of some of them.
    device : str
    threads : int > 0
    """

    mode: FeatureMode
    recipe: Recipe
    n_classes: int
    clip_seconds: tuple[float, ...]
    device: str = "auto"
    threads: int = 1


@dataclass(frozen=True)
class Speed:
    """What a probe found.

    Attributes
    ----------
    start_seconds : float
        Before a process trains its first fold.
    open_seconds : float
        To open a clip and count it into the normalisation.
    window_seconds : float
        To train on one window, or one crop.
    frame_seconds : float
        To score a clip, for each of its stored frames.
    save_seconds : float
        To save the state to resume from.
    network_bytes, state_bytes : float
        Of the weights, and of the state.
    probe_seconds : float
        What the probe took.
    """

    start_seconds: float
    open_seconds: float
    window_seconds: float
    frame_seconds: float
    save_seconds: float
    network_bytes: float
    state_bytes: float
    probe_seconds: float


class _Noise(MemoryFrames):
    """Made-up frames of a mode, with as much of a reader as training asks for."""

    def __init__(self, mode: FeatureMode, clips: Sequence[NDArray[np.floating]]) -> None:
        super().__init__(clips)
        self.mode = mode.name


def time_training(probe: SpeedProbe) -> Speed:
    """Train on noise, and tell how fast it went.

    Raises
    ------
    InputError
        If the device is not there.
    """
    begun = time.perf_counter()
    torch.set_num_threads(probe.threads)
    engine = pick_engine(probe.device)
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        job = _make_job(probe, Path(folder))
        with torch.random.fork_rng([engine.device] if engine.device.type == "cuda" else []):
            opening = time.perf_counter()
            clips = open_job_clips(job, job.trained, engine)
            state = start_fold(job, clips, engine)
            started = time.perf_counter() - opening  # imports of torch's own come with the first optimizer
            opened = _time(lambda: _open(job, state, engine), least_seconds=0)

            def epoch() -> None:
                train_epoch(job, state, clips, engine)
                state.epoch += 1

            trained = _time(epoch, least_seconds=TRAINING_SECONDS)
            scored = _time(lambda: clip_log_probabilities(state.kept, clips, engine), least_seconds=_SCORING_SECONDS)
            whole = state.to_dict(job)
            saved = _time(lambda: save_last(job.folder, whole), least_seconds=0)
    return Speed(
        start_seconds=max(0.0, started - opened),
        open_seconds=opened / clips.n_clips,
        window_seconds=trained / len(clips),
        frame_seconds=scored / int(job.reader.n_frames.sum()),
        save_seconds=saved,
        network_bytes=_tensor_bytes(whole["model"]),
        state_bytes=_tensor_bytes(whole),
        probe_seconds=time.perf_counter() - begun,
    )


def _open(job: FoldJob, state: State, engine: Engine) -> None:
    """Do what the start of a fold does for each of its clips."""
    clips = open_job_clips(job, job.trained, engine)
    if (kind := state.model.normalise.kind) in ("featurewise", "peakwise"):
        clips.mean_and_std(np.ones(len(clips)), below_peak=kind == "peakwise")


def _time(work: Callable[[], object], *, least_seconds: float) -> float:
    """Return the median seconds of some rounds, after as many that do not count.

    A processor's library prepares convolutions anew for each length of crops, which a long training soon has behind it.
    """
    _rounds(work, least_seconds)
    return statistics.median(_rounds(work, least_seconds))


def _rounds(work: Callable[[], object], least_seconds: float) -> list[float]:
    seconds: list[float] = []
    while not seconds or (sum(seconds) < least_seconds and len(seconds) < _MOST_ROUNDS):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return seconds


def _make_job(probe: SpeedProbe, folder: Path) -> FoldJob:
    mode, rng = probe.mode, np.random.default_rng(0)
    lengths = _sample_lengths(mode, probe.clip_seconds)
    frames = _Noise(mode, [_noise(mode, length, rng) for length in lengths])
    n_clips = len(lengths)
    labels = np.arange(n_clips, dtype=np.int64) % probe.n_classes
    return FoldJob(
        folder=folder,
        reader=cast(StoreReader, frames),
        labels=labels,
        held=np.zeros(n_clips, bool),
        scored=np.ones(n_clips, bool),
        targets=labels,
        verified=labels % 2 == 0,
        recipe=replace(probe.recipe, epochs=10_000),  # the first epochs, which mix, are those that count
        settings={
            "seed": 0,
            "fold": 0,
            "classes": [f"class-{number}" for number in range(probe.n_classes)],
            "mode": mode.to_dict(),
            "window_frames": mode.window_frames,
        },
        prior=[1 / probe.n_classes] * probe.n_classes,
        threads=probe.threads,
        device=probe.device,
        fresh=True,
    )


def _sample_lengths(mode: FeatureMode, clip_seconds: Sequence[float]) -> list[int]:
    """Return lengths of sounds in frames, few of them different, at even quantiles."""
    at = (np.arange(_LENGTHS) + 0.5) / _LENGTHS
    frames = 1 + np.quantile(clip_seconds, at) * mode.sample_rate_hz / mode.hop_samples
    frames = np.minimum(frames, mode.window_frames if mode.head_only else _MOST_FRAMES / _LENGTHS).astype(int)
    times = min(_MOST_CLIPS, max(_LENGTHS, int(_MOST_FRAMES / frames.mean()))) // _LENGTHS
    return [int(length) for length in np.repeat(np.maximum(frames, 1), times)]


def _noise(mode: FeatureMode, length: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """Return noise, in silence where it is shorter than a window, as short clips are stored."""
    frames = np.full((max(length, mode.window_frames), mode.n_mels), _SILENCE_DB, mode.dtype)
    first = (len(frames) - length) // 2
    frames[first : first + length] = 6 * rng.standard_normal((length, mode.n_mels), np.float32) - 40
    return frames


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_tensor_bytes, value.values()))
    return sum(map(_tensor_bytes, value)) if isinstance(value, (list, tuple)) else 0


def mean_speed(speeds: Sequence[Speed]) -> Speed:
    """Return the mean of probes that ran side by side."""
    columns = {field.name: [getattr(speed, field.name) for speed in speeds] for field in fields(Speed)}
    return Speed(**{name: sum(values) / len(values) for name, values in columns.items()})


def fold_cost(
    speed: Speed, mode: FeatureMode, recipe: Recipe, clip_seconds: Sequence[float], *, n_folds: int, n_classes: int
) -> FoldCost:
    """Return what an average fold of a mode takes.

    Parameters
    ----------
    speed : Speed
    mode : FeatureMode
    recipe : Recipe
    clip_seconds : sequence of float
        Length of every training clip.
    n_folds, n_classes : int
    """
    frames = np.array([mode.n_frames(seconds) for seconds in clip_seconds], np.int64)
    n_windows = len(frames)
    if not recipe.whole_clips:
        starts = window_starts(frames, window_frames=mode.window_frames, overlap=recipe.window_overlap)
        n_windows = len(starts[0])
    scoring = speed.frame_seconds * float(frames.sum()) / n_folds
    epoch = speed.window_seconds * n_windows * (1 - 1 / n_folds) + scoring
    return FoldCost(
        start_seconds=speed.open_seconds * len(frames) + scoring + speed.save_seconds,
        epoch_seconds=epoch + min(speed.save_seconds, _SAVING_SHARE * epoch),
        n_bytes=int(speed.network_bytes + speed.state_bytes) + _CELL_BYTES * n_classes * len(frames) // n_folds,
    )
