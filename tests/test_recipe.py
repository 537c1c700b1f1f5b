import dataclasses
import json

import pytest

from cache.errors import InputError
from train.recipe import RECIPES, Recipe


def test_the_notebooks_values() -> None:
    assert RECIPES["notebook"].to_dict() == {
        "name": "notebook",
        "epochs": 200,
        "batch_size": 32,
        "learning_rate": 1e-4,
        "mixup_alpha": 1.0,
        "max_shift": 0.4,
        "flip": True,
        "erase_probability": 0.5,
        "window_overlap": 0.1,
    }
    assert all(name == recipe.name for name, recipe in RECIPES.items())


def test_settings_survive_json() -> None:
    recipe = RECIPES["notebook"]
    assert Recipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_lh_is_normalised_by_itself_and_x_by_the_training_windows() -> None:
    assert Recipe.normalisation(head_only=True) == "samplewise"
    assert Recipe.normalisation(head_only=False) == "featurewise"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs must be above 0; got 0"),
        ({"batch_size": -1}, "batch_size must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"mixup_alpha": 0.0}, "mixup_alpha"),
        ({"max_shift": 1.1}, "max_shift must be from 0 to 1; got 1.1"),
        ({"erase_probability": -0.1}, "erase_probability"),
        ({"window_overlap": 1.0}, "window_overlap must be from 0 to below 1; got 1.0"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=f"recipe .notebook.: {words}"):
        dataclasses.replace(RECIPES["notebook"], **change)
