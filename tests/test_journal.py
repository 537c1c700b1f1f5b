from pathlib import Path

import pytest

from cache.errors import LockedError
from infer.journal import Journal
from infer.tags import Tagged

SETTINGS = {"run": "a", "n_tags": 3}


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    for name in "abc":
        (tmp_path / f"{name}.wav").write_text(name)
    return [str(tmp_path / f"{name}.wav") for name in "abc"]


def tagged(path: str) -> Tagged:
    return Tagged(path, 1.5, (("Bark", 0.7), ("Meow", 0.1)))


@pytest.fixture
def out(tmp_path: Path, recordings: list[str]) -> Path:
    out = tmp_path / "tags.csv"
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == recordings
        journal.add([tagged(recordings[0]), Tagged(recordings[1], problem="broken")])
    return out


def test_a_stopped_run_goes_on(out: Path, recordings: list[str]) -> None:
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == recordings[2:]
        journal.add([tagged(recordings[2])])
        rows = [tagged(recordings[0]), Tagged(recordings[1], problem="broken"), tagged(recordings[2])]
        assert list(journal.rows()) == rows
        journal.remove()
    assert not list(out.parent.glob(".tags*"))


def test_a_line_that_was_cut_short_is_made_again(out: Path, recordings: list[str]) -> None:
    path = out.with_name(".tags.csv.journal")
    path.write_bytes(path.read_bytes()[:-5])
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == recordings[1:]
        journal.add([tagged(recordings[1])])
        assert list(journal.rows()) == [tagged(recordings[0]), tagged(recordings[1])]


@pytest.mark.parametrize("settings", [{**SETTINGS, "n_tags": 4}, {"run": "b"}])
def test_what_was_tagged_otherwise_does_not_count(out: Path, recordings: list[str], settings: dict) -> None:
    with Journal(out, settings, recordings) as journal:
        assert journal.waiting == recordings
        assert list(journal.rows()) == []


def test_a_file_that_changed_is_tagged_anew(out: Path, recordings: list[str]) -> None:
    Path(recordings[0]).write_text("changed")
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == [recordings[0], recordings[2]]
        journal.add([Tagged(recordings[0], problem="new"), tagged(recordings[2])])
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == []
        assert [row.problem for row in journal.rows()] == ["new", "broken", ""]


def test_files_may_come_between_and_go(out: Path, recordings: list[str]) -> None:
    new = str(out.with_name("0.wav"))
    with Journal(out, SETTINGS, [new, recordings[1], recordings[0]]) as journal:
        assert journal.waiting == [new]
        journal.add([tagged(new)])
        assert [row.path for row in journal.rows()] == [new, recordings[1], recordings[0]]


def test_one_run_at_a_time(out: Path, recordings: list[str]) -> None:
    with Journal(out, SETTINGS, recordings) as journal:
        with pytest.raises(LockedError, match=r"another run is writing .*tags\.csv: wait until it has ended"):
            Journal(out, {"other": 1}, recordings)
        assert journal.waiting == recordings[2:]
        journal.remove()
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == recordings


def test_damage_is_no_trouble(out: Path, recordings: list[str]) -> None:
    path = out.with_name(".tags.csv.journal")
    path.write_bytes(path.read_bytes().replace(b'"path"', b'"p', 1))
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == [recordings[0], recordings[2]]
    path.write_bytes(b"\xff\xfe\n")
    with Journal(out, SETTINGS, recordings) as journal:
        assert journal.waiting == recordings


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    name = str(tmp_path / "caf\udce9.wav")
    Path(name).write_text("x")
    with Journal(tmp_path / "t.csv", SETTINGS, [name]) as journal:
        journal.add([tagged(name)])
        assert [row.path for row in journal.rows()] == [name]
