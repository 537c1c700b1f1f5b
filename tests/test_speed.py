"""The probe of training's speed trains on noise and leaves nothing; costs follow from it by arithmetic."""

import dataclasses

import numpy as np
import pytest
import torch
from stores import HEAD, LONG, QUICK, jobs_of

from train import speed as speed_module
from train.forecast import TrainingTask, epochs_done, is_trained, measure_training
from train.loop import train_fold
from train.plan import RunRequest
from train.recipe import RECIPES
from train.speed import Speed, SpeedProbe, fold_cost, mean_speed, time_training

SPEED = Speed(
    start_seconds=2,
    open_seconds=0.5,
    window_seconds=1,
    frame_seconds=0.001,
    save_seconds=3,
    network_bytes=100,
    state_bytes=300,
    probe_seconds=9,
)
WHOLE = dataclasses.replace(QUICK, whole_clips=True)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(speed_module, "TRAINING_SECONDS", 0)


@pytest.mark.parametrize(
    "recipe", [QUICK, dataclasses.replace(RECIPES["best"], batch_size=96)], ids=["windows", "best"]
)
def test_a_probe_measures_every_part(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(speed_module, "_MOST_CLIPS", 16)
    before = torch.random.get_rng_state()
    probe = SpeedProbe(mode=LONG, recipe=recipe, n_classes=3, clip_seconds=(0.5, 2.0, 4.0), device="cpu")
    found = time_training(probe)
    assert all(value > 0 for name, value in dataclasses.asdict(found).items() if name != "start_seconds")
    assert found.state_bytes > 2 * found.network_bytes
    assert list(tmp_path.glob("earmark-*")) == []
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_lengths_are_those_of_the_corpus():
    seconds = np.linspace(0.5, 30, 500)
    lengths = speed_module._sample_lengths(LONG, seconds)
    assert np.mean(lengths) * LONG.hop_samples / LONG.sample_rate_hz == pytest.approx(seconds.mean(), rel=0.02)
    assert max(speed_module._sample_lengths(HEAD, seconds)) == HEAD.window_frames
    hours = speed_module._sample_lengths(LONG, [3600.0] * 20)
    assert sum(hours) <= 200_000


def test_the_mean_of_probes():
    found = mean_speed([SPEED, dataclasses.replace(SPEED, window_seconds=3)])
    assert (found.window_seconds, found.save_seconds) == (2, 3)


def test_the_cost_of_a_fold_of_whole_clips():
    seconds = [1.0] * 50  # shorter than a window: stored as one
    found = fold_cost(SPEED, LONG, WHOLE, seconds, n_folds=5, n_classes=3)
    scoring = 0.001 * LONG.window_frames * 10
    assert found.start_seconds == pytest.approx(0.5 * 50 + scoring + 3)
    assert found.epoch_seconds == pytest.approx(1 * 40 + scoring + 3)
    assert found.n_bytes == 400 + 13 * 3 * 10


def test_windows_are_counted_and_saving_is_a_share_of_short_epochs():
    long_clip = 2.5 * LONG.window_seconds
    found = fold_cost(SPEED, LONG, QUICK, [long_clip] * 10, n_folds=2, n_classes=3)
    frames = LONG.n_frames(long_clip)
    assert found.epoch_seconds == pytest.approx((3 * 5 + 0.001 * frames * 5) * 1.1)


def test_all_of_it_and_what_is_done(tmp_path):
    jobs = jobs_of(tmp_path, recipe=QUICK)
    run = jobs[0].folder.parents[1]
    request = RunRequest(folder=run, recipe=QUICK, device="cpu")
    task = TrainingTask(
        modes=[HEAD], clip_seconds=[1.0, 1.5, 2.0] * 6, n_classes=3, n_folds=3, workers=1, threads=1, first_round=0.5
    )
    assert not is_trained(request, task)
    train_fold(jobs[0])
    assert epochs_done(run, ["head"], 3) == {("head", 0): 2}
    found = measure_training(task, request)
    one = found.cost.folds["head"].seconds(2)
    first = found.cost.folds["head"].seconds(1)
    assert found.cost.seconds(2) == pytest.approx(2 * one + 3 * first + found.cost.start_seconds)
    assert found.frame_seconds["head"] > 0
    for job in jobs[1:]:
        train_fold(job)
    assert is_trained(request, task)
    assert not is_trained(dataclasses.replace(request, force=True), task)
    assert is_trained(dataclasses.replace(request, folds=[0]), task)
