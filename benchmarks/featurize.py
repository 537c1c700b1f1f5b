"""Claims: the featurizer is several times faster than librosa's pipeline at the same numbers, and two workers help.

Must hold:

- from a WAV file's bytes to the float32 frames of LH and X at least 3 times as fast as ``librosa.load`` at the mode's
  rate, ``effects.trim``, padding, ``feature.melspectrogram`` and ``power_to_db``, once for each mode; one thread each;
- both within 0.01 dB of each other in every frame of every clip;
- two workers, once started, at least 1.8 times as fast as one (where there are two cores);
- a new worker has computed its first clip in under a second, compiled code being on disk;
- with ``--memory``: on 10,000 clips no worker ever holds 400 MB (resident), nor in the second half of the run more than
  1.1 times what it held in the first.

Everything is timed in turns, clip by clip or run by run, and compared within each round, so that noise of the machine
hits all alike; figures are medians of the rounds, with the least and the most. Clips have the lengths of the
competition's (0.3 to 30 s, mean 6.8 s) and silence at their ends.

Further tables: milliseconds of each stage; the floor, which is soxr's resampling and the FFTs alone; the front-ends of
other libraries from samples in memory, at the nearest settings that they have, one thread each; workers as commands,
with what starting them costs; two processes that only compute, beside one, which is what the machine can give; what
``--dry-run`` expected.

    python benchmarks/featurize.py [--corpus DIR] [--clips N] [--rounds N] [--peer-clips N] [--scale-clips N]
                                   [--scale-rounds N] [--memory] [--memory-clips N] [--seed N] [--folder DIR] [--json]

``--corpus`` measures the WAV files of a folder instead of self-made sounds; 0 for ``--peer-clips`` or ``--scale-clips``
leaves these tables out. Memory is read from Linux's /proc. Front-ends that are not installed are named and left out:
``pip install 'earmark[bench]'``.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

# In this folder "featurize" would be this file, not the package.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

from peers.batch import JOBS, QUARTERS, WARM, time_pool, time_scaling, time_start, watch_memory
from peers.figures import finish, ratio, show_spread, spread
from peers.frontends import OWN, missing_front_ends, time_front_ends
from peers.pipelines import (
    FFTS,
    LH_AND_X,
    LIBROSA,
    RESAMPLING,
    difference_db,
    open_clip,
    prepared,
    time_pipelines,
    time_transforms,
)
from peers.rounds import single_threaded
from peers.sounds import link_corpus, write_corpus, write_short_corpus

from featurize.jobs import count_jobs

LEAST_SPEED = 3.0
LARGEST_DB = 0.01
LEAST_SCALING = 1.8
LONGEST_START = 1.0
MOST_MB = 400.0
MOST_GROWTH = 1.1

Result = dict[str, Any]


def measure_pipelines(paths: list[Path], rounds: int) -> Result:
    clips = [open_clip(path) for path in paths]
    seconds = sum(clip.recording.seconds for clip in clips) / len(clips)
    largest = difference_db(clips)
    transform, milliseconds = time_transforms(clips[:20], 3)
    rows, stages = time_pipelines(clips, transform, rounds)
    own = rows[OWN].milliseconds
    floor = [sum(parts) for parts in zip(rows[RESAMPLING].milliseconds, rows[FFTS].milliseconds, strict=True)]
    return {
        "clips": len(clips),
        "mean_seconds": seconds,
        "difference_db": largest,
        "milliseconds": {name: spread(row.milliseconds) for name, row in rows.items()} | {"floor": spread(floor)},
        "cores": {name: row.cores for name, row in rows.items()},
        "stages": {stage: spread(row) for stage, row in stages.items()},
        "speed": ratio(rows[LIBROSA].milliseconds, own),
        "of_floor": ratio(own, floor),
        "times_real_time": 1000 * seconds / spread(own)["median"],
        "fft": f"{transform.name}, {transform.block} frames at once",
        "fft_milliseconds": milliseconds,
    }


def measure_front_ends(paths: list[Path], rounds: int) -> Result:
    rows = time_front_ends({mode: [prepared(path, mode) for path in paths] for mode in LH_AND_X}, rounds)
    own = rows[OWN]["both"]
    for row in rows.values():
        row["times_own"] = ratio(row["both"], own)
    for row in rows.values():
        row |= {kind: spread(row[kind]) for kind in [*(mode.name for mode in LH_AND_X), "both"]}
    return {"clips": len(paths), "not_installed": missing_front_ends(), "rows": rows}


def measure_workers(corpus: Path, folder: Path, rounds: int) -> Result:
    runs, estimates = time_scaling(corpus, folder, rounds)
    sounds = sorted(corpus.rglob("*.wav"))
    starts = time_start(min(sounds, key=lambda path: path.stat().st_size), rounds)
    pool = time_pool(link_few(sounds, folder), folder, rounds)
    return {
        "clips": len(sounds),
        "seconds": {name: spread(row) for name, row in runs.items()},
        "scaling": ratio(runs["warm, 1"], runs["warm, 2"]),
        "scaling_cold": ratio(runs["cold, 1"], runs["cold, 2"]),
        "machine": ratio((2 * seconds for seconds in runs["bare, 1"]), runs["bare, 2"]),
        "start": {name: spread(row) for name, row in starts.items()},
        "pool": spread(pool),
        "estimates": {name: spread(row) for name, row in estimates.items()},
    }


def link_few(sounds: list[Path], folder: Path) -> Path:
    """Make a corpus of two shards of the shortest clips."""
    root = folder / "few"
    link_corpus(root, sorted(sounds, key=lambda path: path.stat().st_size)[:32])
    return root


def measure_memory(folder: Path, n_clips: int, seed: int) -> Result:
    root = folder / "short"
    write_short_corpus(root, n_clips, seed=seed)
    return {"clips": n_clips} | watch_memory(root, folder)


def claim(text: str, value: float, *, least: float | None = None, most: float | None = None) -> Result:
    holds = value >= least if least is not None else value <= (most or 0)
    return {"claim": text, "value": value, "least": least, "most": most, "holds": bool(holds)}


def claims(result: Result) -> list[Result]:
    """Say what must hold, and whether it does."""
    pipelines = result["pipelines"]
    found = [
        claim("speed against librosa's pipeline", pipelines["speed"]["median"], least=LEAST_SPEED),
        claim("largest difference, dB", max(pipelines["difference_db"].values()), most=LARGEST_DB),
    ]
    if workers := result.get("workers"):
        if count_jobs(None) >= 2:
            found.append(claim("two workers against one", workers["scaling"]["median"], least=LEAST_SCALING))
        start = workers["start"][WARM]["median"]
        found.append(claim("a worker's start, s", start, most=LONGEST_START))
    if memory := result.get("memory"):
        rows = [row for name, row in memory["mb"].items() if name != "parent"]
        found.append(claim("a worker's memory, MB", max(row["highest_rss"] for row in rows), most=MOST_MB))
        found.append(claim("a worker's memory, growth", max(row["growth"] for row in rows), most=MOST_GROWTH))
    return found


def measure(arguments: argparse.Namespace, folder: Path) -> Result:
    result: Result = {"rounds": arguments.rounds}
    if arguments.corpus:
        everything = sorted(arguments.corpus.rglob("*.wav"))
        if not everything:
            sys.exit(f"{arguments.corpus} holds no .wav files")
        paths = everything[:: max(1, len(everything) // arguments.clips)][: arguments.clips]
    else:
        paths = write_corpus(folder / "clips", arguments.clips, seed=arguments.seed)
    with single_threaded():
        result["pipelines"] = measure_pipelines(paths, arguments.rounds)
        if arguments.peer_clips:
            result["front_ends"] = measure_front_ends(paths[: arguments.peer_clips], arguments.rounds)
    if arguments.scale_clips:
        root = folder / "corpus"
        if arguments.corpus:
            link_corpus(root, everything[: arguments.scale_clips])
        else:
            write_corpus(root, arguments.scale_clips, seed=arguments.seed + 1)
        result["workers"] = measure_workers(root, folder, arguments.scale_rounds)
    if arguments.memory:
        result["memory"] = measure_memory(folder, arguments.memory_clips, arguments.seed)
    found = claims(result)
    return result | {"claims": found, "holds": all(each["holds"] for each in found)}


def show_pipelines(result: Result) -> None:
    print(f"{result['clips']} clips of {result['mean_seconds']:.1f} s on average, LH and X, one thread")
    print(f"{'from the file to both arrays':36s}{'ms a clip':>30s}{'cores':>8s}")
    labels = {OWN: OWN, LIBROSA: LIBROSA, "stages": "earmark, stage after stage"}
    for name, label in labels.items():
        print(f"{label:36s}{show_spread(result['milliseconds'][name]):>30s}{result['cores'][name]:8.2f}")
    print(f"{'librosa / earmark':36s}{show_spread(result['speed']):>30s}")
    print(f"{'earmark, times real time':36s}{result['times_real_time']:9.0f}")
    for name, value in result["difference_db"].items():
        print(f"{'largest difference, ' + name:36s}{value:17.6f} dB")
    print(f"\n{'stage':36s}{'ms a clip':>30s}")
    for stage, row in result["stages"].items():
        print(f"{stage:36s}{show_spread(row):>30s}")
    print(f"\n{'floor: ' + result['fft']:36s}{'ms a clip':>30s}")
    for name in (RESAMPLING, FFTS, "floor"):
        label = "both" if name == "floor" else name
        print(f"{label:36s}{show_spread(result['milliseconds'][name]):>30s}")
    print(f"{'earmark / floor':36s}{show_spread(result['of_floor']):>30s}")
    listed = ", ".join(f"{name} {value:.2f}" for name, value in result["fft_milliseconds"].items())
    print(f"FFTs, best of a few, ms a clip: {listed} (featurize may not load torch)")


def show_front_ends(result: Result) -> None:
    names = [mode.name for mode in LH_AND_X]
    print(f"\nfront-end only, {result['clips']} clips, ms a clip, one thread")
    print(f"{'':20s}" + "".join(f"{kind:>28s}" for kind in [*names, "both, of earmark's"]) + f"{'cores':>7s}   dB")
    for name, row in sorted(result["rows"].items(), key=lambda item: item[1]["both"]["median"]):
        cells = "".join(f"{show_spread(row[kind]):>28s}" for kind in [*names, "times_own"])
        same = f"{row['difference_db']:.5f}" if "difference_db" in row else f"not comparable: {row['differs']}"
        print(f"{name:20s}{cells}{row['cores']:7.2f}   {same}")
    for name in result["not_installed"]:
        print(f"{name}: not installed")


def show_workers(result: Result) -> None:
    print(f"\n{result['clips']} clips through the batch{'seconds':>30s}")
    states = {"bare": "that only compute", "warm": "already started", "cold": "as a command"}
    for name, row in result["seconds"].items():
        state, jobs = name.split(", ")
        print(f"{jobs + ' worker(s), ' + states[state]:42s}{show_spread(row):>30s}")
    for key, label in (
        ("scaling", "two workers against one, started"),
        ("scaling_cold", "two workers against one, as commands"),
        ("machine", "what two do that only compute, each all"),
    ):
        print(f"{label:42s}{show_spread(result[key]):>30s}")
    if result["machine"]["median"] < LEAST_SCALING:
        print(
            "caution: other work takes the cores, or they are none of its own: two bare processes do not scale either"
        )
    print(f"{'two new workers cost':42s}{show_spread(result['pool']):>30s}")
    print(f"\n{'a new worker':42s}{'seconds':>30s}")
    for name, row in result["start"].items():
        print(f"{name:42s}{show_spread(row):>30s}")
    kinds = ("expected s", "took s", "expected MB", "took MB")
    print(f"\n{'--dry-run':14s}" + "".join(f"{kind:>26s}" for kind in kinds))
    for jobs in JOBS:
        cells = "".join(f"{show_spread(result['estimates'][f'{kind}, {jobs}']):>26s}" for kind in kinds)
        print(f"{jobs} worker(s)   {cells}")


def show_memory(result: Result) -> None:
    moments = ["first shard", *(f"{share:.0%}" for share in QUARTERS), "end", "highest", "highest_rss"]
    print(
        f"\n{result['clips']:,} clips in {result['seconds']:.0f} s, {result['looks']} looks; MB, shared pages divided"
    )
    print(f"{'':10s}" + "".join(f"{moment.replace('_rss', ', resident'):>18s}" for moment in moments))
    for name, row in result["mb"].items():
        print(f"{name:10s}" + "".join(f"{row[moment]:18.1f}" for moment in moments))


def show(result: Result) -> None:
    tables = (show_pipelines, show_front_ends, show_workers, show_memory)
    for name, table in zip(("pipelines", "front_ends", "workers", "memory"), tables, strict=True):
        if name in result:
            table(result[name])
    print(f"\n{'claim':42s}{'':>10s}{'must be':>12s}")
    for each in result["claims"]:
        bound = f"≥ {each['least']:g}" if each["least"] is not None else f"≤ {each['most']:g}"
        print(f"{each['claim']:42s}{each['value']:10.4g}{bound:>12s}  {'holds' if each['holds'] else 'does NOT hold'}")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast files become frames: this featurizer and others.")
    parser.add_argument("--corpus", type=Path, help="folder of WAV files to measure on [self-made sounds]")
    parser.add_argument("--clips", type=int, default=100, help="clips through the pipelines")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peer-clips", type=int, default=20, help="of these, clips through the front-ends")
    parser.add_argument("--scale-clips", type=int, default=600, help="clips through the batch")
    parser.add_argument("--scale-rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="watch the memory too")
    parser.add_argument("--memory-clips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the temporary files go [the system's folder for them]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earmark-featurize-", dir=arguments.folder) as folder:
        result = measure(arguments, Path(folder))
    finish(result, show, as_json=arguments.json)


if __name__ == "__main__":
    main()
