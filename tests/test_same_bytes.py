"""The bytes of a store depend on the clips alone: not on workers, on how they are started, or on who ends first."""

import multiprocessing
import random
from pathlib import Path

import pandas as pd
import pytest
from sounds import clip_table, noise, sine, write_sound

from featurize.batch import Featurizer
from featurize.modes import LH, X
from featurize.shards import ShardTask, make_shard

BOTH = (LH, X)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Clips that make five shards of each mode; two are broken."""
    folder = tmp_path_factory.mktemp("audio")
    paths = [write_sound(folder / f"{i:02}.wav", noise(50 + 90 * i, seed=i)) for i in range(50)]
    paths += [write_sound(folder / f"{i:02}.wav", sine(9_000 - 90 * i, 50 * i)) for i in range(50, 80)]
    paths[17].write_bytes(b"")
    paths[63].write_bytes(b"no sound")
    return clip_table(paths)


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("*/*")}


@pytest.fixture(scope="module")
def undisturbed(clips: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("undisturbed")
    Featurizer(store, BOTH, jobs=1).run(clips)
    found = contents(store)
    assert len(found) == 10
    return found


@pytest.mark.parametrize("jobs", [2, 4])
def test_any_number_of_workers(clips: pd.DataFrame, tmp_path: Path, undisturbed: dict[str, bytes], jobs: int) -> None:
    Featurizer(tmp_path, BOTH, jobs=jobs).run(clips)
    assert contents(tmp_path) == undisturbed


def test_any_order_of_the_clips_and_modes(clips: pd.DataFrame, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    Featurizer(tmp_path, [X]).run(clips[::-1].reset_index(drop=True))
    Featurizer(tmp_path, [LH]).run(clips.sample(frac=1, random_state=1))
    assert contents(tmp_path) == undisturbed


@pytest.fixture
def tasks(clips: pd.DataFrame, tmp_path: Path) -> list[ShardTask]:
    """The tasks of a run, in an order of their own for each test."""
    tasks = Featurizer(tmp_path, BOTH).plan(clips).tasks
    random.Random(tmp_path.name).shuffle(tasks)
    assert len(tasks) == 5
    return tasks


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_any_start_method_and_order(
    tasks: list[ShardTask], tmp_path: Path, undisturbed: dict[str, bytes], method: str
) -> None:
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["featurize.shards"])
    with context.Pool(2) as pool:
        assert len(list(pool.imap_unordered(make_shard, tasks))) == 5
    assert contents(tmp_path) == undisturbed


def test_any_order_of_the_tasks(tasks: list[ShardTask], tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    for task in reversed(tasks):
        make_shard(task)
    assert contents(tmp_path) == undisturbed
