"""One writer a store."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shard_samples import make_rows, write

from cache import StoreLock, open_store
from cache.errors import InputError, LockedError

HOLDER = """
import sys
from cache import StoreLock
with StoreLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the store until its standard input ends."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", HOLDER, str(store)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_owner_is_named(tmp_path: Path) -> None:
    with (
        holder(tmp_path) as process,
        pytest.raises(LockedError, match=r": wait for it to end \(cli featurize --wait does\)$") as caught,
        StoreLock(tmp_path),
    ):
        pass
    told = str(caught.value)
    assert told.startswith(f"{tmp_path} is held by process {process.pid} on {socket.gethostname()} since 20")
    assert caught.value.exit_code == 5


def test_readers_need_no_lock(tmp_path: Path) -> None:
    write(tmp_path / "lh-1", make_rows(2))
    with holder(tmp_path):
        assert len(open_store(tmp_path / "lh-1")) == 2


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
        assert (tmp_path / ".lock.owner").exists()
        with StoreLock(tmp_path):
            assert json.loads((tmp_path / ".lock.owner").read_text())["pid"] == os.getpid()


def test_waiting_ends_when_the_owner_does(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert process.stdin is not None
        threading.Timer(0.2, process.stdin.close).start()
        with StoreLock(tmp_path, wait=True):
            assert process.wait(60) == 0


def test_who_holds_the_store_stands_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cli", "featurize", "my sounds"])
    store = tmp_path / "deep" / "features"
    with StoreLock(store) as lock:
        assert lock.store == store
        owner = json.loads((store / ".lock.owner").read_text())
        assert sorted(path.name for path in store.iterdir()) == [".lock", ".lock.owner"]
    assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
    assert owner["command"] == "cli featurize 'my sounds'"
    assert owner["since"].endswith("+00:00")
    assert not (store / ".lock.owner").exists()


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), StoreLock(tmp_path):
            raise KeyboardInterrupt
    assert not (tmp_path / ".lock.owner").exists()


def test_two_locks_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with StoreLock(tmp_path), pytest.raises(LockedError, match=f"process {os.getpid()}"), StoreLock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\udcff"])
def test_an_unreadable_owner_is_another_process(tmp_path: Path, text: str) -> None:
    with StoreLock(tmp_path):
        (tmp_path / ".lock.owner").write_text(text, errors="surrogateescape")
        with pytest.raises(LockedError, match="is held by another process: wait"), StoreLock(tmp_path):
            pass


def test_a_store_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written to \(File exists\)"), StoreLock(tmp_path / "file"):
        pass

    def read_only(*arguments: Any, **settings: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for step in ("cache.lock.FileLock.acquire", "cache.lock.os.replace"):
        with monkeypatch.context() as patch:
            lock = StoreLock(tmp_path)  # kept: a lock that is not referred to any more is free by itself
            patch.setattr(step, read_only)
            with pytest.raises(InputError, match=r"Read-only file system.: give another --store"), lock:
                pass
        with StoreLock(tmp_path):
            assert lock.store == tmp_path
