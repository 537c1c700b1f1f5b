from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stores import HEAD, LONG, write_store

from cache import StoreReader
from train.crops import ClipDataset, sound_span

M, FLOOR = HEAD.n_mels, -80.0


def padded(n_frames: int, first: int, stop: int, *, seed: int = 0) -> np.ndarray:
    """Noise from ``first`` to ``stop``, each frame's number in its first band; the floor elsewhere."""
    frames = np.full((n_frames, M), FLOOR, np.float32)
    frames[first:stop] = np.random.default_rng(seed).uniform(-60, -20, (stop - first, M))
    frames[first:stop, 0] = np.arange(first, stop) / 8
    return frames


SPANS = {"short.wav": (189, 80, 100), "long.wav": (600, 5, 590), "full.wav": (200, 0, 200)}


@pytest.fixture
def reader(tmp_path: Path) -> StoreReader:
    return write_store(tmp_path, LONG, {name: padded(*span) for name, span in SPANS.items()})


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_clip_reaches_as_far_as_it_sounds(reader: StoreReader) -> None:
    dataset = ClipDataset(reader, [2, 0, 1])
    assert dataset.first.tolist() == [0, 80, 5]
    assert dataset.stop.tolist() == [200, 100, 590]
    assert len(dataset) == dataset.n_clips == 3
    assert dataset.clip.tolist() == [0, 1, 2]


@given(st.integers(1, 30), st.data())
def test_the_span_is_the_shortest_that_holds_all_sound(n_frames: int, data: st.DataObject) -> None:
    sounding = data.draw(st.lists(st.booleans(), min_size=n_frames, max_size=n_frames))
    frames = np.full((n_frames, 3), FLOOR, np.float16)
    frames[sounding, 1] = -50
    first, stop = sound_span(frames)
    if any(sounding):
        assert sounding[first]
        assert sounding[stop - 1]
        assert sum(sounding) == sum(sounding[first:stop])
    else:
        assert (first, stop) == (0, n_frames)


def test_a_crop_lies_within_the_sound(reader: StoreReader) -> None:
    dataset = ClipDataset(reader, [0, 1, 2])
    crops = dataset.crop(np.full(3000, 1), 50, rng())
    assert crops.shape == (3000, 50, M)
    starts = (crops[:, 0, 0].float() * 8).round().int()
    assert starts.min() == 5
    assert starts.max() == 540  # the end of the clip is reached
    assert torch.equal(crops[:, :, 0].float() * 8, starts[:, None] + torch.arange(50.0))
    assert len(starts.unique()) > 500


def test_a_crop_holds_a_short_sound_whole_wherever_it_lies(reader: StoreReader) -> None:
    crops = ClipDataset(reader, [0, 1, 2]).crop(np.zeros(200, np.int64), 60, rng()).float()
    sounding = (crops > FLOOR).any(dim=2)
    assert (sounding.sum(dim=1) == 20).all()
    places = sounding.int().argmax(dim=1)
    assert places.min() == 0
    assert places.max() == 40


def test_a_crop_at_the_edge_of_a_clip_stays_in_it(reader: StoreReader) -> None:
    crops = ClipDataset(reader, [0, 1, 2]).crop(np.array([2, 0, 2]), 189, rng()).float()
    assert crops.shape == (3, 189, M)  # the short clip has no more
    assert torch.equal(crops[1], torch.from_numpy(padded(*SPANS["short.wav"])).half().float())
    assert ClipDataset(reader, [0, 1, 2]).crop(np.array([2, 0]), 500, rng()).shape == (2, 189, M)


def test_crops_follow_the_generator(reader: StoreReader) -> None:
    dataset = ClipDataset(reader, [0, 1, 2])
    first, again, other = (dataset.crop(np.arange(3), 40, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_whole_clips_are_given_once_with_all_their_sound(reader: StoreReader) -> None:
    dataset = ClipDataset(reader, [1, 0, 2])
    batches = list(dataset.batches(8))
    seen = {
        int(clip): x for spectrograms, clips in batches for x, clip in zip(spectrograms.float(), clips, strict=True)
    }
    assert sum(len(clips) for _, clips in batches) == 3
    assert sorted(seen) == [0, 1, 2]
    assert [len(seen[clip]) for clip in range(3)] == [592, 32, 200]  # multiples of 16, or all there is
    for clip, name in enumerate(("long.wav", "short.wav", "full.wav")):
        _, first, stop = SPANS[name]
        assert int((seen[clip] > FLOOR).any(dim=1).sum()) == stop - first


def test_clips_of_one_length_share_a_batch_and_long_ones_are_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {f"{n}.wav": padded(240, 0, 240 if n < 4 else 33, seed=n) for n in range(9)}
    dataset = ClipDataset(write_store(tmp_path, LONG, frames), range(9))
    monkeypatch.setattr("train.crops._MOST_FRAMES", 480)
    shapes = [tuple(x.shape) for x, _ in dataset.batches(3)]
    assert shapes == [(3, 48, M), (2, 48, M), (2, 240, M), (2, 240, M)]


@pytest.mark.parametrize("below_peak", [False, True])
def test_moments_are_those_of_the_sound(reader: StoreReader, below_peak: bool) -> None:
    dataset, weights = ClipDataset(reader, [0, 1]), np.array([3.0, 1.0])
    sounds = [
        padded(*SPANS[name])[slice(*SPANS[name][1:])].astype(np.float16).astype(float)
        for name in ("short.wav", "long.wav")
    ]
    if below_peak:
        sounds = [sound - sound.max() for sound in sounds]
    mean = np.average([sound.mean() for sound in sounds], weights=weights)
    square = np.average([np.square(sound).mean() for sound in sounds], weights=weights)
    found = dataset.mean_and_std(weights, below_peak=below_peak)
    assert found == pytest.approx((mean, np.sqrt(square - mean**2)), rel=1e-6)
