"""A fault before and after each step of sealing a shard: readers see no such shard or the whole one.

The steps are those that the seal really takes: the temporary file is opened, written to several times and closed,
checked, made durable and renamed, and its folder is made durable. A fault is an error, or the sudden death of the
process.
"""

import errno
import multiprocessing
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shard_samples import make_row, make_rows, write

import cache.writer
from cache import ClipRow, StoreLock, open_store, read_index, verify_store
from cache.errors import NoSpaceError
from cache.layout import TEMP_SUFFIX

FORK = multiprocessing.get_context("fork")
ROWS = [*make_rows(3), make_row("broken.wav", problem="it holds no samples")]
DIED = 9

# Room for the user block, the structure and three clips, each write ending in the middle of a piece; the user block.
STEPS = [
    "open the temporary file",
    *["write to the temporary file"] * 5,
    "go back in the temporary file",
    "write to the temporary file",
    "close the temporary file",
    "check the temporary file",
    "make durable the temporary file",
    "rename the temporary file",
    "make durable the folder",
]
RENAME = STEPS.index("rename the temporary file")


def is_sealed(number: int, when: str) -> bool:
    """Whether the shard has its name at a moment."""
    return number > RENAME or (number == RENAME and when == "after")


class Steps:
    """Passes on what the seal asks of the system, and calls ``at(number, when)`` before and after each step."""

    def __init__(self, at: Callable[[int, str], None]) -> None:
        self.seen: list[str] = []
        self._at = at

    def take(self, step: str, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        self.seen.append(step)
        number = len(self.seen) - 1
        self._at(number, "before")
        result = function(*arguments, **settings)
        self._at(number, "after")
        return result


class SteppedFile:
    """A file that takes each call as a step; like the system's, it is closed even where closing fails."""

    def __init__(self, file: Any, steps: Steps) -> None:
        self._file = file
        self._steps = steps

    def __enter__(self) -> "SteppedFile":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._steps.take("close the temporary file", self._file.close)
        finally:
            self._file.close()

    def write(self, data: Any) -> int:
        return self._steps.take("write to the temporary file", self._file.write, data)

    def seek(self, offset: int) -> int:
        return self._steps.take("go back in the temporary file", self._file.seek, offset)

    def fileno(self) -> int:
        return self._file.fileno()


@contextmanager
def stepped(at: Callable[[int, str], None]) -> Iterator[list[str]]:
    """Put the steps between the writer and the system; give the steps that were taken."""
    steps = Steps(at)
    really_open, check, fsync, replace = Path.open, cache.writer.check_shard, os.fsync, os.replace
    writev = os.writev

    def open_(path: Path, mode: str = "r", **settings: Any) -> Any:
        if mode != "xb":
            return really_open(path, mode, **settings)
        opened: list[Any] = []
        try:
            steps.take("open the temporary file", lambda: opened.append(really_open(path, mode, **settings)))
        except BaseException:
            for file in opened:
                file.close()
            raise
        return SteppedFile(opened[0], steps)

    def check_(path: Path, **settings: Any) -> Any:
        return steps.take(
            f"check {'the temporary file' if path.suffix == TEMP_SUFFIX else path}", check, path, **settings
        )

    def fsync_(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.take(f"make durable {'the folder' if folder else 'the temporary file'}", fsync, descriptor)

    def writev_(descriptor: int, pieces: list[memoryview]) -> int:
        # Two pieces a call, the last one half: the system may write less than it was given.
        part = [pieces[0], *(piece[: (len(piece) + 1) // 2] for piece in pieces[1:2])]
        return steps.take("write to the temporary file", writev, descriptor, part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", open_)
        patch.setattr(os, "writev", writev_)
        patch.setattr(cache.writer, "check_shard", check_)
        patch.setattr(os, "fsync", fsync_)
        patch.setattr(os, "replace", lambda old, new: steps.take("rename the temporary file", replace, old, new))
        yield steps.seen


def nothing(number: int, when: str) -> None:
    """No fault."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shard of an undisturbed run."""
    return write(tmp_path_factory.mktemp("undisturbed"), ROWS).path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mode's folder, which is there already: making it is no step of every seal."""
    folder = tmp_path / "lh-0123abcd"
    folder.mkdir()
    return folder


def check_readers(folder: Path, whole: Path, *, sealed: bool) -> None:
    """What a reader finds after a fault: the whole shard, or none."""
    assert [path.name for path in folder.glob("shard-*")] == [whole.name] * sealed
    assert len(read_index(folder)) == len(ROWS) * sealed
    if sealed:
        assert (folder / whole.name).read_bytes() == whole.read_bytes()
        assert verify_store(folder).ok
        assert len(open_store(folder)) == 3


def check_next_run(folder: Path, whole: Path) -> None:
    with StoreLock(folder.parent):
        write(folder, ROWS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {whole.name: whole.read_bytes()}


each_fault = pytest.mark.parametrize("when", ["before", "after"])
each_step = pytest.mark.parametrize(
    "number", range(len(STEPS)), ids=[f"{n}-{step.replace(' ', '-')}" for n, step in enumerate(STEPS)]
)


def test_the_steps_make_the_shard_durable_before_its_name_and_the_name_after(folder: Path, whole: Path) -> None:
    """Nothing is written after the file was made durable, and it has its name only then."""
    with stepped(nothing) as seen:
        write(folder, ROWS)
    assert seen == STEPS
    check_readers(folder, whole, sealed=True)


@each_fault
@each_step
@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_an_error_leaves_no_shard_or_the_whole_one(
    folder: Path, whole: Path, number: int, when: str, error_number: int
) -> None:
    def fail(*moment: Any) -> None:
        if moment == (number, when):
            raise OSError(error_number, os.strerror(error_number))

    kind = NoSpaceError if error_number == errno.ENOSPC else OSError
    with stepped(fail), pytest.raises(kind, match=r"no space left for a shard|Input/output error"):
        write(folder, ROWS)
    check_readers(folder, whole, sealed=is_sealed(number, when))
    assert len(list(folder.iterdir())) == is_sealed(
        number, when
    )  # nothing half-written stays, even before the next run
    check_next_run(folder, whole)


def die_at(folder: Path, rows: list[ClipRow], number: int, when: str) -> None:
    def die(*moment: Any) -> None:
        if moment == (number, when):
            os._exit(DIED)

    with stepped(die):
        write(folder, rows)


@each_fault
@each_step
def test_sudden_death_leaves_no_shard_or_the_whole_one(folder: Path, whole: Path, number: int, when: str) -> None:
    process = FORK.Process(target=die_at, args=(folder, ROWS, number, when))
    process.start()
    process.join(60)
    assert process.exitcode == DIED
    check_readers(folder, whole, sealed=is_sealed(number, when))
    left = [path.name for path in folder.iterdir() if path.name != whole.name]
    assert len(left) == (not is_sealed(number, when) and (number, when) != (0, "before"))
    check_next_run(folder, whole)


@each_fault
@each_step
def test_a_fault_while_a_shard_is_sealed_again_leaves_the_sealed_one(
    folder: Path, whole: Path, number: int, when: str
) -> None:
    """As where a run takes over from one whose orphan seals the same shard."""
    write(folder, ROWS)

    def fail(*moment: Any) -> None:
        if moment == (number, when):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with stepped(fail), pytest.raises(OSError, match="Input/output error"):
        write(folder, ROWS)
    check_readers(folder, whole, sealed=True)
    assert len(list(folder.iterdir())) == 1


def test_new_folders_are_made_durable_from_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    store = tmp_path / "deep" / "features"
    with StoreLock(store):
        write(store / "lh-1", ROWS)
    shard = next((store / "lh-1").iterdir())
    assert synced == [path.stat().st_ino for path in (tmp_path, tmp_path / "deep", store, shard, store / "lh-1")]
