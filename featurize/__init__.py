"""Audio files → log-mel spectrograms in the store.

The names are offered lazily (PEP 562), so that ``import featurize.modes`` stays light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurize.logmel import compute

__all__ = ["compute"]


def __getattr__(name: str) -> Any:
    if name == "compute":
        from featurize.logmel import compute

        return compute
    message = f"module 'featurize' has no attribute {name!r}"
    raise AttributeError(message)
