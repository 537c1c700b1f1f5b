import dataclasses
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from stores import HEAD, QUICK, jobs_of

from cache.errors import LockedError
from train import loop
from train.hold import hold_folder
from train.loop import train_fold

HOLDER = """
import sys, time
from pathlib import Path
from train.hold import hold_folder
with hold_folder(Path(sys.argv[1]), held_by="a test holds"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "best"
    with hold_folder(folder, held_by="somebody trains"):
        with (
            pytest.raises(LockedError, match=rf"^somebody trains {folder}: wait for it to end, or give another --run"),
            hold_folder(folder, held_by="somebody trains"),
        ):
            pass
        assert list(folder.iterdir()) == []
    with hold_folder(folder, held_by="somebody trains"):
        pass


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_folder(tmp_path, held_by="x"):
        raise KeyError
    with hold_folder(tmp_path, held_by="x"):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockedError), hold_folder(tmp_path, held_by="x"):
            pass
        threading.Timer(0.5, process.kill).start()
        with hold_folder(tmp_path, held_by="x", patience_seconds=60):
            assert process.wait() != 0


def test_patience_ends(tmp_path: Path) -> None:
    with hold_folder(tmp_path, held_by="x"):
        begun = time.monotonic()
        with pytest.raises(LockedError), hold_folder(tmp_path, held_by="x", patience_seconds=0.3):
            pass
        assert time.monotonic() - begun >= 0.3


def test_a_fold_is_trained_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_ORPHAN_SECONDS", 0.2)
    first, second = jobs_of(tmp_path, mode=HEAD, recipe=dataclasses.replace(QUICK, epochs=1), folds=[0, 1])
    with hold_folder(first.folder, held_by="x"):
        with pytest.raises(LockedError, match=f"^another process trains {first.folder}: wait"):
            train_fold(first)
        assert list(first.folder.iterdir()) == []
        train_fold(second)  # another machine may train another fold of the run
    train_fold(first)
