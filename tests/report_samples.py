"""A corpus with hostile names, and a run of untrained networks with made-up predictions: reports in a second."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from conftest import RATE_HZ, make_sound
from stores import HEAD, LONG, save_fold

from train.held import write_held

HOSTILE = "<script>alert(1)</script>.wav"
BIDI = "a\u202egpj.wav"
NAMES = (
    HOSTILE,
    "quo\"te's, comma.wav",
    "new\nline.wav",
    "line\u2028separator.wav",
    BIDI,
    "100% #1?&amp;.wav",
    "--> ]]>.wav",
)
LABELS = ("<img src=x onerror=alert(1)>", "b\"a'c, d", "plain")


def write_hostile_corpus(root: Path, *, per_class: int = 4, test: int = 2, labels: Sequence[str] = LABELS) -> Path:
    """Write a corpus in the layout clips.csv: some clips of each label, names as bad as they come among them."""
    rng = np.random.default_rng(7)
    rows = []
    for number, label in enumerate(labels):
        for i in range(per_class + test):
            place = number * (per_class + test) + i
            name = NAMES[place // 2] if place % 2 == 0 and place // 2 < len(NAMES) else f"{place:02d}.wav"
            path = root / "audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sound = make_sound(("hum", "noise", "pips")[number % 3], rng, rng.uniform(0.4, 1.0))
            soundfile.write(path, sound, RATE_HZ, format="WAV")
            rows.append((name, label, "train" if i < per_class else "test", int(i % 3 != 0)))
    columns = ["fname", "label", "split", "manually_verified"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "clips.csv", index=False)
    return root


def write_run(
    runs: Path, clips: pd.DataFrame, *, name: str = "made", modes=(HEAD, LONG), folds=(0, 1), n_folds: int = 2
):
    """Write a run of untrained networks whose predictions are made up: right for about two of three clips."""
    training = clips[clips["split"] == "train"].reset_index(drop=True)
    classes = sorted(training["label"].unique())
    verified = training["manually_verified"].fillna(value=True).to_numpy(bool)
    for seed, mode in enumerate(modes):
        rng = np.random.default_rng(seed)
        log_p = rng.normal(0, 1, (len(training), len(classes)))
        truth = pd.Index(classes).get_indexer(training["label"])
        log_p[np.arange(len(training)), truth] += 1
        log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        for fold in folds:
            info = {
                "folds": n_folds,
                "seed": 42,
                "waited_seconds": 0.25,
                "clips": len(training),
                "versions": {"numpy": "2"},
            }
            folder = save_fold(runs, run=name, mode=mode, fold=fold, classes=classes, **info)
            held = np.arange(fold, len(training), n_folds)
            names = training["fname"].iloc[held].tolist()
            write_held(folder, names, classes, log_p[held], truth[held], verified[held])
            rows = {"epoch": [1, 2], "loss": [2.0, 1.5], "valid_loss": [2.5, 2.0], "map3": [0.3, 0.5]}
            pd.DataFrame(rows).to_csv(folder / "history.csv", index=False)
    return runs / name
