"""A summary counts what is there, from headers alone, and fits a terminal."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import soundfile

from corpus.summary import format_summary, summarize
from corpus.tables import read_corpus


def write_sound(path, seconds, *, sample_rate_hz=8000, channels=1, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((round(seconds * sample_rate_hz), channels)), sample_rate_hz, **settings)


@pytest.fixture
def corpus(tmp_path):
    """Two classes in both halves: 1 s and 3 s to train, 2 s (stereo, FLAC) and an unlabelled 6 s to test."""
    write_sound(tmp_path / "audio/a.wav", 1)
    write_sound(tmp_path / "audio/b.wav", 3, subtype="FLOAT")
    write_sound(tmp_path / "audio/c.flac", 2, sample_rate_hz=16000, channels=2)
    write_sound(tmp_path / "audio/d.wav", 6)
    (tmp_path / "clips.csv").write_text(
        "fname,label,split,manually_verified,fold,group,usage\n"
        "a.wav,Bark,train,1,0,g,\nb.wav,Bark,train,0,1,g,\nc.flac,Meow,test,,,,Public\nd.wav,,test,,,,Private\n"
    )
    return tmp_path


def test_summary_counts_everything(corpus):
    assert summarize(read_corpus(corpus)) == {
        "layout": "clips.csv",
        "clips": {"train": 2, "test": 2, "total": 4},
        "hours": {"train": 4 / 3600, "test": 8 / 3600, "total": 12 / 3600},
        "classes": {
            "Bark": {"train": 2, "verified": 1, "test": 0},
            "Meow": {"train": 0, "verified": 0, "test": 1},
        },
        "verified": 1,
        "unverified": 1,
        "verified_share": 0.5,
        "usage": {"Private": 1, "Public": 1},
        "folds": 2,
        "groups": 1,
        "in_one_fold": [],
        "seconds": {"shortest": 1.0, "mean": 3.0, "longest": 6.0},
        "sample_rates_hz": {"8000": 3, "16000": 1},
        "channels": {"1": 3, "2": 1},
        "encodings": {"WAV PCM_16": 2, "FLAC PCM_16": 1, "WAV FLOAT": 1},
        "problems": [],
    }


@pytest.mark.parametrize(
    ("columns", "alone"),
    [({}, ["c"]), ({"group": "uuvwvx"}, ["a", "c"]), ({"group": "uuvwvx", "fold": "010001"}, ["b", "c"])],
    ids=["clips", "groups", "folds"],
)
def test_classes_that_no_fold_can_score_are_named(tmp_path, columns, alone):
    table = pd.DataFrame({"fname": [f"{number}.wav" for number in range(6)], "label": list("aabbbc")})
    for name in table["fname"]:
        write_sound(tmp_path / name, 1)
    table.assign(**{name: list(values) for name, values in columns.items()}).to_csv(tmp_path / "clips.csv", index=False)
    summary = summarize(read_corpus(tmp_path))
    assert summary["in_one_fold"] == alone
    text = f"alone     {len(alone)} class{'es'[: 2 * len(alone) - 2]} in one fold only, which none can score: "
    assert text + ", ".join(alone) in format_summary(summary).splitlines()


def test_summary_is_json_whatever_the_threads(corpus):
    table = read_corpus(corpus)
    one, many = summarize(table, threads=1), summarize(table, threads=4)
    assert one == many == json.loads(json.dumps(one))


def test_progress_counts_up_to_the_total(corpus):
    calls = []
    summarize(read_corpus(corpus), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_problems_are_named_in_order_after_those_of_the_table(tmp_path):
    write_sound(tmp_path / "Bark/a.wav", 0)
    (tmp_path / "Bark/b.wav").write_bytes(b"")
    (tmp_path / "Bark/c.wav").write_bytes(b"this is no sound")
    write_sound(tmp_path / "Bark/d.wav", 90)
    write_sound(tmp_path / "Bark/e.wav", 1)
    (tmp_path / "Bark/f.wav").touch()
    (tmp_path / "Empty").mkdir()
    table = read_corpus(tmp_path)
    os.unlink(tmp_path / "Bark/f.wav")
    summary = summarize(table, max_clip_minutes=1)
    assert [(problem["fname"], problem["reason"]) for problem in summary["problems"]] == [
        ("Empty", "the folder holds no audio file"),
        ("Bark/a.wav", "holds no samples"),
        ("Bark/b.wav", "the file is empty"),
        ("Bark/c.wav", "cannot be decoded: Format not recognised."),
        ("Bark/d.wav", "longer than 1 min (1.5 min)"),
        ("Bark/f.wav", "cannot be read: No such file or directory"),
    ]
    assert summary["seconds"] == {"shortest": 1.0, "mean": 45.5, "longest": 90.0}


def test_headerless_file_in_a_table_is_a_problem(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"1234")
    (tmp_path / "clips.csv").write_text("fname,label\na.raw,Bark\n")
    summary = summarize(read_corpus(tmp_path))
    assert summary["problems"] == [{"fname": "a.raw", "reason": "cannot be decoded: a header-less file"}]
    assert summary["seconds"] is None
    assert summary["hours"]["total"] == 0
    assert summary["verified_share"] is None
    assert "seconds" not in format_summary(summary)


def test_clip_whose_name_is_not_utf8_is_read(tmp_path):
    write_sound(tmp_path / "a.wav", 1)
    (tmp_path / "Bark").mkdir()
    os.rename(tmp_path / "a.wav", os.path.join(os.fsencode(tmp_path), b"Bark/\xff.wav"))
    summary = summarize(read_corpus(tmp_path))
    assert summary["problems"] == []
    assert summary["clips"]["train"] == 1
    assert summary["seconds"]["mean"] == 1.0


def test_no_sample_is_read(corpus, monkeypatch):
    def refuse(*_args, **_settings):
        pytest.fail("a summary reads headers only")

    monkeypatch.setattr(soundfile.SoundFile, "read", refuse)
    monkeypatch.setattr(soundfile.SoundFile, "buffer_read", refuse)
    assert summarize(read_corpus(corpus))["clips"]["total"] == 4


def test_text_of_a_summary(corpus):
    assert format_summary(summarize(read_corpus(corpus))).splitlines() == [
        "layout clips.csv, 2 classes",
        "",
        "               clips     hours",
        "train              2      0.00",
        "test               2      0.00",
        "total              4      0.00",
        "",
        "verified  1 of 2 training clips (50.0 %)",
        "seconds   shortest 1.00, mean 3.00, longest 6.00",
        "usage     Private: 1, Public: 1",
        "rates     8000 Hz: 3, 16000 Hz: 1",
        "channels  1: 3, 2: 1",
        "encoding  WAV PCM_16: 2, FLAC PCM_16: 1, WAV FLOAT: 1",
        "given     2 folds, 1 group",
        "",
        "class                                          train  verified    test",
        "Bark                                               2         1       0",
        "Meow                                               0         0       1",
        "",
        "no problems",
    ]


def test_text_fits_80_columns_and_obeys_no_control_character(tmp_path):
    folder = tmp_path / ("音" * 60)
    folder.mkdir()
    for i in range(25):
        (folder / f"\x1b[31m\n{'long' * 30}{i:02}.wav").touch()
    (tmp_path / "\x1b[31m\n").mkdir()
    text = format_summary(summarize(read_corpus(tmp_path)))
    lines = text.splitlines()
    assert max(len(line) + line.count("音") for line in lines) <= 80
    assert "\x1b" not in text
    assert r"  \x1b[31m\n" in text
    assert "  音音音" in lines[-2]
    assert "problems: 26" in lines
    assert lines[-1] == "  and 6 more"
