"""Events: what sounds in a recording, from when to when.

Conventions
-----------
Times are in seconds from the begin of the recording, ``0 <= onset < offset``. Lists of events are in the order of
onset, offset and label.
"""

import math
from dataclasses import dataclass

from cache.errors import InputError


@dataclass(frozen=True, order=True)
class Event:
    """A sound of one class.

    Parameters
    ----------
    onset, offset : float
        Begin and end in seconds.
    label : str
        Its class.
    score : float in [0, 1]
        How sure that is; 1 for what a person annotated.

    Raises
    ------
    InputError
        If the times or the score break their rule.
    """

    onset: float
    offset: float
    label: str
    score: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.offset < math.inf:
            message = f"an event must have 0 <= onset < offset; got {self.onset} … {self.offset} ({self.label})"
            raise InputError(message)
        if not 0 <= self.score <= 1:
            message = f"an event's score must be from 0 to 1; got {self.score} ({self.label})"
            raise InputError(message)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.offset - self.onset
