"""Small shards for the tests of the cache, and ways to damage them."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cache import ClipRow, Key, ShardPlan, ShardRecord, write_shard
from cache.columns import Rows, pack_index, unpack_index
from cache.layout import USER_BLOCK_BYTES, UserBlock

N_MELS = 6


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def make_row(
    name: str,
    n_frames: int = 5,
    *,
    version: str = "",
    problem: str = "",
    dtype: str = "float16",
    n_mels: int = N_MELS,
    seed: int = 0,
) -> ClipRow:
    rng = np.random.default_rng([seed, *digest_of(name + version).encode()])
    frames = None if problem else rng.normal(-40, 20, (n_frames, n_mels)).astype(dtype)
    return ClipRow(name, digest_of(name + version), n_frames / 50, frames, problem)


def make_rows(n_clips: int = 4, **settings: Any) -> list[ClipRow]:
    """Give clips of different lengths; their names come in sorted order."""
    return [make_row(f"{number:03d}.wav", 3 + number, **settings) for number in range(n_clips)]


def write(
    folder: Path,
    rows: Iterable[ClipRow],
    *,
    generation: int = 0,
    fingerprint: str = "0123abcd",
    n_mels: int = N_MELS,
    dtype: str = "float16",
    mode: str = "lh",
) -> ShardRecord:
    rows = list(rows)
    return write_shard(
        folder,
        ShardPlan.of((row.key for row in rows), generation=generation),
        rows,
        settings={"name": "lh", "hop": 882},
        fingerprint=fingerprint,
        mode=mode,
        versions={"numpy": "2.1"},
        n_mels=n_mels,
        dtype=dtype,
    )


def keys_of(rows: Iterable[ClipRow]) -> list[Key]:
    return [row.key for row in rows]


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Flip one bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def user_block(path: Path) -> UserBlock:
    return UserBlock.unpack(path.read_bytes()[:USER_BLOCK_BYTES])


def reseal(path: Path, **changes: Any) -> None:
    """Write a user block that fits the file as it is now: what a faulty writer would seal."""
    data = path.read_bytes()
    block = replace(user_block(path), shard_name=path.name, file_bytes=len(data), **changes)
    frames = slice(block.frames_offset, block.frames_offset + block.frames_bytes)
    structure = data[USER_BLOCK_BYTES : frames.start] + data[frames.stop :] if block.frames_bytes else data[512:]
    block = replace(
        block,
        sha256_all=hashlib.sha256(data[USER_BLOCK_BYTES:]).digest(),
        sha256_structure=hashlib.sha256(structure).digest(),
    )
    path.write_bytes(block.pack() + data[USER_BLOCK_BYTES:])


def tamper(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Change a sealed shard through HDF5 and seal it again."""
    with h5py.File(path, "r+") as h5:
        change(h5)
    reseal(path)


def tamper_index(path: Path, change: Callable[[Rows], Rows]) -> None:
    """Change the rows of a sealed shard's index, not their size, and seal it again."""
    block, data = user_block(path), path.read_bytes()
    first, last = block.index_offset, block.index_offset + block.index_bytes
    header, rows = unpack_index(data[first:last])
    index = pack_index(header, change(rows))
    assert len(index) == block.index_bytes
    path.write_bytes(data[:first] + index + data[last:])
    reseal(path)
