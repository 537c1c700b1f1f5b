"""Batch prediction: stored clips through the networks of a run.

Conventions
-----------
Probabilities are a table: ``fname`` and one column a class, in the run's order; one row a clip asked for, in its
order. The mean is the rooted geometric one: over windows, then folds, then modes. A fold that was trained without a
class has no say in it. A clip that has frames in some modes only is joined over these; one without any gets the class
prior.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cache import StoreReader
from infer.ensemble import ModeLogs, geometric_mean, join_modes
from train.checkpoint import Checkpoint
from train.dataset import open_clips
from train.device import Engine
from train.frames import FrameSource
from train.scores import clip_log_probabilities


def predict_clips(
    names: Sequence[str],
    readers: Mapping[str, StoreReader],
    run: Mapping[str, Sequence[Checkpoint]],
    engine: Engine,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> pd.DataFrame:
    """Return the probabilities of each clip.

    Parameters
    ----------
    names : sequence of str
        Clips to predict.
    readers : mapping of {str: StoreReader}
        Mode → the clips that have frames, in any order; a mode in which none has may be left out, and clips that are
        not in ``names`` do not matter.
    run : mapping of {str: sequence of Checkpoint}
        Mode → networks; see ``infer.runs.load_run``.

    Returns
    -------
    DataFrame
        ``fname`` and one float column a class; rows sum to 1.
    """
    by_mode = predict_modes(names, readers, run, engine, progress=progress)
    return join_predictions(names, by_mode.values(), next(iter(run.values()))[0].info)


def predict_modes(
    names: Sequence[str],
    readers: Mapping[str, StoreReader],
    run: Mapping[str, Sequence[Checkpoint]],
    engine: Engine,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, ModeLogs]:
    """Return what the networks of each mode say; the parameters are those of `predict_clips`.

    Returns
    -------
    dict of {str: ModeLogs}
        Without the modes in which no clip has frames.
    """
    steps = itertools.count(1)
    n_networks = sum(map(len, run.values()))
    by_mode = {}
    for mode, checkpoints in run.items():
        rows, clips = _places(names, readers.get(mode))
        by_fold = []
        for checkpoint in checkpoints:
            if clips:
                by_fold.append(network_log_probabilities(checkpoint, readers[mode], clips, engine))
            if progress:
                progress("predict", next(steps), n_networks)
        if clips:
            by_mode[mode] = join_folds(rows, by_fold, checkpoints)
    return by_mode


def join_folds(
    rows: Sequence[int], by_fold: Sequence[NDArray[np.float64]], checkpoints: Sequence[Checkpoint]
) -> ModeLogs:
    """Join what the networks of a mode say of some clips, each class over the networks that were trained on it."""
    knows = [checkpoint.knows for checkpoint in checkpoints]
    return ModeLogs(rows, geometric_mean(by_fold, knows), np.any(knows, axis=0))


def join_predictions(names: Sequence[str], modes: Iterable[ModeLogs], info: Mapping[str, Any]) -> pd.DataFrame:
    """Return the probabilities of each clip from those of some modes, the class prior where none has the clip.

    Parameters
    ----------
    names : sequence of str
        The clips that rows of ``modes`` count.
    modes : iterable of ModeLogs
    info : mapping
        A network's ``classes`` and ``prior``.

    Returns
    -------
    DataFrame
        As from `predict_clips`.
    """
    prior = np.asarray(info["prior"], np.float64)
    probabilities = np.tile(prior / prior.sum(), (len(names), 1))
    if given := list(modes):
        known, log_p = join_modes(len(names), given)
        probabilities[known] = np.exp(log_p)
    table = pd.DataFrame(probabilities, columns=info["classes"])
    table.insert(0, "fname", list(names))
    return table


def _places(names: Sequence[str], reader: StoreReader | None) -> tuple[list[int], list[int]]:
    """Return the rows of ``names`` that have frames, and where these stand in the reader."""
    stored = {name: clip for clip, name in enumerate(reader.names)} if reader else {}
    rows = [row for row, name in enumerate(names) if name in stored]
    return rows, [stored[names[row]] for row in rows]


def network_log_probabilities(
    checkpoint: Checkpoint, reader: FrameSource, clips: Sequence[int], engine: Engine
) -> NDArray[np.float64]:
    """Return what one network says of some clips, in log-probabilities [len(clips), n_classes]."""
    info = checkpoint.info
    dataset = open_clips(
        reader,
        clips,
        whole=info["recipe"]["whole_clips"],
        window_frames=info["window_frames"],
        overlap=info["recipe"]["window_overlap"],
    )
    model = checkpoint.model.to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return clip_log_probabilities(model, dataset, engine, mean=info["recipe"]["window_mean"])
