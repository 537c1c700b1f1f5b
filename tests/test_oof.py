"""Out-of-fold predictions of a run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stores import CLASSES, HEAD, LONG, save_fold

from cache.errors import IntegrityError, NotFoundError
from featurize.modes import FeatureMode
from infer.ensemble import geometric_mean
from infer.oof import read_held_labels, read_out_of_fold


def probabilities(names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    p = np.random.default_rng(seed).dirichlet(np.ones(len(CLASSES)), len(names))
    table = pd.DataFrame(p, columns=list(CLASSES))
    table.insert(0, "fname", list(names))
    return table


def save_oof(tmp_path: Path, fold: int, names: Sequence[str], *, mode: FeatureMode = HEAD, seed: int = 0) -> Path:
    folder = save_fold(tmp_path, mode=mode, fold=fold, folds=3)
    probabilities(names, seed).to_csv(folder / "oof.csv", index=False)
    return folder


def test_folds_are_joined_and_missing_ones_told(tmp_path: Path) -> None:
    save_oof(tmp_path, 2, ["c", "a"], seed=1)
    save_oof(tmp_path, 0, ["NA", "b"], seed=2)
    found = read_out_of_fold(tmp_path / "quick")
    assert found.folds == {"head": [0, 2]}
    assert found.missing == {"head": [1]}
    table = found.probabilities.set_index("fname")
    assert table.index.tolist() == ["NA", "a", "b", "c"]
    assert list(table.columns) == list(CLASSES)
    expected = pd.concat([probabilities(["c", "a"], 1), probabilities(["NA", "b"], 2)]).set_index("fname")
    np.testing.assert_allclose(table.to_numpy(), expected.loc[table.index].to_numpy())


def test_modes_are_joined_by_the_geometric_mean_over_those_that_have_the_clip(tmp_path: Path) -> None:
    save_oof(tmp_path, 0, ["a", "b"], seed=1)
    save_oof(tmp_path, 0, ["b", "c"], mode=LONG, seed=2)
    table = read_out_of_fold(tmp_path / "quick").probabilities.set_index("fname")
    one, two = probabilities(["a", "b"], 1).set_index("fname"), probabilities(["b", "c"], 2).set_index("fname")
    joined = np.exp(geometric_mean([np.log(part.loc[["b"]].to_numpy()) for part in (one, two)]))
    np.testing.assert_allclose(table.loc[["b"]].to_numpy(), joined)
    np.testing.assert_allclose(table.loc["a"].to_numpy(), one.loc["a"].to_numpy())
    np.testing.assert_allclose(table.loc["c"].to_numpy(), two.loc["c"].to_numpy())
    alone = read_out_of_fold(tmp_path / "quick", ["long"])
    assert alone.probabilities["fname"].tolist() == ["b", "c"]
    assert alone.folds == {"long": [0]}


def test_classes_that_no_network_of_a_clip_was_trained_on_are_told(tmp_path: Path) -> None:
    for mode, unseen in ((HEAD, ["Bark", "Gong"]), (LONG, ["Gong"])):
        folder = save_fold(tmp_path, mode=mode, fold=0, unseen_classes=unseen)
        probabilities(["a", "b"], seed=len(unseen)).to_csv(folder / "oof.csv", index=False)
        probabilities(["c"]).to_csv(save_fold(tmp_path, mode=mode, fold=1) / "oof.csv", index=False)
    found = read_out_of_fold(tmp_path / "quick")
    assert found.unseen == {"a": {"Gong"}, "b": {"Gong"}}
    assert found.unseen["a"] is found.unseen["b"]
    labels = pd.DataFrame({"fname": ["a", "b", "c", "d"], "label": ["Gong", "Bark", "Gong", None]})
    assert found.unheard(labels) == {"a"}
    assert read_out_of_fold(tmp_path / "quick", ["head"]).unseen == {"a": {"Bark", "Gong"}, "b": {"Bark", "Gong"}}
    one, two = (np.log(probabilities(["a", "b"], seed)[list(CLASSES)].to_numpy()) for seed in (2, 1))
    expected = np.exp([two[:, 0], (one + two)[:, 1] / 2, (one + two)[:, 2] / 2]).T  # Bark as LONG has it
    joined = found.probabilities[list(CLASSES)].to_numpy()[:2]
    np.testing.assert_allclose(joined, expected / expected.sum(axis=1, keepdims=True))


def test_a_probability_of_zero_is_no_trouble(tmp_path: Path) -> None:
    folder = save_oof(tmp_path, 0, ["a"])
    (folder / "oof.csv").write_text("fname,Bark,Flute,Gong\na,0,0,1\n")
    table = read_out_of_fold(tmp_path / "quick").probabilities
    assert table[list(CLASSES)].to_numpy().tolist() == [pytest.approx([0, 0, 1])]


def test_an_unfinished_fold_does_not_count(tmp_path: Path) -> None:
    save_oof(tmp_path, 0, ["a"])
    (save_oof(tmp_path, 1, ["b"]) / "model.json").unlink()
    assert read_out_of_fold(tmp_path / "quick").folds == {"head": [0]}


def test_a_mode_that_is_not_there_is_refused(tmp_path: Path) -> None:
    save_oof(tmp_path, 0, ["a"])
    with pytest.raises(NotFoundError, match="run 'quick' has no trained fold of mode 'x'; it has head"):
        read_out_of_fold(tmp_path / "quick", ["x"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"oof\.csv is missing; train this fold anew with --force"),
        ("", "is not what training writes"),
        ("fname,Bark,Flute\na,0.5,0.5\n", "is not what training writes .*Gong"),
        ("fname,Flute,Bark,Gong\na,0.5,0.5,0\n", "one column a class"),
        ("fname,Bark,Flute,Gong\na,0.5,,0.5\n", "is not what training writes"),
        ("fname,Bark,Flute,Gong\na,inf,0,0\n", "is not what training writes"),
        ("fname,Bark,Flute,Gong\na,-1,1,1\n", "is not what training writes"),
        ("fname,Bark,Flute,Gong\na,1,0,0\na,1,0,0\n", "'a' stands in the oof.csv of two folds"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = save_oof(tmp_path, 0, ["a"]) / "oof.csv"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(IntegrityError, match=words):
        read_out_of_fold(tmp_path / "quick")


def test_folds_that_disagree_are_refused(tmp_path: Path) -> None:
    save_oof(tmp_path, 0, ["a"])
    save_oof(tmp_path, 1, ["a"])
    with pytest.raises(IntegrityError, match=r"'a' stands in the oof\.csv of two folds"):
        read_out_of_fold(tmp_path / "quick")
    save_fold(tmp_path, run="other", fold=0)
    save_fold(tmp_path, run="other", mode=dataclasses.replace(LONG), classes=("Bark", "Oboe", "Gong"))
    for mode in ("head", "long"):
        probabilities(["a"]).to_csv(tmp_path / "other" / mode / "fold-0" / "oof.csv", index=False)
    with pytest.raises(IntegrityError, match="differs in classes"):
        read_out_of_fold(tmp_path / "other")


# --- labels of held clips --------------------------------------------------------------------------------------------


def save_held(tmp_path: Path, fold: int, text: str, mode: FeatureMode = HEAD) -> None:
    (save_oof(tmp_path, fold, ["x"], mode=mode) / "held.csv").write_text("fname,label,scored\n" + text)


def test_labels_of_scored_clips_are_read_once_each(tmp_path: Path) -> None:
    save_held(tmp_path, 0, "a,Bark,1\nb,Gong,0\n")
    save_held(tmp_path, 1, "NA,Flute,1\n")
    save_held(tmp_path, 0, "a,Bark,1\nc,Gong,1\n", mode=LONG)
    labels = read_held_labels(tmp_path / "quick")
    assert labels is not None
    assert dict(labels.to_numpy().tolist()) == {"a": "Bark", "NA": "Flute", "c": "Gong"}
    assert len(labels) == 3


def test_a_run_without_labels_says_so(tmp_path: Path) -> None:
    save_held(tmp_path, 0, "a,Bark,1\n")
    save_oof(tmp_path, 1, ["b"])
    assert read_held_labels(tmp_path / "quick") is None


@pytest.mark.parametrize("text", ["", "fname\na\n", 'fname,label,scored\n"a'])
def test_labels_that_training_did_not_write_are_refused(tmp_path: Path, text: str) -> None:
    (save_oof(tmp_path, 0, ["a"]) / "held.csv").write_text(text)
    with pytest.raises(IntegrityError, match=r"held\.csv is not what training writes .*train this fold anew"):
        read_held_labels(tmp_path / "quick")
