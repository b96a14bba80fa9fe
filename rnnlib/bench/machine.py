"""The machine under the benchmark: its cores, what a call takes, and what it can do at best."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from rnnlib.checks import ArgumentError, at_least
from rnnlib.kernels import backends
from rnnlib.provenance import usable_cores

_COPIED = {"cpu": 2**26, "cuda": 2**30}  # bytes: more than any cache holds
_SIDE = {"cpu": 1024, "cuda": 4096}  # of the matrices multiplied
_L2_BYTES = 2**28  # written between two calls on a GPU, so that none finds its inputs in the cache
_GPU_SAMPLE_S = 0.02  # work in one sample: a GPU's clock and its events are coarser than a CPU's
_M_ARENA_MAX = -8  # of glibc's malloc.h


def check_threads(threads: int) -> int:
    """Return ``threads`` if this process may use as many cores.

    Raises:
        ArgumentError: for less than one or more than there are.
    """
    cores = usable_cores()
    if at_least("threads", threads, 1) > cores:
        raise ArgumentError(f"threads must be at most the {cores} usable cores, got {threads}")
    return threads


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Hold this process to ``threads`` cores, and torch to as many threads.

    A library that a peer brings along, such as XLA, starts its own threads; it has no more cores
    for them than the rest.
    """
    with contextlib.suppress(AttributeError, OSError):
        # One heap for all threads: only that one gives back what was freed, see `Machine.gauged`.
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    if allowed:
        os.sched_setaffinity(0, allowed[-threads:])
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if allowed:
            os.sched_setaffinity(0, allowed)


class Machine:
    """Clock, memory gauge and ceilings of one device.

    Args:
        device: "cpu" or a CUDA device.
        small: measure the ceilings on small arrays, for tests; they then say nothing.
    """

    def __init__(self, device: str, *, small: bool = False) -> None:
        self.device = torch.device(device)
        self.on_gpu = self.device.type == "cuda"
        n_bytes, side = _COPIED[self.device.type], _SIDE[self.device.type]
        if small:
            n_bytes, side = 2**16, 32
        self._source, self._target = self._array(n_bytes // 4), self._array(n_bytes // 4)
        self._left, self._product = (self._array(side, side) for _ in range(2))
        self._flush = torch.empty(_L2_BYTES if self.on_gpu else 0, dtype=torch.int8, device=device)

    def _array(self, *shape: int) -> torch.Tensor:
        plain = torch.empty(shape, device=self.device)
        return (plain if self.on_gpu else backends.empty(shape, torch.float32)).fill_(0.5)

    def timed(self, call: Callable[[], Any], expected_s: float | None = None) -> tuple[float, Any]:
        """Return the seconds that ``call`` takes, and its result.

        On a GPU it is called until ``_GPU_SAMPLE_S`` are filled, by ``expected_s`` a call (None:
        called once), each time with a cold L2 cache; only its own work is counted.
        """
        if not self.on_gpu:
            return _on_cpu(call)
        n = 1 if expected_s is None else max(1, round(_GPU_SAMPLE_S / max(expected_s, 1e-6)))
        total = 0.0
        for _ in range(n):
            self._flush.zero_()
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(self.device)
            begun.record()
            result = call()
            ended.record()
            torch.cuda.synchronize(self.device)
            total += begun.elapsed_time(ended) / 1e3
        return total / n, result

    def gauged(self, call: Callable[[], Any]) -> tuple[float, Any, float | None]:
        """Return what `timed` does, and how many bytes the process held more at most meanwhile.

        On a CPU this is the growth of the resident set, read from Linux after what was freed has
        been given back; elsewhere it is None. Results count, arguments do not.
        """
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
            allocated = torch.cuda.memory_allocated(self.device)
            seconds, result = self.timed(call)
            return seconds, result, float(torch.cuda.max_memory_allocated(self.device) - allocated)
        resident = _resident_after_tidying()
        seconds, result = self.timed(call)
        more = None if resident is None else float(max(0, _status("VmHWM") - resident))
        return seconds, result, more

    def control(self, n: int = 5) -> dict[str, float]:
        """Return the median seconds of the copy and of the matrix product, for comparison."""
        return {name: statistics.median(times) for name, times in self._calibrate(n).items()}

    def ceilings(self, n: int = 15) -> dict[str, float]:
        """Return the best rates seen: bytes copied and floating-point operations, a second."""
        best = {name: min(times) for name, times in self._calibrate(n).items()}
        work = {"copy": 2.0 * self._source.nbytes, "product": 2.0 * len(self._left) ** 3}
        work["product_tf32"] = work["product"]
        return {name: work[name] / seconds for name, seconds in best.items()}

    def _calibrate(self, n: int) -> dict[str, list[float]]:
        def product() -> torch.Tensor:
            return torch.mm(self._left, self._left, out=self._product)

        calls = {"copy": lambda: self._target.copy_(self._source), "product": product}
        if self.on_gpu:
            calls["product_tf32"] = product
        times: dict[str, list[float]] = {name: [] for name in calls}
        before = torch.backends.cuda.matmul.allow_tf32
        try:
            for _ in range(n):
                for name, call in calls.items():
                    torch.backends.cuda.matmul.allow_tf32 = name == "product_tf32"
                    times[name].append(self.timed(call)[0])
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
        return times


def _on_cpu(call: Callable[[], Any]) -> tuple[float, Any]:
    collecting = gc.isenabled()
    gc.disable()  # a collection belongs to no call in particular
    try:
        begun = time.perf_counter()
        result = call()
        return time.perf_counter() - begun, result
    finally:
        if collecting:
            gc.enable()


def _resident_after_tidying() -> int | None:
    """Bytes that this process holds now, its peak starting anew from here; None if unknown."""
    try:
        gc.collect()
        backends.release()  # what is kept for the next result counts as memory as well
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except (OSError, AttributeError):
        return None


def _status(field: str) -> int:
    """A memory field of this process, in bytes."""
    for line in (
        Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    ):
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
