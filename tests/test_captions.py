"""Captions as files: written here, read back by parsers that are not ours."""

import html
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pysubs2
import pytest
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cache.errors import InputError
from infer.captions import CAPTION_FORMATS, event_records, format_captions, write_captions
from infer.events import Event
from infer.lines import encodable, one_line
from infer.phrases import PHRASES, Phrase, Phrases, Style
from infer.subtitles import format_srt, format_webvtt, to_cues

NASTY = [
    "a\tb",
    "a\nb",
    "a\r\nb\r",
    "a\rb",
    "\n\n1\n00:00:01,000 --> 00:00:02,000\nnot a cue",
    "-->",
    "<b>bold</b>",
    "<c.red>&lt;",
    "{\\an8}top\\Nmost",
    '"quoted',
    'it\'s "so"',
    "=1+1",
    "\x00\x0b\x0c\x1c\x85\u2028\u2029",
    "caf\udce9.wav",
    "\ud800",
    "♪ 犬 ♪",
    "NOTE x",
    "\\",
    ".wav",
]

texts = st.sampled_from(NASTY) | st.text(min_size=1)
labels = st.sampled_from(sorted(PHRASES)) | texts
scores = st.floats(0, 1)
every_nasty = [Event(10.0 * place, 10.0 * place + 2, label, 0.5) for place, label in enumerate(NASTY)]


@st.composite
def events(draw: st.DrawFn, longest: float = 1e6, most: int = 12) -> list[Event]:
    found = []
    for _ in range(draw(st.integers(0, most))):
        onset = draw(st.floats(0, longest) | st.integers(0, 20_000).map(lambda tick: tick / 1000))
        seconds = draw(st.floats(1e-9, 30) | st.sampled_from([1e-7, 0.0004, 0.001, 0.2, 1.0, 1.001, 10.0]))
        if onset < onset + seconds:
            found.append(Event(onset, onset + seconds, draw(labels), draw(scores)))
    return found


def written(found: list[Event], kind: str, *, name: str = "a.wav", phrases: Phrases | None = None) -> str:
    text = format_captions(found, kind, name=name, phrases=phrases or Phrases(), sample_rate_hz=44100)
    text.encode("utf-8")
    return text


def read_vtt(text: str) -> list[tuple[int, int, str]]:
    found = webvtt.from_string(text, strict=True)
    assert not any(cue.identifier or str(cue.settings) for cue in found)
    return [
        (cue.start_time.in_milliseconds(), cue.end_time.in_milliseconds(), html.unescape(cue.text)) for cue in found
    ]


def read_srt(text: str) -> list[tuple[int, int, str]]:
    if not text:
        return []
    found = pysubs2.SSAFile.from_string(text, format_="srt")
    assert not any(pysubs2.SSAEvent.OVERRIDE_SEQUENCE.search(cue.text) for cue in found)
    return [(cue.start, cue.end, cue.plaintext) for cue in found]


def read_srt_by_webvtt(text: str) -> list[tuple[int, int, str]]:
    if not text:
        return []
    found = webvtt.from_buffer(io.StringIO(text), format="srt")
    times = [(cue.start_time.in_milliseconds(), cue.end_time.in_milliseconds()) for cue in found]
    return [(*span, cue.text.strip()) for span, cue in zip(times, found, strict=True)]


def read_table(text: str, *, quotes: bool = False) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(text.encode()),
        sep="\t",
        quoting=0 if quotes else 3,
        keep_default_na=False,
        dtype=dict.fromkeys(("filename", "event_label", "Begin File", "Annotation"), str),
    )


# --- what the formats look like --------------------------------------------------------------------------------------

SCENE = [
    Event(1.25, 6.5, "Cello", 0.75),
    Event(8.0, 8.25, "Bark", 0.5),
    Event(3599.9996, 3603.0, "Car_horn", 1.0),
    Event(360_000.0, 360_002.0, "Fireworks & <more>", 0.125),
]


def test_webvtt() -> None:
    assert written(SCENE, "vtt") == (
        "WEBVTT\n\n"
        "00:00:01.250 --> 00:00:06.500\n♪ cello playing ♪\n\n"
        "00:00:08.000 --> 00:00:09.000\n[dog barks]\n\n"
        "01:00:00.000 --> 01:00:03.000\n[car horn]\n\n"
        "100:00:00.000 --> 100:00:02.000\n[fireworks &amp; &lt;more&gt;]\n"
    )


def test_srt() -> None:
    assert written(SCENE, "srt") == (
        "1\n00:00:01,250 --> 00:00:06,500\n♪ cello playing ♪\n\n"
        "2\n00:00:08,000 --> 00:00:09,000\n[dog barks]\n\n"
        "3\n01:00:00,000 --> 01:00:03,000\n[car horn]\n\n"
        "4\n100:00:00,000 --> 100:00:02,000\n[fireworks & ‹more›]\n"
    )


def test_audacity() -> None:
    assert written(SCENE, "audacity") == (
        "1.250000\t6.500000\tCello\n8.000000\t8.250000\tBark\n"
        "3599.999600\t3603.000000\tCar_horn\n360000.000000\t360002.000000\tFireworks & <more>\n"
    )


def test_raven() -> None:
    table = read_table(written(SCENE, "raven"))
    assert table.columns.tolist() == [
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
        "Begin File",
        "Annotation",
        "Score",
    ]
    assert table.iloc[1].tolist() == [2, "Spectrogram 1", 1, 8.0, 8.25, 0, 22050, "a.wav", "Bark", 0.5]
    assert table["Selection"].tolist() == [1, 2, 3, 4]


def test_ravens_band_ends_at_half_the_sample_rate() -> None:
    text = format_captions(SCENE, "raven", name="a", phrases=Phrases(), sample_rate_hz=11025)
    assert set(read_table(text)["High Freq (Hz)"]) == {5512.5}


def test_dcase() -> None:
    assert written(SCENE, "dcase") == (
        "filename\tonset\toffset\tevent_label\n"
        "a.wav\t1.250000\t6.500000\tCello\n"
        "a.wav\t8.000000\t8.250000\tBark\n"
        "a.wav\t3599.999600\t3603.000000\tCar_horn\n"
        "a.wav\t360000.000000\t360002.000000\tFireworks & <more>\n"
    )


def test_json() -> None:
    found = json.loads(written(SCENE, "json"))
    assert found.keys() == {"path", "events"}
    assert found["path"] == "a.wav"
    assert found["events"] == event_records(SCENE)
    assert found["events"][0] == {"onset": 1.25, "offset": 6.5, "label": "Cello", "score": 0.75}


@pytest.mark.parametrize("kind", CAPTION_FORMATS)
def test_a_recording_without_events_makes_a_valid_file(kind: str) -> None:
    text = written([], kind)
    heads = {"vtt": "WEBVTT\n", "srt": "", "audacity": "", "dcase": "filename\tonset\toffset\tevent_label\n"}
    assert heads.get(kind, text) == text
    if kind == "vtt":
        assert read_vtt(text) == []
    elif kind == "srt":
        assert len(pysubs2.SSAFile.from_string(text, format_="srt")) == 0
    elif kind in {"dcase", "raven"}:
        assert len(read_table(text)) == 0
    elif kind == "json":
        assert json.loads(text) == {"path": "a.wav", "events": []}


@pytest.mark.parametrize("kind", CAPTION_FORMATS)
def test_the_order_given_and_numpys_numbers_do_not_matter(kind: str) -> None:
    shuffled = [
        Event(np.float64(event.onset), np.float64(event.offset), event.label, np.float32(event.score))
        for event in reversed(SCENE)
    ]
    assert written(shuffled, kind) == written(SCENE, kind)


def test_an_unknown_format_is_named_with_the_near_one() -> None:
    with pytest.raises(InputError, match=r"format must be one of vtt, srt, .*; got 'str', did you mean 'srt'\?"):
        written([], "str")
    with pytest.raises(InputError, match=r"one of vtt, srt, audacity, raven, dcase, json; got 'elan'$"):
        written([], "elan")


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_sample_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match=r"sample rate must be a number of Hz above 0; got .*a\.wav"):
        format_captions([], "raven", name="a.wav", phrases=Phrases(), sample_rate_hz=rate)


def test_suffixes_do_not_clash() -> None:
    assert len(set(CAPTION_FORMATS.values())) == len(CAPTION_FORMATS)
    assert all(suffix.startswith(".") for suffix in CAPTION_FORMATS.values())


@pytest.mark.parametrize("kind", CAPTION_FORMATS)
def test_files_are_written_as_formatted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new" / f"a{CAPTION_FORMATS[kind]}"
    write_captions(SCENE, kind, path, name="a.wav", phrases=Phrases(), sample_rate_hz=44100)
    assert path.read_bytes() == written(SCENE, kind).encode()
    assert list(path.parent.iterdir()) == [path]
    if kind == "vtt":
        assert len(webvtt.read(str(path), strict=True)) == len(SCENE)
    if kind == "srt":
        assert len(pysubs2.load(str(path))) == len(SCENE)


def test_an_old_file_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.vtt"
    path.write_text("old")

    def fail(self: Path, text: str, **settings: object) -> None:
        self.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(KeyboardInterrupt):
        write_captions(SCENE, "vtt", path, name="a.wav", phrases=Phrases(), sample_rate_hz=44100)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# --- labels and names that break formats -----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(events(), texts)
@example(every_nasty, "a\rb")
def test_webvtt_reads_back(found: list[Event], name: str) -> None:
    phrases = Phrases()
    cues = [(cue.start_ms, cue.end_ms, cue.lines[0]) for cue in to_cues(found, phrases)]
    assert read_vtt(written(found, "vtt", name=name)) == cues
    assert all(cue[0] < cue[1] for cue in cues)
    assert all(before[0] <= after[0] for before, after in pairwise(cues))  # WebVTT asks for it


@settings(max_examples=50, deadline=None)
@given(events(longest=3e5))
@example(every_nasty)
def test_srt_reads_back(found: list[Event]) -> None:
    text = format_srt(found, Phrases())
    cues = read_srt(text)
    # pysubs2 takes any line of text with two times in it for the head of a cue.
    if not any(len(pysubs2.time.TIMESTAMP.findall(event.label)) > 1 for event in found):
        assert read_srt_by_webvtt(text) == cues
    cues = read_srt_by_webvtt(text)
    assert len(cues) == text.count(" --> ")
    lines = {line.translate(str.maketrans("<>{}\\", "‹›()/")).strip() for line in said(found)}
    assert {line.strip() for _, _, shown in cues for line in shown.split("\n")} == lines
    assert [int(block.split("\n")[0]) for block in text.split("\n\n") if block] == list(range(1, len(cues) + 1))


def said(found: list[Event]) -> set[str]:
    return {line for cue in to_cues(found, Phrases()) for line in cue.lines}


@settings(max_examples=50, deadline=None)
@given(events(), texts)
@example(every_nasty, "a\rb")
def test_dcase_reads_back(found: list[Event], name: str) -> None:
    table = read_table(written(found, "dcase", name=name), quotes=True)
    assert table["event_label"].tolist() == [encodable(event.label) for event in sorted(found)]
    assert table["filename"].tolist() == [encodable(name)] * len(found)
    check_times(table, "onset", "offset", found)


@settings(max_examples=50, deadline=None)
@given(events(), texts)
@example(every_nasty, "a\rb")
def test_raven_reads_back(found: list[Event], name: str) -> None:
    table = read_table(written(found, "raven", name=name))
    assert table["Annotation"].tolist() == [one_line(event.label) for event in sorted(found)]
    assert table["Begin File"].tolist() == [one_line(name)] * len(found)
    assert table["Score"].tolist() == pytest.approx([event.score for event in sorted(found)], abs=1e-5)
    check_times(table, "Begin Time (s)", "End Time (s)", found)


@settings(max_examples=50, deadline=None)
@given(events())
@example(every_nasty)
def test_audacity_reads_back(found: list[Event]) -> None:
    rows = [line.split("\t") for line in written(found, "audacity").splitlines()]
    table = pd.DataFrame(rows, columns=["begin", "end", "label"]).astype({"begin": float, "end": float})
    assert table["label"].tolist() == [one_line(event.label) for event in sorted(found)]
    check_times(table, "begin", "end", found)


def check_times(table: pd.DataFrame, begin: str, end: str, found: list[Event]) -> None:
    assert (table[begin] >= 0).all()
    assert (table[begin] < table[end]).all()
    assert table[begin].tolist() == pytest.approx([event.onset for event in sorted(found)], rel=0, abs=1e-6)
    assert table[end].tolist() == pytest.approx([event.offset for event in sorted(found)], rel=0, abs=2e-6)


@settings(max_examples=50, deadline=None)
@given(events(longest=1e300), texts)
@example(every_nasty, "a\rb")
def test_json_reads_back_exactly(found: list[Event], name: str) -> None:
    read = json.loads(written(found, "json", name=name))
    assert read["path"] == encodable(name)
    again = [Event(**record) for record in read["events"]]
    assert again == [Event(event.onset, event.offset, encodable(event.label), event.score) for event in sorted(found)]


def test_names_of_other_encodings_look_as_in_clip_tables() -> None:
    assert encodable("caf\udce9\ud800\x00.wav") == "caf\\xe9\\ud800\\x00.wav"
    assert one_line("a\tb\r\nc\u2028d\x85") == "a b  c d "


# --- when cues are shown ---------------------------------------------------------------------------------------------


def cue_list(found: list[Event], phrases: Phrases | None = None) -> list[tuple[int, int, str]]:
    return read_vtt(format_webvtt(found, phrases or Phrases()))


def srt_list(found: list[Event], phrases: Phrases | None = None) -> list[tuple[int, int, str]]:
    return read_srt(format_srt(found, phrases or Phrases()))


def test_abrupt_sounds_are_shown_long_enough_to_be_read() -> None:
    assert cue_list([Event(2.0, 2.1, "Bark")]) == [(2000, 3000, "[dog barks]")]
    slow = Phrases(Style(shown_seconds=2.5))
    assert cue_list([Event(2.0, 2.1, "Bark")], slow) == [(2000, 4500, "[dog barks]")]
    assert cue_list([Event(2.0, 5.0, "Bark")], slow) == [(2000, 5000, "[dog barking]")]


def test_a_sound_that_comes_again_at_once_is_one_cue() -> None:
    barks = [Event(t, t + 0.25, "Bark") for t in (1.0, 1.75, 2.25)]
    assert cue_list(barks[:2]) == [(1000, 2000, "[dog barks]")]
    assert cue_list(barks) == [(1000, 2000, "[dog barks]"), (2250, 3250, "[dog barks]")]
    assert cue_list([*barks, Event(1.8, 2.3, "Bark")]) == [(1000, 2500, "[dog barking]")]
    assert cue_list([Event(1.0, 2.0, "Bark"), Event(2.0, 4.0, "Bark")]) == [(1000, 4000, "[dog barking]")]
    assert cue_list([Event(1.0, 4.0, "Bark"), Event(2.0, 2.5, "Bark")]) == [(1000, 4000, "[dog barking]")]


def test_classes_that_are_captioned_alike_are_one_cue() -> None:
    drum = Phrase("drums playing", "drum beats", music=True)
    phrases = Phrases(by_class={"Bass_drum": drum, "Snare_drum": drum})
    beats = [Event(1.0, 2.0, "Bass_drum"), Event(1.5, 3.0, "Snare_drum")]
    assert cue_list(beats, phrases) == [(1000, 3000, "♪ drums playing ♪")]


def test_srt_says_nothing_twice_at_once() -> None:
    drums = {"Bass_drum": Phrase("drums playing", "drum thuds"), "Snare_drum": Phrase("drums playing", "drum beats")}
    beats = [Event(1.0, 3.0, "Bass_drum"), Event(1.5, 4.0, "Snare_drum")]
    assert srt_list(beats, Phrases(by_class=drums)) == [(1000, 4000, "[drums playing]")]


def test_srt_keeps_lines_in_their_places() -> None:
    scene = [Event(0.0, 9.5, "Cello"), Event(5.0, 15.0, "Cough"), Event(10.2, 15.0, "Cello")]
    both = "♪ cello playing ♪\n[person coughing]"
    assert srt_list(scene) == [(0, 5000, "♪ cello playing ♪"), (5000, 15_000, both)]


def test_classes_left_out_have_no_cues_but_rows() -> None:
    phrases = Phrases(by_class=PHRASES | {"Bark": Phrase("dog barking", "dog barks", leave_out=True)})
    scene = [Event(1.0, 2.0, "Bark"), Event(3.0, 5.0, "Bus")]
    assert cue_list(scene, phrases) == [(3000, 5000, "[bus rumbling]")]
    assert srt_list(scene, phrases) == [(3000, 5000, "[bus rumbling]")]
    assert len(read_table(written(scene, "dcase", phrases=phrases))) == 2


def test_sounds_that_overlap_are_cues_that_overlap_in_webvtt() -> None:
    scene = [Event(0.0, 10.0, "Cello"), Event(4.0, 6.0, "Cough")]
    assert cue_list(scene) == [(0, 10_000, "♪ cello playing ♪"), (4000, 6000, "[person coughing]")]


@pytest.mark.parametrize(
    ("cough", "cues"),
    [
        pytest.param((4.0, 6.0), [(0, 4.0, "c"), (4.0, 6.0, "c+k"), (6.0, 10.0, "c")], id="within"),
        pytest.param((8.0, 12.0), [(0, 8.0, "c"), (8.0, 10.0, "c+k"), (10.0, 12.0, "k")], id="past the end"),
        pytest.param((9.5, 12.0), [(0, 9.5, "c"), (9.5, 12.0, "k")], id="begins just before the end"),
        pytest.param((9.0, 12.0), [(0, 9.0, "c"), (9.0, 10.0, "c+k"), (10.0, 12.0, "k")], id="the least overlap"),
        pytest.param((0.5, 4.0), [(0, 4.0, "c+k"), (4.0, 10.0, "c")], id="begins just after"),
        pytest.param((4.0, 9.5), [(0, 4.0, "c"), (4.0, 10.0, "c+k")], id="ends just before"),
        pytest.param((4.0, 10.25), [(0, 4.0, "c"), (4.0, 10.25, "c+k")], id="ends just after"),
        pytest.param((10.0, 12.0), [(0, 10.0, "c"), (10.0, 12.0, "k")], id="follows"),
        pytest.param((10.25, 12.0), [(0, 10.0, "c"), (10.25, 12.0, "k")], id="follows after a gap"),
        pytest.param((0.0, 10.0), [(0, 10.0, "k+c")], id="together"),
    ],
)
def test_sounds_that_overlap_are_cut_into_cues_in_srt(
    cough: tuple[float, float], cues: list[tuple[float, float, str]]
) -> None:
    words = {"c": "♪ cello playing ♪", "k": "[person coughing]"}
    expected = [
        (round(1000 * start), round(1000 * end), "\n".join(words[key] for key in keys.split("+")))
        for start, end, keys in cues
    ]
    assert srt_list([Event(0.0, 10.0, "Cello"), Event(*cough, "Cough")]) == expected


few_labels = st.sampled_from(["Bark", "Cello", "Bus", "Siren", "Rain"])
ticks = st.integers(0, 6000).map(lambda tick: tick / 100)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.builds(lambda t, s, label: Event(t, t + s, label), ticks, st.floats(0.01, 8), few_labels), max_size=14),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)
def test_srt_cues_stand_apart_and_can_be_read(found: list[Event], least: float) -> None:
    phrases = Phrases(Style(shown_seconds=least))
    cues = srt_list(found, phrases)
    assert all(before[1] <= after[0] for before, after in pairwise(cues))
    assert all(end - start >= max(1000 * least, 1) for start, end, _ in cues)
    for start, end, text in cue_list(found, phrases):
        check_shown(cues, start, end, text, slack=1000 * least)
    for start, end, text in cues:
        for line in text.split("\n"):
            heard = [cue for cue in cue_list(found, phrases) if cue[2] == line]
            assert any(cue[0] - 1000 * least < end and start < cue[1] + 1000 * least for cue in heard)


def check_shown(cues: list[tuple[int, int, str]], start: int, end: int, text: str, *, slack: float) -> None:
    """Whatever is shown in WebVTT is shown in SRT, moved by less than the slack at either end."""
    parts = [(a, b) for a, b, shown in cues if text in shown.split("\n") and a < end and start < b]
    assert parts
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert parts[0][0] <= start  # never late
    assert parts[-1][1] > end - max(slack, 1)


def test_rounding_makes_no_cue_empty() -> None:
    at_once = Phrases(Style(shown_seconds=0))
    assert cue_list([Event(0.9996, 0.9999, "Bark")], at_once) == [(1000, 1001, "[dog barks]")]
    assert srt_list([Event(0.9996, 0.9999, "Bark")], at_once) == [(1000, 1001, "[dog barks]")]
    assert re.match(r"0\.000000\t0\.000001\t", written([Event(0, 1e-9, "Bark")], "audacity"))


def test_ten_thousand_events_take_no_square_time() -> None:
    many = [Event(0.5 * n, 0.5 * n + 3.0, f"class {n % 50}") for n in range(10_000)]
    assert format_webvtt(many, Phrases()).count(" --> ") == 10_000
    assert format_srt(many, Phrases()).count(" --> ") == 5_002
