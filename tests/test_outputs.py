"""What was made from what: a second call makes nothing again, and anything that changed does."""

import pytest
from report_samples import write_run
from stores import make_clips

from cache import Key
from infer.outputs import OUTPUTS, digest_sources, is_made, note_made, was_made

KEYS = [Key("a.wav", "1" * 64), Key("b.wav", "2" * 64)]


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs", make_clips())


@pytest.fixture
def out(tmp_path):
    (tmp_path / "submission.csv").write_text("fname,label\n")
    return tmp_path / "submission.csv"


def test_what_was_noted_is_made(run, out):
    source = digest_sources(run, KEYS, ["lh"])
    assert not is_made(run, "submission", out, source)
    note_made(run, "submission", out, source)
    assert is_made(run, "submission", out, source)
    assert was_made(run, "submission", out)
    assert not is_made(run, "report", out, source)


def test_a_changed_or_lost_file_is_not(run, out):
    source = digest_sources(run, KEYS)
    note_made(run, "submission", out, source)
    out.write_text("fname,label\na.wav,Bark\n")
    assert not is_made(run, "submission", out, source)
    assert not was_made(run, "submission", out)
    out.unlink()
    assert not is_made(run, "submission", out, source)
    assert not was_made(run, "submission", out)


def test_other_sources_are_told_apart(run, out):
    sources = [
        digest_sources(run, KEYS, ["lh"]),
        digest_sources(run, KEYS[:1], ["lh"]),
        digest_sources(run, [KEYS[0], Key("b.wav", "3" * 64)], ["lh"]),
        digest_sources(run, KEYS, ["x"]),
    ]
    info = run / "head" / "fold-0" / "model.json"
    info.write_text(info.read_text().replace('"epoch": 2', '"epoch": 3'))
    sources.append(digest_sources(run, KEYS, ["lh"]))
    assert len(set(sources)) == 5
    note_made(run, "submission", out, sources[0])
    assert [is_made(run, "submission", out, source) for source in sources] == [True, False, False, False, False]


@pytest.mark.parametrize("text", ["", "[]", '{"submission": 3}', "{", '{"submission": {"path": 1}}'])
def test_damaged_notes_save_no_work(run, out, text):
    (run / OUTPUTS).write_text(text)
    assert not is_made(run, "submission", out, "x")
    assert not was_made(run, "submission", out)
    note_made(run, "submission", out, "x")
    assert is_made(run, "submission", out, "x")
