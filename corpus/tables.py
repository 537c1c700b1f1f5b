"""The clip table: which clips a corpus has and how they are labelled, one row a clip.

Columns, always all of them and in this order; "text" is a string, missing where the corpus does not say:

===================  =========  ==========================================================================
``fname``            text       the key: the name in the corpus's table, or the path from the root; never missing
``path``             text       absolute path of the file; never missing
``split``            text       ``train`` or ``test``; never missing
``label``            text       the class; never missing for training clips
``manually_verified``  boolean  whether the label was verified by hand
``usage``            text       ``Public``, ``Private`` or ``Ignored``: the part of the leaderboard
``fold``             Int64      the fold that holds the clip out, from 0
``group``            text       clips of one group stay in one fold
``freesound_id``     text       as published
``license``          text       as published
===================  =========  ==========================================================================

Training clips come first, as in their table; test clips follow in the order of ``sample_submission.csv``, else of their
table, else sorted. Reading opens the tables and lists the folders; no sound file is touched.
"""

from pathlib import Path

import pandas as pd

from cache.errors import CorpusError, NotFoundError
from corpus.competition import SAMPLE_SUBMISSION, find_kaggle, find_zenodo, read_competition
from corpus.custom import CLIPS_TABLE, read_class_folders, read_clips_table
from corpus.files import Problem, shown_name
from corpus.rows import TEXT, named, read_rows

COLUMNS = (
    "fname",
    "path",
    "split",
    "label",
    "manually_verified",
    "usage",
    "fold",
    "group",
    "freesound_id",
    "license",
)

COMPETITION_LAYOUTS = ("zenodo", "kaggle")


def read_corpus(root: str | Path) -> pd.DataFrame:
    """Read the clip table of a corpus, in whichever layout it is.

    Layouts are recognised in this order, and the first that fits is read: ``clips.csv`` in the root (whoever writes one
    means it), Zenodo's ``FSDKaggle2018.*`` folders, Kaggle's ``audio_train/`` or ``audio_test/``, one folder a class.
    See `corpus.competition` and `corpus.custom` for the rules of each.

    Parameters
    ----------
    root : str or Path
        The folder of the corpus; relative paths are taken from the working directory.

    Returns
    -------
    pandas.DataFrame
        The clip table as described above, at least one row, with a RangeIndex. ``attrs["layout"]`` is ``clips.csv``,
        ``zenodo``, ``kaggle`` or ``folders``; ``attrs["problems"]`` is a list of ``{"fname", "reason"}`` for files and
        folders that were left out (only in ``folders``).

    Raises
    ------
    NotFoundError
        There is no such folder.
    CorpusError
        No layout is recognised, or a rule of the layout is broken.
    """
    folder = Path(root)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        msg = f"the corpus folder {shown_name(str(root))} {what}; give the folder that holds the clips"
        raise NotFoundError(msg)
    layout, rows, problems = _read_layout(folder)
    _check_keys(rows, source=CLIPS_TABLE if layout == CLIPS_TABLE else shown_name(str(root)))
    if layout not in COMPETITION_LAYOUTS and (folder / SAMPLE_SUBMISSION).exists():
        rows = _in_sample_order(rows, folder / SAMPLE_SUBMISSION)
    table = _typed(rows)
    table.attrs = {"layout": layout, "problems": problems}
    return table


def competition_layout(table: pd.DataFrame) -> bool:
    """Tell whether a clip table was read from one of the competition's own layouts, Zenodo's or Kaggle's."""
    return table.attrs.get("layout") in COMPETITION_LAYOUTS


def training_classes(table: pd.DataFrame) -> list[str]:
    """Give the classes of a corpus: the sorted labels of its training clips.

    Parameters
    ----------
    table : pandas.DataFrame
        A clip table.

    Returns
    -------
    list of str
        Each label once, in code-point order; empty for a test half alone.
    """
    return sorted(table.loc[table["split"] == "train", "label"].unique())


def _read_layout(root: Path) -> tuple[str, pd.DataFrame, list[Problem]]:
    """Recognise the layout and give its name, its rows and its problems."""
    if (root / CLIPS_TABLE).exists():
        return "clips.csv", read_clips_table(root), []
    if (folders := find_zenodo(root)) is not None:
        return "zenodo", read_competition(folders), []
    if (folders := find_kaggle(root)) is not None:
        return "kaggle", read_competition(folders), []
    rows, problems = read_class_folders(root)
    if rows.empty:
        msg = (
            f"{shown_name(str(root))} is not recognised as a corpus; looked for {CLIPS_TABLE}, "
            "FSDKaggle2018.audio_train/ and FSDKaggle2018.audio_test/, audio_train/ and audio_test/, "
            "and one folder of audio files a class"
        )
        raise CorpusError(msg)
    return "folders", rows, problems


def _check_keys(rows: pd.DataFrame, *, source: str) -> None:
    if rows.empty:
        msg = f"{source} lists no clips; a corpus needs at least one"
        raise CorpusError(msg)
    twice = rows.loc[rows["fname"].duplicated(), "fname"]
    if len(twice):
        msg = f"{source}: fname must be unique, but more than one clip is named {named(twice)}; rename all but one"
        raise CorpusError(msg)


def _in_sample_order(rows: pd.DataFrame, sample: Path) -> pd.DataFrame:
    """Put the test clips that a sample submission lists first, in its order; its other rows are no concern here."""
    asked = read_rows(sample, required=("fname",))["fname"].tolist()
    place = {fname: number for number, fname in enumerate(asked)}
    test = rows[rows["split"] == "test"]
    order = test["fname"].map(lambda fname: place.get(fname, len(place))).astype(int).sort_values(kind="stable")
    return pd.concat([rows[rows["split"] != "test"], test.loc[order.index]], ignore_index=True)


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Give every column its place and its type; empty cells become missing."""
    table = rows.reset_index(drop=True).reindex(columns=list(COLUMNS))
    for column in COLUMNS:
        text = table[column].astype(TEXT)
        table[column] = text.mask(text == "")
    table["manually_verified"] = table["manually_verified"].map({"0": False, "1": True}).astype("boolean")
    table["fold"] = table["fold"].astype(object).map(int, na_action="ignore").astype("Int64")
    return table
