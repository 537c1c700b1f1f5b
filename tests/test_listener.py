"""Events of made-up timelines, by a network that hears pitch."""

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from sounds import Signal, noise, sine

from featurize.audio import Recording
from featurize.logmel import log_mel
from featurize.modes import MODES
from infer import listener
from infer.detection import DetectionRules
from infer.events import Event
from infer.listener import Listener
from infer.soundtrack import SoundStream
from infer.tagger import Frames
from train.scores import renormalise

RATE_HZ = 44_100
PITCHES_HZ = {"low": 300.0, "middle": 1_200.0, "high": 5_000.0}


class HearsPitch:
    """A tagger that is sure of the class whose pitch is the loudest band, and less so where two are as loud."""

    def __init__(self, *modes: str) -> None:
        self.modes = [MODES[name] for name in modes]
        self.classes = list(PITCHES_HZ)
        self.windows = 0
        self.shapes: set[tuple[int, int]] = set()

    def log_probabilities(self, recordings: Sequence[dict[str, Frames]]) -> np.ndarray:
        self.windows += len(recordings)
        rows = []
        for frames in recordings:
            assert list(frames) == [mode.name for mode in self.modes]
            self.shapes |= {part.shape for part in frames.values()}
            loudness = frames[self.modes[0].name].astype(np.float64).max(axis=0)
            rows.append([loudness[self._band(pitch)] for pitch in PITCHES_HZ.values()])
        return renormalise(np.array(rows) * 0.5)

    def _band(self, pitch_hz: float) -> int:
        return int(log_mel(Recording(sine(20_000, pitch_hz), RATE_HZ), self.modes[0]).max(axis=0).argmax())


def timeline(events: Sequence[tuple[float, float, str]], seconds: float, *, floor: float = 1e-4) -> Signal:
    signal = noise(round(seconds * RATE_HZ), level=floor)
    for onset, offset, label in events:
        first, stop = round(onset * RATE_HZ), round(offset * RATE_HZ)
        signal[first:stop] += sine(stop - first, PITCHES_HZ[label], level=0.3)
    return signal


def stream_of(signal: Signal, block: int = 50_000) -> SoundStream:
    return SoundStream(RATE_HZ, len(signal) / RATE_HZ, iter(np.split(signal, range(block, len(signal), block))))


def heard(signal: Signal, *modes: str, **rules: Any) -> list[Event]:
    found = Listener(HearsPitch(*(modes or ("x",))), DetectionRules(**rules)).listen(stream_of(signal))  # type: ignore[arg-type]
    return sorted(found)


TRUTH = [(1.0, 2.5, "low"), (5.0, 5.3, "high"), (8.0, 15.0, "middle"), (17.0, 17.2, "low"), (20.0, 22.0, "high")]


def assert_right(found: Sequence[Event], truth: Sequence[tuple[float, float, str]], tolerance: float = 0.05) -> None:
    assert [event.label for event in found] == [label for _, _, label in truth]
    for event, (onset, offset, _) in zip(found, truth, strict=True):
        assert event.onset == pytest.approx(onset, abs=tolerance)
        assert event.offset == pytest.approx(offset, abs=tolerance)


@pytest.mark.parametrize("modes", [("x",), ("lh", "x")])
def test_times_on_a_quiet_timeline_are_right(modes: tuple[str, ...]) -> None:
    assert_right(heard(timeline(TRUTH, 24), *modes), TRUTH)


@pytest.mark.parametrize("floor", [0.0, 3e-3, 3e-2])
def test_noise_does_not_matter(floor: float) -> None:
    assert_right(heard(timeline(TRUTH, 24, floor=floor)), TRUTH)


def test_events_that_follow_each_other_are_told_apart_to_half_a_window() -> None:
    truth = [(1.0, 7.0, "low"), (7.0, 13.0, "high")]
    assert_right(heard(timeline(truth, 15), window_seconds=1.0, step_seconds=0.2), truth, tolerance=0.6)


def test_events_of_a_class_are_joined_over_gaps() -> None:
    truth = [(1.0, 2.0, "low"), (2.8, 4.0, "low"), (6.0, 7.0, "low")]
    signal = timeline(truth, 9)
    assert_right(heard(signal), truth)
    assert_right(heard(signal, gap_seconds=1.0), [(1.0, 4.0, "low"), (6.0, 7.0, "low")])


def test_an_event_over_the_end_of_a_stretch_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = [(8.0, 12.5, "middle"), (18.0, 23.0, "low"), (30.0, 30.5, "high")]
    signal = timeline(truth, 33)
    whole = heard(signal)
    monkeypatch.setattr(listener, "STRETCH_SECONDS", 10.0)
    assert_right(heard(signal), truth)
    for event, other in zip(heard(signal), whole, strict=True):
        assert (event.onset, event.offset) == pytest.approx((other.onset, other.offset), abs=0.05)


def test_a_sound_that_never_ends_is_heard_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "STRETCH_SECONDS", 10.0)
    monkeypatch.setattr(listener, "_LONGEST_SPAN_SECONDS", 12.0)
    # It rises and falls, so that it is no background.
    signal = timeline([(1.0, 38.0, "low")], 40) * (1 + 0.9 * np.sin(np.arange(40 * RATE_HZ) / RATE_HZ)).astype(
        np.float32
    )
    found = heard(signal, gap_seconds=8.0)
    assert [event.label for event in found] == ["low"]
    assert found[0].seconds > 30


@pytest.mark.parametrize("seconds", [0.01, 0.5, 10.0, 20.0])
def test_silence_has_no_events(seconds: float) -> None:
    assert heard(np.zeros(round(seconds * RATE_HZ), np.float32)) == []
    assert heard(noise(round(seconds * RATE_HZ), level=1e-5)) == []


@pytest.mark.parametrize("seconds", [20.0, 70.0])
def test_steady_noise_is_background(seconds: float) -> None:
    assert heard(noise(round(seconds * RATE_HZ), level=0.1)) == []


def test_a_short_recording_that_its_sound_fills_is_heard_whole() -> None:
    samples = np.sin(2 * np.pi * 440 * np.arange(12 * RATE_HZ) / RATE_HZ).astype(np.float32)
    [event] = heard(samples)
    assert (event.onset, event.offset) == pytest.approx((0.0, 12.0), abs=0.05)


def test_an_event_at_the_end_ends_with_the_recording() -> None:
    [event] = heard(timeline([(1.0, 3.0, "low")], 3.0))
    assert event.offset == pytest.approx(3.0, abs=1e-6)


def test_networks_hear_windows_as_a_store_would_hold_them() -> None:
    tagger = HearsPitch("lh", "x")
    list(Listener(tagger, DetectionRules()).listen(stream_of(timeline(TRUTH, 24))))  # type: ignore[arg-type]
    assert tagger.shapes == {(201, 128), (301, 48)}


def test_nothing_is_asked_where_nothing_sounds() -> None:
    tagger = HearsPitch("x")
    list(Listener(tagger, DetectionRules()).listen(stream_of(noise(30 * RATE_HZ, level=0.01))))  # type: ignore[arg-type]
    assert tagger.windows == 0


def test_memory_does_not_grow_with_the_recording() -> None:
    def blocks(minutes: int) -> Iterator[Signal]:
        minute = timeline([(10.0, 12.0, "low"), (40.0, 44.0, "high")], 60.0)
        for _ in range(minutes):
            yield from np.split(minute, 20)

    def peak(minutes: int) -> int:
        tracemalloc.start()
        ears = Listener(HearsPitch("x"), DetectionRules())  # type: ignore[arg-type]
        n_events = sum(1 for _ in ears.listen(SoundStream(RATE_HZ, 0.0, blocks(minutes))))
        assert n_events == 2 * minutes
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(8) < 1.2 * peak(3)


@pytest.mark.parametrize(("level_db", "heard_at"), [(-60, True), (-78, True), (-82, False), (-95, False)])
@pytest.mark.parametrize("mode", ["lh", "x", "dcase"])
def test_the_gate_is_in_db_below_full_scale(mode: str, level_db: float, heard_at: bool) -> None:
    signal = np.zeros(6 * RATE_HZ, np.float32)
    signal[2 * RATE_HZ : 3 * RATE_HZ] = sine(RATE_HZ, 1_200, level=10 ** (level_db / 20))
    assert bool(heard(signal, mode)) is heard_at
