"""Sounds of one's own: class folders and clips.csv."""

import os
import re

import pytest

from cache.errors import CorpusError
from corpus.tables import read_corpus, training_classes


@pytest.fixture
def read(tmp_path):
    """Write files, by name or by name and content, and read them as a corpus."""

    def reader(names, **contents):
        files = dict.fromkeys(names, "") | ({"clips.csv": contents["csv"]} if "csv" in contents else {})
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return read_corpus(tmp_path)

    return reader


def rows_of(table, *columns):
    return [tuple(None if value != value else value for value in row) for row in table[list(columns)].to_numpy()]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (
            ["Meow/b.wav", "Bark/b.wav", "Bark/a.FLAC"],
            [
                ("Bark/a.FLAC", "train", "Bark"),
                ("Bark/b.wav", "train", "Bark"),
                ("Meow/b.wav", "train", "Meow"),
            ],
        ),
        (
            ["train/Bark/a.wav", "test/Meow/b.wav"],
            [("train/Bark/a.wav", "train", "Bark"), ("test/Meow/b.wav", "test", "Meow")],
        ),
        (
            ["train/Bark/a.wav", "test/b.wav", "test/a.wav"],
            [("train/Bark/a.wav", "train", "Bark"), ("test/a.wav", "test", None), ("test/b.wav", "test", None)],
        ),
        (["test/b.wav"], [("test/b.wav", "test", None)]),
        (["test/Bark/b.wav"], [("test/Bark/b.wav", "test", "Bark")]),
        (["Bark/a.wav", "test/b.wav"], [("Bark/a.wav", "train", "Bark"), ("test/b.wav", "test", None)]),
        (["bus/a.wav", "train/b.wav"], [("bus/a.wav", "train", "bus"), ("train/b.wav", "train", "train")]),
        (
            ["Äpfel & Birnen/ß 1.wav", "NA/0001.wav"],
            [("NA/0001.wav", "train", "NA"), ("Äpfel & Birnen/ß 1.wav", "train", "Äpfel & Birnen")],
        ),
    ],
    ids=["flat", "halves", "bare-test", "bare-test-alone", "test-alone", "flat-and-test", "class-train", "odd-names"],
)
def test_class_folders(read, names, rows, tmp_path):
    table = read(names)
    assert table.attrs == {"layout": "folders", "problems": []}
    assert rows_of(table, "fname", "split", "label") == rows
    assert table["path"].tolist() == [str(tmp_path / fname) for fname, _, _ in rows]


def test_files_that_are_no_audio_and_hidden_ones_are_passed_over(read):
    table = read(["Bark/a.wav", "Bark/notes.txt", "Bark/._a.wav", ".git/x.wav", "__MACOSX/Bark/a.wav", "train.csv"])
    assert table["fname"].tolist() == ["Bark/a.wav"]
    assert table.attrs["problems"] == []


def test_what_is_left_out_of_class_folders_is_told(read, tmp_path):
    for folder in ("Bark", "Empty", "train/Hollow", "test"):
        (tmp_path / folder).mkdir(parents=True)
    os.mkfifo(tmp_path / "Bark" / "pipe.wav")
    (tmp_path / "Bark" / "broken.wav").symlink_to("nowhere")
    (tmp_path / "Bark" / "broken.txt").symlink_to("nowhere")
    table = read(["Bark/a.wav", "Bark/b.m4a"])
    assert table["fname"].tolist() == ["Bark/a.wav"]
    assert table.attrs["problems"] == [
        {"fname": "Bark/broken.wav", "reason": "not a regular file, nor a link to one; left out"},
        {"fname": "Bark/pipe.wav", "reason": "not a regular file, nor a link to one; left out"},
        {"fname": "Bark/b.m4a", "reason": "libsndfile does not decode .m4a; left out, convert it to wav or flac"},
        {"fname": "Empty", "reason": "the folder holds no audio file"},
        {"fname": "train/Hollow", "reason": "the folder holds no audio file"},
    ]


def test_linked_clips_and_class_folders_are_followed(read, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "x.wav").touch()
    root = tmp_path / "corpus"
    (root / "Bark").mkdir(parents=True)
    (root / "Bark" / "a.wav").symlink_to(tmp_path / "store" / "x.wav")
    (root / "Meow").symlink_to(tmp_path / "store", target_is_directory=True)
    assert read_corpus(root)["fname"].tolist() == ["Bark/a.wav", "Meow/x.wav"]


def test_names_that_are_not_utf8_are_escaped_and_can_be_opened(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"Ca\xf1on")
    os.mkdir(folder)
    with open(os.path.join(folder, b"\xff.wav"), "wb") as file:
        file.write(b"sound")
    table = read_corpus(tmp_path)
    assert rows_of(table, "fname", "label") == [(r"Ca\xf1on/\xff.wav", r"Ca\xf1on")]
    with open(table["path"][0], "rb") as file:
        assert file.read() == b"sound"


@pytest.mark.parametrize("layout", ["folders", "clips.csv"])
def test_test_clips_follow_a_sample_submission(read, tmp_path, layout):
    clips = ["train/Bark/z.wav", "train/Bark/a.wav", "test/a.wav", "test/b.wav", "test/c.wav", "test/d.wav"]
    if layout == "clips.csv":
        rows = [f"{fname},{'Bark' if 'Bark' in fname else ''},{fname.split('/')[0]}" for fname in clips]
        (tmp_path / "clips.csv").write_text("\n".join(["fname,label,split", *rows]))
    asked = ["test/c.wav", "gone.wav", "train/Bark/z.wav", "test/a.wav", "test/d.wav"]
    (tmp_path / "sample_submission.csv").write_text("\n".join(["fname,label", *(f"{fname},x" for fname in asked)]))
    table = read(clips)
    assert table.attrs["layout"] == layout
    assert table["fname"].tolist()[2:] == ["test/c.wav", "test/a.wav", "test/d.wav", "test/b.wav"]
    assert table["fname"].tolist()[:2] == (clips[:2] if layout == "clips.csv" else sorted(clips[:2]))
    assert table.index.tolist() == list(range(6))


@pytest.mark.parametrize(
    ("names", "strays"),
    [
        (["Bark/a.wav", "b.wav"], "'b.wav'"),
        (["Bark/a.wav", "Bark/night/b.wav"], "'Bark/night/'"),
        (["train/Bark/a.wav", "train/b.wav"], "'train/b.wav'"),
        (["train/a.wav"], "'train/a.wav'"),
        (["a.wav", "b.wav", "c.wav", "d.wav"], "'a.wav', 'b.wav', 'c.wav' and 1 more"),
    ],
)
def test_clips_out_of_place_are_refused(read, names, strays):
    with pytest.raises(CorpusError, match=re.escape(f"in the folder of its class, <label>/clip.wav, unlike {strays};")):
        read(names)


def test_clips_table(read, tmp_path):
    csv = (
        "fname,label,split,manually_verified,fold,group,usage,license,tier\n"
        "t.wav,,test,,,,Public,,x\n"
        "d/0001.ogg,NA,train,1,0,g1,,CC0,x\n"
        "None,Bark,,false,12,,,,x\n"
    )
    table = read(["t.wav", "audio/d/0001.ogg", "audio/None"], csv=csv)
    assert table.attrs == {"layout": "clips.csv", "problems": []}
    assert rows_of(table, "fname", "split", "label", "group", "usage", "license") == [
        ("d/0001.ogg", "train", "NA", "g1", None, "CC0"),
        ("None", "train", "Bark", None, None, None),
        ("t.wav", "test", None, None, "Public", None),
    ]
    assert table["path"].tolist() == [str(tmp_path / name) for name in ("audio/d/0001.ogg", "audio/None", "t.wav")]
    assert table["manually_verified"].tolist()[:2] == [True, False]
    assert table["fold"].tolist()[:2] == [0, 12]
    assert table["fold"].isna().tolist() == [False, False, True]
    assert training_classes(table) == ["Bark", "NA"]


def test_every_clip_is_a_training_clip_where_nothing_says_otherwise(read):
    table = read(["b.wav", "a.wav"], csv="fname,label\nb.wav,x\na.wav,y\n")
    assert rows_of(table, "fname", "split", "label") == [("b.wav", "train", "x"), ("a.wav", "train", "y")]


def test_clips_table_wins_over_every_other_layout(read):
    names = ["Bark/a.wav", "audio_train/b.wav", "FSDKaggle2018.audio_train/c.wav"]
    table = read(names, csv="fname,label\nBark/a.wav,Woof\n")
    assert rows_of(table, "fname", "label") == [("Bark/a.wav", "Woof")]


def test_file_beside_the_table_wins_over_audio(read, tmp_path):
    table = read(["a.wav", "audio/a.wav"], csv="fname,label\na.wav,x\n")
    assert table["path"].tolist() == [str(tmp_path / "a.wav")]


def test_folders_without_a_listed_clip_are_no_concern(read):
    assert len(read(["a.wav", "x/b.wav", "audio/c.wav"], csv="fname,label\na.wav,x\n")) == 1


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("fname,label\na.wav,x\n", "clips.csv has no row for 1 audio file in"),
        ("fname,label\na.wav,x\nb.wav,x\nc.wav,x\n", "has no regular file for 1 row of clips.csv: 'c.wav'"),
        (
            "fname,label\na.wav,x\nb.wav,\n",
            "label must not be empty for a training clip; 1 row breaks this: '' (line 3)",
        ),
        (
            "fname,label,split\na.wav,x,Train\nb.wav,x,dev\n",
            "split must be train or test; 2 rows break this: 'Train' (line 2)",
        ),
        ("fname,label,fold\na.wav,x,-1\nb.wav,x,1.0\n", "fold must be an integer, 0 or more; 2 rows break this: '-1'"),
        ("fname,label,fold\na.wav,x,٣\nb.wav,x,1\n", "fold must be an integer, 0 or more; 1 row breaks this"),
        ("fname,label,fold\na.wav,x,99999999999999999999\nb.wav,x,1\n", "fold must be an integer, 0 or more; 1 row"),
        ("fname,label,manually_verified\na.wav,x,2\nb.wav,x,1\n", "manually_verified must be 0, 1, true or false"),
        ("fname,label,usage\na.wav,x,public\nb.wav,x,\n", "usage must be one of Public, Private, Ignored"),
        ("fname,label\n", "clips.csv lists no clips"),
    ],
)
def test_spoilt_clips_tables_are_refused(read, csv, message):
    with pytest.raises(CorpusError, match=re.escape(message)):
        read(["a.wav", "b.wav"], csv=csv)
