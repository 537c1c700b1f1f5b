from pathlib import Path

import pytest
from deadly import deadly_caption_task
from sounds import sine, write_sound
from stores import save_fold

from featurize.modes import MODES
from infer import captioning
from infer.captioning import CaptionTask, caption_all
from infer.trained import Trained


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_recording_gives_its_events_or_its_problem(tmp_path: Path, jobs: int) -> None:
    save_fold(tmp_path / "runs", mode=MODES["x"])
    for name in ("one.wav", "other.wav"):
        write_sound(tmp_path / name, sine(20_000, 500))
    (tmp_path / "none.wav").write_bytes(b"no sound")
    asked = CaptionTask("", str(tmp_path), Trained(str(tmp_path / "runs" / "quick")))
    found = {each.path: each for each in caption_all(["one.wav", "none.wav", "other.wav"], asked, jobs=jobs)}
    assert {name: bool(each.problem) for name, each in found.items()} == {
        "one.wav": False,
        "none.wav": True,
        "other.wav": False,
    }
    assert found["one.wav"].seconds == pytest.approx(20_000 / 44_100)


def test_a_recording_that_kills_workers_is_its_own_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioning, "caption_task", deadly_caption_task)
    save_fold(tmp_path / "runs", mode=MODES["x"])
    paths = [str(tmp_path / name) for name in ("a.wav", "segfault.wav", "b.wav", "c.wav", "d.wav", "e.wav")]
    for path in paths:
        write_sound(Path(path), sine(20_000, 500))
    asked = CaptionTask("", str(tmp_path), Trained(str(tmp_path / "runs" / "quick")))
    found = {Path(each.path).name: each.problem for each in caption_all(paths, asked, jobs=2)}
    assert len(found) == 6
    assert {name for name, problem in found.items() if problem} == {"segfault.wav"}
    assert found["segfault.wav"] == "ends the process that decodes it"
