"""tanh and the logistic function for compiled loops, without a branch, so that LLVM vectorises.

Both rest on ``expm1(u)`` for ``u <= 0``: with ``u = k ln 2 + r`` and ``|r| <= ln(2)/2``,

    expm1(u) = 2^k expm1(r) + (2^k - 1),

where ``expm1(r)`` is its Taylor polynomial. Nothing cancels, so small arguments keep their
relative accuracy, and ``tanh |x| = -e / (2 + e)`` with ``e = expm1(-2|x|)``. The integer ``k`` is
rounded by adding 1.5 * 2^(mantissa bits), which leaves it in the low bits of the sum. NaN stays
NaN: every comparison is written so that it fails towards keeping the argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

_OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy"}


def tanh(x: Any) -> Any:
    """``tanh(x)`` for float32 or float64, about 2 units in the last place; for compiled code."""
    raise NotImplementedError("only compiled code can call this")


def logistic(x: Any) -> Any:
    """``1 / (1 + exp(-x))`` for float32 or float64; for compiled code.

    Where the result would be subnormal it is zero.
    """
    raise NotImplementedError("only compiled code can call this")


def tanh_parts(x: Any) -> Any:
    """Numerator and denominator of ``tanh(x)``, the latter in 1..2.

    Divisions cost most of an evaluation, so a formula of several such fractions does well to
    divide once.
    """
    raise NotImplementedError("only compiled code can call this")


def logistic_parts(x: Any) -> Any:
    """Numerator and denominator of ``1 / (1 + exp(-x))``, the latter in 1..2."""
    raise NotImplementedError("only compiled code can call this")


@intrinsic
def _as_integer(typing: Any, x: Any) -> Any:
    """The bits of a float as an integer of the same width."""
    to = types.int32 if x == types.float32 else types.int64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(to.bitwidth))

    return to(x), generate


@intrinsic
def _as_float(typing: Any, bits: Any) -> Any:
    """The float with the given bits."""
    to = types.float32 if bits == types.int32 else types.float64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType() if bits.bitwidth == 32 else ir.DoubleType())

    return to(bits), generate


def _expm1_parts(x: Any) -> Any:
    """``(2^k expm1(r), 2^k)`` for ``lowest <= x <= 0``, from which expm1 and exp follow."""
    raise NotImplementedError("only compiled code can call this")


@overload(_expm1_parts, jit_options=_OPTIONS)
def _(x: Any) -> Callable[[Any], Any]:
    single = x == types.float32
    number, whole = (np.float32, np.int32) if single else (np.float64, np.int64)
    mantissa, bias, degree = (23, 127, 7) if single else (52, 1023, 13)
    magic = number(1.5 * 2.0**mantissa)
    log2_e = number(1 / math.log(2))
    # ln 2 in two parts; the first has so few bits that k times it is exact.
    bits = 12 if single else 32
    high = number(math.floor(math.log(2) * 2**bits) / 2**bits)
    low = number(math.log(2) - float(high)) if single else number(1.9082149292705877e-10)
    shift, one = whole(mantissa), whole(bias << mantissa)
    c = tuple(number(1 / math.factorial(n)) for n in range(2, degree + 1))
    last = len(c) - 1

    if single:

        def impl(x: Any) -> Any:
            shifted = x * log2_e + magic
            k = shifted - magic
            r = (x - k * high) - k * low
            p = c[5]
            p = p * r + c[4]
            p = p * r + c[3]
            p = p * r + c[2]
            p = p * r + c[1]
            p = p * r + c[0]
            p = p * (r * r) + r
            scale = _as_float(whole((_as_integer(shifted) << shift) + one))
            return scale * p, scale
    else:

        def impl(x: Any) -> Any:
            shifted = x * log2_e + magic
            k = shifted - magic
            r = (x - k * high) - k * low
            p = c[last]
            p = p * r + c[10]
            p = p * r + c[9]
            p = p * r + c[8]
            p = p * r + c[7]
            p = p * r + c[6]
            p = p * r + c[5]
            p = p * r + c[4]
            p = p * r + c[3]
            p = p * r + c[2]
            p = p * r + c[1]
            p = p * r + c[0]
            p = p * (r * r) + r
            scale = _as_float((_as_integer(shifted) << shift) + one)
            return scale * p, scale

    return impl


@overload(tanh_parts, jit_options=_OPTIONS)
def _(x: Any) -> Callable[[Any], Any]:
    number = np.float32 if x == types.float32 else np.float64
    two, one = number(2), number(1)
    lowest = number(-20 if x == types.float32 else -40)

    def impl(x: Any) -> Any:
        u = -two * abs(x)
        u = lowest if u < lowest else u
        p, scale = _expm1_parts(u)
        e = p + (scale - one)
        return math.copysign(e, x), two + e

    return impl


@overload(logistic_parts, jit_options=_OPTIONS)
def _(x: Any) -> Callable[[Any], Any]:
    number = np.float32 if x == types.float32 else np.float64
    zero, one = number(0), number(1)
    lowest = number(-87.33 if x == types.float32 else -708.39)

    def impl(x: Any) -> Any:
        u = -abs(x)
        u = lowest if u < lowest else u
        p, scale = _expm1_parts(u)
        e = p + scale
        top = e if x < zero else one
        return zero if x < lowest else top, one + e

    return impl


@overload(tanh, jit_options=_OPTIONS)
def _(x: Any) -> Callable[[Any], Any]:
    def impl(x: Any) -> Any:
        numerator, denominator = tanh_parts(x)
        return numerator / denominator

    return impl


@overload(logistic, jit_options=_OPTIONS)
def _(x: Any) -> Callable[[Any], Any]:
    def impl(x: Any) -> Any:
        numerator, denominator = logistic_parts(x)
        return numerator / denominator

    return impl
