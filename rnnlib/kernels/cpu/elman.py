"""Elman networks by the stack, compiled for the CPU: a replica at a time, its numbers in the cache.

For each replica the weights are laid out once as rows of whole vectors, and what a step works on
stays in the first cache. A step forward is one product, a step backward two: one carries the error,
one adds to the gradient of ``W_rec``. The regulariser takes one more, of the errors carried back,
weighted as `rnnlib.kernels.elman` says, with the errors at the argument of ``f``. A replica is
computed by one thread from its own numbers alone, so its result is the same in any company.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from rnnlib.kernels.backends import empty
from rnnlib.kernels.cpu.elementary import logistic, tanh
from rnnlib.kernels.cpu.tile import padded, product, zeros
from rnnlib.kernels.elman import Backward, Problem, Watch

DTYPES = (torch.float32, torch.float64)

_NONLINEARITY = {"tanh": 0, "logistic": 1, "linear": 2}
_REGULARISER = {None: 0, "squared": 1, "unsquared": 2}

_TERMS = 160
"""About how many terms of a gradient are summed before they join the total."""

_OPTIONS = {"cache": True, "fastmath": {"contract"}, "error_model": "numpy", "nogil": True}


def forward(p: Problem, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The states asked for, and ``h_0 .. h_T`` as ``(R, T+1, B, H)`` if they must be kept."""
    R, B, T, H = p.sizes
    by_step = not p.last
    pre = p.parametrisation == "preactivation"
    dtype = p.W_rec.dtype
    store = keep or (by_step and not pre)
    states = empty((R, T + 1, B, H) if store else (0, 0, 0, 0), dtype)
    # One array serves both results: all states, or the last one in place of the first sequence.
    outputs = empty((R, 1, B, H) if p.last else (R, B, T, H) if pre else (0, 0, 0, 0), dtype)
    numbers = [_array(tensor) for tensor in (p.b, p.initial, states)]
    _each_replica(_forward, R, *_described(p), *numbers, store, outputs.numpy(), by_step)
    all_states = outputs if pre else states[:, 1:].permute(0, 2, 1, 3)
    asked = outputs[:, 0] if p.last else all_states
    return asked, (states,) if keep else ()


def backward(
    p: Problem, kept: tuple[Tensor, ...], grad: Tensor, *, want_inputs: bool, watch: Watch | None
) -> Backward:
    """The gradients of everything, and what ``watch`` asks to be seen on the way."""
    R, B, _, H = p.sizes
    dtype = p.W_rec.dtype
    want_inputs = want_inputs and p.inputs.is_floating_point()
    d_inputs = empty(tuple(p.inputs.shape) if want_inputs else (0, 0, 0, 0), dtype)
    d_rec, d_in = torch.empty(R, H, H, dtype=dtype), torch.empty(p.W_in.shape, dtype=dtype)
    d_b, d_initial = torch.empty(R, H, dtype=dtype), torch.empty(R, B, H, dtype=dtype)
    watched = watch or Watch(None, 0.0, False)
    seen = watched.blank(p)
    _each_replica(
        _backward,
        R,
        *_described(p),
        _array(kept[0]),
        _array(grad[:, None] if p.last else grad),
        not p.last,
        *(each.numpy() for each in (d_rec, d_in, d_b, d_initial, d_inputs)),
        want_inputs,
        seen.norms.numpy(),
        seen.carried.numpy(),
        watch is not None,
        _REGULARISER[watched.regulariser],
        watched.vanished,
        watched.relative,
        *(each.numpy() for each in (seen.omega, seen.active, seen.omega_gradient)),
    )
    gradients = (d_inputs if want_inputs else None, d_rec, d_in, d_b, d_initial)
    return Backward(*gradients, seen if watch else None)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _described(p: Problem) -> tuple[Any, ...]:
    """Sizes, choices, inputs and weights, in the order that both compiled functions take them."""
    R, B, T, H = p.sizes
    dtype = p.W_rec.dtype
    if p.inputs.is_floating_point():
        inputs, symbols = p.inputs, torch.empty(0, 0, 0, dtype=torch.int64)
    else:
        inputs, symbols = torch.empty(0, 0, 0, 0, dtype=dtype), p.inputs
    lengths = torch.full((R,), T) if p.lengths is None else p.lengths
    n_inputs = p.W_in.shape[2]
    return (
        (B, T, H, n_inputs, *(padded(n, p.W_rec.element_size()) for n in (H, n_inputs))),
        _NONLINEARITY[p.nonlinearity],
        p.parametrisation == "preactivation",
        _array(inputs),
        _array(symbols),
        _array(lengths),
        _array(p.W_rec),
        _array(p.W_in),
    )


def _each_replica(work: Any, n_replicas: int, *args: Any) -> None:
    """Run ``work(first, stop, ...)`` over the replicas: one fork and one join a call."""
    n = min(torch.get_num_threads(), n_replicas)
    if n == 1:
        work(0, n_replicas, *args)
        return
    edges = np.linspace(0, n_replicas, n + 1).astype(int).tolist()
    with ThreadPoolExecutor(n) as pool:
        done = [pool.submit(work, *ends, *args) for ends in itertools.pairwise(edges)]
        for each in done:
            each.result()


# The inner loops take rows by their numbers: to slice an array in the loop over time would count
# references. Indices that LLVM cannot see to be positive are unsigned, or else every one is tested
# for being negative, which keeps vectors from being used.


@njit(**_OPTIONS)
def _activate(z: Any, nonlinearity: int) -> None:
    if nonlinearity == 0:
        for s in range(z.shape[0]):
            for i in range(z.shape[1]):
                z[s, i] = tanh(z[s, i])
    elif nonlinearity == 1:
        for s in range(z.shape[0]):
            for i in range(z.shape[1]):
                z[s, i] = logistic(z[s, i])


@njit(**_OPTIONS)
def _times_slope(e: Any, h: Any, nonlinearity: int, out: Any) -> None:
    """Errors times ``f'``, written in the activations ``h``, into ``out``."""
    if nonlinearity == 0:
        for s in range(e.shape[0]):
            for i in range(e.shape[1]):
                out[s, i] = e[s, i] * (1 - h[s, i] * h[s, i])
    elif nonlinearity == 1:
        for s in range(e.shape[0]):
            for i in range(e.shape[1]):
                out[s, i] = e[s, i] * (h[s, i] * (1 - h[s, i]))
    else:
        _copy(e, out)


@njit(**_OPTIONS)
def _copy(source: Any, out: Any) -> None:
    """Copy the rows of ``source`` to those of ``out``, as long as the shorter of the two are."""
    n = min(source.shape[1], out.shape[1])
    for s in range(source.shape[0]):
        for i in range(n):
            out[s, i] = source[s, i]


@njit(**_OPTIONS)
def _clear(out: Any) -> None:
    for s in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[s, i] = 0


@njit(**_OPTIONS)
def _collect(partial: Any, total: Any) -> None:
    """Add a partial sum to the total and start it anew."""
    for s in range(total.shape[0]):
        for i in range(total.shape[1]):
            total[s, i] += partial[s, i]
            partial[s, i] = 0


@njit(**_OPTIONS)
def _store(h: Any, states: Any, r: int, t: int) -> None:
    for s in range(h.shape[0]):
        for i in range(h.shape[1]):
            states[r, t, s, i] = h[s, i]


@njit(**_OPTIONS)
def _load(states: Any, r: int, t: int, h: Any) -> None:
    for s in range(states.shape[2]):
        for i in range(states.shape[3]):
            h[s, i] = states[r, t, s, i]


# Sums of squares may be taken in any order: only then LLVM adds eight at a time. They are float64,
# so that an error of 1e-30 still has a norm.
@njit(cache=True, fastmath={"contract", "reassoc"}, error_model="numpy", nogil=True)
def _squared_norm(e: Any, n: int) -> float:
    total = 0.0
    for i in range(n):
        total += np.float64(e[i]) * np.float64(e[i])
    return total


@njit(**_OPTIONS)
def _lift(norm: float, widest: int) -> float:
    """The power of two, its exponent at most ``widest``, that brings ``norm`` to 1/2..1."""
    exponent: Any = 1022 - (np.float64(norm).view(np.int64) >> 52)
    within = min(max(exponent, -widest), widest)
    return np.int64((1023 + within) << 52).view(np.float64)


@njit(**_OPTIONS)
def _forward(
    first: int,
    stop: int,
    sizes: tuple[int, int, int, int, int, int],
    nonlinearity: int,
    pre: bool,
    inputs: Any,
    symbols: Any,
    lengths: Any,
    W_rec: Any,
    W_in: Any,
    b: Any,
    initial: Any,
    states: Any,
    store: bool,
    outputs: Any,
    by_step: bool,
) -> None:
    B, T, H, I, P, _ = sizes
    dense = inputs.shape[3] > 0
    W, U = zeros(H, P, W_rec), zeros(I, P, W_rec)
    bias, z = zeros(1, P, W_rec)[0], zeros(B, P, W_rec)
    h = np.zeros((B, H), W_rec.dtype)
    for r in range(first, stop):
        for i in range(H):
            for j in range(H):
                W[j, i] = W_rec[r, i, j]
            for j in range(I):
                U[j, i] = W_in[r, i, j]
        length = lengths[r]
        bias[:H] = b[r]
        z[:, :H] = initial[r]
        if not by_step and (pre or length == 0):
            outputs[r, 0] = z[:, :H]
        if pre:
            _activate(z, nonlinearity)
        for t in range(length + 1):
            _copy(z, h)
            if store:
                _store(h, states, np.uint64(r), np.uint64(t))
            if t == length:
                break
            for s in range(B):
                for i in range(P):
                    z[s, i] = bias[i]
            if dense:
                at = ((r * B) * T + t) * I
                product(inputs, at, T * I, 1, B, I, U, 0, P, P, z, 0, P)
            else:
                for s in range(B):
                    row, looked_up = z[s], U[symbols[r, s, t]]
                    for i in range(P):
                        row[i] += looked_up[i]
            product(h, 0, H, 1, B, H, W, 0, P, P, z, 0, P)
            if pre and by_step:
                outputs[r, :, t] = z[:, :H]
            elif pre and t == length - 1:
                outputs[r, 0] = z[:, :H]
            _activate(z, nonlinearity)
        if not by_step and not pre and length > 0:
            outputs[r, 0] = h
        if by_step and pre:
            outputs[r, :, length:] = 0
        elif by_step:
            states[r, length + 1 :] = 0


@njit(**_OPTIONS)
def _backward(
    first: int,
    stop: int,
    sizes: tuple[int, int, int, int, int, int],
    nonlinearity: int,
    pre: bool,
    inputs: Any,
    symbols: Any,
    lengths: Any,
    W_rec: Any,
    W_in: Any,
    states: Any,
    grad: Any,
    by_step: bool,
    d_rec: Any,
    d_in: Any,
    d_b: Any,
    d_initial: Any,
    d_inputs: Any,
    want_inputs: bool,
    norms: Any,
    carried: Any,
    watched: bool,
    regulariser: int,
    vanished: float,
    relative: bool,
    omega: Any,
    active: Any,
    d_omega: Any,
) -> None:
    B, T, H, I, P, PI = sizes
    dtype = W_rec.dtype
    dense = inputs.shape[3] > 0
    least = max(np.float64(np.finfo(dtype).tiny) ** 2, np.finfo(np.float64).tiny)
    widest = -np.finfo(dtype).minexp
    W, U = zeros(H, P, W_rec), zeros(H, PI, W_rec)
    e, v, delta = zeros(B, P, W_rec), zeros(B, P, W_rec), zeros(B, P, W_rec)
    h, weighted, again = zeros(B, P, W_rec), zeros(B, P, W_rec), zeros(B, P, W_rec)
    u_error = zeros(B, PI, W_rec)
    ones = np.ones(B, dtype)
    largest = np.zeros(B)
    # Transposed: row j holds what unit or input j contributed to the gradients of all units.
    t_rec, t_omega, t_in = zeros(H, P, W_rec), zeros(H, P, W_rec), zeros(I, P, W_rec)
    t_b = zeros(1, P, W_rec)
    # A sum of some hundred terms is added up by itself first: a float32 that takes thousands of
    # terms one by one would lose a digit.
    s_rec, s_omega, s_in = zeros(H, P, W_rec), zeros(H, P, W_rec), zeros(I, P, W_rec)
    s_b = zeros(1, P, W_rec)
    together = max(1, _TERMS // max(B, 1))
    for r in range(first, stop):
        W[:, :H] = W_rec[r]
        U[:, :I] = W_in[r]
        t_rec[:], t_omega[:], t_in[:], t_b[:] = 0, 0, 0, 0
        largest[:] = 0
        length = lengths[r]
        e[:] = 0
        if not by_step:
            e[:, :H] = grad[r, 0]
        _load(states, np.uint64(r), np.uint64(length), h)
        omega_sum, n_active = 0.0, 0
        for t in range(length, 0, -1):
            if by_step:
                for s in range(B):
                    error, direct = e[s], grad[r, s, t - 1]
                    for i in range(H):
                        error[i] += direct[i]
            if pre:
                _copy(e, delta)
            else:
                _times_slope(e, h, nonlinearity, delta)
            _load(states, np.uint64(r), np.uint64(t - 1), h)
            _clear(v)
            product(delta, 0, P, 1, B, H, W, 0, P, P, v, 0, P)
            if pre:
                _copy(v, weighted)
                _times_slope(weighted, h, nonlinearity, v)
            at = ((r * (T + 1) + t - 1) * B) * H
            product(states, at, 1, H, H, B, delta, 0, P, P, s_rec, 0, P)
            product(ones, 0, 0, 1, 1, B, delta, 0, P, P, s_b, 0, P)
            if dense:
                at = ((r * B) * T + t - 1) * I
                product(inputs, at, 1, T * I, I, B, delta, 0, P, P, s_in, 0, P)
            else:
                for s in range(B):
                    row, at_argument = s_in[symbols[r, s, t - 1]], delta[s]
                    for i in range(P):
                        row[i] += at_argument[i]
            if want_inputs:
                u_error[:] = 0
                product(delta, 0, P, 1, B, H, U, 0, PI, PI, u_error, 0, PI)
                d_inputs[r, :, t - 1] = u_error[:, :I]
            if watched:
                for s in range(B):
                    m2, n2 = _squared_norm(e[s], H), _squared_norm(v[s], H)
                    m, n = np.sqrt(m2), np.sqrt(n2)
                    norms[r, s, t], carried[r, s, t - 1] = m, n
                    if regulariser == 0:
                        continue
                    if m2 > largest[s]:
                        largest[s] = m2
                    bound = vanished * largest[s] if relative else vanished
                    factor, lift_m, lift_n = 0.0, _lift(m, widest), _lift(n, widest)
                    if not (m2 < bound or m2 < least):
                        n_active += 1
                        ratio = n2 / m2
                        if regulariser == 1:
                            factor = 4 * (ratio - 1) / (m2 * lift_m * lift_n)
                        else:
                            ratio = np.sqrt(ratio)
                            mn = (m2 * lift_m * lift_m) * (n2 * lift_n * lift_n)
                            factor = 2 * (ratio - 1) / np.sqrt(mn)
                        if n2 == 0:
                            factor = 0.0
                        omega_sum += (ratio - 1) ** 2
                    c, a, b = dtype.type(factor), dtype.type(lift_m), dtype.type(lift_n)
                    for i in range(P):  # delta has served all else
                        weighted[s, i] = c * (b * v[s, i])
                        delta[s, i] *= a
                if regulariser:
                    if pre:
                        _times_slope(weighted, h, nonlinearity, again)
                    scaled = again if pre else weighted
                    product(scaled, 0, 1, P, H, B, delta, 0, P, P, s_omega, 0, P)
            if t % together == 1 or together == 1:
                _collect(s_rec, t_rec)
                _collect(s_in, t_in)
                _collect(s_b, t_b)
                if regulariser:
                    _collect(s_omega, t_omega)
            e, v = v, e
        d_initial[r] = e[:, :H]
        if watched:
            for s in range(B):
                norms[r, s, 0] = np.sqrt(_squared_norm(e[s], H))
        if want_inputs:
            d_inputs[r, :, length:] = 0
        d_b[r] = t_b[0, :H]
        d_rec[r] = t_rec[:, :H].T
        d_in[r] = t_in[:, :H].T
        if regulariser:
            divisor = max(n_active, 1)
            omega[r], active[r] = omega_sum / divisor, n_active
            for i in range(H):
                for j in range(H):
                    d_omega[r, i, j] = t_omega[j, i] / divisor
