"""Why clips are computed anew: a sentence for each reason.

Conventions
-----------
Clips are named, three at most. What is merely missing needs no sentence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache import Key, StoreIndex, decide, scan_index
from cache.table import read_table
from featurize.audio import LIMIT_OPTION
from featurize.modes import FeatureMode, completed, difference

NAMED = 3
"""So many things are named in a sentence or a list."""


@dataclass(frozen=True)
class OtherFolder:
    """Another folder of a mode.

    Parameters
    ----------
    path : Path
    words : str
        How its settings differ from the mode's.
    names : frozenset of str
        The clips that it holds.
    """

    path: Path
    words: str
    names: frozenset[str]


def explain(
    folder: Path, mode: FeatureMode, wanted: Sequence[Key], *, index: StoreIndex, forgiving: StoreIndex
) -> list[str]:
    """Say why clips of a mode are computed anew.

    Parameters
    ----------
    folder : Path
        The mode's folder; those beside it may hold the clips in other settings.
    mode : FeatureMode
    wanted : sequence of Key
    index : StoreIndex
        The rows that the folder holds.
    forgiving : StoreIndex
        The same, where clips that the limit now lets in are stale.
    """
    names = {key.name for key in wanted}
    if names.isdisjoint(index.by_name):
        return [
            f"the settings changed ({other.words}): what {other.path.name} holds does not serve"
            for other in other_folders(folder, mode)
            if not names.isdisjoint(other.names)
        ]
    before = decide(wanted, index)
    now = before if forgiving is index else decide(wanted, forgiving)
    changed = [key.name for key, decision in zip(wanted, before, strict=True) if decision == "stale"]
    let_in = [key.name for key, was, is_ in zip(wanted, before, now, strict=True) if is_ == "stale" != was]
    notes = [f"{_count(changed)} changed: {some(changed)}"] if changed else []
    return [*notes, f"{_count(let_in)} been let in by the higher {LIMIT_OPTION}: {some(let_in)}"] if let_in else notes


def other_folders(folder: Path, mode: FeatureMode) -> Iterator[OtherFolder]:
    """Yield the folders beside this one that hold the mode's clips in other settings, as far as they can be read.

    Parameters
    ----------
    folder : Path
        The mode's folder.
    mode : FeatureMode
    """
    for other in sorted(folder.parent.glob(f"{mode.name}-*")):
        index, _ = scan_index(other)
        if other.name != folder.name and index.rows:
            stored = read_table(other / index.rows[0].shard).settings
            words = difference(completed(stored), completed(mode.to_dict()))
            yield OtherFolder(other, words, frozenset(index.by_name))


def some(names: Sequence[str]) -> str:
    """List names, three at most."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _count(names: list[str]) -> str:
    return "1 clip has" if len(names) == 1 else f"{len(names)} clips have"
