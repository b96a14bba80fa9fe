"""Orbits and Lyapunov exponents on a GPU: a thread for each point, every number in a register.

A program takes 128 points through all steps in one launch and writes only what is kept. tanh and
the logistic function are good to a few units in the last place: the GPU's own instruction for tanh
has 11 bits, and the error of a chaotic orbit grows from there.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 128


def orbit(
    name: str,
    weights: Tensor,
    parameters: Tensor,
    state: Tensor,
    burn_in: int,
    keep: int,
    every: int,
) -> Tensor:
    """The states kept, ``(keep, N, S)``, of a built-in map; arguments contiguous."""
    kept = state.new_empty(keep, *state.mT.shape)
    given = parameters, state, kept, len(state), burn_in, keep, every
    if name == "lstm":
        _launch(_lstm_orbit, len(state), weights, *given)
    else:
        _launch(_one_unit_orbit, len(state), *given)
    return kept.mT


def growth(
    name: str,
    weights: Tensor,
    parameters: Tensor,
    state: Tensor,
    burn_in: int,
    n_steps: int,
    n_exponents: int,
    renormalise: int,
    rounding: float,
) -> tuple[Tensor, Tensor]:
    """Sums of ``log R_kk``, and how often direction ``k`` was lost, both ``(N, n_exponents)``."""
    logs = state.new_empty(n_exponents, len(state), dtype=torch.float64)
    lost = torch.empty_like(logs, dtype=torch.int32)
    given = parameters, state, logs, lost, len(state), burn_in, n_steps, renormalise, rounding
    if name == "lstm":
        _launch(_lstm_growth, len(state), weights, *given, COUNT=n_exponents)
    else:
        _launch(_one_unit_growth, len(state), *given)
    return logs.mT, lost.mT


def _launch(kernel: Any, n: int, *args: Any, **options: int) -> None:
    """Run a kernel over ``n`` points, on the device that holds them."""
    if n:
        with torch.cuda.device_of(args[0]):
            kernel[triton.cdiv(n, _BLOCK),](*args, BLOCK=_BLOCK, **options)


# Counts change from call to call: without do_not_specialize each 1 and each multiple of 16 would
# be compiled for.


@triton.jit(do_not_specialize=["n", "burn_in", "keep", "every"])
def _one_unit_orbit(parameters, state, kept, n, burn_in, keep, every, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < n
    w = tl.load(parameters + 2 * point, inside, 1.0)
    b = tl.load(parameters + 2 * point + 1, inside, 0.0)
    x = tl.load(state + point, inside, 0.0)
    to = kept + point
    steps = burn_in + every
    for _ in range(keep):
        for _ in range(steps):
            x = w * _logistic(x) + b
        tl.store(to, x, inside)
        to += n
        steps = every


@triton.jit(do_not_specialize=["n", "burn_in", "keep", "every"])
def _lstm_orbit(weights, parameters, state, kept, n, burn_in, keep, every, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside, n = point < n, n.to(tl.int64)
    i11, i12, i21, i22, f11, f12, f21, f22 = _eight(weights)
    g11, g12, g21, g22, o11, o12, o21, o22 = _eight(weights + 8)
    s = tl.load(parameters + point, inside, 1.0)
    h1, h2, c1, c2 = _four(state + 4 * point, inside)
    to = kept + point
    steps = burn_in + every
    for _ in range(keep):
        for _ in range(steps):
            x1, c1 = _unit(i11, i12, f11, f12, g11, g12, o11, o12, s, h1, h2, c1)
            h2, c2 = _unit(i21, i22, f21, f22, g21, g22, o21, o22, s, h1, h2, c2)
            h1 = x1
        tl.store(to, h1, inside)
        tl.store(to + n, h2, inside)
        tl.store(to + 2 * n, c1, inside)
        tl.store(to + 3 * n, c2, inside)
        to += 4 * n
        steps = every


@triton.jit(do_not_specialize=["n", "burn_in", "n_steps", "renormalise"])
def _one_unit_growth(  # type: ignore[no-untyped-def]
    parameters,
    state,
    logs,
    lost,
    n,
    burn_in,
    n_steps,
    renormalise,
    rounding,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < n
    w = tl.load(parameters + 2 * point, inside, 1.0)
    b = tl.load(parameters + 2 * point + 1, inside, 0.0)
    x = tl.load(state + point, inside, 0.0)
    for _ in range(burn_in):
        x = w * _logistic(x) + b
    q = tl.full([BLOCK], 1.0, x.dtype)
    total, missed = tl.zeros([BLOCK], tl.float64), tl.zeros([BLOCK], tl.int32)
    for t in range(1, n_steps + 1):
        h = _logistic(x)
        q *= w * (h * _logistic(-x))
        x = w * h + b
        if (t % renormalise == 0) | (t == n_steps):
            length = tl.sqrt(q * q)  # not |q|: every path overflows at the same size
            total += tl.log(length + (length - length)).to(tl.float64)
            missed += (length == 0).to(tl.int32)
            q /= tl.where(length == 0, 1.0, length)
    tl.store(logs + point, total, inside)
    tl.store(lost + point, missed, inside)


@triton.jit(do_not_specialize=["n", "burn_in", "n_steps", "renormalise"])
def _lstm_growth(  # type: ignore[no-untyped-def]
    weights,
    parameters,
    state,
    logs,
    lost,
    n,
    burn_in,
    n_steps,
    renormalise,
    rounding,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside, n = point < n, n.to(tl.int64)
    i11, i12, i21, i22, f11, f12, f21, f22 = _eight(weights)
    g11, g12, g21, g22, o11, o12, o21, o22 = _eight(weights + 8)
    s = tl.load(parameters + point, inside, 1.0)
    h1, h2, c1, c2 = _four(state + 4 * point, inside)
    for _ in range(burn_in):
        x1, c1 = _unit(i11, i12, f11, f12, g11, g12, o11, o12, s, h1, h2, c1)
        h2, c2 = _unit(i21, i22, f21, f22, g21, g22, o21, o22, s, h1, h2, c2)
        h1 = x1
    # The frame is u, v, w, y; a vector that is not asked for is not there.
    zero, one = tl.zeros([BLOCK], s.dtype), tl.full([BLOCK], 1.0, s.dtype)
    none, never = tl.zeros([BLOCK], tl.float64), tl.zeros([BLOCK], tl.int32)
    u1, u2, u3, u4, u_total, u_missed = one, zero, zero, zero, none, never
    if COUNT > 1:
        v1, v2, v3, v4, v_total, v_missed = zero, one, zero, zero, none, never
    if COUNT > 2:
        w1, w2, w3, w4, w_total, w_missed = zero, zero, one, zero, none, never
    if COUNT > 3:
        y1, y2, y3, y4, y_total, y_missed = zero, zero, zero, one, none, never
    for t in range(1, n_steps + 1):
        x1, c1, a11, a12, a1c, b11, b12, b1c = _unit_slopes(
            i11, i12, f11, f12, g11, g12, o11, o12, s, h1, h2, c1
        )
        h2, c2, a21, a22, a2c, b21, b22, b2c = _unit_slopes(
            i21, i22, f21, f22, g21, g22, o21, o22, s, h1, h2, c2
        )
        h1 = x1
        u1, u2, u3, u4 = _image(
            a11, a12, a1c, a21, a22, a2c, b11, b12, b1c, b21, b22, b2c, u1, u2, u3, u4
        )
        if COUNT > 1:
            v1, v2, v3, v4 = _image(
                a11, a12, a1c, a21, a22, a2c, b11, b12, b1c, b21, b22, b2c, v1, v2, v3, v4
            )
        if COUNT > 2:
            w1, w2, w3, w4 = _image(
                a11, a12, a1c, a21, a22, a2c, b11, b12, b1c, b21, b22, b2c, w1, w2, w3, w4
            )
        if COUNT > 3:
            y1, y2, y3, y4 = _image(
                a11, a12, a1c, a21, a22, a2c, b11, b12, b1c, b21, b22, b2c, y1, y2, y3, y4
            )
        if (t % renormalise == 0) | (t == n_steps):
            square = _dot(u1, u2, u3, u4, u1, u2, u3, u4)
            if COUNT > 1:
                square += _dot(v1, v2, v3, v4, v1, v2, v3, v4)
            if COUNT > 2:
                square += _dot(w1, w2, w3, w4, w1, w2, w3, w4)
            if COUNT > 3:
                square += _dot(y1, y2, y3, y4, y1, y2, y3, y4)
            norm = tl.sqrt(square)
            least = rounding * norm + (norm - norm)  # NaN where the frame has overflowed
            u1, u2, u3, u4, u_total, u_missed = _measured(u1, u2, u3, u4, least, u_total, u_missed)
            if COUNT > 1:
                v1, v2, v3, v4 = _without(u1, u2, u3, u4, v1, v2, v3, v4)
                v1, v2, v3, v4, v_total, v_missed = _measured(
                    v1, v2, v3, v4, least, v_total, v_missed
                )
            if COUNT > 2:
                w1, w2, w3, w4 = _without(u1, u2, u3, u4, w1, w2, w3, w4)
                w1, w2, w3, w4 = _without(v1, v2, v3, v4, w1, w2, w3, w4)
                w1, w2, w3, w4, w_total, w_missed = _measured(
                    w1, w2, w3, w4, least, w_total, w_missed
                )
            if COUNT > 3:
                y1, y2, y3, y4 = _without(u1, u2, u3, u4, y1, y2, y3, y4)
                y1, y2, y3, y4 = _without(v1, v2, v3, v4, y1, y2, y3, y4)
                y1, y2, y3, y4 = _without(w1, w2, w3, w4, y1, y2, y3, y4)
                y1, y2, y3, y4, y_total, y_missed = _measured(
                    y1, y2, y3, y4, least, y_total, y_missed
                )
    tl.store(logs + point, u_total, inside)
    tl.store(lost + point, u_missed, inside)
    if COUNT > 1:
        tl.store(logs + n + point, v_total, inside)
        tl.store(lost + n + point, v_missed, inside)
    if COUNT > 2:
        tl.store(logs + 2 * n + point, w_total, inside)
        tl.store(lost + 2 * n + point, w_missed, inside)
    if COUNT > 3:
        tl.store(logs + 3 * n + point, y_total, inside)
        tl.store(lost + 3 * n + point, y_missed, inside)


@triton.jit
def _image(a11, a12, a1c, a21, a22, a2c, b11, b12, b1c, b21, b22, b2c, q1, q2, q3, q4):  # type: ignore[no-untyped-def]
    """A vector times the Jacobian: slopes a of h' and b of c', in h1, h2 and the unit's own c."""
    h1, h2 = a11 * q1 + a12 * q2 + a1c * q3, a21 * q1 + a22 * q2 + a2c * q4
    return h1, h2, b11 * q1 + b12 * q2 + b1c * q3, b21 * q1 + b22 * q2 + b2c * q4


@triton.jit
def _dot(p1, p2, p3, p4, q1, q2, q3, q4):  # type: ignore[no-untyped-def]
    return p1 * q1 + p2 * q2 + p3 * q3 + p4 * q4


@triton.jit
def _without(p1, p2, p3, p4, q1, q2, q3, q4):  # type: ignore[no-untyped-def]
    """The part of q that is orthogonal to the unit vector p."""
    along = _dot(p1, p2, p3, p4, q1, q2, q3, q4)
    return q1 - along * p1, q2 - along * p2, q3 - along * p3, q4 - along * p4


@triton.jit
def _measured(q1, q2, q3, q4, least, total, missed):  # type: ignore[no-untyped-def]
    """q at length 1, with the logarithm of its length added and a loss counted."""
    length = tl.sqrt(_dot(q1, q2, q3, q4, q1, q2, q3, q4))
    total += tl.log(tl.where(length > least, length, least)).to(tl.float64)
    scale = 1 / tl.where(length == 0, 1.0, length)
    return (
        q1 * scale,
        q2 * scale,
        q3 * scale,
        q4 * scale,
        total,
        missed + (length <= least).to(tl.int32),
    )


@triton.jit
def _unit(i1, i2, f1, f2, g1, g2, o1, o2, s, h1, h2, c):  # type: ignore[no-untyped-def]
    """``h', c'`` of one LSTM unit."""
    i, f = _logistic(s * (i1 * h1 + i2 * h2)), _logistic(s * (f1 * h1 + f2 * h2))
    g, o = _tanh(s * (g1 * h1 + g2 * h2)), _logistic(s * (o1 * h1 + o2 * h2))
    c = f * c + i * g
    return o * _tanh(c), c


@triton.jit
def _unit_slopes(i1, i2, f1, f2, g1, g2, o1, o2, s, h1, h2, c):  # type: ignore[no-untyped-def]
    """``h', c'``, the slopes of ``h'`` in ``h1, h2, c``, and those of ``c'``."""
    i, f = _logistic(s * (i1 * h1 + i2 * h2)), _logistic(s * (f1 * h1 + f2 * h2))
    g, o = _tanh(s * (g1 * h1 + g2 * h2)), _logistic(s * (o1 * h1 + o2 * h2))
    di, df = s * g * i * (1 - i), s * c * f * (1 - f)
    dg, do = s * i * (1 - g * g), s * o * (1 - o)
    c = f * c + i * g
    t = _tanh(c)
    dt = o * (1 - t * t)
    c1, c2 = di * i1 + df * f1 + dg * g1, di * i2 + df * f2 + dg * g2
    return o * t, c, dt * c1 + t * do * o1, dt * c2 + t * do * o2, dt * f, c1, c2, f


@triton.jit
def _logistic(x):  # type: ignore[no-untyped-def]
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1 + e)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    """Lambert's continued fraction to depth 8 (1e-17) near zero, where 1 - 2/(e^2x + 1) cancels."""
    a, z = tl.abs(x), x * x
    over = 2027025 + z * (270270 + z * (6930 + z * 36))
    under = 2027025 + z * (945945 + z * (51975 + z * (630 + z)))
    far = 1 - 2 / (tl.exp(2 * a) + 1)
    return tl.where(a < 0.625, x * (over / under), tl.where(x < 0, -far, far))


@triton.jit
def _four(at, inside):  # type: ignore[no-untyped-def]
    a, b = tl.load(at, inside, 0.0), tl.load(at + 1, inside, 0.0)
    return a, b, tl.load(at + 2, inside, 0.0), tl.load(at + 3, inside, 0.0)


@triton.jit
def _eight(at):  # type: ignore[no-untyped-def]
    a, b, c, d = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)
    return a, b, c, d, tl.load(at + 4), tl.load(at + 5), tl.load(at + 6), tl.load(at + 7)
