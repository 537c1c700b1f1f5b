from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stores import HEAD, LONG, T, frames_of, save_fold, write_store

from train.checkpoint import load_checkpoint
from train.dataset import WindowDataset
from train.device import Engine
from train.models import AlexNetLike
from train.scores import clip_log_probabilities, renormalise

ENGINE = Engine(torch.device("cpu"), bfloat16=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AlexNetLike:
    return load_checkpoint(save_fold(tmp_path_factory.mktemp("runs"))).model


def long_clips(folder: Path) -> WindowDataset:
    frames = {f"{n}.wav": frames_of(f"{n}.wav", "Bark", T + extra) for n, extra in enumerate((0, 400, 1))}
    reader = write_store(folder, LONG, frames)
    return WindowDataset(reader, [2, 1, 0], window_frames=T, overlap=0.1)


def test_a_clip_is_the_rooted_geometric_mean_of_its_windows(tmp_path: Path, model: AlexNetLike) -> None:
    dataset = long_clips(tmp_path)
    log_p = clip_log_probabilities(model, dataset, ENGINE)
    assert log_p.shape == (3, 3)
    assert log_p.dtype == np.float64
    assert np.exp(log_p).sum(axis=1) == pytest.approx(1)
    with torch.inference_mode():
        p = torch.softmax(model(dataset.__getitems__(range(len(dataset)))[0].float()).double(), dim=1).numpy()
    for clip in range(3):
        windows = p[dataset.clip == clip]
        product = windows.prod(axis=0) ** (1 / len(windows))
        assert np.exp(log_p[clip]) == pytest.approx(product / product.sum(), abs=1e-6)


def test_the_mean_can_be_arithmetic(tmp_path: Path, model: AlexNetLike) -> None:
    dataset = long_clips(tmp_path)
    found = np.exp(clip_log_probabilities(model, dataset, ENGINE, mean="arithmetic"))
    with torch.inference_mode():
        p = torch.softmax(model(dataset.__getitems__(range(len(dataset)))[0].float()).double(), dim=1).numpy()
    expected = [p[dataset.clip == clip].mean(axis=0) for clip in range(3)]
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_a_clip_with_many_equal_windows_scores_as_one_window(tmp_path: Path, model: AlexNetLike) -> None:
    window = np.tile(np.linspace(-60, -20, HEAD.n_mels), (T, 1))  # the same in every frame
    frames = {"long.wav": np.tile(window, (4, 1)), "short.wav": window}
    dataset = WindowDataset(write_store(tmp_path, LONG, frames), [0, 1], window_frames=T, overlap=0.1)
    assert len(dataset) > 4
    long, short = clip_log_probabilities(model, dataset, ENGINE)
    assert long == pytest.approx(short, abs=1e-5)


def test_the_networks_state_is_kept(tmp_path: Path, model: AlexNetLike) -> None:
    dataset = long_clips(tmp_path)
    mean = model.features[3].running_mean.clone()
    expected = clip_log_probabilities(model, dataset, ENGINE)
    model.train()
    try:
        assert np.array_equal(clip_log_probabilities(model, dataset, ENGINE), expected)  # no dropout
        assert model.training
        assert torch.equal(model.features[3].running_mean, mean)
    finally:
        model.eval()


def test_bfloat16_is_close(tmp_path: Path, model: AlexNetLike) -> None:
    dataset = long_clips(tmp_path)
    exact = clip_log_probabilities(model, dataset, ENGINE)
    assert clip_log_probabilities(model, dataset, Engine(torch.device("cpu"), bfloat16=True)) == pytest.approx(
        exact, abs=0.05
    )


@given(st.lists(st.lists(st.floats(-2000, 2000), min_size=3, max_size=3), min_size=0, max_size=4), st.floats(-500, 500))
def test_renormalised_rows_sum_to_one_and_keep_their_differences(rows: list[list[float]], shift: float) -> None:
    weights = np.array(rows).reshape(-1, 3)
    log_p = renormalise(weights + shift)
    assert np.exp(log_p).sum(axis=1) == pytest.approx(np.ones(len(weights)))
    assert np.diff(log_p, axis=1) == pytest.approx(np.diff(weights, axis=1), abs=1e-9)
