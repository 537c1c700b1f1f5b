"""Run tasks in parallel through joblib: on this machine, or on a Dask or Ray cluster.

Conventions
-----------
A task is plain data, and so is what comes back: arrays stay with the worker. Results come in the order of
finishing. Errors of a single recording are values in the results; an exception ends the run. Workers on this machine
die with the process that started them; those of a cluster end the task that they are at.
"""

import contextlib
import importlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Literal, TypeVar, cast

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import EarmarkError, InputError

_WATCH_SECONDS = 0.1
_DIED = "a worker process died (out of memory, or a crash in a decoder); run again to go on from here"

Backend = Literal["loky", "dask", "ray"]
Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(EarmarkError):
    """A worker process ended without an answer."""


def count_jobs(jobs: int | None) -> int:
    """Return the number of workers: what is asked for, or the cores that this process may use.

    Raises
    ------
    InputError
        If fewer than one is asked for.
    """
    if jobs is None:
        return int(joblib.cpu_count())
    if jobs < 1:
        message = f"--jobs must be 1 or more; got {jobs}"
        raise InputError(message)
    return jobs


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    backend: Backend = "loky",
    scheduler: str | None = None,
) -> Generator[Result]:
    """Call the function for each task and yield the results as they come.

    Parameters
    ----------
    function : callable
        Importable by the workers.
    tasks : sequence
    jobs : int > 0
        Workers; 1 on "loky" runs in this process.
    backend : "loky", "dask" or "ray"
    scheduler : str, optional
        Address of a Dask scheduler or a Ray head; without one a cluster of ``jobs`` workers is started on this
        machine.

    Raises
    ------
    WorkerDiedError
        If a worker is killed; what other workers finished stays.
    InputError
        If the backend's package is not installed.
    """
    if not tasks:
        return
    jobs = min(jobs, len(tasks))
    if jobs == 1 and backend == "loky":
        yield from map(function, tasks)
        return
    with _configured(backend, jobs, scheduler):
        for part in _parts(tasks, jobs, backend):
            yield from _stream(function, part, jobs, backend)


def _parts(tasks: Sequence[Task], jobs: int, backend: Backend) -> Iterator[Sequence[Task]]:
    """Cut the tasks in slices for the backend that hands nothing back before all is done."""
    step = len(tasks) if backend != "ray" else 4 * jobs
    for first in range(0, len(tasks), step):
        yield tasks[first : first + step]


def _stream(function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int, backend: Backend) -> Iterator[Result]:
    return_as = "list" if backend == "ray" else "generator_unordered"
    parallel = joblib.Parallel(n_jobs=jobs, batch_size=1, pre_dispatch="2*n_jobs", return_as=return_as)
    return cast(Iterator[Result], iter(parallel(joblib.delayed(function)(task) for task in tasks)))


@contextlib.contextmanager
def _configured(backend: Backend, jobs: int, scheduler: str | None) -> Iterator[None]:
    if backend == "loky":
        watched = {"initializer": _start_worker, "initargs": (os.getpid(),)}
        try:
            with joblib.parallel_config("loky", inner_max_num_threads=1, **watched):
                yield
        except TerminatedWorkerError as error:
            raise WorkerDiedError(_DIED) from error
    elif backend == "dask":
        distributed = _import("distributed", backend)
        where = (
            {"address": scheduler}
            if scheduler
            else {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": ":0"}
        )
        try:
            with distributed.Client(**where, set_as_default=True), joblib.parallel_config(_dask_backend()):
                yield
        except distributed.KilledWorker as error:
            raise WorkerDiedError(_DIED) from error
    else:
        ray = _import("ray", backend)
        _import("ray.util.joblib", backend).register_ray()
        started = not ray.is_initialized()
        if started:
            ray.init(**({"address": scheduler} if scheduler else {"num_cpus": jobs}), log_to_driver=False)
        try:
            with joblib.parallel_config("ray"):
                yield
        finally:
            if started:
                ray.shutdown()


def _dask_backend() -> Any:
    """Make joblib's Dask backend, which also tells of tasks that Dask gave up, instead of waiting for them for ever."""
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, Exception):
                raise out
            return super().retrieve_result_callback(out)

    return Backend()


def _start_worker(parent: int) -> None:
    # The parent answers Ctrl-C for all; a worker that answers too prints a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    """End this process soon after its parent was killed: loky's workers would do the tasks in the queue, then idle."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _import(module: str, backend: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f"--backend {backend} needs the package {error.name}: pip install 'earmark[{backend}]'"
        raise InputError(message) from error
