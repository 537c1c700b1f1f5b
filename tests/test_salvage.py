"""The clips of a damaged shard are named where its file name proves them, and only there."""

import os
import random
from pathlib import Path

import pytest
from shard_samples import flip, keys_of, make_row, make_rows, user_block, write

from cache import Key, read_index
from cache.layout import USER_BLOCK_BYTES, shard_filename
from cache.salvage import KeyRing, is_proven, salvage_keys
from cache.table import read_table

ODD_NAMES = ["plain.wav", "Tür/ümläut ｗ.wav", "new\nline.wav", "not-utf8-\udcff.wav", "n" * 255, "0" * 64, "a"]


def blank_index(path: Path) -> None:
    """Leave the rows in ``/clips`` alone."""
    block = user_block(path)
    with path.open("r+b") as file:
        file.seek(block.index_offset)
        file.write(bytes(block.index_bytes))


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("n_clips", [1, 2, 16, 700])
def test_keys_are_found_in_the_bytes(tmp_path: Path, n_clips: int, *, indexed: bool) -> None:
    rows = [make_row(f"{'long ' * (number % 50)}{number}.wav", 1) for number in range(n_clips)]
    path = write(tmp_path, rows).path
    if not indexed:
        blank_index(path)
    assert salvage_keys(path, path.name) == sorted(keys_of(rows))


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"a", b"\x55"])
@pytest.mark.parametrize("first", [0, 512, 1024, 1400])
def test_keys_are_found_behind_a_lost_beginning(tmp_path: Path, first: int, fill: bytes) -> None:
    rows = [make_row(name) for name in ODD_NAMES] + [make_row("bad.wav", problem="no samples")]
    path = write(tmp_path, rows).path
    blank_index(path)
    with path.open("r+b") as file:
        file.write(fill * first)
    assert salvage_keys(path, path.name) == sorted(keys_of(rows))


@pytest.mark.parametrize(("before", "after"), [(9, 0), (0, 7), (64, 130)])
def test_digits_beside_the_digests_do_no_harm(tmp_path: Path, before: int, after: int) -> None:
    rows = make_rows(4)
    path = write(tmp_path, rows).path
    blank_index(path)
    data = path.read_bytes()
    first, last = data.index(rows[0].digest.encode()), data.index(rows[-1].digest.encode()) + 64
    path.write_bytes(data[: first - before] + b"a" * before + data[first:last] + b"b" * after + data[last + after :])
    assert salvage_keys(path, path.name) == keys_of(rows)


def test_keys_are_found_where_the_frames_are_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path, make_rows(5)).path
    os.truncate(path, user_block(path).frames_offset)
    assert salvage_keys(path, path.name) == keys_of(make_rows(5))


def test_names_and_digests_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    # A name of 64 hexadecimal digits, and problems in numbers, make columns like those of the digests and the names.
    rows = [make_row(f"{number:064x}", problem="f" * 64) for number in range(9)]
    path = write(tmp_path, rows).path
    blank_index(path)
    with path.open("r+b") as file:
        file.write(bytes(USER_BLOCK_BYTES))
    assert salvage_keys(path, path.name) == keys_of(rows)


def test_what_is_not_proven_is_not_told(tmp_path: Path) -> None:
    path = write(tmp_path, make_rows(5)).path
    assert salvage_keys(path, "shard-0000-0123456789abcdef.h5") == []
    blank_index(path)
    digest_place = path.read_bytes().index(keys_of(make_rows(5))[2].digest.encode())
    flip(path, digest_place, bit=0)
    assert salvage_keys(path, path.name) == []
    assert salvage_keys(path, "shard-odd.h5") == []
    for nothing in (path.with_name("nowhere"), tmp_path):
        assert salvage_keys(nothing, path.name) == []


def test_the_keys_outlive_any_flipped_bit_outside_the_frames(tmp_path: Path) -> None:
    rows = make_rows(3)
    path = write(tmp_path, rows).path
    for offset in range(0, user_block(path).frames_offset, 53):
        flip(path, offset, bit=offset % 8)
        assert salvage_keys(path, path.name) == keys_of(rows), offset
        flip(path, offset, bit=offset % 8)


def test_random_damage_is_survived(tmp_path: Path) -> None:
    rows = make_rows(12)
    path = write(tmp_path, rows).path
    whole = path.read_bytes()
    structure_bytes = user_block(path).frames_offset
    chance = random.Random(3)
    found = 0
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.randrange(structure_bytes)] = chance.randrange(256)
        path.write_bytes(bytes(data[: chance.choice([len(data), chance.randrange(len(data))])]))
        keys = salvage_keys(path, path.name)
        assert keys in ([], keys_of(rows))
        found += bool(keys)
    assert found > 60


def test_lengths_in_a_damaged_heap_lead_nowhere(tmp_path: Path) -> None:
    path = write(tmp_path, make_rows(3)).path
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    for place in (heap + 8, heap + 16 + 8):
        for value in (0, 1, 2**63, 2**64 - 1):
            changed = data.copy()
            changed[place : place + 8] = value.to_bytes(8, "little")
            path.write_bytes(changed)
            assert salvage_keys(path, path.name) in ([], keys_of(make_rows(3)))


def test_a_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, make_rows(3)).path
    monkeypatch.setattr("cache.salvage._SCAN_BYTES", 1000)
    assert salvage_keys(path, path.name) == []


def test_the_shard_of_another_mode_proves_the_keys(tmp_path: Path) -> None:
    lost = write(tmp_path / "lh-1", make_rows(3), generation=2).path
    ring = KeyRing([read_table(write(tmp_path / "x-1", make_rows(3)).path)])
    lost.write_bytes(b"")
    assert ring.keys_of(lost, lost.name) == keys_of(make_rows(3))
    assert KeyRing([]).keys_of(lost, lost.name) == []
    assert len(read_index(tmp_path / "x-1")) == 3


def test_proof_needs_the_very_keys() -> None:
    keys = keys_of(make_rows(3))
    name = shard_filename(keys, 7)
    assert is_proven(reversed(keys), name)
    for others in (keys[1:], [*keys[1:], Key(keys[0].name, keys[1].digest)], [Key("", "x")], []):
        assert not is_proven(others, name)
    assert not is_proven([], "odd.h5")
