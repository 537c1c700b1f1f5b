from pathlib import Path

import pandas as pd
import pytest

from cache.errors import InputError
from infer.submission import check_against_sample, to_submission, write_csv

LABELS = ["Bark", "Flute", "Gong", "Hi-hat"]


def probabilities(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["fname", *LABELS])


def sample(folder: Path, names: list[str]) -> Path:
    path = folder / "sample_submission.csv"
    path.write_text("fname,label\n" + "".join(f"{name},Laughter Hi-Hat Flute\n" for name in names))
    return path


def test_the_three_likeliest_classes_best_first() -> None:
    table = probabilities(("b.wav", 0.1, 0.2, 0.3, 0.4), ("a.wav", 0.7, 0.1, 0.2, 0.0))
    submission = to_submission(table)
    assert submission.columns.tolist() == ["fname", "label"]
    assert submission.to_numpy().tolist() == [["b.wav", "Hi-hat Gong Flute"], ["a.wav", "Bark Gong Flute"]]


def test_equal_probabilities_go_by_the_order_of_classes() -> None:
    assert to_submission(probabilities(("a.wav", 0.25, 0.25, 0.25, 0.25)))["label"].tolist() == ["Bark Flute Gong"]


def test_two_classes_make_two_labels() -> None:
    table = probabilities(("a.wav", 0.1, 0.9, 0, 0))[["fname", "Bark", "Flute"]]
    assert to_submission(table)["label"].tolist() == ["Flute Bark"]


@pytest.mark.parametrize("name", ["Bass drum", "Bass\tdrum", " Bark", ""])
def test_a_class_with_a_space_is_refused(name: str) -> None:
    table = probabilities(("a.wav", 0.1, 0.2, 0.3, 0.4)).rename(columns={"Bark": name})
    with pytest.raises(InputError, match=r"must hold no space; got .*--probabilities"):
        to_submission(table)


def test_the_file_is_kaggles(tmp_path: Path) -> None:
    path = tmp_path / "new" / "submission.csv"
    write_csv(to_submission(probabilities(("a.wav", 0.1, 0.2, 0.3, 0.4), ("ü,1.wav", 0.4, 0.3, 0.2, 0.1))), path)
    assert path.read_bytes() == 'fname,label\na.wav,Hi-hat Gong Flute\n"ü,1.wav",Bark Flute Gong\n'.encode()
    assert list(path.parent.iterdir()) == [path]


def test_probabilities_keep_small_numbers_apart(tmp_path: Path) -> None:
    table = probabilities(("a.wav", 1e-9, 2e-9, 0.5, 0.499999997))
    write_csv(table, tmp_path / "p.csv")
    again = pd.read_csv(tmp_path / "p.csv")
    assert again[LABELS].to_numpy()[0] == pytest.approx(table[LABELS].to_numpy()[0], rel=1e-8)
    assert to_submission(again).equals(to_submission(table))


def test_an_old_file_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("old")

    def fail(self: pd.DataFrame, part: Path, **settings: object) -> None:
        part.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(KeyboardInterrupt):
        write_csv(probabilities(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--out must name a file"):
        write_csv(probabilities(), tmp_path)


def test_a_submission_in_the_samples_order_passes(tmp_path: Path) -> None:
    submission = pd.DataFrame({"fname": ["b.wav", "a.wav"], "label": ["Bark", "Bark Flute Gong"]})
    check_against_sample(submission, sample(tmp_path, ["b.wav", "a.wav"]))


@pytest.mark.parametrize(
    ("names", "labels", "words"),
    [
        (["a.wav", "b.wav"], ["Bark"] * 2, "row 1 of the submission must be 'b.wav'.*got 'a.wav'"),
        (["b.wav"], ["Bark"], "must have the 2 rows of .*; got 1"),
        (["b.wav", "a.wav", "c.wav"], ["Bark"] * 3, "must have the 2 rows of .*; got 3"),
        (["b.wav", "a.wav"], ["Bark", ""], "one to 3 labels"),
        (["b.wav", "a.wav"], ["Bark", "A B C D"], "one to 3 labels"),
    ],
)
def test_what_differs_from_the_sample_is_said(tmp_path: Path, names: list, labels: list, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_against_sample(pd.DataFrame({"fname": names, "label": labels}), sample(tmp_path, ["b.wav", "a.wav"]))


def test_a_sample_with_a_mark_and_spaces_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("\ufeff fname , label\na.wav,Bark\n", encoding="utf-8")
    check_against_sample(pd.DataFrame({"fname": ["a.wav"], "label": ["Bark"]}), path)


@pytest.mark.parametrize(
    ("text", "words"), [("name,label\na.wav,Bark\n", r"column fname; got \['name', 'label'\]"), ("", "is not a CSV")]
)
def test_a_sample_that_is_none_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "sample.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"sample\.csv .*{words}"):
        check_against_sample(pd.DataFrame({"fname": ["a.wav"], "label": ["Bark"]}), path)
