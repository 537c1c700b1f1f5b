"""A store in one portable file, and back: the same bytes, or an error that says what is wrong."""

import dataclasses
import errno
import hashlib
import io
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyfive
import pytest
from shard_samples import flip, make_row, make_rows, user_block, write

import cache.pack
from cache import ClipRow, ShardPlan, StoreLock, open_store, verify_store, write_shard
from cache.errors import InputError, IntegrityError, LockedError, NoSpaceError, NotFoundError
from cache.layout import USER_BLOCK_BYTES, UserBlock
from cache.pack import pack_store
from cache.unpack import PACK_NAME, read_pack, unpack_store

X = "x-00ff00ff"
LH = "lh-0123abcd"


def write_x(folder: Path, rows: list[ClipRow], *, versions: dict[str, str] | None = None, top_db: float = 80.0) -> Path:
    """Seal a shard of another mode: float32, three mels."""
    plan = ShardPlan.of(row.key for row in rows)
    record = write_shard(
        folder,
        plan,
        rows,
        settings={"name": "x", "top_db": top_db, "head_only": False},
        fingerprint="00ff00ff",
        mode="x",
        versions=versions or {"numpy": "2.1"},
        n_mels=3,
        dtype="float32",
    )
    return record.path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and the same in one file in chunks so small that they hold parts of clips, and parts of two shards.

    Two modes in both types; quarantined and superseded rows, odd names, shards by two sets of libraries, no frames.
    """
    folder = tmp_path_factory.mktemp("made")
    store = folder / "features"
    write(store / LH, [*make_rows(4), make_row("\udcff\n ♪.wav", 9), make_row("empty.wav", problem="holds no ♫")])
    write(store / LH, [make_row("002.wav", 40, version="new"), make_row("late.wav")], generation=3)
    write_x(store / X, make_rows(3, n_mels=3, dtype="float32"))
    write_x(store / X, [make_row("é", problem="is cut short"), make_row("z", 2, n_mels=3)], versions={"numpy": "3"})
    write(store / "lh-ffff0000", [make_row("a", problem="is empty")], fingerprint="ffff0000")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cache.pack, "CHUNK_BYTES", 100)
        pack_store(store, folder / "store.h5")
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "features", tmp_path / "features")


@pytest.fixture
def packed(made: Path, tmp_path: Path) -> Path:
    return shutil.copy(made / "store.h5", tmp_path / "store.h5")


def shards(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("*/shard-*.h5")}


def reseal(path: Path, **changes: Any) -> None:
    """Write a user block that fits the file as it is now."""
    data = path.read_bytes()
    digest = hashlib.sha256(data[USER_BLOCK_BYTES:]).digest()
    block = UserBlock(PACK_NAME, len(data), 0, 0, 0, 0, digest, digest)
    path.write_bytes(dataclasses.replace(block, **changes).pack() + data[USER_BLOCK_BYTES:])


class TestRoundTrip:
    def test_the_store_comes_back_byte_for_byte(self, store: Path, packed: Path, tmp_path: Path) -> None:
        report = unpack_store(packed, tmp_path / "again")
        assert (report.shards, report.written, report.identical, report.kept) == (5, 5, 5, 0)
        assert shards(tmp_path / "again") == shards(store)
        assert verify_store(tmp_path / "again").ok

    def test_without_the_small_chunks(self, store: Path, tmp_path: Path) -> None:
        report = pack_store(store, tmp_path / "store.h5")
        assert report.n_bytes == (tmp_path / "store.h5").stat().st_size
        assert report.folders[LH] == {"shards": 2, "rows": 8, "frames": 3 + 4 + 5 + 6 + 9 + 40 + 5}
        assert report.folders["lh-ffff0000"] == {"shards": 1, "rows": 1, "frames": 0}
        unpack_store(tmp_path / "store.h5", tmp_path / "again")
        assert shards(tmp_path / "again") == shards(store)

    def test_packing_again_gives_the_same_bytes_wherever_it_lies(
        self, store: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache.pack, "CHUNK_BYTES", 100)
        moved = shutil.copytree(store, tmp_path / "elsewhere" / "f")
        again = pack_store(moved, tmp_path / "elsewhere" / "other name.h5").path
        assert again.read_bytes() == packed.read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "features", "store.h5"]

    def test_one_mode_or_one_folder(self, store: Path, tmp_path: Path) -> None:
        assert list(pack_store(store, tmp_path / "x.h5", modes=["x"]).folders) == [X]
        assert list(pack_store(store, tmp_path / "lh.h5", modes=["lh"]).folders) == [LH, "lh-ffff0000"]
        assert list(pack_store(store / X, tmp_path / "folder.h5").folders) == [X]
        assert (tmp_path / "folder.h5").read_bytes() == (tmp_path / "x.h5").read_bytes()

    def test_whole_shards_are_kept_and_others_made(self, store: Path, packed: Path) -> None:
        before = shards(store)
        first, second, *_ = sorted(store.glob("*/shard-*.h5"))
        first.unlink()
        flip(second, second.stat().st_size - 1)
        report = unpack_store(packed, store)
        assert (report.written, report.identical, report.kept, report.different) == (2, 2, 3, ())
        assert shards(store) == before

    def test_a_kept_shard_with_other_frames_is_named(self, store: Path, packed: Path) -> None:
        rows = make_rows(3, n_mels=3, dtype="float32", seed=1)
        other = write_x(store / X, rows)
        data = other.read_bytes()
        assert unpack_store(packed, store).different == (other,)
        assert other.read_bytes() == data

    def test_another_layout_of_the_same_rows_will_do(self, packed: Path, tmp_path: Path) -> None:
        with h5py.File(packed, "r+") as h5:  # as if another release of HDF5 had laid the shard out
            h5[f"{X}/shards/sha256_all"][0] = b"0" * 64
        reseal(packed)
        report = unpack_store(packed, tmp_path / "again")
        assert (report.written, report.identical) == (5, 4)
        assert verify_store(tmp_path / "again").ok

    def test_other_rows_will_not_do(self, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def wrong(folder: Path, plan: ShardPlan, rows: list[ClipRow], **settings: Any) -> None:
            write_shard(folder, plan, [dataclasses.replace(row, seconds=7) for row in rows], **settings)

        monkeypatch.setattr("cache.unpack.write_shard", wrong)
        with pytest.raises(IntegrityError, match="does not hold the rows that were packed"):
            unpack_store(packed, tmp_path / "again")


class TestOtherPrograms:
    @pytest.mark.parametrize("library", [h5py, pyfive], ids=["h5py", "pyfive"])
    def test_they_read_every_clip(self, store: Path, packed: Path, library: Any) -> None:
        for folder in (LH, X):
            reader = open_store(store / folder)
            seen = {}
            # Given a path, pyfive 1.3 opens it anew for the data, and forgets the user block.
            with library.File(io.BytesIO(packed.read_bytes()), "r") as h5:
                clips = h5[folder]["clips"]
                for row, name in enumerate(clips["name"][:]):
                    start, stop = clips["start"][row], clips["stop"][row]
                    frames = h5[folder]["frames"][start:stop]
                    assert zlib.crc32(np.ascontiguousarray(frames).data) == clips["crc32"][row]
                    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
                    if start < stop:
                        seen[raw.decode("utf-8", "surrogateescape")] = frames  # a later row supersedes an earlier one
                assert h5[folder].attrs["mode"] in (folder.split("-")[0], folder.split("-")[0].encode())
            assert set(seen) == set(reader.names)
            for name, frames in zip(reader.names, reader, strict=True):
                np.testing.assert_array_equal(seen[name], frames)
                assert seen[name].dtype == frames.dtype

    def test_it_is_plain_hdf5(self, packed: Path) -> None:
        with h5py.File(packed, "r") as h5:
            assert h5.userblock_size == USER_BLOCK_BYTES
            datasets: list[h5py.Dataset] = []
            h5.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
            assert len(datasets) == 3 * 12
            assert all(item.id.get_create_plist().get_nfilters() == 0 for item in datasets)
            assert h5[LH]["frames"].chunks == (8, 6)
            assert h5[f"{LH}/shards/rows"][:].tolist() == [6, 2]
            assert h5[f"{LH}/frames"].dtype == np.float16
            assert h5[f"{X}/frames"].dtype == np.float32


class TestDamage:
    @pytest.mark.parametrize("where", ["block", "structure", "frames", "end"])
    def test_a_flipped_bit_is_found(self, store: Path, packed: Path, tmp_path: Path, where: str) -> None:
        frames = open_store(store / X)[0].tobytes()
        offset = {
            "block": 200,
            "structure": USER_BLOCK_BYTES + 9,
            "frames": packed.read_bytes().index(frames[:30]),
            "end": packed.stat().st_size - 1,
        }[where]
        flip(packed, offset, bit=3)
        with pytest.raises(IntegrityError, match=r"store.h5 is not a whole pack: .*; copy it anew, or pack the store"):
            unpack_store(packed, tmp_path / "again")
        assert not (tmp_path / "again").exists()

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (lambda data: data[:-1], "bytes instead of"),
            (lambda data: data + b"\0", "bytes instead of"),
            (lambda data: data[:300], "the user block has 300 bytes instead of 512"),
            (lambda _: b"", "the user block has 0 bytes"),
            (lambda data: data[USER_BLOCK_BYTES:], "does not begin with earmark's magic"),
            (lambda _: b"RIFF" + bytes(2000), "does not begin with earmark's magic"),
        ],
    )
    def test_what_is_not_a_whole_pack_is_refused(self, packed: Path, tmp_path: Path, data: Any, words: str) -> None:
        packed.write_bytes(data(packed.read_bytes()))
        with pytest.raises(IntegrityError, match=words):
            unpack_store(packed, tmp_path / "again")

    def test_a_shard_is_not_a_pack(self, store: Path, tmp_path: Path) -> None:
        shard = sorted(store.glob("*/shard-*.h5"))[0]
        with pytest.raises(IntegrityError, match="it was sealed as 'shard-"):
            unpack_store(shard, tmp_path / "again")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"there is no pack at .*nothing.h5"):
            unpack_store(tmp_path / "nothing.h5", tmp_path / "again")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda h5: h5.attrs.modify("pack_version", 2), "has version 2; this earmark reads 1"),
            (lambda h5: h5.attrs.__delitem__("pack_version"), "cannot be read as a pack"),
            (lambda h5: h5.move(X, "x-../escape"), "cannot be read as a pack"),
            (lambda h5: h5.move(X, "x-other"), "group 'x-other' holds features of 'x-00ff00ff'"),
            (lambda h5: h5[f"{X}/clips/crc32"].__setitem__(0, 1), "the frames of clip '.*' do not match their CRC"),
            (lambda h5: h5[f"{X}/shards/rows"].__setitem__(slice(None), [1, 4]), "the clips of shard shard-0000-"),
            (lambda h5: h5[f"{X}/shards/rows"].__setitem__(1, 9), "the shards hold"),
            (lambda h5: h5[X].__delitem__("frames"), "cannot be read as a pack"),
        ],
    )
    def test_a_faulty_pack_under_a_right_seal_is_refused(
        self, packed: Path, tmp_path: Path, change: Any, words: str
    ) -> None:
        with h5py.File(packed, "r+") as h5:
            change(h5)
        reseal(packed)
        with pytest.raises(IntegrityError, match=words):
            unpack_store(packed, tmp_path / "again")

    def test_names_do_not_lead_out_of_the_store(self, packed: Path, tmp_path: Path) -> None:
        with h5py.File(packed, "r+") as h5:
            h5[X].attrs["mode"] = ".."
            h5[X].attrs["fingerprint"] = "x"
            h5[f"{X}/shards/name"][0] = "../../shard-0000-0123456789abcdef.h5"
        reseal(packed)
        with pytest.raises(IntegrityError, match=r"holds features of '\.\.-x'"):
            unpack_store(packed, tmp_path / "again")

    def test_a_bad_shard_is_named_and_nothing_is_packed(self, store: Path, tmp_path: Path) -> None:
        shard = sorted((store / X).glob("shard-*.h5"))[0]
        flip(shard, shard.stat().st_size - 1)
        with pytest.raises(IntegrityError, match=rf"1 of the 2 shards .*{shard.name}: .*; run cli cache repair"):
            pack_store(store, tmp_path / "store.h5")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["features"]

    def test_shards_with_other_settings_under_one_fingerprint_are_refused(self, store: Path, tmp_path: Path) -> None:
        write_x(store / X, [make_row("other", n_mels=3, dtype="float32")], top_db=60)
        with pytest.raises(IntegrityError, match="has other settings than"):
            pack_store(store, tmp_path / "store.h5")

    def test_what_is_not_read_back_is_not_kept(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = cache.pack._frame_chunks

        def wrong(*args: Any) -> Any:
            return (chunk[:-1] + bytes([chunk[-1] ^ 1]) for chunk in real(*args))

        monkeypatch.setattr(cache.pack, "_frame_chunks", wrong)
        with pytest.raises(IntegrityError, match="do not match their CRC-32"):
            pack_store(store, tmp_path / "store.h5")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["features"]

    @pytest.mark.parametrize("column", ["start", "digest", "seconds", "problem", "name", "crc32"])
    def test_every_column_is_compared(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
    ) -> None:
        real = cache.pack._columns

        def wrong(*args: Any) -> Any:
            columns = real(*args)
            other = {"digest": b"0" * 64, "problem": b"another reason", "name": b"?"}.get(column, 1)
            columns[column] = columns[column].copy()
            quarantined = [row for row, problem in enumerate(columns["problem"]) if problem]
            columns[column][quarantined[:1] if column == "problem" else 0] = other
            return columns

        monkeypatch.setattr(cache.pack, "_columns", wrong)
        with pytest.raises(IntegrityError, match=r"does not give back|do not match"):
            pack_store(store, tmp_path / "store.h5")


class TestPlaces:
    def test_a_file_that_is_there_is_kept_without_force(self, store: Path, packed: Path) -> None:
        data = packed.read_bytes()
        with pytest.raises(InputError, match="is there: name another file, or give --force"):
            pack_store(store, packed)
        assert packed.read_bytes() == data
        pack_store(store / X, packed, force=True)
        assert packed.read_bytes() != data

    def test_wrong_places_are_refused(self, store: Path, tmp_path: Path) -> None:
        shard = next((store / X).glob("shard-*.h5"))
        data = shard.read_bytes()
        with pytest.raises(InputError, match="is named like a shard"):
            pack_store(store, shard, force=True)
        assert shard.read_bytes() == data
        with pytest.raises(InputError, match="is a folder: name a file"):
            pack_store(store, tmp_path, force=True)
        with pytest.raises(NotFoundError, match="there is no folder"):
            pack_store(store, tmp_path / "nowhere" / "store.h5")
        with pytest.raises(NotFoundError, match="holds no shard of mode y"):
            pack_store(store, tmp_path / "store.h5", modes=["y"])

    def test_too_little_room_is_told_before(
        self, store: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cache.space.free_space", lambda _path: 2_000)
        with pytest.raises(NoSpaceError, match="are free"):
            pack_store(store, tmp_path / "other.h5")
        with pytest.raises(NoSpaceError, match="are free"):
            unpack_store(packed, tmp_path / "again")
        assert shards(tmp_path / "again") == {}

    def test_a_disk_that_fills_up_leaves_nothing(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(cache.pack.os, "fsync", full)
        with pytest.raises(NoSpaceError, match="make room and pack again"):
            pack_store(store, tmp_path / "store.h5")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["features"]

    def test_unpacking_takes_the_lock(self, packed: Path, tmp_path: Path) -> None:
        with StoreLock(tmp_path / "again"), pytest.raises(LockedError, match="is held by process"):
            unpack_store(packed, tmp_path / "again")

    @pytest.mark.parametrize("n_frames", [0, 5])
    def test_the_estimate_is_not_below_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_frames: int
    ) -> None:
        monkeypatch.setattr(cache.pack, "CHUNK_BYTES", 4096)  # the slack for the last chunk would hide the rest
        problem = "" if n_frames else "is cut short: holds 1234 of the 5678 frames that its header promises"
        rows = [make_row(f"a folder/{number:040d}.wav", n_frames, problem=problem) for number in range(400)]
        write(tmp_path / LH, rows)
        expected = cache.pack._expected_bytes(cache.pack._checked_folder(tmp_path / LH))
        assert expected / 3 < pack_store(tmp_path, tmp_path / "store.h5").n_bytes <= expected

    def test_progress_reaches_the_end(self, store: Path, tmp_path: Path) -> None:
        told: list[tuple[str, int, int]] = []
        pack_store(store, tmp_path / "store.h5", progress=lambda *args: told.append(args))
        assert told[-1] == ("read back", 14, 14)
        assert [done for stage, done, total in told if stage == "pack"][-1] == told[0][2]


def test_the_user_block_names_the_file(packed: Path) -> None:
    block = user_block(packed)
    assert (block.shard_name, block.file_bytes) == (PACK_NAME, packed.stat().st_size)
    assert [shard.folder for shard in read_pack(packed)] == [LH, LH, "lh-ffff0000", X, X]
