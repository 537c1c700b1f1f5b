"""Augmentation on whole batches, on the training device.

Conventions
-----------
``x`` is a batch of windows ``[B, T, M]``, normalised unless a function says otherwise; every draw comes from the
generator that is given, so that an epoch is a function of its seed. Which of them a training uses, and with what
values: see ``train.recipe``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mixup(x: Tensor, other: Tensor, *, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mix two batches, window by window, with shares from Beta(alpha, alpha) (Zhang et al., 2018, arXiv:1710.09412).

    Parameters
    ----------
    x, other : Tensor [shape=(B, T, M)]
    alpha : float > 0

    Returns
    -------
    x : Tensor [shape=(B, T, M)]
    share : Tensor [shape=(B,)]
        How much of each window comes from the first batch.
    """
    # Beta(a, a) as a ratio of two gamma variates: torch's Beta takes no generator.
    gamma = torch._standard_gamma(torch.full((2, len(x)), alpha), generator)
    # Both variates of a small alpha can be 0.
    share = torch.where(gamma.sum(dim=0) > 0, gamma[0] / gamma.sum(dim=0), 0.5).to(x.device)
    return torch.lerp(other, x, share[:, None, None]), share


def shift_bands(x: Tensor, *, most: float, generator: torch.Generator) -> Tensor:
    """Move each window up or down by up to ``most`` of its bands: a sound of another pitch.

    What comes in from outside repeats the edge band.
    """
    n_windows, n_frames, n_mels = x.shape
    limit = round(most * n_mels)
    shift = torch.randint(-limit, limit + 1, (n_windows, 1), generator=generator)
    band = (torch.arange(n_mels)[None, :] + shift).clamp_(0, n_mels - 1)
    return x.gather(2, band.to(x.device)[:, None, :].expand(n_windows, n_frames, n_mels))


_EQUALISER_POINTS = 5


def equalise(x: Tensor, *, std: float, generator: torch.Generator) -> Tensor:
    """Add to each window a smooth curve over its bands: a sound of another microphone or room.

    The curve is straight between five points whose heights are normal, of this standard deviation.
    """
    n_windows, _, n_mels = x.shape
    points = torch.randn(n_windows, 1, _EQUALISER_POINTS, generator=generator) * std
    curve = F.interpolate(points, size=n_mels, mode="linear", align_corners=True)
    return x + curve.to(x.device)


def mask(x: Tensor, *, bands: float, frames: float, generator: torch.Generator) -> Tensor:
    """Overwrite two bands and two stretches of each window with 0 (Park et al., 2019, "SpecAugment", arXiv:1904.08779).

    Parameters
    ----------
    x : Tensor [shape=(B, T, M)]
        Normalised, so that 0 is the mean.
    bands, frames : float in [0, 1]
        The widest, as shares of the window; widths and places are drawn for each window.
    """
    n_windows, n_frames, n_mels = x.shape
    width, place = torch.rand(2, 4, n_windows, 1, generator=generator)
    in_bands, in_frames = (
        _stretch(width[nth] * widest, place[nth], size) | _stretch(width[nth + 1] * widest, place[nth + 1], size)
        for nth, widest, size in ((0, bands, n_mels), (2, frames, n_frames))
    )
    kept = (~in_bands[:, None, :]).to(x.device, x.dtype), (~in_frames[:, :, None]).to(x.device, x.dtype)
    return (x * kept[0]).mul_(kept[1])  # two passes over the values; a mask of their number would take three times that


def _stretch(width: Tensor, place: Tensor, size: int) -> Tensor:
    """Mark a stretch of ``width`` [B, 1], a share of ``size``, at ``place``, a share of what is left: [B, size]."""
    length = (width * size).round().long()
    return _span((place * (size - length + 1)).long(), length, size)


_FALL_DB_PER_SECOND = 16.0, 160.0  # 60 dB in 3.8 s, a church, to 0.4 s, a furnished room
_WET_DB = -30.0, -6.0


def reverberate(
    x: Tensor, *, probability: float, per_db: float, frame_seconds: float, generator: torch.Generator
) -> Tensor:
    """Let what sounds in some windows die away in a room: each band falls no faster than the room lets it.

    A room's energy decays exponentially (Sabine), in decibels a straight line: after a value ``v`` dB a band is never
    below ``v + wet - fall * seconds``. How fast it falls is drawn for each window, log-uniform, and how much lower the
    room is than the sound, uniform.

    Parameters
    ----------
    x : Tensor [shape=(B, T, M)]
        As stored, before it is normalised; overwritten.
    probability : float in [0, 1]
    per_db : float > 0
        How much a stored value grows for 1 dB.
    frame_seconds : float > 0
        From frame to frame.
    """
    drawn, rate, level = torch.rand(3, len(x), generator=generator)
    rows = torch.nonzero(drawn < probability).flatten()
    least, most = _FALL_DB_PER_SECOND
    fall = least * (most / least) ** rate[rows] * frame_seconds * per_db
    wet = (_WET_DB[0] + (_WET_DB[1] - _WET_DB[0]) * level[rows]) * per_db
    fall, wet, rows = (each.to(x.device) for each in (fall[:, None], wet[:, None, None], rows))
    dry = x[rows]
    # Frame after frame, each in one piece: a tenth of the time of cummax over frames on a CPU.
    tail = dry.transpose(0, 1).contiguous()
    before, *others = tail.unbind()
    for frame in others:
        before = torch.maximum(frame, before - fall, out=frame)
    return x.index_copy_(0, rows, torch.maximum(dry, tail.transpose(0, 1).add_(wet)))


def shift_and_flip(x: Tensor, *, max_shift: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Move each window in time by up to ``max_shift`` of its length, and reverse half of them in time.

    What comes in from outside repeats the edge frame, as Keras's ``ImageDataGenerator`` does by default.
    """
    n_windows, n_frames, _ = x.shape
    limit = max_shift * n_frames
    shift = ((torch.rand(n_windows, 1, generator=generator) * 2 - 1) * limit).round().long()
    frame = torch.arange(n_frames)[None, :] + shift
    frame.clamp_(0, n_frames - 1)
    if flip:
        reverse = torch.rand(n_windows, 1, generator=generator) < 0.5
        frame = torch.where(reverse, n_frames - 1 - frame, frame)
    window = torch.arange(n_windows, device=x.device)[:, None]
    return x[window, frame.to(x.device)]


_TRIES = 128  # a rectangle fits X windows (301 × 48) with probability 0.07: all tries miss once in 15,000 windows


def erase(x: Tensor, *, probability: float, generator: torch.Generator) -> Tensor:
    """Overwrite a random rectangle of some windows with one random value (Zhong et al., 2017, arXiv:1708.04896).

    Area 2–40 % of the window, aspect 0.3–1/0.3, value -1–1, as in the notebook (yu4u's implementation, which draws
    rectangles until one fits).
    """
    n_windows, n_frames, n_mels = x.shape
    area, aspect, top, left = torch.rand(4, n_windows, _TRIES, generator=generator)
    area = (0.02 + 0.38 * area) * n_frames * n_mels
    aspect = 0.3 + (1 / 0.3 - 0.3) * aspect
    height, width = (area * aspect).sqrt().long(), (area / aspect).sqrt().long()
    top, left = (top * n_mels).long(), (left * n_frames).long()
    fits = (top + height <= n_mels) & (left + width <= n_frames)
    chosen = fits.int().argmax(dim=1, keepdim=True)  # the first that fits

    wanted = torch.rand(n_windows, generator=generator) < probability
    value = torch.rand(n_windows, 1, 1, generator=generator) * 2 - 1
    on_mel = _span(top.gather(1, chosen), height.gather(1, chosen), n_mels)
    on_frame = _span(left.gather(1, chosen), width.gather(1, chosen), n_frames)
    on_frame &= (wanted & fits.any(dim=1))[:, None]
    erased = on_frame.to(x.device)[:, :, None] & on_mel.to(x.device)[:, None, :]
    return torch.where(erased, value.to(x.device, x.dtype), x)


def _span(start: Tensor, length: Tensor, size: int) -> Tensor:
    position = torch.arange(size)[None, :]
    return (position >= start) & (position < start + length)
