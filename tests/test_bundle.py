import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stores import CLASSES, HEAD, LONG, T, frames_of, save_fold

from cache.errors import EarmarkError, InputError, IntegrityError, NotFoundError
from infer import bundle as bundle_module
from infer.bundle import is_bundle, load_bundle, write_bundle
from infer.bundle_contents import check_bundle
from infer.calibration import Calibration
from infer.model_card import model_card
from infer.onnx_network import OnnxNetwork, write_onnx
from infer.tagger import load_tagger
from train.checkpoint import load_checkpoint
from train.convnet import ConvNet

RECORDINGS = [
    {
        "head": frames_of(name, label).astype(np.float16),
        "long": frames_of(name, label, T + more).astype(np.float16),
    }
    for name, label, more in (("a", CLASSES[0], 90), ("b", CLASSES[1], 0))
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for fold in (0, 1):
        save_fold(runs, fold=fold)
    save_fold(runs, mode=LONG)
    (runs / "quick" / "head" / "fold-0" / "oof.csv").write_text("fname,Bark\nsecret clip.wav,1\n")
    return runs / "quick"


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "bundle"
    shown: list[tuple[str, int, int]] = []
    write_bundle(run, out, progress=lambda *step: shown.append(step))
    assert shown == [("export", 1, 3), ("export", 2, 3), ("export", 3, 3)]
    return out


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_bundle_says_what_its_run_says(run: Path, bundle: Path) -> None:
    expected = load_tagger(run, device="cpu").log_probabilities(RECORDINGS)
    assert load_bundle(bundle, device="cpu").log_probabilities(RECORDINGS) == pytest.approx(expected, abs=1e-6)
    alone = load_bundle(bundle, ["head"], device="cpu")
    assert alone.modes == [HEAD]


def test_onnx_says_what_torch_says(bundle: Path) -> None:
    by_torch, by_onnx = (load_bundle(bundle, device="cpu", runtime=runtime) for runtime in ("torch", "onnx"))
    p, q = (np.exp(tagger.log_probabilities(RECORDINGS)) for tagger in (by_torch, by_onnx))
    assert np.abs(p - q).max() < 1e-4


@pytest.mark.parametrize("n_frames", [32, 47, 160, 201, 900])
def test_the_graph_of_a_convolutional_network_takes_any_length(tmp_path: Path, n_frames: int) -> None:
    torch.manual_seed(0)
    model = ConvNet(n_mels=48, n_classes=5, normalisation="peakwise").eval()
    model.set_prior(torch.tensor([0.1, 0.2, 0.3, 0.3, 0.1]))
    write_onnx(model, tmp_path / "model.onnx")
    graph = OnnxNetwork(tmp_path / "model.onnx", model.settings)
    x = torch.randn(3, n_frames, 48) * 20 - 40
    with torch.inference_mode():
        assert torch.allclose(graph(x.half()), model(x.half().float()), atol=1e-4)


def test_a_bundle_holds_nothing_of_the_clips(bundle: Path) -> None:
    names = sorted(str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file())
    networks = ["head/fold-0", "head/fold-1", "long/fold-0"]
    parts = ["model.json", "model.onnx", "model.safetensors"]
    assert names == sorted(["README.md", "bundle.json", *(f"{folder}/{part}" for folder in networks for part in parts)])
    assert not any(b"secret clip" in path.read_bytes() for path in bundle.rglob("*") if path.is_file())
    assert check_bundle(bundle)["modes"] == {"head": [0, 1], "long": [0]}


def test_the_card_tells_what_it_is(bundle: Path) -> None:
    card = (bundle / "README.md").read_text()
    for words in (
        "# quick",
        "cli tag --bundle",
        "Bark, Flute, Gong",
        "| head | 1 | alexnet-like |",
        "No temperature",
        "## Limits",
    ):
        assert words in card
    assert "None" not in card
    assert "synthetic" not in card


def test_the_card_tells_of_weights_to_begin_with(bundle: Path) -> None:
    checkpoint = load_checkpoint(bundle / "head" / "fold-0")
    checkpoint.info["recipe"]["pretrained"] = True
    card = model_card("quick", {"head": [checkpoint]}, Calibration(), with_onnx=False)
    assert "It began with weights trained on synthetic sounds" in card


# --- what is not as it should be --------------------------------------------------------------------------------------


def edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        values = json.loads((bundle / name).read_text())
        change(values)
        (bundle / name).write_text(json.dumps(values))

    return apply


def flip(name: str) -> Callable[[Path], None]:
    def apply(bundle: Path) -> None:
        data = bytearray((bundle / name).read_bytes())
        data[len(data) // 2] ^= 1
        (bundle / name).write_bytes(data)

    return apply


def add_network(bundle: Path) -> None:
    shutil.copytree(bundle / "head" / "fold-0", bundle / "head" / "fold-7")
    edit("head/fold-7/model.json", lambda info: info.update(fold=7))(bundle)


def remove_network(bundle: Path) -> None:
    shutil.rmtree(bundle / "head" / "fold-1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip("head/fold-0/model.safetensors"), "model.safetensors is not the file that bundle.json names"),
        (flip("head/fold-1/model.json"), "model.json is not the file that bundle.json names"),
        (flip("long/fold-0/model.onnx"), "model.onnx is not the file that bundle.json names"),
        (flip("README.md"), "README.md is not the file"),
        (lambda bundle: (bundle / "long/fold-0/model.safetensors").unlink(), "model.safetensors is missing from"),
        (lambda bundle: (bundle / "bundle.json").write_text("{"), "bundle.json must be JSON"),
        (lambda bundle: (bundle / "bundle.json").write_text("[]"), "bundle.json has format None"),
        (edit("bundle.json", lambda values: values.update(format=2)), "has format 2, this version reads 1"),
        (edit("bundle.json", lambda values: values.pop("files")), "lacks a proper files"),
        (
            edit("bundle.json", lambda values: values["calibrations"]["head"].update(temperature=0)),
            "proper calibrations",
        ),
        (edit("bundle.json", lambda values: values["calibrations"]["head"].update(more=1)), "proper calibrations"),
        (edit("bundle.json", lambda values: values["files"].update({"../x": "0"})), r"\.\./x is missing from"),
        (edit("bundle.json", lambda values: values["calibrations"].update({"head": 1})), "proper calibrations"),
        (edit("bundle.json", lambda values: values.update(modes={"head": 5})), "a proper modes"),
        (edit("bundle.json", lambda values: values.update(modes={"head": [[0]]})), "a proper modes"),
        (
            edit("bundle.json", lambda values: values.update(modes={"head": [0, 1], "long": [0, 3]})),
            "its long/fold-3",
        ),
        (edit("bundle.json", lambda values: values.update(classes=["a", 1])), "a proper classes"),
        (edit("bundle.json", lambda values: values.update(classes=["a", "b", "c"])), "not those of its networks"),
        (
            edit("bundle.json", lambda values: values.update(files={})),
            "without its head/fold-0/model.safetensors",
        ),
        (edit("bundle.json", lambda values: values["files"].update({"a\0b": "0"})), "is missing from"),
        (edit("bundle.json", lambda values: values["files"].update({"x" * 5000: "0"})), "is missing from"),
        (edit("bundle.json", lambda values: values["files"].update({"/dev/zero": "0"})), "is missing from"),
        (lambda bundle: (bundle / "bundle.json").write_text("[" * 100_000), "bundle.json must be JSON"),
        (add_network, r"has the folds \[0, 1, 7\] of head, its bundle.json lists \[0, 1\]"),
        (remove_network, r"has the folds \[0\] of head, its bundle.json lists \[0, 1\]|is missing from"),
    ],
)
def test_what_was_changed_is_refused_with_the_reason(bundle: Path, change: Callable[[Path], None], words: str) -> None:
    change(bundle)
    with pytest.raises(IntegrityError, match=words):
        load_bundle(bundle)


def test_a_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(IntegrityError, match="no graph that onnxruntime can run"):
        OnnxNetwork(tmp_path / "model.onnx", {})


def test_a_graph_of_another_network_is_refused(bundle: Path) -> None:
    network = load_bundle(bundle)._run["head"][0].model
    with pytest.raises(IntegrityError, match=r"takes and gives .*'frames', 32.*, not .*'frames', 40"):
        OnnxNetwork(bundle / "head" / "fold-0" / "model.onnx", {**network.settings, "n_mels": 40})


def test_each_choice_of_modes_has_its_temperature(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {("head",): Calibration(2.0, 30), ("long",): Calibration(3.0, 30), ("head", "long"): Calibration(4.0, 30)}
    monkeypatch.setattr(bundle_module, "calibrate_run", lambda _, modes: found[tuple(modes)])
    write_bundle(run, tmp_path / "b", with_onnx=False)
    for modes, calibration in found.items():
        assert load_bundle(tmp_path / "b", modes).calibration.temperature == calibration.temperature
    assert load_bundle(tmp_path / "b").calibration.temperature == 4.0


def test_a_link_to_a_bundle_stays(run: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    write_bundle(run, tmp_path / "link", modes=["head"], with_onnx=False, force=True)
    assert (tmp_path / "link").is_symlink()
    assert check_bundle(bundle)["modes"] == {"head": [0, 1]}


def test_what_is_no_bundle_says_so(tmp_path: Path, run: Path) -> None:
    assert not is_bundle(run)
    with pytest.raises(NotFoundError, match=r"is no bundle: it has no bundle\.json; make one with cli export"):
        load_bundle(tmp_path)


def test_a_bundle_without_graphs_says_so(run: Path, tmp_path: Path) -> None:
    write_bundle(run, tmp_path / "b", with_onnx=False)
    assert not list((tmp_path / "b").rglob("*.onnx"))
    assert load_bundle(tmp_path / "b").classes == list(CLASSES)
    with pytest.raises(NotFoundError, match=r"has no head/fold-0/model\.onnx: export it without --no-onnx"):
        load_bundle(tmp_path / "b", runtime="onnx")


def test_a_folder_that_is_there_is_kept(run: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there: name another folder, or give --force"):
        write_bundle(run, bundle, with_onnx=False)
    write_bundle(run, bundle, modes=["head"], with_onnx=False, force=True)
    assert check_bundle(bundle)["modes"] == {"head": [0, 1]}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("work")
    with pytest.raises(InputError, match="is no bundle, and is not replaced"):
        write_bundle(run, tmp_path / "mine", with_onnx=False, force=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_export_that_fails_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module, "write_onnx", fail)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(run, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_extra_it_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(EarmarkError, match=r"pip install 'earmark\[onnx\]', or leave it out with --no-onnx"):
        write_bundle(run, tmp_path / "b")


def test_without_onnxruntime_it_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'earmark\[onnx\]'"):
        load_bundle(bundle, runtime="onnx")
