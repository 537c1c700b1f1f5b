"""Subtitles: events as timed text for viewers, in WebVTT and SRT.

Conventions
-----------
Times are in whole milliseconds, hours go on past 99, and a cue ends after it begins. Classes that the phrases leave out
have no cues.

A cue stays as long as the sound lasts, and at least as long as the style says, to be read. Where a sound comes again
before its cue is gone, both are one cue, worded as one sound of the whole length: barks in a row are a dog barking.

WebVTT's cues may overlap, as players stack them: each is one sound, and begins with it.

SRT's may not: some players hide one of two cues, some swap their places. So the time is cut where sounds begin or end,
and what sounds at once is one cue of several lines, the earliest on top. No cue is shorter than the style's least time:
what begins too soon after a cut is shown from that cut on, and what ends too near to one ends there. In SRT, and only
there, captions may thus come early, or go early or late, by less than that time. Some programs read no hours past 99.

SRT has no escapes. Players take ``<…>``, ``{…}`` and backslashes for tags, so characters that look alike replace them.
"""

import html
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from infer.events import Event
from infer.phrases import Phrase, Phrases

_SRT_LOOKALIKES = str.maketrans("<>{}\\", "‹›()/")


@dataclass(frozen=True, order=True)
class Cue:
    """A text and when it is shown.

    Attributes
    ----------
    start_ms, end_ms : int
        Milliseconds from the begin of the recording, ``0 <= start_ms < end_ms``.
    lines : tuple of str
        What is shown, not escaped.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def to_cues(events: Iterable[Event], phrases: Phrases) -> list[Cue]:
    """Say what is to be read when: one cue a sound, in the order of time, overlapping where sounds do.

    Parameters
    ----------
    events : iterable of Event
    phrases : Phrases

    Returns
    -------
    list of Cue
        Of one line each.
    """
    shown_ms = max(round(1000 * phrases.style.shown_seconds), 1)
    cues = []
    for event in _joined(events, phrases):
        start_ms = round(1000 * event.onset)
        end_ms = max(round(1000 * event.offset), start_ms + shown_ms)
        cues.append(Cue(start_ms, end_ms, (phrases.caption(event),)))
    return sorted(cues)


def format_webvtt(events: Iterable[Event], phrases: Phrases) -> str:
    """Write events as WebVTT (https://www.w3.org/TR/webvtt1/).

    Parameters
    ----------
    events : iterable of Event
    phrases : Phrases

    Returns
    -------
    str
        The whole file; its head alone where there is no event.
    """
    blocks = ["WEBVTT\n"]
    for cue in to_cues(events, phrases):
        times = f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}"
        blocks.append("\n".join([times, *(html.escape(line, quote=False) for line in cue.lines)]) + "\n")
    return "\n".join(blocks)


def format_srt(events: Iterable[Event], phrases: Phrases) -> str:
    """Write events as SRT, as SubRip made it and players read it: numbered cues that do not overlap.

    Parameters
    ----------
    events : iterable of Event
    phrases : Phrases

    Returns
    -------
    str
        The whole file; empty where there is no event.
    """
    blocks = []
    for number, cue in enumerate(_apart(to_cues(events, phrases), round(1000 * phrases.style.shown_seconds)), start=1):
        times = f"{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}"
        lines = [line.translate(_SRT_LOOKALIKES) for line in cue.lines]
        blocks.append("\n".join([str(number), times, *lines]) + "\n")
    return "\n".join(blocks)


def _clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"


def _joined(events: Iterable[Event], phrases: Phrases) -> list[Event]:
    """Leave out what gets no caption, and join sounds that would say the same while the caption before still stands."""
    joined: list[Event] = []
    latest: dict[Phrase, int] = {}  # by phrase, not label: two classes may be captioned alike
    for event in sorted(events):
        phrase = phrases.of(event.label)
        if phrase.leave_out:
            continue
        place = latest.get(phrase)
        if place is not None:
            before = joined[place]
            if event.onset <= max(before.offset, before.onset + phrases.style.shown_seconds):
                joined[place] = replace(before, offset=max(before.offset, event.offset))
                continue
        latest[phrase] = len(joined)
        joined.append(event)
    return joined


def _apart(cues: list[Cue], least_ms: int) -> list[Cue]:
    """Cut cues where any begins or ends, so that none overlap and none is shorter than the least time."""
    apart: list[Cue] = []
    waiting = _snapped(cues, least_ms)[::-1]
    shown: list[Cue] = []
    for start_ms, end_ms in pairwise(sorted({time for cue in waiting for time in (cue.start_ms, cue.end_ms)})):
        shown = [cue for cue in shown if cue.end_ms > start_ms]
        while waiting and waiting[-1].start_ms == start_ms:
            shown.append(waiting.pop())
        lines = tuple(dict.fromkeys(line for cue in shown for line in cue.lines))
        if apart and apart[-1].end_ms == start_ms and set(apart[-1].lines) == set(lines):
            apart[-1] = replace(apart[-1], end_ms=end_ms)
        elif lines:
            apart.append(Cue(start_ms, end_ms, lines))
    return apart


def _snapped(cues: list[Cue], least_ms: int) -> list[Cue]:
    """Move begins and ends to cuts that are at least so far apart wherever something is shown between them."""
    starts = _kept_starts(cues, least_ms)
    moved = [replace(cue, start_ms=starts[bisect_right(starts, cue.start_ms) - 1]) for cue in cues]
    ends = _moved_ends(moved, starts, least_ms)
    return [replace(cue, end_ms=ends[cue.end_ms]) for cue in moved]


def _kept_starts(cues: list[Cue], least_ms: int) -> list[int]:
    starts: list[int] = []
    for cue in cues:
        if not starts or cue.start_ms >= starts[-1] + max(least_ms, 1):
            starts.append(cue.start_ms)
    return starts


def _moved_ends(cues: list[Cue], starts: list[int], least_ms: int) -> dict[int, int]:
    """Map each end, latest first, to the cut where it is kept or moved to.

    An end soon after a begin moves back to it: its cue began at an earlier cut, and was read. An end soon before a cut
    moves on to it, unless nothing else is shown between the two.
    """
    begun = sorted(cue.start_ms for cue in cues)
    ended = sorted(cue.end_ms for cue in cues)
    moved: dict[int, int] = {}
    kept: int | None = None
    for end in reversed(ended):
        place = bisect_right(starts, end)
        cuts = [*starts[place : place + 1], *([] if kept is None else [kept])]
        others_shown = bisect_right(begun, end) > bisect_right(ended, end)
        if end - starts[place - 1] < least_ms:
            moved[end] = starts[place - 1]
        elif others_shown and cuts and min(cuts) - end < least_ms:
            moved[end] = min(cuts)
        else:
            moved[end] = kept = end
    return moved
