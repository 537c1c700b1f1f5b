"""Files that a user asks for: checked before the work, and written whole or not at all.

Conventions
-----------
A file gets its name only when it is complete; an interruption leaves the old file or none.
"""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from cache.errors import EarmarkError, InputError, NotFoundError
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
        It is there, is a folder, a device or the like, is named like a shard, or its folder may not be written to.
    NotFoundError
        There is no folder for it.
    """
    if out.match(SHARD_GLOB):
        message = f"{out} is named like a shard, and a store would take it for one: give it another name"
        raise InputError(message)
    if out.exists() and not out.is_file():
        what = "a folder" if out.is_dir() else "no regular file"
        message = f"{out} is {what}: name a file"
        raise InputError(message)
    if out.exists() and not force:
        message = f"{out} is there: name another file, or give --force"
        raise InputError(message)
    if not os.access(out.absolute().parent, os.W_OK) and out.absolute().parent.is_dir():
        message = f"{out.parent} may not be written to: name another folder for {out.name}"
        raise InputError(message)
    if not out.absolute().parent.is_dir():
        message = f"there is no folder {out.parent} to write {out.name} to: make it first"
        raise NotFoundError(message)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a sibling file, then give it its name; an interruption leaves the old file or none.

    Where the path is a link, what it leads to is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        write(part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise naming(error, path) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def naming(error: OSError, path: Path) -> OSError:
    """Return an error of the system as one of the file that is asked for, not of a file on the way there."""
    as_it_is = isinstance(error, EarmarkError) or error.errno is None
    return error if as_it_is else OSError(error.errno, error.strerror, str(path))
