"""The ways to read clips: of each, how to read one and how to read a batch.

Conventions
-----------
"Single" leaves every clip in memory of its own: a lazy view is copied into a kept buffer, an array that was made for
the call is left as it is. "Batch" makes a new array ``[n, 201, 128]``. A way is opened outside the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from cache import open_store
from peers.files import N_FRAMES, N_MELS, NPY, PLAIN, SHARDED, STORE, TARS, ZARR, peer
from train.dataset import WindowDataset

THREADS = torch.get_num_threads()
READER, DATASET, MEMMAP, COPY = "this reader", "this reader, in train.dataset", "numpy.memmap", "memory, copied"
KEPT, KEPT_FANCY, PER_ITEM = "h5py, kept handle", "h5py, kept handle, one index", "h5py, opened per item"
WEBDATASET = "WebDataset, sequential"
SHAPE = (N_FRAMES, N_MELS)
BUFFER = np.empty(SHAPE, np.float16)
"""One for all, so that none has the luckier place in the processor's caches."""

Clips = NDArray[np.int64]
Read = Callable[[Clips], Any]


@dataclass(frozen=True)
class Way:
    """An opened contestant; what it cannot do is None.

    Attributes
    ----------
    single, batch : callable or None
        Read these clips, one after the other or at once; ``single`` gives the last one.
    prepare : callable
        What to do before a turn, outside the time.
    check : callable or None
        Compare these clips with their CRC-32, once more.
    """

    single: Read | None = None
    batch: Read | None = None
    prepare: Callable[[], Any] = int
    check: Read | None = None


def copied(get: Callable[[int], Any]) -> Read:
    """Read clip by clip what is given as a view."""

    def read(clips: Clips) -> Any:
        for clip in clips.tolist():
            np.copyto(BUFFER, get(clip))
        return BUFFER

    return read


def made(get: Callable[[int], Any]) -> Read:
    """Read clip by clip what is given as a new array."""

    def read(clips: Clips) -> Any:
        for clip in clips.tolist():
            frames = get(clip)
        return frames

    return read


def stacked(get: Callable[[int], Any]) -> Read:
    return lambda clips: np.stack([get(clip) for clip in clips.tolist()])


def filled(get: Callable[[int], Any]) -> Read:
    """Read a batch clip by clip into its place."""

    def read(clips: Clips) -> Any:
        batch = np.empty((len(clips), *SHAPE), np.float16)
        for window, clip in zip(batch, clips.tolist(), strict=True):
            window[:] = get(clip)
        return batch

    return read


def open_reader(folder: Path) -> Way:
    reader = open_store(folder / STORE)

    def check(clips: Clips) -> None:
        for clip in clips.tolist():
            reader.verify_clip(clip)

    return Way(
        copied(reader.__getitem__),
        lambda clips: reader.gather(clips, np.zeros(len(clips), np.int64), N_FRAMES),
        check=check,
    )


def open_dataset(folder: Path) -> Way:
    """Open what training reads: torch's threads, where there are several, gather through the reader's map."""
    reader = open_store(folder / STORE)
    dataset = WindowDataset(reader, range(len(reader)), window_frames=N_FRAMES, overlap=0.1)
    return Way(batch=lambda clips: dataset.__getitems__(clips)[0], prepare=lambda: torch.set_num_threads(THREADS))


def open_memmap(folder: Path) -> Way:
    array = np.load(folder / PLAIN, mmap_mode="r")
    return Way(copied(array.__getitem__), array.__getitem__)


def open_npy(folder: Path) -> Way:
    paths = [str(folder / NPY / f"{number:06d}.npy") for number in range(len(list((folder / NPY).iterdir())))]

    def get(clip: int) -> Any:
        return np.load(paths[clip])

    return Way(made(get), stacked(get))


def shard_places(store: Path) -> tuple[list[Path], list[tuple[int, int]]]:
    """Give the shards, and of each clip its shard and first row, as anyone with h5py finds them."""
    paths = sorted(store.glob("*.h5"))
    places: dict[bytes, tuple[int, int]] = {}
    for shard, path in enumerate(paths):
        with h5py.File(path) as h5:
            starts = h5["clips/start"][:].tolist()
            places |= {name: (shard, start) for name, start in zip(h5["clips/name"][:], starts, strict=True)}
    return paths, [place for _, place in sorted(places.items())]


def open_kept(folder: Path) -> Way:
    paths, places = shard_places(folder / STORE)
    frames = [h5py.File(path)["frames"] for path in paths]

    def get(clip: int) -> Any:
        shard, start = places[clip]
        return frames[shard][start : start + N_FRAMES]

    return Way(made(get), filled(get))


def open_kept_fancy(folder: Path) -> Way:
    paths, places = shard_places(folder / STORE)
    frames = [h5py.File(path)["frames"] for path in paths]

    def read(clips: Clips) -> Any:
        batch = np.empty((len(clips), *SHAPE), np.float16)
        wanted = np.array([places[clip] for clip in clips.tolist()])
        for shard in np.unique(wanted[:, 0]).tolist():
            into = np.flatnonzero(wanted[:, 0] == shard)
            into = into[np.argsort(wanted[into, 1])]  # h5py takes rising indices only
            rows = (wanted[into, 1][:, None] + np.arange(N_FRAMES)).ravel()
            batch[into] = frames[shard][rows].reshape(-1, *SHAPE)
        return batch

    return Way(batch=read)


def open_per_item(folder: Path) -> Way:
    paths, places = shard_places(folder / STORE)

    def get(clip: int) -> Any:
        shard, start = places[clip]
        with h5py.File(paths[shard]) as h5:
            return h5["frames"][start : start + N_FRAMES]

    return Way(made(get), filled(get))


def open_hdf5(name: str) -> Callable[[Path], Way]:
    def open_it(folder: Path) -> Way:
        array = h5py.File(folder / name)["frames"]
        return Way(made(array.__getitem__), filled(array.__getitem__))

    return open_it


def open_zarr(name: str) -> Callable[[Path], Way]:
    def open_it(folder: Path) -> Way:
        zarr = peer("zarr")
        assert zarr
        array = zarr.open_array(folder / name, mode="r")
        return Way(made(array.__getitem__), array.get_orthogonal_selection)

    return open_it


def open_webdataset(folder: Path) -> Way:
    """Open the tars in shuffled order with a shuffled buffer; it goes on where the turn before ended."""
    wds = peer("webdataset")
    assert wds
    urls = sorted(map(str, (folder / TARS).iterdir()))
    dataset = wds.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(256, seed=0).decode().to_tuple("npy")
    clips = (clip for (clip,) in iter(dataset.repeat()))

    def batch(which: Clips) -> Any:
        return np.stack(list(islice(clips, len(which))))

    return Way(made(lambda _: next(clips)), batch)


def memory_ways(clips: NDArray[np.float16]) -> dict[str, Way]:
    """Give the ways to gather from memory, by numpy and by torch."""
    tensor = torch.from_numpy(clips)
    ways = {
        COPY: Way(copied(clips.__getitem__), filled(clips.__getitem__)),
        "numpy.take": Way(batch=lambda which: np.take(clips, which, axis=0)),
        "numpy index": Way(batch=lambda which: clips[which]),
        "numpy.stack": Way(batch=stacked(clips.__getitem__)),
    }
    for number in sorted({THREADS, 1}):
        called = f"{number} thread" + ("s" if number > 1 else "")

        def prepare(number: int = number) -> None:
            torch.set_num_threads(number)

        ways[f"torch.index_select, {called}"] = Way(
            batch=lambda which: torch.index_select(tensor, 0, torch.from_numpy(which)), prepare=prepare
        )
        ways[f"torch index, {called}"] = Way(batch=lambda which: tensor[torch.from_numpy(which)], prepare=prepare)
    return ways


FROM_DISK: dict[str, tuple[str, Callable[[Path], Way]]] = {
    READER: (STORE, open_reader),
    DATASET: (STORE, open_dataset),
    MEMMAP: (PLAIN, open_memmap),
    KEPT: (STORE, open_kept),
    KEPT_FANCY: (STORE, open_kept_fancy),
    PER_ITEM: (STORE, open_per_item),
    "HDF5, a chunk a clip": ("chunked.h5", open_hdf5("chunked.h5")),
    "HDF5, gzip": ("gzip.h5", open_hdf5("gzip.h5")),
    "HDF5, lzf": ("lzf.h5", open_hdf5("lzf.h5")),
    ".npy files": (NPY, open_npy),
    "zarr 3, a chunk a clip": (ZARR, open_zarr(ZARR)),
    "zarr 3, sharded": (SHARDED, open_zarr(SHARDED)),
    WEBDATASET: (TARS, open_webdataset),
}
"""Of each contestant its files, and how it opens them."""

NEEDS = {"zarr 3, a chunk a clip": "zarr", "zarr 3, sharded": "zarr", WEBDATASET: "webdataset"}
"""Optional packages."""
