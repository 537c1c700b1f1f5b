"""Repair computes anew what is damaged and nothing else, and gives back the very bytes."""

import dataclasses
import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from shard_samples import flip, user_block
from sounds import clip_table, noise, write_sound

import cache.writer
import featurize.shards
from cache import ClipRow, ShardPlan, StoreLock, open_store, read_index, verify_store, write_shard
from cache.errors import InputError, LockedError, NotFoundError
from cache.layout import USER_BLOCK_BYTES
from cache.table import read_table
from featurize.audio import Recording, decode
from featurize.batch import Featurizer
from featurize.modes import LH, FeatureMode, X
from featurize.repair import RepairReport, repair_store

N_CLIPS = 40  # three shards a mode: 16, 16 and 8 clips


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """A corpus with two recordings that cannot be used, and its store of both modes."""
    folder = tmp_path_factory.mktemp("made")
    paths = [write_sound(folder / "audio" / f"{i:02}.wav", noise(900 + 50 * i, seed=i)) for i in range(N_CLIPS)]
    paths[3].write_bytes(b"")
    paths[20].write_text("no sound")
    clips = clip_table(paths)
    Featurizer(folder / "store", (LH, X)).run(clips)
    return clips, folder / "store"


@pytest.fixture
def store(made: tuple[pd.DataFrame, Path], tmp_path: Path) -> Path:
    """A store of one's own."""
    return Path(shutil.copytree(made[1], tmp_path / "store"))


@pytest.fixture
def clips(made: tuple[pd.DataFrame, Path], tmp_path: Path) -> pd.DataFrame:
    """A corpus of one's own."""
    copy = made[0].copy()
    shutil.copytree(Path(copy["path"][0]).parent, tmp_path / "audio")
    copy["path"] = [str(tmp_path / "audio" / name) for name in copy["fname"]]
    return copy


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []

    def counted(path: str, *, max_clip_minutes: float) -> Recording:
        names.append(Path(path).name)
        return decode(path, max_clip_minutes=max_clip_minutes)

    monkeypatch.setattr(featurize.shards, "decode", counted)
    return names


def shards(store: Path, mode: FeatureMode = LH) -> list[Path]:
    """Two shards of 16 clips, and one of 8."""
    paths = (store / mode.folder).glob("shard-*.h5")
    return sorted(paths, key=lambda path: (-len(read_table(path).names), path))


def state(store: Path) -> dict[str, bytes]:
    """Every shard by its place."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("*/shard-*.h5")}


def stamps(paths: list[Path]) -> list[tuple[int, int]]:
    return [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]


def flip_frames(path: Path, row: int) -> str:
    """Damage the frames of a row; give the clip's name."""
    table = read_table(path)
    assert not table.problems[row]
    flip(path, table.block.frames_offset + int(table.start[row]) * table.n_mels * table.dtype.itemsize + 7)
    return table.names[row]


def counts(report: RepairReport) -> list[tuple[int, int, list[str], bool | None]]:
    return [(item.kept, item.recomputed, item.lost, item.same_bytes) for item in report.repaired]


def test_a_whole_store_is_left_alone(store: Path, clips: pd.DataFrame, decoded: list[str]) -> None:
    before = stamps(shards(store) + shards(store, X))
    report = repair_store(store, clips)
    assert report == RepairReport(shards=6)
    assert report.ok
    assert stamps(shards(store) + shards(store, X)) == before
    assert decoded == []


def test_only_damaged_clips_are_computed(store: Path, clips: pd.DataFrame, decoded: list[str]) -> None:
    before = state(store)
    first, second, third = shards(store, X)
    untouched = [second, *shards(store)]
    wanted = sorted([*(flip_frames(first, row) for row in (0, 5)), flip_frames(third, 2)])
    names_before = stamps(untouched)
    report = repair_store(store, clips)
    assert sorted(decoded) == wanted
    assert {item.path: (item.kept, item.recomputed, item.lost, item.same_bytes) for item in report.repaired} == {
        first: (14, 2, [], True),
        third: (7, 1, [], True),
    }
    assert (report.ok, report.moved, report.computed) == (True, [], {})
    assert state(store) == before
    assert stamps(untouched) == names_before


def test_quarantined_clips_of_a_whole_structure_are_kept(store: Path, clips: pd.DataFrame, decoded: list[str]) -> None:
    before = state(store)
    path = next(path for path in shards(store) if any(read_table(path).problems))
    n_clips = len(read_table(path).names)
    with_frames = [row for row, problem in enumerate(read_table(path).problems) if not problem]
    names = [flip_frames(path, row) for row in with_frames]
    report = repair_store(store, clips)
    assert counts(report) == [(n_clips - len(names), len(names), [], True)]
    assert decoded == names
    assert state(store) == before


@pytest.mark.parametrize("damage", ["header", "structure", "cut", "empty", "zeros", "appended"])
def test_a_damaged_structure_is_computed_whole(store: Path, clips: pd.DataFrame, damage: str) -> None:
    before = state(store)
    path = shards(store)[1]
    data = path.read_bytes()
    changed = {
        "header": b"?" + data[1:],
        "structure": data[:900] + b"?" + data[901:],
        "cut": data[: len(data) // 2],
        "empty": b"",
        "zeros": bytes(len(data)),
        "appended": data + b"\0",
    }
    path.write_bytes(changed[damage])
    report = repair_store(store, clips)
    promised = None if damage in ("header", "empty", "zeros") else True
    assert counts(report) == [(0, 16, [], promised)]
    assert report.ok
    assert state(store) == before
    assert not list(store.glob("*/*.bad"))


def test_both_modes_damaged_are_proven_by_the_bytes_that_are_left(store: Path, clips: pd.DataFrame) -> None:
    before = state(store)
    for mode in (LH, X):
        os.truncate(shards(store, mode)[0], user_block(shards(store, mode)[0]).frames_offset)
    assert len(repair_store(store, clips).repaired) == 2
    assert state(store) == before


def test_frames_in_doubt_as_a_whole_are_computed_anew(store: Path, clips: pd.DataFrame) -> None:
    before = state(store)
    path = shards(store)[2]
    block = dataclasses.replace(user_block(path), sha256_all=bytes(32))
    path.write_bytes(block.pack() + path.read_bytes()[USER_BLOCK_BYTES:])
    n_problems = sum(map(bool, read_table(path).problems))
    report = repair_store(store, clips)
    assert counts(report) == [(n_problems, len(read_table(path).names) - n_problems, [], False)]
    assert state(store) == before


def test_swapped_shards_are_put_right_without_computing(store: Path, clips: pd.DataFrame, decoded: list[str]) -> None:
    before = state(store)
    one, two, three = shards(store)
    contents = [path.read_bytes() for path in (one, two, three)]
    for path, data in zip((two, three, one), contents, strict=True):
        path.write_bytes(data)
    flip_frames_of = user_block(one)
    flip(one, flip_frames_of.file_bytes - 1)
    report = repair_store(store, clips)
    assert [(item.kept, item.recomputed) for item in report.repaired].count((16, 0)) >= 1
    assert sum(item.recomputed for item in report.repaired) == len(decoded) == 1
    assert all(item.same_bytes for item in report.repaired)
    assert state(store) == before


def test_a_renamed_shard_gets_its_name_back(store: Path, clips: pd.DataFrame, decoded: list[str]) -> None:
    before = state(store)
    path = shards(store)[0]
    odd = path.rename(path.with_name("shard-0000-0123456789abcdef.h5"))
    report = repair_store(store, clips)
    assert [(item.path, item.kept, item.recomputed) for item in report.repaired] == [(path, 16, 0)]
    assert [(item.path, item.to.name) for item in report.moved] == [(odd, f"{odd.name}.bad")]
    assert (report.ok, decoded, report.computed) == (True, [], {"lh": 0})
    assert state(store) == before


@pytest.mark.parametrize("copied", [True, False])
def test_a_shard_under_a_later_generations_name_supersedes_nothing(
    store: Path, clips: pd.DataFrame, *, copied: bool
) -> None:
    before = state(store)
    path = shards(store)[0]
    odd = path.with_name(path.name.replace("shard-0000", "shard-0005"))
    if copied:
        shutil.copy(path, odd)
    else:
        path.rename(odd)
    report = repair_store(store, clips)
    assert [item.path for item in report.moved] == [odd]
    assert report.ok
    assert {name: data for name, data in state(store).items() if not name.endswith(".bad")} == before


def test_a_shard_copied_over_another(store: Path, clips: pd.DataFrame, decoded: list[str]) -> None:
    before = state(store)
    one, two, _ = shards(store)
    shutil.copy(one, two)
    kept = stamps([one])
    report = repair_store(store, clips)
    assert [(item.path, item.kept, item.recomputed) for item in report.repaired] == [(two, 0, 16)]
    assert len(decoded) == 16
    assert state(store) == before
    assert stamps([one]) == kept


def test_clips_that_nothing_proves_are_left_to_the_featurizer(store: Path, clips: pd.DataFrame) -> None:
    before = state(store)
    (one, two, _), other = shards(store), store / X.folder
    shutil.rmtree(other)
    one.write_bytes(bytes(5000))
    two.with_name("shard-odd.h5").write_bytes(b"x")
    report = repair_store(store, clips)
    assert report.ok
    assert [item.path.name for item in report.moved] == [one.name, "shard-odd.h5"]
    assert report.moved[0].to.read_bytes() == bytes(5000)
    assert "nothing proves which clips" in report.moved[0].reason
    assert report.computed == {"lh": 16 - sum(map(bool, read_table(one).problems))}
    assert state(store) == {place: data for place, data in before.items() if place.startswith("lh")}


def test_a_stranger_over_a_shard_and_one_beside_it(store: Path, clips: pd.DataFrame) -> None:
    before = state(store)
    for path in shards(store):  # all of them: the strangers are in the majority
        shutil.copy(store / X.folder / path.name, path)
    alone = store / dataclasses.replace(X, dtype="float32").folder / shards(store)[0].name
    alone.parent.mkdir()
    shutil.copy(shards(store, X)[0], alone)
    report = repair_store(store, clips, modes=[LH])
    assert [item.path for item in report.moved] == sorted(shards(store))
    assert [path for path, _ in report.left] == [alone]
    assert not report.ok
    assert state(store) == before | {str(alone.relative_to(store)): alone.read_bytes()}
    report = repair_store(store, clips)
    assert [item.path for item in report.moved] == [alone]
    assert report.ok


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "beside"])
def test_what_is_no_file_is_moved_away(store: Path, clips: pd.DataFrame, kind: str) -> None:
    before = state(store)
    path = shards(store)[0]
    place = path.with_name("shard-0000-0123456789abcdef.h5") if kind == "beside" else path
    place.unlink(missing_ok=True)
    make: dict[str, Callable[[], object]] = {
        "folder": lambda: (place.mkdir(), (place / "keep.txt").touch()),
        "pipe": lambda: os.mkfifo(place),
        "link": lambda: place.symlink_to("nowhere"),
        "beside": lambda: place.mkdir(),
    }
    make[kind]()
    report = repair_store(store, clips)
    assert [(item.path, os.path.lexists(item.to)) for item in report.moved] == [(place, True)]
    assert report.ok
    assert [item.recomputed for item in report.repaired] == ([] if kind == "beside" else [16])
    assert state(store) == before


def test_an_earlier_bad_file_is_not_overwritten(store: Path, clips: pd.DataFrame) -> None:
    odd = shards(store)[0].with_name("shard-odd.h5")
    for content in (b"1", b"2"):
        odd.write_bytes(content)
        assert repair_store(store, clips).ok
    assert [odd.with_name(f"shard-odd.h5.{end}").read_bytes() for end in ("bad", "bad2")] == [b"1", b"2"]


def test_lost_clips_are_named_and_the_others_kept(store: Path, clips: pd.DataFrame) -> None:
    before = state(store)
    path = shards(store, X)[0]
    gone, changed = flip_frames(path, 1), flip_frames(path, 5)
    paths = clips.set_index("fname")["path"]
    Path(paths[gone]).unlink()
    write_sound(Path(paths[changed]), noise(2000, seed=77))
    report = repair_store(store, clips)
    assert report.ok
    (repaired,) = report.repaired
    assert (repaired.kept, repaired.recomputed, repaired.lost, repaired.same_bytes) == (14, 0, [gone, changed], False)
    assert [(item.path, item.to.name) for item in report.moved] == [(path, f"{path.name}.bad")]
    assert "2 of its clips are lost: their files are gone from this corpus or changed" in report.moved[0].reason
    after = read_index(path.parent)
    assert len(after) == N_CLIPS - 2
    assert {gone, changed}.isdisjoint(after.by_name)
    assert verify_store(store).ok
    assert {place: data for place, data in state(store).items() if place in before} == {
        place: data for place, data in before.items() if place != str(path.relative_to(store))
    }


def test_a_shard_whose_sources_are_all_gone(store: Path, clips: pd.DataFrame) -> None:
    path = shards(store, X)[2]
    keys = read_table(path).keys
    path.write_bytes(b"")
    report = repair_store(store, clips[~clips["fname"].isin([key.name for key in keys])])
    assert (report.ok, report.repaired, [item.path for item in report.moved]) == (True, [], [path])


def test_an_error_in_one_shard_does_not_stop_the_others(
    store: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, _ = shards(store, X)
    damaged = [flip_frames(path, 0) for path in (one, two)]
    bad = one.read_bytes()

    def fail(folder: Path, plan: ShardPlan, rows: list[ClipRow], **settings: object) -> object:
        if plan.filename == one.name:
            raise OSError(28, "No space left on device")
        return write_shard(folder, plan, rows, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(featurize.shards, "write_shard", fail)
    report = repair_store(store, clips)
    assert [item.path for item in report.repaired] == [two]
    assert report.left == [(one, "[Errno 28] No space left on device")]
    assert not report.ok
    assert one.read_bytes() == bad
    monkeypatch.undo()
    assert repair_store(store, clips).ok
    assert len(damaged) == 2


def test_the_featurizers_error_is_told(store: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise InputError("no")

    monkeypatch.setattr(Featurizer, "run", fail)
    shards(store)[0].with_name("shard-odd.h5").touch()
    report = repair_store(store, clips)
    assert report.left == [(store / LH.folder, "no")]


def test_folders_of_unknown_settings_are_left(store: Path, clips: pd.DataFrame) -> None:
    old = (store / X.folder).rename(store / "x-000000000000")
    report = repair_store(store, clips)
    assert [path.parent for path, _ in report.left] == [old] * 3
    assert "its folder is of no mode and settings known here" in report.left[0][1]
    assert report.moved == []


def test_a_mode_that_was_not_asked_for_is_left(store: Path, clips: pd.DataFrame) -> None:
    flip_frames(shards(store)[0], 1)
    report = repair_store(store, clips, modes=[X])
    assert [(path, reason.split("; ")[-1]) for path, reason in report.left] == [
        (shards(store)[0], "its mode was not asked for: repair without --mode")
    ]
    assert not report.ok


def test_workers_give_the_same_bytes(store: Path, clips: pd.DataFrame) -> None:
    before = state(store)
    for path in shards(store) + shards(store, X):
        flip_frames(path, 0)
    seen: list[tuple[str, int, int]] = []
    report = repair_store(store, clips, jobs=2, progress=lambda *step: seen.append(step))
    assert len(report.repaired) == 6
    assert state(store) == before
    assert seen[-1] == ("repair", 2 * N_CLIPS, 2 * N_CLIPS)


def test_float32_and_clips_over_the_usual_limit(
    tmp_path: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = dataclasses.replace(X, dtype="float32")
    few = clips[:5].copy()
    write_sound(Path(few["path"][2]), noise(88_200, seed=1))
    for mode in (single, X):
        Featurizer(tmp_path / "own", [mode]).run(few)
    before = state(tmp_path / "own")
    for module in ("repair", "mend"):  # as if the 2 s had been let in by a higher limit
        monkeypatch.setattr(f"featurize.{module}.MAX_CLIP_MINUTES", 1 / 60)
    (path,) = shards(tmp_path / "own", single)
    flip(path, 3)
    assert counts(repair_store(tmp_path / "own", few)) == [(0, 5, [], None)]
    assert state(tmp_path / "own") == before


def test_changed_libraries_are_noted_only_where_something_is_computed(
    store: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featurize.mend, "library_versions", lambda: {"numpy": "99"})
    one, two, _ = shards(store)
    flip_frames(one, 1)
    os.rename(two, two.with_name("shard-0000-0123456789abcdef.h5"))
    report = repair_store(store, clips)
    assert {item.path: item.same_bytes for item in report.repaired} == {one: False, two: True}
    assert read_table(one).versions == {"numpy": "99"}
    assert read_table(two).versions != {"numpy": "99"}


def test_the_place_must_be_a_store_that_nobody_holds(store: Path, clips: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=f"is the folder of one mode: give the store, {store}"):
        repair_store(store / LH.folder, clips)
    with pytest.raises(NotFoundError, match="is not there; run cli featurize"):
        repair_store(store / "nowhere", clips)
    assert not (store / "nowhere").exists()
    with StoreLock(store), pytest.raises(LockedError, match=f"is held by process {os.getpid()}"):
        repair_store(store, clips)


def kill_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have SIGKILL end this process at a call of fsync: odd ones are before a shard is renamed, even ones after."""
    calls = itertools.count(1)
    fsync = cache.writer.fsync

    def deadly(path: Path) -> None:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(path)

    monkeypatch.setattr(cache.writer, "fsync", deadly)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_repair_leaves_each_shard_bad_or_whole(
    store: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(store)
    damaged = [*shards(store), *shards(store, X)]
    for path in damaged:
        flip_frames(path, 0)
    bad = state(store)
    for call in range(1, 2 * len(damaged) + 1):
        for place, data in bad.items():
            (store / place).write_bytes(data)
        child = os.fork()
        if child == 0:
            try:
                kill_at(call, monkeypatch)
                repair_store(store, clips)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        now = state(store)
        assert now.keys() == before.keys()
        assert all(data in (bad[place], before[place]) for place, data in now.items())
        assert sum(data == before[place] for place, data in now.items()) == call // 2
    assert repair_store(store, clips).ok
    assert state(store) == before
    assert not list(store.glob("*/.shard*"))
    assert len(open_store(store / LH.folder)) == N_CLIPS - 2
