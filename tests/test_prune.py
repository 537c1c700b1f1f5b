"""Removing what nothing refers to: rows, shards, folders and temporary files, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from shard_samples import digest_of, flip, keys_of, make_row, make_rows, write

from cache import Key, StoreLock, open_store, read_index, verify_store, write_shard
from cache.errors import InputError, LockedError, NoSpaceError, NotFoundError
from cache.prune import PrunePlan, plan_prune, prune

KNOWN = {"0123abcd"}
LEFTOVER = ".shard-0000-0123456789abcdef.h5.1-2.part"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store's folder with five clips in two shards, two of them changed since, one of those quarantined."""
    folder = tmp_path / "store" / "lh-0123abcd"
    write(folder, [make_row("a", 4), make_row("b", 5), make_row("c", 6)])
    write(folder, [make_row("d", 7), make_row("e", problem="is empty")])
    write(folder, [make_row("b", 8, version="new"), make_row("d", problem="is cut short", version="new")], generation=1)
    return folder


def contents(folder: Path) -> dict[str, object]:
    """Everything that a reader sees, and why other clips have no frames."""
    reader = open_store(folder)
    frames = {key: reader[number].tobytes() for number, key in enumerate(reader.keys)}
    problems = {name: row.problem for name, row in read_index(folder).by_name.items() if row.problem}
    return {"frames": frames, "problems": problems}


def kinds(plan: PrunePlan) -> list[str]:
    return [removal.kind for removal in plan.removals]


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


class TestModes:
    def test_folders_of_modes_that_are_not_known_stay(self, folder: Path) -> None:
        store = folder.parent
        own = store / "own-0123abcd"
        own.mkdir()
        write(own, [make_row("a")], mode="own")
        plan = plan_prune(store, known=set(), modes={"lh"})
        assert [removal.path for removal in plan.removals] == [folder]
        assert [(path, "give the --config" in reason) for path, reason in plan.left_alone] == [(own, True)]
        prune(plan)
        assert [path.name for path in store.iterdir() if path.is_dir()] == ["own-0123abcd"]
        assert [removal.path for removal in plan_prune(store, known=set(), modes={"lh", "own"}).removals] == [own]
        assert [removal.path for removal in plan_prune(store, known=set()).removals] == [own]


class TestRows:
    def test_superseded_rows_go_and_readers_see_the_same(self, folder: Path) -> None:
        before, size = contents(folder), sum(path.stat().st_size for path in folder.glob("shard-*"))
        plan = plan_prune(folder.parent, known=KNOWN)
        assert kinds(plan) == ["rows", "rows"]
        reasons = sorted(removal.reason.split(" (in shard-0001-")[0] for removal in plan.removals)
        assert reasons == ["1 of its 2 rows have newer ones: d", "1 of its 3 rows have newer ones: b"]
        report = prune(plan)
        assert contents(folder) == before
        assert sorted(row.key.name for row in read_index(folder).rows) == list("abcde")
        assert verify_store(folder).ok
        assert report.freed_bytes == size - sum(path.stat().st_size for path in folder.glob("shard-*"))
        assert kinds(plan_prune(folder.parent, known=KNOWN)) == []

    def test_what_is_sealed_anew_keeps_its_generation_settings_and_versions(self, folder: Path) -> None:
        old = {path.name for path in folder.glob("shard-*")}
        prune(plan_prune(folder.parent, known=KNOWN))
        new = [path for path in folder.glob("shard-*") if path.name not in old]
        assert len(new) == 2
        alone = write(folder.parent / "undisturbed", [make_row("a", 4), make_row("c", 6)]).path
        assert (folder / alone.name).read_bytes() == alone.read_bytes()

    def test_a_shard_of_superseded_rows_goes(self, tmp_path: Path) -> None:
        folder = tmp_path / "lh-0123abcd"
        old = write(folder, make_rows(2)).path
        new = write(folder, make_rows(2, version="new"), generation=1).path
        (removal,) = plan_prune(tmp_path, known=KNOWN).removals
        assert (removal.kind, removal.path, removal.n_bytes) == ("shard", old, old.stat().st_size)
        prune(plan_prune(tmp_path, known=KNOWN))
        assert list(folder.iterdir()) == [new]

    def test_rows_that_a_corpus_has_stay(self, folder: Path) -> None:
        keep = {Key("b", digest_of("b"))}
        plan = plan_prune(folder.parent, known=KNOWN, keep=keep)
        assert [removal.path for removal in plan.removals] == [
            path for path in folder.glob("shard-0000-*") if b"is empty" in path.read_bytes()
        ]
        prune(plan)
        assert len(open_store(folder, list(keep))) == 1
        assert kinds(plan_prune(folder.parent, known=KNOWN, keep=keep)) == []

    def test_an_older_row_of_the_very_file_goes_even_if_a_corpus_has_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "lh-0123abcd"
        old = write(folder, [make_row("a", problem="is too long")]).path
        write(folder, [make_row("a")], generation=1)
        plan = plan_prune(tmp_path, known=KNOWN, keep=keys_of([make_row("a")]))
        assert [removal.path for removal in plan.removals] == [old]
        prune(plan)
        assert len(open_store(folder)) == 1

    def test_a_kill_before_the_old_shard_goes_loses_nothing(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*args: Any, **settings: Any) -> None:
            write_shard(*args, **settings)
            raise KeyboardInterrupt

        before = contents(folder)
        with monkeypatch.context() as patched:
            patched.setattr("cache.prune.write_shard", killed)
            plan = plan_prune(folder.parent, known=KNOWN)
            with pytest.raises(KeyboardInterrupt):
                prune(plan)
        assert len(list(folder.glob("shard-*"))) == 4
        assert contents(folder) == before
        prune(plan_prune(folder.parent, known=KNOWN))
        assert contents(folder) == before
        assert len(list(folder.glob("shard-*"))) == 3
        assert len(read_index(folder)) == 5

    @pytest.mark.parametrize("number", range(4))
    def test_the_shard_that_a_killed_rewrite_sealed_is_never_removed(self, tmp_path: Path, number: int) -> None:
        # The names of shards are hashes: of four pairs, some sort the new shard first, some last.
        folder = tmp_path / "lh-0123abcd"
        rows = [make_row(f"{number}{name}") for name in "abc"]
        write(folder, rows)
        write(folder, [make_row(f"{number}b", version="new")], generation=1)
        write(folder, [rows[0], rows[2]])  # what the rewrite seals
        before = contents(folder)
        prune(plan_prune(tmp_path, known=KNOWN))
        assert contents(folder) == before
        assert len(list(folder.glob("shard-*"))) == 2
        assert len(read_index(folder)) == 3

    def test_rows_stay_where_file_names_decide_which_is_current(self, tmp_path: Path) -> None:
        # Shards of two stores put together: a shard sealed anew has another name.
        folder = tmp_path / "lh-0123abcd"
        first = write(folder, [make_row("a", version="other"), make_row("b"), make_row("c")]).path
        second = write(folder, [make_row("a"), make_row("d")]).path
        write(folder, [make_row("b", version="new")], generation=1)
        third = write(folder, [make_row("c", version="new"), make_row("d", version="new")], generation=2).path
        before = contents(folder)
        plan = plan_prune(tmp_path, known=KNOWN)
        assert "rows of one name and generation differ" in plan.left_alone[0][1]
        assert [removal.kind for removal in plan.removals] == ["shard"]
        assert plan.removals[0].path == min(first, second)
        prune(plan)
        assert contents(folder) == before
        assert third.exists()

    def test_a_shard_with_damaged_frames_is_named_and_stays(self, folder: Path) -> None:
        (path,) = [path for path in folder.glob("shard-0000-*") if b"is empty" not in path.read_bytes()]
        flip(path, path.stat().st_size - 1)
        report = prune(plan_prune(folder.parent, known=KNOWN))
        ((left, reason),) = report.left_alone
        assert left == path
        assert "do not match their CRC-32" in reason
        assert path.exists()

    def test_too_little_room_for_the_new_shard_ends_before_anything_goes(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = files(folder)
        monkeypatch.setattr("cache.space.free_space", lambda _path: 10)
        with pytest.raises(NoSpaceError, match="are free"):
            prune(plan_prune(folder.parent, known=KNOWN))
        assert files(folder) == before


class TestFolders:
    def test_a_folder_that_nobody_knows_goes(self, folder: Path) -> None:
        other = write(folder.parent / "lh-ffff0000", make_rows(3), fingerprint="ffff0000").path
        (removal,) = [item for item in plan_prune(folder.parent, known=KNOWN).removals if item.kind == "folder"]
        assert (removal.path, removal.files, removal.n_bytes) == (other.parent, (other,), other.stat().st_size)
        assert "(3 clips in 1 shards)" in removal.reason
        prune(plan_prune(folder.parent, known=KNOWN))
        assert not other.parent.exists()
        assert folder.exists()

    def test_a_known_one_stays(self, folder: Path) -> None:
        write(folder.parent / "lh-ffff0000", make_rows(3), fingerprint="ffff0000")
        assert "folder" not in kinds(plan_prune(folder.parent, known={*KNOWN, "ffff0000"}))

    def test_its_bad_shards_and_strange_files_stay(self, tmp_path: Path) -> None:
        folder = tmp_path / "lh-ffff0000"
        whole = write(folder, make_rows(3), fingerprint="ffff0000").path
        bad = write(folder, [make_row("x")], fingerprint="ffff0000").path
        flip(bad, 600)
        (folder / "notes.txt").write_text("mine")
        plan = plan_prune(tmp_path, known=KNOWN)
        assert [(path.name, reason.split(":")[0]) for path, reason in plan.left_alone] == [
            (bad.name, "fails its checks"),
            ("notes.txt", "earmark did not write it"),
        ]
        prune(plan)
        assert not whole.exists()
        assert bad.exists()
        assert (folder / "notes.txt").read_text() == "mine"

    def test_a_folder_under_another_name_stays(self, tmp_path: Path) -> None:
        write(tmp_path / "lh-backup", make_rows(1))
        write(tmp_path / "lh-ffff0000", make_rows(1))
        plan = plan_prune(tmp_path, known=set())
        assert kinds(plan) == []
        assert [path.name for path, _ in plan.left_alone] == ["lh-backup", "lh-ffff0000"]
        assert "in it holds lh-0123abcd" in plan.left_alone[0][1]

    def test_a_folder_with_two_kinds_of_features_stays(self, folder: Path) -> None:
        write(folder, [make_row("z", n_mels=7)], n_mels=7)
        plan = plan_prune(folder.parent, known=KNOWN)
        assert kinds(plan) == []
        assert "7 mels" in plan.left_alone[0][1] or "6 mels" in plan.left_alone[0][1]


class TestTheRest:
    def test_leftovers_go(self, folder: Path) -> None:
        (folder / LEFTOVER).write_bytes(b"123")
        (folder.parent / ".lock.owner.123").write_bytes(b"{}")
        plan = plan_prune(folder.parent, known=KNOWN)
        assert [removal.n_bytes for removal in plan.removals if removal.kind == "leftover"] == [2, 3]
        prune(plan)
        assert not (folder / LEFTOVER).exists()
        assert not (folder.parent / ".lock.owner.123").exists()

    def test_planning_writes_nothing(self, folder: Path) -> None:
        before = files(folder.parent)
        plan_prune(folder.parent, known=set())
        assert files(folder.parent) == before

    def test_another_run_keeps_the_store(self, folder: Path) -> None:
        plan, before = plan_prune(folder.parent, known=set()), files(folder)
        with StoreLock(folder.parent), pytest.raises(LockedError, match="is held by process"):
            prune(plan)
        assert files(folder) == before

    def test_a_store_that_has_changed_since_is_left_alone(self, folder: Path) -> None:
        plan = plan_prune(folder.parent, known=KNOWN)
        write(folder, [make_row("a", version="newer")], generation=1)
        before = files(folder)
        with pytest.raises(InputError, match="has changed since the list was made: run cli cache prune again"):
            prune(plan)
        assert files(folder) == before

    def test_wrong_stores_are_refused(self, folder: Path) -> None:
        with pytest.raises(InputError, match="is a mode's folder: give the store that holds it"):
            plan_prune(folder, known=KNOWN)
        with pytest.raises(NotFoundError, match="is not there"):
            plan_prune(folder / "nowhere", known=KNOWN)
