"""The witness: a small store of this format version, kept as it was written, and what it holds.

The frames follow from the clips' names by SHAKE-256 and whole-number arithmetic, so that no release of numpy changes
them. The files are never written anew: a new version of the format gets a witness beside this one. It was made by

    python tests/witness/make.py
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache import ClipRow, ShardPlan, write_shard

FOLDER = Path(__file__).parent
FORMAT_VERSION = 2
HDF5_VERSION = "2.0.0"
"""The release of HDF5 that laid the files out; another one may lay out other bytes for the same content."""

N_MELS = {"float16": 12, "float32": 5}
SETTINGS = {"hop_samples": 882, "fmax_hz": 22050.0, "head_only": True}
VERSIONS = {"front-end": "1", "hdf5": HDF5_VERSION}
FAR_NAME, NOT_UTF8 = "Größe – 音.wav", "broken\udcff.flac"
"""A name beyond ASCII, and one that is not UTF-8 on the disk."""


@dataclass(frozen=True)
class Witness:
    """One shard: where it lies, and its rows."""

    mode: str
    fingerprint: str
    dtype: str
    generation: int
    rows: tuple[ClipRow, ...]

    @property
    def folder(self) -> str:
        return f"{self.mode}-{self.fingerprint}"

    @property
    def plan(self) -> ShardPlan:
        return ShardPlan.of((row.key for row in self.rows), generation=self.generation)

    @property
    def settings(self) -> dict[str, Any]:
        return {"name": self.mode, **SETTINGS}

    def write(self, store: Path) -> Path:
        """Write the shard as today's writer does; give its path."""
        record = write_shard(
            store / self.folder,
            self.plan,
            self.rows,
            settings=self.settings,
            fingerprint=self.fingerprint,
            mode=self.mode,
            versions=VERSIONS,
            n_mels=N_MELS[self.dtype],
            dtype=self.dtype,
        )
        return record.path


def frames_of(text: str, n_frames: int, dtype: str) -> np.ndarray:
    """Values in -64 … 0 that the type holds exactly, in steps of 1/8 (float16) or 1/1024 (float32)."""
    count = n_frames * N_MELS[dtype]
    data = hashlib.shake_256(text.encode("utf-8", "surrogateescape")).digest(2 * count)
    steps = np.frombuffer(data, "<u2").astype(int).reshape(n_frames, -1)
    return (-(steps % 512) / 8 if dtype == "float16" else -steps / 1024).astype(dtype)


def row(name: str, n_frames: int, *, version: str = "", dtype: str = "float16", problem: str = "") -> ClipRow:
    digest = hashlib.sha256((name + version).encode("utf-8", "surrogateescape")).hexdigest()
    frames = None if problem else frames_of(name + version, n_frames, dtype)
    return ClipRow(name, digest, n_frames / 50, frames, problem)


WITNESSES = (
    Witness(
        "lh",
        "0123456789ab",
        "float16",
        0,
        (
            row("0001.wav", 7),
            row("0002.wav", 1),
            row(FAR_NAME, 11),
            row(NOT_UTF8, 0, problem="holds no samples – größer als nichts"),
        ),
    ),
    Witness("lh", "0123456789ab", "float16", 1, (row("0002.wav", 9, version="changed"),)),
    Witness(
        "x", "ba9876543210", "float32", 0, (row("0001.wav", 6, dtype="float32"), row("b.wav", 13, dtype="float32"))
    ),
)


if __name__ == "__main__":
    for witness in WITNESSES:
        if (FOLDER / witness.folder / witness.plan.filename).exists():
            raise SystemExit(f"{witness.plan.filename} is there already: a witness is not written anew")
    for witness in WITNESSES:
        witness.write(FOLDER)
