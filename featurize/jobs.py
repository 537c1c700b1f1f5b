"""Run tasks in parallel through joblib: on this machine, or on a Dask or Ray cluster.

Conventions
-----------
A task is plain data, and so is what comes back: arrays stay with the worker. Results come in the order of
finishing. Errors of a single recording are values in the results; an exception ends the run. Workers on this machine
die with the process that started them; those of a cluster end the task that they are at.
"""

import atexit
import contextlib
import gc
import importlib
import itertools
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar, cast

import joblib
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import EarmarkError, InputError

_WATCH_SECONDS = 0.1
_CONNECT_SECONDS = 10
_DIED = "a worker process died (out of memory, or a crash in a decoder); run again to go on from here"
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMBA", "NUMEXPR")}

Backend = Literal["loky", "dask", "ray"]
Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(EarmarkError):
    """A worker process ended without an answer.

    Parameters
    ----------
    message : str
    in_work : iterable, optional
        Tasks that workers had been given, or were about to be given, and that gave no answer.
    waiting : iterable, optional
        Tasks that no worker has seen.
    how : str, optional
        How it ended, such as "SIGSEGV" or "exit status 3", where that is known.
    """

    def __init__(
        self, message: str = _DIED, *, in_work: Iterable[Any] = (), waiting: Iterable[Any] = (), how: str = ""
    ) -> None:
        super().__init__(message)
        self.how = how
        self.in_work = list(in_work)
        self.waiting = list(waiting)


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
        Address of a Dask scheduler or a Ray head, all of whose workers are used; without one a cluster of ``jobs``
        workers is started on this machine.

    Raises
    ------
    WorkerDiedError
        If a worker is killed; what other workers finished stays. Clusters try a task again before they give it up, and
        do the others meanwhile.
    InputError
        If the backend's package is not installed, or the scheduler does not answer.
    """
    if not tasks:
        return
    jobs = min(jobs, len(tasks))
    if jobs == 1 and backend == "loky":
        yield from map(function, tasks)
        return
    waiting = iter(enumerate(tasks))
    in_work: dict[int, Task] = {}

    def hand_out() -> Iterator[Any]:
        for number, task in waiting:
            in_work[number] = task
            yield joblib.delayed(_answer)(function, number, task)

    try:
        with _configured(backend, jobs, scheduler) as workers:
            for answer in _stream(hand_out(), workers, backend):
                if answer is not _GIVEN_UP:
                    number, result = answer
                    del in_work[number]
                    yield result
    except TerminatedWorkerError as error:
        raise WorkerDiedError(in_work=in_work.values(), waiting=(task for _, task in waiting)) from error
    if in_work:
        raise WorkerDiedError(in_work=in_work.values())


def _answer(function: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    return number, function(task)


def run_apart(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int
) -> Generator[tuple[Task, Result | None]]:
    """Call the function for each task in a process of its own on this machine.

    Parameters
    ----------
    function : callable
        Importable by the workers; does not return None.
    tasks : sequence
    jobs : int > 0
        So many at a time.

    Yields
    ------
    (task, result)
        None for a result where the process died.
    """
    for first in range(0, len(tasks), jobs):
        part = tasks[first : first + jobs]
        with contextlib.ExitStack() as stack:
            answers = [stack.enter_context(LoneWorker()).start(function, task) for task in part]
            for task, answer in zip(part, answers, strict=True):
                try:
                    result: Result | None = answer()
                except WorkerDiedError:
                    result = None
                yield task, result


class LoneWorker:
    """A worker process on this machine, for one call after the other, until the end of a ``with`` block."""

    def __init__(self) -> None:
        self._executor = ProcessPoolExecutor(1, env=_ONE_THREAD, **_watched())

    def __enter__(self) -> "LoneWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(kill_workers=True)

    def start(self, function: Callable[..., Result], *arguments: object) -> Callable[[], Result]:
        """Begin a call, and return what waits for its result: it raises WorkerDiedError if the process ends."""
        future = self._executor.submit(function, *arguments)

        def answer() -> Result:
            try:
                return cast(Result, future.result())
            except TerminatedWorkerError as error:
                raise WorkerDiedError(how=_say_how(str(error))) from error

        return answer


def _say_how(message: str) -> str:
    """Find out of loky's words how a process ended: ``SIGSEGV``, or ``exit status 3``."""
    found = re.search(r"exit codes of the workers are \{(\w+)\((-?\d+)\)", message)
    if not found:
        return "no exit status"
    return found[1] if found[1].startswith("SIG") else f"exit status {found[2]}"


_GIVEN_UP = None  # what a cluster's backend answers for a task whose workers died


def _stream(calls: Iterator[Any], workers: int, backend: Backend) -> Iterator[Any]:
    """Yield answers as they come."""
    if backend != "ray":
        with _parallel(workers, "generator_unordered") as parallel:
            yield from parallel(calls)
        return
    # Ray hands nothing back before all is done, and its pool does not replace a worker that died.
    parts = iter(lambda: list(itertools.islice(calls, 4 * workers)), [])
    for first in parts:
        with _parallel(workers, "list") as parallel:
            for part in itertools.chain([first], parts):
                answers = parallel(part)
                yield from answers
                if _GIVEN_UP in answers:
                    break


def _parallel(workers: int, return_as: str) -> Any:
    return joblib.Parallel(n_jobs=workers, batch_size=1, pre_dispatch="2*n_jobs", return_as=return_as)


@contextlib.contextmanager
def _configured(backend: Backend, jobs: int, scheduler: str | None) -> Iterator[int]:
    """Start or find the workers, and give their number."""
    if backend == "loky":
        with joblib.parallel_config("loky", inner_max_num_threads=1, **_watched()):
            yield jobs
    elif backend == "dask":
        with _dask_client(jobs, scheduler), joblib.parallel_config(_dask_backend()):
            yield jobs
    else:
        with _ray_session(jobs, scheduler) as workers, joblib.parallel_config(_ray_backend()):
            yield workers


def _dask_client(jobs: int, scheduler: str | None) -> Any:
    distributed = _import("distributed", "dask")
    if scheduler is None:
        quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        return distributed.Client(n_workers=jobs, threads_per_worker=1, set_as_default=True, **quiet)
    try:
        return distributed.Client(address=scheduler, timeout=_CONNECT_SECONDS, set_as_default=True)
    except (OSError, ValueError) as error:
        message = f"--scheduler {scheduler} is no Dask scheduler that answers: {error}"
        raise InputError(message) from error


def _dask_backend() -> Any:
    """Make joblib's Dask backend, which also tells of tasks that Dask gave up, instead of waiting for them for ever."""
    from distributed import KilledWorker
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, KilledWorker):
                return [_GIVEN_UP]
            if isinstance(out, Exception):
                raise out
            return super().retrieve_result_callback(out)

    return Backend()


@contextlib.contextmanager
def _ray_session(jobs: int, scheduler: str | None) -> Iterator[int]:
    ray = _import("ray", "ray")
    if started := not ray.is_initialized():
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if scheduler is None:
            # "local": without it Ray may look for a cluster that somebody else started on this machine.
            ray.init(address="local", num_cpus=jobs, include_dashboard=False, **quiet)
        else:
            try:
                _require_ray_head(scheduler)
                ray.init(address=scheduler, **quiet)
            except (OSError, ValueError, RuntimeError) as error:
                message = f"--scheduler {scheduler} is no Ray head that answers: {error}"
                raise InputError(message) from error
    with contextlib.redirect_stdout(cast(Any, _WithoutRay(sys.stdout))):
        try:
            yield int(ray.cluster_resources().get("CPU", jobs))
        finally:
            if started:
                ray.shutdown()


def _require_ray_head(address: str) -> None:
    """Find out at once what Ray tries for minutes."""
    if address.startswith("ray://"):
        message = "tasks do not pass through a Ray client; run this on a machine of the cluster, with HOST:6379"
        raise ValueError(message)
    host, colon, port = address.rpartition(":")
    if colon:  # not "auto"
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


class _WithoutRay:
    """A stream without what Ray's thread prints: on standard output, which is for results, it tells of dead workers."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what others print."""
        return len(text) if threading.current_thread().name == "ray_listen_error_messages" else self._stream.write(text)


def _ray_backend() -> Any:
    """Make Ray's backend, which also tells of tasks whose worker died."""
    from ray.exceptions import RayError
    from ray.util.joblib.ray_backend import RayBackend

    class Backend(RayBackend):
        def retrieve_result_callback(self, out: Any) -> Any:
            return [_GIVEN_UP] if isinstance(out, RayError) else super().retrieve_result_callback(out)

    # Without num_cpus all workers may be started on one machine.
    return Backend(ray_remote_args={"num_cpus": 1})


def _watched() -> dict[str, Any]:
    """Give the settings of a pool on this machine whose workers die with this process."""
    return {"initializer": _start_worker, "initargs": (os.getpid(),)}


def _start_worker(parent: int) -> None:
    # Keeps loky from printing the stack of a process that dies: the parent says in one line what happened.
    os.environ.setdefault("PYTHONFAULTHANDLER", "0")
    # The parent answers Ctrl-C for all; a worker that answers too prints a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent waits for its workers to end: no garbage is looked for among what ends with them, for 0.4 s.
    atexit.register(gc.freeze)
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
