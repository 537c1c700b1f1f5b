"""The plan of a run: which folds of which modes are to be trained, kept, resumed or refused.

Conventions
-----------
A run is a folder ``runs/<run>/<mode>/fold-<k>``. A finished fold is kept; a run never mixes settings.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache import Key, StoreReader
from cache.errors import CorpusError, InputError
from corpus.groups import groups_of
from corpus.relabel import apply_relabels, count_relabels, relabel_words
from featurize.modes import FeatureMode, completed, difference
from train.checkpoint import load_last, read_info
from train.folds import assign_folds
from train.job import FoldJob
from train.loop import summarise
from train.origin import corpus_digest, digest_of, groups_digest
from train.prior import class_prior
from train.recipe import Recipe

_DIGESTS = {"corpus": "corpus's clips, labels and folds", "groups": "corpus's groups"}  # they say nothing themselves
_RESERVED = ("fname", "label")  # columns of oof.csv and of a submission


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What is asked of a run.

    Parameters
    ----------
    folder : Path
        ``runs/<run>``.
    recipe : Recipe
    folds : sequence of int or None
        Folds to train; None means all.
    n_folds : int
        Used where the corpus has no fold column.
    seed : int
    device : str
    threads : int
    resident : bool, optional
        Copy frames to the device first; None: on a GPU, where they fit.
    resume, force : bool
        Go on with folds that were stopped; or train all anew. Not both.
    seconds_limit : float
        For each fold.
    relabels : DataFrame, optional
        Other labels to train on, as from ``corpus.relabel.read_relabels``. Folds and scores keep the corpus's.
    """

    folder: Path
    recipe: Recipe
    folds: Sequence[int] | None = None
    n_folds: int = 5
    seed: int = 42
    device: str = "auto"
    threads: int = 1
    resident: bool | None = None
    resume: bool = False
    force: bool = False
    seconds_limit: float = math.inf
    relabels: pd.DataFrame | None = None


def check_request(clips: pd.DataFrame, request: RunRequest) -> None:
    """Check what can be known before there are frames: a run that cannot be trained is refused at once.

    Parameters
    ----------
    clips : DataFrame
        Labelled training clips of the clip table.

    Raises
    ------
    InputError
        If resume and force are both asked, or a fold is not there or cannot be made.
    CorpusError
        If the clips are of one class, or a class has the name of a column of predictions.
    """
    _classes_and_folds(clips, request)


def _classes_and_folds(clips: pd.DataFrame, request: RunRequest) -> tuple[list[str], NDArray[np.int64], Sequence[int]]:
    """Return the classes, the fold of each clip, and the folds to train."""
    if request.resume and request.force:
        message = "give --resume or --force, not both"
        raise InputError(message)
    classes = sorted(clips["label"].unique())
    if len(classes) < 2:
        message = f"training needs clips of two classes or more; the corpus has {classes}"
        raise CorpusError(message)
    for name in _RESERVED:
        if name in classes:
            message = f"no class can be named {name!r}, which is a column of the predictions; rename the class"
            raise CorpusError(message)
    folds = assign_folds(clips, n_folds=request.n_folds, seed=request.seed)
    return classes, folds, _chosen(request.folds, int(folds.max()) + 1)


def check_begun(
    clips: pd.DataFrame, modes: Sequence[FeatureMode], keys: Mapping[str, Sequence[Key]], request: RunRequest
) -> None:
    """Check what there is of a run: one that cannot go on is refused before anything is computed for it.

    Parameters
    ----------
    clips : DataFrame
        Labelled training clips of the clip table.
    modes : sequence of FeatureMode
    keys : mapping of {str: sequence of Key}
        Mode → names and digests of those of the clips that have frames; a mode whose frames are still to be computed
        is left out, and its clips are not compared.
    request : RunRequest

    Raises
    ------
    InputError
        If a fold was trained with other settings, or on other clips or labels.
    IntegrityError
        If what a fold says of itself is damaged.
    """
    classes, folds, chosen = _classes_and_folds(clips, request)
    for mode in modes:
        known = {}
        if mode.name in keys:
            rows = _rows_of(clips, [key.name for key in keys[mode.name]])
            known = _clip_settings(keys[mode.name], clips.iloc[rows], folds[rows])
        for fold in chosen:
            folder = request.folder / mode.name / f"fold-{fold}"
            found = read_info(folder) or (load_last(folder) or {}).get("settings")
            if found:
                _refuse_others(folder, _settings(clips, classes, folds, fold, mode, request) | known, found)


@dataclass
class RunPlan:
    """Jobs to do, and the reports of folds that are kept."""

    jobs: list[FoldJob] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)


def plan_run(
    clips: pd.DataFrame, readers: Mapping[str, tuple[FeatureMode, StoreReader]], request: RunRequest
) -> RunPlan:
    """Make the jobs of a run; trains and removes nothing.

    Parameters
    ----------
    clips : DataFrame
        Labelled training clips of the clip table.
    readers : mapping of {str: (FeatureMode, StoreReader)}
        Mode → its settings, and a reader of those of the clips that have frames.

    Raises
    ------
    InputError
        As ``check_request``, or if the run has other settings, or a fold was stopped and neither resume nor force
        is asked.
    CorpusError
        As ``check_request``, or if a fold leaves no clip to train on or to score.
    """
    classes, folds, chosen = _classes_and_folds(clips, request)
    jobs = [
        _job(clips, classes, folds, fold, mode, reader, request) for mode, reader in readers.values() for fold in chosen
    ]
    plan = RunPlan()
    for job in jobs:
        _settle(job, request, plan)
    return plan


def _chosen(folds: Sequence[int] | None, n_folds: int) -> Sequence[int]:
    if folds is None:
        return range(n_folds)
    for fold in folds:
        if not 0 <= fold < n_folds:
            message = f"--fold must be from 0 to {n_folds - 1}, or all; got {fold}"
            raise InputError(message)
    return folds


def _job(
    clips: pd.DataFrame,
    classes: list[str],
    folds: np.ndarray[Any, np.dtype[np.int64]],
    fold: int,
    mode: FeatureMode,
    reader: StoreReader,
    request: RunRequest,
) -> FoldJob:
    rows = _rows_of(clips, reader.names)
    table = clips.iloc[rows]
    labels, _ = training_targets(clips, reader.names, classes)
    verified = table["manually_verified"].fillna(value=False).to_numpy(bool)
    names = groups_of(table)
    groups = None if names is None else pd.factorize(names)[0].astype(np.int64)
    targets, trusted = training_targets(clips, reader.names, classes, request.relabels)
    held = folds[rows] == fold
    if not held.any() or held.all():
        message = f"fold {fold} leaves no clip with frames to train on or to score; see cli corpus info"
        raise CorpusError(message)
    if (targets[~held] < 0).all():
        message = f"fold {fold} leaves no clip to train on, as --relabel leaves all of them out; keep some of them"
        raise CorpusError(message)
    settings = {
        **_settings(clips, classes, folds, fold, mode, request),
        **_clip_settings(reader.keys, table, folds[rows]),
        "relabelled": _relabel_digest(table, request.relabels),
    }
    return FoldJob(
        folder=request.folder / mode.name / f"fold-{fold}",
        reader=reader,
        labels=labels,
        targets=targets,
        verified=trusted,
        held=held,
        scored=verified if (verified & held).any() else np.ones(len(reader), bool),
        recipe=request.recipe,
        settings=settings,
        prior=_prior(labels, verified, len(classes), groups, counted=~held),
        groups=groups,
        threads=request.threads,
        device=request.device,
        resident=request.resident,
        seconds_limit=request.seconds_limit,
    )


def _prior(
    labels: NDArray[np.int64],
    verified: NDArray[np.bool_],
    n_classes: int,
    groups: NDArray[np.int64] | None,
    *,
    counted: NDArray[np.bool_],
) -> list[float]:
    """Return the prior that some clips tell: the labels of held ones are not for their network to know."""
    return class_prior(labels[counted], verified[counted], n_classes, None if groups is None else groups[counted])


def _settings(
    clips: pd.DataFrame,
    classes: list[str],
    folds: NDArray[np.int64],
    fold: int,
    mode: FeatureMode,
    request: RunRequest,
) -> dict[str, Any]:
    """Return what a fold is trained with, as far as no clip's frames have to do with it."""
    return {
        "recipe": request.recipe.to_dict(),
        "seed": request.seed,
        "fold": fold,
        "folds": int(folds.max()) + 1,
        "classes": classes,
        "mode": mode.to_dict(),
        "fingerprint": mode.fingerprint(),
        "window_frames": mode.window_frames,
        "groups": groups_digest(clips) if request.recipe.balanced_groups else None,
    }


def _clip_settings(keys: Sequence[Key], table: pd.DataFrame, folds: NDArray[np.int64]) -> dict[str, Any]:
    return {"clips": len(keys), "corpus": corpus_digest(keys, table, folds)}


def _rows_of(clips: pd.DataFrame, names: Sequence[str]) -> NDArray[np.intp]:
    rows: NDArray[np.intp] = pd.Index(clips["fname"]).get_indexer(pd.Index(names))
    if (rows < 0).any():
        message = f"every stored clip must be in the clip table; {names[int(rows.argmin())]!r} is not"
        raise InputError(message)
    return rows


def training_targets(
    clips: pd.DataFrame, names: Sequence[str], classes: Sequence[str], relabels: pd.DataFrame | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return what training takes for the labels of some clips, and which of them it may trust.

    Parameters
    ----------
    clips : DataFrame
        Labelled training clips of the clip table.
    names : sequence of str
        The clips asked for, such as those of a reader.
    classes : sequence of str
    relabels : DataFrame, optional
        As from ``corpus.relabel.read_relabels``; without it the answer is what the corpus says.

    Returns
    -------
    training_labels : ndarray [shape=(len(names),), int64]
        Index into the classes; -1 for clips that are left out of training.
    training_verified : ndarray [shape=(len(names),), bool]
        True for clips whose label is verified, or nobody says whether it is.

    Raises
    ------
    InputError
        If a clip is not in the clip table.
    """
    table = (clips if relabels is None else apply_relabels(clips, relabels)).iloc[_rows_of(clips, names)]
    labels = pd.Index(classes).get_indexer(pd.Index(table["label"])).astype(np.int64)
    return labels, table["manually_verified"].fillna(value=True).to_numpy(bool)


def _relabel_digest(table: pd.DataFrame, relabels: pd.DataFrame | None) -> str | None:
    """Say what the clips' relabelling changes, with a hash of it; None where it changes nothing."""
    if relabels is None:
        return None
    relabels = relabels[relabels["fname"].isin(table["fname"])]
    counts = count_relabels(table, relabels)
    if counts["unchanged"] == len(relabels):
        return None
    after = apply_relabels(table, relabels).sort_values("fname")
    verified = after["manually_verified"].fillna(value=True)
    lines = zip(after["fname"], after["label"].fillna(""), verified, strict=True)
    text = "\n".join(f"{name}\t{label}\t{flag}" for name, label, flag in lines)
    return f"{relabel_words(counts)} ({digest_of(text)})"


def _settle(job: FoldJob, request: RunRequest, plan: RunPlan) -> None:
    """Keep a finished fold, refuse other settings, and add what is to be done to the plan."""
    if request.force:
        plan.jobs.append(replace(job, fresh=True, stale_history=_changed(job.folder / "history.csv")))
        return
    info = read_info(job.folder)
    last = None if info and info["epoch"] >= job.recipe.epochs else load_last(job.folder)
    found = info or (last or {}).get("settings")
    if found:
        _refuse_others(job.folder, job.settings, found)
    if info and info["epoch"] >= job.recipe.epochs:
        plan.kept.append({**summarise(job.folder, info), "kept": True})
        return
    if last and not request.resume:
        message = (
            f"{job.folder} was stopped after epoch {last['epoch']} of {job.recipe.epochs}: "
            "give --resume to go on, or --force to start again"
        )
        raise InputError(message)
    plan.jobs.append(job)


def _changed(path: Path) -> float | None:
    return path.stat().st_mtime if path.exists() else None


def _refuse_others(folder: Path, settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    old = {key: found.get(key) for key in settings}
    if recipe := found.get("recipe"):  # settings that came later had the values that they have by default
        balanced = {} if settings["groups"] else {"balanced_groups": settings["recipe"]["balanced_groups"]}
        old["recipe"] = {**Recipe(name="").to_dict(), **recipe, **balanced}  # without groups there is none to balance
    if old == settings:
        return
    words = difference(_flat(old), _flat(settings))
    message = (
        f"{folder} was trained with other settings ({words}): give another --run NAME, or train anew, with --force "
        f"of cli train or by removing {folder.parents[1]}"
    )
    raise InputError(message)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the settings of recipe and mode to the top; name classes by what is added or gone."""
    flat = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    nested = {"recipe": settings.get("recipe") or {}, "mode": completed(settings.get("mode") or {})}
    for key, values in nested.items():
        flat |= {f"{key}.{name}": value for name, value in values.items()}
    flat["classes"] = ", ".join(flat.get("classes") or [])
    for key, words in _DIGESTS.items():
        if key in flat:
            flat[words] = flat.pop(key)
    return flat
