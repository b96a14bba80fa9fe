"""Synthetic sequence tasks: temporal order, in the six- and the eight-symbol version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, at_least

# One random word holds 31 base-4 digits: 62 bits, the most that fits a signed 64-bit integer
# with a power-of-two range. Shifts are cheaper than one generator step per symbol.
_DIGITS_PER_WORD = 31
_WORD_RANGE = 1 << 62


@dataclass(frozen=True)
class TemporalOrder:
    """Classify a sequence by the order of its two relevant symbols among distractors.

    Symbols are 0 = A, 1 = B (relevant) and 2..5 = c, d, e, f (distractors). Time is zero-based:
    the first relevant symbol stands at ``s + U{0, s-1}`` with ``s = floor(T/10)``, the second at
    ``floor(T/2) + U{0, s-1}``. The class is ``v0 + 2 v1`` with ``v = 0`` for A and 1 for B.
    For T below 20 both positions are fixed, so those lengths are an easier task.

    Source: length-scaled version of task 6a of Hochreiter & Schmidhuber (1997), as used by
    Pascanu, Mikolov & Bengio (2012), Fig. 7. The symbols of a sequence carry ``ln 4`` nats about
    the class only through the two relevant positions; chance is ``ln 4`` nats and 75 % error.

    Raises:
        ArgumentError: if ``seq_len`` is below 10 or ``symbols`` is not 6.
    """

    seq_len: int
    symbols: int = 6

    n_classes: ClassVar[int] = 4

    def __post_init__(self) -> None:
        at_least("seq_len", self.seq_len, 10)
        if self.symbols != 6:
            raise ArgumentError(
                f"symbols must be 6, got {self.symbols!r}; TemporalOrderOriginal has 8"
            )

    @property
    def n_symbols(self) -> int:
        """Number of input symbols, the width of a one-hot input."""
        return self.symbols

    @property
    def spread(self) -> int:
        """Number of places each relevant symbol can take, ``floor(T/10)``."""
        return self.seq_len // 10

    def sample(self, batch: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch.

        Returns:
            symbols (batch, time) int64 and targets (batch,) int64, on the generator's device.
        """
        symbols, targets = self.sample_replicas(batch, [generator])
        return symbols[0], targets[0]

    def sample_replicas(
        self, batch: int, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Draw one batch per generator at once; replica r equals ``sample(batch, g_r)``.

        Returns:
            symbols (replicas, batch, time) int64 and targets (replicas, batch) int64.

        Raises:
            ArgumentError: if ``generators`` is empty or ``batch`` is negative.
        """
        at_least("batch", batch, 0)
        n_words = -(-self.seq_len // _DIGITS_PER_WORD)
        words = _random_words(generators, (batch, 1 + n_words))
        layout, noise = words[..., 0], words[..., 1:]
        symbols = _base4_digits(noise, self.seq_len).add_(2)

        # The layout word splits into independent fields: two bits, then two offsets. The offsets
        # are uniform up to spread^2 / 2^60, which no sample can resolve.
        v0, v1 = layout & 1, (layout >> 1) & 1
        offsets = layout >> 2
        p0 = self.spread + offsets % self.spread
        p1 = self.seq_len // 2 + (offsets // self.spread) % self.spread
        symbols.scatter_(-1, torch.stack((p0, p1), -1), torch.stack((v0, v1), -1))
        return symbols, v0 + 2 * v1


@dataclass(frozen=True)
class TemporalOrderOriginal:
    """Task 6a as first published: eight symbols, start E, trigger B, length 100 to 110.

    Symbols are 0 = E, 1 = B, 2..5 = a, b, c, d (distractors), 6 = X, 7 = Y (relevant). Position 0
    is E and the last position is B; the relevant symbols stand at ``t1`` in 10..20 and ``t2`` in
    50..60 (zero-based, both ends included); the length is uniform in 100..110. The class is
    ``v1 + 2 v2`` with ``v = 0`` for X and 1 for Y, as in :class:`TemporalOrder`.

    Source: Hochreiter & Schmidhuber (1997), section 5.6, task 6a. The paper does not say whether
    positions count from 0 or 1; they count from 0 here.
    """

    n_symbols: ClassVar[int] = 8
    n_classes: ClassVar[int] = 4
    min_len: ClassVar[int] = 100
    max_len: ClassVar[int] = 110
    padding: ClassVar[int] = -1

    def sample(self, batch: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a batch of sequences of different lengths.

        Returns:
            symbols (batch, 110) int64 with ``padding`` = -1 after the trigger, so that a one-hot
            encoding which forgets the lengths fails; lengths (batch,) int64; targets (batch,).
        """
        at_least("batch", batch, 0)
        n_words = -(-self.max_len // _DIGITS_PER_WORD)
        words = _random_words([generator], (batch, 1 + n_words))[0]
        layout, noise = words[:, 0], words[:, 1:]
        symbols = _base4_digits(noise, self.max_len).add_(2)

        v1, v2 = layout & 1, (layout >> 1) & 1
        places = layout >> 2
        t1, t2 = 10 + places % 11, 50 + (places // 11) % 11
        lengths = self.min_len + (places // 121) % 11
        symbols.scatter_(1, torch.stack((t1, t2), 1), torch.stack((6 + v1, 6 + v2), 1))
        symbols[:, 0] = 0
        symbols.scatter_(1, lengths[:, None] - 1, 1)
        time = torch.arange(self.max_len, device=symbols.device)
        symbols.masked_fill_(time >= lengths[:, None], self.padding)
        return symbols, lengths, v1 + 2 * v2


def _random_words(generators: Sequence[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    """Uniform 62-bit words, one leading row per generator; a row depends on its own only."""
    if not generators:
        raise ArgumentError("generators must hold at least one torch.Generator, got none")
    words = torch.empty((len(generators), *shape), dtype=torch.int64, device=generators[0].device)
    for row, generator in zip(words, generators, strict=True):
        row.random_(0, _WORD_RANGE, generator=generator)
    return words


def _base4_digits(words: Tensor, n_digits: int) -> Tensor:
    """The first ``n_digits`` base-4 digits of each row of words (..., n_words) -> (..., n)."""
    shifts = torch.arange(0, 2 * _DIGITS_PER_WORD, 2, device=words.device)
    digits = (words.unsqueeze(-1) >> shifts).bitwise_and_(3).flatten(-2)
    return digits[..., :n_digits].contiguous()
