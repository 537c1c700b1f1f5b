"""What a corpus holds at a glance: clips, hours, classes, kinds of files, and what is wrong with it.

Sound files are opened for their headers only, so that a summary of FSDKaggle2018 takes seconds; what only decoding
shows (a damaged body, NaN) is not found here. Hours and seconds are those that the headers promise, at each file's
own sample rate, over all clips whose header can be read. Every value is plain JSON.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypedDict

import pandas as pd
import soundfile

from corpus.files import Problem
from corpus.groups import groups_of
from corpus.rows import counted

_WIDTH = 80  # columns of a terminal that a summary fits into
_PROBLEMS_SHOWN = 20
_NO_LENGTH = 2**53  # libsndfile gives 2**63 - 1 frames where a header holds no length


class ClassSummary(TypedDict):
    """Clips of one class: training clips, those of them verified by hand, and test clips."""

    train: int
    verified: int
    test: int


class SecondsSummary(TypedDict):
    """Lengths of clips in seconds."""

    shortest: float
    mean: float
    longest: float


class CorpusSummary(TypedDict):
    """A corpus at a glance; counts are clips unless a name says otherwise.

    ``clips`` and ``hours`` have the keys train, test and total. ``verified`` and ``unverified`` count training clips,
    of which the rest is of unknown state; ``verified_share``, in [0, 1], is None where all are. ``seconds`` is None
    where no header promises a sample. ``in_one_fold`` names classes whose training clips are all of one given fold, or
    one group, or one clip: no fold can score them. ``problems`` begins with what reading the clip table found, then
    goes in the order of the table.
    """

    layout: str | None
    clips: dict[str, int]
    hours: dict[str, float]
    classes: dict[str, ClassSummary]
    verified: int
    unverified: int
    verified_share: float | None
    usage: dict[str, int]
    folds: int
    groups: int
    in_one_fold: list[str]
    seconds: SecondsSummary | None
    sample_rates_hz: dict[str, int]
    channels: dict[str, int]
    encodings: dict[str, int]
    problems: list[Problem]


@dataclass(frozen=True)
class _Header:
    """What a file's header says, or why it says nothing; `problem` may be set beside the rest."""

    seconds: float | None = None
    sample_rate_hz: int = 0
    channels: int = 0
    encoding: str = ""
    problem: str | None = None


def summarize(
    table: pd.DataFrame,
    *,
    max_clip_minutes: float = 10.0,
    threads: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> CorpusSummary:
    """Summarize a corpus from its clip table and the headers of its files.

    Parameters
    ----------
    table : pandas.DataFrame
        A clip table of `corpus.tables.read_corpus`.
    max_clip_minutes : float
        Longer clips are told as problems; featurizing quarantines them.
    threads : int, at least 1
        Threads that read headers at the same time.
    progress : callable or None
        Called as ``progress(done, total)`` after each clip, from the calling thread.

    Returns
    -------
    CorpusSummary
        A dict of plain JSON values.
    """
    headers = _read_headers(list(table["path"]), max_seconds=60 * max_clip_minutes, threads=threads, progress=progress)
    readable = [header for header in headers if header.seconds is not None]
    train, test = table["split"] == "train", table["split"] == "test"
    state = table.loc[train, "manually_verified"].dropna()
    verified = int(state.sum())
    return {
        "layout": table.attrs.get("layout"),
        "clips": {"train": int(train.sum()), "test": int(test.sum()), "total": len(table)},
        "hours": _hours(headers, table["split"]),
        "classes": _classes(table),
        "verified": verified,
        "unverified": len(state) - verified,
        "verified_share": verified / len(state) if len(state) else None,
        "usage": dict(sorted(Counter(table["usage"].dropna()).items())),
        "folds": int(table["fold"].nunique()),
        "groups": int(table["group"].nunique()),
        "in_one_fold": _in_one_fold(table[train & table["label"].notna()]),
        "seconds": _seconds([header.seconds for header in headers if header.seconds]),
        "sample_rates_hz": _counts(str(header.sample_rate_hz) for header in readable),
        "channels": _counts(str(header.channels) for header in readable),
        "encodings": _counts(header.encoding for header in readable),
        "problems": [*table.attrs.get("problems", []), *_problems(table["fname"], headers)],
    }


def format_summary(summary: CorpusSummary) -> str:
    """Lay a summary out as text of at most 80 columns.

    Parameters
    ----------
    summary : CorpusSummary
        As given by `summarize`.

    Returns
    -------
    str
        Lines without a newline at the end. Long names are cut, characters that a terminal would obey are escaped, and
        of the problems only the first 20 are told in words.
    """
    lines = [*_headline(summary), "", *_kinds(summary), "", f"{'class':<44}{'train':>8}{'verified':>10}{'test':>8}"]
    for label, count in summary["classes"].items():
        lines.append(f"{fit(label, 43)} {count['train']:>8,}{count['verified']:>10,}{count['test']:>8,}")
    problems = summary["problems"]
    lines += ["", f"problems: {len(problems):,}" if problems else "no problems"]
    for problem in problems[:_PROBLEMS_SHOWN]:
        lines.append(f"  {fit(problem['fname'], 28)} {fit(problem['reason'], _WIDTH - 31)}".rstrip())
    if len(problems) > _PROBLEMS_SHOWN:
        lines.append(f"  and {len(problems) - _PROBLEMS_SHOWN:,} more")
    return "\n".join(lines)


def _read_headers(
    paths: Sequence[str], *, max_seconds: float, threads: int, progress: Callable[[int, int], None] | None
) -> list[_Header]:
    headers = []
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for header in pool.map(lambda path: _read_header(path, max_seconds=max_seconds), paths):
            headers.append(header)
            if progress is not None:
                progress(len(headers), len(paths))
    return headers


def _read_header(path: str, *, max_seconds: float) -> _Header:
    # Bytes, because soundfile cannot encode a path that is not UTF-8.
    raw_path = os.fsencode(path)
    try:
        if os.path.getsize(raw_path) == 0:
            return _Header(problem="the file is empty")
        info = soundfile.info(raw_path)
    except OSError as error:
        return _Header(problem=f"cannot be read: {error.strerror}")
    except soundfile.LibsndfileError as error:
        return _Header(problem=f"cannot be decoded: {error.error_string}")
    # soundfile asks for settings by a TypeError where a file is named .raw.
    except TypeError:
        return _Header(problem="cannot be decoded: a header-less file")
    if info.frames >= _NO_LENGTH:
        return _Header(problem="its header gives no length")
    seconds = info.frames / info.samplerate
    problem = None
    if info.frames == 0:
        problem = "holds no samples"
    elif seconds > max_seconds:
        problem = f"longer than {max_seconds / 60:g} min ({seconds / 60:.1f} min)"
    return _Header(seconds, info.samplerate, info.channels, f"{info.format} {info.subtype}", problem)


def _problems(fnames: "pd.Series[str]", headers: Sequence[_Header]) -> list[Problem]:
    pairs = zip(fnames, headers, strict=True)
    return [Problem(fname=fname, reason=header.problem) for fname, header in pairs if header.problem is not None]


def _hours(headers: Sequence[_Header], splits: "pd.Series[str]") -> dict[str, float]:
    seconds = {"train": 0.0, "test": 0.0}
    for split, header in zip(splits, headers, strict=True):
        seconds[split] += header.seconds or 0.0
    return {
        "train": seconds["train"] / 3600,
        "test": seconds["test"] / 3600,
        "total": (seconds["train"] + seconds["test"]) / 3600,
    }


def _classes(table: pd.DataFrame) -> dict[str, ClassSummary]:
    train, test = table["split"] == "train", table["split"] == "test"
    verified = train & table["manually_verified"].fillna(False).astype(bool)
    trains, verifieds, tests = (Counter(table.loc[rows, "label"].dropna()) for rows in (train, verified, test))
    labels = sorted({*trains, *tests})
    return {label: {"train": trains[label], "verified": verifieds[label], "test": tests[label]} for label in labels}


def _in_one_fold(clips: pd.DataFrame) -> list[str]:
    groups = groups_of(clips)
    parts = clips["fname"].to_numpy(object) if groups is None else groups
    if clips["fold"].notna().any():
        parts = clips["fold"].to_numpy(object)
    n_parts = pd.Series(parts).groupby(clips["label"].to_numpy(object)).nunique()
    return sorted(n_parts.index[n_parts == 1])


def _seconds(seconds: Sequence[float]) -> SecondsSummary | None:
    if not seconds:
        return None
    return {"shortest": min(seconds), "mean": sum(seconds) / len(seconds), "longest": max(seconds)}


def _counts(values: Iterable[str]) -> dict[str, int]:
    """Count values, the most frequent first, equal counts by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _headline(summary: CorpusSummary) -> list[str]:
    lines = [f"layout {summary['layout']}, {counted(len(summary['classes']), 'class')}", ""]
    lines.append(f"{'':<10}{'clips':>10}{'hours':>10}")
    clips, hours = summary["clips"], summary["hours"]
    lines += [f"{split:<10}{clips[split]:>10,}{hours[split]:>10.2f}" for split in ("train", "test", "total")]
    return lines


def _kinds(summary: CorpusSummary) -> list[str]:
    lines = []
    if (share := summary["verified_share"]) is not None:
        told = f"{summary['verified']:,} of {summary['clips']['train']:,} training clips ({100 * share:.1f} %)"
        lines.append(f"{'verified':<10}{told}")
    if (seconds := summary["seconds"]) is not None:
        three = f"shortest {seconds['shortest']:.2f}, mean {seconds['mean']:.2f}, longest {seconds['longest']:.2f}"
        lines.append(f"{'seconds':<10}{three}")
    lines += _listed("usage", summary["usage"])
    lines += _listed("rates", summary["sample_rates_hz"], unit=" Hz")
    lines += _listed("channels", summary["channels"])
    lines += _listed("encoding", summary["encodings"])
    if summary["folds"] or summary["groups"]:
        lines.append(f"{'given':<10}{counted(summary['folds'], 'fold')}, {counted(summary['groups'], 'group')}")
    if alone := summary["in_one_fold"]:
        text = f"{counted(len(alone), 'class')} in one fold only, which none can score: {', '.join(alone)}"
        lines.append(f"{'alone':<10}{fit(text, _WIDTH - 10).rstrip()}")
    return lines


def _listed(title: str, counts: Mapping[str, int], *, unit: str = "") -> list[str]:
    """Give one line of values with their counts, cut to the width; none where nothing was counted."""
    text = ", ".join(f"{value}{unit}: {count:,}" for value, count in counts.items())
    return [f"{title:<10}{fit(text, _WIDTH - 10).rstrip()}"] if text else []


def fit(text: str, columns: int) -> str:
    """Pad or cut text to a number of columns, with control characters escaped and wide characters counted as two."""
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    if _columns(safe) <= columns:
        return safe + " " * (columns - _columns(safe))
    while _columns(safe) > columns - 1:
        safe = safe[:-1]
    return safe + "…" + " " * (columns - 1 - _columns(safe))


def _columns(text: str) -> int:
    widths = (0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)
    return sum(widths)
