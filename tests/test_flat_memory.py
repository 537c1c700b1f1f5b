"""Epoch after epoch, no process keeps anything of what it read.

A fresh process measures, for the heap of one that has run a thousand tests moves by itself.
Of a worker its private memory is measured, the pages that it alone has: a page that a fork shares with its parent
counts from when one of the two writes to it. Of the parent it is all anonymous memory, shared with forks or not: what
it writes to after a fork is no growth. The mapped shards and the batches in shared memory are in neither.
"""

import ctypes
import gc
import json
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from stores import HEAD, write_store
from torch.utils.data import DataLoader, default_convert

from cache import open_store
from train.dataset import WindowDataset

N_CLIPS, N_FRAMES = 160, 800
EPOCHS = 5
BOUND_KB = 1024
"""An epoch reads 8 MB; each of four workers reads 2 MB of them."""
PR_SET_THP_DISABLE = 41

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell private memory"
)


def make_frames() -> torch.Tensor:
    rng = np.random.default_rng(5)
    return torch.from_numpy(rng.normal(-40, 20, (N_CLIPS, N_FRAMES, HEAD.n_mels)).astype(np.float16))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    frames = make_frames()
    clips = {f"{clip:03d}": frames[clip].numpy() for clip in range(N_CLIPS)}
    return write_store(tmp_path_factory.mktemp("flat"), HEAD, clips).path


def memory_kb(pid: int, kind: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{kind}: +(\d+) kB", text, re.MULTILINE)[1])


def read_epoch(loader: DataLoader, frames: torch.Tensor) -> None:
    """Read every window once, and compare it."""
    seen = []
    for windows, clips in loader:
        # One by one: the copies of a whole batch would leave the parent's heap in pieces.
        assert all(torch.equal(window, frames[clip]) for window, clip in zip(windows, clips.tolist(), strict=True))
        seen += clips.tolist()
    assert sorted(seen) == list(range(N_CLIPS))


def memory_by_epoch(loader: DataLoader, frames: torch.Tensor) -> Iterator[dict[int, int]]:
    for _ in range(EPOCHS):
        read_epoch(loader, frames)
        gc.collect()
        workers = [child.pid for child in multiprocessing.active_children()]
        assert len(workers) == loader.num_workers
        own = {os.getpid(): memory_kb(os.getpid(), "Anonymous")}
        yield own | {pid: memory_kb(pid, "Private_Dirty") for pid in workers}


@pytest.mark.parametrize(
    ("workers", "method"),
    [
        (0, None),
        (2, "fork"),
        (4, "fork"),
        # A new interpreter imports torch, in each worker.
        pytest.param(2, "spawn", marks=pytest.mark.slow),
        pytest.param(2, "forkserver", marks=pytest.mark.slow),
    ],
)
def test_memory_stays_flat_over_epochs(store: str, workers: int, method: str | None) -> None:
    command = [sys.executable, __file__, store, str(workers), method or ""]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]).stdout
    epochs = json.loads(out)
    grown = {pid: epochs[-1][pid] - epochs[1][pid] for pid in epochs[1]}
    assert len(epochs) == EPOCHS
    assert len(grown) == workers + 1
    assert max(grown.values()) <= BOUND_KB, f"kB of each process, epoch by epoch: {epochs}"


def main(store: str, workers: str, method: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)  # the kernel may turn used pages into huge ones at any time
    loader = DataLoader(
        WindowDataset(open_store(store), range(N_CLIPS), window_frames=N_FRAMES, overlap=0.0),
        batch_size=8,
        shuffle=True,
        num_workers=int(workers),
        collate_fn=default_convert,
        multiprocessing_context=method or None,
        persistent_workers=workers != "0",
    )
    sys.stdout.write(json.dumps(list(memory_by_epoch(loader, make_frames()))))


if __name__ == "__main__":
    main(*sys.argv[1:])
