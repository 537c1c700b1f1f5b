"""The on-disk store of features: sealed shards, read through a memory map.

- :mod:`cache.layout`: the format, on one page; :class:`Key`
- :mod:`cache.table`: a shard's rows and attributes, checked before HDF5 parses them
- :mod:`cache.index`: which rows a mode's folder holds
- :mod:`cache.plan`: which clips must be computed, and which shards they make
- :mod:`cache.writer`: sealing a shard
- :mod:`cache.reader`: frames on the mapped bytes
- :mod:`cache.integrity`: checking every byte
- :mod:`cache.lock`, :mod:`cache.space`: one writer a store, and room on the disk
- :mod:`cache.errors`: what all of earmark raises
"""

from cache.index import IndexRow, StoreIndex, read_index, scan_index
from cache.integrity import BadShard, VerifyReport, check_shard, verify_store
from cache.layout import Key, folder_name
from cache.lock import StoreLock
from cache.plan import Decision, ShardPlan, decide, plan_shards
from cache.reader import StoreReader, open_store
from cache.space import free_space, require_space
from cache.writer import ClipRow, ShardRecord, remove_leftovers, write_shard

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
    "verify_store",
    "write_shard",
]
