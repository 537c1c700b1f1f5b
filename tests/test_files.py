"""Folders are listed without opening anything, and odd entries keep their place."""

import os
import unicodedata

import pandas as pd
import pytest

from cache.errors import CorpusError
from corpus.files import AUDIO_SUFFIXES, list_folder, match_files, shown_name, suffix_of


def test_listing_sorts_entries_by_kind(tmp_path):
    for name in ("b.wav", "a.FLAC", "notes.txt", ".DS_Store", "._b.wav"):
        (tmp_path / name).touch()
    for name in ("Bark", "__MACOSX", ".git", "dir.wav"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "broken.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    listing = list_folder(tmp_path)
    assert list(listing.files) == ["a.FLAC", "b.wav", "notes.txt"]
    assert list(listing.audio) == ["a.FLAC", "b.wav"]
    assert listing.folders == ["Bark", "dir.wav"]
    assert listing.irregular == ["broken.wav", "loop.wav", "pipe.wav"]
    assert listing.files["b.wav"] == str(tmp_path / "b.wav")


def test_links_to_files_and_folders_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").touch()
    (tmp_path / "x.wav").symlink_to(tmp_path / "real" / "x")
    (tmp_path / "Bark").symlink_to(tmp_path / "real", target_is_directory=True)
    listing = list_folder(tmp_path)
    assert list(listing.audio) == ["x.wav"]
    assert listing.folders == ["Bark", "real"]


def test_relative_folder_gives_absolute_paths(tmp_path, monkeypatch):
    (tmp_path / "x.wav").touch()
    monkeypatch.chdir(tmp_path)
    assert list_folder(".").files == {"x.wav": str(tmp_path / "x.wav")}


def test_name_that_is_not_utf8_is_escaped_and_can_be_opened(tmp_path):
    raw_path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav")
    with open(raw_path, "wb") as file:
        file.write(b"sound")
    ((shown, path),) = list_folder(tmp_path).audio.items()
    assert shown == r"caf\xe9.wav"
    with open(path, "rb") as file:
        assert file.read() == b"sound"


def test_two_names_shown_alike_are_refused(tmp_path):
    for raw_name in (b"caf\xe9.wav", rb"caf\xe9.wav"):
        open(os.path.join(os.fsencode(tmp_path), raw_name), "wb").close()
    with pytest.raises(CorpusError, match=r"two files are both shown as"):
        list_folder(tmp_path)


def test_letter_case_and_composition_make_different_names(tmp_path):
    names = {"é.wav", unicodedata.normalize("NFD", "é.wav"), "a.wav", "A.wav"}
    for name in names:
        (tmp_path / name).touch()
    if len(os.listdir(tmp_path)) < 4:
        pytest.skip("this file system folds names")
    assert set(list_folder(tmp_path).audio) == names


def test_suffixes_cover_the_common_formats():
    assert {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64"} <= AUDIO_SUFFIXES
    assert not {".raw", ".mat", ".txt", ".csv", ".m4a", ""} & AUDIO_SUFFIXES
    assert suffix_of("A.B.WAV") == ".wav"
    assert suffix_of("wav") == ""


def test_missing_folder_is_a_corpus_error(tmp_path):
    with pytest.raises(CorpusError, match=r"gone cannot be listed \(No such file or directory\)"):
        list_folder(tmp_path / "gone")


def test_shown_name_keeps_valid_unicode():
    assert shown_name("naïve 🎵.wav") == "naïve 🎵.wav"


def test_match_files_is_one_to_one():
    fnames = pd.Series(["b", "a"], index=[2, 3])
    paths = {"a": "/x/a", "b": "/x/b", "notes": "/x/notes"}
    matched = match_files(fnames, paths=paths, audio=["a", "b"], folder="/x", source="t.csv")
    assert matched.to_dict() == {2: "/x/b", 3: "/x/a"}
    with pytest.raises(CorpusError, match=r"^/x has no regular file for 1 row of t\.csv: 'b'; add or unlist$"):
        match_files(fnames, paths={"a": "/x/a"}, audio=["a"], folder="/x", source="t.csv")
    with pytest.raises(CorpusError, match=r"^t\.csv has no row for 2 audio files in /x: 'c', 'd'; list or remove$"):
        match_files(fnames, paths=paths, audio=["d", "a", "b", "c"], folder="/x", source="t.csv")
