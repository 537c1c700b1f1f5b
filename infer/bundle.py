"""Bundles: all that tagging needs of a run, in a folder that can be given away.

Conventions
-----------
A bundle holds the networks as a run does, ``<mode>/fold-<k>/model.safetensors`` and ``model.json``; their graphs,
``<mode>/fold-<k>/model.onnx``; ``bundle.json``, which names every file with its SHA-256, and the temperature; and a
model card, ``README.md``. Nothing of the training clips is in it but what networks learned. No code is run from it: it
is JSON, safetensors and, where asked for, ONNX. Checksums tell damage and changes, not who made the bundle.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from cache.errors import InputError, IntegrityError, NotFoundError
from infer.calibration import Calibration
from infer.model_card import model_card
from infer.onnx_network import OnnxNetwork, check_exporter, write_onnx
from infer.runs import load_run
from infer.tagger import Tagger, calibrate_run, exact_engine
from train.checkpoint import INFO, MODEL, Checkpoint
from train.networks import Network

BUNDLE, CARD, GRAPH = "bundle.json", "README.md", "model.onnx"
FORMAT_VERSION = 1
_MAKE_ANEW = "export it anew, or fetch it again"


def is_bundle(folder: Path) -> bool:
    """Tell whether a folder is a bundle."""
    return (folder / BUNDLE).is_file()


def write_bundle(
    run: Path,
    out: Path,
    *,
    modes: Sequence[str] | None = None,
    with_onnx: bool = True,
    force: bool = False,
    progress: Callable[[str, int, int], object] | None = None,
) -> dict[str, Any]:
    """Write a bundle of a run's networks, whole or not at all.

    Parameters
    ----------
    run : Path
    out : Path
        The folder to make.
    modes : sequence of str, optional
        All that the run has by default.
    with_onnx : bool
        Write the graphs, too.
    force : bool
        Replace a bundle that is there.
    progress : callable, optional
        Called with the stage, the networks done, and all of them.

    Returns
    -------
    dict
        What ``bundle.json`` holds.

    Raises
    ------
    InputError
        If ``out`` is there, or the packages for ONNX are not.
    NotFoundError, IntegrityError
        As ``infer.runs.load_run``.
    """
    _check_out(out, force=force)
    if with_onnx:
        check_exporter()
    loaded = load_run(run, modes)
    calibration = calibrate_run(run, list(loaded))
    part = out.with_name(f".{out.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        networks = [checkpoint for checkpoints in loaded.values() for checkpoint in checkpoints]
        for number, checkpoint in enumerate(networks, start=1):
            _copy(checkpoint, part / checkpoint.path.relative_to(run), with_onnx=with_onnx)
            if progress:
                progress("export", number, len(networks))
        contents = _contents(run.name, loaded, calibration)
        (part / CARD).write_text(model_card(run.name, loaded, calibration, with_onnx=with_onnx), encoding="utf-8")
        contents["files"] = {
            str(path.relative_to(part)): _digest(path) for path in sorted(part.rglob("*")) if path.is_file()
        }
        (part / BUNDLE).write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if force:
            shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return contents


def _check_out(out: Path, *, force: bool) -> None:
    if not out.exists():
        return
    if not force:
        message = f"{out} is there: name another folder, or give --force"
        raise InputError(message)
    if not is_bundle(out):
        message = f"{out} is no bundle, and is not replaced: name another folder"
        raise InputError(message)


def _copy(checkpoint: Checkpoint, folder: Path, *, with_onnx: bool) -> None:
    folder.mkdir(parents=True)
    for name in (MODEL, INFO):
        shutil.copyfile(checkpoint.path / name, folder / name)
    if with_onnx:
        write_onnx(checkpoint.model, folder / GRAPH)


def _contents(name: str, loaded: dict[str, list[Checkpoint]], calibration: Calibration) -> dict[str, Any]:
    first = next(iter(loaded.values()))[0].info
    return {
        "format": FORMAT_VERSION,
        "name": name,
        "classes": first["classes"],
        "modes": {mode: [checkpoint.info["fold"] for checkpoint in folds] for mode, folds in loaded.items()},
        "calibration": calibration.to_dict(),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_bundle(
    folder: Path, modes: Sequence[str] | None = None, *, device: str = "auto", runtime: str = "torch"
) -> Tagger:
    """Load a bundle's networks; runs no code from it.

    Parameters
    ----------
    folder : Path
    modes : sequence of str, optional
        All that the bundle has by default.
    device : str
    runtime : "torch" or "onnx"
        What runs the networks.

    Raises
    ------
    NotFoundError
        If it is no bundle, or lacks a mode that is asked for, or its graphs.
    IntegrityError
        If a file is not what ``bundle.json`` says, or missing.
    InputError
        If onnxruntime is asked for and not installed.
    """
    contents = check_bundle(folder)
    loaded = load_run(folder, modes)
    listed = {(mode, fold) for mode, folds in contents["modes"].items() for fold in folds}
    if extra := {(mode, each.info["fold"]) for mode, folds in loaded.items() for each in folds} - listed:
        message = f"{folder} holds networks that its {BUNDLE} does not list ({sorted(extra)}); {_MAKE_ANEW}"
        raise IntegrityError(message)
    if runtime == "onnx":
        loaded = {mode: [_with_graph(each, contents) for each in folds] for mode, folds in loaded.items()}
        device = "cpu"
    return Tagger(loaded, engine=exact_engine(device), calibration=Calibration.from_dict(contents["calibration"]))


def _with_graph(checkpoint: Checkpoint, contents: dict[str, Any]) -> Checkpoint:
    path = checkpoint.path / GRAPH
    name = str(Path(*path.parts[-3:]))
    if name not in contents["files"]:
        message = f"the bundle has no {name}: export it without --no-onnx, or leave --runtime onnx out"
        raise NotFoundError(message)
    network = OnnxNetwork(path, checkpoint.model.settings)
    return Checkpoint(cast(Network, network), checkpoint.info, checkpoint.path)


def check_bundle(folder: Path) -> dict[str, Any]:
    """Compare every file of a bundle with what ``bundle.json`` says, and return what that holds.

    Raises
    ------
    NotFoundError
        If it is no bundle.
    IntegrityError
        If a file is missing, or not what it says.
    """
    path = folder / BUNDLE
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"{folder} is no bundle: it has no {BUNDLE}; make one with cli export"
        raise NotFoundError(message) from error
    except ValueError as error:
        message = f"{path} must be JSON ({error}); {_MAKE_ANEW}"
        raise IntegrityError(message) from error
    _check_contents(contents, path)
    root = folder.resolve()
    for name, digest in contents["files"].items():
        file = (folder / name).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            message = f"{folder / name} is missing from the bundle; {_MAKE_ANEW}"
            raise IntegrityError(message)
        if _digest(file) != digest:
            message = f"{folder / name} is not the file that {BUNDLE} names (its SHA-256 differs); {_MAKE_ANEW}"
            raise IntegrityError(message)
    return dict(contents)


_KINDS = {"classes": list, "modes": dict, "calibration": dict, "files": dict}


def _check_contents(contents: Any, path: Path) -> None:
    version = contents.get("format") if isinstance(contents, dict) else None
    if version != FORMAT_VERSION:
        message = f"{path} has format {version}, this version reads {FORMAT_VERSION}; {_MAKE_ANEW}"
        raise IntegrityError(message)
    wrong = [key for key, kind in _KINDS.items() if not isinstance(contents.get(key), kind)]
    if not wrong and not _is_calibration(contents["calibration"]):
        wrong = ["calibration"]
    if wrong:
        message = f"{path} lacks a proper {', '.join(wrong)}; {_MAKE_ANEW}"
        raise IntegrityError(message)


def _is_calibration(values: dict[str, Any]) -> bool:
    try:
        Calibration.from_dict(values)
    except InputError:
        return False
    return True
