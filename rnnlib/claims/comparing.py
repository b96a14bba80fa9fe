"""Arms of an experiment side by side, paired by seed: which networks solved their task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

from rnnlib.claims.claim import NotMeasured, Value
from rnnlib.records import Record, Result
from rnnlib.statistics import sign_test, wilson


@dataclass(frozen=True)
class Pair:
    """Two arms under one condition, from the same starts: which seeds solved the task.

    The arms are *separated* if Wilson's 95 % interval of the second lies above that of the first,
    *reversed* if it lies below.
    """

    seq_len: int
    names: tuple[str, str]
    first: tuple[bool, ...]
    second: tuple[bool, ...]

    @property
    def separated(self) -> bool:
        return interval(self.second)[0] > interval(self.first)[1]

    @property
    def reversed(self) -> bool:
        return interval(self.second)[1] < interval(self.first)[0]

    @property
    def p(self) -> float:
        """Exact paired p-value: the arms share weights and data seed by seed."""
        pairs = list(zip(self.first, self.second, strict=True))
        return sign_test(pairs.count((True, False)), pairs.count((False, True)))

    def __str__(self) -> str:
        arms = zip(self.names, (self.first, self.second), strict=True)
        first, second = (f"{name} {rate(solved)}" for name, solved in arms)
        return f"T = {self.seq_len}: {first}, {second}, paired p = {self.p:.1g}"


def interval(solved: Sequence[bool]) -> tuple[float, float]:
    """Wilson's 95 % interval of the share that solved the task."""
    return wilson(sum(solved), len(solved))


def rate(solved: Sequence[bool]) -> str:
    """Say ``3/16 [0.07, 0.43]``: how many solved the task, with Wilson's interval."""
    low, high = interval(solved)
    return f"{sum(solved)}/{len(solved)} [{low:.2f}, {high:.2f}]"


def by_variant(records: Iterable[Record]) -> dict[str, Record]:
    """The records of one experiment by the name of their reading."""
    return {record.variant: record for record in records}


def prefixed(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The same values under names that begin with ``prefix``."""
    return {f"{prefix}_{name}": value for name, value in values.items()}


def length(result: Result) -> int:
    """The sequence length of a condition."""
    seq_len = result.condition["seq_len"]
    assert isinstance(seq_len, int)
    return seq_len


def solved_by_seed(result: Result, metric: str = "solved") -> tuple[bool, ...]:
    """Which seeds solved the task; what is missing or not a number did not."""
    return tuple(value == 1 for value in result.metrics[metric])


def networks(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The metrics of every network by name, ``solved`` being true or false."""
    return [
        {name: values[k] for name, values in result.metrics.items()} | {"solved": solved}
        for result in results
        for k, solved in enumerate(solved_by_seed(result))
    ]


def grouped(record: Record, key: str) -> list[dict[Any, Result]]:
    """The results whose conditions differ in nothing but ``key``, by what ``key`` is."""
    groups: dict[tuple[Any, ...], dict[Any, Result]] = {}
    for result in record.results:
        condition = dict(result.condition)
        value = condition.pop(key)
        groups.setdefault(tuple(sorted(condition.items(), key=str)), {})[value] = result
    return list(groups.values())


def number(value: Any) -> float:
    """A metric as a float; NaN if it is missing."""
    return math.nan if value is None else float(value)


def middle(values: Iterable[Any]) -> float:
    """The median of those that are finite numbers; NaN if none is."""
    finite = [x for x in map(number, values) if math.isfinite(x)]
    return median(finite) if finite else math.nan


def pair(arms: Mapping[Any, Result], first: str, second: str) -> Pair:
    """Two of the arms that a condition was run with."""
    solved = solved_by_seed(arms[first]), solved_by_seed(arms[second])
    return Pair(length(arms[first]), (first, second), *solved)


def pairs(record: Record, first: str, second: str) -> list[Pair]:
    """Both arms of every condition that has them, shortest sequences first.

    Raises:
        NotMeasured: if no condition has both.
    """
    found = [pair(arms, first, second) for arms in _with_both(record, first, second)]
    return sorted(found, key=lambda both: both.seq_len)


def paired_networks(
    record: Record, first: str, second: str
) -> list[tuple[dict[str, Any], dict[str, Any], int]]:
    """The networks of both arms that have one seed, and the number of their condition.

    They start from the same weights and see the same data.

    Raises:
        NotMeasured: if no condition has both.
    """
    return [
        (one, other, cell)
        for cell, arms in enumerate(_with_both(record, first, second))
        for one, other in zip(networks([arms[first]]), networks([arms[second]]), strict=True)
    ]


def _with_both(record: Record, first: str, second: str) -> list[dict[Any, Result]]:
    found = [arms for arms in grouped(record, "arm") if first in arms and second in arms]
    if not found:
        raise NotMeasured(f"record {record.name} holds no {first} and {second} to compare")
    return found


def budget(record: Record) -> int:
    """How many updates a network of this record had at most."""
    return int(record.settings["reading"]["n_updates"])


def after(result: Result) -> str:
    """Say `` (1200)``: the median number of updates of those that solved the task, if any did."""
    solved = solved_by_seed(result)
    took = [u for u, s in zip(result.metrics["updates"], solved, strict=True) if s]
    return f" ({middle(took):.0f})" if took else ""


def differences(before: Iterable[float], after: Iterable[float]) -> tuple[float, ...]:
    """What was saved, seed by seed, where both scores are finite."""
    saved = (a - b for a, b in zip(before, after, strict=True))
    return tuple(x for x in saved if math.isfinite(x))


def standard_error(values: Sequence[float]) -> float:
    """The standard error of the mean of two values or more."""
    return stdev(values) / math.sqrt(len(values))


def clear(values: Sequence[float], sign: int = 1) -> bool:
    """Whether the mean is positive (negative, for -1) beyond doubt.

    It has to exceed two of its standard errors, and no value may have the opposite sign. Fewer
    than two values are never clear.
    """
    signed = [sign * x for x in values]
    return (
        len(signed) > 1
        and fmean(signed) > 2 * standard_error(signed)
        and all(x > 0 for x in signed)
    )
