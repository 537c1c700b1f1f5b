"""Voices: which synthesis stands for each of FSDKaggle2018's 41 classes, and how long such clips are.

`render` gives one clip: a dry sound of the class, recorded. Lengths follow a log-normal law cut to the data set's
0.3 to 30 seconds, with a median of each class's own.
"""

from collections.abc import Callable

import numpy as np

from cache.errors import InputError
from corpus import instruments, mouths, objects, percussion
from corpus.recording import record
from corpus.waves import Studio, Wave

Voice = Callable[[Studio, float], Wave]

SHORTEST_SECONDS = 0.3
LONGEST_SECONDS = 30.0
LENGTH_SPREAD = 0.8
"""Standard deviation of the natural logarithm of a clip's length within its class."""

VOICES: dict[str, tuple[Voice, float]] = {
    "Acoustic_guitar": (instruments.acoustic_guitar, 2.6),
    "Applause": (objects.applause, 4.0),
    "Bark": (mouths.bark, 1.8),
    "Bass_drum": (percussion.bass_drum, 1.5),
    "Burping_or_eructation": (mouths.burping, 1.5),
    "Bus": (objects.bus, 4.0),
    "Cello": (instruments.cello, 3.0),
    "Chime": (percussion.chime, 3.2),
    "Clarinet": (instruments.clarinet, 2.4),
    "Computer_keyboard": (objects.computer_keyboard, 2.6),
    "Cough": (mouths.cough, 1.7),
    "Cowbell": (percussion.cowbell, 1.5),
    "Double_bass": (instruments.double_bass, 2.2),
    "Drawer_open_or_close": (objects.drawer, 2.2),
    "Electric_piano": (instruments.electric_piano, 2.6),
    "Fart": (mouths.fart, 1.4),
    "Finger_snapping": (objects.finger_snapping, 1.6),
    "Fireworks": (objects.fireworks, 3.0),
    "Flute": (instruments.flute, 2.4),
    "Glockenspiel": (percussion.glockenspiel, 1.8),
    "Gong": (percussion.gong, 3.5),
    "Gunshot_or_gunfire": (objects.gunshot, 1.5),
    "Harmonica": (instruments.harmonica, 2.4),
    "Hi-hat": (percussion.hi_hat, 1.5),
    "Keys_jangling": (percussion.keys_jangling, 2.0),
    "Knock": (percussion.knock, 1.8),
    "Laughter": (mouths.laughter, 2.4),
    "Meow": (mouths.meow, 1.6),
    "Microwave_oven": (objects.microwave_oven, 3.0),
    "Oboe": (instruments.oboe, 2.2),
    "Saxophone": (instruments.saxophone, 2.4),
    "Scissors": (objects.scissors, 1.8),
    "Shatter": (percussion.shatter, 1.8),
    "Snare_drum": (percussion.snare_drum, 1.5),
    "Squeak": (objects.squeak, 1.8),
    "Tambourine": (percussion.tambourine, 1.7),
    "Tearing": (objects.tearing, 2.4),
    "Telephone": (percussion.telephone, 2.4),
    "Trumpet": (instruments.trumpet, 2.2),
    "Violin_or_fiddle": (instruments.violin, 2.6),
    "Writing": (objects.writing, 2.4),
}


def render(label: str, rng: np.random.Generator, *, sample_rate_hz: int = 44100) -> Wave:
    """Return one synthetic clip of a class.

    Parameters
    ----------
    label : str
        One of FSDKaggle2018's 41 classes.
    rng : numpy.random.Generator
        The only source of chance: the same state gives the same clip.
    sample_rate_hz : int

    Returns
    -------
    float32 [n_samples], in [-1, 1]
        From 0.3 to 30 s.

    Raises
    ------
    InputError
        If no voice has this label.
    """
    if label not in VOICES:
        message = f"no synthetic voice is called {label!r}: it takes one of FSDKaggle2018's 41 labels"
        raise InputError(message)
    voice, median_seconds = VOICES[label]
    studio = Studio(rng, sample_rate_hz)
    seconds = median_seconds * np.exp(LENGTH_SPREAD * rng.standard_normal())
    seconds = float(np.clip(seconds, SHORTEST_SECONDS, LONGEST_SECONDS))
    around = min(studio.octaves(0.02, 1.0), 0.4 * (seconds - 0.2))
    before = around * studio.between(0, 1)
    dry = voice(studio, seconds - around)
    return record(studio, dry, before_seconds=before, after_seconds=around - before)
