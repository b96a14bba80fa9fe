"""Where a result comes from: commit, hardware, versions and time. No host names, no paths."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

import rnnlib

_PACKAGE = Path(__file__).resolve().parent


def utc_now() -> str:
    """Return the present time as ``2026-01-31T23:59:59Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def library_versions() -> dict[str, str]:
    """Return the versions that decide the numbers."""
    versions = {
        "python": platform.python_version(),
        "rnnlib": rnnlib.__version__,
        "torch": str(torch.__version__),
        "numpy": importlib.metadata.version("numpy"),
    }
    for compiler in ("numba", "triton"):  # whose kernels run where they are installed
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[compiler] = importlib.metadata.version(compiler)
    return versions


@functools.cache
def source_digest() -> str:
    """Return a hash of the library's Python files: two runs with the same one ran the same code."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def usable_cores() -> int:
    """Return how many cores this process may use: a container or a scheduler may allow a few."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def hardware_name(device: str) -> str:
    """Return the GPU's name, or the processor's with the number of cores this process may use."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = usable_cores()
    return f"{_processor()}, {cores} core{'s' if cores != 1 else ''}"


def git_state(folder: Path = _PACKAGE) -> tuple[str | None, bool | None]:
    """Return the commit of the code in ``folder`` and whether files there differ from it.

    Only ``folder`` counts, so that writing records does not make the tree "dirty". Both are
    ``None`` without git, without a commit, or where git does not track the folder (an installed
    package that happens to lie below somebody's repository).
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or not _git(folder, "ls-files", "."):
        return None, None
    changes = _git(folder, "status", "--porcelain", "--", ".")
    return commit, None if changes is None else bool(changes)


def has_commit(commit: str, folder: Path = _PACKAGE) -> bool | None:
    """Return whether the repository of ``folder`` has ``commit``; None where git tracks nothing.

    A clone of a few commits does not know the others: None there as well.
    """
    here, _ = git_state(folder)
    if here is None:
        return None
    if _git(folder, "cat-file", "-e", f"{commit}^{{commit}}") is not None:
        return True
    return None if _git(folder, "rev-parse", "--is-shallow-repository") == "true" else False


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or ``None`` if it is not there or fails."""
    # Inside a hook, GIT_DIR and friends would point git to another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def _processor() -> str:
    """Return the processor's name: Linux has it in a file, macOS behind a command."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    if platform.system() == "Darwin":
        done = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True
        )
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine()
