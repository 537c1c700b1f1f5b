"""What each stage of ``cli run`` is going to take, as rows of one table.

Conventions
-----------
Seconds of the clock and bytes on disk. Rates that are constants here were measured on two cores of an AMD EPYC; they
are of stages that take seconds or a few minutes at any size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from featurize.modes import FeatureMode

REPORT_SECONDS, PICTURE_SECONDS = 1.5, 0.006
_PREDICT_SECONDS = 1.0  # to begin
_LOAD_SECONDS = 0.05  # a network
_ROW_BYTES = 45  # of a submission
_PAGE_BYTES, _CLIP_BYTES, _PICTURE_BYTES = 150_000, 150, 14_000
_SOUND_BYTES_PER_SECOND = 88_200  # 16 bit, 44.1 kHz, one channel
_BASE64 = 4 / 3


@dataclass(frozen=True)
class Stage:
    """A stage of a run.

    Attributes
    ----------
    name : str
    what : str
        What it has to do, in a few words.
    seconds : float
    n_bytes : int
    """

    name: str
    what: str
    seconds: float = 0.0
    n_bytes: int = 0


def network_seconds(modes: Sequence[FeatureMode], clip_seconds: Sequence[float], rates: Mapping[str, float]) -> float:
    """Return what it takes to predict clips with one network of each mode, in one process and one thread.

    Parameters
    ----------
    modes : sequence of FeatureMode
    clip_seconds : sequence of float
        Length of each clip.
    rates : mapping of {str: float}
        Mode → seconds to score a stored frame.
    """
    frames = {mode.name: sum(map(mode.n_frames, clip_seconds)) for mode in modes}
    return sum(_LOAD_SECONDS + rates.get(name, 0.0) * count for name, count in frames.items())


def predict_stage(n_clips: int, *, n_networks: int, seconds: float) -> Stage:
    """Return the stage of predicting.

    Parameters
    ----------
    n_clips, n_networks : int
    seconds : float
        Of the networks, as from `network_seconds`.
    """
    return Stage(
        "predict", f"{n_clips:,} clips by {n_networks} networks", _PREDICT_SECONDS + seconds, _ROW_BYTES * n_clips
    )


def report_stage(n_clips: int, *, pictured: int, mean_seconds: float, sound_bytes: int) -> Stage:
    """Return the stage of the report.

    Parameters
    ----------
    n_clips : int
        Of the corpus.
    pictured : int
        At most so many get pictures and players.
    mean_seconds : float
        Length of a clip.
    sound_bytes : int
        At most so much sound is embedded.
    """
    shown = min(n_clips, pictured)
    sounds = min(float(sound_bytes), shown * mean_seconds * _SOUND_BYTES_PER_SECOND)
    n_bytes = _PAGE_BYTES + n_clips * _CLIP_BYTES + shown * _PICTURE_BYTES + _BASE64 * sounds
    return Stage("report", f"{shown} clips with pictures", REPORT_SECONDS + shown * PICTURE_SECONDS, int(n_bytes))


@dataclass(frozen=True, kw_only=True)
class RunForecast:
    """What a run is going to do and to take.

    Attributes
    ----------
    clips : dict of {str: int}
        Of each split.
    hours : float
    classes, folds, epochs, first_round_epochs : int
        What is trained: so many folds of each mode; the epochs of the first round are 0 where there is none.
    run, recipe : str
    modes : list of str
    stages : list of Stage
    training : dict of {str: dict}
        Mode → ``start_seconds`` and ``epoch_seconds`` of a fold; empty where nothing is left to train.
    workers : int
        Folds trained at a time.
    budget_seconds : float or None
    """

    clips: dict[str, int]
    hours: float
    classes: int
    folds: int
    epochs: int
    first_round_epochs: int
    run: str
    recipe: str
    modes: list[str]
    stages: list[Stage]
    training: dict[str, dict[str, float]]
    workers: int
    budget_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def n_bytes(self) -> int:
        """Of all stages."""
        return sum(stage.n_bytes for stage in self.stages)

    def after_training(self) -> float:
        """Return the seconds of the stages after training."""
        names = [stage.name for stage in self.stages]
        return sum(stage.seconds for stage in self.stages[names.index("train") + 1 :])

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        values = asdict(self)
        values["stages"] = [
            {"stage": each.name, "what": each.what, "seconds": round(each.seconds, 1), "bytes": each.n_bytes}
            for each in self.stages
        ]
        return values | {"seconds": round(self.seconds, 1), "bytes": self.n_bytes}
