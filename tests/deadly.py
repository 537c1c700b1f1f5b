"""A decoder that kills its process at some clips, as a broken library does; workers import it.

The name of a clip says what happens: ``segfault``, ``exit``, ``memory``; with ``once`` the first process only dies. At
``header`` even asking its header for its length kills.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import featurize.shards
import featurize.sources
import featurize.suspects
import infer.tagging
from cache import ClipRow
from featurize.audio import Recording, decode
from featurize.modes import FeatureMode
from featurize.shards import ShardResult, ShardTask, clip_rows, make_shard
from featurize.sources import Source, header_seconds
from infer.captioning import Captioned, CaptionTask, caption_task
from infer.tagging import TagTask, tag_task
from infer.tags import Tagged


def deadly_decode(path: str, *, max_clip_minutes: float) -> Recording:
    clip = Path(path)
    if "once" not in clip.name or _is_first(clip.with_suffix(".died")):
        if "segfault" in clip.name or "header" in clip.name:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "memory" in clip.name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "exit" in clip.name:
            os._exit(3)
    return decode(path, max_clip_minutes=max_clip_minutes)


def _is_first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def deadly_make_shard(task: ShardTask) -> ShardResult:
    featurize.shards.decode = deadly_decode
    return make_shard(task)


def deadly_clip_rows(source: Source, modes: Sequence[FeatureMode], max_clip_minutes: float) -> list[ClipRow]:
    featurize.shards.decode = deadly_decode
    return clip_rows(source, modes, max_clip_minutes)


def deadly_header_seconds(path: str) -> float:
    if "header" in Path(path).name:
        os.kill(os.getpid(), signal.SIGSEGV)
    return header_seconds(path)


def install() -> None:
    """Let this process, and those that it starts, decode so."""
    featurize.sources.header_seconds = deadly_header_seconds
    featurize.suspects.make_shard = deadly_make_shard
    featurize.suspects.clip_rows = deadly_clip_rows


def deadly_tag_task(task: TagTask) -> tuple[int, list[Tagged]]:
    infer.tagging.read_recording = deadly_decode
    return tag_task(task)


def deadly_caption_task(task: CaptionTask) -> Captioned:
    deadly_decode(task.path, max_clip_minutes=1)
    return caption_task(task)
