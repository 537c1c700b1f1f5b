"""A disk that is full, or fills up: exit status 6, one sentence, whole shards, and a next run that goes on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from sounds import clip_table, noise, write_sound

from cache import StoreLock, free_space, verify_store
from cache.errors import NoSpaceError
from featurize.batch import Featurizer
from featurize.modes import LH, X

BOTH = (LH, X)
LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
import cli
cli.main()
"""
# As where others write to the disk too, after the estimate.
UNESTIMATED = """
import featurize.batch
featurize.batch.require_space = lambda store, n_bytes: None
import cli
cli.main()
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of short clips, then one of clips that are longer than a window of X."""
    folder = tmp_path_factory.mktemp("corpus") / "noise"
    for number in range(48):
        n_samples = 56_000 if number >= 32 else 2_000
        write_sound(folder / f"{number:02}.wav", noise(n_samples, seed=number), 8_000)
    return folder.parent


@pytest.fixture(scope="module")
def clips(corpus: Path) -> pd.DataFrame:
    table = clip_table(sorted(corpus.glob("noise/*.wav")))
    return table.assign(fname="noise/" + table["fname"])


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(clips: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("undisturbed")
    Featurizer(store, BOTH).run(clips)
    assert len(contents(store)) == 7  # three shards of each mode, and the lock
    return contents(store)


def featurize(
    code: str, corpus: Path, store: Path, *, jobs: int, mode: str = "all"
) -> subprocess.CompletedProcess[str]:
    options = ["--store", str(store), "--jobs", str(jobs), "--mode", mode]
    command = [sys.executable, "-c", code, "featurize", str(corpus), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def check_full(ended: subprocess.CompletedProcess[str], store: Path, undisturbed: dict[str, bytes]) -> None:
    """The run ended as it should, and left some whole shards and nothing else."""
    assert ended.returncode == 6, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "no space left for a shard in" in ended.stderr
    assert verify_store(store).ok
    found = contents(store)
    assert 1 < len(found) < len(undisturbed)
    assert found.items() <= undisturbed.items()


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_may_not_grow_beyond_a_limit(
    corpus: Path, clips: pd.DataFrame, tmp_path: Path, undisturbed: dict[str, bytes], jobs: int
) -> None:
    """The shards of X are below the limit, but for the last one."""
    check_full(featurize(LIMITED, corpus, tmp_path, jobs=jobs, mode="x"), tmp_path, undisturbed)
    Featurizer(tmp_path, BOTH).run(clips)
    assert contents(tmp_path) == undisturbed


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a disk in memory."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "size=6m") as folder:
        yield folder


def test_small_disks_in_a_namespace() -> None:
    """Who is not root may be it in a namespace of their own, and mount there."""
    if os.getuid() == 0:
        pytest.skip("root mounts the small disks of the other tests itself")
    inside = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "not limit and not namespace",
        __file__,
    ]
    unshare = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not allowed here")
    ended = subprocess.run([*unshare, *inside], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def fill(disk: Path, *, leave: int) -> Path:
    """Write a file that leaves so many bytes free."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(free_space(disk) - leave))
    assert free_space(disk) <= leave
    return ballast


def test_a_disk_that_fills_up(corpus: Path, clips: pd.DataFrame, disk: Path, undisturbed: dict[str, bytes]) -> None:
    store = disk / "store"
    ballast = fill(disk, leave=2_400_000)
    check_full(featurize(UNESTIMATED, corpus, store, jobs=2), store, undisturbed)
    sealed = contents(store)
    with pytest.raises(NoSpaceError, match="MB are free: make room"):
        Featurizer(store, BOTH).run(clips)
    assert contents(store) == sealed
    ballast.unlink()
    Featurizer(store, BOTH).run(clips)
    assert contents(store) == undisturbed


def test_the_estimate_refuses_before_anything_is_written(corpus: Path, disk: Path) -> None:
    fill(disk, leave=160_000)
    ended = featurize("import cli; cli.main()", corpus, disk / "store", jobs=2)
    assert (ended.returncode, ended.stdout) == (6, "")
    assert ended.stderr.count("\n") == 1
    assert "store needs 4.1 MB, but only 0.2 MB are free: make room" in ended.stderr
    assert [path.name for path in (disk / "store").rglob("*")] == [".lock"]


def test_the_estimate_is_enough(clips: pd.DataFrame, disk: Path, undisturbed: dict[str, bytes]) -> None:
    blocks = -(-Featurizer(disk / "store", BOTH).plan(clips).n_bytes // 4096)
    fill(disk, leave=(blocks + 1) * 4096)  # one for the owner's file
    Featurizer(disk / "store", BOTH).run(clips)
    assert contents(disk / "store") == undisturbed


def test_a_disk_without_room_for_the_owner(clips: pd.DataFrame, disk: Path) -> None:
    fill(disk, leave=0)
    with pytest.raises(
        NoSpaceError, match=r"no space left in .*store \(No space left on device\): make room"
    ) as caught:
        Featurizer(disk / "store", BOTH).run(clips)
    assert caught.value.exit_code == 6
    assert [path.name for path in (disk / "store").rglob("*")] == [".lock"]


@pytest.mark.parametrize("n_inodes", [1, 2])
def test_a_disk_without_room_for_the_store_or_its_lock(clips: pd.DataFrame, tmp_path: Path, n_inodes: int) -> None:
    with small_disk(tmp_path, f"nr_inodes={n_inodes}") as disk:
        with pytest.raises(NoSpaceError, match=r"no space left in .*store"):
            Featurizer(disk / "store", BOTH).run(clips)
        assert len(list(disk.rglob("*"))) == n_inodes - 1


def test_what_a_killed_run_left_on_a_full_disk_is_cleared_away(
    clips: pd.DataFrame, disk: Path, undisturbed: dict[str, bytes]
) -> None:
    store = disk / "store"
    with StoreLock(store):
        pass
    (store / X.folder).mkdir()
    fill(disk, leave=0).rename(store / X.folder / ".shard-0000-0123456789abcdef.h5.1-2.part")
    Featurizer(store, BOTH).run(clips)
    assert contents(store) == undisturbed
