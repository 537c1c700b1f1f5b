"""The clip table has one shape, whatever it was read from."""

import os
import unicodedata

import pandas as pd
import pytest

from cache.errors import CorpusError, NotFoundError
from corpus.tables import COLUMNS, competition_layout, read_corpus, training_classes

LAYOUTS = {
    "zenodo": {
        "FSDKaggle2018.audio_train/a.wav": "",
        "FSDKaggle2018.meta/train_post_competition.csv": "fname,label,manually_verified\na.wav,Bark,1\n",
    },
    "kaggle": {"audio_test/a.wav": "", "sample_submission.csv": "fname,label\na.wav,Bark\n"},
    "folders": {"Bark/a.wav": ""},
    "clips.csv": {"clips.csv": "fname,label,fold\na.wav,Bark,0\n", "audio/a.wav": ""},
}


@pytest.fixture
def write(tmp_path):
    def writer(files):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return tmp_path

    return writer


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shape_is_the_same_in_every_layout(write, layout):
    table = read_corpus(write(LAYOUTS[layout]))
    assert table.attrs["layout"] == layout
    assert tuple(table.columns) == COLUMNS
    assert table.index.equals(pd.RangeIndex(1))
    assert table["manually_verified"].dtype == "boolean"
    assert table["fold"].dtype == "Int64"
    texts = table.drop(columns=["manually_verified", "fold"]).dtypes
    assert all(isinstance(dtype, pd.StringDtype) for dtype in texts)
    assert competition_layout(table) == (layout in ("zenodo", "kaggle"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_paths_are_absolute_wherever_the_corpus_is_named_from(write, layout, monkeypatch):
    root = write(LAYOUTS[layout])
    expected = read_corpus(root)
    monkeypatch.chdir(root.parent)
    table = read_corpus(root.name)
    assert table.equals(expected)
    assert os.path.isabs(table["path"][0])
    assert os.path.samefile(table["path"][0], expected["path"][0])


def test_zenodo_wins_over_kaggle_and_both_over_class_folders(write):
    root = write(LAYOUTS["kaggle"] | LAYOUTS["folders"])
    assert read_corpus(root).attrs["layout"] == "kaggle"
    write(LAYOUTS["zenodo"])
    assert read_corpus(root).attrs["layout"] == "zenodo"


def test_selections_keep_the_layout(write):
    table = read_corpus(write(LAYOUTS["zenodo"]))
    assert competition_layout(table[table["split"] == "train"])
    assert not competition_layout(pd.DataFrame(columns=list(COLUMNS)))


def test_training_classes_are_sorted_and_leave_test_labels_out(write):
    files = {"clips.csv": "fname,label,split\na,b,train\nb,B,\nc,é,\nd,b,\ne,zz,test\nf,,test\n"}
    table = read_corpus(write(files | dict.fromkeys("abcdef", "")))
    assert training_classes(table) == ["B", "b", "é"]


def test_names_are_compared_as_they_are(write):
    names = ["é.wav", unicodedata.normalize("NFD", "é.wav"), "a.wav", "A.wav"]
    root = write(dict.fromkeys(names, ""))
    if len(os.listdir(root)) < 4:
        pytest.skip("this file system folds names")
    write({"clips.csv": "fname,label\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names))})
    table = read_corpus(root)
    assert table["fname"].tolist() == names
    assert [os.path.basename(path) for path in table["path"]] == names


def test_missing_root_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"the corpus folder .*nowhere is not there; give the folder"):
        read_corpus(tmp_path / "nowhere")


def test_root_that_is_a_file_is_named(write):
    root = write({"train.csv": ""})
    with pytest.raises(NotFoundError, match=r"train\.csv is a file; give the folder"):
        read_corpus(root / "train.csv")


@pytest.mark.parametrize("files", [{}, {"train.csv": "fname,label\n"}, {"docs/notes.txt": "x"}])
def test_what_is_no_corpus_is_told_what_was_looked_for(write, files):
    with pytest.raises(CorpusError, match=r"not recognised as a corpus; looked for clips\.csv, FSDKaggle2018\.audio"):
        read_corpus(write(files))


def test_empty_audio_folder_is_refused(tmp_path):
    (tmp_path / "audio_test").mkdir()
    with pytest.raises(CorpusError, match=r"lists no clips"):
        read_corpus(tmp_path)


def test_reading_opens_no_sound(write, tmp_path):
    """A pipe in place of a clip would be waited for if anything opened it."""
    root = write(LAYOUTS["folders"])
    os.mkfifo(root / "Bark" / "b.wav")
    table = read_corpus(root)
    assert table["fname"].tolist() == ["Bark/a.wav"]
    assert [problem["fname"] for problem in table.attrs["problems"]] == ["Bark/b.wav"]
