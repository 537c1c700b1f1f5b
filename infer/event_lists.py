"""Event lists: files that say what sounds when in which recording.

Conventions
-----------
Read are tables (DCASE, CSV, Audacity labels, Raven selection tables: see event_tables), JSON as ``cli caption`` writes
it, and folders of such files. A recording that a list does not name has the name of the list's file, without suffix.
Names and labels are compared as they are; white space at their ends does not count.

JSON is ``{"files": [FILE, …]}``, one FILE ``{"path": …, "events": [EVENT, …]}`` or a list of such, or a list of EVENTs.
An EVENT is ``{"onset": …, "offset": …, "label": …, "score": …}``, with the names that columns may have; the score may
lack.

A point, whose offset is its onset, is read as lasting 1 ms: it marks a sound whose end nobody noted. Everything else
that `Event` does not allow is refused, with the file and the line.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cache.errors import InputError, NotFoundError
from corpus.files import shown_name
from infer.event_tables import REQUIRED, Row, decode, find_columns, number_of, table_rows
from infer.events import Event

SUFFIXES = (".csv", ".json", ".tsv", ".txt")
"""Suffixes of the files of a folder that are taken for event lists, in lower case."""

POINT_SECONDS = 0.001

# What Raven and BirdNET put between the recording's name and the suffix.
_ENDINGS = re.compile(r"((\.Table\.\d+)?\.selections|\.BirdNET\.(selection\.table|results))$")


def read_event_list(path: str | os.PathLike[str]) -> dict[str, list[Event]]:
    """Read an event list.

    Parameters
    ----------
    path : path
        A file, or a folder whose ``.csv``, ``.json``, ``.tsv`` and ``.txt`` files are read, not those below it.

    Returns
    -------
    dict of {str: list of Event}
        Recording → its events, sorted; recordings in the order of their names. A recording without events is there
        where the list names it.

    Raises
    ------
    NotFoundError
        There is nothing of this name, or a folder holds no event list.
    InputError
        A file is none of these lists, or an event breaks a rule, or two files of a folder hold the same recording.
    """
    path = Path(path)
    if path.is_dir():
        found = _read_folder(path)
    elif path.exists():
        found = _read_file(path)
    else:
        message = f"there is no event list {shown_name(str(path))}: name a file or a folder of files"
        raise NotFoundError(message)
    return {name: sorted(found[name]) for name in sorted(found)}


def recording_of(path: Path) -> str:
    """Return the name of the recording that a list of one recording is of: the file's, without its suffixes."""
    return shown_name(_ENDINGS.sub("", path.stem))


def _read_folder(folder: Path) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    sources: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        # A header alone, without a recording's name, is a recording without events.
        for name, events in (_read_file(path) or {recording_of(path): []}).items():
            if name in found:
                both = f"{shown_name(sources[name].name)} and {shown_name(path.name)}"
                message = f"{shown_name(str(folder))}: {both} are both of the recording {name!r}; keep one of them"
                raise InputError(message)
            found[name], sources[name] = events, path
    if not found:
        message = f"{shown_name(str(folder))} holds no event list ({', '.join(SUFFIXES)}): name another folder"
        raise NotFoundError(message)
    return found


def _read_file(path: Path) -> dict[str, list[Event]]:
    shown, own_name = shown_name(str(path)), recording_of(path)
    # A pipe of this name would wait for ever for its writer.
    if not path.is_file():
        message = f"{shown} is not a regular file: name a file or a folder of files"
        raise InputError(message)
    found: dict[str, list[Event]] = {}
    try:
        for row in _rows(decode(path.read_bytes()), is_json=path.suffix.lower() == ".json"):
            name = own_name if row.recording is None else _text(row, "recording")
            events = found.setdefault(name, [])
            if row.label is not None:
                events.append(_event(row))
    except InputError as error:
        message = f"{shown} {error}"
        raise InputError(message) from error
    return found


def _event(row: Row) -> Event:
    onset, offset = _number(row, "onset"), _number(row, "offset")
    if onset == offset:
        offset = onset + POINT_SECONDS
    score = 1.0 if row.score in (None, "") else _number(row, "score")
    label = _text(row, "label")
    try:
        return Event(onset, offset, label, score)
    except InputError as error:
        message = f"{row.where}: {error}"
        raise InputError(message) from error


def _number(row: Row, what: str) -> float:
    value = getattr(row, what)
    try:
        number = number_of(value) if isinstance(value, str) else None if isinstance(value, bool) else float(value)
    except (TypeError, OverflowError):
        number = None
    if number is None:
        hint = ": write a decimal point" if isinstance(value, str) and "," in value else ""
        message = f"{row.where}: {what} must be a number; got {value!r:.100}{hint}"
        raise InputError(message)
    return number


def _text(row: Row, what: str) -> str:
    value = getattr(row, what)
    try:
        text = shown_name(value).strip() if isinstance(value, str) else ""
    except UnicodeEncodeError:  # half a character that JSON escapes allow
        text = ""
    if not text:
        message = f"{row.where}: {what} must be text and not empty; got {value!r:.100}"
        raise InputError(message)
    return text


# --- JSON ------------------------------------------------------------------------------------------------------------


def _rows(text: str, *, is_json: bool) -> Iterable[Row]:
    """Read JSON where the suffix or the text itself says so, else a table."""
    if is_json or text.lstrip().startswith(("{", "[")):
        try:
            return _json_rows(json.loads(text))
        except json.JSONDecodeError as error:
            if is_json:
                message = f"line {error.lineno}: it is not JSON ({error.msg})"
                raise InputError(message) from error
        except (ValueError, RecursionError) as error:  # numbers and depths beyond all measure
            message = f"line 1: it is not JSON of an event list ({error})"
            raise InputError(message) from error
    return table_rows(text)


def _json_rows(value: Any) -> Iterator[Row]:
    files = value.get("files", [value]) if isinstance(value, Mapping) else value
    if not isinstance(files, list):
        raise _not_a_list("", files)
    if files is value and not any(isinstance(item, Mapping) and "events" in item for item in files):
        files = [{"events": files}]
    for number, file in enumerate(files, start=1):
        if not isinstance(file, Mapping) or not isinstance(file.get("events"), list):
            raise _not_a_list(f"file {number} " if len(files) > 1 else "", file)
        yield from _event_rows(file, number)


def _event_rows(file: Mapping[str, Any], number: int) -> Iterator[Row]:
    path = file.get("path")
    if path is not None or not file["events"]:  # else each event may name its own
        yield Row(f"file {number}", path)
    for index, event in enumerate(file["events"], start=1):
        where = f"event {index}" + ("" if path is None else f" of {path!r:.100}")
        names = {key.lower(): key for key in event} if isinstance(event, Mapping) else {}
        cells = {what: event[names[name]] for what, name in find_columns(names).items()}
        if any(cells.get(what) is None for what in REQUIRED):
            message = f"{where} must be an object with onset, offset and label; got {event!r:.100}"
            raise InputError(message)
        yield Row(where, path)._replace(**cells)


def _not_a_list(where: str, value: object) -> InputError:
    got = f"the keys {', '.join(map(repr, value)):.100}" if isinstance(value, Mapping) else f"{value!r:.100}"
    return InputError(f"{where}must be a list of events, or hold one as its events or files; got {got}")
