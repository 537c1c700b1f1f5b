"""The wheel: what it holds, and that the command runs from it alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of what it is made of, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("cache", "corpus", "featurize", "train", "infer"):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                target = source / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    for name in ("cli.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("earmark-*.whl"))


def test_the_wheel_holds_every_module_and_no_test(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = [
        f"{room}/{path.name}"
        for room in ("cache", "corpus", "featurize", "train", "infer")
        for path in (ROOT / room).glob("*.py")
    ]
    templates = {f"infer/templates/{path.name}" for path in (ROOT / "infer" / "templates").iterdir()}
    assert len(templates) == 8
    weights = {f"train/weights/{view}.safetensors" for view in ("lh", "x")}
    assert set(modules) | templates | weights | {"cli.py", "cache/py.typed"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_the_command_runs_from_the_wheel_outside_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "train").mkdir()  # a folder of that name in the working directory must not matter
    site = str(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {site!r}); sys.argv = ['cli', '--version']; import cli; cli.main()"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("earmark 0.1.0")


def test_both_names_of_the_command_are_installed(wheel):
    archive = zipfile.ZipFile(wheel)
    entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(entry_points).decode()
    assert "cli = cli:main" in text
    assert "earmark = cli:main" in text
