"""Scores of a record's two arms, as rows of a plot and as lines of text."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def rows_of(record: Any, score: str, name: str) -> dict[str, dict[str, list[float]]]:
    """Rows for ``outcomes``: row label -> arm -> one value a seed, a row for each learning rate.

    Args:
        record: a ``Record`` whose conditions hold a threshold, ``None`` for the plain arm.
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
    """Return ``plain`` or ``clipped``."""
    return "plain" if condition["threshold"] is None else "clipped"


def text_table(records: Iterable[Any], unit: str) -> str:
    """One line an arm: train and test score over seeds, largest norm, share of rescaled updates."""
    head = f"{'data, scale, rate':28s} {'arm':8s} {'train':>14s} {'test':>14s}     norm rescaled"
    lines = [head]
    for record in records:
        for result in record.results:
            rate = _rate(result.condition)
            name = f"{record.variant}, {record.scale}" + (f", {rate:g}" if rate else "")
            m = result.metrics
            train, test = (_mean_sd(m[f"{split}_{unit}"]) for split in ("train", "test"))
            norm, clipped = max(m["max_norm"]), statistics.fmean(m["clipped_fraction"])
            arm = arm_of(result.condition)
            lines.append(f"{name:28s} {arm:8s} {train:>14s} {test:>14s} {norm:8.3g} {clipped:8.1%}")
    return "\n".join(lines)


def _rate(condition: Mapping[str, Any]) -> float:
    return float(condition.get("learning_rate") or 0)


def _mean_sd(values: Sequence[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.2f} ± {spread:.2f}"
