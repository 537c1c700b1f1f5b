"""The training loop of one fold: a job in, a trained network on disk out.

Conventions
-----------
A job is plain data and a reader, so that it travels to a worker. Every random number of an epoch comes from (seed,
mode, fold, epoch): a fold that is stopped and resumed equals an undisturbed one. Progress is one line an epoch in
``history.csv``, which whoever waits can read from anywhere. Scores come from the last epoch: none is chosen on the
fold that scores it.

The state to resume from is saved after an epoch as soon as ten times the last saving's duration has passed since:
after every epoch that is not very short. An interrupt that reaches the loop saves the last whole epoch. A process
that is killed, as workers are, loses what came after the last saving; those epochs are cut from the history and
trained again, with the same result.

What an earlier training left stays until the first epoch of a new one is done.
"""

import contextlib
import csv
import hashlib
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cache import StoreReader, open_store
from cache.errors import EarmarkError, IntegrityError
from cache.outfile import write_atomically
from train import augment
from train.checkpoint import load_last, save_checkpoint, save_last
from train.dataset import WindowDataset, balanced_draw
from train.device import Engine, pick_engine
from train.metrics import average_precision_at_3, mean_and_error, top_classes
from train.models import AlexNetLike
from train.recipe import Recipe
from train.scores import clip_log_probabilities

_SAVE_SHARE = 0.1  # of the time, at most about, goes into saving the state: it is three times the network
HISTORY_COLUMNS = ("epoch", "loss", "valid_loss", "map3", "accuracy", "learning_rate", "seconds")


class DivergedError(EarmarkError):
    """The loss of a fold is not a number any more."""


@dataclass(frozen=True, kw_only=True)
class FoldJob:
    """All that a fold's training needs.

    Parameters
    ----------
    folder : Path
        The fold's folder, ``runs/<run>/<mode>/fold-<k>``.
    reader : StoreReader
        Training clips that have frames.
    labels : ndarray [shape=(n,), int64]
        Class of each clip of the reader.
    held : ndarray [shape=(n,), bool]
        True for the clips of the held fold.
    scored : ndarray [shape=(n,), bool]
        True for the clips that count in a score (the verified ones, where there are any).
    recipe : Recipe
    settings : dict
        What the run is made with; goes into ``model.json`` and is compared on the next call.
    prior : list of float
        Class shares, for clips without frames.
    threads : int > 0
    device : str
    seconds_limit : float
        Stop after the epoch in which this much time is used; one epoch is trained at least.
    fresh : bool
        Begin at the first epoch whatever the folder holds.
    stale_history : float, optional
        When the ``history.csv`` that a fresh fold replaces was changed, in seconds since 1970.
    """

    folder: Path
    reader: StoreReader
    labels: NDArray[np.int64]
    held: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    recipe: Recipe
    settings: dict[str, Any]
    prior: list[float]
    threads: int
    device: str = "auto"
    seconds_limit: float = math.inf
    fresh: bool = False
    stale_history: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A reader pickles for its own machine; a job may go to another that shares the store.
        return {**self.__dict__, "reader": (self.reader.path, self.reader.keys)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, reader=open_store(*state["reader"]))

    @property
    def title(self) -> str:
        """Mode and fold, for messages."""
        return f"{self.reader.mode} fold {self.settings['fold']}"


@dataclass
class _State:
    """What changes from epoch to epoch."""

    model: AlexNetLike
    optimizer: torch.optim.Adam
    epoch: int = 0
    seconds: float = 0.0

    def to_dict(self, job: FoldJob) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "settings": job.settings,
        }


def train_fold(job: FoldJob) -> dict[str, Any]:
    """Train one fold, from its ``last/`` where there is one, and write network, history and out-of-fold probabilities.

    Returns
    -------
    dict
        mode, model, fold, path, map3, epochs, seconds, clips_per_second.

    Raises
    ------
    DivergedError
        If the loss, on the training folds or the held one, stops being a number.
    IntegrityError
        If ``last/`` is damaged.
    """
    torch.set_num_threads(job.threads)
    engine = pick_engine(job.device)
    windows, held = _datasets(job)
    # Weights and dropout draw from torch's global generators, which are the caller's.
    with torch.random.fork_rng([engine.device] if engine.device.type == "cuda" else []):
        state = _start(job, windows, engine)
        with contextlib.ExitStack() as stack:
            _train_epochs(job, state, windows, held, engine, stack)
    return _finish(job, state, windows, held, engine)


def _datasets(job: FoldJob) -> tuple[WindowDataset, WindowDataset]:
    frames, overlap = job.settings["window_frames"], job.recipe.window_overlap
    train, held = np.flatnonzero(~job.held), np.flatnonzero(job.held)
    return (
        WindowDataset(job.reader, train.tolist(), window_frames=frames, overlap=overlap),
        WindowDataset(job.reader, held.tolist(), window_frames=frames, overlap=overlap),
    )


def _start(job: FoldJob, windows: WindowDataset, engine: Engine) -> _State:
    torch.manual_seed(_epoch_seed(job, 0))
    mode = job.settings["mode"]
    model = AlexNetLike(
        n_mels=mode["n_mels"],
        n_frames=job.settings["window_frames"],
        n_classes=len(job.settings["classes"]),
        normalisation=Recipe.normalisation(head_only=mode["head_only"]),
    )
    model.to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = _State(model, torch.optim.Adam(model.parameters(), lr=job.recipe.learning_rate))
    if not job.fresh and (last := load_last(job.folder)):
        _resume(job, state, last)
        return state
    if model.normalise.kind == "featurewise":
        model.normalise.fit(*windows.mean_and_std(_draw_weights(job.labels[~job.held][windows.clip])))
    return state


def _resume(job: FoldJob, state: _State, last: dict[str, Any]) -> None:
    try:
        state.model.load_state_dict(last["model"])
        state.optimizer.load_state_dict(last["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())  # torch's run over several lines
        message = f"{job.folder / 'last'} is not of this network ({reason}); start this fold anew with --force"
        raise IntegrityError(message) from error
    state.epoch, state.seconds = last["epoch"], last["seconds"]
    _cut_history(job.folder, state.epoch)


def clear_fold(folder: Path) -> None:
    """Remove what an earlier training left in a fold's folder."""
    for name in ("model.json", "model.safetensors", "oof.csv", "history.csv"):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
    shutil.rmtree(folder / "last", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _draw_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often training draws each window: classes in equal shares."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[inverse])


def _epoch_seed(job: FoldJob, epoch: int) -> int:
    text = f"{job.settings['seed']}/{job.reader.mode}/{job.settings['fold']}/{epoch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def _train_epochs(
    job: FoldJob,
    state: _State,
    windows: WindowDataset,
    held: WindowDataset,
    engine: Engine,
    stack: contextlib.ExitStack,
) -> None:
    saved_at = started = time.monotonic()
    before, saving, board = state.seconds, 0.0, None
    whole = _copy(state.to_dict(job))
    while state.epoch < job.recipe.epochs:
        try:
            row = {"loss": _train_epoch(job, state, windows, engine), **_held_scores(job, state.model, held, engine)}
            _refuse_diverged(job, state.epoch + 1, row)
            state.seconds = before + time.monotonic() - started
            board = board or _open_board(job, state, stack)
            _log(job, state, row, board)
            state.epoch += 1  # whole from here on: its line in the history is written
            begun = time.monotonic()
            if begun - saved_at >= saving / _SAVE_SHARE:
                save_last(job.folder, state.to_dict(job))
                saved_at = time.monotonic()
                saving = saved_at - begun
            whole = _copy(state.to_dict(job))
        except KeyboardInterrupt:
            kept = whole if state.epoch == whole["epoch"] else state.to_dict(job)
            if kept["epoch"]:
                save_last(job.folder, kept)
            raise
        if time.monotonic() - started > job.seconds_limit:
            break


def _open_board(job: FoldJob, state: _State, stack: contextlib.ExitStack) -> Any:
    """Open the board for the first epoch that is written; where it is epoch 1, clear the fold first."""
    from torch.utils.tensorboard import SummaryWriter

    if not state.epoch:
        clear_fold(job.folder)
    return stack.enter_context(SummaryWriter(str(job.folder), purge_step=state.epoch + 1))


def _refuse_diverged(job: FoldJob, epoch: int, row: dict[str, float]) -> None:
    for name in ("loss", "valid_loss"):
        if not math.isfinite(row[name]):
            message = (
                f"{job.title} diverged in epoch {epoch}: its {name} is {row[name]}; "
                "try another --seed under another --run NAME"
            )
            raise DivergedError(message)


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value


def _train_epoch(job: FoldJob, state: _State, windows: WindowDataset, engine: Engine) -> float:
    """Train one epoch: as many mixed windows as the training folds hold; return the mean loss."""
    recipe, seed = job.recipe, _epoch_seed(job, state.epoch + 1)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed + 1)  # dropout; with one seed its masks would follow the generator's draws
    rng = np.random.default_rng(seed)
    labels = job.labels[~job.held]
    drawn = np.stack([balanced_draw(labels[windows.clip], len(windows), rng) for _ in range(2)])
    n_steps = max(1, round(len(windows) / recipe.batch_size))
    state.model.train()
    total = torch.zeros((), device=engine.device)  # a number would wait for the device at every step
    for pair in np.array_split(drawn, n_steps, axis=1):
        x, y = _mixed_batch(job, state.model, windows, pair, labels, engine, generator)
        with engine.autocast():
            logits = state.model.scores(x)
        loss = F.cross_entropy(logits.float(), y)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        total += loss.detach() * len(x)
    return float(total) / len(windows)


def _mixed_batch(
    job: FoldJob,
    model: AlexNetLike,
    windows: WindowDataset,
    pair: NDArray[np.int64],
    labels: NDArray[np.int64],
    engine: Engine,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gather two rows of windows [2, B], normalise, mix, shift, flip and erase them."""
    recipe, n_classes = job.recipe, len(job.settings["classes"])
    gathered, clips = windows.__getitems__(pair.ravel())
    x = model.normalise(gathered.to(engine.device).float())
    y = F.one_hot(torch.from_numpy(labels)[clips], n_classes).float().to(engine.device)
    half = pair.shape[1]
    x, y = augment.mixup(x[:half], y[:half], x[half:], y[half:], alpha=recipe.mixup_alpha, generator=generator)
    x = augment.shift_and_flip(x, max_shift=recipe.max_shift, flip=recipe.flip, generator=generator)
    return augment.erase(x, probability=recipe.erase_probability, generator=generator), y


def _held_scores(job: FoldJob, model: AlexNetLike, held: WindowDataset, engine: Engine) -> dict[str, float]:
    log_p = clip_log_probabilities(model, held, engine)
    truth, counted = job.labels[job.held], job.scored[job.held]
    truth, log_p = truth[counted], log_p[counted]
    ap = average_precision_at_3(truth, top_classes(log_p))
    return {
        "valid_loss": float(-log_p[np.arange(len(truth)), truth].mean()),
        "map3": float(ap.mean()),
        "accuracy": float((ap == 1.0).mean()),
    }


def _log(job: FoldJob, state: _State, row: dict[str, float], board: Any) -> None:
    row = {
        "epoch": state.epoch + 1,
        **row,
        "learning_rate": job.recipe.learning_rate,
        "seconds": round(state.seconds, 2),
    }
    for name in ("loss", "valid_loss", "map3", "accuracy", "learning_rate"):
        board.add_scalar(name, row[name], row["epoch"])
    path = job.folder / "history.csv"
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HISTORY_COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: round(row[name], 6) for name in HISTORY_COLUMNS})


def _cut_history(folder: Path, epoch: int) -> None:
    """Drop epochs after the resumed one: they are trained again."""
    path = folder / "history.csv"
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[: epoch + 1]
        write_atomically(path, lambda part: part.write_text("".join(lines), encoding="utf-8"))


def _finish(job: FoldJob, state: _State, windows: WindowDataset, held: WindowDataset, engine: Engine) -> dict[str, Any]:
    save_last(job.folder, state.to_dict(job))
    log_p = clip_log_probabilities(state.model, held, engine)
    names = [job.reader.names[i] for i in np.flatnonzero(job.held)]
    table = pd.DataFrame(np.exp(log_p), columns=job.settings["classes"])
    table.insert(0, "fname", names)
    # Nine digits, not nine places: small probabilities must not tie.
    write_atomically(
        job.folder / "oof.csv",
        lambda part: table.to_csv(part, index=False, lineterminator="\n", float_format="%.9g"),
    )

    counted = job.scored[job.held]
    ap = average_precision_at_3(job.labels[job.held][counted], top_classes(log_p[counted]))
    map3, map3_se = mean_and_error(ap)
    info = {
        **job.settings,
        "epoch": state.epoch,
        "map3": map3,
        "map3_se": map3_se if math.isfinite(map3_se) else None,
        "scored_clips": len(ap),
        "training_clips": int((~job.held).sum()),
        "training_windows": len(windows),
        "prior": job.prior,
        "mean_db": float(state.model.normalise.mean),
        "std_db": float(state.model.normalise.std),
        "precision": engine.precision,
        "seconds": round(state.seconds, 2),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    save_checkpoint(job.folder, state.model, info)
    return summarise(job.folder, {**info, "model": state.model.settings})


def summarise(folder: Path, info: dict[str, Any]) -> dict[str, Any]:
    """Return what ``cli train`` reports of a trained fold."""
    return {
        "mode": info["mode"]["name"],
        "model": info["model"]["network"],
        "fold": info["fold"],
        "path": str(folder),
        "map3": info["map3"],
        "map3_se": info["map3_se"],
        "epochs": info["epoch"],
        "seconds": info["seconds"],
        "clips_per_second": round(info["epoch"] * info["training_windows"] / max(info["seconds"], 1e-9), 1),
    }
