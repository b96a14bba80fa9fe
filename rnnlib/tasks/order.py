"""Temporal order: name the order of two or three relevant symbols among distractors."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, at_least, one_of
from rnnlib.tasks.task import Task
from rnnlib.tasks.words import BASE4_PER_WORD, base4_digits, random_words


class _Order(Task):
    """Relevant symbols ``v_i`` (0 = A, 1 = B) among distractors 2..5; class ``sum_i 2^i v_i``.

    Symbol i stands at ``floor(k_i T/10) + U{0, s-1}`` with ``s = floor(T/10)`` and ``k_i`` in
    ``tenths``.
    """

    n_inputs: ClassVar[int] = 6
    every_step: ClassVar[bool] = False
    min_length: ClassVar[int] = 10
    seq_len: int

    @property
    @abstractmethod
    def tenths(self) -> tuple[int, ...]: ...

    @property
    def n_outputs(self) -> int:
        return 2 ** len(self.tenths)

    @property
    def max_length(self) -> int:
        return self.seq_len

    @property
    def trivial_loss(self) -> float:
        return math.log(self.n_outputs)

    @property
    def trivial_error(self) -> float:
        return 1 - 1 / self.n_outputs

    def words_for(self, lengths: Tensor) -> Tensor:
        return 1 - (-lengths).div(BASE4_PER_WORD, rounding_mode="floor")

    def lay_out(self, words: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        layout, noise = words[..., 0], words[..., 1:]
        symbols = base4_digits(noise, longest).add_(2)

        # The layout word splits into independent fields: a bit for each relevant symbol, then an
        # offset for each. The offsets are uniform up to spread^n / 2^59, which no sample can
        # resolve.
        spread, n = lengths // 10, len(self.tenths)
        values, places, target, offsets = [], [], torch.zeros_like(layout), layout >> n
        for i, tenths in enumerate(self.tenths):
            values.append((layout >> i) & 1)
            places.append(tenths * lengths // 10 + offsets % spread)
            target += values[i] << i
            offsets = offsets // spread
        symbols.scatter_(-1, torch.stack(places, -1), torch.stack(values, -1))
        return symbols, target


@dataclass(frozen=True)
class TemporalOrder(_Order):
    """Classify a sequence by the order of its two relevant symbols among distractors.

    Symbols are 0 = A, 1 = B (relevant) and 2..5 = c, d, e, f (distractors). Time is zero-based:
    the first relevant symbol stands at ``s + U{0, s-1}`` with ``s = floor(T/10)``, the second at
    ``floor(T/2) + U{0, s-1}``. The class is ``v0 + 2 v1`` with ``v = 0`` for A and 1 for B.
    For T below 20 both positions are fixed, so those lengths are an easier task.

    Source: length-scaled version of task 6a of Hochreiter & Schmidhuber (1997), as used by
    Pascanu, Mikolov & Bengio (2012), Fig. 7, and (2013), Fig. 7. The symbols of a sequence carry
    ``ln 4`` nats about the class only through the two relevant positions; chance is ``ln 4`` nats
    and 75 % error.

    Args:
        places: "program", the authors' published program and the default; or "text", the
            supplement of 2013, where the second symbol comes from ``floor(4T/10)`` on. The former
            agrees with the places of 1997, 50 to 60 of 100.

    Raises:
        ArgumentError: if ``seq_len`` is below 10, ``symbols`` is not 6, or ``places`` unknown.
    """

    seq_len: int
    symbols: int = 6
    places: str = "program"

    def __post_init__(self) -> None:
        at_least("seq_len", self.seq_len, self.min_length)
        if self.symbols != 6:
            raise ArgumentError(
                f"symbols must be 6, got {self.symbols!r}; TemporalOrderOriginal has 8"
            )
        one_of("places", self.places, ("program", "text"))

    @property
    def tenths(self) -> tuple[int, ...]:
        return (1, 5) if self.places == "program" else (1, 4)

    def of_length(self, seq_len: int) -> TemporalOrder:
        return replace(self, seq_len=seq_len)


@dataclass(frozen=True)
class TemporalOrder3Bit(_Order):
    """Temporal order with three relevant symbols and eight classes.

    As :class:`TemporalOrder`, at ``floor(kT/10) + U{0, s-1}`` for k = 1, 3 and 6; the class is
    ``v0 + 2 v1 + 4 v2``. Chance is ``ln 8`` nats and 87.5 % error.

    Source: Pascanu, Mikolov & Bengio (2013), supplement; their text and program agree. Scaled from
    task 6b of Hochreiter & Schmidhuber (1997): places 10-20, 33-43 and 66-76 of 100 to 110.

    Raises:
        ArgumentError: if ``seq_len`` is below 10.
    """

    seq_len: int

    tenths: ClassVar[tuple[int, ...]] = (1, 3, 6)

    def __post_init__(self) -> None:
        at_least("seq_len", self.seq_len, self.min_length)

    def of_length(self, seq_len: int) -> TemporalOrder3Bit:
        return replace(self, seq_len=seq_len)


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
        n_words = 1 - (-self.max_len // BASE4_PER_WORD)
        counts = torch.full((1, batch), n_words, device=generator.device)
        words = random_words([generator], counts, n_words)[0]
        layout, noise = words[:, 0], words[:, 1:]
        symbols = base4_digits(noise, self.max_len).add_(2)

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
