"""Budgets, and what was chosen for that of a run: a second call goes on with it, however fast the machine is then.

Conventions
-----------
``budget.json`` in the run's folder, written before the first epoch.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from cache.errors import InputError
from cache.outfile import write_atomically
from train.budget import Choice
from train.plan import RunRequest

CHOSEN = "budget.json"
_PARTS = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True)
class Budget:
    """A time, as it was asked for and in seconds."""

    text: str
    seconds: float


def read_budget(text: str) -> Budget:
    """Read a time such as 30m, 2h or 1h30m.

    Raises
    ------
    InputError
        If it is none, or not above 0.
    """
    found = _PARTS.fullmatch(text.strip().lower().replace(" ", ""))
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        message = f"must be a time above 0 such as 30m, 2h or 1h30m; got {text!r}"
        raise InputError(message)
    return Budget(text.strip().lower().replace(" ", ""), total)


def write_choice(run: Path, budget: Budget, choice: Choice) -> None:
    """Note what was chosen for a budget."""
    text = json.dumps({"budget": budget.text, "epochs": choice.epochs, "folds": choice.folds})
    write_atomically(run / CHOSEN, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def read_choice(run: Path, budget: Budget | None) -> Choice | None:
    """Return what was chosen for the budget of a run before; None where nothing was.

    Raises
    ------
    InputError
        If it was chosen for another budget, or the note is damaged.
    """
    path = run / CHOSEN
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        text, choice = str(found["budget"]), Choice(int(found["epochs"]), int(found["folds"]), 0.0)
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} is damaged ({error}): give another --run NAME"
        raise InputError(message) from error
    if budget is None or read_budget(text).seconds != budget.seconds:
        asked = f"--budget {budget.text}" if budget else "no --budget"
        message = f"run {run.name!r} was begun with --budget {text}, now there is {asked}: give another --run NAME"
        raise InputError(message)
    return choice


def with_choice(request: RunRequest, choice: Choice, *, n_folds: int) -> RunRequest:
    """Return the request with the epochs and the folds that were chosen."""
    folds = None if choice.folds >= n_folds else range(choice.folds)
    return replace(request, recipe=replace(request.recipe, epochs=choice.epochs), folds=folds)
