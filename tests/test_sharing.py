"""Shared arrays: small pickles, the same arrays in other processes, and nothing left behind."""

import errno
import gc
import multiprocessing
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cache.errors import NoSpaceError, NotFoundError
from cache.sharing import SharedArrays


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def files(spool: Path) -> list[Path]:
    return list(spool.glob("earmark-*"))


def make(n: int = 1000) -> SharedArrays:
    return SharedArrays({"rows": np.arange(n), "block": np.ones((3, 5), "<f2"), "none": np.empty((0, 4), np.uint8)})


def read(arrays: SharedArrays) -> tuple[int, float, tuple[int, ...]]:
    return int(arrays["rows"].sum()), float(arrays["block"].sum()), arrays["none"].shape


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_other_processes_read_the_same(spool: Path, method: str) -> None:
    arrays = make()
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read, [arrays] * 4) == [read(arrays)] * 4
    assert len(files(spool)) == 1


def test_a_pickle_is_small_and_its_file_goes_with_its_maker(spool: Path) -> None:
    arrays = make(10**6)
    data = pickle.dumps(arrays)
    assert len(data) < 300
    again = pickle.loads(data)
    assert pickle.dumps(again) == data == pickle.dumps(arrays)
    assert len(files(spool)) == 1
    del arrays
    gc.collect()
    assert files(spool) == []
    assert again["rows"][-1] == 999_999
    with pytest.raises(NotFoundError, match=r"which is gone: .*open the store anew"):
        pickle.loads(data)


def test_a_cleaner_of_temporary_files_does_no_harm(spool: Path) -> None:
    arrays = make()
    pickle.dumps(arrays)
    files(spool)[0].unlink()
    assert read(pickle.loads(pickle.dumps(arrays))) == read(arrays)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_that_pickles_first_leaves_nothing(spool: Path, method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        size = pool.apply(_pickle_here, (str(spool),))
        pool.close()
        pool.join()
    assert size < 300
    assert files(spool) == []


def _pickle_here(spool: str) -> int:
    tempfile.tempdir = spool
    return len(pickle.dumps(KEPT))


KEPT = make()


def test_a_full_disk_is_told_and_leaves_nothing(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cache.sharing.json.dumps", lambda _: type("Text", (), {"encode": fail})())
    with pytest.raises(NoSpaceError, match="make room, or set TMPDIR"):
        pickle.dumps(make())
    assert files(spool) == []


def test_nothing_is_written_without_need(spool: Path) -> None:
    arrays = make()
    assert sorted(arrays) == ["block", "none", "rows"]
    assert files(spool) == []
    for array in (arrays["rows"], pickle.loads(pickle.dumps(arrays))["rows"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_forked_child_leaves_the_file_to_its_maker(spool: Path) -> None:
    held = [make()]
    pickle.dumps(held[0])
    child = multiprocessing.get_context("fork").Process(target=held.clear)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert len(files(spool)) == 1
    held.clear()
    assert files(spool) == []


def test_a_process_that_ends_removes_its_file(spool: Path) -> None:
    code = (
        "import pickle, tempfile, sys, numpy; tempfile.tempdir = sys.argv[1]\n"
        "from cache.sharing import SharedArrays\n"
        "arrays = SharedArrays({'a': numpy.zeros(3)}); pickle.dumps(arrays)\n"
        "import os; print(len(os.listdir(sys.argv[1])))\n"
    )
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code, spool], cwd=root, check=True, capture_output=True, text=True)
    assert out.stdout == "1\n"
    assert files(spool) == []
