"""A journal of tags: what was found so far, so that a stopped run goes on.

Conventions
-----------
A file of JSON lines beside the one that is asked for: first what the tags are made with, then a line a recording, in
order. A line that was cut short by a kill does not count. The journal goes when the file that is asked for is written.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
        What is to be tagged: lines count as far as they are those of these files, in order, unchanged.

    Attributes
    ----------
    n_done : int
        Recordings whose tags are in the journal.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], recordings: Sequence[str]) -> None:
        self.path = out.with_name(f".{out.name}{_LEFT}")
        head = json.dumps(settings, sort_keys=True)
        kept = _kept_bytes(self.path, head, recordings)
        self.n_done = max(0, len(kept) - 1)
        if not kept:
            self.path.write_text(head + "\n", encoding="utf-8")
        else:
            os.truncate(self.path, sum(kept))
        self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, rows: Sequence[Tagged]) -> None:
        """Add recordings that were tagged."""
        for tagged in rows:
            values = [tagged.path, tagged.seconds, tagged.tags, tagged.problem, _stamp(tagged.path)]
            self._file.write(json.dumps(dict(zip(_FIELDS, values, strict=True))) + "\n")
        self._file.flush()

    def rows(self) -> Iterator[Tagged]:
        """Yield all recordings of the journal, in order."""
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                row = json.loads(line)
                tags = tuple((label, score) for label, score in row["tags"])
                yield Tagged(row["path"], row["seconds"], tags, row["problem"])

    def remove(self) -> None:
        """Remove the journal: the file that is asked for is written."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _stamp(path: str) -> list[int]:
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _kept_bytes(path: Path, head: str, recordings: Sequence[str]) -> list[int]:
    """Return the lengths of the lines that hold, the head's first; nothing where the journal is another run's."""
    if not path.exists():
        return []
    kept: list[int] = []
    with path.open("rb") as file:
        if file.readline() != f"{head}\n".encode():
            return []
        kept.append(len(head.encode()) + 1)
        for line, recording in zip(file, recordings, strict=False):
            if not _holds(line, recording):
                break
            kept.append(len(line))
    return kept


def _holds(line: bytes, recording: str) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        row = json.loads(line)
        return bool(tuple(row) == _FIELDS and row["path"] == recording and row["stamp"] == _stamp(recording))
    except ValueError:
        return False
