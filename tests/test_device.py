import pytest
import torch

from cache.errors import InputError
from train import device
from train.device import Engine, pick_engine


def test_auto_takes_a_device_that_is_there() -> None:
    engine = pick_engine()
    assert torch.zeros(1, device=engine.device).item() == 0


def test_the_cpu_is_always_there() -> None:
    assert pick_engine("cpu").device == torch.device("cpu")


@pytest.mark.parametrize("name", ["cud", "cuda:99", "", "meta"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--device {name!r} is not to be had here .*; use auto or cpu"):
        pick_engine(name)


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [({}, False), ({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_bfloat16_follows_the_instructions_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert pick_engine("cpu").bfloat16 is fast


def test_a_torch_that_does_not_know_its_cpu_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not device.pick_engine("cpu").bfloat16


@pytest.mark.parametrize(("bfloat16", "name"), [(True, "bfloat16"), (False, "float32")])
def test_the_context_sets_the_precision_of_products(bfloat16: bool, name: str) -> None:
    engine = Engine(torch.device("cpu"), bfloat16=bfloat16)
    with engine.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, name)
    assert engine.precision == name
