"""Why a clip or a mode's store is done, stale or missing, in words.

Conventions
-----------
A clip is **done** (its row has frames), **quarantined** (its row, or its file, says why there are none), **stale**
(its name has rows, but of other bytes), **missing** (its name has no row) or **gone** (the store has it, the corpus has
not). A mode is **absent** (no shard at all), **damaged** (a shard cannot be read), **stale**, **missing** or **done**:
the first of these that holds. Digests are shown by their first digits, lengths in seconds. Nothing is written, and no
lock taken.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from cache import IndexRow, StoreIndex, scan_index
from cache.errors import IntegrityError, NotFoundError
from cache.plan import decide
from cache.table import read_table
from featurize.modes import QUANTITIES, FeatureMode, completed
from featurize.notes import NAMED, OtherFolder, other_folders, some
from featurize.sources import Progress, Source, header_seconds, look_at_all

_SHOWN_DIGITS = 8

State = Literal["done", "quarantined", "stale", "missing", "gone"]


@dataclass(frozen=True)
class ClipReason:
    """A clip in one mode.

    Parameters
    ----------
    fname, mode : str
    state : {"done", "quarantined", "stale", "missing", "gone"}
    text : str
        One sentence that begins with the clip's name.
    detail : str
        The same without what the summary of its mode says anyway.
    """

    fname: str
    mode: str
    state: State
    text: str
    detail: str


@dataclass(frozen=True)
class ModeReason:
    """A mode's folder for one corpus.

    Parameters
    ----------
    mode : FeatureMode
    folder : Path
    clips : list of ClipReason
        Those of the corpus that were asked for, and those that only the store has.
    others : list of OtherFolder
        Folders of the mode in other settings.
    bad : list of str
        A sentence for each shard that cannot be read.
    n_rows : int
        Rows that the folder holds.
    """

    mode: FeatureMode
    folder: Path
    clips: list[ClipReason]
    others: list[OtherFolder] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    n_rows: int = 0

    @property
    def counts(self) -> Counter[str]:
        """How many clips are in each state."""
        return Counter(clip.state for clip in self.clips)

    @property
    def n_clips(self) -> int:
        """How many clips of the corpus were asked for."""
        return len(self.clips) - self.counts["gone"]

    @property
    def state(self) -> str:
        """Absent, damaged, stale, missing or done."""
        if self.bad:
            return "damaged"
        if not self.n_rows:
            return "absent"
        return next((state for state in ("stale", "missing") if self.counts[state]), "done")

    @property
    def reasons(self) -> list[str]:
        """The sentences that say why, each of them naming three clips at most."""
        return [*self._bad(), *self._settings(), *self._clips()]

    def _bad(self) -> Iterator[str]:
        yield from self.bad[:NAMED]
        if len(self.bad) > NAMED:
            yield f"{len(self.bad) - NAMED} more shards cannot be read: cli cache verify names them"
        if self.bad:
            yield "clips of shards that cannot be read count as missing"

    def _settings(self) -> Iterator[str]:
        if not self.n_rows and not self.bad:
            yield f"{self.folder} is not there: nothing was computed with these settings"
        names = {clip.fname for clip in self.clips if clip.state != "gone"}
        for other in self.others:
            held = len(names & other.names)
            yield f"{other.path.name} holds {held} of {len(names)} clips with other settings: {other.words}"

    def _clips(self) -> Iterator[str]:
        counts = self.counts
        for state, words in _SUMMARIES.items():
            details = [clip.detail for clip in self.clips if clip.state == state]
            if details and (self.n_rows or state == "quarantined"):
                subject = "1 clip" if len(details) == 1 else f"{counts[state]} clips"
                yield f"{state}: {subject} {words}: {some(details)}"


_SUMMARIES: Mapping[State, str] = {
    "stale": "whose file has other bytes than the one that was computed",
    "missing": "never computed",
    "quarantined": "without frames",
    "gone": "of the store that this corpus does not have (another one may)",
}


def explain(
    store: Path,
    modes: Sequence[FeatureMode],
    clips: pd.DataFrame,
    *,
    names: Collection[str] = (),
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[ModeReason]:
    """Compare a corpus as it is now with what a store holds of it.

    Parameters
    ----------
    store : Path
        Need not be there.
    modes : sequence of FeatureMode
    clips : DataFrame
        The clip table.
    names : collection of str
        The clips to explain; all by default. Only their files are read.
    jobs : int > 0
    progress : callable, optional
        ``progress(stage, done, total)``.

    Raises
    ------
    NotFoundError
        If a clip is neither in the corpus nor in the store; the near match is offered.
    """
    indices = {mode.name: scan_index(store / mode.folder) for mode in modes}
    corpus = set(clips["fname"])
    _check_names(names, corpus.union(*(index.by_name for index, _ in indices.values())))
    asked = clips[clips["fname"].isin(set(names))] if names else clips
    sources = look_at_all(asked, jobs=jobs, progress=progress)
    found: list[ModeReason] = []
    for mode in modes:
        folder = store / mode.folder
        index, bad = indices[mode.name]
        others = list(other_folders(folder, mode))
        reasons = list(_explain_sources(mode, sources, index, others))
        gone = sorted(set(index.by_name) - corpus)
        reasons += [_gone(mode, index.by_name[name]) for name in gone if name in names or not names]
        found.append(ModeReason(mode, folder, reasons, others, [_why_bad(path) for path in bad], len(index)))
    return found


def _check_names(names: Collection[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"neither the corpus nor the store has a clip {name!r}{hint}"
            raise NotFoundError(message)


def _why_bad(path: Path) -> str:
    try:
        read_table(path)
    except IntegrityError as error:
        return str(error)
    return f"shard {path} could not be read a moment ago: run it again"


def _explain_sources(
    mode: FeatureMode, sources: Sequence[Source], index: StoreIndex, others: Sequence[OtherFolder]
) -> Iterator[ClipReason]:
    decisions = decide([source.key for source in sources], index)
    for source, decision in zip(sources, decisions, strict=True):
        state: State = decision
        if source.problem:
            state, detail = "quarantined", f"its file {source.path} {source.problem}"
        elif decision == "done":
            row = index.by_key[source.key]
            state, detail = ("done", _held(row)) if row.has_frames else ("quarantined", row.problem)
        elif decision == "stale":
            detail = _change(index.by_name[source.name], source)
        else:
            detail = _elsewhere(source.name, others)
        yield _reason(mode, source.name, state, detail)


def _gone(mode: FeatureMode, row: IndexRow) -> ClipReason:
    return _reason(mode, row.key.name, "gone", "")


def _reason(mode: FeatureMode, name: str, state: State, detail: str) -> ClipReason:
    sentence = {
        "done": "is done",
        "quarantined": "is quarantined",
        "stale": "is stale: its file has other bytes than the one that was computed",
        "missing": "is missing: it was never computed with these settings",
        "gone": "is in the store, but not in this corpus (another one may have it)",
    }[state]
    joint = ", " if state in ("stale", "missing") else ": "
    text = f"{name} {sentence}{joint if detail else ''}{detail}"
    short = detail if state in ("stale", "quarantined") else ""
    return ClipReason(name, mode.name, state, text, f"{name} ({short})" if short else name)


def _held(row: IndexRow) -> str:
    return f"{row.n_frames} frames of {row.seconds:.2f} s in {row.shard}, SHA-256 {_short(row.key.digest)}"


def _change(row: IndexRow, source: Source) -> str:
    seconds = header_seconds(source.path)
    length = f"{seconds:.2f} s" if seconds else "a length that its header does not tell"
    return (
        f"SHA-256 {_short(row.key.digest)} → {_short(source.digest)}, {row.seconds:.2f} s → {length}; "
        f"the old row is in {row.shard}, generation {row.generation}"
    )


def _elsewhere(name: str, others: Sequence[OtherFolder]) -> str:
    return "; ".join(f"only with others in {other.path.name}: {other.words}" for other in others if name in other.names)


def _short(digest: str) -> str:
    return f"{digest[:_SHOWN_DIGITS]}…"


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Write a mode's settings in units that people read.

    Parameters
    ----------
    settings : mapping
        As a store gives them; of another version, they may lack some or have others, which are then shown as they are.
    """
    try:
        rate = settings["sample_rate_hz"]
        window = f"{'first' if settings['head_only'] else 'windows of'} {settings['window_seconds']:g} s"
        whole = completed(settings)
        bands = {"mel": "mels", "htk": "HTK mels", "log": "log-spaced bands"}[whole["scale"]]
        frame = whole["win_samples"] or settings["n_fft"]
        return (
            f"{rate / 1000:g} kHz, {settings['n_mels']} {bands} from {settings['fmin_hz']:g} Hz to "
            f"{settings['fmax_hz'] / 1000:g} kHz, frames of {frame / rate * 1000:.3g} ms every "
            f"{settings['hop_samples'] / rate * 1000:.3g} ms, {window}, {_describe_level(whole)}, "
            f"{settings['dtype']}, front-end {settings['front_end']}"
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ", ".join(f"{name} {value}" for name, value in settings.items()) or "settings unknown"


def _describe_level(settings: Mapping[str, Any]) -> str:
    trimmed = "untrimmed" if settings["trim_db"] is None else f"trimmed {settings['trim_db']:g} dB below the loudest"
    if settings["log_offset"] is not None:
        return f"{trimmed}, ln({QUANTITIES[settings['power']]} + {settings['log_offset']:g})"
    return trimmed if settings["top_db"] is None else f"{trimmed}, range {settings['top_db']:g} dB"
