"""Training networks on a synthetic task until they pass an exam: data streams and exams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rnnlib.init import spectral_radius
from rnnlib.kernels import Errors
from rnnlib.models import Elman
from rnnlib.tasks.task import Batch, Task
from rnnlib.train import History

WEIGHTS, TRAINING, SCREEN, TEST, LENGTHS, LONGER, INSIDE = range(7)
"""What a seed's random streams are for; the training data's lengths have one of their own."""

RELAPSED = 0.1
"""The share of wrong answers above which a network has lost a task that it had solved."""

_BLOCK_SYMBOLS = 2**24  # 128 MiB; a thousand updates of the paper's size would take 12 GB
_ASKED_AT_ONCE = 100  # sequences of an exam that share a length, where the task varies it


def stream(seed: int, *purpose: int) -> torch.Generator:
    """A stream of its own for each seed and purpose, the same whatever else is in the stack.

    torch's CPU generator reads the low 32 bits alone, so that two streams could be one; a test
    holds that those in use differ.
    """
    state = seed + 1
    for number in purpose:
        state = (state * 6_364_136_223_846_793_005 + number + 1_442_695_040_888_963_407) % 2**63
    return torch.Generator().manual_seed(state)


def answers(
    work: Elman, task: Task, batch: Batch, errors: Errors | None = None
) -> tuple[Tensor, Batch]:
    """Outputs ``(R, B, O)``, or ``(R, B, T, O)`` where the task reads every step, and the batch.

    The sequences of a replica must be of one length; the batch comes back cut to the longest, on
    the network's device.
    """
    device = work.W_rec.device
    longest = int(batch.lengths.max())
    inputs, targets = batch.inputs[:, :, :longest], batch.targets
    if task.every_step:
        targets = targets[:, :, :longest]
    lengths = batch.lengths[:, 0]
    cut = Batch(inputs.to(device), targets.to(device), batch.lengths.to(device))
    states = work.states(
        cut.inputs,
        last=not task.every_step,
        lengths=None if bool((lengths == longest).all()) else lengths.to(device),
        errors=errors,
    )
    return work.read_out(states), cut


class Data:
    """Training batches: one stream a seed, shared by all of its arms, drawn a block ahead.

    A block is at most ``longest`` updates and at most ``_BLOCK_SYMBOLS`` long; where it ends
    changes no number, since a stream is drawn in order.
    """

    def __init__(
        self, task: Task, seeds: tuple[int, ...], batch: int, longest: int, device: str
    ) -> None:
        symbols_an_update = len(seeds) * batch * task.max_length
        self.block = max(1, min(longest, _BLOCK_SYMBOLS // symbols_an_update))
        self.task, self.batch, self.device = task, batch, device
        self.generators = [stream(seed, TRAINING) for seed in seeds]
        self.of_lengths = [stream(seed, LENGTHS) for seed in seeds]
        self.before: list[Tensor] = []  # states of the generators before the block at hand
        self.drawn: Batch | None = None

    def at(self, step: int, seeds: Tensor) -> Batch:
        """The sequences of an update for those seeds: ``(n, batch, ...)``.

        To be asked for every step in turn: the first of a block draws the whole block.
        """
        place = (step - 1) % self.block
        if place == 0 or self.drawn is None:
            self._draw()
        assert self.drawn is not None
        rows = slice(place * self.batch, (place + 1) * self.batch)
        return Batch(*(part[:, rows][seeds.to(part.device)] for part in self.drawn))

    def _draw(self) -> None:
        everything = (*self.generators, *self.of_lengths)
        self.before = [generator.get_state() for generator in everything]
        lengths = torch.stack([self.task.draw_lengths(self.block, g) for g in self.of_lengths])
        lengths = lengths.repeat_interleave(self.batch, dim=1)
        drawn = self.task.sample_replicas(self.block * self.batch, self.generators, lengths)
        self.drawn = Batch(
            drawn.inputs.to(self.device), drawn.targets.to(self.device), drawn.lengths
        )

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.before}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draw the block at hand again, from the states before it."""
        everything = (*self.generators, *self.of_lengths)
        for generator, before in zip(everything, state["before"], strict=True):
            generator.set_state(before)
        self._draw()


class Exam:
    """Asks each network fresh sequences and keeps what it answered.

    Every ``check_every`` updates a network answers ``screen`` sequences. If at most 1.5 % of the
    answers are wrong it answers ``test`` more, and has solved the task if at most 1 % of those are
    wrong. It then goes on for ``linger`` updates, in which it may relapse, and, with
    ``until_perfect``, until every answer to a screen has been right once. A network that has not
    solved the task at update ``n_updates`` is done; training may last for ``linger`` more.

    Attributes:
        solved_at, perfect_at, rho_passed_one_at: ``(R,)`` int64, the first update at which it was
            seen that the task is solved, a screen has no wrong answer, and the spectral radius of
            W_rec is above 1; -1 before.
        relapses: ``(R,)`` int64, how often a network that had solved the task was found with more
            than `RELAPSED` wrong answers after a screen with fewer.
        error, best: ``(R,)``, share of wrong answers to the last screen, and the least of any.
    """

    def __init__(
        self,
        task: Task,
        seeds: tuple[int, ...],
        seed_of: Tensor,
        *,
        n_updates: int,
        check_every: int,
        screen: int,
        test: int,
        until_perfect: bool = False,
        linger: int = 0,
    ) -> None:
        self.task, self.seeds, self.seed_of = task, seeds, seed_of
        self.n_updates, self.check_every = n_updates, check_every
        self.screen, self.test = screen, test
        self.until_perfect, self.linger = until_perfect, linger
        self.solved_at = torch.full((len(seed_of),), -1)
        self.perfect_at = self.solved_at.clone()
        self.rho_passed_one_at = self.solved_at.clone()
        self.relapses = torch.zeros_like(self.solved_at)
        self.error = torch.full((len(seed_of),), math.nan)
        self.best = torch.full((len(seed_of),), math.inf)

    def __call__(self, model: Elman, step: int, replicas: Tensor) -> Tensor:
        """Note what each of ``replicas`` has reached; true for those that are done.

        Args:
            model: the networks still training, row i being replica ``replicas[i]``.
            step: number of the update.
            replicas: ``(n,)`` indices, on the CPU.
        """
        waiting = (self.rho_passed_one_at[replicas] < 0).nonzero()[:, 0]
        rho = spectral_radius(model.W_rec.detach()[waiting.to(model.W_rec.device)]).cpu()
        self.rho_passed_one_at[replicas[waiting[rho > 1]]] = step
        if step % self.check_every and step not in (self.n_updates, self.n_updates + self.linger):
            return torch.zeros(len(replicas), dtype=torch.bool)
        wrong = self.wrong(model, step, replicas, self.screen, purpose=SCREEN)
        solved = self.solved_at[replicas] >= 0
        # Only one that had come back since can fall back again.
        self.relapses[replicas] += solved & (wrong > RELAPSED) & (self.error[replicas] <= RELAPSED)
        self.error[replicas] = wrong
        self.best[replicas] = torch.minimum(self.best[replicas], wrong)
        _note(self.perfect_at, replicas[wrong == 0], step)
        hopeful = ((wrong <= 0.015) & ~solved).nonzero()[:, 0]
        if len(hopeful):
            candidates = replicas[hopeful]
            stack = model.select(hopeful.to(model.W_rec.device))
            wrong = self.wrong(stack, step, candidates, self.test, purpose=TEST)
            _note(self.solved_at, candidates[wrong <= 0.01], step)
        solved_at = self.solved_at[replicas]
        done = (solved_at >= 0) & (step >= solved_at + self.linger)
        if self.until_perfect:
            done &= self.perfect_at[replicas] >= 0
        return done | (solved_at < 0) & torch.tensor(step >= self.n_updates)

    def wrong(
        self,
        model: Elman,
        step: int,
        replicas: Tensor,
        n: int,
        *,
        purpose: int,
        task: Task | None = None,
    ) -> Tensor:
        """Share of wrong answers to ``n`` sequences, ``(len(replicas),)`` float32.

        All arms of a seed are asked the same ones, from the stream that seed, ``purpose`` and
        ``step`` name; ``task`` takes the place of the exam's own.
        """
        task = task or self.task
        asked, place = self.seed_of[replicas].unique(return_inverse=True)
        generators = [stream(self.seeds[int(s)], purpose, step) for s in asked]
        wrong = torch.zeros(len(replicas), dtype=torch.float64)
        for first in range(0, n, _ASKED_AT_ONCE):
            some = min(_ASKED_AT_ONCE, n - first)
            batch = task.sample_replicas(some, generators)
            with torch.no_grad():
                outputs, batch = answers(model, task, Batch(*(part[place] for part in batch)))
                wrong += task.wrong(outputs, batch.targets, batch.lengths).sum(1).double().cpu()
        return (wrong / n).float()

    _NOTED = ("solved_at", "perfect_at", "rho_passed_one_at", "relapses", "error", "best")

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._NOTED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self._NOTED:
            setattr(self, name, state[name])

    def metrics(self, r: int, history: History) -> dict[str, Any]:
        """What a record says of one network."""
        passed = int(self.rho_passed_one_at[r])
        return {
            "solved": int(self.solved_at[r]) >= 0,
            "updates": _reached(self.solved_at, r, history),
            "error_rate": float(self.error[r]),
            "best_error_rate": float(self.best[r]),
            "diverged": bool(history.diverged[r]),
            "max_norm": float(history.max_norm[r]),
            "mean_norm": float(history.mean_norm[r]),
            "clipped_fraction": float(history.clipped_fraction[r]),
            "update_of_max_norm": int(history.update_of_max_norm[r]),
            "update_of_rho_one": passed if passed >= 0 else None,
        }

    def perfect(self, r: int, history: History) -> dict[str, Any]:
        """Whether, and when, every answer to a screen was right."""
        return {
            "solved": int(self.perfect_at[r]) >= 0,
            "updates": _reached(self.perfect_at, r, history),
        }


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Metrics of several networks as the columns of a record."""
    return {key: [row[key] for row in rows] for key in rows[0]}


def _reached(first: Tensor, r: int, history: History) -> int:
    return int(first[r]) if int(first[r]) >= 0 else int(history.updates[r])


def _note(first: Tensor, replicas: Tensor, step: int) -> None:
    """Keep ``step`` for those of ``replicas`` for which nothing has been noted yet."""
    fresh = replicas[first[replicas] < 0]
    first[fresh] = step
