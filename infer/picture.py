"""Pictures of a clip's frames as they are stored.

Conventions
-----------
A picture is a PNG with one panel a mode: time in seconds from the first stored frame (of what was trimmed before it, a
store knows nothing), every band equally high with marks at round frequencies, and the stored numbers, in dB or as
natural logarithms (ln), as colours.
Where a panel has more frames than it can show, a column stands for several frames and shows the loudest of each band,
so that short sounds stay visible and the size of a picture does not grow with the clip.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cache.errors import InputError
from cache.outfile import write_atomically
from corpus.files import shown_name
from featurize.modes import QUANTITIES, completed
from infer.axes import Grid
from infer.clips import StoredClip

SUFFIX = ".png"
_MAX_COLUMNS = 1200  # somewhat less than a panel's width in pixels, so that each is seen
_WIDTH_INCHES = 8.0
_PANEL_INCHES = 2.6
_DOTS_PER_INCH = 200
_SHOWN_NAME = 80  # characters of a title
_STEM_BYTES = 200  # of a default file name

# Over matplotlib's own defaults, not the user's: a picture looks alike everywhere, and a name with $ is no formula.
_STYLE: list[Any] = [
    "default",
    {
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "ytick.minor.width": 0.4,
        "figure.titlesize": 11,
        "figure.titleweight": "bold",
        "text.parse_math": False,
    },
]


def picture_name(clip: str) -> str:
    """Return the default file name for a clip: its name without folders' slashes and suffix, and ``.png``.

    Parameters
    ----------
    clip : str
        Name of the clip; those of folder trees are relative paths.
    """
    path = PurePosixPath(clip)
    stem = str(path.with_suffix("")) if path.name else ""
    plain = re.sub(r"[^\w .+,()@-]+", "-", stem)
    short = plain.encode()[-_STEM_BYTES:].decode(errors="ignore").strip(" .-")
    return (short or "clip") + SUFFIX


def check_suffix(path: Path) -> None:
    """Refuse a file name that promises another format.

    Raises
    ------
    InputError
    """
    if path.suffix.lower() != SUFFIX:
        message = f"a picture is a PNG, and its name must end in {SUFFIX}; got {path}"
        raise InputError(message)


def write_picture(path: Path, clips: Sequence[StoredClip]) -> None:
    """Draw a clip and write the picture, whole or not at all.

    Parameters
    ----------
    path : Path
        One that is there is replaced.
    clips : sequence of StoredClip
        The clip in one or more modes, a panel each.

    Raises
    ------
    InputError
        The file is not named as a PNG, or the stored settings do not tell where bands lie.
    """
    check_suffix(path)
    with style.context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for it
        data = io.BytesIO()
        draw(clips).savefig(data, format="png")
    write_atomically(path, lambda part: part.write_bytes(data.getvalue()))


def draw(clips: Sequence[StoredClip]) -> Figure:
    """Draw the figure: for each mode its panel, and after all of them their colour bars."""
    figure = Figure((_WIDTH_INCHES, 0.6 + _PANEL_INCHES * len(clips)), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{_printable(clips[0].name)}, {clips[0].seconds:.2f} s", x=0.01, ha="left")
    panels = figure.subplots(len(clips), squeeze=False)[:, 0]
    for axes, clip in zip(panels, clips, strict=True):
        image = _draw_panel(axes, clip)
        figure.colorbar(image, ax=axes, label=_level_label(clip.settings), pad=0.01, aspect=25)
    panels[-1].set_xlabel("Time from the first stored frame (s)")
    return figure


def _draw_panel(axes: Axes, clip: StoredClip) -> AxesImage:
    grid = Grid.of(clip.settings)
    per_column = math.ceil(len(clip.frames) / _MAX_COLUMNS)
    columns = loudest(clip.frames, per_column)
    low, high = float(clip.frames.min()), float(clip.frames.max())
    begin = -0.5 * grid.hop_seconds
    image = axes.imshow(
        columns.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1),  # so that silence, whose frames are constant, is dark
        extent=(begin, begin + len(columns) * per_column * grid.hop_seconds, -0.5, grid.n_bands - 0.5),
    )
    axes.set_xlim(begin, begin + len(clip.frames) * grid.hop_seconds)
    ticks = grid.frequency_ticks()
    labelled = {band: label for band, label in ticks.items() if label}
    axes.set_yticks(list(labelled), list(labelled.values()))
    axes.set_yticks([band for band in ticks if band not in labelled], minor=True)
    axes.set_ylabel("Frequency (Hz)")
    axes.set_title(_panel_title(clip, per_column), loc="left")
    return image


def loudest(frames: npt.NDArray[np.floating], per_column: int) -> npt.NDArray[np.float32]:
    """Join neighbouring frames by the maximum of each band.

    Parameters
    ----------
    frames : ndarray [shape=(n_frames, n_bands)]
    per_column : int > 0
        So many frames become one; the last may stand for fewer.

    Returns
    -------
    ndarray [shape=(ceil(n_frames / per_column), n_bands), float32]
    """
    joined = np.maximum.reduceat(frames, np.arange(0, len(frames), per_column), axis=0)
    return joined.astype(np.float32)


def _level_label(settings: Mapping[str, Any]) -> str:
    whole = completed(settings)
    return f"Band {QUANTITIES[whole['power']]} ({'dB' if whole['log_offset'] is None else 'ln'})"


def _panel_title(clip: StoredClip, per_column: int) -> str:
    n_frames, n_bands = clip.frames.shape
    parts = [f"{clip.mode.upper()}: {n_frames} frames × {n_bands} bands", clip.frames.dtype.name]
    if clip.settings.get("head_only"):
        parts.append(f"first {clip.settings['window_seconds']:g} s")
    if per_column > 1:
        parts.append(f"each column the loudest of {per_column} frames")
    return ", ".join(parts)


def _printable(name: str) -> str:
    """Write a name on one line that fits the picture."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown_name(name))
    if len(shown) <= _SHOWN_NAME:
        return shown
    return f"{shown[: _SHOWN_NAME // 2]}…{shown[-_SHOWN_NAME // 2 :]}"
