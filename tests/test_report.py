"""What stands in a report: the numbers are those of the other commands, and odd corpora are served or refused."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import RATE_HZ, make_sound
from report_samples import LABELS, write_hostile_corpus, write_run
from stores import HEAD
from test_cli import run, run_json

from corpus.tables import read_corpus
from infer.evaluate import evaluate
from infer.oof import read_fold_names, read_out_of_fold
from infer.report_clips import choose_pictured, judge_clips, rank_lists, report_classes
from infer.report_run import read_run_facts
from infer.report_scores import class_scores, count_confusions, order_classes
from train.issues import judge_labels, list_issues


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A corpus and its run in a folder of one's own."""
    monkeypatch.chdir(tmp_path)
    corpus = write_hostile_corpus(tmp_path / "data")
    write_run(tmp_path / "runs", read_corpus(corpus))
    return tmp_path


def report(*args, **settings):
    return run_json("report", "data", "--jobs", 1, *args, **settings)


def page_text(path="report.html"):
    return Path(path).read_text(encoding="utf-8")


def page_data(path="report.html"):
    """The data that the page's script reads."""
    return json.loads(page_text(path).split('<script type="application/json" id="data">')[1].split("</script>")[0])


def test_out_of_fold_scores_are_those_of_evaluate(made):
    found = report()["scores"]
    clips = read_corpus("data")
    assert [row["view"] for row in found] == ["head", "long", "head + long"]
    for row in found:
        modes = row["view"].split(" + ")
        read_out_of_fold(made / "runs" / "made", modes).probabilities.to_csv("oof.csv", index=False)
        truth = evaluate(made / "oof.csv", clips)
        expected = {"map3": truth["map3"], "se": truth["map3_se"], "clips": truth["clips"], "groups": None}
        assert row["out_of_fold"] == expected
    for fold in (0, 1):
        one = evaluate(made / "runs" / "made" / "head" / f"fold-{fold}" / "oof.csv", clips)
        assert found[0]["folds"][str(fold)]["map3"] == pytest.approx(one["map3"])
        assert found[0]["folds"][str(fold)]["clips"] == one["clips"]


def test_test_scores_and_classes_are_those_of_predict_and_evaluate(made):
    found = report()
    run_json("predict", "data", "--jobs", 1, "--probabilities", "p.csv", exit_code=1)  # labels with spaces
    table = pd.read_csv("p.csv")
    assert len(table) == 6
    truth = evaluate(made / "p.csv", read_corpus("data"))
    assert found["scores"][-1]["test"]["all"] == pytest.approx(
        {"map3": truth["map3"], "se": truth["map3_se"], "clips": truth["clips"], "groups": None}
    )
    data = page_data()
    shown = {data["classes"][k] for k in data["clips"]["truth"] if k >= 0}
    assert shown == set(LABELS)


def test_class_scores_are_those_of_evaluate(made):
    clips = read_corpus("data")
    p = read_out_of_fold(made / "runs" / "made").probabilities
    p.to_csv("oof.csv", index=False)
    classes = report_classes(clips, list(p.columns[1:]))
    table = class_scores(judge_clips(clips, p, classes), classes).set_index("label")
    assert table["oof"].to_dict() == pytest.approx(evaluate(made / "oof.csv", clips)["by_class"])
    assert table["train"].tolist() == [4, 4, 4]
    assert table["verified"].tolist() == [2, 2, 2]
    assert table["test"].isna().all()
    assert table["oof"].is_monotonic_increasing


def test_issues_are_those_of_corpus_issues(made):
    report()
    clips = read_corpus("data")
    training = clips[clips["split"] == "train"]
    issues = list_issues(
        judge_labels(training, read_out_of_fold(made / "runs" / "made").probabilities), include_verified=True
    )
    data = page_data()
    assert [data["clips"]["name"][row] for row in data["lists"]["issues"]["rows"]] == issues["fname"].tolist()


def test_lists_hold_mistakes_the_worst_and_the_surest_first():
    judged = pd.DataFrame(
        {
            "fname": ["a", "b", "c", "d", "e"],
            "truth": [0, 0, 1, 1, -1],
            "top1": [0, 1, 0, 0, 1],
            "p1": [0.9, 0.8, 0.5, 0.6, 0.9],
            "p_label": [0.9, 0.1, 0.3, 0.05, np.nan],
        }
    )
    lists = rank_lists(judged, ["c", "no such clip"])
    assert lists == {"issues": [2], "worst": [3, 1, 2], "surest": [1, 3, 2]}
    without = rank_lists(judged, ["c"], unheard={"b"})
    assert without == {"issues": [2], "worst": [3, 2], "surest": [3, 2]}
    assert choose_pictured(judged, lists, most=4) == [2, 3, 1, 0]
    assert choose_pictured(judged, lists, most=9) == [2, 3, 1, 0, 4]
    assert choose_pictured(judged, lists, most=0) == []


def test_confusions_count_labels_by_row():
    counts = count_confusions(np.array([0, 0, 1, -1, 2]), np.array([0, 1, 1, 0, -1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_classes_that_are_confused_stand_side_by_side():
    n_classes = 9
    counts = np.eye(n_classes, dtype=np.int64) * 20
    for a, b in ((0, 7), (3, 8), (1, 5)):
        counts[a, b] = counts[b, a] = 6
    order = order_classes(counts)
    assert sorted(order) == list(range(n_classes))
    for a, b in ((0, 7), (3, 8), (1, 5)):
        assert abs(order.index(a) - order.index(b)) == 1


@pytest.mark.parametrize("n_classes", [1, 2, 3, 527])
def test_classes_without_confusions_keep_their_number(n_classes):
    assert sorted(order_classes(np.eye(n_classes, dtype=np.int64))) == list(range(n_classes))
    assert sorted(order_classes(np.zeros((n_classes, n_classes), np.int64))) == list(range(n_classes))


def test_the_run_is_told_as_training_wrote_it(made):
    facts = read_run_facts(made / "runs" / "made")
    assert facts.curves["head"][1]["map3"].tolist() == [0.3, 0.5]
    assert facts.times[0] == {
        "round": "last", "mode": "head", "fold": 0, "epochs": 2, "seconds": 1.0, "waited_seconds": 0.25
    }  # fmt: skip
    assert facts.settings["Training"]["seed"] == 42
    assert facts.settings["View head: features"]["fingerprint"] == HEAD.fingerprint()


def test_the_first_round_is_told_apart(made):
    write_run(made / "runs" / "made", read_corpus("data"), name="first-round", modes=(HEAD,))
    assert [row["round"] for row in read_run_facts(made / "runs" / "made").times].count("first") == 2


def test_a_damaged_history_is_named(made):
    (made / "runs" / "made" / "head" / "fold-0" / "history.csv").write_text("nonsense\n1\n")
    assert "history.csv is not what training writes" in report(exit_code=4)["error"]


def test_folds_of_clips(made):
    folds = read_fold_names(made / "runs" / "made")
    assert len(folds) == 12
    assert set(folds.values()) == {0, 1}


class TestOddCorpora:
    def test_no_run_is_one_sentence(self, made):
        assert "holds no trained run" in report("--runs", "nowhere", exit_code=1)["error"]

    def test_another_corpus_is_refused(self, made, corpus_of):
        other = corpus_of("other", ["x.wav", "y.wav"])
        assert "is it the right CORPUS" in run_json("report", other, "--jobs", 1, exit_code=1)["error"]

    def test_without_test_labels(self, made):
        table = pd.read_csv("data/clips.csv")
        table.loc[table["split"] == "test", "label"] = None
        table.to_csv("data/clips.csv", index=False)
        found = report()
        assert found["scores"][-1]["test"] == {}
        assert "no labels for its test clips" in page_text()
        tops = page_data()["clips"]["top"]
        assert tops[-1] >= 0, "test clips are predicted all the same"

    def test_without_test_clips(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_run(tmp_path / "runs", read_corpus(write_hostile_corpus(tmp_path / "data", test=0)))
        found = report()
        assert found["clips"] == 12
        assert found["scores"][-1]["test"] == {}

    def test_test_clips_can_be_left_out(self, made):
        assert report("--no-test")["scores"][-1]["test"] == {}
        assert "6 test clips not predicted, as asked" in page_text()

    def test_one_mode_one_fold_and_no_verified_column(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_hostile_corpus(tmp_path / "data", labels=LABELS[:2])
        table = pd.read_csv("data/clips.csv").drop(columns="manually_verified").assign(group="g")
        table.to_csv("data/clips.csv", index=False)
        write_run(tmp_path / "runs", read_corpus("data"), modes=(HEAD,), folds=(1,))
        found = report()
        assert [row["view"] for row in found["scores"]] == ["head"]
        assert list(found["scores"][0]["folds"]) == ["1"]
        text = page_text()
        assert "the corpus does not say which labels were verified" in text
        assert "Not trained: fold 0 of head" in text
        data = page_data()
        assert set(data["clips"]["verified"]) == {-1}
        assert data["groups"] == ["g"]
        assert data["clips"]["top"].count(-1) > 0

    def test_a_quarantined_clip_is_listed_with_its_reason(self, made):
        broken = plain_name("data")
        Path(f"data/audio/{broken}").write_bytes(b"")
        found = report()
        assert [row["fname"] for row in found["quarantined"]] == [broken]
        data = page_data()
        (row,) = data["quarantined"]
        assert data["clips"]["name"][int(row)] == broken
        assert row not in data["pictures"]
        assert report("--strict", "--no-test", exit_code=3)["quarantined"]

    def test_few_pictures_are_said_to_be_few(self, made):
        found = report("--pictured", 3)
        assert found["pictured"] == 3
        assert len(page_data()["clips"]["name"]) == 18
        assert "3 of 18 clips" in page_text()

    def test_no_room_for_sounds_links_them(self, made):
        found = report("--sound-mb", 0)
        assert found["embedded"] == 0
        assert found["linked"] == 18


def test_a_name_that_is_not_utf_8_has_a_sound(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("a", "b"):
        for number in range(2):
            path = os.fsencode(tmp_path / "data" / label) + b"/caf\xe9 %d.wav" % number
            os.makedirs(os.path.dirname(path), exist_ok=True)
            sound = make_sound("hum", np.random.default_rng(number), 0.5)
            with open(path, "wb") as file:
                soundfile.write(file, sound, RATE_HZ, format="WAV")
    clips = read_corpus("data")
    write_run(tmp_path / "runs", clips, modes=(HEAD,))
    found = report("--pictures", "png")
    assert found["embedded"] == len(clips) == 4
    assert page_data()["clips"]["name"] == clips["fname"].tolist()


def plain_name(root):
    """The name of a training clip that is nothing special."""
    clips = read_corpus(root)
    return next(name for name in clips.loc[clips["split"] == "train", "fname"] if name[:2].isdecimal())


@pytest.fixture
def corpus_of(tmp_path):
    """Make a corpus of the names given, all of one class."""

    def make(root, names):
        (tmp_path / root / "audio").mkdir(parents=True)
        for name in names:
            (tmp_path / root / "audio" / name).write_bytes(b"x")
        pd.DataFrame({"fname": names, "label": "plain"}).to_csv(tmp_path / root / "clips.csv", index=False)
        return tmp_path / root

    return make


def test_the_text_names_what_to_do_next(made):
    text = run("report", "data", "--jobs", 1, "--pictures", "png").stdout
    assert text.splitlines()[-1] == "next: open report.html in a browser"
    assert "png: " in text
    assert "head + long, out of fold" in text


def test_a_folder_in_its_place_is_refused(made):
    (made / "report.html").mkdir()
    assert "is a folder" in report(exit_code=1)["error"]
