"""Ten complaints about feature caches, one direct case each; the deep tests of each are in the files named here.

1 workers: test_reader, test_sharing, test_dataset. 2 kills: test_kills, test_seal_faults. 3 damage: test_corruption,
test_integrity, test_repair. 4 settings: test_batch, test_explain. 5 quarantine: test_batch, test_audio,
test_odd_corpus. 6 zeros: test_reader, test_integrity. 7 memory: test_flat_memory. 8 workers that die: test_jobs,
test_suspects, test_kills. 9 locks: test_lock. 10 full disks: test_disk_full, test_space.
"""

import dataclasses
import multiprocessing
import operator
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shard_samples import flip, keys_of, make_rows, user_block, write
from sounds import clip_table, noise, write_sound
from test_cli import run, run_json
from torch.utils.data import DataLoader, default_convert

import featurize.shards
import featurize.suspects
from cache import StoreLock, open_store, verify_store
from cache.errors import IntegrityError, NotFoundError
from featurize.audio import Recording, decode
from featurize.batch import Featurizer
from featurize.modes import X
from featurize.shards import ShardTask
from train.dataset import WindowDataset

ROOT = Path(__file__).parents[1]
FORK, SPAWN = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")


def make_corpus(root: Path, n_clips: int = 4, *, n_long: int = 0) -> pd.DataFrame:
    """Write short noises, then long ones, in one folder of a class; give the table that the commands read of it."""
    lengths = [900 + 50 * number for number in range(n_clips)] + [56_000] * n_long
    folder = root / "noise"
    clips = clip_table([write_sound(folder / f"{i:02}.wav", noise(n, seed=i), 8_000) for i, n in enumerate(lengths)])
    return clips.assign(fname="noise/" + clips["fname"])


def contents(store: Path) -> dict[str, bytes]:
    """Every shard, and whatever else lies in the modes' folders."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("*/*")}


def frames_of(store: Path) -> dict[str, bytes]:
    reader = open_store(store / X.folder)
    return {name: frames.tobytes() for name, frames in zip(reader.names, reader, strict=True)}


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list to which every file that this process decodes is added."""
    names: list[str] = []

    def counted(path: str, *, max_clip_minutes: float) -> Recording:
        names.append(Path(path).name)
        return decode(path, max_clip_minutes=max_clip_minutes)

    monkeypatch.setattr(featurize.shards, "decode", counted)
    return names


def test_1_hdf5_breaks_with_dataloader_workers(tmp_path: Path) -> None:
    """HDF5 breaks with DataLoader workers: handles do not survive a fork, and cannot be pickled."""
    rows = make_rows(20)
    write(tmp_path, rows[:10])
    write(tmp_path, rows[10:])
    reader = open_store(tmp_path)
    np.testing.assert_array_equal(reader[0], rows[0].frames)  # the parent has mapped a shard before its workers start
    assert len(pickle.dumps(reader)) < 400
    dataset = WindowDataset(reader, range(20), window_frames=3, overlap=0.0)
    loader = DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=default_convert, multiprocessing_context=FORK)
    with SPAWN.Pool(2) as pool:
        spawned = pool.starmap_async(operator.getitem, [(reader, clip) for clip in range(20)], chunksize=1)
        windows = np.concatenate([batch.numpy() for batch, _ in loader])
        for frames, row in zip(spawned.get(), rows, strict=True):
            np.testing.assert_array_equal(frames, row.frames, strict=True)
    first = [windows[dataset.clip == clip][0] for clip in range(20)]
    np.testing.assert_array_equal(first, [row.frames[:3] for row in rows])


@pytest.mark.parametrize("step", ["writev", "fsync", "replace"])
def test_2_a_killed_run_left_a_file_that_will_not_open(tmp_path: Path, step: str) -> None:
    """A run that was killed left a file that will not open."""
    folder, rows = tmp_path / "lh-0123abcd", make_rows(6)
    write(folder, rows[:3])

    def die(*arguments: object) -> None:
        if step == "writev":
            os.write(arguments[0], bytes(300))
        os.kill(os.getpid(), signal.SIGKILL)

    def seal() -> None:
        setattr(os, step, die)
        write(folder, rows[3:])

    child = FORK.Process(target=seal)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 2  # the whole shard, and a hidden file that has no shard's name
    assert open_store(folder).keys == tuple(keys_of(rows[:3]))
    assert verify_store(folder).ok
    with StoreLock(tmp_path):
        write(folder, rows[3:])
    assert len(list(folder.iterdir())) == 2
    assert open_store(folder).keys == tuple(keys_of(rows))


@pytest.mark.parametrize("damage", ["length", "digest", "frames"])
def test_3_resume_trusted_a_corrupt_file_because_it_existed(tmp_path: Path, damage: str) -> None:
    """The next run trusted a corrupt file because it existed."""
    clips, store = make_corpus(tmp_path / "data"), tmp_path / "store"
    report = Featurizer(store, [X]).run(clips)["x"]
    before, (shard,) = contents(store), report.store.iterdir()
    command = ["featurize", tmp_path / "data", "--store", store, "--jobs", 1, "--mode", "x"]
    if damage == "frames":  # a run does not read them: who does is told at once
        flip(shard, user_block(shard).frames_offset + 7)
        with pytest.raises(IntegrityError, match=r"noise/00\.wav.*run `cli cache repair`"):
            frames_of(store)
    else:
        if damage == "length":
            os.truncate(shard, shard.stat().st_size - 1)
        else:
            flip(shard, shard.read_bytes().index(bytes.fromhex(report.keys[0].digest)))
        message = run(*command, exit_code=IntegrityError.exit_code).stderr
        assert f"{shard.name} fails its checks" in message
        assert "run `cli cache repair`" in message
    assert run_json("cache", "verify", "--store", store, exit_code=4)["ok"] is False
    run("cache", "repair", tmp_path / "data", "--store", store, "--jobs", 1)
    assert contents(store).items() >= before.items()
    assert run_json(*command)["modes"]["x"]["kept"] == len(clips)


def test_4_i_changed_a_parameter_and_trained_on_old_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed parameter left the old features in use; or nothing had changed and all was computed anew."""
    clips, store = make_corpus(tmp_path / "data"), tmp_path / "store"
    Featurizer(store, [X]).run(clips)
    before, decoded = contents(store), count_decoded(monkeypatch)
    for path in clips["path"]:
        os.utime(path, (1, 1))
    report = Featurizer(store, [X]).run(clips[::-1])["x"]
    assert (report.computed, report.kept, decoded) == (0, len(clips), [])
    other = dataclasses.replace(X, n_mels=64)
    report = Featurizer(store, [other]).run(clips)["x"]
    assert (report.computed, report.kept, len(decoded)) == (len(clips), 0, len(clips))
    assert report.store == store / other.folder != store / X.folder
    assert report.notes == [f"the settings changed (n_mels 48 → 64): what {X.folder} holds does not serve"]
    assert before.items() < contents(store).items()


def test_5_one_bad_recording_ruined_or_skewed_the_batch(tmp_path: Path) -> None:
    """One bad recording ended the batch, or skewed it."""
    good = make_corpus(tmp_path / "data")
    Featurizer(tmp_path / "good", [X]).run(good)
    sound = noise(2_000)
    sound[1_000] = np.nan
    bad = [tmp_path / "data/noise/01-bad.wav", write_sound(tmp_path / "data/noise/02-nan.wav", sound, subtype="FLOAT")]
    bad[0].write_text("no sound")
    command = ["featurize", tmp_path / "data", "--store", tmp_path / "all", "--jobs", 1, "--mode", "x", "--strict"]
    report = run_json(*command, exit_code=3)["modes"]["x"]
    assert (report["computed"], len(report["quarantined"])) == (len(good), 2)
    reasons = {row["fname"]: row["reason"] for row in report["quarantined"]}
    assert reasons["noise/01-bad.wav"] == "cannot be decoded: Format not recognised"
    assert reasons["noise/02-nan.wav"] == "holds NaN or infinity (1 of 2000 samples)"
    assert frames_of(tmp_path / "all") == frames_of(tmp_path / "good")


def test_6_my_data_silently_became_zeros(tmp_path: Path) -> None:
    """Data silently became zeros."""
    rows = make_rows(6)
    whole, lost = write(tmp_path, rows[:3]).path, write(tmp_path, rows[3:]).path
    block = user_block(whole)
    with whole.open("r+b") as file:
        file.seek(block.frames_offset)
        file.write(bytes(block.frames_bytes))
    reader = open_store(tmp_path, keys_of(rows))
    dataset = WindowDataset(reader, range(6), window_frames=3, overlap=0.0)
    with pytest.raises(IntegrityError, match=r"the frames of clip '000.wav' do not match their CRC-32"):
        dataset[0]
    lost.unlink()
    with pytest.raises(IntegrityError, match=rf"{lost.name} cannot be read any more"):
        reader[5]
    with pytest.raises(NotFoundError, match=r"3 of 6 clips have no frames in .*'003.wav' \(not featurized\)"):
        open_store(tmp_path, keys_of(rows))


def test_7_ram_climbs_until_out_of_memory(tmp_path: Path) -> None:
    """Memory climbs with every epoch until there is none left."""
    write(tmp_path, make_rows(300))
    reader = open_store(tmp_path)
    dataset = WindowDataset(reader, range(300), window_frames=3, overlap=0.0)
    epoch_bytes = len(dataset) * 3 * reader.n_mels * reader.dtype.itemsize

    def read() -> None:
        rng = np.random.default_rng(0)
        for chosen in np.array_split(rng.permutation(len(dataset)), 20):
            dataset.__getitems__(chosen)
            reader.gather(dataset.clip[chosen], np.zeros(len(chosen), int), 3)

    read()
    tracemalloc.start()
    read()
    kept = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        read()
    grown = tracemalloc.get_traced_memory()[0] - kept
    tracemalloc.stop()
    assert grown < epoch_bytes / 20


def test_8_a_worker_died_and_twelve_hours_were_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker died, and the work of hours was lost."""
    clips, store = make_corpus(tmp_path / "data", 48), tmp_path / "store"
    folder = store / X.folder

    def die_at_last(task: ShardTask) -> object:
        while task.sources[-1].name == "noise/47.wav" and not (tmp_path / "died").exists():
            if len(list(folder.glob("shard-*.h5"))) == 2:
                (tmp_path / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)
        return featurize.shards.make_shard(task)  # in a worker, which has the module as it is

    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(featurize.suspects, "make_shard", die_at_last)
        report = Featurizer(store, [X], jobs=2, remark=told.append).run(clips)["x"]
    assert (tmp_path / "died").exists()
    assert [sentence.split(":")[0] for sentence in told] == ["a worker process died"]
    assert (report.computed, report.quarantined) == (48, [])
    Featurizer(tmp_path / "undisturbed", [X]).run(clips)
    assert contents(store) == contents(tmp_path / "undisturbed")


# HDF5 locks as flock does, NFS as lockf. Opening for append would change the file itself: HDF5 notes it in there.
HOLD = """
import fcntl, sys
with open(sys.argv[2], "r+b") as one, open(sys.argv[3], "r+b") as other:
    fcntl.flock(one, fcntl.LOCK_EX)
    fcntl.lockf(other, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""
READ = """
import h5py, sys
from cache import open_store, verify_store
try:
    h5py.File(sys.argv[2], "r")
except BlockingIOError:
    print("locked")
print(len(list(open_store(sys.argv[1]))), verify_store(sys.argv[1]).ok)
"""


def test_9_unable_to_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process has locked cannot be read: "unable to lock file, errno = 11"."""
    rows = make_rows(6)
    folder = tmp_path / "lh-0123abcd"
    paths = [str(write(folder, part).path) for part in (rows[:3], rows[3:])]
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    hold, read = ([sys.executable, "-c", code, str(folder), *paths] for code in (HOLD, READ))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(hold, **pipes) as holder, StoreLock(tmp_path):
        assert holder.stdout.readline() == "held\n"
        ended = subprocess.run(read, capture_output=True, text=True, cwd=ROOT, check=False)
        holder.communicate("")
    assert (ended.returncode, ended.stdout) == (0, "locked\n6 True\n"), ended.stderr


def test_10_disk_full_segfault_and_everything_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ended in a crash, and everything was gone."""
    clips, store = make_corpus(tmp_path / "data", 16, n_long=16), tmp_path / "store"  # the limit is below the long ones
    command = [
        sys.executable,
        "-m",
        "cli",
        "featurize",
        tmp_path / "data",
        "--store",
        store,
        "--mode",
        "x",
        "--jobs",
        "1",
    ]
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (500_000, 500_000))
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, preexec_fn=limit)
    assert (ended.returncode, ended.stdout) == (6, "")
    assert "no space left for a shard in" in ended.stderr
    sealed = contents(store)
    assert len(sealed) == 1
    assert verify_store(store).ok
    decoded = count_decoded(monkeypatch)
    report = Featurizer(store, [X]).run(clips)["x"]
    assert (report.kept, report.computed, len(decoded)) == (16, 16, 16)
    assert sealed.items() < contents(store).items()
