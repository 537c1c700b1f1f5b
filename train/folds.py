"""Folds: which training clips are held out together.

Conventions
-----------
A fold is a number from 0 to K-1; folds are by clip, so that the windows of a clip never stand on both sides.
"""

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from cache.errors import InputError
from corpus.groups import groups_of


def assign_folds(clips: pd.DataFrame, *, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Give each training clip its fold.

    A ``fold`` column is taken as it is. Else folds are stratified on label and verification, shuffled by the seed,
    and by ``group`` where there is one.

    Parameters
    ----------
    clips : DataFrame
        Training clips of the clip table.
    n_folds : int >= 2
        Unused where the table has a fold column.

    Returns
    -------
    ndarray [shape=(len(clips),), int64]

    Raises
    ------
    InputError
        If the fold column has holes, or the clips are too few for the folds.
    """
    if clips["fold"].notna().any():
        return _given_folds(clips)
    if not 2 <= n_folds <= len(clips):
        message = f"--folds must be from 2 to the number of training clips ({len(clips)}); got {n_folds}"
        raise InputError(message)
    verified = clips["manually_verified"].fillna(value=True).astype(int)
    stratum = (clips["label"].astype(str) + "/" + verified.astype(str)).to_numpy()
    groups = groups_of(clips)
    if groups is None:
        return _split(StratifiedKFold, stratum, n_folds, seed, None)
    n_groups = len(np.unique(groups))
    if n_groups < n_folds:
        message = f"--folds must be up to the number of groups ({n_groups}); got {n_folds}"
        raise InputError(message)
    return _split(StratifiedGroupKFold, stratum, n_folds, seed, groups)


def _given_folds(clips: pd.DataFrame) -> NDArray[np.int64]:
    if clips["fold"].isna().any():
        names = clips.loc[clips["fold"].isna(), "fname"].tolist()
        message = (
            f"the fold column must hold a fold for every training clip; {len(names)} have none, such as {names[0]!r}"
        )
        raise InputError(message)
    folds = clips["fold"].to_numpy(np.int64)
    if set(folds) != set(range(folds.max() + 1)) or folds.max() < 1:
        message = f"the fold column must hold 0 to K-1, each at least once, K >= 2; got {sorted(set(folds.tolist()))}"
        raise InputError(message)
    return folds


def _split(
    splitter: type[StratifiedKFold | StratifiedGroupKFold],
    stratum: NDArray[np.object_],
    n_folds: int,
    seed: int,
    groups: NDArray[np.object_] | None,
) -> NDArray[np.int64]:
    folds = np.full(len(stratum), -1, np.int64)
    if np.unique(stratum, return_counts=True)[1].max() < n_folds:
        stratum = np.full(len(stratum), "all", dtype=object)  # every stratum is too small to be spread: plain folds
    with warnings.catch_warnings():
        # A stratum with fewer clips than folds is spread as far as it goes, which is what is wanted.
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = splitter(n_splits=n_folds, shuffle=True, random_state=seed).split(stratum, stratum, groups)
        for fold, (_, held) in enumerate(parts):
            folds[held] = fold
    if len(set(folds.tolist())) != n_folds:
        message = f"--folds {n_folds} leaves a fold empty, as groups stay together; ask for fewer, or another --seed"
        raise InputError(message)
    return folds
