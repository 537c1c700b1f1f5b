import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stores import HEAD, LONG, T, make_clips, store_of, write_store
from torch.utils.data import DataLoader, default_convert

from cache import StoreReader
from cache.errors import InputError
from train.dataset import WindowDataset, balanced_draw, draw_shares, window_starts


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> StoreReader:
    return store_of(tmp_path_factory.mktemp("long"), make_clips(3), LONG)


@pytest.fixture
def dataset(reader: StoreReader) -> WindowDataset:
    return WindowDataset(reader, [4, 0, 2, 7], window_frames=T, overlap=0.1)


# --- windows of a clip ---------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 500), max_size=5),
    window=st.integers(1, 120),
    overlap=st.sampled_from([0.0, 0.1, 0.5, 0.99]),
)
def test_windows_cover_every_frame_and_stay_inside(lengths: list[int], window: int, overlap: float) -> None:
    n_frames = np.array([max(length, window) for length in lengths], np.int64)
    clip, start = window_starts(n_frames, window_frames=window, overlap=overlap)
    assert np.all(np.diff(clip) >= 0)
    for index, length in enumerate(n_frames.tolist()):
        starts = start[clip == index]
        covered = np.zeros(length, bool)
        for first in starts.tolist():
            assert 0 <= first <= length - window
            covered[first : first + window] = True
        assert covered.all()
        assert starts[0] == 0
        assert starts[-1] == length - window
        steps = np.diff(starts)
        assert np.all(steps[:-1] == max(1, int(window * (1 - overlap))))
        assert np.all(steps > 0)


@pytest.mark.parametrize(
    ("n_frames", "starts"),
    [(301, [0]), (302, [0, 1]), (539, [0, 238]), (571, [0, 270]), (572, [0, 270, 271]), (841, [0, 270, 540])],
)
def test_windows_of_x_step_by_nine_tenths_and_end_with_the_clip(n_frames: int, starts: list[int]) -> None:
    clip, start = window_starts(np.array([n_frames]), window_frames=301, overlap=0.1)
    assert start.tolist() == starts
    assert not clip.any()


def test_a_clip_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(InputError, match="a window of 10 frames; got 9"):
        window_starts(np.array([20, 9, 10]), window_frames=10, overlap=0.1)


# --- the dataset ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 2])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_windows_are_slices_of_the_stored_clips(reader: StoreReader, dataset: WindowDataset) -> None:
    windows, clips = dataset.__getitems__(range(len(dataset)))
    assert windows.dtype == torch.float16
    assert windows.shape == (len(dataset), T, HEAD.n_mels)
    expected = []
    for index in [4, 0, 2, 7]:
        starts = window_starts(reader.n_frames[[index]], window_frames=T, overlap=0.1)[1]
        expected += [(index, first) for first in starts.tolist()]
    assert len(expected) == len(dataset) > 4
    for window, clip, (index, first) in zip(windows, clips.tolist(), expected, strict=True):
        assert [4, 0, 2, 7][clip] == index
        assert np.array_equal(window.numpy(), reader[index][first : first + T])


def test_one_window_equals_its_row_of_a_batch(dataset: WindowDataset) -> None:
    windows, clips = dataset.__getitems__([3, 1, 3])
    window, clip = dataset[3]
    assert torch.equal(window, windows[0])
    assert torch.equal(windows[0], windows[2])
    assert clip == int(clips[0])
    assert isinstance(clip, int)


def test_batches_give_every_window_once_and_in_order(dataset: WindowDataset) -> None:
    parts = list(dataset.batches(2))
    assert {len(windows) for windows, _ in parts[:-1]} == {2}
    windows, clips = dataset.__getitems__(range(len(dataset)))
    assert torch.equal(torch.cat([part[0] for part in parts]), windows)
    assert torch.equal(torch.cat([part[1] for part in parts]), clips)


def test_a_dataset_of_no_clips_is_empty(reader: StoreReader) -> None:
    dataset = WindowDataset(reader, [], window_frames=T, overlap=0.1)
    assert len(dataset) == dataset.n_clips == 0
    assert list(dataset.batches(2)) == []


def test_a_dataset_travels_without_its_frames(dataset: WindowDataset) -> None:
    data = pickle.dumps(dataset)
    assert len(data) < 700  # a window alone has 12 kB
    copy = pickle.loads(data)
    assert torch.equal(copy.__getitems__([0, 5])[0], dataset.__getitems__([0, 5])[0])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_workers_give_what_one_process_gives(dataset: WindowDataset, method: str) -> None:
    dataset[0]  # the parent has its map already
    loader = DataLoader(
        dataset, batch_size=3, num_workers=2, collate_fn=default_convert, multiprocessing_context=method
    )
    got = list(loader)
    expected = list(dataset.batches(3))
    assert len(got) == len(expected)
    for (windows, clips), (wanted_windows, wanted_clips) in zip(got, expected, strict=True):
        assert torch.equal(windows, wanted_windows)
        assert torch.equal(clips, wanted_clips)


def test_mean_and_std_equal_numpys_over_the_windows_as_they_are_drawn(dataset: WindowDataset) -> None:
    times = np.arange(1, len(dataset) + 1)
    windows = dataset.__getitems__(range(len(dataset)))[0].double().numpy()
    drawn = np.repeat(windows, times, axis=0)
    mean, std = dataset.mean_and_std(times.astype(float))
    assert mean == pytest.approx(drawn.mean(), abs=1e-9)
    assert std == pytest.approx(drawn.std(), abs=1e-9)


def test_std_of_a_constant_store_is_zero(tmp_path: Path) -> None:
    reader = write_store(tmp_path, HEAD, {"a.wav": np.full((T, HEAD.n_mels), -80.1)})
    dataset = WindowDataset(reader, [0], window_frames=T, overlap=0.1)
    mean, std = dataset.mean_and_std(np.ones(1))
    assert mean == pytest.approx(np.float16(-80.1))
    assert std == pytest.approx(0, abs=1e-4)


# --- drawing -------------------------------------------------------------------------------------------------------


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    n_draws=st.integers(1, 200),
    seed=st.integers(0, 2**32 - 1),
)
def test_classes_are_drawn_in_equal_shares(labels: list[int], n_draws: int, seed: int) -> None:
    array = np.array(labels, np.int64)
    drawn = balanced_draw(array, n_draws, np.random.default_rng(seed))
    assert drawn.shape == (n_draws,)
    counts = np.bincount(array[drawn], minlength=7)[np.unique(array)]
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(drawn, balanced_draw(array, n_draws, np.random.default_rng(seed)))


def test_groups_of_a_class_are_drawn_by_the_root_of_their_windows() -> None:
    labels = np.array([1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    groups = np.array([7, 7, 7, 7, 7, 3, 3, 3, 3, 3, 9])  # a group may have clips of several classes
    drawn = balanced_draw(labels, 24_000, np.random.default_rng(5), groups=groups)
    expected = [3000, 2000, 2000, 2000, 2000, 4000, 1500, 1500, 1500, 1500, 3000]
    assert np.bincount(drawn, minlength=11) == pytest.approx(np.array(expected), abs=320)  # five standard deviations
    assert draw_shares(labels, groups) == pytest.approx(np.array(expected) / 12_000)
    assert draw_shares(labels) == pytest.approx(np.where(labels, 1 / 6, 1 / 5))


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    n_draws=st.integers(1, 200),
    n_groups=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_classes_are_drawn_in_equal_shares_whatever_their_groups(
    labels: list[int], n_draws: int, n_groups: int, seed: int
) -> None:
    array, rng = np.array(labels, np.int64), np.random.default_rng(seed)
    groups = rng.integers(0, n_groups, len(array))
    counts = np.bincount(array[balanced_draw(array, n_draws, rng, groups=groups)], minlength=7)[np.unique(array)]
    assert counts.max() - counts.min() <= 1
    shares = draw_shares(array, groups)
    assert np.bincount(array, weights=shares)[np.unique(array)] == pytest.approx(1)


def test_a_draw_at_the_very_end_of_a_class_is_of_it() -> None:
    class Last:
        random = staticmethod(lambda n: np.full(n, 1 - 2.0**-53))
        permuted = staticmethod(lambda x, **_: x)
        permutation = staticmethod(lambda x: x)

    drawn = balanced_draw(np.arange(50) // 2, 50, Last())
    assert drawn.tolist() == [2 * (n % 25) + 1 for n in range(50)]


def test_windows_of_a_class_are_drawn_alike_and_in_random_order() -> None:
    labels = np.array([0] * 10 + [1])
    drawn = balanced_draw(labels, 20_000, np.random.default_rng(3))
    counts = np.bincount(drawn, minlength=11)
    assert counts[10] == 10_000
    assert counts[:10] == pytest.approx(np.full(10, 1000), abs=150)  # five standard deviations
    assert abs(np.corrcoef(labels[drawn][:-1], labels[drawn][1:])[0, 1]) < 0.05
