"""Random permutation and noiseless memorisation: repeat symbols seen at the beginning."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from rnnlib.checks import at_least, one_of
from rnnlib.tasks.task import Task
from rnnlib.tasks.words import HALVES_PER_WORD, below, halves


@dataclass(frozen=True)
class RandomPermutation(Task):
    """Predict the last of ``L + 1`` symbols, which repeats the first, from the ``L`` before it.

    The first symbol is 0 or 1; the ones between are independent and uniform on 2..99, so no
    permutation in spite of the name. Nothing in the input announces the end.

    Source: Pascanu, Mikolov & Bengio (2013), supplement; after task 2b of Hochreiter & Schmidhuber
    (1997).

    Args:
        targets: "last", the authors' program and the default: the last symbol alone is asked, and
            chance is ``ln 2`` nats and 50 % error. Or "every", the text: the next symbol is asked
            at every step, though all but the last are noise, ``ln 98`` nats each. An answer is
            right in either case where the last symbol is.

    Raises:
        ArgumentError: if ``seq_len`` is below 2, or ``targets`` unknown.
    """

    seq_len: int
    targets: str = "last"

    n_inputs: ClassVar[int] = 100
    n_outputs: ClassVar[int] = 100
    min_length: ClassVar[int] = 2
    n_distractors: ClassVar[int] = 98
    trivial_error: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        at_least("seq_len", self.seq_len, self.min_length)
        one_of("targets", self.targets, ("last", "every"))

    @property
    def every_step(self) -> bool:
        return self.targets == "every"

    @property
    def max_length(self) -> int:
        return self.seq_len

    @property
    def trivial_loss(self) -> float:
        if not self.every_step:
            return math.log(2)
        noise = (self.seq_len - 1) * math.log(self.n_distractors)
        return (noise + math.log(2)) / self.seq_len

    def of_length(self, seq_len: int) -> RandomPermutation:
        return replace(self, seq_len=seq_len)

    def words_for(self, lengths: Tensor) -> Tensor:
        return 1 - (1 - lengths).div(HALVES_PER_WORD, rounding_mode="floor")

    def lay_out(self, words: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        first = words[..., :1] & 1
        noise = below(self.n_distractors, halves(words[..., 1:], longest - 1)).add_(2)
        inputs = torch.cat((first, noise), -1)
        if not self.every_step:
            return inputs, first[..., 0]
        following = torch.cat((noise, first), -1)
        return inputs, following.scatter_(-1, lengths.unsqueeze(-1) - 1, first)

    def wrong(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Which sequences end with a wrong answer, (R, B) bool; arguments as of ``loss``."""
        wrong = self._wrong_class(outputs, targets, lengths)
        if not self.every_step:
            return wrong
        if lengths is None:
            return wrong[..., -1]
        return wrong.gather(-1, lengths.unsqueeze(-1) - 1)[..., 0]


@dataclass(frozen=True)
class Memorisation(Task):
    """Repeat a pattern after ``delay`` steps of blanks, on a cue.

    Of ``delay + 2 n_positions`` steps the first ``n_positions`` show the pattern, symbols
    0..n_values-1; the others are blank, ``n_values``, but for the cue, ``n_values + 1``, at step
    ``delay + n_positions``. The answer is blank up to there and the pattern from there on, so the
    cue comes with the first symbol to be recalled. (Martens & Sutskever, 2011, show it one step
    before.) A sequence is right where all of its steps are.

    The trivial answer, blanks and then any pattern, costs
    ``n_positions ln(n_values) / (delay + 2 n_positions)`` nats a step.

    Source: Pascanu, Mikolov & Bengio (2013), supplement. "5 bit" is ``Memorisation(T)``, 32
    patterns; "20 bit" is ``Memorisation(T, 10, 5)``, ``5^10`` patterns or 23.2 bits. The authors'
    program shows all 32 patterns of "5 bit" in one batch; here they are drawn like any others.

    Raises:
        ArgumentError: if ``delay`` is negative, ``n_positions`` below 1 or ``n_values`` below 2.
    """

    delay: int
    n_positions: int = 5
    n_values: int = 2

    every_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        at_least("delay", self.delay, 0)
        at_least("n_positions", self.n_positions, 1)
        at_least("n_values", self.n_values, 2)

    @property
    def n_inputs(self) -> int:
        return self.n_values + 2

    @property
    def n_outputs(self) -> int:
        return self.n_values + 1

    @property
    def min_length(self) -> int:
        return 2 * self.n_positions

    @property
    def max_length(self) -> int:
        return self.delay + 2 * self.n_positions

    @property
    def nominal_length(self) -> int:
        return self.delay

    @property
    def min_nominal_length(self) -> int:
        return 0

    @property
    def n_patterns(self) -> int:
        return int(self.n_values**self.n_positions)

    @property
    def trivial_loss(self) -> float:
        return self.n_positions * math.log(self.n_values) / self.max_length

    @property
    def trivial_error(self) -> float:
        return 1 - 1 / self.n_patterns

    def of_length(self, seq_len: int) -> Memorisation:
        """The task with a delay of ``seq_len`` steps: the paper calls the delay its length."""
        return replace(self, delay=seq_len)

    def stretch(self, seq_lens: Tensor, words: Tensor) -> Tensor:
        return seq_lens + 2 * self.n_positions

    def words_for(self, lengths: Tensor) -> Tensor:
        return torch.full_like(lengths, -(-self.n_positions // HALVES_PER_WORD))

    def lay_out(self, words: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        pattern = below(self.n_values, halves(words, self.n_positions))
        cue = (lengths - self.n_positions).unsqueeze(-1)
        inputs = pattern.new_full((*lengths.shape, longest), self.n_values)
        targets = inputs.clone()
        inputs[..., : self.n_positions] = pattern
        inputs.scatter_(-1, cue, self.n_values + 1)
        order = torch.arange(self.n_positions, device=pattern.device)
        return inputs, targets.scatter_(-1, cue + order, pattern)
