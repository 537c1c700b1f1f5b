"""Claim: captions tell what sounds when, better than "every window over a threshold" does.

The test clips of a corpus are laid on timelines, each clip once a timeline, at levels from -12 to -3 dB of full scale
at their peaks, with known times (from the first sample that is within 60 dB of the loudest to the last), so many an
hour, one in seven begun before the one before it ends. Faint noise lies under all of it (-70 dB of full scale); for the
noisy timelines, pink noise at 20 and 10 dB below the mean power of the sounds. Events are found with the networks of a
run that was trained on the corpus's training clips, as ``cli caption`` finds them.

The yardstick takes windows of two seconds, a second apart, and calls every class an event while it is over a threshold,
which is the best of nine for the yardstick, chosen on the timeline itself.

Scores are F1: of events with a collar of 500 and 200 ms, offsets within that or half the event's length, and of
segments of a second. Must hold on the quiet timeline with a collar of 500 ms: at least 0.6, and 0.1 above the yardstick
(where ``--no-claims`` is not given). Calibration: of the run's out-of-fold predictions, the expected calibration error
with a temperature, fitted on other clips, is at most half of that without, or at most 0.05. What perfectly calibrated
probabilities would show on so many clips stands beside it.

    python benchmarks/captions.py CORPUS --runs DIR [--run NAME] [--an-hour N] [--seeds 0,1,2] [--no-claims]
                                  [--jobs N] [--json]

Seeds lay the clips in another order, at other times and levels.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, and "train" train.py, not the packages.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import numpy as np
import torch
from numpy.typing import NDArray
from peers.figures import finish, spread

from corpus.tables import read_corpus
from featurize.audio import Recording, decode, resample
from featurize.trimming import trim
from infer.activity import runs
from infer.detection import DetectionRules
from infer.event_matching import Tolerance
from infer.event_scores import EventScores, event_based, segment_based
from infer.events import Event
from infer.listener import Listener
from infer.pairing import Pair
from infer.runs import find_run
from infer.soundtrack import SoundStream
from infer.tagger import Tagger, load_tagger

RATE_HZ = 44_100
NOISE_SAMPLES = 1 << 20
FLOOR_DB, TRIM_DB = -70.0, 60.0
PEAKS_DB = (-12.0, -3.0)
OVERLAPPING = 1 / 7
CONDITIONS: dict[str, float | None] = {"quiet": None, "20 dB": 20.0, "10 dB": 10.0}
LEAST_F1, LEAST_GAIN = 0.6, 0.1
HALVED, SMALL_ERROR = 0.5, 0.05
YARDSTICK_SECONDS, YARDSTICK_STEP = 2.0, 1.0
THRESHOLDS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))

Signal = NDArray[np.float32]
Result = dict[str, Any]


def lay(clips: Sequence[tuple[str, str]], *, an_hour: float, seed: int) -> tuple[Signal, list[Event]]:
    """Lay sounds on a timeline; return its samples and the events."""
    rng = np.random.default_rng(seed)
    pause, at = 3600 / an_hour, rng.uniform(1, 5)
    parts: list[tuple[int, Signal]] = []
    events = []
    for number in rng.permutation(len(clips)).tolist():
        path, label = clips[number]
        sound = trim(resample(decode(path), sample_rate_hz=RATE_HZ), trim_db=TRIM_DB)
        peak = np.abs(sound).max(initial=0.0)
        if peak == 0:
            continue
        seconds = len(sound) / RATE_HZ
        parts.append((round(at * RATE_HZ), sound * np.float32(10 ** (rng.uniform(*PEAKS_DB) / 20) / peak)))
        events.append(Event(at, at + seconds, label))
        overlaps = rng.random() < OVERLAPPING
        at += seconds * rng.uniform(0.3, 0.8) if overlaps else seconds + 0.7 + rng.exponential(pause)
    end = max(event.offset for event in events) + 2
    timeline = rng.standard_normal(round(end * RATE_HZ), np.float32) * np.float32(10 ** (FLOOR_DB / 20))
    for first, sound in parts:
        timeline[first : first + len(sound)] += sound
    return timeline, events


def add_noise(timeline: Signal, events: Sequence[Event], snr_db: float | None, *, seed: int) -> Signal:
    """Add pink noise so far below the mean power of the sounds."""
    if snr_db is None:
        return timeline
    rng = np.random.default_rng(seed)
    spans = [(round(event.onset * RATE_HZ), round(event.offset * RATE_HZ)) for event in events]
    power = np.concatenate([timeline[first:stop] for first, stop in spans]).var()
    noisy = timeline.copy()
    for first in range(0, len(noisy), NOISE_SAMPLES):  # a transform of all of it would take all memory
        piece = noisy[first : first + NOISE_SAMPLES]
        piece += pink(NOISE_SAMPLES, rng)[: len(piece)] * np.float32(np.sqrt(power / 10 ** (snr_db / 10)))
    return noisy


def pink(n_samples: int, rng: np.random.Generator) -> Signal:
    """Make pink noise of power 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(n_samples, 1 / RATE_HZ), 20))
    noise = np.fft.irfft(spectrum, n_samples)
    return np.asarray(noise / noise.std(), np.float32)


def blocks(timeline: Signal) -> Iterator[Signal]:
    for first in range(0, len(timeline), 1 << 18):
        yield timeline[first : first + (1 << 18)]


def captions(timeline: Signal, tagger: Tagger) -> list[Event]:
    return sorted(Listener(tagger, DetectionRules()).listen(SoundStream(RATE_HZ, 0.0, blocks(timeline))))


class Yardstick:
    """Every window over a threshold."""

    def __init__(self, timeline: Signal, tagger: Tagger) -> None:
        # Each window is tagged as a recording of its own, as a user of ``cli tag`` would do it.
        length, step = round(YARDSTICK_SECONDS * RATE_HZ), round(YARDSTICK_STEP * RATE_HZ)
        windows = [timeline[first : first + length] for first in range(0, max(1, len(timeline) - length), step)]
        parts = []
        for first in range(0, len(windows), 64):
            frames = [tagger.frames(Recording(window, RATE_HZ)) for window in windows[first : first + 64]]
            parts.append(np.exp(tagger.log_probabilities(frames)))
        self.p, self.classes = np.concatenate(parts), tagger.classes

    def events(self, threshold: float) -> list[Event]:
        """Give an event for each run of windows over the threshold."""
        found = []
        for number, label in enumerate(self.classes):
            for first, stop in runs(self.p[:, number] >= threshold):
                onset, offset = first * YARDSTICK_STEP, (stop - 1) * YARDSTICK_STEP + YARDSTICK_SECONDS
                found.append(Event(onset, offset, label, float(self.p[first:stop, number].max())))
        return sorted(found)


def f1(scores: EventScores) -> float:
    return float(scores.total.f1 or 0.0)


def score(found: Sequence[Event], truth: Sequence[Event]) -> dict[str, float]:
    pair = [Pair(found, truth)]
    return {
        "events, 500 ms": f1(event_based(pair, tolerance=Tolerance(0.5, 0.5))),
        "events, 200 ms": f1(event_based(pair, tolerance=Tolerance(0.2, 0.5))),
        "segments of 1 s": f1(segment_based(pair)),
        "events found": len(found),
    }


def best_of_yardstick(yardstick: Yardstick, truth: Sequence[Event]) -> dict[str, float]:
    rows = [score(yardstick.events(threshold), truth) | {"threshold": threshold} for threshold in THRESHOLDS]
    return max(rows, key=lambda row: row["events, 500 ms"])


def measure(arguments: argparse.Namespace) -> Result:
    tagger = load_tagger(find_run(arguments.runs, arguments.run), arguments.modes or None)
    table = read_corpus(arguments.corpus)
    table = table[(table["split"] == "test") & table["label"].isin(tagger.classes)]
    clips = list(zip(table["path"], table["label"], strict=True))
    rows: dict[str, list[Result]] = {name: [] for name in CONDITIONS}
    hours = seconds = 0.0
    for seed in arguments.seeds:
        plain, truth = lay(clips, an_hour=arguments.an_hour, seed=seed)
        for name, snr_db in CONDITIONS.items():
            timeline = add_noise(plain, truth, snr_db, seed=seed)
            begun = time.perf_counter()
            found = captions(timeline, tagger)
            seconds += time.perf_counter() - begun
            hours += len(timeline) / RATE_HZ / 3600
            rows[name].append(
                {"captions": score(found, truth), "yardstick": best_of_yardstick(Yardstick(timeline, tagger), truth)}
            )
    fit = tagger.calibration
    result: Result = {
        "corpus": str(arguments.corpus),
        "clips": len(clips),
        "classes": sorted({label for _, label in clips}),
        "hours": hours,
        "real_time": hours * 3600 / seconds,
        "seeds": arguments.seeds,
        "rows": rows,
        "calibration": {"clips": fit.clips, "before": fit.error_before, "after": fit.error_after},
        "by_chance": fit.error_by_chance,
    }
    result["claims"] = [] if arguments.no_claims else claims(result)
    return result | {"holds": all(each["holds"] for each in result["claims"])}


def claims(result: Result) -> list[Result]:
    kind = "events, 500 ms"
    own = float(np.mean([row["captions"][kind] for row in result["rows"]["quiet"]]))
    gain = own - float(np.mean([row["yardstick"][kind] for row in result["rows"]["quiet"]]))
    before, after = result["calibration"]["before"], result["calibration"]["after"]
    most = max(HALVED * before, SMALL_ERROR)
    return [
        {"claim": "quiet, 500 ms: F1", "rule": f">= {LEAST_F1}", "value": own, "holds": own >= LEAST_F1},
        {"claim": "above the yardstick", "rule": f">= {LEAST_GAIN}", "value": gain, "holds": gain >= LEAST_GAIN},
        {"claim": "calibration error", "rule": f"<= {most:.3f}", "value": after, "holds": after <= most},
    ]


def show(result: Result) -> None:
    print(
        f"{result['clips']} test clips of {len(result['classes'])} classes; {result['hours']:.1f} h of timelines",
        end="",
    )
    print(f", captioned at {result['real_time']:.0f}× real time; F1, mean (least … most) of the seeds\n")
    kinds = ("events, 500 ms", "events, 200 ms", "segments of 1 s")
    print(f"{'':24s}" + "".join(f"{kind:>24s}" for kind in kinds))
    for name, rows in result["rows"].items():
        for who in ("captions", "yardstick"):
            cells = []
            for kind in kinds:
                values = spread(row[who][kind] for row in rows)
                mean = float(np.mean([row[who][kind] for row in rows]))
                cells.append(f"{mean:8.3f} ({values['min']:.3f} … {values['max']:.3f})")
            print(f"{name + ', ' + who:24s}" + "".join(f"{cell:>24s}" for cell in cells))
    fit = result["calibration"]
    print(f"\ncalibration error on held folds, {fit['clips']} clips: {fit['before']:.3f} before, ", end="")
    print(f"{fit['after']:.3f} after ({result['by_chance']:.3f} by chance alone)\n")
    for each in result["claims"]:
        verdict = "holds" if each["holds"] else "does NOT hold"
        print(f"{each['claim']:24s}{each['rule']:>10s}  {each['value']:.3f}  {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description="How well captions tell what sounds when.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--run", help="name of the run [the only one]")
    parser.add_argument("--mode", dest="modes", action="append", default=[], help="views to ask [all of the run]")
    parser.add_argument("--an-hour", type=float, default=120.0, help="sounds an hour, about")
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--no-claims", action="store_true", help="show the figures only")
    parser.add_argument("--jobs", type=int, help="threads [one a core]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.jobs:
        torch.set_num_threads(arguments.jobs)
    finish(measure(arguments), show, as_json=arguments.json)


if __name__ == "__main__":
    main()
