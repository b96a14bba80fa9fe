"""Elman networks by the stack in plain torch: one batched product a step, on any device.

Tensors lie time first, ``(T+1, r, B, H)``, so that a step is one contiguous batched product.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnnlib.kernels.elman import Backward, Problem, Seen, Watch, one_hot, slope

_ACTIVATE_: dict[str, Callable[[Tensor], Tensor]] = {
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


def forward(p: Problem, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The states asked for, and for each group of replicas ``h_0 .. h_T`` if they must be kept."""
    if p.last and not keep:
        return _last_state(p), ()
    pre = p.parametrisation == "preactivation"
    activate_ = _ACTIVATE_[p.nonlinearity]
    _, _, T, _ = p.sizes
    inputs = one_hot(p)
    kept, outputs = [], []
    for group in _groups(p, T):
        h = p.initial.new_empty(T + 1, *p.initial[group].shape)
        h[0] = p.initial[group]
        x = torch.empty_like(h) if pre else h
        if pre:
            x[0] = h[0]
            activate_(h[0])
        steps, recurrent = h.unbind(0), p.W_rec[group].mT
        for block in _blocks(p):
            drive = _drive(p, inputs, group, block)
            h[block.start + 1 : block.stop + 1] = drive.permute(2, 0, 1, 3)
            for t in range(block.start, block.stop):
                a = steps[t + 1].baddbmm_(steps[t], recurrent)
                if pre:
                    x[t + 1] = a
                activate_(a)
        kept.append(h)
        outputs.append(_asked(p, x, group))
    if p.last:
        return torch.cat(outputs), tuple(kept)
    return torch.cat(outputs, dim=1).permute(1, 2, 0, 3), tuple(kept)


def _asked(p: Problem, x: Tensor, group: slice) -> Tensor:
    """The states after each replica's last step ``(r, B, H)``, or all ``(T, r, B, H)``."""
    if p.lengths is None:
        return x[-1] if p.last else x[1:]
    lengths = p.lengths[group]
    if p.last:
        return x[lengths, torch.arange(len(lengths), device=lengths.device)]
    return x[1:].masked_fill(~_running(lengths, len(x) - 1), 0.0)


def _running(lengths: Tensor, time: int) -> Tensor:
    """``(T, r, 1, 1)`` bool: whether a replica takes step t."""
    return (torch.arange(time, device=lengths.device)[:, None] < lengths)[..., None, None]


def _last_state(p: Problem) -> Tensor:
    """The state after the last step when no gradient is wanted: nothing on the way is kept."""
    pre, activate_ = p.parametrisation == "preactivation", _ACTIVATE_[p.nonlinearity]
    B = p.sizes[1]
    inputs = one_hot(p)
    result = p.initial.clone()
    for group in _groups(p, _BLOCK_ROWS // max(B, 1)):
        state, recurrent = p.initial[group], p.W_rec[group].mT
        for block in _blocks(p):
            drive = _drive(p, inputs, group, block).unbind(2)
            for t, u in zip(range(block.start, block.stop), drive, strict=True):
                before = activate_(state.clone()) if pre else state
                a = torch.baddbmm(u, before, recurrent)
                new = a if pre else activate_(a)
                if p.lengths is not None:
                    new = torch.where((t < p.lengths[group])[:, None, None], new, state)
                state = new
        result[group] = state
    return result


def backward(
    p: Problem, kept: tuple[Tensor, ...], grad: Tensor, *, want_inputs: bool, watch: Watch | None
) -> Backward:
    """The gradients of everything, and what ``watch`` asks to be seen on the way."""
    pre = p.parametrisation == "preactivation"
    B, T = p.sizes[1:3]
    inputs = one_hot(p)
    d_rec, d_in, d_b = (torch.zeros_like(parameter) for parameter in (p.W_rec, p.W_in, p.b))
    d_initial = torch.empty_like(p.initial)
    d_inputs = torch.empty_like(p.inputs) if want_inputs else None
    seen = watch.blank(p) if watch else None
    for group, h in zip(_groups(p, T), kept, strict=True):
        recurrent, steps = p.W_rec[group], h.unbind(0)
        lengths = None if p.lengths is None else p.lengths[group]
        error = grad[group] if p.last else torch.zeros_like(h[0])
        largest = torch.zeros(*h.shape[1:3], 1, dtype=torch.float64, device=h.device)
        for block in reversed(_blocks(p)):
            # Errors at the argument of f, at the state after the step and at the one before it.
            deltas, totals, backs = [], [], []
            for t in range(block.stop - 1, block.start - 1, -1):
                running = None if lengths is None else (t < lengths)[:, None, None]
                if not p.last:
                    direct = grad[group, :, t]
                    error = error + (
                        direct if running is None else direct.masked_fill(~running, 0.0)
                    )
                delta = error if pre else _times_slope(error, steps[t + 1], p.nonlinearity)
                if running is not None:
                    delta = delta.masked_fill(~running, 0.0)
                back = torch.bmm(delta, recurrent)
                if pre:
                    back = _times_slope(back, steps[t], p.nonlinearity)
                if running is not None:
                    back = torch.where(running, back, error)
                deltas.append(delta)
                if watch:
                    totals.append(error)
                    backs.append(back)
                error = back
            before = h[block].permute(1, 2, 0, 3)
            delta = torch.stack(deltas[::-1], dim=2)
            if watch and seen:
                total, back = (torch.stack(each[::-1], dim=2) for each in (totals, backs))
                _see(p, watch, seen, group, block, total, delta, back, before, largest)
            delta = _rows(delta)
            d_rec[group].baddbmm_(delta.mT, _rows(before))
            d_in[group].baddbmm_(delta.mT, _rows(inputs[group, :, block]))
            d_b[group] += delta.sum(1)
            if d_inputs is not None:
                d_inputs[group, :, block] = (delta @ p.W_in[group]).unflatten(
                    1, (B, block.stop - block.start)
                )
        d_initial[group] = error
        if seen:
            seen.norms[group, :, 0] = error.double().square().sum(-1).sqrt()
    if seen:
        divisor = seen.active.clamp_min(1)
        seen.omega.div_(divisor)
        seen.omega_gradient.div_(divisor[:, None, None].to(p.W_rec.dtype))
    return Backward(d_inputs, d_rec, d_in, d_b, d_initial, seen)


def _see(
    p: Problem,
    watch: Watch,
    seen: Seen,
    group: slice,
    block: slice,
    error: Tensor,
    delta: Tensor,
    back: Tensor,
    h: Tensor,
    largest: Tensor,
) -> None:
    """Note the norms of a block of steps, ``(r, B, steps, H)``, and add its Omega_k to the sums.

    ``largest``, ``(r, B, 1)``, is that of the blocks after this one, and is brought up to date.
    """
    m2, n2 = error.double().square().sum(-1), back.double().square().sum(-1)
    if p.lengths is not None:
        steps = torch.arange(block.start, block.stop, device=m2.device)
        ended = (steps >= p.lengths[group, None])[:, None]
        m2, n2 = m2.masked_fill(ended, 0.0), n2.masked_fill(ended, 0.0)
    seen.norms[group, :, block.start + 1 : block.stop + 1] = m2.sqrt()
    seen.carried[group, :, block] = n2.sqrt()
    if watch.regulariser is None:
        return
    so_far = torch.cat((m2, largest), -1).flip(-1).cummax(-1).values.flip(-1)
    largest.copy_(so_far[..., :1])
    weighed = watch.weigh(m2, n2, so_far[..., :-1], p.W_rec.dtype)
    seen.omega[group] += weighed.omega.sum((1, 2))
    seen.active[group] += weighed.alive.sum((1, 2))
    factor, lift_m, lift_n = (each[..., None] for each in weighed[2:])
    weighted = factor * (lift_n * back)
    if p.parametrisation == "preactivation":
        weighted = weighted * slope(h, p.nonlinearity)
    seen.omega_gradient[group].baddbmm_(_rows(lift_m * delta).mT, _rows(weighted))


def _groups(p: Problem, steps: int) -> list[slice]:
    """Slices of replicas to work through one after the other; all at once off the CPU."""
    R, B, _, H = p.sizes
    bytes_each = max(1, steps * B * H * p.W_rec.element_size())
    size = R if p.W_rec.device.type != "cpu" else max(1, _GROUP_BYTES // bytes_each)
    return [slice(i, min(i + size, R)) for i in range(0, R, size)]


def _blocks(p: Problem) -> list[slice]:
    """Slices of steps that hold about ``_BLOCK_ROWS`` rows of a batch."""
    _, B, T, _ = p.sizes
    length = max(1, -(-_BLOCK_ROWS // max(B, 1)))
    return [slice(t, min(t + length, T)) for t in range(0, T, length)]


def _drive(p: Problem, inputs: Tensor, group: slice, block: slice) -> Tensor:
    """``W_in u + b`` for the steps of a block, ``(r, B, steps, H)``."""
    rows = torch.baddbmm(p.b[group, None], _rows(inputs[group, :, block]), p.W_in[group].mT)
    return rows.unflatten(1, (p.sizes[1], block.stop - block.start))


def _rows(by_step: Tensor) -> Tensor:
    """``(r, B, T, n)`` as ``(r, B*T, n)``."""
    return by_step.flatten(1, 2)


def _times_slope(error: Tensor, h: Tensor, nonlinearity: str) -> Tensor:
    """``error * f'``, with the slope written in the activation ``h``."""
    if nonlinearity == "tanh":
        return torch.ops.aten.tanh_backward(error, h)
    if nonlinearity == "logistic":
        return torch.ops.aten.sigmoid_backward(error, h)
    return error
