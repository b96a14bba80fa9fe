"""Scores of a record's arms, as rows of a plot and as lines of text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def rows_of(record: Any, score: str, name: str) -> dict[str, dict[str, list[float]]]:
    """Rows for ``outcomes``: row label -> arm -> one value a seed, a row for each learning rate.

    Args:
        record: a ``Record`` whose conditions name an arm or hold a threshold, see `arm_of`.
        score: the metric.
        name: start of the row's label; the learning rate follows where the record has several.
    """
    rows: dict[str, dict[str, list[float]]] = {}
    rates = {_rate(result.condition) for result in record.results}
    for result in record.results:
        rate = _rate(result.condition)
        key = name if len(rates) == 1 else f"{name}, rate {rate:g}"
        rows.setdefault(key, {})[arm_of(result.condition)] = result.metrics[score]
    return rows


def arm_of(condition: Mapping[str, Any]) -> str:
    """Return the arm's name; without one ``plain``, or ``clipped`` if there is a threshold."""
    if "arm" in condition:
        return str(condition["arm"])
    return "plain" if condition["threshold"] is None else "clipped"


def text_table(records: Iterable[Any], unit: str) -> str:
    """One line an arm: train and test score over seeds, largest norm, share of rescaled updates."""
    records = list(records)
    width = max((len(arm_of(r.condition)) for record in records for r in record.results), default=0)
    width = max(width, 8)
    head = "data, scale, rate".ljust(28) + " " + "arm".ljust(width)
    lines = [f"{head} {'train':>14s} {'test':>14s}     norm rescaled"]
    for record in records:
        for result in record.results:
            rate = _rate(result.condition)
            name = f"{record.variant}, {record.scale}" + (f", {rate:g}" if rate else "")
            m = result.metrics
            train, test = (_mean_sd(m[f"{split}_{unit}"]) for split in ("train", "test"))
            norms, shares = _finite(m["max_norm"]), _finite(m["clipped_fraction"])
            norm, clipped = max(norms, default=math.nan), _mean(shares)
            arm = arm_of(result.condition).ljust(width)
            lines.append(f"{name:28s} {arm} {train:>14s} {test:>14s} {norm:8.3g} {clipped:8.1%}")
    return "\n".join(lines)


def _rate(condition: Mapping[str, Any]) -> float:
    return float(condition.get("learning_rate") or 0)


def _finite(values: Sequence[float | None]) -> list[float]:
    return [x for x in values if x is not None and math.isfinite(x)]


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _mean_sd(values: Sequence[float | None]) -> str:
    """Over the seeds that have a score; how many have none stands behind."""
    known = _finite(values)
    spread = statistics.stdev(known) if len(known) > 1 else 0.0
    lost = f" -{len(values) - len(known)}" if len(known) < len(values) else ""
    return f"{_mean(known):.2f} ± {spread:.2f}{lost}"
