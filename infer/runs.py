"""Trained runs on disk: which there are, and the networks of one.

Conventions
-----------
A run is a folder ``runs/<run>/<mode>/fold-<k>``; a fold counts when its ``model.json`` is there. All networks of a
run share classes and, per mode, the fingerprint of their features.
"""

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from cache.errors import InputError, IntegrityError, NotFoundError
from featurize.modes import FeatureMode
from train.checkpoint import INFO, Checkpoint, check_run_name, load_checkpoint, read_info


def find_run(runs: Path, name: str | None = None) -> Path:
    """Return the folder of a run: the one named, or the only one.

    Raises
    ------
    NotFoundError
        If it is not there.
    InputError
        If none is named and there are several, or the name is not a plain one.
    """
    if name is not None:
        check_run_name(name)
    found = sorted({path.parents[2] for path in runs.glob(f"*/*/fold-*/{INFO}")})
    names = [path.name for path in found]
    if name is not None:
        if name in names:
            return runs / name
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there: {', '.join(names) or 'none'}"
        message = f"{runs} holds no trained run {name!r}{hint}"
        raise NotFoundError(message)
    if not found:
        message = f"{runs} holds no trained run; run cli train, or name the folder with --runs"
        raise NotFoundError(message)
    if len(found) > 1:
        message = f"{runs} holds several runs; choose one with --run: {', '.join(names)}"
        raise InputError(message)
    return found[0]


def run_folds(run: Path, modes: Sequence[str] | None = None) -> dict[str, list[Path]]:
    """Return the folders of the trained folds of a run, by mode, in the order of their numbers.

    Raises
    ------
    NotFoundError
        If a mode that is asked for has no trained fold.
    """
    there = sorted({path.parents[1].name for path in run.glob(f"*/fold-*/{INFO}")})
    if not there:
        message = f"{run} holds no trained fold; run cli train, or name the folder with --runs"
        raise NotFoundError(message)
    wanted = list(modes) if modes else there
    if missing := [mode for mode in wanted if mode not in there]:
        message = f"run {run.name!r} has no trained fold of mode {missing[0]!r}; it has {', '.join(there)}"
        raise NotFoundError(message)
    return {mode: _folds(run / mode) for mode in wanted}


def load_run(run: Path, modes: Sequence[str] | None = None) -> dict[str, list[Checkpoint]]:
    """Load the networks of a run, by mode, in the order of their folds.

    Parameters
    ----------
    run : Path
    modes : sequence of str, optional
        The modes to load; all that the run has by default.

    Raises
    ------
    NotFoundError
        If a mode that is asked for has no trained fold.
    IntegrityError
        If classes or fingerprints disagree, or a checkpoint fails its checks.
    """
    folds = run_folds(run, modes)
    loaded = {mode: [load_checkpoint(path) for path in folders] for mode, folders in folds.items()}
    _check_agreement([checkpoint for checkpoints in loaded.values() for checkpoint in checkpoints], key="classes")
    for checkpoints in loaded.values():
        _check_agreement(checkpoints, key="fingerprint")
    return loaded


def read_classes(run: Path, modes: Sequence[str] | None = None) -> list[str]:
    """Return the classes of a run, in the order of its predictions.

    Raises
    ------
    NotFoundError
        If a mode that is asked for has no trained fold.
    """
    folders = next(iter(run_folds(run, modes).values()))
    return list((read_info(folders[0]) or {}).get("classes", []))


def digest_run(run: Path) -> str:
    """Hash what the networks of a run or a bundle are, to tell whether others took their place."""
    infos = sorted(run.glob(f"*/fold-*/{INFO}"))
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in infos)).hexdigest()


def _folds(folder: Path) -> list[Path]:
    folds = [path.parent for path in folder.glob(f"fold-*/{INFO}")]
    return sorted(folds, key=lambda path: (len(path.name), path.name))  # fold-10 comes after fold-9


def _check_agreement(checkpoints: Sequence[Checkpoint], *, key: str) -> None:
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.info[key] != first.info[key]:
            message = f"{first.path} and {other.path} differ in {key}: train one of them anew with --force"
            raise IntegrityError(message)


def stored_mode(checkpoint: Checkpoint) -> FeatureMode:
    """Return the features that a network was trained on.

    Raises
    ------
    InputError
        If they are those of another version of the front-end.
    IntegrityError
        If the settings do not give the fingerprint that stands beside them.
    """
    try:
        mode = FeatureMode.from_dict(checkpoint.info["mode"])
    except InputError as error:
        message = f"{checkpoint.path / INFO}: {error}, and train this fold anew"
        raise InputError(message) from error
    if mode.fingerprint() != checkpoint.info["fingerprint"]:
        message = f"{checkpoint.path / INFO}: the mode's settings do not give its fingerprint; train this fold anew"
        raise IntegrityError(message)
    return mode
