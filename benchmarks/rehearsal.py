"""Dress rehearsal: FSDKaggle2018 at full size, made up, through featurize, an epoch of each view, and predict.

The corpus has the published number of clips of each class, verified and not, 9,473 to train on and 1,600 to test, with
lengths like the published ones (0.3 to 30 s; 6.79 s on average in training, 5.20 in the test), as 16-bit WAV files at
44.1 kHz. Its sounds are cheap: pieces of noise, sweeps and knocks. So its scores mean nothing, but its times, bytes and
memory are those of the real one. What ``cli run --dry-run`` foretells stands beside what happened.

Must hold:

- the store has the size that was foretold, to 10 %,
- no process ever holds more than 1.5 GB of memory of its own, nor in the second half of featurizing more than a fifth
  more than in the first (pages of mapped shards are the system's, and not counted),
- featurizing, and an epoch of each view, take at most twice what was foretold, or half (times of commands hold the
  start of Python and of torch, too, which the plan of one command does not count).

    python benchmarks/rehearsal.py [--clips 9473] [--folder DIR] [--sounds DIR] [--json]

It takes 9 GB of disk while it runs, 6.4 of them for the sounds. Memory is read from Linux's /proc.
"""

import argparse
import functools
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, and "train" train.py, not the packages.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import numpy as np
from numpy.typing import NDArray
from peers.batch import workers
from peers.figures import finish
from peers.sounds import RATE_HZ, clip_seconds, hiss, knocks, sweep

from corpus.synth import plan_corpus

MEAN_SECONDS = {"train": 6.79, "test": 5.20}
MOST_MB, MOST_GROWTH, MOST_BYTES_OFF, MOST_SECONDS_OFF = 1500.0, 1.2, 1.1, 2.0
SAMPLE_SECONDS = 0.2
POOL = 12
"""Sounds of half a minute that all clips are pieces of."""

Result = dict[str, Any]


# --- the corpus ------------------------------------------------------------------------------------------------------


def write_corpus(root: Path, n_clips: int) -> Result:
    """Write the corpus in Zenodo's layout; give its counts and hours."""
    table = plan_corpus(clips=n_clips, seed=0)
    rng = np.random.default_rng(0)
    pool = make_pool(rng)
    hours = n_bytes = 0.0
    for split, part in table.groupby("split"):
        folder = root / f"FSDKaggle2018.audio_{split}"
        folder.mkdir(parents=True)
        for name, seconds in zip(
            part["fname"], clip_seconds(len(part), rng, mean=MEAN_SECONDS[str(split)]), strict=True
        ):
            data = wav(piece(pool, seconds, rng))
            (folder / name).write_bytes(data)
            hours, n_bytes = hours + seconds / 3600, n_bytes + len(data)
    meta = root / "FSDKaggle2018.meta"
    meta.mkdir()
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    train = train.assign(manually_verified=train["manually_verified"].astype(int))
    columns = ["fname", "label", "manually_verified", "freesound_id", "license"]
    train[columns].to_csv(meta / "train_post_competition.csv", index=False)
    columns = ["fname", "label", "usage", "freesound_id", "license"]
    test[columns].to_csv(meta / "test_post_competition_scoring_clips.csv", index=False)
    return {"train": len(train), "test": len(test), "hours": hours, "bytes": int(n_bytes)}


def make_pool(rng: np.random.Generator) -> list[NDArray[np.int16]]:
    t = np.arange(31 * RATE_HZ) / RATE_HZ
    pool = []
    for number in range(POOL):
        sound = (hiss, sweep, knocks)[number % 3](t, rng)
        sound = sound * 10 ** (rng.uniform(-24, -1) / 20) / np.abs(sound).max() + 1e-4 * rng.standard_normal(len(t))
        pool.append(np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16))
    return pool


def piece(pool: list[NDArray[np.int16]], seconds: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Cut a clip out of a sound; its end dies away."""
    sound, n_samples = pool[rng.integers(len(pool))], round(seconds * RATE_HZ)
    first = int(rng.integers(len(sound) - n_samples))
    cut = sound[first : first + n_samples].copy()
    fading = n_samples // 4
    cut[n_samples - fading :] = cut[n_samples - fading :] * np.linspace(1, 0, fading, dtype=np.float32)
    return cut


def wav(samples: NDArray[np.int16]) -> bytes:
    data = samples.astype("<i2").tobytes()
    return (
        struct.pack(
            "<4sI8sIHHIIHH4sI",
            *(b"RIFF", 36 + len(data), b"WAVEfmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16, b"data", len(data)),
        )
        + data
    )


# --- commands, watched -----------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What a command did: its report, its time, and the memory of its own that each process held, look by look."""

    report: Result = field(default_factory=dict)
    seconds: float = 0.0
    looks: list[float] = field(default_factory=list)  # the process with the most, in MB

    def memory(self) -> Result:
        """Return the most that a process held in either half of the time."""
        half = len(self.looks) // 2
        first, second = (max(part, default=0.0) for part in (self.looks[:half], self.looks[half:]))
        return {"first_half_mb": round(first, 1), "second_half_mb": round(second, 1)}


def watch(folder: Path, *words: object) -> Watched:
    """Run a command with --json, and look at its memory several times a second."""
    found = Watched()
    begun = time.perf_counter()
    with (folder / "stdout").open("w+") as out:
        command = [sys.executable, "-m", "cli", *map(str, words), "--json"]
        process = subprocess.Popen(command, cwd=folder, stdout=out, env=environment())
        while process.poll() is None:
            found.looks.append(max(own_mb(pid) for pid in [process.pid, *workers(process.pid)]))
            time.sleep(SAMPLE_SECONDS)
        found.seconds = time.perf_counter() - begun
        out.seek(0)
        if process.returncode:
            sys.exit(f"cli {words[0]} failed: {out.read()}")
        found.report = json.load(out)
    return found


def environment() -> dict[str, str]:
    """Let the commands be this project's, wherever they run."""
    root = str(Path(__file__).resolve().parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def own_mb(pid: int) -> float:
    """Return the memory that a process has of its own; 0 where it has ended."""
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1.024e-3


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# --- all of it -------------------------------------------------------------------------------------------------------


def rehearse(folder: Path, data: Path, n_clips: int) -> Result:
    begun = time.perf_counter()
    corpus = write_corpus(data, n_clips)
    corpus["synthesis_seconds"] = round(time.perf_counter() - begun, 1)
    plan = watch(folder, "run", data, "--dry-run")
    expected = {row["stage"]: row for row in plan.report["stages"]}
    featurized = watch(folder, "featurize", data, "--mode", "all")
    trained = watch(folder, "train", data, "--fold", 0, "--epochs", 1, "--mode", "all")
    predicted = watch(folder, "predict", data)
    folds = {mode: cost["start_seconds"] + cost["epoch_seconds"] for mode, cost in plan.report["training"].items()}
    own = {row["mode"]: row["seconds"] for row in trained.report["runs"]}
    stages = [
        stage("featurize", featurized, expected["featurize"]["seconds"], expected["featurize"]["bytes"]),
        stage("train", trained, max(folds.values()) if plan.report["workers"] > 1 else sum(folds.values())),
        # The plan is for all folds, and one of them was trained.
        stage("predict", predicted, expected["predict"]["seconds"] / plan.report["folds"]),
    ]
    stages[0]["bytes"] = size_of(folder / "features")
    stages[1]["bytes"] = size_of(folder / "runs")
    stages[2]["bytes"] = (folder / "submission.csv").stat().st_size
    result = {
        "corpus": corpus,
        "workers": plan.report["workers"],
        "planning_seconds": round(plan.seconds, 1),
        "stages": stages,
        "epochs": {mode: {"expected": folds[mode], "seconds": own[mode]} for mode in folds},
        "plan": plan.report,
    }
    result["claims"] = claims(result)
    return result | {"holds": all(claim["holds"] for claim in result["claims"])}


def stage(name: str, watched: Watched, expected_seconds: float, expected_bytes: int | None = None) -> Result:
    return {
        "stage": name,
        "seconds": round(watched.seconds, 1),
        "expected_seconds": round(expected_seconds, 1),
        "expected_bytes": expected_bytes,
        **watched.memory(),
    }


def claims(result: Result) -> list[Result]:
    featurized = result["stages"][0]
    highest = max(row[key] for row in result["stages"] for key in ("first_half_mb", "second_half_mb"))
    growth = featurized["second_half_mb"] / max(featurized["first_half_mb"], 1.0)
    rows = [
        ("store's bytes, against the plan", off(featurized["bytes"], featurized["expected_bytes"]), MOST_BYTES_OFF),
        ("memory of a process, MB", highest, MOST_MB),
        ("memory in featurizing, second half against first", growth, MOST_GROWTH),
        ("featurize, against the plan", off(featurized["seconds"], featurized["expected_seconds"]), MOST_SECONDS_OFF),
    ]
    rows += [
        (f"an epoch of {mode}, against the plan", off(row["seconds"], row["expected"]), MOST_SECONDS_OFF)
        for mode, row in result["epochs"].items()
    ]
    return [{"claim": name, "value": value, "most": most, "holds": value <= most} for name, value, most in rows]


def off(found: float, expected: float) -> float:
    """Return by which factor two figures differ, 1 or more."""
    return max(found, expected) / max(min(found, expected), 1e-9)


def show(result: Result) -> None:
    corpus = result["corpus"]
    print(
        f"{corpus['train']:,} + {corpus['test']:,} clips, {corpus['hours']:.1f} h, {corpus['bytes'] / 1e9:.2f} GB, "
        f"written in {corpus['synthesis_seconds']:.0f} s; {result['workers']} workers; "
        f"the plan took {result['planning_seconds']:.0f} s\n"
    )
    print(f"{'stage':<10} {'plan s':>8} {'took s':>8} {'plan MB':>9} {'MB':>9}   own memory, MB: 1st, 2nd half")
    for row in result["stages"]:
        planned = "" if row["expected_bytes"] is None else f"{row['expected_bytes'] / 1e6:.1f}"
        print(
            f"{row['stage']:<10} {row['expected_seconds']:>8.1f} {row['seconds']:>8.1f} {planned:>9} "
            f"{row['bytes'] / 1e6:>9.1f}   {row['first_half_mb']:>14.0f} {row['second_half_mb']:>8.0f}"
        )
    for mode, row in result["epochs"].items():
        print(f"  {mode}: one epoch of fold 0 in {row['seconds']:.1f} s, foretold {row['expected']:.1f} s")
    print("\nthe plan of all of it:")
    for row in result["plan"]["stages"]:
        print(f"  {row['stage']:<10} {row['what']:<40} {row['seconds']:>9,.0f} s {row['bytes'] / 1e6:>9,.1f} MB")
    print()
    for claim in result["claims"]:
        word = "holds" if claim["holds"] else "FAILS"
        print(f"{word}: {claim['claim']}: {claim['value']:.2f} (at most {claim['most']:g})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=9473, help="training clips; test clips come on top [9473]")
    parser.add_argument("--folder", type=Path, help="where the temporary files go [the system's folder for them]")
    parser.add_argument("--sounds", type=Path, help="where the corpus goes, 6.4 GB of it [with the others]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    made = functools.partial(tempfile.TemporaryDirectory, prefix="earmark-rehearsal-")
    with made(dir=arguments.folder) as folder, made(dir=arguments.sounds or folder) as sounds:
        result = rehearse(Path(folder), Path(sounds, "data"), arguments.clips)
    finish(result, show, as_json=arguments.json)


if __name__ == "__main__":
    main()
