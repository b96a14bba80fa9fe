"""The interactive figures, each as its state: what a reader may move, and within what bounds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from rnnlib import checks
from rnnlib.checks import ArgumentError
from rnnlib.widgets import backward_picture, wall_picture
from rnnlib.widgets.page import Figure

MAX_SEQ_LEN = 100


@dataclass
class Wall(Figure):
    """Two descents, plain and clipped, on the error surface of one unit.

    Attributes:
        w, b: where the descent starts, within the window of the map.
        learning_rate, threshold: of the descent; the threshold holds only with ``clipping``.
        clipping: whether the clipped path is drawn beside the plain one.
        seq_len: number of steps of the network.
    """

    name: ClassVar[str] = "wall"
    movable: ClassVar[str] = "the start point, the learning rate and the threshold"

    w: float = 5.0
    b: float = -2.4
    learning_rate: float = 0.1
    threshold: float = 1.0
    clipping: bool = True
    seq_len: int = 50

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        if name in wall_picture.WINDOW:
            return _number(name, value, *wall_picture.WINDOW[name])
        if name == "clipping":
            if not isinstance(value, bool):
                raise ArgumentError(f"clipping must be True or False, got {value!r}")
            return value
        if name == "seq_len":
            return _integer(name, value, 1, MAX_SEQ_LEN)
        return float(checks.positive(name, value))

    def picture(self) -> str:
        return wall_picture.picture(**asdict(self))


@dataclass
class Backward(Figure):
    """The norm of the error on its way back in time, before and after descent on Omega.

    Attributes:
        radius: spectral radius of the recurrent matrix before the descent.
        gain: slope of the non-linearity at 0, its largest.
        alpha: weight of the regulariser Omega.
        updates: how many steps of descent were made.
        seed: which random network, 1 to 100.
    """

    name: ClassVar[str] = "backward"
    movable: ClassVar[str] = "the spectral radius, the gain and the regulariser"

    radius: float = 0.9
    gain: float = 1.0
    alpha: float = 2.0
    updates: int = 100
    seed: int = 1

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        low, high = backward_picture.LIMITS[name]
        if name in ("updates", "seed"):
            return _integer(name, value, int(low), int(high))
        return _number(name, value, low, high)

    def picture(self) -> str:
        return backward_picture.picture(**asdict(self))


def _number(name: str, value: Any, low: float, high: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and low <= value <= high):
        raise ArgumentError(f"{name} must be a number from {low} to {high}, got {value!r}")
    return float(value)


def _integer(name: str, value: Any, low: int, high: int) -> int:
    if checks.at_least(name, value, low) > high:
        raise ArgumentError(f"{name} must be at most {high}, got {value!r}")
    return int(value)
