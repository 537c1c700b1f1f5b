import dataclasses
import json

import pytest
import torch

import cli
from cache.errors import InputError
from train.networks import build_network
from train.recipe import RECIPES, Recipe


def test_the_notebooks_values() -> None:
    assert RECIPES["notebook"].to_dict() == {
        "name": "notebook",
        "network": "alexnet-like",
        "pretrained": False,
        "normalisation": "by-mode",
        "epochs": 200,
        "batch_size": 32,
        "balanced": True,
        "balanced_groups": False,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "weight_decay": 0.0,
        "clip_norm": 0.0,
        "average_decay": 0.0,
        "mixup_alpha": 1.0,
        "unmixed_share": 0.0,
        "reverberate_probability": 0.0,
        "max_shift": 0.4,
        "flip": True,
        "erase_probability": 0.5,
        "max_band_shift": 0.0,
        "equaliser_std": 0.0,
        "mask_bands": 0.0,
        "mask_frames": 0.0,
        "whole_clips": False,
        "shortest_crop": 1.0,
        "longest_crop": 1.0,
        "window_overlap": 0.1,
        "window_mean": "geometric",
        "restore_prior": False,
        "unverified_weight": 1.0,
        "first_round": 0.0,
    }
    assert all(name == recipe.name for name, recipe in RECIPES.items())


def test_the_command_offers_all_recipes() -> None:
    assert sorted(cli.RECIPE_NAMES) == sorted(RECIPES)


def test_label_noise_is_reckoned_with_or_not() -> None:
    best, notebook = RECIPES["best"], RECIPES["notebook"]
    assert best.with_label_noise(True) == best
    assert notebook.with_label_noise(False) == notebook
    assert best.with_label_noise(False).unverified_weight == 1.0
    assert notebook.with_label_noise(True).unverified_weight == best.unverified_weight < 1.0
    assert notebook.with_label_noise(True).network == notebook.network
    assert best.with_label_noise(False).first_round == 0 < notebook.with_label_noise(True).first_round


def test_a_first_round_is_a_shorter_training() -> None:
    first = RECIPES["best"].for_first_round()
    assert first.epochs == RECIPES["best"].epochs * RECIPES["best"].first_round
    assert first == dataclasses.replace(RECIPES["best"], epochs=first.epochs, first_round=0.0)
    assert dataclasses.replace(RECIPES["best"], epochs=1).for_first_round().epochs == 1


def test_settings_survive_json() -> None:
    recipe = RECIPES["notebook"]
    assert Recipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_lh_is_normalised_by_itself_and_x_by_the_training_windows() -> None:
    size = {"n_mels": 48, "n_frames": 301, "n_classes": 41}
    kinds = [RECIPES["notebook"].network_settings(**size, head_only=head)["normalisation"] for head in (True, False)]
    assert kinds == ["samplewise", "featurewise"]
    assert RECIPES["best"].network_settings(**size, head_only=True)["normalisation"] == "peakwise"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_its_network(name: str) -> None:
    recipe = RECIPES[name]
    model = build_network(recipe.network_settings(n_mels=48, n_frames=301, n_classes=5, head_only=False))
    assert model.settings["network"] == recipe.network
    assert model(torch.zeros(2, 301, 48)).shape == (2, 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs must be above 0; got 0"),
        ({"batch_size": -1}, "batch_size must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"mixup_alpha": -0.1}, "mixup_alpha must be 0 or more"),
        ({"weight_decay": float("inf")}, "weight_decay"),
        ({"average_decay": 1.0}, "average_decay must be from 0 to below 1"),
        ({"unverified_weight": 1.5}, "unverified_weight must be from 0 to 1"),
        ({"shortest_crop": 1.5}, r"longest_crop must be at least shortest_crop \(1.5\); got 1.0"),
        ({"reverberate_probability": 2}, "reverberate_probability must be from 0 to 1; got 2"),
        ({"pretrained": True}, "pretrained must be false for the network alexnet-like; got True"),
        ({"network": "resnet"}, "network must be one of alexnet-like, .*; got 'resnet'"),
        ({"normalisation": "none at all"}, "normalisation must be one of"),
        ({"window_mean": "median"}, "window_mean must be one of geometric, arithmetic; got 'median'"),
        ({"schedule": "cosine"}, "schedule must be one of constant, one-cycle; got 'cosine'"),
        ({"max_shift": 1.1}, "max_shift must be from 0 to 1; got 1.1"),
        ({"erase_probability": -0.1}, "erase_probability"),
        ({"window_overlap": 1.0}, "window_overlap must be from 0 to below 1; got 1.0"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=f"recipe .notebook.: {words}"):
        dataclasses.replace(RECIPES["notebook"], **change)
