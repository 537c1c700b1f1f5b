"""Tags: what a recording sounds like, as rows for people and programs.

Conventions
-----------
A tag is a class and its probability at the run's temperature, the likeliest first. A recording whose likeliest class is
below the least score is "unknown", and so is silence, which has no tags; one that cannot be decoded has a problem and
no tags.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from corpus.files import shown_name
from corpus.ontology import ONTOLOGY
from corpus.summary import fit

UNKNOWN = "unknown"
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Tagged:
    """A recording and its tags.

    Attributes
    ----------
    path : str
    seconds : float
        Its length; 0 where that is not known.
    tags : tuple of (str, float)
        Class and probability, the likeliest first.
    problem : str
        Why it has no tags, else empty.
    """

    path: str
    seconds: float = 0.0
    tags: tuple[tuple[str, float], ...] = ()
    problem: str = ""


def family_of(label: str) -> str:
    """Return the family of a class, empty for one that is not in the ontology's table."""
    return ONTOLOGY[label].family if label in ONTOLOGY else ""


def first_label(tagged: Tagged, *, min_score: float) -> str:
    """Return the likeliest class, "unknown" where it is below the least score, nothing where there is a problem."""
    if tagged.problem:
        return ""
    label, score = tagged.tags[0] if tagged.tags else (UNKNOWN, 0.0)
    return label if score >= min_score else UNKNOWN


def in_families(tagged: Tagged, families: Sequence[str], *, min_score: float) -> bool:
    """Tell whether a recording's first tag is of one of these families; with none given, all are."""
    return not families or family_of(first_label(tagged, min_score=min_score)) in families


def to_record(tagged: Tagged, *, min_score: float) -> dict[str, Any]:
    """Return a recording as a JSON-able record: path, seconds, label, tags and, where there is one, problem."""
    record: dict[str, Any] = {"path": shown_name(tagged.path), "seconds": round(tagged.seconds, 3)}
    if tagged.problem:
        return {**record, "problem": tagged.problem}
    return {
        **record,
        "label": first_label(tagged, min_score=min_score),
        "tags": [_tag(label, score) for label, score in tagged.tags],
    }


def _tag(label: str, score: float) -> dict[str, Any]:
    known = ONTOLOGY.get(label)
    more = {"audioset_id": known.audioset_id, "family": known.family} if known else {}
    return {"label": label, "score": round(score, 4), **more}


def to_json_line(tagged: Tagged, *, min_score: float) -> str:
    """Return a recording as one line of JSON."""
    return json.dumps(to_record(tagged, min_score=min_score), ensure_ascii=False) + "\n"


def csv_header(n_tags: int) -> str:
    """Return the first line of the CSV."""
    further = [name for number in range(2, n_tags + 1) for name in (f"label_{number}", f"score_{number}")]
    return _csv_line(["path", "seconds", "label", "score", "audioset_id", "family", *further, "problem"])


def to_csv_line(tagged: Tagged, *, min_score: float, n_tags: int) -> str:
    """Return a recording as a line of the CSV."""
    first = first_label(tagged, min_score=min_score)
    concept = ONTOLOGY.get(first)
    likeliest = f"{tagged.tags[0][1]:.4f}" if tagged.tags else ""
    row = [_plain(shown_name(tagged.path)), f"{tagged.seconds:.3f}", _plain_label(first), likeliest]
    row += [concept.audioset_id, concept.family] if concept else ["", ""]
    for label, score in tagged.tags[1:n_tags]:
        row += [_plain_label(label), f"{score:.4f}"]
    row += ["", ""] * (n_tags - max(1, len(tagged.tags[:n_tags])))
    return _csv_line([*row, tagged.problem])


def table_header() -> str:
    """Return the first line of the table for a terminal."""
    return _table_line(["recording", "likeliest", "p", "then", "p"])


def to_table_line(tagged: Tagged, *, min_score: float) -> str:
    """Return a recording as a line of at most 80 columns, with two tags."""
    cells = [tagged.path, tagged.problem, "", "", ""]
    if not tagged.problem:
        tags = [(label, f"{score:.2f}") for label, score in tagged.tags[:2]] + [("", "")] * 2
        cells = [tagged.path, first_label(tagged, min_score=min_score), tags[0][1], *tags[1]]
    return _table_line(cells)


def _table_line(cells: Sequence[str]) -> str:
    if not any(cells[2:]):
        return f"{fit(cells[0], 30)} {fit(cells[1], 49)}".rstrip() + "\n"
    line = " ".join(fit(cell, width) for cell, width in zip(cells, (30, 21, 4, 17, 4), strict=True))
    return line.rstrip() + "\n"


def _plain(path: str) -> str:
    """Keep a spreadsheet from taking a path for a formula: ``./`` before it names the same file."""
    return os.path.join(".", path) if path.startswith(_FORMULA_SIGNS) else path


def _plain_label(label: str) -> str:
    """Keep a spreadsheet from taking a class, which may come with a stranger's bundle, for a formula."""
    return f"'{label}" if label.startswith(_FORMULA_SIGNS) else label


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
