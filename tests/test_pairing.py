import unicodedata

import pytest

from infer.events import Event
from infer.pairing import Pair, pair_recordings

BARK, MEOW = Event(0.0, 1.0, "Bark"), Event(2.0, 3.0, "Meow")


def partners(predicted: list[str], truth: list[str]) -> dict[str, str]:
    """Truth's name → the other, of recordings in both lists."""
    numbered = {name: [Event(index, index + 1, "Bark")] for index, name in enumerate(predicted)}
    names = {row[0]: name for name, row in numbered.items()}
    pairing = pair_recordings(numbered, {name: [MEOW] for name in truth})
    assert {*pairing.only_truth, *pairing.only_predicted} | {
        name for name, pair in pairing.pairs.items() if pair.predicted and pair.truth
    } == set(pairing.pairs)
    return {name: names[pair.predicted[0]] for name, pair in pairing.pairs.items() if pair.predicted and pair.truth}


def test_recordings_in_one_list_only_count_and_are_named() -> None:
    pairing = pair_recordings({"a": [BARK], "b": [BARK], "d": []}, {"a": [MEOW], "c": [MEOW]})
    assert pairing.pairs == {"a": Pair([BARK], [MEOW]), "c": Pair((), [MEOW]), "b": Pair([BARK], ()), "d": Pair([], ())}
    assert (pairing.only_predicted, pairing.only_truth) == (["b", "d"], ["c"])


@pytest.mark.parametrize(
    ("predicted", "truth", "matched"),
    [
        (["a.wav", "b.wav"], ["b.wav", "a.wav"], {"a.wav": "a.wav", "b.wav": "b.wav"}),
        (["in/a.wav"], ["out/a.wav"], {"out/a.wav": "in/a.wav"}),
        (["C:\\in\\a.wav"], ["a.wav"], {"a.wav": "C:\\in\\a.wav"}),
        (["a"], ["deep/in/a.FLAC"], {"deep/in/a.FLAC": "a"}),
        (["film.mkv"], ["film.wav"], {"film.wav": "film.mkv"}),
        # The same name is a better match than a similar one, and that of the file better than that of its stem.
        (["a", "a.wav"], ["a.wav"], {"a.wav": "a.wav"}),
        (["x/a.wav", "x/a.flac"], ["a.flac", "a.wav"], {"a.wav": "x/a.wav", "a.flac": "x/a.flac"}),
        # Which one is meant cannot be told.
        (["a"], ["a.wav", "a.flac"], {}),
        (["x/a.wav", "y/a.wav"], ["a.wav"], {}),
        (["x/a.wav", "a.wav"], ["x/a.wav", "y/a.wav"], {"x/a.wav": "x/a.wav"}),
        # No suffix of a sound.
        (["site.2023"], ["site.2024"], {}),
        (["site.2023"], ["site.2023.wav"], {"site.2023.wav": "site.2023"}),
        (["a.wav"], ["A.wav"], {}),
        ([unicodedata.normalize("NFD", "é.wav")], ["é.wav"], {"é.wav": unicodedata.normalize("NFD", "é.wav")}),
    ],
)
def test_names_are_matched(predicted: list[str], truth: list[str], matched: dict[str, str]) -> None:
    assert partners(predicted, truth) == matched


def test_two_lists_of_one_recording_each_are_of_the_same_where_one_does_not_name_it() -> None:
    assert pair_recordings({"found": [BARK]}, {"a.wav": [MEOW]}, unnamed=True).pairs == {"a.wav": Pair([BARK], [MEOW])}
    assert len(pair_recordings({"found": [BARK]}, {"a.wav": [MEOW]}).pairs) == 2
    assert len(pair_recordings({"found": [BARK]}, {"a.wav": [MEOW], "b.wav": []}, unnamed=True).pairs) == 3
