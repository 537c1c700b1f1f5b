"""What a store holds, mode by mode."""

from pathlib import Path

import pytest
from shard_samples import make_rows, write

from cache.errors import NotFoundError
from cache.inventory import take_inventory


def test_a_store_and_a_modes_folder_are_both_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "lh-0123abcd", make_rows(3)).path
    (found,) = take_inventory(tmp_path)
    assert (found["folder"], found["mode"], found["shards"]) == ("lh-0123abcd", "lh", 1)
    assert (found["rows"], found["bytes"]) == (3, path.stat().st_size)
    assert take_inventory(path.parent) == [found]
    monkeypatch.chdir(path.parent)
    assert take_inventory(".") == [found]


def test_a_store_without_a_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lh-0123abcd").mkdir()
    for store in (tmp_path, tmp_path / "lh-0123abcd", tmp_path / "nowhere"):
        with pytest.raises(NotFoundError, match="holds no shard; run cli featurize, or name another with --store"):
            take_inventory(store)
