"""Files that a user asks for: checked before the work, and written whole or not at all.

Conventions
-----------
A file gets its name only when it is complete; an interruption leaves the old file or none.
"""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from cache.errors import InputError, NotFoundError
from cache.layout import SHARD_GLOB


def check_out(out: Path, *, force: bool) -> None:
    """Refuse a file that cannot or should not be written, before anything is computed for it.

    Parameters
    ----------
    out : Path
    force : bool
        A file that is there may be replaced.

    Raises
    ------
    InputError
        It is there, is a folder, or is named like a shard.
    NotFoundError
        There is no folder for it.
    """
    if out.match(SHARD_GLOB):
        message = f"{out} is named like a shard, and a store would take it for one: give it another name"
        raise InputError(message)
    if out.is_dir() or (out.exists() and not force):
        what = "is a folder: name a file" if out.is_dir() else "is there: name another file, or give --force"
        message = f"{out} {what}"
        raise InputError(message)
    if not out.absolute().parent.is_dir():
        message = f"there is no folder {out.parent} to write {out.name} to: make it first"
        raise NotFoundError(message)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a sibling file, then give it its name; an interruption leaves the old file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        write(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
