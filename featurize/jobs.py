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
import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar, cast

import joblib
from joblib.externals.loky import ProcessPoolExecutor, process_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from cache.errors import EarmarkError, InputError
from featurize.clusters import GIVEN_UP, dask_cluster, ray_cluster

_WATCH_SECONDS = 0.1
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
        If the backend's package is not installed, the scheduler does not answer, or it has no workers.
    ClusterError
        If a cluster is lost in the middle.
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
        for answer in _answers(hand_out(), jobs, backend, scheduler):
            if answer is not GIVEN_UP:
                number, result = answer
                del in_work[number]
                yield result
    except TerminatedWorkerError as error:
        raise WorkerDiedError(in_work=in_work.values(), waiting=(task for _, task in waiting)) from error
    if in_work:
        raise WorkerDiedError(in_work=in_work.values())


def _answer(function: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    return number, function(task)


def run_past_deaths(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    apart: Callable[[Sequence[Task]], Iterable[Result]],
    *,
    jobs: int,
    backend: Backend = "loky",
    scheduler: str | None = None,
) -> Generator[Result]:
    """Do as ``run_tasks``, and go on where workers die.

    Parameters
    ----------
    function, tasks, jobs, backend, scheduler
        As for ``run_tasks``.
    apart : callable
        Gives the results of the tasks that workers had when one died, such as through ``run_apart``.

    Raises
    ------
    InputError, ClusterError
        As ``run_tasks``.
    """
    waiting = tasks
    while waiting:
        try:
            yield from run_tasks(function, waiting, jobs=jobs, backend=backend, scheduler=scheduler)
            return
        except WorkerDiedError as error:
            suspects, waiting = error.in_work, error.waiting
        yield from apart(suspects)


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


def _answers(calls: Iterator[Any], jobs: int, backend: Backend, scheduler: str | None) -> Iterator[Any]:
    """Yield answers as they come."""
    if backend == "ray":
        with ray_cluster(jobs, scheduler) as count_cores:
            yield from _in_parts(calls, count_cores)
        return
    here = joblib.parallel_config("loky", inner_max_num_threads=1, **_watched()) if backend == "loky" else None
    with here or dask_cluster(jobs, scheduler), _parallel(jobs, "generator_unordered") as parallel:
        yield from parallel(calls)


def _in_parts(calls: Iterator[Any], count_cores: Callable[[], int]) -> Iterator[Any]:
    """Hand out a few tasks at a time: Ray gives nothing back before all is done, and does not replace a dead worker."""
    for first in calls:
        cores, waiting = count_cores(), itertools.chain([first], calls)
        with _parallel(cores, "list") as parallel:
            while part := list(itertools.islice(waiting, 4 * cores)):
                answers = parallel(part)
                yield from answers
                if GIVEN_UP in answers:
                    break


def _parallel(workers: int, return_as: str) -> Any:
    return joblib.Parallel(n_jobs=workers, batch_size=1, pre_dispatch="2*n_jobs", return_as=return_as)


def _watched() -> dict[str, Any]:
    """Give the settings of a pool on this machine whose workers die with this process."""
    return {"initializer": _start_worker, "initargs": (os.getpid(),)}


def _start_worker(parent: int) -> None:
    # Keeps loky from printing the stack of a process that dies: the parent says in one line what happened.
    os.environ.setdefault("PYTHONFAULTHANDLER", "0")
    # Where psutil is installed, loky ends a worker that has grown by 300 MB, as one does that loads networks, and the
    # pool may then wait for it for ever.
    process_executor._USE_PSUTIL = False
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
