"""The phrases of captions: their grammar, and what a user's table may change."""

import dataclasses
import re
import textwrap
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infer.phrases
from cache.errors import InputError, NotFoundError
from corpus.classes import FSDKAGGLE2018_CLASSES
from corpus.ontology import ONTOLOGY
from infer.events import Event
from infer.phrases import PHRASES, Phrase, Phrases, Style, read_phrases

PAST = {"rang", "shot", "tore", "torn", "wrote", "burst", "broke", "blew", "hit", "beat", "was", "were", "slid"}
PLURALS = {"fingers", "keys", "scissors"}
LONGEST_LINE = 42  # characters, as Netflix counts a line of subtitles


def event(label: str, seconds: float) -> Event:
    return Event(0.0, seconds, label)


def table(folder: Path, text: str) -> Path:
    path = folder / "phrases.toml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_every_class_has_a_phrase() -> None:
    assert tuple(PHRASES) == FSDKAGGLE2018_CLASSES


@pytest.mark.parametrize("label", FSDKAGGLE2018_CLASSES)
def test_phrases_are_as_subtitlers_write_them(label: str) -> None:
    phrase = PHRASES[label]
    *source, doing = phrase.lasting.split()
    *same_source, does = phrase.abrupt.split()
    assert doing.endswith("ing")
    assert not does.endswith(("ing", "ed"))
    assert does not in PAST
    assert does.endswith("s") != (same_source[-1] in PLURALS)
    assert source
    assert source[-1][:5] == same_source[-1][:5] or label in {"Laughter"}
    for words in (phrase.lasting, phrase.abrupt):
        assert re.fullmatch("[a-z]+([ -][a-z]+)*", words)
        assert len(f"♪ {words} ♪") <= LONGEST_LINE


def test_classes_are_told_apart() -> None:
    assert len({words for phrase in PHRASES.values() for words in (phrase.lasting, phrase.abrupt)}) == 2 * len(PHRASES)


def test_instruments_are_music() -> None:
    music = {label for label, phrase in PHRASES.items() if phrase.music}
    assert music == {label for label, concept in ONTOLOGY.items() if concept.family == "instrument"}


@pytest.mark.parametrize(
    ("label", "seconds", "caption"),
    [
        ("Bark", 1.0, "[dog barks]"),
        ("Bark", 1.5, "[dog barking]"),
        ("Cello", 5.0, "♪ cello playing ♪"),
        ("Cello", 0.5, "♪ cello plays ♪"),
        ("Gong", 4.0, "♪ gong clangs ♪"),
        ("Gong", 4.5, "♪ gong resounding ♪"),
        ("Car_horn", 0.2, "[car horn]"),
        ("Car_horn", 9.0, "[car horn]"),
        ("Chirp,_tweet", 9.0, "[chirp, tweet]"),
        ("Dog/Bark\n{}", 9.0, "[dog/bark {}]"),
        ("__", 9.0, "[sound]"),
    ],
)
def test_captions_have_marks_and_suit_the_length(label: str, seconds: float, caption: str) -> None:
    assert Phrases().caption(event(label, seconds)) == caption


@settings(max_examples=50, deadline=None)
@given(st.text(), st.floats(0.01, 1e4))
def test_any_class_has_a_caption_of_one_line(label: str, seconds: float) -> None:
    caption = Phrases().caption(event(label, seconds))
    assert len(caption.splitlines()) == 1
    assert caption[1:-1].strip()
    caption.encode("utf-8")


def test_the_table_in_the_documentation_is_read(tmp_path: Path) -> None:
    text = (infer.phrases.__doc__ or "").partition("::\n\n")[2].partition("\n\nFor a class")[0]
    phrases = read_phrases(table(tmp_path, text))
    assert phrases.style == Style("({})", "# {} #", capitals=True, abrupt_seconds=0.8, shown_seconds=1.5)
    assert {"Car_horn", *PHRASES} == phrases.by_class.keys()
    changed = {label for label in PHRASES if phrases.of(label) != PHRASES[label]}
    assert changed == {"Bark", "Bus", "Gong"}
    assert phrases.of("Bus").leave_out
    captions = [
        phrases.caption(event(*sound))
        for sound in (("Bark", 0.5), ("Bark", 0.6), ("Cello", 0.8), ("Cello", 0.9), ("Gong", 9), ("Car_horn", 0.7))
    ]
    assert captions == [
        "(TERRIER BARKS)",
        "(TERRIER BARKING)",
        "# CELLO PLAYS #",
        "# CELLO PLAYING #",
        "(GONG RESOUNDING)",
        "(CAR HORN HONKS)",
    ]
    defaults = re.findall(r"^ *(\w+) = .*#.*; (.+)$", text, re.MULTILINE)
    assert Style(**tomllib.loads("\n".join(f"{name} = {value}" for name, value in defaults))) == Style()
    assert len(defaults) == len(dataclasses.fields(Style))


def test_an_empty_table_changes_nothing(tmp_path: Path) -> None:
    assert read_phrases(table(tmp_path, "")) == Phrases()
    assert read_phrases(table(tmp_path, "\ufeff[style]\n[phrases.Bark]\n")) == Phrases()


def test_a_class_outside_the_41_is_said_as_given_whatever_its_length(tmp_path: Path) -> None:
    phrases = read_phrases(table(tmp_path, '[phrases]\nSiren = {lasting = "siren wailing"}\nRain = {music = true}'))
    assert phrases.of("Siren") == Phrase("siren wailing", "siren wailing")
    assert phrases.of("Rain") == Phrase("rain", "rain", music=True)


def test_tables_for_classes_that_there_are(tmp_path: Path) -> None:
    path = table(tmp_path, "[phrases.Siren]\n[phrases.Bark]\n")
    assert "Siren" in read_phrases(path, classes=["Siren"]).by_class
    with pytest.raises(InputError, match=r"no captions of a class 'Siren'; leave the table out"):
        read_phrases(path, classes=["Rain"])
    with pytest.raises(InputError, match=r"no captions of a class 'bark'; did you mean 'Bark'\?"):
        read_phrases(table(tmp_path, "[phrases.bark]"), classes=[])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[styles]", r"toml: 'styles' is no key of this table; did you mean 'style'\?$"),
        ("[style]\nbrackets = 1", r"\[style\] 'brackets' is no key of this table; known are sound, music, .*shown_"),
        ('[style]\nsound = "[]"', r"\[style\] sound must be one line .* holds \{\} once.*; got '\[\]'$"),
        ('[style]\nmusic = "{}{}"', r"\[style\] music must .*; got '\{\}\{\}'$"),
        ('[style]\nsound = "{}\\n"', r"\[style\] sound must be one line"),
        ("[style]\nsound = 1", r"\[style\] sound must be one line .*; got 1$"),
        ('[style]\ncapitals = "yes"', r"\[style\] capitals must be true or false; got 'yes'$"),
        (
            "[style]\nabrupt_seconds = -1",
            r"\[style\] abrupt_seconds must be a number of seconds, from 0 to 3600; got -1$",
        ),
        ("[style]\nshown_seconds = nan", r"\[style\] shown_seconds must .*; got nan$"),
        ("[style]\nshown_seconds = inf", r"\[style\] shown_seconds must .*; got inf$"),
        ("[style]\nshown_seconds = true", r"\[style\] shown_seconds must .*; got True$"),
        ("style = 3", r"\[style\] must be a table of settings; got 3$"),
        ("phrases = []", r"\[phrases\] must be a table of settings; got \[\]$"),
        ('[phrases]\nBark = "woof"', r"\[phrases.Bark\] must be a table of settings; got 'woof'$"),
        ('[phrases.Bark]\nlastin = "woof"', r"\[phrases.Bark\] 'lastin' is no key .*; did you mean 'lasting'\?$"),
        ('[phrases.Bark]\nlasting = " "', r"\[phrases.Bark\] lasting must be one line of text, not empty; got ' '$"),
        ('[phrases.Bark]\nabrupt = "a\\tb"', r"\[phrases.Bark\] abrupt must be one line of text"),
        ("[phrases.Bark]\nleave_out = 1", r"\[phrases.Bark\] leave_out must be true or false; got 1$"),
        ("[phrases.Bark]\nabrupt_seconds = '1'", r"\[phrases.Bark\] abrupt_seconds must .*; got '1'$"),
        ("[style", r"cannot be read as TOML: "),
    ],
)
def test_a_bad_table_is_named_with_key_rule_and_value(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_phrases(table(tmp_path, text))
    assert str(tmp_path / "phrases.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no file .*none\.toml"):
        read_phrases(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read as TOML"):
        read_phrases(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'[style]\nsound = "\xab{}\xbb"')
    with pytest.raises(InputError, match="cannot be read as TOML"):
        read_phrases(tmp_path / "latin.toml")


def test_values_given_in_code_are_checked_too() -> None:
    with pytest.raises(InputError, match=r"^lasting must be one line"):
        Phrase("", "dog barks")
    with pytest.raises(InputError, match=r"^sound must .* holds \{\} once"):
        Style(sound="[]")
