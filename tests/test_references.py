"""Published scores stand beside one's own for the competition's test clips, and for no others."""

import pandas as pd
import pytest
from stores import clip_table

from corpus.classes import CLASS_COUNTS
from infer.evaluate import score
from infer.references import REFERENCES


def competition(*, public: int = 301) -> pd.DataFrame:
    """A clip table with the competition's scored test clips, by counts."""
    labels = [label for label, counts in CLASS_COUNTS.items() for _ in range(counts.test)]
    rows = [
        {"fname": f"{i}.wav", "label": label, "split": "test", "usage": "Public" if i < public else "Private"}
        for i, label in enumerate(labels)
    ]
    ignored = [{"fname": "pad.wav", "label": None, "split": "test", "usage": "Ignored"}]
    training = [{"fname": "t.wav", "label": "Bark", "manually_verified": True}]
    table = clip_table(rows + ignored + training)
    table.attrs["layout"] = "kaggle"
    return table


def scored(table: pd.DataFrame):
    ranked = {name: ["Bark"] for name in table.loc[table["split"] == "test", "fname"]}
    return score(ranked, table, source="made up")


def test_the_competitions_clips_have_references():
    found = scored(competition())
    assert found["clips"] == 1600
    assert [(row["public"], row["private"]) for row in found["references"]] == [
        (0.7049, 0.6943),
        (0.950, 0.917),
        (0.9751, 0.9538),
    ]
    assert all(row["source"] for row in found["references"])


def test_other_clips_have_none():
    synthetic = competition(public=304)  # as many as corpus synth makes public
    assert scored(synthetic)["references"] == []
    folders = competition()
    folders.attrs["layout"] = "folders"
    assert scored(folders)["references"] == []
    fewer = competition()
    fewer.loc[fewer["label"] == "Bark", "label"] = "Meow"
    assert scored(fewer)["references"] == []


def test_training_clips_have_none():
    table = competition()
    assert score({"t.wav": ["Bark"]}, table, source="oof")["references"] == []


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_a_line_fits_a_terminal(reference):
    from cli import _reference_lines

    lines = _reference_lines([{"name": reference.name, "public": 0.5, "private": 0.5, "source": reference.source}])
    assert max(map(len, lines)) <= 80
