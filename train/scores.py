"""Clip scores: a network over all windows of some clips, joined per clip.

Conventions
-----------
Scores are log-probabilities ``[n_clips, n_classes]``. A clip's is the rooted geometric mean over its windows, or
the arithmetic one, so that a long clip weighs as much as a short one; each row's probabilities sum to 1.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from train.dataset import Clips
from train.device import Engine
from train.networks import Network
from train.recipe import WindowMean

_BATCH = 64
_LEAST = 1e-300  # whose logarithm is a number


def clip_log_probabilities(
    model: Network, dataset: Clips, engine: Engine, *, mean: WindowMean = "geometric"
) -> NDArray[np.float64]:
    """Return each clip's log-probabilities.

    Parameters
    ----------
    model : Network
        On the engine's device; its training state is kept.
    dataset : Clips
    mean : "geometric" or "arithmetic"
        Of a clip's windows; the geometric one is rooted.

    Returns
    -------
    ndarray [shape=(dataset.n_clips, n_classes), float64]
    """
    training = model.training
    model.eval()
    arithmetic = mean == "arithmetic"
    total = np.zeros((dataset.n_clips, model.settings["n_classes"]))
    with torch.inference_mode():
        for windows, clips in dataset.batches(_BATCH):
            with engine.autocast():
                logits = model(windows.to(engine.device).float())
            log_p = torch.log_softmax(logits.cpu().double(), dim=1).numpy()
            np.add.at(total, clips.numpy(), np.exp(log_p) if arithmetic else log_p)
    model.train(training)
    counts = np.bincount(dataset.clip, minlength=dataset.n_clips)
    total /= np.maximum(counts, 1)[:, None]
    return renormalise(np.log(np.maximum(total, _LEAST)) if arithmetic else total)


def renormalise(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift rows of log-weights so that their exponentials sum to 1."""
    peak = log_p.max(axis=1, keepdims=True, initial=-np.inf)
    return np.asarray(log_p - peak - np.log(np.exp(log_p - peak).sum(axis=1, keepdims=True)))
