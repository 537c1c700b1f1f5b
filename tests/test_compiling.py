"""Compiled loops are kept on disk, and work where nothing can be kept."""

import ast
import importlib
import inspect
from types import ModuleType

import numba.core.caching
import numpy as np
import numpy.typing as npt
import pytest

from featurize.compiling import compiled


def test_a_read_only_installation_compiles_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="cannot cache function"):
        numba.njit(cache=True)(_fill)
    out = np.zeros(3)
    compiled(_fill)(out)
    np.testing.assert_array_equal(out, 1)


def _fill(out: npt.NDArray[np.float64]) -> None:
    for i in range(len(out)):
        out[i] = 1.0


@pytest.mark.parametrize("name", ["trimming", "logmel", "spectrum"])
def test_compiled_functions_use_nothing_of_other_files(name: str) -> None:
    """What numba keeps on disk would stay as it is when the other file changes."""
    module = importlib.import_module(f"featurize.{name}")
    imported = imported_names(module)
    functions = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if is_compiled(node)]
    assert functions
    for function in functions:
        used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} - {"compiled"}
        assert not used & imported, ast.unparse(function)


def imported_names(module: ModuleType) -> set[str]:
    tree = ast.parse(inspect.getsource(module))
    ours = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    rooms = ("cache", "corpus", "featurize")
    return {alias.name for node in ours if str(node.module).split(".")[0] in rooms for alias in node.names}


def is_compiled(node: ast.AST) -> bool:
    """Tell whether a function is decorated, or, within another one, handed to ``compiled``."""
    if not isinstance(node, ast.FunctionDef):
        return False
    return node.name == "step" or any(isinstance(it, ast.Name) and it.id == "compiled" for it in node.decorator_list)


def test_not_a_number_and_infinity_stay() -> None:
    out = np.array([1.0, np.nan, np.inf, -np.inf])
    compiled(_double)(out)
    np.testing.assert_array_equal(out, [2.0, np.nan, np.inf, -np.inf])


def _double(out: npt.NDArray[np.float64]) -> None:
    for i in range(len(out)):
        if out[i] == out[i] and out[i] - out[i] == 0:
            out[i] *= 2
