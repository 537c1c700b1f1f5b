"""Running tasks in parallel: results, errors, and workers that die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import featurize.jobs
from cache.errors import InputError
from featurize.jobs import Backend, LoneWorker, WorkerDiedError, count_jobs, run_apart, run_tasks

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def _importable() -> Iterator[None]:
    """Let worker processes import this file."""
    with pytest.MonkeyPatch.context() as patch:
        path = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent), *filter(None, [path])]))
        yield


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        message = "three is refused"
        raise InputError(message)
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow_first(number: int) -> int:
    time.sleep(0.5 if number == 0 else 0)
    return number


def test_jobs_are_counted() -> None:
    assert count_jobs(3) == 3
    assert 1 <= count_jobs(None) <= (os.cpu_count() or 1)
    with pytest.raises(InputError, match="--jobs must be 1 or more; got 0"):
        count_jobs(0)


def test_one_job_runs_in_this_process_one_by_one() -> None:
    results = run_tasks(square, [1, 2, 3], jobs=1)
    assert next(results) == (1, os.getpid())
    assert list(results) == [(4, os.getpid()), (9, os.getpid())]


@pytest.mark.parametrize("backend", ["loky", "dask", "ray"])
def test_no_tasks_start_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurize.jobs, "_answers", lambda *_: pytest.fail("a backend was started"))
    assert list(run_tasks(square, [], jobs=2, backend=backend)) == []


def test_several_jobs_run_in_other_processes() -> None:
    results = list(run_tasks(square, range(10), jobs=2))
    assert sorted(value for value, _ in results) == [number * number for number in range(10)]
    assert os.getpid() not in {pid for _, pid in results}


def test_results_come_as_they_finish() -> None:
    assert next(results := run_tasks(slow_first, [0, 1], jobs=2)) == 1
    assert list(results) == [0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_task_is_raised(jobs: int) -> None:
    with pytest.raises(InputError, match="three is refused"):
        list(run_tasks(fail_at_three, range(6), jobs=jobs))


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(WorkerDiedError, match=r"a worker process died .*run again to go on from here") as caught:
        list(run_tasks(die_at_three, range(20), jobs=2))
    assert 3 in caught.value.in_work
    assert caught.value.waiting == list(range(caught.value.waiting[0], 20))
    assert caught.value.waiting[0] > max(caught.value.in_work)
    assert sorted(value for value, _ in run_tasks(square, range(4), jobs=2)) == [0, 1, 4, 9]


def test_tasks_run_apart_tell_which_process_died() -> None:
    assert list(run_apart(die_at_three, range(5), jobs=2)) == [(0, 0), (1, 1), (2, 2), (3, None), (4, 4)]
    with pytest.raises(InputError, match="three is refused"):
        list(run_apart(fail_at_three, [3], jobs=2))


def exit_with(status: int) -> None:
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


@pytest.mark.parametrize(("status", "how"), [(-signal.SIGSEGV, "SIGSEGV"), (5, "exit status 5")])
def test_a_lone_worker_tells_how_it_died(status: int, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    with LoneWorker() as worker:
        assert worker.start(square, 3)()[0] == 9
        with pytest.raises(WorkerDiedError) as caught:
            worker.start(exit_with, status)()
    assert caught.value.how == how
    assert capfd.readouterr().err == ""


ORPHANS = """
import os, sys
import test_jobs
from featurize.jobs import run_tasks
for pid in run_tasks(test_jobs.tell, range(100), jobs=2):
    print(pid, flush=True)
"""


def tell(number: int) -> int:
    time.sleep(0 if number < 4 else 600)
    return os.getpid()


def is_gone(pid: int) -> bool:
    """Whether a process has ended; its new parent may not have noticed yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_workers_die_with_the_process_that_started_them() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        workers = {int(parent.stdout.readline()) for _ in range(4)}
        assert not any(map(is_gone, workers))
        parent.kill()
    end = time.monotonic() + 30  # the tasks in hand last for ten minutes
    while not all(map(is_gone, workers)):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_named(backend: Backend, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    words = rf"--backend {backend} needs the package {package}: pip install 'earmark\[{backend}\]'"
    with pytest.raises(InputError, match=words):
        list(run_tasks(square, [1], jobs=1, backend=backend))


@pytest.fixture
def dask_address() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_an_error_and_a_killed_worker_on_dask(dask_address: str) -> None:
    with pytest.raises(InputError, match="three is refused"):
        list(run_tasks(fail_at_three, range(6), jobs=2, backend="dask", scheduler=dask_address))
    results: list[int] = []
    with pytest.raises(WorkerDiedError, match="a worker process died") as caught:
        results.extend(run_tasks(die_at_three, range(6), jobs=2, backend="dask", scheduler=dask_address))
    assert 3 in caught.value.in_work
    assert sorted([*results, *caught.value.in_work]) == list(range(6))
    assert caught.value.waiting == []
