"""Files that a user asks for: what is refused, and that an interruption leaves nothing half-written."""

from pathlib import Path

import pytest

from cache.errors import InputError, NotFoundError
from cache.outfile import check_out, write_atomically


@pytest.mark.parametrize(
    ("name", "force", "error", "words"),
    [
        ("shard-0000-0123456789abcdef.h5", True, InputError, "named like a shard"),
        ("folder", True, InputError, "is a folder: name a file"),
        ("there", False, InputError, "is there: name another file, or give --force"),
        ("nowhere/new", False, NotFoundError, "there is no folder .*nowhere to write new to"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, force: bool, error: type[Exception], words: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "there").write_text("old")
    with pytest.raises(error, match=words):
        check_out(tmp_path / name, force=force)


def test_a_new_file_and_a_forced_one_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    check_out(tmp_path / "new", force=False)
    check_out(tmp_path / "there", force=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, lambda part: part.write_text("old"))

    def interrupted(part: Path) -> None:
        part.write_text("half")
        raise error

    with pytest.raises(error):
        write_atomically(path, interrupted)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
