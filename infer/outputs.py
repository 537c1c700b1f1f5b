"""What a run's submission and report were made from, so that a second call need not make them again.

Conventions
-----------
``outputs.json`` in the run's folder: what was made → its file's path, the file's SHA-256, and a digest of all that it
was made from. What is not there, or was changed, or was made from something else, is made again.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cache import Key
from cache.outfile import write_atomically
from infer.runs import digest_run

OUTPUTS = "outputs.json"


def digest_sources(run: Path, keys: Iterable[Key], *more: object) -> str:
    """Hash what something is made from: a run's networks, clips, and whatever else counts.

    Parameters
    ----------
    run : Path
    keys : iterable of Key
        The clips that have frames.
    *more : object
        Anything whose ``repr`` is the same every time.
    """
    parts = [digest_run(run.absolute()), *(f"{key.name}\t{key.digest}" for key in keys), *map(repr, more)]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def is_made(run: Path, what: str, out: Path, made_from: str) -> bool:
    """Tell whether a file is there as it was made, from these very sources.

    Parameters
    ----------
    run : Path
    what : str
        Such as "submission".
    out : Path
    made_from : str
        As from `digest_sources`.
    """
    return out.is_file() and _read(run).get(what) == _record(out, made_from)


def was_made(run: Path, what: str, out: Path) -> bool:
    """Tell whether a file is there as it was made, from whatever it was."""
    found = _read(run).get(what)
    return isinstance(found, dict) and out.is_file() and found == _record(out, found.get("made_from", ""))


def note_made(run: Path, what: str, out: Path, made_from: str) -> None:
    """Note that a file was made."""
    text = json.dumps({**_read(run), what: _record(out, made_from)}, indent=2)
    write_atomically(run / OUTPUTS, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def _record(out: Path, made_from: str) -> dict[str, str]:
    with out.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(out.absolute()), "sha256": digest, "made_from": made_from}


def _read(run: Path) -> dict[str, Any]:
    try:
        found = json.loads((run / OUTPUTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the notes only save work
        return {}
    return found if isinstance(found, dict) else {}
