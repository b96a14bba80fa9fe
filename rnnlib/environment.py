"""What this machine and this installation can do, in lines of text."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable

import torch

import rnnlib
from rnnlib.checks import ArgumentError, one_of
from rnnlib.provenance import git_state, hardware_name

DEVICES = ("cpu", "cuda")  # norms are summed in float64, which Metal does not have

_OPTIONAL = {
    "numba": 'compiled CPU kernels; pip install "rnnlib[numba]"',
    "triton": 'GPU kernels; pip install "rnnlib[triton]"',
    "music21": 'the Bach chorales; pip install "rnnlib[music]"',
    "anywidget": 'interactive figures in notebooks; pip install "rnnlib[book]"',
}


def check_device(device: str, *, here: bool = True) -> str:
    """Return ``device`` if torch can compute on it here; elsewhere, only its kind can be checked.

    Raises:
        ArgumentError: for an unknown device, or one that is not there, with the reason.
    """
    kind, colon, index = device.partition(":")
    one_of("device", kind, DEVICES)
    if not here:
        return device
    if kind == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(f"device must be there to be used, got {device!r}: {_no_cuda()}")
    if colon:
        n = torch.cuda.device_count() if kind == "cuda" else 1
        if not index.isdecimal() or int(index) >= n:
            raise ArgumentError(f"device must have an index below {n}, got {device!r}")
    return device


def describe() -> list[tuple[str, str]]:
    """Return pairs of a name and what there is to say about it."""
    chosen: Callable[[str], str] = lambda name: os.environ.get(name) or "not set"  # noqa: E731
    return [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("rnnlib", rnnlib.__version__),
        ("commit", _commit()),
        ("torch", str(torch.__version__)),
        ("cpu", f"{hardware_name('cpu')}; torch uses {torch.get_num_threads()} threads"),
        ("cuda", hardware_name("cuda") if torch.cuda.is_available() else f"no: {_no_cuda()}"),
        *((name, _optional(name)) for name in _OPTIONAL),
        ("RNNLIB_DATA", chosen("RNNLIB_DATA")),
        ("RNNLIB_SCALE", chosen("RNNLIB_SCALE")),
    ]


def _optional(name: str) -> str:
    """Say which version is installed, without importing it, or what it is for."""
    if importlib.util.find_spec(name) is None:
        return f"no: not installed ({_OPTIONAL[name]})"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # GPU builds of torch bring pytorch-triton
        version = "yes"
    if name == "triton" and not torch.cuda.is_available():
        return f"{version}, without a GPU in its interpreter only (TRITON_INTERPRET=1)"
    return version


def _commit() -> str:
    """Say which commit a record made here would name."""
    commit, dirty = git_state()
    if commit is None:
        return "unknown: no git, or no repository; records will not say what made them"
    return f"{commit[:12]}{', with changes that no commit holds' if dirty else ''}"


def _no_cuda() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} was built without CUDA"
    return "torch finds no CUDA device"
