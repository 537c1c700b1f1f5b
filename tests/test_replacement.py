"""Files that commands write over: reports and tables of their own, never what belongs to a corpus."""

import os

import pandas as pd
import pytest
from report_samples import write_hostile_corpus, write_run
from test_cli import run_json

from cache.errors import InputError
from corpus.tables import read_corpus
from infer.replacement import check_folder, check_recordings, check_report, check_table

REPORT = '<!doctype html>\n<html lang="en">\n<head>\n<meta name="generator" content="earmark 1.0">'
SUBMISSION = ["fname", "label"]


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "data"
    (root / "x.meta").mkdir(parents=True)
    for name in ("clips.csv", "train.csv", "sample_submission.csv", "x.meta/some.csv", "a.wav"):
        (root / name).write_text("fname,label\na.wav,a\n")
    return root


def test_a_report_is_replaced_and_another_file_is_not(corpus, tmp_path):
    check_report(tmp_path / "new.html", corpus)
    for folder in (tmp_path, corpus):
        (folder / "report.html").write_text(REPORT)
        check_report(folder / "report.html", corpus)
    (tmp_path / "notes.html").write_text("<!doctype html>")
    with pytest.raises(InputError, match=r"notes.html is there, and is no report"):
        check_report(tmp_path / "notes.html", corpus)


@pytest.mark.parametrize("name", ["clips.csv", "train.csv", "sample_submission.csv", "x.meta/some.csv", "a.wav"])
@pytest.mark.parametrize("as_link", [False, True])
def test_what_belongs_to_the_corpus_is_never_replaced(corpus, tmp_path, name, as_link):
    out = corpus / name
    if as_link:
        out = tmp_path / "link"
        out.symlink_to(corpus / name)
    with pytest.raises(InputError, match="corpus's folder"):
        check_report(out, corpus)
    with pytest.raises(InputError, match="corpus's folder"):
        check_table(out, corpus, columns=SUBMISSION)


def test_a_submission_beside_the_tables_is_replaced(corpus):
    (corpus / "submission.csv").write_text("fname,label\na.wav,a\n")
    check_table(corpus / "submission.csv", corpus, columns=SUBMISSION)
    (corpus / "notes.csv").write_text("mine\n")
    with pytest.raises(InputError, match="does not begin with fname,label"):
        check_table(corpus / "notes.csv", corpus, columns=SUBMISSION)


def test_a_recording_elsewhere_is_not_replaced_either(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    clips = pd.DataFrame({"path": [str(tmp_path / "gone.wav"), str(tmp_path / "a.wav")]})
    check_recordings(tmp_path / "b.wav", clips)
    with pytest.raises(InputError, match="is a recording"):
        check_recordings(tmp_path / "a.wav", clips)


def test_a_table_is_replaced_by_one_of_its_columns(corpus, tmp_path):
    out = tmp_path / "out.csv"
    check_table(out, corpus, columns=SUBMISSION)
    out.write_text("fname,label\n")
    check_table(out, corpus, columns=SUBMISSION)
    with pytest.raises(InputError, match="does not begin with fname,a,b,…"):
        check_table(out, corpus, columns=["fname", "a", "b", "c"])
    out.write_text('fname,"a\nb",c\n1,2,3\n')
    check_table(out, corpus, columns=["fname", "a\nb", "c"])
    for other in ("fname,label,manually_verified\n", "", "fname,labels\n"):
        out.write_text(other)
        with pytest.raises(InputError, match="does not begin with fname,label"):
            check_table(out, corpus, columns=SUBMISSION)


def test_pipes_are_refused(corpus, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no regular file"):
        check_table(tmp_path / "pipe", corpus, columns=SUBMISSION)
    with pytest.raises(InputError, match="no regular file"):
        check_report(tmp_path / "pipe", corpus)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    check_folder(tmp_path / "a" / "b")
    with pytest.raises(InputError, match=r"cannot be made \(Not a directory\)"):
        check_folder(tmp_path / "file" / "b")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="may not be written to"):
        check_folder(tmp_path / "a")


def test_commands_leave_the_corpus_and_other_files_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", read_corpus(write_hostile_corpus(tmp_path / "data", labels=("a", "b", "c"))))
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "data" / "clips.csv").read_bytes()
    for command in ("report", "predict", "run"):
        for out in ("data/clips.csv", "notes.txt"):
            assert f"{out} is there" in run_json(command, "data", "--jobs", 1, "--out", out, exit_code=1)["error"]
    one = run_json("predict", "data", "--jobs", 1, "--probabilities", "notes.txt", exit_code=1)
    assert "does not begin with fname,a,b,…" in one["error"]
    run_json("report", "data", "--jobs", 1, "--no-test", "--out", "data/clips.csv", exit_code=1)
    one = run_json("report", "data", "--jobs", 1, "--no-test", "--pictures", "notes.txt/png", exit_code=1)
    assert "cannot be made" in one["error"]
    assert not (tmp_path / "report.html").exists(), "what cannot be done in whole is refused before it is begun"
    assert (tmp_path / "data" / "clips.csv").read_bytes() == before
    assert (tmp_path / "notes.txt").read_text() == "mine"
    for _ in range(2):
        run_json("predict", "data", "--jobs", 1, "--probabilities", "p.csv")
        run_json("report", "data", "--jobs", 1, "--no-test")
