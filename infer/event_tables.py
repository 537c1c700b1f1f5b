r"""Event lists as text, whatever wrote them: to rows of named cells.

Conventions
-----------
UTF-8, or UTF-16 with a byte order mark (a spreadsheet's "Unicode text"); any line ends; blank lines are passed over.
Cells are separated by tabs, commas or semicolons, whichever the first line with any of them has, and may be quoted as
in CSV. Only Raven and Audacity know no quotes: in their tables, and in others with tabs and no header, a quote is a
quote, and just a pair around a whole cell is taken off. White space at a cell's ends does not count. Times are in
seconds, with a decimal point.

A header names the columns, in any order and case; others are passed over:

| column | names |
|---|---|
| recording | ``filename``, ``file``, ``fname``, ``path``, ``segment_id``, Raven's ``Begin Path``, ``Begin File`` |
| onset | ``onset``, ``event_onset``, ``start``, ``start_time_seconds``, ``Start (s)``, Raven's ``Begin Time (s)`` |
| offset | ``offset``, ``event_offset``, ``end``, ``end_time_seconds``, ``End (s)``, Raven's ``End Time (s)`` |
| label | ``event_label``, ``label``, ``annotation``, ``class``, ``common name``, ``species`` |
| score (may lack) | ``score``, ``confidence`` |

Without a header rows are ``recording onset offset label`` (DCASE), or ``onset offset label`` of one recording
(Audacity, whose lines of frequencies, which begin with a backslash, are passed over). A row of a recording alone tells
that it was listened to and holds no event.

Raven lists a selection once a view (waveform, spectrogram): it is read once. In tables of several sound files it counts
``Begin Time (s)`` on from one file to the next: there ``File Offset (s)`` is the onset.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from cache.errors import InputError

_NAMES: Mapping[str, Sequence[str]] = {
    "recording": ("filename", "file", "fname", "path", "segment_id", "begin path", "begin file"),
    "onset": ("onset", "event_onset", "start", "start_time_seconds", "start (s)", "begin time (s)"),
    "offset": ("offset", "event_offset", "end", "end_time_seconds", "end (s)", "end time (s)"),
    "label": ("event_label", "label", "annotation", "class", "common name", "species"),
    "score": ("score", "confidence"),
}
"""Column → what headers call it, in lower case; the first that is there counts."""

REQUIRED = ("onset", "offset", "label")
"""What an event must have."""

_LINE_END = re.compile(r"\r\n|\n|\r")
_RAVEN_FILES = ("begin path", "begin file")
_FILE_OFFSET = "file offset (s)"
_SHOWN = 5  # cells of a row that cannot be read
_FORMS = "rows must be onset, offset, label, or recording, onset, offset, label, or a header must name columns"
_HOW = "cli caption --format json (or dcase, audacity, raven) writes lists that can be read"


class Row(NamedTuple):
    """What one line, or one object of JSON, says.

    Attributes
    ----------
    where : str
        Its place in the file, for messages, such as ``line 3``.
    recording : object
        The recording's name; None where the list is of one recording, which it does not name.
    onset, offset, label, score : object
        As they stand there, numbers still as text; None where there is none. A row without these four is a recording
        without events.
    """

    where: str
    recording: object
    onset: object = None
    offset: object = None
    label: object = None
    score: object = None


class _Line(NamedTuple):
    number: int
    cells: list[str]

    @property
    def where(self) -> str:
        return f"line {self.number}"


def decode(data: bytes) -> str:
    """Turn a file's bytes into text, without the byte order mark.

    Raises
    ------
    InputError
        They are neither UTF-8 nor UTF-16 with a byte order mark.
    """
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        message = f"line {line}: text must be UTF-8; got byte {error.object[error.start]:#04x}: save it as UTF-8"
        raise InputError(message) from error


def table_rows(text: str) -> Iterator[Row]:
    """Read a table.

    Parameters
    ----------
    text : str
        As `decode` gives it. Without any row it is the list of one recording without events.

    Yields
    ------
    Row

    Raises
    ------
    InputError
        A row has not the cells that it must have, or the header lacks a column. The line is told.
    """
    lines = _split(text)
    return _headed_rows(lines[0], lines[1:]) if lines and _is_header(lines[0]) else _headless_rows(lines)


def number_of(cell: str) -> float | None:
    """Return the number that a cell holds, be it NaN; None where it holds none."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def find_columns(names: Collection[str]) -> dict[str, str]:
    """Find what columns are by their names in lower case: recording, onset … → its name, where there is one."""
    return {what: name for what, known in _NAMES.items() for name in reversed(known) if name in names}


def _split(text: str) -> list[_Line]:
    delimiter = _delimiter(text)
    if delimiter == "\t":
        lines = [line for line in _plain_lines(text) if any(line.cells)]
        if not lines or not _is_header(lines[0]) or _is_ravens(lines[0]):
            return lines
    return [line for line in _csv_lines(text, delimiter) if any(line.cells)]


def _plain_lines(text: str) -> Iterator[_Line]:
    for number, line in enumerate(_LINE_END.split(text), start=1):
        yield _Line(number, [_unquoted(cell.strip()) for cell in line.split("\t")])


def _delimiter(text: str) -> str:
    for line in _LINE_END.split(text):
        if "\t" in line:
            return "\t"
        if "," in line or ";" in line:
            return ";" if line.count(";") > line.count(",") else ","
    return "\t"


def _csv_lines(text: str, delimiter: str) -> Iterator[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 1
    try:
        for cells in reader:
            yield _Line(number, [cell.strip() for cell in cells])
            number = reader.line_num + 1
    except csv.Error as error:
        message = f"line {number}: it is not CSV ({error}); quote or mend it"
        raise InputError(message) from error


def _unquoted(cell: str) -> str:
    """Take the quotes off that R and spreadsheets put around text."""
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"').strip() if quoted else cell


def _is_header(line: _Line) -> bool:
    """Tell a header by its words: a label may be one of them too, but stands beside numbers."""
    known = {name for names in _NAMES.values() for name in names}
    words = all(number_of(cell) is None for cell in line.cells)
    return words and not known.isdisjoint(cell.lower() for cell in line.cells)


def _is_ravens(header: _Line) -> bool:
    return any(cell.lower() == "begin time (s)" for cell in header.cells)


# --- without a header ------------------------------------------------------------------------------------------------


def _headless_rows(lines: Sequence[_Line]) -> Iterator[Row]:
    full = next((line for line in lines if not _is_name_alone(line)), None)
    if full is None or len(full.cells) < 4:
        yield Row("", None)  # so that the recording is known where it has no event
        yield from (Row(line.where, None, *_cells(line, 3)) for line in lines if line.cells[0] != "\\")
    else:
        for line in lines:
            alone = _is_name_alone(line)
            yield Row(line.where, line.cells[0]) if alone else Row(line.where, *_cells(line, 4))


def _is_name_alone(line: _Line) -> bool:
    return not any(line.cells[1:]) and number_of(line.cells[0]) is None


def _cells(line: _Line, count: int) -> list[str]:
    cells = line.cells[:count] if not any(line.cells[count:]) else line.cells
    if len(cells) != count or any(number_of(cell) is None for cell in cells[-3:-1]):
        raise _not_a_row(line)
    return cells


def _not_a_row(line: _Line) -> InputError:
    cells = ", ".join(map(repr, line.cells[:_SHOWN])) + (", …" if len(line.cells) > _SHOWN else "")
    return InputError(f"{line.where}: {_FORMS}; got {cells}: {_HOW}")


# --- with a header --------------------------------------------------------------------------------------------------


def _headed_rows(header: _Line, lines: Sequence[_Line]) -> Iterator[Row]:
    columns = _columns(header)
    if "recording" not in columns:
        yield Row("", None)
    table = _first_views([(line.where, _named_cells(header, line)) for line in lines])
    in_files = columns.get("recording") in _RAVEN_FILES
    several = in_files and len({cells[columns["recording"]] for _, cells in table}) > 1
    for where, cells in table:
        row = Row(where, None)._replace(**{what: cells[name] for what, name in columns.items()})
        if not any((row.onset, row.offset, row.label)):
            yield Row(where, row.recording)
        else:
            yield _in_its_file(row, cells.get(_FILE_OFFSET, ""), several=several) if in_files else row


def _columns(header: _Line) -> dict[str, str]:
    there = [cell.lower() for cell in header.cells]
    found = find_columns(there)
    for what in REQUIRED:
        if what not in found:
            message = (
                f"{header.where}: the header must have a column of {what}s ({', '.join(_NAMES[what])}); "
                f"the columns there are {', '.join(map(repr, header.cells))}"
            )
            raise InputError(message)
    twice = sorted(name for name in found.values() if there.count(name) > 1)
    if twice:
        message = f"{header.where}: the header has column {twice[0]!r} more than once; keep one"
        raise InputError(message)
    return found


def _named_cells(header: _Line, line: _Line) -> dict[str, str]:
    n_columns = len(header.cells)
    if any(line.cells[n_columns:]):
        message = f"{line.where} has {len(line.cells)} cells, the header {n_columns}; quote or mend it"
        raise InputError(message)
    cells = [*line.cells, *[""] * n_columns][:n_columns]
    return dict(zip((name.lower() for name in header.cells), cells, strict=True))


def _first_views(table: Sequence[tuple[str, dict[str, str]]]) -> list[tuple[str, dict[str, str]]]:
    """Keep one row a selection of Raven's, and all of other tables."""
    views: dict[tuple[str, ...], str] = {}
    kept = []
    for where, cells in table:
        view = cells.get("view", "")
        selection = tuple(cells.get(name, "") for name in ("selection", "begin time (s)", "begin file"))
        if "selection" not in cells or views.setdefault(selection, view) == view:
            kept.append((where, cells))
    return kept


def _in_its_file(row: Row, file_offset: str, *, several: bool) -> Row:
    """Count a selection's times from the begin of its own sound file."""
    if not file_offset and several:
        message = (
            f"{row.where}: a selection table of several sound files must have the column File Offset (s); save it "
            "with this column, or one table a sound file"
        )
        raise InputError(message)
    start, begin, end = (number_of(str(cell)) for cell in (file_offset, row.onset, row.offset))
    if start is None or begin is None or end is None:
        return row  # its times are what they seem, or refused with the others that are no numbers
    return row._replace(onset=start, offset=start + (end - begin))
