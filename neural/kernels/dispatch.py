"""The one place that chooses a kernel's body.

Every kernel is one function with one meaning. Its reference is plain PyTorch: differentiable, and right on any
device. Its fused body is a loop that numba compiles at run time for the CPU; it is chosen where the tensors
lie on the CPU and numba is there. Results are the same for the same number of threads.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch

from ...jobs import store


@cache
def _numba() -> ModuleType | None:
    # Beside the sources, where numba would write by default, an extension must not write. numba reads the
    # variable when it is imported.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(store.cache_folder() / "numba"))
    try:
        return importlib.import_module("numba")
    except ImportError:
        return None


def compiled(function: Callable) -> Callable:
    """Compile a fused body with numba: machine code is cached, loops over `prange` run on all threads."""
    return _cached(function, parallel=True)


def sequential(function: Callable) -> Callable:
    """Compile a fused body of which each step needs the one before: machine code is cached."""
    return _cached(function, parallel=False)


def _cached(function: Callable, *, parallel: bool) -> Callable:
    numba = _numba()
    assert numba is not None, "fused bodies are imported only where numba is"
    # Products and sums may contract to one instruction; nothing that reorders sums is allowed.
    options = {"parallel": parallel, "fastmath": {"contract"}, "error_model": "numpy", "nogil": True}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # No folder that numba could write to: compile anew each time.
        return numba.njit(function, **options)


def inlined(function: Callable) -> Callable:
    """Compile a function that fused bodies call."""
    numba = _numba()
    assert numba is not None, "fused bodies are imported only where numba is"
    return numba.njit(function, inline="always", fastmath={"contract"}, error_model="numpy")


def called(function: Callable) -> Callable:
    """Compile a function that fused bodies call and hand arrays to: inlining one counts references to each of them."""
    numba = _numba()
    assert numba is not None, "fused bodies are imported only where numba is"
    return numba.njit(function, fastmath={"contract"}, error_model="numpy")


def body(kernel: str, device: torch.device) -> ModuleType:
    """The module with the bodies of `kernel` that serve `device`: KERNEL_fused or KERNEL_reference."""
    fused = device.type == "cpu" and _numba() is not None
    return importlib.import_module(f"{__package__}.{kernel}_{'fused' if fused else 'reference'}")


def threads() -> int:
    """How many threads the fused bodies run on, which is how many gradient buffers they need."""
    numba = _numba()
    return numba.get_num_threads() if numba is not None else 1
