r"""The error surface of one unit run for many steps, its curvature, and descent on it.

``x_t = w sigma(x_{t-1}) + b`` from ``x_0``, and ``E(w, b) = (sigma(x_T) - target)^2``.
Source: Pascanu, Mikolov & Bengio (2012), equation (14) and figure 3, with ``T = 50``,
``x_0 = 0.5`` and target 0.7. All of it is float64: the wall at ``w = 6`` is 2e-8 wide.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from rnnlib import checks
from rnnlib.gradients import clip_norm

FloatOrTensor = TypeVar("FloatOrTensor", float, Tensor)


class ErrorSurface(NamedTuple):
    """The error with its first and second derivatives, each of the broadcast shape of w and b."""

    error: Tensor
    grad_w: Tensor
    grad_b: Tensor
    hess_ww: Tensor
    hess_wb: Tensor
    hess_bb: Tensor
    state: Tensor

    @property
    def gradient(self) -> Tensor:
        """``(..., 2)``: derivatives with respect to ``(w, b)``."""
        return torch.stack([self.grad_w, self.grad_b], dim=-1)

    @property
    def curvature(self) -> tuple[Tensor, Tensor]:
        """Eigenvalue of largest modulus of the Hessian, ``(...)``, and its direction ``(..., 2)``.

        The eigenvalues of ``[[p, q], [q, s]]`` are ``m +- r`` with ``m = (p + s) / 2`` and
        ``r = |((p - s) / 2, q)|``; the one at ``m + r`` points at half the angle of that vector.
        """
        mean = (self.hess_ww + self.hess_bb) / 2
        half = (self.hess_ww - self.hess_bb) / 2
        sign = torch.where(mean < 0, -1.0, 1.0)
        angle = torch.atan2(self.hess_wb, half) / 2 + torch.where(mean < 0, math.pi / 2, 0.0)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        return mean + sign * torch.hypot(half, self.hess_wb), direction


def error_surface(
    w: Tensor | float,
    b: Tensor | float,
    *,
    seq_len: int = 50,
    x0: float = 0.5,
    target: float = 0.7,
) -> ErrorSurface:
    r"""Error, gradient and Hessian, by the exact forward recursions of the derivatives.

    With ``s = sigma(x_{t-1})`` and its derivatives ``s', s''``:

        x_w  <- s + w s' x_w                       x_b  <- 1 + w s' x_b
        x_ww <- 2 s' x_w + w (s'' x_w^2 + s' x_ww)
        x_wb <- s' x_b + w (s'' x_w x_b + s' x_wb)
        x_bb <- w (s'' x_b^2 + s' x_bb)

    On the wall itself, where the gradient peaks, the Hessian is a difference of nearly equal
    numbers: beyond ``w = 5`` float64 does not resolve it there, while beside the peak, where the
    curvature is largest, it does.

    Args:
        w, b: broadcast against each other.

    Raises:
        ArgumentError: if ``seq_len`` is not a positive integer.
    """
    checks.at_least("seq_len", seq_len, 1)
    weight, bias = torch.broadcast_tensors(
        torch.as_tensor(w, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    )
    x = torch.full_like(weight, x0)
    x_w = x_b = x_ww = x_wb = x_bb = torch.zeros_like(weight)
    for _ in range(seq_len):
        s, s1, s2 = _logistic(x)
        slope, bend = weight * s1, weight * s2
        x_ww = s1 * x_w * 2 + bend * x_w**2 + slope * x_ww
        x_wb = s1 * x_b + bend * x_w * x_b + slope * x_wb
        x_bb = bend * x_b**2 + slope * x_bb
        x_w = s + slope * x_w
        x_b = 1 + slope * x_b
        x = weight * s + bias
    s, s1, s2 = _logistic(x)
    miss = s - target
    first = 2 * miss * s1  # dE/dx
    second = 2 * (s1**2 + miss * s2)
    return ErrorSurface(
        error=miss**2,
        grad_w=first * x_w,
        grad_b=first * x_b,
        hess_ww=second * x_w**2 + first * x_ww,
        hess_wb=second * x_w * x_b + first * x_wb,
        hess_bb=second * x_b**2 + first * x_bb,
        state=x,
    )


def wall_line(w: FloatOrTensor, *, x0: float = 0.5) -> FloatOrTensor:
    """The bias ``x0 - sigma(x0) w`` at which ``x0`` is a fixed point.

    Where that point is unstable, ``w sigma'(x0) > 1`` (``w > 4.2553`` for 0.5), it bounds the two
    basins and the wall of the error surface stands on this line.
    """
    return x0 - w * _sigma(x0)


def valley_line(w: FloatOrTensor, *, target: float = 0.7) -> FloatOrTensor:
    """The bias ``sigma^-1(target) - target w`` at which the target is a fixed point: zero error.

    The valley's floor follows it only while ``x0`` lies in that point's basin.
    """
    return math.log(target / (1 - target)) - w * target


class Path(NamedTuple):
    """A descent: what was visited, row 0 being the start.

    Attributes:
        points: ``(n_steps + 1, ..., 2)``; ``(w, b)``.
        error, grad_norm: ``(n_steps + 1, ...)``; at each point, before any rescaling.
        step_length: ``(n_steps, ...)``; distance moved.
    """

    points: Tensor
    error: Tensor
    step_length: Tensor
    grad_norm: Tensor


def descend(
    start: Tensor,
    *,
    learning_rate: float,
    threshold: float = math.inf,
    n_steps: int,
    seq_len: int = 50,
    x0: float = 0.5,
    target: float = 0.7,
) -> Path:
    """Gradient descent on the error surface, plain or with algorithm 1, from many starts at once.

    A run that leaves the numbers (NaN or infinite) stays recorded as such; the others go on.

    Args:
        start: ``(..., 2)``; ``(w, b)``, best in float64: a plain run is chaotic, and the digits
            that float32 drops from -2.4 decide where it ends.
        threshold: gradient norm from which the gradient is rescaled; ``inf`` for never.

    Raises:
        ArgumentError: unless ``learning_rate`` and ``threshold`` are above zero (the learning
            rate finite), the counts fit, and ``start`` ends in an axis of 2.
    """
    checks.positive("learning_rate", learning_rate)
    checks.at_least("n_steps", n_steps, 0)
    checks.at_least("seq_len", seq_len, 1)
    if start.ndim == 0 or start.shape[-1] != 2:
        raise checks.ArgumentError(f"start must have shape (..., 2), got {tuple(start.shape)}")
    point = start.to(torch.float64)
    points, errors, norms = [point], [], []
    for t in range(n_steps + 1):
        error, gradient = _error_and_gradient(point, seq_len, x0, target)
        rescaled, norm, _ = clip_norm([gradient.reshape(-1, 2)], threshold, replicas=True)
        errors.append(error)
        norms.append(norm.reshape(error.shape))
        if t < n_steps:
            point = point - learning_rate * rescaled[0].reshape(point.shape)
            points.append(point)
    path = torch.stack(points)
    return Path(
        points=path,
        error=torch.stack(errors),
        step_length=path.diff(dim=0).norm(dim=-1),
        grad_norm=torch.stack(norms),
    )


def _error_and_gradient(
    point: Tensor, seq_len: int, x0: float, target: float
) -> tuple[Tensor, Tensor]:
    """The first-order part of ``error_surface`` for points ``(..., 2)``, fused for many calls."""
    w, b = point.unbind(-1)
    one = torch.ones_like(w)
    x = torch.full_like(w, x0)
    x_w = x_b = torch.zeros_like(w)
    for _ in range(seq_len):
        s = x.sigmoid()
        slope = torch.addcmul(s, s, s, value=-1).mul_(w)
        x_w = torch.addcmul(s, slope, x_w)
        x_b = torch.addcmul(one, slope, x_b)
        x = torch.addcmul(b, w, s)
    s = x.sigmoid()
    miss = s - target
    first = 2 * miss * s * (1 - s)
    return miss**2, torch.stack([first * x_w, first * x_b], dim=-1)


def _logistic(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logistic function with its first and second derivative."""
    s = x.sigmoid()
    s1 = s * (1 - s)
    return s, s1, s1 * (1 - 2 * s)


def _sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))
