"""Trainings and predictions by the program's own commands, kept in a folder, so that nothing is done twice.

Conventions
-----------
Of a corpus everything lies in ``WORK/<corpus>/``: ``features`` (the store), ``runs`` and ``predicted``. A run is named
for its recipe, its seed and whatever differs from the recipe. Finished folds are kept by ``cli train``, stopped ones go
on; predictions are made again where a network is newer. Of each clip an AP@3 is kept: arrays over the same clips, in
the corpus's order.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpus.groups import groups_of
from corpus.tables import read_corpus
from infer.oof import read_out_of_fold
from train.metrics import average_precision_at_3, top_classes

TRUTH = "train_truth.csv"
"""In a corpus with wrong labels: the right ones."""
AP = NDArray[np.float64]
Groups = NDArray[np.object_]


class Missing(Exception):
    """What is asked for is not trained, and training was not asked for."""


@dataclass(frozen=True)
class Training:
    """What is asked of ``cli train``.

    Parameters
    ----------
    recipe : str
    seed : int
    epochs : int, optional
    label_noise : "on" or "off", optional
    first_fold_only : bool
    """

    recipe: str
    seed: int
    epochs: int | None = None
    label_noise: str | None = None
    first_fold_only: bool = False

    @property
    def run(self) -> str:
        """Name of the run."""
        parts = [self.recipe, f"noise-{self.label_noise}" if self.label_noise else ""]
        parts += [f"{self.epochs}-epochs" if self.epochs else "", f"seed-{self.seed}"]
        return "-".join(part for part in parts if part)

    def options(self) -> list[str]:
        """Return the options of ``cli train``."""
        words = ["--recipe", self.recipe, "--seed", str(self.seed), "--run", self.run]
        words += ["--epochs", str(self.epochs)] if self.epochs else []
        words += ["--label-noise", self.label_noise] if self.label_noise else []
        return words + (["--fold", "0"] if self.first_fold_only else [])


@dataclass(frozen=True)
class Workplace:
    """A corpus, and the folder of what is made of it.

    Parameters
    ----------
    corpus : Path
    folder : Path
    folds : int
        Unused where the corpus has a fold column.
    jobs : int or None
        Workers of the commands; None leaves it to them.
    may_train : bool
    """

    corpus: Path
    folder: Path
    folds: int = 5
    jobs: int | None = None
    may_train: bool = True

    @property
    def name(self) -> str:
        """Name of the corpus."""
        return self.corpus.name

    def table(self) -> pd.DataFrame:
        """Return the clip table."""
        return read_corpus(self.corpus)

    def has_groups(self) -> bool:
        """Say whether clips belong to groups, which stay on one side."""
        return bool(self.table()["group"].notna().any())

    def groups(self, *, held: bool) -> Groups | None:
        """Return the group of each clip that ``held_ap`` or ``test_ap`` scores; None where there are none."""
        return groups_of(self._verified() if held else self.scored())

    def scored(self) -> pd.DataFrame:
        """Return the test clips that have a label and count, as ``cli evaluate`` takes them."""
        table = self.table()
        usage = (table["usage"] != "Ignored").fillna(value=True)
        return table[(table["split"] == "test") & table["label"].notna() & usage]

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command in the folder, with its store and runs, and give its JSON object."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "cli", *words, "--json"]
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, check=False, text=True)
        if done.returncode:
            sys.exit(f"{self.name}: cli {' '.join(words)} failed with exit code {done.returncode}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def offers(self, *words: str) -> bool:
        """Say whether the program has a command."""
        return not subprocess.run([sys.executable, "-m", "cli", *words, "--help"], capture_output=True).returncode

    def issues(self, training: Training, modes: Sequence[str]) -> list[str]:
        """Return the clips that ``cli corpus issues`` lists for a run, the likeliest errors first."""
        out = self.folder / "predicted" / f"{training.run}-issues.csv"
        run = ["--run", training.run, *_modes(modes), "--out", str(out), "--force"]
        self.run("corpus", "issues", str(self.corpus), *run)
        return pd.read_csv(out, dtype={"fname": str})["fname"].tolist()

    def workers(self) -> list[str]:
        """Return the option that sets the workers."""
        return [] if self.jobs is None else ["--jobs", str(self.jobs)]

    def train(self, training: Training, modes: Sequence[str]) -> list[dict[str, Any]]:
        """Train what is missing of the modes of a run; give the epochs and seconds of its folds.

        Where a first round has judged the labels, its folds are listed too, with no epochs.

        Raises
        ------
        Missing
            If something is, and may not be trained.
        """
        if self.may_train:
            words = ["train", str(self.corpus), *_modes(modes), *training.options(), "--folds", str(self.folds)]
            self.run(*words, "--resume", *self.workers())
        rows = []
        for mode in modes:
            whole = self._whole_folds(training, mode)
            n_folds = max([2, *(info["folds"] for info in whole)])
            if len(whole) < (1 if training.first_fold_only else n_folds):
                raise Missing(f"{self.name}: {training.run}, {mode}")
            rows += [{"epochs": info["epoch"], "seconds": info["seconds"]} for info in whole]
            rows += [{"epochs": 0, "seconds": info["seconds"]} for info in self._infos(training, f"first-round/{mode}")]
        return rows

    def _infos(self, training: Training, folder: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.folder.glob(f"runs/{training.run}/{folder}/*/model.json")]

    def _whole_folds(self, training: Training, mode: str) -> list[dict[str, Any]]:
        return [info for info in self._infos(training, mode) if info["epoch"] >= info["recipe"]["epochs"]]

    def test_ap(self, training: Training, modes: Sequence[str]) -> AP:
        """Predict the test clips with the modes of a run, joined, and give each clip's AP@3."""
        name = f"{training.run}-{'+'.join(modes)}"
        out, table = (self.folder / "predicted" / f"{name}{end}.csv" for end in ("", "-probabilities"))
        networks = [*self.folder.glob(f"runs/{training.run}/*/fold-*/model.json")]
        newest = max(path.stat().st_mtime for path in networks)
        if not table.exists() or table.stat().st_mtime < newest:
            out.parent.mkdir(exist_ok=True)
            files = ["--out", str(out), "--probabilities", str(table)]
            self.run("predict", str(self.corpus), "--run", training.run, *_modes(modes), *files, *self.workers())
            ap = _ap_of(pd.read_csv(table), self.scored())
            said = self.run("evaluate", str(out), str(self.corpus))["map3"]
            if abs(said - ap.mean()) > 1e-6:
                sys.exit(f"{name}: cli evaluate says {said}, the clips' mean is {ap.mean()}")
        return _ap_of(pd.read_csv(table), self.scored())

    def held_ap(self, training: Training, modes: Sequence[str]) -> AP:
        """Give each training clip's AP@3 by the network that did not see it, modes joined; verified clips count."""
        clips = self._verified()
        predicted = read_out_of_fold(self.folder / "runs" / training.run, modes).probabilities.set_index("fname")
        return _ap(predicted.loc[clips["fname"]].to_numpy(), list(predicted.columns), clips["label"])

    def _verified(self) -> pd.DataFrame:
        clips = self.table()
        clips = clips[(clips["split"] == "train") & clips["label"].notna()]
        return clips[clips["manually_verified"].fillna(value=True)]


def _modes(modes: Iterable[str]) -> list[str]:
    return [word for mode in modes for word in ("--mode", mode)]


def _ap_of(probabilities: pd.DataFrame, scored: pd.DataFrame) -> AP:
    table = probabilities.set_index("fname").loc[scored["fname"]]
    return _ap(table.to_numpy(), list(table.columns), scored["label"])


def _ap(scores: NDArray[np.float64], classes: list[str], labels: "pd.Series[str]") -> AP:
    """Score each clip; a class that training has not seen is never ranked."""
    index = {label: number for number, label in enumerate(classes)}
    truth = np.array([index.get(label, len(classes)) for label in labels], np.int64)
    return average_precision_at_3(truth, top_classes(scores))


def make_whole_corpus(corpus: Path, folder: Path) -> Path:
    """Make a corpus whose training clips are all labelled clips of another, by links; give its folder."""
    table = read_corpus(corpus)
    table = table[table["label"].notna() & (table["usage"] != "Ignored").fillna(value=True)]
    audio = folder / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    for name, path in zip(table["fname"], table["path"], strict=True):
        link = audio / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(Path(path).resolve())
    table[["fname", "label", "manually_verified", "group"]].dropna(axis=1, how="all").to_csv(
        folder / "clips.csv", index=False
    )
    return folder
