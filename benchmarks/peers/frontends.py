"""Other libraries' front-ends: samples in memory → log-mel frames, at the nearest settings that each can have.

Conventions
-----------
A front-end is made once for a mode; a call takes float32 samples at the mode's rate, trimmed and padded, and gives
``[n_frames, n_mels]`` in dB. "Equal" means that the settings are those of the mode, to the last one, so that the
numbers can be compared; what others differ in is said beside them. Each runs in one thread.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import librosa
import numpy as np
import torch
from numpy.typing import NDArray

from featurize.logmel import mel_power, power_to_db
from featurize.modes import FeatureMode
from peers.files import peer
from peers.rounds import time_rounds

Samples = NDArray[np.float32]
Frames = NDArray[np.float32]
Compute = Callable[[Samples], Frames]
OWN = "earmark"


@dataclass(frozen=True)
class FrontEnd:
    """A library's front-end.

    Attributes
    ----------
    open : callable
        Make it for a mode, outside the time.
    load : callable
        Import what it needs; gives None where that is missing.
    differs : str
        In what its settings are not the mode's; empty where they are equal.
    """

    open: Callable[[FeatureMode], Compute]
    load: Callable[[], ModuleType | None] = lambda: librosa
    differs: str = ""


def open_own(mode: FeatureMode) -> Compute:
    return lambda samples: power_to_db(mel_power(samples, mode), top_db=mode.top_db)


def open_librosa(mode: FeatureMode) -> Compute:
    def compute(samples: Samples) -> Frames:
        power = librosa.feature.melspectrogram(
            y=samples,
            sr=mode.sample_rate_hz,
            n_fft=mode.n_fft,
            hop_length=mode.hop_samples,
            n_mels=mode.n_mels,
            fmin=mode.fmin_hz,
            fmax=mode.fmax_hz,
        )
        frames: Frames = librosa.power_to_db(power, top_db=mode.top_db).T
        return frames

    return compute


def import_torchaudio() -> ModuleType | None:
    """Import torchaudio without its native library where that asks for another build of torch (CUDA's).

    The transforms measured here are plain torch, and need none of it.
    """
    try:
        return peer("torchaudio.transforms")
    except OSError:
        for name in [name for name in sys.modules if name.startswith("torchaudio")]:
            del sys.modules[name]
        native: Any = ModuleType("torchaudio._extension")
        native._IS_TORCHAUDIO_EXT_AVAILABLE = False
        native.fail_if_no_align = lambda function: function
        sys.modules["torchaudio._extension"] = native
        return peer("torchaudio.transforms")


def open_torchaudio(mode: FeatureMode) -> Compute:
    transforms: Any = import_torchaudio()
    mel = transforms.MelSpectrogram(
        mode.sample_rate_hz,
        n_fft=mode.n_fft,
        hop_length=mode.hop_samples,
        f_min=mode.fmin_hz,
        f_max=mode.fmax_hz,
        n_mels=mode.n_mels,
        pad_mode="constant",
        norm="slaney",
        mel_scale="slaney",
    )
    to_db = transforms.AmplitudeToDB("power", top_db=mode.top_db)
    return lambda samples: to_db(mel(torch.from_numpy(samples))).numpy().T


def open_nnaudio(mode: FeatureMode) -> Compute:
    features: Any = peer("nnAudio.features")
    mel = features.MelSpectrogram(
        sr=mode.sample_rate_hz,
        n_fft=mode.n_fft,
        n_mels=mode.n_mels,
        hop_length=mode.hop_samples,
        pad_mode="constant",
        fmin=mode.fmin_hz,
        fmax=mode.fmax_hz,
        verbose=False,
    )

    def compute(samples: Samples) -> Frames:
        with torch.inference_mode():
            power: Frames = mel(torch.from_numpy(samples))[0].numpy().T
        return in_db(power, mode)

    return compute


def open_kaldi(mode: FeatureMode) -> Compute:
    kaldi: Any = peer("kaldi_native_fbank")
    options = kaldi.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq = mode.sample_rate_hz
    frame.frame_length_ms = 1000 * mode.n_fft / mode.sample_rate_hz
    frame.frame_shift_ms = 1000 * mode.hop_samples / mode.sample_rate_hz
    frame.dither = frame.preemph_coeff = 0
    frame.remove_dc_offset = frame.round_to_power_of_two = False
    frame.window_type = "hann"
    mel.num_bins, mel.low_freq, mel.high_freq = mode.n_mels, mode.fmin_hz, mode.fmax_hz
    mel.is_librosa = True
    options.use_log_fbank = False  # Kaldi's is natural, with another floor

    def compute(samples: Samples) -> Frames:
        fbank = kaldi.OnlineFbank(options)
        fbank.accept_waveform(mode.sample_rate_hz, centred(samples, mode.n_fft))
        fbank.input_finished()
        return in_db(np.stack([fbank.get_frame(number) for number in range(fbank.num_frames_ready)]), mode)

    return compute


def open_audioflux(mode: FeatureMode) -> Compute:
    audioflux, kinds = (peer(name) for name in ("audioflux", "audioflux.type"))
    assert audioflux
    assert kinds
    exponent = round(np.log2(mode.n_fft))
    mel = audioflux.BFT(
        num=mode.n_mels,
        radix2_exp=exponent,
        samplate=mode.sample_rate_hz,
        low_fre=mode.fmin_hz,
        high_fre=mode.fmax_hz,
        slide_length=mode.hop_samples,
        scale_type=kinds.SpectralFilterBankScaleType.MEL,
        style_type=kinds.SpectralFilterBankStyleType.SLANEY,
        normal_type=kinds.SpectralFilterBankNormalType.BAND_WIDTH,
        data_type=kinds.SpectralDataType.POWER,
    )
    return lambda samples: in_db(mel.bft(centred(samples, 1 << exponent), result_type=1).T, mode)


def import_essentia() -> ModuleType | None:
    """Import essentia without what it prints."""
    if essentia := peer("essentia"):
        essentia.log.infoActive = False
    return peer("essentia.standard")


def open_essentia(mode: FeatureMode) -> Compute:
    essentia: Any = import_essentia()
    window = essentia.Windowing(type="hann", size=mode.n_fft, normalized=False, zeroPhase=False, symmetric=False)
    spectrum = essentia.Spectrum(size=mode.n_fft)
    bands = essentia.MelBands(
        inputSize=mode.n_fft // 2 + 1,
        sampleRate=mode.sample_rate_hz,
        numberBands=mode.n_mels,
        lowFrequencyBound=mode.fmin_hz,
        highFrequencyBound=mode.fmax_hz,
        warpingFormula="slaneyMel",
        weighting="linear",
        normalize="unit_tri",
    )

    def compute(samples: Samples) -> Frames:
        frames = essentia.FrameGenerator(
            centred(samples, mode.n_fft),
            frameSize=mode.n_fft,
            hopSize=mode.hop_samples,
            startFromZero=True,
            validFrameThresholdRatio=1,
        )
        return in_db(np.stack([bands(spectrum(window(frame))) for frame in frames]), mode)

    return compute


def centred(samples: Samples, n_fft: int) -> Samples:
    """Pad with zeros, for a library that starts its first frame at the first sample."""
    return np.pad(samples, n_fft // 2)


def in_db(power: Frames, mode: FeatureMode) -> Frames:
    """Take the logarithm for a library that has none with a floor and a range."""
    level: Frames = 10 * np.log10(np.maximum(power, np.float32(1e-10)))
    return np.maximum(level, level.max() - np.float32(mode.top_db))


FRONT_ENDS = {
    OWN: FrontEnd(open_own),
    "librosa": FrontEnd(open_librosa),
    "torchaudio": FrontEnd(open_torchaudio, import_torchaudio),
    "kaldi-native-fbank": FrontEnd(open_kaldi, partial(peer, "kaldi_native_fbank")),
    "nnAudio": FrontEnd(open_nnaudio, partial(peer, "nnAudio.features")),
    "essentia": FrontEnd(open_essentia, import_essentia),
    "audioFlux": FrontEnd(open_audioflux, partial(peer, "audioflux"), "FFTs of 2048 and 1024, powers of two only"),
}
"""The dB of nnAudio, Kaldi, essentia and audioFlux are numpy's; the rest is theirs."""


def missing_front_ends() -> list[str]:
    return [name for name, each in FRONT_ENDS.items() if not is_usable(each)]


def is_usable(front_end: FrontEnd) -> bool:
    try:
        return front_end.load() is not None
    except OSError:  # its native library does not load here
        return False


def time_front_ends(samples: Mapping[FeatureMode, Sequence[Samples]], rounds: int) -> dict[str, dict[str, Any]]:
    """Time all front-ends on the same samples.

    Returns
    -------
    dict
        Of each front-end its milliseconds a clip, round by round, for each mode and for both; the cores that it kept
        busy; and the largest difference from this project's numbers in dB, or what makes that meaningless.
    """
    missing = missing_front_ends()
    found: dict[str, dict[str, Any]] = {name: {"cores": 0.0} for name in FRONT_ENDS if name not in missing}
    for mode, clips in samples.items():
        made = {name: FRONT_ENDS[name].open(mode) for name in found}
        for name, row in found.items():
            differs = FRONT_ENDS[name].differs
            largest = max(row.get("difference_db", 0.0), largest_difference(made[name], made[OWN], clips))
            row |= {"differs": differs} if differs else {"difference_db": largest}
        for name, timed in time_rounds(made, clips, rounds).items():
            found[name][mode.name] = timed.milliseconds
            found[name]["cores"] = max(found[name]["cores"], timed.cores)
    for row in found.values():
        row["both"] = np.sum([row[mode.name] for mode in samples], axis=0).tolist()
    return found


def largest_difference(compute: Compute, reference: Compute, clips: Sequence[Samples]) -> float:
    """Return the largest difference over all clips, in dB; infinite where the shapes differ."""
    pairs = ((compute(clip), reference(clip)) for clip in clips)
    return max(float(np.abs(a - b).max()) if a.shape == b.shape else np.inf for a, b in pairs)
