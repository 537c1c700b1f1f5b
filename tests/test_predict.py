from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from stores import CLASSES, HEAD, LONG, T, frames_of, save_fold, write_store

from cache import StoreReader
from featurize.modes import FeatureMode
from infer.ensemble import geometric_mean
from infer.predict import predict_clips
from infer.runs import load_run
from train.checkpoint import Checkpoint
from train.device import Engine

ENGINE = Engine(torch.device("cpu"), bfloat16=False)
PRIOR = [0.5, 0.2, 0.3]
NAMES = ("d.wav", "a.wav", "c.wav", "b.wav")


def store(folder: Path, names: tuple[str, ...], mode: FeatureMode) -> StoreReader:
    frames = {
        name: frames_of(name, CLASSES[i % 3], T if mode.head_only else T + 200 * (i % 2))
        for i, name in enumerate(NAMES)
        if name in names
    }
    return write_store(folder, mode, {name: frames[name] for name in names})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Checkpoint]]:
    runs = tmp_path_factory.mktemp("runs")
    for fold in (0, 1):
        save_fold(runs, fold=fold, prior=PRIOR)
    save_fold(runs, mode=LONG, fold=2, prior=PRIOR)
    return load_run(runs / "quick")


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoreReader]:
    folder = tmp_path_factory.mktemp("store")
    return {mode.name: store(folder, NAMES, mode) for mode in (HEAD, LONG)}


def values(table: pd.DataFrame) -> np.ndarray:
    return table[list(CLASSES)].to_numpy()


def test_a_table_of_probabilities_in_the_order_asked_for(run, readers) -> None:
    table = predict_clips(NAMES, readers, run, ENGINE)
    assert table.columns.tolist() == ["fname", *CLASSES]
    assert table["fname"].tolist() == list(NAMES)
    assert values(table).sum(axis=1) == pytest.approx(1)
    backwards = predict_clips(NAMES[::-1], readers, run, ENGINE)
    assert backwards["fname"].tolist() == list(NAMES[::-1])
    assert values(backwards)[::-1] == pytest.approx(values(table), abs=1e-6)


def test_folds_are_joined_first_and_modes_weigh_alike(run, readers) -> None:
    def alone(mode: str, number: int) -> np.ndarray:
        return np.log(values(predict_clips(NAMES, readers, {mode: [run[mode][number]]}, ENGINE)))

    head = geometric_mean([alone("head", 0), alone("head", 1)])
    expected = np.exp(geometric_mean([head, alone("long", 0)]))
    assert values(predict_clips(NAMES, readers, run, ENGINE)) == pytest.approx(expected, abs=1e-6)


def test_a_fold_that_was_trained_without_a_class_has_no_say_in_it(readers, tmp_path: Path) -> None:
    for mode in (HEAD, LONG):
        save_fold(tmp_path, mode=mode, fold=0)
        save_fold(tmp_path, mode=mode, fold=1, unseen_classes=["Flute"])
    run = load_run(tmp_path / "quick")
    one, two = (np.log(values(predict_clips(NAMES, readers, {"head": [each]}, ENGINE))) for each in run["head"])
    expected = np.exp([(one + two)[:, 0] / 2, one[:, 1], (one + two)[:, 2] / 2]).T
    assert abs(one - two)[:, 1].max() > 0.01
    found = values(predict_clips(NAMES, readers, {"head": run["head"]}, ENGINE))
    assert found == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-6)


def test_readers_in_other_orders_change_nothing(run, readers, tmp_path: Path) -> None:
    mixed = {
        "head": store(tmp_path, ("a.wav", "b.wav", "c.wav", "d.wav"), HEAD),
        "long": store(tmp_path, ("c.wav", "d.wav", "b.wav", "a.wav"), LONG),
    }
    expected = predict_clips(NAMES, readers, run, ENGINE)
    assert values(predict_clips(NAMES, mixed, run, ENGINE)) == pytest.approx(values(expected), abs=1e-6)


def test_a_clip_without_frames_gets_the_prior(run, readers) -> None:
    table = predict_clips(["x.wav", *NAMES, "y.wav"], readers, run, ENGINE)
    assert values(table)[[0, -1]] == pytest.approx(np.tile(PRIOR, (2, 1)))
    assert values(table)[1:-1] == pytest.approx(values(predict_clips(NAMES, readers, run, ENGINE)), abs=1e-6)


@pytest.mark.parametrize("present", [True, False])
def test_clips_none_of_which_has_frames_get_the_prior(run, readers, present: bool) -> None:
    steps: list[tuple] = []
    table = predict_clips(
        ["x.wav", "y.wav"], readers if present else {}, run, ENGINE, progress=lambda *step: steps.append(step)
    )
    assert values(table) == pytest.approx(np.tile(PRIOR, (2, 1)))
    assert steps[-1] == ("predict", 3, 3)


def test_no_clips_make_an_empty_table(run, readers) -> None:
    table = predict_clips([], readers, run, ENGINE)
    assert table.columns.tolist() == ["fname", *CLASSES]
    assert len(table) == 0


def test_a_clip_with_frames_in_one_mode_only_is_predicted_by_that_mode(run, readers, tmp_path: Path) -> None:
    uneven = {"head": store(tmp_path, ("a.wav", "b.wav"), HEAD), "long": store(tmp_path, ("b.wav", "c.wav"), LONG)}
    got = values(predict_clips(NAMES, uneven, run, ENGINE))
    both = values(predict_clips(NAMES, readers, run, ENGINE))
    head = values(predict_clips(NAMES, readers, {"head": run["head"]}, ENGINE))
    long = values(predict_clips(NAMES, readers, {"long": run["long"]}, ENGINE))
    assert NAMES == ("d.wav", "a.wav", "c.wav", "b.wav")
    assert got == pytest.approx(np.stack([PRIOR, head[1], long[2], both[3]]), abs=1e-6)


def test_a_mode_without_any_frames_leaves_the_other(run, readers) -> None:
    got = predict_clips(NAMES, {"long": readers["long"]}, run, ENGINE)
    expected = predict_clips(NAMES, readers, {"long": run["long"]}, ENGINE)
    assert values(got) == pytest.approx(values(expected), abs=1e-6)


def test_progress_counts_networks(run, readers) -> None:
    steps: list[tuple] = []
    predict_clips(NAMES, readers, run, ENGINE, progress=lambda *step: steps.append(step))
    assert steps == [("predict", 1, 3), ("predict", 2, 3), ("predict", 3, 3)]
