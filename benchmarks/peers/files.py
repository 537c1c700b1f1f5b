"""The same clips in every format, and the page cache.

Conventions
-----------
Clips are LH windows, ``[n_clips, 201, 128]`` float16, dB. Whatever is written holds them in order; a peer that is not
installed writes nothing.
"""

import ctypes
import hashlib
import importlib
import io
import mmap
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
from numpy.typing import NDArray

from cache import ClipRow, ShardPlan, write_shard

N_FRAMES, N_MELS = 201, 128
STORE, PLAIN, NPY, TARS, ZARR, SHARDED = "store", "plain.npy", "npy", "tars", "clips.zarr", "sharded.zarr"
HDF5 = {"chunked.h5": None, "gzip.h5": "gzip", "lzf.h5": "lzf"}
"""HDF5 files ``/frames [n_clips, 201, 128]`` with a chunk a clip, and their compression."""


def peer(name: str) -> ModuleType | None:
    """Import an optional package."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def make_clips(n_clips: int, rng: np.random.Generator) -> NDArray[np.float16]:
    """Make noise of 6 dB on a sloping spectrum, so that compression has about as much to do as with sounds."""
    clips = np.empty((n_clips, N_FRAMES, N_MELS), np.float16)
    slope = np.linspace(-25, -60, N_MELS, dtype=np.float32)
    for clip in clips:
        clip[:] = slope + rng.uniform(-20, 20) + 6 * rng.standard_normal((N_FRAMES, N_MELS), np.float32)
    return clips


def write_files(folder: Path, clips: NDArray[np.float16], *, shard_clips: int) -> None:
    """Write the clips in all formats."""
    write_store(folder / STORE, clips, shard_clips)
    np.save(folder / PLAIN, clips)
    for name, compression in HDF5.items():
        with h5py.File(folder / name, "w") as h5:
            h5.create_dataset("frames", data=clips, chunks=(1, N_FRAMES, N_MELS), compression=compression)
    (folder / NPY).mkdir()
    for number, clip in enumerate(clips):
        np.save(folder / NPY / f"{number:06d}.npy", clip)
    if peer("webdataset"):
        write_tars(folder / TARS, clips, shard_clips)
    if zarr := peer("zarr"):
        layout = {"shape": clips.shape, "chunks": (1, N_FRAMES, N_MELS), "dtype": clips.dtype, "compressors": None}
        zarr.create_array(folder / ZARR, **layout)[:] = clips
        zarr.create_array(folder / SHARDED, **layout, shards=(shard_clips, N_FRAMES, N_MELS))[:] = clips


def write_store(folder: Path, clips: NDArray[np.float16], shard_clips: int) -> None:
    """Write this project's own shards."""
    names = [f"{number:06d}.wav" for number in range(len(clips))]
    rows = [
        ClipRow(name, hashlib.sha256(name.encode()).hexdigest(), 4.0, clip)
        for name, clip in zip(names, clips, strict=True)
    ]
    for first in range(0, len(rows), shard_clips):
        chosen = rows[first : first + shard_clips]
        plan = ShardPlan.of(row.key for row in chosen)
        write_shard(
            folder,
            plan,
            chosen,
            settings={},
            fingerprint="benchmark",
            mode="lh",
            versions={},
            n_mels=N_MELS,
            dtype="float16",
        )


def write_tars(folder: Path, clips: NDArray[np.float16], shard_clips: int) -> None:
    """Write tar files of ``.npy`` members, as WebDataset reads them."""
    folder.mkdir()
    for first in range(0, len(clips), shard_clips):
        with tarfile.open(folder / f"{first:06d}.tar", "w") as tar:
            for number in range(first, min(first + shard_clips, len(clips))):
                data = io.BytesIO()
                np.save(data, clips[number])
                member = tarfile.TarInfo(f"{number:06d}.npy")
                member.size = len(data.getvalue())
                tar.addfile(member, io.BytesIO(data.getvalue()))


def files_of(path: Path) -> Iterator[Path]:
    """Yield the files of a file or a folder."""
    return (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else iter([path])


def drop_from_cache(path: Path) -> float:
    """Ask the page cache to drop a file, or all files of a folder; give the share that stays, 0 … 1.

    Pages that a process has mapped stay; so do all on a file system in memory.
    """
    kept = total = 0
    for file in files_of(path):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            kept += resident_pages(opened.fileno())
            total += -(-file.stat().st_size // mmap.PAGESIZE)
    return kept / total


def resident_pages(descriptor: int) -> int:
    """Count the pages of a file that the page cache holds, by ``mincore``."""
    libc = ctypes.CDLL(None, use_errno=True)
    # A private map can be written to, which is how ctypes gets its address; nothing is written.
    with mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE) as mapped:
        answers = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        address = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(address)), ctypes.c_size_t(len(mapped)), answers)
        del address
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(answer & 1 for answer in bytes(answers))
