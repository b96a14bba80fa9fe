"""Temporal order: success rate against length, clipped or not (P12, section 4.3, Figure 7).

All arms of a comparison start from the same weights and see the same data, seed by seed. One
record a *reading* of the paper's claim that clipping solves the task more often:

* ``literal``: the paper's logistic units, with learning rate and budget as printed (or, reduced,
  with the same total step). The paper does not state its initial scale, so several are run.
* ``same_rate``: both arms at one learning rate large enough for steps to leave the valley.
* ``null``: both arms at a small learning rate, where little is to be clipped.
* ``own_best``: a grid of learning rates, so that each arm can be judged at its own best.
* ``threshold``: thresholds over two and a half decades.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnlib.checkpoint import Survival
from rnnlib.checks import ArgumentError, at_least, distinct, positive
from rnnlib.experiments.jobs import Job, Unit, check_seeds, elman_cost, only, stacks
from rnnlib.experiments.trials import WEIGHTS, Data, Exam, answers, columns, stream
from rnnlib.init import spectral_radius
from rnnlib.models import Elman
from rnnlib.tasks.synthetic import TemporalOrder
from rnnlib.train import train

TITLE = "Temporal order: success rate against sequence length"

PLAIN = None
"""The threshold of the arm that does not clip."""

SEEDS_A_STACK = 8
"""Seeds trained as one stack on a CPU; another number may change the last bit of a result."""


@dataclass(frozen=True)
class Cell:
    """One network, length and learning rate, run with each threshold from the same starts."""

    seq_len: int
    learning_rate: float
    init_std: float = 0.1
    nonlinearity: str = "tanh"
    thresholds: tuple[float | None, ...] = (PLAIN, 1.0)


@dataclass(frozen=True)
class Reading:
    """A named set of cells with one budget."""

    name: str
    cells: tuple[Cell, ...]
    n_updates: int
    batch: int = 20
    until_perfect: bool = False  # go on to a perfect batch of 1000, the paper's own criterion
    reduced: str = ""  # what a reduced run changes beyond the settings' own


@dataclass(frozen=True)
class Settings:
    """How the task is run.

    Every ``check_every`` updates a network answers ``screen`` fresh sequences; if at most 1.5 % of
    the answers are wrong it answers ``test`` more, and has solved the task if at most 1 % of those
    are wrong. It then stops, unless the reading asks for a perfect screen as well (the paper's
    1000 right answers in a row).
    """

    scale: str
    seeds: tuple[int, ...]
    readings: tuple[Reading, ...]
    hidden_size: int = 50
    check_every: int = 200
    watch_every: int = 50  # how often the spectral radius is looked at; divides check_every
    screen: int = 1000
    test: int = 10_000
    reduced: str = ""

    only = only  # as a method


def _cells(lengths: tuple[int, ...], rates: tuple[float, ...], **options: Any) -> tuple[Cell, ...]:
    return tuple(Cell(seq_len=T, learning_rate=r, **options) for T in lengths for r in rates)


_LOGISTIC_STARTS = (0.01, 0.1, 0.5, 1.0)

SETTINGS: dict[str, Settings] = {
    "smoke": Settings(
        scale="smoke",
        seeds=(0, 1),
        hidden_size=8,
        check_every=5,
        watch_every=5,
        screen=40,
        test=80,
        reduced="everything",
        readings=(
            Reading("same_rate", _cells((10, 12), (0.1,)), n_updates=10),
            Reading(
                "literal",
                _cells((10,), (0.01,), init_std=0.5, nonlinearity="logistic"),
                n_updates=10,
                until_perfect=True,
            ),
        ),
    ),
    "reduced": Settings(
        scale="reduced",
        seeds=tuple(range(16)),
        reduced="16 seeds instead of 50, batch 20 instead of 1000",
        readings=(
            Reading("same_rate", _cells((10, 15, 20, 25, 30), (0.1,)), n_updates=4000),
            Reading("null", _cells((20,), (0.01,)), n_updates=4000),
            Reading(
                "literal",
                tuple(
                    cell
                    for std in _LOGISTIC_STARTS
                    for cell in _cells(
                        (10, 15, 20, 25, 30), (0.01,), init_std=std, nonlinearity="logistic"
                    )
                ),
                n_updates=10_000,
                until_perfect=True,
                reduced="at ten times the learning rate, so that rate times updates is the paper's",
            ),
            Reading("own_best", _cells((20, 25, 30), (0.01, 0.03, 0.1)), n_updates=8000),
            Reading(
                "threshold",
                _cells((20,), (0.1,), thresholds=(0.1, 0.3, 1.0, 3.0, 6.0, 10.0, 30.0)),
                n_updates=8000,
            ),
        ),
    ),
    "paper": Settings(
        scale="paper",
        seeds=tuple(range(50)),
        check_every=1000,
        readings=(
            Reading(
                "literal",
                tuple(
                    cell
                    for std in _LOGISTIC_STARTS
                    for cell in _cells(
                        (10, 12, 15, 20, 25, 30),
                        (0.001,),
                        init_std=std,
                        nonlinearity="logistic",
                        thresholds=(PLAIN, 1.0, 6.0),
                    )
                ),
                n_updates=100_000,
                batch=1000,
                until_perfect=True,
            ),
            Reading("same_rate", _cells((10, 15, 20, 25, 30, 40, 50), (0.1,)), n_updates=40_000),
            Reading("null", _cells((15, 20, 25, 30), (0.001, 0.01)), n_updates=100_000),
            Reading(
                "own_best",
                _cells((20, 25, 30, 40), (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)),
                n_updates=40_000,
            ),
            Reading(
                "threshold",
                _cells((20, 30), (0.1,), thresholds=(0.1, 0.3, 1.0, 3.0, 6.0, 10.0, 30.0)),
                n_updates=40_000,
            ),
        ),
    ),
}
"""``paper`` departs from the text where it is silent: initial scale, lengths and threshold."""


def jobs(settings: Settings, device: str = "cpu") -> list[Job]:
    """One job a reading, which trains every arm of it.

    Raises:
        ArgumentError: for a length below 10, a size or count below 1, seeds that repeat, a
            learning rate, initial scale or threshold that is not above zero.
    """
    check_seeds(settings.seeds)
    for name in ("hidden_size", "check_every", "watch_every", "screen", "test"):
        at_least(name, getattr(settings, name), 1)
    if settings.check_every % settings.watch_every:
        accepted = f"a divisor of check_every = {settings.check_every}"
        raise ArgumentError(f"watch_every must be {accepted}, got {settings.watch_every}")
    for reading in settings.readings:
        at_least("n_updates", reading.n_updates, 1)
        at_least("batch", reading.batch, 1)
    for cell in (c for r in settings.readings for c in r.cells):
        TemporalOrder(cell.seq_len)
        positive("learning_rate", cell.learning_rate)
        positive("init_std", cell.init_std)
        distinct("thresholds", cell.thresholds)
        for threshold in cell.thresholds:
            if threshold is not PLAIN:
                positive("threshold", threshold)
    return [_job(settings, reading, device) for reading in settings.readings]


def _job(settings: Settings, reading: Reading, device: str) -> Job:
    alike: dict[tuple[int, str], list[Cell]] = {}
    for cell in reading.cells:  # one stack holds networks of one length and one kind of unit
        alike.setdefault((cell.seq_len, cell.nonlinearity), []).append(cell)
    groups = [
        _Group(settings, reading, tuple(cells), seeds, device)
        for cells in sorted(alike.values(), key=lambda cells: -cells[0].seq_len)
        for seeds in stacks(
            settings.seeds,
            SEEDS_A_STACK,
            device,
            bytes_each=_Group(settings, reading, tuple(cells), (0,), device).cost()[1],
        )
    ]

    def collect(parts: list[list[dict[str, Any]]]) -> list[dict[str, list[Any]]]:
        measured = {
            arm: row
            for group, rows in zip(groups, parts, strict=True)
            for arm, row in zip(group.arms, rows, strict=True)
        }
        return [
            columns([measured[cell, threshold, seed] for seed in settings.seeds])
            for cell in reading.cells
            for threshold in cell.thresholds
        ]

    said = (settings.reduced, f"{reading.n_updates} updates", reading.reduced)
    return Job(
        experiment="temporal_order",
        variant=reading.name,
        scale=settings.scale,
        settings={
            "reading": dataclasses.asdict(reading),
            "hidden_size": settings.hidden_size,
            "check_every": settings.check_every,
            "watch_every": settings.watch_every,
            "screen": settings.screen,
            "test": settings.test,
        },
        seeds=settings.seeds,
        units=tuple(Unit(group, reading.n_updates, *group.cost()) for group in groups),
        conditions=[
            {
                "reading": reading.name,
                **{k: v for k, v in dataclasses.asdict(cell).items() if k != "thresholds"},
                "threshold": threshold,
            }
            for cell in reading.cells
            for threshold in cell.thresholds
        ],
        collect=collect,
        reduced=", ".join(part for part in said if part) if settings.reduced else "",
    )


@dataclass(frozen=True)
class _Group:
    """Every cell, threshold and seed of a group, trained as one stack of replicas."""

    settings: Settings
    reading: Reading
    cells: tuple[Cell, ...]  # one length, one kind of unit
    seeds: tuple[int, ...]
    device: str

    @property
    def arms(self) -> list[tuple[Cell, float | None, int]]:
        return [
            (cell, threshold, seed)
            for cell in self.cells
            for threshold in cell.thresholds
            for seed in self.seeds
        ]

    def cost(self) -> tuple[float, float]:
        """Floating-point operations to the last update, and bytes held at once."""
        task, hidden = TemporalOrder(self.cells[0].seq_len), self.settings.hidden_size
        sizes = (task.seq_len, hidden, task.n_inputs, task.n_outputs)
        n = len(self.arms)
        flops, held = elman_cost(n, self.reading.batch, *sizes, read=1)
        exam, asked = elman_cost(n, self.settings.screen, *sizes, read=1)
        exams = self.reading.n_updates / self.settings.check_every / 3  # forward only
        return self.reading.n_updates * flops + exams * exam, max(held, asked / 3)

    def __call__(self, *, survival: Survival) -> list[dict[str, Any]]:
        settings, reading, arms = self.settings, self.reading, self.arms
        task = TemporalOrder(self.cells[0].seq_len)
        model = Elman(
            task.n_inputs,
            settings.hidden_size,
            task.n_outputs,
            replicas=len(arms),
            nonlinearity=self.cells[0].nonlinearity,
        )
        model.draw_([c.init_std for c, _, _ in arms], [stream(seed, WEIGHTS) for *_, seed in arms])
        model.to(self.device)
        rho_start = spectral_radius(model.W_rec.detach())

        seed_of = torch.tensor([self.seeds.index(seed) for *_, seed in arms])
        data = Data(task, self.seeds, reading.batch, settings.check_every, self.device)
        exam = Exam(
            task,
            self.seeds,
            seed_of,
            n_updates=reading.n_updates,
            check_every=settings.check_every,
            screen=settings.screen,
            test=settings.test,
            until_perfect=reading.until_perfect,
        )

        def objective(
            work: Elman, step: int, replicas: Tensor, carry: Tensor | None
        ) -> tuple[Tensor, None]:
            outputs, batch = answers(work, task, data.at(step, seed_of[replicas]))
            return task.loss(outputs, batch.targets).mean(1), None

        history = train(
            model,
            objective,
            learning_rate=torch.tensor([c.learning_rate for c, *_ in arms], dtype=torch.float64),
            threshold=torch.tensor([math.inf if t is PLAIN else t for _, t, _ in arms]),
            n_updates=reading.n_updates,
            check=exam,
            check_every=settings.watch_every,
            survival=survival,
            parts=(data, exam),
        )
        rho_end = spectral_radius(model.W_rec.detach())
        return [
            exam.metrics(r, history)
            | {f"{name}_p12": value for name, value in exam.perfect(r, history).items()}
            | {"rho_start": float(rho_start[r]), "rho_end": float(rho_end[r])}
            for r in range(len(arms))
        ]
