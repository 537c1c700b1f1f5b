import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import InputError
from featurize.modes import LH, LOG, X
from train.models import AlexNetLike, Normalise, SameConv2d
from train.networks import build_network


def build(n_mels: int = 32, n_frames: int = 189, normalisation: str = "samplewise") -> AlexNetLike:
    torch.manual_seed(0)
    return AlexNetLike(n_mels=n_mels, n_frames=n_frames, n_classes=41, normalisation=normalisation)


# --- the network ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "parameters", "flat"), [(LH, 1_437_417, 1664), (X, 1_109_737, 384), (LOG, 1_437_417, 1664)]
)
def test_sizes_are_the_origins(mode, parameters: int, flat: int) -> None:
    model = build(mode.n_mels, mode.window_frames)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.head[1].in_features == flat
    assert model(torch.zeros(2, mode.window_frames, mode.n_mels)).shape == (2, 41)
    assert model.training


def test_batch_statistics_move_as_in_pytorch() -> None:
    norms = [layer for layer in build().modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert [(layer.momentum, layer.eps) for layer in norms] == [(0.1, 1e-5)] * 3


@pytest.mark.parametrize(
    ("n_mels", "n_frames"), [(1, 1), (8, 189), (64, 101), (28, 186), (29, 187), (30, 188), (128, 201), (256, 1001)]
)
def test_any_size_of_window_is_taken(n_mels: int, n_frames: int) -> None:
    model = build(n_mels, n_frames)
    x = torch.randn(3, n_frames, n_mels, generator=torch.Generator().manual_seed(0)) * 10 - 40
    assert model(x).shape == (3, 41)
    model.eval()
    assert not torch.equal(model(x)[0], model(x)[1]) or n_mels * n_frames == 1


def test_a_small_window_is_padded_with_its_mean() -> None:
    small, large = build(28, 150).eval(), build(29, 187).eval()
    large.load_state_dict(small.state_dict())  # of one size: both see the least window
    x = torch.randn(3, 150, 28)
    assert torch.allclose(small.scores(x), large.scores(torch.nn.functional.pad(x, (0, 1, 0, 37))), atol=1e-6)


def test_what_is_not_too_small_is_not_padded() -> None:
    model = build(29, 187).eval()
    with torch.inference_mode():
        for n_mels, n_frames in ((28, 187), (29, 186)):
            with pytest.raises(RuntimeError):  # a layer has nothing left to take
                model.features(torch.zeros(1, 1, n_mels, n_frames))
        assert model.features(torch.zeros(1, 1, 29, 187)).shape == (1, 128, 1, 1)


def test_settings_rebuild_the_network() -> None:
    model = build(normalisation="featurewise")
    model.normalise.fit(-40.0, 12.5)
    twin = build_network(model.settings)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(3, 189, 32) * 10 - 40
    assert torch.equal(twin.eval()(x), model.eval()(x))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "resnet"}, "must be one of alexnet-like, .*; got 'resnet'"),
        ({"n_bands": 3}, "incomplete"),
        ({"normalisation": "rowwise"}, "samplewise, featurewise, peakwise, none; got 'rowwise'"),
    ],
)
def test_unknown_settings_are_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_network({**build().settings, **change})


def test_missing_settings_are_refused() -> None:
    settings_ = build().settings
    del settings_["n_mels"]
    with pytest.raises(InputError, match="n_mels"):
        build_network(settings_)


def test_logits_are_float32_under_bfloat16_and_hardly_tie() -> None:
    model = build().eval()
    x = torch.randn(64, 189, 32, generator=torch.Generator().manual_seed(0)) * 10
    with torch.inference_mode():
        exact = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(x)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, exact, atol=0.05)
    assert len(logits.unique()) > 0.99 * logits.numel()


# --- padding -------------------------------------------------------------------------------------------------------


def test_same_padding_by_hand() -> None:
    # TensorFlow: 6 columns by stride 2 are 3, padding (3 - 1) · 2 + 3 - 6 = 1, none before and one after.
    conv = SameConv2d(1, 1, (1, 3), stride=(1, 2), bias=False)
    torch.nn.init.ones_(conv.weight)
    row = torch.arange(1.0, 7.0)[None, None, None]
    assert conv(row).flatten().tolist() == [1 + 2 + 3, 3 + 4 + 5, 5 + 6]
    # 5 columns by stride 2 are 3, padding 2, one on each side.
    assert conv(row[..., :5]).flatten().tolist() == [1 + 2, 2 + 3 + 4, 4 + 5]


@settings(deadline=None, max_examples=50)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_same_padding_equals_a_plain_loop(size: tuple, kernel: tuple, stride: tuple) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(1, 1, kernel, stride=stride)
    image = torch.randn(1, 1, *size)
    weight, value = conv.weight.detach()[0, 0].numpy(), image[0, 0].numpy()
    out = [-(-n // s) for n, s in zip(size, stride, strict=True)]
    before = [
        max((o - 1) * s + k - n, 0) // 2 for o, s, k, n in zip(out, stride, kernel, size, strict=True)
    ]  # https://www.tensorflow.org/api_docs/python/tf/nn: the odd one goes to the end
    expected = np.full(out, float(conv.bias.detach()))
    for i, j in np.ndindex(*out):
        for a, b in np.ndindex(*kernel):
            row, column = i * stride[0] + a - before[0], j * stride[1] + b - before[1]
            if 0 <= row < size[0] and 0 <= column < size[1]:
                expected[i, j] += weight[a, b] * value[row, column]
    assert np.allclose(conv(image).detach()[0, 0].numpy(), expected, atol=1e-5)


# --- normalisation -------------------------------------------------------------------------------------------------


def test_samplewise_is_each_windows_own() -> None:
    x = torch.randn(5, 20, 8, generator=torch.Generator().manual_seed(1)) * 15 - 40
    array = x.double().numpy()
    mean, std = array.mean(axis=(1, 2), keepdims=True), array.std(axis=(1, 2), keepdims=True)
    assert np.allclose(Normalise("samplewise")(x).numpy(), (array - mean) / (std + 1.0), atol=1e-5)


def test_a_constant_window_is_zero() -> None:
    assert not Normalise("samplewise")(torch.full((2, 20, 8), -80.0)).any()


def test_featurewise_is_the_training_windows() -> None:
    layer = Normalise("featurewise")
    x = torch.randn(5, 20, 8) * 15 - 40
    assert torch.equal(layer(x), x)
    layer.fit(-40.0, 15.0)
    assert torch.allclose(layer(x), (x + 40) / 15)
    layer.fit(-40.0, 0.0)  # a silent corpus
    assert torch.allclose(layer(x), x + 40)


def test_none_leaves_what_is_stored() -> None:
    layer = Normalise("none")
    layer.fit(-40.0, 15.0)
    x = torch.randn(5, 20, 8)
    assert torch.equal(layer(x), x)


def test_normalisation_is_part_of_the_saved_network() -> None:
    model = build(normalisation="featurewise").eval()
    model.normalise.fit(-40.0, 12.5)
    state = model.state_dict()
    assert float(state["normalise.mean"]) == -40.0
    assert float(state["normalise.std"]) == 12.5
    x = torch.randn(3, 189, 32) * 10 - 40
    assert torch.equal(model(x), model.scores((x + 40.0) / 12.5))
