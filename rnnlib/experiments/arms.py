"""Algorithms side by side on long sequences: clipped, regularised, both or neither (P12, P13)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from rnnlib.checkpoint import Survival
from rnnlib.checks import at_least, positive
from rnnlib.experiments.carried import SCORED, Loss, Outcome, Piece, columns, fit
from rnnlib.experiments.jobs import Unit, elman_cost, stacks
from rnnlib.experiments.trials import TRAINING, WEIGHTS, stream
from rnnlib.models import Elman
from rnnlib.regulariser import Regulariser

ARMS_A_STACK = 6
"""Runs trained as one stack on a CPU; another number may change the last bit of a result."""

Collect = Callable[[list[list[dict[str, Any]]]], list[dict[str, list[Any]]]]


@dataclass(frozen=True)
class Arm:
    """An algorithm by the paper's name and the numbers that it runs with.

    Attributes:
        threshold: None for no clipping.
        alpha: the regulariser's weight in the first epoch; 0 for none.
        schedule: of alpha, see `rnnlib.regulariser.Regulariser`.
        summed: whether alpha weighs the sum of Omega_k over the steps of a chunk, as equation (9)
            is printed, instead of their mean, as in the authors' program.
    """

    name: str
    learning_rate: float
    threshold: float | None = None
    alpha: float = 0.0
    schedule: str = "constant"
    summed: bool = False

    def condition(self) -> dict[str, Any]:
        """What a record says of it."""
        told = ("learning_rate", "alpha", "threshold")
        return {"arm": self.name, **{name: getattr(self, name) for name in told}}


Seeding = Callable[[int], tuple[torch.Generator, torch.Generator]]


def seeded(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """What draws the weights of a run, and what shuffles its pieces."""
    return stream(seed, WEIGHTS), stream(seed, TRAINING)


def seeded_2012(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """The same for the experiments of 2012, whose records were made so."""
    return torch.Generator().manual_seed(seed), torch.Generator().manual_seed(10_000 + seed)


class Data(Protocol):
    """Where the sequences come from; a frozen dataclass, so that other processes can ask."""

    def __call__(self) -> tuple[list[Piece], list[Piece], list[Piece]]:
        """Pieces to train, validate and test on."""
        ...


@dataclass(frozen=True)
class Course:
    """What all arms of a comparison share: data, loss, network and how long they train.

    Attributes:
        sizes: inputs, hidden units, outputs.
        bias, init_std, nonlinearity: of the units; weights are from N(0, init_std^2).
        epoch, scored: updates of an epoch, and steps of the validation pieces.
        reduction, halve: see `rnnlib.experiments.carried.fit`.
        form: of Omega, see `rnnlib.regulariser.Regulariser`; None where no arm has a regulariser
            and Omega is not measured.
        seeding: the generators of a seed.
    """

    data: Data
    loss: Loss
    sizes: tuple[int, int, int]
    bias: bool
    init_std: float
    chunk: int
    n_epochs: int
    epoch: int
    scored: int
    reduction: str = "sum"
    halve: bool = False
    form: str | None = None
    nonlinearity: str = "logistic"
    seeding: Seeding = seeded

    def check(self, arm: Arm) -> None:
        """Accept numbers with which ``arm`` can be trained.

        Raises:
            ArgumentError: naming what is accepted.
        """
        for name in ("chunk", "n_epochs"):
            at_least(name, getattr(self, name), 1)
        at_least("hidden_size", self.sizes[1], 1)
        positive("init_std", self.init_std)
        positive("learning_rate", arm.learning_rate)
        if arm.threshold is not None:
            positive("threshold", arm.threshold)
        self.regulariser([arm])

    def regulariser(self, arms: Sequence[Arm]) -> Regulariser | None:
        """The regulariser of a stack of arms with one schedule; None if the course has none."""
        if self.form is None:
            return None
        steps = torch.tensor([self.chunk if arm.summed else 1 for arm in arms])
        return Regulariser(
            steps * torch.tensor([arm.alpha for arm in arms], dtype=torch.float64),
            replicas=len(arms),
            form=self.form,
            schedule=arms[0].schedule,
            epoch=self.epoch,
        )


def compare(
    conditions: Sequence[tuple[Course, Arm]],
    seeds: Sequence[int],
    device: str,
    *,
    unit: str,
    scale: float = 1.0,
) -> tuple[tuple[Unit, ...], Collect]:
    """Every condition with every seed: the units of a `Job`, and how its metrics are collected.

    All arms of a course and seed start from the same weights and go through the pieces in the same
    order. ``unit`` and ``scale`` are those of `rnnlib.experiments.carried.columns`.

    Raises:
        ArgumentError: for numbers outside their range.
    """
    for course, arm in conditions:
        course.check(arm)
    groups = []
    for course, schedule in dict.fromkeys((c, arm.schedule) for c, arm in conditions):
        alike = [arm for c, arm in conditions if (c, arm.schedule) == (course, schedule)]
        runs = [(arm, seed) for seed in seeds for arm in alike]
        _, each = _Group(course, tuple(runs[:1]), device).cost()
        dealt = stacks(runs, ARMS_A_STACK, device, bytes_each=each)
        groups += [_Group(course, stack, device) for stack in dealt]

    def collect(parts: list[list[dict[str, Any]]]) -> list[dict[str, list[Any]]]:
        measured = {
            (group.course, *run): Outcome(**row)
            for group, rows in zip(groups, parts, strict=True)
            for run, row in zip(group.runs, rows, strict=True)
        }
        return [
            columns(
                [measured[course, arm, s] for s in seeds],
                unit,
                scale,
                regularised=course.form is not None,
            )
            for course, arm in conditions
        ]

    units = [Unit(g, g.course.n_epochs * g.course.epoch, *g.cost()) for g in groups]
    return tuple(units), collect


@dataclass(frozen=True)
class _Group:
    """Some arms and seeds of a course with one schedule, trained as one stack of replicas."""

    course: Course
    runs: tuple[tuple[Arm, int], ...]
    device: str

    def cost(self) -> tuple[float, float]:
        """Floating-point operations of all epochs, and bytes held at once."""
        course, n = self.course, len(self.runs)
        inputs, hidden, outputs = course.sizes

        def held(batch: int, steps: int) -> tuple[float, float]:
            return elman_cost(n, batch, steps, hidden, inputs, outputs, read=steps)

        flops, trained = held(1, course.chunk)
        # The regulariser's product adds a third to the three of an update; a score takes a third.
        updates = course.epoch * (4 / 3 if course.form else 1) + course.scored / course.chunk / 3
        return course.n_epochs * updates * flops, max(trained, held(*SCORED)[1])

    def __call__(self, *, survival: Survival) -> list[dict[str, Any]]:
        course = self.course
        arms, seeds = zip(*self.runs, strict=True)
        inputs, hidden, outputs = course.sizes
        model = Elman(
            inputs,
            hidden,
            outputs,
            replicas=len(arms),
            nonlinearity=course.nonlinearity,
            bias=course.bias,
        )
        weights, orders = zip(*map(course.seeding, seeds), strict=True)
        model.draw_(course.init_std, weights)
        train, valid, test = course.data()
        outcomes = fit(
            model.to(self.device),
            course.loss,
            train_pieces=train,
            valid_pieces=valid,
            test_pieces=test,
            chunk=course.chunk,
            n_epochs=course.n_epochs,
            learning_rate=torch.tensor([arm.learning_rate for arm in arms], dtype=torch.float64),
            threshold=torch.tensor(
                [math.inf if arm.threshold is None else arm.threshold for arm in arms]
            ),
            orders=orders,
            regulariser=course.regulariser(arms),
            reduction=course.reduction,
            halve=course.halve,
            survival=survival,
        )
        return [dataclasses.asdict(outcome) for outcome in outcomes]
