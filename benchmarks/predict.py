"""Claim: ``cli tag`` goes through a library at 300 times real time, from WAV to CSV, in flat memory.

Networks are the recipe "best"'s, untrained, which take as long as trained ones: LH and X, one fold of each and five.
Recordings are made up, 16 bit, 44.1 kHz, mono, as long as FSDKaggle2018's clips (6.8 s on average), or those of a
folder. A round is a fresh process of ``cli tag FOLDER --out tags.csv``, without a store: "whole" counts its start, the
loading of networks and the start of workers, "command" is what it says itself.

Must hold:

- one fold: at least 300 times real time, the whole process, with two workers,
- with ``--memory``: on 10,000 recordings no process holds more than 1.1 times, at the end, of what it held after a
  quarter of them (resident, the highest of each part).

    python benchmarks/predict.py [--clips N] [--recordings DIR] [--rounds N] [--jobs N] [--memory] [--memory-clips N]
                                 [--runtime torch|onnx] [--seed N] [--folder DIR] [--json]

A batch of clips of one length, a network's fastest case, does not come up: clips are as long as they are.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, and "train" train.py, not the packages.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import torch
from peers.batch import memory_mb, workers
from peers.figures import finish, show_spread, spread
from peers.sounds import write_corpus, write_short_corpus

from corpus.classes import CLASS_COUNTS
from featurize.modes import MODES
from train.checkpoint import save_checkpoint
from train.networks import build_network
from train.recipe import RECIPES

LEAST_REAL_TIME, MOST_GROWTH = 300.0, 1.1
VIEWS = ("lh", "x")
SAMPLE_SECONDS = 0.2

Result = dict[str, Any]


def save_networks(runs: Path, name: str, folds: int) -> None:
    """Write untrained networks as a run."""
    recipe, classes = RECIPES["best"], list(CLASS_COUNTS)
    for mode in (MODES[view] for view in VIEWS):
        for fold in range(folds):
            torch.manual_seed(fold)
            settings = recipe.network_settings(
                n_mels=mode.n_mels, n_frames=mode.window_frames, n_classes=len(classes), head_only=mode.head_only
            )
            folder = runs / name / mode.name / f"fold-{fold}"
            folder.mkdir(parents=True)
            info = {
                "classes": classes,
                "mode": mode.to_dict(),
                "fingerprint": mode.fingerprint(),
                "recipe": recipe.to_dict(),
                "window_frames": mode.window_frames,
                "fold": fold,
                "epoch": 0,
                "map3": 0.0,
                "map3_se": None,
                "seconds": 0.0,
                "training_windows": 0,
                "prior": [1 / len(classes)] * len(classes),
            }
            save_checkpoint(folder, build_network(settings).eval(), info)


def command(recordings: Path, folder: Path, name: str, jobs: int, runtime: str) -> list[str]:
    words = [
        "tag",
        recordings,
        "--out",
        folder / "tags.csv",
        "--jobs",
        jobs,
        "--store",
        folder / "none",
        "--force",
        "--json",
    ]
    networks = ["--runs", folder / "runs", "--run", name]
    if runtime == "onnx":
        networks = ["--bundle", folder / f"bundle-{name}", "--runtime", "onnx"]
    return [sys.executable, "-m", "cli", *map(str, [*words, *networks])]


def export(folder: Path, name: str) -> None:
    words = ["export", "--runs", folder / "runs", "--run", name, "--out", folder / f"bundle-{name}"]
    subprocess.run([sys.executable, "-m", "cli", *map(str, words)], check=True, capture_output=True)


def time_tagging(recordings: Path, folder: Path, name: str, arguments: argparse.Namespace) -> Result:
    """Tag all recordings in fresh processes; the first round is not counted: files are read for the first time."""
    whole: list[float] = []
    own: list[float] = []
    report: Result = {}
    for number in range(arguments.rounds + 1):
        begun = time.perf_counter()
        done = subprocess.run(
            command(recordings, folder, name, arguments.jobs, arguments.runtime), capture_output=True, text=True
        )
        seconds = time.perf_counter() - begun
        if done.returncode:
            sys.exit(f"cli tag failed: {done.stderr}")
        if number:
            report = json.loads(done.stdout)
            whole.append(seconds)
            own.append(report["seconds"])
    sound, files = report["sound_seconds"], report["files"]
    return {
        "files": files,
        "sound_seconds": sound,
        "whole": {"real_time": spread(sound / s for s in whole), "files_a_second": spread(files / s for s in whole)},
        "command": {"real_time": spread(sound / s for s in own), "files_a_second": spread(files / s for s in own)},
    }


def watch_memory(recordings: Path, folder: Path, n_files: int, arguments: argparse.Namespace) -> Result:
    """Tag many recordings, and look at the memory of all processes, quarter by quarter of the recordings."""
    process = subprocess.Popen(command(recordings, folder, "one", arguments.jobs, "torch"), stdout=subprocess.PIPE)
    journal = folder / ".tags.csv.journal"
    highest: dict[int, list[float]] = {}
    while process.poll() is None:
        done = sum(1 for _ in journal.open("rb")) - 1 if journal.exists() else 0
        quarter = min(3, 4 * max(0, done) // n_files)
        for pid in [process.pid, *workers(process.pid)]:
            if done > 0 and (memory := memory_mb(pid)):
                row = highest.setdefault(pid, [0.0] * 4)
                row[quarter] = max(row[quarter], memory[1])
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        sys.exit("cli tag failed")
    rows = [row for row in highest.values() if row[0] and row[3]]
    return {"files": n_files, "highest_mb": rows, "growth": max(row[3] / row[0] for row in rows)}


def measure(folder: Path, arguments: argparse.Namespace) -> Result:
    for name, folds in (("one", 1), ("five", 5)):
        save_networks(folder / "runs", name, folds)
        if arguments.runtime == "onnx":
            export(folder, name)
    recordings = arguments.recordings
    if recordings is None:
        recordings = folder / "library"
        write_corpus(recordings, arguments.clips, seed=arguments.seed)
    result: Result = {"jobs": arguments.jobs, "runtime": arguments.runtime, "seed": arguments.seed}
    result["folds"] = {name: time_tagging(recordings, folder, name, arguments) for name in ("one", "five")}
    if arguments.memory:
        write_short_corpus(folder / "many", arguments.memory_clips, seed=arguments.seed)
        result["memory"] = watch_memory(folder / "many", folder, arguments.memory_clips, arguments)
    result["claims"] = claims(result)
    return result | {"holds": all(claim["holds"] for claim in result["claims"])}


def claims(result: Result) -> list[Result]:
    speed = result["folds"]["one"]["whole"]["real_time"]["median"]
    found = [{"claim": "one fold, × real time", "value": speed, "rule": f">= {LEAST_REAL_TIME:g}"}]
    found[0]["holds"] = speed >= LEAST_REAL_TIME
    if memory := result.get("memory"):
        growth = memory["growth"]
        row = {"claim": "memory, last quarter / first", "value": growth, "rule": f"<= {MOST_GROWTH}"}
        found.append(row | {"holds": growth <= MOST_GROWTH})
    return found


def show(result: Result) -> None:
    first = result["folds"]["one"]
    print(f"{first['files']} recordings, {first['sound_seconds'] / 3600:.2f} h, {result['jobs']} workers, ", end="")
    print(f"{result['runtime']}, LH + X, median (least … most) of fresh processes\n")
    print(f"{'':22s}{'× real time':>28s}{'recordings a second':>32s}")
    for name, row in result["folds"].items():
        for part in ("whole", "command"):
            real_time, files = row[part]["real_time"], row[part]["files_a_second"]
            print(f"{name + ' fold' + 's' * (name != 'one') + ', ' + part:22s}{show_spread(real_time):>28s}", end="")
            print(f"{show_spread(files):>32s}")
    if memory := result.get("memory"):
        print(f"\n{memory['files']} recordings: the highest memory of each process in each quarter, MB")
        for row in memory["highest_mb"]:
            print("".join(f"{value:10.0f}" for value in row))
    print()
    for each in result["claims"]:
        verdict = "holds" if each["holds"] else "does NOT hold"
        print(f"{each['claim']:32s}{each['rule']:>8s}  {each['value']:.2f}  {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast recordings are tagged, from WAV to CSV.")
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--recordings", type=Path, help="a folder of one's own [made up]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runtime", choices=["torch", "onnx"], default="torch")
    parser.add_argument("--memory", action="store_true", help="watch the memory on many recordings too")
    parser.add_argument("--memory-clips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where files go [a temporary folder]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(Path(folder), arguments)
    finish(result, show, as_json=arguments.json)


if __name__ == "__main__":
    main()
