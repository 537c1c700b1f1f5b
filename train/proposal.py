"""Self-verification: what training should do with each clip whose label nobody verified, by its out-of-fold prediction.

Conventions
-----------
Probabilities and thresholds are those of `train.issues`. A proposal is a table that ``cli train --relabel`` takes.

Source of keeping labels that the networks agree with, the level of 0.95 and the 40 clips a class: Dorfer and Widmer,
"Training general-purpose audio tagging networks with noisy labels and iterative self-verification", DCASE 2018. What
is done with suspect labels builds on confident learning: one is changed where the other class is likely enough. A
label that networks believe far less than is usual for its class is left out of training; others are kept, as half of
the suspects of a weak network are right.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cache.errors import InputError

COLUMNS = ("fname", "label", "manually_verified", "action", "given_label", "p_label", "suggested", "p_suggested")
DOUBTED_SHARE = 0.2
"""A label is doubted whose probability is below this share of what is usual for the class."""
_LEAST_VERIFIED = 3  # clips of a class, to know what is usual for it
ACTIONS = ("verify", "relabel", "leave_out", "keep")


@dataclass(frozen=True, kw_only=True)
class ProposalRules:
    """When an unverified clip is trusted, relabelled or left out.

    Parameters
    ----------
    verify_above : float in [0, 1]
        A label that is the likeliest class counts as verified where its probability is above this.
    verify_at_most : int >= 0
        So many clips a class, the likeliest first.
    relabel_above : float in [0, 1]
        A suspect clip gets the class suggested where its probability is above this, and reaches the class's threshold.
    leave_out_below : float in [0, 1]
        Any other clip is left out where the probability of its label is below this share of what is usual for the
        class; see `leave_out_doubted`.
    """

    verify_above: float = 0.95
    verify_at_most: int = 40
    relabel_above: float = 0.8
    leave_out_below: float = DOUBTED_SHARE

    def __post_init__(self) -> None:
        for name in ("verify_above", "relabel_above", "leave_out_below"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                message = f"{name} must be from 0 to 1; got {value}"
                raise InputError(message)
        if self.verify_at_most < 0:
            message = f"verify_at_most must be 0 or more clips a class; got {self.verify_at_most}"
            raise InputError(message)


def propose(judged: pd.DataFrame, rules: ProposalRules) -> pd.DataFrame:
    """Propose what training should do with each clip that is not verified.

    Parameters
    ----------
    judged : DataFrame
        As from `train.issues.judge_labels`.
    rules : ProposalRules

    Returns
    -------
    DataFrame
        `COLUMNS`, one row an unverified clip in the order given; ``action`` is one of `ACTIONS`, ``label`` missing for
        clips to leave out, ``manually_verified`` 1 for those to verify, 0 for those to relabel, else the corpus's.
    """
    table = judged[~judged["manually_verified"].fillna(value=False).astype(bool)]
    verified = _verified(table, rules)
    suspect = table["suspect"].to_numpy(bool)
    relabelled = suspect & (table["confident"] & (table["p_suggested"] > rules.relabel_above)).to_numpy(bool)
    doubted = (judged["p_label"] < rules.leave_out_below * _usual(judged))[table.index].to_numpy(bool)
    left_out = doubted & ~verified & ~relabelled
    action = np.select([verified, relabelled, left_out], ACTIONS[:3], ACTIONS[3])
    label = table["label"].to_numpy(object)
    new_label = np.where(relabelled, table["suggested"].to_numpy(object), label)
    new_label[left_out] = None
    flags = table["manually_verified"].mask(verified, other=True).mask(relabelled, other=False)
    columns = {
        "fname": table["fname"].to_numpy(),
        "label": new_label,
        "manually_verified": flags.astype("Int64").array,
        "action": action,
        "given_label": label,
    }
    return pd.DataFrame(columns | {name: table[name].to_numpy() for name in COLUMNS[5:]})


def count_actions(proposal: pd.DataFrame) -> dict[str, int]:
    """Count the clips of each action."""
    return {action: int((proposal["action"] == action).sum()) for action in ACTIONS}


def _verified(table: pd.DataFrame, rules: ProposalRules) -> NDArray[np.bool_]:
    """Tell the clips to trust: those above the level, up to so many a class."""
    agreed = table[(table["score"] < 0) & (table["p_label"] > rules.verify_above)]
    best = agreed.sort_values("p_label", ascending=False, kind="stable").groupby("label").head(rules.verify_at_most)
    return table.index.isin(best.index)


def _is_verified(judged: pd.DataFrame) -> pd.Series:
    """Tell the clips of which nobody says that they are unverified."""
    return judged["manually_verified"].fillna(value=True).astype(bool)


def _usual(judged: pd.DataFrame) -> pd.Series:
    """Return for each clip what networks give, on average, to verified clips of its class."""
    verified = _is_verified(judged)
    known = verified.groupby(judged["label"]).transform("sum") >= _LEAST_VERIFIED
    return judged["p_label"].where(verified | ~known).groupby(judged["label"]).transform("mean")


def leave_out_doubted(judged: pd.DataFrame, *, share: float = DOUBTED_SHARE) -> pd.DataFrame:
    """Leave those unverified clips out of training whose labels a first training does not believe.

    A label is doubted where its probability is below a share of what networks give, on average, to verified clips of
    the class (to all its clips, where fewer than three are verified). So classes that networks do not tell yet lose
    little.

    Parameters
    ----------
    judged : DataFrame
        As from `train.issues.judge_labels`.
    share : float in [0, 1]

    Returns
    -------
    DataFrame
        One row a doubted clip: ``fname``, ``label``, which is missing, ``manually_verified``, 0, ``action``,
        ``given_label``, ``p_label`` and ``p_usual``, the mean that it is held against.
    """
    usual = _usual(judged)
    doubted = ~_is_verified(judged) & (judged["p_label"] < share * usual)
    return pd.DataFrame(
        {
            "fname": judged["fname"],
            "label": None,
            "manually_verified": 0,
            "action": "leave_out",
            "given_label": judged["label"],
            "p_label": judged["p_label"],
            "p_usual": usual,
        }
    )[doubted]
