"""The linear scan and its adjoint, each fused into one pass over time, compiled by numba.

One unit of work is one sequence and one strip of channels. Its state sits in a small buffer, so
that the inner loop over channels is made of independent operations on contiguous numbers, which
LLVM vectorises. Two things decide whether it does, and whether memory keeps up:

* indices of channels are unsigned, because a signed one may count from the end, which is a branch;
* rows are asked for ahead of their use, those to be written too, because processors guess a walk
  towards lower addresses badly (measured: a factor of three).

Nothing is contracted to fused multiply-adds and a state is computed in the order of the loop, so
states and their gradients are those of the loop to the last bit, overflow included. A complex
number is a pair of neighbouring reals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from rnnlib.kernels.backends import empty

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}

# So many bytes ahead of their use are rows asked for.
_AHEAD = 4096

# The gradient of a decay that all steps share is summed over so many steps at a time, and then
# over the partial sums: one long sum would lose digits.
_BLOCK = 512

# Each thread should get at least so many numbers, or starting it costs more than it saves.
_WORTH_A_THREAD = 2**17


def scan(
    decay: Tensor, inputs: Tensor, initial: Tensor | None, resets: Tensor | None, reverse: bool
) -> Tensor:
    """The states; ``decay`` is ``(1 or B, 1 or T, H)``."""
    states = empty(tuple(inputs.shape), inputs.dtype)
    start = torch.zeros_like(inputs[:, 0]) if initial is None else initial
    arrays = [*map(_reals, (decay, inputs, start, states)), _mask(resets), reverse]
    _run(_scan_complex if inputs.is_complex() else _scan_real, arrays, inputs)
    return states


def adjoint(
    decay: Tensor, states: Tensor, grad: Tensor, resets: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of inputs and decay; of the latter without what the initial state adds."""
    B, T, H = states.shape
    shared = decay.shape[1] < T
    rows = (B, -(-T // _BLOCK)) if shared else tuple(decay.shape[:2])
    d_inputs, d_decay = empty((B, T, H), states.dtype), empty((*rows, H), states.dtype)
    arrays = [*map(_reals, (decay, states, grad, d_inputs, d_decay)), _mask(resets), reverse]
    kernel = _adjoint_complex if states.is_complex() else _adjoint_real
    _run(kernel, [*arrays, shared], states, in_order=rows[0] < B)
    return d_inputs, d_decay.sum((0, 1), keepdim=True) if shared else d_decay


def _reals(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor in order, copied if they are not; a complex one is two reals."""
    tensor = tensor.detach().contiguous()
    return (torch.view_as_real(tensor).flatten(-2) if tensor.is_complex() else tensor).numpy()


def _mask(resets: Tensor | None) -> np.ndarray:
    return np.zeros((1, 1), bool) if resets is None else resets.contiguous().numpy()


def _run(
    kernel: Callable[..., None], arrays: Sequence[Any], like: Tensor, *, in_order: bool = False
) -> None:
    """Run a kernel over all sequences and strips of channels, in threads if that pays.

    Unit ``u`` is sequence ``u % B`` of strip ``u // B``. With ``in_order`` one thread takes all
    sequences of a strip, one after the other, because they add to the same sums.
    """
    B, T, H = like.shape
    threads = min(torch.get_num_threads(), 1 + B * T * H // _WORTH_A_THREAD)
    strips = threads if in_order or threads > B else 1
    width = 16 * -(-H // (16 * strips))  # no two threads write to one cache line
    strips = -(-H // width)
    parts = strips if in_order else min(threads, strips * B)
    cuts = [strips * B * i // parts for i in range(parts + 1)]
    ahead = max(1, _AHEAD // (min(width, H) * like.element_size()))

    def work(first: int, last: int) -> None:
        kernel(*arrays, first, last, width, ahead)

    if parts == 1:
        work(*cuts)
    else:
        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(work, cuts[:-1], cuts[1:]))


@intrinsic
def _prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of a number by its flat index, which may lie outside the array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(function, [address, word(0), word(3), word(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, index), generate


@njit(**_OPTIONS)
def _scan_real(
    decay: Any,
    inputs: Any,
    initial: Any,
    states: Any,
    resets: Any,
    reverse: bool,
    first: int,
    last: int,
    width: int,
    ahead: int,
) -> None:
    B, T, H = inputs.shape
    by_batch, by_step = decay.shape[0] > 1, decay.shape[1] > 1
    reset_by_batch, reset_by_step = resets.shape[0] > 1, resets.shape[1] > 1
    line = 64 // inputs.itemsize
    ahead = -ahead if reverse else ahead
    for unit in range(first, last):
        b, start = unit % B, unit // B * width
        stop = min(start + width, H)
        lo, n = uint64(start), uint64(stop - start)
        skipped = 0 if by_batch else b * T * H
        h = np.empty(n, inputs.dtype)
        for i in range(n):
            h[i] = initial[b, lo + i]
        for k in range(T):
            t = T - 1 - k if reverse else k
            row = (b * T + t + ahead) * H
            for i in range(row + start, row + stop, line):
                _prefetch(inputs, i)
                _prefetch(states, i)
                if by_step:
                    _prefetch(decay, i - skipped)
            if resets[b * reset_by_batch, t * reset_by_step]:
                for i in range(n):
                    h[i] = 0
            for i in range(n):
                h[i] = decay[b * by_batch, t * by_step, lo + i] * h[i] + inputs[b, t, lo + i]
                states[b, t, lo + i] = h[i]


@njit(**_OPTIONS)
def _scan_complex(
    decay: Any,
    inputs: Any,
    initial: Any,
    states: Any,
    resets: Any,
    reverse: bool,
    first: int,
    last: int,
    width: int,
    ahead: int,
) -> None:
    B, T, H = inputs.shape[0], inputs.shape[1], inputs.shape[2] // 2
    by_batch, by_step = decay.shape[0] > 1, decay.shape[1] > 1
    reset_by_batch, reset_by_step = resets.shape[0] > 1, resets.shape[1] > 1
    line = 64 // inputs.itemsize
    ahead = -ahead if reverse else ahead
    for unit in range(first, last):
        b, start = unit % B, unit // B * width
        stop = min(start + width, H)
        re, im, n = uint64(2 * start), uint64(2 * start + 1), uint64(stop - start)
        skipped = 0 if by_batch else 2 * b * T * H
        x, y = np.empty(n, inputs.dtype), np.empty(n, inputs.dtype)  # state x + iy
        for i in range(n):
            x[i], y[i] = initial[b, re + i + i], initial[b, im + i + i]
        for k in range(T):
            t = T - 1 - k if reverse else k
            row = (b * T + t + ahead) * H
            for i in range(2 * (row + start), 2 * (row + stop), line):
                _prefetch(inputs, i)
                _prefetch(states, i)
                if by_step:
                    _prefetch(decay, i - skipped)
            if resets[b * reset_by_batch, t * reset_by_step]:
                for i in range(n):
                    x[i] = 0
                    y[i] = 0
            for i in range(n):
                p = decay[b * by_batch, t * by_step, re + i + i]
                q = decay[b * by_batch, t * by_step, im + i + i]
                u = (p * x[i] - q * y[i]) + inputs[b, t, re + i + i]
                v = (p * y[i] + q * x[i]) + inputs[b, t, im + i + i]
                x[i], y[i] = u, v
                states[b, t, re + i + i] = u
                states[b, t, im + i + i] = v


# The adjoint walks the other way. It carries c = conj(a) e from step to step, where e = g + c is
# the gradient of the inputs, and adds e conj(h), with the state before the step, to that of a.


@njit(**_OPTIONS)
def _adjoint_real(
    decay: Any,
    states: Any,
    grad: Any,
    d_inputs: Any,
    d_decay: Any,
    resets: Any,
    reverse: bool,
    shared: bool,
    first: int,
    last: int,
    width: int,
    ahead: int,
) -> None:
    B, T, H = states.shape
    by_batch, by_step = decay.shape[0] > 1, decay.shape[1] > 1
    reset_by_batch, reset_by_step = resets.shape[0] > 1, resets.shape[1] > 1
    line = 64 // states.itemsize
    to_before = 1 if reverse else -1
    for unit in range(first, last):
        b, start = unit % B, unit // B * width
        stop = min(start + width, H)
        lo, n = uint64(start), uint64(stop - start)
        skipped = 0 if by_batch else b * T * H
        c, total = np.zeros(n, states.dtype), np.zeros(n, states.dtype)
        for k in range(T):
            t = k if reverse else T - 1 - k
            row = (b * T + t + to_before * ahead) * H
            for i in range(row + start, row + stop, line):
                _prefetch(grad, i)
                _prefetch(states, i)
                _prefetch(d_inputs, i)
                if not shared:
                    _prefetch(decay, i - skipped)
                    _prefetch(d_decay, i - skipped)
            for i in range(n):
                e = grad[b, t, lo + i] + c[i]
                d_inputs[b, t, lo + i] = e
                c[i] = decay[b * by_batch, t * by_step, lo + i] * e
            before = t + to_before
            if resets[b * reset_by_batch, t * reset_by_step]:
                for i in range(n):
                    c[i] = 0
            elif 0 <= before < T:
                for i in range(n):
                    total[i] += d_inputs[b, t, lo + i] * states[b, before, lo + i]
            if not shared:
                if by_batch or b == 0:
                    for i in range(n):
                        d_decay[b * by_batch, t, lo + i] = total[i]
                else:
                    for i in range(n):
                        d_decay[0, t, lo + i] += total[i]
            elif k % _BLOCK == _BLOCK - 1 or k == T - 1:
                for i in range(n):
                    d_decay[b, k // _BLOCK, lo + i] = total[i]
            else:
                continue
            for i in range(n):
                total[i] = 0


@njit(**_OPTIONS)
def _adjoint_complex(
    decay: Any,
    states: Any,
    grad: Any,
    d_inputs: Any,
    d_decay: Any,
    resets: Any,
    reverse: bool,
    shared: bool,
    first: int,
    last: int,
    width: int,
    ahead: int,
) -> None:
    B, T, H = states.shape[0], states.shape[1], states.shape[2] // 2
    by_batch, by_step = decay.shape[0] > 1, decay.shape[1] > 1
    reset_by_batch, reset_by_step = resets.shape[0] > 1, resets.shape[1] > 1
    line = 64 // states.itemsize
    to_before = 1 if reverse else -1
    for unit in range(first, last):
        b, start = unit % B, unit // B * width
        stop = min(start + width, H)
        re, im, n = uint64(2 * start), uint64(2 * start + 1), uint64(stop - start)
        skipped = 0 if by_batch else 2 * b * T * H
        x, y = np.zeros(n, states.dtype), np.zeros(n, states.dtype)  # carried x + iy
        total_x, total_y = np.zeros(n, states.dtype), np.zeros(n, states.dtype)
        for k in range(T):
            t = k if reverse else T - 1 - k
            row = (b * T + t + to_before * ahead) * H
            for i in range(2 * (row + start), 2 * (row + stop), line):
                _prefetch(grad, i)
                _prefetch(states, i)
                _prefetch(d_inputs, i)
                if not shared:
                    _prefetch(decay, i - skipped)
                    _prefetch(d_decay, i - skipped)
            for i in range(n):
                p = decay[b * by_batch, t * by_step, re + i + i]
                q = decay[b * by_batch, t * by_step, im + i + i]
                u = grad[b, t, re + i + i] + x[i]
                v = grad[b, t, im + i + i] + y[i]
                d_inputs[b, t, re + i + i] = u
                d_inputs[b, t, im + i + i] = v
                x[i] = p * u + q * v
                y[i] = p * v - q * u
            before = t + to_before
            if resets[b * reset_by_batch, t * reset_by_step]:
                for i in range(n):
                    x[i] = 0
                    y[i] = 0
            elif 0 <= before < T:
                for i in range(n):
                    u, v = d_inputs[b, t, re + i + i], d_inputs[b, t, im + i + i]
                    p, q = states[b, before, re + i + i], states[b, before, im + i + i]
                    total_x[i] += u * p + v * q
                    total_y[i] += v * p - u * q
            if not shared:
                if by_batch or b == 0:
                    for i in range(n):
                        d_decay[b * by_batch, t, re + i + i] = total_x[i]
                        d_decay[b * by_batch, t, im + i + i] = total_y[i]
                else:
                    for i in range(n):
                        d_decay[0, t, re + i + i] += total_x[i]
                        d_decay[0, t, im + i + i] += total_y[i]
            elif k % _BLOCK == _BLOCK - 1 or k == T - 1:
                for i in range(n):
                    d_decay[b, k // _BLOCK, re + i + i] = total_x[i]
                    d_decay[b, k // _BLOCK, im + i + i] = total_y[i]
            else:
                continue
            for i in range(n):
                total_x[i] = 0
                total_y[i] = 0
