"""How a store of many clips opens, and what `cli featurize --dry-run` takes on it.

Claim: a store of 200,000 clips opens in under a second and in under 100 MB of memory, and --dry-run answers in seconds.

    python benchmarks/scale.py [--clips 200000] [--json]

The corpus is made up: files of 52 bytes, and stores whose clips hold one frame. Each figure is of a fresh process; the
memory is the largest that the process ever held, Python and NumPy included (read from Linux's /proc).
"""

import argparse
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# In this folder "featurize" would be featurize.py, not the package.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import numpy as np

from cache import ClipRow, Key
from featurize.batch import clips_per_shard
from featurize.modes import MODES, FeatureMode
from featurize.shards import seal

REPEATS = 5
_OPEN = """
import re, sys, time
from pathlib import Path
from cache import open_store
begun = time.perf_counter()
reader = open_store(sys.argv[1])
seconds = time.perf_counter() - begun
# What getrusage tells begins with the parent's memory.
kilobytes = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(len(reader), seconds, kilobytes * 1024 / 1e6)
"""


def write_corpus(root: Path, n_clips: int) -> list[Key]:
    """Write a corpus of tiny WAV files, all different; give their keys."""
    (root / "audio").mkdir(parents=True)
    keys: list[Key] = []
    for number in range(n_clips):
        header = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 44, b"WAVEfmt ", 16, 1, 1, 44100, 88200, 2, 16, b"data", 8)
        data = header + struct.pack("<q", number)
        name = f"clip-{number:07d}.wav"
        (root / "audio" / name).write_bytes(data)
        keys.append(Key(name, hashlib.sha256(data).hexdigest()))
    lines = (f"{key.name},{'even' if number % 2 else 'odd'}\n" for number, key in enumerate(keys))
    (root / "clips.csv").write_text("fname,label\n" + "".join(lines))
    return keys


def write_store(store: Path, keys: list[Key], mode: FeatureMode) -> Path:
    """Write the shards of a mode, one silent frame a clip; give its folder."""
    frames = np.full((1, mode.n_mels), -100, mode.dtype)
    step = clips_per_shard(len(keys))
    for first in range(0, len(keys), step):
        rows = [ClipRow(key.name, key.digest, 0.0001, frames) for key in keys[first : first + step]]
        seal(mode, store / mode.folder, rows, versions={})
    return store / mode.folder


def time_open(folder: Path) -> tuple[float, float]:
    """Open a store in a fresh process; give seconds and megabytes."""
    out = subprocess.run([sys.executable, "-c", _OPEN, folder], check=True, capture_output=True, text=True).stdout
    _, seconds, megabytes = map(float, out.split())
    return seconds, megabytes


def time_dry_run(corpus: Path, store: Path) -> float:
    """Run `cli featurize --dry-run` in a fresh process; give seconds."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "cli", "featurize", corpus, "--store", store, "--dry-run"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus, store = Path(folder, "corpus"), Path(folder, "features")
        keys = write_corpus(corpus, options.clips)
        folders = [write_store(store, keys, MODES[name]) for name in ("lh", "x")]
        opened = [time_open(folders[0]) for _ in range(REPEATS)]
        dry = [time_dry_run(corpus, store) for _ in range(3)]
    result = {
        "clips": options.clips,
        "open_seconds": sorted(round(seconds, 3) for seconds, _ in opened),
        "open_megabytes": round(max(megabytes for _, megabytes in opened), 1),
        "dry_run_seconds": sorted(round(seconds, 1) for seconds in dry),
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{options.clips:,} clips, {REPEATS} fresh processes; the median, and the least and the most")
    for name, unit in (("open", "s"), ("dry_run", "s")):
        low, *_, high = values = result[f"{name}_seconds"]
        print(f"  {name.replace('_', '-'):8} {values[len(values) // 2]:7.2f} {unit}  ({low} … {high})")
    print(f"  memory   {result['open_megabytes']:7.1f} MB at most, of the whole process that opened it")


if __name__ == "__main__":
    main()
