"""The linear scan and its adjoint in plain torch, by chunks of time.

``N`` chunks of ``C`` steps advance together, so that ``T`` steps take about ``2C + N`` operations:

1. every chunk by the loop, started from zero, for its last state ``z_n``;
2. the states between chunks, ``s_n = A_n s_{n-1} + z_n``, with ``A_n`` the product of the decays of
   chunk ``n``;
3. every chunk by the loop, started from ``s_{n-1}``.

Nothing is divided, so decays may be zero, and ``A_n`` is formed in double precision: in single, a
high power of a complex number loses its phase and that of a small one its digits. Where a state at
the end of a chunk is not finite the loop runs over everything, for only it knows what follows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rnnlib.kernels.backends import empty

# Below so many steps the loop is faster.
_WORTH_CHUNKS = 32

# Products are summed in pieces of so many numbers, which stay in the cache in between.
_PIECE = 2**16


def scan(
    decay: Tensor, inputs: Tensor, initial: Tensor | None, resets: Tensor | None, reverse: bool
) -> Tensor:
    """The states; ``decay`` is ``(1 or B, 1 or T, H)``."""
    B, T, H = inputs.shape
    on_cpu = inputs.device.type == "cpu"
    states = empty((B, T, H), inputs.dtype) if on_cpu else inputs.new_empty(B, T, H)
    state = inputs.new_zeros(B, H) if initial is None else initial
    # Torch rounds complex products by one rule in contiguous rows and by another elsewhere.
    decay, inputs, state = (x.contiguous() for x in (decay, inputs, state))
    C = math.isqrt(T)
    N = T // C if T >= _WORTH_CHUNKS else 0
    chunked, rest = slice(0, N * C), slice(N * C, T)
    if reverse:  # the steps that fill no chunk come last in the order of the walk
        chunked, rest = slice(T - N * C, T), slice(0, T - N * C)

    def during(steps: slice) -> list[Any]:
        arrays = decay.expand(-1, T, -1), inputs, resets, states
        return [x if x is None else x[:, steps] for x in arrays]

    if N:
        chunks: list[Any] = [x if x is None else x.unflatten(1, (N, C)) for x in during(chunked)]
        last = _advance_chunks(state, reverse, *chunks)
        if last is None:
            rest = slice(0, T)
        else:
            state = last
    _advance(state, reverse, *during(rest))
    return states


def adjoint(
    decay: Tensor, states: Tensor, grad: Tensor, resets: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of inputs and decay; of the latter without what the initial state adds."""
    B, T, H = states.shape
    step = 1 if reverse else -1  # from a step to the one before it
    later = decay.roll(step, 1).conj().resolve_conj()
    forget = None if resets is None else resets.roll(step, 1)
    d_inputs = scan(later, grad, None, forget, not reverse)
    d_decay = torch.zeros_like(decay)
    stop, size = T - 1 if reverse else T, max(1, _PIECE // (B * H))
    for t in range(0 if reverse else 1, stop, size):
        now = slice(t, min(t + size, stop))
        product = d_inputs[:, now] * states[:, now.start + step : now.stop + step].conj()
        if resets is not None:
            product.masked_fill_(resets[:, now, None], 0)
        rows = d_decay if decay.shape[1] < T else d_decay[:, now]
        rows += product.sum_to_size(rows.shape)
    return d_inputs, d_decay


def _advance(
    state: Tensor,
    reverse: bool,
    decay: Tensor,
    inputs: Tensor,
    resets: Tensor | None,
    states: Tensor | None,
) -> Tensor:
    """Loop along the last axis but one; return the last state, write all if they are asked for."""
    a, x = decay.unbind(-2), inputs.unbind(-2)
    forget = None if resets is None else resets[..., None].unbind(-2)
    carried, last = torch.empty_like(state), torch.empty_like(state)
    written = [last] * len(x) if states is None else states.unbind(-2)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        if forget is not None:
            state = state.masked_fill(forget[t], 0)
        torch.mul(a[t], state, out=carried)
        state = torch.add(carried, x[t], out=written[t])
    return state


def _advance_chunks(
    state: Tensor,
    reverse: bool,
    decay: Tensor,
    inputs: Tensor,
    resets: Tensor | None,
    states: Tensor,
) -> Tensor | None:
    """Write the states ``(B, N, C, H)`` and return the last one; None if not all are finite."""
    N = inputs.shape[1]
    starts = torch.zeros_like(inputs[:, :, 0])
    ends = _advance(starts, reverse, decay, inputs, resets, None)
    rows = (decay[:, :1] if decay.stride(1) == 0 else decay).unbind(2)
    product = rows[0].to(torch.complex128 if inputs.is_complex() else torch.float64)
    for row in rows[1:]:
        product = product * row
    if resets is not None:
        product = product.masked_fill(resets.any(2)[..., None], 0)
    product = product.expand(-1, N, -1)
    state = state.to(product.dtype)
    for n in reversed(range(N)) if reverse else range(N):
        starts[:, n] = state
        state = product[:, n] * state + ends[:, n]
    last = _advance(starts, reverse, decay, inputs, resets, states)
    if not (starts.isfinite().all() and last.isfinite().all()):
        return None
    return last[:, 0 if reverse else -1]
