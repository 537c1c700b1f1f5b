"""Where datasets read frames: a store, or frames that were just computed.

Conventions
-----------
Frames are float16 or float32, ``[n_frames, n_mels]``, all of one type. Places are counted in numbers from the first
frame of the first clip.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class FrameSource(Protocol):
    """What datasets need of a reader; see :class:`cache.StoreReader`."""

    n_mels: int
    dtype: np.dtype[Any]
    n_frames: NDArray[np.int64]
    frames: NDArray[np.floating]

    def __getitem__(self, clip: int, /) -> NDArray[np.floating]:
        """Give the frames of a clip [n_frames, n_mels]."""

    def check(self, clips: NDArray[np.int64]) -> None:
        """Make sure that clips can be read."""

    def place(self, clips: NDArray[np.int64], starts: NDArray[np.int64], n_frames: int, /) -> NDArray[np.int64]:
        """Tell where windows begin in ``frames``."""

    def copy_windows(self, offsets: NDArray[np.int64], n_frames: int) -> NDArray[np.floating]:
        """Copy the windows [n_windows, n_frames, n_mels] that begin there."""


class MemoryFrames:
    """Frames that lie in memory, for the datasets.

    Parameters
    ----------
    clips : sequence of ndarray [shape=(n_frames, n_mels)]
        One or more, of one type and one number of bands.
    """

    def __init__(self, clips: Sequence[NDArray[np.floating]]) -> None:
        self.n_mels: int = clips[0].shape[1]
        self.dtype: np.dtype[Any] = clips[0].dtype
        self.n_frames = np.array([len(frames) for frames in clips], np.int64)
        self._clips = list(clips)
        self._first = (np.cumsum(self.n_frames) - self.n_frames) * self.n_mels
        self.frames: NDArray[np.floating] = np.concatenate([frames.ravel() for frames in clips])

    def __getitem__(self, clip: int, /) -> NDArray[np.floating]:
        """Give the frames of a clip [n_frames, n_mels]."""
        return self._clips[clip]

    def check(self, clips: NDArray[np.int64]) -> None:
        """Do nothing: what is in memory was just made."""

    def place(self, clips: NDArray[np.int64], starts: NDArray[np.int64], _n_frames: int, /) -> NDArray[np.int64]:
        """Tell where windows begin in ``frames``."""
        return np.asarray(self._first.take(clips) + starts * self.n_mels)

    def copy_windows(self, offsets: NDArray[np.int64], n_frames: int) -> NDArray[np.floating]:
        """Copy the windows [n_windows, n_frames, n_mels] that begin there."""
        runs = np.lib.stride_tricks.sliding_window_view(self.frames, n_frames * self.n_mels)
        return runs[offsets].reshape(-1, n_frames, self.n_mels)
