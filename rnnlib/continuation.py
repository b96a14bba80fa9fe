"""Fixed points of any smooth map, followed through folds as a parameter changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rnnlib import checks
from rnnlib.checks import ArgumentError


class Branch(NamedTuple):
    """Fixed points along a curve; row ``i`` is one point of it.

    Attributes:
        points: ``(n_steps + 1, n)``.  parameters: ``(n_steps + 1,)``.
        eigenvalues: ``(n_steps + 1, n)``, complex; of the map's Jacobian.
        stable: ``(n_steps + 1,)``; all eigenvalues inside the unit circle.
    """

    points: Tensor
    parameters: Tensor
    eigenvalues: Tensor
    stable: Tensor


def continuation(
    step: Callable[[Tensor, Tensor], Tensor],
    x0: Tensor,
    p0: float,
    *,
    step_length: float,
    n_steps: int,
) -> Branch:
    """Follow a fixed point ``step(x, p) = x`` as ``p`` changes, around folds.

    Pseudo-arclength continuation (Keller 1977): predict along the unit tangent of the curve in
    ``(x, p)``, then correct by Newton in the plane perpendicular to it. At a fold the tangent
    turns and ``p`` runs backwards; nothing is singular there.

    Args:
        step: smooth map from ``(n,)`` and a scalar tensor to ``(n,)``, differentiable by torch.
        x0: ``(n,)``; near a fixed point at ``p0``.
        step_length: arc length of a step; its sign is the direction in which ``p`` sets out.

    Raises:
        ArgumentError: for ``step_length`` 0 or not finite, or if Newton does not converge.
    """
    if not math.isfinite(step_length) or step_length == 0:
        raise ArgumentError(f"step_length must be finite and not 0, got {step_length!r}")
    checks.at_least("n_steps", n_steps, 0)
    n = x0.numel()

    def residual(z: Tensor) -> Tensor:
        return step(z[:n], z[n]) - z[:n]

    def slopes(z: Tensor) -> Tensor:
        # For a few unknowns several times faster than torch.func.jacrev.
        return torch.autograd.functional.jacobian(residual, z)

    def correct(z: Tensor, plane: Tensor) -> Tensor:
        anchor = z
        for _ in range(20):
            gap = torch.cat([residual(z), plane[None] @ (z - anchor)])
            move, singular = torch.linalg.solve_ex(torch.cat([slopes(z), plane[None]]), -gap)
            if singular:
                break
            z = z + move
            if move.norm() <= 1e-10 * (1 + z.norm()):
                return z  # Newton squares the error: what is left is rounding
        raise ArgumentError(
            "x0 must lie near a fixed point and step_length be short enough for Newton to "
            f"converge, got step_length {step_length!r} near parameter {float(anchor[n])!r}"
        )

    z = torch.cat([x0.to(torch.float64).reshape(n), x0.new_tensor([p0], dtype=torch.float64)])
    last = torch.eye(n + 1, dtype=torch.float64)[n]  # hold p while x settles
    z = correct(z, last)
    tangent = math.copysign(1.0, step_length) * last
    curve, eigenvalues = [], []
    for i in range(n_steps + 1):
        J = slopes(z)
        curve.append(z)
        eigenvalues.append(torch.linalg.eigvals(J[:, :n] + torch.eye(n, dtype=J.dtype)))
        if i == n_steps:
            break
        # The null vector of [dF/dx - 1, dF/dp], on the side of the previous tangent.
        tangent = torch.linalg.solve(torch.cat([J, tangent[None]]), last)
        tangent = tangent / tangent.norm()
        z = correct(z + abs(step_length) * tangent, tangent)
    points, multipliers = torch.stack(curve), torch.stack(eigenvalues)
    return Branch(points[:, :n], points[:, n], multipliers, multipliers.abs().amax(-1) < 1)
