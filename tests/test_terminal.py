"""What commands say on a terminal: lines of 80 columns, no colours, plain units, and what to do next."""

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import unicodedata
from pathlib import Path

import click
import pytest
from conftest import CLASSES, make_corpus
from test_cli import CLI, LEAVES, Terminal, run

import cli as command_line
from infer import tagging
from infer.tags import Tagged, table_header, to_table_line

EVENTS = "filename\tonset\toffset\tevent_label\na.wav\t{}\t{}\tBark_of_a_very_small_dog_in_the_rain\n"
SAID = {
    "corpus synth": ["syn", "--clips", "82", "--jobs", "1"],
    "corpus info": ["data"],
    "featurize": ["data", "--jobs", "1"],
    "train": ["data", "--folds", "2", "--epochs", "1", "--jobs", "1"],
    "predict": ["data", "--jobs", "1"],
    "evaluate": ["submission.csv", "data"],
    "corpus issues": ["data"],
    "evaluate-events": ["found.tsv", "truth.tsv"],
    "tag": ["data/audio/hum-00.wav", "--out", "tags.csv", "--jobs", "1"],
    "caption": ["data/audio/hum-00.wav", "--jobs", "1"],
    "export": ["--no-onnx"],
    "report": ["data", "--jobs", "1", "--pictured", "2"],
    "cache info": [],
    "cache explain": ["data", "--jobs", "1"],
    "cache pack": ["store.h5"],
    "cache unpack": ["store.h5", "--store", "other store"],
    "cache show": ["hum-00.wav"],
    "cache repair": ["data", "--jobs", "1"],
}
"""A call of every command that has something to go on with, in an order in which they work."""
ELSEWHERE = {"demo", "run", "corpus fetch"}
"""Tested by files of their own."""
DONE = {"cache verify", "cache prune"}
"""Commands after which there may be nothing to do."""


def columns(line: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in line)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each command says, in a folder with a corpus: standard output and standard error."""
    folder = tmp_path_factory.mktemp("terminal")
    before = Path.cwd()
    os.chdir(folder)
    try:
        make_corpus(folder / "data", train=6)
        Path("found.tsv").write_text(EVENTS.format(1, 3))
        Path("truth.tsv").write_text(EVENTS.format(1, 3) + "b.wav\t1\t2\tMeow\n")
        yield {name: run(*name.split(), *words) for name, words in SAID.items()}
    finally:
        os.chdir(before)


def test_every_command_is_looked_at():
    assert {" ".join(path) for path, _ in LEAVES} == set(SAID) | ELSEWHERE | DONE


@pytest.mark.parametrize("name", SAID)
def test_lines_fit_80_columns(said, name):
    lines = (said[name].stdout + said[name].stderr).splitlines()
    assert [line for line in lines if columns(line) > 80] == []


@pytest.mark.parametrize("name", SAID)
def test_the_last_line_tells_what_to_do_next(said, name):
    assert re.match(r"next(, elsewhere)?: ", said[name].stdout.splitlines()[-1])


@pytest.mark.parametrize("name", SAID)
def test_what_is_next_is_a_command_that_is_there(said, name):
    last = said[name].stdout.splitlines()[-1]
    for line in re.findall(r"\bcli [^,]*", last):
        command, words = command_line.cli, shlex.split(line)[1:]
        while isinstance(command, click.Group):
            command, *words = command.commands[words[0]], *words[1:]
        known = {name for param in command.params for name in param.opts}
        assert [word for word in words if word.startswith("--") and word not in known] == []


def test_training_leads_to_the_report(said):
    lasts = {name: said[name].stdout.splitlines()[-1] for name in SAID}
    assert lasts["corpus info"] == "next: cli run data, or step by step: cli featurize data"
    assert lasts["featurize"] == "next: cli train data"
    assert lasts["train"] == "next: cli predict data"
    assert lasts["predict"] == "next: cli evaluate submission.csv data"
    assert lasts["evaluate"] == "next: cli report data"
    assert lasts["report"] == "next: open report.html in a browser"


def test_the_next_command_goes_to_the_same_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "my sounds", train=4, test=0)
    places = ["--store", "a b", "--jobs", 1]
    last = run("featurize", "my sounds", *places, "--mode", "x").stdout.splitlines()[-1]
    assert last == "next: cli train 'my sounds' --store 'a b'"
    last = run("train", "my sounds", *places, "--folds", 2, "--epochs", 1, "--runs", "r").stdout.splitlines()[-1]
    assert last == "next: cli report 'my sounds' --store 'a b' --runs r"
    error = run("predict", "my sounds", *places, "--runs", "r", exit_code=1).stderr
    assert "my sounds has no test clips to predict; cli report shows" in error


def test_a_name_does_nothing_to_the_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data", train=2, test=0)
    for number in range(2):
        (tmp_path / "folders" / "ab"[number]).mkdir(parents=True)
        (tmp_path / "data" / "audio" / f"hum-0{number}.wav").rename(tmp_path / "folders" / "ab"[number] / "1.wav")
    (tmp_path / "folders" / "a" / "\x1b[31mred\nline.wav").write_bytes(b"")
    shown = on_a_terminal("featurize", "folders", "--mode", "x", "--jobs", "1")
    assert "quarantined: a/\\x1b[31mred\\nline.wav: the file is empty (0 bytes)\r\n" in shown
    assert "\x1b[31m" not in shown
    assert "\x1b" not in run("cache", "show", "\x1b[31m", exit_code=1, color=True).stderr


def test_next_is_as_short_as_it_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data", train=2, test=0)
    monkeypatch.setenv("EARMARK_STORE", "store")
    assert run("featurize", "--jobs", 1, "--mode", "x").stdout.splitlines()[-1] == "next: cli train"


@pytest.mark.parametrize(("path", "_command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_help_fits_80_columns(path, _command):
    text = run(*path, "--help", terminal_width=80).stdout
    assert [line for line in text.splitlines() if columns(line) > 80] == []


def test_help_of_all_fits_80_columns():
    assert max(map(columns, run("--help", terminal_width=80).stdout.splitlines())) <= 80


def on_a_terminal(*words, **environment):
    """Run a command with standard output and error on a terminal; return what it shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*CLI, *words],
        stdout=slave,
        stderr=slave,
        stdin=slave,
        env={**os.environ, "TERM": "xterm-256color"} | environment,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # Linux's end of file
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["plain", "NO_COLOR"])
def test_a_terminal_gets_no_colours(said, tmp_path, environment):
    shown = on_a_terminal("corpus", "info", "data", **environment)
    assert "next: cli run data" in shown
    assert "\x1b" not in shown


def test_tags_on_a_terminal_are_a_table(said):
    shown = on_a_terminal("tag", "data/audio/hum-00.wav", "data/audio/noise-00.wav", "--jobs", "1")
    lines = shown.replace("\r\n", "\n").splitlines()
    [head] = [number for number, line in enumerate(lines) if line.startswith("recording  ")]
    assert lines[head + 1].startswith("data/audio/hum-00.wav  ")
    assert lines[head + 1].split()[1] in {*CLASSES, "unknown"}
    assert max(map(columns, lines[head : head + 3])) <= 80


@pytest.mark.parametrize(("stdout", "out"), [(Terminal(), None), (Terminal(), "tags.csv"), (io.StringIO(), None)])
def test_no_bar_stands_among_the_rows(monkeypatch, stdout, out):
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(tagging, "make_tasks", lambda *_args, **_settings: [])
    monkeypatch.setattr(tagging, "tag_all", lambda *_args, **_settings: [[Tagged("a.wav", 1.0)]])
    moved = []
    settings = {"jobs": 1, "backend": "loky", "scheduler": None, "out": out}
    list(command_line._tag_rows(["a.wav"], None, lambda *args: moved.append(args), settings))
    assert bool(moved) == bool(out or not stdout.isatty())


def test_a_line_of_the_table_is_one_line_whatever_the_names():
    tags = (("Drawer_open_or_close\x1b[31m", 0.987654), ("犬" * 40, 0.01))
    lines = [
        table_header(),
        to_table_line(Tagged("犬" * 40, 1.0, tags), min_score=0.2),
        to_table_line(Tagged("a\nb.wav", 0.0, (), "no sound " * 20), min_score=0.2),
        to_table_line(Tagged("silent.wav", 1.0), min_score=0.2),
        to_table_line(Tagged("one.wav", 1.0, (("Bark", 1.0),)), min_score=0.2),
    ]
    assert all(line.count("\n") == 1 and line.rstrip("\n").isprintable() and columns(line[:-1]) <= 80 for line in lines)
    assert lines[3].split() == ["silent.wav", "unknown"]
    assert lines[4].split() == ["one.wav", "Bark", "1.00"]
