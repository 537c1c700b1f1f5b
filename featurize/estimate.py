"""What a run is going to take: seconds and bytes, before it begins.

Conventions
-----------
The time comes from a few clips that are computed, and sealed in a temporary folder, by the machine as it is now; the
store is not touched. What of a clip is known is the length that its header tells.
"""

import tempfile
import time
from collections.abc import Iterable, Sequence

import numpy as np

from cache import ClipRow
from featurize.shards import ShardTask, clip_rows, library_versions, seal
from featurize.sources import Source

_PROBES = 8  # clips that are timed
_START_SECONDS = 1.0  # until workers have imported what they need

Clip = tuple[Source, float, ShardTask]


def estimate_seconds(tasks: Sequence[ShardTask], *, jobs: int) -> float:
    """Compute and seal a few clips, and scale by the length of all and by the number of shards.

    Parameters
    ----------
    tasks : sequence of ShardTask
    jobs : int > 0

    Returns
    -------
    float >= 0
    """
    clips = [
        (source, seconds, task)
        for task in tasks
        for source, seconds in zip(task.sources, task.seconds, strict=True)
        if seconds <= task.max_clip_minutes * 60
    ]
    if not clips:
        return 0.0
    probes = clips[:: -(-len(clips) // _PROBES)]
    first, _ = _compute(probes[:1])  # loads what is compiled, as a run in this process does
    computing, made = _compute(probes)
    scale = sum(_cost(clip) for clip in clips) / sum(_cost(clip) for clip in probes)
    workers = min(jobs, len(tasks))
    start = _START_SECONDS if workers > 1 else first
    return start + (computing * scale + _seal(probes, made) * len(tasks)) / workers


def _cost(clip: Clip) -> float:
    return max(clip[1], 0.1)


def _compute(clips: Sequence[Clip]) -> tuple[float, list[list[ClipRow]]]:
    start = time.perf_counter()
    made = [clip_rows(source, task.modes, task.max_clip_minutes) for source, _, task in clips]
    return time.perf_counter() - start, made


def _seal(probes: Sequence[Clip], made: Sequence[Sequence[ClipRow]]) -> float:
    """Return the seconds that it takes to seal the shards of a task."""
    modes = probes[0][2].modes
    rows = [row for row in made if len(row) == len(modes)]
    if not rows:
        return 0.0
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        start = time.perf_counter()
        for mode, column in zip(modes, zip(*rows, strict=True), strict=True):
            seal(mode, f"{folder}/{mode.folder}", list(column), versions=library_versions())
        return time.perf_counter() - start


def estimate_bytes(tasks: Iterable[ShardTask]) -> int:
    """Estimate the size of the shards on disk."""
    total = 0
    for task in tasks:
        for mode, _, _ in task.outputs:
            limit = task.max_clip_minutes * 60
            frames = sum(mode.n_frames(seconds) for seconds in task.seconds if seconds <= limit)
            total += frames * mode.n_mels * np.dtype(mode.dtype).itemsize + 400 * len(task.sources) + 16_384
    return total
