"""Columns: packing and unpacking, and what is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.columns import Rows, Texts, concatenate, pack_index, unpack_index
from cache.errors import IntegrityError

PIECES = st.lists(st.binary(max_size=20), max_size=8)


def make(names: list[bytes]) -> Rows:
    n_clips = len(names)
    rng = np.random.default_rng(n_clips)
    return Rows(
        names=Texts.of(names),
        problems=Texts.of(name[:1] for name in names),
        digests=rng.integers(0, 256, (n_clips, 32), np.uint8),
        stop=np.cumsum(rng.integers(0, 9, n_clips)),
        crc32=rng.integers(0, 2**32, n_clips, np.uint32),
        seconds=rng.random(n_clips),
    )


def same(one: Rows, two: Rows) -> bool:
    return pack_index({}, one) == pack_index({}, two)


@given(PIECES)
def test_texts_give_their_pieces_back(pieces: list[bytes]) -> None:
    texts = Texts.of(pieces)
    assert texts.tolist() == pieces
    assert [texts[number] for number in range(len(texts))] == pieces


@given(PIECES)
def test_an_index_comes_back(names: list[bytes]) -> None:
    header, rows = unpack_index(pack_index({"mode": "é", "n_mels": 3}, make(names)))
    assert header == {"mode": "é", "n_mels": 3}
    assert same(rows, make(names))
    assert rows.names.tolist() == names


@given(PIECES, PIECES)
def test_rows_follow_each_other(one: list[bytes], two: list[bytes]) -> None:
    joined = concatenate([make(one), make(two)])
    assert joined.names.tolist() == one + two
    assert joined.stop.tolist() == [*make(one).stop, *make(two).stop]
    assert len(joined) == len(one) + len(two)


@pytest.mark.parametrize("size", [0, 7, 40, 100, -8, -1])
def test_an_index_that_is_cut_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match="its index cannot be read"):
        unpack_index(pack_index({}, make([b"a.wav", b"b.wav"]))[:size])


def test_an_index_that_is_too_long_or_whose_texts_overlap_is_refused() -> None:
    data = pack_index({}, make([b"a.wav", b"b.wav"]))
    with pytest.raises(IntegrityError, match="bytes instead of"):
        unpack_index(data + bytes(8))
    (length,) = struct.unpack_from("<Q", data)
    first = 8 + -(-length // 8) * 8
    for ends in ((10, 5), (-1, 10), (5, 2**62)):
        damaged = data[:first] + struct.pack("<2q", *ends) + data[first + 16 :]
        with pytest.raises(IntegrityError, match="its index cannot be read"):
            unpack_index(damaged)
