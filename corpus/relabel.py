"""Relabelling: other labels to train on, in CSV files beside the corpus, whose own files stay as they are.

A file has the columns ``fname`` and ``label`` and may have ``manually_verified``; others, such as a reason, are passed
over. A row is about one training clip:

- a ``label`` that is a class of the corpus becomes the clip's label in training, an empty one leaves the clip out;
- ``manually_verified`` 1 or 0 says whether training may trust the label, an empty cell leaves that as it is.

Rows of several files count alike. A clip may stand in more than one where they agree; a flag that one leaves empty,
another may fill.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypedDict

import pandas as pd

from cache.errors import CorpusError
from corpus.columns import verified_cells
from corpus.rows import TEXT, counted, read_rows, refuse


class RelabelCounts(TypedDict):
    """What relabelling changes; counts of clips, of which one may count as relabelled and as verified or doubted.

    ``verified`` clips count as verified now and did not before, ``doubted`` ones the other way; clips of which the
    corpus does not say count as verified, as in training. ``unchanged`` ones have a row that says what the corpus says.
    """

    rows: int
    relabelled: int
    verified: int
    doubted: int
    left_out: int
    unchanged: int


def read_relabels(paths: Sequence[Path], clips: pd.DataFrame) -> pd.DataFrame:
    """Read files of other labels, and check them against the corpus.

    Parameters
    ----------
    paths : sequence of Path
        CSV files.
    clips : pandas.DataFrame
        Training clips of the clip table.

    Returns
    -------
    pandas.DataFrame
        One row a clip: ``fname``, ``label`` (missing: leave the clip out of training) and ``manually_verified``
        (boolean; missing: as it is).

    Raises
    ------
    CorpusError
        A file breaks a rule: it is no CSV, lacks a column, names no training clip or no class of the corpus, or two
        rows disagree.
    """
    tables = [_read(path, clips) for path in paths]
    rows = pd.concat(tables, ignore_index=True)
    # A row that states the flag comes before one of the same clip that does not.
    rows = rows.sort_values("manually_verified", key=lambda flags: flags == "", kind="stable")
    _refuse_disagreement(rows)
    rows = rows.drop_duplicates("fname").sort_index()
    label = rows["label"].mask(rows["label"] == "")
    verified = rows["manually_verified"].map({"0": False, "1": True}).astype("boolean")
    return pd.DataFrame({"fname": rows["fname"], "label": label, "manually_verified": verified})


def apply_relabels(clips: pd.DataFrame, relabels: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of the clip table with the labels to train on; those of clips to leave out are missing.

    Parameters
    ----------
    clips : pandas.DataFrame
        Training clips of the clip table.
    relabels : pandas.DataFrame
        As from `read_relabels`.
    """
    rows = pd.Index(clips["fname"]).get_indexer(pd.Index(relabels["fname"]))
    labels, verified = clips["label"].astype(TEXT).array.copy(), clips["manually_verified"].array.copy()
    labels[rows] = relabels["label"].astype(TEXT).array
    stated = relabels["manually_verified"].notna().to_numpy(bool)
    verified[rows[stated]] = relabels["manually_verified"].array[stated]
    return clips.assign(label=labels, manually_verified=verified)


def count_relabels(clips: pd.DataFrame, relabels: pd.DataFrame) -> RelabelCounts:
    """Count what relabelling changes.

    Parameters
    ----------
    clips, relabels : pandas.DataFrame
        As for `apply_relabels`.
    """
    before = clips[clips["fname"].isin(relabels["fname"])]
    after = apply_relabels(clips, relabels).loc[before.index]
    out = after["label"].isna()
    relabelled = (after["label"] != before["label"]) & ~out
    was, now = (table["manually_verified"].fillna(value=True).astype(bool) for table in (before, after))
    verified, doubted = now & ~was & ~out, was & ~now & ~out
    return {
        "rows": len(relabels),
        "relabelled": int(relabelled.sum()),
        "verified": int(verified.sum()),
        "doubted": int(doubted.sum()),
        "left_out": int(out.sum()),
        "unchanged": int((~(out | relabelled | verified | doubted)).sum()),
    }


def relabel_words(counts: RelabelCounts) -> str:
    """Say what relabelling changes, as ``12 clips with another label, 30 verified, 5 left out``."""
    told = {
        "relabelled": f"{counted(counts['relabelled'], 'clip')} with another label",
        "verified": f"{counts['verified']:,} verified",
        "doubted": f"{counts['doubted']:,} verified no more",
        "left_out": f"{counts['left_out']:,} left out",
    }
    words = [text for key, text in told.items() if counts[key]]  # type: ignore[literal-required]
    return ", ".join(words) or "nothing changed"


def _read(path: Path, clips: pd.DataFrame) -> pd.DataFrame:
    """Read one file: text columns ``fname``, ``label``, ``manually_verified`` (empty: as it is) and ``place``."""
    rows = read_rows(path, required=("fname", "label"), optional=("manually_verified",), unique=False)
    rows = rows.assign(manually_verified=verified_cells(rows, source=path.name))
    names, classes = clips["fname"].tolist(), sorted(clips["label"].unique())
    for column, known, what in (("fname", names, "training clip"), ("label", ["", *classes], "class")):
        bad = ~rows[column].isin(known)
        if not bad.any():
            continue
        near = get_close_matches(str(rows.loc[bad, column].iloc[0]), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        refuse(rows, bad, column=column, rule=f"be a {what} of the corpus{hint}", source=path.name)
    places = [f"{path.name} line {line}" for line in rows.index]
    return rows.assign(place=pd.array(places, dtype=TEXT))


def _refuse_disagreement(rows: pd.DataFrame) -> None:
    first_of = rows.drop_duplicates("fname").set_index("fname").loc[rows["fname"]]
    flags = rows["manually_verified"].to_numpy(object)
    unequal = (rows["label"] != first_of["label"].to_numpy()) | (
        (flags != "") & (flags != first_of["manually_verified"].to_numpy(object))
    )
    if not unequal.any():
        return
    second = next(rows[unequal].itertuples())
    first = next(rows[rows["fname"] == second.fname].itertuples())
    msg = (
        f"{first.place} and {second.place} disagree on {second.fname!r}: label {first.label!r}, manually_verified "
        f"{first.manually_verified!r} and label {second.label!r}, manually_verified {second.manually_verified!r}; "
        f"keep the row that is right ({counted(rows.loc[unequal, 'fname'].nunique(), 'such clip')})"
    )
    raise CorpusError(msg)
