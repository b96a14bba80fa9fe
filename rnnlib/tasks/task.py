"""What an experiment may ask of any synthetic task, and what the tasks have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rnnlib.checks import ArgumentError, at_least, shape
from rnnlib.tasks.words import random_words


class Batch(NamedTuple):
    """Sequences of R replicas, padded with zeros behind their ends.

    Zero is also a symbol and a value: the padding can be fed to a network, which has to stop at
    ``lengths``.

    Attributes:
        inputs: (R, B, T) int64 symbols, or (R, B, T, channels) float32.
        targets: (R, B), or (R, B, T) where outputs are read at every step; int64 classes, or
            float32 numbers.
        lengths: (R, B) int64, the steps of each sequence.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor


class Task(Protocol):
    """A family of sequences with targets; by default classes, judged in nats.

    Attributes:
        n_inputs: width of the input: symbols to encode, or channels.
        n_outputs: width of the output: classes, or numbers.
        every_step: whether outputs are read at every step, or at the last one only.
        min_length, max_length: the fewest steps a sequence can have, and the most that
            ``draw_lengths`` gives it.
        nominal_length: what ``of_length`` takes to give this task; where lengths are redrawn, the
            longest of them. It is the number of steps unless the paper counts otherwise.
        min_nominal_length: the least that ``of_length`` takes.
        trivial_loss: expected loss of the best answer that knows the length and nothing else of a
            sequence.
        trivial_error: share of sequences that this same answer gets wrong.
    """

    @property
    @abstractmethod
    def n_inputs(self) -> int: ...
    @property
    @abstractmethod
    def n_outputs(self) -> int: ...
    @property
    @abstractmethod
    def every_step(self) -> bool: ...
    @property
    @abstractmethod
    def min_length(self) -> int: ...
    @property
    @abstractmethod
    def max_length(self) -> int: ...
    @property
    def nominal_length(self) -> int:
        return self.max_length

    @property
    def min_nominal_length(self) -> int:
        return self.min_length

    @property
    @abstractmethod
    def trivial_loss(self) -> float: ...
    @property
    @abstractmethod
    def trivial_error(self) -> float: ...

    @abstractmethod
    def of_length(self, seq_len: int) -> Task:
        """The same task at another length."""

    @abstractmethod
    def words_for(self, lengths: Tensor) -> Tensor:
        """How many random words a sequence of each length needs: int64, of the same shape.

        Longer ones need no fewer.
        """

    @abstractmethod
    def lay_out(self, words: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        """Make sequences from random words.

        Args:
            words: (R, B, words) int64 of `rnnlib.tasks.words.random_words`.
            lengths: (R, B) int64, the steps of each sequence.
            longest: how many steps to lay out; what stands behind an end does not matter.

        Returns:
            inputs and targets as in `Batch`, of ``longest`` steps.
        """

    def stretch(self, seq_lens: Tensor, words: Tensor) -> Tensor:
        """Steps of sequences whose length is called ``seq_lens``; the same unless overridden.

        Args:
            seq_lens, words: int64 of one shape, which is also that of the answer.
        """
        return seq_lens

    def draw_lengths(self, n: int, generator: torch.Generator) -> Tensor:
        """Steps of all sequences of an update, for ``n`` updates in turn: (n,) int64.

        Where the length is fixed, nothing is drawn.
        """
        at_least("n", n, 0)
        return torch.full((n,), self.max_length, device=generator.device)

    def sample(self, batch: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw sequences of one length.

        Returns:
            inputs (batch, time[, channels]) and targets (batch[, time]), on the generator's
            device.
        """
        inputs, targets, _ = self.sample_replicas(batch, [generator])
        return inputs[0], targets[0]

    def sample_replicas(
        self, batch: int, generators: Sequence[torch.Generator], lengths: Tensor | None = None
    ) -> Batch:
        """Draw ``batch`` sequences from each generator at once.

        A generator's sequences follow one another in its stream: two updates drawn together are
        the two drawn in turn, and a replica is what it is alone, up to the padding.

        Args:
            lengths: (R, batch) int64, steps of each sequence; without it the sequences of a
                replica share a length, drawn from its generator first where it is not fixed.

        Raises:
            ArgumentError: if ``generators`` is empty, ``batch`` negative, or ``lengths`` of another
                shape or dtype, or shorter than the task allows.
        """
        at_least("batch", batch, 0)
        if not generators:
            raise ArgumentError("generators must hold at least one torch.Generator, got none")
        if lengths is None:
            drawn = [self.draw_lengths(1, generator) for generator in generators]
            lengths = torch.stack(drawn).repeat(1, batch)
        else:
            self._accept(shape("lengths", lengths, (len(generators), batch)))
        longest = int(lengths.max()) if lengths.numel() else self.max_length
        most = int(self.words_for(torch.tensor(longest)))
        words = random_words(generators, self.words_for(lengths), most)
        inputs, targets = self.lay_out(words, lengths, longest)
        if lengths.numel() and int(lengths.min()) < longest:
            behind = _behind(lengths, longest)
            inputs.masked_fill_(behind[(...,) + (None,) * (inputs.dim() - 3)], 0)
            if self.every_step:
                targets.masked_fill_(behind, 0)
        return Batch(inputs, targets, lengths)

    def loss(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Loss of each sequence (R, B): cross-entropy in nats, a mean over the steps read.

        Args:
            outputs: (R, B, n_outputs), or (R, B, T, n_outputs) where ``every_step``.
            targets: as in the :class:`Batch`.
            lengths: (R, B), to leave out the padding; None where there is none.

        Raises:
            ArgumentError: if the shapes do not match.
        """
        self._check(outputs, targets, lengths)
        nats = cross_entropy(outputs.movedim(-1, 1), targets, reduction="none")
        if not self.every_step:
            return nats
        if lengths is None:
            return nats.mean(-1)
        return nats.masked_fill(_behind(lengths, nats.shape[-1]), 0).sum(-1) / lengths

    def wrong(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Which sequences are answered wrongly, (R, B) bool: arguments as of ``loss``.

        A class is wrong where it is not the target; with ``every_step`` one wrong step is enough.
        An answer with a NaN is wrong.
        """
        wrong = self._wrong_class(outputs, targets, lengths)
        if not self.every_step:
            return wrong
        if lengths is not None:
            wrong = wrong.masked_fill(_behind(lengths, wrong.shape[-1]), False)
        return wrong.any(-1)

    def _wrong_class(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None) -> Tensor:
        self._check(outputs, targets, lengths)
        return (outputs.argmax(-1) != targets) | outputs.isnan().any(-1)

    def _check(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None) -> None:
        shape("targets", targets, (None,) * (3 if self.every_step else 2))
        shape("outputs", outputs, (*targets.shape, self.n_outputs))
        if lengths is not None:
            shape("lengths", lengths, targets.shape[:2])

    def _accept(self, lengths: Tensor) -> None:
        if lengths.dtype != torch.int64:
            raise ArgumentError(f"lengths must have dtype torch.int64, got {lengths.dtype}")
        if lengths.numel() and int(lengths.min()) < self.min_length:
            raise ArgumentError(
                f"lengths must be >= {self.min_length} in all sequences, got {int(lengths.min())}"
            )


def _behind(lengths: Tensor, longest: int) -> Tensor:
    """Which of ``longest`` steps lie behind the end, (..., longest) bool."""
    return torch.arange(longest, device=lengths.device) >= lengths.unsqueeze(-1)
