import csv
import io
import json

from infer.tags import Tagged, csv_header, first_label, in_families, to_csv_line, to_json_line, to_record

DOG = Tagged("a/dog.wav", 1.5, (("Bark", 0.81234), ("Meow", 0.1), ("Car", 0.05)))
BROKEN = Tagged("b.wav", problem="holds no samples")


def rows(*tagged: Tagged, min_score: float = 0.2, n_tags: int = 3) -> list[dict[str, str]]:
    lines = [to_csv_line(each, min_score=min_score, n_tags=n_tags) for each in tagged]
    return list(csv.DictReader(io.StringIO(csv_header(n_tags) + "".join(lines))))


def test_a_row_holds_the_tags_with_id_and_family() -> None:
    [row] = rows(DOG)
    assert row == {
        "path": "a/dog.wav",
        "seconds": "1.500",
        "label": "Bark",
        "score": "0.8123",
        "audioset_id": "/m/05tny_",
        "family": "animal",
        "label_2": "Meow",
        "score_2": "0.1000",
        "label_3": "Car",
        "score_3": "0.0500",
        "problem": "",
    }


def test_below_the_least_score_a_recording_is_unknown() -> None:
    [row] = rows(DOG, min_score=0.9)
    assert (row["label"], row["score"], row["family"]) == ("unknown", "0.8123", "")
    assert to_record(DOG, min_score=0.9)["label"] == "unknown"
    assert first_label(DOG, min_score=0.81234) == "Bark"


def test_a_broken_recording_has_its_problem_and_no_tags() -> None:
    [row] = rows(BROKEN)
    assert (row["label"], row["score"], row["label_2"], row["problem"]) == ("", "", "", "holds no samples")
    assert json.loads(to_json_line(BROKEN, min_score=0)) == {
        "path": "b.wav",
        "seconds": 0.0,
        "problem": "holds no samples",
    }


def test_silence_is_unknown() -> None:
    silent = Tagged("a.wav", 1.0)
    assert first_label(silent, min_score=0.0) == "unknown"
    assert to_csv_line(silent, min_score=0.2, n_tags=2) == "a.wav,1.000,unknown,,,,,,\n"
    assert to_record(silent, min_score=0.2) == {"path": "a.wav", "seconds": 1.0, "label": "unknown", "tags": []}


def test_a_class_is_no_formula() -> None:
    line = to_csv_line(Tagged("a.wav", 1.0, (("=1+1", 0.9), ("@x", 0.1))), min_score=0.2, n_tags=2)
    assert line == "a.wav,1.000,'=1+1,0.9000,,,'@x,0.1000,\n"


def test_fewer_classes_than_tags_leave_cells_empty() -> None:
    [row] = rows(DOG, n_tags=5)
    assert (row["label_5"], row["score_5"]) == ("", "")
    assert list(rows(DOG, n_tags=1)[0]) == [
        "path",
        "seconds",
        "label",
        "score",
        "audioset_id",
        "family",
        "problem",
    ]


def test_a_class_outside_the_ontology_has_no_id() -> None:
    car = Tagged("c.wav", 1.0, (("Car", 0.9),))
    assert to_record(car, min_score=0)["tags"] == [{"label": "Car", "score": 0.9}]
    assert rows(car)[0]["audioset_id"] == ""


def test_families_are_those_of_the_first_tag() -> None:
    assert in_families(DOG, ["human", "animal"], min_score=0.2)
    assert not in_families(DOG, ["human"], min_score=0.2)
    assert not in_families(DOG, ["animal"], min_score=0.9)  # unknown is of no family
    assert in_families(DOG, [], min_score=0.9)


def test_a_path_is_no_formula() -> None:
    for sign in "=+-@":
        [row] = rows(Tagged(f"{sign}cmd.wav", 1.0, (("Bark", 1.0),)))
        assert row["path"] == f"./{sign}cmd.wav"


def test_strange_names_stay_one_row() -> None:
    name = 'a "b",\nc\udce9.wav'
    [row] = rows(Tagged(name, 1.0, (("Bark", 1.0),)))
    assert row["path"] == 'a "b",\nc\\xe9.wav'
    assert json.loads(to_json_line(Tagged(name, 1.0), min_score=0))["path"] == row["path"]
