"""What a benchmark's record says in numbers: ratios to peers, shares of the ceilings, curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnlib.bench.measure import DRIFT
from rnnlib.records import Record, Result

OPERATIONS = ("elman", "scan", "orbit")

MACHINE = "machine"
"""The operation under which a record keeps the ceilings."""

_NOT_THE_CASE = ("variant", "ours", "share")
_NOT_A_SIZE = (*_NOT_THE_CASE, "operation", "task", "dtype")


@dataclass(frozen=True)
class Row:
    """One variant of one case, and how it stands to the peers and to the machine.

    Attributes:
        condition: the case: operation, task, dtype and sizes.
        time_s: median, or None where the result was wrong.
        quartiles_s, least_s: the spread of the times.
        error: against the float64 definition, relative to the largest value.
        peak_bytes: memory beyond the arguments, or None where it is not known.
        ratio: the best peer's time over this one's: above one is faster than every peer.
        peer: the best peer's name; "" where there is none.
        ratios: the same over each peer.
        share: least time that a ceiling allows over the time taken.
        bound: the ceiling that allows least, "product" or "copy".
        steady: whether the control held still meanwhile.
    """

    condition: Mapping[str, Any]
    variant: str
    ours: bool
    scaled: bool
    time_s: float | None
    quartiles_s: tuple[float, float] | None
    least_s: float | None
    first_call_s: float
    error: float
    peak_bytes: float | None
    ratio: float | None
    peer: str
    ratios: Mapping[str, float]
    share: float | None
    bound: str
    steady: bool

    @property
    def size(self) -> dict[str, int]:
        """The sizes of the case."""
        return {k: v for k, v in self.condition.items() if k not in _NOT_A_SIZE}


def ceilings(record: Record) -> dict[str, float]:
    """The machine's best rates in the record's run: flop and bytes a second."""
    return {
        str(result.condition["variant"]): float(result.metrics["per_second"][0] or 0)
        for result in record.results
        if result.condition["operation"] == MACHINE
    }


def rows(results: Iterable[Result], best: Mapping[str, float]) -> list[Row]:
    """One row for each timed or wrong variant; accuracy runs and ceilings have none.

    Args:
        results: of one or more cases.
        best: what `ceilings` returns.
    """
    cases: dict[tuple[tuple[str, Any], ...], list[Result]] = {}
    for result in results:
        if "drift" in result.metrics:
            kept = [(k, v) for k, v in result.condition.items() if k not in _NOT_THE_CASE]
            cases.setdefault(tuple(kept), []).append(result)
    return [row for key, group in cases.items() for row in _case_rows(dict(key), group, best)]


def _case_rows(
    condition: dict[str, Any], group: Sequence[Result], best: Mapping[str, float]
) -> list[Row]:
    metrics = {str(r.condition["variant"]): _values(r) for r in group}
    peers = {
        str(r.condition["variant"]): _values(r)["time_s"]
        for r in group
        if not r.condition["ours"] and "time_s" in r.metrics
    }
    fastest = min(peers, key=peers.__getitem__, default="")
    made = []
    for result in group:
        name = str(result.condition["variant"])
        m = metrics[name]
        time_s = m.get("time_s")
        least = {"product": m["flop"] / best["product"], "copy": m["bytes"] / best["copy"]}
        bound = max(least, key=least.__getitem__)
        ratios = {peer: other / time_s for peer, other in peers.items()} if time_s else {}
        made.append(
            Row(
                condition,
                name,
                bool(result.condition["ours"]),
                result.condition["share"] != 1,
                time_s,
                (m["time_q1_s"], m["time_q3_s"]) if time_s else None,
                m.get("time_min_s"),
                m["first_call_s"],
                m["error"],
                m.get("peak_bytes"),
                ratios.get(fastest),
                fastest,
                ratios,
                least[bound] / time_s if time_s else None,
                bound,
                m["drift"] <= DRIFT,
            )
        )
    return made


def _values(result: Result) -> dict[str, Any]:
    return {name: values[0] for name, values in result.metrics.items()}


def main_rows(record: Record) -> list[Row]:
    """The rows at the record's main size."""
    found = rows(record.results, ceilings(record))
    return [row for row in found if row.size == record.settings["main"]]


def curves(record: Record, size: str, **condition: Any) -> dict[str, list[tuple[int, float]]]:
    """For each variant its median seconds over ``size``, all other sizes as in the main case.

    Args:
        condition: what must hold as well, such as ``task="gradient"``.
    """
    main = record.settings["main"]
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows(record.results, ceilings(record)):
        same = {**row.size, size: main[size]} == main
        if row.time_s and same and holds(row.condition, condition):
            found.setdefault(row.variant, []).append((row.size[size], row.time_s))
    return {name: sorted(curve) for name, curve in found.items()}


def errors(record: Record, *dtypes: str) -> dict[str, list[tuple[float, float]]]:
    """For each path its error over the number of steps, from the runs made for this alone.

    With several dtypes their curves follow each other, parted by a point of NaN.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for dtype in dtypes:
        points: dict[str, list[tuple[float, float]]] = {}
        for result in record.select(task="accuracy", dtype=dtype):
            point = (float(result.condition["T"] or 0), float(result.metrics["error"][0] or 0))
            points.setdefault(str(result.condition["variant"]), []).append(point)
        for name, curve in points.items():
            parted = [(math.nan, math.nan)] if name in found else []
            found.setdefault(name, []).extend([*parted, *sorted(curve)])
    return found


def holds(condition: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a case's condition has all the values asked for."""
    return all(condition[key] == value for key, value in asked.items())


def ours(found: Iterable[Row]) -> list[Row]:
    """Of each case the fastest row of ours."""
    best: dict[str, Row] = {}
    for row in found:
        if row.ours and row.time_s:
            key = repr(row.condition)
            if key not in best or row.time_s < (best[key].time_s or 0):
                best[key] = row
    return list(best.values())
