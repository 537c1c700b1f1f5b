"""Clusters that joblib hands tasks to: Dask and Ray.

Conventions
-----------
A cluster is found by the address of its scheduler or head, or started on this machine, for the length of a ``with``
block. A task whose workers died is answered by ``GIVEN_UP``; a cluster that is lost is an error. What a cluster's own
packages print or log meanwhile is kept away: the error says it in one sentence.
"""

import contextlib
import importlib
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from multiprocessing import resource_tracker
from typing import Any, cast

import joblib

from cache.errors import EarmarkError, InputError

GIVEN_UP = None
"""What is answered for a task whose workers died."""
_CONNECT_SECONDS = 10
_START_SECONDS = 60


class ClusterError(EarmarkError):
    """A cluster was lost, or cannot do what it is given."""


@contextlib.contextmanager
def dask_cluster(jobs: int, scheduler: str | None) -> Iterator[None]:
    """Let joblib hand tasks to Dask.

    Parameters
    ----------
    jobs : int > 0
        Workers of a cluster that is started here.
    scheduler : str, optional
        Address of one that is there.

    Raises
    ------
    InputError
        If the package is not installed, the scheduler does not answer, or it has no workers.
    ClusterError
        If the scheduler is lost.
    """
    silence_logging_cmgr = _import("distributed", "dask").utils.silence_logging_cmgr
    with (
        silence_logging_cmgr(logging.CRITICAL),
        _dask_client(jobs, scheduler),
        joblib.parallel_config(_dask_backend(scheduler)),
    ):
        yield


@contextlib.contextmanager
def _dask_client(jobs: int, scheduler: str | None) -> Iterator[None]:
    distributed = _import("distributed", "dask")
    if scheduler is None:
        with _local_dask(distributed, jobs):
            yield
        return
    try:
        client = distributed.Client(address=scheduler, timeout=_CONNECT_SECONDS, set_as_default=True)
    except (OSError, ValueError) as error:
        message = f"--scheduler {scheduler} is no Dask scheduler that answers: {error}"
        raise InputError(message) from error
    with client:
        yield


@contextlib.contextmanager
def _local_dask(distributed: Any, jobs: int) -> Iterator[None]:
    resource_tracker.ensure_running()  # the thread that starts it lets interrupts in again
    quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with contextlib.ExitStack() as stack:
        with _interrupts_held():  # Dask cannot close what is half started
            cluster = stack.enter_context(distributed.LocalCluster(n_workers=0, threads_per_worker=1, **quiet))
            cluster.sync(_leave_interrupts)
            cluster.scale(jobs)
            client = stack.enter_context(distributed.Client(cluster, set_as_default=True))
            try:
                client.wait_for_workers(jobs, timeout=_START_SECONDS)
            except TimeoutError as error:
                message = f"Dask did not start {jobs} workers on this machine in {_START_SECONDS} s: see to its load"
                raise ClusterError(message) from error
        yield


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


async def _leave_interrupts() -> None:
    """Keep Ctrl-C from the processes that this thread starts: the command answers it for all."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _dask_backend(scheduler: str | None) -> Any:
    """Make joblib's Dask backend, which also tells of tasks that Dask gave up, instead of waiting for them for ever."""
    from distributed import KilledWorker
    from joblib._dask import DaskDistributedBackend
    from joblib.externals.loky.process_executor import _RemoteTraceback

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            try:
                return int(super().effective_n_jobs(n_jobs))
            except (OSError, CancelledError) as error:
                if self.client.status != "running":
                    raise _lost(scheduler, error) from error
                message = f"the Dask scheduler {scheduler} has no workers: start some with dask worker {scheduler}"
                raise InputError(message) from error

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, KilledWorker):
                return [GIVEN_UP]
            # A task's own error brings the traceback of its worker along; another one is Dask's.
            if isinstance(out, BaseException) and not isinstance(out.__cause__, _RemoteTraceback):
                raise _lost(scheduler, out) from out
            return super().retrieve_result_callback(out)

    return Backend(wait_for_workers_timeout=_CONNECT_SECONDS)


def _lost(scheduler: str | None, error: BaseException) -> ClusterError:
    where = f"Dask scheduler {scheduler}" if scheduler else "Dask cluster on this machine"
    what = "was lost" if isinstance(error, OSError | CancelledError) else f"failed ({type(error).__name__}: {error})"
    return ClusterError(f"the {where} {what}: see that it runs, and run again to go on from here")


@contextlib.contextmanager
def ray_cluster(jobs: int, scheduler: str | None) -> Iterator[Callable[[], int]]:
    """Let joblib hand tasks to Ray, and give what counts its cores.

    Parameters
    ----------
    jobs : int > 0
        Workers of a cluster that is started here.
    scheduler : str, optional
        Address of the head of one that is there.

    Raises
    ------
    InputError
        If the package is not installed, or the head does not answer.
    ClusterError
        When counting, if there are no cores, or none are left.
    """
    with _ray_session(jobs, scheduler), joblib.parallel_config(_ray_backend()):
        yield lambda: _count_cores(scheduler)


def _count_cores(scheduler: str | None) -> int:
    ray, end = _import("ray", "ray"), time.monotonic() + _CONNECT_SECONDS
    while not (cores := int(ray.cluster_resources().get("CPU", 0))) and time.monotonic() < end:
        time.sleep(0.1)
    if cores:
        return cores
    where = f"with the head {scheduler}" if scheduler else "on this machine"
    how = f"start some with ray start --address {scheduler}, and " if scheduler else ""
    message = f"the Ray cluster {where} has no workers (left): {how}run again to go on from here"
    raise ClusterError(message)


@contextlib.contextmanager
def _ray_session(jobs: int, scheduler: str | None) -> Iterator[None]:
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
            yield
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
            return [GIVEN_UP] if isinstance(out, RayError) else super().retrieve_result_callback(out)

    # Without num_cpus all workers may be started on one machine.
    return Backend(ray_remote_args={"num_cpus": 1})


def _import(module: str, backend: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f"--backend {backend} needs the package {error.name}: pip install 'earmark[{backend}]'"
        raise InputError(message) from error
