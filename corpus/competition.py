"""The two layouts of FSDKaggle2018: Zenodo's and Kaggle's.

Both keep training and test clips in a folder each and their labels in CSV files:

=========  ===========================================  =============================================
           Zenodo                                       Kaggle
=========  ===========================================  =============================================
training   ``FSDKaggle2018.audio_train/``               ``audio_train/``
test       ``FSDKaggle2018.audio_test/``                ``audio_test/``
tables in  ``FSDKaggle2018.meta/``                      the root
=========  ===========================================  =============================================

A folder may be nested once in one of its own name. A half whose audio folder is missing is left out, whatever the
tables say.

- Training clips: ``train.csv`` or ``train_post_competition.csv`` or, where they agree, both.
- Test clips: ``test_post_competition.csv``, ``test_post_competition_scoring_clips.csv`` and ``sample_submission.csv``,
  each optional. The last gives the order of the rows where it is there, and nothing else: its labels are placeholders.
- A test clip of usage Ignored has no label (``None``); where its file is missing too and no sample submission asks for
  it, as in Zenodo's archive, it is left out.
- Every other row needs its file, and every audio file its row.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cache.errors import CorpusError
from corpus.classes import FSDKAGGLE2018_CLASSES, unknown_label_message
from corpus.columns import cells, usage_cells, verified_cells
from corpus.files import FolderListing, list_folder, match_files
from corpus.rows import TEXT, counted, merge_rows, named, read_rows, refuse

TRAIN_TABLES = ("train.csv", "train_post_competition.csv")
TEST_TABLES = ("test_post_competition.csv", "test_post_competition_scoring_clips.csv")
SAMPLE_SUBMISSION = "sample_submission.csv"

_DETAILS = ("freesound_id", "license")


@dataclass(frozen=True)
class CompetitionFolders:
    """Where the parts of a competition corpus lie.

    Attributes
    ----------
    train, test : Path or None
        The audio folders; None for a half that is not there.
    tables : Path
        The folder of the CSV files.
    """

    train: Path | None
    test: Path | None
    tables: Path


def find_zenodo(root: Path) -> CompetitionFolders | None:
    """Recognise Zenodo's layout by any of its three folders; None where there is none of them."""
    train, test, meta = (_unnested(root, f"FSDKaggle2018.{part}") for part in ("audio_train", "audio_test", "meta"))
    if train is None and test is None and meta is None:
        return None
    return CompetitionFolders(train, test, root / "FSDKaggle2018.meta" if meta is None else meta)


def find_kaggle(root: Path) -> CompetitionFolders | None:
    """Recognise Kaggle's layout by either of its audio folders; None where there is neither."""
    train, test = _unnested(root, "audio_train"), _unnested(root, "audio_test")
    return None if train is None and test is None else CompetitionFolders(train, test, root)


def read_competition(folders: CompetitionFolders) -> pd.DataFrame:
    """Read the clips of a competition corpus.

    Parameters
    ----------
    folders : CompetitionFolders
        As found by `find_zenodo` or `find_kaggle`.

    Returns
    -------
    pandas.DataFrame
        Text columns of the clip table (missing: empty or NaN), training rows first.

    Raises
    ------
    CorpusError
        Neither audio folder is there, a table is missing or breaks a rule, or rows and files do not match.
    """
    halves = []
    if folders.train is not None:
        halves.append(_read_train(folders.train, folders.tables).assign(split="train"))
    if folders.test is not None:
        halves.append(_read_test(folders.test, folders.tables).assign(split="test"))
    if not halves:
        msg = f"{folders.tables} has no audio folder beside it; unpack the audio_train or audio_test archive there"
        raise CorpusError(msg)
    return pd.concat(halves, ignore_index=True)


def _unnested(root: Path, name: str) -> Path | None:
    """Find a folder that Kaggle's mounts, and many unpackers, put into another of its own name."""
    inner, outer = root / name / name, root / name
    if inner.is_dir():
        return inner
    return outer if outer.is_dir() else None


def _read_train(folder: Path, tables: Path) -> pd.DataFrame:
    sources = [tables / name for name in TRAIN_TABLES if (tables / name).exists()]
    if not sources:
        msg = f"{folder} needs a table of labels, {' or '.join(TRAIN_TABLES)}; neither is in {tables}"
        raise CorpusError(msg)
    rows = merge_rows([(path.name, _read_train_table(path)) for path in sources])
    source = " or ".join(path.name for path in sources)
    return _with_files(rows, list_folder(folder), folder=folder, source=source)


def _read_train_table(path: Path) -> pd.DataFrame:
    rows = read_rows(path, required=("fname", "label", "manually_verified"), optional=_DETAILS)
    _check_labels(rows, rows["label"].notna(), source=path.name)
    rows["manually_verified"] = verified_cells(rows, source=path.name)
    return rows


def _read_test(folder: Path, tables: Path) -> pd.DataFrame:
    listing = list_folder(folder)
    sources = [tables / name for name in TEST_TABLES if (tables / name).exists()]
    sample = next((path for path in _sample_places(tables) if path.exists()), None)
    known = merge_rows([(path.name, _read_test_table(path)) for path in sources]) if sources else None
    if known is not None:
        known = _without_absent_ignored(known, listing)
    if sample is not None:
        known = _in_sample_order(known, sample)
        sources.append(sample)
    if known is None:
        return pd.DataFrame({"fname": list(listing.audio), "path": list(listing.audio.values())}, dtype=TEXT)
    return _with_files(known, listing, folder=folder, source=" or ".join(path.name for path in sources))


def _sample_places(tables: Path) -> tuple[Path, ...]:
    """Give the places of a sample submission: with the tables or, in Zenodo's layout, in the root above them."""
    here = tables / SAMPLE_SUBMISSION
    return (here, tables.parent / SAMPLE_SUBMISSION) if tables.name == "FSDKaggle2018.meta" else (here,)


def _read_test_table(path: Path) -> pd.DataFrame:
    rows = read_rows(path, required=("fname", "label"), optional=("usage", *_DETAILS))
    usage = usage_cells(rows, source=path.name)
    unscored = ~usage.isin(["Public", "Private"])
    rows["label"] = rows["label"].mask(unscored & (rows["label"] == "None"), "")
    _check_labels(rows, ~(unscored & (rows["label"] == "")), source=path.name)
    return rows


def _without_absent_ignored(rows: pd.DataFrame, listing: FolderListing) -> pd.DataFrame:
    absent = ~rows["fname"].isin(list(listing.files))
    return rows[~(absent & (cells(rows, "usage") == "Ignored"))]


def _in_sample_order(known: pd.DataFrame | None, sample: Path) -> pd.DataFrame:
    order = read_rows(sample, required=("fname",))
    if known is None:
        return order
    extra = known.loc[~known["fname"].isin(order["fname"]), "fname"]
    if len(extra):
        msg = (
            f"{sample.name} must list every test clip; {counted(len(extra), 'clip')} of the test table "
            f"{'is' if len(extra) == 1 else 'are'} not in it: {named(extra)}"
        )
        raise CorpusError(msg)
    return known.set_index("fname").reindex(order["fname"]).reset_index()


def _check_labels(rows: pd.DataFrame, needed: "pd.Series[bool]", *, source: str) -> None:
    refuse(rows, needed & (rows["label"] == ""), column="label", rule="not be empty", source=source)
    unknown = rows[needed & ~rows["label"].isin(FSDKAGGLE2018_CLASSES)]
    if len(unknown):
        label = str(unknown["label"].iloc[0])
        more = (
            ""
            if len(unknown) == 1
            else f"; {counted(len(unknown), 'row')} have such labels: {named(unknown['label'].unique())}"
        )
        msg = f"{source} line {unknown.index[0]}: label {unknown_label_message(label)}{more}"
        raise CorpusError(msg)


def _with_files(rows: pd.DataFrame, listing: FolderListing, *, folder: Path, source: str) -> pd.DataFrame:
    paths = match_files(rows["fname"], paths=listing.files, audio=listing.audio, folder=folder, source=source)
    return rows.assign(path=paths)
