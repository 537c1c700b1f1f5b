"""What stands in a report, as plain data: scores, training, classes and clips of a corpus with one of its runs.

Conventions
-----------
A view is a mode of the run, or all of them joined (``lh + x``), which is what `cli predict` gives. Classes, confusions
and clips are those of all modes joined. Rows of clips are counted in the order of the clip table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infer.oof import OutOfFold, read_fold_names, read_out_of_fold
from infer.report_clips import choose_pictured, judge_clips, list_quarantined, rank_lists, report_classes
from infer.report_run import RunFacts, read_run_facts
from infer.report_scores import ViewScores, class_scores, count_confusions, order_classes, view_scores


@dataclass(frozen=True)
class Measured:
    """What was measured while the report was made.

    Attributes
    ----------
    seconds : dict of {str: float}
        Stage → seconds.
    remarks : tuple of str
        What is not there, or not as one would think.
    unpredicted : dict of {str: str}
        Split → why a clip of it has no prediction.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    unpredicted: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What stands in a report.

    Attributes
    ----------
    corpus, run : str
        Their names.
    classes : list of str
        The run's, then those that only the corpus has.
    scores : list of ViewScores
        One a view, all modes joined at the end.
    facts : RunFacts
    by_class : DataFrame
        As from `infer.report_scores.class_scores`.
    order : list of int
        The classes, those that are confused beside one another.
    clips : DataFrame
        As from `infer.report_clips.judge_clips`, and ``path``.
    lists : dict of {str: list of int}
        Rows of each of `infer.report_clips.LISTS`.
    pictured : list of int
        Rows that get spectrograms and a player.
    quarantined : dict of {int: str}
        Row → why the clip has no frames.
    measured : Measured
    """

    corpus: str
    run: str
    classes: list[str]
    scores: list[ViewScores]
    facts: RunFacts
    by_class: pd.DataFrame
    order: list[int]
    clips: pd.DataFrame
    lists: dict[str, list[int]]
    pictured: list[int]
    quarantined: dict[int, str]
    measured: Measured

    def confusions(self, split: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Count the confusions of a split's scored clips: [n_classes, n_classes], in the order of ``classes``."""
        part = self.clips[(self.clips["split"] == split) & self.clips["scored"]]
        truth, top = (part[name].to_numpy(np.int64) for name in ("truth", "top1"))
        return count_confusions(truth, top, len(self.classes))


def read_views(run: Path, modes: Sequence[str]) -> dict[str, OutOfFold]:
    """Read a run's out-of-fold predictions: of each mode, and of all joined where there are several.

    Raises
    ------
    NotFoundError, IntegrityError
        As `infer.oof.read_out_of_fold`.
    """
    views = {mode: read_out_of_fold(run, [mode]) for mode in modes}
    return views if len(modes) == 1 else views | {joined_name(modes): read_out_of_fold(run, modes)}


def joined_name(modes: Sequence[str]) -> str:
    """Name all modes joined."""
    return " + ".join(modes)


def make_report(
    clips: pd.DataFrame,
    run: Path,
    views: Mapping[str, OutOfFold],
    test: Mapping[str, pd.DataFrame],
    *,
    corpus: str,
    modes: Sequence[str],
    issues: Sequence[str],
    quarantined: Sequence[tuple[str, str]],
    measured: Measured,
    most_pictured: int,
) -> Report:
    """Put a report together.

    Parameters
    ----------
    clips : DataFrame
        The clip table.
    run : Path
    views : mapping of {str: OutOfFold}
        As from `read_views`.
    test : mapping of {str: DataFrame}
        View → probabilities of the test clips; empty where they are not predicted.
    corpus : str
        What the corpus is called.
    modes : sequence of str
        The run's modes that the report is about.
    issues : sequence of str
        The likeliest label errors, best first.
    quarantined : sequence of (str, str)
        Clips without frames, with the reason.
    measured : Measured
    most_pictured : int
        At most so many clips get spectrograms and a player.

    Raises
    ------
    InputError
        If the run has predictions for none of the training clips.
    IntegrityError
        If a fold's history is damaged.
    """
    joined = list(views)[-1]
    folds = read_fold_names(run, modes)
    named_test = clips[(clips["split"] == "test") & clips["label"].notna()]
    labelled = bool((~(named_test["usage"] == "Ignored").fillna(value=False)).any())
    scores = [
        view_scores(view, found.probabilities, test.get(view) if labelled else None, clips, folds)
        for view, found in views.items()
    ]
    probabilities = pd.concat([_of_training(views[joined].probabilities, clips), *([test[joined]] if test else [])])
    classes = report_classes(clips, [name for name in probabilities.columns if name != "fname"])
    judged = judge_clips(clips, probabilities, classes)
    judged["fold"] = judged["fname"].map(folds).astype("Int64")
    judged["path"] = clips["path"].to_numpy()
    lists = rank_lists(judged, issues, unheard=views[joined].unheard(clips[clips["split"] == "train"]))
    both = count_confusions(judged["truth"].to_numpy(np.int64), judged["top1"].to_numpy(np.int64), len(classes))
    return Report(
        corpus=corpus,
        run=run.name,
        classes=classes,
        scores=scores,
        facts=read_run_facts(run, modes),
        by_class=class_scores(judged, classes),
        order=order_classes(both),
        clips=judged,
        lists=lists,
        pictured=choose_pictured(judged, lists, most=most_pictured),
        quarantined=list_quarantined(quarantined, judged),
        measured=measured,
    )


def _of_training(probabilities: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Leave out predictions of clips that the corpus has no more, or has among its test clips."""
    training = clips.loc[clips["split"] == "train", "fname"]
    return probabilities[probabilities["fname"].isin(training)]
