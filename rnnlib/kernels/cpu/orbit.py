"""Orbits and Lyapunov exponents compiled for the CPU, 64 points at a time in the first cache.

A block of points is a set of rows of 64 numbers, one row for each variable, and every loop over
arithmetic runs along such rows. 64 is a whole number of vector registers whatever their width, so
no point falls into the scalar remainder of a loop, where the last bit would differ: what a point
gets depends neither on its place in a block nor on the points beside it. What the last block
computes beyond the last point is not stored.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from rnnlib.kernels.backends import empty
from rnnlib.kernels.cpu.elementary import logistic, logistic_parts, tanh, tanh_parts

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
    "nogil": True,
}

_LANES = 64

_ONE_UNIT, _LSTM = 0, 1
_MAP = {"one-unit": _ONE_UNIT, "lstm": _LSTM}

# A product of lengths is carried in float64 for so many steps before its logarithm is taken.
_LOG_EVERY = 8


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
    kept = empty((keep, *state.mT.shape), state.dtype)
    _each_block(_orbit, name, weights, parameters, state, burn_in, every, kept.numpy())
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
    logs = torch.empty(n_exponents, len(state), dtype=torch.float64)
    lost = torch.empty(n_exponents, len(state), dtype=torch.int64)
    numbers = burn_in, n_steps, renormalise, rounding, logs.numpy(), lost.numpy()
    _each_block(_growth, name, weights, parameters, state, *numbers)
    return logs.mT, lost.mT


def _each_block(
    work: Any, name: str, weights: Tensor, parameters: Tensor, state: Tensor, *args: Any
) -> None:
    """Run ``work`` over the blocks of points: one fork and one join a call."""
    n_blocks = -(-len(state) // _LANES)
    given = (_MAP[name], tuple(weights.numpy().ravel()), parameters.numpy(), state.numpy(), *args)
    n = min(torch.get_num_threads(), n_blocks)
    if n <= 1:
        work(0, n_blocks, *given)
        return
    edges = np.linspace(0, n_blocks, n + 1).astype(int).tolist()
    with ThreadPoolExecutor(n) as pool:
        for done in [pool.submit(work, *ends, *given) for ends in pairwise(edges)]:
            done.result()


@njit(**_OPTIONS)
def _orbit(
    first: int,
    stop: int,
    kind: int,
    weights: Any,
    parameters: Any,
    state: Any,
    burn_in: int,
    every: int,
    kept: Any,
) -> None:
    z, p = _rows(state), _rows(parameters)
    flat_z, flat_p = z.reshape(z.size), p.reshape(p.size)
    for block in range(first, stop):
        start = block * _LANES
        _load(state, start, z)
        _load(parameters, start, p)
        steps = burn_in + every
        for k in range(len(kept)):
            _advance(kind, steps, weights, flat_p, flat_z)
            _store(z, start, kept[k])
            steps = every


@njit(**_OPTIONS)
def _growth(
    first: int,
    stop: int,
    kind: int,
    weights: Any,
    parameters: Any,
    state: Any,
    burn_in: int,
    n_steps: int,
    renormalise: int,
    rounding: float,
    logs: Any,
    lost: Any,
) -> None:
    size, count = state.shape[1], len(logs)
    z, p = _rows(state), _rows(parameters)
    jacobian = np.zeros((size, size, _LANES), state.dtype)
    flat_z, flat_p, flat_j = z.reshape(z.size), p.reshape(p.size), jacobian.reshape(jacobian.size)
    frame = np.zeros((count, size, _LANES), state.dtype)
    images = np.zeros_like(frame)
    sums, products = np.zeros((count, _LANES)), np.zeros((count, _LANES))
    misses = np.zeros((count, _LANES), lost.dtype)
    least = state.dtype.type(rounding)
    for block in range(first, stop):
        start = block * _LANES
        _load(state, start, z)
        _load(parameters, start, p)
        _advance(kind, burn_in, weights, flat_p, flat_z)
        frame[:] = 0
        for k in range(count):
            frame[k, k] = 1
        sums[:], products[:], misses[:] = 0, 1, 0
        logged = 0
        for t in range(1, n_steps + 1):
            if kind == _LSTM:
                _lstm_jacobian(weights, flat_p, flat_z, flat_j)
            else:
                _one_unit_jacobian(flat_p, flat_z, flat_j)
            _images(jacobian, frame, images)
            frame, images = images, frame
            if t % renormalise == 0 or t == n_steps:
                _orthonormalise(frame, least, products, misses)
                if t - logged >= _LOG_EVERY or t == n_steps:
                    _take_logs(products, sums)
                    logged = t
        _store(sums, start, logs)
        _store(misses, start, lost)


@njit(**_OPTIONS)
def _advance(kind: int, steps: int, weights: Any, p: Any, z: Any) -> None:
    if kind == _LSTM:
        for _ in range(steps):
            _lstm(weights, p, z)
    else:
        for _ in range(steps):
            _one_unit(p, z)


@njit(**_OPTIONS)
def _one_unit(p: Any, z: Any) -> None:
    n = _LANES
    for j in range(n):
        z[j] = p[j] * logistic(z[j]) + p[n + j]


@njit(**_OPTIONS)
def _one_unit_jacobian(p: Any, z: Any, jacobian: Any) -> None:
    """The Jacobian at ``z``, and the step from there."""
    n = _LANES
    for j in range(n):
        h = logistic(z[j])
        jacobian[j] = p[j] * (h * logistic(-z[j]))
        z[j] = p[j] * h + p[n + j]


@njit(**_OPTIONS)
def _lstm(weights: Any, p: Any, z: Any) -> None:
    i11, i12, i21, i22, f11, f12, f21, f22, g11, g12, g21, g22, o11, o12, o21, o22 = weights
    n = _LANES
    for j in range(n):
        s, h1, h2, c1, c2 = p[j], z[j], z[n + j], z[2 * n + j], z[3 * n + j]
        h, c1 = _forward(i11, i12, f11, f12, g11, g12, o11, o12, s, h1, h2, c1)
        z[n + j], c2 = _forward(i21, i22, f21, f22, g21, g22, o21, o22, s, h1, h2, c2)
        z[j], z[2 * n + j], z[3 * n + j] = h, c1, c2


@njit(forceinline=True, **_OPTIONS)
def _forward(
    i1: Any,
    i2: Any,
    f1: Any,
    f2: Any,
    g1: Any,
    g2: Any,
    o1: Any,
    o2: Any,
    s: Any,
    h1: Any,
    h2: Any,
    c: Any,
) -> Any:
    """``h'`` and ``c'`` of one unit, with two divisions instead of five."""
    i_n, i_d = logistic_parts(s * (i1 * h1 + i2 * h2))
    f_n, f_d = logistic_parts(s * (f1 * h1 + f2 * h2))
    g_n, g_d = tanh_parts(s * (g1 * h1 + g2 * h2))
    o_n, o_d = logistic_parts(s * (o1 * h1 + o2 * h2))
    both = i_d * g_d
    c = (f_n * c * both + i_n * g_n * f_d) / (f_d * both)
    t_n, t_d = tanh_parts(c)
    return (o_n * t_n) / (o_d * t_d), c


@njit(**_OPTIONS)
def _lstm_jacobian(weights: Any, p: Any, z: Any, jacobian: Any) -> None:
    """The Jacobian at ``z``, and the step from there."""
    i11, i12, i21, i22, f11, f12, f21, f22, g11, g12, g21, g22, o11, o12, o21, o22 = weights
    first = i11, i12, f11, f12, g11, g12, o11, o12
    second = i21, i22, f21, f22, g21, g22, o21, o22
    n, one = _LANES, z.dtype.type(1)
    for j in range(n):
        s, h1, h2 = p[j], z[j], z[n + j]
        h, c, by_h1, by_h2, by_c, c_h1, c_h2, c_c = _unit(first, one, s, h1, h2, z[2 * n + j])
        z[j], z[2 * n + j] = h, c
        jacobian[j], jacobian[n + j], jacobian[2 * n + j] = by_h1, by_h2, by_c
        jacobian[8 * n + j], jacobian[9 * n + j], jacobian[10 * n + j] = c_h1, c_h2, c_c
        h, c, by_h1, by_h2, by_c, c_h1, c_h2, c_c = _unit(second, one, s, h1, h2, z[3 * n + j])
        z[n + j], z[3 * n + j] = h, c
        jacobian[4 * n + j], jacobian[5 * n + j], jacobian[7 * n + j] = by_h1, by_h2, by_c
        jacobian[12 * n + j], jacobian[13 * n + j], jacobian[15 * n + j] = c_h1, c_h2, c_c


@njit(forceinline=True, **_OPTIONS)
def _unit(w: Any, one: Any, s: Any, h1: Any, h2: Any, c: Any) -> Any:
    """``h'``, ``c'`` of one unit, the slopes of ``h'`` in ``h1, h2, c``, and those of ``c'``."""
    i1, i2, f1, f2, g1, g2, o1, o2 = w
    i, f = logistic(s * (i1 * h1 + i2 * h2)), logistic(s * (f1 * h1 + f2 * h2))
    g, o = tanh(s * (g1 * h1 + g2 * h2)), logistic(s * (o1 * h1 + o2 * h2))
    di, df = s * g * i * (one - i), s * c * f * (one - f)
    dg, do = s * i * (one - g * g), s * o * (one - o)
    c = f * c + i * g
    t = tanh(c)
    dt = o * (one - t * t)
    c1, c2 = di * i1 + df * f1 + dg * g1, di * i2 + df * f2 + dg * g2
    return o * t, c, dt * c1 + t * do * o1, dt * c2 + t * do * o2, dt * f, c1, c2, f


@njit(**_OPTIONS)
def _images(jacobian: Any, frame: Any, images: Any) -> None:
    """The images under the Jacobian of the vectors of a frame."""
    for k in range(len(frame)):
        for i in range(len(jacobian)):
            image, entry, v = images[k, i], jacobian[i, 0], frame[k, 0]
            for j in range(_LANES):
                image[j] = entry[j] * v[j]
            for l in range(1, len(jacobian)):
                entry, v = jacobian[i, l], frame[k, l]
                for j in range(_LANES):
                    image[j] += entry[j] * v[j]


@njit(**_OPTIONS)
def _dot(a: Any, b: Any, result: Any) -> None:
    for j in range(_LANES):
        result[j] = 0
    for i in range(len(a)):
        x, y = a[i], b[i]
        for j in range(_LANES):
            result[j] += x[j] * y[j]


@njit(**_OPTIONS)
def _orthonormalise(frame: Any, rounding: Any, products: Any, misses: Any) -> None:
    """Modified Gram-Schmidt; multiply the products by the lengths, count the directions lost."""
    one = frame.dtype.type(1)
    square, least = np.empty(_LANES, frame.dtype), np.zeros(_LANES, frame.dtype)
    for k in range(len(frame)):
        _dot(frame[k], frame[k], square)
        for j in range(_LANES):
            least[j] += square[j]
    for j in range(_LANES):
        norm = np.sqrt(least[j])
        least[j] = rounding * norm + (norm - norm)  # NaN where the frame has overflowed
    for k in range(len(frame)):
        _dot(frame[k], frame[k], square)
        product, miss = products[k], misses[k]
        for j in range(_LANES):
            length = np.sqrt(square[j])
            product[j] *= length if length > least[j] else least[j]
            miss[j] += length <= least[j]
            square[j] = one if length == 0 else one / length
        for i in range(frame.shape[1]):
            q = frame[k, i]
            for j in range(_LANES):
                q[j] *= square[j]
        for m in range(k + 1, len(frame)):
            _dot(frame[k], frame[m], square)
            for i in range(frame.shape[1]):
                q, v = frame[k, i], frame[m, i]
                for j in range(_LANES):
                    v[j] -= square[j] * q[j]


@njit(**_OPTIONS)
def _take_logs(products: Any, sums: Any) -> None:
    for k in range(len(products)):
        for j in range(_LANES):
            sums[k, j] += np.log(products[k, j])
            products[k, j] = 1


@njit(**_OPTIONS)
def _rows(table: Any) -> Any:
    """Room for a block of points of a table ``(N, n)``: ``(n, 64)``."""
    return np.zeros((table.shape[1], _LANES), table.dtype)


@njit(**_OPTIONS)
def _load(table: Any, start: int, rows: Any) -> None:
    for j in range(min(_LANES, len(table) - start)):
        for i in range(len(rows)):
            rows[i, j] = table[start + j, i]


@njit(**_OPTIONS)
def _store(rows: Any, start: int, columns: Any) -> None:
    # Through slices, which settle the sign of every index: that is what LLVM vectorises.
    for i in range(len(rows)):
        row, part = rows[i], columns[i, start : start + _LANES]
        for j in range(len(part)):
            part[j] = row[j]
