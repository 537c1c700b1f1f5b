"""The package's front door."""

import subprocess
import sys
from pathlib import Path

import pytest

import featurize
from featurize.logmel import compute

ROOT = Path(featurize.__file__).parents[1]


def loaded_by(statement: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_names_are_offered_lazily() -> None:
    assert featurize.compute is compute
    assert featurize.__all__ == ["compute"]
    with pytest.raises(AttributeError, match="module 'featurize' has no attribute 'missing'"):
        featurize.missing  # noqa: B018


def test_modes_are_light() -> None:
    assert not loaded_by("import featurize.modes") & {"numpy", "librosa", "numba", "soundfile", "h5py", "pandas"}


def test_a_worker_does_not_wait_for_librosa() -> None:
    statement = (
        "import numpy as np; from featurize.shards import library_versions; from featurize.logmel import log_mel; "
        "from featurize.audio import Recording; from featurize.modes import LH; library_versions(); "
        # Steps of 60 dB: rounding decides what is trimmed.
        "log_mel(Recording(np.float32(0.5) * np.repeat(np.float32([0.001, 1]), 9999), 48000), LH)"
    )
    assert not loaded_by(statement) & {"librosa", "scipy.signal", "scipy.linalg", "torch", "pandas"}
