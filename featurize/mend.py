"""Sealing damaged shards again; runs in a worker.

Conventions
-----------
A shard is sealed under the plan that it was made by, so that its bytes are those of before. Rows that match their
CRC-32 are kept, the others computed from the corpus's files, as far as these still hold the bytes that the rows belong
to.
"""

import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import BadShard, ClipRow, Key
from cache.layout import USER_BLOCK_BYTES, UserBlock, shard_generation
from cache.regular import open_regular
from cache.table import ShardTable
from cache.writer import read_rows
from featurize.audio import MAX_CLIP_MINUTES
from featurize.modes import FeatureMode
from featurize.shards import clip_rows, library_versions, seal
from featurize.sources import look


@dataclass(frozen=True)
class ShardRepair:
    """A shard that is whole again.

    Parameters
    ----------
    path : Path
    kept, recomputed : int
        Rows whose frames (or problem) were whole, and rows computed from the corpus.
    lost : list of str
        Clips that the shard held and holds no more: their files are gone or changed.
    same_bytes : bool or None
        Whether its bytes are those that the damaged shard's user block promised; None where that was damaged.
    """

    path: Path
    kept: int
    recomputed: int
    lost: list[str]
    same_bytes: bool | None


@dataclass(frozen=True)
class Target:
    """A shard to be sealed.

    Parameters
    ----------
    path : Path
    keys : tuple of Key
        The clips that it must hold.
    promised : bytes or None
        SHA-256 of its bytes, as its old user block has it; None where that was damaged.
    """

    path: Path
    keys: tuple[Key, ...]
    promised: bytes | None


@dataclass(frozen=True)
class RepairTask:
    """One unit of work: shards to be sealed, and the damaged ones whose whole rows they take.

    A shard that lies under another's name lends its rows and is overwritten: such shards make one task.

    Parameters
    ----------
    mode : FeatureMode
    targets : tuple of Target
    donors : tuple of BadShard
    paths : dict of {str: str}
        Clip → its file.
    seconds : dict of {Key: float}
        Length of the clips that are longer than usual, and were let in.
    """

    mode: FeatureMode
    targets: tuple[Target, ...]
    donors: tuple[BadShard, ...]
    paths: dict[str, str]
    seconds: dict[Key, float]


@dataclass(frozen=True)
class Mended:
    """What came of a target.

    Parameters
    ----------
    target : Target
    written : ShardRepair or None
        None where nothing could be sealed.
    lost : tuple of str
        Clips whose files are gone or changed.
    error : str
        What went wrong, else empty.
    """

    target: Target
    written: ShardRepair | None
    lost: tuple[str, ...] = ()
    error: str = ""


def mend_shards(task: RepairTask) -> list[Mended]:
    """Seal the shards of a task; what goes wrong with one does not keep the others from it."""
    kept: dict[Key, ClipRow] = {}
    versions: dict[Key, dict[str, Any]] = {}
    # All rows are read before the first shard is sealed, which may take the place of the next one's.
    for donor, table in ((donor, donor.table) for donor in task.donors if donor.table):
        rows = _whole_rows(table, donor.damaged)
        kept |= rows
        versions |= dict.fromkeys(rows, table.versions)
    mended: list[Mended] = []
    for target in task.targets:
        try:
            mended.append(_mend(target, task, kept, versions))
        except Exception as error:
            mended.append(Mended(target, None, error=str(error) or type(error).__name__))
    return mended


def _whole_rows(table: ShardTable, damaged: Collection[int]) -> dict[Key, ClipRow]:
    """Read the rows of a damaged shard that are whole."""
    rows: dict[Key, ClipRow] = {}
    whole = [row for row in range(len(table.rows)) if row not in damaged]
    with suppress(OSError):
        for number, row in zip(whole, read_rows(table, whole), strict=True):
            if row.frames is None or zlib.crc32(row.frames.data) == table.rows.crc32[number]:
                rows[row.key] = row
    return rows


def _mend(target: Target, task: RepairTask, kept: dict[Key, ClipRow], versions: dict[Key, dict[str, Any]]) -> Mended:
    rows: list[ClipRow] = []
    lost: list[str] = []
    for key in target.keys:
        row = kept.get(key) or _compute(key, task)
        if row is None:
            lost.append(key.name)
        else:
            rows.append(row)
    if not rows:
        return Mended(target, None, tuple(lost))
    n_kept = sum(row.key in kept for row in rows)
    # A row that is computed now is computed by the libraries of now.
    made_by = versions[rows[0].key] if n_kept == len(rows) else library_versions()
    record = seal(task.mode, target.path.parent, rows, generation=shard_generation(target.path.name), versions=made_by)
    same = None if target.promised is None else _sha256(record.path) == target.promised
    return Mended(target, ShardRepair(record.path, n_kept, len(rows) - n_kept, lost, same), tuple(lost))


def _sha256(path: Path) -> bytes:
    with open_regular(path) as file:
        return UserBlock.unpack(file.read(USER_BLOCK_BYTES)).sha256_all


def _compute(key: Key, task: RepairTask) -> ClipRow | None:
    """Compute a clip's row; None where its file is gone or holds other bytes."""
    if key.name not in task.paths:
        return None
    source = look(key.name, task.paths[key.name])
    if source.digest != key.digest:
        return None
    # One that was let in may be rounded up.
    limit = task.seconds[key] / 60 + 1 if key in task.seconds else MAX_CLIP_MINUTES
    rows = clip_rows(source, [task.mode], limit)
    return rows[0] if rows and source.is_unchanged() else None
