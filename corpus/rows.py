"""The rows of a corpus's CSV files, and the rules that every row keeps.

Files are UTF-8 with a header line; a byte order mark, CRLF line ends, quoted fields and blank lines are read as they
are meant. Every cell stays text (``0123``, ``NA`` and ``None`` are what they look like) and an empty cell means
missing. Rows are a DataFrame of text columns whose index is the line number in the file, so that a message can point
at it.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cache.errors import CorpusError

# Kept in Python: only there may a path hold bytes that are not UTF-8, and pandas 2 and 3 then behave alike.
TEXT = pd.StringDtype(storage="python", na_value=np.nan)

_NAMED = 3  # how many culprits a message names


def named(things: Iterable[str]) -> str:
    """Name the first few things of many for a message, as ``'a', 'b', 'c' and 4 more``."""
    shown = [repr(thing) for thing in things]
    rest = len(shown) - _NAMED
    return ", ".join(shown[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def counted(count: int, noun: str) -> str:
    """Give a count with its noun, as ``1 row``, ``1,600 rows`` or ``2 classes``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def read_rows(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = (), unique: bool = True
) -> pd.DataFrame:
    """Read the columns wanted of a CSV file whose key is ``fname``.

    Parameters
    ----------
    path : Path
        The CSV file.
    required, optional : sequence of str
        Columns that must, or may, be there; all others are passed over. ``fname`` belongs to `required`.
    unique : bool
        Whether an ``fname`` may stand in one row only.

    Returns
    -------
    pandas.DataFrame
        One text column a name of `required`, and of `optional` where there; index: line numbers. Cells but ``fname``
        are stripped of white space at their ends; missing cells are empty text.

    Raises
    ------
    CorpusError
        The file cannot be read, is not UTF-8 or no CSV; a required column is missing; or an ``fname`` is empty, is no
        plain relative path, or comes twice where it must be unique.
    """
    header, lines, cells = _parse(path)
    missing = [name for name in required if name not in header]
    if missing:
        msg = f"{path}: column {named(missing)} is missing; the columns there are {', '.join(map(repr, header))}"
        raise CorpusError(msg)
    wanted = [name for name in (*required, *optional) if name in header]
    columns = {name: [row[header.index(name)] for row in cells] for name in wanted}
    for name in wanted[1:]:
        columns[name] = [cell.strip() for cell in columns[name]]
    rows = pd.DataFrame(columns, index=pd.Index(lines, name="line"), dtype=TEXT)
    _check_fnames(rows, source=path.name)
    if unique:
        refuse(rows, rows["fname"].duplicated(), column="fname", rule="be unique", source=path.name)
    return rows


def refuse(rows: pd.DataFrame, bad: "pd.Series[bool]", *, column: str, rule: str, source: str) -> None:
    """Raise for the rows that break a rule, with their number, the first values and their lines.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows with line numbers as their index.
    bad : pandas.Series of bool
        True where a row breaks the rule.
    column : str
        The column that the rule is about.
    rule : str
        What the column must be, to stand after "must".
    source : str
        The name of the file, for the message.

    Raises
    ------
    CorpusError
        Any of `bad` is true.
    """
    if not bad.any():
        return
    culprits = rows.loc[bad.to_numpy(dtype=bool), column]
    first = ", ".join(f"{value!r} (line {line})" for line, value in culprits.head(_NAMED).items())
    dots = ", …" if len(culprits) > _NAMED else ""
    breaks = "breaks" if len(culprits) == 1 else "break"
    msg = f"{source}: {column} must {rule}; {counted(len(culprits), 'row')} {breaks} this: {first}{dots}"
    raise CorpusError(msg)


def merge_rows(tables: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Merge files that tell of the same clips: what one leaves empty, another may fill.

    Parameters
    ----------
    tables : sequence of (str, pandas.DataFrame)
        File names with their rows, at least one; the order of rows is that of the first, then what the others add.

    Returns
    -------
    pandas.DataFrame
        One row an fname, the columns of all; index: line numbers in the first file that has the row.

    Raises
    ------
    CorpusError
        Two files give a clip different values.
    """
    source, merged = tables[0]
    for other_source, other in tables[1:]:
        left = merged.reset_index().set_index("fname")
        right = other.reset_index().set_index("fname")
        fnames = left.index.append(right.index.difference(left.index, sort=False))
        lines = left["line"].reindex(fnames).fillna(right["line"]).astype(int)
        columns: dict[str, pd.Series] = {"line": lines}
        for column in dict.fromkeys((*merged.columns, *other.columns)):
            if column == "fname":
                continue
            ours, theirs = (table[column] if column in table else _blank(table.index) for table in (left, right))
            _check_agreement(ours, theirs, column=column, sources=(source, other_source))
            columns[column] = ours[ours != ""].reindex(fnames).fillna(theirs).fillna("")
        merged = pd.DataFrame(columns, index=fnames).reset_index().set_index("line")
    return merged


def _blank(index: pd.Index) -> "pd.Series[str]":
    return pd.Series("", index=index, dtype=TEXT)


def _check_agreement(left: "pd.Series[str]", right: "pd.Series[str]", *, column: str, sources: tuple[str, str]) -> None:
    both = left.index.intersection(right.index)
    ours, theirs = left.loc[both], right.loc[both]
    differ = both[((ours != theirs) & (ours != "") & (theirs != "")).to_numpy(dtype=bool)]
    if len(differ):
        first = differ[0]
        msg = (
            f"{sources[0]} and {sources[1]} disagree on the {column} of {counted(len(differ), 'clip')}: {first!r} is "
            f"{left[first]!r} in one and {right[first]!r} in the other; keep only the file that is right"
        )
        raise CorpusError(msg)


def _parse(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Give the header, and line number and cells of every row that is not blank."""
    reader = csv.reader(io.StringIO(_text_of(path), newline=""), strict=True)
    try:
        parsed = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        msg = f"{path} line {reader.line_num} is not CSV: {error}"
        raise CorpusError(msg) from error
    if not parsed:
        msg = f"{path} is empty; it needs a header line with the names of its columns"
        raise CorpusError(msg)
    header = [name.strip() for name in parsed[0][1]]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        msg = f"{path}: the header has column {named(twice)} more than once; keep one of each name"
        raise CorpusError(msg)
    for line, row in parsed[1:]:
        if len(row) != len(header):
            msg = f"{path} line {line} has {counted(len(row), 'field')}, the header {len(header)}; quote or mend it"
            raise CorpusError(msg)
    return header, [line for line, _ in parsed[1:]], [row for _, row in parsed[1:]]


def _text_of(path: Path) -> str:
    # A pipe of this name would wait for ever for its writer.
    if not path.is_file():
        msg = f"{path} is not a regular file; put the table there as a CSV file"
        raise CorpusError(msg)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); check its permissions"
        raise CorpusError(msg) from error
    except UnicodeDecodeError as error:
        msg = (
            f"{path} is not UTF-8 (byte {error.object[error.start]:#04x} at position {error.start:,}); save it as UTF-8"
        )
        raise CorpusError(msg) from error


def _check_fnames(rows: pd.DataFrame, *, source: str) -> None:
    refuse(rows, rows["fname"].str.strip() == "", column="fname", rule="not be empty", source=source)
    plain = rows["fname"].map(_is_plain_relative).astype(bool)
    refuse(rows, ~plain, column="fname", rule="be a plain relative path, without '..'", source=source)


def _is_plain_relative(fname: str) -> bool:
    """Tell whether a name is the only spelling of a path below the folder it is taken from."""
    return not {"", ".", ".."}.intersection(fname.split("/"))
