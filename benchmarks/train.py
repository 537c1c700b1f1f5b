"""Claim: training wastes little: clips a second, and the time that it waits for data.

On a made-up store whose clips are as long as FSDKaggle2018's (LH, 41 classes), an epoch of ``train.epoch`` by the
recipe "best", in the precision that it picks on this machine, is compared with the loop that is commonly written: a
``DataLoader`` over h5py, a window of a clip at a time, and the same network in float32 with Adam, with no, one and two
workers. The recipe trains on crops of 0.3 to 1 window: so a second plain loop takes batches of those very lengths, and
shows what the engine alone brings. All train on the same clips, with the same number of threads, one after the other;
who begins changes with every round. A round's speed is compared with the fastest plain loop of that round.

Must hold, on every device that is measured:

- at least 3 times the clips a second of the plain loop on windows,
- at most 2 % of the time spent waiting for data, in the recipes best and notebook.

It also shows where the milliseconds of a step go, float32 against bfloat16, and clips a second at inference. An epoch
before the first round is not counted: clips are read and checked for the first time, and kernels are chosen.

    python benchmarks/train.py [--clips N] [--rounds N] [--device cpu|cuda ...] [--threads N] [--full EPOCHS]
                               [--full-folds N] [--full-clips N] [--processor-time] [--folder DIR] [--json]

``--full`` trains LH and X at FSDKaggle2018's size for so many epochs of a fold and says what 5 folds of 100 epochs of
both take; ``--full 100 --full-folds 5`` leaves nothing to be reckoned. On a GPU the times end when its work is done.
``--processor-time`` counts the processor's seconds in one thread, which other programs disturb less than the clock's,
and leaves out loops with workers and the claim about waiting, which only a clock can tell.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, and "train" this file, not the packages.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import torch
from peers.figures import finish, ratio, show_spread, spread
from peers.folds import Fold, begin, make_table, open_fold, plan_folds, write_store
from peers.plain import WORKERS, Batches, H5Clips, PlainTraining, batches_like, of_length, plain_copy

from featurize.modes import MODES
from train.batches import draw_batches
from train.device import Engine, pick_engine
from train.epoch import train_epoch
from train.recipe import RECIPES
from train.scores import clip_log_probabilities

LEAST_SPEED = 3.0
MOST_WAITING = 0.02
LARGEST_DIFFERENCE = 1e-3
FULL_FOLDS, FULL_EPOCHS, FULL_MODES = 5, 100, ("lh", "x")
GATHER, AUGMENT, FORWARD = "gather", "normalise and augment", "forward"
BACKWARD, OPTIMIZER = "loss and backward", "optimizer and average"
WINDOWS, CROPS = "windows", "its crops"
SPLIT = (GATHER, AUGMENT, FORWARD, BACKWARD, OPTIMIZER)

Rows = dict[str, list[float]]


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, work: Callable[[], Any], clock: Callable[[], float]) -> float:
    wait_for(device)
    begun = clock()
    work()
    wait_for(device)
    return clock() - begun


class EngineTraining:
    """Training by this project, of a fold, an epoch after the other."""

    def __init__(self, fold: Fold, engine: Engine, clock: Callable[[], float] = time.perf_counter) -> None:
        self.fold, self.engine, self.state, self.clock = fold, engine, begin(fold, engine), clock
        self.waited: list[float] = []

    def epoch(self) -> float:
        """Train an epoch; give its seconds."""
        before = self.state.waited
        job, clips, engine = self.fold.job, self.fold.clips, self.engine
        seconds = timed(engine.device, lambda: train_epoch(job, self.state, clips, engine), self.clock)
        self.waited.append((self.state.waited - before) / seconds)
        self.state.epoch += 1
        return seconds

    def score(self) -> float:
        """Score the held clips; give the seconds."""
        state, fold = self.state, self.fold
        return timed(self.engine.device, lambda: clip_log_probabilities(state.kept, fold.held, self.engine), self.clock)

    def next_batches(self) -> Batches:
        """Give the clips and lengths of the epoch that is next."""
        job, recipe = self.fold.job, self.fold.job.recipe
        labels, seed = job.targets[job.trained], job.seed_of(self.state.epoch + 1)
        window = job.settings["window_frames"]
        mixed = recipe.mixup_alpha > 0 and self.state.epoch < recipe.epochs * (1 - recipe.unmixed_share)
        drawn = draw_batches(self.fold.clips, labels, recipe, window_frames=window, mixed=mixed, seed=seed)
        return batches_like((batch.clips[0].numpy(), batch.windows.shape[1]) for batch in drawn)


def check_networks(training: EngineTraining) -> None:
    """Stop if the plain network gives other scores than the one it is a copy of."""
    model = training.state.model.eval()
    device = training.engine.device
    x = next(training.fold.held.batches(8))[0].float().to(device)
    with torch.inference_mode():
        own, plain = model(x), plain_copy(model).to(device).eval()(x)
    if not torch.allclose(own, plain, atol=LARGEST_DIFFERENCE):
        sys.exit(f"the plain network's scores differ by {float((own - plain).abs().max())}")


def precisions(device: str) -> dict[str, Engine]:
    """Return the engine that training picks for a device, and the one of float32 where that is another."""
    picked = pick_engine(device)
    engines = {picked.precision: picked}
    return engines | {"float32": Engine(picked.device, bfloat16=False)}


def time_training(
    fold: Fold, device: str, rounds: int, *, clock: Callable[[], float], workers: Sequence[int]
) -> dict[str, Any]:
    """Train an epoch with every contestant, once a round."""
    engines = {name: EngineTraining(fold, engine, clock) for name, engine in precisions(device).items()}
    first = next(iter(engines.values()))
    check_networks(first)
    job = fold.job
    plain_clips = H5Clips(job, fold.clips)
    plain_clips.prepare(first.state.model)
    plain = PlainTraining(first.state.model, job.recipe, plain_clips, first.engine.device)
    ways: dict[str, Callable[[Batches], float]] = {
        f"this engine, {name}": lambda _, it=it: it.epoch() for name, it in engines.items()
    }
    lengths = {WINDOWS: job.settings["window_frames"], CROPS: None}
    for kind, n_frames in lengths.items():
        for number in workers:
            ways[f"plain, {kind}, {number} workers"] = lambda batches, number=number, n_frames=n_frames: timed(
                first.engine.device, lambda: plain.epoch(of_length(batches, n_frames), number), clock
            )
    seconds = time_in_turns(ways, first.next_batches, rounds)
    rates = {name: [len(fold.clips) / took for took in row] for name, row in seconds.items()}
    fastest = {
        kind: [max(each) for each in zip(*(row for name, row in rates.items() if kind in name), strict=True)]
        for kind in lengths
    }
    return {
        "own": f"this engine, {first.engine.precision}",
        "clips_per_second": {name: spread(row) for name, row in rates.items()},
        "against_plain": {
            kind: {name: ratio(row, plain_row) for name, row in rates.items()} for kind, plain_row in fastest.items()
        },
        "waiting": {name: spread(it.waited[1:]) for name, it in engines.items()},
        "split_ms": {name: split_steps(it) for name, it in engines.items()},
        "inference": {name: len(fold.held) / min(it.score() for _ in range(3)) for name, it in engines.items()},
    }


def time_in_turns(
    ways: dict[str, Callable[[Batches], float]], next_batches: Callable[[], Batches], rounds: int
) -> Rows:
    """Give each contestant's seconds, round by round, after one that does not count."""
    names = list(ways)
    rows: Rows = {name: [] for name in names}
    for number in range(rounds + 1):
        batches = next_batches()
        for name in names[number % len(names) :] + names[: number % len(names)]:
            rows[name].append(ways[name](batches))
    return {name: row[1:] for name, row in rows.items()}


def time_notebook(fold: Fold, device: str, rounds: int) -> dict[str, Any]:
    """Train by the recipe notebook, on windows."""
    training = EngineTraining(fold, pick_engine(device))
    rates = [len(fold.clips) / training.epoch() for _ in range(rounds + 1)][1:]
    return {
        "clips_per_second": spread(rates),
        "waiting": spread(training.waited[1:]),
        "split_ms": split_steps(training),
    }


# --- where the time goes ---------------------------------------------------------------------------------------------


@contextmanager
def marked(training: EngineTraining, marks: list[tuple[str, float]]) -> Iterator[None]:
    """Note the time at the ends of the parts of each step."""
    state = training.state

    def mark(name: str) -> None:
        wait_for(training.engine.device)
        marks.append((name, time.perf_counter()))

    def after(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def marked_call(*arguments: Any) -> Any:
            result = call(*arguments)
            mark(name)
            return result

        return marked_call

    def marked_scores(x: torch.Tensor) -> torch.Tensor:
        mark(AUGMENT)
        return scores(x)

    scores = after(state.model.scores, FORWARD)
    state.model.scores = marked_scores
    hooks = [state.optimizer.register_step_pre_hook(lambda *_: mark(BACKWARD))]
    if state.average:
        state.average.update_parameters = after(state.average.update_parameters, OPTIMIZER)
    else:
        hooks.append(state.optimizer.register_step_post_hook(lambda *_: mark(OPTIMIZER)))
    try:
        yield
    finally:
        del state.model.scores
        if state.average:
            del state.average.update_parameters
        for hook in hooks:
            hook.remove()


def split_steps(training: EngineTraining) -> dict[str, float]:
    """Return the milliseconds of a step, part by part, as the mean over an epoch.

    Gradients are shortened in the part "loss and backward"; running losses are summed in "normalise and augment".
    """
    waited = training.state.waited
    marks = [("", time.perf_counter())]
    with marked(training, marks):
        training.epoch()
    total = dict.fromkeys(SPLIT, 0.0)
    for (_, before), (name, after) in pairwise(marks):
        total[name] += after - before
    total[GATHER] = training.state.waited - waited
    total[AUGMENT] -= total[GATHER]
    n_steps = sum(name == OPTIMIZER for name, _ in marks)
    return {name: 1000 * seconds / n_steps for name, seconds in total.items()}


# --- the whole of FSDKaggle2018 --------------------------------------------------------------------------------------


def time_full(folder: Path, arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """Train LH and X at full size; reckon what folds and epochs that are left out would take."""
    table = make_table(arguments.full_clips)
    minutes, rows = 0.0, {}
    for name in FULL_MODES:
        mode = MODES[name]
        reader = write_store(folder / "full", table, mode, seed=0)
        jobs = plan_folds(folder / "full", table, mode, reader, RECIPES["best"], arguments.threads)
        epochs, scores, waited = [], [], []
        for job in jobs[: arguments.full_folds]:
            training = EngineTraining(open_fold(job), pick_engine(device))
            training.epoch()
            epochs += [training.epoch() for _ in range(arguments.full)]
            scores += [training.score() for _ in range(min(3, arguments.full))]
            waited += training.waited[1:]
        each = {"epoch_seconds": spread(epochs), "score_seconds": spread(scores), "waiting": spread(waited)}
        rows[name] = each | {"clips_per_second": len(training.fold.clips) / each["epoch_seconds"]["median"]}
        by_epoch = each["epoch_seconds"]["median"] + each["score_seconds"]["median"]
        minutes += FULL_FOLDS * FULL_EPOCHS * by_epoch / 60
    return {"clips": len(table), "epochs_trained": arguments.full, "modes": rows, "minutes": minutes}


# --- all of it -------------------------------------------------------------------------------------------------------


def features() -> dict[str, Any]:
    """Return what the processor and torch bring that matters here."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    wanted = ("cpu_name", "avx2", "avx512_f", "avx512_bf16", "amx_bf16", "num_physical_cores", "num_logical_cores")
    found = {name: capabilities[name] for name in wanted if name in capabilities}
    vectors = torch.backends.cpu.get_cpu_capability()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"torch": torch.__version__, "vectors": vectors, "gpu": gpu, **found}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if arguments.processor_time:
        arguments.threads = 1
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    workers = (0,) if arguments.processor_time else WORKERS  # other processes' time is not counted
    table, mode = make_table(arguments.clips), MODES["lh"]
    reader = write_store(folder, table, mode, seed=0)
    folds = {}
    for name in ("best", "notebook"):
        job = plan_folds(folder, table, mode, reader, RECIPES[name], arguments.threads)[0]
        folds[name] = open_fold(job)
    devices = {}
    for device in arguments.device or [default for default in ("cpu", "cuda") if has(default)]:
        found = {
            "best": time_training(folds["best"], device, arguments.rounds, clock=clock, workers=workers),
            "notebook": time_notebook(folds["notebook"], device, arguments.rounds),
        }
        if arguments.full:
            found["full"] = time_full(folder, arguments, device)
        devices[device] = found | {"claims": claims(found, waiting=not arguments.processor_time)}
    return {
        "features": features(),
        "clips": len(folds["best"].clips),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "processor_time": arguments.processor_time,
        "devices": devices,
        "holds": all(claim["holds"] for found in devices.values() for claim in found["claims"]),
    }


def has(device: str) -> bool:
    return device == "cpu" or torch.cuda.is_available()


def claims(found: dict[str, Any], *, waiting: bool) -> list[dict[str, Any]]:
    best, own = found["best"], found["best"]["own"]
    speed = best["against_plain"][WINDOWS][own]
    rows = [{"claim": f"speed against plain, {WINDOWS}", "value": speed, "rule": f">= {LEAST_SPEED}"}]
    rows[0]["holds"] = speed["median"] >= LEAST_SPEED
    waits = {"best": best["waiting"][own.rpartition(" ")[2]], "notebook": found["notebook"]["waiting"]}
    for recipe, share in waits.items() if waiting else ():
        row = {"claim": f"share of time waiting, {recipe}", "value": share, "rule": f"<= {MOST_WAITING}"}
        rows.append(row | {"holds": share["median"] <= MOST_WAITING})
    return rows


def show(result: dict[str, Any]) -> None:
    words = ", ".join(f"{name} {value}" for name, value in result["features"].items() if value not in (False, None))
    print(words)
    print(f"{result['clips']} clips an epoch, {result['threads']} threads, {result['rounds']} rounds", end="")
    print(", in seconds of the processor" if result["processor_time"] else "")
    for device, found in result["devices"].items():
        best = found["best"]
        print(f"\n{device + ', recipe best':29s}{'clips/s':>22s}", end="")
        print("".join(f"{'/ plain, ' + kind:>24s}" for kind in best["against_plain"]))
        for name, rate in best["clips_per_second"].items():
            print(f"{name:29s}{show_spread(rate):>22s}", end="")
            print("".join(f"{show_spread(rows[name]):>24s}" for rows in best["against_plain"].values()))
        print(f"{'recipe notebook':29s}{show_spread(found['notebook']['clips_per_second']):>22s}")
        for name, rate in best["inference"].items():
            print(f"{'inference, ' + name:29s}{rate:9.0f}")
        columns = {**{f"best, {name}": row for name, row in best["split_ms"].items()}}
        columns["notebook"] = found["notebook"]["split_ms"]
        print("\n" + f"{'ms a step':26s}" + "".join(f"{name:>16s}" for name in columns))
        for part in SPLIT:
            print(f"{part:26s}" + "".join(f"{row[part]:16.2f}" for row in columns.values()))
        if full := found.get("full"):
            show_full(full)
        print()
        for claim in found["claims"]:
            verdict = "holds" if claim["holds"] else "does NOT hold"
            print(f"{claim['claim']:33s}{claim['rule']:>8s}  {value_of(claim['value'])}  {verdict}")


def value_of(value: dict[str, float]) -> str:
    return f"{value['median']:.3f} ({value['min']:.3f} … {value['max']:.3f})"


def show_full(full: dict[str, Any]) -> None:
    print(f"\n{full['clips']} clips, {full['epochs_trained']} epochs of a fold")
    for name, row in full["modes"].items():
        print(
            f"{name}: {row['clips_per_second']:.0f} clips/s, an epoch {value_of(row['epoch_seconds'])} s, scoring ",
            end="",
        )
        print(f"{value_of(row['score_seconds'])} s, waiting {value_of(row['waiting'])}")
    print(f"{FULL_FOLDS} folds of {FULL_EPOCHS} epochs of {' and '.join(FULL_MODES)}: {full['minutes']:.1f} min")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast training is, and how long it waits for data.")
    parser.add_argument("--clips", type=int, default=2500, help="of the store; an epoch takes four fifths")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", action="append", help="can be given several times [cpu, and cuda if it is there]")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine: one thread, no workers")
    parser.add_argument("--full", type=int, default=0, metavar="EPOCHS", help="also time FSDKaggle2018's size")
    parser.add_argument("--full-folds", type=int, default=1, help="folds to train of it")
    parser.add_argument("--full-clips", type=int, default=9473)
    parser.add_argument("--folder", type=Path, help="where the temporary files go [the system's folder for them]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earmark-train-", dir=arguments.folder) as folder:
        result = measure(arguments, Path(folder))
    finish(result, show, as_json=arguments.json)


if __name__ == "__main__":
    main()
