"""What a run will cost on this device: counted operations, and a calibration of about a second."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import torch

from rnnlib.checkpoint import Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.experiments.jobs import Job, Unit
from rnnlib.experiments.runner import Means

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
        update_s: seconds of one update of the calibrated unit.
    """

    n_units: int
    n_updates: int
    flops: float
    n_bytes: float
    seconds: float = 0.0
    update_s: float = 0.0


def estimate(job: Job, means: Means, *, calibrate_s: float = 1.0) -> Estimate:
    """Count what ``job`` takes; unless ``calibrate_s`` is 0, train its costliest unit that long.

    The units run side by side on ``means.n_workers`` processes, and each is taken to reach the
    speed, in operations a second, that the calibrated one had alone.
    """
    costliest = max(job.units, key=lambda unit: unit.flops)
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
    update_s = seconds_an_update(costliest, calibrate_s)
    alone = update_s * costliest.n_updates
    # Time is that of the operations shared out, but never less than that of the longest unit.
    seconds = max(alone, alone * flops / max(costliest.flops, 1.0) / at_a_time)
    return Estimate(**{**vars(counted), "seconds": seconds, "update_s": update_s})


def seconds_an_update(unit: Unit, seconds: float) -> float:
    """Train ``unit`` for about ``seconds`` and throw the result away.

    The first update is left out: it compiles and fills caches.
    """
    ends: list[float] = []

    def enough() -> bool:
        ends.append(time.perf_counter())
        return len(ends) > 2 and ends[-1] - ends[0] > seconds

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    try:
        unit.work(survival=Survival(stop=enough))
    except Stopped:
        pass
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
