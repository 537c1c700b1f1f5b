"""What was unpacked into a corpus's folder, and whether it is still there.

A corpus's folder has a hidden folder ``.fetch/`` for what is not the corpus: archives on their way, files being
unpacked, a lock, and a stamp a finished archive: ``<archive>.json`` with the archive's checksum and every file that
came from it. A stamp is written before the files get their place, so that files of an unfinished run are known as such:
an archive is done where its stamp is there, and every file that the stamp lists, at its size.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cache.errors import CorpusError, LockedError
from cache.outfile import write_atomically
from corpus.archives import Archive

WORK_FOLDER = ".fetch"


@dataclass(frozen=True)
class Stamp:
    """What one archive brought.

    Attributes
    ----------
    checksum : str
        Of the archive.
    sizes : mapping of str to int
        Path in the corpus's folder → bytes.
    """

    checksum: str
    sizes: Mapping[str, int]


def read_stamp(root: Path, archive: Archive) -> Stamp | None:
    """Read the stamp of an archive; None where there is none, or none that can be read."""
    try:
        found = json.loads(_stamp_path(root, archive).read_text(encoding="utf-8"))
        return Stamp(str(found["checksum"]), {str(name): int(size) for name, size in found["sizes"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_stamp(root: Path, archive: Archive, stamp: Stamp) -> None:
    """Write the stamp of an archive whose files are about to get their place."""
    content = json.dumps({"archive": archive.name, "checksum": stamp.checksum, "sizes": stamp.sizes})
    write_atomically(_stamp_path(root, archive), lambda path: path.write_text(content, encoding="utf-8"))


def is_whole(root: Path, stamp: Stamp) -> bool:
    """Tell whether all files of a stamp are there, each at its size; their bytes are not read."""
    return bool(stamp.sizes) and len(files_there(root, stamp)) == len(stamp.sizes)


def files_there(root: Path, stamp: Stamp) -> frozenset[str]:
    """Give the files of a stamp that are there at their size."""
    folders = {name.rpartition("/")[0] for name in stamp.sizes}
    found = {
        f"{folder}/{name}" if folder else name: size
        for folder in folders
        for name, size in _file_sizes(root / folder).items()
    }
    return frozenset(name for name, size in stamp.sizes.items() if found.get(name) == size)


def is_there_unstamped(root: Path, archive: Archive) -> bool:
    """Tell whether a folder unpacked by other means holds as many files and bytes as the archive published."""
    # Many unpackers make a folder of the archive's name first.
    places = [inner if (inner := root / name / name).is_dir() else root / name for name in archive.fills]
    sizes = [size for place in places for size in _file_sizes(place).values()]
    if archive.files:
        return (len(sizes), sum(sizes)) == (archive.files, archive.unpacked_bytes)
    return bool(archive.md5 and sizes)  # of unknown contents: documents, which nothing reads


def check_free(root: Path, archive: Archive) -> None:
    """Refuse to unpack over what no archive brought.

    Raises
    ------
    CorpusError
        Something of the name is there, and no stamp tells of it.
    """
    stamped = {name.partition("/")[0] for path in root.glob(f"{WORK_FOLDER}/*.json") for name in _stamped(path)}
    for name in archive.fills:
        place = root / name
        if name not in stamped and place.exists() and not (place.is_dir() and not any(place.iterdir())):
            message = (
                f"{place} is there, and is not what {archive.name} holds: "
                "move it away if it is to be fetched, or name another folder"
            )
            raise CorpusError(message)


def put_in_place(staging: Path, root: Path) -> list[str]:
    """Move what was unpacked to where it belongs: whole folders at once, or files one by one into folders there.

    Returns
    -------
    list of str
        Files that were there with another size: they have ``.old`` after their names now.
    """
    renamed = []
    for entry in sorted(staging.iterdir()):
        if entry.is_dir() and (root / entry.name).is_dir():
            names = [f"{entry.name}/{file.name}" for file in entry.iterdir()]
            renamed += [name for name in names if _put(staging / name, root / name)]
            entry.rmdir()
        elif _put(entry, root / entry.name):
            renamed.append(entry.name)
    staging.rmdir()
    return renamed


def _put(source: Path, target: Path) -> bool:
    """Move one entry; what is there and differs may be somebody's work, and is kept beside it."""
    differs = target.is_file() and target.stat().st_size != source.stat().st_size
    if differs:
        os.replace(target, target.with_name(f"{target.name}.old"))
    os.replace(source, target)
    return differs


@contextmanager
def work_folder(root: Path) -> Iterator[Path]:
    """Make the folder for what is not the corpus, hold it alone, and clear away what a killed run was unpacking.

    Raises
    ------
    LockedError
        Another process holds it.
    """
    folder = root / WORK_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="ascii") as lock:
        _hold(lock, root)
        for leftover in folder.glob("*.unpacking"):
            shutil.rmtree(leftover)
        try:
            yield folder
        finally:
            Path(lock.name).unlink()
            with suppress(OSError):
                folder.rmdir()  # where nothing came of it


def _hold(lock: TextIO, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its owner removes the file when it ends: it must still be the one of that name.
        held = os.path.exists(lock.name) and os.path.samestat(os.stat(lock.name), os.fstat(lock.fileno()))
    except BlockingIOError:
        held = False
    if not held:
        lock.seek(0)
        message = f"process {lock.read() or '(just ended)'} fetches into {root}: wait for it to end, and run again"
        raise LockedError(message)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _stamp_path(root: Path, archive: Archive) -> Path:
    return root / WORK_FOLDER / f"{archive.name}.json"


def _stamped(path: Path) -> list[str]:
    """Give the files that a stamp lists; none where it is no stamp (what is known of a download is JSON, too)."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8")).get("sizes", {}))
    except (OSError, ValueError, AttributeError):
        return []


def _file_sizes(folder: Path) -> dict[str, int]:
    """Give the regular files of a folder that are not hidden; links are followed, as the reader of a corpus does."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name: entry.stat().st_size
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file()
            }
    except OSError:
        return {}
