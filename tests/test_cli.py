"""The command line: every command, its options, output and exit status."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner
from conftest import CLASSES, make_corpus
from sounds import sine, write_sound
from stores import jobs_of

import cache.space
import cli as command_line
from cache import StoreLock

CLI = [sys.executable, "-c", "import cli; cli.main()"]


def run(*args, exit_code=0, **settings):
    """Run a command in this process."""
    result = CliRunner().invoke(command_line.cli, [str(arg) for arg in args], **settings)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    return result


def run_json(*args, exit_code=0):
    """Run a command with --json and return its object: the only thing on standard output."""
    return json.loads(run(*args, "--json", exit_code=exit_code).stdout)


def leaf_commands(group=command_line.cli, prefix=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaf_commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


LEAVES = list(leaf_commands())
each_command = pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, shared_corpus):
    """A folder with a store and a run of two folds of both modes, which no test changes."""
    folder = tmp_path_factory.mktemp("trained")
    places = ["--store", folder / "features", "--runs", folder / "runs", "--jobs", 1]
    report = run_json("train", shared_corpus, "--folds", 2, "--epochs", 2, *places)
    return folder, places, report


class TestEveryCommand:
    @each_command
    def test_help_has_a_summary_an_example_and_json(self, path, command):
        text = run(*path, "--help").stdout
        assert command.help
        assert "Example:" in text
        assert f"cli {' '.join(path)}" in text
        assert "--json" in text
        assert "--config" in text

    @each_command
    def test_every_option_has_help_and_a_variable(self, path, command):
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, param.name
                assert str(param.envvar).startswith("EARMARK_"), param.name

    def test_commands_are_those_of_the_design(self):
        assert {" ".join(path) for path, _ in leaf_commands()} == {
            "demo",
            "corpus synth",
            "corpus fetch",
            "corpus info",
            "corpus issues",
            "featurize",
            "train",
            "predict",
            "evaluate",
            "evaluate-events",
            "tag",
            "caption",
            "export",
            "report",
            "run",
            "cache info",
            "cache explain",
            "cache prune",
            "cache pack",
            "cache unpack",
            "cache show",
            "cache verify",
            "cache repair",
        }

    def test_version(self):
        assert run("--version").stdout.startswith("earmark ")

    def test_an_unknown_command_is_wrong_usage(self):
        run("featurise", exit_code=2)


class TestFeaturize:
    def test_first_run_computes_and_second_keeps(self, corpus):
        first = run_json("featurize", corpus, "--jobs", 1)
        assert set(first) == {"modes", "seconds"}
        for name, mode in first["modes"].items():
            assert Path(mode["store"]).parent == Path("features")
            assert Path(mode["store"]).name.startswith(f"{name}-")
            assert (mode["clips"], mode["computed"], mode["kept"], mode["quarantined"]) == (36, 36, 0, [])
        second = run_json("featurize", corpus, "--jobs", 1)
        assert [(mode["computed"], mode["kept"]) for mode in second["modes"].values()] == [(0, 36), (0, 36)]

    def test_the_corpus_defaults_to_data(self, corpus):
        assert list(run_json("featurize", "--mode", "lh", "--jobs", 1)["modes"]) == ["lh"]

    def test_a_changed_file_is_computed_anew(self, corpus):
        run("featurize", corpus, "--mode", "x", "--jobs", 1)
        path = corpus / "audio" / "hum-03.wav"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        result = run("featurize", corpus, "--mode", "x", "--jobs", 1)
        assert "x: 1 clip has changed: hum-03.wav" in result.stdout
        assert "1 computed, 35 kept" in result.stdout

    def test_a_changed_setting_is_explained(self, corpus):
        run("featurize", corpus, "--mode", "x", "--jobs", 1)
        result = run("featurize", corpus, "--mode", "x", "--dtype", "float32", "--jobs", 1)
        assert "the settings changed (dtype float16 → float32)" in result.stdout
        assert "36 computed" in result.stdout

    def test_dry_run_writes_nothing(self, corpus, tmp_path):
        report = run_json("featurize", corpus, "--dry-run", "--jobs", 1)
        assert report["dry_run"] is True
        assert report["modes"]["lh"]["to_compute"] == 36
        assert report["bytes"] > 36 * 201 * 128 * 2
        assert report["expected_seconds"] >= 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]

    def test_quarantined_clips_are_named_each_time_and_strict_ends_with_3(self, corpus):
        (corpus / "audio" / "hum-00.wav").write_text("no sound")
        for _ in range(2):
            report = run_json("featurize", corpus, "--mode", "lh", "--jobs", 1)["modes"]["lh"]
            assert [row["fname"] for row in report["quarantined"]] == ["hum-00.wav"]
            assert "cannot be decoded" in report["quarantined"][0]["reason"]
            assert report["computed"] + report["kept"] == 35
        run("featurize", corpus, "--mode", "lh", "--jobs", 1, "--strict", exit_code=3)

    def test_longer_clips_are_quarantined(self, corpus):
        report = run_json("featurize", corpus, "--mode", "x", "--jobs", 1, "--max-clip-minutes", 0.01)
        assert (
            len(report["modes"]["x"]["quarantined"]) == report["modes"]["x"]["clips"] - report["modes"]["x"]["computed"]
        )
        assert report["modes"]["x"]["quarantined"]

    @pytest.mark.parametrize("mode", ["hl", "LH", ""])
    def test_an_unknown_mode_is_wrong_usage_with_a_near_match(self, corpus, mode):
        assert "mode must be one of lh, x" in run("featurize", corpus, "--mode", mode, exit_code=2).stderr

    def test_no_corpus_is_one_line(self):
        result = run("featurize", "nowhere", exit_code=1)
        assert result.stderr.startswith("Error: ")
        assert "nowhere" in result.stderr
        assert len(result.stderr.splitlines()) == 1

    def test_an_error_is_json_too(self):
        report = run_json("featurize", "nowhere", exit_code=1)
        assert report["exit_code"] == 1
        assert "nowhere" in report["error"]

    def test_wrong_usage_is_json_too(self):
        report = run_json("featurize", "--jobs", "zero", exit_code=2)
        assert report["exit_code"] == 2
        assert "zero" in report["error"]

    @pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1"])
    def test_a_limit_must_be_a_number_above_0(self, corpus, minutes):
        run("featurize", corpus, "--max-clip-minutes", minutes, exit_code=2)

    def test_a_store_that_is_held_ends_with_5_and_names_the_holder(self, corpus):
        code = "import cache, time\nwith cache.StoreLock('features'): print('held', flush=True); time.sleep(60)"
        holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            result = run("featurize", corpus, exit_code=5)
            assert f"process {holder.pid}" in result.stderr
        finally:
            holder.kill()
            holder.communicate()
        run("featurize", corpus, "--mode", "x", "--jobs", 1)  # the dead owner's lock is free

    def test_too_little_space_ends_with_6(self, corpus, monkeypatch):
        monkeypatch.setattr(cache.space, "free_space", lambda _path: 1000)
        result = run("featurize", corpus, "--jobs", 1, exit_code=6)
        assert "MB" in result.stderr

    def test_a_damaged_shard_ends_with_4(self, corpus):
        folder = Path(run_json("featurize", corpus, "--mode", "x", "--jobs", 1)["modes"]["x"]["store"])
        shard = sorted(folder.glob("shard-*.h5"))[0]
        shard.write_bytes(shard.read_bytes()[:-1])
        assert shard.name in run("featurize", corpus, "--mode", "x", exit_code=4).stderr
        assert shard.name in run("train", corpus, "--mode", "x", exit_code=4).stderr
        report = run_json("cache", "verify", exit_code=4)
        assert report["ok"] is False
        assert Path(report["bad"][0]["path"]).name == shard.name
        assert set(report["bad"][0]) == {"path", "reason", "clips"}

    def test_a_damaged_store_is_repaired(self, corpus):
        folder = Path(run_json("featurize", corpus, "--mode", "x", "--jobs", 1)["modes"]["x"]["store"])
        one, two, three = sorted(folder.glob("shard-*.h5"))
        before = [path.read_bytes() for path in (one, two, three)]
        data = bytearray(before[0])
        data[-1] ^= 1
        one.write_bytes(data)
        two.write_bytes(bytes(5000))
        lines = run("cache", "verify", exit_code=4).stdout.splitlines()
        assert lines[0].startswith(f"bad: {one}: the frames of 1 of its ")
        assert lines[1].startswith("  clip: ")
        assert lines[-2:] == ["3 shards, 2 bad", "next: cli cache repair"]
        assert "run `cli cache repair`" in run("featurize", corpus, "--mode", "x", exit_code=4).stderr
        report = run_json("cache", "repair", corpus, "--jobs", 1)
        assert set(report) == {"ok", "shards", "repaired", "moved", "left", "computed", "seconds"}
        assert [(row["path"], row["recomputed"], row["lost"], row["same_bytes"]) for row in report["repaired"]] == [
            (str(one), 1, [], True)
        ]
        assert [(row["path"], row["to"]) for row in report["moved"]] == [(str(two), f"{two}.bad")]
        assert report["computed"]["x"] > 1
        assert [path.read_bytes() for path in (one, two, three)] == before
        result = run("cache", "repair", corpus, "--mode", "x", "--jobs", 1)
        assert result.stdout.startswith("3 shards: 0 repaired, 0 moved, 0 left; ")

    def test_what_repair_leaves_bad_ends_with_4(self, corpus):
        folder = Path(run_json("featurize", corpus, "--mode", "x", "--jobs", 1)["modes"]["x"]["store"])
        one, *_ = sorted(folder.glob("shard-*.h5"))
        one.write_bytes(one.read_bytes() + b"?")
        name = run_json("cache", "verify", exit_code=4)["bad"][0]["clips"][0]
        (corpus / "audio" / name).write_text("no sound")
        report = run_json("cache", "repair", corpus, "--mode", "lh", "--jobs", 1, exit_code=4)
        assert [row["path"] for row in report["left"]] == [str(one)]
        assert (report["ok"], report["repaired"]) == (False, [])
        result = run("cache", "repair", corpus, "--jobs", 1)
        assert f"lost: {name}: its file is gone from this corpus or changed; next: cli featurize" in result.stdout
        assert (
            f"moved: {one} -> {one}.bad: 1 of its clips is lost: its file is gone from this corpus or changed"
            in result.stdout
        )
        assert run_json("cache", "verify")["ok"] is True

    def test_workers_make_the_same_bytes(self, corpus):
        run("featurize", corpus, "--jobs", 1, "--store", "one")
        run("featurize", corpus, "--jobs", 2, "--store", "two")
        one = {path.relative_to("one"): path.read_bytes() for path in Path("one").rglob("*.h5")}
        two = {path.relative_to("two"): path.read_bytes() for path in Path("two").rglob("*.h5")}
        assert len(one) >= 4
        assert one == two


class TestSettings:
    def test_options_come_from_the_environment(self, corpus, monkeypatch):
        monkeypatch.setenv("EARMARK_STORE", "elsewhere")
        monkeypatch.setenv("EARMARK_CORPUS", str(corpus))
        monkeypatch.setenv("EARMARK_MODE", "x")
        monkeypatch.setenv("EARMARK_JOBS", "1")
        report = run_json("featurize")
        assert report["modes"]["x"]["store"].startswith("elsewhere")
        assert list(report["modes"]) == ["x"]

    def test_options_come_from_a_file_and_the_command_line_wins(self, corpus):
        Path("earmark.toml").write_text('jobs = 1\nstore = "top"\n[featurize]\nmode = "x"\ndtype = "float32"\n')
        report = run_json("featurize", corpus, "--config", "earmark.toml")
        assert list(report["modes"]) == ["x"]
        assert report["modes"]["x"]["store"].startswith("top")
        report = run_json("featurize", corpus, "--config", "earmark.toml", "--store", "own", "--mode", "lh")
        assert list(report["modes"]) == ["lh"]
        assert report["modes"]["lh"]["store"].startswith("own")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("stor = 'x'", "did you mean 'store'"),
            ("[featurise]\njobs = 1", "did you mean 'featurize'"),
            ("[featurize]\nepochs = 1", "epochs in [featurize] is not an option"),
            ("jobs = ", "cannot be read as TOML"),
            ("jobs = 'many'", "'many' is not a valid integer"),
            ("jobs = 1.5", "jobs must be a whole number; got 1.5"),
            ("jobs = true", "jobs must not be true or false; got True"),
            ("strict = 3", "strict must be true or false; got 3"),
        ],
    )
    def test_a_wrong_file_is_wrong_usage(self, corpus, text, words):
        Path("earmark.toml").write_text(text)
        assert words in run("featurize", corpus, "--config", "earmark.toml", exit_code=2).stderr.replace("\n", " ")

    def test_tables_of_nested_commands(self, tmp_path):
        Path("earmark.toml").write_text("[corpus.info]\njson = true\n")
        make_corpus(tmp_path / "c")
        assert json.loads(run("corpus", "info", "c", "--config", "earmark.toml").stdout)["clips"]["total"] == 36


class TestTrainPredictEvaluate:
    def test_train_reports_each_fold(self, trained):
        folder, _, report = trained
        assert [(row["mode"], row["fold"]) for row in report["runs"]] == [("lh", 0), ("lh", 1), ("x", 0), ("x", 1)]
        for row in report["runs"]:
            assert {"mode", "model", "fold", "path", "map3", "epochs", "seconds", "clips_per_second"} <= set(row)
            fold = Path(row["path"])
            assert fold == folder / "runs" / "best" / row["mode"] / f"fold-{row['fold']}"
            assert {"model.safetensors", "model.json", "history.csv", "oof.csv"} <= {
                path.name for path in fold.iterdir()
            }
            assert list(fold.glob("events.out.tfevents.*"))
            assert row["epochs"] == 2
            assert 0 <= row["map3"] <= 1

    def test_weights_to_begin_with_are_told_and_can_be_left_out(self, trained, shared_corpus, tmp_path):
        _, places, _ = trained
        runs = ["--runs", tmp_path, "--mode", "x", "--fold", 0, "--folds", 2, "--epochs", 1]
        found = {}
        for way in ("--pretrained", "--no-pretrained"):
            result = run("train", shared_corpus, *places, *runs, "--run", way[2:], way, "--json")
            info = json.loads((Path(json.loads(result.stdout)["runs"][0]["path"]) / "model.json").read_text())
            assert info["recipe"]["pretrained"] == (way == "--pretrained")
            found[way] = "x begins with weights trained on synthetic sounds" in result.stderr
        assert found == {"--pretrained": True, "--no-pretrained": False}
        result = run("train", shared_corpus, *places, *runs, "--recipe", "notebook", "--pretrained", exit_code=1)
        assert "recipe 'notebook': pretrained must be false for the network alexnet-like; got True" in result.stderr

    def test_a_finished_fold_is_kept_and_other_settings_are_refused(self, trained, shared_corpus):
        _, places, report = trained
        again = run_json("train", shared_corpus, "--folds", 2, "--epochs", 2, *places)
        assert all(row["kept"] for row in again["runs"])
        assert [row["map3"] for row in again["runs"]] == [row["map3"] for row in report["runs"]]
        result = run("train", shared_corpus, "--folds", 2, "--epochs", 3, *places, exit_code=1)
        assert "recipe.epochs 2 → 3" in result.stderr

    def test_predict_writes_a_submission_and_evaluate_scores_it(self, trained, shared_corpus):
        _, places, _ = trained
        report = run_json("predict", shared_corpus, *places, "--probabilities", "p.csv")
        assert {"out", "clips", "models", "quarantined", "seconds"} <= set(report)
        assert (report["out"], report["clips"], report["models"]) == ("submission.csv", 6, 4)
        table = pd.read_csv("submission.csv")
        assert list(table.columns) == ["fname", "label"]
        assert all(set(row.split()) == set(CLASSES) for row in table["label"])
        probabilities = pd.read_csv("p.csv")
        assert list(probabilities.columns) == ["fname", *CLASSES]
        np.testing.assert_allclose(probabilities[list(CLASSES)].sum(axis=1), 1, atol=5e-6)
        best = probabilities[list(CLASSES)].idxmax(axis=1).tolist()
        assert [row.split()[0] for row in table["label"]] == best
        scores = run_json("evaluate", "submission.csv", shared_corpus)
        assert {"map3", "map3_se", "accuracy", "clips", "by_usage", "by_class"} <= set(scores)
        assert scores["clips"] == 6
        assert scores == run_json("evaluate", "p.csv", shared_corpus)
        assert "mAP@3" in run("evaluate", "submission.csv", shared_corpus).stdout

    def test_out_of_fold_predictions_can_be_scored(self, trained, shared_corpus):
        _, _, report = trained
        row = report["runs"][0]
        scores = run_json("evaluate", Path(row["path"]) / "oof.csv", shared_corpus)
        assert scores["map3"] == pytest.approx(row["map3"])

    def test_an_empty_test_clip_gets_the_most_frequent_classes(self, trained, shared_corpus, tmp_path):
        _, places, _ = trained
        copy = shutil.copytree(shared_corpus, tmp_path / "copy")
        soundfile.write(copy / "audio" / "hum-10.wav", np.zeros(0), 16_000)
        result = run("predict", copy, *places)
        assert "hum-10.wav: holds no samples" in result.stderr
        assert "most frequent" in result.stderr
        assert "hum-10.wav" in pd.read_csv("submission.csv")["fname"].tolist()
        run("predict", copy, *places, "--strict", exit_code=3)

    def test_a_sample_of_some_test_clips_tells_their_order_only(self, trained, shared_corpus, tmp_path):
        _, places, _ = trained
        copy = tmp_path / "copy"
        shutil.copytree(shared_corpus, copy)
        (copy / "sample_submission.csv").write_text("fname,label\npips-11.wav,\nhum-10.wav,\n")
        run("predict", copy, *places)
        names = pd.read_csv("submission.csv")["fname"].tolist()
        assert names[:2] == ["pips-11.wav", "hum-10.wav"]
        assert len(names) == 6

    def test_the_lines_of_the_card(self, corpus):
        run("featurize", "--mode", "lh", "--jobs", 1)
        assert ", 1 epoch, " in run("train", "--fold", 3, "--epochs", 1).stderr
        assert [str(path) for path in Path("runs").glob("*/*")] == ["runs/best/lh"]
        run("predict")
        assert len(pd.read_csv("submission.csv")) == 6

    def test_predict_without_a_run_says_what_to_do(self, corpus):
        assert "run cli train" in run("predict", exit_code=1).stderr

    def test_several_runs_must_be_told_apart(self, trained, shared_corpus, tmp_path):
        folder, _, _ = trained
        for name in ("a", "b"):
            shutil.copytree(folder / "runs" / "best", tmp_path / "runs" / name)
        assert "choose one with --run: a, b" in run("predict", shared_corpus, exit_code=1).stderr

    def test_a_tampered_checkpoint_ends_with_4(self, trained, shared_corpus, tmp_path):
        folder, _, _ = trained
        shutil.copytree(folder / "runs", tmp_path / "runs")
        path = tmp_path / "runs" / "best" / "lh" / "fold-0" / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        result = run("predict", shared_corpus, "--store", folder / "features", exit_code=4)
        assert "model.safetensors" in result.stderr

    @pytest.mark.parametrize(
        ("options", "exit_code", "words"),
        [
            (["--fold", "five"], 2, "--fold must be a number from 0, or all"),
            (["--fold", "1.5"], 2, "--fold must be a number from 0, or all"),
            (["--fold", "5"], 1, "--fold must be from 0 to 4"),
            (["--folds", "99"], 1, "--folds must be from 2"),
            (["--device", "abacus"], 1, "use auto or cpu"),
            (["--run", "a/b"], 1, "a/b"),
            (["--resume", "--force"], 1, "--resume or --force"),
            (["--seed", "5000000000"], 2, "range"),
            (["--limit-minutes", "nan"], 2, "finite"),
        ],
    )
    def test_wrong_requests_are_refused_before_anything_is_computed(self, corpus, options, exit_code, words):
        assert words in run("train", corpus, *options, exit_code=exit_code).stderr
        assert not Path("features").exists()

    @pytest.mark.parametrize("command", ["featurize", "train", "predict"])
    def test_a_scheduler_without_its_backend_is_refused(self, corpus, command):
        result = run(command, corpus, "--scheduler", "127.0.0.1:1", exit_code=2)
        assert "--scheduler 127.0.0.1:1 needs --backend dask or ray" in result.stderr

    def test_a_failing_force_keeps_what_was_trained(self, trained, shared_corpus, tmp_path, monkeypatch):
        folder, _, _ = trained
        shutil.copytree(folder / "runs", tmp_path / "runs")
        args = ["train", shared_corpus, "--store", folder / "features", "--folds", 2, "--epochs", 2, "--force"]
        run(*args, "--device", "abacus", exit_code=1)
        monkeypatch.setitem(sys.modules, "ray", None)
        run(*args, "--backend", "ray", exit_code=1)
        assert len(list(tmp_path.glob("runs/best/*/fold-*/model.json"))) == 4

    def test_outputs_are_checked_before_anything_is_computed(self, trained, shared_corpus, tmp_path):
        _, places, _ = trained
        assert "is a folder" in run("predict", shared_corpus, *places, "--out", tmp_path, exit_code=2).stderr
        run("predict", shared_corpus, *places, "--out", "a.csv", "--probabilities", "a.csv", exit_code=2)

    def test_a_class_with_a_space_is_told_before_and_has_probabilities(self, tmp_path):
        make_corpus(tmp_path / "c")
        table = pd.read_csv(tmp_path / "c" / "clips.csv")
        table["label"] = table["label"].replace("hum", "low hum")
        table.to_csv(tmp_path / "c" / "clips.csv", index=False)
        result = run("train", "c", "--folds", 2, "--fold", 0, "--epochs", 1, "--mode", "x", "--jobs", 1)
        assert "class 'low hum' holds a space" in result.stderr
        run("predict", "c", "--probabilities", "p.csv", exit_code=1)
        assert "low hum" in pd.read_csv("p.csv").columns
        assert not Path("submission.csv").exists()


class TestCorpusAndCache:
    def test_corpus_info(self, shared_corpus):
        report = run_json("corpus", "info", shared_corpus)
        assert report["clips"] == {"train": 30, "test": 6, "total": 36}
        assert "36" in run("corpus", "info", shared_corpus).stdout

    def test_corpus_synth_makes_the_same_corpus_again(self):
        run("corpus", "synth", "made", "--clips", 82, "--jobs", 1)
        info = run_json("corpus", "info", "made")
        assert len(info["classes"]) == 41
        assert info["layout"] == "zenodo"
        assert info["problems"] == []

    def test_cache_info_and_verify(self, trained):
        folder, _, _ = trained
        report = run_json("cache", "info", "--store", folder / "features")
        assert [row["mode"] for row in report["modes"]] == ["lh", "x"]
        report = run_json("cache", "verify", "--store", folder / "features")
        assert report["ok"] is True
        assert report["bad"] == []
        assert report["shards"] >= 2

    @pytest.mark.parametrize("command", ["info", "verify", "repair", "show"])
    def test_no_store_says_what_to_do(self, command, shared_corpus):
        argument = {"repair": [shared_corpus], "show": ["hum-00.wav"]}.get(command, [])
        assert "run cli featurize" in run("cache", command, *argument, exit_code=1).stderr


def test_classes_that_a_fold_is_trained_without_are_told(tmp_path, capsys):
    job = jobs_of(tmp_path)[0]
    command_line._say_of_folds([job])
    assert capsys.readouterr().err == ""
    command_line._say_of_folds([dataclasses.replace(job, held=job.labels == 1)])
    words = "fold 0 is trained without 'Flute': it has no say in what it does not know\n"
    assert capsys.readouterr().err == words


class TestLabelErrors:
    @pytest.fixture
    def places(self, trained):
        return ["--runs", trained[0] / "runs"]

    @pytest.fixture
    def said(self, trained, tmp_path):
        """A run whose networks are sure of every clip's class, but take hum-00 for noise."""
        runs = shutil.copytree(trained[0] / "runs", tmp_path / "runs")
        for path in runs.glob("*/*/*/oof.csv"):
            table = pd.read_csv(path)
            said = [name.split("-")[0] if name != "hum-00.wav" else "noise" for name in table["fname"]]
            for label in CLASSES:
                table[label] = [0.98 if label == name else 0.01 for name in said]
            table.to_csv(path, index=False)

    def test_the_likeliest_errors_are_listed(self, said, shared_corpus):
        result = run("corpus", "issues", shared_corpus)
        lines = result.stdout.splitlines()
        assert lines[0].split() == ["clip", "label", "suggested", "p(lab)", "p(sug)"]
        assert lines[1].split() == ["hum-00.wav", "hum", "noise", "0.01", "0.98"]
        assert lines[2] == "1 likely label error among 12 unverified clips -> issues.csv"
        assert lines[3] == "listen to them, and correct the column label"
        assert lines[4].startswith("next: cli train ")
        assert all(len(line) <= 80 for line in lines[:3])
        table = pd.read_csv("issues.csv")
        assert table.to_dict("records") == [
            {
                "fname": "hum-00.wav",
                "label": "hum",
                "suggested": "noise",
                "p_label": pytest.approx(0.01),
                "p_suggested": pytest.approx(0.98),
                "score": pytest.approx(0.97),
                "manually_verified": 0,
            }
        ]

    def test_json_has_counts_and_the_top(self, places, shared_corpus):
        report = run_json("corpus", "issues", shared_corpus, *places, "--top", 2, "--include-verified", "--mode", "x")
        assert {"out", "clips", "predicted", "judged", "folds", "issues", "top"} == set(report)
        assert (report["clips"], report["predicted"], report["judged"]) == (30, 30, 30)
        assert report["folds"] == {"x": [0, 1]}
        assert len(report["top"]) == min(2, report["issues"])
        for row in report["top"]:
            assert list(row) == list(pd.read_csv("issues.csv").columns)

    def test_clips_of_a_class_that_was_not_trained_on_are_counted(self, said, shared_corpus):
        names = {path: pd.read_csv(path)["fname"] for path in Path("runs").glob("best/*/*/oof.csv")}
        for path, held in names.items():
            if "hum-00.wav" in set(held):
                info = json.loads((path.parent / "model.json").read_text())
                (path.parent / "model.json").write_text(json.dumps({**info, "unseen_classes": ["hum"]}))
                hums = held.str.startswith("hum").sum()
        result = run("corpus", "issues", shared_corpus)
        words = f"not judged, as their networks were trained without their class: {hums} training clips"
        assert words in result.stderr
        assert "hum-00.wav" not in result.stdout

    def test_clips_without_prediction_are_counted(self, said, shared_corpus):
        for mode in ("lh", "x"):
            shutil.rmtree(Path("runs") / "best" / mode / "fold-1")
        result = run("corpus", "issues", shared_corpus)
        assert "not trained: fold 1 of lh, fold 1 of x" in result.stderr
        assert "without a prediction, and not judged: 15 of 30 training clips" in result.stderr

    def test_a_file_that_is_there_is_replaced_only_by_force(self, places, shared_corpus):
        Path("issues.csv").write_text("mine")
        args = ["corpus", "issues", shared_corpus, *places]
        assert "give --force" in run(*args, exit_code=1).stderr
        assert "give --force" in run(*args, "--out", "b.csv", "--propose", "issues.csv", exit_code=1).stderr
        assert Path("issues.csv").read_text() == "mine"
        run(*args, "--force")
        run(*args, "--out", "a.csv", "--propose", "./a.csv", exit_code=2)

    def test_a_proposal_is_trained_on_and_scores_keep_the_corpus(self, said, trained, shared_corpus):
        before = (shared_corpus / "clips.csv").read_bytes()
        args = ["corpus", "issues", shared_corpus, "--propose", "relabel.csv", "--verify-at-most", 2]
        result = run(*args)
        assert "relabel.csv: trust 6, relabel 1, leave out 0, keep 5 of 12 unverified clips" in result.stdout
        assert f"next: cli train {shared_corpus} --relabel relabel.csv --run NAME" in result.stdout
        again = [*args, "--leave-out-below", 0.5, "--relabel-above", 1, "--force"]
        assert run_json(*again)["proposed"] == {
            "out": "relabel.csv",
            "clips": 12,
            "verify": 6,
            "relabel": 0,
            "leave_out": 1,
            "keep": 5,
        }
        options = ["--mode", "x", "--folds", 2, "--fold", 0, "--epochs", 1, "--store", trained[0] / "features"]
        report = run_json("train", shared_corpus, "--relabel", "relabel.csv", "--run", "other", *options)
        assert report["relabelled"] == {
            "rows": 12,
            "relabelled": 0,
            "verified": 6,
            "doubted": 0,
            "left_out": 1,
            "unchanged": 5,
        }
        names, others = (pd.read_csv(f"runs/{name}/x/fold-0/oof.csv")["fname"].tolist() for name in ("best", "other"))
        assert names == others
        assert "relabelled 6 verified, 1 left out (" in run(
            "train", shared_corpus, "--run", "other", *options, exit_code=1
        ).stderr.replace("\n", " ")
        assert (shared_corpus / "clips.csv").read_bytes() == before

    def test_clips_of_a_file_are_judged_by_it_and_left_to_it(self, said, shared_corpus):
        Path("hand.csv").write_text("fname,label,manually_verified\nhum-00.wav,noise,1\nhum-03.wav,,\n")
        args = ["corpus", "issues", shared_corpus, "--relabel", "hand.csv", "--propose", "rest.csv"]
        result = run(*args)
        assert "relabelled: 1 clip with another label, 1 verified, 1 left out" in result.stderr
        assert "0 likely label errors among 10 unverified clips" in result.stdout
        assert "--relabel hand.csv --relabel rest.csv" in result.stdout
        assert not {"hum-00.wav", "hum-03.wav"} & set(pd.read_csv("rest.csv")["fname"])

    @pytest.mark.parametrize("command", ["train", "corpus issues"])
    def test_a_wrong_file_of_labels_is_refused(self, command, said, shared_corpus):
        Path("relabel.csv").write_text("fname,label\nhum-00.wav,nois\n")
        result = run(*command.split(), shared_corpus, "--relabel", "relabel.csv", exit_code=1)
        assert "label must be a class of the corpus (did you mean 'noise'?)" in result.stderr
        run(*command.split(), shared_corpus, "--relabel", "nowhere.csv", exit_code=2)
        assert not Path("features").exists()

    def test_another_corpus_is_refused(self, places):
        make_corpus(Path("c"))
        table = pd.read_csv("c/clips.csv")
        table["label"] = table["label"].replace("hum", "low hum")
        table.to_csv("c/clips.csv", index=False)
        assert "got 'low hum'" in run("corpus", "issues", "c", *places, exit_code=1).stderr


class TestCacheShow:
    @pytest.fixture
    def store(self, trained):
        return trained[0] / "features"

    def test_it_writes_a_picture_of_all_modes(self, store):
        report = run_json("cache", "show", "hum-00.wav", "--store", store)
        assert (report["out"], report["clip"]) == ("hum-00.png", "hum-00.wav")
        assert {name: (mode["frames"], mode["bands"]) for name, mode in report["modes"].items()} == {
            "lh": (201, 128),
            "x": (301, 48),
        }
        for mode in report["modes"].values():
            assert set(mode) == {"frames", "bands", "seconds", "min_db", "max_db"}
            assert 0.4 <= mode["seconds"] <= 1.5
            assert mode["max_db"] - 80.1 <= mode["min_db"] < mode["max_db"]
        assert Path("hum-00.png").read_bytes().startswith(b"\x89PNG")

    def test_mode_and_out_can_be_chosen(self, store):
        result = run("cache", "show", "hum-00.wav", "--store", store, "--mode", "x", "--out", "a.png")
        assert result.stdout == "a.png: hum-00.wav: x 301 frames × 48 bands\nnext: look at a.png\n"
        assert [path.name for path in Path().iterdir()] == ["a.png"]

    def test_a_file_that_is_there_is_replaced_only_by_force(self, store):
        Path("hum-00.png").write_text("mine")
        args = ["cache", "show", "hum-00.wav", "--store", store]
        assert "give --force" in run(*args, exit_code=1).stderr
        assert Path("hum-00.png").read_text() == "mine"
        run(*args, "--force")
        assert Path("hum-00.png").read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["hum-00.wv"], "did you mean 'hum-00.wav'?"),
            (["hum-00.wv", "--out", "a.pdf"], "did you mean 'hum-00.wav'?"),
            (["data/audio/hum-00.wav"], "did you mean 'hum-00.wav'?"),
            (["hum-00.wav", "--out", "a.pdf"], "must end in .png"),
            (["hum-00.wav", "--out", "nowhere/a.png"], "there is no folder nowhere"),
        ],
    )
    def test_what_cannot_be_shown_is_one_line_and_no_file(self, store, args, words):
        result = run("cache", "show", *args, "--store", store, exit_code=1)
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert list(Path().iterdir()) == []

    def test_a_quarantined_clip_says_why(self, corpus):
        (corpus / "audio" / "hum-00.wav").write_text("no sound")
        run("featurize", corpus, "--mode", "x", "--jobs", 1)
        assert "is quarantined in mode x: cannot be decoded" in run("cache", "show", "hum-00.wav", exit_code=1).stderr

    def test_names_of_a_folder_tree_make_plain_file_names(self):
        sound = sine(10_000, 440)
        for name in ("dog/1.wav", "cat/1.wav"):
            write_sound(Path("tree") / name, sound)
        run("featurize", "tree", "--mode", "x", "--jobs", 1)
        assert run_json("cache", "show", "dog/1.wav")["out"] == "dog-1.png"

    def test_no_home_to_write_to_is_no_matter(self, store):
        unset = ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
        env = {name: value for name, value in os.environ.items() if name not in unset}
        # Not even root can make a folder there.
        done = subprocess.run(
            [*CLI, "cache", "show", "hum-00.wav", "--store", store, "--mode", "x"],
            env=env | {"HOME": "/dev/null"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        assert Path("hum-00.png").exists()


class TestInterruption:
    def interrupt(self, args, until, tmp_path):
        process = subprocess.Popen(
            [*CLI, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            # What a shell starts in the background ignores SIGINT, and so would the child.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        deadline = time.monotonic() + 120
        while not until() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        return process.returncode, stderr.decode()

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_featurize_ends_with_130_and_goes_on(self, tmp_path, jobs):
        make_corpus(tmp_path / "data", train=150, test=10)

        def a_shard():
            return list(tmp_path.glob("features/*/shard-*.h5"))

        for _ in range(5):  # on a busy machine the signal can come too late
            code, stderr = self.interrupt(["featurize", "--jobs", jobs], a_shard, tmp_path)
            if code:
                break
            shutil.rmtree(tmp_path / "features")
        assert code == 130, stderr
        assert "Traceback" not in stderr
        assert "Interrupted" in stderr
        assert list(tmp_path.glob("features/*/.*.part")) == []
        kept = a_shard()
        report = run_json("featurize", "--jobs", 1)
        assert report["modes"]["lh"]["kept"] > 0
        assert report["modes"]["lh"]["computed"] + report["modes"]["lh"]["kept"] == 480
        run("featurize", "--jobs", 1, "--store", "undisturbed")
        for path in kept:
            assert path.read_bytes() == (Path("undisturbed") / path.relative_to(tmp_path / "features")).read_bytes()

    def test_train_keeps_the_last_epoch_and_resumes(self, corpus, tmp_path):
        run("featurize", "--mode", "x", "--jobs", 1)
        history = tmp_path / "runs" / "best" / "x" / "fold-0" / "history.csv"

        def some_epochs():
            return history.exists() and history.read_text().count("\n") > 2

        args = ["train", "--fold", 0, "--epochs", 400, "--jobs", 1]
        code, stderr = self.interrupt(args, some_epochs, tmp_path)
        assert code == 130, stderr
        assert "Traceback" not in stderr
        done = history.read_text().count("\n") - 1
        result = run(*args, exit_code=1)
        assert f"was stopped after epoch {done} of 400: give --resume" in result.stderr
        report = run_json(*args[:-4], "--epochs", 400, "--jobs", 1, "--resume", "--limit-minutes", 0.01)
        assert report["runs"][0]["epochs"] > done


def test_the_lock_is_free_after_a_command(corpus):
    run("featurize", corpus, "--mode", "x", "--jobs", 1)
    with StoreLock(Path("features")):
        pass


# --- progress ------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_of_featurizing_tells_speed_and_the_time_left(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with command_line.progress_bars() as bars:
        bars("featurize", 0, 200, 0.0)
        bar = bars._bars["featurize"]
        bar.start_t -= 1000  # as if the rest had taken so long
        bars("featurize", 50, 200, 25_000.0)
        assert "featurize:  25%|" in str(bar)
        assert "| 50/200 [ 0.05 clips/s, 25× real time, 50:00 left]" in str(bar)
        bars.say("a worker process died")
        assert "a worker process died\n" in terminal.getvalue()


def test_no_bars_where_nobody_looks(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stderr := io.StringIO())
    with command_line.progress_bars() as bars:
        bars("featurize", 10, 200, 25.0)
        bars.say("a worker process died")
    assert stderr.getvalue() == "a worker process died\n"


# A log-spaced mode that is quick to compute, and whose windows are smaller than the network's least.
BARK = """
jobs = 1
[modes.bark]
base = "log"
sample_rate_hz = 16000
n_fft = 512
hop-samples = 320
n_mels = 24
fmax_hz = 8000
window_seconds = 0.5
"""


class TestModesBeyondTheOrigins:
    @pytest.mark.parametrize("mode", ["log", "dcase", "bark"])
    def test_a_mode_is_featurized_trained_and_predicted(self, corpus, mode):
        Path("earmark.toml").write_text(BARK)
        config = ["--config", "earmark.toml"] if mode == "bark" else ["--jobs", 1]
        plan = run_json("featurize", corpus, "--mode", mode, "--dry-run", *config)
        assert plan["modes"][mode]["to_compute"] == 36
        report = run_json("featurize", corpus, "--mode", mode, *config)["modes"]
        assert list(report) == [mode]
        assert report[mode]["computed"] == 36
        folder = Path(report[mode]["store"])
        assert folder.name.startswith(f"{mode}-")
        frames = cache.open_store(folder)[0]
        assert frames.shape == {"log": (201, 128), "dcase": (len(frames), 64), "bark": (len(frames), 24)}[mode]
        rows = run_json("train", corpus, "--folds", 2, "--fold", 0, "--epochs", 1, *config)["runs"]  # what is stored
        assert [row["mode"] for row in rows] == [mode]
        assert run_json("predict", corpus, *config)["models"] == 1
        with_config = Path("submission.csv").read_text()
        shutil.rmtree("features")
        Path("submission.csv").unlink()
        report = run_json("predict", corpus, "--mode", mode, "--jobs", 1)  # the checkpoint knows its mode
        assert (report["clips"], report["models"]) == (6, 1)
        assert Path("submission.csv").read_text() == with_config
        assert folder.is_dir()

    @pytest.mark.parametrize("modes", [["bark"], ["lh", "bark"]])
    def test_what_comes_next_names_the_modes_that_training_would_not_find(self, corpus, modes):
        Path("earmark.toml").write_text(BARK)
        options = [word for mode in modes for word in ("--mode", mode)]
        lines = run("featurize", *options, "--config", "earmark.toml").stdout.splitlines()
        _, next_command = lines[-1].split("next: cli ")
        assert next_command == " ".join(["train", *options, "--config earmark.toml"])
        result = run_json(*next_command.split(), "--folds", 2, "--fold", 0, "--epochs", 1)
        assert sorted(row["mode"] for row in result["runs"]) == sorted(modes)
        assert run("featurize", "--mode", "x", "--config", "earmark.toml").stdout.endswith(
            "\nnext: cli train --config earmark.toml\n"
        )

    def test_the_store_of_an_own_mode_is_looked_after(self, corpus, tmp_path):
        Path("earmark.toml").write_text(BARK)
        config = ["--config", "earmark.toml"]
        folder = Path(run_json("featurize", corpus, "--mode", "bark", *config)["modes"]["bark"]["store"])
        assert run_json("cache", "info", *config)["superfluous_bytes"] == 0
        assert "24 log-spaced bands from 20 Hz to 8 kHz" in run("cache", "info").stdout
        explained = run_json("cache", "explain", corpus, "--mode", "bark", *config)["modes"]["bark"]
        assert (explained["state"], explained["done"]) == ("done", 36)
        assert (
            run_json("cache", "show", "hum-00.wav", "--mode", "bark", "--out", "a.png")["modes"]["bark"]["bands"] == 24
        )
        assert run_json("cache", "pack", "bark.h5", "--mode", "bark")["folders"][folder.name]["rows"] == 36
        assert "no shard of mode brak" in run("cache", "pack", "b.h5", "--mode", "brak", exit_code=1).stderr
        shard = sorted(folder.glob("shard-*.h5"))[0]
        before = shard.read_bytes()
        shard.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert "give the --config that has them" in run("cache", "repair", corpus, "--jobs", 1, exit_code=4).stdout
        assert run_json("cache", "repair", corpus, *config)["repaired"][0]["same_bytes"] is True
        assert shard.read_bytes() == before

    def test_prune_never_takes_an_own_mode_for_an_old_one(self, corpus):
        Path("earmark.toml").write_text(BARK)
        config = ["--config", "earmark.toml"]
        folder = Path(run_json("featurize", corpus, "--mode", "bark", *config)["modes"]["bark"]["store"])
        assert run_json("cache", "prune", "--yes", *config)["removals"] == []
        report = run_json("cache", "prune", "--yes")  # without the --config it may be anybody's
        assert (report["removals"], [row["path"] for row in report["left_alone"]]) == ([], [str(folder.absolute())])
        run("train", corpus, "--folds", 2, "--fold", 0, "--epochs", 1, *config)
        Path("earmark.toml").write_text(BARK.replace("n_mels = 24", "n_mels = 32"))
        assert run_json("cache", "prune", "--yes", *config)["removals"] == []  # the run refers to it
        result = run("train", corpus, "--folds", 2, "--fold", 0, "--epochs", 1, "--mode", "bark", *config, exit_code=1)
        assert "mode.n_mels 24 → 32" in result.stderr
        shutil.rmtree("runs")
        removals = run_json("cache", "prune", "--yes", *config)["removals"]
        assert [Path(row["path"]).name for row in removals] == [folder.name]

    def test_the_type_is_the_modes_unless_asked_otherwise(self, corpus):
        Path("earmark.toml").write_text(BARK + 'dtype = "float32"\n[featurize]\nmode = "bark"\n')
        one = run_json("featurize", corpus, "--config", "earmark.toml")["modes"]["bark"]["store"]
        two = run_json("featurize", corpus, "--config", "earmark.toml", "--dtype", "float16")["modes"]["bark"]["store"]
        assert [str(cache.open_store(folder).dtype) for folder in (one, two)] == ["float32", "float16"]

    def test_workers_need_no_config(self, corpus):
        Path("earmark.toml").write_text(BARK)
        report = run_json("featurize", corpus, "--mode", "bark", "--config", "earmark.toml", "--jobs", 2)
        assert report["modes"]["bark"]["computed"] == 36

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[modes.lh]\nbase = 'x'", "earmark.toml: mode 'lh': the name is taken"),
            ("[modes.bark]\nbase = 'lh'\nn_ftt = 512", "'n_ftt' is not a setting of a mode; did you mean 'n_fft'"),
            ("[modes.bark]\nbase = 'lh'\nn_fft = 513", "earmark.toml: mode 'bark': n_fft must be even"),
            ("modes = 3", "earmark.toml: modes must be tables of settings"),
            (
                "[modes.bark]\nbase = 'lh'",
                "mode must be one of lh, x, log, dcase, bark; got 'brak', did you mean 'bark'",
            ),
        ],
    )
    def test_a_wrong_mode_is_wrong_usage(self, corpus, text, words):
        Path("earmark.toml").write_text(text)
        result = run("featurize", corpus, "--mode", "brak", "--config", "earmark.toml", exit_code=2)
        assert words in result.stderr.replace("\n", " ")

    def test_the_file_comes_before_the_options_whatever_their_order(self, corpus, monkeypatch):
        Path("earmark.toml").write_text(BARK)
        run("featurize", corpus, "--mode", "bark", "--dry-run", "--config", "earmark.toml")
        monkeypatch.setenv("EARMARK_CONFIG", "earmark.toml")
        monkeypatch.setenv("EARMARK_MODE", "bark")
        assert list(run_json("featurize", corpus, "--dry-run")["modes"]) == ["bark"]

    def test_a_mode_of_one_call_is_unknown_to_the_next(self, corpus):
        Path("earmark.toml").write_text(BARK)
        run("featurize", corpus, "--mode", "bark", "--dry-run", "--config", "earmark.toml")
        assert "one of lh, x, log, dcase;" in run("featurize", corpus, "--mode", "bark", exit_code=2).stderr
