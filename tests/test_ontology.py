import re

from corpus.classes import CLASS_COUNTS
from corpus.ontology import FAMILIES, ONTOLOGY


def test_every_class_has_an_id_of_its_own_and_a_family() -> None:
    assert list(ONTOLOGY) == list(CLASS_COUNTS)
    ids = [concept.audioset_id for concept in ONTOLOGY.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"/m/0[0-9a-z_]{3,7}", mid) for mid in ids)
    assert FAMILIES == ("alarm", "animal", "domestic", "explosion", "human", "instrument", "material", "vehicle")


def test_families_are_those_of_the_ontology() -> None:
    by_family: dict[str, set[str]] = {}
    for name, concept in ONTOLOGY.items():
        by_family.setdefault(concept.family, set()).add(name)
    assert by_family["animal"] == {"Bark", "Meow"}
    assert by_family["vehicle"] == {"Bus"}
    assert {"Cello", "Hi-hat", "Gong"} < by_family["instrument"]
    assert ONTOLOGY["Tearing"].audioset_id == "/m/07qcx4z"
