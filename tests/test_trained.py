from pathlib import Path

import numpy as np
import pytest
from stores import CLASSES, HEAD, frames_of, save_fold

from infer import trained as trained_module
from infer.bundle import write_bundle
from infer.calibration import Calibration
from infer.tagger import calibrate_run, load_tagger
from infer.trained import Trained, fitted_calibration, load_trained

RECORDING = {"head": frames_of("a", CLASSES[0]).astype(np.float16)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = save_fold(tmp_path / "runs", mode=HEAD)
    p = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    rows = [f"{n},{','.join(map(str, row))}" for n, row in enumerate(p)]
    (folder / "oof.csv").write_text("\n".join([f"fname,{','.join(CLASSES)}", *rows]))
    labels = [f"{n},{CLASSES[(row.argmax() + (n % 3 == 0)) % 3]},1" for n, row in enumerate(p)]
    (folder / "held.csv").write_text("\n".join(["fname,label,scored", *labels]))
    return tmp_path / "runs" / "quick"


def test_a_run_and_its_bundle_have_one_calibration(run: Path, tmp_path: Path) -> None:
    of_run = fitted_calibration(Trained(str(run)))
    assert of_run == calibrate_run(run, ["head"])
    assert of_run.clips == 60
    write_bundle(run, tmp_path / "bundle", with_onnx=False)
    assert fitted_calibration(Trained(str(tmp_path / "bundle"))) == of_run


def test_networks_answer_at_the_temperature_that_travels_with_their_name(run: Path) -> None:
    fitted = load_tagger(run, device="cpu")
    found = load_trained(Trained(str(run), temperature=fitted.calibration.temperature))
    assert np.array_equal(found.log_probabilities([RECORDING]), fitted.log_probabilities([RECORDING]))
    plain = load_trained(Trained(str(run)))
    assert plain.calibration == pytest.approx(Calibration(), nan_ok=True)
    assert not np.allclose(plain.log_probabilities([RECORDING]), fitted.log_probabilities([RECORDING]))


def test_networks_are_loaded_once_and_their_temperature_is_not_fitted_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    load = trained_module.load_tagger
    monkeypatch.setattr(trained_module, "load_tagger", lambda *a, **k: (calls.append("load"), load(*a, **k))[1])
    monkeypatch.setattr("infer.tagger.calibrate_run", lambda *_: calls.append("fit"))
    for temperature in (1.0, 2.0, 0.5):
        load_trained(Trained(str(run), temperature=temperature))
    assert calls == ["load"]
