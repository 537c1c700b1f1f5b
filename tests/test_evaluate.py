from pathlib import Path

import pandas as pd
import pytest
from stores import clip_table

from cache.errors import CorpusError, InputError, NotFoundError
from infer.evaluate import evaluate, read_ranked


@pytest.fixture
def clips() -> pd.DataFrame:
    """Four scored test clips of three classes, one that is ignored, one without label, and training clips."""
    test = [
        ("1.wav", "Bark", "Public"),
        ("2.wav", "Flute", "Private"),
        ("3.wav", "Gong", "Private"),
        ("4.wav", "Bark", "Private"),
        ("5.wav", "None", "Ignored"),
        ("6.wav", None, None),
    ]
    rows = [{"fname": name, "label": label, "usage": usage, "split": "test"} for name, label, usage in test]
    train = [("t1.wav", "Bark", True), ("t2.wav", "Flute", False), ("t3.wav", "Gong", True), ("t4.wav", "Gong", None)]
    return clip_table(
        rows + [{"fname": name, "label": label, "manually_verified": verified} for name, label, verified in train]
    )


def csv(folder: Path, text: str) -> Path:
    path = folder / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    return path


GOLDEN = "fname,label\n1.wav,Bark Flute Gong\n2.wav,Bark Flute Gong\n3.wav,Bark Flute Gong\n4.wav,Flute Gong Oboe\n"


def test_golden_numbers(tmp_path: Path, clips: pd.DataFrame) -> None:
    result = evaluate(csv(tmp_path, GOLDEN), clips)
    ap = pd.Series([1, 1 / 2, 1 / 3, 0])
    assert result["map3"] == pytest.approx(11 / 24)
    assert result["map3_se"] == pytest.approx(ap.std() / 2)
    assert result["accuracy"] == 0.25
    assert result["clips"] == 4
    assert list(result["by_usage"]) == ["Public", "Private"]
    assert result["by_usage"]["Public"] == {"map3": 1.0, "map3_se": None, "clips": 1, "groups": None}
    assert result["by_usage"]["Private"]["clips"] == 3
    assert result["by_usage"]["Private"]["map3"] == pytest.approx(5 / 18)
    assert result["by_class"] == {"Bark": 0.5, "Flute": 0.5, "Gong": pytest.approx(1 / 3)}


def test_errors_are_those_of_groups_where_there_are_any(tmp_path: Path, clips: pd.DataFrame) -> None:
    assert evaluate(csv(tmp_path, GOLDEN), clips)["groups"] is None
    clips.loc[:3, "group"] = ["a", "a", None, "b"]
    result = evaluate(csv(tmp_path, GOLDEN), clips)
    deviation = pd.Series([1 + 1 / 2, 1 / 3, 0]) - 11 / 24 * pd.Series([2, 1, 1])
    assert result["groups"] == 3
    assert result["map3_se"] == pytest.approx((3 / 2 * (deviation**2).sum()) ** 0.5 / 4)


def test_rows_in_any_order_and_rows_that_do_not_count(tmp_path: Path, clips: pd.DataFrame) -> None:
    header, *rows = GOLDEN.splitlines()
    more = ["5.wav,Bark", "6.wav,Bark", "stranger.wav,Bark"]  # ignored, without label, unknown
    text = "\n".join([header, *reversed(rows), *more, ""])
    assert evaluate(csv(tmp_path, "\ufeff" + text), clips)["map3"] == pytest.approx(11 / 24)


def test_missing_rows_are_refused(tmp_path: Path, clips: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"2 lack one, such as '3\.wav'"):
        evaluate(csv(tmp_path, "\n".join(GOLDEN.splitlines()[:3])), clips)


def test_unknown_labels_and_empty_rows_are_misses(tmp_path: Path, clips: pd.DataFrame) -> None:
    text = "fname,label\n1.wav,Bork Bark\n2.wav,\n3.wav,NA\n4.wav,Bark\n"
    result = evaluate(csv(tmp_path, text), clips)
    assert result["by_class"] == {"Bark": 0.75, "Flute": 0.0, "Gong": 0.0}


def test_a_label_that_stands_twice_counts_once_and_a_fourth_not_at_all(tmp_path: Path, clips: pd.DataFrame) -> None:
    text = "fname,label\n1.wav,Gong Gong Bark\n2.wav,Bark Bark Bark Flute\n3.wav,Gong Gong Gong\n4.wav,Bark\n"
    result = evaluate(csv(tmp_path, text), clips)
    assert result["by_class"] == {"Bark": pytest.approx((1 / 3 + 1) / 2), "Flute": 0.0, "Gong": 1.0}


def test_probabilities_score_as_their_submission(tmp_path: Path, clips: pd.DataFrame) -> None:
    text = "fname,Bark,Flute,Gong,Oboe\n1.wav,.9,.05,.04,.01\n2.wav,.4,.3,.2,.1\n3.wav,.4,.3,.2,.1\n4.wav,.1,.4,.3,.2\n"
    assert evaluate(csv(tmp_path, text), clips) == evaluate(csv(tmp_path, GOLDEN), clips)


def test_out_of_fold_probabilities_are_scored_on_verified_training_clips(tmp_path: Path, clips: pd.DataFrame) -> None:
    text = "fname,Bark,Flute,Gong\nt1.wav,.2,.3,.5\nt2.wav,0,1,0\nt4.wav,0,0,1\n"
    result = evaluate(csv(tmp_path, text), clips)
    assert result["clips"] == 1
    assert result["map3"] == pytest.approx(1 / 3)
    assert result["map3_se"] is None
    assert result["by_usage"] == {}


def test_a_class_named_label_is_a_column_of_probabilities(tmp_path: Path) -> None:
    table = read_ranked(csv(tmp_path, "fname,Bark,label\n1.wav,.2,.8\n"))
    assert table == {"1.wav": ["label", "Bark"]}


def test_out_of_fold_probabilities_of_no_verified_clip_are_scored_on_all(tmp_path: Path, clips: pd.DataFrame) -> None:
    result = evaluate(csv(tmp_path, "fname,Bark,Flute,Gong\nt2.wav,0,1,0\nt4.wav,1,0,0\n"), clips)
    assert result["clips"] == 2
    assert result["accuracy"] == 0.5


def test_a_corpus_without_test_labels_is_refused(tmp_path: Path, clips: pd.DataFrame) -> None:
    clips.loc[clips["split"] == "test", "label"] = None
    with pytest.raises(CorpusError, match="no labels for its test clips"):
        evaluate(csv(tmp_path, GOLDEN), clips)


def test_a_test_table_without_usage_is_scored_as_a_whole(tmp_path: Path, clips: pd.DataFrame) -> None:
    clips["usage"] = pd.array([None] * len(clips), dtype="string")
    clips = clips[clips["fname"] != "5.wav"]
    result = evaluate(csv(tmp_path, GOLDEN), clips)
    assert result["clips"] == 4
    assert result["by_usage"] == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a CSV of predictions"),
        ("name,label\na,b\n", r"must have a column fname.*got \['name', 'label'\]"),
        ("fname\n1.wav\n", "must have a column fname, and label"),
        ("fname,label\n1.wav,Bark\n1.wav,Gong\n", r"one row a clip; '1\.wav' has several"),
        ("fname,Bark,Gong\n1.wav,a,0.5\n", "a column a class must hold numbers"),
        ("fname,Bark,Gong\n1.wav,,0.5\n", "a column a class must hold numbers"),
        ("fname,Bark,Gong\n1.wav,nan,inf\n", "must be finite; NaN or infinity in 2 cells"),
        ("fname,label\nstranger.wav,Bark\n", "name no clip of this corpus"),
        ("fname,label\n", "name no clip of this corpus"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, clips: pd.DataFrame, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(csv(tmp_path, text), clips)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="are not there; run cli predict"):
        read_ranked(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is not a CSV"):
        read_ranked(tmp_path)
    path = tmp_path / "image.csv"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a CSV"):
        read_ranked(path)


def test_a_clip_named_na_is_a_clip(tmp_path: Path) -> None:
    assert read_ranked(csv(tmp_path, "fname,label\nNA,Bark Gong\n007,Flute\n")) == {
        "NA": ["Bark", "Gong"],
        "007": ["Flute"],
    }
