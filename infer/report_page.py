"""A report as one HTML file that needs nothing else.

Conventions
-----------
Numbers and names reach the page as JSON in an inert script tag, in ASCII with ``<``, ``>`` and ``&`` escaped, and are
shown as text only. Pictures and sounds stand in Base64 in inert tags of their own at the end of the file, so that the
page is drawn before they are read, and each is decoded when it is shown. A Content-Security-Policy allows the one
script and the one style by their digests, and nothing from anywhere else.
"""

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from cache import StoreReader
from cache.outfile import write_atomically
from corpus.rows import counted
from featurize.modes import completed
from infer.axes import Grid
from infer.players import Players, Sound
from infer.report import Report
from infer.report_clips import LISTS
from infer.report_words import class_rows, counts, headline, media_words, of_groups, rules, times
from infer.thumbnails import MAX_COLUMNS, Thumbnails, colour_ramp

_SCRIPTS = ("page.js", "charts.js", "matrix.js", "verdicts.js", "review.js", "start.js")
_UNITS = 10_000  # probabilities are whole numbers of ten-thousandths


@dataclass(frozen=True)
class Media:
    """What the pictured clips of a report are shown and heard with.

    Attributes
    ----------
    readers : mapping of {str: StoreReader}
        Mode → its clips.
    thumbnails : Thumbnails
    players : Players
    """

    readers: Mapping[str, StoreReader]
    thumbnails: Thumbnails
    players: Players


def write_page(
    report: Report, media: Media, out: Path, *, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, Any]:
    """Write the page, whole or not at all.

    Parameters
    ----------
    report : Report
    media : Media
    out : Path
        One that is there is replaced.
    progress : callable, optional
        Called with stage, clips done and clips in all.

    Returns
    -------
    dict
        ``pictured``, ``embedded``, ``linked`` (clips with pictures, with embedded and with linked sounds), ``bytes``.
    """
    pictures = _pictures(report, media)
    sounds = {row: sound for row in report.pictured if (sound := media.players.get(str(report.clips["path"][row])))}
    data = page_data(report, media.readers, pictures, sounds)
    tags = _counted(_media_tags(report, media, pictures, sounds), len(report.pictured), progress)
    page = _environment().get_template("report.html").stream(**_words(report, sounds), data=_inert(data), media=tags)
    page.enable_buffering(50)
    write_atomically(out, lambda part: _dump(page, part))
    embedded = sum(bool(sound.data) for sound in sounds.values())
    n_bytes = out.stat().st_size
    pictured = sum(any(row) for row in pictures.values())
    return {"pictured": pictured, "embedded": embedded, "linked": len(sounds) - embedded, "bytes": n_bytes}


def _dump(page: Iterable[str], part: Path) -> None:
    with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(page)


def _counted(
    tags: Iterable[tuple[int, str, str]], total: int, progress: Callable[[str, int, int], None] | None
) -> Iterator[tuple[str, str]]:
    for done, name, text in tags:
        if progress:
            progress("report", done, total)
        yield name, text


_Extent = tuple[int, int, float, float, int, int]


def _pictures(report: Report, media: Media) -> dict[int, list[_Extent | int]]:
    """Return the extent of each pictured clip in each mode; 0 where it has no frames."""
    places = {mode: {name: clip for clip, name in enumerate(reader.names)} for mode, reader in media.readers.items()}
    found: dict[int, list[_Extent | int]] = {}
    for row in report.pictured:
        name = report.clips["fname"][row]
        of_clip: list[_Extent | int] = []
        for mode, reader in media.readers.items():
            frames = reader[places[mode][name]] if name in places[mode] else None
            of_clip.append(_extent(frames) if frames is not None else 0)
        if any(of_clip):
            found[row] = of_clip
    return found


def _extent(frames: np.ndarray[Any, np.dtype[np.floating]]) -> _Extent:
    """Return frames, columns, least and greatest value, and the first and one past the last frame with any sound.

    Padding is digital silence, which is the least value in all bands.
    """
    n_frames, low = len(frames), frames.min()
    columns = math.ceil(n_frames / math.ceil(n_frames / MAX_COLUMNS))
    heard = np.flatnonzero((frames > low).any(axis=1))
    first, last = (int(heard[0]), int(heard[-1]) + 1) if heard.size else (0, n_frames)
    return n_frames, columns, round(float(low), 1), round(float(frames.max()), 1), first, last


def _media_tags(
    report: Report, media: Media, pictures: Mapping[int, Sequence[Any]], sounds: Mapping[int, Sound]
) -> Iterator[tuple[int, str, str]]:
    """Yield (clips done, id, text) of each inert tag: ``p<row>-<mode>`` for pictures, ``a<row>`` for sounds."""
    places = {mode: {name: clip for clip, name in enumerate(reader.names)} for mode, reader in media.readers.items()}
    for done, row in enumerate(report.pictured, start=1):
        for number, (mode, reader) in enumerate(media.readers.items()):
            if row in pictures and pictures[row][number]:
                picture = media.thumbnails.get(reader, places[mode][report.clips["fname"][row]])
                yield done, f"p{row}-{number}", base64.b64encode(picture).decode()
        if row in sounds and sounds[row].data:
            yield done, f"a{row}", base64.b64encode(sounds[row].data).decode()


def page_data(
    report: Report,
    readers: Mapping[str, StoreReader],
    pictures: Mapping[int, Sequence[Any]],
    sounds: Mapping[int, Sound],
) -> dict[str, Any]:
    """Return all that the page's script needs, as JSON-able values; columns of clips are lists of equal length."""
    clips = report.clips
    usages, usage = _codes(clips["usage"])
    groups, group = _codes(clips["group"])
    training = clips.loc[clips["split"] == "train", "truth"]
    return {
        "id": _digest(report),
        "classes": report.classes,
        "runClasses": sorted({int(number) for number in training if number >= 0}),
        "order": report.order,
        "scores": report.scores,
        "curves": {
            mode: {fold: _columns(table) for fold, table in f.items()} for mode, f in report.facts.curves.items()
        },
        "usages": usages,
        "groups": groups,
        "clips": {
            "name": clips["fname"].tolist(),
            "split": "".join("r" if split == "train" else "t" for split in clips["split"]),
            "truth": clips["truth"].tolist(),
            "top": clips[["top1", "top2", "top3"]].to_numpy(np.int64).ravel().tolist(),
            "p": _whole(clips[["p1", "p2", "p3"]].to_numpy(np.float64).ravel()),
            "pl": _whole(clips["p_label"].to_numpy(np.float64)),
            "verified": clips["verified"].tolist(),
            "scored": clips["scored"].astype(int).tolist(),
            "fold": clips["fold"].fillna(-1).astype(int).tolist(),
            "usage": usage,
            "group": group,
        },
        "lists": {name: {"title": title, "rows": report.lists[name]} for name, title in LISTS.items()},
        "quarantined": report.quarantined,
        "unpredicted": report.measured.unpredicted,
        "modes": [_mode(reader) for reader in readers.values()],
        "pictures": pictures,
        "sounds": {row: {"mime": s.mime, "link": s.link, "note": s.note} for row, s in sounds.items()},
        "ramp": ["#" + bytes(colour).hex() for colour in colour_ramp(17)],
    }


def _digest(report: Report) -> str:
    """Tell corpora apart whose clips or labels differ, so that verdicts are not taken for those on other labels."""
    rows = report.clips.loc[report.clips["split"] == "train", ["fname", "label"]]
    text = json.dumps(rows.to_numpy(object).tolist())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _codes(column: "pd.Series[str]") -> tuple[list[str], list[int]]:
    codes, values = pd.factorize(column, sort=True)
    return [str(value) for value in values], codes.tolist()


def _columns(table: pd.DataFrame) -> dict[str, list[float | None]]:
    return {
        str(name): [round(value, 5) if math.isfinite(value) else None for value in table[name]]
        for name in table.columns
    }


def _whole(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    units = np.where(np.isnan(values), -1, np.rint(np.nan_to_num(values) * _UNITS))
    return [int(value) for value in units]


def _mode(reader: StoreReader) -> dict[str, Any]:
    """Return where a mode's frames and bands lie: ticks are (share of the height from below, label)."""
    grid, settings = Grid.of(reader.settings), completed(reader.settings)
    part = f"first {settings['window_seconds']:g} s" if settings["head_only"] else "whole clip"
    return {
        "name": reader.mode,
        "title": f"{reader.mode.upper()}: {part}, {grid.n_bands} bands",
        "hop_seconds": grid.hop_seconds,
        "n_bands": grid.n_bands,
        "unit": "dB" if settings["log_offset"] is None else "ln",
        "window_frames": 1 + round(settings["window_seconds"] * settings["sample_rate_hz"]) // settings["hop_samples"],
        "ticks": [((band + 0.5) / grid.n_bands, label) for band, label in grid.frequency_ticks().items() if label],
    }


def _inert(value: Any) -> Markup:
    """Write JSON that no HTML parser sees anything in: ASCII, without the characters that markup is made of."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def visible(text: object) -> str:
    """Write text with control and bidirectional characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def _environment() -> jinja2.Environment:
    source = (files("infer") / "templates" / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"report.html": source}), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "visible": visible,
        "score": lambda value: f"{value:.3f}",
        "clips_of": lambda score: counted(score["clips"], "clip") + of_groups(score),
        "seconds": _seconds,
        "setting": _setting,
        "lookup": lambda key, values: values.get(key),
    }
    return environment


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _setting(value: object) -> str:
    return visible(json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value)


def _asset(*names: str) -> Markup:
    text = "\n".join((files("infer") / "templates" / name).read_text(encoding="utf-8") for name in names)
    return Markup(text)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _words(report: Report, sounds: Mapping[int, Sound]) -> dict[str, Any]:
    """Return what the template fills in."""
    script = Markup('"use strict";\n(() => {\n') + _asset(*_SCRIPTS) + Markup("})();\n")
    style, clips = _asset("report.css"), report.clips
    recipe = report.facts.settings.get("Recipe", {})
    usages = [name for row in report.scores for name in row["test"] if name != "all"]
    return {
        "script": script,
        "script_hash": _hash(script),
        "style": style,
        "style_hash": _hash(style),
        "version": version("earmark"),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "corpus": report.corpus,
        "run": report.run,
        "counts": counts(report),
        "remarks": report.measured.remarks,
        "headline": headline(report),
        "has_test_scores": bool(report.scores[-1]["test"]),
        "scores": report.scores,
        "usages": list(dict.fromkeys([*usages, *(["all"] if report.scores[-1]["test"] else [])])),
        "folds": sorted({fold for row in report.scores for fold in row["folds"]}),
        "rules": rules(report),
        "times": times(report.facts.times),
        "measured": report.measured.seconds,
        "settings": report.facts.settings,
        "mixed": bool(recipe.get("mixup_alpha") and recipe.get("unmixed_share")),
        "by_class": class_rows(report),
        "has_test": bool(report.by_class["test_clips"].sum()),
        "has_verified": bool((clips["verified"] >= 0).any()),
        "media_words": media_words(report, sounds),
        "quarantined": [(clips["fname"][row], reason) for row, reason in report.quarantined.items()],
    }
