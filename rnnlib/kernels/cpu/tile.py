"""Small matrix products for compiled loops: a tile of the result stays in vector registers.

NumPy's or torch's product costs more to call than a 20 × 50 by 50 × 50 product costs to compute,
and LLVM by itself keeps sums in memory. So the innermost loop is written in LLVM's own language:
4 rows × 4 vectors of sums in registers; for each ``k`` four vectors of ``b`` are loaded once and
multiplied with one number of each row of ``a``. Every sum runs over ``k`` in order, so a result
does not depend on the tile it falls in, nor on the width of the machine's vectors.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


def _vector_bytes() -> int:
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()
"""Bytes of one vector register."""

PANEL = 4
"""Vectors of a row that are summed at a time."""


def padded(columns: int, itemsize: int) -> int:
    """``columns`` rounded up to whole vectors: the row length that `product` asks of b and c."""
    width = VECTOR_BYTES // itemsize
    return -(-columns // width) * width


def _tile(rows: int, vectors: int) -> Any:
    """Make the intrinsic that adds ``a @ b`` to ``rows`` rows × ``vectors`` vectors of ``c``."""

    @intrinsic
    def tile(
        typing: Any,
        a: Any,
        a_at: Any,
        a_row: Any,
        a_k: Any,
        b: Any,
        b_at: Any,
        b_k: Any,
        n_k: Any,
        c: Any,
        c_at: Any,
        c_row: Any,
    ) -> Any:
        signature = types.void(a, *[types.intp] * 3, b, *[types.intp] * 3, c, *[types.intp] * 2)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, a_at, a_row, a_k, b, b_at, b_k, n_k, c, c_at, c_row = args
            number = context.get_value_type(signature.args[0].dtype)
            bytes_each = signature.args[0].dtype.bitwidth // 8
            width = VECTOR_BYTES // bytes_each
            vector = ir.VectorType(number, width)
            integer = n_k.type

            def data(array: Any, which: int) -> Any:
                return context.make_array(signature.args[which])(context, builder, array).data

            def vector_at(base: Any, index: Any) -> Any:
                return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

            base_a, base_b, base_c = data(a, 0), data(b, 4), data(c, 8)
            sums, places = [], []
            for i in range(rows):
                row = builder.add(c_at, builder.mul(c_row, integer(i)))
                for j in range(vectors):
                    places.append(vector_at(base_c, builder.add(row, integer(j * width))))
                    sums.append(cgutils.alloca_once(builder, vector))
                    builder.store(builder.load(places[-1], align=bytes_each), sums[-1])
            with cgutils.for_range(builder, n_k) as loop:
                k = loop.index
                row_b = builder.add(b_at, builder.mul(b_k, k))
                bs = [
                    builder.load(
                        vector_at(base_b, builder.add(row_b, integer(j * width))), align=bytes_each
                    )
                    for j in range(vectors)
                ]
                at = builder.add(a_at, builder.mul(a_k, k))
                for i in range(rows):
                    place = builder.gep(base_a, [builder.add(at, builder.mul(a_row, integer(i)))])
                    one = builder.insert_element(
                        ir.Constant(vector, ir.Undefined),
                        builder.load(place, align=bytes_each),
                        ir.IntType(32)(0),
                    )
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), width), None)
                    all_lanes = builder.shuffle_vector(one, one, mask)
                    for j in range(vectors):
                        held = sums[i * vectors + j]
                        # "contract" lets the two become one fused multiply-add where there is one
                        term = builder.fmul(all_lanes, bs[j], flags=("contract",))
                        total = builder.fadd(builder.load(held), term, flags=("contract",))
                        builder.store(total, held)
            for held, place in zip(sums, places, strict=True):
                builder.store(builder.load(held), place, align=bytes_each)
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile_4x4, _tile_4x3, _tile_4x2, _tile_4x1 = (_tile(4, vectors) for vectors in (4, 3, 2, 1))
_tile_1x4, _tile_1x3, _tile_1x2, _tile_1x1 = (_tile(1, vectors) for vectors in (4, 3, 2, 1))

_OPTIONS = {"cache": True, "fastmath": {"contract"}, "error_model": "numpy", "nogil": True}


@njit(**_OPTIONS)
def zeros(rows: int, columns: int, like: Any) -> Any:
    """Zeros ``(rows, columns)`` of the dtype of ``like``, at an address of whole vectors."""
    spare = VECTOR_BYTES // like.itemsize
    memory = np.zeros(rows * columns + spare, like.dtype)
    skip = (-memory.ctypes.data % VECTOR_BYTES) // like.itemsize
    return memory[skip : skip + rows * columns].reshape((rows, columns))


@njit(**_OPTIONS)
def product(
    a: Any,
    a_at: int,
    a_row: int,
    a_k: int,
    n_rows: int,
    n_k: int,
    b: Any,
    b_at: int,
    b_k: int,
    n_columns: int,
    c: Any,
    c_at: int,
    c_row: int,
) -> None:
    """Add ``a @ b`` to ``c``; all three are flat arrays of one dtype.

    ``a[i, k]`` lies at ``a_at + i a_row + k a_k``, so a transpose costs nothing; rows of ``b`` and
    ``c`` start ``b_k`` and ``c_row`` apart and are contiguous. ``n_columns`` counts whole vectors:
    see `padded`.
    """
    width = VECTOR_BYTES // a.itemsize
    panel = PANEL * width
    for j in range(0, n_columns, panel):
        vectors = min(PANEL, (n_columns - j) // width)
        i = 0
        while i < n_rows:
            at, to = a_at + i * a_row, c_at + i * c_row + j
            if n_rows - i >= 4:
                if vectors == 4:
                    _tile_4x4(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                elif vectors == 3:
                    _tile_4x3(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                elif vectors == 2:
                    _tile_4x2(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                else:
                    _tile_4x1(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                i += 4
            else:
                if vectors == 4:
                    _tile_1x4(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                elif vectors == 3:
                    _tile_1x3(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                elif vectors == 2:
                    _tile_1x2(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                else:
                    _tile_1x1(a, at, a_row, a_k, b, b_at + j, b_k, n_k, c, to, c_row)
                i += 1
