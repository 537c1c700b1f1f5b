import numpy as np
import pytest
import torch
from stores import LONG, T, make_clips, store_of

from cache import StoreReader
from train.dataset import open_clips
from train.frames import MemoryFrames


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> StoreReader:
    return store_of(tmp_path_factory.mktemp("long"), make_clips(2), LONG)


@pytest.mark.parametrize("whole", [True, False])
def test_datasets_read_memory_as_they_read_a_store(reader: StoreReader, whole: bool) -> None:
    memory = MemoryFrames(list(reader))
    assert (memory.n_mels, memory.dtype) == (reader.n_mels, reader.dtype)
    datasets = [open_clips(source, [3, 0, 5], whole=whole, window_frames=T, overlap=0.5) for source in (reader, memory)]
    for (windows, clips), (others, those) in zip(*(dataset.batches(4) for dataset in datasets), strict=True):
        assert windows.dtype == others.dtype
        assert torch.equal(windows, others)
        assert torch.equal(clips, those)


def test_a_window_begins_where_it_is_asked_for() -> None:
    clips = [np.arange(12, dtype=np.float32).reshape(4, 3), 100 + np.arange(9, dtype=np.float32).reshape(3, 3)]
    memory = MemoryFrames(clips)
    windows = memory.copy_windows(memory.place(np.array([1, 0]), np.array([1, 2]), 2), 2)
    assert windows.tolist() == [clips[1][1:3].tolist(), clips[0][2:4].tolist()]
