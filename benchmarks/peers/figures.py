"""How figures are kept and shown: the median of the rounds, with the least and the most."""

import statistics
from collections.abc import Iterable

Spread = dict[str, float]


def spread(values: Iterable[float]) -> Spread:
    listed = list(values)
    return {"median": statistics.median(listed), "min": min(listed), "max": max(listed)}


def ratio(over: Iterable[float], under: Iterable[float]) -> Spread:
    """Compare two rows round by round."""
    return spread(top / bottom for top, bottom in zip(over, under, strict=True))


def show_spread(values: Spread) -> str:
    return f"{values['median']:9.2f} ({values['min']:.2f} … {values['max']:.2f})"
