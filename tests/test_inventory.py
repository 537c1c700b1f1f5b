"""What a store holds, mode by mode."""

from pathlib import Path

import pytest
from shard_samples import flip, make_row, make_rows, write

from cache.errors import NotFoundError
from cache.inventory import scan_store, shard_folders, take_inventory


def test_a_store_and_a_modes_folder_are_both_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "lh-0123abcd", make_rows(3)).path
    (found,) = take_inventory(tmp_path)
    assert (found["folder"], found["mode"], found["shards"]) == ("lh-0123abcd", "lh", 1)
    assert (found["rows"], found["bytes"]) == (3, path.stat().st_size)
    assert (found["settings"], found["versions"]) == ({"name": "lh", "hop": 882}, [{"numpy": "2.1"}])
    assert take_inventory(path.parent) == [found]
    monkeypatch.chdir(path.parent)
    assert take_inventory(".") == [found]


def test_superseded_rows_are_counted_and_add_no_audio(tmp_path: Path) -> None:
    folder = tmp_path / "lh-0123abcd"
    write(folder, [make_row("a", 4), make_row("b", 5), make_row("c", problem="is empty")])
    write(folder, [make_row("a", 10, version="new")], generation=1)
    (found,) = take_inventory(tmp_path)
    assert (found["clips"], found["quarantined"], found["rows"], found["superseded"]) == (2, 1, 4, 1)
    assert found["seconds"] == pytest.approx((10 + 5) / 50)
    assert found["superseded_bytes"] == 4 * 6 * 2
    (scanned,) = scan_store(tmp_path)
    assert [key.name for key in scanned.superseded.values()] == ["a"]
    assert len(scanned.by_key) == 4


def test_bad_shards_and_leftovers_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "lh-0123abcd"
    whole = write(folder, make_rows(2)).path
    bad = write(folder, [make_row("x")]).path
    flip(bad, 600)
    (folder / ".shard-0000-0123456789abcdef.h5.1-2.part").write_bytes(b"12345")
    (found,) = take_inventory(tmp_path)
    assert found["bad"] == [
        {"path": str(bad), "reason": "the bytes outside the frames do not match their SHA-256"},
    ]
    assert (found["shards"], found["clips"], found["leftover_bytes"]) == (2, 2, 5)
    assert found["leftovers"] == [".shard-0000-0123456789abcdef.h5.1-2.part"]
    flip(whole, 600)
    (found,) = take_inventory(tmp_path)
    assert (found["mode"], found["fingerprint"], found["settings"]) == ("lh", "0123abcd", {})
    assert len(found["bad"]) == 2


def test_a_store_without_a_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lh-0123abcd").mkdir()
    for store in (tmp_path, tmp_path / "lh-0123abcd"):
        with pytest.raises(NotFoundError, match="holds no shard; run cli featurize, or name another with --store"):
            take_inventory(store)
    with pytest.raises(NotFoundError, match="nowhere is not there; run cli featurize"):
        take_inventory(tmp_path / "nowhere")


def test_folders_can_be_chosen_by_mode(tmp_path: Path) -> None:
    folder = write(tmp_path / "lh-0123abcd", make_rows(1)).path.parent
    assert shard_folders(tmp_path, ["x", "lh"]) == [folder]
    with pytest.raises(NotFoundError, match="holds no shard of mode x; run cli featurize"):
        shard_folders(tmp_path, ["x"])
