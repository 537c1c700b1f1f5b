"""Which rows a mode's folder holds."""

from pathlib import Path

import pytest
from shard_samples import flip, keys_of, make_row, make_rows, user_block, write

from cache import read_index, scan_index
from cache.errors import IntegrityError


def test_without_a_folder_the_index_is_empty(tmp_path: Path) -> None:
    index = read_index(tmp_path / "nowhere")
    assert (len(index), index.rows, index.by_key, index.by_name, index.generations) == (0, (), {}, {}, {})


def test_rows_come_with_what_a_plan_needs(tmp_path: Path) -> None:
    good, bad = make_row("a.wav", 5), make_row("b.wav", problem="no samples")
    record = write(tmp_path, [good, bad], generation=3)
    index = read_index(tmp_path)
    assert list(index.rows) == [
        (good.key, 5, "", 0.1, 3, record.path.name),
        (bad.key, 0, "no samples", 0.1, 3, record.path.name),
    ]
    assert [row.has_frames for row in index.rows] == [True, False]


def test_the_highest_generation_is_current(tmp_path: Path) -> None:
    old, new = make_rows(3), [make_row("001.wav", version="2")]
    write(tmp_path, new, generation=10_000)
    write(tmp_path, old, generation=2)
    write(tmp_path, old[:2], generation=11)
    index = read_index(tmp_path)
    assert [row.generation for row in index.rows] == [2, 2, 2, 11, 11, 10_000]
    assert index.generations == {"000.wav": 11, "001.wav": 10_000, "002.wav": 2}
    assert [index.by_name[row.name].key for row in old] == keys_of([old[0], new[0], old[2]])
    assert [index.by_key[key].generation for key in keys_of([*old, *new])] == [11, 11, 2, 10_000]


def test_damaged_frames_do_not_matter_to_an_index(tmp_path: Path) -> None:
    path = write(tmp_path, make_rows(3)).path
    flip(path, user_block(path).frames_offset)
    assert len(read_index(tmp_path)) == 3


def test_a_bad_shard_is_named_and_does_not_hide_the_others(tmp_path: Path) -> None:
    bad = write(tmp_path, make_rows(3)).path
    write(tmp_path, [make_row("x.wav")])
    flip(bad, 600)
    odd = tmp_path / "shard-odd.h5"
    odd.mkdir()
    with pytest.raises(IntegrityError, match=r"shard-odd.h5 fails its checks: it cannot be read"):
        read_index(tmp_path)
    index, damaged = scan_index(tmp_path)
    assert damaged == [odd, bad]
    assert list(index.by_name) == ["x.wav"]
