"""Judges built from conditions on the measured values, and words that rounding cannot change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rnnlib.claims.claim import Verdict

Condition = Callable[[Mapping[str, Any]], bool]
Judge = Callable[[Mapping[str, Any]], Verdict]


def holds(condition: Condition) -> Judge:
    """Reproduced if the condition is met, else not. A comparison with NaN is never met."""
    return lambda values: Verdict.REPRODUCED if condition(values) else Verdict.NOT_REPRODUCED


def partly(condition: Condition) -> Judge:
    """Partly if the condition is met: that one half of the statement holds and one does not."""
    return lambda values: Verdict.PARTLY if condition(values) else Verdict.NOT_REPRODUCED


def erratum(*, counterexample: Condition, repaired: Condition) -> Judge:
    """Wrong as printed, if the counterexample and the repaired statement both stand.

    If either falls, neither the print nor its repair has been shown: did not reproduce.
    """
    return lambda values: (
        Verdict.WRONG if counterexample(values) and repaired(values) else Verdict.NOT_REPRODUCED
    )


def below(error: float, bound: float) -> str:
    """Say ``below 1e-12``, or the error itself if it is not.

    An error of the size of rounding differs between machines; that it stays below its bound does
    not. The same holds for shares of runs that are chaotic in rounding.
    """
    return f"below {_short(bound)}" if error < bound else _short(error)


def less_than(share: float, bound: float) -> str:
    """Say ``less than 1 %``, or the share itself if it is not."""
    return f"less than {_percent(bound)}" if share < bound else _percent(share)


def more_than(share: float, bound: float) -> str:
    """Say ``more than 50 %``, or the share itself if it is not."""
    return f"more than {_percent(bound)}" if share > bound else _percent(share)


def _short(number: float) -> str:
    return f"{number:.0e}".replace("e-0", "e-").replace("e+0", "e+")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
