"""The competition's two layouts, whole and in halves, as published and spoilt."""

import re

import pytest

from cache.errors import CorpusError
from corpus.classes import CLASS_COUNTS
from corpus.tables import read_corpus

TRAIN = "fname,label,manually_verified,freesound_id,license\nb.wav,Hi-hat,0,28739,Attribution\na.wav,Bark,1,7,CC0\n"
SCORING = "fname,label,usage,freesound_id,license\nz.wav,Bark,Public,1,CC0\ny.wav,Cello,Private,2,CC0\n"
POST = SCORING + "x.wav,None,Ignored,3,CC0\n"
SAMPLE = "fname,label\nx.wav,Laughter Hi-Hat Flute\ny.wav,Laughter Hi-Hat Flute\nz.wav,Laughter Hi-Hat Flute\n"

Z = "FSDKaggle2018."
ZENODO = {
    f"{Z}audio_train/a.wav": "",
    f"{Z}audio_train/b.wav": "",
    f"{Z}audio_test/y.wav": "",
    f"{Z}audio_test/z.wav": "",
    f"{Z}meta/train_post_competition.csv": TRAIN,
    f"{Z}meta/test_post_competition_scoring_clips.csv": SCORING,
    f"{Z}doc/README.md": "x",
}
KAGGLE = {
    "audio_train/a.wav": "",
    "audio_train/b.wav": "",
    "audio_test/x.wav": "",
    "audio_test/y.wav": "",
    "audio_test/z.wav": "",
    "train.csv": "fname,label,manually_verified\nb.wav,Hi-hat,0\na.wav,Bark,1\n",
    "sample_submission.csv": SAMPLE,
    "test_post_competition.csv": POST,
}


@pytest.fixture
def read(tmp_path):
    """Write files (None takes one away) and read them as a corpus."""

    def reader(files, **changes):
        for name, content in (files | changes.pop("changes", {})).items():
            if content is not None:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(content)
        return read_corpus(tmp_path)

    return reader


def without(files, *fragments):
    return {name: content for name, content in files.items() if not any(part in name for part in fragments)}


def test_zenodo(read, tmp_path):
    table = read(ZENODO)
    assert table.attrs["layout"] == "zenodo"
    assert table["fname"].tolist() == ["b.wav", "a.wav", "z.wav", "y.wav"]
    assert table["path"][0] == str(tmp_path / f"{Z}audio_train" / "b.wav")
    assert table["split"].tolist() == ["train", "train", "test", "test"]
    assert table["label"].tolist() == ["Hi-hat", "Bark", "Bark", "Cello"]
    assert table["manually_verified"].tolist()[:2] == [False, True]
    assert table["manually_verified"].isna().tolist() == [False, False, True, True]
    assert table["usage"].isna().tolist() == [True, True, False, False]
    assert table["usage"].tolist()[2:] == ["Public", "Private"]
    assert table["freesound_id"].tolist() == ["28739", "7", "1", "2"]
    assert table["license"].tolist() == ["Attribution", "CC0", "CC0", "CC0"]


def test_zenodo_takes_kaggles_test_table_without_its_absent_ignored_rows(read):
    files = without(ZENODO, "scoring") | {f"{Z}meta/test_post_competition.csv": POST}
    assert read(files)["fname"].tolist() == ["b.wav", "a.wav", "z.wav", "y.wav"]


def test_zenodo_takes_a_sample_submission_from_the_root(read):
    files = ZENODO | {"sample_submission.csv": "fname,label\ny.wav,\nz.wav,\n"}
    assert read(files)["fname"].tolist() == ["b.wav", "a.wav", "y.wav", "z.wav"]


def test_kaggle(read):
    table = read(KAGGLE)
    assert table.attrs["layout"] == "kaggle"
    assert table["fname"].tolist() == ["b.wav", "a.wav", "x.wav", "y.wav", "z.wav"]
    assert table["label"].isna().tolist() == [False, False, True, False, False]
    assert table["usage"].tolist()[2:] == ["Ignored", "Private", "Public"]
    assert table["freesound_id"].tolist()[2:] == ["3", "2", "1"]


def test_kaggle_without_test_labels(read):
    table = read(without(KAGGLE, "post"))
    assert table["fname"].tolist() == ["b.wav", "a.wav", "x.wav", "y.wav", "z.wav"]
    assert table["label"].isna().tolist() == [False, False, True, True, True]
    assert table["usage"].isna().all()


def test_kaggle_sample_submission_fills_up_a_table_of_scored_clips(read):
    table = read(without(KAGGLE, "post") | {"test_post_competition_scoring_clips.csv": SCORING})
    assert table["fname"].tolist()[2:] == ["x.wav", "y.wav", "z.wav"]
    assert table["label"].isna().tolist()[2:] == [True, False, False]


def test_test_order_follows_the_test_table_where_there_is_no_sample_submission(read):
    assert read(without(KAGGLE, "sample"))["fname"].tolist()[2:] == ["z.wav", "y.wav", "x.wav"]


def test_test_folder_without_any_table_is_sorted_and_unlabelled(read):
    table = read(without(KAGGLE, "sample", "post"))
    assert table["fname"].tolist()[2:] == ["x.wav", "y.wav", "z.wav"]
    assert table["label"].isna().tolist()[2:] == [True, True, True]


@pytest.mark.parametrize("files", [KAGGLE, ZENODO], ids=["kaggle", "zenodo"])
def test_folders_nested_once_are_the_same_corpus(read, files, tmp_path):
    flat = read(files)
    nested_root = tmp_path / "nested"
    for name, content in files.items():
        folder, _, file = name.partition("/")
        place = nested_root / folder / folder / file if file else nested_root / folder
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    nested = read_corpus(nested_root)
    assert nested.drop(columns="path").equals(flat.drop(columns="path"))
    assert nested.attrs == flat.attrs


@pytest.mark.parametrize("files", [KAGGLE, ZENODO], ids=["kaggle", "zenodo"])
@pytest.mark.parametrize(("gone", "left"), [("audio_train", "test"), ("audio_test", "train")])
def test_either_half_alone_is_a_corpus(read, files, gone, left):
    assert set(read(without(files, gone))["split"]) == {left}


def test_both_training_tables_are_merged(read):
    table = read(KAGGLE | {"train_post_competition.csv": TRAIN})
    assert table["fname"].tolist()[:2] == ["b.wav", "a.wav"]
    assert table["freesound_id"].tolist()[:2] == ["28739", "7"]
    assert table["manually_verified"].tolist()[:2] == [False, True]


def test_files_that_are_no_audio_and_hidden_files_need_no_row(read):
    extra = {"audio_train/notes.txt": "", "audio_train/.DS_Store": "", "audio_test/._x.wav": "", "other/c.wav": ""}
    assert len(read(KAGGLE | extra)) == 5


def test_verified_may_be_spelt_as_words(read):
    table = read(KAGGLE | {"train.csv": "fname,label,manually_verified\na.wav,Bark,True\nb.wav,Bark,FALSE\n"})
    assert table["manually_verified"].tolist()[:2] == [True, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.csv": None}, "audio_train needs a table of labels, train.csv or train_post_competition.csv"),
        (
            {"train.csv": "fname,label\na.wav,Bark\n"},
            "column 'manually_verified' is missing; the columns there are 'fname'",
        ),
        ({"train.csv": "fname,label,manually_verified\na.wav,Bark,1\n"}, "train.csv has no row for 1 audio file in"),
        ({"audio_train/a.wav": None}, "audio_train has no regular file for 1 row of train.csv: 'a.wav'"),
        (
            {"train.csv": "fname,label,manually_verified\na.wav,Bark,yes\nb.wav,Bark,1.0\n"},
            "manually_verified must be 0, 1, true or false; 2 rows break this: 'yes' (line 2), '1.0' (line 3)",
        ),
        (
            {"train.csv": "fname,label,manually_verified\na.wav,Bark,1\nb.wav,Hi-Hat,1\n"},
            "train.csv line 3: label 'Hi-Hat' is not one of the 41 classes of FSDKaggle2018 (did you mean 'Hi-hat'?)",
        ),
        (
            {"train.csv": "fname,label,manually_verified\na.wav,Moo,1\nb.wav,None,1\n"},
            "train.csv line 2: label 'Moo' is not one of the 41 classes of FSDKaggle2018; 2 rows have such labels",
        ),
        (
            {"train.csv": "fname,label,manually_verified\na.wav,,1\nb.wav,Bark,1\n"},
            "train.csv: label must not be empty; 1 row breaks this: '' (line 2)",
        ),
        (
            {"train_post_competition.csv": TRAIN.replace("Bark", "Meow")},
            "disagree on the label of 1 clip: 'a.wav' is 'Bark'",
        ),
        (
            {"train_post_competition.csv": TRAIN.replace("Bark,1", "Bark,0")},
            "disagree on the manually_verified of 1 clip",
        ),
        (
            {"test_post_competition.csv": POST.replace("Ignored", "ignored")},
            "usage must be one of Public, Private, Ignored",
        ),
        ({"test_post_competition.csv": POST.replace("Cello", "None")}, "line 3: label 'None' is not one of the 41"),
        (
            {"test_post_competition.csv": POST.replace("Cello", "")},
            "label must not be empty; 1 row breaks this: '' (line 3)",
        ),
        (
            {"test_post_competition_scoring_clips.csv": SCORING.replace("Cello", "Bus")},
            "and test_post_competition_scoring_clips.csv disagree on the label of 1 clip: 'y.wav' is 'Cello'",
        ),
        ({"sample_submission.csv": "fname,label\nx.wav,\ny.wav,\n"}, "1 clip of the test table is not in it: 'z.wav'"),
        ({"sample_submission.csv": SAMPLE + "w.wav,\n"}, "audio_test has no regular file for 1 row of"),
        ({"audio_test/x.wav": None}, "audio_test has no regular file for 1 row of"),
        ({"audio_test/w.wav": ""}, "has no row for 1 audio file in"),
    ],
)
def test_spoilt_corpora_are_refused(read, changes, message):
    with pytest.raises(CorpusError, match=re.escape(message)):
        read(KAGGLE, changes=changes)


def test_an_absent_clip_that_was_scored_is_refused(read):
    with pytest.raises(CorpusError, match=r"audio_test has no regular file for 1 row of test_post.*: 'y\.wav'"):
        read(without(KAGGLE, "sample", "audio_test/x", "audio_test/y"))


def test_one_name_in_both_halves_is_refused(read):
    files = KAGGLE | {"audio_train/z.wav": "", "train.csv": KAGGLE["train.csv"] + "z.wav,Bark,1\n"}
    with pytest.raises(CorpusError, match=r"fname must be unique, but more than one clip is named 'z\.wav'"):
        read(files)


def test_tables_without_audio_are_refused(read):
    with pytest.raises(CorpusError, match=r"FSDKaggle2018\.meta has no audio folder beside it"):
        read(without(ZENODO, "audio"))


def test_a_folder_named_as_a_clip_is_no_clip(read, tmp_path):
    (tmp_path / "audio_train" / "a.wav").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"audio_train has no regular file for 1 row of train\.csv: 'a\.wav'"):
        read(without(KAGGLE, "audio_train/a.wav"))


def test_the_published_files_are_read_whole(read):
    """As many rows as published, in the real order, with Kaggle's padding."""
    train, test, sample = ["fname,label,manually_verified"], ["fname,label,usage"], ["fname,label"]
    for label, count in CLASS_COUNTS.items():
        train += [f"{label}{i:03}.wav,{label},{int(i < count.verified)}" for i in range(count.train)]
        test += [f"{label}{i:03}t.wav,{label},{'Public' if i % 5 == 0 else 'Private'}" for i in range(count.test)]
    test += [f"pad{i}.wav,None,Ignored" for i in range(200)]
    names = [line.partition(",")[0] for line in test[1:]]
    sample += [f"{name},Laughter Hi-Hat Flute" for name in reversed(names)]
    files = {"train.csv": "\n".join(train), "test_post_competition.csv": "\n".join(test)}
    files |= {"sample_submission.csv": "\n".join(sample)}
    files |= {f"audio_train/{line.partition(',')[0]}": "" for line in train[1:]}
    files |= {f"audio_test/{name}": "" for name in names}
    table = read(files)
    assert len(table) == 9473 + 1600 + 200
    assert table["manually_verified"].sum() == 3710
    assert table.loc[table["split"] == "test", "fname"].tolist() == names[::-1]
    assert table["label"].isna().sum() == 200
