"""Scoring predictions against a corpus's labels.

Conventions
-----------
Predictions are a submission (the columns ``fname`` and ``label`` and no other, up to three labels) or probabilities
(``fname`` and one column a class). They are scored on the test clips that have a label (``Ignored`` ones left out),
or, where they name training clips (``oof.csv``), on the verified ones of these.
"""

import math
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache.errors import CorpusError, InputError, NotFoundError
from corpus.groups import groups_of
from infer.references import references_for
from infer.submission import N_LABELS
from train.metrics import accuracy, average_precision_at_3, mean_and_error, top_classes


def evaluate(predictions: Path, clips: pd.DataFrame) -> dict[str, Any]:
    """Score a file of predictions.

    Parameters
    ----------
    predictions : Path
        CSV.
    clips : DataFrame
        The clip table.

    Returns
    -------
    dict
        map3, map3_se, accuracy, clips, groups, by_usage, by_class; a number that cannot be given is None. Where clips
        come in groups, errors are those of so many groups: see `train.metrics.mean_and_error`. references:
        published scores, where the clips are FSDKaggle2018's (see `infer.references`).

    Raises
    ------
    InputError
        If the file is not a table of predictions, or lacks rows that are to be scored.
    CorpusError
        If the corpus has no labels to score with.
    """
    return score(read_ranked(predictions), clips, source=str(predictions))


def score(ranked: Mapping[str, list[str]], clips: pd.DataFrame, *, source: str) -> dict[str, Any]:
    """Score ranked labels.

    Parameters
    ----------
    ranked : mapping of {str: list of str}
        Clip → labels, best first.
    clips : DataFrame
        The clip table.
    source : str
        What the predictions are called in messages.

    Returns
    -------
    dict
        As from `evaluate`, which tells what is raised, too.
    """
    truth = scored_clips(ranked, clips)
    if missing := sorted(set(truth["fname"]) - set(ranked)):
        message = f"{source} must have a row for every scored clip; {len(missing)} lack one, such as {missing[0]!r}"
        raise InputError(message)
    classes = sorted(set(truth["label"]))
    index = {label: i for i, label in enumerate(classes)}
    labels = truth["label"].map(index).to_numpy(np.int64)
    given = np.array([_indices(ranked[name], index) for name in truth["fname"]], np.int64).reshape(-1, N_LABELS)
    ap = average_precision_at_3(labels, given)
    groups = groups_of(truth)
    map3, map3_se = mean_and_error(ap, groups)
    return {
        "map3": map3,
        "map3_se": _number(map3_se),
        "accuracy": accuracy(labels, given),
        "clips": len(truth),
        "groups": _count(groups),
        "by_usage": _by_usage(truth, ap),
        "by_class": {label: float(ap[labels == i].mean()) for label, i in index.items()},
        "references": references_for(clips, truth),
    }


def read_ranked(path: Path) -> dict[str, list[str]]:
    """Read predictions as clip → labels, best first; a label that stands twice counts once.

    Raises
    ------
    NotFoundError, InputError
    """
    try:
        table = pd.read_csv(path, dtype={"fname": str, "label": str}, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        message = f"the predictions {path} are not there; run cli predict"
        raise NotFoundError(message) from error
    except (ValueError, OSError) as error:
        message = f"{path} is not a CSV of predictions ({error})"
        raise InputError(message) from error
    if "fname" not in table.columns or len(table.columns) < 2:
        message = f"{path} must have a column fname, and label or one column a class; got {list(table.columns)}"
        raise InputError(message)
    if table["fname"].duplicated().any():
        name = table.loc[table["fname"].duplicated(), "fname"].iloc[0]
        message = f"{path} must have one row a clip; {name!r} has several"
        raise InputError(message)
    if set(table.columns) == {"fname", "label"}:
        return {name: text.split()[:N_LABELS] for name, text in zip(table["fname"], table["label"], strict=True)}
    return _from_probabilities(path, table)


def _from_probabilities(path: Path, table: pd.DataFrame) -> dict[str, list[str]]:
    classes = [name for name in table.columns if name != "fname"]
    try:
        values = table[classes].to_numpy(np.float64)
    except ValueError as error:
        message = f"{path}: a column a class must hold numbers ({error})"
        raise InputError(message) from error
    if not np.isfinite(values).all():
        message = f"{path}: probabilities must be finite; NaN or infinity in {int((~np.isfinite(values)).sum())} cells"
        raise InputError(message)
    return rank(table)


def rank(probabilities: pd.DataFrame) -> dict[str, list[str]]:
    """Turn probabilities (``fname`` and one column a class) into clip → likeliest labels, best first."""
    classes = [name for name in probabilities.columns if name != "fname"]
    best = top_classes(probabilities[classes].to_numpy(np.float64), N_LABELS)
    return {name: [classes[i] for i in row] for name, row in zip(probabilities["fname"], best, strict=True)}


def scored_clips(predicted: Container[str], clips: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the clip table that predictions of some clips are scored on.

    Raises
    ------
    InputError
        If none of the clips is of this corpus.
    CorpusError
        If the corpus has no labels to score with.
    """
    named = clips[[name in predicted for name in clips["fname"]]]
    if named.empty:
        message = "the predictions name no clip of this corpus; is it the right CORPUS?"
        raise InputError(message)
    if (named["split"] == "train").all():
        labelled = named[named["label"].notna()]
        verified = labelled[labelled["manually_verified"].fillna(value=False).astype(bool)]
        return verified if len(verified) else labelled
    test = clips[(clips["split"] == "test") & clips["label"].notna() & (clips["usage"] != "Ignored").fillna(value=True)]
    if test.empty:
        message = "the corpus has no labels for its test clips (Kaggle's stand in test_post_competition.csv)"
        raise CorpusError(message)
    return test


def _indices(labels: list[str], index: dict[str, int]) -> list[int]:
    indices = [index.get(label, -1) for label in labels]
    return indices + [-1] * (N_LABELS - len(indices))


def _by_usage(truth: pd.DataFrame, ap: NDArray[np.float64]) -> dict[str, dict[str, float | int | None]]:
    usage, groups = truth["usage"].to_numpy(), groups_of(truth)
    parts = {}
    for name in sorted(truth["usage"].dropna().unique(), reverse=True):  # Public, then Private, as Kaggle has them
        part = usage == name
        own = None if groups is None else groups[part]
        map3, map3_se = mean_and_error(ap[part], own)
        counts = {"clips": int(part.sum()), "groups": _count(own)}
        parts[str(name)] = {"map3": map3, "map3_se": _number(map3_se), **counts}
    return parts


def _count(groups: NDArray[np.object_] | None) -> int | None:
    return None if groups is None else len(np.unique(groups))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
