"""The on-disk store of features: sealed shards, read through a memory map.

- :mod:`cache.layout`: the format, on one page; :class:`Key`
- :mod:`cache.columns`, :mod:`cache.table`: a shard's rows and attributes, read and checked without HDF5
- :mod:`cache.hdf5`: a shard as HDF5 sees it
- :mod:`cache.index`: which rows a mode's folder holds
- :mod:`cache.plan`: which clips must be computed, and which shards they make
- :mod:`cache.writer`: sealing a shard
- :mod:`cache.opening`: the clips of a store that are wanted
- :mod:`cache.reader`: frames on the mapped bytes, by :mod:`cache.mapping` and :mod:`cache.sharing`
- :mod:`cache.integrity`, :mod:`cache.salvage`: checking every byte, and which clips a damaged shard holds
- :mod:`cache.inventory`, :mod:`cache.prune`: what a store holds, and what can go
- :mod:`cache.pack`, :mod:`cache.unpack`, :mod:`cache.image`: a store as one portable file
- :mod:`cache.lock`, :mod:`cache.space`: one writer a store, and room on the disk
- :mod:`cache.regular`, :mod:`cache.outfile`: opening files without waiting for them, writing them whole
- :mod:`cache.errors`: what all of earmark raises

The names are offered lazily (PEP 562): a room that needs :mod:`cache.errors` alone does not load HDF5.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.index import IndexRow, StoreIndex, read_index, scan_index
    from cache.integrity import BadShard, VerifyReport, check_shard, verify_store
    from cache.layout import Key, folder_name
    from cache.lock import StoreLock, tidy
    from cache.opening import open_store
    from cache.plan import Decision, ShardPlan, decide, plan_shards
    from cache.reader import StoreReader
    from cache.space import free_space, require_space
    from cache.writer import ClipRow, ShardRecord, remove_leftovers, write_shard

_HOMES = {
    "index": ("IndexRow", "StoreIndex", "read_index", "scan_index"),
    "integrity": ("BadShard", "VerifyReport", "check_shard", "verify_store"),
    "layout": ("Key", "folder_name"),
    "lock": ("StoreLock", "tidy"),
    "plan": ("Decision", "ShardPlan", "decide", "plan_shards"),
    "opening": ("open_store",),
    "reader": ("StoreReader",),
    "space": ("free_space", "require_space"),
    "writer": ("ClipRow", "ShardRecord", "remove_leftovers", "write_shard"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BadShard",
    "ClipRow",
    "Decision",
    "IndexRow",
    "Key",
    "ShardPlan",
    "ShardRecord",
    "StoreIndex",
    "StoreLock",
    "StoreReader",
    "VerifyReport",
    "check_shard",
    "decide",
    "folder_name",
    "free_space",
    "open_store",
    "plan_shards",
    "read_index",
    "remove_leftovers",
    "require_space",
    "scan_index",
    "tidy",
    "verify_store",
    "write_shard",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"cache.{_HOME_OF[name]}"), name)
    message = f"module 'cache' has no attribute {name!r}"
    raise AttributeError(message)
