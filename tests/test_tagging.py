from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from deadly import deadly_tag_task
from sounds import sine, write_sound
from stores import CLASSES, save_fold

from cache import open_store
from featurize.batch import Featurizer
from featurize.modes import MODES
from infer import stored, tagging
from infer.stored import find_frames
from infer.tagger import load_tagger
from infer.tagging import TagTask, make_tasks, tag_all, tag_task
from infer.tags import Tagged
from infer.trained import Trained

X = MODES["x"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    save_fold(runs, mode=X)
    return runs / "quick"


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{number}.wav" for number in range(5)]
    for number, path in enumerate(paths):
        write_sound(path, sine(3_000 + 40_000 * number, 300 + 200 * number))
    paths[2].write_bytes(b"no sound")
    return [str(path) for path in paths]


def asked(run: Path, **changes: object) -> TagTask:
    return TagTask(**{"number": 0, "recordings": (), "base": "", "trained": Trained(str(run))} | changes)  # type: ignore[arg-type]


def tag(recordings: Sequence[str], task: TagTask, jobs: int = 1) -> list[Tagged]:
    return [row for rows in tag_all(make_tasks(recordings, task, jobs=jobs), jobs=jobs) for row in rows]


def test_tasks_hold_all_recordings_in_order() -> None:
    names = [str(number) for number in range(1_000)]
    tasks = make_tasks(names, asked(Path("r")), jobs=2)
    assert [name for task in tasks for name in task.recordings] == names
    assert [task.number for task in tasks] == list(range(len(tasks)))
    assert max(len(task.recordings) for task in tasks) == 32
    assert len(make_tasks(names[:10], asked(Path("r")), jobs=2)) >= 4  # both workers have something to do
    assert make_tasks([], asked(Path("r")), jobs=2) == []


def test_each_recording_has_its_tags_or_its_problem(run: Path, recordings: list[str]) -> None:
    rows = tag(recordings, asked(run, n_tags=2))
    assert [row.path for row in rows] == recordings
    assert rows[2] == Tagged(recordings[2], problem="cannot be decoded: Format not recognised")
    tagger = load_tagger(run)
    for row in (*rows[:2], *rows[3:]):
        recording = tagging.read_recording(row.path, max_clip_minutes=1)
        [log_p] = tagger.log_probabilities([tagger.frames(recording)])
        best = np.argsort(-log_p)[:2]
        assert [label for label, _ in row.tags] == [CLASSES[k] for k in best]
        assert [score for _, score in row.tags] == pytest.approx(np.exp(log_p[best]).tolist(), abs=2e-3)
        assert row.seconds == pytest.approx(recording.seconds)
        assert not row.problem


def test_workers_find_the_same_in_the_same_order(run: Path, recordings: list[str]) -> None:
    alone = tag(recordings, asked(run))
    together = tag(recordings, asked(run), jobs=2)
    assert [row.path for row in together] == recordings
    for one, other in zip(alone, together, strict=True):
        assert [label for label, _ in one.tags] == [label for label, _ in other.tags]


def test_a_recording_that_kills_workers_is_its_own_problem(
    run: Path, recordings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tagging, "tag_task", deadly_tag_task)
    killer = tmp_path / "segfault.wav"
    write_sound(killer, sine(3_000, 500))
    rows = tag([*recordings[:2], str(killer), *recordings[3:]], asked(run), jobs=2)
    assert [Path(row.path).name for row in rows if row.problem] == ["segfault.wav"]
    assert rows[2].problem == "ends the process that decodes it"
    assert [len(row.tags) for row in rows] == [3, 3, 0, 3, 3]


def test_long_recordings_are_refused(run: Path, recordings: list[str]) -> None:
    rows = tag(recordings, asked(run, max_clip_minutes=1 / 60))
    assert [bool(row.problem) for row in rows] == [False, False, True, True, True]
    assert "use cli caption" in rows[4].problem
    assert rows[4].seconds == pytest.approx((3_000 + 160_000) / 44_100)


class TestStored:
    @pytest.fixture
    def store(self, recordings: list[str], tmp_path: Path) -> Path:
        import pandas as pd

        clips = pd.DataFrame({"fname": [Path(path).name for path in recordings], "path": recordings})
        Featurizer(modes=[X], store=tmp_path / "store", jobs=1).run(clips)
        stored._open.cache_clear()
        return tmp_path / "store"

    def test_frames_are_found_by_the_bytes_of_the_file(self, store: Path, recordings: list[str]) -> None:
        moved = Path(recordings[1]).rename(Path(recordings[1]).with_name("other name.wav"))
        found = find_frames(str(moved), store, [X])
        assert found is not None
        reader = open_store(store / f"x-{X.fingerprint()}")
        assert np.array_equal(found[0]["x"], reader[reader.names.index("1.wav")])
        assert found[1] == pytest.approx(43_000 / 44_100)

    def test_tags_are_those_without_a_store(
        self, store: Path, run: Path, recordings: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = tag(recordings, asked(run))
        read = []
        monkeypatch.setattr(tagging, "read_recording", lambda path, **_: read.append(path))
        with_store = tag([*recordings[:2], *recordings[3:]], asked(run, store=str(store)))
        for one, other in zip(with_store, [*plain[:2], *plain[3:]], strict=True):
            assert dict(one.tags) == pytest.approx(dict(other.tags), abs=1e-6)  # batches of other sizes round otherwise
            assert (one.path, one.seconds) == (other.path, other.seconds)
        assert not read

    def test_what_the_store_lacks_is_computed(self, store: Path, recordings: list[str], tmp_path: Path) -> None:
        assert find_frames(recordings[2], store, [X]) is None
        assert find_frames(str(tmp_path / "nowhere.wav"), store, [X]) is None
        assert find_frames(recordings[0], store, [X, MODES["lh"]]) is None
        assert find_frames(recordings[0], tmp_path / "none", [X]) is None

    def test_a_damaged_clip_is_computed(self, store: Path, run: Path, recordings: list[str]) -> None:
        plain = tag(recordings[:1], asked(run))
        for shard in (store / f"x-{X.fingerprint()}").glob("shard-*.h5"):
            data = bytearray(shard.read_bytes())
            data[len(data) // 2] ^= 1
            shard.write_bytes(data)
        stored._open.cache_clear()
        assert tag(recordings[:1], asked(run, store=str(store))) == plain


def test_a_task_without_a_good_recording_asks_no_network(run: Path, recordings: list[str]) -> None:
    number, rows = tag_task(TagTask(number=7, recordings=(recordings[2],), base="", trained=Trained(str(run))))
    assert number == 7
    assert rows[0].problem


def test_relative_paths_begin_at_the_base(
    run: Path, recordings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    [row] = tag(["0.wav"], asked(run, base=str(tmp_path)))
    assert (row.path, row.problem) == ("0.wav", "")
    assert row.tags == tag(recordings[:1], asked(run))[0].tags


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_has_no_tags(run: Path, tmp_path: Path, level: float) -> None:
    write_sound(tmp_path / "silence.wav", level * sine(40_000, 500) / 0.5)
    [row] = tag([str(tmp_path / "silence.wav")], asked(run))
    assert (row.tags, row.problem) == ((), "")
    write_sound(tmp_path / "faint.wav", 1e-3 * sine(40_000, 500) / 0.5)
    assert len(tag([str(tmp_path / "faint.wav")], asked(run))[0].tags) == 3
