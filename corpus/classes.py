"""The 41 classes of FSDKaggle2018, and how many clips of each were published.

Names are spelt as in the competition's files (underscores, ``Hi-hat`` with a small second h) and stand in sorted order,
which is the order of the columns of every model trained on the whole competition.

The counts are facts of the label files published after the competition: train_post_competition.csv (9,473 rows, of
which 3,710 manually verified) and test_post_competition.csv without its rows of usage Ignored (1,600 rows).
"""

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassCount:
    """Clips of one class as published.

    Attributes
    ----------
    train : int
        Training clips, verified or not.
    verified : int
        Those of the training clips whose label was verified by hand.
    test : int
        Test clips that were scored (usage Public or Private).
    """

    train: int
    verified: int
    test: int


CLASS_COUNTS: dict[str, ClassCount] = {
    "Acoustic_guitar": ClassCount(300, 105, 45),
    "Applause": ClassCount(300, 61, 32),
    "Bark": ClassCount(239, 67, 28),
    "Bass_drum": ClassCount(300, 67, 28),
    "Burping_or_eructation": ClassCount(210, 75, 32),
    "Bus": ClassCount(109, 59, 25),
    "Cello": ClassCount(300, 125, 54),
    "Chime": ClassCount(115, 66, 29),
    "Clarinet": ClassCount(300, 130, 56),
    "Computer_keyboard": ClassCount(119, 60, 26),
    "Cough": ClassCount(243, 69, 30),
    "Cowbell": ClassCount(191, 96, 42),
    "Double_bass": ClassCount(300, 92, 40),
    "Drawer_open_or_close": ClassCount(158, 67, 29),
    "Electric_piano": ClassCount(150, 74, 32),
    "Fart": ClassCount(300, 71, 30),
    "Finger_snapping": ClassCount(117, 77, 33),
    "Fireworks": ClassCount(300, 75, 32),
    "Flute": ClassCount(300, 128, 55),
    "Glockenspiel": ClassCount(94, 70, 29),
    "Gong": ClassCount(292, 85, 37),
    "Gunshot_or_gunfire": ClassCount(147, 145, 63),
    "Harmonica": ClassCount(165, 88, 33),
    "Hi-hat": ClassCount(300, 89, 39),
    "Keys_jangling": ClassCount(139, 66, 28),
    "Knock": ClassCount(279, 90, 39),
    "Laughter": ClassCount(300, 88, 38),
    "Meow": ClassCount(155, 69, 29),
    "Microwave_oven": ClassCount(146, 67, 29),
    "Oboe": ClassCount(299, 99, 42),
    "Saxophone": ClassCount(300, 256, 110),
    "Scissors": ClassCount(95, 59, 25),
    "Shatter": ClassCount(300, 67, 29),
    "Snare_drum": ClassCount(300, 70, 34),
    "Squeak": ClassCount(300, 69, 29),
    "Tambourine": ClassCount(221, 92, 40),
    "Tearing": ClassCount(300, 62, 27),
    "Telephone": ClassCount(120, 112, 48),
    "Trumpet": ClassCount(300, 86, 37),
    "Violin_or_fiddle": ClassCount(300, 250, 108),
    "Writing": ClassCount(270, 67, 29),
}

FSDKAGGLE2018_CLASSES: tuple[str, ...] = tuple(CLASS_COUNTS)


def nearest_class(label: str) -> str | None:
    """Find the class of the competition that a misspelt label most likely means.

    Parameters
    ----------
    label : str
        A label that is not one of the 41.

    Returns
    -------
    str or None
        The nearest class name, letter case aside; None where nothing is near.
    """
    spelt = {name.lower(): name for name in FSDKAGGLE2018_CLASSES}
    near = difflib.get_close_matches(label.lower(), spelt, n=1, cutoff=0.7)
    return spelt[near[0]] if near else None


def unknown_label_message(label: str) -> str:
    """Say in half a sentence that a label is not one of the competition's, with the near match.

    Parameters
    ----------
    label : str
        A label that is not one of the 41.

    Returns
    -------
    str
        For example ``"'Hi-Hat' is not one of the 41 classes of FSDKaggle2018 (did you mean 'Hi-hat'?)"``.
    """
    message = f"{label!r} is not one of the {len(FSDKAGGLE2018_CLASSES)} classes of FSDKaggle2018"
    near = nearest_class(label)
    return message if near is None else f"{message} (did you mean {near!r}?)"
