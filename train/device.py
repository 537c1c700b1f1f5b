"""Where a network runs: device, precision, threads."""

import contextlib
from dataclasses import dataclass

import torch

from cache.errors import InputError


@dataclass(frozen=True)
class Engine:
    """A device and the precision that is fast on it.

    Parameters
    ----------
    device : torch.device
    bfloat16 : bool
        Run convolutions and products in bfloat16 (weights stay float32).
    """

    device: torch.device
    bfloat16: bool

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context to run a network's forward pass in."""
        if not self.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @property
    def precision(self) -> str:
        """Name of the arithmetic, for logs."""
        return "bfloat16" if self.bfloat16 else "float32"


def pick_engine(device: str = "auto") -> Engine:
    """Choose device and precision: CUDA, then Apple's GPU, then the CPU for ``auto``.

    bfloat16 is used on GPUs that have it and on CPUs that have instructions for it (AMX or AVX512-BF16).

    Raises
    ------
    InputError
        If the device is not known to torch or not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()  # device "meta" exists, and holds no numbers
    except (RuntimeError, AssertionError) as error:
        message = f"--device {device!r} is not to be had here ({str(error).splitlines()[0]}); use auto or cpu"
        raise InputError(message) from error
    return Engine(chosen, _has_fast_bfloat16(chosen))


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # torch 2.6–2.10 lack get_capabilities; there the slower float32 is right everywhere.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
