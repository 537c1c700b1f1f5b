"""A journal of tags: what was found so far, so that a stopped run goes on.

Conventions
-----------
A file of JSON lines beside the one that is asked for: first what the tags are made with, then a line a recording, as
they come; of a recording the last line counts, as long as its file is unchanged. A line that was cut short by a kill
does not count. The journal goes when the file that is asked for is written. One process at a time holds it.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from cache.errors import LockedError
from infer.tags import Tagged

_LEFT, _FIELDS = ".journal", ("path", "seconds", "tags", "problem", "stamp")


class Journal:
    """The journal of a file of tags, open to be added to.

    Parameters
    ----------
    out : Path
        The file that is asked for; the journal stands beside it.
    settings : mapping
        JSON-able: what decides the tags. Another run's journal is replaced.
    recordings : sequence of str
        What is to be tagged.

    Attributes
    ----------
    waiting : list of str
        Those of the recordings that the journal has no tags of.

    Raises
    ------
    LockedError
        If another process holds the journal.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], recordings: Sequence[str]) -> None:
        self.path = out.with_name(f".{out.name}{_LEFT}")
        self._recordings = recordings
        self._file = _open_locked(self.path, out)
        self._places = self._find(json.dumps(settings, sort_keys=True).encode() + b"\n")
        self.waiting = [path for path in recordings if path not in self._places]

    def _find(self, head: bytes) -> dict[str, int]:
        """Return where the line of each recording begins that is done; begin anew where the head is another's."""
        wanted = set(self._recordings)
        places: dict[str, int] = {}
        self._file.seek(0)
        whole = len(head) if self._file.readline() == head else 0
        for line in self._file if whole else ():
            if not line.endswith(b"\n"):
                break
            row = _row_of(line)
            path = row.get("path", "")
            places.pop(path, None)
            if path in wanted and row["stamp"] == _stamp(path):
                places[path] = whole
            whole += len(line)
        self._file.truncate(whole)
        if not whole:
            self._file.write(head)
        return places

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, rows: Sequence[Tagged]) -> None:
        """Add recordings that were tagged."""
        self._file.seek(0, os.SEEK_END)
        for tagged in rows:
            values = [tagged.path, tagged.seconds, tagged.tags, tagged.problem, _stamp(tagged.path)]
            self._places[tagged.path] = self._file.tell()
            self._file.write(json.dumps(dict(zip(_FIELDS, values, strict=True))).encode() + b"\n")
        self._file.flush()

    def rows(self) -> Iterator[Tagged]:
        """Yield the recordings that are done, in the order in which they were asked for."""
        for path in filter(self._places.__contains__, self._recordings):
            self._file.seek(self._places[path])
            row = json.loads(self._file.readline())
            tags = tuple((label, score) for label, score in row["tags"])
            yield Tagged(row["path"], row["seconds"], tags, row["problem"])

    def remove(self) -> None:
        """Remove the journal: the file that is asked for is written."""
        self.path.unlink(missing_ok=True)
        self._file.close()


def _open_locked(path: Path, out: Path) -> BinaryIO:
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed it in the meantime.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError as error:
            file.close()
            message = f"another run is writing {out}: wait until it has ended, or name another file"
            raise LockedError(message) from error
        except FileNotFoundError:
            pass
        file.close()


def _stamp(path: str) -> list[int]:
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _row_of(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and tuple(row) == _FIELDS else {}
