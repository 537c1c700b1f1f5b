"""Killed at any moment, a run is resumed to the very bytes of an undisturbed one.

The real command runs in a session of its own, and a SIGKILL hits one of its workers, the command, or all of its
processes at a random moment: most often when it has sealed some shards and has others to seal. Half of the time the
next run is waiting for the lock by then, and takes it while orphaned workers are still alive.
"""

import faulthandler
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from sounds import noise, sine, write_sound

from cache import open_store

PATIENCE_SECONDS = 120
VICTIMS = ("worker", "command", "group")


def make_corpus(root: Path, n_clips: int) -> Path:
    """A folder of noises and tones of different lengths; every 25th file is broken."""
    rng = np.random.default_rng(n_clips)
    for number in range(n_clips):
        path = root / ("noise" if number % 2 else "tone") / f"{number:03}.wav"
        length = int(rng.integers(1, 12_000))
        write_sound(path, noise(length, seed=number) if number % 2 else sine(length, 100 + 7 * number))
        if number % 25 == 3:
            path.write_bytes(b"" if number % 50 == 3 else b"no sound")
    return root


def tree(store: Path) -> dict[str, bytes]:
    """Everything that lies in a store, hidden files too."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if any("popen_loky" in word for word in child.cmdline())]
    except psutil.Error:
        return []


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(holds: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@dataclass
class Place:
    """A corpus, the store of an undisturbed run over it, and a store whose runs are killed."""

    folder: Path
    corpus: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reference: dict[str, bytes] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def start(self, *, jobs: int, store: Path | None = None) -> subprocess.Popen[bytes]:
        """Run the command; one that finds the store held waits."""
        arguments = [self.corpus, "--store", store or self.store, "--jobs", jobs, "--wait"]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", "featurize", *map(str, arguments)],
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        assert process.wait(PATIENCE_SECONDS) == 0, self.log()

    def sealed(self) -> list[Path]:
        return [self.store / name for name in self.reference if name.endswith(".h5") and (self.store / name).exists()]

    def is_complete(self) -> bool:
        return len(self.sealed()) == self.n_shards

    @property
    def n_shards(self) -> int:
        return sum(name.endswith(".h5") for name in self.reference)

    def temporary(self) -> list[Path]:
        return list(self.store.glob("*/.shard-*"))

    def is_held_by(self, process: subprocess.Popen[bytes]) -> bool:
        try:
            return f'"pid": {process.pid},' in (self.store / ".lock.owner").read_text()
        except OSError:
            return False

    def check_sealed(self) -> None:
        """Whatever a reader finds is whole and right."""
        found = list(self.store.glob("*/shard-*"))
        for path in found:
            assert path.read_bytes() == self.reference[str(path.relative_to(self.store))], path
        for folder in {path.parent for path in found}:
            for frames in open_store(folder):
                assert len(frames)

    def check_whole(self) -> None:
        """The store is that of the undisturbed run, and nothing else lies in it."""
        found = tree(self.store)
        assert found.keys() == self.reference.keys()
        assert found == self.reference

    def clear_up(self) -> None:
        """Kill what still runs, and remove the semaphores of those whose resource tracker was killed with them."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for path in Path("/dev/shm").glob(f"*[-_]{process.pid}[-_]*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def make_place(folder: Path, n_clips: int) -> Iterator[Place]:
    place = Place(folder, make_corpus(folder / "data", n_clips))
    undisturbed = folder / "undisturbed"
    place.finish(place.start(jobs=1, store=undisturbed))
    place.reference = tree(undisturbed)
    try:
        yield place
    finally:
        place.clear_up()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from make_place(tmp_path_factory.mktemp("small"), 96)


@pytest.fixture
def place(small: Place) -> Place:
    shutil.rmtree(small.store, ignore_errors=True)
    return small


@pytest.fixture
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from make_place(tmp_path_factory.mktemp("large"), 304)


@dataclass
class Killer:
    """Kills runs over one place, and counts."""

    place: Place
    rng: random.Random
    jobs: tuple[int, ...]
    victims: Counter[str] = field(default_factory=Counter)
    between_seals: int = 0
    in_a_seal: int = 0
    completed: int = 0
    survived: int = 0
    orphans: list[psutil.Process] = field(default_factory=list)

    def kill_often(self, n_kills: int) -> None:
        """Chain runs over one store until it is whole, and begin anew."""
        heir: subprocess.Popen[bytes] | None = None
        while self.victims.total() < n_kills:
            heir = self.kill_one(heir)
            if heir is None and self.place.is_complete():
                self.complete()
        self.place.finish(heir or self.place.start(jobs=self.jobs[-1]))
        self.complete()
        wait_until(lambda: not any(map(is_alive, self.orphans)), seconds=10)

    def complete(self) -> None:
        """Let a last run find nothing to compute."""
        self.place.finish(self.place.start(jobs=1))
        self.place.check_whole()
        shutil.rmtree(self.place.store)
        self.completed += 1

    def kill_one(self, process: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes] | None:
        """Kill a run, which may have been waiting for another, and give the one that waited for it."""
        victim = self.rng.choice(VICTIMS)
        jobs = self.jobs[-1] if victim == "worker" else self.rng.choice(self.jobs)
        process = process or self.place.start(jobs=jobs)
        before = len(self.place.sealed())
        heir = self._wait(process, before)
        workers = workers_of(process)
        if process.poll() is None:
            sealed, partial = len(self.place.sealed()), bool(self.place.temporary())
            self._kill(process, victim if workers or victim != "worker" else "command", workers)
            self.between_seals += before < sealed < self.place.n_shards
            self.in_a_seal += partial
        else:
            self.place.finish(process)  # it was done before the moment came
        self.place.check_sealed()
        return heir

    def _wait(self, process: subprocess.Popen[bytes], before: int) -> subprocess.Popen[bytes] | None:
        """Wait for the moment to kill, and meanwhile start the run that is to take over."""
        early, sealing, n_seals = self.rng.random() < 0.15, self.rng.random() < 0.4, self.rng.choice([1, 1, 2, 3])
        rest = self.rng.uniform(0, 2.0 if early else 0.05)
        takes_over = self.rng.random() < 0.5
        heir: subprocess.Popen[bytes] | None = None

        def has_come() -> bool:
            nonlocal heir
            if takes_over and heir is None and self.place.is_held_by(process):
                heir = self.place.start(jobs=self.rng.choice(self.jobs))
            return process.poll() is not None or early or len(self.place.sealed()) >= before + n_seals

        wait_until(has_come)
        time.sleep(rest)
        if sealing and not early:
            wait_until(lambda: process.poll() is not None or self.place.temporary() or self.place.is_complete())
        return heir

    def _kill(self, process: subprocess.Popen[bytes], victim: str, workers: list[psutil.Process]) -> None:
        self.victims[victim] += 1
        if victim == "worker":
            told = self.place.log().count("a worker process died")
            self.rng.choice(workers).kill()
            self.place.finish(process)
            self.survived += self.place.log().count("a worker process died") - told
            assert self.place.is_complete(), self.place.log()
        elif victim == "command":
            self.orphans += workers
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)

    def told(self) -> str:
        victims = ", ".join(f"{victim} {count}" for victim, count in sorted(self.victims.items()))
        return (
            f"{self.victims.total()} kills ({victims}): {self.between_seals} between the first and the last seal of "
            f"their run, {self.in_a_seal} while a shard was being written; {self.survived} deaths of workers survived; "
            f"{self.completed} stores completed, "
            f"0 clips lost or wrong"
        )


def test_a_killed_worker_does_not_end_the_run(place: Place) -> None:
    before = len(place.log())
    process = place.start(jobs=2)
    wait_until(place.temporary)
    workers_of(process)[0].kill()
    place.finish(process)
    told = place.log()[before:]
    assert re.fullmatch(r"a worker process died: \d shards? in work made again, in a process of its own each\n", told)
    place.check_whole()


@pytest.mark.timeout(900)
def test_twenty_kills(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    killer = Killer(place, random.Random(20), jobs=(1, 1, 2))
    killer.kill_often(20)
    with capsys.disabled():
        sys.stdout.write(f"\n{killer.told()}\n")
    assert killer.between_seals >= 10
    assert set(killer.victims) == set(VICTIMS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_kills(large: Place, capsys: pytest.CaptureFixture[str]) -> None:
    faulthandler.cancel_dump_traceback_later()
    killer = Killer(large, random.Random(200), jobs=(1, 2))
    killer.kill_often(200)
    with capsys.disabled():
        sys.stdout.write(f"\n{killer.told()}\n")
    assert killer.between_seals >= 100
    assert min(killer.victims[victim] for victim in VICTIMS) >= 30
    assert killer.in_a_seal >= 10
