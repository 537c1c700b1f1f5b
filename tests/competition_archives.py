"""Made-up archives of the competition's layouts, at small size, and a table that describes them as published."""

import dataclasses
import hashlib
import io
import zipfile
from collections.abc import Mapping

import numpy as np
import soundfile

from corpus.archives import ZENODO, Archive

Z = "FSDKaggle2018."
TRAIN_ROWS = (("00044347.wav", "Hi-hat", 0), ("001ca53d.wav", "Saxophone", 1), ("002d256b.wav", "Trumpet", 0))
TEST_ROWS = (("00326aa9.wav", "Bark", "Public"), ("0038a046.wav", "Bass_drum", "Private"))
EMPTY_CLIPS = ("0b0427e2.wav", "6ea0099f.wav", "b39975f5.wav")


def wave(seed: int, *, seconds: float = 0.3) -> bytes:
    """A clip as the competition's are: 16 bit, 44.1 kHz, mono. Noise, so that it does not shrink."""
    samples = np.random.default_rng(seed).integers(-9000, 9000, round(seconds * 44100), dtype=np.int16)
    content = io.BytesIO()
    soundfile.write(content, samples, 44100, format="WAV", subtype="PCM_16")
    return content.getvalue()


def train_clips() -> dict[str, bytes]:
    return {fname: wave(number) for number, (fname, _, _) in enumerate(TRAIN_ROWS)}


def scored_clips() -> dict[str, bytes]:
    return {fname: wave(100 + number) for number, (fname, _, _) in enumerate(TEST_ROWS)}


def zipped(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, folders: tuple[str, ...] = ()) -> bytes:
    """A ZIP archive of the members, and of entries for folders: the same bytes at any time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in {**{f"{folder}/": b"" for folder in folders}, **members}.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return content.getvalue()


def zenodo_members() -> dict[str, dict[str, bytes]]:
    """Archive's name → its members, as Zenodo's archives hold them."""
    train = "".join(f"{fname},{label},{verified},1,CC0\n" for fname, label, verified in TRAIN_ROWS)
    test = "".join(f"{fname},{label},{usage},1,CC0\n" for fname, label, usage in TEST_ROWS)
    tables = {
        "train_post_competition.csv": f"fname,label,manually_verified,freesound_id,license\n{train}",
        "test_post_competition_scoring_clips.csv": f"fname,label,usage,freesound_id,license\n{test}",
    }
    parts: dict[str, dict[str, bytes]] = {
        "audio_train": train_clips(),
        "audio_test": scored_clips(),
        "meta": {name: text.encode() for name, text in tables.items()},
        "doc": {"README.md": b"about", "LICENSE-DATASET": b"CC"},
    }
    return {
        f"{Z}{part}.zip": {f"{Z}{part}/{name}": data for name, data in files.items()} for part, files in parts.items()
    }


def zenodo_files() -> dict[str, bytes]:
    """Archive's name → its bytes."""
    return {name: zipped(members, folders=(name.removesuffix(".zip"),)) for name, members in zenodo_members().items()}


def describe(files: Mapping[str, bytes]) -> tuple[Archive, ...]:
    """The table of Zenodo's archives, with the sizes and checksums of these files."""
    members = zenodo_members()
    return tuple(
        dataclasses.replace(
            archive,
            md5=hashlib.md5(files[archive.name]).hexdigest(),
            about_bytes=len(files[archive.name]),
            files=len(members[archive.name]) if archive.files else 0,
            unpacked_bytes=sum(map(len, members[archive.name].values())),
        )
        for archive in ZENODO
        if archive.name in files
    )


def kaggle_tables() -> dict[str, bytes]:
    """Kaggle's tables: the empty clips are ignored ones, and the sample spells a class in its own way."""
    train = "".join(f"{fname},{label},{verified}\n" for fname, label, verified in TRAIN_ROWS)
    scored = "".join(f"{fname},{label},{usage},1,CC0\n" for fname, label, usage in TEST_ROWS)
    ignored = "".join(f"{fname},None,Ignored,1,CC0\n" for fname in EMPTY_CLIPS)
    names = sorted([*EMPTY_CLIPS, *(fname for fname, _, _ in TEST_ROWS)])
    sample = "".join(f"{fname},Laughter Hi-Hat Flute\n" for fname in names)
    return {
        "train.csv": f"fname,label,manually_verified\n{train}".encode(),
        "test_post_competition.csv": f"fname,label,usage,freesound_id,license\n{scored}{ignored}".encode(),
        "sample_submission.csv": f"fname,label\n{sample}".encode(),
    }


def kaggle_audio() -> dict[str, dict[str, bytes]]:
    """Folder → its clips, the three empty ones among them: no bytes at all, and a header without samples."""
    empty = dict.fromkeys(EMPTY_CLIPS, b"") | {EMPTY_CLIPS[2]: wave(0, seconds=0)}
    return {"audio_train": train_clips(), "audio_test": scored_clips() | empty}
