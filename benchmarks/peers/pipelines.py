"""From a WAV file to the frames of LH and X: this project's way, librosa's, and the two steps that none can leave out.

Conventions
-----------
A way takes a ``Clip`` and does all that it must do for both modes. The floor is soxr's resampling of the decoded
samples, and a real FFT for each frame that holds a sample (those of padding need none), by the library that is fastest
here; it windows, sums and writes nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import scipy.fft
import soxr
import torch
from numpy.typing import NDArray

from featurize.audio import Recording, decode, resample
from featurize.logmel import compute, fit_window, mel_power, power_to_db
from featurize.modes import FeatureMode, resolve_modes
from featurize.spectrum import LANES, FramePower
from featurize.trimming import trim
from peers.frontends import OWN, Frames, Samples, open_librosa
from peers.rounds import Row, time_rounds

LH_AND_X = resolve_modes(["all"])
LIBROSA, RESAMPLING, FFTS = "librosa", "soxr alone", "FFTs alone"
STAGES = ("decode", "resample", "trim", "spectrum", "dB")
BLOCKS = (16, 64, 256)
"""Frames that the floor gives to an FFT at once: the best of these."""

Fft = Callable[[NDArray[Any]], Any]


@dataclass(frozen=True)
class Clip:
    """A file, what it holds, and how many frames of each mode hold a sample of it."""

    path: Path
    recording: Recording
    n_frames: dict[str, int]


@dataclass(frozen=True)
class Transform:
    """A library's real FFT, with the type and the number of frames at which it runs here."""

    name: str
    fft: Fft
    dtype: type
    block: int = BLOCKS[0]

    @property
    def allowed(self) -> bool:
        """Whether featurize/ may load it."""
        return not self.name.startswith("torch")


def open_clip(path: Path) -> Clip:
    recording = decode(path)
    return Clip(path, recording, {mode.name: count_frames(recording, mode) for mode in LH_AND_X})


def count_frames(recording: Recording, mode: FeatureMode) -> int:
    samples = trim(resample(recording, sample_rate_hz=mode.sample_rate_hz), trim_db=mode.trim_db)
    samples, before, after = fit_window(samples, mode)
    starts = np.arange(1 + (before + len(samples) + after) // mode.hop_samples) * mode.hop_samples - mode.n_fft // 2
    return int(((starts + mode.n_fft > before) & (starts < before + len(samples))).sum())


def prepared(path: Path, mode: FeatureMode) -> Samples:
    """Return the samples that a front-end gets: at the mode's rate, trimmed, cut or padded."""
    samples = trim(resample(decode(path), sample_rate_hz=mode.sample_rate_hz), trim_db=mode.trim_db)
    samples, before, after = fit_window(samples, mode)
    return np.pad(samples, (before, after))


def own(clip: Clip) -> dict[str, Frames]:
    return compute(clip.path, LH_AND_X)


def librosas(clip: Clip) -> dict[str, Frames]:
    """Do what users do today, once a mode."""
    return {mode.name: librosas_mode(clip.path, mode) for mode in LH_AND_X}


def librosas_mode(path: Path, mode: FeatureMode) -> Frames:
    samples, _ = librosa.load(path, sr=mode.sample_rate_hz)
    samples, _ = librosa.effects.trim(samples, top_db=mode.trim_db)
    if mode.head_only:
        samples = samples[: mode.window_samples]
    if len(samples) < mode.window_samples:
        samples = librosa.util.pad_center(samples, size=mode.window_samples)
    return open_librosa(mode)(samples)


def difference_db(clips: list[Clip]) -> dict[str, float]:
    """Return for each mode the largest difference between both pipelines, in dB; infinite where the shapes differ."""
    largest = {mode.name: 0.0 for mode in LH_AND_X}
    for clip in clips:
        theirs = librosas(clip)
        for name, frames in own(clip).items():
            other = theirs[name]
            found = float(np.abs(frames - other).max()) if frames.shape == other.shape else np.inf
            largest[name] = max(largest[name], found)
    return largest


def time_stages(clip: Clip) -> dict[str, float]:
    """Do one stage after the other, for both modes; give the seconds of each."""
    spent = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        begun = time.perf_counter()
        result = function(*arguments, **settings)
        spent[stage] += time.perf_counter() - begun
        return result

    recording = timed("decode", decode, clip.path)
    for mode in LH_AND_X:
        samples = timed("resample", resample, recording, sample_rate_hz=mode.sample_rate_hz)
        samples = timed("trim", trim, samples, trim_db=mode.trim_db)
        samples, before, after = fit_window(samples, mode)
        power = timed("spectrum", mel_power, samples, mode, before=before, after=after)
        timed("dB", power_to_db, power, top_db=mode.top_db)
    return spent


def transforms() -> list[Transform]:
    """Give the real FFTs that are at hand."""

    def in_torch(block: NDArray[Any]) -> Any:
        return torch.fft.rfft(torch.from_numpy(block))

    return [
        Transform("numpy, float64", np.fft.rfft, np.float64),
        Transform("numpy, float32", np.fft.rfft, np.float32),
        Transform("scipy, float64", scipy.fft.rfft, np.float64),
        Transform("scipy, float32", scipy.fft.rfft, np.float32),
        Transform("torch, float64", in_torch, np.float64),
        Transform("torch, float32", in_torch, np.float32),
    ]


def time_own_transform(clips: list[Clip], rounds: int) -> float:
    """Return milliseconds a clip of this project's own transform, windows and powers included."""
    transforms = {mode: FramePower(mode.n_fft) for mode in LH_AND_X}
    samples = np.random.default_rng(0).standard_normal(2 * LANES * 4096).astype(np.float32)
    best = np.inf
    for _ in range(rounds):
        begun = time.perf_counter()
        for clip in clips:
            for mode, transform in transforms.items():
                for _ in range(-(-clip.n_frames[mode.name] // LANES)):
                    transform(samples, 0, mode.hop_samples)
        best = min(best, 1000 * (time.perf_counter() - begun) / len(clips))
    return best


def run_ffts(transform: Transform, n_frames: dict[str, int]) -> None:
    """Transform as many frames of both modes; the samples of a block stay where they are."""
    for mode in LH_AND_X:
        block = _block(transform, mode.n_fft)
        for start in range(0, n_frames[mode.name], transform.block):
            transform.fft(block[: min(transform.block, n_frames[mode.name] - start)])


def _block(transform: Transform, n_fft: int) -> NDArray[Any]:
    key = (n_fft, transform.dtype)
    if key not in _BUFFERS:
        _BUFFERS[key] = np.random.default_rng(0).standard_normal((max(BLOCKS), n_fft)).astype(transform.dtype)
    return _BUFFERS[key]


_BUFFERS: dict[tuple[int, type], NDArray[Any]] = {}


def time_transforms(clips: list[Clip], rounds: int) -> tuple[Transform, dict[str, float]]:
    """Find the fastest FFT that featurize/ may use; also give milliseconds a clip of each, at its best block."""
    tried = [Transform(each.name, each.fft, each.dtype, block) for each in transforms() for block in BLOCKS]
    best: dict[Transform, float] = dict.fromkeys(tried, np.inf)
    for _ in range(rounds):
        for transform in tried:
            begun = time.perf_counter()
            for clip in clips:
                run_ffts(transform, clip.n_frames)
            best[transform] = min(best[transform], 1000 * (time.perf_counter() - begun) / len(clips))
    by_name: dict[str, float] = {}
    for transform, milliseconds in best.items():
        by_name[transform.name] = min(milliseconds, by_name.get(transform.name, np.inf))
    by_name["earmark, float64 with windows and powers"] = time_own_transform(clips, rounds)
    return min(filter(lambda each: each.allowed, best), key=lambda each: best[each]), by_name


def run_resampling(clip: Clip) -> None:
    for mode in LH_AND_X:
        rate_hz = clip.recording.sample_rate_hz
        if rate_hz != mode.sample_rate_hz:
            soxr.resample(clip.recording.samples, rate_hz, mode.sample_rate_hz, quality="soxr_hq")


def time_pipelines(
    clips: list[Clip], transform: Transform, rounds: int
) -> tuple[dict[str, Row], dict[str, list[float]]]:
    """Time both pipelines, the floor's two parts, and the stages; the stages in milliseconds a clip, by rounds."""
    taken: list[dict[str, float]] = []
    ways: dict[str, Callable[[Clip], Any]] = {
        OWN: own,
        LIBROSA: librosas,
        RESAMPLING: run_resampling,
        FFTS: lambda clip: run_ffts(transform, clip.n_frames),
        "stages": lambda clip: taken.append(time_stages(clip)),
    }
    for way in ways.values():
        way(clips[0])
    taken.clear()
    rows = time_rounds(ways, clips, rounds)
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for first in range(0, len(taken), len(clips)):
        for stage in STAGES:
            seconds = sum(spent[stage] for spent in taken[first : first + len(clips)])
            stages[stage].append(1000 * seconds / len(clips))
    return rows, stages
