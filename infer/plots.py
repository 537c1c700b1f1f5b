"""The pictures of a report as PNG files: learning curves, scores of classes, confusions, spectrograms.

Conventions
-----------
Drawn by matplotlib's objects on its Agg canvas, over its own defaults, so that a picture looks alike everywhere and a
``$`` in a name is no formula. Colours are Okabe and Ito's, which colour-blind people tell apart; levels differ in
lightness.
"""

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cache import StoreReader
from cache.outfile import write_atomically
from infer.clips import StoredClip
from infer.picture import picture_name, write_picture
from infer.report import Report

_DOTS_PER_INCH = 150
_BLUE, _ORANGE, _GREEN, _INK = "#0072b2", "#e69f00", "#009e73", "#1c2126"
_MOST_NUMBERED = 60  # classes; in a matrix of more, cells are too small for numbers
_MOST_LABELLED = 130
_STYLE: list[Any] = [
    "default",
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e3e7eb",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "text.parse_math": False,
    },
]


def write_pictures(
    report: Report,
    readers: Mapping[str, StoreReader],
    folder: Path,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Write a report's pictures into a folder; files of the same names are replaced.

    Parameters
    ----------
    report : Report
    readers : mapping of {str: StoreReader}
        Mode → its clips.
    folder : Path
        Made where it is not there.
    progress : callable, optional
        Called with stage, pictures done and pictures in all.

    Returns
    -------
    list of Path
        The files.
    """
    figures = {
        f"learning-curves-{mode}": curves_figure(mode, folds) for mode, folds in report.facts.curves.items() if folds
    }
    figures["class-scores"] = class_figure(report.by_class)
    for split, name in (("train", "out-of-fold"), ("test", "test")):
        counts = report.confusions(split)[np.ix_(report.order, report.order)]
        if counts.sum():
            title = "Confusions, out of fold" if split == "train" else "Confusions, test clips"
            figures[f"confusions-{name}"] = confusion_figure(counts, [report.classes[k] for k in report.order], title)
    written = [_save(figure, folder / f"{name}.png") for name, figure in figures.items()]
    listed = {row for rows in report.lists.values() for row in rows}
    rows = [row for row in report.pictured if row in listed]
    for place, row in enumerate(rows, start=1):
        if progress:
            progress("pictures", place, len(rows))
        written += _spectrograms(report.clips["fname"][row], readers, folder / "spectrograms", place)
    return written


def _spectrograms(name: str, readers: Mapping[str, StoreReader], folder: Path, place: int) -> list[Path]:
    stored = []
    for mode, reader in readers.items():
        if name in reader.names:
            clip = reader.names.index(name)
            stored.append(StoredClip(name, mode, reader.settings, float(reader.seconds[clip]), reader[clip]))
    if not stored:
        return []
    path = folder / f"{place:04d}-{picture_name(name)}"
    write_picture(path, stored)
    return [path]


def _save(figure: Callable[[], Figure], path: Path) -> Path:
    with style.context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for it
        data = io.BytesIO()
        figure().savefig(data, format="png")
    write_atomically(path, lambda part: part.write_bytes(data.getvalue()))
    return path


def _figure(width: float, height: float) -> Figure:
    figure = Figure((width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves_figure(mode: str, folds: Mapping[int, pd.DataFrame]) -> Callable[[], Figure]:
    """Return what draws loss and mAP@3 of a view over epochs: a thin line a fold, a thick one for their mean."""

    def draw() -> Figure:
        figure = _figure(8, 3.2)
        losses, scores = figure.subplots(1, 2)
        tables = list(folds.values())
        shared = min(map(len, tables))
        dot = "o" if shared == 1 else None  # one point makes no line
        for axes, name, colour, label in (
            (losses, "loss", _BLUE, "training"),
            (losses, "valid_loss", _ORANGE, "held fold"),
            (scores, "map3", _GREEN, "held fold"),
        ):
            for table in tables if len(tables) > 1 else []:
                thin: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.8, "marker": "o" if len(table) == 1 else None}
                axes.plot(table["epoch"], table[name], color=colour, **thin)
            mean = np.mean([table[name].to_numpy(np.float64)[:shared] for table in tables], axis=0)
            label = f"mean, {label}" if len(tables) > 1 else label
            axes.plot(tables[0]["epoch"][:shared], mean, color=colour, linewidth=1.8, label=label, marker=dot)
        last = max(float(table["epoch"].max()) for table in tables)
        for axes in (losses, scores):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if last <= 1:
                axes.set_xlim(0, 2)
        losses.set(title=f"View {mode}: loss", xlabel="Epoch", ylabel="Loss")
        losses.set_ylim(bottom=0)
        scores.set(title=f"View {mode}: mAP@3", xlabel="Epoch", ylabel="mAP@3", ylim=(0, 1))
        losses.legend()
        scores.legend(loc="lower right")
        return figure

    return draw


def class_figure(by_class: pd.DataFrame) -> Callable[[], Figure]:
    """Return what draws AP@3 of each class, out of fold and on the test clips, the best on top."""

    def draw() -> Figure:
        n_classes = len(by_class)
        figure = _figure(7, min(60, 1.2 + 0.24 * n_classes))
        axes = figure.subplots()
        places = np.arange(n_classes)
        has_test = bool(by_class["test_clips"].sum())
        shift = 0.19 if has_test else 0.0
        bars: dict[str, Any] = {"height": 0.36 if has_test else 0.7, "error_kw": {"elinewidth": 0.9, "ecolor": _INK}}
        axes.barh(places + shift, by_class["oof"], xerr=by_class["oof_se"], color=_BLUE, label="out of fold", **bars)
        if has_test:
            axes.barh(places - shift, by_class["test"], xerr=by_class["test_se"], color=_ORANGE, label="test", **bars)
        axes.set_yticks(places, [_short(label) for label in by_class["label"]])
        axes.set(title="AP@3 of each class ± standard error", xlabel="AP@3", xlim=(0, 1), ylim=(-0.6, n_classes - 0.4))
        axes.grid(visible=False, axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return figure

    return draw


def confusion_figure(counts: np.ndarray[Any, Any], labels: list[str], title: str) -> Callable[[], Figure]:
    """Return what draws a matrix of confusions [n, n]: rows are labels, columns the likeliest classes, in clips."""

    def draw() -> Figure:
        n_classes = len(counts)
        side = min(16.0, 2.6 + 0.27 * n_classes)
        figure = _figure(side + 1, side)
        axes = figure.subplots()
        axes.grid(visible=False)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        if n_classes <= _MOST_NUMBERED:
            for row, column in np.argwhere(counts):
                ink = "white" if shares[row, column] > 0.3 else _INK
                text = f"{counts[row, column]}"
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=6.5)
        if n_classes <= _MOST_LABELLED:
            size = max(4.0, min(8.0, 330 / n_classes))
            shown = [_short(label) for label in labels]
            axes.set_xticks(range(n_classes), shown, rotation=90, fontsize=size)
            axes.set_yticks(range(n_classes), shown, fontsize=size)
        axes.set(title=title, xlabel="Likeliest class", ylabel="Label")
        figure.colorbar(image, ax=axes, label="Share of the label's clips", shrink=0.7, ticks=[0, 0.1, 0.25, 0.5, 1])
        return figure

    return draw


def _short(label: str, most: int = 34) -> str:
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in label)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
