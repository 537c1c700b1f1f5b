"""The benchmarks start, and the featurizer's compares equal numbers; how fast anything is, no test says."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_corpus

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))


def run(script: str, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FOLDER / script, *options], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_explains_itself(script: str, tmp_path: Path) -> None:
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_featurize_benchmark_compares_equal_numbers(tmp_path: Path) -> None:
    few = ["--clips", "4", "--rounds", "1", "--peer-clips", "0", "--scale-clips", "0", "--folder", str(tmp_path)]
    done = run("featurize.py", *few, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: too slow, which a busy machine may be
    result = json.loads(done.stdout)
    assert result["pipelines"]["mean_seconds"] == pytest.approx(6.8, abs=0.05)
    assert max(result["pipelines"]["difference_db"].values()) <= 0.01
    assert set(result["pipelines"]["stages"]) == {"decode", "resample", "trim", "spectrum", "dB"}
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_train_benchmark_measures_every_contestant(tmp_path: Path) -> None:
    few = ["--clips", "60", "--rounds", "1", "--threads", "1", "--device", "cpu", "--folder", str(tmp_path)]
    done = run("train.py", *few, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: too slow, which so few clips are
    found = json.loads(done.stdout)["devices"]["cpu"]
    rates = found["best"]["clips_per_second"]
    assert {"this engine, float32", "plain, windows, 0 workers", "plain, its crops, 1 workers"} <= set(rates)
    assert all(rate["min"] > 0 for rate in rates.values())
    for split in (*found["best"]["split_ms"].values(), found["notebook"]["split_ms"]):
        assert all(milliseconds > 0 for milliseconds in split.values())
    assert not list(tmp_path.iterdir())


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A clean corpus, and its twin in which two clips have the label of another."""
    for name in ("tiny", "tiny-noisy"):
        make_corpus(tmp_path / "corpora" / name, train=6, test=2)
    folder = tmp_path / "corpora" / "tiny-noisy"
    table = pd.read_csv(folder / "clips.csv")
    table[table["split"] == "train"].to_csv(folder / "train_truth.csv", index=False)
    wrong = table.index[(table["split"] == "train") & (table["manually_verified"] == 0)][:2]
    table.loc[wrong, "label"] = table["label"].iloc[-1]
    table.to_csv(folder / "clips.csv", index=False)
    return tmp_path / "corpora"


def test_accuracy_benchmark_names_what_is_not_trained(corpora: Path, tmp_path: Path) -> None:
    asked = ["--corpora", str(corpora), "--views", "lh", "--seeds", "1", "--no-training", "--json"]
    done = run("accuracy.py", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["claims"] == []
    assert [found["corpus"] for found in result["parts"]["scores"]] == ["tiny"]
    assert "tiny: best-seed-1, lh" in result["parts"]["scores"][0]["left_out"]
    assert "tiny-noisy: best-noise-on-seed-1, lh" in result["parts"]["noise"][0]["left_out"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_accuracy_benchmark_scores_recipes_and_noise(corpora: Path, tmp_path: Path) -> None:
    asked = ["--corpora", str(corpora), "--views", "lh,lh+x", "--seeds", "1", "--epochs", "1", "--folds", "2"]
    asked += ["--recipes", "notebook,best", "--jobs", "1", "--part", "scores", "--part", "noise"]
    done = run("accuracy.py", *asked, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: an epoch learns nothing
    result = json.loads(done.stdout)
    (scores,) = result["parts"]["scores"]
    assert [(row["recipe"], row["view"]) for row in scores["rows"]] == [
        (recipe, view) for recipe in ("notebook", "best") for view in ("lh", "lh+x")
    ]
    assert all(0 <= row["map3"] <= 1 and row["seconds"] > 0 and row["epochs"] == 1 for row in scores["rows"])
    (noise,) = result["parts"]["noise"]
    assert [row["label_noise"] for row in noise["rows"]] == ["off", "on", "clean"]
    again = run("accuracy.py", *asked, "--no-training", "--json", cwd=tmp_path)
    assert json.loads(again.stdout) == result


@pytest.mark.slow
def test_predict_benchmark_times_both_runs(tmp_path: Path) -> None:
    done = run("predict.py", "--clips", "6", "--rounds", "1", "--folder", str(tmp_path), "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: too slow, which so few clips are
    result = json.loads(done.stdout)
    assert set(result["folds"]) == {"one", "five"}
    for row in result["folds"].values():
        assert row["files"] == 6
        assert row["whole"]["real_time"]["min"] > 0
    assert not list(tmp_path.iterdir())


def test_report_benchmark_writes_and_opens_a_report(tmp_path: Path) -> None:
    few = ["--clips", "60", "--classes", "3", "--pictured", "4", "--keep", str(tmp_path / "kept.html")]
    done = run("report.py", *few, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: too slow, which a busy machine may be
    result = json.loads(done.stdout)
    assert (result["clips"], result["pictured"], result["embedded"]) == (60, 4, 4)
    assert len(result["ready_seconds"]) == len(result["whole_seconds"]) in (0, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.html"]


def test_captions_benchmark_scores_captions_and_yardstick(corpora: Path, tmp_path: Path) -> None:
    words = ["train", corpora / "tiny", "--mode", "x", "--epochs", "2", "--folds", "2", "--jobs", "1"]
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], cwd=tmp_path, check=True, capture_output=True)
    done = run("captions.py", str(corpora / "tiny"), "--runs", "runs", "--seeds", "0", "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: two epochs teach little
    result = json.loads(done.stdout)
    assert set(result["rows"]) == {"quiet", "20 dB", "10 dB"}
    for rows in result["rows"].values():
        for who in ("captions", "yardstick"):
            assert 0 <= rows[0][who]["events, 500 ms"] <= 1
    assert {claim["claim"] for claim in result["claims"]} >= {"above the yardstick"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rehearsal_compares_every_stage_with_the_plan(tmp_path: Path) -> None:
    done = run("rehearsal.py", "--clips", "82", "--folder", str(tmp_path), "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: so few clips are not like the real ones
    result = json.loads(done.stdout)
    assert (result["corpus"]["train"], result["corpus"]["test"]) == (82, 41)
    assert [row["stage"] for row in result["stages"]] == ["featurize", "train", "predict"]
    for row in result["stages"]:
        assert row["seconds"] > 0
        assert row["bytes"] > 0
        assert row["second_half_mb"] > 10
    assert set(result["epochs"]) == {"lh", "x"}
    sizes = next(claim for claim in result["claims"] if claim["claim"].startswith("store's bytes"))
    assert sizes["holds"], sizes
    assert not list(tmp_path.iterdir())
