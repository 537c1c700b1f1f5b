"""Opening a store: the rows of a mode's folder, chosen and made the few arrays of a reader.

Conventions
-----------
Without keys a store is what is current in it; with keys, in their order, it is just those clips, and all of them.
"""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from cache.columns import Rows, Texts, concatenate
from cache.errors import IntegrityError, NotFoundError
from cache.layout import SHARD_GLOB, Key, check_key, encode_name, foreign_to
from cache.reader import StoreReader
from cache.sharing import SharedArrays
from cache.table import HINT, ShardTable, read_table, shard_paths

_NAMED = 3  # so many clips are named in a message


def open_store(path: str | os.PathLike[str], keys: Sequence[Key] | None = None) -> StoreReader:
    """Open a mode's folder for reading.

    Parameters
    ----------
    path : path
        ``<store>/<mode>-<fingerprint>``.
    keys : sequence of (name, digest), optional
        The clips to read, in this order. Without them: the current row of every name, where it has frames, sorted by
        the bytes of the name; current is the row in the shard with the highest generation.

    Returns
    -------
    StoreReader

    Raises
    ------
    NotFoundError
        There is no such folder, it holds no shard, or a key has no row or no frames.
    IntegrityError
        A shard fails its checks, or the shards hold different features.
    """
    folder = Path(path).absolute()
    header, blocks, shard, rows = _read_shards(folder)
    names = rows.names.tolist()
    chosen = _current(rows, names) if keys is None else _find(keys, rows, names, folder)
    texts = Texts.of([names[row] for row in chosen.tolist()])
    del names  # objects: half of the memory that opening takes
    start = np.where(np.diff(shard, prepend=-1) > 0, 0, np.concatenate([[0], rows.stop[:-1]]))[chosen]
    columns: dict[str, npt.NDArray[Any]] = {
        "header": header,
        "blocks": blocks,
        "names": texts.data,
        "name_ends": texts.ends,
        "digests": rows.digests[chosen],
        "shard": shard[chosen],
        "start": start,
        "n_frames": rows.stop[chosen] - start,
        "crc32": rows.crc32[chosen],
        "seconds": rows.seconds[chosen],
    }
    return StoreReader(str(folder), SharedArrays(columns))


def _read_shards(
    folder: Path,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int32], Rows]:
    """Give what the shards have in common as JSON, their user blocks, and of each row its shard; and the rows."""
    tables = (read_table(path) for path in shard_paths(folder))
    first: ShardTable | None = None
    blocks: list[bytes] = []
    counts: list[int] = []

    def parts() -> Iterator[Rows]:
        nonlocal first
        for table in tables:
            first = first or table
            if foreign_to(folder.name, table.mode, table.fingerprint):
                msg = f"shard {table.path} holds {table.features}, its folder is for {folder.name}; {HINT}"
                raise IntegrityError(msg)
            if table.features != first.features:
                msg = (
                    f"{folder} holds different features: {first.path.name} has {first.features}, "
                    f"{table.path.name} has {table.features}; move one away"
                )
                raise IntegrityError(msg)
            blocks.append(table.block.pack())
            counts.append(len(table.rows))
            yield table.rows

    rows = concatenate(parts())
    if first is None:
        raise NotFoundError(_no_shards(folder))
    header: dict[str, Any] = {"mode": first.mode, "fingerprint": first.fingerprint, "settings": first.settings}
    header |= {"n_mels": first.n_mels, "dtype": first.dtype.str}
    return (
        np.frombuffer(json.dumps(header).encode(), np.uint8),
        np.frombuffer(b"".join(blocks), np.uint8).reshape(len(blocks), -1),
        np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        rows,
    )


def _no_shards(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no store at {folder}: run `cli featurize`, or give --store"
    below = sorted({shard.parent.name for shard in folder.glob(f"*/{SHARD_GLOB}")})
    if below:
        return f"{folder} holds no shards itself: open one of its folders ({', '.join(below)})"
    return f"{folder} holds no shards: run `cli featurize`"


def _current(rows: Rows, names: list[bytes]) -> npt.NDArray[np.int64]:
    """Give the current row of each name, sorted by the names' bytes, without those that have a problem."""
    # Rows come in the order of generations, and sorting keeps it among equal names: the last one is current.
    order = sorted(range(len(names)), key=names.__getitem__)
    followed = pairwise(chain(order, [-1]))
    current = [row for row, after in followed if after < 0 or names[row] != names[after]]
    chosen = np.array(current, np.int64)
    return chosen[~rows.has_problem[chosen]]


def _find(keys: Sequence[Key], rows: Rows, names: list[bytes], folder: Path) -> npt.NDArray[np.int64]:
    """Give the row of each key."""
    digests = rows.digests.tobytes()
    known = {digests[32 * row : 32 * row + 32] + name: row for row, name in enumerate(names)}
    for key in keys:
        check_key(Key(*key) if len(key) == 2 else Key(str(key), ""))
    found = [known.get(bytes.fromhex(key[1]) + encode_name(key[0]), -1) for key in keys]
    chosen = np.array(found, np.int64)
    lost = (chosen < 0) | rows.has_problem[chosen]
    if lost.any():
        _refuse_lost(
            [(keys[position], int(chosen[position])) for position in np.flatnonzero(lost).tolist()],
            len(keys),
            rows,
            folder,
        )
    return chosen


def _refuse_lost(lost: list[tuple[Key, int]], n_keys: int, rows: Rows, folder: Path) -> NoReturn:
    reasons = [
        "not featurized" if row < 0 else f"quarantined: {rows.problems[row].decode()}" for _, row in lost[:_NAMED]
    ]
    listed = ", ".join(f"{key[0]!r} ({reason})" for (key, _), reason in zip(lost, reasons, strict=False))
    msg = (
        f"{len(lost)} of {n_keys} clips have no frames in {folder}: {listed}{', …' if len(lost) > _NAMED else ''}; "
        "run `cli featurize`, and leave quarantined clips out"
    )
    raise NotFoundError(msg)
