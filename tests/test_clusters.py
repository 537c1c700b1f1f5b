"""Dask and Ray: the very bytes of a run on this machine, also where workers die."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import make_corpus
from sounds import clip_table, noise, write_sound
from test_cli import run_json

from cache.errors import InputError
from corpus.tables import read_corpus
from featurize import clusters, jobs
from featurize.batch import Featurizer
from featurize.clusters import ClusterError
from featurize.jobs import Backend, run_tasks
from featurize.modes import LH, X

TESTS = Path(__file__).parent
DEADLY = "import deadly, cli; deadly.install(); cli.main()"


@pytest.fixture(autouse=True, scope="module")
def _environment() -> Iterator[None]:
    """Let workers import the tests, and keep Ray from leaving files at home and in /tmp."""
    with pytest.MonkeyPatch.context() as patch:
        path = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent), *filter(None, [path])]))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        folder = tempfile.mkdtemp(prefix="ray-")  # pytest's are too long for the names of sockets
        patch.setenv("RAY_TMPDIR", folder)
        yield
        shutil.rmtree(folder)


def make_sounds(root: Path, words: dict[int, str]) -> Path:
    """Sixty noises, which make four shards a mode; one is broken, some have a word in their name."""
    for number in range(60):
        write_sound(root / "noise" / f"{number:02}{words.get(number, '')}.wav", noise(3_000, seed=number))
    (root / "noise/05.wav").write_bytes(b"")
    return root


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("*/shard-*")}


def featurize(corpus: Path, store: Path, *options: str) -> tuple[dict, str]:
    """Run the command with the decoder that dies; give its JSON and what it says."""
    command = [sys.executable, "-c", DEADLY, "featurize", str(corpus), "--store", str(store), "--json", "--jobs", "2"]
    done = subprocess.run([*command, *options], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def dask_address() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def ray_address(tmp_path: Path) -> Iterator[str]:
    """A Ray head of its own, as an operator starts it."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block"]
    command = [Path(sys.executable).with_name("ray"), "start", *options]
    with (tmp_path / "log").open("wb") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        while b"runtime started" not in (tmp_path / "log").read_bytes():
            assert head.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        started = psutil.Process(head.pid).children(recursive=True)
        for process in (*started, head):
            process.kill()
        psutil.wait_procs(started, timeout=10)
        head.wait(10)


def test_workers_of_a_dask_scheduler_make_the_same_store(tmp_path: Path, dask_address: str) -> None:
    clips = clip_table([write_sound(tmp_path / f"{i:02}.wav", noise(3_000, seed=i)) for i in range(20)])
    (tmp_path / "05.wav").write_bytes(b"")
    stores = [tmp_path / "loky", tmp_path / "dask"]
    reports = [
        Featurizer(stores[0], (LH, X)).run(clips),
        Featurizer(stores[1], (LH, X), jobs=2, backend="dask", scheduler=dask_address).run(clips),
    ]
    here, there = map(contents, stores)
    assert len(here) == 4
    assert here == there
    assert reports[0]["x"].keys == reports[1]["x"].keys
    assert reports[1]["x"].quarantined == [("05.wav", "the file is empty (0 bytes)")]


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_worker_killed_in_the_middle_loses_nothing(tmp_path: Path, backend: str) -> None:
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    corpus = make_sounds(tmp_path / "data", {20: "-memory-once"})
    result, told = featurize(corpus, tmp_path / "there", "--backend", backend)
    assert (corpus / "noise/20-memory-once.died").exists()
    assert (result["modes"]["x"]["computed"], len(result["modes"]["x"]["quarantined"])) == (59, 1)
    # Dask tries again by itself.
    expected = {"dask": [], "ray": ["a worker process died: 2 shards in work made again, in a process of its own each"]}
    assert told.splitlines() == expected[backend]
    Featurizer(tmp_path / "here", (LH, X)).run(read_corpus(corpus))
    assert len(contents(tmp_path / "here")) == 8
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_clip_that_kills_is_quarantined_and_all_others_computed(tmp_path: Path, backend: str) -> None:
    corpus = make_sounds(tmp_path / "data", {20: "-segfault"})
    result, told = featurize(corpus, tmp_path / "there", "--backend", backend)
    featurize(corpus, tmp_path / "here")
    killer = {"fname": "noise/20-segfault.wav", "reason": "kills the process that decodes it (SIGSEGV)"}
    assert killer in result["modes"]["x"]["quarantined"]
    assert told.splitlines()[-1] == "a worker process died: 16 clips are tried one by one"
    assert len(contents(tmp_path / "here")) == 8
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.slow
def test_workers_of_a_ray_head_make_the_same_store(tmp_path: Path, ray_address: str) -> None:
    corpus = make_sounds(tmp_path / "data", {40: "-memory-once"})
    _, told = featurize(corpus, tmp_path / "there", "--backend", "ray", "--scheduler", ray_address)
    assert told.count("\n") == told.count("a worker process died") == 1
    Featurizer(tmp_path / "here", (LH, X)).run(read_corpus(corpus))
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_folds_are_trained_on_a_cluster(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data")
    options = ["--mode", "x", "--folds", "2", "--epochs", "1", "--jobs", "2", "--backend", backend]
    assert len(run_json("train", *options)["runs"]) == 2


def work(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("backend", "scheduler", "words"),
    [
        ("dask", "nowhere://1", "--scheduler nowhere://1 is no Dask scheduler that answers: "),
        ("ray", "127.0.0.1:9", "--scheduler 127.0.0.1:9 is no Ray head that answers: .*refused"),
        ("ray", "127.0.0.1:one", "--scheduler 127.0.0.1:one is no Ray head that answers: "),
        ("ray", "ray://127.0.0.1:10001", "run this on a machine of the cluster, with HOST:6379"),
    ],
)
def test_a_scheduler_that_does_not_answer_is_named(backend: Backend, scheduler: str, words: str) -> None:
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    with pytest.raises(InputError, match=words):
        list(run_tasks(work, [1, 2], jobs=2, backend=backend, scheduler=scheduler))


def rest(number: int) -> int:
    time.sleep(0.2)
    return number


CLUSTER = """
import time
from distributed import LocalCluster
workers = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
with LocalCluster(**workers, protocol="tcp", dashboard_address=":0") as cluster:
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""


def test_a_scheduler_that_is_lost_ends_the_run_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 3)
    with subprocess.Popen([sys.executable, "-c", CLUSTER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            results = run_tasks(rest, range(100), jobs=2, backend="dask", scheduler=address)
            next(results)
        finally:
            process.kill()
        with pytest.raises(ClusterError, match=rf"^the Dask scheduler {address} was lost: .* run again to go on"):
            list(results)
    assert capfd.readouterr() == ("", "")


def test_a_scheduler_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("featurize.clusters._CONNECT_SECONDS", 1)
    with distributed.LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address=":0") as cluster:
        address = cluster.scheduler_address
        words = f"^the Dask scheduler {address} has no workers: start some with dask worker {address}$"
        with pytest.raises(InputError, match=words):
            list(run_tasks(work, [1, 2], jobs=2, backend="dask", scheduler=address))


def test_what_breaks_on_the_way_to_a_task_is_one_sentence() -> None:
    """As where a worker lacks a module: the task itself does not even begin."""
    pytest.importorskip("distributed")
    found = clusters._lost("tcp://head:8786", ModuleNotFoundError("No module named 'featurize'"))
    assert str(found).startswith("the Dask scheduler tcp://head:8786 failed (ModuleNotFoundError: No module named")


def test_a_ray_cluster_without_cores_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr("featurize.clusters._CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})
    with pytest.raises(ClusterError, match=r"^the Ray cluster with the head a:1 has no .*--address a:1, and run again"):
        clusters._count_cores("a:1")


def test_after_a_death_ray_is_asked_how_many_cores_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    @contextlib.contextmanager
    def parallel(cores: int, _: str) -> Iterator[object]:
        opened.append(cores)
        yield lambda part: [None if number == 9 else number for number in part]

    monkeypatch.setattr(jobs, "_parallel", parallel)
    counts = iter([2, 1])
    answers = list(jobs._in_parts(iter(range(12)), lambda: next(counts)))
    assert answers == [*range(9), None, 10, 11]
    assert opened == [2]
    answers = list(jobs._in_parts(iter(range(20)), lambda: 1))
    assert answers == [*range(9), None, *range(10, 20)]
    assert opened == [2, 1, 1]


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background ignores it
import deadly, cli
if __name__ == "__main__":
    deadly.install()
    cli.main()
"""


@pytest.mark.slow
def test_an_interrupt_that_reaches_all_processes_of_a_dask_cluster_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    make_corpus(tmp_path / "data", train=150, test=10)
    (tmp_path / "main.py").write_text(INTERRUPTED)
    command = [sys.executable, "main.py", "featurize", "--backend", "dask", "--jobs", "2"]
    settings = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=tmp_path, **settings) as process:  # type: ignore[call-overload]
        while not list(tmp_path.glob("features/*/shard-*.h5")) and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "Interrupted; what was finished is kept.\n")
