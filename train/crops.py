"""Clips without their padding: random crops of any length to train on, and whole clips to score.

Conventions
-----------
A clip's sound reaches from the first frame to the last that is not wholly at the clip's lowest value: short clips were
padded with zeros on both sides, and their frames lie there. Whole clips are read at a few lengths, so that many fit
into one batch: a clip's span is widened into its padding, or its neighbouring frames, up to the next length.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.frames import FrameSource
from train.resident import ResidentFrames, frames_bytes

LENGTH_STEP = 16
"""Lengths of crops and of whole clips are multiples of it, in frames: what a network's pooling takes for one step, or
more; and for each new length a processor's library prepares all convolutions anew."""
_SHORTEST = 32
_MOST_FRAMES = 20_000
"""In a batch of whole clips, so that long ones do not need more memory than a batch of windows."""


class ClipDataset:
    """Some clips of a store, each as long as it sounds.

    Parameters
    ----------
    reader : FrameSource
    clips : sequence of int
        Indices into the reader; the dataset's own clip numbers count along this list.

    Attributes
    ----------
    first, stop : ndarray [shape=(len(self),), int64]
        Where each clip's sound begins and ends, in frames.
    clip : ndarray [shape=(len(self),), int64]
        Clip numbers, in order: there is one row a clip.
    n_clips : int
    """

    def __init__(self, reader: FrameSource, clips: Sequence[int]) -> None:
        self._reader = reader
        self._rows = np.asarray(clips, np.int64)
        self._n_frames = np.asarray(reader.n_frames[self._rows], np.int64)
        self.n_clips = len(self._rows)
        self.clip = np.arange(self.n_clips)
        self._resident: ResidentFrames | None = None
        self.first, self.stop = np.zeros(self.n_clips, np.int64), self._n_frames.copy()
        for clip, row in enumerate(self._rows.tolist()):
            self.first[clip], self.stop[clip] = sound_span(reader[row])

    def __len__(self) -> int:
        return self.n_clips

    @property
    def n_bytes(self) -> int:
        """What the clips' frames take."""
        return frames_bytes(self._reader, self._rows)

    def reside(self, device: torch.device) -> None:
        """Copy the clips to a device; what is read from now on lies there."""
        self._resident = ResidentFrames(self._reader, self._rows, device)

    def crop(self, clips: NDArray[np.int64], n_frames: int, rng: np.random.Generator) -> Tensor:
        """Cut one piece at random out of each clip: of its sound, or around it where the sound is shorter.

        Parameters
        ----------
        clips : ndarray [shape=(B,), int64]
        n_frames : int > 0
            Length of the pieces; less where the shortest of these clips holds fewer.
        rng : Generator

        Returns
        -------
        Tensor [shape=(B, n_frames, n_mels)]
            In the stored type.
        """
        first, stop, total = (values.take(clips) for values in (self.first, self.stop, self._n_frames))
        n_frames = min(n_frames, int(total.min()))
        short = stop - first <= n_frames
        earliest = np.where(short, np.maximum(stop - n_frames, 0), first)
        latest = np.where(short, np.minimum(first, total - n_frames), stop - n_frames)
        starts = earliest + (rng.random(len(clips)) * (latest - earliest + 1)).astype(np.int64)
        return self._gather(clips, starts, n_frames)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every clip, whole: spectrograms [B, T, M] of one length, and clips [B]; few where they are long."""
        length = -(-np.maximum(self.stop - self.first, _SHORTEST) // LENGTH_STEP) * LENGTH_STEP
        length = np.minimum(length, self._n_frames)
        starts = np.clip((self.first + self.stop - length) // 2, 0, self._n_frames - length)
        for n_frames in np.unique(length).tolist():
            same = np.flatnonzero(length == n_frames)
            at_once = max(1, min(batch_size, _MOST_FRAMES // n_frames))
            for begin in range(0, len(same), at_once):
                clips = same[begin : begin + at_once]
                yield self._gather(clips, starts[clips], n_frames), torch.from_numpy(clips)

    def mean_and_std(self, weights: NDArray[np.float64], *, below_peak: bool = False) -> tuple[float, float]:
        """Return the mean and standard deviation over all sounds, each clip weighed, in one pass.

        Parameters
        ----------
        weights : ndarray [shape=(len(self),)]
            Weight of each clip, such as how often training draws it.
        below_peak : bool
            Of the values relative to each clip's loudest.
        """
        moments = np.zeros(2)
        for clip, weight in enumerate(weights.tolist()):
            sound = self._reader[int(self._rows[clip])][self.first[clip] : self.stop[clip]].astype(np.float64)
            if below_peak:
                sound -= sound.max()
            moments += weight * np.array([sound.mean(), np.square(sound).mean()])
        mean, square = (moments / weights.sum()).tolist()
        return mean, max(square - mean * mean, 0.0) ** 0.5

    def _gather(self, clips: NDArray[np.int64], starts: NDArray[np.int64], n_frames: int) -> Tensor:
        if self._resident:
            return self._resident.windows(clips, starts, n_frames)
        rows = self._rows.take(clips)
        self._reader.check(rows)
        return torch.from_numpy(self._reader.copy_windows(self._reader.place(rows, starts, n_frames), n_frames))


def sound_span(frames: NDArray[np.floating]) -> tuple[int, int]:
    """Return the first frame that holds more than the clip's lowest value, and the one after the last such.

    Parameters
    ----------
    frames : ndarray [shape=(n_frames, n_mels)]

    Returns
    -------
    (int, int)
        All frames for a clip that is the same everywhere.
    """
    sounding = np.flatnonzero((frames > frames.min()).any(axis=1))
    return (int(sounding[0]), int(sounding[-1]) + 1) if len(sounding) else (0, len(frames))
