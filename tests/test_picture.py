"""Pictures of stored clips: what stands where, and that a file is whole or not there."""

import dataclasses
import struct
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sounds import noise, sine

from cache.errors import InputError
from featurize.audio import Recording
from featurize.logmel import log_mel
from featurize.modes import DCASE, LH, FeatureMode, X
from infer.clips import StoredClip
from infer.picture import draw, loudest, picture_name, write_picture

RATE_HZ = 44_100
each_mode = pytest.mark.parametrize("mode", [LH, X], ids=["lh", "x"])


def stored(signal: np.ndarray, mode: FeatureMode, name: str = "a.wav") -> StoredClip:
    """What a store would hold of a signal."""
    frames = log_mel(Recording(signal.astype(np.float32), RATE_HZ), mode).astype(mode.dtype)
    return StoredClip(name, mode.name, mode.to_dict(), len(signal) / RATE_HZ, frames)


def flat(n_frames: int, level_db: float = -40, **changes: Any) -> StoredClip:
    frames = np.full((n_frames, X.n_mels), level_db, np.float16)
    return StoredClip("a.wav", "x", {**X.to_dict(), **changes}, n_frames * 0.02, frames)


def panel(clip: StoredClip) -> Axes:
    return draw([clip]).axes[0]


def shown(axes: Axes) -> np.ndarray:
    """The numbers behind the colours: [n_bands, n_columns]."""
    return np.asarray(axes.images[0].get_array())


def cell(axes: Axes, seconds: float, band: float) -> float:
    """The number that is drawn at a place of the axes."""
    left, right, bottom, top = axes.images[0].get_extent()
    n_bands, n_columns = shown(axes).shape
    column = int((seconds - left) / (right - left) * n_columns)
    return float(shown(axes)[int((band - bottom) / (top - bottom) * n_bands), column])


def label_positions(axes: Axes) -> dict[str, float]:
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(labels, axes.get_yticks().tolist(), strict=True))


class TestPlaces:
    @each_mode
    @pytest.mark.parametrize("label", ["500", "1k", "2k", "5k"])
    def test_a_sine_lies_at_the_mark_of_its_frequency(self, mode, label):
        frequency_hz = float(label.replace("k", "000"))
        axes = panel(stored(sine(7 * RATE_HZ, frequency_hz), mode))
        loudest_band = shown(axes)[:, 100].argmax()
        assert abs(label_positions(axes)[label] - loudest_band) <= 0.6
        assert cell(axes, 2.0, label_positions(axes)[label]) > shown(axes)[:, 100].max() - 6

    @each_mode
    def test_the_pixels_at_a_mark_are_those_of_its_frequency(self, mode):
        figure = draw([stored(sine(7 * RATE_HZ, 1000), mode)])
        canvas = cast(FigureCanvasAgg, figure.canvas)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())
        brightness = {}
        for label, band in label_positions(figure.axes[0]).items():
            x, y = figure.axes[0].transData.transform((2.0, band))
            brightness[label] = int(pixels[len(pixels) - 1 - int(y), int(x), :3].sum())
        assert brightness["1k"] > 500
        assert all(value < 300 for label, value in brightness.items() if label != "1k")

    @each_mode
    @pytest.mark.parametrize("seconds", [0.5, 2.0, 3.3])
    def test_a_click_lies_at_its_time(self, mode, seconds):
        signal = np.zeros(8 * RATE_HZ, np.float32)
        signal[0] = signal[-1] = 0.5  # so that nothing is trimmed
        signal[int(seconds * RATE_HZ)] = 0.9
        axes = panel(stored(signal, mode))
        middle = shown(axes)[:, 5:-5]
        assert (5 + middle.max(axis=0).argmax()) * 0.02 == pytest.approx(seconds, abs=0.01)
        assert cell(axes, seconds, 10) == middle[10].max()

    @pytest.mark.parametrize("n_frames", [1, 301, 1200, 1201, 30_000])
    def test_the_time_axis_is_as_long_as_the_frames(self, n_frames):
        axes = panel(flat(n_frames))
        assert axes.get_xlim() == pytest.approx((-0.01, (n_frames - 0.5) * 0.02))
        left, right, bottom, top = axes.images[0].get_extent()
        n_bands, n_columns = shown(axes).shape
        assert (left, bottom, top, n_bands) == (pytest.approx(-0.01), -0.5, X.n_mels - 0.5, X.n_mels)
        per_column = -(-n_frames // 1200)
        assert n_columns <= 1200
        assert (right - left) / n_columns == pytest.approx(per_column * 0.02)

    def test_the_axes_follow_the_stored_settings_not_this_version(self):
        axes = panel(flat(301, fmax_hz=6500.0, sample_rate_hz=13_000))
        assert axes.get_xlim()[1] == pytest.approx(300.5 * 0.04)
        assert label_positions(axes)["1k"] > label_positions(panel(flat(301)))["1k"] + 2

    def test_a_short_sound_stays_visible_in_ten_minutes(self):
        clip = flat(30_000, -60)
        frames = clip.frames.copy()
        frames[12_345, 7] = 0
        axes = panel(StoredClip("a.wav", "x", clip.settings, 600, frames))
        assert cell(axes, 12_345 * 0.02, 7) == 0
        assert (shown(axes) > -60).sum() == 1
        assert "each column the loudest of 25 frames" in axes.get_title(loc="left")


class TestWords:
    def test_titles_and_labels(self):
        clips = [stored(noise(3 * RATE_HZ), mode) for mode in (LH, X)]
        figure = draw(clips)
        assert figure.get_suptitle() == "a.wav, 3.00 s"
        lh, x, *bars = figure.axes
        assert lh.get_title(loc="left") == "LH: 201 frames × 128 bands, float16, first 4 s"
        assert x.get_title(loc="left") == "X: 301 frames × 48 bands, float16"
        assert (lh.get_xlabel(), x.get_xlabel()) == ("", "Time from the first stored frame (s)")
        assert {axes.get_ylabel() for axes in (lh, x)} == {"Frequency (Hz)"}
        assert [bar.get_ylabel() for bar in bars] == ["Band power (dB)"] * 2

    def test_every_colour_bar_has_its_unit(self):
        modes = [X, DCASE, dataclasses.replace(DCASE, power=2)]
        bars = draw([stored(noise(RATE_HZ), mode) for mode in modes]).axes[3:]
        assert [bar.get_ylabel() for bar in bars] == ["Band power (dB)", "Band magnitude (ln)", "Band power (ln)"]

    def test_colours_span_the_stored_numbers(self):
        clip = flat(3000, -60)
        frames = clip.frames.copy()
        frames[1000, 3], frames[2000, 4] = -90, -10
        axes = panel(StoredClip("a.wav", "x", clip.settings, 60, frames))
        assert axes.images[0].get_clim() == (-90, -10)

    def test_silence_is_dark(self):
        assert panel(flat(301, -100)).images[0].get_clim() == (-100, -99)

    @pytest.mark.parametrize(
        ("name", "title"),
        [
            ("$x_1$ 100%.wav", "$x_1$ 100%.wav"),
            ("$\\frac$.wav", "$\\frac$.wav"),
            ("dog/a\nb.wav", "dog/a\\nb.wav"),
            ("caf\udce9.wav", "caf\\xe9.wav"),
            ("犬.wav", "犬.wav"),  # no glyph for it
            ("x" * 60 + "y" * 60 + ".wav", "x" * 40 + "…" + "y" * 36 + ".wav"),
        ],
    )
    def test_any_name_fits_the_title(self, tmp_path, name, title):
        clip = StoredClip(name, "x", X.to_dict(), 1.0, flat(301).frames)
        assert draw([clip]).get_suptitle() == f"{title}, 1.00 s"
        write_picture(tmp_path / "a.png", [clip])

    @pytest.mark.parametrize(
        ("clip", "name"),
        [
            ("dog-01.wav", "dog-01.png"),
            ("dog/01 (2).take.flac", "dog-01 (2).take.png"),
            ("../../etc/x.wav", "etc-x.png"),
            ("/tmp/x.wav", "tmp-x.png"),
            ("a:b*?\n\udce9.wav", "a-b.png"),
            ("犬.wav", "犬.png"),
            (".wav", "wav.png"),
            ("---.wav", "clip.png"),
            ("..", "clip.png"),
            ("", "clip.png"),
            ("é" * 150 + ".wav", "é" * 100 + ".png"),
        ],
    )
    def test_the_default_name_is_one_plain_file_name(self, clip, name):
        assert picture_name(clip) == name


def test_loudest_takes_the_maximum_of_each_band():
    frames = np.arange(14, dtype=np.float16).reshape(7, 2) * np.array([1, -1], np.float16)
    assert loudest(frames, 3).tolist() == [[4, -1], [10, -7], [12, -13]]
    np.testing.assert_array_equal(loudest(frames, 1), frames)
    assert loudest(frames, 1).dtype == np.float32


class TestFile:
    def test_it_is_a_png_of_one_panel_a_mode(self, tmp_path):
        heights = []
        for count in (1, 2, 3):
            path = tmp_path / f"{count}.png"
            write_picture(path, [flat(301)] * count)
            data = path.read_bytes()
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
            width, height = struct.unpack(">II", data[16:24])
            assert width == 1600
            heights.append(height)
        assert np.diff(heights).tolist() == [520, 520]

    def test_it_does_not_depend_on_the_users_style(self, tmp_path):
        write_picture(tmp_path / "a.png", [flat(301)])
        before = dict(matplotlib.rcParams)
        with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "text.color": "white"}):
            write_picture(tmp_path / "b.png", [flat(301)])
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        assert dict(matplotlib.rcParams) == before

    @pytest.mark.parametrize("name", ["a.pdf", "a", ".png"])
    def test_another_suffix_is_refused(self, tmp_path, name):
        with pytest.raises(InputError, match=r"must end in \.png"):
            write_picture(tmp_path / name, [flat(301)])

    def test_a_failure_leaves_the_old_file_and_no_other(self, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"old")
        with pytest.raises(InputError, match="do not say"):
            write_picture(path, [flat(301, scale="unheard of")])

        def fail(out: Any) -> None:
            out.write(b"half")
            raise OSError(28, "No space left on device")

        def fail_in_file(path: Path, _data: bytes) -> None:
            with path.open("wb") as out:
                fail(out)

        for owner, method, failing in (
            (Figure, "savefig", lambda _figure, out, **_settings: fail(out)),
            (Path, "write_bytes", fail_in_file),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(owner, method, failing)
                with pytest.raises(OSError, match="No space"):
                    write_picture(path, [flat(301)])
        assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("a.png", b"old")]
