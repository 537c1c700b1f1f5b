"""Bundles: all that tagging needs of a run, in a folder that can be given away.

Conventions
-----------
A bundle holds the networks as a run does, ``<mode>/fold-<k>/model.safetensors`` and ``model.json``; their graphs,
``<mode>/fold-<k>/model.onnx``; ``bundle.json``, which names every file with its SHA-256, and the temperatures; and a
model card, ``README.md``. Nothing of the training clips is in it but what networks learned. No code is run from it: it
is JSON, safetensors and, where asked for, ONNX. Checksums tell damage and changes, not who made the bundle.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from cache.errors import InputError, IntegrityError, NotFoundError
from cache.outfile import naming
from cache.regular import digest_regular
from infer.bundle_contents import BUNDLE, FORMAT_VERSION, MAKE_ANEW, calibration_key, check_bundle
from infer.calibration import Calibration
from infer.model_card import model_card
from infer.onnx_network import OnnxNetwork, check_exporter, write_onnx
from infer.runs import load_run
from infer.tagger import Tagger, calibrate_run, exact_engine
from train.checkpoint import INFO, MODEL, Checkpoint
from train.networks import Network

CARD, GRAPH = "README.md", "model.onnx"


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
    calibrations = _calibrate(run, tuple(loaded))
    out = Path(os.path.realpath(out))
    part = out.with_name(f".{out.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        networks = [checkpoint for checkpoints in loaded.values() for checkpoint in checkpoints]
        for number, checkpoint in enumerate(networks, start=1):
            _copy(checkpoint, part / checkpoint.path.relative_to(run), with_onnx=with_onnx)
            if progress:
                progress("export", number, len(networks))
        contents = _contents(run.name, loaded, calibrations)
        card = model_card(run.name, loaded, calibrations[calibration_key(loaded)], with_onnx=with_onnx)
        (part / CARD).write_text(card, encoding="utf-8")
        contents["files"] = {
            str(path.relative_to(part)): digest_regular(path) for path in sorted(part.rglob("*")) if path.is_file()
        }
        (part / BUNDLE).write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if force:
            shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise naming(error, out) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return contents


def _calibrate(run: Path, modes: tuple[str, ...]) -> dict[str, Calibration]:
    """Fit a temperature to all that can be asked of a bundle: each choice of its modes, joined."""
    choices = [choice for size in range(1, len(modes) + 1) for choice in combinations(modes, size)]
    return {calibration_key(choice): calibrate_run(run, list(choice)) for choice in choices}


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


def _contents(name: str, loaded: dict[str, list[Checkpoint]], calibrations: dict[str, Calibration]) -> dict[str, Any]:
    first = next(iter(loaded.values()))[0].info
    return {
        "format": FORMAT_VERSION,
        "name": name,
        "classes": first["classes"],
        "modes": {mode: [checkpoint.info["fold"] for checkpoint in folds] for mode, folds in loaded.items()},
        "calibrations": {key: calibration.to_dict() for key, calibration in calibrations.items()},
    }


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
    for mode, folds in loaded.items():
        found, listed = [each.info["fold"] for each in folds], contents["modes"].get(mode, [])
        if sorted(found) != sorted(listed):
            message = f"{folder} has the folds {found} of {mode}, its {BUNDLE} lists {listed}; {MAKE_ANEW}"
            raise IntegrityError(message)
        if folds[0].info["classes"] != contents["classes"]:
            message = f"the classes in {folder / BUNDLE} are not those of its networks; {MAKE_ANEW}"
            raise IntegrityError(message)
    if runtime == "onnx":
        loaded = {mode: [_with_graph(each, contents) for each in folds] for mode, folds in loaded.items()}
        device = "cpu"
    return Tagger(loaded, engine=exact_engine(device), calibration=bundled_calibration(contents, loaded))


def bundled_calibration(contents: Mapping[str, Any], modes: Iterable[str]) -> Calibration:
    """Return the calibration that a bundle has for some of its modes, joined; temperature 1 where it has none."""
    values = contents["calibrations"].get(calibration_key(tuple(modes)))
    return Calibration.from_dict(values) if values else Calibration()


def _with_graph(checkpoint: Checkpoint, contents: dict[str, Any]) -> Checkpoint:
    path = checkpoint.path / GRAPH
    name = str(Path(*path.parts[-3:]))
    if name not in contents["files"]:
        message = f"the bundle has no {name}: export it without --no-onnx, or leave --runtime onnx out"
        raise NotFoundError(message)
    network = OnnxNetwork(path, checkpoint.model.settings)
    return Checkpoint(cast(Network, network), checkpoint.info, checkpoint.path)
