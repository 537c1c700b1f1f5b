"""Why a clip or a store is done, stale or missing, in words; and the commands that look at a store."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import make_corpus
from shard_samples import digest_of, flip, make_row, write
from sounds import clip_table, noise, write_sound
from test_cli import run, run_json

from cache import Key, StoreLock, read_index
from cache.errors import InputError, NotFoundError
from featurize.batch import Featurizer
from featurize.explain import ModeReason, describe_settings, explain
from featurize.modes import DCASE, LH, LOG, MODES, FeatureMode, X
from featurize.stored import keys_in_use, known_fingerprints

X32 = dataclasses.replace(X, dtype="float32")
LOW = dataclasses.replace(X, n_mels=32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips, one of them no sound, and their X frames."""
    folder = tmp_path_factory.mktemp("made")
    paths = [
        write_sound(folder / f"{name}.wav", noise(5_000 * number, seed=number)) for number, name in enumerate("abcd", 1)
    ]
    (folder / "e.wav").write_text("no sound")
    featurize(folder / "features", [*paths, folder / "e.wav"])
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "made")


def table(folder: Path) -> pd.DataFrame:
    return clip_table(sorted(folder.glob("*.wav")))


def featurize(store: Path, paths: list[Path], mode: Any = X) -> None:
    Featurizer(store, [mode]).run(clip_table(paths))


def explained(folder: Path, *names: str, mode: Any = X) -> ModeReason:
    (found,) = explain(folder / "features", [mode], table(folder), names=names)
    return found


def sentence(folder: Path, name: str, mode: Any = X) -> str:
    (clip,) = explained(folder, name, mode=mode).clips
    return clip.text


class TestClips:
    def test_done(self, folder: Path) -> None:
        row = read_index(folder / "features" / X.folder).by_name["b.wav"]
        assert sentence(folder, "b.wav") == (
            f"b.wav is done: {row.n_frames} frames of 0.23 s in {row.shard}, SHA-256 {row.key.digest[:8]}…"
        )

    def test_changed_bytes(self, folder: Path) -> None:
        row = read_index(folder / "features" / X.folder).by_name["b.wav"]
        path = write_sound(folder / "b.wav", noise(44_100, seed=9))
        new = hashlib.sha256(path.read_bytes()).hexdigest()
        assert sentence(folder, "b.wav") == (
            "b.wav is stale: its file has other bytes than the one that was computed, "
            f"SHA-256 {row.key.digest[:8]}… → {new[:8]}…, 0.23 s → 1.00 s; "
            f"the old row is in {row.shard}, generation 0"
        )
        found = explained(folder)
        assert (found.state, found.counts["stale"], found.counts["done"]) == ("stale", 1, 3)
        (reason,) = [text for text in found.reasons if text.startswith("stale")]
        assert reason.startswith("stale: 1 clip whose file has other bytes than the one that was computed: b.wav (SHA")

    def test_the_newest_row_is_the_old_one(self, folder: Path) -> None:
        for seed in (5, 6):
            featurize(folder / "features", [write_sound(folder / "b.wav", noise(22_050 * seed, seed=seed))])
        write_sound(folder / "b.wav", noise(4_410))
        assert "3.00 s → 0.10 s; the old row is in shard-0002-" in sentence(folder, "b.wav")

    def test_a_length_that_is_unknown(self, folder: Path) -> None:
        (folder / "b.wav").write_text("no sound any more")
        assert "0.23 s → a length that its header does not tell" in sentence(folder, "b.wav")

    def test_never_computed(self, folder: Path) -> None:
        write_sound(folder / "new.wav", noise(4_410))
        assert sentence(folder, "new.wav") == "new.wav is missing: it was never computed with these settings"
        assert explained(folder).state == "missing"
        assert "missing: 1 clip never computed: new.wav" in explained(folder).reasons

    def test_computed_with_other_settings_only(self, folder: Path) -> None:
        assert sentence(folder, "b.wav", mode=X32) == (
            "b.wav is missing: it was never computed with these settings, "
            f"only with others in {X.folder}: dtype float16 → float32"
        )

    def test_quarantined(self, folder: Path) -> None:
        assert sentence(folder, "e.wav") == "e.wav is quarantined: cannot be decoded: Format not recognised"
        assert "quarantined: 1 clip without frames: e.wav (cannot be decoded: Format not recognised)" in (
            explained(folder).reasons
        )

    def test_a_file_that_cannot_be_read_is_named(self, folder: Path) -> None:
        clips = table(folder)
        (folder / "c.wav").unlink()
        (found,) = explain(folder / "features", [X], clips, names=["c.wav"])
        assert found.clips[0].text == (
            f"c.wav is quarantined: its file {folder / 'c.wav'} cannot be read: No such file or directory"
        )

    def test_gone_from_the_corpus(self, folder: Path) -> None:
        (folder / "d.wav").unlink()
        assert sentence(folder, "d.wav") == "d.wav is in the store, but not in this corpus (another one may have it)"
        found = explained(folder)
        assert (found.state, found.n_clips, found.counts["gone"]) == ("done", 4, 1)
        assert "gone: 1 clip of the store that this corpus does not have (another one may): d.wav" in found.reasons

    def test_an_unknown_name_is_an_error_with_the_near_match(self, folder: Path) -> None:
        with pytest.raises(NotFoundError, match=r"has a clip 'b\.wave'; did you mean 'b\.wav'\?"):
            explained(folder, "b.wav", "b.wave")

    def test_only_named_files_are_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        looked: list[str] = []
        explain(
            folder / "features", [X], table(folder), names=["a.wav"], progress=lambda *args: looked.append(str(args))
        )
        assert looked == ["('check', 1, 1)"]


class TestModes:
    def test_done(self, folder: Path) -> None:
        found = explained(folder)
        assert (found.state, found.n_clips, found.counts["done"], found.counts["quarantined"]) == ("done", 5, 4, 1)
        assert found.folder == folder / "features" / X.folder

    def test_no_store(self, folder: Path) -> None:
        (found,) = explain(folder / "nowhere", [X], table(folder))
        assert (found.state, found.counts["missing"]) == ("absent", 5)
        assert found.reasons == [f"{found.folder} is not there: nothing was computed with these settings"]
        assert not (folder / "nowhere").exists()

    def test_other_settings_old_and_new(self, folder: Path) -> None:
        found = explained(folder, mode=dataclasses.replace(LOW, dtype="float32"))
        assert found.state == "absent"
        assert f"{X.folder} holds 5 of 5 clips with other settings: n_mels 48 → 32, dtype float16 → float32" in (
            found.reasons
        )

    def test_another_version_of_the_front_end(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("featurize.modes.FRONT_END_VERSION", 3)
        found = explained(folder)
        assert found.folder.name != next((folder / "features").glob("x-*")).name
        assert any(text.endswith("with other settings: front_end 2 → 3") for text in found.reasons)

    def test_a_store_of_the_first_front_end(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def first(self: FeatureMode) -> dict[str, Any]:
            settings = dataclasses.asdict(self)
            for name in ("scale", "win_samples", "power", "log_offset"):  # it had one choice, without saying so
                del settings[name]
            return {**settings, "front_end": 1}

        with monkeypatch.context() as patched:
            patched.setattr(FeatureMode, "to_dict", first)
            featurize(folder / "features", sorted(folder.glob("?.wav")))
            old = X.folder
        shutil.rmtree(folder / "features" / X.folder)
        assert f"{old} holds 5 of 5 clips with other settings: front_end 1 → 2" in explained(folder).reasons

    def test_other_settings_are_told_beside_a_store_that_is_there(self, folder: Path) -> None:
        stranger = write_sound(folder / "stranger.wav", noise(4_410))
        featurize(folder / "features", [folder / "a.wav", stranger], LOW)
        stranger.unlink()
        assert f"{LOW.folder} holds 1 of 5 clips with other settings: n_mels 32 → 48" in explained(folder).reasons
        write_sound(folder / "new.wav", noise(4_410))
        assert sentence(folder, "new.wav") == "new.wav is missing: it was never computed with these settings"

    def test_a_shard_that_cannot_be_read(self, folder: Path) -> None:
        (shard,) = (folder / "features" / X.folder).glob("shard-*.h5")
        flip(shard, 600)
        found = explained(folder)
        assert (found.state, found.counts["missing"]) == ("damaged", 4 + 1)
        assert found.reasons[0].startswith(f"shard {shard} fails its checks: the bytes outside the frames")
        assert found.reasons[1] == "clips of shards that cannot be read count as missing"

    def test_of_many_bad_shards_three_are_named(self, folder: Path) -> None:
        for number in range(5):
            (folder / "features" / X.folder / f"shard-0000-{number:016d}.h5").write_text("no shard")
        found = explained(folder)
        assert [f"{number:016d}.h5 fails" in reason for number, reason in enumerate(found.reasons[:3])] == [True] * 3
        assert found.reasons[3] == "2 more shards cannot be read: cli cache verify names them"
        assert len(found.bad) == 5

    def test_three_names_a_reason(self, folder: Path) -> None:
        for name in "vwxyz":
            write_sound(folder / f"{name}.wav", noise(4_410))
        assert "missing: 5 clips never computed: v.wav, w.wav, x.wav, …" in explained(folder).reasons

    def test_nothing_is_written_and_no_lock_taken(self, folder: Path) -> None:
        before = sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))
        with StoreLock(folder / "features"):
            explained(folder, mode=LOW)
        after = sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())
        assert {name for name, _ in after} <= {name for name, _ in before} | {str(folder / "features" / ".lock")}


def test_settings_in_units_that_people_read() -> None:
    assert describe_settings(LH.to_dict()) == (
        "44.1 kHz, 128 mels from 20 Hz to 22.05 kHz, frames of 58 ms every 20 ms, first 4 s, "
        "trimmed 60 dB below the loudest, range 80 dB, float16, front-end 2"
    )
    assert "windows of 6 s" in describe_settings(X.to_dict())
    assert "128 log-spaced bands from 20 Hz to 14 kHz" in describe_settings(LOG.to_dict())
    assert describe_settings(DCASE.to_dict()) == (
        "44.1 kHz, 64 HTK mels from 125 Hz to 7.5 kHz, frames of 25 ms every 10 ms, windows of 0.24 s, untrimmed, "
        "ln(magnitude + 0.001), float16, front-end 2"
    )
    assert "trimmed 60 dB below the loudest, float16" in describe_settings({**X.to_dict(), "top_db": None})
    first = {name: value for name, value in X.to_dict().items() if name != "scale"} | {"front_end": 1}
    assert "48 mels from 20 Hz" in describe_settings(first)
    assert describe_settings({"name": "x", "bins": 7}) == "name x, bins 7"
    assert describe_settings({}) == "settings unknown"


class TestWhatIsReferredTo:
    def test_the_modes_of_this_version_in_both_types(self, tmp_path: Path) -> None:
        found = known_fingerprints(tmp_path / "runs")
        assert len(found) == 2 * len(MODES)
        assert {X.fingerprint(), X32.fingerprint(), LH.fingerprint()} <= found

    def test_the_modes_of_runs(self, tmp_path: Path) -> None:
        path = tmp_path / "runs" / "best" / "x" / "fold-3" / "model.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"fingerprint": "abc"}))
        assert "abc" in known_fingerprints(tmp_path / "runs")
        for text in ("{}", "[]", "{", '"x"'):
            path.write_text(text)
            with pytest.raises(InputError, match=r"model\.json does not say which features it was trained on"):
                known_fingerprints(tmp_path / "runs")

    def test_the_rows_of_a_corpus(self, folder: Path) -> None:
        row = read_index(folder / "features" / X.folder).by_name["b.wav"].key
        others = {Key("b.wav", digest_of("other")), Key("strange.wav", row.digest)}
        assert keys_in_use(table(folder), {row, *others}, jobs=1) == {row}

    def test_a_file_that_cannot_be_read_keeps_its_rows(self, folder: Path) -> None:
        clips = table(folder)
        (folder / "b.wav").unlink()
        keys = {Key("b.wav", digest_of("one")), Key("b.wav", digest_of("two")), Key("c.wav", digest_of("c"))}
        assert keys_in_use(clips, keys, jobs=1) == {key for key in keys if key.name == "b.wav"}


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``data/`` of nine clips and their X frames in ``features/``."""
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "data", train=2, test=1)
    run("featurize", "--mode", "x", "--jobs", 1)
    return tmp_path


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


class TestCommands:
    def test_explain(self, at_home: Path) -> None:
        change(at_home / "data" / "audio" / "hum-00.wav")
        result = run_json("cache", "explain", "--jobs", 1)
        x = result["modes"]["x"]
        assert (x["store"], x["state"], x["clips"]) == (f"features/{X.folder}", "stale", 9)
        assert (x["done"], x["stale"], x["missing"], x["quarantined"]) == (8, 1, 0, 0)
        assert (result["modes"]["lh"]["state"], result["modes"]["lh"]["missing"]) == ("absent", 9)
        assert [clip["fname"] for clip in result["clips"] if clip["mode"] == "x"] == ["hum-00.wav"]
        text = run("cache", "explain", "--mode", "x", "--jobs", 1).stdout
        assert text.startswith("x: stale: 8 of 9 clips done, 1 stale\n  stale: 1 clip whose file has other bytes")
        assert text.endswith("next: cli featurize\n")

    def test_explain_a_clip(self, at_home: Path) -> None:
        text = run("cache", "explain", "--clip", "hum-01.wav", "--jobs", 1).stdout
        assert text.splitlines()[0] == "lh: hum-01.wav is missing: it was never computed with these settings"
        assert text.splitlines()[1].startswith("x: hum-01.wav is done: ")
        result = run_json("cache", "explain", "--clip", "hum-01.wav", "--mode", "x", "--jobs", 1)
        assert [(clip["fname"], clip["state"]) for clip in result["clips"]] == [("hum-01.wav", "done")]
        assert "did you mean 'hum-01.wav'" in run("cache", "explain", "--clip", "hum-01", exit_code=1).stderr

    def test_a_bad_shard_ends_explain_and_info_with_4(self, at_home: Path) -> None:
        shard = next((at_home / "features").glob("*/shard-*.h5"))
        flip(shard, 600)
        assert f"shard features/{X.folder}/{shard.name} fails its checks" in (
            run("cache", "explain", "--jobs", 1, exit_code=4).stdout
        )
        assert run("cache", "explain", "--jobs", 1, exit_code=4).stdout.endswith("next: cli cache repair\n")
        assert len(run_json("cache", "explain", "--jobs", 1, exit_code=4)["modes"]["x"]["bad"]) == 1
        assert f"bad: {shard}: the bytes outside the frames" in run("cache", "info", exit_code=4).stdout
        report = run_json("cache", "info", exit_code=4)
        assert [Path(row["path"]).name for row in report["modes"][0]["bad"]] == [shard.name]

    def test_info(self, at_home: Path) -> None:
        change(at_home / "data" / "audio" / "hum-00.wav")
        run("featurize", "--mode", "x", "--jobs", 1)
        lines = run("cache", "info").stdout.splitlines()
        assert lines[0].startswith(f"{X.folder}: 9 clips (")
        assert lines[1].startswith("  26 kHz, 48 mels from 20 Hz to 13 kHz, ")
        assert lines[3].startswith("  computed with librosa ")
        assert max(map(len, lines[1:4])) <= 80
        assert lines[4].startswith("  1 rows superseded by newer ones, ")
        assert lines[5].startswith("superfluous: up to ")
        assert run_json("cache", "info")["superfluous_bytes"] > 1000
        assert run_json("cache", "info", "--store", f"features/{X.folder}")["superfluous_bytes"] is None

    def test_prune_asks_and_removes(self, at_home: Path) -> None:
        path = at_home / "data" / "audio" / "hum-00.wav"
        old = shutil.copytree(at_home / "data", at_home / "old")
        change(path)
        run("featurize", "--mode", "x", "--jobs", 1)
        write(at_home / "features" / "lh-0123abcd", [make_row("a")])
        kinds = [row["kind"] for row in run_json("cache", "prune", "--dry-run")["removals"]]
        assert kinds == ["folder", "rows"]
        assert "give --yes" in run("cache", "prune", exit_code=2).stderr
        assert (at_home / "features" / "lh-0123abcd").exists()
        kept = run_json("cache", "prune", "data", old, "--yes")
        assert [row["kind"] for row in kept["removals"]] == ["folder"]
        assert kept["freed_bytes"] > 0
        assert len(read_index(at_home / "features" / X.folder)) == 10
        result = run("cache", "prune", "--yes")
        assert "1 of its 9 rows have newer ones: hum-00.wav" in result.stderr
        assert result.stdout.startswith("freed ")
        assert len(read_index(at_home / "features" / X.folder)) == 9
        assert run("cache", "prune").stdout == "nothing to remove\n"
        assert run_json("featurize", "--mode", "x", "--jobs", 1)["modes"]["x"]["kept"] == 9

    @pytest.mark.parametrize(("answer", "exit_code"), [("y\n", 0), ("n\n", 1)])
    def test_prune_takes_an_answer(
        self, at_home: Path, monkeypatch: pytest.MonkeyPatch, answer: str, exit_code: int
    ) -> None:
        leftover = at_home / "features" / X.folder / ".shard-0000-0123456789abcdef.h5.1-2.part"
        leftover.touch()
        monkeypatch.setattr("cli._is_terminal", lambda: True)
        run("cache", "prune", exit_code=exit_code, input=answer)
        assert leftover.exists() == (exit_code == 1)

    def test_prune_keeps_what_a_run_was_trained_on(self, at_home: Path) -> None:
        write(at_home / "features" / "lh-0123abcd", [make_row("a")])
        info = at_home / "elsewhere" / "old" / "lh" / "fold-0" / "model.json"
        info.parent.mkdir(parents=True)
        info.write_text('{"fingerprint": "0123abcd"}')
        assert run_json("cache", "prune", "--runs", "elsewhere", "--yes")["removals"] == []
        assert [row["kind"] for row in run_json("cache", "prune", "--dry-run")["removals"]] == ["folder"]

    def test_prune_keeps_the_rows_of_data_by_default(self, at_home: Path) -> None:
        path = at_home / "data" / "audio" / "hum-00.wav"
        change(path)
        run("featurize", "--mode", "x", "--jobs", 1)
        change(path)  # back to the first bytes, whose row is the older one
        assert run("cache", "prune", "--yes").stdout == "nothing to remove\n"
        (at_home / "data").rename("elsewhere")
        result = run("cache", "prune", "--yes")  # which row a corpus uses, only the corpus tells
        assert result.stdout == "nothing to remove\n"
        assert "1 superseded rows stay: name the CORPUS folders" in result.stderr
        change(at_home / "elsewhere" / "audio" / "hum-00.wav")
        assert [row["kind"] for row in run_json("cache", "prune", "elsewhere", "--yes")["removals"]] == ["rows"]

    def test_prune_shows_the_first_of_many(self, at_home: Path) -> None:
        for number in range(25):
            (at_home / "features" / X.folder / f".shard-0000-{number:016d}.h5.1-2.part").touch()
        text = run("cache", "prune", "--dry-run").stdout
        assert len(text.splitlines()) == 23
        assert "… and 5 more; --json lists them all" in text
        assert len(run_json("cache", "prune", "--dry-run")["removals"]) == 25

    def test_prune_refuses_a_corpus_that_is_not_there(self, at_home: Path) -> None:
        assert "nowhere is not there" in run("cache", "prune", "nowhere", "--yes", exit_code=1).stderr

    def test_pack_and_unpack(self, at_home: Path) -> None:
        report = run_json("cache", "pack", "store.h5")
        assert (report["out"], report["bytes"]) == ("store.h5", os.path.getsize("store.h5"))
        assert report["folders"][X.folder]["rows"] == 9
        assert "give --force" in run("cache", "pack", "store.h5", exit_code=1).stderr
        assert "9 clips in 1 shards" in run("cache", "pack", "store.h5", "--force", "--mode", "x").stdout
        assert "holds no shard of mode lh" in run("cache", "pack", "lh.h5", "--mode", "lh", exit_code=1).stderr
        report = run_json("cache", "unpack", "store.h5", "--store", "again")
        assert (report["shards"], report["written"], report["identical"], report["kept"]) == (1, 1, 1, 0)
        assert "0 shards written" in run("cache", "unpack", "store.h5", "--store", "again").stdout
        assert run_json("featurize", "--mode", "x", "--store", "again", "--jobs", 1)["modes"]["x"]["kept"] == 9
        flip(at_home / "store.h5", 2_000)
        assert "is not a whole pack" in run("cache", "unpack", "store.h5", exit_code=4).stderr
