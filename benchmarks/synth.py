"""Claim: the synthetic corpus is no toy.

A logistic regression on each clip's mean and standard-deviation spectrum stays below 0.6 mAP@3 on its test half, and
the networks that `cli train` trains (LH and X, one fold each) are at least 0.15 above that. Both halves run on the
same corpus; the second trains 60 epochs from weights drawn at random, for the recipe's own have heard this synthesizer
(``--skip-networks`` leaves it out).

    python benchmarks/synth.py [--corpus DIR] [--clips N] [--seed N] [--epochs N] [--jobs N] [--skip-networks] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, not the package.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from peers.figures import finish
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import featurize
from corpus.synth import write_corpus
from corpus.tables import read_corpus
from train.metrics import average_precision_at_3, mean_and_error, top_classes

MODES = ["lh", "x"]
VIEWS = {"lh": ["lh"], "x": ["x"], "lh+x": ["lh", "x"]}
STRENGTHS = (0.03, 0.1, 0.3, 1.0)
"""Inverse penalties (scikit-learn's C) to choose from."""
SPLITS = 3
HIGHEST_LINEAR = 0.6
LEAST_GAIN = 0.15

Summaries = dict[str, NDArray[np.float32]]


def summarize(path: str) -> Summaries:
    """Return a clip's mean and standard deviation over time of each mel band, [2 * n_mels] for each mode."""
    frames = featurize.compute(path, MODES)
    return {mode: np.concatenate([value.mean(0), value.std(0)]) for mode, value in frames.items()}


def summarize_all(paths: list[str], jobs: int) -> Summaries:
    """Return the summaries of all clips, [n_clips, 2 * n_mels] for each mode."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        rows = list(executor.map(summarize, paths, chunksize=32))
    return {mode: np.stack([row[mode] for row in rows]) for mode in MODES}


def classifier(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000, tol=1e-3))


def ap3(
    model: Pipeline, features: NDArray[np.float32], truth: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Return each clip's AP@3; a class that the model never saw has probability 0."""
    probabilities = np.zeros((len(features), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(features)
    return average_precision_at_3(truth, top_classes(probabilities))


def cross_validated(
    features: NDArray[np.float32], truth: NDArray[np.int64], verified: NDArray[np.bool_], strength: float
) -> float:
    """Return mAP@3 over the verified training clips, each predicted by a model that did not see it."""
    scores = np.zeros(len(truth))
    for fit, held in StratifiedKFold(SPLITS, shuffle=True, random_state=0).split(features, truth):
        model = classifier(strength).fit(features[fit], truth[fit])
        scores[held] = ap3(model, features[held], truth[held], int(truth.max()) + 1)
    return float(scores[verified].mean())


def linear_score(table: pd.DataFrame, jobs: int) -> dict[str, Any]:
    """Score the logistic regression on the test half, view and strength chosen by cross-validation on the other."""
    summaries = summarize_all([str(path) for path in table["path"]], jobs)
    views = {name: np.concatenate([summaries[mode] for mode in modes], axis=1) for name, modes in VIEWS.items()}
    truth = table["label"].astype("category").cat.codes.to_numpy().astype(np.int64)
    train = (table["split"] == "train").to_numpy()
    verified = table.loc[train, "manually_verified"].to_numpy(dtype=bool)
    tried = {
        (view, strength): cross_validated(features[train], truth[train], verified, strength)
        for view, features in views.items()
        for strength in STRENGTHS
    }
    view, strength = max(tried, key=lambda key: tried[key])
    model = classifier(strength).fit(views[view][train], truth[train])
    map3, error = mean_and_error(ap3(model, views[view][~train], truth[~train], int(truth.max()) + 1))
    return {"view": view, "c": strength, "cross_validated": tried[view, strength], "map3": map3, "map3_se": error}


def run_cli(*arguments: str, folder: Path) -> dict[str, Any]:
    """Run one command in a folder and return its JSON object."""
    command = [sys.executable, "-m", "cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def network_score(corpus: Path, folder: Path, *, epochs: int, jobs: int) -> dict[str, Any]:
    """Train one fold of LH and of X through the command line, and score their ensemble on the test half."""
    workers = ("--jobs", str(jobs))
    run_cli("featurize", str(corpus), "--mode", "all", *workers, folder=folder)
    train = ("train", str(corpus), "--mode", "all", "--fold", "0", "--epochs", str(epochs), "--no-pretrained")
    trained = run_cli(*train, *workers, folder=folder)
    run_cli("predict", str(corpus), folder=folder)
    scored = run_cli("evaluate", "submission.csv", str(corpus), folder=folder)
    runs = {run["mode"]: {key: run[key] for key in ("map3", "epochs", "seconds")} for run in trained["runs"]}
    return {"map3": scored["map3"], "map3_se": scored["map3_se"], "runs": runs}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    corpus = (arguments.corpus or folder / "corpus").resolve()
    start = time.monotonic()
    write_corpus(corpus, clips=arguments.clips, seed=arguments.seed, jobs=arguments.jobs)
    table = read_corpus(corpus)
    result: dict[str, Any] = {
        "clips": {split: int(count) for split, count in table["split"].value_counts().items()},
        "synthesis_ms_per_clip": 1000 * (time.monotonic() - start) * arguments.jobs / len(table),
        "linear": linear_score(table, arguments.jobs),
    }
    holds = result["linear"]["map3"] < HIGHEST_LINEAR
    if not arguments.skip_networks:
        result["networks"] = network_score(corpus, folder, epochs=arguments.epochs, jobs=arguments.jobs)
        result["gain"] = result["networks"]["map3"] - result["linear"]["map3"]
        holds = holds and result["gain"] >= LEAST_GAIN
    return result | {"holds": holds}


def show(result: dict[str, Any]) -> None:
    linear, counts = result["linear"], result["clips"]
    print(f"{counts['train']} training and {counts['test']} test clips")
    print(f"{'':34s} mAP@3")
    print(
        f"logistic regression, mean and std  {linear['map3']:.3f} ± {linear['map3_se']:.3f}   (view {linear['view']})"
    )
    if "networks" in result:
        networks = result["networks"]
        print(f"LH and X networks, one fold        {networks['map3']:.3f} ± {networks['map3_se']:.3f}")
        print(f"gain                               {result['gain']:+.3f}         (at least {LEAST_GAIN:+.2f})")
    print("the claim holds" if result["holds"] else "the claim does NOT hold")


def main() -> None:
    parser = argparse.ArgumentParser(description="How hard the synthetic corpus is: linear against networks.")
    parser.add_argument("--corpus", type=Path, help="folder of the corpus, made where it is missing [a temporary one]")
    parser.add_argument("--clips", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=60, help="of each network")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--skip-networks", action="store_true", help="score the logistic regression only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    # The regressions are small: a second thread only spins.
    with tempfile.TemporaryDirectory(prefix="earmark-synth-") as folder, threadpool_limits(1):
        result = measure(arguments, Path(folder))
    finish(result, show, as_json=arguments.json)


if __name__ == "__main__":
    main()
