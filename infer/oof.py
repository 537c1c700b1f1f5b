"""Out-of-fold predictions of a run: what networks say of clips that they were not trained on.

Conventions
-----------
Probabilities are a table, ``fname`` and one column a class in the run's order, one row a training clip. A clip stands
in the ``oof.csv`` of one fold of each mode; modes are joined by the rooted geometric mean, over those that have it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache.errors import IntegrityError
from infer.ensemble import ModeLogs, join_modes
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
    unseen : dict of str to frozenset of str
        Clip → classes that all networks which told it were trained without; clips that have such. What they say of
        these classes, next to nothing, is no judgement.
    """

    probabilities: pd.DataFrame
    folds: dict[str, list[int]]
    missing: dict[str, list[int]]
    unseen: dict[str, frozenset[str]] = field(default_factory=dict)

    def unheard(self, clips: pd.DataFrame) -> set[str]:
        """Return the names of those clips, ``fname`` and ``label``, whose label no network could know that told it."""
        labelled = zip(clips["fname"], clips["label"], strict=True)
        return {name for name, label in labelled if label in self.unseen.get(name, ())}


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
    by_mode: list[tuple[pd.DataFrame, pd.Series]] = []
    read: dict[str, list[int]] = {}
    missing: dict[str, list[int]] = {}
    classes: list[str] = []
    for mode, folders in run_folds(run, modes).items():
        infos = [_info(folder) for folder in folders]
        classes = classes or infos[0]["classes"]
        by_mode.append(_joined_folds(folders, infos, classes))
        read[mode] = sorted(info["fold"] for info in infos)
        n_folds = max([info.get("folds", 0) for info in infos] + [read[mode][-1] + 1])
        missing[mode] = [fold for fold in range(n_folds) if fold not in read[mode]]
    tables, unseen = zip(*by_mode, strict=True)
    return OutOfFold(_joined_modes(tables, unseen, classes), read, missing, _unseen_by_all(unseen))


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


def _joined_folds(
    folders: Sequence[Path], infos: Sequence[dict[str, Any]], classes: list[str]
) -> tuple[pd.DataFrame, pd.Series]:
    """Return log-probabilities, one row a clip, indexed by its name, and the classes that its network did not hear."""
    for folder, info in zip(folders, infos, strict=True):
        if info["classes"] != classes:
            message = f"{folder} differs in classes from another fold of its run: train one of them anew with --force"
            raise IntegrityError(message)
    tables = [_read(folder / OOF, classes) for folder in folders]
    table = pd.concat(tables)
    if table.index.has_duplicates:
        name = table.index[table.index.duplicated()][0]
        message = f"{name!r} stands in the {OOF} of two folds of {folders[0].parent}: train them anew with --force"
        raise IntegrityError(message)
    lacking = [frozenset(info.get("unseen_classes", ())) for info in infos]
    unseen = [of_fold for of_fold, part in zip(lacking, tables, strict=True) for _ in range(len(part))]
    return table, pd.Series(unseen, index=table.index, dtype=object)


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


def _joined_modes(tables: Sequence[pd.DataFrame], unseen: Sequence[pd.Series], classes: list[str]) -> pd.DataFrame:
    names = pd.Index(np.unique(np.concatenate([table.index.to_numpy(object) for table in tables])))
    modes = [
        ModeLogs(names.get_indexer(table.index), renormalise(table.to_numpy(np.float64)), _knows(of_mode, classes))
        for table, of_mode in zip(tables, unseen, strict=True)
    ]
    _, log_p = join_modes(len(names), modes)
    joined = pd.DataFrame(np.exp(log_p), columns=classes)
    joined.insert(0, "fname", names)
    return joined


def _knows(unseen: pd.Series, classes: list[str]) -> NDArray[np.bool_] | bool:
    """Tell the classes that the network of each clip was trained on: [n_clips, n_classes], or all."""
    kinds = {lacking: ~np.isin(classes, list(lacking)) for lacking in set(unseen)}
    return np.array([kinds[lacking] for lacking in unseen]) if any(kinds) else True


def _unseen_by_all(unseen: Sequence[pd.Series]) -> dict[str, frozenset[str]]:
    """Return the classes that no network of a clip was trained on, one set for all clips that share it."""
    by_name: dict[str, frozenset[str]] = {}
    for number, of_mode in enumerate(unseen):
        for name, lacking in of_mode.items():
            by_name[str(name)] = lacking & by_name.get(str(name), lacking) if number else lacking
    shared: dict[frozenset[str], frozenset[str]] = {}
    return {name: shared.setdefault(lacking, lacking) for name, lacking in by_name.items() if lacking}
