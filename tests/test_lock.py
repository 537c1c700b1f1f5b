"""One writer a store."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shard_samples import make_rows, write

from cache import StoreLock, open_store, tidy, verify_store
from cache.errors import InputError, LockedError, NoSpaceError

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


@contextmanager
def read_only(folder: Path, view: Path) -> Iterator[Path]:
    """Show a folder in a place where nothing can be written."""
    view.mkdir()
    if os.getuid():
        view = folder
        for path in (folder, *folder.glob("*/")):
            path.chmod(0o555)
    else:  # permissions do not bind root
        mount = ["mount", "--bind", "-o", "ro", str(folder), str(view)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        with pytest.raises(OSError, match=r"Read-only file system|Permission denied"):
            (view / "new").touch()
        yield view
    finally:
        if os.getuid():
            for path in (folder, *folder.glob("*/")):
                path.chmod(0o755)
        else:
            subprocess.run(["umount", "--lazy", str(view)], check=True)


READER = """
import sys
from cache import open_store, verify_store
assert verify_store(sys.argv[1]).ok
print(*(len(frames) for frames in open_store(sys.argv[1] + "/lh-1")))
"""


@pytest.mark.parametrize("locking", ["TRUE", "FALSE", "BEST_EFFORT"])
def test_readers_need_neither_lock_nor_leave_to_write(tmp_path: Path, locking: str) -> None:
    store = tmp_path / "store"
    write(store / "lh-1", make_rows(2))
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "HDF5_USE_FILE_LOCKING": locking,
    }
    with holder(store), read_only(store, tmp_path / "view") as view:
        command = [sys.executable, "-c", READER, str(view)]
        read = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (read.stdout, read.stderr) == ("3 4\n", "")
        assert len(open_store(view / "lh-1")) == 2
        assert verify_store(view).ok


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
        told: list[str] = []
        with StoreLock(tmp_path, wait=True, on_wait=told.append):
            assert process.wait(60) == 0
        assert len(told) == 1
        assert f"is held by process {process.pid} on" in told[0]
        assert told[0].endswith(": waiting for it to end")
        with StoreLock(tmp_path, wait=True, on_wait=told.append):
            assert len(told) == 1


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


STEPS = ["cache.lock.FileLock.acquire", "cache.lock.remove_leftovers", "cache.lock.os.replace"]


def fails_with(number: int) -> Callable[..., None]:
    def fail(*arguments: Any, **settings: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_store_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written to \(File exists\)"), StoreLock(tmp_path / "file"):
        pass

    for step in STEPS:
        with monkeypatch.context() as patch:
            lock = StoreLock(tmp_path)  # kept: a lock that is not referred to any more is free by itself
            patch.setattr(step, fails_with(errno.EROFS))
            with pytest.raises(InputError, match=r"Read-only file system.: give another --store"), lock:
                pass
        with StoreLock(tmp_path):
            assert lock.store == tmp_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
    lock = StoreLock(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(step, fails_with(number))
        with pytest.raises(NoSpaceError, match=r"no space left in .*: make room and run again") as caught, lock:
            pass
    assert caught.value.exit_code == 6
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}
    with StoreLock(tmp_path):
        assert lock.store == tmp_path


# ------------------------------------------------------------------ what killed runs left behind


def leave_behind(store: Path) -> list[Path]:
    """What runs over several modes leave that are killed in the worst of moments."""
    places = ["lh-1/.shard-0000-00.h5.1-2.part", "x-1/.shard-0000-00.h5.3-4.part", ".lock.owner", ".lock.owner.123"]
    for place in places:
        (store / place).parent.mkdir(parents=True, exist_ok=True)
        (store / place).write_text("half")
    return [store / place for place in places]


def test_who_takes_the_lock_clears_away_what_was_left(tmp_path: Path) -> None:
    left = leave_behind(tmp_path)
    shard = write(tmp_path / "lh-1", make_rows(1)).path
    with StoreLock(tmp_path):
        assert [path for path in left if path.exists()] == [tmp_path / ".lock.owner"]
        leave_behind(tmp_path)  # an orphan may go on for a moment
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [tmp_path / ".lock", shard]


def test_the_lock_is_free_even_where_clearing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = StoreLock(tmp_path)
    with pytest.raises(OSError, match="Input/output error"), lock:
        monkeypatch.setattr("cache.lock.remove_leftovers", fails_with(errno.EIO))
    monkeypatch.undo()
    with StoreLock(tmp_path):
        assert lock.store == tmp_path


@pytest.mark.parametrize("number", range(4))
def test_tidying_clears_away_whatever_was_left(tmp_path: Path, number: int) -> None:
    left = leave_behind(tmp_path)
    for path in left[:number] + left[number + 1 :]:
        path.unlink()
    tidy(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_a_tidy_store_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lh-1", make_rows(1))
    monkeypatch.setattr(StoreLock, "__enter__", lambda _: pytest.fail("the store was locked"))
    tidy(tmp_path)
    tidy(tmp_path / "nowhere")
    assert not (tmp_path / ".lock").exists()


def test_a_held_store_is_not_tidied(tmp_path: Path) -> None:
    with StoreLock(tmp_path):
        left = leave_behind(tmp_path)
        tidy(tmp_path)
        assert all(path.exists() for path in left)


def test_a_store_that_cannot_be_written_to_is_not_tidied(tmp_path: Path) -> None:
    left = leave_behind(tmp_path / "store")
    with read_only(tmp_path / "store", tmp_path / "view") as view:
        tidy(view)
    assert all(path.exists() for path in left)
