"""The format's parts: names, keys and the user block."""

import hashlib
import os
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_samples import digest_of

from cache.errors import InputError, IntegrityError
from cache.layout import (
    USER_BLOCK_BYTES,
    Key,
    UserBlock,
    check_key,
    decode_name,
    encode_name,
    folder_name,
    parse_dtype,
    shard_filename,
    shard_generation,
)

SIZES = st.integers(1, 2**40)
HASHES = st.binary(min_size=32, max_size=32)
BLOCK = UserBlock("shard-0000-0123456789abcdef.h5", 5000, 1000, 4000, 600, 300, bytes(range(32)), bytes(32))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=32), SIZES, SIZES, HASHES)
def test_a_user_block_comes_back(name: str, offset: int, frames_bytes: int, sha: bytes) -> None:
    end = offset + 512 + frames_bytes
    block = UserBlock(name, end, offset + 512, frames_bytes, 512, min(offset, 99), sha, sha[::-1])
    data = block.pack()
    assert len(data) == USER_BLOCK_BYTES
    assert UserBlock.unpack(data) == block


def test_every_flipped_bit_of_the_user_block_is_found() -> None:
    data = BLOCK.pack()
    for bit in range(8 * USER_BLOCK_BYTES):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError, match=r"CRC-32|magic"):
            UserBlock.unpack(bytes(damaged))


def test_another_format_version_is_named() -> None:
    body = bytearray(BLOCK.pack()[:-4])
    body[8] = 7
    with pytest.raises(IntegrityError, match="format version 7; this earmark reads 2"):
        UserBlock.unpack(bytes(body) + zlib.crc32(body).to_bytes(4, "little"))


@pytest.mark.parametrize("place", [12, 12 + 4 + 31, 300, 507])
def test_bytes_that_no_field_gives_are_refused(place: int) -> None:
    body = bytearray(BLOCK.pack()[:-4])
    body[place] ^= 1
    with pytest.raises(IntegrityError, match="holds other bytes than its fields give"):
        UserBlock.unpack(bytes(body) + zlib.crc32(body).to_bytes(4, "little"))


def test_a_block_without_frames_names_no_place_for_them() -> None:
    with pytest.raises(IntegrityError, match=r"the bytes 600 … 600 of the frames do not lie"):
        UserBlock.unpack(replace(BLOCK, frames_offset=600, frames_bytes=0).pack())


@pytest.mark.parametrize(
    "changes",
    [
        {"frames_offset": 100},
        {"frames_bytes": 4001},
        {"frames_offset": 1001},
        {"index_offset": 511},
        {"index_bytes": 4401},
    ],
)
def test_frames_and_an_index_outside_the_file_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="do not lie within the 5000"):
        UserBlock.unpack(replace(BLOCK, **changes).pack())


@pytest.mark.parametrize("size", [0, 511, 513])
def test_a_short_user_block_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match=f"has {size} bytes instead of 512"):
        UserBlock.unpack(BLOCK.pack().ljust(600, b"\0")[:size])


def test_a_long_shard_name_is_refused() -> None:
    assert UserBlock.unpack(replace(BLOCK, shard_name="é" * 64).pack()).shard_name == "é" * 64
    with pytest.raises(InputError, match="at most 128 bytes"):
        replace(BLOCK, shard_name="é" * 64 + "a").pack()


@given(st.binary(min_size=1, max_size=40).filter(lambda data: b"\0" not in data))
def test_any_bytes_of_a_file_name_come_back(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    assert encode_name(name) == data
    assert decode_name(data) == name == os.fsdecode(data)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "\udcc3\udca9"])
def test_what_cannot_be_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="must be a file name"):
        encode_name(name)


@pytest.mark.parametrize("digest", ["", "ab", "A" * 64, "g" * 64, "0" * 65])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        check_key(Key("a.wav", digest))


def test_a_shards_name_depends_on_its_keys_alone() -> None:
    keys = [Key("a.wav", digest_of("a")), Key("b.wav", digest_of("b")), Key("b.wav", digest_of("c"))]
    name = shard_filename(keys, 0)
    stream = b"".join(b"\5\0\0\0\0\0\0\0" + key.name.encode() + bytes.fromhex(key.digest) for key in sorted(keys))
    assert name == f"shard-0000-{hashlib.sha256(stream).hexdigest()[:16]}.h5"
    assert shard_filename(keys[::-1], 0) == name
    assert shard_filename(iter(keys), 12) == name.replace("0000", "0012")
    assert len({shard_filename(keys[:n], 0) for n in (1, 2, 3)}) == 3


@pytest.mark.parametrize("generation", [0, 1, 9999, 10000, 10**9 - 1])
def test_the_generation_is_read_back(generation: int) -> None:
    assert shard_generation(shard_filename([Key("a", digest_of("a"))], generation)) == generation


@pytest.mark.parametrize("generation", [-1, 10**9])
def test_an_impossible_generation_is_refused(generation: int) -> None:
    with pytest.raises(InputError, match=f"got {generation}"):
        shard_filename([Key("a", digest_of("a"))], generation)


@pytest.mark.parametrize("name", ["shard-0000.h5", "shard-1-0123456789abcdef.h5", "shard-0000-0123456789abcdef.h5x"])
def test_a_strange_name_is_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="is not the name of a shard"):
        shard_generation(name)


def test_two_types_are_stored() -> None:
    assert parse_dtype("float16").str == "<f2"
    assert parse_dtype(">f4").str == "<f4"
    for wrong in ("float64", "int16", "nonsense"):
        with pytest.raises(InputError, match="float16 or float32"):
            parse_dtype(wrong)


def test_a_modes_folder() -> None:
    assert folder_name("lh", "0123abcd") == "lh-0123abcd"
