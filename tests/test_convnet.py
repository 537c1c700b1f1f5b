import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.convnet import ConvNet
from train.networks import build_network


def build(n_mels: int = 32, n_classes: int = 5) -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(n_mels=n_mels, n_classes=n_classes, normalisation="peakwise")


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 10 - 50


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 140), st.integers(1, 400))
def test_any_number_of_bands_and_frames_is_taken(n_mels: int, n_frames: int) -> None:
    with torch.inference_mode():
        assert build(n_mels).eval()(noise(2, n_frames, n_mels)).shape == (2, 5)


def test_settings_rebuild_the_network() -> None:
    model = build()
    model.normalise.fit(-40.0, 12.5)
    model.set_prior(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0]))
    twin = build_network(model.settings)
    twin.load_state_dict(model.state_dict())
    x = noise(3, 70, 32)
    assert torch.equal(twin.eval()(x), model.eval()(x))


def test_the_level_of_a_recording_does_not_matter() -> None:
    model = build().eval()
    x = noise(3, 70, 32)
    with torch.inference_mode():
        assert torch.allclose(model(x + 17), model(x), atol=1e-4)


def test_the_prior_counts_in_scoring_and_not_in_training() -> None:
    model = build().eval()
    x = noise(3, 70, 32)
    with torch.inference_mode():
        plain, scores = model(x), model.scores(model.normalise(x))
        assert torch.equal(plain, scores)
        prior = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0])
        model.set_prior(prior)
        assert torch.equal(model.scores(model.normalise(x)), scores)
        weighed = torch.softmax(scores, dim=1) * prior
        expected = weighed / weighed.sum(dim=1, keepdim=True)
        assert torch.allclose(torch.softmax(model(x), dim=1), expected, atol=1e-6)


def test_a_sound_counts_wherever_it_lies() -> None:
    """Mean and maximum over time: shifting by what pooling takes for one step changes next to nothing."""
    model = build().eval()
    x = torch.full((1, 640, 32), -80.0)
    x[:, 240:256, 8:20] = -20.0
    with torch.inference_mode():
        assert torch.allclose(model(x), model(x.roll(64, dims=1)), atol=1e-3)


def test_logits_are_float32_under_bfloat16() -> None:
    model = build().eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(noise(8, 70, 32))
    with torch.inference_mode():
        exact = model(noise(8, 70, 32))
    assert low.dtype == torch.float32
    assert torch.allclose(low, exact, atol=0.1)


def test_the_size_is_known() -> None:
    model = ConvNet(n_mels=128, n_classes=41, normalisation="peakwise")
    assert sum(weight.numel() for weight in model.parameters()) == 989_705 + 7 * 256 * 41
    shapes = []
    x = torch.zeros(2, 1, 128, 201)
    for layer in model.features:
        x = layer(x)
        if isinstance(layer, torch.nn.ReLU):
            shapes.append(tuple(x.shape))
    assert shapes == [(2, 32, 32, 51), (2, 64, 16, 26), (2, 128, 8, 13), (2, 256, 8, 13), (2, 256, 8, 13)]


def test_parts_of_the_spectrum_are_told_apart() -> None:
    low, high = torch.full((2, 1, 64, 256), -80.0)
    low[:, 20:30, 106:110] = high[:, 20:30, 138:142] = -20.0
    whole, parted = (
        ConvNet(n_mels=256, n_classes=5, normalisation="peakwise", n_parts=parts).eval() for parts in (1, 8)
    )
    with torch.inference_mode():
        assert torch.allclose(whole(low), whole(high), atol=1e-3)
        assert not torch.allclose(parted(low), parted(high), atol=1e-2)


def test_there_are_no_more_parts_than_rows_left() -> None:
    assert [build(n_mels).n_parts for n_mels in (1, 48, 64, 128, 256)] == [1, 3, 4, 8, 8]
