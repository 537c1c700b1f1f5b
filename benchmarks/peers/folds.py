"""Folds to train on made-up stores: clips as long as FSDKaggle2018's, and noise instead of sounds.

Conventions
-----------
Frames are noise of 6 dB on a slope, louder in a few bands that belong to the clip's class. A clip that is shorter than
a window lies in the middle of it, in silence, as the featurizer stores it.
"""

import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cache import ClipRow, StoreReader, open_store
from featurize.batch import clips_per_shard
from featurize.modes import FeatureMode
from featurize.shards import seal
from peers.sounds import clip_seconds
from train.dataset import Clips, open_clips
from train.device import Engine
from train.epoch import State
from train.job import FoldJob
from train.networks import build_network
from train.optimizer import make_average, make_optimizer
from train.plan import RunRequest, plan_run
from train.recipe import Recipe

N_CLASSES = 41
SILENCE_DB = -100.0
_POOL_FRAMES = 20_000
"""Noise that is drawn once; every clip takes a piece of it."""


class Fold(NamedTuple):
    """A job with its clips: those to train on, and those held out."""

    job: FoldJob
    clips: Clips
    held: Clips


def make_table(n_clips: int, *, n_classes: int = N_CLASSES) -> pd.DataFrame:
    """Return a clip table; two of five clips are verified, as in FSDKaggle2018."""
    numbers = np.arange(n_clips)
    columns = {
        "fname": [f"{number:06d}.wav" for number in numbers],
        "label": [f"class-{number % n_classes:02d}" for number in numbers],
        "manually_verified": pd.array((numbers // n_classes) % 5 < 2, "boolean"),
        "fold": pd.array([pd.NA] * n_clips, "Int64"),
        "group": pd.array([pd.NA] * n_clips, "string"),
    }
    return pd.DataFrame(columns)


def write_store(folder: Path, table: pd.DataFrame, mode: FeatureMode, seed: int) -> StoreReader:
    """Write the shards of a mode, and open them."""
    rng = np.random.default_rng([seed, zlib.crc32(mode.name.encode())])
    slope = np.linspace(-25, -60, mode.n_mels, dtype=np.float32)
    pool = (slope + 6 * rng.standard_normal((_POOL_FRAMES, mode.n_mels), np.float32)).astype(mode.dtype)
    seconds = clip_seconds(len(table), rng)
    step, rows = clips_per_shard(len(table)), []
    for number, (name, length) in enumerate(zip(table["fname"], seconds, strict=True)):
        frames = _frames(mode, pool, length, number % N_CLASSES, rng)
        rows.append(ClipRow(name, hashlib.sha256(name.encode()).hexdigest(), length, frames))
        if len(rows) == step or number == len(table) - 1:
            seal(mode, folder / mode.folder, rows, versions={})
            rows = []
    return open_store(folder / mode.folder)


def _frames(
    mode: FeatureMode, pool: NDArray[np.floating], seconds: float, label: int, rng: np.random.Generator
) -> NDArray[np.floating]:
    window = mode.window_frames
    n_frames = 1 + round(seconds * mode.sample_rate_hz / mode.hop_samples)
    if mode.head_only:
        n_frames = min(n_frames, window)
    begin = int(rng.integers(len(pool) - n_frames))
    sound = pool[begin : begin + n_frames].copy()
    band = label * mode.n_mels // N_CLASSES
    sound[:, band : band + 3] += 20
    total = max(n_frames, window)
    frames = np.full((total, mode.n_mels), SILENCE_DB, mode.dtype)
    first = (total - n_frames) // 2
    frames[first : first + n_frames] = sound
    return frames


def plan_folds(
    folder: Path, table: pd.DataFrame, mode: FeatureMode, reader: StoreReader, recipe: Recipe, threads: int
) -> list[FoldJob]:
    """Return the jobs of five folds; nothing is written before one of them is trained to its end."""
    request = RunRequest(folder=folder / "runs" / recipe.name, recipe=recipe, threads=threads)
    return plan_run(table, {mode.name: (mode, reader)}, request).jobs


def open_fold(job: FoldJob) -> Fold:
    return Fold(job, _open(job, job.trained), _open(job, np.flatnonzero(job.held)))


def _open(job: FoldJob, clips: NDArray[np.int64]) -> Clips:
    recipe = job.recipe
    window, overlap = job.settings["window_frames"], recipe.window_overlap
    return open_clips(job.reader, clips.tolist(), whole=recipe.whole_clips, window_frames=window, overlap=overlap)


def begin(fold: Fold, engine: Engine) -> State:
    """Return the network of a fold before its first step, as ``cli train`` begins."""
    job, mode = fold.job, fold.job.settings["mode"]
    settings = job.recipe.network_settings(
        n_mels=mode["n_mels"],
        n_frames=job.settings["window_frames"],
        n_classes=len(job.settings["classes"]),
        head_only=mode["head_only"],
    )
    torch.manual_seed(job.seed_of(0))
    model = build_network(settings)
    if model.normalise.kind in ("featurewise", "peakwise"):
        weights = np.ones(len(fold.clips))
        model.normalise.fit(*fold.clips.mean_and_std(weights, below_peak=model.normalise.kind == "peakwise"))
    model.to(engine.device, memory_format=torch.channels_last)
    return State(model, make_optimizer(model, job.recipe), make_average(model, job.recipe))
