"""Other labels to train on: files, their rules, and what they change."""

from pathlib import Path

import pandas as pd
import pytest
from stores import clip_table

from cache.errors import CorpusError
from corpus.relabel import apply_relabels, count_relabels, read_relabels, relabel_words


@pytest.fixture
def clips() -> pd.DataFrame:
    """Clips in an order of their own, whose index does not begin at 0."""
    flags = {"a.wav": True, "b.wav": False, "c.wav": None, "d/e.wav": False}
    labels = {"a.wav": "Bark", "b.wav": "Flute", "c.wav": "Gong", "d/e.wav": "Gong"}
    rows = [{"fname": name, "label": labels[name], "manually_verified": flags[name]} for name in reversed(flags)]
    table = clip_table(rows)
    table.index = pd.Index([7, 5, 3, 1])
    return table


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def read(tmp_path: Path, clips: pd.DataFrame):
    def read_texts(*texts: str) -> pd.DataFrame:
        return read_relabels([write(tmp_path / f"r{number}.csv", text) for number, text in enumerate(texts)], clips)

    return read_texts


FULL = "fname,label,manually_verified,reason\na.wav,Bark,0,noisy\nb.wav,Gong,1,\nc.wav,,,\nd/e.wav,Gong,,\n"


def test_rows_change_labels_and_flags_for_training(read, clips: pd.DataFrame) -> None:
    before = clips.copy()
    relabels = read(FULL)
    after = apply_relabels(clips, relabels)
    assert after.index.tolist() == clips.index.tolist()
    by_name = after.set_index("fname")
    assert by_name["label"].fillna("-").to_dict() == {"d/e.wav": "Gong", "c.wav": "-", "b.wav": "Gong", "a.wav": "Bark"}
    flags = by_name["manually_verified"]
    assert (flags["a.wav"], flags["b.wav"], flags["d/e.wav"]) == (False, True, False)
    assert flags.isna().tolist() == [False, True, False, False]
    pd.testing.assert_frame_equal(clips, before)


def test_what_is_changed_is_counted_and_said(read, clips: pd.DataFrame) -> None:
    counts = count_relabels(clips, read(FULL))
    assert counts == {"rows": 4, "relabelled": 1, "verified": 1, "doubted": 1, "left_out": 1, "unchanged": 1}
    assert relabel_words(counts) == "1 clip with another label, 1 verified, 1 verified no more, 1 left out"
    none = count_relabels(clips, read("fname,label\na.wav,Bark\n"))
    assert none["unchanged"] == 1
    assert relabel_words(none) == "nothing changed"


def test_the_flag_is_optional_and_stays_as_it_is(read, clips: pd.DataFrame) -> None:
    after = apply_relabels(clips, read("label,fname\nGong,a.wav\n")).set_index("fname")
    assert (after.loc["a.wav", "label"], after.loc["a.wav", "manually_verified"]) == ("Gong", True)


def test_files_of_a_spreadsheet_are_read(read) -> None:
    relabels = read("\ufefffname,label\r\na.wav, Gong \r\n\r\n")
    assert relabels[["fname", "label"]].to_numpy().tolist() == [["a.wav", "Gong"]]


def test_several_files_count_alike(read, clips: pd.DataFrame) -> None:
    relabels = read("fname,label\na.wav,Gong\na.wav,Gong\n", "fname,label\nb.wav,Bark\na.wav,Gong\n")
    assert relabels["fname"].tolist() == ["a.wav", "b.wav"]
    assert count_relabels(clips, relabels)["relabelled"] == 2


def test_a_flag_that_one_file_leaves_empty_another_fills(read) -> None:
    with_flag, without = "fname,label,manually_verified\na.wav,Gong,0\n", "fname,label\nb.wav,Bark\na.wav,Gong\n"
    for texts in ((with_flag, without), (without, with_flag)):
        relabels = read(*texts).set_index("fname")
        assert not relabels.loc["a.wav", "manually_verified"]
        assert relabels["label"].to_dict() == {"a.wav": "Gong", "b.wav": "Bark"}


def test_no_rows_change_nothing(read, clips: pd.DataFrame) -> None:
    relabels = read("fname,label\n")
    pd.testing.assert_frame_equal(apply_relabels(clips, relabels), clips, check_dtype=False)
    assert count_relabels(clips, relabels)["rows"] == 0


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["fname,klass\na.wav,Gong\n"], "column 'label' is missing"),
        (["label\nGong\n"], "column 'fname' is missing"),
        (["fname,label\na.wa,Gong\n"], r"training clip of the corpus \(did you mean 'a\.wav'\?\).*'a\.wa' \(line 2\)"),
        (["fname,label\na.wav,gong\n"], r"label must be a class of the corpus \(did you mean 'Gong'\?\)"),
        (["fname,label\na.wav,Xylophone\n"], "label must be a class of the corpus; 1 row breaks this: 'Xylophone'"),
        (["fname,label,manually_verified\na.wav,Gong,2\n"], "manually_verified must be 0, 1, true or false"),
        (["fname,label\na.wav,Gong\nb.wav,Bark\na.wav,\n"], r"r0\.csv line 2 and r0\.csv line 4 disagree on 'a\.wav'"),
        (
            ["fname,label,manually_verified\na.wav,Gong,0\n", "fname,label,manually_verified\na.wav,Gong,1\n"],
            r"r0\.csv line 2 and r1\.csv line 2 disagree .*manually_verified '0' and .*manually_verified '1'",
        ),
        (["fname,label\n,Gong\n"], "fname must not be empty"),
        (["not a table"], "column 'fname', 'label' is missing"),
        ([""], "is empty"),
    ],
)
def test_a_wrong_file_is_refused(read, texts: list[str], words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        read(*texts)
