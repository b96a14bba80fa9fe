"""Addition and multiplication: combine the two marked numbers of a sequence."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from rnnlib.checks import at_least, one_of
from rnnlib.tasks.task import Task
from rnnlib.tasks.words import HALVES_PER_WORD, halves, random_words, unit_interval

# What |error| of a right answer may reach, or stays below, by each criterion.
_TOLERANCE = {"squared": 0.2, "absolute": 0.04}


@dataclass(frozen=True)
class _Marked(Task):
    """Two channels: 0 marks two positions with 1, 1 holds values ``U[0, 1)``.

    The length is ``l = L + U{0, floor(L/10)-1}`` with ``L = seq_len``, one draw for a group of
    sequences; the marked positions are ``p0 = U{0, a-1}`` and ``p1 = a + U{0, floor(4l/10)-1}``
    with ``a = floor(l/10)``.
    """

    seq_len: int
    criterion: str = "squared"

    n_inputs: ClassVar[int] = 2
    n_outputs: ClassVar[int] = 1
    every_step: ClassVar[bool] = False
    min_length: ClassVar[int] = 10

    def __post_init__(self) -> None:
        at_least("seq_len", self.seq_len, self.min_length)
        one_of("criterion", self.criterion, _TOLERANCE)

    @staticmethod
    @abstractmethod
    def combine(marked: Tensor) -> Tensor:
        """Target of marked values (..., 2) -> (...)."""

    @property
    def max_length(self) -> int:
        return self.seq_len + self.seq_len // 10 - 1

    @property
    def nominal_length(self) -> int:
        return self.seq_len

    @property
    def tolerance(self) -> float:
        """The bound on the absolute error of a right answer: .2 or .04."""
        return _TOLERANCE[self.criterion]

    def stretch(self, seq_lens: Tensor, words: Tensor) -> Tensor:
        return seq_lens + words % (seq_lens // 10)

    def draw_lengths(self, n: int, generator: torch.Generator) -> Tensor:
        at_least("n", n, 0)
        counts = torch.ones((1, n), dtype=torch.int64, device=generator.device)
        words = random_words([generator], counts, 1)[0, :, 0]
        return self.stretch(torch.full_like(words, self.seq_len), words)

    def words_for(self, lengths: Tensor) -> Tensor:
        return 1 - (-lengths).div(HALVES_PER_WORD, rounding_mode="floor")

    def lay_out(self, words: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        layout, tenth = words[..., 0], lengths // 10
        places = torch.stack(
            (layout % tenth, tenth + (layout // tenth) % (4 * lengths // 10)), dim=-1
        )
        values = unit_interval(halves(words[..., 1:], longest))
        inputs = values.new_zeros(*values.shape, 2)
        inputs[..., 0].scatter_(-1, places, 1.0)
        inputs[..., 1] = values
        return inputs, self.combine(values.gather(-1, places))

    def loss(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Squared error of each sequence (R, B), without a factor 1/2; ``lengths`` are ignored.

        Raises:
            ArgumentError: if the shapes do not match.
        """
        self._check(outputs, targets, lengths)
        return (outputs[..., 0] - targets).square()

    def wrong(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Which answers miss the criterion, (R, B) bool; a NaN does. Arguments as of ``loss``."""
        self._check(outputs, targets, lengths)
        error = (outputs[..., 0] - targets).abs()
        right = error.square() <= 0.04 if self.criterion == "squared" else error < 0.04
        return ~right


@dataclass(frozen=True)
class Addition(_Marked):
    """Answer half the sum of the two marked numbers, ``(v0 + v1) / 2``, after the last step.

    The trivial answer 1/2 has the loss 1/24; it is wrong in 36 % of the sequences by "squared" and
    in 84.64 % by "absolute".

    Source: Pascanu, Mikolov & Bengio (2013), supplement; task 4 of Hochreiter & Schmidhuber (1997),
    which had values in [-1, 1], markers -1 at both ends and the target ``.5 + (v0 + v1) / 4``.

    Args:
        criterion: "squared", the proceedings and the authors' program and the default: the squared
            error is at most .04, so the error at most .2; or "absolute", the supplement of the
            arXiv text and the paper of 1997: the error is below .04.

    Raises:
        ArgumentError: if ``seq_len`` is below 10, the shortest with a place for each marker, or
            ``criterion`` unknown.
    """

    @staticmethod
    def combine(marked: Tensor) -> Tensor:
        return marked.mean(-1)

    @property
    def trivial_loss(self) -> float:
        return 1 / 24

    @property
    def trivial_error(self) -> float:
        # The mean of two uniform numbers has a triangular density, 4 (1/2 - |e|) at distance e.
        return (1 - 2 * self.tolerance) ** 2

    def of_length(self, seq_len: int) -> Addition:
        return replace(self, seq_len=seq_len)


@dataclass(frozen=True)
class Multiplication(_Marked):
    """Answer the product ``v0 v1`` of the two marked numbers; otherwise as :class:`Addition`.

    The trivial answer 1/4 has the least loss, 7/144; it is wrong in 39.05 % of the sequences by
    "squared" and in 88.88 % by "absolute". It is not the constant with the fewest wrong answers:
    the density of the product falls from 0 on, so that the constant .2 is wrong by "squared" in
    23.35 %, and .04 by "absolute" in 71.79 %.

    Source: Pascanu, Mikolov & Bengio (2013), supplement; task 5 of Hochreiter & Schmidhuber (1997).
    """

    @staticmethod
    def combine(marked: Tensor) -> Tensor:
        return marked.prod(-1)

    @property
    def trivial_loss(self) -> float:
        return 7 / 144

    @property
    def trivial_error(self) -> float:
        def share_below(x: float) -> float:
            return x - x * math.log(x)  # P(v0 v1 < x)

        return 1 - share_below(0.25 + self.tolerance) + share_below(0.25 - self.tolerance)

    def of_length(self, seq_len: int) -> Multiplication:
        return replace(self, seq_len=seq_len)
