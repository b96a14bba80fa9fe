r"""Fixed points, folds and basins: what a recurrent map does when it runs on its own.

Most of this is the paper's one-unit network, ``F(x) = w sigma(x) + b`` with the logistic
function, where everything is in closed form or one bisection away. All of it is float64; the
fixed points of any other smooth map are followed by ``rnnlib.continuation``.
Source: Pascanu, Mikolov & Bengio (2012), section 2.3, equation (14) and figures 4 to 6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rnnlib import checks
from rnnlib.cells import LOGISTIC, Nonlinearity, one_unit_step, preactivation_step
from rnnlib.checks import ArgumentError


class Folds(NamedTuple):
    """The two folds at one ``w``: the bias of each and the double fixed point there.

    In the paper's naming ``b_1 > b_2``. As ``b`` falls, the lower attractor is born at ``b_1``
    and the upper one is lost at ``b_2``.
    """

    b_1: float
    b_2: float
    x_1: float
    x_2: float


def folds(w: float) -> Folds:
    r"""Where two fixed points of ``w sigma(x) + b`` meet and vanish, in closed form.

    There ``w sigma'(x) = 1``, so ``sigma(x) = (1 -+ r) / 2`` with ``r = sqrt(1 - 4 / w)``,
    ``x = -+2 artanh(r)`` and ``b = x - w sigma(x)``. At ``w = 4`` they merge in a cusp.

    Raises:
        ArgumentError: unless ``w`` is finite and at least 4.
    """
    if not (math.isfinite(w) and w >= 4):
        raise ArgumentError(f"w must be a finite number >= 4 for folds to exist, got {w!r}")
    r = math.sqrt((w - 4) / w)
    x = 2 * math.atanh(r)
    return Folds(b_1=-x - w * (1 - r) / 2, b_2=x - w * (1 + r) / 2, x_1=-x, x_2=x)


class FixedPoint(NamedTuple):
    """A solution of ``F(x) = x`` with ``slope = F'(x)``; stable means ``|slope| < 1``."""

    x: float
    slope: float
    stable: bool


def fixed_points(w: float, b: float) -> list[FixedPoint]:
    """All fixed points of ``w sigma(x) + b``, one to three of them, from the lowest up.

    Raises:
        ArgumentError: unless ``w`` and ``b`` are finite.
    """
    _finite(w=w, b=b)
    found = _branches(_float64(w), _float64(b))
    xs = [x for x in found.tolist() if not math.isnan(x)]
    slopes = [float(w * LOGISTIC.slope(_float64(x))) for x in xs]
    return [FixedPoint(x, s, abs(s) < 1) for x, s in zip(xs, slopes, strict=True)]


class BifurcationDiagram(NamedTuple):
    """Fixed points over a grid of biases; NaN where a branch does not exist."""

    b: Tensor
    lower: Tensor
    middle: Tensor
    upper: Tensor


def bifurcation_diagram(w: float, b_grid: Tensor) -> BifurcationDiagram:
    """The fixed-point branches at each bias: the paper's figure 4.

    For ``w > 0`` the middle branch is unstable and bounds the two basins. For ``w <= 4`` there is
    one branch, reported as ``lower`` where it is below 0 and as ``upper`` elsewhere.

    Args:
        b_grid: ``(n,)``.

    Returns:
        four tensors ``(n,)``, float64.

    Raises:
        ArgumentError: unless ``w`` is finite.
    """
    _finite(w=w)
    b = b_grid.to(torch.float64)
    lower, middle, upper = _branches(_float64(w), b).unbind(-1)
    return BifurcationDiagram(b, lower, middle, upper)


def basin_boundary(w: float, b: float) -> float | None:
    """The unstable fixed point between two attractors, or ``None`` where there is one attractor.

    Raises:
        ArgumentError: unless ``w`` and ``b`` are finite.
    """
    _finite(w=w, b=b)
    middle = float(_branches(_float64(w), _float64(b))[1])
    return None if math.isnan(middle) else middle


def attractor_of(w: float, b: Tensor | float, x0: Tensor | float) -> Tensor:
    """The fixed point that ``x0`` runs to; the boundary itself, if a float64 hits it, stays.

    For ``w > 0`` the map is increasing, so an orbit moves one way and cannot pass a fixed point:
    the side of the boundary decides, without iterating.

    Args:
        w: at least -4; below, orbits may end on a 2-cycle.
        b, x0: broadcast against each other.

    Returns:
        the broadcast shape, float64.

    Raises:
        ArgumentError: unless ``w`` is finite and at least -4.
    """
    if not (math.isfinite(w) and w >= -4):
        raise ArgumentError(f"w must be a finite number >= -4 for a fixed point, got {w!r}")
    bias, start = torch.broadcast_tensors(_float64(b), _float64(x0))
    lower, middle, upper = _branches(_float64(w), bias).unbind(-1)
    only = torch.where(lower.isnan(), upper, lower)
    side = torch.where(start < middle, lower, torch.where(start > middle, upper, middle))
    return torch.where(middle.isnan(), only, side)


def orbit(
    w: Tensor | float,
    b: Tensor | float,
    x0: Tensor | float,
    n_steps: int,
    *,
    drive: Tensor | None = None,
) -> Tensor:
    """Iterate ``x_t = w sigma(x_{t-1}) + b``, plus ``drive[t - 1]`` if there is an input.

    Args:
        w, b, x0: broadcast against each other.
        drive: ``(n_steps, ...)``; the input already weighted, ``w_in u_t``.

    Returns:
        ``(n_steps + 1, ...)``, float64; row 0 is ``x0``.

    Raises:
        ArgumentError: if ``n_steps`` is negative, or ``drive`` has another length.
    """
    checks.at_least("n_steps", n_steps, 0)
    if drive is not None and len(drive) != n_steps:
        raise ArgumentError(f"drive must have {n_steps} rows, one a step, got {len(drive)}")
    weight, bias, x = torch.broadcast_tensors(_float64(w), _float64(b), _float64(x0))
    if drive is not None:
        x = x.expand(torch.broadcast_shapes(x.shape, drive.shape[1:]))
    states = [x]
    for t in range(n_steps):
        x = one_unit_step(x, weight, bias)
        if drive is not None:
            x = x + drive[t]
        states.append(x)
    return torch.stack(states)


def constant_map(x: Tensor, W_rec: Tensor, b: Tensor | None, f: Nonlinearity) -> Tensor:
    """``W_rec f(x) + b``: the part of the step that is the same at every time.

    With ``input_map`` it makes up the whole step, ``F_t = U_t o F~``, so that the basins of one
    fixed map organise a driven network.
    Source: Pascanu, Mikolov & Bengio (2012), figure 6.
    """
    return preactivation_step(x, None, W_rec, None, b, f)


def input_map(x: Tensor, u: Tensor, W_in: Tensor) -> Tensor:
    """``x + W_in u_t``: the part of the step that the input changes, a translation."""
    return x + u @ W_in.mT


def _branches(w: Tensor, b: Tensor) -> Tensor:
    """Lower, middle and upper fixed point for each bias ``(...)`` -> ``(..., 3)``, NaN if absent.

    ``g(x) = F(x) - x`` falls, rises between the two points where ``w sigma' = 1``, and falls
    again; one bisection on each piece finds every root, to the last bit.
    """
    turn = 2 * torch.atanh(((w - 4) / w).sqrt()) if w > 4 else torch.zeros_like(w)
    ends = torch.stack([torch.minimum(b, b + w), torch.maximum(b, b + w)]).expand(2, *b.shape)
    low = torch.stack([ends[0] - 1, -turn.expand_as(b), turn.expand_as(b)], dim=-1)
    high = torch.stack([-turn.expand_as(b), turn.expand_as(b), ends[1] + 1], dim=-1)
    sign = b.new_tensor([1.0, -1.0, 1.0])  # of g at the low end of its piece

    def g(x: Tensor) -> Tensor:
        return sign * (one_unit_step(x, w, b[..., None]) - x)

    at_low, at_high = g(low), g(high)
    # A root at a turning point (a fold) is counted in the outer piece; at w <= 4 both turning
    # points are 0 and a root there is the upper piece's.
    exists = (at_low > 0) & (at_high < 0)
    exists[..., 0] |= (at_high[..., 0] == 0) & (w > 4)
    exists[..., 2] |= at_low[..., 2] == 0
    for _ in range(80):  # 2^-80 of any sensible bracket is below the spacing of float64
        middle = (low + high) / 2
        right = g(middle) > 0
        low, high = torch.where(right, middle, low), torch.where(right, high, middle)
    return torch.where(exists, (low + high) / 2, torch.nan)


def _finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ArgumentError(f"{name} must be a finite number, got {value!r}")


def _float64(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
