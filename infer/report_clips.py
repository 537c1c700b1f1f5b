"""The clips of a report: what networks say of each, and which are worth a reviewer's time.

Conventions
-----------
The judged table has one row a clip, in the order of the clip table. ``truth`` and ``top1`` … ``top3`` are indices into
the report's classes, -1 for "none": no label, or no prediction. Probabilities are in [0, 1], NaN where there is none.
A clip is a mistake where its likeliest class is another than its label, which may be what is wrong.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infer.evaluate import scored_clips
from infer.submission import N_LABELS
from train.metrics import average_precision_at_3, top_classes

LISTS = {
    "issues": "Likeliest label errors, verified ones included",
    "worst": "Worst predictions",
    "surest": "Surest mistakes",
}
"""The lists to review, and what they are called."""


def report_classes(clips: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Return the run's classes, and after them the labels that only the corpus has, sorted."""
    return [*classes, *sorted(set(clips["label"].dropna()) - set(classes))]


def judge_clips(clips: pd.DataFrame, probabilities: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Put labels and predictions side by side.

    Parameters
    ----------
    clips : DataFrame
        The clip table.
    probabilities : DataFrame
        ``fname`` and one column a class: out-of-fold for training clips; clips without a prediction may lack.
    classes : sequence of str
        As from `report_classes`.

    Returns
    -------
    DataFrame
        ``fname``, ``split``, ``label``, ``verified`` (1, 0, or -1 where the corpus does not say), ``usage``, ``fold``,
        ``group``, ``truth``, ``top1`` … ``top3``, ``p1`` … ``p3``, ``p_label``, ``ap3`` and ``scored``, which tells the
        clips that `infer.evaluate` scores.
    """
    index = pd.Index(classes)
    truth = index.get_indexer(pd.Index(clips["label"])).astype(np.int64)
    truth[clips["label"].isna().to_numpy(bool)] = -1
    p = _aligned(clips, probabilities, classes)
    known = np.asarray(np.isfinite(p).all(axis=1))
    top, best = _best(p, known)
    judged = clips[["fname", "split", "label", "usage", "fold", "group"]].reset_index(drop=True)
    judged["verified"] = clips["manually_verified"].astype("Int64").fillna(value=-1).to_numpy(np.int64)
    judged["truth"] = truth
    for place in range(N_LABELS):
        judged[f"top{place + 1}"], judged[f"p{place + 1}"] = top[:, place], best[:, place]
    both = known & (truth >= 0)
    judged["p_label"], judged["ap3"] = np.nan, np.nan
    judged.loc[both, "p_label"] = p[both, truth[both]]
    judged.loc[both, "ap3"] = average_precision_at_3(truth[both], top[both])
    judged["scored"] = judged["fname"].isin(_scored_names(clips, judged.loc[known, "fname"])) & both
    return judged


def _aligned(clips: pd.DataFrame, probabilities: pd.DataFrame, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return [n_clips, n_classes], NaN in the rows of clips without a prediction, 0 for classes that a run lacks."""
    own = [name for name in probabilities.columns if name != "fname"]
    rows = pd.Index(probabilities["fname"]).get_indexer(pd.Index(clips["fname"]))
    values = np.zeros((len(clips), len(classes)))
    values[:, pd.Index(classes).get_indexer(pd.Index(own))] = probabilities[own].to_numpy(np.float64)[rows]
    values[rows < 0] = np.nan
    return values


def _best(p: NDArray[np.float64], known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    n_ranks = min(N_LABELS, p.shape[1])
    top, best = np.full((len(p), N_LABELS), -1), np.full((len(p), N_LABELS), np.nan)
    ranked = top_classes(p[known], n_ranks)
    top[known, :n_ranks] = ranked
    best[known, :n_ranks] = np.take_along_axis(p[known], ranked, axis=1)
    return top, best


def _scored_names(clips: pd.DataFrame, predicted: "pd.Series[str]") -> set[str]:
    """Return the clips that count, each split by its own rule."""
    names: set[str] = set()
    for split, part in clips.groupby("split"):
        own = set(part["fname"]) & set(predicted)
        labelled = part["label"].notna() & ~(part["usage"] == "Ignored").fillna(value=False)
        if own and (split == "train" or labelled.any()):
            names |= set(scored_clips(own, part)["fname"])
    return names


def rank_lists(judged: pd.DataFrame, issues: Sequence[str], *, unheard: Collection[str] = ()) -> dict[str, list[int]]:
    """Return the rows of each of `LISTS`, those to review first at its head.

    Parameters
    ----------
    judged : DataFrame
        As from `judge_clips`.
    issues : sequence of str
        Names of the likeliest label errors, best first; clips that the table lacks are passed over.
    unheard : collection of str
        Clips whose class their networks were trained without: that these are mistaken is known.
    """
    row_of = {name: row for row, name in enumerate(judged["fname"])}
    wrong = judged[(judged["truth"] >= 0) & (judged["top1"] >= 0) & (judged["truth"] != judged["top1"])]
    wrong = wrong[~wrong["fname"].isin(unheard)]
    return {
        "issues": [row_of[name] for name in issues if name in row_of],
        "worst": wrong.sort_values("p_label", kind="stable").index.tolist(),
        "surest": wrong.sort_values("p1", ascending=False, kind="stable").index.tolist(),
    }


def choose_pictured(judged: pd.DataFrame, lists: Mapping[str, Sequence[int]], *, most: int) -> list[int]:
    """Return the rows that get pictures and a player: the heads of all lists in turn, then the least likely labels.

    Parameters
    ----------
    most : int
        So many at most.
    """
    longest = max(map(len, lists.values()), default=0)
    in_turn = [rows[place] for place in range(longest) for rows in lists.values() if place < len(rows)]
    rest = judged["p_label"].sort_values(kind="stable", na_position="last").index
    return list(dict.fromkeys([*in_turn, *rest]))[:most]


def list_quarantined(quarantined: Collection[tuple[str, str]], judged: pd.DataFrame) -> dict[int, str]:
    """Return why clips have no frames: row → reason."""
    row_of = {name: row for row, name in enumerate(judged["fname"])}
    return {row_of[name]: reason for name, reason in quarantined if name in row_of}
