"""``cli tag``: options, output and exit status."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from sounds import sine, write_sound
from stores import CLASSES, save_fold
from test_cli import run, run_json

from featurize.modes import MODES
from infer import tagging


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of one untrained network, and a library of three sounds and a broken file."""
    monkeypatch.chdir(tmp_path)
    save_fold(tmp_path / "runs", mode=MODES["x"])
    folder = tmp_path / "library"
    folder.mkdir()
    for number in range(3):
        write_sound(folder / f"{number}.wav", sine(20_000, 300 + 500 * number))
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


def test_prints_csv_and_says_on_the_side_what_is_wrong() -> None:
    result = run("tag", "library", "--min-score", 0)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["path"] for row in rows] == ["library/0.wav", "library/1.wav", "library/2.wav", "library/broken.wav"]
    assert all(row["label"] in CLASSES for row in rows[:3])
    assert rows[3]["problem"] == "cannot be decoded: Format not recognised"
    assert "not tagged: library/broken.wav: cannot be decoded" in result.stderr
    assert "no temperature is fitted" in result.stderr
    assert "4 recordings, 0 unknown, 1 not tagged" in result.stderr


def test_writes_csv_or_json_lines() -> None:
    result = run("tag", "library", "--out", "tags.csv", "--top", 2)
    assert result.stdout.startswith("tags.csv: 4 recordings, ")
    table = pd.read_csv("tags.csv")
    assert table.columns.tolist()[:8] == [
        "path",
        "seconds",
        "label",
        "score",
        "audioset_id",
        "family",
        "label_2",
        "score_2",
    ]
    assert len(table) == 4
    run("tag", "library", "--out", "tags.jsonl")
    records = [json.loads(line) for line in Path("tags.jsonl").read_text().splitlines()]
    assert [record["path"] for record in records] == table["path"].tolist()
    assert len(records[0]["tags"]) == 3
    assert not list(Path().glob(".tags*"))
    assert run("tag", "library/0.wav", "--format", "jsonl").stdout.count("\n") == 1


def test_json_counts_and_holds_the_tags_where_no_file_does() -> None:
    report = run_json("tag", "library", "--min-score", 1)
    assert {"out", "files", "listed", "unknown", "problems", "calibration", "sound_seconds", "seconds", "tags"} == set(
        report
    )
    assert (report["out"], report["files"], report["listed"], report["unknown"]) == (None, 4, 4, 3)
    assert report["problems"] == [{"path": "library/broken.wav", "reason": "cannot be decoded: Format not recognised"}]
    assert report["sound_seconds"] == pytest.approx(3 * 20_000 / 44_100, abs=1e-3)
    assert report["calibration"]["temperature"] == 1.0
    assert [record.get("label") for record in report["tags"]] == ["unknown"] * 3 + [None]
    assert "tags" not in run_json("tag", "library", "--out", "tags.csv")


def test_families_are_filtered_and_checked() -> None:
    everything = run_json("tag", "library", "--min-score", 0)["tags"]
    animals = run_json("tag", "library", "--min-score", 0, "--family", "animal")
    assert [record["path"] for record in animals["tags"]] == [
        record["path"] for record in everything if record.get("label", "Bark") == "Bark"
    ]
    assert animals["files"] == 4
    assert "did you mean 'animal'?" in run("tag", "library", "--family", "anmal", exit_code=2).stderr


def test_a_stopped_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run("tag", "library", "--out", "whole.csv")
    done: list[str] = []
    plain = tagging.read_recording

    def stop_at_third(path: str, *, max_clip_minutes: float) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(path)
        return plain(path, max_clip_minutes=max_clip_minutes)

    monkeypatch.setattr(tagging, "read_recording", stop_at_third)
    run("tag", "library", "--out", "tags.csv", "--jobs", 1, exit_code=130)
    assert not Path("tags.csv").exists()
    monkeypatch.setattr(tagging, "read_recording", lambda path, **given: done.append(path) or plain(path, **given))
    result = run("tag", "library", "--out", "tags.csv", "--jobs", 1)
    assert "2 of 4 recordings were tagged before; going on" in result.stderr
    assert [Path(path).stem for path in done] == ["0", "1", "2", "broken"]
    assert Path("tags.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_broken_recordings_make_a_strict_run_end_with_3() -> None:
    run("tag", "library", "--strict", exit_code=3)
    run("tag", "library/0.wav", "--strict")


def test_mistakes_are_answered_in_words() -> None:
    assert "there is no file or folder nowhere" in run("tag", "nowhere", exit_code=1).stderr
    assert "runs2 holds no trained run" in run("tag", "library", "--runs", "runs2", exit_code=1).stderr
    assert "has no trained fold of mode 'lh'" in run("tag", "library", "--mode", "lh", exit_code=1).stderr
    assert "library is a folder: name a file" in run("tag", "library", "--out", "library", exit_code=1).stderr
    assert "name a .csv or .jsonl file" in run("tag", "library", "--out", "t.json", exit_code=2).stderr
    assert "must be a finite number; got nan" in run("tag", "library", "--min-score", "nan", exit_code=2).stderr


def test_a_file_that_is_there_is_replaced_by_force_only() -> None:
    Path("t.csv").write_text("mine")
    assert (
        "t.csv is there: name another file, or give --force"
        in run("tag", "library", "--out", "t.csv", exit_code=1).stderr
    )
    assert Path("t.csv").read_text() == "mine"
    run("tag", "library", "--out", "t.csv", "--force")
    assert Path("t.csv").read_text().startswith("path,")
    for force in ([], ["--force"]):
        assert "is no regular file" in run("tag", "library", "--out", "/dev/null", *force, exit_code=1).stderr


def test_a_recording_is_never_replaced_by_its_tags() -> None:
    recording = sorted(Path("library").rglob("*.wav"))[0]
    before = recording.read_bytes()
    Path("link.csv").symlink_to(recording)
    for out in (str(recording), "link.csv"):
        assert "is one of the recordings" in run("tag", "library", "--out", out, "--force", exit_code=2).stderr
    assert recording.read_bytes() == before


def test_a_link_stays_and_what_it_leads_to_is_written() -> None:
    Path("old.csv").write_text("old")
    Path("link.csv").symlink_to("old.csv")
    run("tag", "library", "--out", "link.csv", "--force")
    assert Path("link.csv").is_symlink()
    assert Path("old.csv").read_text().startswith("path,")


class TestBundle:
    @pytest.fixture
    def bundle(self) -> str:
        report = run_json("export", "--no-onnx")
        assert (report["out"], report["run"], report["modes"], report["networks"], report["onnx"]) == (
            "bundle",
            "quick",
            {"x": [0]},
            1,
            False,
        )
        return report["out"]

    def test_tags_are_those_of_the_run(self, bundle: str) -> None:
        plain = run_json("tag", "library")["tags"]
        Path("runs").rename("elsewhere")
        assert run_json("tag", "library", "--bundle", bundle)["tags"] == plain

    def test_onnx_tags_alike(self) -> None:
        result = run("export", "--out", "with graphs")
        assert result.stdout.endswith("next: cli tag PATHS --bundle 'with graphs'\n")
        options = ["library", "--bundle", "with graphs", "--min-score", 0]
        by_torch, by_onnx = (run_json("tag", *options, "--runtime", name)["tags"] for name in ("torch", "onnx"))
        for one, other in zip(by_torch[:3], by_onnx[:3], strict=True):
            assert [tag["label"] for tag in one["tags"]] == [tag["label"] for tag in other["tags"]]
            scores = [[tag["score"] for tag in record["tags"]] for record in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=2e-4)

    def test_what_was_tampered_with_ends_with_4(self, bundle: str) -> None:
        weights = Path(bundle) / "x" / "fold-0" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
        assert "its SHA-256 differs" in run("tag", "library", "--bundle", bundle, exit_code=4).stderr

    def test_mistakes_are_answered_in_words(self, bundle: str) -> None:
        assert "bundle is there" in run("export", "--no-onnx", exit_code=1).stderr
        assert "exclude each other" in run("tag", "library", "--bundle", bundle, "--run", "quick", exit_code=2).stderr
        assert "--runtime onnx needs --bundle" in run("tag", "library", "--runtime", "onnx", exit_code=2).stderr
        assert "runs has no bundle.json" in run("tag", "library", "--bundle", "runs", exit_code=2).stderr
