"""Phrases: what a caption says of a sound, as subtitlers write it.

Conventions
-----------
A phrase names the source and then what it does, in the present tense and lower case: ``dog barking`` for a sound that
lasts or repeats, ``dog barks`` for one abrupt sound. The style puts marks around it: brackets for sounds, music notes
for instruments. Source: the Captioning Key of the DCMP (https://dcmp.org/captioningkey), but for the notes: it keeps
them for lyrics and puts descriptions of music into brackets, while CaptionMax, for one, puts notes around both.

A sound that comes back gets its whole phrase again: whether ``[squealing continues]`` still says enough depends on what
was read meanwhile. Italics, for what is off the screen, need eyes.

A user's table
--------------
A TOML file changes what it names, and the rest stays (the values behind the semicolons)::

    [style]
    sound = "({})"            # around the phrase, which takes the place of {}; "[{}]"
    music = "# {} #"          # the same for instruments; "♪ {} ♪"
    capitals = true           # BIG LETTERS; false
    abrupt_seconds = 0.8      # what lasts no longer is abrupt; 1.0
    shown_seconds = 1.5       # captions stay at least as long, to be read; 1.0

    [phrases.Bark]
    lasting = "terrier barking"
    abrupt = "terrier barks"
    abrupt_seconds = 0.5      # for this class alone

    [phrases.Bus]
    leave_out = true          # no captions, though label files list it

    [phrases.Gong]
    music = false             # the marks of a sound

    [phrases.Car_horn]        # a class outside the 41; without a table it reads "car horn"
    lasting = "car horn blaring"
    abrupt = "car horn honks"

For a class outside the 41, ``abrupt`` is ``lasting`` where it is not given.
"""

import dataclasses
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cache.errors import InputError, NotFoundError
from infer.events import Event
from infer.lines import one_line

_MOST_SECONDS = 3600


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.strip() != "" and one_line(value) == value


def _is_marks(value: object) -> bool:
    return _is_line(value) and str(value).count("{}") == 1


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_SECONDS


Rules = Mapping[str, tuple[Callable[[object], bool], str]]

_LINE = (_is_line, "be one line of text, not empty")
_MARKS = (_is_marks, "be one line of text that holds {} once, where the phrase stands")
_FLAG = (_is_flag, "be true or false")
_SECONDS = (_is_seconds, f"be a number of seconds, from 0 to {_MOST_SECONDS}")

_STYLE_RULES: Rules = {
    "sound": _MARKS,
    "music": _MARKS,
    "capitals": _FLAG,
    "abrupt_seconds": _SECONDS,
    "shown_seconds": _SECONDS,
}
_PHRASE_RULES: Rules = {
    "lasting": _LINE,
    "abrupt": _LINE,
    "music": _FLAG,
    "abrupt_seconds": _SECONDS,
    "leave_out": _FLAG,
}


def _check(values: Mapping[str, object], rules: Rules, *, where: str = "") -> None:
    for name, value in values.items():
        holds, rule = rules[name]
        if not holds(value):
            message = f"{where}{name} must {rule}; got {value!r}"
            raise InputError(message)


@dataclass(frozen=True)
class Style:
    """How captions look.

    Parameters
    ----------
    sound, music : str
        What stands around a phrase, which takes the place of ``{}``.
    capitals : bool
        Phrases in big letters.
    abrupt_seconds : float
        What lasts no longer is one abrupt sound, where its class says nothing else.
    shown_seconds : float
        How long a caption is shown at least: in a second one reads three words (the BBC counts on 160 to 180 a
        minute), and Netflix's shortest subtitle has 5/6 of one.

    Raises
    ------
    InputError
        If a value breaks its rule.
    """

    sound: str = "[{}]"
    music: str = "♪ {} ♪"
    capitals: bool = False
    abrupt_seconds: float = 1.0
    shown_seconds: float = 1.0

    def __post_init__(self) -> None:
        _check(vars(self), _STYLE_RULES)


@dataclass(frozen=True)
class Phrase:
    """What captions say of one class.

    Parameters
    ----------
    lasting, abrupt : str
        Phrase for a sound that lasts or repeats, and for one abrupt sound.
    music : bool
        It is an instrument, and gets the marks of music.
    abrupt_seconds : float or None
        The longest that one abrupt sound lasts; None: as the style says.
    leave_out : bool
        No captions of it: not every sound in the background is worth one.

    Raises
    ------
    InputError
        If a value breaks its rule.
    """

    lasting: str
    abrupt: str
    music: bool = False
    abrupt_seconds: float | None = None
    leave_out: bool = False

    def __post_init__(self) -> None:
        _check({name: value for name, value in vars(self).items() if value is not None}, _PHRASE_RULES)


def _instrument(name: str) -> Phrase:
    return Phrase(f"{name} playing", f"{name} plays", music=True)


# A sound that rings on, or is one long movement, is still one abrupt sound after more than a second.
PHRASES: dict[str, Phrase] = {
    "Acoustic_guitar": _instrument("acoustic guitar"),
    "Applause": Phrase("audience applauding", "audience claps"),
    "Bark": Phrase("dog barking", "dog barks"),
    "Bass_drum": Phrase("bass drum beating", "bass drum thuds", music=True),
    "Burping_or_eructation": Phrase("person burping", "person burps", abrupt_seconds=2.0),
    "Bus": Phrase("bus rumbling", "bus rumbles"),
    "Cello": _instrument("cello"),
    "Chime": Phrase("chimes ringing", "chime rings", music=True, abrupt_seconds=2.0),
    "Clarinet": _instrument("clarinet"),
    "Computer_keyboard": Phrase("keyboard clacking", "keyboard clacks", abrupt_seconds=0.3),
    "Cough": Phrase("person coughing", "person coughs"),
    "Cowbell": Phrase("cowbell clanking", "cowbell clanks", music=True),
    "Double_bass": _instrument("double bass"),
    "Drawer_open_or_close": Phrase("drawer sliding", "drawer slides", abrupt_seconds=2.0),
    "Electric_piano": _instrument("electric piano"),
    "Fart": Phrase("person farting", "person farts", abrupt_seconds=2.0),
    "Finger_snapping": Phrase("fingers snapping", "fingers snap", abrupt_seconds=0.5),
    "Fireworks": Phrase("fireworks exploding", "firework explodes", abrupt_seconds=2.0),
    "Flute": _instrument("flute"),
    "Glockenspiel": _instrument("glockenspiel"),
    "Gong": Phrase("gong resounding", "gong clangs", music=True, abrupt_seconds=4.0),
    "Gunshot_or_gunfire": Phrase("gun firing", "gun fires"),
    "Harmonica": _instrument("harmonica"),
    "Hi-hat": Phrase("hi-hat ticking", "hi-hat clashes", music=True),
    "Keys_jangling": Phrase("keys jangling", "keys jangle"),
    "Knock": Phrase("person knocking", "person knocks"),
    "Laughter": Phrase("people laughing", "person laughs"),
    "Meow": Phrase("cat meowing", "cat meows", abrupt_seconds=1.5),
    "Microwave_oven": Phrase("microwave oven humming", "microwave oven beeps"),
    "Oboe": _instrument("oboe"),
    "Saxophone": _instrument("saxophone"),
    "Scissors": Phrase("scissors snipping", "scissors snip", abrupt_seconds=0.5),
    "Shatter": Phrase("glass shattering", "glass shatters", abrupt_seconds=2.0),
    "Snare_drum": Phrase("snare drum rattling", "snare drum beats", music=True, abrupt_seconds=0.5),
    "Squeak": Phrase("something squeaking", "something squeaks"),
    "Tambourine": Phrase("tambourine jingling", "tambourine jingles", music=True),
    "Tearing": Phrase("paper tearing", "paper tears"),
    "Telephone": Phrase("telephone ringing", "telephone rings", abrupt_seconds=2.0),
    "Trumpet": _instrument("trumpet"),
    "Violin_or_fiddle": _instrument("violin"),
    "Writing": Phrase("pen scratching", "pen scratches", abrupt_seconds=0.5),
}


@dataclass(frozen=True)
class Phrases:
    """The phrases of all classes, and the style of captions.

    Parameters
    ----------
    style : Style
    by_class : mapping of {str: Phrase}
        Label → phrase; another label is read as words.
    """

    style: Style = Style()
    by_class: Mapping[str, Phrase] = dataclasses.field(default_factory=lambda: PHRASES)

    def of(self, label: str) -> Phrase:
        """Return the phrase of a class, made from its name where the table has none: ``Car_horn`` → car horn."""
        return self.by_class.get(label) or _phrase_from_name(label)

    def caption(self, event: Event) -> str:
        """Return what a caption says of an event, marks included: ``[dog barks]``.

        Nothing is escaped: that is the business of each format.
        """
        phrase, style = self.of(event.label), self.style
        longest = style.abrupt_seconds if phrase.abrupt_seconds is None else phrase.abrupt_seconds
        words = phrase.abrupt if event.seconds <= longest else phrase.lasting
        marks = style.music if phrase.music else style.sound
        return marks.replace("{}", words.upper() if style.capitals else words)


def _phrase_from_name(label: str) -> Phrase:
    words = " ".join(one_line(label).replace("_", " ").lower().split()) or "sound"
    return Phrase(words, words)


def read_phrases(path: Path, *, classes: Collection[str] | None = None) -> Phrases:
    """Read a user's table of phrases, merged over the built-in one.

    Parameters
    ----------
    path : Path
        A TOML file as the head of this file describes it.
    classes : collection of str, optional
        The classes that captions can be of; tables for others (and not for one of the 41) are refused as misspelt.

    Returns
    -------
    Phrases

    Raises
    ------
    NotFoundError
        There is no such file.
    InputError
        It is no TOML, or a key or a value in it breaks its rule.
    """
    tables = _tables(path)
    _check_keys(tables, ("style", "phrases"), where=f"{path}: ")
    style = Style(**_settings(tables.get("style", {}), _STYLE_RULES, where=f"{path}: [style] "))
    own = _checked_table(tables.get("phrases", {}), where=f"{path}: [phrases] ")
    merged = dict(PHRASES)
    for label, table in own.items():
        if classes is not None:
            _check_class(label, {*PHRASES, *classes}, where=f"{path}: ")
        settings = _settings(table, _PHRASE_RULES, where=f"{path}: [phrases.{label}] ")
        merged[label] = _changed(label, settings)
    return Phrases(style, merged)


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        message = f"there is no file {path} to read phrases from"
        raise NotFoundError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        message = f"{path} cannot be read as TOML: {error}"
        raise InputError(message) from error


def _changed(label: str, settings: dict[str, Any]) -> Phrase:
    if label in PHRASES:
        return dataclasses.replace(PHRASES[label], **settings)
    words = {"abrupt": settings["lasting"]} if "lasting" in settings else {}
    return dataclasses.replace(_phrase_from_name(label), **{**words, **settings})


def _settings(table: object, rules: Rules, *, where: str) -> dict[str, Any]:
    """Check a table's keys and values."""
    settings = _checked_table(table, where=where)
    _check_keys(settings, rules, where=where)
    _check(settings, rules, where=where)
    return settings


def _checked_table(table: object, *, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        message = f"{where}must be a table of settings; got {table!r}"
        raise InputError(message)
    return table


def _check_keys(table: Mapping[str, object], known: Collection[str], *, where: str) -> None:
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            message = f"{where}{key!r} is no key of this table; {hint}"
            raise InputError(message)


def _check_class(label: str, known: Collection[str], *, where: str) -> None:
    if label not in known:
        near = get_close_matches(label, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "leave the table out"
        message = f"{where}there are no captions of a class {label!r}; {hint}"
        raise InputError(message)
