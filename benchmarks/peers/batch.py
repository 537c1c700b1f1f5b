"""A whole corpus through ``cli featurize``: workers, their start, their memory, and what ``--dry-run`` expected.

Conventions
-----------
Times are seconds of the wall clock. Every run writes a store of its own, which is removed after it. "Warm" runs share
one process and its pool of workers; "cold" ones are commands of their own, which start Python and the pool. "Bare"
processes do nothing but compute: what two of them do in the time of one is what the machine gives.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor, get_reusable_executor

from corpus.tables import read_corpus
from featurize.batch import Featurizer
from featurize.logmel import compute
from peers.pipelines import LH_AND_X

JOBS = (1, 2)
COLD_ROUNDS = 3
WARM = "until the first clip is done"
SAMPLE_SECONDS = 0.2
QUARTERS = (0.25, 0.5, 0.75)
_START = """
import sys, time
marks = [time.perf_counter()]
import featurize.batch  # what unpickling a worker's first task imports
from featurize.logmel import compute
for _ in range(2):
    marks.append(time.perf_counter())
    compute(sys.argv[1], ["lh", "x"])
marks.append(time.perf_counter())
print(*marks, time.process_time())
"""

START_STEPS = ("Python starts", "imports", "first clip", "second clip", WARM, "processor seconds, of all")
Runs = dict[str, list[float]]


@contextlib.contextmanager
def new_store(folder: Path) -> Iterator[Path]:
    store = folder / "features"
    try:
        yield store
    finally:
        shutil.rmtree(store, ignore_errors=True)


def command(corpus: Path, store: Path, *options: object) -> list[str]:
    words = ["-m", "cli", "featurize", corpus, "--store", store, "--mode", "all", "--json", *options]
    return [sys.executable, *map(str, words)]


def run_command(corpus: Path, store: Path, *options: object) -> dict[str, Any]:
    """Run the command from the corpus's folder, and give its JSON object with the seconds that all of it took."""
    begun = time.perf_counter()
    done = subprocess.run(command(corpus, store, *options), cwd=corpus, stdout=subprocess.PIPE, check=True, text=True)
    wall = time.perf_counter() - begun
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {"wall": wall}


# --- workers ---------------------------------------------------------------------------------------------------------


def run_warm(corpus: Path, folder: Path, jobs: int) -> float:
    """Featurize in this process, with the workers that it has."""
    clips = read_corpus(corpus)
    with new_store(folder) as store:
        begun = time.perf_counter()
        Featurizer(store, LH_AND_X, jobs=jobs).run(clips)
        return time.perf_counter() - begun


def compute_all(paths: Sequence[Path]) -> None:
    """Compute the frames of all clips, and keep none."""
    for path in paths:
        compute(path, LH_AND_X)


def time_bare(pool: ProcessPoolExecutor, paths: Sequence[Path], processes: int) -> float:
    """Let so many processes compute all clips, each for itself: no plan, no store, no waiting for one another."""
    begun = time.perf_counter()
    for done in [pool.submit(compute_all, paths) for _ in range(processes)]:
        done.result()
    return time.perf_counter() - begun


def stop_workers() -> None:
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def time_scaling(corpus: Path, folder: Path, rounds: int) -> tuple[Runs, Runs]:
    """Time one worker against two, in turns: bare processes, started workers, and commands.

    Returns
    -------
    runs : dict
        Seconds of each, round by round.
    estimates : dict
        Of the commands: "expected s, 2", "took s, 2", "expected MB, 2", "took MB, 2", and the same for one worker.
    """
    runs: Runs = {f"{state}, {jobs}": [] for state in ("bare", "warm", "cold") for jobs in JOBS}
    estimates: Runs = {}
    sounds = sorted(corpus.rglob("*.wav"))
    with ProcessPoolExecutor(max(JOBS)) as bare:
        for jobs in JOBS:
            time_bare(bare, sounds[:50], jobs)
            run_warm(corpus, folder, jobs)
        for number in range(rounds):
            for jobs in JOBS[:: 1 if number % 2 else -1]:
                runs[f"bare, {jobs}"].append(time_bare(bare, sounds, jobs))
                runs[f"warm, {jobs}"].append(run_warm(corpus, folder, jobs))
                if number < COLD_ROUNDS:
                    found = run_cold(corpus, folder, jobs)
                    runs[f"cold, {jobs}"].append(found.pop("wall"))
                    for name, value in found.items():
                        estimates.setdefault(f"{name}, {jobs}", []).append(value)
    stop_workers()
    return runs, estimates


def run_cold(corpus: Path, folder: Path, jobs: int) -> dict[str, float]:
    """Ask the command what it expects, and run it; give both, and the seconds of the whole command."""
    with new_store(folder) as store:
        expected = run_command(corpus, store, "--jobs", jobs, "--dry-run")
        done = run_command(corpus, store, "--jobs", jobs)
        n_bytes = sum(path.stat().st_size for path in store.rglob("shard-*.h5"))
    return {
        "wall": done["wall"],
        "expected s": expected["expected_seconds"],
        "took s": done["seconds"],
        "expected MB": expected["bytes"] / 1e6,
        "took MB": n_bytes / 1e6,
    }


def time_pool(corpus: Path, folder: Path, rounds: int) -> list[float]:
    """Return what a run with two new workers takes longer than the same run with those that the first one left."""
    extra = []
    for _ in range(rounds):
        stop_workers()
        first = run_warm(corpus, folder, 2)
        extra.append(first - run_warm(corpus, folder, 2))
    stop_workers()
    return extra


def time_start(clip: Path, rounds: int) -> Runs:
    """Time a worker's start in fresh processes, step by step, until its first clip is computed."""
    steps: Runs = {name: [] for name in START_STEPS}
    for number in range(rounds + 1):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _START, clip], check=True, capture_output=True, text=True)
        *marks, processor = map(float, done.stdout.split())
        marks = [begun, *marks]  # one clock for all processes
        took = [after - before for before, after in pairwise(marks)]
        if number:  # the first may have compiled
            for name, seconds in zip(steps, [*took, marks[3] - begun, processor], strict=True):
                steps[name].append(seconds)
    return steps


# --- memory ----------------------------------------------------------------------------------------------------------


@dataclass
class Held:
    """The memory of one process over a run: at each look the shards sealed so far, and its MB."""

    name: str
    shards: list[int] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)

    def table(self, n_shards: int) -> dict[str, float]:
        """Return the proportional memory at the first shard, at each quarter and at the end, and the highest."""
        moments = [1, *(share * n_shards for share in QUARTERS)]
        places = [min(sum(shards < moment for shards in self.shards), len(self.pss) - 1) for moment in moments]
        names = ["first shard", *(f"{share:.0%}" for share in QUARTERS)]
        at = {name: self.pss[place] for name, place in zip(names, places, strict=True)}
        half = places[2]
        growth = max(self.pss[half:]) / max(self.pss[: half + 1])
        return at | {
            "end": self.pss[-1],
            "highest": max(self.pss),
            "highest_rss": max(self.rss),
            "growth": growth,
        }


def watch_memory(corpus: Path, folder: Path) -> dict[str, Any]:
    """Run the command with two workers, and look at the memory of all its processes several times a second."""
    held: dict[int, Held] = {}
    with new_store(folder) as store:
        begun = time.perf_counter()
        process = subprocess.Popen(command(corpus, store, "--jobs", 2), cwd=corpus, stdout=subprocess.PIPE, text=True)
        while process.poll() is None:
            look(process.pid, store, held)
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - begun
        n_shards = count_shards(store)
    if process.returncode:
        sys.exit("cli featurize failed")
    rows = {each.name: each.table(n_shards) for each in held.values()}
    return {"seconds": seconds, "shards": n_shards, "looks": max(len(each.pss) for each in held.values()), "mb": rows}


def look(parent: int, store: Path, held: dict[int, Held]) -> None:
    """Note the memory of the command and its workers."""
    shards = count_shards(store)
    for pid in [parent, *workers(parent)]:
        if memory := memory_mb(pid):
            each = held.setdefault(pid, Held(f"worker {len(held)}" if held else "parent"))
            each.shards.append(shards)
            each.pss.append(memory[0])
            each.rss.append(memory[1])


def workers(parent: int) -> Sequence[int]:
    """Return the processes that a process started, without the one that joblib has to clean up after it."""
    found: list[int] = []
    for path in Path("/proc", str(parent), "task").glob("*/children"):
        with contextlib.suppress(OSError):  # it ended
            found += map(int, path.read_text().split())
    return sorted(pid for pid in found if "resource_tracker" not in command_line(pid))


def command_line(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_text()
    except OSError:
        return ""


def memory_mb(pid: int) -> tuple[float, float] | None:
    """Return the proportional and the resident set; None where the process has ended."""
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return (kilobytes["Pss:"] * 1.024e-3, kilobytes["Rss:"] * 1.024e-3) if kilobytes else None


def count_shards(store: Path) -> int:
    return sum(1 for _ in store.glob("*/shard-*.h5"))
