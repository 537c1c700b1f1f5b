"""How figures are kept and shown: the median of the rounds, with the least and the most."""

import json
import statistics
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

Spread = dict[str, float]


def spread(values: Iterable[float]) -> Spread:
    listed = list(values)
    return {"median": statistics.median(listed), "min": min(listed), "max": max(listed)}


def ratio(over: Iterable[float], under: Iterable[float]) -> Spread:
    """Compare two rows round by round."""
    return spread(top / bottom for top, bottom in zip(over, under, strict=True))


def show_spread(values: Spread) -> str:
    return f"{values['median']:9.2f} ({values['min']:.2f} … {values['max']:.2f})"


def finish(result: dict[str, Any], show: Callable[[dict[str, Any]], None], *, as_json: bool) -> NoReturn:
    """Print a result, as tables or as one JSON object, and exit with 1 if a claim does not hold."""
    if as_json:
        print(json.dumps(result))
    else:
        show(result)
    sys.exit(0 if result["holds"] else 1)
