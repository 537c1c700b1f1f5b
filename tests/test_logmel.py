"""The front-end: analytic truths, and parity with librosa within 0.01 dB everywhere, with the baseline within 0.01."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE_HZ, Signal, chirp, clicks, noise, padded, pluck, quantised, sine, write_sound

from cache.errors import InputError
from featurize.audio import QuarantineError, Recording
from featurize.logmel import compute, log_mel, mel_power, natural_log, power_to_db
from featurize.modes import DCASE, LH, FeatureMode, X

# librosa.load imports audioread, which imports parts of Python that 3.13 dropped.
pytestmark = pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning")

TOLERANCE_DB = 0.01
BOTH = pytest.mark.parametrize("mode", [LH, X], ids=["lh", "x"])
SHORT = (1, 2, 511, 512, 513, 2047, 2048, 2049, 13_230)


def plain(path: Path, mode: FeatureMode) -> npt.NDArray[np.float32]:
    """The origin's pipeline in librosa's words, time-major."""
    samples = librosa.load(path, sr=mode.sample_rate_hz)[0]
    samples = librosa.effects.trim(samples)[0]
    if mode.head_only:
        samples = samples[: mode.window_samples]
    if (missing := mode.window_samples - len(samples)) > 0:
        samples = np.pad(samples, (missing // 2, missing - missing // 2))
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=mode.sample_rate_hz,
        n_fft=mode.n_fft,
        hop_length=mode.hop_samples,
        n_mels=mode.n_mels,
        fmin=mode.fmin_hz,
        fmax=mode.fmax_hz,
    )
    return np.ascontiguousarray(librosa.power_to_db(power).T, dtype=np.float32)


def assert_parity(path: Path) -> None:
    frames = compute(path, ["lh", "x"])
    for name, mode in {"lh": LH, "x": X}.items():
        reference = plain(path, mode)
        assert frames[name].shape == reference.shape
        assert frames[name].dtype == np.float32
        worst_db = np.abs(frames[name].astype(np.float64) - reference).max()
        assert worst_db < TOLERANCE_DB, f"{name}: {worst_db} dB"
        stored = np.abs(frames[name].astype(np.float16).astype(np.float64) - frames[name]).max()
        assert stored <= 2**-4, "half precision is 1/16 dB at most below 128 dB"


# ------------------------------------------------------------------ analytic truths


@BOTH
@pytest.mark.parametrize("frequency_hz", [100, 440, 1_000, 5_000, 12_000])
def test_a_sine_lights_its_own_band(mode: FeatureMode, frequency_hz: float) -> None:
    rate_hz = mode.sample_rate_hz
    signal = sine(mode.window_samples, frequency_hz, rate_hz=rate_hz, level=0.5)
    frames = log_mel(Recording(signal, rate_hz), mode)
    edges_hz = librosa.mel_frequencies(mode.n_mels + 2, fmin=mode.fmin_hz, fmax=mode.fmax_hz)
    bands = frames[10:-10].mean(axis=0)
    brightest = int(bands.argmax())
    # Where bands are narrower than the FFT's main lobe, the neighbour may win.
    lobe_hz = 2 * rate_hz / mode.n_fft
    assert edges_hz[brightest] - lobe_hz < frequency_hz < edges_hz[brightest + 2] + lobe_hz
    far = (edges_hz[2:] < frequency_hz - 4 * lobe_hz) | (edges_hz[:-2] > frequency_hz + 4 * lobe_hz)
    assert (bands[far] < bands.max() - 50).all()


@BOTH
def test_ten_times_the_amplitude_is_20_db_more(mode: FeatureMode) -> None:
    n, rate_hz = mode.window_samples, mode.sample_rate_hz  # a whole window: padding stays silent at any amplitude
    soft, loud = (log_mel(Recording(noise(n, level=level), rate_hz), mode) for level in (0.05, 0.5))
    np.testing.assert_allclose(loud - soft, 20, atol=1e-3)


@BOTH
@pytest.mark.parametrize("n", [1, 1_000, 500_000])
def test_silence_is_the_floor(mode: FeatureMode, n: int) -> None:
    frames = log_mel(Recording(np.zeros(n, np.float32), RATE_HZ), mode)
    assert frames.min() == frames.max() == -100


@BOTH
def test_nothing_lies_more_than_the_range_below_the_maximum(mode: FeatureMode) -> None:
    frames = log_mel(Recording(pluck(RATE_HZ), RATE_HZ), mode)
    assert frames.max() - frames.min() == pytest.approx(80, abs=1e-4)
    narrow = log_mel(Recording(pluck(RATE_HZ), RATE_HZ), dataclasses.replace(mode, top_db=30))
    np.testing.assert_array_equal(narrow, np.maximum(frames, frames.max() - 30))


@pytest.mark.parametrize("n", SHORT)
def test_short_clips_fill_one_window(n: int) -> None:
    recording = Recording(noise(n), RATE_HZ)
    assert log_mel(recording, LH).shape == (201, 128)
    assert log_mel(recording, X).shape == (301, 48)


def test_lh_takes_the_head_and_x_keeps_the_tail() -> None:
    signal = noise(10 * RATE_HZ)
    other = signal.copy()
    other[8 * RATE_HZ :] = noise(2 * RATE_HZ, seed=1)
    ours, others = Recording(signal, RATE_HZ), Recording(other, RATE_HZ)
    np.testing.assert_array_equal(log_mel(ours, LH), log_mel(Recording(signal[: LH.window_samples], RATE_HZ), LH))
    np.testing.assert_array_equal(log_mel(ours, LH), log_mel(others, LH))
    long = log_mel(ours, X)
    assert len(long) == 1 + 10 * X.sample_rate_hz // X.hop_samples
    assert np.abs(long[:395] - log_mel(others, X)[:395]).max() < 1e-3
    assert np.abs(long[410:] - log_mel(others, X)[410:]).max() > 1


@BOTH
@pytest.mark.parametrize(
    ("n", "before", "after"), [(1, 0, 9), (1, 9, 0), (5000, 3001, 0), (900, 20_000, 20_001), (0, 3, 4)]
)
def test_silence_around_the_signal_costs_nothing_and_changes_nothing(
    mode: FeatureMode, n: int, before: int, after: int
) -> None:
    signal = noise(n)
    power = mel_power(signal, mode, before=before, after=after)
    np.testing.assert_array_equal(power, mel_power(padded(signal, before, after), mode))


def test_windows_are_filled_on_both_sides() -> None:
    mode = dataclasses.replace(X, window_seconds=1, trim_db=1e-9, top_db=300)
    frames = log_mel(Recording(np.ones(1, np.float32), mode.sample_rate_hz), mode)
    loud = np.flatnonzero(frames.max(axis=1) > -100)
    middle = (mode.window_samples - 1) // 2
    assert loud.tolist() == [n for n in range(51) if abs(n * mode.hop_samples - middle) < mode.n_fft // 2]
    head = dataclasses.replace(mode, head_only=True)
    assert log_mel(Recording(noise(3 * RATE_HZ), RATE_HZ), head).shape == (51, mode.n_mels)


def test_decibels() -> None:
    np.testing.assert_allclose(
        power_to_db(np.array([[1.0, 10.0, 0.0, 1e-5]]), top_db=80), [[0, 10, -70, -50]], atol=1e-5
    )
    assert power_to_db(np.zeros((1, 1)), top_db=80) == -100
    np.testing.assert_allclose(power_to_db(np.array([[1.0, 0.0]]), top_db=None), [[0, -100]])


def test_natural_logarithms() -> None:
    frames = natural_log(np.array([[0.0, np.e, 1 - 1e-3]]), offset=1e-3)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, [[np.log(1e-3), 1.000368, 0]], atol=1e-6)


@BOTH
@pytest.mark.parametrize("n_frames", [1, 7, 8, 9, 17])
def test_the_numbers_do_not_depend_on_the_blocks(mode: FeatureMode, n_frames: int) -> None:
    signal = noise((n_frames - 1) * mode.hop_samples + 3)
    power = mel_power(signal, mode)
    assert power.shape == (n_frames, mode.n_mels)
    longer = mel_power(np.concatenate([noise(3 * mode.hop_samples, seed=1), signal]), mode)
    inner = slice(4, n_frames - 4)  # frames that hold nothing of what came before, and no end
    np.testing.assert_array_equal(power[inner], longer[3:][inner])


# ------------------------------------------------------------------ parity with librosa


def _ordinary() -> Iterator[tuple[str, Signal]]:
    second = RATE_HZ
    yield "head and tail of silence", padded(noise(second), 20_000, 40_001)
    yield "silence", np.zeros(second, np.float32)
    yield "silence, but for the last sample", padded(np.ones(1, np.float32), second, 0)
    yield "silence, but for the first sample", padded(np.ones(1, np.float32), 0, second)
    yield "DC", np.full(second, 0.25, np.float32)
    yield "DC and a little noise", (0.5 + 1e-4 * noise(second)).astype(np.float32)
    yield "full scale, clipped", np.clip(20 * noise(second), -1, 1)
    yield "square wave", np.sign(sine(second, 441)).astype(np.float32)
    yield "very quiet", (1e-5 * noise(second)).astype(np.float32)
    yield "at the floor", (1e-4 * noise(second)).astype(np.float32)
    yield "above full scale", (1e4 * noise(second)).astype(np.float32)
    yield "tiny", (1e-35 * noise(second)).astype(np.float32)
    yield "30 s", pluck(30 * second, decay_samples=200_000)
    yield "chirp", chirp(5 * second)
    yield "clicks", clicks(3 * second, count=12)
    yield "alternating", np.tile(np.array([1, -1], np.float32), second)
    for n in SHORT:
        yield f"{n} samples", noise(n, seed=n)
        yield f"{n} samples of 16 bits", quantised(noise(n, seed=n, level=0.9))
    for seed, decay in enumerate((50, 500, 5_000, 50_000)):
        yield f"pluck {decay}", padded(pluck(2 * second, seed=seed, decay_samples=decay), 777 * seed, 0)
    for frequency_hz in (20, 55.5, 999.9, 12_000, 21_900):
        yield f"sine {frequency_hz}", sine(second, frequency_hz)
    for tilt in (-24, -12, -6, -3, 3, 6, 12, 24, 48):
        yield f"{tilt} dB an octave", noise(second, seed=tilt + 100, level=0.9, tilt_db_per_octave=tilt)
    for level in (1, 1e-2, 1e-3):
        yield f"noise at {level}", noise(second, level=level)


ORDINARY = dict(_ordinary())


@pytest.mark.parametrize("signal", ORDINARY.values(), ids=ORDINARY)
def test_parity_with_librosa(tmp_path: Path, signal: Signal) -> None:
    assert_parity(write_sound(tmp_path / "a.wav", signal, subtype="FLOAT"))


@pytest.mark.parametrize("make", [noise, chirp, pluck, clicks], ids=lambda make: make.__name__)
def test_parity_with_librosa_in_16_bits(tmp_path: Path, make: Callable[[int], Signal]) -> None:
    assert_parity(write_sound(tmp_path / "a.wav", padded(make(3 * RATE_HZ), 5_000, 9_000)))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 26_000, 32_000, 48_000, 96_000, 192_000])
def test_parity_with_librosa_at_other_rates(tmp_path: Path, rate_hz: int) -> None:
    signal = padded(noise(2 * rate_hz, level=0.8), rate_hz // 3, rate_hz // 2)
    assert_parity(write_sound(tmp_path / "noise.wav", signal, rate_hz))
    assert_parity(write_sound(tmp_path / "chirp.wav", chirp(rate_hz, rate_hz=rate_hz), rate_hz, subtype="PCM_24"))


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_parity_with_librosa_in_other_formats(tmp_path: Path, suffix: str) -> None:
    channels = np.stack([pluck(2 * RATE_HZ), chirp(2 * RATE_HZ)], axis=1)
    assert_parity(write_sound(tmp_path / f"a.{suffix}", channels))


@pytest.mark.parametrize("channels", [2, 6, 8])
def test_parity_with_librosa_of_several_channels(tmp_path: Path, channels: int) -> None:
    signal = np.stack([noise(RATE_HZ, seed=seed) for seed in range(channels)], axis=1)
    assert_parity(write_sound(tmp_path / "a.wav", signal, format="WAVEX"))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60_000),
    tilt=st.floats(-60, 60),
    level_db=st.floats(-130, 20),
    fade_db=st.floats(-140, 0),
    silence=st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)),
    offset=st.sampled_from([0.0, 0.0, 1e-6, 0.3]),
    rate_hz=st.sampled_from([44_100, 44_100, 26_000, 22_050, 48_000]),
)
def test_parity_with_librosa_of_whatever_can_be_thought_of(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    n: int,
    tilt: float,
    level_db: float,
    fade_db: float,
    silence: tuple[int, int],
    offset: float,
    rate_hz: int,
) -> None:
    signal = noise(n, seed=seed, level=10 ** (level_db / 20), tilt_db_per_octave=tilt)
    signal = (signal * 10 ** (np.linspace(0, fade_db, n) / 20) + offset).astype(np.float32)
    path = tmp_path_factory.mktemp("parity") / "a.wav"
    assert_parity(write_sound(path, padded(signal, *silence), rate_hz, subtype="FLOAT"))


# ------------------------------------------------------------------ parity with the baseline


@functools.cache
def baseline_bank() -> npt.NDArray[np.float64]:
    """The weights [1025, 64] of VGGish's mel_features at the baseline's settings, one at a time."""

    def to_mel(hz: float) -> float:
        return float(1127 * np.log(1 + hz / 700))

    bank = np.zeros((1025, 64))
    edges = np.linspace(to_mel(125), to_mel(7500), 66)
    for band, (lower, centre, upper) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for k in range(1, 1025):
            mel = to_mel(k * 44_100 / 2048)
            bank[k, band] = max(0.0, min((mel - lower) / (centre - lower), (upper - mel) / (upper - centre)))
    return bank


def baseline_log_mel(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """VGGish's mel_features at the baseline's settings: frames begin with the first sample."""
    win, hop = 1102, 441
    hann = np.array([0.5 - 0.5 * np.cos(2 * np.pi * n / win) for n in range(win)])
    n_frames = 1 + (len(samples) - win) // hop
    frames = np.stack([samples[frame * hop : frame * hop + win] * hann for frame in range(n_frames)])
    return np.asarray(np.log(np.abs(np.fft.rfft(frames, 2048)) @ baseline_bank() + 0.001))


def assert_baseline_parity(frames: npt.NDArray[np.float32], signal: Signal) -> None:
    """Silence of half a window at both ends centres the baseline's frames as ours."""
    missing = max(0, DCASE.window_samples - len(signal))
    signal = padded(signal, missing // 2, missing - missing // 2)
    reference = baseline_log_mel(padded(signal, 551, 551).astype(np.float64))
    assert frames.shape == reference.shape
    assert np.abs(frames - reference).max() < 1e-4
    assert np.abs(frames.astype(np.float16) - reference).max() < 0.01


@pytest.mark.parametrize("signal", ORDINARY.values(), ids=ORDINARY)
def test_parity_with_the_baseline(tmp_path: Path, signal: Signal) -> None:
    path = write_sound(tmp_path / "a.wav", signal, subtype="FLOAT")
    assert_baseline_parity(compute(path, ["dcase"])["dcase"], signal)


def test_the_baselines_own_frames_lie_half_a_window_later() -> None:
    signal = chirp(2 * RATE_HZ)
    later = log_mel(Recording(padded(signal, 441 - 551 % 441, 0), RATE_HZ), DCASE)
    own = baseline_log_mel(signal.astype(np.float64))
    assert np.abs(later[2 : 2 + len(own)] - own).max() < 1e-4


@pytest.mark.parametrize("n", [1, 1_000, 10_584, 500_000])
def test_silence_is_the_offset(n: int) -> None:
    frames = log_mel(Recording(np.zeros(n, np.float32), RATE_HZ), DCASE)
    assert frames.shape == (max(25, 1 + n // 441), 64)
    np.testing.assert_array_equal(frames, np.float32(np.log(0.001)))


def test_the_baseline_keeps_silence_and_quiet_sounds() -> None:
    signal = np.concatenate([np.zeros(RATE_HZ, np.float32), noise(RATE_HZ), 1e-3 * noise(RATE_HZ)]).astype(np.float32)
    frames = log_mel(Recording(signal, RATE_HZ), DCASE)
    assert len(frames) == 301
    assert (frames[:98] == np.float32(np.log(0.001))).all()
    quiet = log_mel(Recording(signal[2 * RATE_HZ :], RATE_HZ), DCASE)
    np.testing.assert_allclose(frames[203:], quiet[3:], atol=1e-5)


def test_the_baselines_huge_samples_have_finite_frames() -> None:
    frames = log_mel(Recording((3e38 * np.sign(noise(RATE_HZ))).astype(np.float32), RATE_HZ), DCASE)
    assert np.isfinite(frames.astype(np.float16)).all()


# ------------------------------------------------------------------ compute


def test_every_call_decodes_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sound(tmp_path / "a.wav", noise(RATE_HZ))
    opened: list[object] = []
    plain_open = soundfile.SoundFile.__init__

    def counted(self: soundfile.SoundFile, *args: object, **options: object) -> None:
        opened.append(args)
        plain_open(self, *args, **options)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", counted)
    first = compute(path, ["all"])
    assert list(first) == ["lh", "x"]
    assert len(opened) == 1
    write_sound(path, noise(RATE_HZ, seed=1))
    opened.clear()
    assert not np.array_equal(compute(path, [X])["x"], first["x"])
    assert len(opened) == 1


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuarantineError, match=r"missing.wav: cannot be read: No such file"):
        compute(tmp_path / "missing.wav", ["lh"])
    with pytest.raises(InputError, match="mode must be one of"):
        compute(write_sound(tmp_path / "a.wav", noise(9)), ["mel"])
    path = write_sound(tmp_path / "huge.wav", [3.4e38, -3.4e38] * 1000, 48_000, subtype="FLOAT")
    with pytest.raises(
        QuarantineError, match=r"huge.wav: overflows when resampled to 44100 Hz: its samples reach 3.4e"
    ):
        compute(path, ["lh"])


def test_huge_samples_have_finite_frames(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "huge.wav", 3e38 * np.sign(noise(RATE_HZ)), subtype="FLOAT")
    frames = compute(path, ["lh"])["lh"].astype(np.float16)
    assert np.isfinite(frames).all()
    assert frames.max() > 700
