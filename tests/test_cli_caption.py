"""``cli caption``: options, output and exit status."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webvtt
from films import write_film
from sounds import noise, sine
from stores import CLASSES, save_fold
from test_cli import run, run_json

from featurize.modes import MODES

RATE_HZ = 44_100


@pytest.fixture(autouse=True)
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of one untrained network, and ten seconds of faint noise with two tones."""
    monkeypatch.chdir(tmp_path)
    save_fold(tmp_path / "runs", mode=MODES["x"], prior=[0.98, 0.01, 0.01])
    samples = noise(10 * RATE_HZ, level=1e-4)
    for onset in (2.0, 6.0):
        first = round(onset * RATE_HZ)
        samples[first : first + RATE_HZ] += sine(RATE_HZ, 900)
    soundfile.write(tmp_path / "field.flac", samples, RATE_HZ)
    return tmp_path / "field.flac"


SURE = ["--start-score", 0.2, "--end-score", 0.2]
"""An untrained network gives each of three classes about a third."""


def test_writes_captions_that_a_parser_reads() -> None:
    result = run("caption", "field.flac", *SURE)
    assert result.stdout.startswith("field.vtt: ")
    cues = webvtt.read("field.vtt").captions
    assert cues
    starts = sorted({cue.start_in_seconds + cue.start_time.milliseconds / 1000 for cue in cues})
    assert starts == pytest.approx([2.0, 6.0], abs=0.1)


def test_an_interrupted_run_goes_on() -> None:
    shutil.copy("field.flac", "more.flac")
    run("caption", "field.flac", *SURE)
    before = Path("field.vtt").stat()
    assert "field.vtt is there" in run("caption", "field.flac", "more.flac", *SURE, exit_code=1).stderr
    result = run("caption", "field.flac", "more.flac", *SURE, "--resume")
    assert "1 of 2 recordings captioned before; going on" in result.stderr
    assert result.stdout.startswith("more.vtt: ")
    assert Path("field.vtt").stat() == before
    assert "give one of them" in run("caption", "field.flac", "--resume", "--force", exit_code=2).stderr


def test_json_has_the_events_of_each_file() -> None:
    report = run_json("caption", "field.flac", *SURE, "--format", "json", "--out", "events")
    assert set(report) == {"files", "problems", "seconds"}
    [file] = report["files"]
    assert (file["path"], file["out"], file["seconds"]) == ("field.flac", "events/field.json", 10.0)
    assert {tuple(event) for event in file["events"]} == {("onset", "offset", "label", "score")}
    assert {event["label"] for event in file["events"]} <= set(CLASSES)
    onsets = sorted({round(event["onset"], 2) for event in file["events"]})
    assert onsets == pytest.approx([2.0, 6.0], abs=0.1)
    assert all(event["offset"] - event["onset"] == pytest.approx(1.0, abs=0.2) for event in file["events"])
    assert json.loads(Path("events/field.json").read_text())["events"] == file["events"]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("srt", ".srt"), ("audacity", ".txt"), ("raven", ".selections.txt"), ("dcase", ".tsv"), ("json", ".json")],
)
def test_each_format_has_its_suffix(kind: str, suffix: str) -> None:
    run("caption", "field.flac", *SURE, "--format", kind)
    assert Path(f"field{suffix}").stat().st_size > 0


def test_rules_are_those_asked_for() -> None:
    def n_events(*options: object) -> int:
        return len(run_json("caption", "field.flac", "--force", *options)["files"][0]["events"])

    assert n_events() == 0  # nothing is likely enough
    assert n_events(*SURE) > n_events(*SURE, "--gap-seconds", 5) > 0
    assert n_events(*SURE, "--least-seconds", 2) == 0
    assert n_events(*SURE, "--gate-db", 0) == 0


def test_phrases_of_ones_own() -> None:
    Path("mine.toml").write_text(
        "\n".join(f'[phrases.{name}]\nlasting = "something"\nabrupt = "something"' for name in CLASSES)
    )
    run("caption", "field.flac", *SURE, "--phrases", "mine.toml")
    assert "something" in Path("field.vtt").read_text()
    Path("mine.toml").write_text("[phrases.Bark]\nlastign = 'x'")
    assert "lasting" in run("caption", "field.flac", "--force", "--phrases", "mine.toml", exit_code=1).stderr


def test_the_sound_track_of_a_film() -> None:
    samples, _ = soundfile.read("field.flac", dtype="float32")
    write_film(Path("film.mkv"), samples, rate_hz=RATE_HZ)
    events = run_json("caption", "film.mkv", *SURE)["files"][0]["events"]
    assert sorted({round(event["onset"], 1) for event in events}) == pytest.approx([2.0, 6.0], abs=0.11)


def test_a_bundle_captions_too() -> None:
    plain = run_json("caption", "field.flac", *SURE)["files"][0]["events"]
    run("export", "--no-onnx")
    Path("runs").rename("elsewhere")
    assert run_json("caption", "field.flac", *SURE, "--bundle", "bundle", "--force")["files"][0]["events"] == plain


def test_a_broken_file_does_not_stop_the_others() -> None:
    Path("broken.wav").write_bytes(b"no sound")
    soundfile.write("nan.wav", np.array([0.1, np.nan]), RATE_HZ, subtype="FLOAT")
    report = run_json("caption", "broken.wav", "nan.wav", "field.flac")
    assert [file["path"] for file in report["files"]] == ["field.flac"]
    assert [row["path"] for row in report["problems"]] == ["broken.wav", "nan.wav"]
    assert not Path("broken.vtt").exists()
    result = run("caption", "broken.wav", "--strict", exit_code=3)
    assert "not captioned: broken.wav: cannot be decoded" in result.stderr


def test_files_that_are_there_are_kept() -> None:
    Path("field.vtt").write_text("dialogue")
    assert "field.vtt is there" in run("caption", "field.flac", exit_code=1).stderr
    assert Path("field.vtt").read_text() == "dialogue"
    run("caption", "field.flac", "--force")
    assert Path("field.vtt").read_text().startswith("WEBVTT")


def test_two_recordings_never_share_a_file(recording: Path) -> None:
    Path("other").mkdir()
    Path("other/field.wav").write_bytes(recording.read_bytes())
    result = run("caption", "field.flac", "other", exit_code=2)
    assert "would both be captioned in field.vtt" in result.stderr


def test_mistakes_are_answered_in_words() -> None:
    assert (
        "end_score must be above 0 and up to start_score"
        in run("caption", "field.flac", "--end-score", 0.9, exit_code=1).stderr
    )
    assert "there is no file or folder nowhere.wav" in run("caption", "nowhere.wav", exit_code=1).stderr
