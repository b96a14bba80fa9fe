"""Random words of many generators at once, and the symbols and numbers cut from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# 62 bits are the most that fit a signed 64-bit integer with a power-of-two range: 31 base-4
# digits. Shifts are cheaper than one generator step per symbol.
_WORD_RANGE = 1 << 62
BASE4_PER_WORD = 31
HALVES_PER_WORD = 2
_HALF_BITS = 31


def random_words(generators: Sequence[torch.Generator], counts: Tensor, most: int) -> Tensor:
    """Uniform 62-bit words: ``counts[r, b]`` of them for sequence b from generator r.

    A generator gives its sequences their words in order, each as many as it needs. So no number
    depends on other replicas, on longer sequences, or on how many sequences are drawn at once.

    Args:
        generators: one per replica, at least one.
        counts: (R, B) int64, on the generators' device.
        most: the largest count there can be.

    Returns:
        (R, B, most) int64; a sequence's words stand first, zeros follow.
    """
    totals = counts.sum(1).tolist()
    flat = torch.empty(sum(totals), dtype=torch.int64, device=generators[0].device)
    for part, generator in zip(flat.split(totals), generators, strict=True):
        part.random_(0, _WORD_RANGE, generator=generator)
    if len(flat) == most * counts.numel():
        return flat.view(*counts.shape, most)
    own = torch.arange(most, device=flat.device) < counts.unsqueeze(-1)
    return torch.zeros_like(own, dtype=torch.int64).masked_scatter_(own, flat)


def base4_digits(words: Tensor, n_digits: int) -> Tensor:
    """The first ``n_digits`` base-4 digits of each row of words (..., n_words) -> (..., n)."""
    shifts = torch.arange(0, 2 * BASE4_PER_WORD, 2, device=words.device)
    digits = (words.unsqueeze(-1) >> shifts).bitwise_and_(3).flatten(-2)
    return digits[..., :n_digits].contiguous()


def halves(words: Tensor, n_halves: int) -> Tensor:
    """The first ``n_halves`` 31-bit halves of each row of words (..., n_words) -> (..., n)."""
    low, high = words & ((1 << _HALF_BITS) - 1), words >> _HALF_BITS
    return torch.stack((low, high), -1).flatten(-2)[..., :n_halves]


def below(limit: int, halves: Tensor) -> Tensor:
    """Integers in ``0..limit-1``, one for each of the 31-bit ``halves`` (int64, any shape).

    They are uniform up to ``limit / 2^31``, which no sample can resolve.
    """
    return (halves * limit).bitwise_right_shift_(_HALF_BITS)


def unit_interval(halves: Tensor) -> Tensor:
    """Float32 numbers uniform on [0, 1), one for each of the 31-bit ``halves`` (int64, any shape).

    They are the multiples of 2^-24, all exact.
    """
    return (halves >> (_HALF_BITS - 24)).float().mul_(2.0**-24)
