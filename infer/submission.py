"""Kaggle's submission: ``fname,label``, three labels separated by spaces, one row for every test clip.

Source: the competition's evaluation page; file names and the order of rows are those of ``sample_submission.csv``.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from cache.errors import InputError
from cache.outfile import write_atomically
from train.metrics import top_classes

N_LABELS = 3


def to_submission(probabilities: pd.DataFrame) -> pd.DataFrame:
    """Turn probabilities (``fname`` and one column a class) into ``fname,label`` with the three likeliest classes.

    Raises
    ------
    InputError
        If a class name holds a space, which the format uses to separate labels.
    """
    classes = [name for name in probabilities.columns if name != "fname"]
    for name in classes:
        if name.split() != [name]:
            message = f"class names in a submission must hold no space; got {name!r}: rename it, or use --probabilities"
            raise InputError(message)
    best = top_classes(probabilities[classes].to_numpy(np.float64), N_LABELS)
    labels = [" ".join(classes[index] for index in row) for row in best]
    return pd.DataFrame({"fname": probabilities["fname"], "label": labels})


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table so that an interruption leaves the old file or none; floats with nine digits."""
    if path.is_dir():
        message = f"--out must name a file; {path} is a folder"
        raise InputError(message)
    write_atomically(path, lambda part: table.to_csv(part, index=False, lineterminator="\n", float_format="%.9g"))


def check_against_sample(submission: pd.DataFrame, sample: Path) -> None:
    """Check that a submission has the rows of ``sample_submission.csv``, in its order, and up to three labels in each.

    Raises
    ------
    InputError
        What differs first, or what is wrong with the sample.
    """
    expected = _sample_names(sample)
    names = submission["fname"].tolist()
    for row, (name, wanted) in enumerate(zip(names, expected, strict=False), start=1):
        if name != wanted:
            message = f"row {row} of the submission must be {wanted!r}, as in {sample}; got {name!r}"
            raise InputError(message)
    if len(names) != len(expected):
        message = f"the submission must have the {len(expected)} rows of {sample}; got {len(names)}"
        raise InputError(message)
    if not all(1 <= len(text.split()) <= N_LABELS for text in submission["label"]):
        message = f"each row of the submission must hold one to {N_LABELS} labels"
        raise InputError(message)


def _sample_names(sample: Path) -> list[str]:
    try:
        table = pd.read_csv(sample, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # pandas's parsing errors are of this kind
        message = f"{sample} is not a CSV ({error}); fetch sample_submission.csv again"
        raise InputError(message) from error
    table.columns = table.columns.str.strip()
    if "fname" not in table.columns:
        message = f"{sample} must have a column fname; got {list(table.columns)}: fetch sample_submission.csv again"
        raise InputError(message)
    return list(table["fname"])
