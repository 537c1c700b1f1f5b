"""The rooms: who may import whom (the table in the README's section on the rooms)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("cache", "corpus", "featurize", "train", "infer")

# Packages from outside, and from inside (a package, or single modules of it) that a room may import; stdlib always.
ALLOWED = {
    "cache": {"numpy", "h5py", "filelock"},
    "corpus": {"numpy", "scipy", "pandas", "soundfile", "requests", "urllib3"}
    | {"cache.errors", "cache.space", "cache.outfile"},
    "featurize": {"numpy", "pandas", "numba", "librosa", "soundfile", "soxr", "joblib", "ray", "distributed"}
    | {"cache", "corpus"},
    "train": {"numpy", "torch", "safetensors", "pandas", "sklearn", "cache", "corpus"}
    | {"featurize.modes", "featurize.jobs"},
    "infer": {
        "numpy",
        "scipy",
        "torch",
        "pandas",
        "matplotlib",
        "PIL",
        "jinja2",
        "markupsafe",
        "soundfile",
        "av",
        "onnx",
        "onnxscript",
        "onnxruntime",
    }
    | {"cache", "corpus", "featurize"}
    | {"train.models", "train.checkpoint", "train.dataset", "train.metrics", "train.scores", "train.device"}
    | {"train.held", "train.frames", "train.networks"},
}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it, with the names of ``from`` imports appended."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_allowed(module: str, room: str) -> bool:
    top = module.split(".")[0]
    if top in sys.stdlib_module_names or top == room:
        return True
    return any(module == name or module.startswith(f"{name}.") for name in ALLOWED[room])


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    forbidden = [(path.name, name) for path in files for name in sorted(imported(path)) if not is_allowed(name, room)]
    assert forbidden == []


def test_the_check_sees_a_forbidden_import(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from train.loop import train_fold\n    import torch.nn\n")
    assert [name for name in sorted(imported(path)) if not is_allowed(name, "featurize")] == [
        "torch.nn",
        "train.loop.train_fold",
    ]


def test_no_two_modules_import_each_other():
    edges = set()
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for room in ROOMS
        for path in (ROOT / room).glob("*.py")
    }
    for module, path in modules.items():
        for name in imported(path):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                edges.add((module, target))
    assert len(edges) > 30
    assert [(a, b) for a, b in edges if (b, a) in edges and a < b] == []


def test_only_the_command_line_prints():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            calls = [
                node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
            ]
            names = [node.func.id for node in calls if isinstance(node.func, ast.Name)]
            assert "print" not in names, path


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import cli", ("numpy", "torch", "pandas", "h5py", "librosa", "matplotlib", "featurize", "train")),
        ("import featurize.modes", ("numpy", "torch", "pandas", "h5py", "librosa", "numba")),
        ("import corpus.tables", ("torch", "h5py", "librosa")),
        ("import cache", ("h5py", "torch")),
        ("import featurize.batch", ("torch", "librosa", "numba", "scipy", "pandas")),
        ("import featurize.logmel", ("torch", "librosa", "scipy.linalg", "pandas")),
    ],
)
def test_importing_stays_light(statement, heavy):
    code = f"{statement}; import sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
