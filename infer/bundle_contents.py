"""What ``bundle.json`` says of a bundle, and whether the files beside it are those.

Conventions
-----------
A bundle may come from a stranger: every value is checked before it is used, and no file is opened that lies outside.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cache.errors import InputError, IntegrityError, NotFoundError
from cache.regular import digest_regular
from infer.calibration import Calibration
from train.checkpoint import INFO, MODEL

BUNDLE = "bundle.json"
FORMAT_VERSION = 1
MAKE_ANEW = "export it anew, or fetch it again"


def check_bundle(folder: Path) -> dict[str, Any]:
    """Compare every file of a bundle with what ``bundle.json`` says, and return what that holds.

    Returns
    -------
    dict
        format, name, classes (list of str), modes (mode -> list of folds), calibrations (modes -> values, see
        :func:`calibration_key`), files (path -> SHA-256).

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
    except (ValueError, RecursionError) as error:
        message = f"{path} must be JSON ({error}); {MAKE_ANEW}"
        raise IntegrityError(message) from error
    _check_contents(contents, path)
    for name, digest in contents["files"].items():
        _check_file(folder, name, digest)
    return dict(contents)


def calibration_key(modes: Iterable[str]) -> str:
    """Name some modes, joined, as ``bundle.json`` does: ``lh+x``."""
    return "+".join(sorted(modes))


def _check_contents(contents: Any, path: Path) -> None:
    version = contents.get("format") if isinstance(contents, dict) else None
    if version != FORMAT_VERSION:
        message = f"{path} has format {version}, this version reads {FORMAT_VERSION}; {MAKE_ANEW}"
        raise IntegrityError(message)
    if wrong := [key for key, is_proper in _RULES.items() if not is_proper(contents.get(key))]:
        message = f"{path} lacks a proper {', '.join(wrong)}; {MAKE_ANEW}"
        raise IntegrityError(message)
    networks = [f"{mode}/fold-{fold}" for mode, folds in contents["modes"].items() for fold in folds]
    needed = [f"{network}/{name}" for network in networks for name in (MODEL, INFO)]
    if unlisted := [name for name in needed if name not in contents["files"]]:
        message = f"{path} lists a network without its {unlisted[0]}; {MAKE_ANEW}"
        raise IntegrityError(message)


def _check_file(folder: Path, name: str, digest: str) -> None:
    try:
        file = (folder / name).resolve()
        inside = file.is_relative_to(folder.resolve())
        found = digest_regular(file) if inside else ""
    except (OSError, ValueError):  # not there; or no name that a file can have
        found = ""
    if not found:
        message = f"{folder / name} is missing from the bundle; {MAKE_ANEW}"
        raise IntegrityError(message)
    if found != digest:
        message = f"{folder / name} is not the file that {BUNDLE} names (its SHA-256 differs); {MAKE_ANEW}"
        raise IntegrityError(message)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values) and len(values) > 1


def _are_modes(values: Any) -> bool:
    """Modes, each with the numbers of its folds."""
    return isinstance(values, dict) and bool(values) and all(map(_are_folds, values.values()))


def _are_folds(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(type(value) is int for value in values)


def _are_calibrations(values: Any) -> bool:
    return isinstance(values, dict) and all(map(_is_calibration, values.values()))


def _is_calibration(values: Any) -> bool:
    try:
        return isinstance(values, dict) and bool(Calibration.from_dict(values))
    except InputError:
        return False


def _are_digests(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


_RULES = {"classes": _are_texts, "modes": _are_modes, "calibrations": _are_calibrations, "files": _are_digests}
