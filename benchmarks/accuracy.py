"""Claim: the recipe "best" beats the notebook's in less time, and wins back what wrong labels cost.

DIR holds corpora, a folder each, in any layout that the program reads and with labels for their test clips. Every
figure comes from ``cli train``, ``predict`` and ``evaluate``, for several seeds, which also make the folds. A score is
mAP@3 of the mean over the seeds of each clip's AP@3; its standard error is over clips, or over groups of them where the
corpus has any, as clips of one recorder are right or wrong together; the range is over seeds. Differences are paired:
on the same clips, with the same seeds. "Time" is the sum of the seconds of all folds and views.

Parts, and what must hold:

- ``scores``: the recipes notebook, best and baseline (one fold) on each corpus's test clips, by view and joined. Joined
  LH and X of best are at least 0.06 above notebook where the corpus has groups, in at most half the time, and not below
  it elsewhere.
- ``folds``: the same, cross-validated over all labelled clips of the corpora of up to 400 (``--cross-validate`` names
  others): best is not below notebook.
- ``speed``: best, trained for fewer epochs, which its schedule follows, reaches the score that notebook has after all
  of its epochs in at most a fifth of the time, on the corpora without groups.
- ``noise``: on corpora that hold ``train_truth.csv``, ``--label-noise on`` wins back at least half of what the wrong
  labels cost: of the way from "off" to the clean twin (``--clean-twin NOISY=CLEAN``; without it the folder whose name
  is the noisy one's up to its last hyphen). Also, what share of the errors ``cli corpus issues`` lists, and what share
  of its list are errors.

    python benchmarks/accuracy.py --corpora DIR [--folder WORK] [--part PART ...] [--corpus NAME ...]
                                  [--seeds 42,43,44] [--recipes notebook,best,baseline] [--views lh,x,log,lh+x,lh+x+log]
                                  [--epochs N] [--speed-epochs 15,25,40,80] [--folds N] [--jobs N] [--no-training]
                                  [--cross-validate NAME ...] [--clean-twin NOISY=CLEAN ...] [--json]

WORK keeps stores, networks and predictions: a call that was stopped goes on where it was, and parts, corpora and seeds
can be measured one after the other. ``--no-training`` shows what is there; what is not is left out and named. Times are
true only if all folds of a table were trained on the same machine with nothing else to do, and with the same
``--jobs``. Without DIR nothing is measured.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# In this folder "featurize" would be featurize.py, and "train" train.py, not the packages.
sys.path.sort(key=lambda folder: Path(folder, "featurize.py").exists())

import numpy as np
import pandas as pd
from peers.figures import finish
from peers.runs import AP, TRUTH, Groups, Missing, Training, Workplace, make_whole_corpus

from cache.errors import EarmarkError
from featurize.modes import MODES
from train.issues import score_issues, wrong_labels
from train.metrics import mean_and_error
from train.recipe import RECIPES

PARTS = ("scores", "folds", "speed", "noise")
REFERENCE, OWN, ONE_FOLD = "notebook", "best", "baseline"
ENSEMBLE = "lh+x"
VIEWS = ("lh", "x", "log", ENSEMBLE, "lh+x+log")
OWN_VIEWS = {OWN: ("log", "lh+x+log"), ONE_FOLD: ("dcase",)}
"""Views that only these recipes are measured on; the baseline is measured on nothing else."""
LEAST_GAIN, LARGEST_TIME, LARGEST_SPEED_TIME, LEAST_WON_BACK = 0.06, 0.5, 0.2, 0.5
MOST_CROSS_VALIDATED = 400
RESAMPLES = 2000

Rows = list[dict[str, Any]]
Claims = list[dict[str, Any]]


# --- scores ----------------------------------------------------------------------------------------------------------


class Scores:
    """AP@3 of every clip, seed by seed, and the time that the networks took."""

    def __init__(self, ap: Sequence[AP], seconds: Sequence[float], epochs: int, groups: Groups | None) -> None:
        self.ap, self.seconds, self.epochs, self.groups = np.stack(ap), list(seconds), epochs, groups

    def row(self) -> dict[str, Any]:
        """Return what a table shows."""
        return {**statistic(self.ap, self.groups), "seconds": float(np.mean(self.seconds)), "epochs": self.epochs}


def statistic(by_seed: AP, groups: Groups | None) -> dict[str, Any]:
    """Return mean and standard error of the clips' means over seeds, [n_seeds, n_clips], and each seed's mean."""
    mean, error = mean_and_error(by_seed.mean(axis=0), groups)
    return {"map3": mean, "se": error, "by_seed": by_seed.mean(axis=1).tolist(), "clips": by_seed.shape[1]}


def score(place: Workplace, trainings: Sequence[Training], view: str, *, held: bool = False) -> Scores:
    """Train and score a view, once a seed.

    Raises
    ------
    Missing
        If it is not trained, and may not be.
    """
    modes = view.split("+")
    ap, seconds, epochs = [], [], 0
    for training in trainings:
        runs = place.train(training, modes)
        seconds.append(sum(run["seconds"] for run in runs))
        epochs = max(run["epochs"] for run in runs)
        ap.append(place.held_ap(training, modes) if held else place.test_ap(training, modes))
    return Scores(ap, seconds, epochs, place.groups(held=held))


def views_of(recipe: str, asked: Sequence[str]) -> list[str]:
    if recipe == ONE_FOLD:
        return [view for view in OWN_VIEWS[ONE_FOLD] if view in MODES]
    others = {view for name, views in OWN_VIEWS.items() for view in views if name != recipe}
    return [view for view in asked if view not in others]


def measure_scores(place: Workplace, arguments: argparse.Namespace, *, held: bool = False) -> dict[str, Any]:
    """Score each recipe and view, and compare the two recipes."""
    found: dict[tuple[str, str], Scores] = {}
    left_out = []
    for recipe in arguments.recipes:
        views = views_of(recipe, arguments.views) if recipe in RECIPES else []
        if not views or (held and recipe == ONE_FOLD):
            left_out.append(f"{place.name}: {recipe}")
        trainings = [
            Training(recipe, seed, arguments.epochs, first_fold_only=recipe == ONE_FOLD) for seed in arguments.seeds
        ]
        if place.may_train:
            train_together(place, trainings, views)
        for view in views:
            try:
                found[recipe, view] = score(place, trainings, view, held=held)
            except Missing as missing:
                left_out.append(str(missing))
    return {
        "corpus": place.name,
        "groups": place.has_groups(),
        "rows": [{"recipe": recipe, "view": view, **scores.row()} for (recipe, view), scores in found.items()],
        "differences": [
            compare(found, view) for view in arguments.views if {(OWN, view), (REFERENCE, view)} <= {*found}
        ],
        "left_out": left_out,
    }


def train_together(place: Workplace, trainings: Sequence[Training], views: Sequence[str]) -> None:
    """Train all modes of some views, seed by seed: where a first round judges labels, it does by all of them."""
    modes = sorted({mode for view in views for mode in view.split("+")}, key=list(MODES).index)
    for training in trainings if modes else ():
        place.train(training, modes)


def compare(found: dict[tuple[str, str], Scores], view: str) -> dict[str, Any]:
    own, reference = found[OWN, view], found[REFERENCE, view]
    share = [mine / other for mine, other in zip(own.seconds, reference.seconds, strict=True)]
    return {"view": view, **statistic(own.ap - reference.ap, own.groups), "time_share": float(np.mean(share))}


def score_claims(result: dict[str, Any]) -> Claims:
    rows: Claims = []
    for row in result["differences"]:
        if row["view"] == ENSEMBLE:
            least = LEAST_GAIN if result["groups"] else 0.0
            text = f"{result['corpus']}: {OWN} - {REFERENCE}, {ENSEMBLE}"
            rows.append(claim(text, row["map3"], f">= {least}", row["map3"] >= least, row["se"]))
            if result["groups"]:
                text = f"{result['corpus']}: time of {OWN}, of {REFERENCE}'s"
                rows.append(claim(text, row["time_share"], f"<= {LARGEST_TIME}", row["time_share"] <= LARGEST_TIME))
    return rows


def claim(text: str, value: float, rule: str, holds: bool, error: float | None = None) -> dict[str, Any]:
    return {"claim": text, "value": value, "se": error, "rule": rule, "holds": bool(holds)}


def show_scores(result: dict[str, Any], title: str) -> None:
    print(f"\n{title}\n{'recipe':11s}{'view':10s}{'mAP@3':>16s}   {'of the seeds':18s}{'time':>9s}{'epochs':>8s}")
    for row in result["rows"]:
        print(f"{row['recipe']:11s}{row['view']:10s}{show_score(row)}{minutes(row['seconds'])}{row['epochs']:8d}")
    for row in result["differences"]:
        name = f"{OWN} - {REFERENCE[:4]}."
        print(f"{name:13s}{row['view']:8s}{show_score(row, sign='+')}{row['time_share']:8.0%} of the time")
    show_left_out(result)


def show_score(row: dict[str, Any], sign: str = "") -> str:
    seeds = f"({min(row['by_seed']):{sign}.3f} … {max(row['by_seed']):{sign}.3f})"
    return f"{row['map3']:{sign}8.3f} ± {row['se']:.3f}   {seeds:18s}"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:5.1f} min"


def show_left_out(result: dict[str, Any]) -> None:
    for name in result["left_out"]:
        print(f"left out: {name}")


# --- speed -----------------------------------------------------------------------------------------------------------


def measure_speed(place: Workplace, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train best for fewer and fewer epochs, and compare each with the whole of notebook."""
    asked = {REFERENCE: [(REFERENCE, arguments.epochs)], OWN: [(OWN, epochs) for epochs in arguments.speed_epochs]}
    rows: Rows = []
    left_out = []
    for recipe, epochs in itertools.chain.from_iterable(asked.values()):
        own_epochs = epochs if epochs != RECIPES[recipe].epochs else None  # the run of the part "scores"
        trainings = [Training(recipe, seed, own_epochs) for seed in arguments.seeds]
        try:
            rows.append({"recipe": recipe, "view": ENSEMBLE, **score(place, trainings, ENSEMBLE).row()})
        except Missing as missing:
            left_out.append(str(missing))
    reference = next((row for row in rows if row["recipe"] == REFERENCE), None)
    for row in rows:
        if reference:
            row["time_share"] = row["seconds"] / reference["seconds"]
            row["reaches"] = row["map3"] >= reference["map3"]
    return {"corpus": place.name, "rows": rows, "left_out": left_out}


def speed_claims(result: dict[str, Any]) -> Claims:
    shares = [row["time_share"] for row in result["rows"] if row["recipe"] == OWN and row.get("reaches")]
    if not any("reaches" in row and row["recipe"] == OWN for row in result["rows"]):
        return []
    value = min(shares, default=float("inf"))
    text = f"{result['corpus']}: time until {REFERENCE}'s score"
    return [claim(text, value, f"<= {LARGEST_SPEED_TIME}", value <= LARGEST_SPEED_TIME)]


def show_speed(result: dict[str, Any]) -> None:
    print(f"\n{result['corpus']}: the time to {REFERENCE}'s score, {ENSEMBLE}")
    print(f"{'recipe':11s}{'epochs':>7s}{'mAP@3':>16s}   {'of the seeds':18s}{'time':>9s}")
    for row in result["rows"]:
        print(f"{row['recipe']:11s}{row['epochs']:7d}{show_score(row)}{minutes(row['seconds'])}", end="")
        reached = {True: ", reached", False: ", not reached"}.get(row.get("reaches"), "")
        print(f"   {row['time_share']:.0%} of the time{reached}" if "time_share" in row else "")
    show_left_out(result)


# --- noise -----------------------------------------------------------------------------------------------------------


def measure_noise(noisy: Workplace, clean: Workplace, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train best on the noisy corpus with and without its measures, and on the clean twin."""
    ways = {"off": (noisy, "off"), "on": (noisy, "on"), "clean": (clean, None)}
    found: dict[str, Scores] = {}
    issues: Rows = []
    left_out = []
    for name, (place, noise) in ways.items():
        trainings = [Training(OWN, seed, arguments.epochs, label_noise=noise) for seed in arguments.seeds]
        try:
            found[name] = score(place, trainings, ENSEMBLE)
            if noise:
                issues.append({"label_noise": name, **judge_issues(place, trainings)})
        except Missing as missing:
            left_out.append(str(missing))
    result = {
        "corpus": noisy.name,
        "clean": clean.name,
        "rows": [{"label_noise": name, **scores.row()} for name, scores in found.items()],
        "issues": issues,
        "left_out": left_out,
    }
    return result | ({"won_back": won_back(found)} if len(found) == len(ways) else {})


def won_back(found: dict[str, Scores]) -> dict[str, Any]:
    """Return what is lost and won back, and its share where there is a loss; its standard error by resampling clips."""
    off, on, clean = (found[name].ap for name in ("off", "on", "clean"))
    cost, won = clean - off, on - off
    both = {"cost": statistic(cost, None), "won": statistic(won, None)}
    if cost.mean() <= 0:
        return both
    rng = np.random.default_rng(0)
    chosen = rng.integers(cost.shape[1], size=(RESAMPLES, cost.shape[1]))
    costs, wons = cost.mean(axis=0)[chosen].mean(axis=1), won.mean(axis=0)[chosen].mean(axis=1)
    shares = wons[costs > 0] / costs[costs > 0]
    # From the quantiles 16 % and 84 %: a quotient's standard deviation hangs on its worst samples.
    low, high = np.quantile(shares, [0.16, 0.84])
    return both | {"share": float(won.mean() / cost.mean()), "se": float(high - low) / 2}


def judge_issues(place: Workplace, trainings: Sequence[Training]) -> dict[str, Any]:
    """Compare what ``cli corpus issues`` lists with the right labels; means over the seeds."""
    if not place.offers("corpus", "issues"):
        return {"missing": "cli corpus issues is not offered"}
    truth, clips = pd.read_csv(place.corpus / TRUTH, dtype=str), place.table()
    wrong = wrong_labels(clips[clips["fname"].isin(truth["fname"])], truth)
    rows = [score_issues(place.issues(training, ENSEMBLE.split("+")), wrong) for training in trainings]
    kinds = ("listed", "precision", "recall", "precision_at_errors")
    return {"errors": len(wrong)} | {kind: float(np.mean([row[kind] or 0.0 for row in rows])) for kind in kinds}


def noise_claims(result: dict[str, Any]) -> Claims:
    row = result.get("won_back", {})
    if "share" not in row:
        return []
    text = f"{result['corpus']}: share of the loss won back"
    return [claim(text, row["share"], f">= {LEAST_WON_BACK}", row["share"] >= LEAST_WON_BACK, row["se"])]


def show_noise(result: dict[str, Any]) -> None:
    print(f"\n{result['corpus']}: recipe {OWN}, {ENSEMBLE}; clean: {result['clean']}")
    print(f"{'--label-noise':21s}{'mAP@3':>16s}   {'of the seeds':18s}{'time':>9s}{'epochs':>8s}")
    for row in result["rows"]:
        print(f"{row['label_noise']:21s}{show_score(row)}{minutes(row['seconds'])}{row['epochs']:8d}")
    if row := result.get("won_back"):
        print(f"{'clean - off':21s}{show_score(row['cost'], sign='+')}")
        share = f"{row['share']:.0%} ± {row['se']:.0%} won back" if "share" in row else "nothing is lost"
        print(f"{'on - off':21s}{show_score(row['won'], sign='+')}{share}")
    for row in result["issues"]:
        print(f"cli corpus issues, --label-noise {row['label_noise']}: ", end="")
        print(row.get("missing") or show_issues(row))
    show_left_out(result)


def show_issues(row: dict[str, Any]) -> str:
    return (
        f"{row['listed']:.0f} clips listed, {row['errors']} are wrong: precision {row['precision']:.2f}, recall "
        f"{row['recall']:.2f}; precision of the first {row['errors']} {row['precision_at_errors']:.2f}"
    )


# --- all of it -------------------------------------------------------------------------------------------------------


def workplaces(arguments: argparse.Namespace) -> dict[str, Workplace]:
    """Return a place for every corpus that is there and has test clips to score."""
    work = (arguments.folder or arguments.corpora / "work").resolve()
    places = {}
    for path in sorted(folder for folder in arguments.corpora.resolve().iterdir() if folder.is_dir()):
        if path == work or (arguments.corpus and path.name not in arguments.corpus):
            continue
        place = Workplace(path, work / path.name, arguments.folds, arguments.jobs, not arguments.no_training)
        try:
            scored = len(place.scored())
        except EarmarkError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        if scored:
            places[path.name] = place
    if not places:
        sys.exit(f"{arguments.corpora} holds no corpus with labelled test clips, or not the one asked for")
    return places


def clean_twin(noisy: Workplace, arguments: argparse.Namespace) -> Workplace:
    named = dict(pair.split("=", 1) for pair in arguments.clean_twin)
    name = named.get(noisy.name, noisy.name.rpartition("-")[0])
    corpus = noisy.corpus.parent / name
    if not (name and corpus.is_dir()):
        sys.exit(f"{noisy.name} needs its clean twin: name it with --clean-twin {noisy.name}=CLEAN")
    return replace(noisy, corpus=corpus, folder=noisy.folder.parent / name)


def cross_validated(place: Workplace, arguments: argparse.Namespace) -> Workplace | None:
    """Return a place in which all labelled clips are training clips; None where there are too many."""
    n_clips = int(place.table()["label"].notna().sum())
    wanted = place.name in arguments.cross_validate if arguments.cross_validate else n_clips <= MOST_CROSS_VALIDATED
    if not wanted:
        return None
    corpus = make_whole_corpus(place.corpus, place.folder / "all-clips")
    return replace(place, corpus=corpus, folder=place.folder / "all-clips-work")


def measure(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield part after part, and corpus after corpus."""
    places = workplaces(arguments)
    noisy = [place for place in places.values() if (place.corpus / TRUTH).exists()]
    clean = [place for place in places.values() if place not in noisy]
    if "scores" in arguments.part:
        yield from (("scores", measure_scores(place, arguments)) for place in clean)
    if "folds" in arguments.part:
        for place in clean:
            if whole := cross_validated(place, arguments):
                yield "folds", measure_scores(whole, arguments, held=True) | {"corpus": f"{place.name}, all clips"}
    if "speed" in arguments.part:
        yield from (("speed", measure_speed(place, arguments)) for place in clean if not place.has_groups())
    if "noise" in arguments.part:
        yield from (("noise", measure_noise(place, clean_twin(place, arguments), arguments)) for place in noisy)


CLAIMS: dict[str, Callable[[dict[str, Any]], Claims]] = {
    "scores": score_claims,
    "folds": score_claims,
    "speed": speed_claims,
    "noise": noise_claims,
}


def show_part(part: str, found: dict[str, Any]) -> None:
    if part == "scores":
        show_scores(found, f"{found['corpus']}: test clips")
    elif part == "folds":
        show_scores(found, f"{found['corpus']}: cross-validated")
    else:
        {"speed": show_speed, "noise": show_noise}[part](found)


def show(result: dict[str, Any]) -> None:
    print(f"seeds {', '.join(map(str, result['seeds']))}")
    for part in PARTS:
        for found in result["parts"].get(part, []):
            show_part(part, found)
    if result["claims"]:
        print(f"\n{'':45s}{'must be':>8s}")
    for each in result["claims"]:
        error = f" ± {each['se']:.3f}" if each["se"] is not None else ""
        verdict = "holds" if each["holds"] else "does NOT hold"
        print(f"{each['claim']:45s}{each['rule']:>8s}  {each['value']:.3f}{error}  {verdict}")


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def numbers(text: str) -> list[int]:
    return [int(word) for word in words(text)]


def main() -> None:
    parser = argparse.ArgumentParser(description="How well the recipes do, in what time, and under wrong labels.")
    parser.add_argument("--corpora", type=Path, metavar="DIR", help="folder of corpora")
    parser.add_argument("--folder", type=Path, help="what is trained stays there [DIR/work]")
    parser.add_argument("--part", action="append", choices=PARTS, help="can be given several times [all]")
    parser.add_argument("--corpus", action="append", default=[], help="measure only this; can be given several times")
    parser.add_argument("--clean-twin", action="append", default=[], metavar="NOISY=CLEAN")
    parser.add_argument(
        "--cross-validate", action="append", default=[], metavar="NAME", help="corpora of the part folds"
    )
    parser.add_argument("--seeds", type=numbers, default=[42, 43, 44])
    parser.add_argument("--recipes", type=words, default=[REFERENCE, OWN, ONE_FOLD])
    parser.add_argument("--views", type=words, default=list(VIEWS), help="modes, joined by +")
    parser.add_argument("--epochs", type=int, help="of every recipe, for a trial [the recipe's]")
    parser.add_argument("--speed-epochs", type=numbers, default=[15, 25, 40, 80])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--jobs", type=int, help="workers of the commands [theirs]")
    parser.add_argument("--no-training", action="store_true", help="show what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if not arguments.corpora:
        print("nothing is measured: name a folder of corpora with --corpora DIR", file=sys.stderr)
        return
    arguments.part = arguments.part or list(PARTS)
    parts: dict[str, Rows] = {}
    claims: Claims = []
    for part, found in measure(arguments):
        parts.setdefault(part, []).append(found)
        claims += CLAIMS[part](found)
    result = {"seeds": arguments.seeds, "parts": parts, "claims": claims}
    finish(result | {"holds": all(each["holds"] for each in claims)}, show, as_json=arguments.json)


if __name__ == "__main__":
    main()
