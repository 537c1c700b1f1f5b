"""A listener: finds the events of a recording of any length, in bounded memory.

Conventions
-----------
Sound comes block by block; frames of all modes are computed as it comes, and a stretch of a minute is compared with its
own background; a short recording from which nothing stands out is heard whole. An active span that reaches the end of a
stretch waits for the next one, up to a limit. What networks hear is the foreground of a span's windows, as a store
would hold a clip: levels below the mode's range raised to it, a whole window at least. Spans are counted in frames of
the first mode, and its frames tell the time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from featurize.logmel import to_log
from featurize.modes import FeatureMode
from featurize.stream import FrameStream
from infer.activity import Power, Span, background, foreground, is_active, joined, runs
from infer.detection import DetectionRules, EventJoiner, events_of, windows_of
from infer.events import Event
from infer.silence import gate
from infer.soundtrack import SoundStream
from infer.tagger import Frames, Tagger

STRETCH_SECONDS = 60.0
_LEAST_STRETCH_SECONDS = 15.0  # less does not tell a background: that of the stretch before counts
_LONGEST_SPAN_SECONDS = 60.0
_SHORTEST_SPAN_SECONDS = 0.04
_BATCH = 64


class Listener:
    """Finds events by a tagger's networks; one recording at a time.

    Parameters
    ----------
    tagger : Tagger
    rules : DetectionRules

    Attributes
    ----------
    seconds : float
        How much it has heard of the recording.
    """

    def __init__(self, tagger: Tagger, rules: DetectionRules) -> None:
        self._tagger, self._rules = tagger, rules
        self.seconds = 0.0

    def listen(self, stream: SoundStream) -> Iterator[Event]:
        """Yield the events of a recording, as soon as nothing later can be joined to them.

        Raises
        ------
        QuarantineError
            If the recording turns out to be damaged.
        """
        tracks = [_Track(mode, stream.sample_rate_hz, self._rules.gate_db) for mode in self._tagger.modes]
        joiner = EventJoiner(self._rules)
        self.seconds = 0.0
        for block in stream.blocks:
            self.seconds += len(block) / stream.sample_rate_hz
            for track in tracks:
                track.push(block)
            while tracks[0].seconds_ahead >= STRETCH_SECONDS:
                yield from self._hear(tracks, joiner, last=False)
        for track in tracks:
            track.finish()
        for event in self._hear(tracks, joiner, last=True):
            yield _cut(event, self.seconds)

    def _hear(self, tracks: Sequence["_Track"], joiner: EventJoiner, *, last: bool) -> Iterator[Event]:
        """Go on by a stretch; yield the events that are whole."""
        clock = tracks[0]
        short = last and not clock.begun and clock.seconds_ahead < _LEAST_STRETCH_SECONDS
        for track in tracks:
            track.go_on(None if last else STRETCH_SECONDS)
        spans, waiting = self._spans(clock, last=last)
        if short and not spans:  # a clip that its sound fills: it has no background
            for track in tracks:
                track.hear_all()
            spans, waiting = self._spans(clock, last=last)
        found = self._events(tracks, spans)
        yield from joiner.add(found)
        now = waiting * clock.step
        for track in tracks:
            track.forget(now)
        yield from joiner.finish(before=np.inf if last else now)

    def _spans(self, clock: "_Track", *, last: bool) -> tuple[list[Span], int]:
        """Return the active spans that have ended, and the first frame that is still needed."""
        end = clock.first + len(clock.active)
        spans = joined(runs(clock.active), pause=round(self._rules.pause_seconds / clock.step))
        spans = [(clock.first + first, clock.first + stop) for first, stop in spans]
        waiting = end
        if spans and not last and end - spans[-1][1] <= self._rules.pause_seconds / clock.step:
            first, stop = spans[-1]
            if (stop - first) * clock.step < _LONGEST_SPAN_SECONDS:
                spans.pop()
                waiting = first
        least = _SHORTEST_SPAN_SECONDS / clock.step
        return [span for span in spans if span[1] - span[0] >= least], waiting

    def _events(self, tracks: Sequence["_Track"], spans: Sequence[Span]) -> list[Event]:
        rules, step = self._rules, tracks[0].step
        length, stride = (max(1, round(seconds / step)) for seconds in (rules.window_seconds, rules.step_seconds))
        by_span = [windows_of(span, length=length, step=stride) for span in spans]
        windows = [window for windows in by_span for window in windows]
        log_p = self._log_probabilities(tracks, windows)
        found: list[Event] = []
        for span, its_windows in zip(spans, by_span, strict=True):
            mine, log_p = log_p[: len(its_windows)], log_p[len(its_windows) :]
            classes = self._tagger.classes
            found += events_of(span, its_windows, mine, classes=classes, rules=rules, frame_seconds=step)
        return found

    def _log_probabilities(self, tracks: Sequence["_Track"], windows: Sequence[Span]) -> NDArray[np.float64]:
        step, parts = tracks[0].step, [np.zeros((0, len(self._tagger.classes)))]
        for begin in range(0, len(windows), _BATCH):
            heard = [
                {track.mode.name: track.frames(first * step, stop * step) for track in tracks}
                for first, stop in windows[begin : begin + _BATCH]
            ]
            parts.append(self._tagger.log_probabilities(heard))
        return np.concatenate(parts)


class _Track:
    """The frames of one mode: those ahead, and the foreground of those that are still needed.

    Attributes
    ----------
    step : float
        Seconds between frames.
    first : int
        Which frame of the recording the foreground begins with.
    active : ndarray [shape=(n_frames,), bool]
        Which frames of the foreground are active.
    """

    def __init__(self, mode: FeatureMode, sample_rate_hz: int, gate_db: float) -> None:
        self.mode, self._gate = mode, gate(mode, gate_db)
        self.step = mode.hop_samples / mode.sample_rate_hz
        self._stream = FrameStream(mode, sample_rate_hz)
        self._ahead: list[Power] = []
        self._behind: NDArray[np.float64] | None = None
        self._power: Power = np.zeros((0, mode.n_mels))
        self._foreground: Power = np.zeros((0, mode.n_mels), np.float32)
        self.first, self.active = 0, np.zeros(0, bool)

    @property
    def begun(self) -> bool:
        return self._behind is not None

    @property
    def seconds_ahead(self) -> float:
        return sum(map(len, self._ahead)) * self.step

    def push(self, block: NDArray[np.float32]) -> None:
        self._ahead.append(self._stream.push(block))

    def finish(self) -> None:
        self._ahead.append(self._stream.finish())

    def go_on(self, seconds: float | None) -> None:
        """Compare the frames of the time that follows, or all, with their background."""
        power = np.concatenate(self._ahead)
        n_frames = len(power) if seconds is None else min(len(power), round(seconds / self.step))
        power, self._ahead = power[:n_frames], [power[n_frames:]]
        if not n_frames:
            return
        if self._behind is None or n_frames * self.step >= _LEAST_STRETCH_SECONDS:
            self._behind = background(power)
        self._power = power
        self._hear(self._behind)

    def _hear(self, behind: NDArray[np.float64]) -> None:
        self.active = np.concatenate([self.active, is_active(self._power, behind, gate=self._gate)])
        left = foreground(self._power, behind).astype(np.float32)
        self._foreground = np.concatenate([self._foreground, left])

    def hear_all(self) -> None:
        """Take the frames of the only stretch as they are, with nothing behind them."""
        self._foreground, self.active = self._foreground[:0], self.active[:0]
        self._hear(np.zeros(self.mode.n_mels))

    def forget(self, seconds: float) -> None:
        """Let go of the frames before this time."""
        n_frames = max(0, min(len(self.active), round(seconds / self.step) - self.first))
        self.first += n_frames
        self._foreground, self.active = self._foreground[n_frames:].copy(), self.active[n_frames:].copy()

    def frames(self, begin: float, end: float) -> Frames:
        """Return the frames of a window as a store would hold them of a clip."""
        first = min(max(0, round(begin / self.step) - self.first), len(self._foreground) - 1)
        stop = max(first + 1, round(end / self.step) - self.first)
        if self.mode.head_only:
            stop = min(stop, first + self.mode.window_frames)
        return _as_stored(self._foreground[first:stop].astype(np.float64), self.mode)


def _as_stored(power: NDArray[np.float64], mode: FeatureMode) -> Frames:
    missing = max(0, mode.window_frames - len(power))
    power = np.pad(power, ((missing // 2, missing - missing // 2), (0, 0)))
    return to_log(power, mode).astype(mode.dtype)


def _cut(event: Event, seconds: float) -> Event:
    """End an event with its recording: the last frame reaches beyond it."""
    if event.onset < seconds < event.offset:
        return Event(event.onset, seconds, event.label, event.score)
    return event
