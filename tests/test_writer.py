"""Sealing shards: what is in the file, and what is left when it goes wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shard_samples import N_MELS, digest_of, keys_of, make_row, make_rows, user_block, write

import cache.writer
from cache import ClipRow, ShardPlan, open_store, read_index, remove_leftovers
from cache.errors import InputError, IntegrityError, NoSpaceError
from cache.table import read_table
from cache.writer import read_rows

HERE = Path(__file__).resolve().parent

file_names = st.binary(min_size=1, max_size=24).filter(lambda data: b"\0" not in data).map(os.fsdecode)
problems = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=24)


@st.composite
def clip_rows(draw: st.DrawFn, dtype: str, n_mels: int) -> ClipRow:
    name = draw(file_names)
    digest = digest_of(name + str(draw(st.integers(0, 2))))
    seconds = draw(st.floats(0, 1e6))
    if draw(st.booleans()):
        return ClipRow(name, digest, seconds, None, draw(problems))
    values = st.floats(-100, 100, width=int(dtype[-2:]))  # type: ignore[arg-type]
    return ClipRow(name, digest, seconds, draw(hnp.arrays(dtype, (draw(st.integers(1, 4)), n_mels), elements=values)))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["float16", "float32"]), st.integers(1, 5))
def test_plain_h5py_and_the_reader_read_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, dtype: str, n_mels: int
) -> None:
    rows = data.draw(st.lists(clip_rows(dtype, n_mels), min_size=1, max_size=6, unique_by=lambda row: row.name))
    folder = tmp_path_factory.mktemp("store")
    record = write(folder, rows, dtype=dtype, n_mels=n_mels)
    rows.sort(key=lambda row: row.key)
    with h5py.File(record.path, "r") as h5:
        for row, start, stop, name, problem, seconds, crc in zip(
            rows,
            *(h5["clips"][name][:] for name in ("start", "stop", "name", "problem", "seconds", "crc32")),
            strict=True,
        ):
            frames = np.empty((0, n_mels), dtype) if row.frames is None else row.frames
            assert h5["frames"][start:stop].tobytes() == frames.tobytes()
            assert (os.fsdecode(name), problem.decode(), seconds) == (row.name, row.problem, row.seconds)
            assert crc == zlib.crc32(frames.tobytes())
    reader = open_store(folder)
    featurized = sorted((row for row in rows if row.frames is not None), key=lambda row: os.fsencode(row.name))
    assert list(reader.keys) == keys_of(featurized)
    assert reader.seconds.tolist() == [row.seconds for row in featurized]
    for row, frames in zip(featurized, reader, strict=True):
        assert frames.dtype == dtype
        assert frames.tobytes() == row.frames.tobytes()  # type: ignore[union-attr]
    index = read_index(folder)
    assert [(row.key, row.problem) for row in index.rows] == [(row.key, row.problem) for row in rows]


def test_the_file_is_laid_out_as_promised(tmp_path: Path) -> None:
    rows = [*make_rows(3), make_row("quiet.wav", problem="no samples")]
    record = write(tmp_path / "lh-0123abcd", rows)
    with h5py.File(record.path, "r") as h5:
        assert h5.userblock_size == 512
        assert set(h5) == {"clips", "frames", "index"}
        frames, clips = h5["frames"], h5["clips"]
        assert frames.chunks == frames.shape == (3 + 4 + 5, N_MELS)
        assert frames.compression is None
        assert not frames.fletcher32
        assert frames.id.get_num_chunks() == 1
        assert frames.dtype == np.dtype("<f2")
        assert dict(h5.attrs) == {
            "format_version": 2,
            "mode": "lh",
            "fingerprint": "0123abcd",
            "settings": '{"hop": 882, "name": "lh"}',
            "versions": '{"numpy": "2.1"}',
        }
        assert clips["name"].asstr()[:].tolist() == ["000.wav", "001.wav", "002.wav", "quiet.wav"]
        assert clips["start"][:].tolist() == [0, 3, 7, 12]
        assert clips["stop"][:].tolist() == [3, 7, 12, 12]
        assert clips["digest"][:].tolist() == [row.digest.encode() for row in rows]
        assert clips["problem"].asstr()[:].tolist() == ["", "", "", "no samples"]
    assert record.n_bytes == record.path.stat().st_size
    assert (record.n_clips, record.n_frames, record.problems) == (4, 12, (("quiet.wav", "no samples"),))
    assert [path.name for path in record.path.parent.iterdir()] == [ShardPlan.of(keys_of(rows)).filename]


def test_large_frames_begin_on_a_cache_line_and_end_the_file(tmp_path: Path) -> None:
    record = write(tmp_path, [make_row("a.wav", 1000)])
    block = user_block(record.path)
    assert block.frames_offset % 64 == 0
    assert block.frames_offset + block.frames_bytes == block.file_bytes == record.n_bytes
    with h5py.File(record.path, "r") as h5:
        expected = h5["frames"][:].tobytes()
    assert record.path.read_bytes()[block.frames_offset :] == expected


def test_the_bytes_depend_on_the_content_alone(tmp_path: Path) -> None:
    rows = make_rows(40)
    one = write(tmp_path / "one", rows)
    two = write(tmp_path / "two" / "below", reversed(rows))
    assert one.path.name == two.path.name
    assert one.path.read_bytes() == two.path.read_bytes()
    again = write(tmp_path / "one", rows)
    assert again.path.read_bytes() == two.path.read_bytes()


def test_frames_are_rounded_to_the_stored_type(tmp_path: Path) -> None:
    exact = make_row("a.wav", 50, dtype="float32")
    columns = replace(
        make_row("b.wav", dtype="float64"), frames=np.asfortranarray(np.linspace(0, 1, 60).reshape(10, 6))
    )
    write(tmp_path, [exact, columns])
    reader = open_store(tmp_path)
    assert exact.frames is not None
    assert columns.frames is not None
    np.testing.assert_array_equal(reader[0], exact.frames.astype("float16"), strict=True)
    np.testing.assert_array_equal(reader[1], columns.frames.astype("float16"), strict=True)


def test_frames_of_the_stored_type_are_not_copied() -> None:
    row = make_row("a.wav")
    header = cache.writer._header("lh", "0", {}, {}, N_MELS, "float16")
    kept = cache.writer._checked_row(row, header).frames
    assert kept is not None
    assert np.shares_memory(kept, row.frames)


def test_a_shard_of_problems_alone(tmp_path: Path) -> None:
    record = write(tmp_path, [make_row("b", problem="x\0y \ud800"), make_row("a", problem="é")])
    assert record.n_frames == 0
    with h5py.File(record.path, "r") as h5:
        assert h5["frames"].shape == (0, N_MELS)
        assert h5["frames"].chunks is None
    assert [row.problem for row in read_index(tmp_path).rows] == ["é", "x\ufffdy \\ud800"]
    assert len(open_store(tmp_path)) == 0


GOOD = make_row("a.wav")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (replace(GOOD, frames=None), "either frames or a problem; got problem=''"),
        (replace(GOOD, problem="broken"), "either frames or a problem; got problem='broken'"),
        (replace(GOOD, seconds=-1.0), "seconds must be finite and not negative; got -1.0"),
        (replace(GOOD, seconds=float("nan")), "got nan"),
        (replace(GOOD, frames=np.zeros((0, N_MELS), "f2")), r"got \(0, 6\)"),
        (replace(GOOD, frames=np.zeros((3, 5), "f2")), r"must have shape \(1 or more, 6\); got \(3, 5\)"),
        (replace(GOOD, frames=np.zeros(6, "f2")), r"got \(6,\)"),
        (replace(GOOD, frames=np.full((1, N_MELS), np.nan)), "must be finite as float16"),
        (replace(GOOD, frames=np.full((1, N_MELS), 1e6)), "must be finite as float16"),
        (replace(GOOD, name=""), "must be a file name"),
        (replace(GOOD, digest="abc"), "64 hexadecimal digits"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(tmp_path: Path, row: ClipRow, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path / "store", [row])
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "c"], ["a", "b", "b"]])
def test_other_clips_than_the_planned_are_refused(tmp_path: Path, names: list[str]) -> None:
    plan = ShardPlan.of(keys_of([make_row("a"), make_row("b")]))
    arguments: dict[str, Any] = {"settings": {}, "fingerprint": "0", "mode": "lh", "versions": {}, "dtype": "float16"}
    with pytest.raises(InputError, match=r"'[bc]' is missing, not planned, or there twice"):
        cache.write_shard(tmp_path, plan, map(make_row, names), n_mels=N_MELS, **arguments)


def test_more_frames_than_one_chunk_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.writer, "MAX_FRAMES_BYTES", 5 * N_MELS * 2)
    write(tmp_path, [make_row("a.wav", 5)])
    with pytest.raises(InputError, match="at most 60 bytes of frames; got 72: plan fewer clips"):
        write(tmp_path, [make_row("b.wav", 6)])


def test_impossible_mels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="n_mels must be at least 1; got 0"):
        write(tmp_path, [make_row("a.wav", problem="x")], n_mels=0)


def _fail_with(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any, **settings: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), OSError(errno.EIO, "broken disk")])
@pytest.mark.parametrize(
    "step",
    ["cache.writer.UserBlock.pack", "cache.writer.check_shard", "cache.writer.fsync", "os.replace", "zlib.crc32"],
)
def test_nothing_is_left_of_a_shard_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    before = write(tmp_path, [make_row("a.wav")]).path
    data = before.read_bytes()
    monkeypatch.setattr(step, _fail_with(error))
    for rows in ([make_row("a.wav")], [make_row("b.wav")]):
        with pytest.raises(type(error)):
            write(tmp_path, rows)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [before]
    assert before.read_bytes() == data


def test_what_is_read_back_wrong_is_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(3)
    monkeypatch.setattr("cache.writer.zlib", SimpleNamespace(crc32=lambda _: 1))
    with pytest.raises(IntegrityError, match=r"do not match their CRC-32: '000.wav', '001.wav', '002.wav'"):
        write(tmp_path, rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("cache.writer.fsync", _fail_with(OSError(number, os.strerror(number))))
    with pytest.raises(NoSpaceError, match="no space left for a shard in"):
        write(tmp_path, [make_row("a.wav")])
    assert list(tmp_path.iterdir()) == []


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("limit", [100, 5000, 20_000])
def test_a_disk_that_fills_up_ends_in_an_error_and_not_in_a_crash(tmp_path: Path, limit: int) -> None:
    code = """
        import resource, sys
        from pathlib import Path
        from shard_samples import make_row, write
        from cache.errors import NoSpaceError
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
        try:
            write(Path(sys.argv[1]), [make_row("b.wav", 2000)])
        except NoSpaceError as error:
            print(error)
            raise SystemExit(error.exit_code)
    """
    before = write(tmp_path, [make_row("a.wav")]).path
    ended = run_python(code, tmp_path, limit)
    assert (ended.returncode, ended.stderr) == (6, "")
    assert "no space left" in ended.stdout
    assert list(tmp_path.iterdir()) == [before]
    assert open_store(tmp_path).names == ("a.wav",)


def test_a_killed_writer_leaves_no_shard_and_the_next_run_seals_the_same_one(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        import cache.writer
        from shard_samples import make_rows, write
        step = sys.argv[2]
        setattr(cache.writer, step, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
        write(Path(sys.argv[1]), make_rows(5))
    """
    undisturbed = write(tmp_path / "undisturbed", make_rows(5)).path
    for step in ("check_shard", "fsync"):
        folder = tmp_path / step
        folder.mkdir()
        assert run_python(code, folder, step).returncode == -signal.SIGKILL
        leftovers = list(folder.iterdir())
        assert len(leftovers) == 1
        assert len(read_index(folder)) == 0
        assert remove_leftovers(folder) == leftovers
        assert write(folder, make_rows(5)).path.read_bytes() == undisturbed.read_bytes()
        assert [path.name for path in folder.iterdir()] == [undisturbed.name]


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    shard = write(tmp_path, make_rows(1)).path
    strange = tmp_path / ".other.part"
    leftover = tmp_path / f".{shard.name}.1-2.part"
    strange.touch()
    leftover.touch()
    assert remove_leftovers(tmp_path) == [leftover]
    assert sorted(tmp_path.iterdir()) == sorted([strange, shard])
    assert remove_leftovers(tmp_path / "nowhere") == []


def test_settings_are_stored_with_sorted_keys(tmp_path: Path) -> None:
    record = write(tmp_path, make_rows(1))
    with h5py.File(record.path, "r") as h5:
        assert list(json.loads(h5.attrs["settings"])) == ["hop", "name"]


def test_rows_are_not_read_beyond_the_end_of_a_file(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, make_rows(2)).path)
    os.truncate(table.path, table.block.frames_offset + table.block.frames_bytes - 1)
    rows = read_rows(table, range(len(table.rows)))
    assert next(rows).frames is not None
    with pytest.raises(OSError, match="ends within its frames"):
        next(rows)
