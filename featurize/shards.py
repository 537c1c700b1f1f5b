"""One task of the parallel featurizer: the sources of a shard in, sealed shards out.

Conventions
-----------
A clip is decoded once for all modes. A recording that cannot be used becomes a row with its reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import soundfile

from cache import ClipRow, ShardPlan, ShardRecord, write_shard
from cache.errors import InputError
from featurize.audio import QuarantineError, Recording, decode
from featurize.modes import FeatureMode
from featurize.sources import Source


@dataclass(frozen=True)
class ShardTask:
    """One unit of work: the sources of a shard, the seconds their headers tell, and the modes that lack it."""

    sources: tuple[Source, ...]
    seconds: tuple[float, ...]
    outputs: tuple[tuple[FeatureMode, str, ShardPlan], ...]
    max_clip_minutes: float

    @property
    def modes(self) -> list[FeatureMode]:
        """The modes that lack the shard."""
        return [mode for mode, _, _ in self.outputs]

    @property
    def decoded_seconds(self) -> float:
        """Length of the clips that are not too long, as their headers tell it."""
        return sum(seconds for seconds in self.seconds if seconds <= self.max_clip_minutes * 60)


@dataclass(frozen=True)
class ShardResult:
    """What comes back of a task: how many clips and seconds it held, and the clips whose file changed meanwhile."""

    n_clips: int
    seconds: float
    changed: tuple[str, ...]


def make_shard(task: ShardTask) -> ShardResult:
    """Decode, compute, write and seal one shard of each mode that lacks it; runs in a worker."""
    return seal_task(task, (clip_rows(source, task.modes, task.max_clip_minutes) for source in task.sources))


def seal_task(task: ShardTask, made: Iterable[list[ClipRow]]) -> ShardResult:
    """Write and seal the shards of a task.

    Parameters
    ----------
    task : ShardTask
    made : iterable of list of ClipRow
        Of each source what :func:`clip_rows` gives.
    """
    rows: dict[str, list[ClipRow]] = {mode.name: [] for mode in task.modes}
    changed: list[str] = []
    for source, clip in zip(task.sources, made, strict=True):
        if not (clip and source.is_unchanged()):
            changed.append(source.name)
            continue
        for mode, row in zip(task.modes, clip, strict=True):
            rows[mode.name].append(row)
    for mode, folder, plan in task.outputs:
        if rows[mode.name]:
            seal(mode, folder, rows.pop(mode.name), generation=plan.generation, versions=library_versions())
    return ShardResult(len(task.sources), task.decoded_seconds, tuple(changed))


def clip_rows(source: Source, modes: Sequence[FeatureMode], max_clip_minutes: float) -> list[ClipRow]:
    """Decode one clip once, and give a row for each mode.

    Parameters
    ----------
    source : Source
        Readable a moment ago.
    modes : sequence of FeatureMode
    max_clip_minutes : float > 0

    Returns
    -------
    list of ClipRow
        As long as ``modes``, with frames or a problem; empty where the file can no longer be read.
    """
    try:
        recording = decode(source.path, max_clip_minutes=max_clip_minutes)
    except QuarantineError as error:
        if isinstance(error.__cause__, OSError):  # it was read a moment ago: no property of these bytes
            return []
        return [ClipRow(source.name, source.digest, error.seconds, None, error.reason) for _ in modes]
    return [_clip_row(source, recording, mode) for mode in modes]


def _clip_row(source: Source, recording: Recording, mode: FeatureMode) -> ClipRow:
    from featurize.logmel import log_mel  # with numba: a quarter of a second, which only those that compute need

    try:
        frames = log_mel(recording, mode).astype(mode.dtype)
    except InputError as error:
        return ClipRow(source.name, source.digest, recording.seconds, None, str(error))
    return ClipRow(source.name, source.digest, recording.seconds, frames)


def seal(
    mode: FeatureMode, folder: str | Path, rows: list[ClipRow], *, generation: int = 0, versions: Mapping[str, str]
) -> ShardRecord:
    """Seal rows of a mode as one shard.

    Parameters
    ----------
    mode : FeatureMode
    folder : path
        The mode's folder.
    rows : list of ClipRow
    generation : int >= 0
    versions : mapping of str
        Of the libraries that computed the rows.
    """
    return write_shard(
        folder,
        ShardPlan.of((row.key for row in rows), generation=generation),
        rows,
        settings=mode.to_dict(),
        fingerprint=mode.fingerprint(),
        mode=mode.name,
        versions=versions,
        n_mels=mode.n_mels,
        dtype=mode.dtype,
    )


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that the numbers depend on."""
    return {
        "librosa": version("librosa"),
        "libsndfile": soundfile.__libsndfile_version__,
        "numpy": version("numpy"),
        "soxr": version("soxr"),
    }
