"""Time several ways to do the same, in turns, each in one thread."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Row:
    """What a way took: milliseconds an item, round by round, and processor seconds for each second of the clock."""

    milliseconds: list[float]
    cores: float


def time_rounds(ways: Mapping[str, Callable[[Item], Any]], items: Sequence[Item], rounds: int) -> dict[str, Row]:
    """Let all ways take each item, one way after the other; who begins changes with every item and round.

    Noise of the machine hits all alike, and none has always the same one before it.
    """
    names = list(ways)
    wall = {name: [0.0] * rounds for name in names}
    processor = dict.fromkeys(names, 0.0)
    for number in range(rounds):
        for place, item in enumerate(items):
            first = (number + place) % len(names)
            for name in names[first:] + names[:first]:
                used, begun = time.process_time(), time.perf_counter()
                ways[name](item)
                wall[name][number] += time.perf_counter() - begun
                processor[name] += time.process_time() - used
    return {
        name: Row([1000 * seconds / len(items) for seconds in wall[name]], processor[name] / sum(wall[name]))
        for name in names
    }


@contextmanager
def single_threaded() -> Iterator[None]:
    """Hold every library to one thread: those loaded, and those that read the environment when they are."""
    before = dict(os.environ)
    threads = torch.get_num_threads()
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(before)
