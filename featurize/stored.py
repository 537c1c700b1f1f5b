"""Which modes a store holds for a corpus."""

import dataclasses
from collections.abc import Collection, Iterable
from pathlib import Path

from cache import read_index
from featurize.modes import MODES, Dtype, FeatureMode

_DTYPES: tuple[Dtype, ...] = ("float16", "float32")


def stored_variant(store: Path, mode: FeatureMode, names: Collection[str]) -> FeatureMode | None:
    """Return the mode in the stored type that holds most of these clips (float16 before float32), or None.

    Parameters
    ----------
    store : Path
    mode : FeatureMode
    names : collection of str
        Clip names.
    """
    wanted = frozenset(names)
    counts: dict[FeatureMode, int] = {}
    for dtype in _DTYPES:
        variant = dataclasses.replace(mode, dtype=dtype)
        counts[variant] = len(wanted.intersection(read_index(store / variant.folder).by_name))
    best = max(counts, key=lambda variant: counts[variant])
    return best if counts[best] else None


def stored_modes(store: Path, names: Collection[str]) -> list[FeatureMode]:
    """Return the modes that the store holds for clips of these names, in the order of ``MODES``."""
    found: Iterable[FeatureMode | None] = (stored_variant(store, mode, names) for mode in MODES.values())
    return [mode for mode in found if mode]
