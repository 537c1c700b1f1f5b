"""Trained networks by name, as tasks carry them to workers: a run, or a bundle.

Conventions
-----------
A temperature is fitted once, by whoever hands out the tasks, and travels with the name; networks are loaded once a
process, whatever the temperature.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infer.bundle import bundled_calibration, is_bundle, load_bundle
from infer.bundle_contents import check_bundle
from infer.calibration import Calibration
from infer.runs import run_folds
from infer.tagger import Tagger, calibrate_run, load_tagger


@dataclass(frozen=True)
class Trained:
    """Which networks to ask, and how.

    Parameters
    ----------
    folder : str
        Of a run or of a bundle; absolute, as workers may be anywhere.
    modes : tuple of str
        Modes to ask; none for all that there are.
    device : str
    runtime : "torch" or "onnx"
        What runs the networks; a run has "torch" only.
    temperature : float > 0
        Scores are divided by it.
    """

    folder: str
    modes: tuple[str, ...] = ()
    device: str = "cpu"
    runtime: str = "torch"
    temperature: float = 1.0


def fitted_calibration(trained: Trained) -> Calibration:
    """Return the calibration that a bundle holds, or that fits a run's out-of-fold predictions.

    Raises
    ------
    NotFoundError, IntegrityError
        As ``infer.bundle.check_bundle``, ``infer.runs.run_folds`` and ``infer.oof.read_out_of_fold``.
    """
    folder = Path(trained.folder)
    if is_bundle(folder):
        contents = check_bundle(folder)
        return bundled_calibration(contents, trained.modes or contents["modes"])
    return calibrate_run(folder, list(run_folds(folder, trained.modes)))


def load_trained(trained: Trained) -> Tagger:
    """Load networks, once a process.

    Raises
    ------
    NotFoundError, IntegrityError, InputError
        As ``infer.tagger.load_tagger`` and ``infer.bundle.load_bundle``.
    """
    return _load(trained.folder, trained.modes, trained.device, trained.runtime).at(trained.temperature)


@cache
def _load(folder: str, modes: tuple[str, ...], device: str, runtime: str) -> Tagger:
    if is_bundle(Path(folder)):
        return load_bundle(Path(folder), modes or None, device=device, runtime=runtime)
    return load_tagger(Path(folder), modes or None, device=device, calibration=Calibration())
