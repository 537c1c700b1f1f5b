"""Groups of clips that belong together, such as those of one recorder.

Conventions
-----------
Clips of a group stay on one side of a split, and are right or wrong together. A clip without a group, in a corpus that
has groups, is a group of its own.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def groups_of(clips: pd.DataFrame) -> NDArray[np.object_] | None:
    """Return the name of each clip's group; None where no clip has one.

    Parameters
    ----------
    clips : DataFrame
        Rows of the clip table.
    """
    groups = clips["group"]
    if groups.isna().all():
        return None
    alone = pd.Series([f"\0{name}" for name in clips["fname"]], index=clips.index)  # no group is called so
    return groups.where(groups.notna(), alone).to_numpy(object)
