"""Reading through the map: equal to plain h5py, in any process."""

import errno
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_samples import N_MELS, digest_of, flip, keys_of, make_row, make_rows, user_block, write

from cache import Key, StoreReader, open_store, read_index
from cache.errors import InputError, IntegrityError, NotFoundError


@pytest.fixture(scope="module")
def three_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "lh-0123abcd"
    for shard in range(3):
        rows = [make_row(f"{shard}-{number}.wav", 8 + 5 * number + shard, problem="") for number in range(4)]
        write(folder, [*rows, make_row(f"{shard}-bad.wav", problem="no samples")])
    return folder


def plain_frames(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read every clip as anyone with h5py would."""
    frames = {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path, "r") as h5:
            clips = h5["clips"]
            for name, start, stop in zip(clips["name"].asstr()[:], clips["start"], clips["stop"], strict=True):
                if stop > start:
                    frames[name] = h5["frames"][start:stop]
    return frames


def test_it_reads_what_plain_h5py_reads(three_shards: Path) -> None:
    reader = open_store(three_shards)
    expected = plain_frames(three_shards)
    assert len(reader) == len(expected) == 12
    assert list(reader.names) == sorted(expected)
    for clip, name in enumerate(reader.names):
        np.testing.assert_array_equal(reader[clip], expected[name], strict=True)
    assert reader.n_frames.tolist() == [len(expected[name]) for name in reader.names]
    assert reader.seconds.tolist() == [len(expected[name]) / 50 for name in reader.names]
    assert reader[-1].tobytes() == reader[11].tobytes()


def test_it_tells_how_the_store_was_made(three_shards: Path) -> None:
    reader = open_store(three_shards)
    assert (reader.mode, reader.fingerprint, reader.n_mels) == ("lh", "0123abcd", N_MELS)
    assert reader.settings == {"name": "lh", "hop": 882}
    assert reader.dtype == np.dtype("<f2")
    assert repr(reader) == f"<StoreReader lh: 12 clips in {three_shards}>"


def test_what_it_gives_cannot_be_changed(three_shards: Path) -> None:
    reader = open_store(three_shards)
    for given_array in (reader[0], reader.n_frames, reader.seconds):
        with pytest.raises(ValueError, match="read-only"):
            given_array[0] = 0


def test_no_hdf5_handle_is_kept(three_shards: Path) -> None:
    kinds = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_DATASET | h5py.h5f.OBJ_GROUP
    before = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, kinds)
    reader = open_store(three_shards)
    assert len(reader[0]) == reader.n_frames[0]
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, kinds) == before


@pytest.mark.parametrize("clip", [12, -13])
def test_there_are_no_other_clips(three_shards: Path, clip: int) -> None:
    with pytest.raises(IndexError, match=f"clip {clip} of a reader of 12 clips"):
        open_store(three_shards)[clip]


@given(st.lists(st.integers(0, 11), max_size=20))
@settings(max_examples=30)
def test_keys_choose_clips_and_their_order(three_shards: Path, chosen: list[int]) -> None:
    everything = open_store(three_shards)
    reader = open_store(three_shards, [everything.keys[clip] for clip in chosen])
    assert reader.names == tuple(everything.names[clip] for clip in chosen)
    assert reader.n_frames.tolist() == everything.n_frames[chosen].tolist()
    for clip, frames in zip(chosen, reader, strict=True):
        assert frames.tobytes() == everything[clip].tobytes()


def test_no_keys_are_no_clips(three_shards: Path) -> None:
    reader = open_store(three_shards, [])
    assert (len(reader), reader.names, list(reader)) == (0, (), [])
    assert reader.gather([], [], 3).shape == (0, 3, N_MELS)


def test_keys_without_frames_are_named(three_shards: Path) -> None:
    keys = [
        open_store(three_shards).keys[0],
        Key("1-bad.wav", digest_of("1-bad.wav")),
        Key("1-0.wav", digest_of("changed")),
        *(Key(f"new {number}", digest_of("")) for number in range(4)),
    ]
    message = (
        r"^6 of 7 clips have no frames in .*: '1-bad.wav' \(quarantined: no samples\), '1-0.wav' \(not featurized\), "
        r"'new 0' \(not featurized\), …; run `cli featurize`"
    )
    with pytest.raises(NotFoundError, match=message):
        open_store(three_shards, keys)


def test_a_newer_generation_supersedes(tmp_path: Path) -> None:
    first, newer, newest = (make_rows(3), [make_row("001.wav", 9, version=v) for v in "23"][:1], [])
    write(tmp_path, first)
    write(tmp_path, newer, generation=1)
    newest = [make_row("001.wav", version="3", problem="empty"), make_row("000.wav", 7, version="3")]
    write(tmp_path, newest, generation=2)
    reader = open_store(tmp_path)
    assert list(reader.keys) == keys_of([newest[1], first[2]])
    old = open_store(tmp_path, keys_of([*newer, first[1]]))
    for frames, row in zip(old, [*newer, first[1]], strict=True):
        np.testing.assert_array_equal(frames, row.frames, strict=True)


@given(st.data(), st.integers(1, 8))
@settings(max_examples=50)
def test_gather_copies_the_very_windows(three_shards: Path, data: st.DataObject, n_frames: int) -> None:
    reader = open_store(three_shards)
    clips = data.draw(st.lists(st.integers(0, len(reader) - 1), max_size=8))
    starts = [data.draw(st.integers(0, int(reader.n_frames[clip]) - n_frames)) for clip in clips]
    windows = reader.gather(clips, starts, n_frames)
    assert windows.shape == (len(clips), n_frames, N_MELS)
    assert windows.dtype == reader.dtype
    assert windows.flags.writeable
    expected = plain_frames(three_shards)
    for window, clip, start in zip(windows, clips, starts, strict=True):
        np.testing.assert_array_equal(window, expected[reader.names[clip]][start : start + n_frames], strict=True)


@pytest.mark.parametrize(
    ("clips", "starts", "n_frames", "message"),
    [
        ([0, 1], [0, 6], 8, "clip '0-1.wav' has 13 frames; window 6 … 14"),
        ([0], [-1], 8, "clip '0-0.wav' has 8 frames; window -1 … 7"),
        ([0], [0], 9, "has 8 frames"),
        ([12], [0], 8, "in 0 … 11; got 12"),
        ([-1], [0], 8, "in 0 … 11; got -1"),
        ([0], [0], 0, "must have 1 … 2147483647 frames; got n_frames=0"),
        ([0], [0], 2**63, r"got n_frames=9223372036854775808"),
        ([0.5], [0], 8, "clips must be whole numbers; got float64"),
        ([0], ["0"], 8, "starts must be whole numbers; got <U1"),
        ([0], [0, 1], 8, r"equally long; got \(1,\) and \(2,\)"),
        ([[0]], [[0]], 8, r"got \(1, 1\)"),
    ],
)
def test_windows_outside_a_clip_are_refused(
    three_shards: Path, clips: list[int], starts: list[int], n_frames: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_store(three_shards).gather(clips, starts, n_frames)


@pytest.mark.parametrize("key", ["0-0.wav", ("0-0.wav", "zz"), ("", "0" * 64)])
def test_what_is_no_key_is_refused(three_shards: Path, key: object) -> None:
    with pytest.raises(InputError, match=r"64 hexadecimal digits|must be a file name"):
        open_store(three_shards, [key])  # type: ignore[list-item]


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    three_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    for read in (open_store, read_index):
        with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\): make it readable"):
            read(three_shards)


def frames_of(reader: StoreReader) -> list[bytes]:
    return [frames.tobytes() for frames in reader] + [reader.gather([3, 0], [1, 2], 4).tobytes()]


def send_frames(reader: StoreReader, connection: Any) -> None:
    connection.send((frames_of(reader), os.getpid()))


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_reads_the_same_in_another_process(three_shards: Path, method: str, touched: bool) -> None:
    reader = open_store(three_shards)
    if touched:
        assert reader[2].size
    context: Any = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=send_frames, args=(reader, there))
    process.start()
    assert here.poll(60)
    frames, pid = here.recv()
    process.join(60)
    assert process.exitcode == 0
    assert pid != os.getpid()
    assert frames == frames_of(reader)


def test_a_pickle_carries_a_few_hundred_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "store"
    write(folder, [make_row(f"{number:08d}.wav", 400) for number in range(50)])
    monkeypatch.chdir(tmp_path)
    reader = open_store("store")
    fresh = len(pickle.dumps(reader))
    assert fresh < 400
    assert frames_of(reader)
    assert reader.keys
    assert len(pickle.dumps(reader)) == fresh
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(reader))
    assert frames_of(again) == frames_of(reader)
    assert again.keys == reader.keys
    assert again.settings == reader.settings
    with pytest.raises(ValueError, match="read-only"):
        again.n_frames[0] = 1


def test_mapped_shards_are_not_kept_open(three_shards: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    reader = open_store(three_shards)
    assert frames_of(reader)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("read", [lambda reader: reader[1], lambda reader: reader.gather([0, 1], [0, 0], 2)])
def test_damaged_frames_are_found_at_the_first_read(tmp_path: Path, read: Callable[[StoreReader], Any]) -> None:
    path = write(tmp_path, make_rows(3)).path
    flip(path, user_block(path).frames_offset + 3 * N_MELS * 2 + 5)
    reader = open_store(tmp_path)
    message = f"shard {path}: the frames of clip '001.wav' do not match their CRC-32; run"
    for _ in range(2):
        with pytest.raises(IntegrityError, match=message):
            read(reader)
    assert len(reader[0]) == 3
    assert len(reader[2]) == 5
    with pytest.raises(IntegrityError, match=r"'001.wav'"):
        reader.verify_clip(1)


def test_verify_clip_looks_again(tmp_path: Path) -> None:
    path = write(tmp_path, make_rows(1)).path
    reader = open_store(tmp_path)
    reader.verify_clip(0)
    flip(path, user_block(path).frames_offset)
    assert len(reader[0]) == 3  # known to be whole when this process read it first
    with pytest.raises(IntegrityError, match=r"'000.wav'"):
        reader.verify_clip(-1)


@pytest.mark.parametrize("cut", [0, 300, 600, -1])
def test_a_file_cut_short_raises_and_does_not_kill(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, [make_row("a.wav", 5000)]).path
    reader = open_store(tmp_path)
    os.truncate(path, cut % path.stat().st_size)
    with pytest.raises(IntegrityError, match="is not the one that was opened"):
        reader[0]
    with pytest.raises(IntegrityError, match="fails its checks"):
        open_store(tmp_path)


def test_a_shard_that_went_away_or_was_replaced_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "one", make_rows(3)).path
    other = write(tmp_path / "two", make_rows(3, seed=1)).path
    reader = open_store(tmp_path / "one")
    os.replace(other, path)
    with pytest.raises(IntegrityError, match="is not the one that was opened: open the store anew"):
        reader[0]
    path.unlink()
    with pytest.raises(IntegrityError, match="cannot be read any more"):
        reader[0]


def test_a_mapped_clip_outlives_its_file(tmp_path: Path) -> None:
    rows = make_rows(2)
    path = write(tmp_path, rows).path
    reader = open_store(tmp_path)
    assert reader[0].size
    path.unlink()
    np.testing.assert_array_equal(reader[1], rows[1].frames, strict=True)


@pytest.mark.parametrize("change", [{"fingerprint": "ffff"}, {"dtype": "float32"}, {"n_mels": 7}])
def test_shards_of_different_features_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    one = write(tmp_path, [make_row("a.wav")]).path
    other = write(tmp_path, [make_row("b.wav", n_mels=change.get("n_mels", N_MELS))], **change).path
    with pytest.raises(IntegrityError, match="holds different features") as caught:
        open_store(tmp_path)
    assert one.name in str(caught.value)
    assert other.name in str(caught.value)


def test_where_there_is_no_store_the_next_step_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no store at .*nowhere: run `cli featurize`"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="holds no shards: run `cli featurize`"):
        open_store(tmp_path)
    write(tmp_path / "lh-0123", make_rows(1))
    with pytest.raises(NotFoundError, match=r"open one of its folders \(lh-0123\)"):
        open_store(tmp_path)
