"""Where the 41 classes stand in the AudioSet ontology, and what family of sounds each belongs to.

Ids are those of ``ontology.json`` (Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events",
ICASSP 2017). Families are the ontology's own branches where a curator looks for a sound: "instrument" is Musical
instrument, "human" Human sounds, "animal" Animal, "domestic" Domestic sounds with doors, "vehicle", "alarm" and
"explosion" those branches of Sounds of things, and "material" what stands under the names of materials and contacts.
"""

from typing import NamedTuple


class Concept(NamedTuple):
    """A class in the ontology.

    Attributes
    ----------
    audioset_id : str
    family : str
        One of `FAMILIES`.
    """

    audioset_id: str
    family: str


ONTOLOGY: dict[str, Concept] = {
    "Acoustic_guitar": Concept("/m/042v_gx", "instrument"),
    "Applause": Concept("/m/028ght", "human"),
    "Bark": Concept("/m/05tny_", "animal"),
    "Bass_drum": Concept("/m/0bm02", "instrument"),
    "Burping_or_eructation": Concept("/m/03q5_w", "human"),
    "Bus": Concept("/m/01bjv", "vehicle"),
    "Cello": Concept("/m/01xqw", "instrument"),
    "Chime": Concept("/m/0f8s22", "instrument"),
    "Clarinet": Concept("/m/01wy6", "instrument"),
    "Computer_keyboard": Concept("/m/01m2v", "domestic"),
    "Cough": Concept("/m/01b_21", "human"),
    "Cowbell": Concept("/m/0239kh", "instrument"),
    "Double_bass": Concept("/m/02fsn", "instrument"),
    "Drawer_open_or_close": Concept("/m/0fqfqc", "domestic"),
    "Electric_piano": Concept("/m/01s0ps", "instrument"),
    "Fart": Concept("/m/02_nn", "human"),
    "Finger_snapping": Concept("/m/025_jnm", "human"),
    "Fireworks": Concept("/m/0g6b5", "explosion"),
    "Flute": Concept("/m/0l14j_", "instrument"),
    "Glockenspiel": Concept("/m/0dwtp", "instrument"),
    "Gong": Concept("/m/0mbct", "instrument"),
    "Gunshot_or_gunfire": Concept("/m/032s66", "explosion"),
    "Harmonica": Concept("/m/03qjg", "instrument"),
    "Hi-hat": Concept("/m/03qtq", "instrument"),
    "Keys_jangling": Concept("/m/03v3yw", "domestic"),
    "Knock": Concept("/m/07r4wb8", "domestic"),
    "Laughter": Concept("/m/01j3sz", "human"),
    "Meow": Concept("/m/07qrkrw", "animal"),
    "Microwave_oven": Concept("/m/0fx9l", "domestic"),
    "Oboe": Concept("/m/05kms", "instrument"),
    "Saxophone": Concept("/m/06ncr", "instrument"),
    "Scissors": Concept("/m/01lsmm", "domestic"),
    "Shatter": Concept("/m/07rn7sz", "material"),
    "Snare_drum": Concept("/m/06rvn", "instrument"),
    "Squeak": Concept("/m/07q6cd_", "domestic"),
    "Tambourine": Concept("/m/07brj", "instrument"),
    "Tearing": Concept("/m/07qcx4z", "material"),
    "Telephone": Concept("/m/07cx4", "alarm"),
    "Trumpet": Concept("/m/07gql", "instrument"),
    "Violin_or_fiddle": Concept("/m/07y_7", "instrument"),
    "Writing": Concept("/m/081rb", "domestic"),
}

FAMILIES = tuple(sorted({concept.family for concept in ONTOLOGY.values()}))
