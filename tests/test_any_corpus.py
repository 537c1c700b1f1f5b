"""The same commands on corpora of other shapes: few clips or many classes, own folds, own groups."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sounds import sine, write_sound
from test_cli import run, run_json

CLIP_SAMPLES = 2_205


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_clips(labels: Sequence[str], **columns: Sequence[object]) -> pd.DataFrame:
    """Write a short tone a clip, and the table that says what they are."""
    folder = Path("corpus/audio")
    folder.mkdir(parents=True)
    kinds = sorted(set(labels))
    for number, label in enumerate(labels):
        pitch_hz = 100 * 1.01 ** kinds.index(label) * (1 + number % 7)
        write_sound(folder / f"{number:04d}.wav", sine(CLIP_SAMPLES, pitch_hz))
    table = pd.DataFrame({"fname": [f"{number:04d}.wav" for number in range(len(labels))], "label": labels, **columns})
    table.to_csv("corpus/clips.csv", index=False)
    return table


def train(*options: object) -> list[dict[str, Any]]:
    """Train the corpus for an epoch; return what is reported of each fold."""
    run("featurize", "corpus", "--mode", "x", "--jobs", 1)
    return run_json("train", "corpus", "--mode", "x", "--epochs", 1, "--jobs", 1, *options)["runs"]


def predict() -> pd.DataFrame:
    """Return the probabilities of the test clips."""
    run("predict", "corpus", "--probabilities", "all.csv", "--jobs", 1)
    return pd.read_csv("all.csv")


def held_clips(fold: int) -> set[str]:
    return set(pd.read_csv(f"runs/best/x/fold-{fold}/oof.csv")["fname"])


@pytest.mark.parametrize("n_classes", [2, 527])
def test_two_classes_and_all_of_audioset(n_classes: int) -> None:
    labels = [f"/m/{number % n_classes:03d}" for number in range(max(24, 2 * n_classes))]
    make_clips(labels, split=["test" if number % 8 == 7 else "train" for number in range(len(labels))])
    assert len(train("--folds", 2, "--fold", 0)) == 1
    predicted = predict()
    assert list(predicted.columns[1:]) == sorted(set(labels))
    assert predicted.iloc[:, 1:].sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-5)


def test_twenty_clips_one_of_them_alone_in_its_class() -> None:
    labels = ["bell"] * 9 + ["dog"] * 8 + ["harp"] + ["bell", "dog"]
    make_clips(labels, split=["train"] * 18 + ["test"] * 2)
    assert [fold["fold"] for fold in train()] == [0, 1, 2, 3, 4]
    assert sorted(name for fold in range(5) for name in held_clips(fold)) == [f"{n:04d}.wav" for n in range(18)]
    predicted = predict()
    assert np.isfinite(predicted[["bell", "dog", "harp"]].to_numpy()).all()
    assert len(predicted) == 2


def test_own_folds_are_taken_as_they_are() -> None:
    folds = [2, 0, 1, 1, 0, 2] * 3
    table = make_clips(["a", "a", "b"] * 6, fold=folds)
    train("--folds", 7)
    for fold in range(3):
        assert held_clips(fold) == set(table.loc[table["fold"] == fold, "fname"])
    assert not Path("runs/best/x/fold-3").exists()


def test_no_group_is_on_both_sides_of_a_fold() -> None:
    rng = np.random.default_rng(0)
    groups = rng.choice([f"recorder {number}" for number in range(9)], 40)
    table = make_clips(rng.choice(["a", "b", "c"], 40).tolist(), group=groups)
    train("--folds", 3)
    by_fold = [set(table.loc[table["fname"].isin(held_clips(fold)), "group"]) for fold in range(3)]
    assert set.union(*by_fold) == set(groups)
    assert sum(map(len, by_fold)) == len(set(groups))


def test_one_class_is_refused_in_words() -> None:
    make_clips(["rain"] * 20)
    run("featurize", "corpus", "--mode", "x", "--jobs", 1)
    result = run("train", "corpus", "--mode", "x", exit_code=1)
    assert "needs clips of two classes or more; the corpus has ['rain']" in result.stderr
