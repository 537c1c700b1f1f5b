"""The run of a report: how its folds were trained, in what time, with which settings.

Conventions
-----------
Everything is read from what training wrote: ``history.csv`` and ``model.json`` of each fold. Times are in seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cache.errors import IntegrityError
from infer.runs import run_folds
from train.checkpoint import INFO, read_info

HISTORY = "history.csv"
CURVES = ("loss", "valid_loss", "map3")
FIRST_ROUND = "first-round"


@dataclass(frozen=True)
class RunFacts:
    """How a run was trained.

    Attributes
    ----------
    curves : dict of {str: dict of {int: DataFrame}}
        Mode → fold → ``epoch`` and `CURVES`; folds whose history is gone are left out.
    times : list of dict
        One a fold: ``round`` (first or last), ``mode``, ``fold``, ``epochs``, ``seconds``, ``waited_seconds`` (of
        these, waiting for data; None where training did not say).
    settings : dict of {str: dict}
        Title → name → value, in the order to show.
    """

    curves: dict[str, dict[int, pd.DataFrame]]
    times: list[dict[str, Any]]
    settings: dict[str, dict[str, Any]]


def read_run_facts(run: Path, modes: Sequence[str] | None = None) -> RunFacts:
    """Read how a run was trained.

    Raises
    ------
    NotFoundError
        If a mode that is asked for has no trained fold.
    IntegrityError
        If a fold's ``history.csv`` is damaged.
    """
    folders = run_folds(run, modes)
    infos = {mode: [read_info(folder) or {} for folder in paths] for mode, paths in folders.items()}
    curves = {
        mode: {info["fold"]: table for info, table in zip(infos[mode], map(_curves, paths), strict=True) if len(table)}
        for mode, paths in folders.items()
    }
    first = run / FIRST_ROUND
    earlier = [mode for mode in folders if any((first / mode).glob(f"fold-*/{INFO}"))]
    times = _times(run_folds(first, earlier), "first") if earlier else []
    return RunFacts(curves, [*times, *_times(folders, "last")], _settings(infos))


def _curves(folder: Path) -> pd.DataFrame:
    path = folder / HISTORY
    try:
        table = pd.read_csv(path)
        values = table[["epoch", *CURVES]].astype(np.float64)
    except FileNotFoundError:
        return pd.DataFrame(columns=["epoch", *CURVES], dtype=np.float64)
    except (ValueError, KeyError) as error:  # pandas's parsing errors are of the first kind
        message = (
            f"{path} is not what training writes ({' '.join(str(error).split())}); train this fold anew with --force"
        )
        raise IntegrityError(message) from error
    return values


def _times(folders: Mapping[str, Sequence[Path]], which: str) -> list[dict[str, Any]]:
    rows = []
    for mode, paths in folders.items():
        for info in filter(None, map(read_info, paths)):
            row = {"round": which, "mode": mode, "fold": info["fold"], "epochs": info.get("epoch")}
            rows.append(row | {"seconds": info.get("seconds"), "waited_seconds": info.get("waited_seconds")})
    return rows


def _settings(infos: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    first = next(iter(infos.values()))[0]
    training = {
        "seed": first.get("seed"),
        "folds": first.get("folds"),
        "training clips": first.get("clips"),
        "labels changed for training": first.get("relabelled"),
        "digest of clips and labels": first.get("corpus"),
        "precision": first.get("precision"),
    }
    known = {name: value for name, value in training.items() if value is not None}
    settings: dict[str, dict[str, Any]] = {"Training": known, "Recipe": dict(first.get("recipe", {}))}
    for mode, rows in infos.items():
        features = dict(rows[0].get("mode", {}))
        settings[f"View {mode}: features"] = {"fingerprint": rows[0].get("fingerprint"), **features}
        settings[f"View {mode}: network"] = dict(rows[0].get("model", {}))
    settings["Versions at training"] = dict(first.get("versions", {}))
    return {title: values for title, values in settings.items() if values}
