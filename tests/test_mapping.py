"""Several files in one array: the right bytes, mapped when asked, and given back."""

import gc
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from cache.errors import NoSpaceError
from cache.mapping import FrameMap

PAGE = mmap.PAGESIZE


def make(folder: Path, spans: list[tuple[int, int]]) -> list[bytes]:
    rng = np.random.default_rng(0)
    contents = [rng.bytes(offset + length) for offset, length in spans]
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    return contents


def map_file(frames: FrameMap, folder: Path, number: int) -> None:
    with (folder / str(number)).open("rb") as file:
        frames.map(number, file.fileno())


def test_every_file_lies_where_it_is_said_to(tmp_path: Path) -> None:
    spans = [(512, 100), (2 * PAGE, PAGE), (PAGE - 64, 3 * PAGE + 2), (640, 0), (3 * PAGE + 8, PAGE - 8), (64, 2)]
    contents = make(tmp_path, spans)
    frames = FrameMap(spans)
    array = frames.array(np.dtype("<f2"))
    for number in (4, 0, 5, 2, 3, 1):
        assert not frames.has(number)
        map_file(frames, tmp_path, number)
        assert frames.has(number)
    for content, first, (offset, length) in zip(contents, frames.first, spans, strict=True):
        assert array[first // 2 : (first + length) // 2].tobytes() == content[offset:]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_what_is_made_of_the_array_keeps_the_pages(tmp_path: Path) -> None:
    spans = [(64, PAGE)]
    contents = make(tmp_path, spans)
    frames = FrameMap(spans)
    map_file(frames, tmp_path, 0)
    part = frames.array(np.dtype("u1"))[frames.first[0] :][:PAGE]
    del frames
    gc.collect()
    (tmp_path / "0").unlink()
    assert part.tobytes() == contents[0][64:]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_addresses_are_given_back(tmp_path: Path) -> None:
    spans = [(64, PAGE)] * 3
    make(tmp_path, spans)

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(str(tmp_path))

    for _ in range(3):
        frames = FrameMap(spans)
        for number in range(3):
            map_file(frames, tmp_path, number)
        assert mapped() == 3
        del frames
        gc.collect()
        assert mapped() == 0


def test_a_store_without_frames_takes_no_place() -> None:
    sizes = {FrameMap(spans).array(np.dtype("<f4")).nbytes for spans in ([], [(0, 0)])}
    assert len(sizes) == 1  # never shown: nothing is mapped there


def test_too_many_addresses_are_refused() -> None:
    with pytest.raises(NoSpaceError, match="GB of addresses are to be had"):
        FrameMap([(0, 1 << 60)])


def test_a_file_that_cannot_be_mapped_is_an_error(tmp_path: Path) -> None:
    frames = FrameMap([(0, PAGE)])
    with pytest.raises(OSError, match="Bad file descriptor"):
        frames.map(0, -1)
    assert not frames.has(0)
