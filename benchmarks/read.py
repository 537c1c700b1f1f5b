"""Claim: random reads come close to what memory allows, and stay ahead of the other ways to read the same clips.

All contestants read the same bytes (LH windows, float16 [201, 128], 51 kB) in turns of one random batch, one contestant
after the other: noise of the machine hits all alike. Each turn draws clips of its own, so that none finds in the
processor's caches what another has just read, and reads another batch before the time starts. "Single" means that every
clip ends in memory of its own, "batch" a new array [64, 201, 128]. Times are microseconds a clip; speeds are compared
within each round, and medians decide.

Must hold, on warm reads:

- single clips at least 0.8 times as fast as ``numpy.memmap`` on a plain ``.npy`` of the same bytes,
- a batch at least 0.8 times as fast as the best that numpy or torch gathers from memory, as ``StoreReader.gather``
  (one thread) or as training's dataset (torch's threads) gathers it, whichever is faster,
- faster than h5py with a kept handle on the very same shards (a batch twice as fast), and 15 times as fast as h5py
  opened for each clip.

Cold reads follow: the page cache is told to drop the files and asked whether it did, and each contestant is opened
anew, outside the time. (What lies below, such as a host's cache, is out of reach.) What the check of a clip's CRC-32
costs is measured on the first pass of a fresh reader.

    python benchmarks/read.py [--clips N] [--shard-clips N] [--rounds N] [--cold-rounds N] [--seed N] [--folder DIR]
                              [--json]

The files take about nine times the clips' bytes, 3.6 GB at 8,000 clips. WebDataset reads in shuffled order, but only
sequentially. Peers that are not installed are named and left out: ``pip install 'earmark[bench]'``.
"""

import argparse
import gc
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, not the package.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import numpy as np
from numpy.typing import NDArray
from peers.figures import finish, ratio, show_spread, spread
from peers.files import drop_from_cache, make_clips, peer, write_files
from peers.ways import (
    DATASET,
    FROM_DISK,
    KEPT,
    MEMMAP,
    NEEDS,
    PER_ITEM,
    READER,
    THREADS,
    WEBDATASET,
    Clips,
    Read,
    Way,
    memory_ways,
)

BATCH = 64
KINDS = ("single", "batch")
HIGHEST_RESIDENT = 0.05
"""A larger share of a file in the page cache is not cold."""

Rows = dict[str, list[float]]
"""Of each contestant its microseconds a clip, round by round."""
Times = dict[str, Rows]


def time_turn(read: Read, clips: Clips) -> float:
    """Return microseconds a clip."""
    start = time.perf_counter()
    read(clips)
    return 1e6 * (time.perf_counter() - start) / len(clips)


def check_ways(ways: dict[str, Way], clips: NDArray[np.float16], rng: np.random.Generator) -> None:
    """Stop if a contestant gives other bytes than were written."""
    known = {zlib.crc32(clip.data) for clip in clips}
    which = rng.choice(len(clips), BATCH, replace=False)
    for name, way in ways.items():
        batch = np.asarray(way.batch(which) if way.batch else clips[which])
        last = np.asarray(way.single(which) if way.single else batch[-1])
        same = np.array_equal(batch, clips[which]) and np.array_equal(last, clips[which[-1]])
        if name == WEBDATASET:  # gives what comes next
            same = all(zlib.crc32(clip.tobytes()) in known for clip in [*batch, last])
        if not same:
            sys.exit(f"{name} gives other bytes than were written")


def time_warm(ways: dict[str, Way], n_clips: int, rounds: int, rng: np.random.Generator) -> Times:
    """Time every contestant once a round, after a pass over everything."""
    turns = [(kind, name, getattr(way, kind)) for kind in KINDS for name, way in ways.items() if getattr(way, kind)]
    for kind, name, read in turns:
        if name in FROM_DISK and (kind == "single" or not ways[name].single):
            for some in np.array_split(np.arange(n_clips), -(-n_clips // BATCH)):
                read(some)
    times: Times = {kind: {name: [] for own, name, _ in turns if own == kind} for kind in KINDS}
    for _ in range(rounds):
        for turn in rng.permutation(len(turns)).tolist():
            kind, name, read = turns[turn]
            # No clip twice: a chunk cache of HDF5 holds more than a batch.
            before, clips = np.split(rng.choice(n_clips, 2 * BATCH, replace=False), 2)
            ways[name].prepare()
            read(before)  # wakes threads, and pays for what the turn before left in the processor's caches
            times[kind][name].append(time_turn(read, clips))
    return times


def time_cold(folder: Path, n_clips: int, rounds: int, rng: np.random.Generator) -> tuple[Times, dict[str, float]]:
    """Time every contestant on files that the page cache was told to drop; also give the share that it kept."""
    chosen = {name: it for name, it in FROM_DISK.items() if name not in missing_peers()}
    times: Times = {kind: {name: [] for name in chosen} for kind in KINDS}
    kept = dict.fromkeys(chosen, 0.0)
    for _ in range(rounds):
        clips = rng.choice(n_clips, BATCH, replace=False)
        for turn in rng.permutation(len(chosen)).tolist():
            name, (files, open_it) = list(chosen.items())[turn]
            for kind in KINDS:
                way = open_it(folder)
                kept[name] = max(kept[name], drop_from_cache(folder / files))
                if read := getattr(way, kind):
                    times[kind][name].append(time_turn(read, clips))
                del way, read
                gc.collect()  # a mapped page cannot be dropped
    return {kind: {name: row for name, row in rows.items() if row} for kind, rows in times.items()}, kept


def time_check(folder: Path, clips: NDArray[np.float16], rounds: int) -> dict[str, Any]:
    """Time a fresh reader's first pass, its second, the checks alone, and ``zlib.crc32`` of the clips in memory.

    A first pass also maps the file's pages, as that of a fresh ``numpy.memmap`` shows.
    """
    everything = np.arange(len(clips))
    rows: Rows = {}
    for _ in range(rounds):
        reader, plain = (FROM_DISK[name][1](folder) for name in (READER, MEMMAP))
        passes = {
            "first pass": reader.single,
            "second pass": reader.single,
            "the check alone": reader.check,
            "zlib.crc32 in memory": lambda which: [zlib.crc32(clips[clip].data) for clip in which.tolist()],
            f"{MEMMAP}, first pass": plain.single,
            f"{MEMMAP}, second pass": plain.single,
        }
        for name, read in passes.items():
            if read:
                rows.setdefault(name, []).append(time_turn(read, everything))
    cost = [first - second for first, second in zip(rows["first pass"], rows["second pass"], strict=True)]
    return {name: spread(row) for name, row in {"the first read costs more": cost, **rows}.items()}


def missing_peers() -> list[str]:
    return [name for name, package in NEEDS.items() if peer(package) is None]


def table(times: Times, limit: dict[str, str]) -> dict[str, dict[str, Any]]:
    return {
        kind: {
            name: {"microseconds": spread(row), "of_limit": ratio(rows[limit[kind]], row)} for name, row in rows.items()
        }
        for kind, rows in times.items()
    }


def best_of(rows: Rows, beginning: tuple[str, ...]) -> str:
    return min((name for name in rows if name.startswith(beginning)), key=lambda name: statistics.median(rows[name]))


def best_from_memory(batch: Rows) -> str:
    return best_of({name: row for name, row in batch.items() if name not in FROM_DISK}, ("",))


def claims(times: Times) -> list[dict[str, Any]]:
    """Say what must hold, and whether it does."""
    batch = times["batch"]
    asked = [
        ("single clips against numpy.memmap", "single", MEMMAP, 0.8),
        ("a batch against the best from memory", "batch", best_from_memory(batch), 0.8),
        ("single clips against h5py, handle kept", "single", KEPT, 1.0),
        ("a batch against h5py, handle kept", "batch", best_of(batch, (KEPT,)), 2.0),
        ("single clips against h5py opened per item", "single", PER_ITEM, 15.0),
    ]
    found = []
    for text, kind, other, least in asked:
        own = READER if kind == "single" else best_of(batch, (READER, DATASET))
        speed = ratio(times[kind][other], times[kind][own])
        found.append(
            {
                "claim": text,
                "own": own,
                "other": other,
                "least": least,
                "speed": speed,
                "holds": speed["median"] >= least,
            }
        )
    return found


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(arguments.seed)
    clips = make_clips(arguments.clips, rng)
    write_files(folder, clips, shard_clips=arguments.shard_clips)
    missing = missing_peers()
    ways = {name: open_it(folder) for name, (_, open_it) in FROM_DISK.items() if name not in missing}
    ways |= memory_ways(clips)
    check_ways(ways, clips, rng)
    warm = time_warm(ways, len(clips), arguments.rounds, rng)
    del ways
    gc.collect()
    check = time_check(folder, clips, arguments.cold_rounds)
    cold, resident = time_cold(folder, len(clips), arguments.cold_rounds, rng)
    found = claims(warm)
    limit = {"single": MEMMAP, "batch": best_from_memory(warm["batch"])}
    return {
        "clips": len(clips),
        "clip_bytes": clips[0].nbytes,
        "rounds": arguments.rounds,
        "torch_threads": THREADS,
        "not_installed": missing,
        "claims": found,
        "warm": table(warm, limit),
        "check": check,
        "cold": table(cold, {"single": MEMMAP, "batch": MEMMAP}),
        "resident_after_drop": resident,
        "holds": all(each["holds"] for each in found),
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['clips']} clips of {result['clip_bytes']} bytes, {result['rounds']} rounds of {BATCH}")
    for state in ("warm", "cold"):
        for kind, rows in result[state].items():
            print(f"\n{state}, {kind:27s}{'µs a clip':>30s}{'speed, of the limit':>30s}")
            for name, row in sorted(rows.items(), key=lambda item: item[1]["microseconds"]["median"]):
                print(f"{name:33s}{show_spread(row['microseconds']):>30s}{show_spread(row['of_limit']):>30s}")
    for name in result["not_installed"]:
        print(f"{name}: not installed")
    stayed = {name: share for name, share in result["resident_after_drop"].items() if share > HIGHEST_RESIDENT}
    for name, share in stayed.items():
        print(f"caution: {share:.0%} of the files of {name} stayed in the page cache: these cold reads are not cold")
    print("\nthe check of the CRC-32              µs a clip")
    for name, row in result["check"].items():
        print(f"{name:33s}{show_spread(row):>30s}")
    print(f"\n{'speed of this reader':50s}{'must be':>8s}")
    for each in result["claims"]:
        verdict = "holds" if each["holds"] else "does NOT hold"
        print(
            f"{each['claim']:50s}{each['least']:8.1f}{show_spread(each['speed'])}  {verdict} "
            f"({each['own']}; {each['other']})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast clips are read at random: this reader and others.")
    parser.add_argument("--clips", type=int, default=8000)
    parser.add_argument("--shard-clips", type=int, default=256, help="clips of a shard")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--cold-rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the temporary files go [the system's folder for them]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earmark-read-", dir=arguments.folder) as folder:
        result = measure(arguments, Path(folder))
    finish(result, show, as_json=arguments.json)


if __name__ == "__main__":
    main()
