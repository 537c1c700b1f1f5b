"""The two layouts for sounds of one's own: one folder a class, and ``clips.csv``.

One folder a class
    ``<label>/clip.wav``, ``train/<label>/clip.wav``, ``test/<label>/clip.wav``, and ``test/clip.wav`` for test clips
    without a label. Only ``train`` and ``test`` as written here are halves; a ``train`` that holds clips itself, beside
    other class folders, is the class of that name. The key is the path from the root. Files without an audio suffix are
    passed over; what looks like a clip and is none (a pipe, a broken link, a format that libsndfile does not decode),
    and a folder without clips, are told as problems. Class folders hold no folders of clips.

``clips.csv``
    ``fname,label`` and any of ``split`` (else train), ``manually_verified``, ``fold``, ``group``, ``usage``,
    ``freesound_id``, ``license``. Files lie beside the table or in ``audio/``; where both places have one, that beside
    the table counts. In the folders that hold clips of the table, every audio file needs a row. A test clip may go
    without a label.
"""

import posixpath
from pathlib import Path

import pandas as pd

from cache.errors import CorpusError
from corpus.columns import cells, fold_cells, split_cells, usage_cells, verified_cells
from corpus.files import (
    AUDIO_SUFFIXES,
    FOREIGN_SUFFIXES,
    FolderListing,
    Problem,
    list_folder,
    match_files,
    shown_name,
    suffix_of,
)
from corpus.rows import TEXT, named, read_rows, refuse

CLIPS_TABLE = "clips.csv"

_OPTIONAL = ("split", "manually_verified", "fold", "group", "usage", "freesound_id", "license")


def read_clips_table(root: Path) -> pd.DataFrame:
    """Read the clips that ``clips.csv`` lists.

    Parameters
    ----------
    root : Path
        The folder that holds ``clips.csv``.

    Returns
    -------
    pandas.DataFrame
        Text columns of the clip table (missing: empty), training clips first, each half in the order of the file.

    Raises
    ------
    CorpusError
        The table breaks a rule, or rows and files do not match.
    """
    rows = read_rows(root / CLIPS_TABLE, required=("fname", "label"), optional=_OPTIONAL)
    rows = rows.assign(
        split=split_cells(rows, source=CLIPS_TABLE),
        manually_verified=verified_cells(rows, source=CLIPS_TABLE),
        fold=fold_cells(rows, source=CLIPS_TABLE),
        usage=usage_cells(rows, source=CLIPS_TABLE),
        group=cells(rows, "group"),
    )
    unlabelled = (rows["label"] == "") & (rows["split"] == "train")
    refuse(rows, unlabelled, column="label", rule="not be empty for a training clip", source=CLIPS_TABLE)
    paths, audio = _files_around(root, rows["fname"])
    paths_of_rows = match_files(rows["fname"], paths=paths, audio=audio, folder=root, source=CLIPS_TABLE)
    return rows.assign(path=paths_of_rows).sort_values("split", ascending=False, kind="stable")


def read_class_folders(root: Path) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the clips of a tree with one folder a class.

    Parameters
    ----------
    root : Path
        The folder that holds the class folders, or ``train`` and ``test``.

    Returns
    -------
    pandas.DataFrame
        Text columns ``fname``, ``path``, ``split`` and ``label`` (missing: empty), training clips first, each half
        sorted; no rows where nothing in the tree is audio.
    list of Problem
        What was left out: files that cannot be clips, and folders without clips.

    Raises
    ------
    CorpusError
        A clip lies where no label can be read off its folder.
    """
    top = list_folder(root)
    train, test = (list_folder(root / name) if name in top.folders else FolderListing() for name in ("train", "test"))
    tree = _Tree(root)
    tree.add_classes([name for name in top.folders if name not in ("train", "test")], split="train", below="")
    # A corpus of vehicles has a class "train".
    if train.audio and tree.clips:
        tree.add_classes(["train"], split="train", below="")
    else:
        tree.add_classes(train.folders, split="train", below="train/")
        tree.strays.extend(f"train/{name}" for name in train.audio)
    tree.add_classes(test.folders, split="test", below="test/")
    tree.add_folder(test, split="test", below="test/", label="")
    tree.strays.extend(top.audio)
    return tree.table(), tree.problems


class _Tree:
    """Gathers the clips, the strays and the problems of a tree of class folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clips: list[tuple[str, str, str, str]] = []  # fname, path, split, label
        self.problems: list[Problem] = []
        self.strays: list[str] = []

    def add_classes(self, folders: list[str], *, split: str, below: str) -> None:
        for name in folders:
            label = shown_name(name)
            listing = list_folder(self.root / below / name)
            deep = [inner for inner in listing.folders if list_folder(self.root / below / name / inner).audio]
            self.strays.extend(f"{below}{label}/{shown_name(inner)}/" for inner in deep)
            if not listing.audio and not deep:
                self.problems.append({"fname": f"{below}{label}", "reason": "the folder holds no audio file"})
            self.add_folder(listing, split=split, below=f"{below}{label}/", label=label)

    def add_folder(self, listing: FolderListing, *, split: str, below: str, label: str) -> None:
        self.clips.extend((below + name, path, split, label) for name, path in listing.audio.items())
        for name in listing.irregular:
            if suffix_of(name) in AUDIO_SUFFIXES:
                reason = "not a regular file, nor a link to one; left out"
                self.problems.append({"fname": below + name, "reason": reason})
        for name in listing.files:
            if suffix_of(name) in FOREIGN_SUFFIXES:
                reason = f"libsndfile does not decode {suffix_of(name)}; left out, convert it to wav or flac"
                self.problems.append({"fname": below + name, "reason": reason})

    def table(self) -> pd.DataFrame:
        if self.strays:
            msg = (
                f"{shown_name(str(self.root))}: every clip must lie in the folder of its class, <label>/clip.wav, "
                f"unlike {named(self.strays)}; move what is out of place, or list all clips in {CLIPS_TABLE}"
            )
            raise CorpusError(msg)
        rows = pd.DataFrame(self.clips, columns=["fname", "path", "split", "label"], dtype=TEXT)
        return rows.sort_values(["split", "fname"], ascending=[False, True], ignore_index=True)


def _files_around(root: Path, fnames: "pd.Series[str]") -> tuple[dict[str, str], list[str]]:
    """Map names to paths in the folders that the names point to; list the audio in those that hold a listed clip."""
    parents = sorted({posixpath.dirname(fname) or "." for fname in fnames})
    listed, paths, audio = set(fnames), dict[str, str](), list[str]()
    for place in (root, root / "audio"):
        for parent in parents:
            if not (place / parent).is_dir():
                continue
            listing = list_folder(place / parent)
            prefix = "" if parent == "." else f"{parent}/"
            found = {f"{prefix}{name}": path for name, path in listing.files.items()}
            # A folder without a single listed clip is no folder of this corpus.
            if not listed.isdisjoint(found.keys() - paths.keys()):
                audio.extend(f"{prefix}{name}" for name in listing.audio)
            for fname, path in found.items():
                paths.setdefault(fname, path)
    return paths, audio
