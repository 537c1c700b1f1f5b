"""Files that commands write over without being asked: only those that such a command wrote before.

Conventions
-----------
A file that is there is told by its beginning: a report by the name of its generator, a table by its header line. What
stands in a corpus's folder is the corpus's own, and is never replaced, but for reports and for a CSV file beside its
tables that is none of them: who works in that folder has submissions there.
"""

import os
from pathlib import Path

import pandas as pd

from cache.errors import InputError
from cache.outfile import check_out
from cache.regular import open_regular
from corpus.competition import SAMPLE_SUBMISSION, TEST_TABLES, TRAIN_TABLES
from corpus.custom import CLIPS_TABLE

_HEAD_BYTES = 4096
_GENERATOR = b'<meta name="generator" content="earmark'
_TABLES = frozenset((CLIPS_TABLE, SAMPLE_SUBMISSION, *TRAIN_TABLES, *TEST_TABLES))


def check_report(out: Path, corpus: Path) -> None:
    """Refuse a report's file that cannot be written, or would take the place of what is no report.

    Parameters
    ----------
    out : Path
    corpus : Path
        Its folder.

    Raises
    ------
    InputError, NotFoundError
        As `cache.outfile.check_out`, or if the file is there and is no report.
    """
    check_out(out, force=True)
    if out.is_file() and _GENERATOR not in _head(out):
        _refuse_own(out, corpus)
        message = f"{out} is there, and is no report of earmark: name another file, or remove it"
        raise InputError(message)


def check_recordings(out: Path, clips: pd.DataFrame) -> None:
    """Refuse a file that is one of a corpus's recordings, wherever they lie.

    Raises
    ------
    InputError
        It is.
    """
    if out.exists() and any(os.path.exists(path) and out.samefile(path) for path in clips["path"]):
        message = f"{out} is a recording of the corpus, which is never replaced: name another file"
        raise InputError(message)


def check_table(out: Path, corpus: Path, *, columns: list[str]) -> None:
    """Refuse a table's file that would take the place of what is no table of these columns.

    Parameters
    ----------
    out : Path
    corpus : Path
        Its folder.
    columns : list of str
        Of the table that is to be written.

    Raises
    ------
    InputError
        It belongs to the corpus, begins with another header line, or is no regular file.
    """
    if not out.exists():
        return
    _refuse_own(out, corpus)
    if not out.is_file():
        message = f"{out} is no regular file: name a file"
        raise InputError(message)
    header = pd.DataFrame(columns=columns).to_csv(index=False, lineterminator="\n").encode()
    if not _head(out, len(header)).startswith(header):
        shown = ",".join(columns) if len(columns) < 4 else f"{','.join(columns[:3])},…"
        message = (
            f"{out} is there, and does not begin with {shown} as what would be written: name another file, or remove it"
        )
        raise InputError(message)


def check_folder(folder: Path) -> None:
    """Make a folder for files, and refuse one that may not be written to.

    Raises
    ------
    InputError
        It cannot be made, or may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder {folder} cannot be made ({error.strerror}): name another"
        raise InputError(message) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        message = f"{folder} may not be written to: name another folder"
        raise InputError(message)


def _refuse_own(out: Path, corpus: Path) -> None:
    path, root = Path(os.path.realpath(out)), Path(os.path.realpath(corpus))
    beside = path.parent == root and path.suffix.lower() == ".csv" and path.name not in _TABLES
    if path.is_relative_to(root) and not beside and out.is_file():
        message = f"{out} is there in the corpus's folder, where nothing is replaced: name another file, or remove it"
        raise InputError(message)


def _head(path: Path, n_bytes: int = _HEAD_BYTES) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(n_bytes)
    except OSError:
        return b""
