"""The threads that bring a corpus's archives, one archive a thread at a time, and what they tell their caller.

An archive's way: download → MD5 → unpacking into a hidden folder → stamp → its place. The first error stops the others;
what they have downloaded stays.
"""

import hashlib
import os
import queue
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CorpusError, DownloadError, EarmarkError, NoSpaceError
from cache.space import NO_SPACE_ERRNOS
from corpus.archives import Archive
from corpus.download import Download, Patience
from corpus.rows import named
from corpus.stamps import Stamp, files_there, put_in_place, read_stamp, write_stamp
from corpus.unzip import Unpacked, announced_sizes, directory_checksum, unpack

Progress = Callable[[str, int, int], object]
Say = Callable[[str], object]

_HASH_BLOCK_BYTES = 1 << 20
_TICK_SECONDS = 0.1
_GOODBYE_SECONDS = 2.0
_INNER_GROWTH = 1.5  # what an archive in the archive unpacks to, beside itself


@dataclass(frozen=True)
class Fetched:
    """What became of one archive.

    Attributes
    ----------
    name : str
        The archive.
    action : str
        ``kept`` (all its files were there), ``unpacked`` (the archive was at hand) or ``downloaded`` (and unpacked).
    files : int
        How many it brought.
    unpacked_bytes : int
        What they take.
    downloaded_bytes : int
        Of this call, without what an earlier one had brought; what came twice counts twice.
    """

    name: str
    action: str
    files: int
    unpacked_bytes: int
    downloaded_bytes: int = 0


def checksum_of(path: Path) -> str:
    """Give a checksum of a file that has no published one: of a table's bytes, or of an archive's directory."""
    if path.suffix == ".csv":
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return directory_checksum(path)


class _Stopped(Exception):
    """Another thread failed, or the user interrupts."""


class Crew:
    """The threads of one call.

    Parameters
    ----------
    root, work : Path
        The corpus's folder, and the one in it for what is not the corpus.
    at_hand : mapping of Archive to Path
        Archives that need no download.
    mirror : str or None
        Where the others are, if not at Zenodo.
    keep_archives : bool
        Move what was downloaded into `root` once it is unpacked, instead of removing it.
    patience : Patience
        With the server.
    """

    def __init__(
        self,
        root: Path,
        work: Path,
        *,
        at_hand: Mapping[Archive, Path],
        mirror: str | None,
        keep_archives: bool,
        patience: Patience,
    ) -> None:
        self._root = root
        self._work = work
        self._at_hand = at_hand
        self._mirror = mirror
        self._keep_archives = keep_archives
        self._patience = patience
        self._stop = threading.Event()
        self._todo: queue.SimpleQueue[Archive] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._remarks: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors: list[BaseException] = []
        self._fetched: dict[Archive, Fetched] = {}
        self._stages: dict[str, tuple[int, int]] = {}
        self._arrived: dict[Archive, tuple[int, int]] = {}

    def needed_bytes(self, archive: Archive) -> int:
        """Give the space that an archive takes at most, beyond what is taken already.

        Raises
        ------
        CorpusError
            An archive at hand cannot be read, or breaks a rule.
        """
        path = self._at_hand.get(archive)
        if archive.unpacked_bytes:
            packed = max(0, archive.about_bytes - self._have(archive)) if path is None else 0
            return packed + archive.unpacked_bytes - self._bytes_there(archive)
        if path is None:
            return 0
        if path.suffix == ".csv":
            return path.stat().st_size
        inner = {member.name for member in archive.inner}
        sizes = announced_sizes(path, place=lambda name: name if name in inner else archive.place(name))
        nested = sum(size for name, size in sizes.items() if name in inner)
        return sum(sizes.values()) + round(_INNER_GROWTH * nested)

    def _bytes_there(self, archive: Archive) -> int:
        stamp = read_stamp(self._root, archive)
        return sum(stamp.sizes[name] for name in files_there(self._root, stamp)) if stamp else 0

    def run(
        self, todo: Sequence[Archive], *, jobs: int, progress: Progress | None, say: Say | None
    ) -> dict[Archive, Fetched]:
        """Bring the archives.

        Parameters
        ----------
        todo : sequence of Archive
        jobs : int
            Threads.
        progress, say : callable or None
            As for :func:`corpus.fetch.fetch_corpus`; called in this thread.

        Returns
        -------
        dict of Archive to Fetched

        Raises
        ------
        EarmarkError, OSError
            The first error of any thread.
        """
        for archive in todo:
            self._todo.put(archive)
            if archive not in self._at_hand:
                self._arrived[archive] = (self._have(archive), archive.about_bytes)
        # Daemons: one that waits for a silent server does not keep the program from ending. What it leaves can be
        # resumed at any byte.
        threads = [threading.Thread(target=self._fetch_all, daemon=True) for _ in range(min(jobs, len(todo)))]
        try:
            self._attend(threads, progress, say)
        finally:
            self._stop.set()
            for thread in threads:
                if thread.is_alive():  # an interrupt may come before all are started
                    thread.join(_GOODBYE_SECONDS / len(threads))
        if self._errors:
            raise self._errors[0]
        return self._fetched

    def _attend(self, threads: list[threading.Thread], progress: Progress | None, say: Say | None) -> None:
        """Start the threads, and pass on what they have to tell until they end or one fails."""
        self._tell(progress, say)
        for thread in threads:
            thread.start()
        working = len(threads)
        while working and not self._errors:
            with suppress(queue.Empty):
                self._ended.get(timeout=_TICK_SECONDS)
                working -= 1
            self._tell(progress, say)

    def _tell(self, progress: Progress | None, say: Say | None) -> None:
        with suppress(queue.Empty):
            while say:
                say(self._remarks.get_nowait())
        if progress is None:
            return
        arrived = list(self._arrived.values())
        if arrived:
            progress("download", sum(done for done, _ in arrived), sum(total for _, total in arrived))
        for stage, (done, total) in list(self._stages.items()):
            progress(stage, done, total)
            if done >= total:
                del self._stages[stage]

    def _fetch_all(self) -> None:
        try:
            while True:
                archive = self._todo.get_nowait()
                self._check_stop()
                self._fetched[archive] = self._fetch(archive)
        except (queue.Empty, _Stopped):
            pass
        except BaseException as error:
            self._errors.append(self._as_named(error))
            self._stop.set()
        finally:
            self._ended.put(None)

    def _as_named(self, error: BaseException) -> BaseException:
        if not isinstance(error, OSError) or isinstance(error, EarmarkError) or error.errno not in NO_SPACE_ERRNOS:
            return error
        message = (
            f"no space left in {self._root} ({error.strerror}): make room and run again; what was downloaded stays"
        )
        return NoSpaceError(message)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self._check_stop()

    def _reporter(self, stage: str) -> Callable[[int, int], None]:
        """Give a callback of a stage, which ends this thread's work where it has to stop."""

        def report(done: int, total: int) -> None:
            self._check_stop()
            self._stages[stage] = (done, total)

        return report

    def _fetch(self, archive: Archive) -> Fetched:
        path, n_bytes = self._at_hand.get(archive), 0
        if path is None:
            path, n_bytes = self._download(archive)
        elif archive.md5 and (found := self._md5(archive, path)) != archive.md5:
            message = f"{path} has the MD5 {found}, not {archive.md5} as published: it is not whole; download it anew"
            raise CorpusError(message)
        stamp = self._unpack(archive, path)
        if path.parent == self._work:
            if self._keep_archives:
                os.replace(path, self._root / archive.name)
            else:
                path.unlink()
        action = "unpacked" if archive in self._at_hand else "downloaded"
        return Fetched(archive.name, action, len(stamp.sizes), sum(stamp.sizes.values()), n_bytes)

    # --- downloads ---------------------------------------------------------------------------------------------------

    def _part(self, archive: Archive) -> Path:
        return self._work / f"{archive.name}.part"

    def _have(self, archive: Archive) -> int:
        """Give the bytes that an earlier call has brought."""
        places = (self._part(archive), self._work / archive.name)
        return sum(path.stat().st_size for path in places if path.exists())

    def _download(self, archive: Archive) -> tuple[Path, int]:
        """Bring an archive with the right MD5; gives the file and the bytes that came for it.

        What has another MD5 is fetched once more: bytes change on their way.
        """
        path, came, url = self._work / archive.name, 0, archive.url(self._mirror)
        for _ in range(2):
            if not path.exists():
                came += self._download_once(archive, path, url)
            found = self._md5(archive, path)
            if found == archive.md5:
                return path, came
            path.unlink()
            self._arrived[archive] = (0, archive.about_bytes)
            self._remarks.put(f"{archive.name} came with the MD5 {found}, not {archive.md5} as published: deleted")
        message = f"{url} has the MD5 {found}, not {archive.md5} as published: run later, or give another --url"
        raise DownloadError(message)

    def _download_once(self, archive: Archive, path: Path, url: str) -> int:
        came, last = 0, self._have(archive)

        def report(done: int, total: int | None) -> None:
            nonlocal came, last
            self._check_stop()
            came, last = came + (done - last if done > last else done), done
            self._arrived[archive] = (done, total or max(done, archive.about_bytes))

        download = Download(
            url,
            self._part(archive),
            max_bytes=archive.max_bytes,
            patience=self._patience,
            progress=report,
            wait=self._sleep,
            say=self._remarks.put,
        )
        download.run()
        os.replace(download.part, path)
        download.remove()
        self._arrived[archive] = (last, last)
        return came

    def _md5(self, archive: Archive, path: Path) -> str:
        """Give the MD5 of a file, in hexadecimal: made anew, as what counts is what the disk holds."""
        checksum, done = hashlib.md5(usedforsecurity=False), 0
        report = self._reporter(f"check {archive.short_name}")
        with path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            while block := file.read(_HASH_BLOCK_BYTES):
                checksum.update(block)
                done += len(block)
                report(done, total)
        return checksum.hexdigest()

    # --- unpacking ---------------------------------------------------------------------------------------------------

    def _unpack(self, archive: Archive, path: Path) -> Stamp:
        """Unpack an archive, or copy a table, and give what came of it its place."""
        staging = self._work / f"{archive.name}.unpacking"
        staging.mkdir()
        checksum, stamp = archive.md5 or checksum_of(path), read_stamp(self._root, archive)
        there = files_there(self._root, stamp) if stamp and stamp.checksum == checksum else frozenset()
        unpacked = Unpacked(there=there)
        try:
            self._unpack_all(archive, path, staging, unpacked)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        if unpacked.left_out:
            self._remarks.put(f"{archive.name}: left out, as no part of the corpus: {named(unpacked.left_out)}")
        stamp = Stamp(checksum, unpacked.sizes)
        write_stamp(self._root, archive, stamp)
        os.sync()  # once for all: ten thousand files one by one take a disk minutes
        for name in put_in_place(staging, self._root):
            self._remarks.put(f"{name} had another size: it is {name}.old now")
        return stamp

    def _unpack_all(self, archive: Archive, path: Path, staging: Path, unpacked: Unpacked) -> None:
        if path.suffix == ".csv":
            shutil.copyfile(path, staging / archive.name)
            unpacked.sizes[archive.name] = path.stat().st_size
            return
        inner = {member.name: member for member in archive.inner}
        unpack(
            path,
            staging,
            unpacked,
            place=lambda name: name if name in inner else archive.place(name),
            max_bytes=archive.unpacked_bytes,
            progress=self._reporter(f"unpack {archive.short_name}"),
        )
        for name, member in inner.items():
            if unpacked.sizes.pop(name, None) is not None:
                report = self._reporter(f"unpack {member.short_name}")
                unpack(staging / name, staging, unpacked, place=member.place, progress=report)
                (staging / name).unlink()
