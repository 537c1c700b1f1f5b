"""Published scores of FSDKaggle2018, to compare one's own with.

Conventions
-----------
mAP@3 on the competition's 1,600 scored test clips, on each part of the leaderboard: 301 Public, 1,299 Private. They are
references for these very clips and for no others.
"""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from corpus.classes import CLASS_COUNTS
from corpus.tables import competition_layout

_USAGE = {"Public": 301, "Private": 1299}


@dataclass(frozen=True)
class Reference:
    """A published score.

    Attributes
    ----------
    name : str
    public, private : float
        mAP@3, from 0 to 1.
    source : str
        Where it is published.
    """

    name: str
    public: float
    private: float
    source: str


REFERENCES = (
    Reference("DCASE 2018 baseline", 0.7049, 0.6943, "README of DCASE-REPO/dcase2018_baseline"),
    Reference("daisukelab's LH and X", 0.950, 0.917, "header of the Kaggle notebook"),
    Reference("winner, Jeong & Lim", 0.9751, 0.9538, "results page of DCASE 2018, task 2"),
)


def references_for(clips: pd.DataFrame, scored: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the published scores where the clips that were scored are the competition's; none elsewhere.

    That is so in one of the competition's layouts, where the scored test clips have the published number of each class
    and of each part of the leaderboard.

    Parameters
    ----------
    clips : DataFrame
        The clip table.
    scored : DataFrame
        The rows of it that predictions were scored on.
    """
    published = {label: counts.test for label, counts in CLASS_COUNTS.items()}
    same = (
        competition_layout(clips)
        and bool((scored["split"] == "test").all())
        and scored["usage"].value_counts().to_dict() == _USAGE
        and scored["label"].value_counts().to_dict() == published
    )
    return [asdict(reference) for reference in REFERENCES] if same else []
