"""The benchmarks start, and the featurizer's compares equal numbers; how fast anything is, no test says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))


def run(script: str, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FOLDER / script, *options], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_explains_itself(script: str, tmp_path: Path) -> None:
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_featurize_benchmark_compares_equal_numbers(tmp_path: Path) -> None:
    few = ["--clips", "4", "--rounds", "1", "--peer-clips", "0", "--scale-clips", "0", "--folder", str(tmp_path)]
    done = run("featurize.py", *few, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1: too slow, which a busy machine may be
    result = json.loads(done.stdout)
    assert result["pipelines"]["mean_seconds"] == pytest.approx(6.8, abs=0.05)
    assert max(result["pipelines"]["difference_db"].values()) <= 0.01
    assert set(result["pipelines"]["stages"]) == {"decode", "resample", "trim", "spectrum", "dB"}
    assert not list(tmp_path.iterdir())
