"""What a fold leaves of its held clips: predictions, and the labels that they are held against.

Conventions
-----------
One row a held clip, in the order of the fold's reader; ``oof.csv`` has a column a class, ``held.csv`` the label.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache.outfile import write_atomically

OOF = "oof.csv"
HELD = "held.csv"


def write_held(
    folder: Path,
    names: Sequence[str],
    classes: Sequence[str],
    log_p: NDArray[np.float64],
    labels: NDArray[np.int64],
    scored: NDArray[np.bool_],
) -> None:
    """Write both tables into a fold's folder.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        The held clips.
    classes : sequence of str
    log_p : ndarray [shape=(len(names), len(classes))]
        Log-probabilities.
    labels : ndarray [shape=(len(names),), int64]
        Index into the classes.
    scored : ndarray [shape=(len(names),), bool]
        Whether the clip counts in scores.
    """
    predicted = pd.DataFrame(np.exp(log_p), columns=list(classes))
    predicted.insert(0, "fname", list(names))
    known = pd.DataFrame({"fname": list(names), "label": np.asarray(classes, object)[labels]})
    _write(predicted, folder / OOF)
    _write(known.assign(scored=scored.astype(int)), folder / HELD)


def _write(table: pd.DataFrame, path: Path) -> None:
    # Nine digits, not nine places: small probabilities must not tie.
    write_atomically(path, lambda part: table.to_csv(part, index=False, lineterminator="\n", float_format="%.9g"))
