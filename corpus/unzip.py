"""Unpacking a ZIP archive that nobody has looked into.

The archive's directory is judged as a whole before a byte is written: names that lead out of the folder, links and
special files, encryption, members that share bytes of the archive, names that come twice or differ in letter case
only, and sizes out of all proportion are refused. While a member is unpacked, its length must be the announced one and
its CRC-32 right. Permissions and times in the archive are passed over; folders are made as their files need them.
"""

import hashlib
import io
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cache.errors import CorpusError, EarmarkError
from cache.space import require_space

MAX_DIRECTORY_BYTES = 8 << 20
"""An archive's directory is read into memory: enough for ten times the competition's files."""
MAX_RATIO = 100
"""Unpacked to packed, over the whole archive. Sounds shrink to a half; tables and silence more, hence the allowance."""
RATIO_ALLOWANCE_BYTES = 64 << 20

_BLOCK_BYTES = 1 << 20
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_DRIVE = re.compile(r"[A-Za-z]:")
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)

Place = Callable[[str], str | None]
Progress = Callable[[int, int], object]


@dataclass
class Unpacked:
    """What was unpacked into a folder, from one archive or several.

    Attributes
    ----------
    sizes : dict of str to int
        Path in the folder → bytes.
    left_out : list of str
        Members for which there was no place.
    there : frozenset of str
        Paths that need no unpacking: they are judged and listed, not written.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    there: frozenset[str] = frozenset()


def unpack(
    path: Path, folder: Path, unpacked: Unpacked, *, place: Place, max_bytes: int = 0, progress: Progress | None = None
) -> None:
    """Unpack an archive into a folder that nobody else writes to.

    Parameters
    ----------
    path : Path
        The archive.
    folder : Path
        Made where it is not there.
    unpacked : Unpacked
        Filled; what it lists from other archives may not come again.
    place : callable
        Member's path → path in the folder, or None to leave it out.
    max_bytes : int
        What the placed members may take; 0 for no limit but the free space.
    progress : callable, optional
        Called with the bytes unpacked and in all.

    Raises
    ------
    CorpusError
        The archive breaks a rule; some of its members may be unpacked then.
    NoSpaceError
        The disk does not hold the members.
    """
    with _opened(path) as archive:
        members = _members(path, archive, unpacked, place)
        total = sum(info.file_size for info, _ in members)
        if max_bytes and total > max_bytes:
            _refuse(path, f"announces {total:,} bytes, and may unpack to at most {max_bytes:,}")
        missing = [(info, target) for info, target in members if target not in unpacked.there]
        total = sum(info.file_size for info, _ in missing)
        require_space(folder, total)
        done = 0
        for info, target in missing:
            for n_bytes in _write(path, archive, info, folder / target):
                done += n_bytes
                if progress:
                    progress(done, total)
        unpacked.sizes |= {target: info.file_size for info, target in members}


def directory_checksum(path: Path) -> str:
    """Give a checksum of an archive's directory, as text: it changes with any member's name, size or CRC-32.

    Raises
    ------
    CorpusError
        The file cannot be read as a ZIP archive.
    """
    with _opened(path) as archive:
        rows = [f"{info.orig_filename}\t{info.file_size}\t{info.CRC}\n" for info in archive.infolist()]
    return hashlib.md5("".join(rows).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def announced_sizes(path: Path, *, place: Place) -> dict[str, int]:
    """Give the bytes of each file that an archive will be unpacked to, as its directory says.

    Raises
    ------
    CorpusError
        As for :func:`unpack`, as far as the directory tells.
    """
    with _opened(path) as archive:
        return {target: info.file_size for info, target in _members(path, archive, Unpacked(), place)}


class _Directory(io.BufferedReader):
    """A file of which no more than an honest directory is read in one go."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            message = f"its directory takes {size:,} bytes, and {MAX_DIRECTORY_BYTES:,} are the limit"
            raise zipfile.BadZipFile(message)
        return super().read(MAX_DIRECTORY_BYTES if size is None or size < 0 else size)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive, and turn whatever Python's reader says about it into one sentence."""
    try:
        with _Directory(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except EarmarkError:
        raise
    except _UNREADABLE as error:
        message = f"{path} cannot be read as a ZIP archive ({error}): download it anew"
        raise CorpusError(message) from error


def _refuse(path: Path, what: str) -> None:
    message = f"{path} {what}; it is damaged or made to harm: download it anew, from elsewhere"
    raise CorpusError(message)


def _members(
    path: Path, archive: zipfile.ZipFile, unpacked: Unpacked, place: Place
) -> list[tuple[zipfile.ZipInfo, str]]:
    """Judge the whole directory, and give the files to unpack with their places."""
    infos = archive.infolist()
    for info in infos:
        if rule := _broken_rule(info):
            _refuse(path, f"has the member {info.orig_filename!r}, which {rule}")
    _check_overlaps(path, archive, infos)
    _check_ratio(path, infos)
    files = [info for info in infos if not info.is_dir()]
    _check_clashes(path, [info.filename for info in files])
    members = [(info, target) for info in files if (target := place(info.filename)) is not None]
    unpacked.left_out += [info.filename for info in files if place(info.filename) is None]
    _check_clashes(path, [*unpacked.sizes, *(target for _, target in members)])
    if not members:
        _refuse(path, f"holds nothing of what belongs into it ({len(files):,} other files)")
    return members


def _broken_rule(info: zipfile.ZipInfo) -> str:
    """Say what is wrong with a member by itself; empty where nothing is."""
    mode = stat.S_IFMT(info.external_attr >> 16)
    for name in (info.orig_filename, info.filename):
        if rule := _broken_name_rule(name):
            return rule
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR) or (mode == stat.S_IFDIR) > info.is_dir():
        return "is a link or a special file"
    if info.is_dir() and info.file_size:
        return "is a folder with bytes of its own"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {info.compress_type} (stored and deflated are read)"
    return ""


def _broken_name_rule(name: str) -> str:
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or _DRIVE.match(name) or "\\" in name:
        return "is no relative path with slashes"
    if any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder or has empty parts"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "has control characters in its name"
    if any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        return "has a name of more than 255 bytes"
    return ""


def _check_overlaps(path: Path, archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> None:
    """Refuse members whose bytes are also another's: the way to pack a bomb whose members are each in proportion."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [info.header_offset for info in ordered[1:]] + [archive.start_dir]
    for info, end in zip(ordered, ends, strict=False):  # an empty archive has an end only
        if info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size > end:
            _refuse(path, f"has the member {info.orig_filename!r}, which overlaps what follows it")


def _check_ratio(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    packed, total = sum(info.compress_size for info in infos), sum(info.file_size for info in infos)
    if total > MAX_RATIO * packed + RATIO_ALLOWANCE_BYTES:
        _refuse(path, f"announces {total:,} bytes in {packed:,}, more than {MAX_RATIO} times as many")


def _check_clashes(path: Path, names: list[str]) -> None:
    """Refuse names that are the same file on some file system, and files that are another's folder."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            twice = f"{name!r} twice" if seen[key] == name else f"{seen[key]!r} and {name!r}, which are one name"
            _refuse(path, f"holds {twice}")
        seen[key] = name
    for key, name in seen.items():
        if any(key[: found.start()] in seen for found in re.finditer("/", key)):
            _refuse(path, f"holds {name!r}, whose folder is a file")


def _write(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> Iterator[int]:
    """Unpack one member into a file that is not there yet; yields the bytes of each block."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(info) as source, open(target, "xb") as out:
        while block := source.read(_BLOCK_BYTES):
            written += len(block)
            yield len(block)
            out.write(block)
    if written != info.file_size:
        what = f"{written:,} bytes, not {info.file_size:,} as announced"
        _refuse(path, f"has the member {info.orig_filename!r} of {what}")
