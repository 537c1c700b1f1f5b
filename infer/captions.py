r"""Captions: the events of one recording as a file, for viewers or for programs.

Conventions
-----------
Files are UTF-8 without a mark, lines end in a line feed, events are in their order, and a recording without events
makes a valid file. WebVTT and SRT (``infer/subtitles.py``) hold phrases, shown long enough to be read; the others hold
the labels of classes, and the events as they are:

- Audacity's labels: begin, end, label. The format knows no quotes: tabs and line ends in labels become spaces.
- Raven's selection table: the whole band from 0 Hz to half the sample rate, the label as ``Annotation``, the ``Score``.
  No quotes here either.
- DCASE's ``filename onset offset event_label``, separated by tabs, without scores, for which it has no room. Names and
  labels that hold tabs, line ends or quotes are quoted as in CSV, which pandas and Python's csv, and the tools of DCASE
  by these, read back.
- JSON: ``{"path", "events": [{"onset", "offset", "label", "score"}]}``, numbers exact.

Times in tables are in seconds with six decimals, less than a sample, and a row ends after it begins even so. Names that
are no UTF-8 look as in clip tables (``\xff``). Labels that look like formulas stay: programs read these tables, and
another label would be another class.
"""

import json
import math
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypedDict

from cache.errors import InputError
from cache.outfile import write_atomically
from infer.events import Event
from infer.lines import encodable, one_line
from infer.phrases import Phrases
from infer.subtitles import format_srt, format_webvtt

CAPTION_FORMATS: dict[str, str] = {
    "vtt": ".vtt",
    "srt": ".srt",
    "audacity": ".txt",
    "raven": ".selections.txt",
    "dcase": ".tsv",
    "json": ".json",
}
"""Each format and the suffix of its files; no two are alike, so that one folder can hold all of them."""

_RAVEN_COLUMNS = (
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
)


class EventRecord(TypedDict):
    """An event as JSON holds it."""

    onset: float
    offset: float
    label: str
    score: float


def event_records(events: Iterable[Event]) -> list[EventRecord]:
    """Return events, in their order, as JSON holds them."""
    return [
        {
            "onset": float(event.onset),
            "offset": float(event.offset),
            "label": encodable(event.label),
            "score": float(event.score),
        }
        for event in sorted(events)
    ]


def format_captions(events: Iterable[Event], kind: str, *, name: str, phrases: Phrases, sample_rate_hz: float) -> str:
    """Write the events of one recording in one of the formats.

    Parameters
    ----------
    events : iterable of Event
        In any order.
    kind : str
        One of ``CAPTION_FORMATS``.
    name : str
        What the recording is called in formats that name it.
    phrases : Phrases
        For WebVTT and SRT.
    sample_rate_hz : float
        The recording's, for Raven's frequencies.

    Returns
    -------
    str
        The whole file.

    Raises
    ------
    InputError
        If there is no such format, or the sample rate is none.
    """
    if not 0 < sample_rate_hz < math.inf:
        message = f"a recording's sample rate must be a number of Hz above 0; got {sample_rate_hz} ({name})"
        raise InputError(message)
    match kind:
        case "vtt":
            return format_webvtt(events, phrases)
        case "srt":
            return format_srt(events, phrases)
        case "audacity":
            return _format_audacity(events)
        case "raven":
            return _format_raven(events, name, sample_rate_hz)
        case "dcase":
            return _format_dcase(events, name)
        case "json":
            return json.dumps({"path": encodable(name), "events": event_records(events)}, indent=1) + "\n"
    near = get_close_matches(kind, CAPTION_FORMATS, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    message = f"format must be one of {', '.join(CAPTION_FORMATS)}; got {kind!r}{hint}"
    raise InputError(message)


def write_captions(
    events: Iterable[Event], kind: str, path: Path, *, name: str, phrases: Phrases, sample_rate_hz: float
) -> None:
    """Write the file that ``format_captions`` gives; an interruption leaves the old file or none.

    Parameters
    ----------
    events, kind, name, phrases, sample_rate_hz
        As for ``format_captions``.
    path : Path
        Its folder is made where it is missing.

    Raises
    ------
    InputError
        As ``format_captions``.
    OSError
        It cannot be written.
    """
    text = format_captions(events, kind, name=name, phrases=phrases, sample_rate_hz=sample_rate_hz)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))


def _times(event: Event) -> tuple[str, str]:
    onset_us = round(1e6 * event.onset)
    offset_us = max(round(1e6 * event.offset), onset_us + 1)
    return f"{onset_us // 10**6}.{onset_us % 10**6:06d}", f"{offset_us // 10**6}.{offset_us % 10**6:06d}"


def _format_audacity(events: Iterable[Event]) -> str:
    return "".join("\t".join([*_times(event), one_line(event.label)]) + "\n" for event in sorted(events))


def _format_raven(events: Iterable[Event], name: str, sample_rate_hz: float) -> str:
    rows = ["\t".join(_RAVEN_COLUMNS)]
    band = ("0", f"{sample_rate_hz / 2:.10g}")
    for number, event in enumerate(sorted(events), start=1):
        cells = (str(number), "Spectrogram 1", "1", *_times(event), *band)
        rows.append("\t".join([*cells, one_line(name), one_line(event.label), f"{event.score:.6g}"]))
    return "\n".join(rows) + "\n"


def _format_dcase(events: Iterable[Event], name: str) -> str:
    rows = ["filename\tonset\toffset\tevent_label"]
    rows += ["\t".join([_quoted(name), *_times(event), _quoted(event.label)]) for event in sorted(events)]
    return "\n".join(rows) + "\n"


def _quoted(text: str) -> str:
    # Not csv.writer's: it leaves a carriage return alone where lines end in a line feed, and readers end a row there.
    text = encodable(text)
    return '"' + text.replace('"', '""') + '"' if any(char in text for char in '\t\n\r"') else text
