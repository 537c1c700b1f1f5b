"""One writer a store.

Conventions
-----------
The lock is the operating system's, on ``<store>/.lock``: that of a process that died is free by itself. Who holds it
stands as JSON in ``<store>/.lock.owner``, for people to read, with what it is at: a run that died of its work tells the
next one so. It decides nothing else. Readers never lock. Who holds the lock clears away what killed runs left behind,
on entering and on leaving: an orphaned worker may have written between.
"""

import contextlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from cache.errors import InputError, LockedError, NoSpaceError
from cache.space import NO_SPACE_ERRNOS
from cache.writer import find_leftovers, make_folder, remove_leftovers

_FOREVER = -1.0


class StoreLock:
    """The right to write to a store, for the length of a ``with`` block.

    Parameters
    ----------
    store : path
        The store, which holds the modes' folders; made where it is not there.
    wait : bool, keyword-only
        Wait for another run to end, instead of raising an error.
    on_wait : callable, optional
        Called with one sentence, where there is a run to wait for.

    Raises
    ------
    LockedError
        On entering: another process holds the lock; it is named.
    InputError
        On entering: the store cannot be written to.
    NoSpaceError
        On entering: the disk is full.
    """

    def __init__(
        self, store: str | os.PathLike[str], *, wait: bool = False, on_wait: Callable[[str], object] | None = None
    ) -> None:
        self.store = Path(store)
        self._owner_path = self.store / ".lock.owner"
        self._wait = wait
        self._on_wait = on_wait
        # Not bound to a thread, so that a progress thread's end may release it.
        self._lock = FileLock(self.store / ".lock", thread_local=False)
        self._left: frozenset[str] = frozenset()
        self._since = ""

    @property
    def left(self) -> frozenset[str]:
        """What the last owner had noted by :meth:`note`, if it was killed; empty where it ended."""
        return self._left

    def note(self, names: Iterable[str]) -> None:
        """Write down what the owner is at, for the next one to know if this one is killed.

        Parameters
        ----------
        names : iterable of str
            They take the place of those noted before.
        """
        self._write_owner(sorted(names))

    def __enter__(self) -> Self:
        try:
            make_folder(self.store)
            self._acquire()
            self._begin()
        except Timeout as error:
            msg = f"{self.store} is held by {self._owner()}: wait for it to end (cli featurize --wait does)"
            raise LockedError(msg) from error
        except OSError as error:
            if error.errno in NO_SPACE_ERRNOS:
                msg = f"no space left in {self.store} ({error.strerror}): make room and run again"
                raise NoSpaceError(msg) from error
            msg = f"{self.store} cannot be written to ({error.strerror}): give another --store, or make it writable"
            raise InputError(msg) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._clear()
            self._owner_path.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            if not self._wait:
                raise
            if self._on_wait:
                self._on_wait(f"{self.store} is held by {self._owner()}: waiting for it to end")
            self._lock.acquire(timeout=_FOREVER)

    def _begin(self) -> None:
        try:
            self._clear()
            self._left = self._read_left()
            self._since = datetime.now(UTC).isoformat(timespec="seconds")
            self._write_owner([])
        except BaseException:
            self._lock.release()
            raise

    def _clear(self) -> None:
        remove_leftovers(self.store)
        for path in self.store.glob(f"{self._owner_path.name}.*"):
            path.unlink(missing_ok=True)

    def _read_left(self) -> frozenset[str]:
        try:
            return frozenset(map(str, json.loads(self._owner_path.read_text(encoding="utf-8"))["at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()

    def _write_owner(self, at: list[str]) -> None:
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": self._since,
            "command": shlex.join(sys.argv),
            "at": at,
        }
        temp = self._owner_path.with_name(f"{self._owner_path.name}.{os.getpid()}")
        try:
            temp.write_text(json.dumps(owner), encoding="utf-8")
            os.replace(temp, self._owner_path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise

    def _owner(self) -> str:
        try:
            owner = json.loads(self._owner_path.read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']} since {owner['since']} ({owner['command']})"
        except (OSError, ValueError, KeyError, TypeError):
            # The owner has just taken the lock, or has just been killed while a child of it lives on.
            return "another process"


def tidy(store: str | os.PathLike[str]) -> None:
    """Clear away what killed runs left in a store, unless a run holds it or it cannot be written to.

    Parameters
    ----------
    store : path
        Need not exist; where nothing is left behind, it is not locked.
    """
    if find_leftovers(store) or any(Path(store).glob(".lock.owner*")):
        with contextlib.suppress(LockedError, InputError, NoSpaceError), StoreLock(store):
            pass
