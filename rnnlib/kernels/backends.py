"""Which paths an operation can take on this machine, and which one it takes."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import threading
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, one_of

BACKENDS = ("definition", "torch", "numba", "triton")
"""The loop that says what is correct, plain torch, compiled for the CPU, compiled for a GPU."""


_INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("numba", "triton")}


def missing(backend: str) -> str:
    """Say why a backend cannot be used on this machine; the empty string if it can."""
    if not _INSTALLED.get(backend, True):
        return f'{backend} is not installed (pip install "rnnlib[{backend}]")'
    if backend == "triton" and not torch.cuda.is_available() and not interpreted():
        return "triton finds no GPU (TRITON_INTERPRET=1 runs its interpreter on the CPU, slowly)"
    return ""


def interpreted() -> bool:
    """Whether Triton kernels run in Triton's interpreter, on CPU tensors, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def choose(
    backend: str, tensor: Tensor, *, numba: Collection[torch.dtype], triton: Collection[torch.dtype]
) -> str:
    """Return the backend that works on ``tensor``, the fastest one there is for "auto".

    Args:
        backend: "auto" or one of `BACKENDS`.
        tensor: any tensor of the operation; its device and dtype decide.
        numba, triton: the dtypes that these paths of the operation take.

    Raises:
        ArgumentError: for an unknown backend, or one that is not there or cannot take the tensor,
            with the reason.
    """
    one_of("backend", backend, ("auto", *BACKENDS))
    on_cpu = tensor.device.type == "cpu"
    if backend == "auto":
        if on_cpu and tensor.dtype in numba and not missing("numba"):
            return "numba"
        if not on_cpu and tensor.dtype in triton and not missing("triton"):
            return "triton"
        return "torch"
    reason = missing(backend)
    if not reason and backend in ("numba", "triton"):
        taken = numba if backend == "numba" else triton
        if tensor.dtype not in taken:
            names = ", ".join(sorted(str(dtype) for dtype in taken))
            reason = f"it takes {names}, got {tensor.dtype}"
        elif on_cpu != (backend == "numba" or interpreted()):
            reason = f"it does not work on tensors of the device {tensor.device}"
    if reason:
        raise ArgumentError(f"backend must be usable here, got {backend!r}: {reason}")
    return backend


_NUMPY = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.complex64: np.complex64,
    torch.complex128: np.complex128,
}

# Memory of results that were dropped, for the next ones: see `empty`.
_POOL: list[np.ndarray] = []
_POOLED_BYTES = 2**28
_SMALL = 2**20
_lock = threading.Lock()


def release() -> None:
    """Give back the memory that is kept for the results to come."""
    with _lock:
        _POOL.clear()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised CPU tensor in memory that is used again once the tensor is dropped.

    Fresh memory is handed over by the operating system page by page, and for results of tens of
    megabytes that costs more than the arithmetic which fills them. NumPy asks for huge pages,
    which torch does not; and up to 256 MB of memory that no tensor uses any more is kept.
    """
    n_bytes = math.prod(shape) * np.dtype(_NUMPY[dtype]).itemsize
    if not _SMALL <= n_bytes <= _POOLED_BYTES:
        return torch.from_numpy(np.empty(shape, _NUMPY[dtype]))
    with _lock:
        # Free is what only the pool, the loop's variable and the argument of getrefcount hold.
        free = [memory for memory in _POOL if sys.getrefcount(memory) == 3]
        fits = [memory for memory in free if n_bytes <= memory.nbytes <= 2 * n_bytes]
        if fits:
            memory = min(fits, key=lambda each: each.nbytes)
        else:
            memory = np.empty(n_bytes, np.uint8)
            _POOL.append(memory)
            while free and sum(each.nbytes for each in _POOL) > _POOLED_BYTES:
                oldest = free.pop(0)
                _POOL[:] = [each for each in _POOL if each is not oldest]
        view = memory[:n_bytes].view(_NUMPY[dtype]).reshape(shape)
        return torch.from_numpy(view)
