"""What a report says of itself: which clips count, what is missing and why, and what a number is of."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_samples import write_hostile_corpus, write_run
from stores import HEAD, LONG
from test_cli import run, run_json
from test_report import page_data, page_text

from cache.layout import Key
from corpus.tables import read_corpus
from train.folds import assign_folds
from train.origin import corpus_digest, trained_on


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A corpus and its run of one mode in a folder of one's own."""
    monkeypatch.chdir(tmp_path)
    corpus = write_hostile_corpus(tmp_path / "data", labels=("a", "b", "c"))
    write_run(tmp_path / "runs", read_corpus(corpus), modes=(HEAD,))
    return tmp_path


def report(*args, **settings):
    return run_json("report", "data", "--jobs", 1, "--pictured", 0, *args, **settings)


def change_table(**columns):
    table = pd.read_csv("data/clips.csv")
    table.assign(**columns).to_csv("data/clips.csv", index=False)


@pytest.mark.parametrize(
    ("flag", "rule"),
    [
        (1, "the clips count whose label was verified by hand"),
        (0, "the label of none of them was verified by hand"),
        (None, "the corpus does not say which labels were verified"),
    ],
)
def test_which_clips_count_is_told_as_it_is(made, flag, rule):
    change_table(manually_verified=flag)
    report()
    assert rule in page_text()


def test_a_test_clip_that_was_left_out_says_so(made):
    report("--no-test")
    assert page_data()["unpredicted"]["test"] == "test clips were left out of this report, as asked"


def test_a_clip_of_a_fold_that_is_not_trained_says_so(made, tmp_path):
    write_run(tmp_path / "half", read_corpus("data"), modes=(HEAD,), folds=(1,))
    remarks = report("--runs", "half")["remarks"]
    assert remarks[0] == "Not trained: fold 0 of head. That leaves 6 training clips without a prediction."
    assert page_data()["unpredicted"]["train"] == "the fold that holds this clip out is not trained"


def test_a_clip_that_was_added_since_says_so(made):
    remark = "6 training clips without a prediction: the run was trained without them."
    assert "12 training clips and 6 test clips ·" in (report(), page_text())[1]
    change_table(split="train")
    assert remark in report()["remarks"]
    assert remark in page_text()
    assert "18 training clips ·" in page_text()
    assert page_data()["unpredicted"]["train"] == "the run was trained without this clip"


def test_folds_that_no_view_has_are_told_once(made):
    write_run(made / "half", read_corpus("data"), modes=(HEAD, LONG), folds=(1,))
    remarks = report("--runs", "half")["remarks"]
    assert remarks[0] == "Not trained: fold 0 of head and long. That leaves 6 training clips without a prediction."
    lines = run("report", "data", "--jobs", 1, "--pictured", 0, "--runs", "half").stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_a_quarantined_clip_is_none_that_training_lacked(made):
    change_table(split="train")
    names = pd.read_csv("data/clips.csv")["fname"]
    name = names[names.str.fullmatch(r"\d+\.wav")].iloc[-1]
    Path("data/audio", name).write_bytes(b"")
    remarks = report()["remarks"]
    assert "5 training clips without a prediction: the run was trained without them." in remarks


def test_a_run_on_other_labels_is_told(made):
    changed = "The run was trained on other clips or labels than the corpus has now."
    assert changed not in report()["remarks"], "training did not say what it was trained on"
    for path in Path("runs").rglob("model.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "corpus": "0123456789abcdef"}))
    assert changed in report()["remarks"]
    assert changed in page_text()


def test_the_digest_of_a_run_is_of_clips_labels_and_folds():
    names = [f"{number}.wav" for number in range(8)]
    clips = pd.DataFrame({"fname": names, "label": ["a", "b"] * 4, "manually_verified": True})
    clips = clips.assign(fold=pd.array([None] * 8, dtype="Int64"), group=None)
    keys = [Key(name, f"{number:064x}") for number, name in enumerate(names)]
    digest = corpus_digest(keys, clips, assign_folds(clips, n_folds=2, seed=3))
    info = {"corpus": digest, "folds": 2, "seed": 3}
    assert trained_on(info, keys, clips)
    assert trained_on(info, [*keys, Key("test.wav", "f" * 64)], clips)
    assert trained_on({}, keys, clips)
    assert not trained_on(info, keys[1:], clips)
    assert not trained_on(info, [Key("0.wav", "f" * 64), *keys[1:]], clips)
    assert not trained_on(info, keys, clips.assign(label=["a"] * 5 + ["b"] * 3))
    assert not trained_on(info, keys, clips.assign(manually_verified=False))
    assert not trained_on({**info, "folds": 9}, keys, clips)


def test_errors_of_groups_are_called_so(made):
    change_table(group=lambda table: np.arange(len(table)) % 3)
    scores = report()["scores"][0]
    assert (scores["out_of_fold"]["clips"], scores["out_of_fold"]["groups"]) == (6, 2)
    assert scores["test"]["all"]["groups"] == 2
    text = page_text()
    assert "6 test clips of 2 groups" in text
    assert "errors are those of so many groups" in text


def test_what_the_terminal_says(made):
    change_table(split="train", group=lambda table: np.arange(len(table)) % 3)
    text = run("report", "data", "--jobs", 1, "--pictured", 0).stdout
    assert "note: 6 training clips without a prediction: the run was trained without them." in text
    assert "(verified ones included)" in text
    assert " clips of 2 groups" in text
    assert page_data()["lists"]["issues"]["title"] == "Likeliest label errors, verified ones included"
