"""Checkpoints: a trained network that rebuilds itself, and the state to resume from.

Conventions
-----------
``model.safetensors`` holds the tensors, ``model.json`` all else and the weights' SHA-256; the JSON is written last,
so that a fold with a ``model.json`` is whole. No pickle is ever loaded: ``last/`` is read with
``weights_only=True``.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray

from cache.errors import InputError, IntegrityError, NotFoundError
from cache.outfile import write_atomically
from train.networks import Network, build_network

MODEL = "model.safetensors"
INFO = "model.json"
FORMAT_VERSION = 1
_REQUIRED = {
    "classes": list,
    "mode": dict,
    "fingerprint": str,
    "model": dict,
    "recipe": dict,
    "window_frames": int,
    "fold": int,
    "epoch": int,
    "map3": float,
    "map3_se": float | None,
    "seconds": float,
    "training_windows": int,
    "prior": list,
    "sha256": str,
}
_LAST = {
    "model": dict,
    "optimizer": dict,
    "average": dict,
    "epoch": int,
    "seconds": float,
    "waited": float,
    "settings": dict,
}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded network, in evaluation state, and what is known of it.

    ``info`` holds: classes (in order), mode (settings), fingerprint, model (settings), fold, epoch, map3, seed,
    prior, unseen_classes (names of those that it was trained without), versions and more.
    """

    model: Network
    info: dict[str, Any]
    path: Path

    @cached_property
    def knows(self) -> NDArray[np.bool_]:
        """True for the classes that it was trained on; for all, where an earlier version did not say which."""
        unseen = set(self.info.get("unseen_classes", []))
        return np.array([name not in unseen for name in self.info["classes"]], np.bool_)


def check_run_name(name: str) -> None:
    """Check that a run's name is one plain part of a path, so that the run lies in the folder of the runs.

    Raises
    ------
    InputError
    """
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        message = f"--run must be a plain name without slashes, not a path; got {name!r}: name the folder with --runs"
        raise InputError(message)


def save_checkpoint(folder: Path, model: Network, info: dict[str, Any]) -> None:
    """Write the network and what is known of it into a fold's folder."""
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()}
    data = safetensors.torch.save(tensors)
    info = {"format": FORMAT_VERSION, **info, "model": model.settings, "sha256": hashlib.sha256(data).hexdigest()}
    (folder / INFO).unlink(missing_ok=True)
    write_atomically(folder / MODEL, lambda part: part.write_bytes(data))
    text = json.dumps(info, indent=1, allow_nan=False)
    write_atomically(folder / INFO, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def read_info(folder: Path) -> dict[str, Any] | None:
    """Return what ``model.json`` says, or None where there is none.

    Raises
    ------
    IntegrityError
        If it is not what ``save_checkpoint`` writes.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        message = f"{path} must be JSON ({error}); train this fold anew with --force"
        raise IntegrityError(message) from error
    version = info.get("format") if isinstance(info, dict) else None
    if version != FORMAT_VERSION:
        message = f"{path} has format {version}, this version reads {FORMAT_VERSION}; train anew with --force"
        raise IntegrityError(message)
    if wrong := _wrong_keys(info, _REQUIRED):
        message = f"{path} lacks a proper {', '.join(wrong)}; train this fold anew with --force"
        raise IntegrityError(message)
    unseen = info.get("unseen_classes", [])
    if not isinstance(unseen, list) or not all(name in info["classes"] for name in unseen):
        message = f"{path}: unseen_classes must be some of the classes; got {unseen}; train this fold anew with --force"
        raise IntegrityError(message)
    return dict(info)


def _wrong_keys(values: Mapping[str, Any], kinds: Mapping[str, Any]) -> list[str]:
    return [key for key, kind in kinds.items() if key not in values or not isinstance(values[key], kind)]


def load_checkpoint(folder: Path) -> Checkpoint:
    """Rebuild a trained network from its fold's folder; runs no code from it.

    Raises
    ------
    NotFoundError
        If the fold is not trained.
    IntegrityError
        If the weights are not those that ``model.json`` names, or do not fit the network.
    """
    info = read_info(folder)
    if info is None:
        message = f"{folder} holds no trained fold ({INFO}); run cli train"
        raise NotFoundError(message)
    path = folder / MODEL
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != info["sha256"]:
            message = (
                f"{path} is not the file that {INFO} names (its SHA-256 differs); train this fold anew with --force"
            )
            raise IntegrityError(message)
        model = build_network(info["model"])
        model.load_state_dict(safetensors.torch.load(data))
        _check_classes(info)
    except FileNotFoundError as error:
        message = f"{path} is missing beside {INFO}; train this fold anew with --force"
        raise IntegrityError(message) from error
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())  # torch's run over several lines
        message = f"{path} does not hold the network of {INFO} ({reason}); train this fold anew with --force"
        raise IntegrityError(message) from error
    return Checkpoint(model.eval(), info, folder)


def _check_classes(info: Mapping[str, Any]) -> None:
    n_classes = info["model"]["n_classes"]
    if not all(isinstance(label, str) for label in info["classes"]):
        message = f"a class must be a text; got {info['classes']}"
        raise ValueError(message)
    if not len(set(info["classes"])) == len(info["classes"]) == len(info["prior"]) == n_classes:
        message = f"{len(info['classes'])} classes and {len(info['prior'])} prior shares for {n_classes} scores"
        raise ValueError(message)


def save_last(folder: Path, state: dict[str, Any]) -> None:
    """Write the state to resume from."""
    # Through memory: on a full disk torch's own writer raises a RuntimeError that does not say so.
    data = io.BytesIO()
    torch.save(state, data)
    write_atomically(folder / "last" / "state.pt", lambda part: part.write_bytes(data.getbuffer()))


def load_last(folder: Path) -> dict[str, Any] | None:
    """Return the state to resume from, or None where there is none.

    Raises
    ------
    IntegrityError
        If the file is damaged or holds anything but tensors and plain values.
    """
    path = folder / "last" / "state.pt"
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        wrong = _wrong_keys(state, _LAST)
    except Exception as error:  # torch raises many kinds for a damaged file
        message = f"{path} cannot be resumed from ({type(error).__name__}); start this fold anew with --force"
        raise IntegrityError(message) from error
    if wrong:
        message = f"{path} lacks a proper {', '.join(wrong)}; start this fold anew with --force"
        raise IntegrityError(message)
    return state
