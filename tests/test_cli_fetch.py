"""cli corpus fetch: what it prints, what it ends with, and what Ctrl-C leaves."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from archive_server import Fault, serving
from competition_archives import EMPTY_CLIPS, Z, describe, kaggle_audio, kaggle_tables, zenodo_files, zipped
from test_cli import run, run_json

import cache.space
import corpus.archives

FILES = zenodo_files()
TRAIN = f"{Z}audio_train.zip"


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpus.archives, "ZENODO", describe(FILES))
    monkeypatch.setattr(os, "sync", lambda: None)  # what other programs have written is no concern here


@pytest.fixture
def server():
    with serving() as server:
        server.files |= FILES
        yield server


@pytest.fixture
def downloads(tmp_path):
    (tmp_path / "Downloads").mkdir()
    for name, clips in kaggle_audio().items():
        data = zipped({f"{name}/{fname}": data for fname, data in clips.items()})
        (tmp_path / "Downloads" / f"{name}.zip").write_bytes(data)
    for name, data in kaggle_tables().items():
        (tmp_path / "Downloads" / name).write_bytes(data)
    return tmp_path / "Downloads"


def test_a_mirror_is_downloaded_and_the_next_step_is_said(server):
    lines = run("corpus", "fetch", "--url", server.url).stdout.splitlines()
    assert lines[0].startswith(f"{TRAIN}: downloaded 76.6 kB, unpacked 3 files, 79.5 kB")
    assert lines[-2].startswith("data: 3 training clips and 2 test clips; ")
    assert lines[-1] == "next: cli run data"


def test_the_report_as_json_and_a_second_call(server):
    report = run_json("corpus", "fetch", "data", "--url", server.url)
    assert set(report) == {"corpus", "layout", "archives", "clips", "downloaded_bytes", "seconds"}
    assert (report["corpus"], report["layout"], report["clips"]) == ("data", "zenodo", {"train": 3, "test": 2})
    assert report["downloaded_bytes"] == sum(map(len, FILES.values()))
    assert set(report["archives"][0]) == {"name", "action", "files", "unpacked_bytes", "downloaded_bytes"}
    server.asked.clear()
    report = run_json("corpus", "fetch", "data", "--url", server.url)
    assert [row["action"] for row in report["archives"]] == ["kept"] * 4
    assert report["downloaded_bytes"] == 0
    assert server.asked == []


def test_options_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("EARMARK_URL", server.url)
    monkeypatch.setenv("EARMARK_CORPUS", "elsewhere")
    monkeypatch.setenv("EARMARK_KEEP_ARCHIVES", "1")
    assert run_json("corpus", "fetch")["corpus"] == "elsewhere"
    assert os.path.getsize(f"elsewhere/{TRAIN}") == len(FILES[TRAIN])


def test_kaggles_files_say_how_they_were_checked(downloads):
    result = run("corpus", "fetch", "data", "--from", downloads)
    assert "data: 3 training clips and 5 test clips; " in result.stdout
    assert "checked by sizes, CRC-32 and the tables' rows: of Kaggle's files no MD5 is published" in result.stderr
    assert "train.csv: unpacked 1 file, 100 B" in result.stdout
    assert run("corpus", "fetch", "data", "--from", downloads).stderr == ""
    assert run_json("corpus", "info", "data")["clips"]["total"] == 8


def test_kaggles_files_that_lie_in_the_corpus_folder_are_unpacked_there(downloads):
    report = run_json("corpus", "fetch", downloads, "--from", downloads)
    assert report["clips"] == {"train": 3, "test": 5}
    actions = {row["name"]: (row["action"], row["files"]) for row in report["archives"]}
    assert actions == {
        "audio_train.zip": ("unpacked", 3),
        "audio_test.zip": ("unpacked", 5),
        "train.csv": ("kept", 1),
        "sample_submission.csv": ("kept", 1),
        "test_post_competition.csv": ("kept", 1),
    }
    again = run_json("corpus", "fetch", downloads, "--from", downloads)
    assert {row["action"] for row in again["archives"]} == {"kept"}


def test_the_empty_clips_get_rows_in_the_order_of_the_sample(downloads):
    run("corpus", "fetch", "data", "--from", downloads)
    table = corpus.tables.read_corpus("data")
    sample = kaggle_tables()["sample_submission.csv"].decode().splitlines()[1:]
    assert table.loc[table["split"] == "test", "fname"].tolist() == [row.partition(",")[0] for row in sample]
    assert set(EMPTY_CLIPS) < set(table["fname"])


def test_tables_that_do_not_fit_the_clips_are_named(downloads):
    (downloads / "train.csv").write_text("fname,label,manually_verified\nnone.wav,Bark,1\n")
    result = run("corpus", "fetch", "data", "--from", downloads, exit_code=1)
    assert "audio_train has no regular file for 1 row of train.csv: 'none.wav'" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "Downloads", "--url", "http://host/"), "--from Downloads downloads nothing: leave out --url"),
        (("--from", "Downloads", "--keep-archives"), "--from Downloads downloads nothing: leave out --keep-archives"),
        (("--url", "ftp://host/"), "a mirror is the http:// or https:// address"),
        (("--jobs", "0"), "0 is not in the range x>=1"),
    ],
)
def test_wrong_usage(options, message):
    assert message in run("corpus", "fetch", *options, exit_code=2).stderr.replace("\n", " ")


def test_too_little_space_ends_with_6(server, monkeypatch):
    monkeypatch.setattr(cache.space, "free_space", lambda _: 1000)
    assert "data needs 0.3 MB, but only 0.0 MB" in run("corpus", "fetch", "--url", server.url, exit_code=6).stderr


def test_a_file_that_is_not_there_is_one_line(server):
    del server.files[TRAIN]
    result = run("corpus", "fetch", "--url", server.url, exit_code=1)
    assert result.stderr.startswith(f"Error: {server.url}/{TRAIN}: the server answered 404 Not Found; run the same")
    assert len(result.stderr.splitlines()) == 1


CODE = """
import os, sys
os.sync = lambda: None
sys.path[:0] = [{tests!r}]
import corpus.archives
from competition_archives import describe, zenodo_files
corpus.archives.ZENODO = describe(zenodo_files())
import cli
cli.main()
"""


def test_ctrl_c_ends_with_130_at_once_and_leaves_what_can_be_resumed(server, tmp_path):
    server.faults[TRAIN] = [Fault(send=30_000, hang=True)]
    code = CODE.format(tests=os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-c", code, "corpus", "fetch", "--url", server.url, "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # What a shell starts in the background ignores SIGINT, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    part = tmp_path / "data" / ".fetch" / f"{TRAIN}.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == 30_000):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)  # the server would be waited for 30 s
    assert process.returncode == 130, err
    assert err == "Interrupted; what was finished is kept.\n"
    assert json.loads(out)["exit_code"] == 130
    run("corpus", "fetch", "--url", server.url)
    assert server.ranges(TRAIN) == [None, "bytes=30000-"]
