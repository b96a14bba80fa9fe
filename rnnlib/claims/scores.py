"""What an arm scored on music or characters, seed by seed; what is not finite is left out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rnnlib.claims.comparing import number
from rnnlib.records import Result


@dataclass(frozen=True)
class Arm:
    """One arm at one rate, its scores by seed; NaN where a run left none."""

    rate: float
    train: tuple[float, ...]
    valid: tuple[float, ...]
    test: tuple[float, ...]
    diverged: int
    clipped: float

    @property
    def mean(self) -> float:
        return mean(self.test)

    @property
    def spread(self) -> float:
        finite = [x for x in self.test if math.isfinite(x)]
        return statistics.stdev(finite) if len(finite) > 1 else 0.0

    def __str__(self) -> str:
        lost = f" ({self.diverged} diverged)" if self.diverged else ""
        return f"{self.mean:.2f} ± {self.spread:.2f}{lost}"


def mean(scores: Sequence[float]) -> float:
    """The mean of those that are finite; infinite if none is."""
    finite = [x for x in scores if math.isfinite(x)]
    return statistics.fmean(finite) if finite else math.inf


def read(result: Result, unit: str) -> Arm:
    """The arm of a result whose scores are in ``unit``, "nll" or "bits"."""
    metrics = result.metrics
    clipped = [x for x in map(number, metrics["clipped_fraction"]) if math.isfinite(x)]
    train, valid, test = (
        tuple(map(number, metrics[f"{fold}_{unit}"])) for fold in ("train", "valid", "test")
    )
    return Arm(
        number(result.condition.get("learning_rate")),
        train,
        valid,
        test,
        diverged=sum(d is True for d in metrics["diverged"]),
        clipped=statistics.fmean(clipped) if clipped else math.nan,
    )
