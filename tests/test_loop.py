import csv
import dataclasses
import itertools
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from stores import CLASSES, HEAD, LONG, QUICK, T, jobs_of, make_clips
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cache.errors import IntegrityError
from featurize.modes import FeatureMode
from infer.evaluate import evaluate
from train import augment, batches, epoch, loop
from train.checkpoint import load_checkpoint, load_last, save_last
from train.dataset import WindowDataset
from train.device import pick_engine
from train.history import read_progress
from train.job import FoldJob
from train.loop import HISTORY_COLUMNS, DivergedError, train_fold
from train.models import AlexNetLike
from train.networks import build_network
from train.recipe import RECIPES


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.device._has_fast_bfloat16", lambda _device: False)


def job_of(folder: Path, mode: FeatureMode = HEAD, **changes: Any) -> FoldJob:
    return jobs_of(folder, mode=mode, recipe=dataclasses.replace(QUICK, **changes), folds=[0])[0]


QUICK_BEST = {**RECIPES["best"].to_dict(), "name": "quick", "epochs": 14, "batch_size": 6}


def history(job: FoldJob) -> list[dict[str, float]]:
    with (job.folder / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def same_state(first: Any, second: Any) -> bool:
    """Compare states bit for bit; seconds are those of the clock."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        clocks = {"seconds", "waited"}
        keys = first.keys() - clocks
        return keys == second.keys() - clocks and all(same_state(first[key], second[key]) for key in keys)
    return bool(first == second)


def assert_equal_folds(first: FoldJob, second: FoldJob) -> None:
    assert (first.folder / "model.safetensors").read_bytes() == (second.folder / "model.safetensors").read_bytes()
    assert (first.folder / "oof.csv").read_bytes() == (second.folder / "oof.csv").read_bytes()
    assert same_state(load_last(first.folder), load_last(second.folder))
    for a, b in zip(history(first), history(second), strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


class Stop:
    """Raises in place of the n-th call of a function; n counts from 1."""

    def __init__(self, function: Any, n: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.function, self.left, self.error = function, n, error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.function(*args, **kwargs)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[FoldJob, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.device._has_fast_bfloat16", lambda _device: False)
        job = job_of(tmp_path_factory.mktemp("learned"), epochs=14)
        return job, train_fold(job)


# --- a fold from start to end --------------------------------------------------------------------------------------


def test_a_fold_learns_classes_that_can_be_told_apart(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    job, result = learned
    rows = history(job)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[-1]["valid_loss"] < 0.3 * rows[0]["valid_loss"]
    assert result["map3"] == 1.0
    assert result["map3_se"] == 0.0
    assert {**result, "seconds": 0, "clips_per_second": 0} == {
        "mode": "head",
        "model": "alexnet-like",
        "fold": 0,
        "path": str(job.folder),
        "map3": 1.0,
        "map3_se": 0.0,
        "epochs": 14,
        "seconds": 0,
        "clips_per_second": 0,
    }
    assert result["clips_per_second"] == pytest.approx(14 * 12 / result["seconds"], rel=0.2)


def test_whole_clips_are_learned_from_their_windows(tmp_path: Path) -> None:
    job = job_of(tmp_path, LONG, epochs=14)
    assert train_fold(job)["map3"] == 1.0
    model = load_checkpoint(job.folder).model
    train = WindowDataset(job.reader, np.flatnonzero(~job.held).tolist(), window_frames=T, overlap=0.1)
    windows = train.__getitems__(range(len(train)))[0].double()
    labels = job.labels[~job.held][train.clip]
    drawn = [windows[torch.from_numpy(labels == label)] for label in range(3)]
    mean = np.mean([float(part.mean()) for part in drawn])  # classes in equal shares, as they are drawn
    square = np.mean([float(part.square().mean()) for part in drawn])
    assert model.normalise.kind == "featurewise"
    assert float(model.normalise.mean) == pytest.approx(mean, abs=1e-4)
    assert float(model.normalise.std) == pytest.approx(np.sqrt(square - mean**2), abs=1e-4)


@pytest.mark.parametrize("mode", [HEAD, LONG], ids=["head", "long"])
def test_the_best_recipe_learns_too(tmp_path: Path, mode: FeatureMode) -> None:
    job = job_of(tmp_path, mode, **QUICK_BEST)
    result = train_fold(job)
    assert result["map3"] == 1.0
    assert result["model"] == "fully-convolutional"
    rows = history(job)
    assert rows[-1]["learning_rate"] < 0.1 * max(row["learning_rate"] for row in rows)
    checkpoint = load_checkpoint(job.folder)
    assert torch.allclose(checkpoint.model.log_prior.exp(), torch.tensor(job.prior))
    assert checkpoint.info["training_windows"] == 12
    assert 0 < checkpoint.info["waited_seconds"] < checkpoint.info["seconds"]


def test_the_averaged_weights_are_scored_and_kept(tmp_path: Path) -> None:
    job = job_of(tmp_path, **{**QUICK_BEST, "epochs": 3})
    train_fold(job)
    last = load_last(job.folder)
    assert last is not None
    kept = load_checkpoint(job.folder).model.state_dict()
    assert all(torch.equal(kept[name], last["average"][f"module.{name}"]) for name in kept)
    assert not torch.equal(kept["head.1.weight"], last["model"]["head.1.weight"])


def test_the_last_epochs_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    draw = epoch.draw_batches

    def spy(*args: Any, **settings: Any) -> Any:
        for batch in draw(*args, **settings):
            sizes.append(len(batch.clips))
            yield batch

    monkeypatch.setattr(epoch, "draw_batches", spy)
    train_fold(job_of(tmp_path, **{**QUICK_BEST, "epochs": 4, "unmixed_share": 0.5}))
    assert sizes == [2, 2, 2, 2, 1, 1, 1, 1]  # two steps an epoch


def test_losses_are_told_apart_by_the_labels_origin(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    rows = history(learned[0])
    for row in rows:
        low, high = sorted((row["loss_verified"], row["loss_unverified"]))
        assert low < row["loss"] < high


def test_unverified_labels_can_be_left_to_count_for_nothing(tmp_path: Path) -> None:
    """Wrong labels of weight 0 do not move the network away from the right ones."""
    job = job_of(tmp_path, **{**QUICK_BEST, "unverified_weight": 0.0, "unmixed_share": 1.0})
    wrong = np.where(job.verified, job.targets, (job.targets + 1) % 3)
    train_fold(dataclasses.replace(job, targets=wrong))
    rows = history(job)
    assert rows[-1]["loss_verified"] < 0.5
    assert rows[-1]["loss_unverified"] > 2
    assert rows[-1]["map3"] == 1.0


def test_clips_that_are_left_out_are_never_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path, **{**QUICK_BEST, "epochs": 2})
    left_out = np.flatnonzero(~job.held)[[0, 5]]
    targets = job.targets.copy()
    targets[left_out] = -1
    job = dataclasses.replace(job, targets=targets)
    assert not set(left_out) & set(job.trained)
    assert len(job.trained) == 10
    train_fold(job)
    assert load_checkpoint(job.folder).info["training_clips"] == 10


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_classes_that_training_does_not_hear_are_named(tmp_path: Path, weight: float) -> None:
    """Flutes are held, Gongs left out, and Barks not verified."""
    job = job_of(tmp_path, unverified_weight=weight)
    numbers = {name: number for number, name in enumerate(job.settings["classes"])}
    job = dataclasses.replace(
        job,
        held=job.labels == numbers["Flute"],
        targets=np.where(job.labels == numbers["Gong"], -1, job.labels),
        verified=job.labels != numbers["Bark"],
    )
    assert job.unseen_classes == (["Flute", "Gong"] if weight else ["Bark", "Flute", "Gong"])


def test_the_history_has_a_line_an_epoch(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    rows = history(learned[0])
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert [row["epoch"] for row in rows] == list(range(1, 15))
    assert {row["learning_rate"] for row in rows} == {1e-3}
    assert np.all(np.diff([row["seconds"] for row in rows]) >= 0)


def test_the_board_shows_the_history(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    job = learned[0]
    board = EventAccumulator(str(job.folder)).Reload()
    assert set(board.Tags()["scalars"]) == set(HISTORY_COLUMNS[1:-1])
    events = board.Scalars("loss")
    assert [event.step for event in events] == list(range(1, 15))
    assert [event.value for event in events] == pytest.approx([row["loss"] for row in history(job)], abs=1e-5)


def test_out_of_fold_probabilities_are_those_of_every_held_clip(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    job, _ = learned
    table = pd.read_csv(job.folder / "oof.csv")
    held = [name for name, out in zip(job.reader.names, job.held, strict=True) if out]
    assert table["fname"].tolist() == held
    assert tuple(table.columns[1:]) == CLASSES
    assert not job.scored[job.held].all()  # clips that were not verified are there too
    assert table[list(CLASSES)].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-7)
    assert table[list(CLASSES)].to_numpy().argmax(axis=1).tolist() == job.labels[job.held].tolist()


def test_labels_of_held_clips_stand_beside_their_predictions(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    job, _ = learned
    held = pd.read_csv(job.folder / "held.csv")
    assert held["fname"].tolist() == pd.read_csv(job.folder / "oof.csv")["fname"].tolist()
    assert held["label"].tolist() == [job.settings["classes"][label] for label in job.labels[job.held]]
    assert held["scored"].tolist() == job.scored[job.held].astype(int).tolist()


def test_a_job_travels_to_a_machine_that_shares_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs_of(tmp_path)[0]
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: pytest.fail("a file of this machine was written"))
    again = pickle.loads(pickle.dumps(job))
    assert again.reader.keys == job.reader.keys
    assert again.title == job.title
    assert again.labels.tolist() == job.labels.tolist()


def test_the_model_file_holds_what_is_needed_to_use_it(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    job, _ = learned
    info = load_checkpoint(job.folder).info
    assert info["classes"] == list(CLASSES)
    assert info["mode"] == HEAD.to_dict()
    assert info["fingerprint"] == HEAD.fingerprint()
    assert info["epoch"] == 14
    assert info["training_clips"] == info["training_windows"] == 12
    assert info["scored_clips"] == int(job.scored[job.held].sum()) < int(job.held.sum())
    assert info["precision"] == "float32"
    assert info["recipe"]["epochs"] == 14
    assert info["seed"] == 42
    assert info["unseen_classes"] == []


def test_a_finished_fold_keeps_its_last_state_and_does_no_more(learned: tuple[FoldJob, dict[str, Any]]) -> None:
    job, result = learned
    state = load_last(job.folder)
    assert state is not None
    assert state["epoch"] == 14
    assert same_state(state["model"], dict(load_checkpoint(job.folder).model.state_dict()))
    before = (job.folder / "model.json").read_bytes()
    assert train_fold(job) == result
    assert (job.folder / "model.json").read_bytes() == before
    assert len(history(job)) == 14


def test_scores_count_verified_clips_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path, epochs=1)
    truth = job.labels[job.held]
    right = np.eye(3)[truth]
    wrong = np.eye(3)[(truth + 1) % 3] + 0.5 * np.eye(3)[(truth + 2) % 3]  # the true class last
    answers = np.where(job.scored[job.held][:, None], right, wrong)
    log_p = np.log((answers + 1e-3) / (answers + 1e-3).sum(axis=1, keepdims=True))
    monkeypatch.setattr(loop, "clip_log_probabilities", lambda *_, **__: log_p)
    assert train_fold(job)["map3"] == 1.0
    assert history(job)[0]["map3"] == history(job)[0]["accuracy"] == 1.0
    all_scored = dataclasses.replace(job, folder=job.folder.with_name("all"), scored=np.ones(len(job.labels), bool))
    counted = int(job.scored[job.held].sum())
    n = len(truth)
    assert train_fold(all_scored)["map3"] == pytest.approx((counted + (n - counted) / 3) / n)


def test_the_score_is_what_evaluate_makes_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path, epochs=1)
    log_p = np.tile(np.log([1 - 3e-9, 1e-9, 2e-9]), (int(job.held.sum()), 1))  # ties, had the table six places
    monkeypatch.setattr(loop, "clip_log_probabilities", lambda *_, **__: log_p)
    result = train_fold(job)
    scored = evaluate(job.folder / "oof.csv", make_clips())
    assert scored["map3"] == pytest.approx(result["map3"])
    assert scored["clips"] == int(job.scored[job.held].sum())


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train_fold(job_of(tmp_path, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_erasing_comes_after_normalisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def spy(x: torch.Tensor, **settings: Any) -> torch.Tensor:
        seen.append(x)
        return augment_erase(x, **settings)

    augment_erase = augment.erase
    monkeypatch.setattr(augment, "erase", spy)
    train_fold(job_of(tmp_path, epochs=1))
    assert seen
    for x in seen:  # the store's values lie about -60 and -20 dB
        assert abs(float(x.mean())) < 0.2
        assert float(x.abs().max()) < 10


# --- stopping and going on -----------------------------------------------------------------------------------------


RESUMED = {
    "samplewise": (HEAD, {}),
    "featurewise": (LONG, {}),
    "best": (HEAD, QUICK_BEST),
    "best, whole clips": (LONG, QUICK_BEST),
}


@pytest.mark.parametrize(("mode", "changes"), RESUMED.values(), ids=RESUMED)
def test_a_fold_that_is_stopped_and_resumed_equals_an_undisturbed_one(
    tmp_path: Path, mode: FeatureMode, changes: dict[str, Any]
) -> None:
    undisturbed = job_of(tmp_path / "a", mode, **{**changes, "epochs": 3})
    train_fold(undisturbed)
    job = job_of(tmp_path / "b", mode, **{**changes, "epochs": 3})
    for done in (1, 2):
        result = train_fold(dataclasses.replace(job, seconds_limit=1e-9))  # one epoch a call
        assert result["epochs"] == done
    train_fold(job)
    assert_equal_folds(undisturbed, job)


@pytest.mark.parametrize("place", ["zero_grad", "balanced_draw", "_log", "clip_log_probabilities"])
def test_an_interrupt_keeps_the_last_whole_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    undisturbed = job_of(tmp_path / "a", epochs=3)
    train_fold(undisturbed)
    job = job_of(tmp_path / "b", epochs=3)
    # An epoch makes two steps and two draws, and calls the others once: each stop falls into the second epoch.
    with monkeypatch.context() as patch:
        if place == "zero_grad":
            patch.setattr(torch.optim.AdamW, place, _method(Stop(torch.optim.AdamW.zero_grad, 4)))
        else:
            n = {"balanced_draw": 3, "_log": 2, "clip_log_probabilities": 2}[place]
            module = batches if place == "balanced_draw" else loop
            patch.setattr(module, place, Stop(getattr(module, place), n))
        with pytest.raises(KeyboardInterrupt):
            train_fold(job)
    state = load_last(job.folder)
    assert state is not None
    assert state["epoch"] == 1
    assert not (job.folder / "model.json").exists()
    train_fold(job)
    assert_equal_folds(undisturbed, job)


def test_an_interrupt_after_an_epoch_keeps_that_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = job_of(tmp_path / "a", epochs=3)
    train_fold(undisturbed)
    job = job_of(tmp_path / "b", epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_SAVE_SHARE", math.inf)
        patch.setattr(loop, "save_last", Stop(save_last, 2))
        with pytest.raises(KeyboardInterrupt):
            train_fold(job)
    state = load_last(job.folder)
    assert state is not None
    assert state["epoch"] == len(history(job)) == 2
    train_fold(job)
    assert_equal_folds(undisturbed, job)


def _method(stop: Stop) -> Any:
    return lambda self, *args, **kwargs: stop(self, *args, **kwargs)


def test_an_interrupt_in_the_first_epoch_leaves_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path)
    monkeypatch.setattr(batches, "balanced_draw", Stop(batches.balanced_draw, 1))
    with pytest.raises(KeyboardInterrupt):
        train_fold(job)
    assert load_last(job.folder) is None


def test_an_interrupt_after_the_last_epoch_is_resumed_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = job_of(tmp_path / "a")
    train_fold(undisturbed)
    job = job_of(tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", Stop(loop.save_checkpoint, 1))
        with pytest.raises(KeyboardInterrupt):
            train_fold(job)
    monkeypatch.setattr(batches, "balanced_draw", Stop(batches.balanced_draw, 1, AssertionError))
    train_fold(job)
    assert_equal_folds(undisturbed, job)


def test_the_state_is_saved_as_training_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_SAVE_SHARE", math.inf)
    saved = []
    monkeypatch.setattr(loop, "save_last", lambda _folder, state: saved.append(state["epoch"]))
    train_fold(job_of(tmp_path, epochs=2))
    assert saved == [1, 2, 2]


def test_a_slow_saving_is_done_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = [0.0], []

    def tick(seconds: float, then: Any) -> Any:
        now[0] += seconds
        return then

    train_epoch = loop.train_epoch
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": lambda: now[0]}))
    monkeypatch.setattr(loop, "train_epoch", lambda *args: tick(1.0, train_epoch(*args)))
    monkeypatch.setattr(loop, "save_last", lambda _folder, state: tick(0.25, saved.append(state["epoch"])))
    train_fold(job_of(tmp_path, epochs=8))
    assert saved == [1, 4, 7, 8]  # ten times 0.25 s is two and a half epochs; the last is saved always


def test_a_fresh_fold_keeps_the_old_one_until_its_first_epoch_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path, epochs=2)
    train_fold(job)
    before = {path: path.read_bytes() for path in job.folder.rglob("*") if path.is_file()}
    stale = (job.folder / "history.csv").stat().st_mtime
    fresh = dataclasses.replace(job, fresh=True, stale_history=stale)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_held_scores", Stop(loop._held_scores, 1))
        with pytest.raises(KeyboardInterrupt):
            train_fold(fresh)
    assert {path: path.read_bytes() for path in job.folder.rglob("*") if path.is_file()} == before
    assert read_progress([fresh]) == (0, 2, "")
    assert train_fold(dataclasses.replace(fresh, seconds_limit=1e-9))["epochs"] == 1
    assert [row["epoch"] for row in history(job)] == [1]
    assert len(list(job.folder.glob("events.*"))) == 1
    assert read_progress([fresh])[0] == 1
    train_fold(job)  # resumes
    assert (job.folder / "model.safetensors").read_bytes() == before[job.folder / "model.safetensors"]


def test_a_time_limit_stops_after_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    job = dataclasses.replace(job_of(tmp_path, epochs=50), seconds_limit=65.0)
    result = train_fold(job)
    assert 1 <= result["epochs"] < 5
    state = load_last(job.folder)
    assert state is not None
    assert state["epoch"] == result["epochs"] == len(history(job)) == load_checkpoint(job.folder).info["epoch"]


def test_an_epoch_after_the_resumed_one_leaves_no_trace(tmp_path: Path) -> None:
    """A fold that was killed between two savings has lines in its history that are trained again."""
    job = job_of(tmp_path, epochs=3)
    train_fold(dataclasses.replace(job, seconds_limit=1e-9))
    state = load_last(job.folder)
    assert state is not None
    train_fold(dataclasses.replace(job, seconds_limit=1e-9))
    save_last(job.folder, state)
    train_fold(job)
    assert [row["epoch"] for row in history(job)] == [1, 2, 3]
    assert [event.step for event in EventAccumulator(str(job.folder)).Reload().Scalars("loss")] == [1, 2, 3]


def test_a_last_state_of_another_network_is_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    train_fold(job)
    state = load_last(job.folder)
    assert state is not None
    state["model"].pop("head.7.bias")
    save_last(job.folder, state)
    with pytest.raises(IntegrityError, match=r"last is not of this network .*head\.7\.bias.*--force"):
        train_fold(job)


# --- going wrong ---------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_fold(tmp_path: Path) -> None:
    job = job_of(tmp_path, learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"head fold 0 diverged in epoch \d: .*loss is (nan|inf).*--seed") as caught:
        train_fold(job)
    assert caught.value.exit_code == 1
    assert not (job.folder / "model.json").exists()


def test_a_class_that_breaks_training_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path, mixup_alpha=0.0)
    gongs = np.flatnonzero(job.targets[job.trained] == CLASSES.index("Gong"))
    gather = WindowDataset.__getitems__

    def broken(self: WindowDataset, indices: Any) -> tuple[torch.Tensor, torch.Tensor]:
        windows, clips = gather(self, indices)
        windows[torch.isin(clips, torch.from_numpy(gongs))] = float("inf")
        return windows, clips

    monkeypatch.setattr(WindowDataset, "__getitems__", broken)
    # Batch statistics of training would spread it over the batch.
    monkeypatch.setattr(AlexNetLike, "train", lambda self, _mode=True: torch.nn.Module.train(self, mode=False))
    with pytest.raises(DivergedError, match=r"loss is nan for clips of Gong, at a learning rate of 0\.001"):
        train_fold(job)


def test_weights_that_break_in_the_last_step_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training loss is a number still; the held fold's is none."""
    monkeypatch.setattr(
        loop, "clip_log_probabilities", lambda _model, held, _engine, **_: np.full((held.n_clips, 3), np.nan)
    )
    job = job_of(tmp_path, epochs=1)
    with pytest.raises(DivergedError, match="epoch 1: the held fold's loss is nan"):
        train_fold(job)
    assert not (job.folder / "model.json").exists()


# --- drawing and seeds ---------------------------------------------------------------------------------------------


def test_an_epoch_draws_as_many_windows_as_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    scores = AlexNetLike.scores

    def spy(self: AlexNetLike, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            sizes.append(len(x))
        return scores(self, x)

    monkeypatch.setattr(AlexNetLike, "scores", spy)
    train_fold(job_of(tmp_path, LONG, epochs=1, batch_size=5))
    job = job_of(tmp_path / "again", LONG)
    n_windows = len(WindowDataset(job.reader, job.trained.tolist(), window_frames=T, overlap=0.1))
    assert sum(sizes) == n_windows
    assert len(sizes) == round(n_windows / 5)
    assert max(sizes) - min(sizes) <= 1


def test_seed_mode_fold_and_epoch_have_numbers_of_their_own(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "a") + jobs_of(tmp_path / "b", seed=43) + jobs_of(tmp_path / "c", mode=LONG)
    seeds = [job.seed_of(epoch) for job in jobs for epoch in range(4)]
    assert len(set(seeds)) == len(seeds) == 36
    assert all(0 <= seed < 2**56 for seed in seeds)


@pytest.fixture
def grouped(tmp_path: Path) -> tuple[FoldJob, np.ndarray]:
    """A job in which one recorder has all clips of each class but one, and these clips."""
    job = job_of(tmp_path, **{**QUICK_BEST, "epochs": 30, "pretrained": False, "mixup_alpha": 0.0})
    alone = np.array([np.flatnonzero((job.labels == label) & ~job.held)[0] for label in range(3)])
    groups = np.isin(np.arange(len(job.labels)), alone).astype(np.int64)
    return dataclasses.replace(job, groups=groups, verified=np.ones(len(job.labels), bool)), alone


def test_groups_of_a_class_are_drawn_by_the_root_of_their_clips(
    grouped: tuple[FoldJob, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, alone = grouped
    counts = np.zeros(len(job.labels))
    step = epoch._step

    def spy(job: FoldJob, state: Any, batch: batches.Batch, *rest: Any) -> None:
        np.add.at(counts, job.trained[batch.clips.numpy().ravel()], 1)
        step(job, state, batch, *rest)

    monkeypatch.setattr(epoch, "_step", spy)
    train_fold(job)
    assert len(job.trained) == 12
    assert counts[alone].sum() / counts.sum() == pytest.approx(1 / (1 + 3**0.5), abs=0.06)


def test_groups_weigh_so_in_the_fit_of_the_last_layer_and_in_the_normalisation(
    grouped: tuple[FoldJob, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, alone = grouped
    job = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, pretrained=True))
    found: dict[str, Any] = {}
    model = build_network(job.recipe.network_settings(n_mels=32, n_frames=T, n_classes=3, head_only=True))
    monkeypatch.setattr(loop, "fit_last_layer", lambda *_, weights, **__: found.update(fit=weights))
    monkeypatch.setattr(loop, "find_pretrained", lambda _: Path("weights"))
    monkeypatch.setattr(loop, "load_pretrained", lambda *_: None)
    engine = pick_engine("cpu")
    clips = loop.open_job_clips(job, job.trained, engine)
    monkeypatch.setattr(
        type(clips), "mean_and_std", lambda _, weights, **__: (found.update(normalise=weights), (0.0, 1.0))[1]
    )
    loop._fit(job, model, clips)
    loop._begin_pretrained(job, model, clips, engine)
    is_alone = np.isin(job.trained, alone)
    targets = job.targets[job.trained]
    n_clips = np.bincount(targets)[targets]
    shares = np.where(is_alone, 1.0, (n_clips - 1.0) ** -0.5) / (1 + (n_clips - 1.0) ** 0.5)
    assert found["normalise"] == pytest.approx(shares)
    assert found["fit"] == pytest.approx(n_clips * shares)


def test_without_balance_every_window_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    gather = WindowDataset.__getitems__

    def spy(self: WindowDataset, indices: Any) -> Any:
        drawn.extend(np.asarray(indices).tolist())
        return gather(self, indices)

    job = job_of(tmp_path, LONG, epochs=1, mixup_alpha=0.0, balanced=False)
    windows = WindowDataset(job.reader, job.trained.tolist(), window_frames=T, overlap=0.1)
    monkeypatch.setattr(WindowDataset, "__getitems__", spy)
    list(batches.draw_batches(windows, job.targets[job.trained], job.recipe, window_frames=T, mixed=False, seed=1))
    assert sorted(drawn) == list(range(len(windows)))
    assert drawn != sorted(drawn)


def test_two_seeds_give_two_networks_and_one_gives_one(tmp_path: Path) -> None:
    jobs = [
        dataclasses.replace(jobs_of(tmp_path / name, seed=seed, folds=[0])[0], seconds_limit=1e-9)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    for job in jobs:
        train_fold(job)
    weights = [(job.folder / "model.safetensors").read_bytes() for job in jobs]
    assert weights[0] == weights[1] != weights[2]
