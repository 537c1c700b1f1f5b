import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cache.errors import NotFoundError
from infer.recordings import find_recordings


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_folders_give_all_that_sounds_below_them_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "lib/b.wav", "lib/A.FLAC", "lib/notes.txt", "lib/sub/film.mkv", "lib/.hidden.wav", "lib/a/z.mp3")
    assert find_recordings([Path("lib")]) == ["lib/A.FLAC", "lib/b.wav", "lib/a/z.mp3", "lib/sub/film.mkv"]


def test_a_file_that_is_named_counts_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "sound.xyz", "other.wav")
    assert find_recordings([tmp_path / "sound.xyz"]) == [str(tmp_path / "sound.xyz")]


def test_a_file_that_is_reached_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "lib/a.wav", "lib/b.wav")
    (tmp_path / "lib" / "link.wav").symlink_to(tmp_path / "lib" / "a.wav")
    (tmp_path / "lib" / "loop").symlink_to(tmp_path / "lib")
    found = find_recordings([tmp_path / "lib" / "b.wav", tmp_path / "lib"])
    assert [Path(path).name for path in found] == ["b.wav", "a.wav"]


def test_names_that_are_not_utf8_can_be_opened(tmp_path: Path) -> None:
    name = b"caf\xe9.wav"
    (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(b"x")
    [found] = find_recordings([tmp_path])
    assert Path(found).read_bytes() == b"x"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no file or folder .*nowhere"):
        find_recordings([tmp_path / "nowhere"])
    with pytest.raises(NotFoundError, match="holds no recording"):
        find_recordings([tmp_path])


def test_two_names_that_look_the_same_are_two_recordings(tmp_path: Path) -> None:
    for name in (b"x\\xff.wav", b"x\xff.wav"):
        (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(name)
    found = find_recordings([tmp_path])
    assert sorted(Path(path).read_bytes() for path in found) == [b"x\\xff.wav", b"x\xff.wav"]


def test_a_folder_that_cannot_be_listed_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/one.wav", "locked/two.wav", "z/three.wav")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = [os.path.relpath(path, tmp_path) for path in find_recordings([tmp_path])]
    assert found == ["a/one.wav", "locked", "z/three.wav"]
