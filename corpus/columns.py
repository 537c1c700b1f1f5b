"""The columns of a corpus's tables that have rules of their own, checked and brought to one spelling.

Every function takes the rows of one file, as `corpus.rows.read_rows` gives them, and gives one text column with the
same index; an empty cell, or a column that is not there, means missing.
"""

import pandas as pd

from corpus.rows import TEXT, refuse

USAGES = ("Public", "Private", "Ignored")
SPLITS = ("train", "test")

_VERIFIED = {"": "", "0": "0", "1": "1", "false": "0", "true": "1"}


def cells(rows: pd.DataFrame, column: str) -> "pd.Series[str]":
    """Give a column's text cells; all empty where the column is not there."""
    return rows[column] if column in rows else pd.Series("", index=rows.index, dtype=TEXT)


def verified_cells(rows: pd.DataFrame, *, source: str) -> "pd.Series[str]":
    """Bring ``manually_verified`` to ``"0"``, ``"1"`` or empty.

    Raises
    ------
    CorpusError
        A cell is none of 0, 1, true, false (in any letter case) and empty.
    """
    lowered = cells(rows, "manually_verified").str.lower()
    bad = ~lowered.isin(list(_VERIFIED))
    refuse(rows, bad, column="manually_verified", rule="be 0, 1, true or false", source=source)
    return lowered.map(_VERIFIED).astype(TEXT)


def usage_cells(rows: pd.DataFrame, *, source: str) -> "pd.Series[str]":
    """Check that ``usage`` is Public, Private, Ignored or empty.

    Raises
    ------
    CorpusError
        A cell is anything else.
    """
    usage = cells(rows, "usage")
    refuse(rows, ~usage.isin(["", *USAGES]), column="usage", rule=f"be one of {', '.join(USAGES)}", source=source)
    return usage


def split_cells(rows: pd.DataFrame, *, source: str) -> "pd.Series[str]":
    """Check that ``split`` is train or test; empty cells mean train.

    Raises
    ------
    CorpusError
        A cell is anything else.
    """
    split = cells(rows, "split")
    refuse(rows, ~split.isin(["", *SPLITS]), column="split", rule="be train or test", source=source)
    return split.mask(split == "", "train")


def fold_cells(rows: pd.DataFrame, *, source: str) -> "pd.Series[str]":
    """Check that ``fold`` is a whole number from 0 or empty.

    Raises
    ------
    CorpusError
        A cell is anything else.
    """
    fold = cells(rows, "fold")
    # ASCII digits and no more of them than any count of folds needs, so that every value fits an integer.
    whole = fold.str.fullmatch("[0-9]{1,9}") | (fold == "")
    refuse(rows, ~whole.astype(bool), column="fold", rule="be an integer, 0 or more", source=source)
    return fold
