"""Datasets: windows of stored clips, gathered a batch at a time.

Conventions
-----------
A window is ``window_frames`` frames of a clip, ``[T, M]``, unit and type as stored. ``__getitems__`` gathers a whole
batch from the memory map in one call. No HDF5 handle and no decoded clip is kept; a dataset pickles in a few hundred
bytes, however many windows it has, for other processes of the same machine.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cache.errors import InputError
from cache.sharing import SharedArrays
from train.crops import ClipDataset
from train.frames import FrameSource
from train.resident import ResidentFrames, frames_bytes


def window_starts(
    n_frames: NDArray[np.int64], *, window_frames: int, overlap: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return of each window its clip and its first frame.

    Windows step by ``(1 - overlap)`` of their length while they fit, then a last one ends with the clip, so that
    every frame is in a window. (The origin lost up to 238 frames at the end of a clip.)

    Parameters
    ----------
    n_frames : ndarray [shape=(n_clips,), int64]
        Frames of each clip, ``window_frames`` or more.
    window_frames : int > 0
    overlap : float in [0, 1)

    Returns
    -------
    clip, start : ndarray [shape=(n_windows,), int64]
        Clip by clip, from 0; starts rise within a clip.

    Raises
    ------
    InputError
        If a clip is shorter than a window.
    """
    last = np.asarray(n_frames, np.int64) - window_frames
    if (last < 0).any():
        message = f"a clip must hold at least a window of {window_frames} frames; got {last.min() + window_frames}"
        raise InputError(message)
    step = max(1, int(window_frames * (1 - overlap)))
    counts = 1 + -(-last // step)  # the first window, and as many steps as reach the last start
    clip = np.repeat(np.arange(len(last)), counts)
    nth = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    return clip, np.minimum(nth * step, last[clip])


class WindowDataset(Dataset[tuple[Tensor, int]]):
    """The windows of some clips of a store.

    What ``__getitems__`` gives is a batch already: a ``DataLoader`` needs ``collate_fn=default_convert`` (of
    ``torch.utils.data``), which leaves it as it is.

    Parameters
    ----------
    reader : FrameSource
    clips : sequence of int
        Indices into the reader; the dataset's own clip numbers count along this list.
    window_frames : int
    overlap : float in [0, 1)

    Attributes
    ----------
    clip : ndarray [shape=(len(self),), int64]
        Of each window: its clip, as an index into ``clips``.
    n_clips : int
    """

    def __init__(self, reader: FrameSource, clips: Sequence[int], *, window_frames: int, overlap: float) -> None:
        rows = np.asarray(clips, np.int64)
        clip, start = window_starts(reader.n_frames[rows], window_frames=window_frames, overlap=overlap)
        offset = reader.place(rows[clip], start, window_frames)
        columns = SharedArrays({"clip": clip, "row": rows[clip], "offset": offset})
        self._attach(reader, columns, window_frames, len(rows))

    def _attach(self, reader: FrameSource, columns: SharedArrays, window_frames: int, n_clips: int) -> None:
        self._reader = reader
        self._columns = columns
        self._window_frames = window_frames
        self.n_clips = n_clips
        self.clip: NDArray[np.int64] = columns["clip"]
        self._row: NDArray[np.int64] = columns["row"]
        self._offset: NDArray[np.int64] = columns["offset"]
        self._resident: ResidentFrames | None = None

    def __getstate__(self) -> tuple[FrameSource, SharedArrays, int, int]:
        return self._reader, self._columns, self._window_frames, self.n_clips

    def __setstate__(self, state: tuple[FrameSource, SharedArrays, int, int]) -> None:
        self._attach(*state)

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def n_bytes(self) -> int:
        """What the clips' frames take."""
        return frames_bytes(self._reader, self._rows())

    def reside(self, device: torch.device) -> None:
        """Copy the clips to a device; what is read from now on lies there. Another process reads the map again."""
        self._resident = ResidentFrames(self._reader, self._rows(), device)

    def _rows(self) -> NDArray[np.int64]:
        """Give each clip's index into the reader."""
        rows = np.empty(self.n_clips, np.int64)
        rows[self.clip] = self._row
        return rows

    @cached_property
    def _start(self) -> NDArray[np.int64]:
        """Each window's first frame."""
        first = self._reader.place(self._row, np.zeros_like(self._row), self._window_frames)
        return (self._offset - first) // self._reader.n_mels

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one window [T, M] and its clip."""
        windows, clips = self.__getitems__([index])
        return windows[0], int(clips[0])

    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Gather windows [B, T, M] in the stored type, and their clips [B]."""
        chosen = np.asarray(indices, np.int64)
        if self._resident:
            clips = self.clip.take(chosen)
            return self._resident.windows(clips, self._start.take(chosen), self._window_frames), torch.from_numpy(clips)
        self._reader.check(self._row.take(chosen))
        offsets, length = self._offset.take(chosen), self._window_frames
        if torch.get_num_threads() == 1 or not len(chosen):
            windows = torch.from_numpy(self._reader.copy_windows(offsets, length))
        else:  # NumPy copies in one thread, faster than torch does in one
            windows = torch.index_select(self._runs, 0, torch.from_numpy(offsets))
        return windows, torch.from_numpy(self.clip.take(chosen))

    @cached_property
    def _runs(self) -> Tensor:
        """Every window that fits into the reader's frames, wherever it begins, [n, T, M]; read-only."""
        with warnings.catch_warnings():  # torch knows no array that cannot be written to
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            frames = torch.from_numpy(self._reader.frames)
        length, n_mels = self._window_frames, self._reader.n_mels
        return frames.as_strided((len(frames) - length * n_mels + 1, length, n_mels), (1, n_mels, 1))

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all windows in order, in batches."""
        for first in range(0, len(self), batch_size):
            yield self.__getitems__(np.arange(first, min(first + batch_size, len(self))))

    def mean_and_std(self, weights: NDArray[np.float64], *, below_peak: bool = False) -> tuple[float, float]:
        """Return the mean and standard deviation over all windows, each weighed, in one pass and flat memory.

        Parameters
        ----------
        weights : ndarray [shape=(len(self),)]
            Weight of each window, such as how often training draws it.
        below_peak : bool
            Of the values relative to each window's loudest.
        """
        total = square = 0.0
        for first in range(0, len(self), 64):
            windows = self.__getitems__(np.arange(first, min(first + 64, len(self))))[0].double()
            if below_peak:
                windows -= windows.amax(dim=(1, 2), keepdim=True)
            share = torch.from_numpy(weights[first : first + len(windows)])
            total += float((windows.mean(dim=(1, 2)) * share).sum())
            square += float((windows.square().mean(dim=(1, 2)) * share).sum())
        mean = total / float(weights.sum())
        return mean, max(square / float(weights.sum()) - mean * mean, 0.0) ** 0.5


Clips = WindowDataset | ClipDataset
"""Some clips of a store, as windows or whole: both count clips in ``n_clips`` and ``clip`` and give ``batches``."""


def open_clips(reader: FrameSource, clips: Sequence[int], *, whole: bool, window_frames: int, overlap: float) -> Clips:
    """Return some clips as a recipe takes them: whole, or in windows.

    Parameters
    ----------
    reader : FrameSource
    clips : sequence of int
        Indices into the reader.
    whole : bool
    window_frames, overlap
        Of the windows; see :class:`WindowDataset`.
    """
    if whole:
        return ClipDataset(reader, clips)
    return WindowDataset(reader, clips, window_frames=window_frames, overlap=overlap)


def draw_shares(labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Return the share of each window in the draws of its class.

    Windows of a class share alike; where they have groups, a group shares as the root of its number of windows. That
    is between windows alike, by which one recorder may be most of a class, and groups alike, by which one clip may
    weigh as much as a hundred.

    Parameters
    ----------
    labels : ndarray [shape=(n,), int64]
        Class of each window.
    groups : ndarray [shape=(n,), int64 >= 0], optional
        Group of each window, such as its recorder; it may hold several classes.

    Returns
    -------
    ndarray [shape=(n,), float64]
        The shares of a class sum to 1.
    """
    _, of_class = np.unique(labels, return_inverse=True)
    weights = np.ones(len(labels))
    if groups is not None:
        pairs = of_class * (int(groups.max(initial=0)) + 1) + groups
        _, of_pair, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        weights = counts[of_pair] ** -0.5
    return np.asarray(weights / np.bincount(of_class, weights=weights)[of_class])


def balanced_draw(
    labels: NDArray[np.int64], n_draws: int, rng: np.random.Generator, *, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Draw windows so that every class gets an equal share and, within it, windows theirs of `draw_shares`.

    Parameters
    ----------
    labels : ndarray [shape=(n,), int64]
        Class of each window.
    n_draws : int
    rng : Generator
    groups : ndarray [shape=(n,), int64 >= 0], optional
        Group of each window.

    Returns
    -------
    ndarray [shape=(n_draws,), int64]
        Window indices in random order; the classes' counts differ by one at most.
    """
    counts = np.unique(labels, return_counts=True)[1]
    last = np.cumsum(counts) - 1
    by_class = np.argsort(labels, kind="stable")
    ends = np.cumsum(draw_shares(labels, groups)[by_class])  # class k lies from k to k + 1 ...
    ends[last] = np.arange(1, len(counts) + 1)  # ... whatever the sum was rounded to
    rounds = -(-n_draws // len(counts))
    drawn = rng.permuted(np.tile(np.arange(len(counts)), (rounds, 1)), axis=1).ravel()[:n_draws]
    chosen = np.searchsorted(ends, drawn + rng.random(n_draws), side="right")
    return rng.permutation(by_class[np.minimum(chosen, last[drawn])])  # as k + 0.999… may be k + 1
