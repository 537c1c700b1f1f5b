"""Make the weights that networks begin with, train/weights/<mode>.safetensors, from synthetic sounds alone.

    python docs/pretrain.py FOLDER [--patches 2000] [--takes 7] [--voices 195] [--epochs 24] [--mode lh ...]

A network learns to tell apart random patches of a synthesizer (`corpus.patches`), each played a few times, and the 41
voices of the embedded corpus (`corpus.voices`); its convolutions are kept. No recording is used. FOLDER takes the
sounds, their features and the trainings, some 8 GB; what is there already is kept. The demo's corpus comes from the
same voices, which is why the demo does not begin with these weights.

Longer training is better up to here, other sounds are not. Fitted last layers alone, LH and X, cross-validated on 495
clips of 39 classes by recorder (seed 42): 0.578 and 0.598 after 24 epochs, 0.546 and 0.593 after 12, 0.536 for X after
6. LOG's weights are of 12 epochs still. With 500 clips of each voice X has 0.587 after 12; with 6,000 patches as well,
after 10, 0.513.
"""

import argparse
import csv
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from joblib import Parallel, delayed

from cache import open_store
from cache.outfile import write_atomically
from corpus.patches import render_patch
from corpus.tables import read_corpus
from corpus.voices import VOICES, render
from corpus.waves import Wave
from featurize.jobs import count_jobs, run_tasks
from featurize.modes import MODES
from train.checkpoint import load_checkpoint
from train.convnet import ConvNet
from train.loop import train_fold
from train.plan import RunRequest, plan_run
from train.pretrained import save_pretrained
from train.recipe import RECIPES

WEIGHTS = Path(__file__).resolve().parents[1] / "train" / "weights"
SEED = 1
# All sounds count alike, not all classes: the voices would be 1 % of what is heard. Milder than on recordings, of
# which there are fewer.
RECIPE = dataclasses.replace(
    RECIPES["best"],
    name="pretrain",
    pretrained=False,
    balanced=False,
    first_round=0.0,
    mixup_alpha=0.4,
    mask_bands=0.1,
    mask_frames=0.1,
    reverberate_probability=0.3,
)


def write_patch(folder: Path, number: int, takes: int) -> None:
    """Write some takes of a patch."""
    for take in range(takes):
        _write(folder / f"patch-{number:05d}-{take:02d}.wav", partial(render_patch, number, take, seed=SEED))


def write_voice(folder: Path, label: str, takes: int) -> None:
    """Write some clips of a voice."""
    for take in range(takes):
        rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(10**6 + list(VOICES).index(label), take)))
        _write(folder / f"{label}-{take:05d}.wav", partial(render, label, rng))


def _write(path: Path, sound: Callable[[], Wave]) -> None:
    if not path.exists():
        wave = sound()
        write_atomically(path, lambda part: soundfile.write(part, wave, 44_100, format="WAV", subtype="PCM_16"))


def write_sounds(corpus: Path, *, patches: int, takes: int, voices: int) -> None:
    """Write the sounds and their table."""
    audio = corpus / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    tasks = [delayed(write_patch)(audio, number, takes) for number in range(patches)]
    tasks += [delayed(write_voice)(audio, label, voices) for label in VOICES]
    Parallel(count_jobs(None))(tasks)
    names = sorted(path.name for path in audio.glob("*.wav"))
    with (corpus / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("fname", "label"), *((name, name.rpartition("-")[0]) for name in names)])


def main() -> None:
    """Synthesize, featurize, train a network of each mode, and keep its convolutions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("patches", 2000), ("takes", 7), ("voices", 195), ("epochs", 24)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mode", action="append", dest="modes", choices=["lh", "x", "log"])
    arguments = parser.parse_args()
    modes = [MODES[name] for name in arguments.modes or ("lh", "x", "log")]
    corpus, store, run = (arguments.folder / name for name in ("sounds", "features", "run"))
    write_sounds(corpus, patches=arguments.patches, takes=arguments.takes, voices=arguments.voices)
    words = [word for mode in modes for word in ("--mode", mode.name)]
    subprocess.run([sys.executable, "-m", "cli", "featurize", corpus, "--store", store, *words], check=True)
    clips = read_corpus(corpus)
    readers = {mode.name: (mode, open_store(store / mode.folder)) for mode in modes}
    recipe = dataclasses.replace(RECIPE, epochs=arguments.epochs)
    request = RunRequest(folder=run, recipe=recipe, seed=SEED, device="auto", n_folds=20, folds=[0], resume=True)
    jobs = count_jobs(None)
    for result in run_tasks(train_fold, plan_run(clips, readers, request).jobs, jobs=jobs):
        print(f"{result['mode']}: mAP@3 {result['map3']:.3f} of held sounds, {result['seconds'] / 60:.0f} min")
    sounds = f"{arguments.patches} patches of {arguments.takes} takes, {arguments.voices} clips of each of 41 voices"
    WEIGHTS.mkdir(exist_ok=True)
    for mode in modes:
        model = load_checkpoint(run / mode.name / "fold-0").model
        if not isinstance(model, ConvNet):
            raise SystemExit(f"{mode.name}: the recipe's network is no ConvNet")
        save_pretrained(model, mode.to_dict(), WEIGHTS / f"{mode.name}.safetensors", sounds=sounds)


if __name__ == "__main__":
    main()
