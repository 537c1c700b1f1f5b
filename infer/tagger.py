"""A tagger: the networks of a run, asked about any recording.

Conventions
-----------
Frames are those that a store would hold, of the stored type: a file gets the same tags with a store and without.
Modes, folds and windows are joined by the rooted geometric mean; a temperature comes last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache.errors import InputError
from featurize.audio import Recording
from featurize.logmel import log_mel
from infer.calibration import Calibration, calibrate, temper
from infer.ensemble import join_modes
from infer.oof import read_held_labels, read_out_of_fold
from infer.predict import join_folds, network_log_probabilities
from infer.runs import load_run, stored_mode
from train.checkpoint import Checkpoint
from train.device import Engine, pick_engine
from train.frames import MemoryFrames

Frames = NDArray[np.floating]


class Tagger:
    """The networks of a run.

    Parameters
    ----------
    run : mapping of {str: sequence of Checkpoint}
        Mode → networks; see ``infer.runs.load_run``.
    engine : Engine
    calibration : Calibration

    Attributes
    ----------
    classes : list of str
    modes : list of FeatureMode
    """

    def __init__(self, run: Mapping[str, Sequence[Checkpoint]], *, engine: Engine, calibration: Calibration) -> None:
        self._run = dict(run)
        self._engine = engine
        self.calibration = calibration
        self.classes: list[str] = next(iter(run.values()))[0].info["classes"]
        self.modes = [stored_mode(checkpoints[0]) for checkpoints in run.values()]

    def at(self, temperature: float) -> "Tagger":
        """Return a tagger of the same networks at another temperature."""
        return Tagger(self._run, engine=self._engine, calibration=Calibration(temperature=temperature))

    def frames(self, recording: Recording) -> dict[str, Frames]:
        """Compute what ``log_probabilities`` takes of a recording: mode → frames [n_frames, n_mels], as stored.

        Raises
        ------
        InputError
            If the samples are so large that they overflow when resampled.
        """
        return {mode.name: log_mel(recording, mode).astype(mode.dtype) for mode in self.modes}

    def log_probabilities(self, recordings: Sequence[Mapping[str, Frames]]) -> NDArray[np.float64]:
        """Return what the networks say of some recordings.

        Parameters
        ----------
        recordings : sequence of mapping of {str: ndarray [shape=(n_frames, n_mels)]}
            One or more, in any order of length; a mode may be missing where another is there.

        Returns
        -------
        ndarray [shape=(len(recordings), len(classes))]
            Log-probabilities at the tagger's temperature.

        Raises
        ------
        InputError
            If a recording has frames in no mode.
        """
        by_mode = []
        for name, checkpoints in self._run.items():
            rows = [row for row, frames in enumerate(recordings) if name in frames]
            if rows:
                source = MemoryFrames([recordings[row][name] for row in rows])
                clips = range(len(rows))
                by_fold = [network_log_probabilities(each, source, clips, self._engine) for each in checkpoints]
                by_mode.append(join_folds(rows, by_fold, checkpoints))
        if len({row for mode in by_mode for row in mode.rows}) < len(recordings):
            message = f"each recording must have frames in one of the modes {', '.join(self._run)}"
            raise InputError(message)
        _, log_p = join_modes(len(recordings), by_mode)
        return temper(log_p, self.calibration.temperature)


def load_tagger(
    run: Path, modes: Sequence[str] | None = None, *, device: str = "auto", calibration: Calibration | None = None
) -> Tagger:
    """Load the networks of a run, and fit their temperature where no calibration is given.

    Raises
    ------
    NotFoundError, IntegrityError, InputError
        As ``infer.runs.load_run``, ``infer.oof.read_out_of_fold`` and ``train.device.pick_engine``.
    """
    loaded = load_run(run, modes)
    return Tagger(loaded, engine=exact_engine(device), calibration=calibration or calibrate_run(run, list(loaded)))


def exact_engine(device: str) -> Engine:
    """Return a device at float32: a sound gets the same tags, and scores to the fourth digit, wherever it is tagged."""
    return replace(pick_engine(device), bfloat16=False)


def calibrate_run(run: Path, modes: Sequence[str]) -> Calibration:
    """Fit the temperature of a run's modes, joined, to their out-of-fold predictions; 1 where labels are not known.

    Clips of classes that their networks were trained without do not count: folds joined know these classes.
    """
    labels = read_held_labels(run, modes)
    if labels is None:
        return Calibration()
    held = read_out_of_fold(run, modes)
    predicted = held.probabilities.set_index("fname")
    known = labels[labels["fname"].isin(predicted.index) & ~labels["fname"].isin(held.unheard(labels))]
    log_p = np.log(predicted.loc[known["fname"]].to_numpy())
    return calibrate(log_p, pd.Index(predicted.columns).get_indexer(pd.Index(known["label"])).astype(np.int64))
