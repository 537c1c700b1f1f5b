"""Which modes a store holds for a corpus, and what of a store is referred to."""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas as pd

from cache import Key, read_index
from cache.errors import InputError
from featurize.modes import MODES, Dtype, FeatureMode
from featurize.sources import Progress, look_at_all

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
    for variant in variants(mode):
        counts[variant] = len(wanted.intersection(read_index(store / variant.folder).by_name))
    best = max(counts, key=lambda variant: counts[variant])
    return best if counts[best] else None


def variants(mode: FeatureMode) -> list[FeatureMode]:
    """Return a mode in each stored type."""
    return [dataclasses.replace(mode, dtype=dtype) for dtype in _DTYPES]


def stored_modes(store: Path, names: Collection[str], *, known: Mapping[str, FeatureMode] = MODES) -> list[FeatureMode]:
    """Return those of the known modes that the store holds for clips of these names, in their order."""
    found: Iterable[FeatureMode | None] = (stored_variant(store, mode, names) for mode in known.values())
    return [mode for mode in found if mode]


def known_fingerprints(runs: Path, *, known: Mapping[str, FeatureMode] = MODES) -> set[str]:
    """Return the fingerprints that something refers to: the known modes in both types, and trained folds.

    Parameters
    ----------
    runs : Path
        The folder of the runs; it need not be there.
    known : mapping of {str: FeatureMode}
        The modes that there are; this version's by default.

    Raises
    ------
    InputError
        If a fold does not say which features it was trained on.
    """
    found = {variant.fingerprint() for mode in known.values() for variant in variants(mode)}
    for path in sorted(runs.glob("*/*/fold-*/model.json")):
        try:
            fingerprint = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path} does not say which features it was trained on ({error!r}): train this fold anew"
            raise InputError(message) from error
        found.add(str(fingerprint))
    return found


def keys_in_use(clips: pd.DataFrame, keys: Collection[Key], *, jobs: int, progress: Progress | None = None) -> set[Key]:
    """Return those of these rows that a corpus has; only files of their names are read.

    Parameters
    ----------
    clips : DataFrame
        The clip table.
    keys : collection of Key
    jobs : int > 0
    progress : callable, optional
        ``progress(stage, done, total)``.

    Returns
    -------
    set of Key
        Where a file cannot be read, any row of its name counts.
    """
    names = {key.name for key in keys}
    sources = look_at_all(clips[clips["fname"].isin(names)], jobs=jobs, progress=progress)
    digests = {source.name: source.digest for source in sources}
    return {key for key in keys if digests.get(key.name) in (key.digest, "")}
