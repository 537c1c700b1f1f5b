"""What fits into a time: arithmetic on costs that are made up."""

import math

import pytest

from cache.errors import InputError
from train.budget import MARGIN, FoldCost, TrainingCost, choose, fold_limits, makespan

LH, X = FoldCost(start_seconds=5, epoch_seconds=10, n_bytes=1000), FoldCost(start_seconds=1, epoch_seconds=4, n_bytes=1)


def cost(**changes) -> TrainingCost:
    return TrainingCost(**{"folds": {"lh": LH, "x": X}, "n_folds": 5, **changes})


def chosen(budget_seconds: float, it: TrainingCost, *, epochs: int = 40, other: float = 0, each: float = 0):
    return choose(it, budget_seconds=budget_seconds, epochs=epochs, other_seconds=other, fold_seconds=each)


class TestMakespan:
    def test_one_worker_does_all(self):
        assert makespan([3, 1, 2], 1) == 6

    def test_who_is_free_first_takes_the_next(self):
        assert makespan([3, 1, 1, 1, 5], 2) == 8
        assert makespan([], 2) == 0
        assert makespan([2, 3], 9) == 3


class TestCost:
    def test_all_folds_of_all_modes(self):
        assert cost().seconds(10) == 5 * (5 + 100) + 5 * (1 + 40)
        assert cost().seconds(10, 2) == 2 * (5 + 100) + 2 * (1 + 40)
        assert cost().n_bytes() == 5 * 1001

    def test_a_first_round_is_for_all_folds_only(self):
        two = cost(first_round=0.5)
        assert two.seconds(10) == cost().seconds(10) + cost().seconds(5)
        assert two.seconds(10, 4) == cost().seconds(10, 4)
        assert two.n_bytes() == 2 * cost().n_bytes()
        assert two.n_bytes(4) == cost().n_bytes(4)

    def test_what_is_done_is_not_counted(self):
        begun = cost(done={("lh", 0): 10, ("lh", 1): 4}, start_seconds=3)
        assert begun.seconds(10) == cost().seconds(10) - 105 - 40 + 3
        all_done = cost(done={(mode, fold): 10 for mode in ("lh", "x") for fold in range(5)}, start_seconds=3)
        assert all_done.seconds(10) == 0

    def test_workers_share(self):
        assert cost(folds={"lh": LH}, workers=2).seconds(10) == 3 * 105


class TestChoice:
    def test_more_than_enough_takes_the_recipes_epochs(self):
        assert chosen(1e6, cost()) == (choice := chosen(math.inf, cost()))
        assert (choice.epochs, choice.folds, choice.seconds) == (40, 5, cost().seconds(40))

    @pytest.mark.parametrize("workers", [1, 2, 16])
    @pytest.mark.parametrize("first_round", [0.0, 0.5])
    @pytest.mark.parametrize("budget_seconds", [400, 1000, 2000])
    def test_as_many_epochs_as_fit_and_no_more(self, budget_seconds, first_round, workers):
        it = cost(workers=workers, first_round=first_round)
        choice = chosen(budget_seconds, it, other=50, each=3)
        room = budget_seconds / (1 + MARGIN) - 50 - 3 * choice.folds
        assert it.seconds(choice.epochs, choice.folds) <= room
        assert choice.epochs == 40 or it.seconds(choice.epochs + 1, choice.folds) > room
        assert choice.folds == 5 or it.seconds(5, choice.folds + 1) > room - 3

    def test_all_folds_come_before_many_epochs(self):
        least = cost().seconds(5) * (1 + MARGIN)  # an eighth of 40
        assert (chosen(least + 1, cost()).epochs, chosen(least + 1, cost()).folds) == (5, 5)
        fewer = chosen(least - 1, cost())
        assert fewer.folds == 4
        assert fewer.epochs > 5

    def test_too_little_names_the_least_that_works(self):
        with pytest.raises(
            InputError, match=r"the least, 5 epochs of one fold, takes 3m .* --budget 3m or more"
        ) as error:
            chosen(60, cost(), other=50)
        assert "--mode" in str(error.value)
        assert chosen(180, cost(), other=50).folds >= 1

    def test_a_recipe_of_few_epochs(self):
        assert chosen(math.inf, cost(), epochs=1).epochs == 1
        assert chosen(cost().seconds(1) * 1.2, cost(), epochs=5).epochs == 1


class TestLimits:
    def test_equal_shares_end_in_time(self):
        assert fold_limits(["lh"] * 4, 100, 2) == [50] * 4

    def test_shares_follow_what_is_expected(self):
        limits = fold_limits(["lh", "lh", "x"], 100, 1, expected={"lh": 20, "x": 10})
        assert limits == [40, 40, 20]

    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_folds_that_use_their_limits_end_when_the_time_is_over(self, workers):
        limits = fold_limits(["lh"] * 5 + ["x"] * 5, 100, workers, expected={"lh": 7, "x": 3})
        assert makespan(limits, workers) == pytest.approx(100)

    def test_no_limit_and_none_left(self):
        assert fold_limits(["lh", "x"], math.inf, 2) == [math.inf, math.inf]
        assert fold_limits(["lh"], -5, 1) == [0]
        assert fold_limits([], 10, 1) == []
