"""The front-end for recordings of any length: samples in, block by block, and frames out.

Conventions
-----------
Frames are those of ``featurize.logmel.mel_power`` on the whole recording, not trimmed or padded: frame k is centred
at ``k * hop_samples`` of the mode's rate. What is kept between blocks is a frame's worth of samples.
"""

import numpy as np
import soxr
from numpy.typing import NDArray

from cache.errors import InputError
from featurize.audio import Samples
from featurize.logmel import mel_power
from featurize.modes import FeatureMode


class FrameStream:
    """Frames of one mode, as the samples come.

    Parameters
    ----------
    mode : FeatureMode
    sample_rate_hz : int
        Of the samples.
    """

    def __init__(self, mode: FeatureMode, sample_rate_hz: int) -> None:
        self._mode = mode
        same = sample_rate_hz == mode.sample_rate_hz
        self._resampler = (
            None if same else soxr.ResampleStream(sample_rate_hz, mode.sample_rate_hz, 1, quality="soxr_hq")
        )
        # Frames that begin before the first sample see silence there; whole steps, so that frames keep their places.
        self._lead = -(-(mode.n_fft // 2) // mode.hop_samples)
        self._samples: Samples = np.zeros(self._lead * mode.hop_samples, np.float32)

    def push(self, samples: Samples) -> NDArray[np.float64]:
        """Take the samples that follow, and return the frames that can be told now [n, n_mels]: power.

        Raises
        ------
        InputError
            If the samples are so large that they overflow when resampled.
        """
        return self._frames(self._resampled(samples, last=False), last=False)

    def finish(self) -> NDArray[np.float64]:
        """Return the frames that are left [n, n_mels]; nothing can be pushed any more."""
        return self._frames(self._resampled(np.zeros(0, np.float32), last=True), last=True)

    def _resampled(self, samples: Samples, *, last: bool) -> Samples:
        if self._resampler is None:
            return samples
        resampled = np.asarray(self._resampler.resample_chunk(samples, last=last))
        if not np.isfinite(resampled).all():
            message = f"overflows when resampled to {self._mode.sample_rate_hz} Hz: its samples are too large"
            raise InputError(message)
        return resampled

    def _frames(self, samples: Samples, *, last: bool) -> NDArray[np.float64]:
        self._samples = np.concatenate([self._samples, samples])
        hop = self._mode.hop_samples
        # Complete frames, seen from the first that is due, whose centre is ``lead`` steps into what is kept.
        n_frames = (len(self._samples) - self._mode.n_fft // 2) // hop - self._lead + 1
        if last:
            n_frames = (len(self._samples) - self._lead * hop) // hop + 1
        if n_frames <= 0:
            return np.zeros((0, self._mode.n_mels))
        power = mel_power(self._samples, self._mode)[self._lead : self._lead + n_frames]
        self._samples = self._samples[n_frames * hop :].copy()
        return power
