r"""Elman networks by the stack: ``R`` networks with their own weights on their own batches.

The recurrence, for each replica ``r`` and sequence ``b`` (Pascanu, Mikolov & Bengio 2012,
footnote 1), is

    h_t = f(W_rec h_{t-1} + W_in u_t + b),        f = tanh, logistic or linear.

`elman_definition` is that line in a loop and says what is correct. `elman_ensemble` computes the
same with one batched product a step and backpropagation through time written out by hand, since
automatic differentiation of the loop costs several times the arithmetic of networks this small.
The pre-activation form of the paper's equation (2) needs no second kernel: its state is the
argument of ``f`` above, started from ``h_0 = f(x_0)`` (`rnnlib.models` does this).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnlib.checks import ArgumentError, at_least, one_of, shape

_FORWARD: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "logistic": torch.sigmoid,
    "linear": torch.clone,
}
_FORWARD_: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh_,
    "logistic": torch.sigmoid_,
    "linear": lambda a: a,
}

# On a CPU replicas are worked through in groups whose states stay near the cache; one product over
# all replicas at once falls out of it and is slower.
_GROUP_BYTES = 2**22

# What does not wait for the recurrence (input drive, weight gradients) is done for blocks of steps
# that hold about this many rows: enough for an efficient product, few enough to stay in cache.
_BLOCK_ROWS = 128


def elman_definition(
    inputs: Tensor,
    W_rec: Tensor,
    W_in: Tensor,
    b: Tensor | None = None,
    initial: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
) -> Tensor:
    """The recurrence as a plain loop: slow, any float dtype, differentiable any number of times.

    Arguments, result and errors as for `elman_ensemble` with ``last=False``.
    """
    inputs, initial = _checked(inputs, W_rec, W_in, b, initial, nonlinearity)
    f = _FORWARD[nonlinearity]
    u = _one_hot(inputs, W_in)
    bias = 0 if b is None else b[:, None]
    h, states = initial, []
    for t in range(u.shape[2]):
        h = f(h @ W_rec.mT + u[:, :, t] @ W_in.mT + bias)
        states.append(h)
    return torch.stack(states, dim=2) if states else h[:, :, None][:, :, :0]


def elman_ensemble(
    inputs: Tensor,
    W_rec: Tensor,
    W_in: Tensor,
    b: Tensor | None = None,
    initial: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
    last: bool = False,
) -> Tensor:
    """Run ``R`` Elman networks on ``R`` batches, with backpropagation through time by hand.

    Args:
        inputs: ``(R, B, T, I)`` floating, or ``(R, B, T)`` int64 symbols in ``0..I-1`` that stand
            for one-hot inputs.
        W_rec: ``(R, H, H)``, column convention: ``h_t`` gets ``W_rec @ h_{t-1}``.
        W_in: ``(R, H, I)``.
        b: ``(R, H)`` or None for no bias.
        initial: ``(R, B, H)``, the state before the first input; None is zero.
        nonlinearity: "tanh", "logistic" or "linear".
        last: return only the state after the last input.

    Returns:
        ``(R, B, T, H)``, or ``(R, B, H)`` with ``last``; dtype of ``W_rec``. Differentiable once in
        every floating argument, a second time is refused: use `elman_definition` for that.

    Raises:
        ArgumentError: for shapes, dtypes or devices that disagree, no replicas, symbols that are
            not int64 or (on a CPU) lie outside ``0..I-1``, or an unknown non-linearity.
    """
    inputs, initial = _checked(inputs, W_rec, W_in, b, initial, nonlinearity)
    bias = W_in.new_zeros(W_in.shape[:2]) if b is None else b
    inputs = _one_hot(inputs, W_in)
    if last and not torch.is_grad_enabled():
        return _last_state(inputs, W_rec, W_in, bias, initial, nonlinearity)
    states = _Elman.apply(inputs, W_rec, W_in, bias, initial, nonlinearity, last)
    return states if last else states.permute(1, 2, 0, 3)


def _checked(
    inputs: Tensor,
    W_rec: Tensor,
    W_in: Tensor,
    b: Tensor | None,
    initial: Tensor | None,
    nonlinearity: str,
) -> tuple[Tensor, Tensor]:
    one_of("nonlinearity", nonlinearity, _FORWARD)
    if W_rec.dim() != 3 or W_rec.shape[1] != W_rec.shape[2]:
        found = tuple(W_rec.shape)
        raise ArgumentError(f"W_rec must have shape (replicas, hidden, hidden), got {found}")
    n_replicas, hidden, _ = W_rec.shape
    at_least("replicas", n_replicas, 1)
    if not W_rec.is_floating_point():
        raise ArgumentError(f"W_rec must have a floating dtype, got {W_rec.dtype}")
    shape("W_in", W_in, (n_replicas, hidden, None))
    if b is not None:
        shape("b", b, (n_replicas, hidden))
    if inputs.is_floating_point():
        shape("inputs", inputs, (n_replicas, None, None, W_in.shape[2]))
    else:
        shape("inputs", inputs, (n_replicas, None, None))
        _same("inputs", inputs, torch.int64, W_rec.device)
    if initial is None:
        initial = W_rec.new_zeros(n_replicas, inputs.shape[1], hidden)
    shape("initial", initial, (n_replicas, inputs.shape[1], hidden))
    for name, tensor in (("inputs", inputs), ("W_in", W_in), ("b", b), ("initial", initial)):
        if tensor is not None and (tensor is not inputs or tensor.is_floating_point()):
            _same(name, tensor, W_rec.dtype, W_rec.device)
    return inputs, initial


def _same(name: str, tensor: Tensor, dtype: torch.dtype, device: torch.device) -> None:
    if tensor.dtype != dtype or tensor.device != device:
        found = f"{tensor.dtype} on {tensor.device}"
        raise ArgumentError(f"{name} must be {dtype} on {device}, as W_rec asks, got {found}")


def _one_hot(inputs: Tensor, W_in: Tensor) -> Tensor:
    """Symbols ``(R, B, T)`` as ``(R, B, T, I)``, laid out by time; other inputs as they are."""
    if inputs.is_floating_point():
        return inputs
    # Looking up columns of W_in would read better and runs slower: small products beat copies.
    by_time = inputs.permute(2, 0, 1)[..., None]
    one_hot = W_in.new_zeros(*by_time.shape[:3], W_in.shape[2])
    try:
        one_hot.scatter_(3, by_time, 1.0)
    except RuntimeError as error:  # to look first would make a GPU wait, which asserts by itself
        accepted = f"symbols from 0 to {W_in.shape[2] - 1}"
        found = f"{inputs.min()} to {inputs.max()}"
        raise ArgumentError(f"inputs must hold {accepted}, got {found}") from error
    return one_hot.permute(1, 2, 0, 3)


def _groups(n_replicas: int, bytes_each: int, device: torch.device) -> list[slice]:
    """Slices of replicas to work through one after the other; all at once off the CPU."""
    size = n_replicas if device.type != "cpu" else max(1, _GROUP_BYTES // max(bytes_each, 1))
    return [slice(i, min(i + size, n_replicas)) for i in range(0, n_replicas, size)]


def _last_state(
    inputs: Tensor, W_rec: Tensor, W_in: Tensor, b: Tensor, initial: Tensor, nonlinearity: str
) -> Tensor:
    """The state after the last input when no gradient is wanted: nothing on the way is kept."""
    n_replicas, batch, time = inputs.shape[:3]
    result = initial.clone()
    bytes_each = _BLOCK_ROWS * W_rec.shape[1] * W_rec.element_size()
    for group in _groups(n_replicas, bytes_each, W_rec.device):
        h, recurrent = initial[group], W_rec[group].mT
        for block in _blocks(time, batch):
            drive = torch.baddbmm(b[group, None], _rows(inputs[group, :, block]), W_in[group].mT)
            for u in drive.unflatten(1, (batch, block.stop - block.start)).unbind(2):
                h = _FORWARD_[nonlinearity](torch.baddbmm(u, h, recurrent))
        result[group] = h
    return result


class _Elman(torch.autograd.Function):
    """States ``(T, R, B, H)``: time first, so that a step is one contiguous batched product."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        W_rec: Tensor,
        W_in: Tensor,
        b: Tensor,
        initial: Tensor,
        nonlinearity: str,
        last: bool,
    ) -> Tensor:
        n_replicas, batch, time = inputs.shape[:3]
        hidden = W_rec.shape[1]
        activate_ = _FORWARD_[nonlinearity]
        ctx.groups = _groups(n_replicas, time * batch * hidden * W_rec.element_size(), W_rec.device)
        ctx.nonlinearity, ctx.last = nonlinearity, last
        saved = []
        for group in ctx.groups:
            h = initial.new_empty(time + 1, *initial[group].shape)
            h[0] = initial[group]
            steps, recurrent = h.unbind(0), W_rec[group].mT
            for block in _blocks(time, batch):
                drive = torch.baddbmm(
                    b[group, None], _rows(inputs[group, :, block]), W_in[group].mT
                ).unflatten(1, (batch, block.stop - block.start))
                h[block.start + 1 : block.stop + 1] = drive.permute(2, 0, 1, 3)
                for t in range(block.start, block.stop):
                    activate_(steps[t + 1].baddbmm_(steps[t], recurrent))
            saved.append(h)
        ctx.save_for_backward(inputs, W_rec, W_in, *saved)
        if last:
            return torch.cat([h[-1] for h in saved])
        return torch.cat([h[1:] for h in saved], dim=1)

    # The states kept are numbers without a history: a second derivative would be silently wrong.
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        inputs, W_rec, W_in, *saved = ctx.saved_tensors
        d_rec, d_in = torch.zeros_like(W_rec), torch.zeros_like(W_in)
        d_b = W_in.new_zeros(W_in.shape[:2])
        d_initial = W_rec.new_empty(W_rec.shape[0], inputs.shape[1], W_rec.shape[1])
        d_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        for group, h in zip(ctx.groups, saved, strict=True):
            recurrent, steps = W_rec[group], h.unbind(0)
            error = grad[group] if ctx.last else torch.zeros_like(h[0])
            for block in reversed(_blocks(len(h) - 1, h.shape[2])):
                deltas = []  # errors at the argument of f
                for t in range(block.stop - 1, block.start - 1, -1):
                    if not ctx.last:
                        error = error + grad[t, group]
                    deltas.append(_times_slope(error, steps[t + 1], ctx.nonlinearity))
                    error = torch.bmm(deltas[-1], recurrent)
                delta = torch.stack(deltas[::-1], dim=2).flatten(1, 2)
                d_rec[group].baddbmm_(delta.mT, _rows(h[block].permute(1, 2, 0, 3)))
                d_in[group].baddbmm_(delta.mT, _rows(inputs[group, :, block]))
                d_b[group] += delta.sum(1)
                if d_inputs is not None:
                    d_inputs[group, :, block] = (delta @ W_in[group]).unflatten(
                        1, (h.shape[2], block.stop - block.start)
                    )
            d_initial[group] = error
        return d_inputs, d_rec, d_in, d_b, d_initial, None, None


def _blocks(time: int, batch: int) -> list[slice]:
    """Slices of steps that hold about ``_BLOCK_ROWS`` rows of a batch."""
    length = max(1, -(-_BLOCK_ROWS // max(batch, 1)))
    return [slice(t, min(t + length, time)) for t in range(0, time, length)]


def _rows(by_step: Tensor) -> Tensor:
    """``(r, B, T, n)`` as ``(r, B*T, n)``."""
    return by_step.flatten(1, 2)


def _times_slope(error: Tensor, h: Tensor, nonlinearity: str) -> Tensor:
    """``error * f'``, with the slope written in the output ``h``."""
    if nonlinearity == "tanh":
        return torch.ops.aten.tanh_backward(error, h)
    if nonlinearity == "logistic":
        return torch.ops.aten.sigmoid_backward(error, h)
    return error
