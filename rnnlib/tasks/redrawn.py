"""A task whose length changes from update to update."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from rnnlib.checks import at_least
from rnnlib.tasks.task import Task
from rnnlib.tasks.words import random_words


@dataclass(frozen=True)
class Redrawn(Task):
    """A task whose length is drawn anew for every update, uniform on ``shortest..longest``.

    One network then has to solve the task at every length. The authors' program trains on 50..199;
    a length that the task itself varies, as addition does, varies about the one drawn here.
    The trivial loss is a mean over the lengths; the trivial error is the same at all of them.

    Source: Pascanu, Mikolov & Bengio (2013), supplement, "a single model".

    Raises:
        ArgumentError: if ``shortest`` is below what the task allows or above ``longest``.
    """

    task: Task
    shortest: int = 50
    longest: int = 199

    def __post_init__(self) -> None:
        at_least("shortest", self.shortest, self.task.min_nominal_length)
        at_least("longest", self.longest, self.shortest)

    @property
    def n_inputs(self) -> int:
        return self.task.n_inputs

    @property
    def n_outputs(self) -> int:
        return self.task.n_outputs

    @property
    def every_step(self) -> bool:
        return self.task.every_step

    @property
    def min_length(self) -> int:
        return self.task.min_length

    @property
    def max_length(self) -> int:
        return self.of_length(self.longest).max_length

    @property
    def nominal_length(self) -> int:
        return self.longest

    @property
    def min_nominal_length(self) -> int:
        return self.task.min_nominal_length

    @property
    def trivial_loss(self) -> float:
        lengths = range(self.shortest, self.longest + 1)
        return fmean(self.of_length(length).trivial_loss for length in lengths)

    @property
    def trivial_error(self) -> float:
        return self.task.trivial_error

    def of_length(self, seq_len: int) -> Task:
        return self.task.of_length(seq_len)

    def words_for(self, lengths: Tensor) -> Tensor:
        return self.task.words_for(lengths)

    def lay_out(self, words: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        return self.task.lay_out(words, lengths, longest)

    def draw_lengths(self, n: int, generator: torch.Generator) -> Tensor:
        at_least("n", n, 0)
        counts = torch.full((1, n), 2, device=generator.device)
        which, words = random_words([generator], counts, 2)[0].unbind(-1)
        span = self.longest - self.shortest + 1
        return self.task.stretch(self.shortest + which % span, words)

    def loss(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.task.loss(outputs, targets, lengths)

    def wrong(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.task.wrong(outputs, targets, lengths)
