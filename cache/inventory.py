"""What a store holds, mode by mode.

Conventions
-----------
Sizes are in bytes, of the sealed shards alone.
"""

import os
from pathlib import Path
from typing import Any

from cache.errors import NotFoundError
from cache.index import read_index
from cache.table import read_table, shard_paths


def take_inventory(store: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """List the modes of a store.

    Parameters
    ----------
    store : path
        The store that holds the folders of several modes, or a mode's folder.

    Returns
    -------
    list of dict
        folder, mode, fingerprint, clips (current, with frames), quarantined, rows, shards, bytes, settings; by folder.

    Raises
    ------
    NotFoundError
        There is no such store, or no shard in it.
    IntegrityError
        A shard fails the checks of the bytes outside its frames.
    """
    root = Path(store).absolute()
    folders = sorted(path for path in (root, *root.glob("*-*")) if path.is_dir() and shard_paths(path))
    if not folders:
        message = f"the store {os.fspath(store)} holds no shard; run cli featurize, or name another with --store"
        raise NotFoundError(message)
    return [_mode_inventory(folder) for folder in folders]


def _mode_inventory(folder: Path) -> dict[str, Any]:
    paths = shard_paths(folder)
    first, index = read_table(paths[0]), read_index(folder)
    current = list(index.by_name.values())
    return {
        "folder": folder.name,
        "mode": first.mode,
        "fingerprint": first.fingerprint,
        "clips": sum(row.has_frames for row in current),
        "quarantined": sum(not row.has_frames for row in current),
        "rows": len(index),
        "shards": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "settings": first.settings,
    }
