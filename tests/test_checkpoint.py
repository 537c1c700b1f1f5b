import errno
import hashlib
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from stores import CLASSES, HEAD, save_fold

from cache.errors import InputError, IntegrityError, NotFoundError
from train.checkpoint import (
    INFO,
    MODEL,
    check_run_name,
    load_checkpoint,
    load_last,
    read_info,
    save_checkpoint,
    save_last,
)

LAST = {
    "model": {"w": torch.ones(2)},
    "optimizer": {"step": 1},
    "average": {},
    "epoch": 3,
    "seconds": 1.5,
    "waited": 0.1,
    "settings": {"seed": 1},
}


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    return save_fold(tmp_path, prior=[0.5, 0.25, 0.25])


def change_info(fold: Path, change: Callable[[dict], object]) -> None:
    info = json.loads((fold / INFO).read_text())
    change(info)
    (fold / INFO).write_text(json.dumps(info))


# --- the network and what is known of it ---------------------------------------------------------------------------


def test_a_network_knows_what_it_was_trained_on(fold: Path) -> None:
    change_info(fold, lambda info: info.update(unseen_classes=[CLASSES[1]]))
    assert load_checkpoint(fold).knows.tolist() == [True, False, True]


def test_a_network_comes_back_as_it_was(fold: Path) -> None:
    first = load_checkpoint(fold)
    assert not first.model.training
    assert first.path == fold
    assert first.info["classes"] == list(CLASSES)
    assert first.info["prior"] == [0.5, 0.25, 0.25]
    assert first.info["model"] == first.model.settings
    assert first.knows.all()  # as of a version that did not say which
    again = fold.parent / "fold-1"
    again.mkdir()
    save_checkpoint(again, first.model, {k: v for k, v in first.info.items() if k not in ("format", "sha256")})
    assert (again / MODEL).read_bytes() == (fold / MODEL).read_bytes()
    assert (again / INFO).read_bytes() == (fold / INFO).read_bytes()
    x = torch.randn(2, HEAD.window_frames, HEAD.n_mels)
    assert torch.equal(load_checkpoint(again).model(x), first.model(x))


def test_nothing_but_the_two_files_is_left(fold: Path) -> None:
    assert sorted(path.name for path in fold.iterdir()) == sorted([INFO, MODEL])


def test_an_untrained_fold_is_not_found(tmp_path: Path) -> None:
    assert read_info(tmp_path) is None
    with pytest.raises(NotFoundError, match="holds no trained fold"):
        load_checkpoint(tmp_path)


def damage_weights(fold: Path) -> None:
    data = bytearray((fold / MODEL).read_bytes())
    data[-1] ^= 1
    (fold / MODEL).write_bytes(data)


def swap_weights(fold: Path) -> None:
    """Weights of another network, with their own right digest."""
    data = safetensors.torch.save({"w": torch.ones(2)})
    (fold / MODEL).write_bytes(data)
    change_info(fold, lambda info: info.update(sha256=hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_weights, "its SHA-256 differs"),
        (swap_weights, "does not hold the network"),
        (lambda fold: (fold / MODEL).unlink(), "is missing beside model.json"),
        (lambda fold: (fold / MODEL).write_bytes(b""), "its SHA-256 differs"),
        (lambda fold: (fold / INFO).write_text("{"), "must be JSON"),
        (lambda fold: (fold / INFO).write_bytes(b"\xff\xfe"), "must be JSON"),
        (lambda fold: (fold / INFO).write_text("[1]"), "has format None, this version reads 1"),
        (lambda fold: change_info(fold, lambda info: info.update(format=2)), "has format 2, this version reads 1"),
        (lambda fold: change_info(fold, lambda info: info.pop("prior")), "lacks a proper prior"),
        (lambda fold: change_info(fold, lambda info: info.update(epoch="2")), "lacks a proper epoch"),
        (lambda fold: change_info(fold, lambda info: info["model"].update(n_classes=4)), "does not hold the network"),
        (lambda fold: change_info(fold, lambda info: info["model"].update(n_mels="32")), "does not hold the network"),
        (lambda fold: change_info(fold, lambda info: info["model"].update(network="x")), "must be one of alexnet-like"),
        (lambda fold: change_info(fold, lambda info: info["classes"].pop()), "2 classes and 3 prior shares for 3"),
        (lambda fold: change_info(fold, lambda info: info["prior"].pop()), "3 classes and 2 prior shares for 3"),
        (lambda fold: change_info(fold, lambda info: info.update(classes=["a", "a", "b"])), "3 classes"),
        (lambda fold: change_info(fold, lambda info: info.update(unseen_classes=["a"])), "must be some of the classes"),
        (lambda fold: change_info(fold, lambda info: info.update(unseen_classes="")), "must be some of the classes"),
        (
            lambda fold: change_info(fold, lambda info: info.update(unseen_classes=[["a"]])),
            "must be some of the classes",
        ),
    ],
)
def test_a_tampered_fold_is_refused_with_status_4(fold: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(fold)
    with pytest.raises(IntegrityError, match=words) as caught:
        load_checkpoint(fold)
    assert caught.value.exit_code == 4
    assert str(fold) in str(caught.value)
    assert "--force" in str(caught.value)


def test_weights_that_were_pickled_are_not_run(fold: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save(Trap(trap), fold / MODEL)
    digest = hashlib.sha256((fold / MODEL).read_bytes()).hexdigest()
    change_info(fold, lambda info: info.update(sha256=digest))
    with pytest.raises(IntegrityError, match="does not hold the network"):
        load_checkpoint(fold)
    assert not trap.exists()


# --- the state to resume from --------------------------------------------------------------------------------------


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_the_last_state_comes_back_as_it_was(tmp_path: Path) -> None:
    assert load_last(tmp_path) is None
    save_last(tmp_path, LAST)
    state = load_last(tmp_path)
    assert state is not None
    assert torch.equal(state["model"].pop("w"), torch.ones(2))
    assert state == {**LAST, "model": {}}
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["state.pt"]


def test_a_malicious_last_state_runs_no_code(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    save_last(tmp_path, {**LAST, "settings": {"seed": Trap(trap)}})
    with pytest.raises(IntegrityError, match=r"cannot be resumed from \(UnpicklingError\); .* --force") as caught:
        load_last(tmp_path)
    assert caught.value.exit_code == 4
    assert not trap.exists()
    torch.load(tmp_path / "last" / "state.pt", weights_only=False)  # the trap works
    assert trap.exists()


@pytest.mark.parametrize("damaged", [b"", b"not a zip", pickle.dumps(LAST["settings"])])
def test_a_damaged_last_state_is_refused(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "state.pt").write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"state\.pt"):
        load_last(tmp_path)


def test_a_cut_last_state_is_refused(tmp_path: Path) -> None:
    save_last(tmp_path, LAST)
    path = tmp_path / "last" / "state.pt"
    assert zipfile.is_zipfile(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(IntegrityError, match="cannot be resumed from"):
        load_last(tmp_path)


@pytest.mark.parametrize("state", [{}, {**LAST, "epoch": "3"}, torch.ones(3)])
def test_a_last_state_that_lacks_something_is_refused(tmp_path: Path, state: dict) -> None:
    save_last(tmp_path, state)
    with pytest.raises(IntegrityError, match=r"state\.pt"):
        load_last(tmp_path)


def test_a_full_disk_is_named_and_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_last(tmp_path, LAST)

    def full(part: Path, _data: bytes) -> int:
        part.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(part))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_last(tmp_path, {**LAST, "epoch": 4})
    state = load_last(tmp_path)
    assert state is not None
    assert state["epoch"] == 3
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["state.pt"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\\b", "a\0b"])
def test_a_run_has_a_plain_name(name: str) -> None:
    with pytest.raises(InputError, match="--run must be a plain name"):
        check_run_name(name)
    check_run_name("best.2")
