"""The linear scan and its adjoint in Triton: one pass over time, the state in registers.

A lane is one channel of one sequence; a program walks a tile of lanes through time. Rows are loaded
some steps ahead of their use, since the loads do not wait for the recurrence. Where lanes are too
few to fill the device, time is cut into ``N`` chunks, walked side by side:

1. every chunk from zero, for its last state ``z_n`` and the product ``A_n`` of its decays;
2. the states between chunks, ``s_n = A_n s_{n-1} + z_n``, in double precision;
3. every chunk from ``s_{n-1}``;
4. tiles where a state at the end of a chunk was not finite are walked again in one piece, for only
   the loop itself knows what follows. The host does not wait to learn whether there are any.

Multiplications and additions are not fused, so that a state is that of the loop, overflow included.
In a mask ``tl.where(s < stop, lanes, 0)`` stands for the conjunction of two conditions, which the
interpreter cannot form of a number and a row.
"""

# Triton evaluates annotations that are not its own, and fails.
# mypy: disable-error-code="no-untyped-def, assignment, unreachable"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Fewer lanes do not fill a device; shorter chunks do not pay for the phases that they cost.
_ENOUGH_LANES = 2**15
_SHORTEST_CHUNK = 64

# Rows loaded ahead, lanes of a program.
_AHEAD = 8
_BLOCK = 64

_LAUNCH = {"num_warps": 1, "enable_fp_fusion": False}


def scan(
    decay: Tensor, inputs: Tensor, initial: Tensor | None, resets: Tensor | None, reverse: bool
) -> Tensor:
    """The states; ``decay`` is ``(1 or B, 1 or T, H)``."""
    states = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    arrays = [*map(_reals, (decay, inputs, states)), _mask(resets, inputs)]
    options = _options(decay, inputs, resets) | {"BACKWARD": reverse}
    _in_phases(_forward, arrays, inputs, initial, options)
    return states


def adjoint(
    decay: Tensor, states: Tensor, grad: Tensor, resets: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of inputs and decay; of the latter without what the initial state adds."""
    B, T, H = states.shape
    options = _options(decay, states, resets) | {"BACKWARD": not reverse}
    shared = not options["BY_STEP"]
    d_inputs = states.new_empty(B, T, H)
    d_decay = states.new_empty(_chunks(B * H, T)[0], B, H) if shared else states.new_empty(B, T, H)
    tensors = (decay, states, grad, d_inputs, d_decay)
    _in_phases(_backward, [*map(_reals, tensors), _mask(resets, states)], states, None, options)
    if shared:
        return d_inputs, d_decay.sum((0, 1)).expand(1, 1, H)
    return d_inputs, d_decay if len(decay) == B else d_decay.sum(0, keepdim=True)


def _reals(tensor: Tensor) -> Tensor:
    """The numbers of a tensor in order, copied if they are not; a complex one is two reals."""
    tensor = tensor.contiguous()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _mask(resets: Tensor | None, like: Tensor) -> Tensor:
    """The resets as bytes; anything in place of none, for nobody reads it."""
    return _reals(like) if resets is None else resets.contiguous().view(torch.uint8)


def _options(decay: Tensor, like: Tensor, resets: Tensor | None) -> dict[str, Any]:
    B, T, _ = like.shape
    return {
        "COMPLEX": like.is_complex(),
        "BY_BATCH": len(decay) == B,
        "BY_STEP": decay.shape[1] == T,
        "RESETS": resets is not None,
        "AHEAD": _AHEAD,
    }


def _chunks(lanes: int, T: int) -> tuple[int, int]:
    """How many chunks time is cut into, and the steps of each but the last."""
    wanted = min(-(-_ENOUGH_LANES // lanes), T // _SHORTEST_CHUNK)
    if wanted < 2:
        return 1, T
    C = _AHEAD * -(-T // (_AHEAD * wanted))
    return -(-T // C), C


def _in_phases(
    kernel: Any, arrays: list[Tensor], like: Tensor, initial: Tensor | None, options: dict[str, Any]
) -> None:
    """Launch a kernel once, or for each of the phases 1, 3 and 4 with phase 2 in between."""
    B, T, H = like.shape
    lanes = B * H
    N, C = _chunks(lanes, T)
    tiles = triton.cdiv(lanes, _BLOCK)
    options = options | {"BLOCK": _BLOCK} | _LAUNCH
    starts = like.new_zeros(N, B, H)
    if initial is not None:
        starts[0] = initial
    starts = _reals(starts)
    sizes = lanes, T, H
    with torch.cuda.device_of(like):
        if N == 1:
            unused = starts, starts, starts
            kernel[tiles, 1](*arrays, starts, *unused, *sizes, T, 1, PHASE="whole", **options)
            return
        ends, products = torch.empty_like(starts), torch.empty_like(starts, dtype=torch.float64)
        flags = torch.zeros(tiles, dtype=torch.int32, device=like.device)
        work = starts, ends, products, flags
        kernel[tiles, N](*arrays, *work, *sizes, C, N, PHASE="ends", **options)
        _carry[tiles,](*work, lanes, N, COMPLEX=options["COMPLEX"], BLOCK=_BLOCK, **_LAUNCH)
        kernel[tiles, N](*arrays, *work, *sizes, C, N, PHASE="chunks", **options)
        kernel[tiles, 1](*arrays, *work, *sizes, T, N, PHASE="again", **options)


@triton.jit
def _load(array, offset, valid, COMPLEX: tl.constexpr):
    if COMPLEX:
        pairs = array + (2 * offset[:, None] + tl.arange(0, 2)[None, :])
        re, im = tl.split(tl.load(pairs, mask=valid[:, None], other=0.0))
    else:
        re = tl.load(array + offset, mask=valid, other=0.0)
        im = re
    return re, im


@triton.jit
def _store(array, offset, re, im, valid, COMPLEX: tl.constexpr):
    if COMPLEX:
        pairs = array + (2 * offset[:, None] + tl.arange(0, 2)[None, :])
        tl.store(pairs, tl.join(re, im), mask=valid[:, None])
    else:
        tl.store(array + offset, re, mask=valid)


@triton.jit
def _times(p, q, u, v, COMPLEX: tl.constexpr):
    """The product of ``p + iq`` and ``u + iv``; of ``p`` and ``u`` if they are real."""
    if COMPLEX:
        re = p * u - q * v
        im = p * v + q * u
    else:
        re = p * u
        im = re
    return re, im


@triton.jit
def _not_finite(re, im, valid, COMPLEX: tl.constexpr):
    """1 if any valid number is infinite or NaN, so that its difference from itself is not 0."""
    bad = re - re != 0
    if COMPLEX:
        bad = bad | (im - im != 0)
    return tl.max((bad & valid).to(tl.int32), axis=0)


@triton.jit
def _lanes(lanes, T, H, C, BY_BATCH: tl.constexpr, BLOCK: tl.constexpr):
    """The lanes of this program, where their numbers begin, and the steps to walk."""
    tile = tl.program_id(0)
    chunk = tl.program_id(1)
    lane = tile.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    b = lane // H
    h = lane - b * H
    corner = b * T * H + h
    decay_corner = corner if BY_BATCH else h
    place = chunk.to(tl.int64) * lanes + lane  # in what is kept between phases
    begin = chunk * C
    stop = tl.minimum(begin + C, T)
    return tile, lane, b, corner, decay_corner, place, begin, stop


@triton.jit
def _forward(
    decay,
    inputs,
    states,
    resets,
    starts,
    ends,
    products,
    flags,
    lanes,
    T,
    H,
    C,
    N,
    COMPLEX: tl.constexpr,
    BY_BATCH: tl.constexpr,
    BY_STEP: tl.constexpr,
    RESETS: tl.constexpr,
    BACKWARD: tl.constexpr,
    PHASE: tl.constexpr,
    BLOCK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    tile, lane, b, corner, decay_corner, place, begin, stop = _lanes(
        lanes, T, H, C, BY_BATCH, BLOCK
    )
    inside = lane < lanes
    if PHASE == "again":
        stop = stop * tl.load(flags + tile)
    if PHASE == "ends":
        x = tl.zeros([BLOCK], dtype=inputs.dtype.element_ty)
        y = x
        p = tl.full([BLOCK], 1.0, dtype=tl.float64)
        q = tl.zeros([BLOCK], dtype=tl.float64)
    else:
        x, y = _load(starts, place, inside, COMPLEX)
    a, c = _load(decay, decay_corner, inside, COMPLEX)
    for first in range(begin, stop, AHEAD):
        ahead = ()
        for k in tl.static_range(AHEAD):
            s = first + k
            t = (T - 1 - s if BACKWARD else s).to(tl.int64)
            valid = lane < tl.where(s < stop, lanes, 0)
            u, v = _load(inputs, corner + t * H, valid, COMPLEX)
            if BY_STEP:
                a, c = _load(decay, decay_corner + t * H, valid, COMPLEX)
            forget = valid
            if RESETS:
                forget = tl.load(resets + b * T + t, mask=valid, other=0) != 0
            ahead = ahead + ((u, v, a, c, forget),)  # noqa: RUF005
        for k in tl.static_range(AHEAD):
            s = first + k
            t = (T - 1 - s if BACKWARD else s).to(tl.int64)
            u, v, a, c, forget = ahead[k]
            if RESETS:
                x = tl.where(forget, 0.0, x)
                y = tl.where(forget, 0.0, y)
            x, y = _times(a, c, x, y, COMPLEX)
            x += u
            y += v
            if PHASE == "ends":
                p, q = _times(p, q, a.to(tl.float64), c.to(tl.float64), COMPLEX)
                if RESETS:
                    p = tl.where(forget, 0.0, p)
                    q = tl.where(forget, 0.0, q)
            else:
                _store(states, corner + t * H, x, y, lane < tl.where(s < stop, lanes, 0), COMPLEX)
    if PHASE == "ends":
        _store(ends, place, x, y, inside, COMPLEX)
        _store(products, place, p, q, inside, COMPLEX)
    if PHASE == "chunks":
        tl.store(flags + tile, 1, mask=_not_finite(x, y, inside, COMPLEX) != 0)


@triton.jit
def _backward(
    decay,
    states,
    grad,
    d_inputs,
    d_decay,
    resets,
    starts,
    ends,
    products,
    flags,
    lanes,
    T,
    H,
    C,
    N,
    COMPLEX: tl.constexpr,
    BY_BATCH: tl.constexpr,
    BY_STEP: tl.constexpr,
    RESETS: tl.constexpr,
    BACKWARD: tl.constexpr,
    PHASE: tl.constexpr,
    BLOCK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    tile, lane, b, corner, decay_corner, place, begin, stop = _lanes(
        lanes, T, H, C, BY_BATCH, BLOCK
    )
    inside = lane < lanes
    writes = inside
    if PHASE == "again":
        again = tl.load(flags + tile)
        stop = stop * again
        writes = lane < lanes * again
    # Carried: conj(a) e, with e = g + (carried) the gradient of the inputs.
    if PHASE == "ends":
        x = tl.zeros([BLOCK], dtype=grad.dtype.element_ty)
        y = x
        p = tl.full([BLOCK], 1.0, dtype=tl.float64)
        q = tl.zeros([BLOCK], dtype=tl.float64)
    else:
        x, y = _load(starts, place, inside, COMPLEX)
    total_x = tl.zeros([BLOCK], dtype=grad.dtype.element_ty)
    total_y = total_x
    a, c = _load(decay, decay_corner, inside, COMPLEX)
    for first in range(begin, stop, AHEAD):
        ahead = ()
        for k in tl.static_range(AHEAD):
            s = first + k
            t = (T - 1 - s if BACKWARD else s).to(tl.int64)
            valid = lane < tl.where(s < stop, lanes, 0)
            u, v = _load(grad, corner + t * H, valid, COMPLEX)
            if BY_STEP:
                a, c = _load(decay, decay_corner + t * H, valid, COMPLEX)
            forget = valid
            if RESETS:
                forget = tl.load(resets + b * T + t, mask=valid, other=0) != 0
            m, n = u, v
            if PHASE != "ends":
                before = (T - 2 - s if BACKWARD else s + 1).to(tl.int64)
                m, n = _load(
                    states,
                    corner + before * H,
                    lane < tl.where(s < tl.minimum(stop, T - 1), lanes, 0),
                    COMPLEX,
                )
            ahead = ahead + ((u, v, a, c, forget, m, n),)  # noqa: RUF005
        part_x = tl.zeros_like(total_x)
        part_y = part_x
        for k in tl.static_range(AHEAD):
            s = first + k
            t = (T - 1 - s if BACKWARD else s).to(tl.int64)
            valid = lane < tl.where(s < stop, lanes, 0)
            u, v, a, c, forget, m, n = ahead[k]
            u += x
            v += y
            x, y = _times(a, -c, u, v, COMPLEX)
            if RESETS:
                x = tl.where(forget, 0.0, x)
                y = tl.where(forget, 0.0, y)
            if PHASE == "ends":
                p, q = _times(p, q, a.to(tl.float64), -c.to(tl.float64), COMPLEX)
                if RESETS:
                    p = tl.where(forget, 0.0, p)
                    q = tl.where(forget, 0.0, q)
            else:
                _store(d_inputs, corner + t * H, u, v, valid, COMPLEX)
                # A step without a state before it adds nothing, even if e is not finite.
                adds = lane < tl.where(s < tl.minimum(stop, T - 1), lanes, 0)
                if RESETS:
                    adds = adds & (forget == 0)
                m, n = _times(u, v, m, -n, COMPLEX)
                m = tl.where(adds, m, 0.0)
                n = tl.where(adds, n, 0.0)
                if BY_STEP:
                    _store(d_decay, corner + t * H, m, n, valid, COMPLEX)
                else:
                    part_x += m
                    part_y += n
        total_x += part_x
        total_y += part_y
    if PHASE == "ends":
        _store(ends, place, x, y, inside, COMPLEX)
        _store(products, place, p, q, inside, COMPLEX)
    elif not BY_STEP:
        _store(d_decay, place, total_x, total_y, writes, COMPLEX)
    if PHASE == "chunks":
        tl.store(flags + tile, 1, mask=_not_finite(x, y, inside, COMPLEX) != 0)
    if PHASE == "again" and not BY_STEP:
        # The whole is in the first sum now; the other chunks' sums are void.
        for other in range(1, N):
            zero = tl.zeros_like(total_x)
            _store(d_decay, other * lanes + lane, zero, zero, writes, COMPLEX)


@triton.jit
def _carry(
    starts,
    ends,
    products,
    flags,
    lanes,
    N,
    COMPLEX: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Phase 2: fill in the states before the chunks, of which the first is there."""
    tile = tl.program_id(0)
    lane = tile.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < lanes
    x, y = _load(starts, lane, inside, COMPLEX)
    x = x.to(tl.float64)
    y = y.to(tl.float64)
    bad = 0
    for chunk in range(1, N):
        place = (chunk - 1) * lanes + lane
        p, q = _load(products, place, inside, COMPLEX)
        u, v = _load(ends, place, inside, COMPLEX)
        x, y = _times(p, q, x, y, COMPLEX)
        x += u.to(tl.float64)
        y += v.to(tl.float64)
        kept_x = x.to(starts.dtype.element_ty)
        kept_y = y.to(starts.dtype.element_ty)
        _store(starts, place + lanes, kept_x, kept_y, inside, COMPLEX)
        bad = tl.maximum(bad, _not_finite(kept_x, kept_y, inside, COMPLEX))
    tl.store(flags + tile, bad)
