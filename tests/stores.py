"""Tiny stores and trained folds for the tests of training and inference: no audio, networks as small as they come."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cache import ClipRow, ShardPlan, StoreReader, open_store, write_shard
from featurize.modes import FeatureMode
from train.checkpoint import save_checkpoint
from train.job import FoldJob
from train.models import AlexNetLike
from train.plan import RunRequest, plan_run
from train.recipe import Recipe

# 32 mels × 189 frames: about the least that the AlexNet-like network takes.
HEAD = FeatureMode(
    name="head",
    sample_rate_hz=8000,
    n_fft=256,
    hop_samples=80,
    n_mels=32,
    fmin_hz=0,
    fmax_hz=4000,
    window_seconds=1.88,
    head_only=True,
)
LONG = dataclasses.replace(HEAD, name="long", head_only=False)
T = HEAD.window_frames
CLASSES = ("Bark", "Flute", "Gong")
QUICK = Recipe(name="quick", epochs=2, batch_size=8, learning_rate=1e-3)


def clip_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A clip table of training clips, with all of its columns and their types."""
    columns = {
        "fname": "string",
        "path": "string",
        "split": "string",
        "label": "string",
        "manually_verified": "boolean",
        "usage": "string",
        "fold": "Int64",
        "group": "string",
    }
    table = pd.DataFrame([{"split": "train", **row} for row in rows], columns=list(columns))
    return table.astype(columns)


def make_clips(per_class: int = 6, *, classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """Clips of each class in turn; every third clip of a class is not verified."""
    return clip_table(
        [
            {"fname": f"{number:02d}-{label}.wav", "label": label, "manually_verified": number % 3 != 2}
            for number in range(per_class)
            for label in classes
        ]
    )


def frames_of(name: str, label: str, n_frames: int = T, *, classes: Sequence[str] = CLASSES) -> np.ndarray:
    """Noise about -60 dB, 40 dB louder in the third of the bands that belongs to the class: [n_frames, 32]."""
    rng = np.random.default_rng(list(name.encode()))
    frames = rng.normal(-60, 5, (n_frames, HEAD.n_mels))
    width = HEAD.n_mels // len(classes)
    first = classes.index(label) * width
    frames[:, first : first + width] += 40
    return frames


def write_store(folder: Path, mode: FeatureMode, frames: Mapping[str, np.ndarray]) -> StoreReader:
    """Write one shard and read the clips back in the order given."""
    rows = [
        ClipRow(name, hashlib.sha256(name.encode()).hexdigest(), len(value) / 50, value)
        for name, value in frames.items()
    ]
    write_shard(
        folder / mode.folder,
        ShardPlan.of(row.key for row in rows),
        rows,
        settings=mode.to_dict(),
        fingerprint=mode.fingerprint(),
        mode=mode.name,
        versions={},
        n_mels=mode.n_mels,
        dtype=mode.dtype,
    )
    return open_store(folder / mode.folder, [row.key for row in rows])


def store_of(folder: Path, clips: pd.DataFrame, mode: FeatureMode = HEAD) -> StoreReader:
    """Store clips that can be told apart; those of LONG hold one to three windows."""
    frames = {}
    for number, (name, label) in enumerate(zip(clips["fname"], clips["label"], strict=True)):
        n_frames = T if mode.head_only else T + 150 * (number % 3)
        frames[name] = frames_of(name, label, n_frames)
    return write_store(folder, mode, frames)


def jobs_of(
    folder: Path, *, mode: FeatureMode = HEAD, per_class: int = 6, recipe: Recipe = QUICK, **asked: Any
) -> list[FoldJob]:
    """The jobs of a run over a store of its own; three folds."""
    clips = make_clips(per_class)
    store = folder / "store"
    reader = store_of(store, clips, mode)
    request = RunRequest(folder=folder / "runs" / recipe.name, recipe=recipe, n_folds=3, device="cpu", **asked)
    return plan_run(clips, {mode.name: (mode, reader)}, request).jobs


def save_fold(
    runs: Path,
    *,
    run: str = "quick",
    mode: FeatureMode = HEAD,
    fold: int = 0,
    classes: Sequence[str] = CLASSES,
    prior: Sequence[float] | None = None,
    **changes: Any,
) -> Path:
    """Write the checkpoint of an untrained network whose weights follow from the fold."""
    folder = runs / run / mode.name / f"fold-{fold}"
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(fold)
        model = AlexNetLike(
            n_mels=mode.n_mels, n_frames=mode.window_frames, n_classes=len(classes), normalisation="samplewise"
        )
    info = {
        "classes": list(classes),
        "mode": mode.to_dict(),
        "fingerprint": mode.fingerprint(),
        "recipe": QUICK.to_dict(),
        "window_frames": mode.window_frames,
        "fold": fold,
        "epoch": 2,
        "map3": 0.5,
        "map3_se": None,
        "seconds": 1.0,
        "training_windows": 12,
        "prior": list(prior or [1 / len(classes)] * len(classes)),
    }
    save_checkpoint(folder, model, {**info, **changes})
    return folder
