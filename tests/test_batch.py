"""The parallel featurizer: what is computed, kept, remembered and told."""

import dataclasses
import math
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sounds import RATE_HZ, clip_table, noise, wav_bytes, write_sound

import cache.space
import featurize.batch
import featurize.shards
import featurize.suspects
from cache import StoreLock, open_store, read_index, verify_store
from cache.errors import CorpusError, InputError, LockedError, NoSpaceError
from cache.layout import TEMP_SUFFIX
from featurize.audio import Recording, decode
from featurize.batch import Featurizer, clips_per_shard
from featurize.logmel import compute
from featurize.modes import LH, MODES, FeatureMode, X
from featurize.shards import ShardTask, library_versions, make_shard

BOTH = (LH, X)


@pytest.fixture
def clips(tmp_path: Path) -> pd.DataFrame:
    """Twenty short clips, which make two shards a mode."""
    folder = tmp_path / "audio"
    return clip_table([write_sound(folder / f"{i:02}.wav", noise(2_000 + 100 * i, seed=i)) for i in range(20)])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def contents(store: Path) -> dict[str, bytes]:
    """Every shard, and whatever else lies beside it."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("*/**/*") if path.is_file()}


def path_of(clips: pd.DataFrame, name: str) -> Path:
    return Path(str(clips.set_index("fname").loc[name, "path"]))


# ------------------------------------------------------------------ what is computed


def test_frames_are_those_of_compute(clips: pd.DataFrame, store: Path) -> None:
    reports = Featurizer(store, BOTH).run(clips)
    assert list(reports) == ["lh", "x"]
    for name, report in reports.items():
        mode = MODES[name]
        assert (report.mode, report.store, report.clips) == (mode, store / mode.folder, 20)
        assert (report.computed, report.kept, report.quarantined, report.notes) == (20, 0, [], [])
        reader = open_store(report.store)
        assert reader.settings == mode.to_dict()
        assert list(reader.names) == clips["fname"].tolist() == [key.name for key in report.keys]
        assert verify_store(report.store).ok
        for frames, path in zip(reader, clips["path"], strict=True):
            np.testing.assert_array_equal(frames, compute(path, [mode])[name].astype(np.float16))


def test_float32_is_stored_bit_for_bit(clips: pd.DataFrame, store: Path) -> None:
    report = Featurizer(store, [dataclasses.replace(X, dtype="float32")]).run(clips)["x"]
    np.testing.assert_array_equal(open_store(report.store)[3], compute(clips["path"][3], [X])["x"])


def test_a_clip_is_decoded_once_for_all_modes(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(path: str, *, max_clip_minutes: float) -> Recording:
        decoded.append(path)
        return decode(path, max_clip_minutes=max_clip_minutes)

    monkeypatch.setattr(featurize.shards, "decode", counted)
    Featurizer(store, BOTH).run(clips)
    assert sorted(decoded) == sorted(clips["path"])


def test_a_second_run_computes_nothing(clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Featurizer(store, BOTH).run(clips)
    before = contents(store)
    monkeypatch.setattr(featurize.suspects, "make_shard", lambda _: pytest.fail("a shard was made"))
    report = Featurizer(store, BOTH).run(clips)["lh"]
    assert (report.computed, report.kept, len(report.keys), report.notes) == (0, 20, 20, [])
    assert contents(store) == before


def test_workers_need_not_run_in_this_folder(
    clips: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers of an earlier run stay where they were started, and those of a cluster are anywhere."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        report = Featurizer(Path("store"), [X], jobs=2).run(clips)["x"]
        assert (report.computed, report.store) == (20, Path("store") / X.folder)
        assert len(open_store(tmp_path / name / "store" / X.folder)) == 20


def test_workers_that_write_elsewhere_are_noticed(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featurize.shards, "write_shard", lambda *_, **__: None)
    with pytest.raises(InputError, match=r"lacks 20 of the clips just computed, such as '00.wav': .* --store that all"):
        Featurizer(store, [X]).run(clips)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_stopped_run_is_resumed_to_the_very_shards(
    clips: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    Featurizer(tmp_path / "whole", BOTH).run(clips)
    finished: list[ShardTask] = []

    def stops(task: ShardTask) -> object:
        if len(finished) == done:
            raise KeyboardInterrupt
        finished.append(task)
        return make_shard(task)

    with monkeypatch.context() as patch:
        patch.setattr(featurize.suspects, "make_shard", stops)
        if done < 2:
            with pytest.raises(KeyboardInterrupt):
                Featurizer(tmp_path / "stopped", BOTH).run(clips)
    report = Featurizer(tmp_path / "stopped", BOTH).run(clips)["x"]
    assert report.kept == (0 if done == 2 else 16 * done)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_new_clips_make_new_shards(clips: pd.DataFrame, store: Path) -> None:
    Featurizer(store, [X]).run(clips[:5])
    before = contents(store)
    report = Featurizer(store, [X]).run(clips)["x"]
    assert (report.computed, report.kept) == (15, 5)
    assert before.items() < contents(store).items()


@pytest.mark.parametrize("keep_stamp", [False, True])
def test_one_changed_byte_computes_one_clip(clips: pd.DataFrame, store: Path, keep_stamp: bool) -> None:
    Featurizer(store, BOTH).run(clips)
    path = path_of(clips, "07.wav")
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-2] ^= 0xFF
    path.write_bytes(content)
    if keep_stamp:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = Featurizer(store, BOTH).run(clips)["lh"]
    assert (report.computed, report.kept) == (1, 19)
    assert report.notes == ["1 clip has changed: 07.wav"]
    reader = open_store(report.store)
    assert len(reader) == 20
    np.testing.assert_array_equal(reader[7], compute(path, [LH])["lh"].astype(np.float16))


def test_changed_settings_are_told_by_name(clips: pd.DataFrame, store: Path) -> None:
    Featurizer(store, [X]).run(clips)
    other = dataclasses.replace(X, n_mels=64, dtype="float32")
    report = Featurizer(store, [other]).run(clips)["x"]
    assert report.computed == 20
    assert report.notes == [
        f"the settings changed (n_mels 48 → 64, dtype float16 → float32): what {X.folder} holds does not serve"
    ]
    assert Featurizer(store, [X]).run(clips)["x"].kept == 20


def test_changed_settings_are_told_beside_other_corpora(clips: pd.DataFrame, store: Path) -> None:
    other = dataclasses.replace(X, n_mels=64)
    Featurizer(store, [X]).run(clips[:5])
    assert Featurizer(store, [other]).run(clips[5:])["x"].notes == []
    notes = [f"the settings changed (n_mels 48 → 64): what {X.folder} holds does not serve"]
    assert Featurizer(store, [other]).run(clips[:5])["x"].notes == notes


def test_a_whole_store_needs_neither_lock_nor_leave_to_write(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Featurizer(store, [X]).run(clips)
    monkeypatch.setattr(StoreLock, "__enter__", lambda _: pytest.fail("the store was locked"))
    assert Featurizer(store, [X]).run(clips)["x"].kept == 20


def test_what_another_run_wrote_meanwhile_is_kept(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = StoreLock.__enter__

    def late(lock: StoreLock) -> StoreLock:
        monkeypatch.setattr(StoreLock, "__enter__", enter)
        Featurizer(store, [X]).run(clips[:16])
        return enter(lock)

    monkeypatch.setattr(StoreLock, "__enter__", late)
    report = Featurizer(store, [X]).run(clips)["x"]
    assert (report.computed, report.kept) == (4, 16)


def test_names_that_are_not_utf8_are_featurized(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    path = os.path.join(folder, b"\xff.wav")
    Path(os.fsdecode(path)).write_bytes(write_sound(tmp_path / "a.wav", noise(500)).read_bytes())
    broken = os.path.join(folder, b"\xfe.wav")
    Path(os.fsdecode(broken)).write_bytes(b"no sound")
    clips = pd.DataFrame({"fname": [r"\xfe.wav", r"\xff.wav"], "path": [os.fsdecode(broken), os.fsdecode(path)]})
    for store in (tmp_path / "store", Path(os.fsdecode(folder)) / "store"):
        report = Featurizer(store, BOTH).run(clips)["x"]
        assert report.quarantined == [(r"\xfe.wav", "cannot be decoded: Format not recognised")]
        assert open_store(report.store).names == (r"\xff.wav",)


def test_an_empty_table_is_done_at_once(store: Path) -> None:
    report = Featurizer(store, [X]).run(clip_table([]))["x"]
    assert (report.clips, report.computed, report.kept, report.keys) == (0, 0, 0, [])


def test_progress_is_told(clips: pd.DataFrame, store: Path) -> None:
    steps: list[tuple[object, ...]] = []
    Featurizer(store, BOTH, progress=lambda *step: steps.append(step)).run(clips)
    seconds = [soundfile.info(path).duration for path in clips["path"]]
    assert steps == [
        ("check", 16, 20),
        ("check", 20, 20),
        ("featurize", 0, 20, 0.0),
        ("featurize", 16, 20, pytest.approx(sum(seconds[:16]))),
        ("featurize", 20, 20, pytest.approx(sum(seconds))),
    ]


@pytest.mark.parametrize(
    ("n_clips", "expected"),
    [(0, 16), (20, 16), (511, 16), (512, 32), (1_000, 32), (2_048, 64), (11_073, 256), (10**6, 512)],
)
def test_the_size_of_shards_grows_with_the_corpus(n_clips: int, expected: int) -> None:
    assert clips_per_shard(n_clips) == expected


def test_versions_are_recorded() -> None:
    assert set(library_versions()) == {"librosa", "libsndfile", "numpy", "soxr"}
    assert all(version[0].isdigit() for version in library_versions().values())


# ------------------------------------------------------------------ quarantine


def test_broken_clips_are_remembered_and_listed_each_time(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path_of(clips, "03.wav").write_bytes(b"")
    path_of(clips, "11.wav").write_bytes(b"no sound")
    path_of(clips, "15.wav").unlink()
    listed = [
        ("03.wav", "the file is empty (0 bytes)"),
        ("11.wav", "cannot be decoded: Format not recognised"),
        ("15.wav", "cannot be read: No such file or directory"),
    ]
    first = Featurizer(store, BOTH).run(clips)["lh"]
    assert (first.clips, first.computed, first.kept, first.quarantined) == (20, 17, 0, listed)
    assert len(open_store(first.store)) == 17
    with monkeypatch.context() as patch:
        patch.setattr(featurize.shards, "decode", lambda *_, **__: pytest.fail("a clip was decoded again"))
        again = Featurizer(store, BOTH).run(clips)["x"]
        assert (again.computed, again.kept, again.quarantined) == (0, 17, listed)
        plan = Featurizer(store, BOTH).plan(clips)
        assert (plan.todo, plan.kept) == ({"lh": 0, "x": 0}, {"lh": 17, "x": 17})
    write_sound(path_of(clips, "03.wav"), noise(500))
    mended = Featurizer(store, BOTH).run(clips)["x"]
    assert (mended.computed, mended.kept, mended.quarantined) == (1, 17, listed[1:])


def test_a_clip_may_fail_in_one_mode_only(clips: pd.DataFrame, store: Path) -> None:
    path = path_of(clips, "02.wav")
    write_sound(path, 3.4e38 * np.sign(noise(9_000)), LH.sample_rate_hz, subtype="FLOAT")
    reports = Featurizer(store, BOTH).run(clips)
    assert (reports["lh"].computed, reports["lh"].quarantined) == (20, [])
    assert reports["x"].computed == 19
    assert reports["x"].quarantined[0][0] == "02.wav"
    assert reports["x"].quarantined[0][1].startswith("overflows when resampled to 26000 Hz")


def test_a_higher_limit_lets_long_clips_in(clips: pd.DataFrame, store: Path) -> None:
    write_sound(path_of(clips, "05.wav"), noise(3 * RATE_HZ))
    short = Featurizer(store, [X], max_clip_minutes=2 / 60).run(clips)["x"]
    reason = "is 0.1 minutes long, over the 0.0333333 of --max-clip-minutes: use cli caption"
    assert (short.computed, short.quarantined) == (19, [("05.wav", reason)])
    before = contents(store)
    assert Featurizer(store, [X], max_clip_minutes=2.5 / 60).run(clips)["x"].computed == 0
    assert contents(store) == before
    longer = Featurizer(store, [X], max_clip_minutes=4 / 60)
    assert longer.plan(clips).notes == {"x": ["1 clip has been let in by the higher --max-clip-minutes: 05.wav"]}
    report = longer.run(clips)["x"]
    assert (report.computed, report.kept, report.quarantined) == (1, 19, [])
    assert "05.wav" in open_store(report.store).names
    assert longer.run(clips)["x"].computed == 0


def test_a_lower_limit_leaves_long_clips_out(clips: pd.DataFrame, store: Path) -> None:
    write_sound(path_of(clips, "05.wav"), noise(3 * RATE_HZ))
    Featurizer(store, [X], max_clip_minutes=3 / 60).run(clips)
    before = contents(store)
    shorter = Featurizer(store, [X], max_clip_minutes=2 / 60)
    report = shorter.run(clips)["x"]
    reason = "is 0.1 minutes long, over the 0.0333333 of --max-clip-minutes: use cli caption"
    assert (report.computed, report.kept, report.quarantined) == (0, 19, [("05.wav", reason)])
    assert "05.wav" not in [key.name for key in report.keys]
    assert shorter.plan(clips).kept == {"x": 19}
    assert Featurizer(store, [X], max_clip_minutes=3 / 60).run(clips)["x"].kept == 20
    assert contents(store) == before


def test_without_a_limit_the_stores_clips_stay_as_they_are(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sound(path_of(clips, "05.wav"), noise(3 * RATE_HZ))
    write_sound(path_of(clips, "06.wav"), noise(4 * RATE_HZ))
    Featurizer(store, [X], max_clip_minutes=2 / 60).run(clips[:6])
    Featurizer(store, [X], max_clip_minutes=5 / 60).run(clips[6:8])
    monkeypatch.setattr(featurize.batch, "MAX_CLIP_MINUTES", 3.5 / 60)
    report = Featurizer(store, [X]).run(clips[:8])["x"]
    assert (report.computed, report.kept, len(report.quarantined)) == (0, 7, 1)
    write_sound(path_of(clips, "09.wav"), noise(4 * RATE_HZ))
    assert [name for name, _ in Featurizer(store, [X]).run(clips)["x"].quarantined] == ["05.wav", "09.wav"]


# ------------------------------------------------------------------ what goes wrong meanwhile


def test_a_file_that_changes_meanwhile_is_told_and_the_others_done(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddles(path: str, *, max_clip_minutes: float) -> Recording:
        recording = decode(path, max_clip_minutes=max_clip_minutes)
        if path.endswith("04.wav"):
            write_sound(Path(path), noise(50))
        if path.endswith("18.wav"):
            Path(path).unlink()
        return recording

    with monkeypatch.context() as patch:
        patch.setattr(featurize.shards, "decode", meddles)
        with pytest.raises(CorpusError, match=r"2 files changed while they were read, such as '04.wav'; run again"):
            Featurizer(store, BOTH).run(clips)
    names = [row.key.name for row in read_index(store / X.folder).rows]
    assert sorted(names) == [name for name in clips["fname"] if name not in ("04.wav", "18.wav")]
    report = Featurizer(store, BOTH).run(clips)["x"]
    assert (report.computed, report.kept) == (1, 18)
    assert [name for name, _ in report.quarantined] == ["18.wav"]


def test_a_file_that_cannot_be_read_any_more_is_not_remembered_as_broken(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str) -> object:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("featurize.audio.open_regular", fails)
        with pytest.raises(CorpusError, match="20 files changed"):
            Featurizer(store, [X]).run(clips)
    assert not read_index(store / X.folder).rows
    assert Featurizer(store, [X]).run(clips)["x"].computed == 20


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["OSError", "Ctrl-C"])
def test_nothing_half_written_stays(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    leftover = store / X.folder / f".shard-00.h5.1-2{TEMP_SUFFIX}"
    made: list[object] = []

    def fails(*args: object, **options: object) -> object:
        leftover.write_bytes(b"of a killed worker")
        made.append(args)
        raise failure

    monkeypatch.setattr(featurize.shards, "write_shard", fails)
    (store / X.folder).mkdir(parents=True)
    with pytest.raises(type(failure)):
        Featurizer(store, [X]).run(clips)
    assert made
    assert contents(store) == {}
    with StoreLock(store):
        pass


def test_leftovers_of_a_killed_run_are_swept_away(clips: pd.DataFrame, store: Path) -> None:
    leftover = store / X.folder / f".shard-00.h5.1-2{TEMP_SUFFIX}"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"of a killed run")
    Featurizer(store, [X]).run(clips)
    assert not leftover.exists()


@pytest.mark.parametrize("left", [f"x-other/.shard-00.h5.1-2{TEMP_SUFFIX}", ".lock.owner", ".lock.owner.123"])
def test_a_run_without_work_sweeps_too(clips: pd.DataFrame, store: Path, left: str) -> None:
    Featurizer(store, [X]).run(clips)
    before = sorted(path for path in store.rglob("*") if path.is_file())
    (store / left).parent.mkdir(exist_ok=True)
    (store / left).write_text("of a killed run")
    assert Featurizer(store, [X]).run(clips)["x"].kept == 20
    assert sorted(path for path in store.rglob("*") if path.is_file()) == before


def test_a_run_without_work_does_not_mind_that_the_store_is_held(clips: pd.DataFrame, store: Path) -> None:
    Featurizer(store, [X]).run(clips)
    with StoreLock(store):
        being_written = store / X.folder / f".shard-00.h5.1-2{TEMP_SUFFIX}"
        being_written.touch()
        assert Featurizer(store, [X]).run(clips)["x"].kept == 20
        assert being_written.exists()


def test_a_dry_run_writes_nothing(clips: pd.DataFrame, store: Path) -> None:
    plan = Featurizer(store, BOTH).plan(clips, time_it=True)
    assert (plan.todo, plan.kept) == ({"lh": 20, "x": 20}, {"lh": 0, "x": 0})
    assert plan.seconds > 0
    assert not store.exists()
    Featurizer(store, BOTH).run(clips)
    written = sum(map(len, contents(store).values()))
    assert written <= plan.n_bytes < 1.2 * written
    done = Featurizer(store, BOTH).plan(clips, time_it=True)
    assert (done.tasks, done.n_bytes, done.seconds) == ([], 0, 0.0)
    assert math.isnan(Featurizer(store, BOTH).plan(clips).seconds)


def test_what_is_too_long_is_not_counted_on(clips: pd.DataFrame, store: Path) -> None:
    expected = Featurizer(store, [X]).plan(clips).n_bytes
    header = wav_bytes(b"", stated=2 * 3600 * 8000, rate_hz=8000)
    path_of(clips, "00.wav").write_bytes(header)
    with path_of(clips, "00.wav").open("ab") as file:
        file.truncate(len(header) + 2 * 3600 * 8000)
    assert Featurizer(store, [X]).plan(clips, time_it=True).n_bytes < expected


@pytest.mark.parametrize("stated", [57_600_000, 4 * 57_600_000, 0x7FFFF000, 0xFFFFFFFF])
def test_a_long_file_is_quarantined_unread_whatever_its_header_says(tmp_path: Path, store: Path, stated: int) -> None:
    """An hour at 8 kHz, whose sound is a hole in the file; streamed files state no length."""
    path = tmp_path / "long.wav"
    header = wav_bytes(b"", stated=stated, riff=min(stated + 36, 0xFFFFFFFF), rate_hz=8_000)
    path.write_bytes(header)
    os.truncate(path, len(header) + 57_600_000)
    tracemalloc.start()
    report = Featurizer(store, [X]).run(clip_table([path]))["x"]
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.quarantined == [
        ("long.wav", "is 60.0 minutes long, over the 10 of --max-clip-minutes: use cli caption")
    ]
    assert peak_bytes < 5_000_000


def test_a_full_disk_is_told_before_anything_is_written(
    clips: pd.DataFrame, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.space, "free_space", lambda _: 1_000_000)
    with pytest.raises(NoSpaceError, match=r"needs 1\.\d MB, but only 1\.0 MB are free") as caught:
        Featurizer(store, BOTH).run(clips)
    assert caught.value.exit_code == 6
    assert contents(store) == {}


def test_a_held_store_is_left_alone_or_waited_for(clips: pd.DataFrame, store: Path) -> None:
    with StoreLock(store):
        with pytest.raises(LockedError, match="is held by process") as caught:
            Featurizer(store, [X]).run(clips)
        assert caught.value.exit_code == 5
    assert contents(store) == {}

    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with StoreLock(store):
            held.set()
            let_go.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    threading.Timer(0.2, let_go.set).start()
    assert Featurizer(store, [X], wait=True).run(clips)["x"].computed == 20
    assert let_go.is_set()
    holder.join()


def test_own_modes_are_featurized_too(clips: pd.DataFrame, store: Path) -> None:
    own = FeatureMode(
        name="own",
        sample_rate_hz=8_000,
        n_fft=256,
        hop_samples=80,
        n_mels=20,
        fmin_hz=0,
        fmax_hz=4_000,
        window_seconds=0.1,
        head_only=False,
    )
    report = Featurizer(store, [own]).run(clips)["own"]
    assert report.computed == 20
    assert open_store(report.store)[0].shape == (11, 20)
