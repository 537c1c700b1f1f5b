"""Networks as ONNX: written for other programs, and run by onnxruntime.

Conventions
-----------
A graph takes ``frames`` [B, T, M], float32, as a store holds them, and gives ``logits`` [B, K]: it holds all between
the store and the scores, normalisation and prior included. B is free, and so is T where the network takes any length.
The packages are those of the extra ``onnx``.
"""

import logging
import warnings
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from cache.errors import InputError, IntegrityError
from train.networks import Network

_EXTRA = "ONNX needs its packages; install the extra, pip install 'earmark[onnx]'"
_MOST_FRAMES = 1 << 24


def check_exporter() -> None:
    """Check that the packages that write ONNX are installed.

    Raises
    ------
    InputError
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        message = f"{_EXTRA}, or leave it out with --no-onnx"
        raise InputError(message) from error


def write_onnx(network: Network, path: Path) -> None:
    """Write a network's graph.

    Parameters
    ----------
    network : Network
        In evaluation state, on the CPU.
    path : Path
    """
    settings = network.settings
    n_frames = settings.get("n_frames")  # a network of windows takes their length only
    frames: dict[int, Any] = {0: torch.export.Dim("batch")}
    if n_frames is None:
        frames[1] = torch.export.Dim("frames", min=2, max=_MOST_FRAMES)
    example = torch.zeros(3, n_frames or 160, settings["n_mels"])
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells of packages that it would not need
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of names that it will change
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=(frames,),
                input_names=["frames"],
                output_names=["logits"],
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    if program is None:
        message = "the exporter of ONNX gave nothing; update torch and onnxscript"
        raise InputError(message)
    program.save(str(path))


class OnnxNetwork:
    """A network's graph, run by onnxruntime on the CPU; stands in for the network where it is only asked.

    Parameters
    ----------
    path : Path
    settings : dict
        Those of the network.

    Raises
    ------
    InputError
        If onnxruntime is not installed.
    IntegrityError
        If the file is no such graph.
    """

    training = False

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(_EXTRA) from error
        self.settings = settings
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            # The bytes, not the path: a graph that refers to files elsewhere finds none.
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises many kinds for a damaged file
            message = f"{path} is no graph that onnxruntime can run ({_first_line(error)}); export the bundle anew"
            raise IntegrityError(message) from error
        self._check_sizes(path)

    def _check_sizes(self, path: Path) -> None:
        found = [(each.name, each.shape[-1]) for each in (*self._session.get_inputs(), *self._session.get_outputs())]
        expected = [("frames", self.settings["n_mels"]), ("logits", self.settings["n_classes"])]
        if found != expected:
            message = (
                f"{path} is no graph of its network: it takes and gives {found}, not {expected}; export the bundle anew"
            )
            raise IntegrityError(message)

    def __call__(self, frames: Tensor) -> Tensor:
        """[B, T, M] as stored → logits [B, K]."""
        [logits] = self._session.run(["logits"], {"frames": frames.float().numpy()})
        return torch.from_numpy(logits)

    def to(self, *_args: Any, **_settings: Any) -> Self:
        """Stay on the CPU."""
        return self

    def eval(self) -> Self:
        """Stay as it is."""
        return self

    def train(self, _mode: bool = False) -> Self:
        """Stay as it is."""
        return self


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
