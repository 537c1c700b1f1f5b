"""README and CHANGELOG say what the program does."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from test_cli import LEAVES, run_json

import cli as command_line
from featurize.modes import MODES, FeatureMode

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command_lines():
    """Every line of README that is a call of the program, as words."""
    lines = re.findall(r"^(?:    |# )(cli .*)$", README, re.MULTILINE) + re.findall(r"`(cli [^`]*)`", README)
    return [shlex.split(line.split("  #")[0], comments=True)[1:] for line in lines]


def resolve(words):
    """The command that a line calls, and the rest of its words."""
    command = command_line.cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in LEAVES])
def test_every_command_stands_in_the_table(path):
    assert re.search(rf"^\| .*`cli {path}\b", README, re.MULTILINE), path


@pytest.mark.parametrize("words", command_lines(), ids=" ".join)
def test_every_line_is_a_command_with_options_that_are_there(words):
    command, rest = resolve(words)
    if words[0] == "COMMAND":
        return
    assert not isinstance(command, click.Group), words
    known = {name for param in command.params for name in param.opts} | {"--help"}
    assert [word for word in rest if word.startswith("-") and word not in known] == []


def test_there_are_lines_to_check():
    assert len(command_lines()) >= 20


def test_the_values_of_the_views():
    for mode in MODES.values():
        row = next(line for line in README.splitlines() if line.startswith(f"| **{mode.name.upper()}**"))
        assert f"{mode.sample_rate_hz / 1000:g} kHz" in row
        assert f"{mode.n_mels} {'bands' if mode.scale == 'log' else 'mels'}" in row
        assert f"{mode.hop_samples / mode.sample_rate_hz * 1000:g} ms hop" in row
        assert f"{mode.window_seconds:g} s" in row
    assert MODES["x"].folder in README


def test_the_view_of_ones_own(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (table,) = re.findall(r"```toml\n(# cli featurize.*?)```", README, re.DOTALL)
    (tmp_path / "earmark.toml").write_text(table)
    words = shlex.split(table.splitlines()[0].removeprefix("# cli "))
    report = run_json(*words, "--dry-run", "--jobs", 1)
    assert list(report["modes"]) == ["lh", "bark"]
    other = {field.name for field in dataclasses.fields(FeatureMode)} - set(
        re.findall(r"^(\w+) =", table, re.MULTILINE)
    )
    assert other - {"name"} == set(re.findall(r"`(\w+)`", README.split("The others are")[1].split(". A wrong")[0]))


def test_the_python_lines_run(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Path(run_json("featurize", corpus, "--mode", "x", "--jobs", 1)["modes"]["x"]["store"])
    plain, mapped = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    shards = sorted(store.glob("shard-*.h5"))
    seen = {"shard": shards[0]}
    exec(plain, seen)
    exec(mapped.replace("features/x-afedbf59fbce", str(store)), seen)
    assert seen["log_mel_db"].shape[1] == 48
    names = [seen["reader"].names[i] for i in range(len(seen["reader"]))]
    np.testing.assert_array_equal(seen["reader"][names.index("hum-00.wav")], seen["log_mel_db"])


def test_pictures_are_small_and_their_script_explains_itself():
    pictures = list((ROOT / "docs" / "pictures").glob("*.png"))
    assert {"spectrograms.png", "learning-curves-lh.png", "report.png"} <= {path.name for path in pictures}
    assert max(path.stat().st_size for path in pictures) < 150_000
    words = [sys.executable, ROOT / "docs" / "pictures.py", "--help"]
    assert "--clip" in subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_the_changelog_names_this_version():
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    version = re.search(r"^version = (.*)$", setup, re.MULTILINE)
    assert version
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
