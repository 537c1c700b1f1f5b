"""The embedded corpus: synthetic clips of all 41 classes in FSDKaggle2018's own layout.

    DIR/FSDKaggle2018.audio_train/*.wav     16 bit, 44.1 kHz, mono, 0.3 to 30 s
    DIR/FSDKaggle2018.audio_test/*.wav
    DIR/FSDKaggle2018.meta/train_post_competition.csv               fname,label,manually_verified,freesound_id,license
    DIR/FSDKaggle2018.meta/test_post_competition_scoring_clips.csv  fname,label,usage,freesound_id,license
    DIR/FSDKaggle2018.doc/README.md, synth.json (how it was made), truth.csv (fname,heard: what each clip really is)

The shares of the classes, of verified labels and of the test half are the published ones. About a third of the labels
that nobody verified are wrong: the clip is then of another class, mostly one that is easily taken for it. A clip's
bytes depend on the corpus's seed, its own number and its class alone.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile

from cache.errors import CorpusError
from corpus.classes import CLASS_COUNTS, FSDKAGGLE2018_CLASSES
from corpus.voices import render

SAMPLE_RATE_HZ = 44100
VERSION = 1
"""Counts up whenever the same seed gives other bytes."""
FEWEST_CLIPS = 2 * len(FSDKAGGLE2018_CLASSES)
WRONG_SHARE = 0.325
"""Of the labels that were not verified: the data set's own documentation says that at least 65 to 70 % are right."""
CONFUSED_SHARE = 0.7
"""Of the wrong labels, those taken from a class of the same group below; the others are of any class."""
PUBLIC_SHARE = 0.19

CONFUSABLE = (
    ("Acoustic_guitar", "Double_bass", "Electric_piano", "Harmonica"),
    ("Cello", "Double_bass", "Violin_or_fiddle"),
    ("Clarinet", "Flute", "Harmonica", "Oboe", "Saxophone", "Trumpet"),
    ("Bark", "Meow", "Squeak"),
    ("Burping_or_eructation", "Cough", "Fart", "Laughter"),
    ("Bass_drum", "Cowbell", "Hi-hat", "Knock", "Snare_drum"),
    ("Chime", "Cowbell", "Glockenspiel", "Gong", "Keys_jangling", "Shatter", "Tambourine"),
    ("Applause", "Fireworks", "Gunshot_or_gunfire", "Shatter"),
    (
        "Computer_keyboard",
        "Drawer_open_or_close",
        "Finger_snapping",
        "Knock",
        "Scissors",
        "Squeak",
        "Tearing",
        "Writing",
    ),
    ("Bus", "Microwave_oven", "Telephone"),
)

README = """# A synthetic corpus in the layout of FSDKaggle2018

Every sound here was computed; none was recorded. The folders, the columns, the shares of the classes and of verified
labels are those of FSDKaggle2018 (Fonseca et al., DCASE 2018). `truth.csv` tells what each clip really is: about a
third of the labels that were not verified are wrong, as in the original. Made with the settings in `synth.json`.
"""

Progress = Callable[[int, int], None]


def plan_corpus(*, clips: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Decide every clip of the corpus without making any.

    Parameters
    ----------
    clips : int
        Training clips, 82 at least; the test half comes in the published ratio, 1600 to 9473.
    seed : int
        Not negative.

    Returns
    -------
    pandas.DataFrame
        One row a clip, training clips first, the halves each in order of their names: ``fname``, ``split`` (train |
        test), ``label``, ``heard`` (the class that is synthesized), ``manually_verified`` (bool), ``usage`` (Public |
        Private; missing for training clips), ``freesound_id``, ``license``. The row's number is the clip's number.

    Raises
    ------
    CorpusError
        If there are fewer than two training clips a class, or the seed is negative.
    """
    if clips < FEWEST_CLIPS:
        message = f"a synthetic corpus needs at least {FEWEST_CLIPS} training clips, two a class, not {clips}"
        raise CorpusError(message)
    if seed < 0:
        message = f"the seed of a synthetic corpus is a whole number from 0 up, not {seed}"
        raise CorpusError(message)
    rng = np.random.default_rng(seed)
    table = pd.concat([_plan_train(rng, clips), _plan_test(rng, clips)], ignore_index=True)
    table["fname"] = _names(rng, table["split"])
    table["freesound_id"] = np.arange(len(table)) + 1
    table["license"] = "Creative Commons 0"
    return table.sort_values(["split", "fname"], ascending=[False, True], ignore_index=True)


def write_corpus(
    root: Path, *, clips: int = 1500, seed: int = 0, jobs: int = 1, progress: Progress | None = None
) -> None:
    """Synthesize a corpus into a folder, all of it or nothing.

    The corpus is made in a temporary folder, beside ``root`` or in it where it is there already (it may be the working
    directory, or a disk of its own), and renamed when it is whole. A folder that already holds the corpus of these very
    settings is kept as it is.

    Parameters
    ----------
    root : Path
        A folder that does not exist, or is empty, or holds this corpus already.
    clips, seed : int
        As in `plan_corpus`.
    jobs : int
        Processes to use; the bytes do not depend on it.
    progress : callable, optional
        Called with the number of clips written and of all clips, after every few clips.

    Raises
    ------
    CorpusError
        If the folder holds anything else, or a setting is out of range.
    OSError
        If the disk is full, or the folder cannot be written to.
    """
    if jobs < 1:
        message = f"the number of jobs is at least 1, not {jobs}"
        raise CorpusError(message)
    root = Path(root).resolve()
    table = plan_corpus(clips=clips, seed=seed)
    settings = {"version": VERSION, "clips": clips, "seed": seed}
    if _holds(root, settings):
        if progress is not None:
            progress(len(table), len(table))
        return
    name = f".{root.name}.partial-{os.getpid()}"
    partial_root = root / name if root.exists() else root.with_name(name)
    try:
        _write_audio(partial_root, table, seed=seed, jobs=jobs, progress=progress)
        _write_tables(partial_root, table, settings)
        _put_in_place(partial_root, root)
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)


def _put_in_place(partial_root: Path, root: Path) -> None:
    if partial_root.parent != root:
        os.replace(partial_root, root)
        return
    # The documents come last: they say that the corpus is whole.
    for part in ("audio_train", "audio_test", "meta", "doc"):
        os.replace(partial_root / f"FSDKaggle2018.{part}", root / f"FSDKaggle2018.{part}")


def _shares(total: int, weights: list[int], at_least: int) -> list[int]:
    """Share a total out in proportion, by largest remainders, with a lower bound for everyone."""
    exact = np.maximum(np.asarray(weights) * total / sum(weights), at_least)
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: max(0, total - int(counts.sum()))]:
        counts[index] += 1
    while counts.sum() > max(total, at_least * len(counts)):
        counts[np.argmax(counts)] -= 1
    return [int(count) for count in counts]


def _plan_train(rng: np.random.Generator, clips: int) -> pd.DataFrame:
    rows = []
    counts = _shares(clips, [count.train for count in CLASS_COUNTS.values()], 2)
    for (label, published), n_clips in zip(CLASS_COUNTS.items(), counts, strict=True):
        n_verified = max(1, round(n_clips * published.verified / published.train))
        n_wrong = round((n_clips - n_verified) * WRONG_SHARE + rng.uniform(-0.3, 0.3))
        for number in range(n_clips):
            heard = _mistaken(rng, label) if n_verified <= number < n_verified + n_wrong else label
            rows.append({"split": "train", "label": label, "heard": heard, "manually_verified": number < n_verified})
    return pd.DataFrame(rows)


def _mistaken(rng: np.random.Generator, label: str) -> str:
    """Return another class that passes for this one."""
    near = sorted({other for group in CONFUSABLE if label in group for other in group} - {label})
    others = near if near and rng.random() < CONFUSED_SHARE else sorted(set(FSDKAGGLE2018_CLASSES) - {label})
    return others[int(rng.integers(len(others)))]


def _plan_test(rng: np.random.Generator, clips: int) -> pd.DataFrame:
    published = [count.test for count in CLASS_COUNTS.values()]
    total = round(clips * sum(published) / sum(count.train for count in CLASS_COUNTS.values()))
    counts = _shares(total, published, 1)
    labels = np.repeat(FSDKAGGLE2018_CLASSES, counts)
    public = np.zeros(len(labels), bool)
    public[rng.permutation(len(labels))[: max(1, round(PUBLIC_SHARE * len(labels)))]] = True
    usage = np.where(public, "Public", "Private")
    return pd.DataFrame({"split": "test", "label": labels, "heard": labels, "manually_verified": True, "usage": usage})


def _names(rng: np.random.Generator, split: "pd.Series[str]") -> list[str]:
    """Return a random name of eight hexadecimal digits for every clip, no two alike."""
    numbers: npt.NDArray[np.int64] = np.array([], np.int64)
    while len(numbers) < len(split):
        numbers = np.unique(np.append(numbers, rng.integers(0, 1 << 32, len(split) - len(numbers))))
    return [f"{number:08x}.wav" for number in rng.permutation(numbers)]


def _clip_file(root: Path, split: str, fname: str) -> Path:
    return root / f"FSDKaggle2018.audio_{split}" / fname


def _write_clip(task: tuple[int, str, Path], *, seed: int) -> None:
    number, label, path = task
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    wave = render(label, rng, sample_rate_hz=SAMPLE_RATE_HZ)
    content = io.BytesIO()
    samples = np.round(wave * 32767).astype(np.int16)
    soundfile.write(content, samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    # Not written by libsndfile, which does not tell a full disk from other errors.
    path.write_bytes(content.getvalue())


def _write_audio(root: Path, table: pd.DataFrame, *, seed: int, jobs: int, progress: Progress | None) -> None:
    for part in ("audio_train", "audio_test", "meta", "doc"):
        (root / f"FSDKaggle2018.{part}").mkdir(parents=True)
    rows = zip(table["heard"], table["split"], table["fname"], strict=True)
    tasks = [(number, heard, _clip_file(root, split, fname)) for number, (heard, split, fname) in enumerate(rows)]
    for done, _ in enumerate(_in_processes(partial(_write_clip, seed=seed), tasks, jobs), start=1):
        if progress is not None and (done % 16 == 0 or done == len(tasks)):
            progress(done, len(tasks))


def _in_processes(
    write: Callable[[tuple[int, str, Path]], None], tasks: list[tuple[int, str, Path]], jobs: int
) -> Iterator[None]:
    if jobs == 1:
        yield from map(write, tasks)
        return
    # Spawned, not forked: the caller may run threads (progress bars, BLAS), which a fork would leave locked.
    executor = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        yield from executor.map(write, tasks, chunksize=16)
    finally:
        executor.shutdown(cancel_futures=True)


def _write_tables(root: Path, table: pd.DataFrame, settings: dict[str, int]) -> None:
    meta, doc = root / "FSDKaggle2018.meta", root / "FSDKaggle2018.doc"
    train, test = table[table["split"] == "train"], table[table["split"] == "test"]
    train = train.assign(manually_verified=train["manually_verified"].astype(int))
    train[["fname", "label", "manually_verified", "freesound_id", "license"]].to_csv(
        meta / "train_post_competition.csv", index=False
    )
    test[["fname", "label", "usage", "freesound_id", "license"]].to_csv(
        meta / "test_post_competition_scoring_clips.csv", index=False
    )
    table[["fname", "heard"]].to_csv(doc / "truth.csv", index=False)
    (doc / "README.md").write_text(README, encoding="utf-8")
    (doc / "synth.json").write_text(json.dumps(settings) + "\n", encoding="utf-8")


def _holds(root: Path, settings: dict[str, int]) -> bool:
    """Tell whether the folder holds this very corpus; refuse it where it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / "FSDKaggle2018.doc" / "synth.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        message = f"{root} must be empty or not there yet, but it holds something else; name another folder"
        raise CorpusError(message) from None
    if found != settings:
        message = f"{root} holds a synthetic corpus of other settings, {found} and not {settings}; name another folder"
        raise CorpusError(message)
    return True
