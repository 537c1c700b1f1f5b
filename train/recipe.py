"""Recipes: the settings of a training.

``notebook``
    daisukelab's Kaggle notebook, with these mends: an epoch draws as many windows as the training folds hold, classes
    in equal shares, instead of enlarging the small classes with copies; erasing comes after normalisation in both
    views; windows cover the whole clip, its tail included; scores are a clip's, from the last epoch.
``baseline``
    The DCASE 2018 baseline: its network on its own features (``--mode dcase``), windows of a quarter of a second,
    nothing mixed or balanced, the arithmetic mean over a clip's windows.
``best``
    The default: a fully-convolutional network that begins with weights trained on synthetic sounds, on crops of random
    length, one cycle of the learning rate, averaged weights, whole clips at inference, and wrong labels reckoned with.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from cache.errors import InputError
from train.models import Normalisation
from train.networks import NETWORKS

Schedule = Literal["constant", "one-cycle"]
WindowMean = Literal["geometric", "arithmetic"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training; the values by default are the notebook's.

    Parameters
    ----------
    name : str
    network : str
        One of ``train.networks.NETWORKS``.
    pretrained : bool
        Begin with convolutions that were trained on synthetic sounds, for modes that have such; see
        ``train.pretrained``. For the fully-convolutional network.
    normalisation : str
        One of ``train.models.Normalisation``, or "by-mode": LH's windows by themselves, X's by the training windows.
    epochs : int > 0
    batch_size : int > 0
        Windows a step; each is mixed from two that are drawn.
    balanced : bool
        Draw classes in equal shares; else every window once an epoch.
    balanced_groups : bool
        Draw the groups of a class, such as its recorders, by the root of how many clips they have, where the corpus
        has groups and all labels are trusted: a wrong label is often alone with its recorder in its class.
    learning_rate : float > 0
        The largest.
    schedule : "constant" or "one-cycle"
        One cycle (Smith & Topin, 2018, arXiv:1708.07120): a linear rise over a tenth of the steps, then half a cosine
        down to 0.
    weight_decay : float >= 0
        AdamW's; 0 makes it Adam. Biases and batch normalisation do not decay.
    clip_norm : float >= 0
        Longer gradients are shortened to this length; 0 leaves them.
    average_decay : float in [0, 1)
        Of the moving average of the weights that becomes the network; 0 keeps the last weights.
    mixup_alpha : float >= 0
        Shares are drawn from Beta(alpha, alpha), per window; 0 mixes nothing.
    unmixed_share : float in [0, 1]
        Share of the epochs, the last ones, that do not mix.
    reverberate_probability : float in [0, 1]
        Share of the windows that are put into a room.
    max_shift : float in [0, 1]
        Largest shift in time, as a share of the window.
    flip : bool
        Reverse half of the windows in time.
    erase_probability : float in [0, 1]
    max_band_shift : float in [0, 1]
        Largest shift in frequency, as a share of the bands.
    equaliser_std : float >= 0
        Standard deviation of the random curve over the bands that is added, in units of the normalised window.
    mask_bands, mask_frames : float in [0, 1]
        Widest band and longest stretch that are masked, two of each, as shares of the window; 0 masks nothing.
    whole_clips : bool
        Train on random crops of the clips without their padding, and score whole clips; else both on windows.
    shortest_crop, longest_crop : float > 0
        In windows; each batch draws its length between them.
    window_overlap : float in [0, 1)
        Windows of a long clip share this part of their length.
    window_mean : "geometric" or "arithmetic"
        How the probabilities of a clip's windows are joined.
    restore_prior : bool
        Multiply probabilities with the classes' shares, which equal shares in training have removed.
    unverified_weight : float in [0, 1]
        Weight in the loss of clips whose labels nobody verified.
    first_round : float in [0, 1]
        Share of the epochs that a first training of all folds takes, where labels are unverified: its out-of-fold
        predictions tell which of these the second leaves out. 0 for one training only.

    Raises
    ------
    InputError
        If a setting breaks its rule.
    """

    name: str
    network: str = "alexnet-like"
    pretrained: bool = False
    normalisation: Normalisation | Literal["by-mode"] = "by-mode"
    epochs: int = 200
    batch_size: int = 32
    balanced: bool = True
    balanced_groups: bool = False
    learning_rate: float = 1e-4
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    average_decay: float = 0.0
    mixup_alpha: float = 1.0
    unmixed_share: float = 0.0
    reverberate_probability: float = 0.0
    max_shift: float = 0.4
    flip: bool = True
    erase_probability: float = 0.5
    max_band_shift: float = 0.0
    equaliser_std: float = 0.0
    mask_bands: float = 0.0
    mask_frames: float = 0.0
    whole_clips: bool = False
    shortest_crop: float = 1.0
    longest_crop: float = 1.0
    window_overlap: float = 0.1
    window_mean: WindowMean = "geometric"
    restore_prior: bool = False
    unverified_weight: float = 1.0
    first_round: float = 0.0

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size", "learning_rate", "shortest_crop", "longest_crop"):
            if not 0 < getattr(self, field) < math.inf:
                self._refuse(field, "must be above 0")
        for field in ("weight_decay", "clip_norm", "mixup_alpha", "equaliser_std"):
            if not 0 <= getattr(self, field) < math.inf:
                self._refuse(field, "must be 0 or more")
        for field in _SHARES:
            if not 0 <= getattr(self, field) <= 1:
                self._refuse(field, "must be from 0 to 1")
        for field in ("window_overlap", "average_decay"):
            if not 0 <= getattr(self, field) < 1:
                self._refuse(field, "must be from 0 to below 1")
        if self.longest_crop < self.shortest_crop:
            self._refuse("longest_crop", f"must be at least shortest_crop ({self.shortest_crop})")
        if self.pretrained and self.network != "fully-convolutional":
            self._refuse("pretrained", f"must be false for the network {self.network}")
        for field, values in _CHOICES.items():
            if getattr(self, field) not in values:
                self._refuse(field, f"must be one of {', '.join(values)}")

    def _refuse(self, field: str, rule: str) -> None:
        message = f"recipe {self.name!r}: {field} {rule}; got {getattr(self, field)!r}"
        raise InputError(message)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return dataclasses.asdict(self)

    def for_first_round(self) -> Self:
        """Return the recipe of the first of two trainings: as long as ``first_round`` says."""
        return dataclasses.replace(self, epochs=max(1, round(self.first_round * self.epochs)), first_round=0.0)

    def with_label_noise(self, reckoned: bool) -> Self:
        """Return the recipe with all that reckons with wrong labels, as "best" has it, or with none of it."""
        source = RECIPES["best" if reckoned else "notebook"]
        return dataclasses.replace(self, **{field: getattr(source, field) for field in _LABEL_NOISE})

    def network_settings(self, *, n_mels: int, n_frames: int, n_classes: int, head_only: bool) -> dict[str, Any]:
        """Return what ``train.networks.build_network`` takes.

        Parameters
        ----------
        n_mels, n_frames : int
            Size of a window.
        n_classes : int
        head_only : bool
            The mode keeps only the first window of a clip, as LH does.
        """
        normalisation = self.normalisation
        if normalisation == "by-mode":
            normalisation = "samplewise" if head_only else "featurewise"
        settings = {
            "network": self.network,
            "n_mels": n_mels,
            "n_classes": n_classes,
            "normalisation": normalisation,
        }
        return settings if self.whole_clips else {**settings, "n_frames": n_frames}


_SHARES = (
    "unmixed_share",
    "reverberate_probability",
    "max_shift",
    "erase_probability",
    "max_band_shift",
    "mask_bands",
    "mask_frames",
    "unverified_weight",
    "first_round",
)
_LABEL_NOISE = ("unverified_weight", "first_round")
_CHOICES = {
    "network": NETWORKS,
    "normalisation": (*get_args(Normalisation), "by-mode"),
    "schedule": get_args(Schedule),
    "window_mean": get_args(WindowMean),
}

RECIPES = {
    "notebook": Recipe(name="notebook"),
    "baseline": Recipe(
        name="baseline",
        network="dcase-baseline",
        normalisation="none",
        epochs=5,
        batch_size=64,
        balanced=False,
        mixup_alpha=0.0,
        max_shift=0.0,
        flip=False,
        erase_probability=0.0,
        window_overlap=0.5,
        window_mean="arithmetic",
    ),
    "best": Recipe(
        name="best",
        network="fully-convolutional",
        pretrained=True,
        normalisation="peakwise",
        epochs=60,
        balanced_groups=True,
        learning_rate=3e-3,
        schedule="one-cycle",
        weight_decay=0.02,
        clip_norm=5.0,
        average_decay=0.99,
        unmixed_share=0.1,
        reverberate_probability=0.5,
        max_shift=0.0,
        flip=False,
        erase_probability=0.0,
        max_band_shift=0.03,
        mixup_alpha=0.7,
        equaliser_std=0.1,
        mask_bands=0.15,
        mask_frames=0.2,
        whole_clips=True,
        shortest_crop=0.3,
        restore_prior=True,
        unverified_weight=0.6,
        first_round=0.5,
    ),
}
