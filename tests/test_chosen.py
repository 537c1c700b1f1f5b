"""Budgets as they are written, and what was chosen for one."""

import pytest

from cache.errors import InputError
from train.budget import Choice
from train.chosen import CHOSEN, read_budget, read_choice, with_choice, write_choice
from train.plan import RunRequest
from train.recipe import RECIPES


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("90s", 90), ("1h30m", 5400), ("1.5H", 5400), ("1h 5m", 3900)]
)
def test_times(text, seconds):
    assert read_budget(text).seconds == seconds


@pytest.mark.parametrize("text", ["", "0h", "2", "-1h", "2d", "30m1h", "nan", "h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match="must be a time above 0 such as 30m, 2h or 1h30m; got"):
        read_budget(text)


def test_a_choice_is_read_back_for_its_budget(tmp_path):
    assert read_choice(tmp_path / "run", read_budget("2h")) is None
    write_choice(tmp_path / "run", read_budget("2h"), Choice(17, 3, 99.0))
    found = read_choice(tmp_path / "run", read_budget("120m"))
    assert (found.epochs, found.folds) == (17, 3)


@pytest.mark.parametrize(("budget", "words"), [("3h", "--budget 3h"), (None, "no --budget")])
def test_another_budget_is_refused(tmp_path, budget, words):
    write_choice(tmp_path, read_budget("2h"), Choice(17, 3, 99.0))
    with pytest.raises(InputError, match=f"was begun with --budget 2h, now there is {words}: give another --run NAME"):
        read_choice(tmp_path, budget and read_budget(budget))


def test_a_damaged_note_is_named(tmp_path):
    (tmp_path / CHOSEN).write_text('{"budget": "2h"}')
    with pytest.raises(InputError, match=rf"{CHOSEN} is damaged"):
        read_choice(tmp_path, read_budget("2h"))


def test_all_folds_stay_all(tmp_path):
    request = RunRequest(folder=tmp_path, recipe=RECIPES["best"])
    assert with_choice(request, Choice(9, 5, 0.0), n_folds=5).folds is None
    few = with_choice(request, Choice(9, 2, 0.0), n_folds=5)
    assert (list(few.folds), few.recipe.epochs, few.recipe.name) == ([0, 1], 9, "best")
