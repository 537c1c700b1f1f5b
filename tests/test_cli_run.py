"""cli run: all stages in one go, what is kept, what is resumed, the plan and the budget."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from competition_archives import EMPTY_CLIPS, kaggle_audio, kaggle_tables
from conftest import make_corpus
from test_cli import run, run_json

import cache.space
import cli as command_line
import train.budget
import train.forecast
import train.speed
from train.budget import FoldCost, TrainingCost
from train.forecast import Measured
from train.hold import hold_folder

QUICK = ["--mode", "x", "--folds", 2, "--epochs", 1, "--jobs", 1, "--device", "cpu"]


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train.speed, "TRAINING_SECONDS", 0)
    monkeypatch.setattr(train.speed, "_MOST_CLIPS", 16)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, shared_corpus):
    """The folder and the report of a finished run, which no test changes."""
    folder = tmp_path_factory.mktemp("finished")
    before = Path.cwd()
    os.chdir(folder)
    try:
        return folder, run_json("run", shared_corpus, *QUICK)
    finally:
        os.chdir(before)


@pytest.fixture
def again(finished, tmp_path, shared_corpus):
    """A copy of the finished run in the test's folder; paths that are noted are those of the copy."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    notes = tmp_path / "runs" / "best" / "outputs.json"
    notes.write_text(notes.read_text().replace(str(finished[0]), str(tmp_path)))
    # The digest of networks holds their paths.
    run("run", shared_corpus, *QUICK)
    return shared_corpus


def stamps() -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}


class TestStages:
    def test_everything_is_made(self, finished):
        folder, report = finished
        assert set(report) >= {
            "run",
            "modes",
            "runs",
            "out_of_fold",
            "test",
            "out",
            "report",
            "stages",
            "plan",
            "seconds",
        }
        assert list(report["stages"]) == ["featurize", "train", "predict", "evaluate", "report"]
        assert [(row["mode"], row["fold"], row["epochs"]) for row in report["runs"]] == [("x", 0, 1), ("x", 1, 1)]
        assert report["test"]["clips"] == 6
        assert report["test"]["references"] == []
        assert report["out_of_fold"]["clips"] == 18  # the verified ones
        assert len(pd.read_csv(folder / "submission.csv")) == 6
        assert "<html" in (folder / "report.html").read_text()[:200]
        assert (folder / "runs" / "best" / "relabel.csv").exists()  # of the first round
        assert report["plan"]["first_round_epochs"] == 1

    def test_a_second_call_does_nothing(self, again, shared_corpus):
        before = stamps()
        result = run("run", shared_corpus, *QUICK)
        assert stamps() == before
        assert "featurize: all there; " in result.stderr
        assert "train: 2 of 2 folds were there; " in result.stderr
        assert "predict: submission.csv is there, as these networks made it; " in result.stderr
        assert "report: report.html is there, as these networks made it; " in result.stderr
        assert result.stdout.splitlines()[0].startswith(("held out  mAP@3 0.", "held out  mAP@3 1."))
        assert result.stdout.splitlines()[-1].endswith("next: open report.html in a browser")

    def test_a_second_call_from_within_the_corpus_does_nothing(self, corpus, monkeypatch):
        monkeypatch.chdir(corpus)
        run("run", ".", *QUICK)
        before = stamps()
        run("run", ".", *QUICK)
        assert stamps() == before
        Path("submission.csv").write_text("mine\n")
        assert "does not begin with fname,label" in run("run", ".", *QUICK, exit_code=1).stderr

    def test_the_views_are_those_asked_for_whatever_the_store_holds(self, corpus, measured):
        run("featurize", "data", "--mode", "lh", "--mode", "log", "--jobs", 1)
        report = run_json("run", *QUICK[2:], "--dry-run")
        assert report["modes"] == ["lh", "x"]
        assert run_json("run", *QUICK, "--dry-run")["modes"] == ["x"]

    def test_two_calls_at_a_time_do_not_train_the_same_folds(self, again, shared_corpus):
        shutil.rmtree("runs/best/x/fold-1")
        before = stamps()
        with hold_folder(Path("runs/best"), held_by="another cli run works on"):
            assert "another cli run works on " in run("run", shared_corpus, *QUICK, exit_code=5).stderr
            assert stamps() == before
        run("run", shared_corpus, *QUICK)

    def test_only_what_is_lost_is_made_again(self, again, shared_corpus):
        Path("report.html").unlink()
        before = stamps()
        run("run", shared_corpus, *QUICK)
        changed = {name for name, stamp in stamps().items() if before.get(name) != stamp}
        assert {"report.html", "runs/best/outputs.json"} == changed

    def test_a_submission_that_is_not_the_runs_is_made_again(self, again, shared_corpus):
        made = Path("submission.csv").read_text()
        Path("submission.csv").write_text(made.replace("noise", "hum"))  # newer than all networks
        result = run("run", shared_corpus, *QUICK)
        assert Path("submission.csv").read_text() == made
        assert "predict: submission.csv is there" not in result.stderr

    def test_a_fold_that_is_lost_is_trained_and_the_rest_follows(self, again, shared_corpus):
        made = Path("submission.csv").read_bytes()
        shutil.rmtree("runs/best/x/fold-1")
        result = run("run", shared_corpus, *QUICK)
        assert "train: 1 of 2 folds were there; " in result.stderr
        assert "x fold 1: mAP@3" in result.stderr
        assert Path("submission.csv").read_bytes() == made

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--epochs", 2], "recipe.epochs 1 → 2"),
            (["--seed", 7], "seed 42 → 7"),
            (["--folds", 3], "folds 2 → 3"),
            (["--budget", "1h", "--run", "best"], "recipe.epochs"),
        ],
    )
    def test_a_run_that_was_begun_otherwise_is_refused_at_once(self, again, options, words, monkeypatch, corpus):
        shutil.rmtree("features")  # nothing is computed before it is known that the run goes on
        asked = list(QUICK)
        if "--budget" in options:
            asked[asked.index("--epochs") : asked.index("--epochs") + 2] = []
        else:
            monkeypatch.setattr(train.forecast, "measure_training", None)  # would be called
        before = stamps()
        result = run("run", again, *asked, *options, exit_code=1)
        assert "was trained with other settings" in result.stderr
        assert words in result.stderr
        assert "give another --run NAME" in result.stderr
        assert stamps() == before

    def test_a_run_on_other_labels_is_refused_at_once(self, corpus, monkeypatch):
        run("run", *QUICK)
        table = Path("data/clips.csv")
        table.write_text(table.read_text().replace("hum-01.wav,hum", "hum-01.wav,noise"))
        monkeypatch.setattr(train.forecast, "measure_training", None)
        for dry in ([], ["--dry-run"]):
            result = run("run", *QUICK, *dry, exit_code=1)
            assert "first-round" not in result.stderr
            assert "(corpus's clips, labels and folds " in result.stderr
            assert "in all" not in result.stderr
        shutil.rmtree("runs/best/x")  # the first round is of these labels, too
        assert "first-round/x/fold-0 was trained" in run("run", *QUICK, exit_code=1).stderr

    def test_a_first_round_that_is_done_is_not_planned(self, again, shared_corpus):
        shutil.rmtree("runs/best/x/fold-1")
        plan = run_json("run", shared_corpus, *QUICK, "--dry-run")
        assert plan["first_round_epochs"] == 0
        assert plan["stages"][1]["what"] == "2 folds of 1 epoch"

    def test_a_corpus_without_labels_for_its_test_clips(self, tmp_path):
        root = make_corpus(tmp_path / "data", train=4, test=1)
        table = pd.read_csv(root / "clips.csv")
        table.loc[table["split"] == "test", "label"] = ""
        table.to_csv(root / "clips.csv", index=False)
        result = run("run", *QUICK, "--recipe", "notebook")
        assert "submission.csv is the submission; the corpus has no labels to score it" in result.stdout
        assert result.stdout.count("mAP@3") == 1

    def test_the_competition_as_mounted_on_kaggle(self, tmp_path):
        for name, clips in kaggle_audio().items():
            (tmp_path / "input" / name / name).mkdir(parents=True)
            for fname, data in clips.items():
                (tmp_path / "input" / name / name / fname).write_bytes(data)
        for name, data in kaggle_tables().items():
            (tmp_path / "input" / name).write_bytes(data)
        for path in [tmp_path / "input", *(tmp_path / "input").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        report = run_json("run", "input", *QUICK)
        assert sorted(row["fname"] for row in report["quarantined"]) == sorted(EMPTY_CLIPS)
        rows = pd.read_csv("submission.csv")
        assert rows["fname"].tolist() == pd.read_csv("input/sample_submission.csv")["fname"].tolist()
        assert rows["label"].str.split().str.len().eq(3).all()
        assert report["test"]["clips"] == 2

    def test_a_corpus_without_test_clips(self, tmp_path):
        root = make_corpus(tmp_path / "data", train=4, test=1)
        table = pd.read_csv(root / "clips.csv")
        table[table["split"] == "train"].to_csv(root / "clips.csv", index=False)
        for name in table.loc[table["split"] == "test", "fname"]:
            (root / "audio" / name).unlink()
        report = run_json("run", *QUICK, "--recipe", "notebook")
        assert (report["out"], report["test"]) == (None, None)
        assert not Path("submission.csv").exists()
        assert Path("report.html").exists()

    def test_a_class_whose_name_holds_a_space_gets_probabilities(self, tmp_path):
        root = make_corpus(tmp_path / "data", train=4, test=1)
        text = (root / "clips.csv").read_text()
        (root / "clips.csv").write_text(text.replace(",hum,", ",low hum,"))
        result = run("run", *QUICK, "--recipe", "notebook")
        assert list(pd.read_csv("submission.csv").columns) == ["fname", "low hum", "noise", "pips"]
        assert "submission.csv holds probabilities, as a class's name holds a space" in result.stderr


class TestInterruption:
    def test_training_that_was_interrupted_goes_on(self, tmp_path):
        make_corpus(tmp_path / "data", train=3, test=1)
        words = ["run", "--mode", "x", "--folds", 2, "--jobs", 1, "--recipe", "notebook", "--run", "stopped"]
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", *map(str, words), "--epochs", "12"],
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        history = Path("runs/stopped/x/fold-0/history.csv")
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if history.exists() and history.read_text().count("\n") > 2:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr.decode()
        assert not Path("submission.csv").exists()
        done = history.read_text()
        report = run_json(*words, "--epochs", 12)
        assert history.read_text().startswith(done)
        assert [row["epochs"] for row in report["runs"]] == [12, 12]
        assert Path("submission.csv").exists()


class TestPlan:
    def test_a_dry_run_computes_nothing(self, corpus):
        report = run_json("run", *QUICK[:-4], "--jobs", 1, "--dry-run")
        assert [path.name for path in Path().iterdir()] == ["data"]
        assert report["dry_run"] is True
        assert report["clips"] == {"train": 30, "test": 6}
        assert [row["stage"] for row in report["stages"]] == ["featurize", "train", "predict", "report"]
        assert all(row["bytes"] > 0 for row in report["stages"])
        assert all(row["seconds"] > 0 for row in report["stages"][1:])  # so few clips may be featurized in 0.0 s
        assert report["seconds"] == pytest.approx(sum(row["seconds"] for row in report["stages"]), abs=0.5)
        assert set(report["training"]["x"]) == {"start_seconds", "epoch_seconds"}

    def test_the_plan_comes_first_and_fits_a_terminal(self, corpus):
        result = run("run", *QUICK, "--dry-run")
        lines = result.stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith("data: 30 training and 6 test clips, 0.0 h, 3 classes")
        assert lines[1] == "run best: recipe best, x, 2 folds of each, 1 fold at a time"
        assert lines[-1].startswith("in all")

    def test_a_disk_that_will_be_full_is_named_in_the_plan(self, corpus, monkeypatch):
        monkeypatch.setattr(cache.space, "free_space", lambda _path: 20_000_000)
        result = run("run", *QUICK, "--dry-run")
        assert "the disk of features has 20.0 MB free, and " in result.stderr
        assert result.stdout.splitlines()[-1].startswith("in all")
        monkeypatch.setattr(cache.space, "free_space", lambda _path: 1e9)
        assert "free" not in run("run", *QUICK, "--dry-run").stderr

    def test_a_disk_that_is_full_is_one_line_with_the_next_step(self, corpus, monkeypatch):
        def full(*_args, **_settings):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/best")

        monkeypatch.setattr(train.forecast, "measure_training", full)
        result = run("run", *QUICK, exit_code=6)
        assert "runs/best: No space left on device; make room, and run the same command again" in result.stderr

    def test_a_finished_run_has_nothing_to_do(self, again, shared_corpus, monkeypatch):
        monkeypatch.setattr(train.forecast, "measure_training", None)  # would be called
        report = run_json("run", shared_corpus, *QUICK, "--dry-run")
        assert (report["seconds"], report["bytes"]) == (0, 0)
        assert [row["what"] for row in report["stages"]] == [
            "36 clips, all there",
            "2 folds, all trained",
            "submission.csv is there",
            "report.html is there",
        ]


@pytest.fixture
def measured(monkeypatch):
    """Training of which an epoch takes, as it is said, 100 s."""
    asked = []

    def measure(task, request, **_places):
        asked.append(request)
        folds = {mode.name: FoldCost(1.0, 100.0, 1000) for mode in task.modes}
        cost = TrainingCost(folds=folds, n_folds=task.n_folds, workers=1)
        return Measured(cost, dict.fromkeys(folds, 1e-6))

    monkeypatch.setattr(train.forecast, "measure_training", measure)
    monkeypatch.setattr(train.budget, "LEAST_SHARE", 0)
    return asked


class TestBudget:
    words = ("run", "--mode", "x", "--folds", 3, "--jobs", 1, "--recipe", "notebook")

    def test_epochs_are_chosen_noted_and_kept(self, corpus, measured):
        report = run_json(*self.words, "--budget", "20m")
        assert (report["plan"]["epochs"], report["plan"]["folds"]) == (3, 3)  # 3 × 301 s, and 4 × 401 would not fit
        assert report["run"] == "notebook-20m"
        assert [row["epochs"] for row in report["runs"]] == [3, 3, 3]
        assert json.loads(Path("runs/notebook-20m/budget.json").read_text()) == {
            "budget": "20m",
            "epochs": 3,
            "folds": 3,
        }
        result = run(*self.words, "--budget", "20m")
        assert "train: 3 of 3 folds were there" in result.stderr
        assert "budget 20 min 0 s: 3 epochs of 3 folds of each view" in result.stderr
        assert len(measured) == 1

    def test_fewer_folds_where_the_least_epochs_do_not_fit(self, corpus, measured):
        report = run_json(*self.words, "--budget", "5m")
        assert (report["plan"]["epochs"], report["plan"]["folds"]) == (1, 2)
        assert [row["fold"] for row in report["runs"]] == [0, 1]
        assert report["test"]["clips"] == 6

    def test_too_little_time_names_the_least(self, corpus, measured):
        result = run(*self.words, "--budget", "10s", exit_code=1)
        assert "the least, 1 epoch of one fold, takes " in result.stderr
        assert not Path("runs").exists()
        least = result.stderr.split("give --budget ")[1].split()[0]
        run(*self.words, "--budget", least, "--dry-run")

    def test_training_ends_when_the_time_is_over_and_goes_on(self, corpus, measured, monkeypatch):
        with monkeypatch.context() as patch:
            real = command_line._within
            patch.setattr(command_line, "_within", lambda *args, **named: real(*args, **named) | {"deadline": 0.0})
            patch.setattr(command_line, "_LEAST_MINUTES", 1e-9)
            result = run(*self.words, "--budget", "20m")
        assert "3 of 3 folds were stopped by the budget; call again to go on" in result.stderr
        report = run_json(*self.words, "--budget", "20m")
        assert [row["epochs"] for row in report["runs"]] == [3, 3, 3]

    @pytest.mark.parametrize(
        ("options", "exit_code", "words"),
        [
            (["--budget", "2x"], 2, "must be a time above 0 such as 30m, 2h or 1h30m; got '2x'"),
            (["--budget", "2h", "--epochs", "3"], 2, "--budget 2h chooses the epochs: leave out --epochs 3"),
            (["--out", "same.html", "--report", "same.html"], 2, "--out and --report must be two files"),
            (["--out", "data"], 1, "data is a folder: name a file"),
            (["--report", "nowhere/report.html"], 1, "there is no folder nowhere to write report.html to"),
            (["--folds", "99"], 1, "--folds must be from 2 to the number of training clips (30); got 99"),
            (["--device", "moon"], 1, "--device 'moon' is not to be had here"),
        ],
    )
    def test_wrong_requests_are_refused_before_anything_is_computed(self, corpus, options, exit_code, words):
        assert words in run("run", *options, exit_code=exit_code).stderr
        assert not Path("features").exists()

    def test_a_corpus_without_training_clips_is_refused(self, tmp_path):
        root = make_corpus(tmp_path / "data", train=1, test=1)
        table = pd.read_csv(root / "clips.csv")
        table[table["split"] == "test"].to_csv(root / "clips.csv", index=False)
        for name in table.loc[table["split"] == "train", "fname"]:
            (root / "audio" / name).unlink()
        assert "has no training clips: a run trains networks" in run("run", exit_code=1).stderr


def test_the_demo_is_the_same_pipeline(tmp_path):
    report = run_json("demo", "demo", "--clips", 82, "--epochs", 1, "--jobs", 1)
    assert list(report["stages"]) == ["synthesize", "featurize", "train", "predict", "evaluate", "report"]
    assert {"map3", "map3_se", "clips", "by_class", "submission", "runs", "seconds"} <= set(report)
    assert Path("demo/report.html").exists()
    assert len(pd.read_csv("demo/submission.csv")) == report["clips"]
