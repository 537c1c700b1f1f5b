"""cli evaluate-events: its table, its object, its remarks and its exit status."""

import json
from pathlib import Path

import pytest
from test_cli import run, run_json

TRUTH = "filename\tonset\toffset\tevent_label\na.wav\t1\t2\tBark\na.wav\t5\t6\tMeow\nb.wav\t1\t3\tBark\n"
FOUND = {
    "files": [
        {"path": "in/a.wav", "out": "a.vtt", "events": [{"onset": 1.25, "offset": 2, "label": "Bark", "score": 0.5}]},
        {"path": "in/b.wav", "out": "b.vtt", "events": [{"onset": 1, "offset": 2.5, "label": "Purr", "score": 0.5}]},
    ]
}


@pytest.fixture(autouse=True)
def lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("truth.tsv").write_text(TRUTH)
    Path("found.json").write_text(json.dumps(FOUND))


def test_the_object():
    report = run_json("evaluate-events", "found.json", "truth.tsv", "--collar", 0.25)
    settings = {"collar_seconds": 0.25, "length_share": 0.5, "onset_only": False, "segment_seconds": 1.0}
    assert report.items() >= ({"recordings": 2, "only_in_events": [], "only_in_truth": []} | settings).items()
    assert set(report) == {"recordings", "only_in_events", "only_in_truth", *settings, "event_based", "segment_based"}
    bark = {"f1": 2 / 3, "precision": 1.0, "recall": 0.5, "truth": 2, "predicted": 1, "correct": 1}
    meow = {"f1": 0.0, "precision": 0.0, "recall": 0.0, "truth": 1, "predicted": 0, "correct": 0}
    assert report["event_based"] == {
        "f1": 0.4,
        "precision": 0.5,
        "recall": 1 / 3,
        "truth": 3,
        "predicted": 2,
        "correct": 1,
        "macro": {"f1": 1 / 3, "precision": 0.5, "recall": 0.25},
        "substitutions": 1,
        "deletions": 1,
        "insertions": 0,
        "error_rate": 2 / 3,
        "by_class": {"Bark": bark, "Meow": meow, "Purr": meow | {"truth": 0, "predicted": 1}},
    }
    assert set(report["segment_based"]) == set(report["event_based"])
    assert report["segment_based"]["by_class"]["Bark"] == {
        "f1": 0.5,
        "precision": 1.0,
        "recall": 1 / 3,
        "truth": 3,
        "predicted": 1,
        "correct": 1,
    }


def test_the_keys_stand_in_the_help():
    words = run("evaluate-events", "--help").stdout
    report = run_json("evaluate-events", "found.json", "truth.tsv")
    for key in (*report, *report["event_based"], *report["event_based"]["by_class"]["Bark"]):
        assert key in words, key


def test_the_table():
    lines = run("evaluate-events", "found.json", "truth.tsv", "--collar", 0.25).stdout.splitlines()
    assert lines[0] == "Events, onsets within 0.25 s, offsets within that or 50 % of the length:"
    assert [line.split() for line in lines[1:7]] == [
        ["truth", "found", "right", "precision", "recall", "F1"],
        ["Meow", "1", "0", "0", "0.000", "0.000", "0.000"],
        ["Purr", "0", "1", "0", "0.000", "0.000", "0.000"],
        ["Bark", "2", "1", "1", "1.000", "0.500", "0.667"],
        ["all", "3", "2", "1", "0.500", "0.333", "0.400"],
        ["mean", "of", "the", "truth's", "classes", "0.500", "0.250", "0.333"],
    ]
    assert lines[7] == "error rate 0.667: 1 substituted, 1 deleted, 0 inserted"
    assert lines[9] == "Segments of 1 s:"
    assert lines[-2] == "2 recordings"
    assert lines[-1] == "next: cli caption with a lower --start-score, for more recall"


def test_the_options_count():
    def correct(*options):
        report = run_json("evaluate-events", "found.json", "truth.tsv", *options)
        return report["event_based"]["correct"], report["segment_based"]["by_class"]["Bark"]["truth"]

    assert correct() == (0, 3)
    assert correct("--collar", 0.25) == (1, 3)
    assert correct("--segment", 0.5) == (0, 6)
    Path("found.json").write_text(json.dumps([{"onset": 1, "offset": 1.5, "label": "Bark"}]))
    Path("truth.tsv").write_text("1\t2\tBark\n")
    assert correct() == (1, 1)
    assert correct("--length-share", 0.25) == (0, 1)
    assert correct("--length-share", 0.25, "--onset-only") == (1, 1)
    assert "offsets do not count" in run("evaluate-events", "found.json", "truth.tsv", "--onset-only").stdout


def test_recordings_in_one_list_only_are_named_and_count():
    Path("found.tsv").write_text(TRUTH.replace("b.wav", "c.wav"))
    result = run("evaluate-events", "found.tsv", "truth.tsv")
    assert result.stderr.splitlines() == [
        "recordings in EVENTS only, all their events count as false alarms: 'c.wav'",
        "recordings in TRUTH only, all their events count as misses: 'b.wav'",
    ]
    assert result.stdout.splitlines()[-2] == "3 recordings"
    report = run_json("evaluate-events", "found.tsv", "truth.tsv")
    assert (report["only_in_events"], report["only_in_truth"]) == (["c.wav"], ["b.wav"])
    assert (report["event_based"]["truth"], report["event_based"]["predicted"]) == (3, 3)
    assert report["event_based"]["correct"] == 2


def test_labels_that_never_meet_are_named():
    Path("found.tsv").write_text(TRUTH.replace("Bark", "bark").replace("Meow", "meow"))
    result = run("evaluate-events", "found.tsv", "truth.tsv")
    assert result.stderr == "no label is in both lists: 'bark', 'meow' in EVENTS, 'Bark', 'Meow' in TRUTH\n"
    assert run("evaluate-events", "found.json", "truth.tsv").stderr == ""


def test_two_files_of_one_recording_are_compared_whatever_their_names():
    Path("mine.txt").write_text("1.0\t2.0\tBark\n")
    Path("yours.txt").write_text("1.1\t2.0\tBark\n")
    result = run("evaluate-events", "mine.txt", "yours.txt")
    assert (result.stderr, result.stdout.splitlines()[-1]) == ("", "1 recording")
    assert run_json("evaluate-events", "mine.txt", "yours.txt")["event_based"]["f1"] == 1.0


def test_folders():
    for name in ("found", "truth"):
        Path(name).mkdir()
        (Path(name) / "a.txt").write_text("1.0\t2.0\tBark\n")
        (Path(name) / "b.txt").write_text("")
    report = run_json("evaluate-events", "found", "truth")
    assert (report["recordings"], report["event_based"]["f1"]) == (2, 1.0)


def test_nothing_to_score_has_no_number():
    Path("empty.txt").write_text("")
    report = run_json("evaluate-events", "empty.txt", "empty.txt")
    assert report["event_based"]["f1"] is None
    assert report["event_based"]["error_rate"] is None
    text = run("evaluate-events", "empty.txt", "empty.txt").stdout
    assert "error rate –: 0 substituted" in text


def test_what_cannot_be_read_is_one_line():
    Path("bad.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t2\t1\tBark\n")
    line = "bad.tsv line 2: an event must have 0 <= onset < offset; got 2.0 … 1.0 (Bark)"
    assert run("evaluate-events", "bad.tsv", "truth.tsv", exit_code=1).stderr == f"Error: {line}\n"
    assert run_json("evaluate-events", "found.json", "bad.tsv", exit_code=1) == {"error": line, "exit_code": 1}
    assert "no event list nowhere" in run("evaluate-events", "nowhere", "truth.tsv", exit_code=1).stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("--collar", -1),
        ("--collar", "inf"),
        ("--collar", "nan"),
        ("--length-share", 1.5),
        ("--length-share", "nan"),
        ("--segment", 0),
        ("--segment", "nan"),
    ],
)
def test_settings_out_of_range_are_wrong_usage(name, value):
    assert name in run("evaluate-events", "found.json", "truth.tsv", name, value, exit_code=2).stderr


def test_settings_from_a_file(monkeypatch):
    Path("earmark.toml").write_text("[evaluate-events]\ncollar = 0.25\nonset-only = true\n")
    report = run_json("evaluate-events", "found.json", "truth.tsv", "--config", "earmark.toml")
    assert (report["collar_seconds"], report["onset_only"]) == (0.25, True)
    monkeypatch.setenv("EARMARK_LENGTH_SHARE", "0.125")
    assert run_json("evaluate-events", "found.json", "truth.tsv")["length_share"] == 0.125
