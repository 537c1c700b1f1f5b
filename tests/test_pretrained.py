"""Weights that networks begin with."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from stores import HEAD, QUICK, jobs_of

from featurize.modes import DCASE, LH, MODES, FeatureMode, X
from train import loop, probe
from train.convnet import ConvNet
from train.device import pick_engine
from train.pretrained import find_pretrained, load_pretrained, save_pretrained
from train.probe import adapt_statistics, fit_last_layer
from train.recipe import RECIPES


def network(mode: FeatureMode = LH, *, n_classes: int = 5, seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(n_mels=mode.n_mels, n_classes=n_classes, normalisation="peakwise")


@pytest.mark.parametrize("name", ["lh", "x", "log"])
def test_a_view_has_weights_of_its_own(name: str) -> None:
    path = find_pretrained(MODES[name].to_dict())
    assert path is not None
    assert path.name == f"{name}.safetensors"
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["mode"])["name"] == name
        assert "patches" in file.metadata()["sounds"]
    model = network(MODES[name])
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    load_pretrained(model, path)
    changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {key for key in changed if not key.endswith("num_batches_tracked")} == {
        key for key in before if key.startswith("features.") and not key.endswith("num_batches_tracked")
    }
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_what_a_filter_does_not_see_is_no_matter() -> None:
    other = dataclasses.replace(LH, name="mine", window_seconds=2, head_only=False, trim_db=None, dtype="float32")
    assert find_pretrained(other.to_dict()) == find_pretrained(LH.to_dict()) is not None


@pytest.mark.parametrize(
    "mode",
    [
        DCASE,
        dataclasses.replace(LH, hop_samples=441),
        dataclasses.replace(X, n_mels=64),
        dataclasses.replace(LH, top_db=None, log_offset=1e-3),
    ],
)
def test_other_modes_have_none(mode: FeatureMode) -> None:
    assert find_pretrained(mode.to_dict()) is None


def test_the_convolutions_return_and_nothing_else(tmp_path: Path) -> None:
    first, second = network(seed=1, n_classes=7), network(seed=2)
    head = second.head[1].weight.clone()
    save_pretrained(first, LH.to_dict(), tmp_path / "lh.safetensors", sounds="some")
    load_pretrained(second, tmp_path / "lh.safetensors")
    for one, other in zip(first.features.parameters(), second.features.parameters(), strict=True):
        assert other.dtype == torch.float32
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)
    assert torch.equal(second.head[1].weight, head)


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_fold_begins_with_them_if_its_recipe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrained: bool
) -> None:
    path = tmp_path / "head.safetensors"
    model = network(HEAD, seed=3)
    save_pretrained(model, HEAD.to_dict(), path, sounds="some")
    monkeypatch.setattr(loop, "find_pretrained", lambda mode: path if mode["name"] == HEAD.name else None)
    recipe = dataclasses.replace(RECIPES["best"], epochs=1, pretrained=pretrained, batch_size=QUICK.batch_size)
    job = jobs_of(tmp_path / "run", mode=HEAD, recipe=recipe, folds=[0])[0]
    engine = pick_engine("cpu")
    state = loop.start_fold(job, loop.open_job_clips(job, job.trained, engine), engine)
    weight = state.kept.state_dict()["features.0.weight"]
    assert torch.allclose(weight, model.features[0].weight, rtol=1e-3, atol=1e-6) == pretrained


# --- the last layer --------------------------------------------------------------------------------------------------


class FewClips:
    """Spectrograms of one length, in batches of three: class k has its energy in band k."""

    def __init__(self, targets: np.ndarray, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.n_clips = len(targets)
        self.windows = torch.from_numpy(rng.normal(0, 3, (len(targets), 32, 128))).float()
        for clip, target in enumerate(targets):
            self.windows[clip, :, 20 * target : 20 * target + 12] += 30

    def batches(self, _size: int):
        for first in range(0, self.n_clips, 3):
            clips = torch.arange(first, min(first + 3, self.n_clips))
            yield self.windows[clips], clips


def begun(
    targets: list[int], *, n_classes: int = 5, labels: list[int] | None = None, weights: list[float] | None = None
) -> tuple[ConvNet, FewClips]:
    model, clips, engine = network(n_classes=n_classes), FewClips(np.array(targets)), pick_engine("cpu")
    model.normalise.fit(-15.0, 15.0)
    adapt_statistics(model, clips, engine, rng=np.random.default_rng(0))
    fit_last_layer(
        model,
        clips,
        engine,
        targets=np.array(labels or targets),
        weights=np.array(weights or [1.0] * len(targets)),
        rng=np.random.default_rng(0),
    )
    return model.eval(), clips


def told(model: ConvNet, clips: FewClips) -> list[int]:
    with torch.inference_mode():
        return model(clips.windows).argmax(dim=1).tolist()


@pytest.mark.parametrize("targets", [[0, 1, 2, 3, 4] * 4, [3, 1] * 6, [0, 1] * 6], ids=["five", "two of five", "two"])
def test_the_last_layer_tells_classes_apart_before_any_training(targets: list[int]) -> None:
    model, clips = begun(targets, n_classes=2 if max(targets) == 1 else 5)
    assert told(model, clips) == targets
    others = [number for number in range(len(model.head[1].bias)) if number not in targets]
    with torch.inference_mode():
        assert (model(clips.windows)[:, others].amax(dim=0) < model(clips.windows).amax()).all()


def test_statistics_are_the_corpuss_and_the_rest_stays() -> None:
    model, clips = network(seed=4), FewClips(np.array([0, 1, 2] * 3))
    model.normalise.fit(-15.0, 15.0)
    weights = [weight.clone() for weight in model.parameters()]
    adapt_statistics(model, clips, pick_engine("cpu"), rng=np.random.default_rng(0))
    assert all(torch.equal(one, other) for one, other in zip(weights, model.parameters(), strict=True))
    assert model.training
    first = model.features[1] if isinstance(model.features[1], torch.nn.BatchNorm2d) else model.features[2]
    assert first.momentum == 0.1
    seen = model.features[:2](model.normalise(clips.windows).transpose(1, 2).unsqueeze(1))
    assert torch.allclose(first.running_mean, seen.mean(dim=(0, 2, 3)), rtol=0.05, atol=0.02)


def test_clips_that_weigh_nothing_are_not_learned() -> None:
    targets = [0, 1, 2] * 4
    labels = targets[:6] + [1, 2, 0] * 2
    weights = [1.0] * 6 + [0.0] * 6
    assert told(*begun(targets, n_classes=3, labels=labels, weights=weights)) == targets
    assert told(*begun(targets, n_classes=3, labels=labels)) == labels


@pytest.mark.parametrize("targets", [[2] * 6, [1]])
def test_one_class_alone_leaves_the_layer_as_it_is(targets: list[int]) -> None:
    model, _ = begun(targets)
    assert torch.equal(model.head[1].weight, network().head[1].weight)


def test_statistics_of_very_many_clips_are_those_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.probe._MOST_FOR_STATISTICS", 6)
    model, clips = network(), FewClips(np.array([0, 1, 2, 3] * 5))
    seen: list[int] = []
    model.features[0].register_forward_hook(lambda _layer, x, _y: seen.append(len(x[0])))
    adapt_statistics(model, clips, pick_engine("cpu"), rng=np.random.default_rng(0))
    assert sum(seen) == 6


def test_very_many_clips_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.probe._MOST_CELLS", 5 * 20)
    fitted: list[int] = []
    real = probe._fit
    monkeypatch.setattr(probe, "_fit", lambda x, *rest: fitted.append(len(x)) or real(x, *rest))
    begun([0, 1, 2, 3, 4] * 10)
    assert fitted == [20]
