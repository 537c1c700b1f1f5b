"""What a report says in words and small tables, from its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from corpus.rows import counted
from infer.players import Sound
from infer.report import Report
from infer.report_scores import Score
from infer.submission import N_LABELS


def headline(report: Report) -> dict[str, Any]:
    """Return the best score, what it is of, and what guessing gives there."""
    best = report.scores[-1]
    score: Score = best["test"]["all"] if best["test"] else best["out_of_fold"]
    words = counted(score["clips"], "test clip" if best["test"] else "training clip") + of_groups(score)
    return {
        "score": score,
        "words": words if best["test"] else f"{words}, out of fold",
        "guess": _guess(report.clips, "test" if best["test"] else "train"),
    }


def _guess(clips: pd.DataFrame, split: str) -> float:
    """Score the three classes with the most training clips, given as the answer for every clip of a split."""
    training = clips[(clips["split"] == "train") & (clips["truth"] >= 0)]
    verified = training[training["verified"] == 1]
    common = (verified if len(verified) else training)["truth"].value_counts().index[:N_LABELS]
    scored = clips.loc[(clips["split"] == split) & clips["scored"], "truth"]
    places = scored.map({truth: place for place, truth in enumerate(common, start=1)})
    return float((1 / places).fillna(0.0).mean())


def counts(report: Report) -> str:
    """Say how many clips and classes there are."""
    split = report.clips["split"]
    n_train, n_test = (int((split == name).sum()) for name in ("train", "test"))
    parts = [
        counted(n_train, "training clip") + (f" and {counted(n_test, 'test clip')}" if n_test else ""),
        f"{len(report.quarantined):,} quarantined" if report.quarantined else "",
        counted(len(report.classes), "class"),
    ]
    return " · ".join(filter(None, parts))


def of_groups(score: Score) -> str:
    """Say of how many groups a score is; nothing where clips have none."""
    return "" if score["groups"] is None else f" of {counted(score['groups'], 'group')}"


def times(folds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join the folds of each view and round; what a fold does not tell is None for all of them."""
    rows = []
    for stage in dict.fromkeys((row["round"], row["mode"]) for row in folds):
        own = [row for row in folds if (row["round"], row["mode"]) == stage]
        seconds, waited = ([row[key] for row in own] for key in ("seconds", "waited_seconds"))
        total = None if None in seconds else sum(seconds)
        epochs = sorted({row["epochs"] for row in own if row["epochs"] is not None})
        rows.append(
            {
                "stage": f"train {stage[1]}" + (", first round" if stage[0] == "first" else ""),
                "folds": len(own),
                "epochs": "–" if not epochs else str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]}–{epochs[-1]}",
                "mean": None if total is None else total / len(own),
                "seconds": total,
                "waited": None if None in waited else sum(waited),
            }
        )
    return rows


def rules(report: Report) -> str:
    """Say which clips count, and whose errors are given."""
    return f"{_scored_rule(report.clips)} {_error_rule(report.scores[-1]['out_of_fold'])}"


def _scored_rule(clips: pd.DataFrame) -> str:
    training = clips[clips["split"] == "train"]
    if (training["scored"] & (training["verified"] == 1)).any():
        return "Out of fold, the clips count whose label was verified by hand."
    if (training["verified"] < 0).all():
        return "Out of fold, all training clips count: the corpus does not say which labels were verified."
    return "Out of fold, all predicted training clips count: the label of none of them was verified by hand."


def _error_rule(headline: Score) -> str:
    if headline["groups"] is None:
        return "Errors take the clips for independent of one another."
    return "Clips of a group are right or wrong together: errors are those of so many groups, not of so many clips."


def class_rows(report: Report) -> list[dict[str, Any]]:
    """Return the scores of each class, with its number; what is not known is None."""
    number = {label: place for place, label in enumerate(report.classes)}
    rows = report.by_class.astype(object).where(report.by_class.notna(), None).to_dict("records")
    return [{**{str(name): value for name, value in row.items()}, "number": number[row["label"]]} for row in rows]


def media_words(report: Report, sounds: Mapping[int, Sound]) -> str:
    """Say which clips have pictures and sounds, and where these are."""
    n_clips, n_pictured = len(report.clips), len(report.pictured)
    embedded = sum(bool(sound.data) for sound in sounds.values())
    linked = len(sounds) - embedded
    if not n_pictured:
        return f"No clip of {counted(n_clips, 'clip')} has spectrograms and a player, as asked."
    which = "All clips" if n_pictured == n_clips else f"{n_pictured:,} of {n_clips:,} clips, the heads of all lists,"
    parts = [
        f"{which} have spectrograms, as stored, and a player. Colours span each clip’s own range: those of different "
        "clips cannot be compared, the numbers beside them can (0 dB is a band’s power of 1, of samples from −1 to 1).",
        "Where silence was cut from a clip’s beginning, the player is ahead of the picture by as much.",
    ]
    if embedded:
        megabytes = sum(len(sound.data) for sound in sounds.values()) / 1e6
        parts.append(f"Sounds in this file: {embedded:,} ({megabytes:.1f} MB).")
    if linked:
        parts.append(f"Linked: {linked:,}, which play while this file and the corpus stay where they are.")
    return " ".join(parts)
