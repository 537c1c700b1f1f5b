"""Looking at the clips' files."""

import hashlib
import os
from pathlib import Path

import pytest
from sounds import RATE_HZ, clip_table, noise, write_sound

from cache import Key
from featurize.sources import header_seconds, look, look_at_all, measure_all


def test_a_file_is_digested_and_its_length_read(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(RATE_HZ))
    source = look("clip", str(path))
    assert source.key == Key("clip", hashlib.sha256(path.read_bytes()).hexdigest())
    assert (source.name, source.path, source.problem) == ("clip", str(path), "")
    assert header_seconds(source.path) == 1.0
    assert source.is_unchanged()


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sound(tmp_path / "a.wav", noise(100))
    monkeypatch.chdir(tmp_path)
    assert look("a", "a.wav") == look("a", str(path))


@pytest.mark.parametrize("content", [b"", b"no sound"])
def test_what_is_no_sound_has_a_digest_but_no_length(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    source = look("a", str(tmp_path / "a.wav"))
    assert source.digest == hashlib.sha256(content).hexdigest()
    assert (header_seconds(source.path), source.problem) == (0.0, "")


def test_a_header_less_file_has_a_digest_but_no_length(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"no header")
    source = look("a", str(tmp_path / "a.raw"))
    assert (len(source.digest), header_seconds(source.path), source.problem) == (64, 0.0, "")


def test_the_length_of_a_file_whose_name_is_not_utf8(tmp_path: Path) -> None:
    path = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff.wav"))
    write_sound(tmp_path / "a.wav", noise(RATE_HZ)).replace(path)
    assert header_seconds(path) == 1.0


def test_large_and_small_files_are_digested_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sound(tmp_path / "a.wav", noise(RATE_HZ))
    small = look("a", str(path))
    monkeypatch.setattr("featurize.sources._PIECE_BYTES", 100)
    assert look("a", str(path)) == small


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    source = look("a", str(tmp_path / "a.wav"))
    assert (source.digest, source.problem) == ("", "cannot be read: No such file or directory")
    assert not source.is_unchanged()


def test_changes_are_noticed(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(100))
    source = look("a", str(path))
    with path.open("ab") as file:
        file.write(b"\0")
    assert not source.is_unchanged()

    source = look("a", str(path))
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert not source.is_unchanged()

    source = look("a", str(path))
    other = tmp_path / "b.wav"
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    other.replace(path)
    assert not source.is_unchanged()
    path.unlink()
    assert not source.is_unchanged()


@pytest.mark.parametrize("jobs", [1, 3])
def test_all_are_looked_at_in_order(tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurize.sources._SLICE", 2)
    paths = [write_sound(tmp_path / f"{name}.wav", noise(50, seed=seed)) for seed, name in enumerate("cab")]
    seen: list[tuple[str, int, int]] = []
    sources = look_at_all(clip_table(paths), jobs=jobs, progress=lambda *step: seen.append(step))
    assert [source.name for source in sources] == ["c.wav", "a.wav", "b.wav"]
    assert seen == [("check", done, 3) for done in (2, 3)]
    assert sources == [look(path.name, str(path)) for path in paths]
    assert measure_all(sources, jobs=jobs) == [50 / RATE_HZ] * 3
