"""Batch prediction: stored clips through the networks of a run.

Conventions
-----------
Probabilities are a table: ``fname`` and one column a class, in the run's order; one row a clip asked for, in its
order. The mean is the rooted geometric one: over windows, then folds, then modes. A clip without frames gets the
class prior.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cache import StoreReader
from infer.ensemble import geometric_mean
from train.checkpoint import Checkpoint
from train.dataset import WindowDataset
from train.device import Engine
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
        Mode → the clips that have frames.
    run : mapping of {str: sequence of Checkpoint}
        Mode → networks; see ``infer.runs.load_run``.

    Returns
    -------
    DataFrame
        ``fname`` and one float column a class; rows sum to 1.
    """
    first = next(iter(run.values()))[0].info
    classes: list[str] = first["classes"]
    prior = np.asarray(first["prior"], np.float64)
    probabilities = np.tile(prior / prior.sum(), (len(names), 1))
    total, done = sum(map(len, run.values())), 0
    by_mode = []
    for mode, checkpoints in run.items():
        by_fold = []
        for checkpoint in checkpoints:
            by_fold.append(_network_log_probabilities(checkpoint, readers[mode], engine))
            done += 1
            if progress:
                progress("predict", done, total)
        by_mode.append(geometric_mean(by_fold))
    joined = geometric_mean(by_mode)
    row_of = {name: row for row, name in enumerate(names)}
    rows = [row_of[name] for name in next(iter(readers.values())).names]
    probabilities[rows] = np.exp(joined)
    table = pd.DataFrame(probabilities, columns=classes)
    table.insert(0, "fname", list(names))
    return table


def _network_log_probabilities(checkpoint: Checkpoint, reader: StoreReader, engine: Engine) -> NDArray[np.float64]:
    info = checkpoint.info
    dataset = WindowDataset(
        reader,
        range(len(reader)),
        window_frames=info["window_frames"],
        overlap=info["recipe"]["window_overlap"],
    )
    model = checkpoint.model.to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return clip_log_probabilities(model, dataset, engine)
