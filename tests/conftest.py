"""Fixtures that several test files share: a seeded generator, and small corpora of self-made sounds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

RATE_HZ = 16_000
CLASSES = ("hum", "noise", "pips")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20181)


def make_sound(label: str, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A sound of a class that anybody can tell from the others: [n] float64 within ±1."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    if label == "noise":
        return 0.3 * rng.standard_normal(len(t)).clip(-3, 3)
    pitch = rng.uniform(100, 140) if label == "hum" else rng.uniform(2500, 3500)
    tone = 0.5 * np.sin(2 * np.pi * pitch * t)
    return tone if label == "hum" else tone * (np.sin(2 * np.pi * 6 * t) > 0)


def make_corpus(root: Path, *, train: int = 10, test: int = 2, seed: int = 0) -> Path:
    """Write a corpus in the layout clips.csv: clips a class, a third of them unverified."""
    rng = np.random.default_rng(seed)
    (root / "audio").mkdir(parents=True)
    rows = []
    for label in CLASSES:
        for i in range(train + test):
            name = f"{label}-{i:02d}.wav"
            soundfile.write(root / "audio" / name, make_sound(label, rng, rng.uniform(0.4, 1.5)), RATE_HZ)
            rows.append((name, label, "train" if i < train else "test", int(i % 3 != 0)))
    pd.DataFrame(rows, columns=["fname", "label", "split", "manually_verified"]).to_csv(root / "clips.csv", index=False)
    return root


@pytest.fixture(scope="session")
def shared_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus that no test changes."""
    return make_corpus(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of one's own, in ``data/`` of the test's folder."""
    return make_corpus(tmp_path / "data")
