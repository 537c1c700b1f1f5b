"""Weights that a network begins with: convolutions that were trained on synthetic sounds.

Conventions
-----------
``weights/<mode>.safetensors`` holds ``features.*`` of a `ConvNet` as float16, and in its metadata (``mode``, JSON) the
settings of the mode whose frames it has seen. ``docs/pretrain.py`` makes these files from synthetic sounds
(`corpus.patches`, `corpus.voices`): they have heard no recording.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from featurize.modes import completed
from train.convnet import ConvNet

_LAYERS = "features."
# What a filter sees depends on these; how long windows are, what is trimmed, and how numbers are stored, is no matter.
_SEEN = ("sample_rate_hz", "n_fft", "win_samples", "hop_samples", "n_mels", "fmin_hz", "fmax_hz", "scale", "power")


def find_pretrained(mode: Mapping[str, Any]) -> Path | None:
    """Return the file of the weights that have seen frames of such a mode, if there is one.

    Parameters
    ----------
    mode : mapping
        A mode's settings, as stored.
    """
    folder = Path(str(files("train") / "weights"))
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if _seen(json.loads(file.metadata()["mode"])) == _seen(mode):
                return path
    return None


def _seen(mode: Mapping[str, Any]) -> tuple[Any, ...]:
    whole = completed(mode)
    return (*(whole[name] for name in _SEEN), whole["log_offset"] is None)


def load_pretrained(model: ConvNet, path: Path) -> None:
    """Set the convolutions of a network to those of a file; what follows them stays as it is."""
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    model.features.load_state_dict({name.removeprefix(_LAYERS): tensor for name, tensor in tensors.items()})


def save_pretrained(model: ConvNet, mode: Mapping[str, Any], path: Path, *, sounds: str) -> None:
    """Write the convolutions of a network that was trained on a mode's frames.

    Parameters
    ----------
    model : ConvNet
    mode : mapping
        The mode's settings, as stored.
    path : Path
    sounds : str
        What it has heard, in a few words.
    """
    tensors = {_LAYERS + name: tensor.half().contiguous() for name, tensor in model.features.state_dict().items()}
    save_file(tensors, path, metadata={"mode": json.dumps(dict(mode)), "sounds": sounds})
