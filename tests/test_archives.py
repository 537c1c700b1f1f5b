"""The table of published archives, and where their members belong."""

import pytest

from corpus.archives import KAGGLE, KAGGLE_WHOLE, ZENODO
from corpus.classes import CLASS_COUNTS

BY_NAME = {archive.name: archive for archive in (*ZENODO, *KAGGLE, KAGGLE_WHOLE)}


def test_zenodos_archives_are_those_of_the_record():
    assert [archive.short_name for archive in ZENODO] == ["audio_train", "audio_test", "meta", "doc"]
    assert all(len(archive.md5) == 32 and int(archive.md5, 16) for archive in ZENODO)
    assert len({archive.md5 for archive in ZENODO}) == 4
    train, test, meta, _ = ZENODO
    assert train.files == sum(count.train for count in CLASS_COUNTS.values())
    assert test.files == sum(count.test for count in CLASS_COUNTS.values())
    # 16 bit at 44.1 kHz, 44 bytes of header a clip: 17.86 h and 2.31 h.
    assert (train.unpacked_bytes - 44 * train.files) / 88_200 / 3600 == pytest.approx(17.86, abs=0.01)
    assert (test.unpacked_bytes - 44 * test.files) / 88_200 / 3600 == pytest.approx(2.31, abs=0.01)
    assert meta.unpacked_bytes == 440_716 + 94_374
    assert 4.55e9 < sum(archive.about_bytes for archive in ZENODO) < 4.65e9
    assert all(archive.about_bytes < archive.max_bytes for archive in ZENODO)


def test_addresses():
    train = ZENODO[0]
    assert train.url() == ("https://zenodo.org/records/2552860/files/FSDKaggle2018.audio_train.zip?download=1")
    for mirror in ("https://host/fsd", "https://host/fsd/"):
        assert train.url(mirror) == "https://host/fsd/FSDKaggle2018.audio_train.zip"


@pytest.mark.parametrize(
    ("archive", "member", "place"),
    [
        ("FSDKaggle2018.audio_train.zip", "FSDKaggle2018.audio_train/a.wav", "FSDKaggle2018.audio_train/a.wav"),
        ("FSDKaggle2018.audio_train.zip", "audio_train/a.wav", None),
        ("FSDKaggle2018.doc.zip", "FSDKaggle2018.doc/README.md", "FSDKaggle2018.doc/README.md"),
        ("FSDKaggle2018.audio_train.zip", "__MACOSX/FSDKaggle2018.audio_train/._a.wav", None),
        ("FSDKaggle2018.audio_train.zip", "FSDKaggle2018.audio_train/.DS_Store", None),
        ("audio_train.zip", "audio_train/a.wav", "audio_train/a.wav"),
        ("audio_train.zip", "audio_train/audio_train/a.wav", "audio_train/a.wav"),
        ("audio_train.zip", "a.wav", "audio_train/a.wav"),
        ("audio_train.zip", "audio_train/b/a.wav", None),
        ("audio_train.zip", "audio_train/audio_train/audio_train/a.wav", None),
        ("audio_train.zip", "audio_test/a.wav", None),
        ("train.csv.zip", "train.csv", "train.csv"),
        ("train.csv.zip", "sample_submission.csv", None),
        ("train.csv.zip", "train.csv/a", None),
        ("freesound-audio-tagging.zip", "audio_train/a.wav", "audio_train/a.wav"),
        ("freesound-audio-tagging.zip", "audio_test/audio_test/a.wav", "audio_test/a.wav"),
        ("freesound-audio-tagging.zip", "sample_submission.csv", "sample_submission.csv"),
        ("freesound-audio-tagging.zip", "a.wav", None),
        ("freesound-audio-tagging.zip", "audio_train.zip", None),
    ],
)
def test_members_belong_where_the_reader_looks(archive, member, place):
    assert BY_NAME[archive].place(member) == place


def test_the_one_big_file_may_hold_each_archive():
    assert [archive.name for archive in KAGGLE_WHOLE.inner] == [
        "audio_train.zip",
        "audio_test.zip",
        "train.csv.zip",
        "sample_submission.csv.zip",
        "test_post_competition.csv.zip",
    ]
