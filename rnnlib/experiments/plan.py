"""What a run will cost on this device: counted operations, and a calibration of about a second."""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from rnnlib import atomic
from rnnlib.checkpoint import Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.experiments.jobs import Job, Unit
from rnnlib.experiments.runner import Means
from rnnlib.provenance import hardware_name

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Estimate:
    """What a job comes to, if no network finishes early.

    Attributes:
        n_units: stacks of replicas.
        n_updates: of the longest unit.
        flops: of all units together.
        n_bytes: of the units that run at a time.
        seconds: with the given means; 0 if it was not calibrated.
        update_s: seconds of one update of the calibrated unit; 0 if it was not.
    """

    n_units: int
    n_updates: int
    flops: float
    n_bytes: float
    seconds: float = 0.0
    update_s: float = 0.0


class Calibration:
    """Seconds that an update of a job takes on this machine, each measured once.

    Args:
        path: file in which they are kept, so that no later sitting measures them again.
        total_s: time for all measurements together. A single update is never cut off.
        stop: asked between updates; see `Deadline`.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        total_s: float = math.inf,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.path, self.left, self.stop = path, total_s, stop
        self.known: dict[str, float] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError):
                kept = dict(json.loads(path.read_text(encoding="utf-8")))
                self.known = {name: float(update_s) for name, update_s in kept.items()}

    def update_s(self, job: Job, device: str, seconds: float) -> float:
        """Of the costliest unit of ``job``, trained for ``seconds``; 0 if there was no time.

        Raises:
            Stopped: when ``stop`` says so.
        """
        name = f"{job.digest(device)} on {hardware_name(device)}"  # a folder can change machines
        if name not in self.known and self.left > 0:
            begun = time.perf_counter()
            seconds, end = min(seconds, self.left), begun + self.left
            found = seconds_an_update(
                costliest(job), seconds, lambda: self.stop() or time.perf_counter() >= end
            )
            self.left -= time.perf_counter() - begun
            if self.stop():
                raise Stopped
            if found:
                self.known[name] = found
                self._keep()
        return self.known.get(name, 0.0)

    def _keep(self) -> None:
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                atomic.replace(self.path, json.dumps(self.known, indent=1).encode())


def costliest(job: Job) -> Unit:
    """The unit with most operations."""
    return max(job.units, key=lambda unit: unit.flops)


def estimate(
    job: Job, means: Means, *, calibrate_s: float = 1.0, calibration: Calibration | None = None
) -> Estimate:
    """Count what ``job`` takes; unless ``calibrate_s`` is 0, train its costliest unit that long.

    The units run side by side on ``means.n_workers`` processes, and each is taken to reach the
    speed, in operations a second, that the calibrated one had alone.

    Args:
        calibration: what is known already, and how much time is left to measure.

    Raises:
        Stopped: when ``calibration`` is told to stop.
    """
    unit = costliest(job)
    flops = sum(unit.flops for unit in job.units)
    at_a_time = min(means.n_workers, len(job.units))
    counted = Estimate(
        n_units=len(job.units),
        n_updates=max(unit.n_updates for unit in job.units),
        flops=flops,
        n_bytes=at_a_time * max(unit.n_bytes for unit in job.units),
    )
    if not calibrate_s:
        return counted
    update_s = (calibration or Calibration()).update_s(job, means.device, calibrate_s)
    alone = update_s * unit.n_updates
    # Time is that of the operations shared out, but never less than that of the longest unit.
    seconds = max(alone, alone * flops / max(unit.flops, 1.0) / at_a_time)
    return Estimate(**{**vars(counted), "seconds": seconds, "update_s": update_s})


def seconds_an_update(
    unit: Unit, seconds: float, stop: Callable[[], bool] = lambda: False
) -> float:
    """Train ``unit`` for about ``seconds`` and throw the result away.

    The first update is left out: it compiles and fills caches. If ``stop`` says so there may be
    no other, and then 0 is returned.
    """
    ends: list[float] = []

    def enough() -> bool:
        ends.append(time.perf_counter())
        return stop() or (len(ends) > 2 and ends[-1] - ends[0] > seconds)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    try:
        unit.work(survival=Survival(stop=enough))
    except Stopped:
        if len(ends) < 2:
            return 0.0
    finally:
        torch.set_num_threads(threads)
    if len(ends) < 2:  # it came to an end in one update, or in none
        return (ends or [time.perf_counter()])[-1] - begun
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def seconds_of(name: str, text: str) -> float:
    """Return the seconds in ``90s``, ``8m``, ``1.5h`` or ``1h30m``.

    Raises:
        ArgumentError: for anything else, and for nothing.
    """
    found = re.fullmatch(r"((?:\d+(?:\.\d*)?[smh])+)", text.strip().lower())
    parts = re.findall(r"([\d.]+)([smh])", text.lower()) if found else []
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not total > 0:
        raise ArgumentError(f"{name} must be a time such as 90s, 8m or 1h30m, got {text!r}")
    return total


def quantity(number: float, unit: str) -> str:
    """``3.2e12`` and "FLOP" as ``3.2 TFLOP``; bytes in powers of 1024."""
    step = 1024.0 if unit == "B" else 1000.0
    kilo = ["", "k", "M", "G", "T", "P", "E"]
    if unit == "B":
        kilo = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
    for prefix in kilo:
        if abs(number) < step or prefix == kilo[-1]:
            break
        number /= step
    digits = 0 if number >= 100 or not prefix else 1
    return f"{number:.{digits}f} {prefix}{unit}"
