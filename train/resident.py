"""Frames of some clips in a device's own memory, so that no step waits for a copy to it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.frames import FrameSource

_SHARE_OF_FREE_MEMORY = 0.5
"""What frames may take of a GPU's free memory: the rest is the network's."""


def frames_bytes(reader: FrameSource, rows: NDArray[np.int64]) -> int:
    """Return what the frames of some clips take."""
    n_frames = int(np.asarray(reader.n_frames)[rows].sum())
    return n_frames * reader.n_mels * int(reader.dtype.itemsize)


def fits_gpu(n_bytes: int, device: torch.device) -> bool:
    """Tell whether a device is a GPU with memory of its own that has room for so many bytes of frames."""
    return device.type == "cuda" and n_bytes <= _SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(device)[0]


class ResidentFrames:
    """The frames of some clips, copied to a device once; windows are gathered there.

    Parameters
    ----------
    reader : FrameSource
    rows : ndarray [shape=(n_clips,), int64]
        Indices into the reader.
    device : torch.device
    """

    def __init__(self, reader: FrameSource, rows: NDArray[np.int64], device: torch.device) -> None:
        n_frames = np.asarray(reader.n_frames[rows], np.int64)
        self._first = np.cumsum(n_frames) - n_frames
        dtype = torch.from_numpy(np.empty(0, reader.dtype)).dtype
        self._frames = torch.empty((int(n_frames.sum()), reader.n_mels), dtype=dtype, device=device)
        # Clip by clip, so that neither machine nor device ever holds a second copy of them.
        for row, first, length in zip(rows.tolist(), self._first.tolist(), n_frames.tolist(), strict=True):
            self._frames[first : first + length] = torch.from_numpy(np.array(reader[row]))

    def windows(self, clips: NDArray[np.int64], starts: NDArray[np.int64], n_frames: int) -> Tensor:
        """Gather windows.

        Parameters
        ----------
        clips, starts : ndarray [shape=(B,), int64]
            Clips, as ``rows`` counts them, and each window's first frame.
        n_frames : int > 0

        Returns
        -------
        Tensor [shape=(B, n_frames, n_mels)]
            On the device, in the stored type.
        """
        first = torch.from_numpy(self._first.take(clips) + starts).to(self._frames.device)
        return self._frames[first[:, None] + torch.arange(n_frames, device=first.device)]
