"""What a run was trained on, as a digest, so that a run on other clips or labels is noticed.

Conventions
-----------
The digest is of the clips with frames in the order of the clip table: names, recordings, labels, verification, folds.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache import Key
from cache.errors import InputError
from corpus.groups import groups_of
from train.folds import assign_folds


def digest_of(text: str) -> str:
    """Return 16 digits that change with a text, which may hold what a name that is not UTF-8 decodes to."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def corpus_digest(keys: Sequence[Key], table: pd.DataFrame, folds: NDArray[np.int64]) -> str:
    """Hash what clips are and how they are labelled.

    Parameters
    ----------
    keys : sequence of Key
        Names and digests of the clips.
    table : DataFrame
        Their rows of the clip table.
    folds : ndarray [shape=(len(keys),), int64]
    """
    verified = table["manually_verified"].astype(str)
    lines = zip(keys, table["label"], verified, folds, strict=True)
    text = "\n".join(f"{key.name}\t{key.digest}\t{label}\t{flag}\t{fold}" for key, label, flag, fold in lines)
    return digest_of(text)


def groups_digest(clips: pd.DataFrame) -> str | None:
    """Hash which clips belong together; None where none do.

    Parameters
    ----------
    clips : DataFrame
        Labelled training clips of the clip table.
    """
    groups = groups_of(clips)
    if groups is None:
        return None
    lines = sorted(f"{name}\t{group}" for name, group in zip(clips["fname"], groups, strict=True))
    return digest_of("\n".join(lines))


def trained_on(info: Mapping[str, Any], keys: Sequence[Key], clips: pd.DataFrame) -> bool:
    """Tell whether a fold was trained on these clips with these labels; True where training did not say.

    Parameters
    ----------
    info : mapping
        The fold's ``model.json``.
    keys : sequence of Key
        Names and digests of clips with frames, in the order of the clip table; those of others are passed over.
    clips : DataFrame
        Labelled training clips of the clip table.
    """
    if "corpus" not in info:
        return True
    try:
        folds = assign_folds(clips, n_folds=info["folds"], seed=info["seed"])
    except InputError:  # these clips cannot be held out as those were
        return False
    row_of = {name: row for row, name in enumerate(clips["fname"])}
    own = [key for key in keys if key.name in row_of]
    rows = [row_of[key.name] for key in own]
    return bool(corpus_digest(own, clips.iloc[rows], folds[rows]) == info["corpus"])
