"""The DCASE 2018 baseline's network: its published sizes, its padding by a plain loop, its first weights."""

import numpy as np
import pytest
import torch
from torch import nn

from featurize.modes import DCASE
from train.baseline import WEIGHTS_STD, BaselineNet, SameMaxPool2d


def build(n_mels: int = 64, n_frames: int = 25, n_classes: int = 41, normalisation: str = "none") -> BaselineNet:
    torch.manual_seed(0)
    return BaselineNet(n_mels=n_mels, n_frames=n_frames, n_classes=n_classes, normalisation=normalisation)


def windows(n: int = 8, n_frames: int = 25, n_mels: int = 64) -> torch.Tensor:
    return torch.randn(n, n_frames, n_mels, generator=torch.Generator().manual_seed(1)) * 2 - 3


def test_sizes_are_the_published_ones() -> None:
    model = build(DCASE.n_mels, DCASE.window_frames)
    weights = [p.numel() for p in model.parameters() if p.dim() > 1]
    assert weights == [4_900, 375_000, 270_000, 8_200]
    assert sum(weights) == 658_100
    assert sum(p.numel() for p in model.parameters()) == 658_591


def test_shapes_and_multiplications_are_the_published_ones() -> None:
    model, shapes, products = build(), [], []

    def note(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        shapes.append(tuple(out.shape[1:]))
        if isinstance(layer, nn.Conv2d | nn.Linear):
            products.append(layer.weight.numel() * out[0, 0].numel())

    for layer in [*model.features, model.head]:
        layer.register_forward_hook(note)
    assert model(windows(2)).shape == (2, 41)
    assert [shapes[at] for at in (0, 2, 3, 5, 6)] == [
        (100, 25, 64),
        (100, 13, 32),
        (150, 13, 32),
        (150, 7, 16),
        (200, 7, 16),
    ]
    assert [round(count / 1e5) / 10 for count in products] == [7.8, 156.0, 30.2, 0.0]
    assert round(sum(products) / 1e5) / 10 == 194.1


def test_weights_begin_as_truncated_normal_values_and_biases_at_0() -> None:
    model = build()
    for name, parameter in model.state_dict().items():
        if name.startswith("normalise"):
            continue
        if name.endswith("bias"):
            assert not parameter.any(), name
            continue
        assert parameter.abs().max() <= 2 * WEIGHTS_STD, name
        # Cut off at two standard deviations, a normal law keeps 0.8796 of its own.
        assert float(parameter.std()) == pytest.approx(0.8796 * WEIGHTS_STD, rel=0.03), name
        assert abs(float(parameter.mean())) < 0.05 * WEIGHTS_STD, name


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3), (3, 4), (4, 5), (25, 64), (13, 32), (7, 16)])
def test_pooling_pads_as_tensorflow(size: tuple[int, int]) -> None:
    image = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(2)) - 10  # below 0: padding never wins
    out = [-(-n // 2) for n in size]
    before = [max((o - 1) * 2 + 3 - n, 0) // 2 for o, n in zip(out, size, strict=True)]
    expected = np.empty(out)
    for i, j in np.ndindex(*out):
        rows, columns = (
            range(max(0, at * 2 - first), at * 2 - first + 3) for at, first in zip((i, j), before, strict=True)
        )
        expected[i, j] = image[0, 0, rows.start : rows.stop, columns.start : columns.stop].max()
    np.testing.assert_array_equal(SameMaxPool2d()(image)[0, 0].numpy(), expected.astype(np.float32))


def trained() -> BaselineNet:
    """Weights so large that the windows make a difference."""
    model = build()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return model.eval()


@torch.inference_mode()
def test_the_scores_are_those_of_the_layers_one_after_the_other() -> None:
    model, x = trained(), windows(3)
    hidden = x[:, None]
    for number, layer in enumerate(layer for layer in model.features if isinstance(layer, nn.Conv2d)):
        hidden = nn.functional.conv2d(hidden, layer.weight, layer.bias, padding="same").clamp(min=0)
        if number < 2:
            hidden = SameMaxPool2d()(hidden)
    expected = hidden.flatten(2).max(dim=2).values @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n_mels", "n_frames", "n_classes"), [(1, 1, 2), (2, 3, 2), (48, 301, 5), (128, 201, 41)])
def test_any_size_of_window_is_taken(n_mels: int, n_frames: int, n_classes: int) -> None:
    model = build(n_mels, n_frames, n_classes)
    assert model(windows(2, n_frames, n_mels)).shape == (2, n_classes)
    assert model.settings == {
        "network": "dcase-baseline",
        "n_mels": n_mels,
        "n_frames": n_frames,
        "n_classes": n_classes,
        "normalisation": "none",
    }


@torch.inference_mode()
def test_settings_and_weights_rebuild_the_network() -> None:
    model = trained()
    settings = {name: value for name, value in model.settings.items() if name != "network"}
    twin = BaselineNet(**settings)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(windows()), model(windows()))


@torch.inference_mode()
def test_windows_are_normalised_once() -> None:
    model = trained()
    assert torch.equal(model(windows()), model.scores(windows()))
    model.normalise.kind = "featurewise"
    model.normalise.fit(-3.0, 2.0)
    assert torch.equal(model(windows()), model.scores((windows() + 3) / 2))


@torch.inference_mode()
def test_logits_are_float32_under_bfloat16_and_hardly_tie() -> None:
    model = trained()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(windows(32))
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 0.99 * logits.numel()


def test_small_as_first_weights_are_every_parameter_gets_a_gradient() -> None:
    model = build(16, 25, 5)
    nn.functional.cross_entropy(model(windows(5, 25, 16)), torch.arange(5)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
