from pathlib import Path

import numpy as np
import pytest
import torch
from stores import HEAD, LONG, QUICK, T, jobs_of, make_clips, store_of
from test_loop import QUICK_BEST, assert_equal_folds

from cache import StoreReader
from train.crops import ClipDataset
from train.dataset import WindowDataset
from train.loop import train_fold
from train.recipe import Recipe
from train.resident import ResidentFrames, fits_gpu, frames_bytes

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CHOSEN = [4, 0, 2, 7]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> StoreReader:
    return store_of(tmp_path_factory.mktemp("long"), make_clips(3), LONG)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_crops_and_whole_clips_are_those_of_the_map(reader: StoreReader) -> None:
    mapped, resident = ClipDataset(reader, CHOSEN), ClipDataset(reader, CHOSEN)
    resident.reside(CPU)
    clips = np.array([0, 3, 3, 1, 2])
    assert torch.equal(resident.crop(clips, T // 2, rng()), mapped.crop(clips, T // 2, rng()))
    for (windows, these), (others, those) in zip(resident.batches(2), mapped.batches(2), strict=True):
        assert torch.equal(windows, others)
        assert torch.equal(these, those)


def test_windows_are_those_of_the_map(reader: StoreReader) -> None:
    mapped = WindowDataset(reader, CHOSEN, window_frames=T, overlap=0.5)
    resident = WindowDataset(reader, CHOSEN, window_frames=T, overlap=0.5)
    resident.reside(CPU)
    assert len(mapped) > len(CHOSEN)
    for (windows, these), (others, those) in zip(resident.batches(3), mapped.batches(3), strict=True):
        assert windows.dtype == others.dtype
        assert torch.equal(windows, others)
        assert torch.equal(these, those)


def test_what_resides_is_read_from_the_store_no_more(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ClipDataset(reader, CHOSEN)
    dataset.reside(CPU)
    monkeypatch.setattr(dataset, "_reader", None)
    assert dataset.crop(np.array([1, 2]), T, rng()).shape == (2, T, LONG.n_mels)


@pytest.mark.parametrize("recipe", [QUICK, Recipe(**{**QUICK_BEST, "epochs": 2})], ids=["windows", "whole clips"])
def test_a_fold_is_the_same_wherever_its_frames_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    made = []
    monkeypatch.setattr("train.crops.ResidentFrames", lambda *given: made.append(given) or ResidentFrames(*given))
    monkeypatch.setattr("train.dataset.ResidentFrames", lambda *given: made.append(given) or ResidentFrames(*given))
    mapped, resident = (
        jobs_of(tmp_path / str(kept), mode=HEAD, recipe=recipe, folds=[0], resident=kept)[0] for kept in (False, True)
    )
    train_fold(mapped)
    assert not made
    train_fold(resident)
    assert len(made) == 2  # the training clips, and the held ones
    assert_equal_folds(mapped, resident)


def test_bytes_are_those_of_the_chosen_clips(reader: StoreReader) -> None:
    expected = sum(reader[clip].nbytes for clip in CHOSEN)
    assert frames_bytes(reader, np.array(CHOSEN)) == expected
    assert ClipDataset(reader, CHOSEN).n_bytes == expected
    assert WindowDataset(reader, CHOSEN, window_frames=T, overlap=0.1).n_bytes == expected
    assert ResidentFrames(reader, np.array(CHOSEN), CPU)._frames.nbytes == expected


@pytest.mark.parametrize(("n_bytes", "fits"), [(500, True), (501, False)])
def test_a_gpu_takes_what_fits_into_half_of_its_free_memory(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int, fits: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (1000, 9000))
    assert fits_gpu(n_bytes, GPU) is fits


def test_the_cpu_reads_the_map() -> None:
    assert not fits_gpu(1, CPU)
