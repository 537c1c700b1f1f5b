"""Self-verification: what training should do with unverified clips."""

from typing import Any

import pandas as pd
import pytest

from cache.errors import InputError
from train.proposal import COLUMNS, ProposalRules, count_actions, leave_out_doubted, propose


def judged(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """Rows: label, suggested, p_label, p_suggested, verified, suspect; a suspect is confident."""
    columns = ["label", "suggested", "p_label", "p_suggested", "manually_verified", "suspect"]
    table = pd.DataFrame(rows, columns=columns)
    table["manually_verified"] = table["manually_verified"].astype("boolean")
    table["score"] = [
        row.p_suggested - row.p_label if row.label != row.suggested else 0.01 - row.p_label
        for row in table.itertuples()
    ]
    table["confident"] = table["suspect"]
    table.insert(0, "fname", [f"{row}.wav" for row in range(len(table))])
    return table


TABLE = judged(
    ("Bark", "Bark", 0.96, 0.96, False, False),
    ("Bark", "Bark", 0.95, 0.95, None, False),
    ("Bark", "Gong", 0.05, 0.90, False, True),
    ("Bark", "Gong", 0.05, 0.60, False, True),
    ("Bark", "Gong", 0.25, 0.60, False, True),
    ("Bark", "Gong", 0.05, 0.90, True, True),
    ("Bark", "Gong", 0.01, 0.99, False, False),
)


def test_each_clip_that_is_not_verified_has_its_action() -> None:
    proposal = propose(TABLE, ProposalRules())
    assert list(proposal.columns) == list(COLUMNS)
    assert proposal["fname"].tolist() == [f"{row}.wav" for row in (0, 1, 2, 3, 4, 6)]
    assert proposal["action"].tolist() == ["verify", "keep", "relabel", "leave_out", "keep", "leave_out"]
    assert proposal["label"].fillna("").tolist() == ["Bark", "Bark", "Gong", "", "Bark", ""]
    assert proposal["manually_verified"].fillna(-1).tolist() == [1, -1, 0, 0, 0, 0]  # nobody says of the second
    assert set(proposal["given_label"]) == {"Bark"}
    assert count_actions(proposal) == {"verify": 1, "relabel": 1, "leave_out": 2, "keep": 2}


def test_a_class_that_does_not_reach_its_threshold_is_no_new_label() -> None:
    unsure = TABLE.assign(confident=False)
    assert count_actions(propose(unsure, ProposalRules()))["relabel"] == 0


def test_levels_can_be_chosen() -> None:
    rules = ProposalRules(verify_above=0.5, relabel_above=0.5, leave_out_below=0.0)
    assert count_actions(propose(TABLE, rules)) == {"verify": 2, "relabel": 3, "leave_out": 0, "keep": 1}


def test_the_likeliest_clips_of_a_class_are_verified_and_no_more_than_asked() -> None:
    rows = [("Bark", "Bark", p, p, False, False) for p in (0.96, 0.99, 0.98, 0.97)]
    table = judged(*rows, ("Gong", "Gong", 0.96, 0.96, False, False))
    proposal = propose(table, ProposalRules(verify_at_most=2))
    assert proposal["manually_verified"].tolist() == [0, 1, 1, 0, 1]
    assert propose(table, ProposalRules(verify_at_most=0))["manually_verified"].sum() == 0


def test_nothing_unverified_gives_an_empty_table() -> None:
    assert len(propose(TABLE.assign(manually_verified=True), ProposalRules())) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verify_above": 1.5}, r"verify_above must be from 0 to 1; got 1\.5"),
        ({"relabel_above": float("nan")}, "relabel_above must be from 0 to 1; got nan"),
        ({"leave_out_below": -0.1}, r"leave_out_below must be from 0 to 1; got -0\.1"),
        ({"verify_at_most": -1}, "verify_at_most must be 0 or more clips a class; got -1"),
    ],
)
def test_rules_are_checked(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ProposalRules(**changes)


# --- what the second of two trainings leaves out ---------------------------------------------------------------------


def test_labels_far_below_what_is_usual_for_the_class_are_doubted() -> None:
    verified = [("Bark", "Bark", p, p, True, False) for p in (0.7, 0.8, 0.9)]
    found = leave_out_doubted(
        judged(
            *verified,
            ("Bark", "Gong", 0.12, 0.8, False, True),
            ("Bark", "Gong", 0.14, 0.8, False, True),
            ("Bark", "Gong", 0.12, 0.8, None, True),  # nobody says that it is unverified
            ("Bark", "Gong", 0.01, 0.8, True, True),
        ),
        share=0.25,
    )
    assert found["fname"].tolist() == ["3.wav"]
    assert found["label"].isna().all()
    assert found["p_usual"].tolist() == pytest.approx(
        [(0.7 + 0.8 + 0.9 + 0.12 + 0.01) / 5]
    )  # of which a quarter is 0.1265


def test_a_class_that_networks_do_not_tell_loses_nothing() -> None:
    rows = [("Bark", "Gong", p, 0.9, verified, True) for p in (0.02, 0.03, 0.04) for verified in (True, False)]
    assert leave_out_doubted(judged(*rows)).empty


def test_a_class_with_few_verified_clips_is_measured_by_all_of_its_clips() -> None:
    rows = [("Bark", "Bark", 0.9, 0.9, False, False)] * 3 + [("Bark", "Gong", 0.01, 0.9, False, True)]
    assert leave_out_doubted(judged(*rows, ("Bark", "Gong", 0.05, 0.9, True, True)))["fname"].tolist() == ["3.wav"]


@pytest.mark.parametrize("verified", [True, None])
def test_without_unverified_clips_none_is_doubted(verified: bool | None) -> None:
    rows = [("Bark", "Bark", 0.9, 0.9, verified, False)] * 3 + [("Bark", "Gong", 0.0, 0.9, verified, True)]
    assert leave_out_doubted(judged(*rows)).empty
