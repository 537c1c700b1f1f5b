"""Out-of-fold predictions of a run: what networks say of clips that they were not trained on.

Conventions
-----------
Probabilities are a table, ``fname`` and one column a class in the run's order, one row a training clip. A clip stands
in the ``oof.csv`` of one fold of each mode; modes are joined by the rooted geometric mean, over those that have it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cache.errors import IntegrityError
from infer.ensemble import join_modes
from infer.runs import run_folds
from train.checkpoint import read_info
from train.held import HELD, OOF
from train.scores import renormalise

_TINY = 1e-300  # probabilities too small for the digits of a CSV; their logarithm must be a number


@dataclass(frozen=True)
class OutOfFold:
    """The out-of-fold predictions of a run.

    Attributes
    ----------
    probabilities : DataFrame
        ``fname`` and one column a class; rows sum to 1.
    folds, missing : dict of str to list of int
        Mode → folds that were read, and those that are not trained.
    unseen : dict of str to set of str
        Clip → classes that a network which told it was trained without; clips that have such. What it says of these
        classes, next to nothing, is no judgement.
    """

    probabilities: pd.DataFrame
    folds: dict[str, list[int]]
    missing: dict[str, list[int]]
    unseen: dict[str, set[str]] = field(default_factory=dict)


def read_out_of_fold(run: Path, modes: Sequence[str] | None = None) -> OutOfFold:
    """Read the out-of-fold predictions of a run: all folds that are trained, joined over modes.

    Parameters
    ----------
    run : Path
    modes : sequence of str, optional
        All that the run has by default.

    Raises
    ------
    NotFoundError
        If a mode that is asked for has no trained fold.
    IntegrityError
        If a fold's ``oof.csv`` is missing or damaged, a clip stands in two folds, or folds disagree on the classes.
    """
    by_mode: dict[str, pd.DataFrame] = {}
    read: dict[str, list[int]] = {}
    missing: dict[str, list[int]] = {}
    classes: list[str] = []
    unseen: defaultdict[str, set[str]] = defaultdict(set)
    for mode, folders in run_folds(run, modes).items():
        infos = [_info(folder) for folder in folders]
        classes = classes or infos[0]["classes"]
        tables = _read_folds(folders, infos, classes)
        for info, table in zip(infos, tables, strict=True):
            if lacking := info.get("unseen_classes"):
                for name in table.index:
                    unseen[name].update(lacking)
        by_mode[mode] = _joined_folds(tables, mode_folder=folders[0].parent)
        read[mode] = sorted(info["fold"] for info in infos)
        n_folds = max([info.get("folds", 0) for info in infos] + [read[mode][-1] + 1])
        missing[mode] = [fold for fold in range(n_folds) if fold not in read[mode]]
    return OutOfFold(_joined_modes(list(by_mode.values()), classes), read, missing, dict(unseen))


def read_held_labels(run: Path, modes: Sequence[str] | None = None) -> pd.DataFrame | None:
    """Return the labels of the clips that count in the scores of a run: ``fname`` and ``label``.

    Returns
    -------
    DataFrame or None
        None for a run that was trained before labels were kept beside its predictions.

    Raises
    ------
    NotFoundError
        If a mode that is asked for has no trained fold.
    IntegrityError
        If a table is damaged.
    """
    paths = [folder / HELD for folders in run_folds(run, modes).values() for folder in folders]
    if not all(path.exists() for path in paths):
        return None
    table = pd.concat(map(_read_labels, paths)).drop_duplicates("fname")
    return table.loc[table["scored"] == 1, ["fname", "label"]].reset_index(drop=True)


def read_fold_names(run: Path, modes: Sequence[str] | None = None) -> dict[str, int]:
    """Return the fold that held each clip out: name → fold, by the first mode that has the clip.

    Raises
    ------
    NotFoundError
        If a mode that is asked for has no trained fold.
    IntegrityError
        If a fold lost a file.
    """
    folds: dict[str, int] = {}
    for folders in run_folds(run, modes).values():
        for folder in folders:
            info = _info(folder)
            for name in _read(folder / OOF, info["classes"]).index:
                folds.setdefault(name, info["fold"])
    return folds


def _read_labels(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"fname": str, "label": str}, keep_default_na=False)
        if list(table.columns) == ["fname", "label", "scored"]:
            return table
        reason = f"it has the columns {', '.join(map(str, table.columns))}"
    except ValueError as error:  # pandas's parsing errors are of this kind
        reason = " ".join(str(error).split())
    message = f"{path} is not what training writes ({reason}); train this fold anew with --force"
    raise IntegrityError(message)


def _info(folder: Path) -> dict[str, Any]:
    info = read_info(folder)
    if info is None:
        message = f"{folder} lost its model.json; train this fold anew with --force"
        raise IntegrityError(message)
    return info


def _read_folds(folders: Sequence[Path], infos: Sequence[dict[str, Any]], classes: list[str]) -> list[pd.DataFrame]:
    """Return each fold's log-probabilities, one row a clip, indexed by its name."""
    for folder, info in zip(folders, infos, strict=True):
        if info["classes"] != classes:
            message = f"{folder} differs in classes from another fold of its run: train one of them anew with --force"
            raise IntegrityError(message)
    return [_read(folder / OOF, classes) for folder in folders]


def _joined_folds(tables: Sequence[pd.DataFrame], *, mode_folder: Path) -> pd.DataFrame:
    table = pd.concat(tables)
    if table.index.has_duplicates:
        name = table.index[table.index.duplicated()][0]
        message = f"{name!r} stands in the {OOF} of two folds of {mode_folder}: train them anew with --force"
        raise IntegrityError(message)
    return table


def _read(path: Path, classes: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"fname": str}, keep_default_na=False)
        values = table[classes].to_numpy(np.float64)
        wrong = list(table.columns) != ["fname", *classes] or not (np.isfinite(values) & (values >= 0)).all()
        reason = "one column a class with probabilities is the rule"
    except FileNotFoundError as error:
        message = f"{path} is missing; train this fold anew with --force"
        raise IntegrityError(message) from error
    except (ValueError, KeyError) as error:  # pandas's parsing errors are of the first kind
        wrong, reason = True, " ".join(str(error).split())
    if wrong:
        message = f"{path} is not what training writes ({reason}); train this fold anew with --force"
        raise IntegrityError(message)
    return pd.DataFrame(np.log(np.maximum(values, _TINY)), index=pd.Index(table["fname"]), columns=classes)


def _joined_modes(tables: Sequence[pd.DataFrame], classes: list[str]) -> pd.DataFrame:
    names = pd.Index(np.unique(np.concatenate([table.index.to_numpy(object) for table in tables])))
    modes = [(names.get_indexer(table.index), renormalise(table.to_numpy(np.float64))) for table in tables]
    _, log_p = join_modes(len(names), modes)
    joined = pd.DataFrame(np.exp(log_p), columns=classes)
    joined.insert(0, "fname", names)
    return joined
