r"""The gradient of a recurrent network as a sum over time, its growth, and its clipping.

Pascanu, Mikolov & Bengio (2012), equations (3) to (5): the gradient of the loss at time ``T`` is

    dE_T/dtheta = sum_k  delta_k  d+x_k/dtheta,      delta_k = dE_T/dx_T  J_T J_{T-1} ... J_{k+1}

where ``J_k = dx_k/dx_{k-1}`` and ``d+x_k/dtheta`` is the immediate derivative, with ``x_{k-1}``
held fixed. Everything here is a piece of this formula. Leading axes, where allowed, are a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnlib import cells, checks
from rnnlib.cells import Nonlinearity
from rnnlib.checks import ArgumentError


def state_jacobians(
    states: Tensor, W_rec: Tensor, f: Nonlinearity, *, parametrisation: str = "preactivation"
) -> Tensor:
    """All one-step Jacobians along a trajectory: row ``i`` is ``dx_{i+1} / dx_i``.

    Args:
        states: ``(..., T + 1, hidden)``; ``x_0`` to ``x_T``, or ``h_0`` to ``h_T``.
        W_rec: ``(hidden, hidden)``, or with the batch's axes ``(..., 1, hidden, hidden)``.
        parametrisation: what ``states`` holds, ``"preactivation"`` or ``"activation"``.

    Returns:
        ``(..., T, hidden, hidden)``, column convention.

    Raises:
        ArgumentError: for an unknown parametrisation.
    """
    checks.one_of("parametrisation", parametrisation, cells.PARAMETRISATIONS)
    if parametrisation == "preactivation":
        return cells.preactivation_jacobian(states[..., :-1, :], W_rec, f)
    return cells.activation_jacobian(states[..., 1:, :], W_rec, f)


def jacobian_product(jacobians: Tensor) -> Tensor:
    """``dx_T / dx_0 = J_T ... J_1``: the product along a trajectory, latest factor on the left.

    ``(..., T, hidden, hidden)``, in order of time, to ``(..., hidden, hidden)``; no factors give
    the identity.
    """
    hidden = jacobians.shape[-1]
    product = torch.eye(hidden, dtype=jacobians.dtype, device=jacobians.device)
    product = product.expand(*jacobians.shape[:-3], hidden, hidden)
    for J in jacobians.unbind(-3):
        product = J @ product
    return product


def error_history(jacobians: Tensor, grad_state: Tensor) -> Tensor:
    """Carry an error back through time: row ``k`` is ``dE_T / dx_k``.

    ``delta_T = grad_state`` and ``delta_k = delta_{k+1} J_{k+1}``; one vector-matrix product a
    step, no matrix-matrix product.

    Args:
        jacobians: ``(..., T, hidden, hidden)``; ``jacobians[i] = dx_{i+1} / dx_i``.
        grad_state: ``(..., hidden)``; ``dE_T / dx_T``.

    Returns:
        ``(..., T + 1, hidden)``. In float32 early rows overflow to infinities and NaN when the
        product explodes; use float64 to see the growth rate.

    Raises:
        ArgumentError: if the Jacobians are not square or do not fit ``grad_state``.
    """
    hidden = grad_state.shape[-1]
    if jacobians.ndim < 3 or jacobians.shape[-2:] != (hidden, hidden):
        raise ArgumentError(
            f"jacobians must have shape (..., time, {hidden}, {hidden}) to fit grad_state "
            f"{tuple(grad_state.shape)}, got {tuple(jacobians.shape)}"
        )
    deltas = [grad_state]
    for J in reversed(jacobians.unbind(-3)):
        deltas.append((deltas[-1].unsqueeze(-2) @ J).squeeze(-2))
    return torch.stack(deltas[::-1], dim=-2)


def immediate_derivatives(
    states_prev: Tensor, inputs: Tensor | None, f: Nonlinearity
) -> dict[str, Tensor]:
    """``d+x_k / dtheta`` of the preactivation form, for each parameter and each ``k``.

    ``x_{k,i}`` depends on row ``i`` of each matrix alone: ``d+x_{k,i} / dW_rec[j, l]`` is
    ``f(x_{k-1,l})`` if ``i = j`` and 0 otherwise; the same with ``u_{k,l}`` for ``W_in`` and with
    1 for ``b``.

    Args:
        states_prev: ``(T, hidden)``; ``x_0`` to ``x_{T-1}``.
        inputs: ``(T, input)``; ``u_1`` to ``u_T``, or ``None`` for a network without input.

    Returns:
        ``"W_rec"``: ``(T, hidden, hidden * hidden)``, ``"W_in"`` (with inputs):
        ``(T, hidden, hidden * input)``, ``"b"``: ``(T, hidden, hidden)``; matrices flattened by
        rows. The outer size is ``T * hidden^3``: meant for small networks.
    """
    checks.shape("states_prev", states_prev, (None, None))
    time, hidden = states_prev.shape
    identity = torch.eye(hidden, dtype=states_prev.dtype, device=states_prev.device)

    def per_row(source: Tensor) -> Tensor:
        return torch.einsum("ij,tl->tijl", identity, source).flatten(2)

    result = {"W_rec": per_row(f(states_prev)), "b": identity.expand(time, -1, -1)}
    if inputs is not None:
        result["W_in"] = per_row(checks.shape("inputs", inputs, (time, None)))
    return result


def temporal_components(jacobians: Tensor, grad_state: Tensor, immediate: Tensor) -> Tensor:
    """Split the gradient at time ``T`` into its contribution from each earlier time ``k``.

    Component ``k`` is ``grad_state @ J_T @ ... @ J_{k+1} @ immediate_k``; their sum over ``k`` is
    the gradient that backpropagation through time returns.
    Source: Pascanu, Mikolov & Bengio (2012), equations (3) to (5). The printed Jacobian is
    transposed; this function uses the one that finite differences confirm.

    Args:
        jacobians: ``(T, hidden, hidden)``; ``jacobians[i] = dx_{i+1} / dx_i``.
        grad_state: ``(hidden,)``; derivative of the loss with respect to the last state.
        immediate: ``(T, hidden, params)``; row ``k - 1`` is ``d+x_k / dtheta``.

    Returns:
        ``(T, params)``; row ``k - 1`` is the component of time ``k``.

    Raises:
        ArgumentError: if the shapes do not fit; the message names the argument.

    Cost: ``O(T * hidden * (hidden + params))``; no matrix-matrix product is formed.
    """
    hidden = grad_state.shape[-1]
    checks.shape("jacobians", jacobians, (None, hidden, hidden))
    checks.shape("immediate", immediate, (len(jacobians), hidden, None))
    deltas = error_history(jacobians, grad_state)[1:]  # delta_1 .. delta_T
    return torch.einsum("th,thp->tp", deltas, immediate)


def component_norms(jacobians: Tensor, grad_state: Tensor) -> Tensor:
    """Norms of the temporal components of the bias, without forming them: ``|delta_k|``.

    In the preactivation form the component of time ``k`` is the outer product of ``delta_k`` with
    what the parameter multiplies: times ``|f(x_{k-1})|`` this is the norm for ``W_rec``, times
    ``|u_k|`` that for ``W_in``.

    Args:
        jacobians: ``(..., T, hidden, hidden)``.
        grad_state: ``(..., hidden)``.

    Returns:
        ``(..., T)``; entry ``k - 1`` belongs to time ``k``.
    """
    return error_history(jacobians, grad_state)[..., 1:, :].norm(dim=-1)


def growth_rate(norms: Tensor, start: int = 0) -> Tensor:
    """Least-squares slope of ``ln(norm)`` against the step number, from ``start`` on.

    A sequence ``c * r^l`` gives ``ln r`` exactly.

    Args:
        norms: ``(..., L)``, all above zero.
        start: steps left out at the beginning, where transients live.

    Returns:
        ``(...)``; natural logarithm per step.

    Raises:
        ArgumentError: if ``start`` is negative or fewer than two steps remain.
    """
    checks.at_least("start", start, 0)
    logs = norms[..., start:].log()
    if logs.shape[-1] < 2:
        raise ArgumentError(f"start must leave at least 2 of {norms.shape[-1]} norms, got {start}")
    steps = torch.arange(logs.shape[-1], dtype=logs.dtype, device=logs.device)
    centred = steps - steps.mean()
    return (logs * centred).sum(-1) / centred.square().sum()


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """``|cos|`` of the angle between vectors in the last axis: 1 parallel, 0 perpendicular.

    The length is divided out first, so exploding vectors do not overflow. NaN for a zero vector.
    """

    def unit(v: Tensor) -> Tensor:
        v = v / v.abs().amax(-1, keepdim=True)
        return v / v.norm(dim=-1, keepdim=True)

    return (unit(a) * unit(b)).sum(-1).abs()


def clip_norm(
    gradients: Sequence[Tensor], threshold: float | Tensor, *, replicas: bool = False
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Rescale gradients whose joint norm reaches ``threshold`` to exactly that norm.

    ``g <- (threshold / |g|) g  if |g| >= threshold``, with the norm of all parameters together.
    Source: Pascanu, Mikolov & Bengio (2012), algorithm 1.

    Args:
        gradients: one tensor a parameter; with ``replicas`` axis 0 of each is the replica.
        threshold: a number above zero, ``inf`` for never, or with ``replicas`` a tensor ``(R,)``
            (whose values are not checked: that would wait for the device).
        replicas: clip each replica by its own norm.

    Returns:
        the rescaled gradients, in their own dtype; the norm before clipping and the factor
        applied, both float64, ``()`` or ``(R,)``. The norm is summed in float64, so float32
        gradients cannot overflow it. A gradient that holds a NaN or an infinity has no direction
        to keep: its factor is NaN, and so is what is returned for it.

    Raises:
        ArgumentError: for a threshold that is not above zero, or no gradients.
    """
    if not gradients:
        raise ArgumentError("gradients must hold at least one tensor, got none")
    if not isinstance(threshold, Tensor) and not threshold > 0:
        raise ArgumentError(f"threshold must be a number > 0 (inf for never), got {threshold!r}")
    kept = 1 if replicas else 0
    rows = [g.reshape(*g.shape[:kept], g.shape[kept:].numel()) for g in gradients]
    norms = [torch.linalg.vector_norm(row, dim=-1, dtype=torch.float64) for row in rows]
    norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    if isinstance(threshold, Tensor):
        checks.shape("threshold", threshold, norm.shape)
    factor = torch.where(norm >= threshold, threshold / norm, 1.0)
    factor = torch.where(norm.isfinite(), factor, torch.nan)

    def rescaled(g: Tensor) -> Tensor:
        return g * factor.to(g.dtype).reshape(norm.shape + (1,) * (g.ndim - kept))

    return [rescaled(g) for g in gradients], norm, factor


def clip_elementwise(gradients: Sequence[Tensor], bound: float) -> list[Tensor]:
    """Clamp every entry to ``[-bound, bound]``: Mikolov's variant, which turns the direction.

    Raises:
        ArgumentError: if ``bound`` is not a finite number above zero.
    """
    checks.positive("bound", bound)
    return [g.clamp(-bound, bound) for g in gradients]
