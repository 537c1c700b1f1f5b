from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import sine
from stores import CLASSES, HEAD, LONG, T, frames_of, save_fold, write_store

from cache import StoreReader
from cache.errors import InputError
from featurize.audio import Recording
from featurize.logmel import log_mel
from infer.calibration import Calibration
from infer.predict import predict_clips
from infer.runs import load_run
from infer.tagger import Tagger, calibrate_run, load_tagger
from train.device import Engine

ENGINE = Engine(torch.device("cpu"), bfloat16=False)
NAMES = ("a.wav", "b.wav", "c.wav")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for fold in (0, 1):
        save_fold(runs, fold=fold, unseen_classes=list(CLASSES[:fold]))
    save_fold(runs, mode=LONG)
    return runs / "quick"


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoreReader]:
    lengths = {HEAD: [T, T, T], LONG: [T, T + 200, T + 90]}
    return {
        mode.name: write_store(
            tmp_path_factory.mktemp(mode.name),
            mode,
            {name: frames_of(name, CLASSES[i], n) for i, (name, n) in enumerate(zip(NAMES, of_mode, strict=True))},
        )
        for mode, of_mode in lengths.items()
    }


def tagger_of(run: Path, temperature: float = 1.0) -> Tagger:
    return Tagger(load_run(run), engine=ENGINE, calibration=Calibration(temperature))


def test_a_tagger_says_what_predict_says(run: Path, readers: dict[str, StoreReader]) -> None:
    expected = predict_clips(NAMES, readers, load_run(run), ENGINE)[list(CLASSES)].to_numpy()
    recordings = [{mode: reader[i] for mode, reader in readers.items()} for i in range(len(NAMES))]
    log_p = tagger_of(run).log_probabilities(recordings)
    assert np.exp(log_p) == pytest.approx(expected, abs=1e-6)
    cold = tagger_of(run, 0.5).log_probabilities(recordings)
    assert np.exp(cold) == pytest.approx(expected**2 / (expected**2).sum(axis=1, keepdims=True), abs=1e-6)


def test_recordings_without_a_mode_are_told_by_the_others(run: Path, readers: dict[str, StoreReader]) -> None:
    whole = {mode: reader[0] for mode, reader in readers.items()}
    tagger = tagger_of(run)
    both = tagger.log_probabilities([whole, {"long": readers["long"][1]}])
    assert both[0] == pytest.approx(tagger.log_probabilities([whole])[0], abs=1e-5)
    assert both[1] == pytest.approx(tagger.log_probabilities([{"long": readers["long"][1]}])[0], abs=1e-5)
    with pytest.raises(InputError, match="frames in one of the modes head, long"):
        tagger.log_probabilities([whole, {}])


def test_frames_are_those_of_a_store(run: Path) -> None:
    recording = Recording(sine(30_000, 700.0), 44_100)
    frames = tagger_of(run).frames(recording)
    assert list(frames) == ["head", "long"]
    for mode in (HEAD, LONG):
        assert frames[mode.name].dtype == np.dtype(mode.dtype)
        assert np.array_equal(frames[mode.name], log_mel(recording, mode).astype(mode.dtype))


def test_a_run_without_held_labels_has_no_temperature(run: Path) -> None:
    found = load_tagger(run, device="cpu")
    assert found.classes == list(CLASSES)
    assert found.calibration == pytest.approx(Calibration(), nan_ok=True)


def test_a_temperature_is_fitted_to_the_modes_that_are_joined(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for mode in (HEAD, LONG):
        folder = save_fold(tmp_path, mode=mode)
        p = rng.dirichlet(np.ones(3), 60)
        lines = [f"{n},{','.join(map(str, row))}" for n, row in enumerate(p)]
        (folder / "oof.csv").write_text("\n".join([f"fname,{','.join(CLASSES)}", *lines]))
        right = [f"{n},{CLASSES[row.argmax()]},{int(n < 50)}" for n, row in enumerate(p)]
        (folder / "held.csv").write_text("\n".join(["fname,label,scored", *right]))
    alone = calibrate_run(tmp_path / "quick", ["head"])
    assert alone.clips == 50
    assert alone.temperature < 0.1  # always right: as sure as may be
    assert calibrate_run(tmp_path / "quick", ["head", "long"]).temperature > alone.temperature


def test_clips_of_a_class_that_was_not_heard_have_no_say_in_the_temperature(tmp_path: Path) -> None:
    folder = save_fold(tmp_path, unseen_classes=["Gong"])
    p = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    lines = [f"{n},{','.join(map(str, row))}" for n, row in enumerate(p)]
    (folder / "oof.csv").write_text("\n".join([f"fname,{','.join(CLASSES)}", *lines]))
    labels = [CLASSES[row.argmax()] if n < 40 else "Gong" for n, row in enumerate(p)]
    held = [f"{n},{label},1" for n, label in enumerate(labels)]
    (folder / "held.csv").write_text("\n".join(["fname,label,scored", *held]))
    found = calibrate_run(tmp_path / "quick", ["head"])
    assert found.clips == 60 - labels.count("Gong")
    assert found.temperature < 0.1
