"""Feature modes: the settings of a view of a sound.

Conventions
-----------
A mode turns a mono signal into log-mel frames, time-major: ``[n_frames, n_mels]``, in dB or as natural logarithms.
Frequencies are in Hz, lengths in samples at the mode's own rate. LH and X are those of the origin (daisukelab's Kaggle
notebook): LH is the head of a clip at high resolution, X the whole clip at low resolution. LOG has a logarithmic
frequency axis. DCASE has the features of the competition's baseline. One more mode is one more instance in ``MODES``.

No list of modes changes while the program runs. Modes that a user defines (:mod:`featurize.own_modes`) are handed to
whatever looks modes up by name (``known``); workers and checkpoints get whole modes, never names.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Self

from cache.errors import InputError

FRONT_END_VERSION = 2
"""Raise it when the numbers that the front-end computes from the same settings change."""

Dtype = Literal["float16", "float32"]
Scale = Literal["mel", "htk", "log"]
QUANTITIES = {1: "magnitude", 2: "power"}
"""Exponent of the spectrum's magnitude (``power``) → what it is called."""

# A setting beyond these is a slip of the pen, and would fail much later with an error of memory or arithmetic.
_MOST = {
    "sample_rate_hz": 1_000_000,
    "n_fft": 2**20,
    "hop_samples": 2**20,
    "n_mels": 2**14,
    "window_seconds": 3_600,
}
_MOST_WEIGHTS = 2**24  # of a filter bank, which takes 0.5 GB to build then
_LONGEST_NAME = 40  # the names of folders, runs and files hold it, and a file system takes 255 bytes
# Settings that came later. At these values they are not written, so that what was stored before them keeps its
# fingerprint and its bytes.
_UNWRITTEN = {"win_samples": None, "power": 2, "log_offset": None}
_IMPLIED = {"scale": "mel", **_UNWRITTEN}  # front-end 1 had the mel scale without naming it
_OPTIONAL = ("trim_db", "top_db", "log_offset")


@dataclass(frozen=True, kw_only=True)
class FeatureMode:
    """The settings that decide the numbers of a view; an invalid one cannot exist.

    Parameters
    ----------
    name : str
        Lower-case word of at most 40 letters; the store's folder starts with it.
    sample_rate_hz : int > 0
        The clip is resampled to this rate.
    n_fft, hop_samples, n_mels : int > 0
        Length of a frame (and of its FFT), which is even; step between frames; number of bands, whatever the scale.
        ``n_mels * (n_fft / 2 + 1)``, the weights of the filter bank, are at most 2**24.
    fmin_hz, fmax_hz : float
        Lower edge of the lowest band and upper edge of the highest; ``0 <= fmin_hz < fmax_hz <= sample_rate_hz / 2``.
    scale : "mel", "htk" or "log"
        The frequency scale on which bands are evenly spaced: Slaney's mel scale, HTK's, or the logarithm, which needs a
        ``fmin_hz`` above 0. Bands on the HTK scale have a peak of 1, those on the others unit area; see ``melbank``.
    win_samples : int >= 2, at most n_fft, optional
        Length of the Hann window, which stands in the middle of a frame, with zeros around it; None means ``n_fft``.
    power : 1 or 2
        What bands sum up: the magnitude of the spectrum, or its power. 1 needs a ``log_offset``.
    log_offset : float > 0, optional
        Frames are ``ln(band + log_offset)``; None means dB.
    window_seconds : float > 0
        Length of the window that a network sees. A shorter clip is padded with zeros on both sides to this length.
    head_only : bool
        Keep only the first window of the clip (LH) instead of the whole clip (X).
    trim_db : float > 0, optional
        Leading and trailing frames this far below the loudest one are cut off; None, or infinity, cuts nothing.
    top_db : float > 0, optional
        The spectrogram's range below its maximum; what lies lower is raised to it. None, or infinity, raises nothing,
        and is the only choice with a ``log_offset``.
    dtype : "float16" or "float32"
        Type of the stored numbers.

    Raises
    ------
    InputError
        If a setting breaks its rule.
    """

    name: str
    sample_rate_hz: int
    n_fft: int
    hop_samples: int
    n_mels: int
    fmin_hz: float
    fmax_hz: float
    window_seconds: float
    head_only: bool
    scale: Scale = "mel"
    win_samples: int | None = None
    power: int = 2
    log_offset: float | None = None
    trim_db: float | None = 60.0
    top_db: float | None = 80.0
    dtype: Dtype = "float16"

    def __post_init__(self) -> None:
        for field, kind, rule in (("name", str, "must be a word"), ("head_only", bool, "must be true or false")):
            if not isinstance(getattr(self, field), kind):
                self._refuse(field, rule)
        if not (self.name.isidentifier() and self.name.islower()):
            self._refuse("name", "must be a lower-case word")
        if len(self.name) > _LONGEST_NAME:
            self._refuse("name", f"must be at most {_LONGEST_NAME} letters long")
        for field in ("sample_rate_hz", "n_fft", "hop_samples", "n_mels"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                self._refuse(field, "must be a positive integer")
            self._refuse_excess(field)
        for field in ("trim_db", "top_db"):
            if getattr(self, field) == math.inf:  # the words of a TOML file, which has no null; JSON has no infinity
                object.__setattr__(self, field, None)
        for field in ("fmin_hz", "fmax_hz", "window_seconds", *_OPTIONAL):
            value = getattr(self, field)
            if value is None and field in _OPTIONAL:
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
                self._refuse(field, "must be a finite number, not negative")
            object.__setattr__(self, field, float(value))  # 20 and 20.0 are one setting, and have one fingerprint
        for field in ("window_seconds", *_OPTIONAL):
            if getattr(self, field) == 0:
                self._refuse(field, "must be above 0")
        self._refuse_excess("window_seconds")
        if self.n_fft % 2:
            self._refuse("n_fft", "must be even, so that frames are centred on a sample")
        most_mels = _MOST_WEIGHTS // (self.n_fft // 2 + 1)
        if self.n_mels > most_mels:
            self._refuse("n_mels", f"must be at most {most_mels} with n_fft {self.n_fft}: more would fill the memory")
        if self.window_samples < 1:
            self._refuse("window_seconds", "must hold at least one sample")
        if not self.fmin_hz < self.fmax_hz <= self.sample_rate_hz / 2:
            self._refuse("fmax_hz", f"must lie above fmin_hz ({self.fmin_hz:g}) and up to half the sample rate")
        if self.scale not in ("mel", "htk", "log"):
            self._refuse("scale", "must be mel, htk or log")
        if self.scale == "log" and self.fmin_hz == 0:
            self._refuse("fmin_hz", "must be above 0 on a logarithmic scale")
        if self.dtype not in ("float16", "float32"):
            self._refuse("dtype", "must be float16 or float32")
        self._check_window()
        self._check_level()

    def _check_window(self) -> None:
        value = self.n_fft if self.win_samples is None else self.win_samples
        if not isinstance(value, int) or isinstance(value, bool) or not 2 <= value <= self.n_fft:
            self._refuse("win_samples", f"must be an integer from 2 to n_fft ({self.n_fft})")
        if value == self.n_fft:  # one setting, and one fingerprint
            object.__setattr__(self, "win_samples", None)

    def _check_level(self) -> None:
        if not isinstance(self.power, int) or isinstance(self.power, bool) or self.power not in (1, 2):
            self._refuse("power", "must be 1 (magnitude) or 2 (power)")
        if self.log_offset is None and self.power == 1:
            self._refuse("power", "must be 2 where frames are in dB; give log_offset for natural logarithms")
        if self.log_offset is not None and self.top_db is not None:
            self._refuse("top_db", "must be infinite (inf) with log_offset, as frames are not in dB then")

    def _refuse_excess(self, field: str) -> None:
        if getattr(self, field) > _MOST[field]:
            self._refuse(field, f"must be at most {_MOST[field]}")

    def _refuse(self, field: str, rule: str) -> None:
        message = f"mode {self.name!r}: {field} {rule}; got {getattr(self, field)!r}"
        raise InputError(message)

    @property
    def window_samples(self) -> int:
        """Length of a window in samples at ``sample_rate_hz``."""
        return round(self.window_seconds * self.sample_rate_hz)

    @property
    def window_frames(self) -> int:
        """Frames of a window: ``1 + window_samples // hop_samples``, as frames are centred."""
        return 1 + self.window_samples // self.hop_samples

    def n_frames(self, seconds: float) -> int:
        """Return the most frames that a clip of this many seconds gives."""
        if self.head_only:
            return self.window_frames
        return max(self.window_frames, 1 + math.ceil(seconds * self.sample_rate_hz) // self.hop_samples)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and the front-end's version as JSON-able values; ``from_dict`` reads them back."""
        settings = dataclasses.asdict(self)
        for name, value in _UNWRITTEN.items():
            if settings[name] == value:
                del settings[name]
        return {**settings, "front_end": FRONT_END_VERSION}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Build a mode from ``to_dict``'s values.

        Raises
        ------
        InputError
            If a setting is unknown or missing, or comes from another version of the front-end.
        """
        values = dict(settings)
        version = values.pop("front_end", FRONT_END_VERSION)
        if version != FRONT_END_VERSION:
            message = f"mode settings come from front-end {version}; this one is {FRONT_END_VERSION}: featurize anew"
            raise InputError(message)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            message = f"unknown mode settings {unknown}; known are {sorted(known)}"
            raise InputError(message)
        try:
            return cls(**values)
        except TypeError as error:
            message = f"mode settings are incomplete: {error}"
            raise InputError(message) from error

    def fingerprint(self) -> str:
        """Return 12 hex digits that change with every setting that changes the stored numbers."""
        settings = self.to_dict()
        del settings["name"]
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Name of the mode's folder in a store: ``<name>-<fingerprint>``."""
        return f"{self.name}-{self.fingerprint()}"


# Source of the values: the notebook of daisukelab's solution of the Kaggle competition.
LH = FeatureMode(
    name="lh",
    sample_rate_hz=44_100,
    n_fft=2560,
    hop_samples=882,
    n_mels=128,
    fmin_hz=20,
    fmax_hz=22_050,
    window_seconds=4,
    head_only=True,
)
X = FeatureMode(
    name="x",
    sample_rate_hz=26_000,
    n_fft=960,
    hop_samples=520,
    n_mels=48,
    fmin_hz=20,
    fmax_hz=13_000,
    window_seconds=6,
    head_only=False,
)
# A third view, for the ensemble: on a logarithmic axis a sound of another pitch is the same picture moved up or down,
# and the octaves below 1 kHz have as many bands each as those above. An entry to the competition that put constant-Q
# bands in place of mel bands, with the same network, went from mAP@3 0.878 to 0.913; the second place had 20 Hz to
# 14 kHz. 44.1 kHz is the competition's own rate, so that nothing is resampled. An FFT of 93 ms has a bin every 10.8 Hz:
# above 205 Hz bands are wider than that, below they share bins. Windows have LH's shape, 128 bands by 201 frames, and
# step through the whole clip.
LOG = FeatureMode(
    name="log",
    sample_rate_hz=44_100,
    n_fft=4096,
    hop_samples=882,
    n_mels=128,
    fmin_hz=20,
    fmax_hz=14_000,
    window_seconds=4,
    head_only=False,
    scale="log",
)
# Source of the values: the baseline that the organisers published (DCASE 2018, task 2: inputs.py and main.py of the
# code, whose README says 0.01 for the offset where the code has 0.001). Its window of 25 ms is round(1102.5), 1102 in
# Python 3. What differs: frame i is centred on sample 441 i here and begins with it there, so that ours lie half a
# window earlier, and reach into silence at both ends of a clip. 25 frames are an example, as there; from the first
# centre to the last they are 0.24 s. Shorter clips are padded, other rates resampled and channels averaged, where the
# baseline has no example or stops.
DCASE = FeatureMode(
    name="dcase",
    sample_rate_hz=44_100,
    n_fft=2048,
    win_samples=1102,
    hop_samples=441,
    n_mels=64,
    fmin_hz=125,
    fmax_hz=7_500,
    scale="htk",
    power=1,
    log_offset=0.001,
    window_seconds=0.24,
    head_only=False,
    trim_db=None,
    top_db=None,
)
MODES: dict[str, FeatureMode] = {"lh": LH, "x": X, "log": LOG, "dcase": DCASE}
ALL = ("lh", "x")
"""What ``--mode all`` means; other modes go by name."""


def get_mode(name: str, known: Mapping[str, FeatureMode] = MODES) -> FeatureMode:
    """Return the mode of this name.

    Raises
    ------
    InputError
        If there is none; the message offers the nearest name.
    """
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    message = f"mode must be one of {', '.join(known)}; got {name!r}, did you mean {near[0]!r}?"
    raise InputError(message)


def resolve_modes(modes: Iterable[str | FeatureMode], known: Mapping[str, FeatureMode] = MODES) -> list[FeatureMode]:
    """Turn names (``all`` included) and modes into distinct modes, in the order given."""
    found: dict[str, FeatureMode] = {}
    for mode in modes:
        names = ALL if mode == "all" else (mode,)
        for item in names:
            resolved = item if isinstance(item, FeatureMode) else get_mode(item, known)
            found[resolved.name] = resolved
    return list(found.values())


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mode's settings as stored, with those that are not written or had no name in an earlier front-end."""
    return {**_IMPLIED, **settings}


def units_per_db(settings: Mapping[str, Any]) -> float:
    """Return by how much stored values grow where a sound is 1 dB louder; ``log_offset`` reckoned as little."""
    whole = completed(settings)
    return 1.0 if whole["log_offset"] is None else whole["power"] * math.log(10) / 20


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in words how two settings differ: ``n_mels 64 → 128, dtype float32 → float16``; empty where they don't."""
    names = [*new, *(name for name in old if name not in new)]
    changed = [name for name in names if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)} → {new.get(name)}" for name in changed)
