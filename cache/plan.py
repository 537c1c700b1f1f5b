"""Which clips must be computed, and which shards they make: pure decisions on keys.

Conventions
-----------
The plan depends only on the wanted keys and on the rows that are there, never on the order in which either is given,
on time or on the number of workers. After any of the planned shards have been sealed, planning again gives exactly the
others: a run after a kill makes the very files of an undisturbed one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cache.errors import InputError
from cache.index import StoreIndex
from cache.layout import Key, shard_filename

Decision = Literal["done", "stale", "missing"]


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be made.

    Attributes
    ----------
    keys : tuple of Key
        Sorted, each once.
    generation : int >= 0
        The shard supersedes rows of the same names in shards of lower generations.
    """

    keys: tuple[Key, ...]
    generation: int = 0

    def __post_init__(self) -> None:
        if not self.keys:
            raise InputError("a shard must hold at least one clip; got no keys")
        if list(self.keys) != sorted(set(self.keys)):
            msg = f"a shard's keys must be sorted and each given once; got {len(self.keys)} that are not"
            raise InputError(msg)

    @classmethod
    def of(cls, keys: Iterable[Key], *, generation: int = 0) -> "ShardPlan":
        """Plan a shard for keys in any order."""
        return cls(tuple(sorted(keys)), generation)

    @property
    def filename(self) -> str:
        """The shard's file name, which depends on the keys and the generation alone."""
        return shard_filename(self.keys, self.generation)


def decide(wanted: Sequence[Key], index: StoreIndex) -> list[Decision]:
    """Say for each clip what a run has to do.

    Parameters
    ----------
    wanted : sequence of Key
    index : StoreIndex
        The rows that the mode's folder holds.

    Returns
    -------
    list of {"done", "stale", "missing"}
        As long as ``wanted``. ``done``: the clip has a row, with frames or with a problem; ``stale``: its name has
        rows, but only of other source bytes; ``missing``: its name is unknown.
    """
    rows, generations = index.by_key, index.generations
    return ["done" if key in rows else "stale" if key.name in generations else "missing" for key in wanted]


def plan_shards(wanted: Sequence[Key], index: StoreIndex, *, clips_per_shard: int) -> list[ShardPlan]:
    """Cut the clips that are not done into shards.

    Missing clips make shards of generation 0. Stale ones make shards of their own, one generation above the highest
    shard that holds any of their names, so that the newest row of a name is known without timestamps.

    Parameters
    ----------
    wanted : sequence of Key
        In any order; each name once.
    index : StoreIndex
        The rows that the mode's folder holds.
    clips_per_shard : int >= 1
        Every shard has this many clips but the last of each kind.

    Returns
    -------
    list of ShardPlan
        Sorted by their keys, the missing clips' first.

    Raises
    ------
    InputError
        ``clips_per_shard`` is below 1, or a name is given twice.
    """
    if clips_per_shard < 1:
        msg = f"clips_per_shard must be at least 1; got {clips_per_shard}"
        raise InputError(msg)
    name, count = Counter(key.name for key in wanted).most_common(1)[0] if wanted else ("", 0)
    if count > 1:
        msg = f"the name of a clip must be unique in its corpus; {name!r} is given {count} times: remove one"
        raise InputError(msg)
    todo = list(zip(wanted, decide(wanted, index), strict=True))
    missing = sorted(key for key, decision in todo if decision == "missing")
    stale = sorted(key for key, decision in todo if decision == "stale")
    return [ShardPlan(run) for run in _runs(missing, clips_per_shard)] + [
        ShardPlan(run, 1 + max(index.generations[key.name] for key in run)) for run in _runs(stale, clips_per_shard)
    ]


def _runs(keys: list[Key], length: int) -> list[tuple[Key, ...]]:
    return [tuple(keys[first : first + length]) for first in range(0, len(keys), length)]
