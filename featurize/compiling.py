"""Compiling the loops that numpy has no name for.

Conventions
-----------
A function is compiled when it is first called, for the types that it is called with, and the machine code is kept on
disk, so that a worker of a later run is warm at once. Compiled functions release the interpreter's lock.

What is on disk is compiled anew when the function's own file changes, and only then: a compiled function must not use
constants or functions of this project's other files.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numba


def _load_without_scipy() -> None:
    """Import what numba imports when it first compiles, without scipy.linalg: a third of a worker's start.

    It is loaded only to see whether it is there, which matters where compiled code calls BLAS; that looks again.
    """
    from numba.np import linalg

    look, linalg.ensure_blas = linalg.ensure_blas, lambda: None
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        linalg.ensure_blas = look


with contextlib.suppress(ImportError, AttributeError):  # a numba that is built otherwise
    _load_without_scipy()


def compiled(function: Callable[..., None]) -> Any:
    """Compile when first called, and keep the machine code on disk where there is a place for it.

    Sums may be taken in another order; NaN and infinity stay what they are. Indices are not checked.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    }
    try:
        return numba.njit(cache=True, **options)(function)
    # A read-only installation, and no home folder to write to.
    except RuntimeError:
        return numba.njit(**options)(function)
