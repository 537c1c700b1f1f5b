"""The training loop of one fold: a job in, a trained network on disk out.

Conventions
-----------
Every random number of an epoch comes from (seed, mode, fold, epoch): a fold that is stopped and resumed equals an
undisturbed one. Progress is one line an epoch in ``history.csv``, which whoever waits can read from anywhere. Scores
come from the last or the averaged weights: no epoch is chosen on the fold that scores it.

The state to resume from is saved after an epoch as soon as ten times the last saving's duration has passed since:
after every epoch that is not very short. An interrupt that reaches the loop saves the last whole epoch. A process
that is killed, as workers are, loses what came after the last saving; those epochs are cut from the history and
trained again, with the same result.

What an earlier training left stays until the first epoch of a new one is done.
"""

import contextlib
import csv
import math
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import IntegrityError
from cache.outfile import write_atomically
from train.checkpoint import load_last, save_checkpoint, save_last
from train.convnet import ConvNet
from train.dataset import Clips, draw_shares, open_clips
from train.device import Engine, pick_engine
from train.epoch import WHAT_NEXT, DivergedError, State, train_epoch
from train.held import HELD, OOF, write_held
from train.hold import hold_folder
from train.job import FoldJob
from train.metrics import average_precision_at_3, mean_and_error, top_classes
from train.networks import Network, build_network
from train.optimizer import make_average, make_optimizer
from train.pretrained import find_pretrained, load_pretrained
from train.probe import adapt_statistics, fit_last_layer
from train.resident import fits_gpu
from train.scores import clip_log_probabilities

_ORPHAN_SECONDS = 10.0  # the workers of a command that was killed end within a second or two
_SAVE_SHARE = 0.1  # of the time, at most about, goes into saving the state: it is three times the network
HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "loss_verified",
    "loss_unverified",
    "valid_loss",
    "map3",
    "accuracy",
    "learning_rate",
    "seconds",
)


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
    LockedError
        If another process trains this fold.
    """
    with hold_folder(job.folder, held_by="another process trains", patience_seconds=_ORPHAN_SECONDS):
        return _train_held(job)


def _train_held(job: FoldJob) -> dict[str, Any]:
    torch.set_num_threads(job.threads)
    engine = pick_engine(job.device)
    clips, held = (open_job_clips(job, chosen, engine) for chosen in (job.trained, np.flatnonzero(job.held)))
    # Weights and dropout draw from torch's global generators, which are the caller's.
    with torch.random.fork_rng([engine.device] if engine.device.type == "cuda" else []):
        state = start_fold(job, clips, engine)
        with contextlib.ExitStack() as stack:
            _train_epochs(job, state, clips, held, engine, stack)
    return _finish(job, state, clips, held, engine)


def open_job_clips(job: FoldJob, chosen: NDArray[np.int64], engine: Engine) -> Clips:
    """Open some clips of a job as its recipe takes them, in the GPU's memory where they are to lie there."""
    clips = open_clips(
        job.reader,
        chosen.tolist(),
        whole=job.recipe.whole_clips,
        window_frames=job.settings["window_frames"],
        overlap=job.recipe.window_overlap,
    )
    if fits_gpu(clips.n_bytes, engine.device) if job.resident is None else job.resident:
        clips.reside(engine.device)
    return clips


def start_fold(job: FoldJob, clips: Clips, engine: Engine) -> State:
    """Return the state that a job begins with: that of its ``last/`` where there is one."""
    torch.manual_seed(job.seed_of(0))
    mode = job.settings["mode"]
    settings = job.recipe.network_settings(
        n_mels=mode["n_mels"],
        n_frames=job.settings["window_frames"],
        n_classes=len(job.settings["classes"]),
        head_only=mode["head_only"],
    )
    model = build_network(settings)
    model.to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = None if job.fresh else load_last(job.folder)
    if not last:
        _fit(job, model, clips)
        _begin_pretrained(job, model, clips, engine)
    state = State(model, make_optimizer(model, job.recipe), make_average(model, job.recipe))
    if last:
        _resume(job, state, last)
    return state


def _begin_pretrained(job: FoldJob, model: Network, clips: Clips, engine: Engine) -> None:
    """Take over pretrained convolutions, where the recipe wants them and the mode has some, and fit what follows."""
    path = find_pretrained(job.settings["mode"]) if job.recipe.pretrained else None
    if path is None or not isinstance(model, ConvNet):
        return
    load_pretrained(model, path)
    rng = np.random.default_rng(job.seed_of(0))
    adapt_statistics(model, clips, engine, rng=rng)
    targets = job.targets[job.trained]
    weights = np.where(job.verified[job.trained], 1.0, job.recipe.unverified_weight)
    weights *= draw_shares(targets, job.balanced_groups) / draw_shares(targets)
    fit_last_layer(model, clips, engine, targets=targets, weights=weights, rng=rng)


def _fit(job: FoldJob, model: Network, clips: Clips) -> None:
    """Set what a network takes from its training clips before the first step."""
    kind = model.normalise.kind
    if kind in ("featurewise", "peakwise"):
        groups = None if job.balanced_groups is None else job.balanced_groups[clips.clip]
        weights = draw_shares(job.targets[job.trained][clips.clip], groups)
        model.normalise.fit(*clips.mean_and_std(weights, below_peak=kind == "peakwise"))
    if job.recipe.restore_prior and isinstance(model, ConvNet):
        model.set_prior(torch.tensor(job.prior))


def _resume(job: FoldJob, state: State, last: dict[str, Any]) -> None:
    try:
        state.model.load_state_dict(last["model"])
        state.optimizer.load_state_dict(last["optimizer"])
        if state.average:
            state.average.load_state_dict(last["average"])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())  # torch's run over several lines
        message = f"{job.folder / 'last'} is not of this network ({reason}); start this fold anew with --force"
        raise IntegrityError(message) from error
    state.epoch, state.seconds, state.waited = last["epoch"], last["seconds"], last["waited"]
    _cut_history(job.folder, state.epoch)


def clear_fold(folder: Path) -> None:
    """Remove what an earlier training left in a fold's folder."""
    for name in ("model.json", "model.safetensors", OOF, HELD, "history.csv"):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()
    shutil.rmtree(folder / "last", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _train_epochs(
    job: FoldJob,
    state: State,
    clips: Clips,
    held: Clips,
    engine: Engine,
    stack: contextlib.ExitStack,
) -> None:
    saved_at = started = time.monotonic()
    before, saving, board = state.seconds, 0.0, None
    whole = _copy(state.to_dict(job))
    while state.epoch < job.recipe.epochs:
        try:
            row = {**train_epoch(job, state, clips, engine), **_held_scores(job, state.kept, held, engine)}
            if not math.isfinite(row["valid_loss"]):
                raise _diverged(job, state.epoch + 1, row["valid_loss"])
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


def _open_board(job: FoldJob, state: State, stack: contextlib.ExitStack) -> Any:
    """Open the board for the first epoch that is written; where it is epoch 1, clear the fold first."""
    from torch.utils.tensorboard import SummaryWriter

    if not state.epoch:
        clear_fold(job.folder)
    return stack.enter_context(SummaryWriter(str(job.folder), purge_step=state.epoch + 1))


def _diverged(job: FoldJob, epoch: int, loss: float) -> DivergedError:
    message = f"{job.title} diverged in epoch {epoch}: the held fold's loss is {loss}; {WHAT_NEXT}"
    return DivergedError(message)


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value


def _held_scores(job: FoldJob, model: Network, held: Clips, engine: Engine) -> dict[str, float]:
    log_p = clip_log_probabilities(model, held, engine, mean=job.recipe.window_mean)
    truth, counted = job.labels[job.held], job.scored[job.held]
    truth, log_p = truth[counted], log_p[counted]
    ap = average_precision_at_3(truth, top_classes(log_p))
    return {
        "valid_loss": float(-log_p[np.arange(len(truth)), truth].mean()),
        "map3": float(ap.mean()),
        "accuracy": float((ap == 1.0).mean()),
    }


def _log(job: FoldJob, state: State, row: dict[str, float], board: Any) -> None:
    row = {"epoch": state.epoch + 1, **row, "seconds": round(state.seconds, 2)}
    for name in HISTORY_COLUMNS[1:-1]:
        if math.isfinite(row[name]):
            board.add_scalar(name, row[name], row["epoch"])
    path = job.folder / "history.csv"
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HISTORY_COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: round(row[name], 6) for name in HISTORY_COLUMNS if not math.isnan(row[name])})


def _cut_history(folder: Path, epoch: int) -> None:
    """Drop epochs after the resumed one: they are trained again."""
    path = folder / "history.csv"
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[: epoch + 1]
        write_atomically(path, lambda part: part.write_text("".join(lines), encoding="utf-8"))


def _finish(job: FoldJob, state: State, clips: Clips, held: Clips, engine: Engine) -> dict[str, Any]:
    save_last(job.folder, state.to_dict(job))
    log_p = clip_log_probabilities(state.kept, held, engine, mean=job.recipe.window_mean)
    names = [job.reader.names[i] for i in np.flatnonzero(job.held)]
    labels, counted = job.labels[job.held], job.scored[job.held]
    write_held(job.folder, names, job.settings["classes"], log_p, labels, counted)
    ap = average_precision_at_3(labels[counted], top_classes(log_p[counted]))
    map3, map3_se = mean_and_error(ap)
    info = {
        **job.settings,
        "epoch": state.epoch,
        "map3": map3,
        "map3_se": map3_se if math.isfinite(map3_se) else None,
        "scored_clips": len(ap),
        "training_clips": len(job.trained),
        "training_windows": len(clips),
        "prior": job.prior,
        "unseen_classes": job.unseen_classes,
        "mean_db": float(state.kept.normalise.mean),
        "std_db": float(state.kept.normalise.std),
        "precision": engine.precision,
        "seconds": round(state.seconds, 2),
        "waited_seconds": round(state.waited, 3),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    save_checkpoint(job.folder, state.kept, info)
    return summarise(job.folder, {**info, "model": state.kept.settings})


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
