"""The networks that there are, by name: settings in, network out.

Conventions
-----------
Settings are JSON-able and hold all that building needs; they stand in ``model.json``. A network has ``settings``,
``normalise`` (windows as stored → normalised), ``scores`` (normalised → logits), ``forward`` (as stored → logits).
"""

from collections.abc import Mapping
from typing import Any

from cache.errors import InputError
from train.baseline import BaselineNet
from train.convnet import ConvNet
from train.models import AlexNetLike

Network = AlexNetLike | BaselineNet | ConvNet
_NETWORKS: dict[str, type[AlexNetLike] | type[BaselineNet] | type[ConvNet]] = {
    "alexnet-like": AlexNetLike,
    "dcase-baseline": BaselineNet,
    "fully-convolutional": ConvNet,
}
NETWORKS = tuple(_NETWORKS)


def build_network(settings: Mapping[str, Any]) -> Network:
    """Build the network that ``settings`` describes, untrained.

    Raises
    ------
    InputError
        If the settings are not those of a known network.
    """
    values = dict(settings)
    name = values.pop("network", None)
    if name not in _NETWORKS:
        message = f"network must be one of {', '.join(NETWORKS)}; got {name!r}"
        raise InputError(message)
    try:
        return _NETWORKS[name](**values)
    except TypeError as error:
        message = f"model settings are incomplete: {error}"
        raise InputError(message) from error
