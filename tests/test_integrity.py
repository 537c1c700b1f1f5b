"""Every byte of a shard is guarded, and a damaged one never reaches HDF5."""

import errno
import multiprocessing
import os
import random
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from shard_samples import N_MELS, flip, make_row, make_rows, reseal, tamper, tamper_index, user_block, write

from cache import check_shard, open_store, verify_store
from cache.columns import Rows, Texts
from cache.errors import IntegrityError, NotFoundError
from cache.layout import USER_BLOCK_BYTES
from cache.table import read_table


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write(tmp_path / "lh-0123abcd", [*make_rows(6), make_row("bad.wav", problem="no samples")]).path


def test_a_whole_shard_passes(shard: Path) -> None:
    table = check_shard(shard)
    assert table.names == [*(f"{number:03d}.wav" for number in range(6)), "bad.wav"]
    assert (table.mode, table.fingerprint, table.n_mels, table.generation) == ("lh", "0123abcd", N_MELS, 0)
    assert (table.settings, table.versions) == ({"name": "lh", "hop": 882}, {"numpy": "2.1"})
    assert table.problems == [""] * 6 + ["no samples"]


def find_flips(path: Path, places: list[tuple[int, int]], connection: Any) -> None:
    """Say at which of these places a flipped bit stays unnoticed."""
    missed = []
    for offset, bit in places:
        flip(path, offset, bit)
        try:
            check_shard(path)
            missed.append((offset, bit))
        except IntegrityError:
            pass
        flip(path, offset, bit)
    check_shard(path)
    connection.send(missed)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_flipped_bits_are_found_everywhere(shard: Path) -> None:
    chance = random.Random(5)
    block = user_block(shard)
    regions = [(0, USER_BLOCK_BYTES), (USER_BLOCK_BYTES, block.frames_offset), (block.frames_offset, block.file_bytes)]
    places = [(chance.randrange(*region), chance.randrange(8)) for region in regions for _ in range(200)]
    # In a child: with the wrong order of checks, some flips make HDF5 hang or crash.
    context: Any = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=find_flips, args=(shard, places, there))
    process.start()
    try:
        assert here.poll(60)
        assert here.recv() == []
    finally:
        process.kill()
        process.join()


def test_hdf5_does_not_see_a_damaged_structure(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **settings: Any) -> None:
        pytest.fail("HDF5 was asked")

    monkeypatch.setattr("cache.hdf5.h5py.File", refuse)
    for offset in (100, 600, user_block(shard).frames_offset - 1):
        flip(shard, offset)
        with pytest.raises(IntegrityError, match=r"user block|SHA-256"):
            check_shard(shard)
        flip(shard, offset)


def _cut(size: int) -> Callable[[Path], object]:
    return lambda path: os.truncate(path, size % path.stat().st_size)


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut(0), "the user block has 0 bytes instead of 512"),
        (_cut(511), "the user block has 511 bytes"),
        (_cut(512), "it has 512 bytes instead of"),
        (_cut(4096), "it has 4096 bytes instead of"),
        (_cut(-1), "bytes instead of"),
        (_append, "bytes instead of"),
        (_zero, "does not begin with earmark's magic"),
        (lambda path: flip(path, 20), "the user block does not match its CRC-32"),
        (lambda path: flip(path, 700), "the bytes outside the frames do not match their SHA-256"),
        (lambda path: flip(path, -1 + path.stat().st_size), "the frames of 1 of its 7 clips .* CRC-32: '005.wav'"),
    ],
)
def test_damage_is_named(shard: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(shard)
    with pytest.raises(IntegrityError, match=message) as caught:
        check_shard(shard)
    assert str(caught.value).startswith(f"shard {shard} fails its checks: ")
    assert str(caught.value).endswith("; run `cli cache repair` to mend it")


def test_a_renamed_or_swapped_shard_is_found(shard: Path) -> None:
    other = write(shard.parent, make_rows(2), generation=3).path
    shutil.copy(shard, other)
    with pytest.raises(IntegrityError, match=f"it was sealed as '{shard.name}': renamed, or swapped"):
        check_shard(other)
    assert check_shard(other, name=shard.name).names


def test_frames_can_be_left_unread(shard: Path) -> None:
    flip(shard, user_block(shard).frames_offset)
    assert len(check_shard(shard, frames=False).names) == 7


def test_a_shard_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "shard-0000-0123456789abcdef.h5"
    for _ in range(2):
        with pytest.raises(IntegrityError, match="it cannot be read"):
            check_shard(folder)
        folder.mkdir(exist_ok=True)


def test_what_is_no_regular_file_is_refused_at_once(shard: Path) -> None:
    reader = open_store(shard.parent)
    pipe = shard.with_name("shard-0000-0123456789abcdef.h5")
    os.mkfifo(pipe)
    with pytest.raises(IntegrityError, match=r"it cannot be read \(not a regular file\)"):
        open_store(shard.parent)
    pipe.rename(shard)
    with pytest.raises(IntegrityError, match=r"cannot be read any more \(not a regular file\)"):
        reader[0]


def _replace_frames(**settings: Any) -> Callable[[h5py.File], None]:
    def change(h5: h5py.File) -> None:
        h5.move("frames", "before")
        h5.create_dataset("frames", data=h5["before"][:], **settings)

    return change


def _set(name: str, row: int, value: Any) -> Callable[[h5py.File], None]:
    def change(h5: h5py.File) -> None:
        h5["clips"][name][row] = value

    return change


def _shorten(h5: h5py.File) -> None:
    seconds = h5["clips/seconds"][:-1]
    del h5["clips/seconds"]
    h5["clips/seconds"] = seconds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("crc32", 2, 1), "/clips/crc32 differs from its index"),
        (_set("stop", 6, 34), "/clips/stop differs"),
        (_set("start", 2, 6), "/clips/start differs"),
        (_set("digest", 2, b"0" * 64), "/clips/digest differs"),
        (_set("name", 1, "zzz"), "/clips/name differs"),
        (_set("problem", 1, "?"), "/clips/problem differs"),
        (_shorten, "/clips/seconds differs"),
        (lambda h5: h5.move("clips/crc32", "elsewhere"), "HDF5 cannot read it"),
        (lambda h5: h5.move("frames", "elsewhere"), "HDF5 cannot read it"),
        (lambda h5: h5.attrs.__setitem__("format_version", 7), "attribute format_version is 7, its index says 2"),
        (
            lambda h5: h5.attrs.__setitem__("fingerprint", "?"),
            "attribute fingerprint is '\\?', its index says '0123abcd'",
        ),
        (lambda h5: h5.attrs.__setitem__("settings", "{"), "HDF5 cannot read it"),
        (_replace_frames(), "not the one plain chunk"),
        (_replace_frames(chunks=(33, N_MELS)), "not the one plain chunk"),
        (_replace_frames(chunks=(33, N_MELS), compression="gzip"), "not the one plain chunk"),
        (_replace_frames(chunks=(10, N_MELS)), "not the one plain chunk"),
        (_replace_frames(chunks=(33, N_MELS), dtype=">f2"), r"/frames is >f2\(33, 6\) instead of <f2\(33, 6\)"),
        (_replace_frames(chunks=(33, N_MELS), dtype="f8"), "/frames is <f8"),
    ],
)
def test_a_shard_whose_hdf5_says_other_things_is_found(
    shard: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    tamper(shard, change)
    with pytest.raises(IntegrityError, match=message):
        check_shard(shard)


def _replace_column(name: str, row: int, value: Any) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        column = getattr(rows, name).copy()
        column[row] = value
        return replace(rows, **{name: column})

    return change


def _move_problem(rows: Rows) -> Rows:
    ends = rows.problems.ends.copy()
    ends[5] = ends[6]
    return replace(rows, problems=Texts(rows.problems.data, ends))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_replace_column("crc32", 2, 1), "the frames of 1 of its 7 clips do not match their CRC-32: '002.wav'"),
        (_replace_column("stop", 6, 34), "do not tile the 33 rows"),
        (_replace_column("stop", 2, 40), "do not tile"),
        (_replace_column("stop", 0, -1), "do not tile"),
        (_move_problem, "both frames and a problem, or neither"),
    ],
)
def test_an_index_that_was_sealed_wrong_is_found(shard: Path, change: Callable[[Rows], Rows], message: str) -> None:
    tamper_index(shard, change)
    with pytest.raises(IntegrityError, match=message):
        check_shard(shard)


def test_rows_that_are_not_sorted_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.writer.sorted", lambda rows, **_: list(rows)[::-1], raising=False)
    monkeypatch.setattr("cache.writer.list", lambda keys: list(keys)[::-1], raising=False)
    with pytest.raises(IntegrityError, match="not sorted by name and digest"):
        write(tmp_path, make_rows(3))


def test_frames_that_are_not_finite_are_found(shard: Path) -> None:
    block, data = user_block(shard), bytearray(shard.read_bytes())
    first, last = block.frames_offset + 3 * 2 * N_MELS, block.frames_offset + 7 * 2 * N_MELS
    data[first + 8 : first + 10] = np.float16("inf").tobytes()
    shard.write_bytes(data)
    reseal(shard)
    tamper_index(shard, _replace_column("crc32", 1, zlib.crc32(data[first:last])))
    with pytest.raises(IntegrityError, match=r"of 1 of its 7 clips hold values that are not finite: '001.wav'"):
        check_shard(shard)


def test_the_hash_of_all_is_checked_on_its_own(shard: Path) -> None:
    block = replace(user_block(shard), sha256_all=bytes(32))
    shard.write_bytes(block.pack() + shard.read_bytes()[USER_BLOCK_BYTES:])
    with pytest.raises(IntegrityError, match="the bytes after the user block do not match their SHA-256"):
        check_shard(shard)


def test_frames_elsewhere_than_the_block_says_are_found(shard: Path) -> None:
    block, data = user_block(shard), shard.read_bytes()
    shard.write_bytes(data[: block.frames_offset] + bytes(64) + data[block.frames_offset :])
    reseal(shard, frames_offset=block.frames_offset + 64)
    with pytest.raises(IntegrityError, match="not the one plain chunk"):
        check_shard(shard)


def test_an_address_that_does_not_count_the_user_block_is_not_believed_blindly(tmp_path: Path) -> None:
    # Releases of HDF5 differ in whether they count it, so the table lets both pass. Here the bytes that the block names
    # are whole, but HDF5 reads from 512 bytes before them.
    shard = write(tmp_path, [make_row("a.wav", 200)]).path
    block, data = user_block(shard), shard.read_bytes()
    frames = data[block.frames_offset :]
    shard.write_bytes(data[: block.frames_offset] + frames[:USER_BLOCK_BYTES] + frames)
    reseal(shard, frames_offset=block.frames_offset + USER_BLOCK_BYTES)
    assert read_table(shard).names == ["a.wav"]
    with pytest.raises(IntegrityError, match="HDF5 reads other values from /frames than the bytes"):
        check_shard(shard)


def test_verify_names_bad_shards_and_their_clips(tmp_path: Path) -> None:
    store = tmp_path / "features"
    whole = write(store / "lh-1", make_rows(3)).path
    damaged = write(store / "lh-1", make_rows(2), generation=1).path
    headless = write(store / "x-2", make_rows(5)).path
    (store / "lh-1" / "shard-odd.h5").write_bytes(b"")
    assert whole != damaged
    flip(damaged, user_block(damaged).frames_offset)
    flip(headless, 3)
    report = verify_store(store)
    assert (report.ok, report.shards) == (False, 4)
    assert [(bad.path, bad.fault, bad.clips) for bad in report.bad] == [
        (damaged, "frames", ["000.wav"]),
        (store / "lh-1" / "shard-odd.h5", "structure", []),
        (headless, "structure", [f"{number:03d}.wav" for number in range(5)]),
    ]
    assert [bad.reason for bad in report.bad] == [
        "the frames of 1 of its 2 clips do not match their CRC-32: '000.wav'",
        "the user block has 0 bytes instead of 512; nothing proves which clips its name stands for",
        "the user block does not begin with earmark's magic: another kind of file, or overwritten; its name stands for "
        "5 clips",
    ]


def test_exactly_the_clips_whose_frames_are_damaged_are_named(shard: Path) -> None:
    table = check_shard(shard)
    row_bytes = N_MELS * 2
    for row in (1, 2, 4, 5):
        flip(shard, table.block.frames_offset + row_bytes * (int(table.stop[row]) - 1) + 3)
    (bad,) = verify_store(shard.parent).bad
    assert bad.clips == ["001.wav", "002.wav", "004.wav", "005.wav"]
    assert (bad.damaged, bad.keys) == ((1, 2, 4, 5), tuple(table.keys))
    assert bad.reason.startswith("the frames of 4 of its 7 clips do not match their CRC-32: '001.wav', '002.wav', ")


def test_where_only_the_hash_of_all_differs_every_clip_with_frames_is_in_doubt(shard: Path) -> None:
    block = replace(user_block(shard), sha256_all=bytes(32))
    shard.write_bytes(block.pack() + shard.read_bytes()[USER_BLOCK_BYTES:])
    (bad,) = verify_store(shard.parent).bad
    assert (bad.fault, bad.clips) == ("frames", [f"{number:03d}.wav" for number in range(6)])


def test_verify_finds_strangers(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path, [make_row(f"{number}.wav")])
    stranger = write(tmp_path, [make_row("x.wav")], fingerprint="ffff").path
    report = verify_store(tmp_path)
    assert [(bad.path, bad.fault, bad.clips) for bad in report.bad] == [(stranger, "folder", ["x.wav"])]
    assert report.bad[0].reason.startswith("it holds lh-ffff [6 mels, float16], the other shards lh-0123abcd")


@pytest.mark.parametrize("native", [0, 1])
def test_a_stranger_is_found_by_the_name_of_its_folder_where_most_or_all_are_strangers(
    tmp_path: Path, native: int
) -> None:
    folder = tmp_path / "lh-0123456789ab"
    for number in range(native):
        write(folder, [make_row(f"{number}.wav")], fingerprint="0123456789ab")
    strangers = [write(folder, [make_row(f"x{number}.wav")], fingerprint="ffffffffffff").path for number in range(2)]
    for place in (tmp_path, folder):
        bad = verify_store(place).bad
        assert [shard.path for shard in bad] == sorted(strangers)
        assert {shard.reason for shard in bad} == {
            "it holds lh-ffffffffffff [6 mels, float16], its folder is for lh-0123456789ab"
        }
    with pytest.raises(IntegrityError, match=r"holds lh-ffffffffffff .*, its folder is for lh-0123456789ab"):
        open_store(folder)


def test_swapped_shards_are_named_with_the_clips_of_both(tmp_path: Path) -> None:
    one, two = (write(tmp_path, make_rows(count)).path for count in (2, 3))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    bad = {shard.path: shard for shard in verify_store(tmp_path).bad}
    assert set(bad) == {one, two}
    assert [(bad[path].fault, len(bad[path].keys), len(bad[path].clips)) for path in (one, two)] == [
        ("name", 2, 3),
        ("name", 3, 3),
    ]
    assert "renamed, or swapped with another file; its name stands for 2 clips" in bad[one].reason


def test_a_shard_copied_over_another_puts_only_the_others_clips_in_doubt(tmp_path: Path) -> None:
    lost = write(tmp_path / "lh-1", make_rows(2)).path
    write(tmp_path / "x-1", make_rows(2))
    copied = write(tmp_path / "lh-1", [make_row("else.wav")]).path
    shutil.copy(copied, lost)
    (bad,) = verify_store(tmp_path).bad
    assert (bad.path, bad.clips) == (lost, ["000.wav", "001.wav"])  # proven by the shard of the other mode


def test_damaged_frames_of_a_renamed_shard_are_told_too(shard: Path) -> None:
    moved = shard.rename(shard.with_name("shard-0000-0123456789abcdef.h5"))
    flip(moved, -1 + moved.stat().st_size)
    (bad,) = verify_store(shard.parent).bad
    assert bad.block is not None
    assert (bad.fault, bad.damaged, bad.block.shard_name) == ("name", (5,), shard.name)
    assert "do not match their CRC-32: '005.wav'; nothing proves which clips its name stands for" in bad.reason


def test_verify_names_what_is_no_file(shard: Path) -> None:
    names = [f"shard-0000-{number:016x}.h5" for number in range(5)]
    places = [shard.with_name(name) for name in names]
    places[0].mkdir()
    os.mkfifo(places[1])
    places[2].symlink_to(os.devnull)
    places[3].symlink_to("nowhere")
    places[4].symlink_to(places[4])
    report = verify_store(shard.parent.parent)
    assert (report.shards, [(bad.path, bad.fault, bad.clips) for bad in report.bad]) == (
        6,
        [(place, "file", []) for place in places],
    )
    assert [bad.reason.split(";")[0] for bad in report.bad] == [
        "it cannot be read (Is a directory)",
        "it cannot be read (not a regular file)",
        "it cannot be read (not a regular file)",
        "it cannot be read (No such file or directory)",
        "it cannot be read (Too many levels of symbolic links)",
    ]


def test_what_may_not_be_read_is_named(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write(shard.parent.parent / "x-1", make_rows(2)).path
    really = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path == other.parent:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    (bad,) = verify_store(shard.parent.parent).bad
    assert (bad.path, bad.reason) == (
        other.parent,
        "the folder cannot be listed (Permission denied); nothing proves which clips its name stands for",
    )


def test_a_disk_that_fails_in_the_middle_is_told(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("cache.integrity._check_bytes", fail)
    (bad,) = verify_store(shard.parent).bad
    assert (bad.fault, bad.reason, bad.damaged) == ("frames", "it cannot be read (Input/output error)", tuple(range(6)))


def test_verify_of_a_whole_an_empty_and_a_missing_store(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no shard; run cli featurize, or name another with --store"):
        verify_store(tmp_path)
    write(tmp_path, make_rows(3))
    report = verify_store(tmp_path)
    assert (report.ok, report.shards, report.bad) == (True, 1, [])
    with pytest.raises(NotFoundError, match=r"there is no store at .*nowhere: run `cli featurize`"):
        verify_store(tmp_path / "nowhere")
