"""Argument checks: each failure names the argument, what is accepted and what was found."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

from torch import Tensor


class ArgumentError(ValueError):
    """An argument lies outside what is accepted; the message is one line fit for a user."""


def positive(name: str, value: float) -> float:
    """Return ``value`` if it is a finite number above zero.

    Raises:
        ArgumentError: for zero, a negative number, NaN, an infinity or something not a number.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (math.isfinite(value) and value > 0)
    ):
        raise ArgumentError(f"{name} must be a finite number > 0, got {value!r}")
    return value


def at_least(name: str, value: int, minimum: int) -> int:
    """Return ``value`` if it is an integer of at least ``minimum``.

    Raises:
        ArgumentError: for a smaller integer or something not an integer.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ArgumentError(f"{name} must be an integer >= {minimum}, got {value!r}")
    return value


def distinct(name: str, values: Sequence[object]) -> None:
    """Accept ``values`` that hold at least one entry and none twice.

    Raises:
        ArgumentError: for an empty or a repetitive sequence.
    """
    if not values or len(set(values)) != len(values):
        raise ArgumentError(f"{name} must hold at least one value and none twice, got {values!r}")


def one_of(name: str, value: str, accepted: Iterable[str]) -> str:
    """Return ``value`` if it is among ``accepted``; otherwise suggest the nearest.

    Raises:
        ArgumentError: naming all accepted values and, where one is close, the likely meaning.
    """
    known = list(accepted)
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(f"{name} must be one of {', '.join(known)}, got {value!r}{hint}")
    return value


def shape(name: str, tensor: Tensor, expected: Sequence[int | None]) -> Tensor:
    """Return ``tensor`` if its shape matches ``expected`` (``None`` accepts any length).

    Raises:
        ArgumentError: with the expected and the found shape.
    """
    found = tuple(tensor.shape)
    if len(found) != len(expected) or any(
        want is not None and want != have for want, have in zip(expected, found, strict=True)
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in expected)
        raise ArgumentError(f"{name} must have shape ({wanted}), got {found}")
    return tensor
