import dataclasses
import json
from pathlib import Path

import pytest
from stores import CLASSES, HEAD, LONG, save_fold

from cache.errors import InputError, IntegrityError, NotFoundError
from infer.runs import find_run, load_run, stored_mode
from train.checkpoint import load_checkpoint


def test_the_only_run_is_found(tmp_path: Path) -> None:
    save_fold(tmp_path, run="quick")
    (tmp_path / "started" / "lh" / "fold-0" / "last").mkdir(parents=True)  # trained no fold yet
    assert find_run(tmp_path) == find_run(tmp_path, "quick") == tmp_path / "quick"


def test_several_runs_are_listed(tmp_path: Path) -> None:
    for run in ("second", "first"):
        save_fold(tmp_path, run=run)
    with pytest.raises(InputError, match="several runs; choose one with --run: first, second"):
        find_run(tmp_path)
    assert find_run(tmp_path, "second") == tmp_path / "second"


@pytest.mark.parametrize(
    ("name", "words"), [(None, "holds no trained run; run cli train"), ("quick", "no trained run 'quick'; there: none")]
)
def test_no_run_at_all(tmp_path: Path, name: str | None, words: str) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotFoundError, match=words):
            find_run(folder, name)


@pytest.mark.parametrize(("name", "words"), [("notebok", "did you mean 'notebook'"), ("zzz", "there: best, notebook")])
def test_an_unknown_run_is_answered_by_a_near_name(tmp_path: Path, name: str, words: str) -> None:
    for run in ("notebook", "best"):
        save_fold(tmp_path, run=run)
    with pytest.raises(NotFoundError, match=words):
        find_run(tmp_path, name)


def test_a_run_is_not_looked_for_outside_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--run must be a plain name"):
        find_run(tmp_path, "../quick")


def test_a_run_is_loaded_by_mode_in_the_order_of_folds(tmp_path: Path) -> None:
    for fold in (10, 2, 0):
        save_fold(tmp_path, fold=fold)
    save_fold(tmp_path, mode=LONG)
    run = load_run(tmp_path / "quick")
    assert {mode: [c.info["fold"] for c in checkpoints] for mode, checkpoints in run.items()} == {
        "head": [0, 2, 10],
        "long": [0],
    }
    assert list(load_run(tmp_path / "quick", ["long"])) == ["long"]
    assert list(load_run(tmp_path / "quick", ["long", "head"])) == ["long", "head"]


def test_a_mode_that_is_not_trained_is_refused(tmp_path: Path) -> None:
    save_fold(tmp_path)
    with pytest.raises(NotFoundError, match="'quick' has no trained fold of mode 'x'; it has head"):
        load_run(tmp_path / "quick", ["head", "x"])


def test_networks_that_disagree_in_classes_are_named(tmp_path: Path) -> None:
    first = save_fold(tmp_path)
    other = save_fold(tmp_path, mode=LONG, classes=tuple(reversed(CLASSES)))
    with pytest.raises(IntegrityError, match=f"{first} and {other} differ in classes") as caught:
        load_run(tmp_path / "quick")
    assert caught.value.exit_code == 4
    assert list(load_run(tmp_path / "quick", ["head"])) == ["head"]


def test_networks_of_a_mode_that_disagree_in_fingerprint_are_named(tmp_path: Path) -> None:
    first = save_fold(tmp_path)
    other = save_fold(tmp_path, mode=dataclasses.replace(HEAD, trim_db=30), fold=1)
    with pytest.raises(IntegrityError, match=f"{first} and {other} differ in fingerprint"):
        load_run(tmp_path / "quick")


def test_the_features_of_a_network_are_known(tmp_path: Path) -> None:
    folder = save_fold(tmp_path)
    assert stored_mode(load_checkpoint(folder)) == HEAD
    info = json.loads((folder / "model.json").read_text())
    info["mode"]["trim_db"] = 30.0
    (folder / "model.json").write_text(json.dumps(info))
    with pytest.raises(IntegrityError, match="do not give its fingerprint"):
        stored_mode(load_checkpoint(folder))
    info["mode"]["front_end"] = 1
    (folder / "model.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"fold-0/model\.json: .* front-end 1; this one is 2: .*train this fold anew"):
        stored_mode(load_checkpoint(folder))
