"""Compiled loops are kept on disk, and work where nothing can be kept."""

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


def test_not_a_number_and_infinity_stay() -> None:
    out = np.array([1.0, np.nan, np.inf, -np.inf])
    compiled(_double)(out)
    np.testing.assert_array_equal(out, [2.0, np.nan, np.inf, -np.inf])


def _double(out: npt.NDArray[np.float64]) -> None:
    for i in range(len(out)):
        if out[i] == out[i] and out[i] - out[i] == 0:
            out[i] *= 2
