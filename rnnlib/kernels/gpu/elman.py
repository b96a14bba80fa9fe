"""Elman networks by the stack as Triton kernels: one program is a replica on a tile of its batch.

A program keeps ``W_rec`` in shared memory and the state, the error and the gradients of the
weights in registers for all steps; per step it reads inputs and writes states, or the reverse.
Products are full float32, not TF32: whether gradients vanish must not hang on 10 bits. Tiles of a
batch leave their gradients side by side, to be added in a fixed order, and the size of a tile
depends on no other replica: what happens to a replica is the same in any company, bit for bit.
The regulariser of `rnnlib.kernels.elman.Errors` is weighed by torch, from the norms that the
gradients' pass saw, and a second pass back sums its derivative.

What does not fit (see `_fits`) takes the path of `rnnlib.kernels.elman_torch`.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rnnlib.kernels import elman_torch
from rnnlib.kernels.backends import interpreted
from rnnlib.kernels.elman import Backward, Problem, Seen, Watch

ROWS = 16
"""Sequences of a tile: the fewest that ``tl.dot`` takes in every Triton 3."""

LARGEST = 128
"""Most units, and most inputs, that the kernels take."""

# Of so many inputs a program can keep the gradients; further programs see to the others.
_BLOCK_INPUTS = 64

_PRECISION = tl.constexpr("ieee")


def forward(p: Problem, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The states asked for, and ``h_0 .. h_T`` as ``(R, T+1, B, H)`` if they must be kept."""
    if not _fits(p):
        return elman_torch.forward(p, keep)
    R, B, T, H = p.sizes
    pre = p.parametrisation == "preactivation"
    states: Any = None
    outputs: Any = None
    if keep or not (p.last or pre):
        states = p.W_rec.new_empty(R, T + 1, B, H)
    if p.last or pre:
        outputs = p.W_rec.new_empty((R, B, H) if p.last else (R, T, B, H))
    with torch.cuda.device_of(p.W_rec):
        _forward[_grid(p)](
            p.inputs,
            p.W_rec.mT.contiguous(),
            p.W_in.mT.contiguous(),
            p.b.contiguous(),
            p.initial.contiguous(),
            _lengths(p),
            states,
            outputs,
            **_described(p),
        )
    if not p.last:
        outputs = (outputs if pre else states[:, 1:]).permute(0, 2, 1, 3)
    return outputs, (states,) if keep else ()


def backward(
    p: Problem, kept: tuple[Tensor, ...], grad: Tensor, *, want_inputs: bool, watch: Watch | None
) -> Backward:
    """The gradients of everything, and what ``watch`` asks to be seen on the way."""
    if not _fits(p):
        return elman_torch.backward(p, kept, grad, want_inputs=want_inputs, watch=watch)
    R, B, _, H = p.sizes
    n_inputs = p.W_in.shape[2]
    if p.last:
        grad = grad[:, :, None]
    way_back = (kept[0], p.W_rec.contiguous(), grad, _lengths(p))
    described = _described(p) | dict(zip(("g_r", "g_b", "g_t", "g_h"), grad.stride(), strict=True))
    described["INPUTS"] = min(described["INPUTS"], _BLOCK_INPUTS)
    # W_rec, W_in and b side by side, so that there is one array to add up.
    d_weights = p.W_rec.new_empty(R, described["tiles"], H, H + n_inputs + 1)
    d_initial = p.W_rec.new_empty(R, B, H)
    want_inputs = want_inputs and p.inputs.is_floating_point()
    d_inputs = p.W_rec.new_zeros(p.inputs.shape) if want_inputs else None
    seen = watch.blank(p) if watch else None
    with torch.cuda.device_of(p.W_rec):
        _gradients[(*_grid(p), triton.cdiv(n_inputs, described["INPUTS"]))](
            *way_back,
            p.inputs,
            p.W_in.contiguous(),
            d_weights,
            d_initial,
            d_inputs,
            seen.norms if seen else None,
            seen.carried if seen else None,
            **described,
        )
        d_rec, d_in, d_b = _total(d_weights).split((H, n_inputs, 1), dim=-1)
        if watch and seen:
            if watch.regulariser:
                seen = _weighed(p, watch, seen, way_back, described)
            seen.norms.sqrt_()
            seen.carried.sqrt_()
    return Backward(d_inputs, d_rec, d_in, d_b[..., 0], d_initial, seen)


def _weighed(
    p: Problem, watch: Watch, seen: Seen, way_back: tuple[Any, ...], described: dict[str, Any]
) -> Seen:
    """Omega and its derivative, from ``seen`` whose norms are still squares."""
    R, _, _, H = p.sizes
    m2, n2 = seen.norms[..., 1:], seen.carried
    largest = m2.flip(-1).cummax(-1).values.flip(-1)
    weighed = watch.weigh(m2, n2, largest, p.W_rec.dtype)
    weighed = weighed._replace(alive=weighed.alive.double())
    sums = seen.omega.new_empty(R, described["tiles"], 2)
    gradient = p.W_rec.new_empty(R, described["tiles"], H, H)
    each = (tensor.contiguous() for tensor in weighed)
    _omega[_grid(p)](*way_back, *each, sums, gradient, **described)
    omega, active = _total(sums).unbind(-1)
    divisor = active.clamp_min(1)
    return seen._replace(
        omega=omega / divisor,
        active=active,
        omega_gradient=_total(gradient) / divisor[:, None, None].to(gradient.dtype),
    )


def _fits(p: Problem) -> bool:
    """Whether the kernels take these sizes, and the device has the shared memory for them."""
    n_inputs = p.W_in.shape[2]
    if p.W_rec.dtype != torch.float32 or not p.inputs.numel() or not p.initial.numel():
        return False
    if max(p.sizes[3], n_inputs) > LARGEST:
        return False
    if interpreted():
        return True
    device = triton.runtime.driver.active.utils.get_device_properties(p.W_rec.device.index)
    return _shared_bytes(_padded(p.sizes[3]), _padded(n_inputs)) <= device["max_shared_mem"]


def _shared_bytes(units: int, inputs: int) -> int:
    """At least what the compiler takes: the weights, and tiles on their way between threads."""
    return 4 * (units + 3 * ROWS) * (units + inputs)


def _padded(n: int) -> int:
    return max(16, triton.next_power_of_2(n))


def _grid(p: Problem) -> tuple[int]:
    R, B, _, _ = p.sizes
    return (R * triton.cdiv(B, ROWS),)


def _lengths(p: Problem) -> Tensor | None:
    return None if p.lengths is None else p.lengths.contiguous()


def _described(p: Problem) -> dict[str, Any]:
    """Sizes, strides and choices, which all passes over the steps take."""
    _, B, T, H = p.sizes
    symbols = not p.inputs.is_floating_point()
    u = p.inputs[..., None] if symbols else p.inputs
    units = _padded(H)
    return {
        **dict(zip(("u_r", "u_b", "u_t", "u_i"), u.stride(), strict=True)),
        **{"B": B, "T": T, "H": H, "I": p.W_in.shape[2], "tiles": triton.cdiv(B, ROWS)},
        "NONLINEARITY": p.nonlinearity,
        "PRE": p.parametrisation == "preactivation",
        "SYMBOLS": symbols,
        "LAST": p.last,
        "ROWS": ROWS,
        "UNITS": units,
        "INPUTS": _padded(p.W_in.shape[2]),
        "num_warps": units // 16,  # a thread for every eight numbers of a tile
        "num_stages": 2,
        "enable_fp_fusion": True,
    }


def _total(parts: Tensor) -> Tensor:
    """``(R, tiles, ...)`` summed over tiles, the first tile first."""
    R, tiles = parts.shape[:2]
    if tiles == 1:
        return parts[:, 0]
    total = parts.new_empty(R, *parts.shape[2:])
    n = total[0].numel()
    _add_tiles[(R, triton.cdiv(n, 256))](parts, total, tiles, n, BLOCK=256)
    return total


@triton.jit
def _tanh(x: tl.tensor) -> tl.tensor:
    """``x`` less a remainder (Lambert's continued fraction), or 1 - 2/(exp(2x) + 1) from 0.8 on."""
    size = tl.abs(x)
    small = size < 0.8
    z = x * x
    top = tl.where(small, x * z * (315 + z * 14), 2.0)
    # Written so that NaN stays NaN.
    grown = tl.exp(2 * tl.where(size > 20, 20.0, size))
    ratio = top / tl.where(small, 945 + z * (420 + z * 15), grown + 1)
    return tl.where(small, x - ratio, tl.where(x < 0, ratio - 1, 1 - ratio))


@triton.jit
def _activate(a: tl.tensor, NONLINEARITY: tl.constexpr) -> tl.tensor:
    if NONLINEARITY == "tanh":
        a = _tanh(a)
    elif NONLINEARITY == "logistic":
        a = 1 / (1 + tl.exp(-a))
    return a


@triton.jit
def _times_slope(error: tl.tensor, h: tl.tensor, NONLINEARITY: tl.constexpr) -> tl.tensor:
    """Errors times ``f'``, written in the activations ``h``."""
    if NONLINEARITY == "tanh":
        error = error * (1 - h * h)
    elif NONLINEARITY == "logistic":
        error = error * (h * (1 - h))
    return error


@triton.jit
def _length(lengths: tl.tensor, r: tl.tensor, T: tl.tensor) -> tl.tensor:
    return T if lengths is None else tl.load(lengths + r).to(tl.int32)


# Units and sequences that only fill up a tile are masked after each product, since zero times a
# state that has exploded is not zero. The mask also keeps the compiler from starting the sum with
# what is added to it: such a sum waits, with both factors in registers, and there are too few (64
# units: about 120 a thread as it is, and more than the 255 there are the other way).


@triton.jit
def _drive(
    inputs: tl.tensor,
    known: tl.tensor,
    W_in: tl.tensor,
    w_in: tl.tensor,
    inside: tl.tensor,
    bias: tl.tensor,
    H: tl.tensor,
    I: tl.tensor,
    SYMBOLS: tl.constexpr,
    UNITS: tl.constexpr,
) -> tl.tensor:
    """``W_in u + b`` of one step; NaN for a symbol that there is not."""
    if SYMBOLS:
        u = tl.load(inputs, mask=known, other=0)
        exists = (u >= 0) & (u < I)
        at = u[:, None] * H + tl.arange(0, UNITS)[None, :]
        drive = tl.load(W_in + at, mask=inside & exists[:, None], other=0.0)
        drive += tl.where(exists, 0.0, float("nan"))[:, None]
    else:
        u = tl.load(inputs, mask=known, other=0.0)
        drive = tl.where(inside, tl.dot(u, w_in, input_precision=_PRECISION), 0.0)
    return drive + bias


@triton.jit(do_not_specialize=["T", "u_r"])
def _forward(
    inputs: tl.tensor,
    W_rec: tl.tensor,
    W_in: tl.tensor,
    b: tl.tensor,
    initial: tl.tensor,
    lengths: tl.tensor,
    states: tl.tensor,
    outputs: tl.tensor,
    u_r: tl.tensor,
    u_b: tl.tensor,
    u_t: tl.tensor,
    u_i: tl.tensor,
    B: tl.tensor,
    T: tl.tensor,
    H: tl.tensor,
    I: tl.tensor,
    tiles: tl.tensor,
    NONLINEARITY: tl.constexpr,
    PRE: tl.constexpr,
    SYMBOLS: tl.constexpr,
    LAST: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INPUTS: tl.constexpr,
) -> None:
    """All steps forward. The weights come transposed, ``(R, H, H)`` and ``(R, I, H)``."""
    r = (tl.program_id(0) // tiles).to(tl.int64)
    rows = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    units = tl.arange(0, UNITS)
    i = tl.arange(0, INPUTS)
    inside = (rows[:, None] < B) & (units[None, :] < H)
    at = rows[:, None] * H + units[None, :]
    square = (units[:, None] < H) & (units[None, :] < H)
    w = tl.load(W_rec + (r * H + units[:, None]) * H + units[None, :], mask=square, other=0.0)
    bias = tl.load(b + r * H + units, mask=units < H, other=0.0)[None, :]
    W_in += r * I * H
    if SYMBOLS:
        w_in = 0.0
        inputs += r * u_r + rows * u_b
        known = rows < B
    else:
        filled = (i[:, None] < I) & (units[None, :] < H)
        w_in = tl.load(W_in + i[:, None] * H + units[None, :], mask=filled, other=0.0)
        inputs += r * u_r + rows[:, None] * u_b + i[None, :].to(tl.int64) * u_i
        known = (rows[:, None] < B) & (i[None, :] < I)
    length = _length(lengths, r, T)
    step = B * H
    if states is not None:
        states += r * (T + 1) * step
    if outputs is not None:
        outputs += r * step if LAST else r * T * step

    x = tl.load(initial + r * step + at, mask=inside, other=0.0)
    drive = _drive(inputs, known, W_in, w_in, inside, bias, H, I, SYMBOLS, UNITS)
    for t in range(length):
        h = _activate(x, NONLINEARITY) if PRE else x
        if states is not None:
            tl.store(states + at, h, mask=inside)
            states += step
        a = tl.where(inside, tl.dot(h, w, input_precision=_PRECISION), 0.0) + drive
        # One step ahead, so that nothing waits for memory; after the last step, that one again.
        inputs += tl.where(t + 1 < T, u_t, 0)
        drive = _drive(inputs, known, W_in, w_in, inside, bias, H, I, SYMBOLS, UNITS)
        x = a if PRE else _activate(a, NONLINEARITY)
        if PRE and not LAST:
            tl.store(outputs + at, x, mask=inside)
            outputs += step
    if states is not None:
        h = _activate(x, NONLINEARITY) if PRE else x
        tl.store(states + at, h, mask=inside)
    if LAST:
        tl.store(outputs + at, x, mask=inside)
    else:
        nothing = tl.zeros((ROWS, UNITS), tl.float32)
        for _ in range(length, T):
            if PRE:
                tl.store(outputs + at, nothing, mask=inside)
                outputs += step
            else:
                states += step
                tl.store(states + at, nothing, mask=inside)


@triton.jit
def _step_back(
    error: tl.tensor,
    after: tl.tensor,
    before: tl.tensor,
    w: tl.tensor,
    inside: tl.tensor,
    NONLINEARITY: tl.constexpr,
    PRE: tl.constexpr,
) -> tl.tensor:
    """The error at the argument of ``f``, and the error one step earlier."""
    delta = error if PRE else _times_slope(error, after, NONLINEARITY)
    back = tl.where(inside, tl.dot(delta, w, input_precision=_PRECISION), 0.0)
    return delta, _times_slope(back, before, NONLINEARITY) if PRE else back


@triton.jit
def _square_norm(error: tl.tensor) -> tl.tensor:
    """In float64, so that an error of 1e-30 still has a norm."""
    e = error.to(tl.float64)
    return tl.sum(e * e, 1)


@triton.jit(do_not_specialize=["T", "u_r", "g_r"])
def _gradients(
    states: tl.tensor,
    W_rec: tl.tensor,
    grad: tl.tensor,
    lengths: tl.tensor,
    inputs: tl.tensor,
    W_in: tl.tensor,
    d_weights: tl.tensor,
    d_initial: tl.tensor,
    d_inputs: tl.tensor,
    norms: tl.tensor,
    carried: tl.tensor,
    g_r: tl.tensor,
    g_b: tl.tensor,
    g_t: tl.tensor,
    g_h: tl.tensor,
    u_r: tl.tensor,
    u_b: tl.tensor,
    u_t: tl.tensor,
    u_i: tl.tensor,
    B: tl.tensor,
    T: tl.tensor,
    H: tl.tensor,
    I: tl.tensor,
    tiles: tl.tensor,
    NONLINEARITY: tl.constexpr,
    PRE: tl.constexpr,
    SYMBOLS: tl.constexpr,
    LAST: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INPUTS: tl.constexpr,
) -> None:
    """All steps back, with every gradient. Into ``norms`` and ``carried`` go squares.

    Further programs see to further inputs: they walk the same steps and write the rest again.
    """
    r = (tl.program_id(0) // tiles).to(tl.int64)
    rows = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    units = tl.arange(0, UNITS)
    i = tl.program_id(1) * INPUTS + tl.arange(0, INPUTS)
    there = rows < B
    inside = there[:, None] & (units[None, :] < H)
    square = (units[:, None] < H) & (units[None, :] < H)
    filled = (units[:, None] < H) & (i[None, :] < I)
    known = there[:, None] & (i[None, :] < I)
    w = tl.load(W_rec + (r * H + units[:, None]) * H + units[None, :], mask=square, other=0.0)
    if d_inputs is not None:
        w_in = tl.load(W_in + (r * H + units[:, None]) * I + i[None, :], mask=filled, other=0.0)
        d_inputs += (r * B + rows[:, None]) * T * I + i[None, :]
    if SYMBOLS:
        inputs += r * u_r + rows * u_b
    else:
        inputs += r * u_r + rows[:, None] * u_b + i[None, :].to(tl.int64) * u_i
    grad += r * g_r + rows[:, None] * g_b + units[None, :].to(tl.int64) * g_h
    at = rows[:, None] * H + units[None, :]
    step = B * H
    length = _length(lengths, r, T)
    states += (r * (T + 1) + length) * step + at

    after = tl.load(states, mask=inside, other=0.0)
    error = tl.zeros((ROWS, UNITS), tl.float32)
    if LAST:
        error += tl.load(grad, mask=inside, other=0.0)
    d_rec = tl.zeros((UNITS, UNITS), tl.float32)
    d_in = tl.zeros((UNITS, INPUTS), tl.float32)
    d_b = tl.zeros((ROWS, UNITS), tl.float32)
    for k in range(length):
        t = (length - 1 - k).to(tl.int64)
        if not LAST:
            error += tl.load(grad + t * g_t, mask=inside, other=0.0)
        states -= step
        before = tl.load(states, mask=inside, other=0.0)
        delta, back = _step_back(error, after, before, w, inside, NONLINEARITY, PRE)
        turned = tl.trans(delta)
        d_rec = tl.dot(turned, before, d_rec, input_precision=_PRECISION)
        if SYMBOLS:
            symbol = tl.load(inputs + t * u_t, mask=there, other=0)
            u = tl.where(symbol[:, None] == i[None, :], 1.0, 0.0)
        else:
            u = tl.load(inputs + t * u_t, mask=known, other=0.0)
        d_in = tl.dot(turned, u, d_in, input_precision=_PRECISION)
        d_b += delta
        if d_inputs is not None:
            d_u = tl.dot(delta, w_in, input_precision=_PRECISION)
            tl.store(d_inputs + t * I, d_u, mask=known)
        if norms is not None:
            tl.store(norms + (r * B + rows) * (T + 1) + t + 1, _square_norm(error), mask=there)
            tl.store(carried + (r * B + rows) * T + t, _square_norm(back), mask=there)
        error = back
        after = before
    if norms is not None:
        tl.store(norms + (r * B + rows) * (T + 1), _square_norm(error), mask=there)
    tl.store(d_initial + r * step + at, error, mask=inside)
    d_weights += (tl.program_id(0).to(tl.int64) * H + units[:, None]) * (H + I + 1)
    tl.store(d_weights + units[None, :], d_rec, mask=square)
    tl.store(d_weights + H + i[None, :], d_in, mask=filled)
    tl.store(d_weights + H + I, tl.sum(d_b, 0)[:, None], mask=units[:, None] < H)


@triton.jit(do_not_specialize=["T", "u_r", "g_r"])
def _omega(
    states: tl.tensor,
    W_rec: tl.tensor,
    grad: tl.tensor,
    lengths: tl.tensor,
    omega: tl.tensor,
    alive: tl.tensor,
    factor: tl.tensor,
    lift_m: tl.tensor,
    lift_n: tl.tensor,
    sums: tl.tensor,
    gradient: tl.tensor,
    g_r: tl.tensor,
    g_b: tl.tensor,
    g_t: tl.tensor,
    g_h: tl.tensor,
    u_r: tl.tensor,
    u_b: tl.tensor,
    u_t: tl.tensor,
    u_i: tl.tensor,
    B: tl.tensor,
    T: tl.tensor,
    H: tl.tensor,
    I: tl.tensor,
    tiles: tl.tensor,
    NONLINEARITY: tl.constexpr,
    PRE: tl.constexpr,
    SYMBOLS: tl.constexpr,
    LAST: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INPUTS: tl.constexpr,
) -> None:
    """All steps back once more: sums of Omega_k and of its derivative, as `Weighed` has it."""
    r = (tl.program_id(0) // tiles).to(tl.int64)
    rows = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    units = tl.arange(0, UNITS)
    there = rows < B
    inside = there[:, None] & (units[None, :] < H)
    square = (units[:, None] < H) & (units[None, :] < H)
    w = tl.load(W_rec + (r * H + units[:, None]) * H + units[None, :], mask=square, other=0.0)
    grad += r * g_r + rows[:, None] * g_b + units[None, :].to(tl.int64) * g_h
    step = B * H
    length = _length(lengths, r, T)
    states += (r * (T + 1) + length) * step + rows[:, None] * H + units[None, :]

    after = tl.load(states, mask=inside, other=0.0)
    error = tl.zeros((ROWS, UNITS), tl.float32)
    if LAST:
        error += tl.load(grad, mask=inside, other=0.0)
    total = tl.zeros((ROWS,), tl.float64)
    active = tl.zeros((ROWS,), tl.float64)
    d_omega = tl.zeros((UNITS, UNITS), tl.float32)
    for k in range(length):
        t = (length - 1 - k).to(tl.int64)
        if not LAST:
            error += tl.load(grad + t * g_t, mask=inside, other=0.0)
        states -= step
        before = tl.load(states, mask=inside, other=0.0)
        delta, back = _step_back(error, after, before, w, inside, NONLINEARITY, PRE)
        here = (r * B + rows) * T + t
        total += tl.load(omega + here, mask=there, other=0.0)
        active += tl.load(alive + here, mask=there, other=0.0)
        weighted = tl.load(lift_n + here, mask=there, other=0.0)[:, None] * back
        weighted *= tl.load(factor + here, mask=there, other=0.0)[:, None]
        if PRE:
            weighted = _times_slope(weighted, before, NONLINEARITY)
        lifted = tl.load(lift_m + here, mask=there, other=0.0)[:, None] * delta
        d_omega = tl.dot(tl.trans(lifted), weighted, d_omega, input_precision=_PRECISION)
        error = back
        after = before
    program = tl.program_id(0).to(tl.int64)
    tl.store(sums + 2 * program, tl.sum(total, 0))
    tl.store(sums + 2 * program + 1, tl.sum(active, 0))
    gradient += (program * H + units[:, None]) * H + units[None, :]
    tl.store(gradient, d_omega, mask=square)


@triton.jit
def _add_tiles(
    parts: tl.tensor, total: tl.tensor, tiles: tl.tensor, n: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """``(R, tiles, n)`` to ``(R, n)``."""
    r = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    parts += r * tiles * n + at
    result = tl.load(parts, mask=at < n, other=0.0)
    for _ in range(1, tiles):
        parts += n
        result += tl.load(parts, mask=at < n, other=0.0)
    tl.store(total + r * n + at, result, mask=at < n)
