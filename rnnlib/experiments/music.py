"""Polyphonic music: nats a time step with and without clipping (P12, section 4.1, Table 1)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnlib.checkpoint import Survival
from rnnlib.checks import at_least, distinct, positive
from rnnlib.experiments.carried import SCORED, Outcome, Piece, columns, fit
from rnnlib.experiments.jobs import Job, Unit, check_seeds, elman_cost, stacks
from rnnlib.models import Elman
from rnnlib.tasks import music

TITLE = "Polyphonic music: negative log-likelihood a time step"

PAPER_SETS = ("nottingham", "piano-midi", "musedata")

SEEDS_A_STACK = 3
"""Seeds trained as one stack on a CPU; another number may change the last bit of a result."""


@dataclass(frozen=True)
class Settings:
    """100 tanh units with biases, learning rate .001, threshold 120, chunks of 100 (section 4.1).

    Readings where the text is silent: the loss of an update is the sum over its chunk (the scale
    on which a threshold of 120 makes sense), one song at a time, songs in random order, weights
    from N(0, 0.1^2), and scores at the epoch of best validation loss.
    """

    scale: str
    seeds: tuple[int, ...]
    datasets: tuple[str, ...]
    n_epochs: int
    hidden_size: int = 100
    learning_rate: float = 0.001
    thresholds: tuple[float | None, ...] = (None, 120.0)
    chunk: int = 100
    init_std: float = 0.1
    n_songs: int = 0  # 0: all
    reduced: str = ""

    def on(self, *datasets: str) -> Settings:
        """The same settings on these data sets alone."""
        return dataclasses.replace(self, datasets=datasets)


SETTINGS = {
    "smoke": Settings(
        "smoke",
        (0, 1),
        ("bach-chorales",),
        n_epochs=1,
        hidden_size=6,
        n_songs=3,
        reduced="everything",
    ),
    "reduced": Settings(
        "reduced",
        (0, 1, 2, 3, 4),
        ("bach-chorales", *PAPER_SETS),
        n_epochs=20,
        reduced="20 epochs instead of training until the validation loss stops falling",
    ),
    "paper": Settings("paper", (0, 1, 2, 3, 4), PAPER_SETS, n_epochs=250),
}


def jobs(settings: Settings, device: str = "cpu") -> list[Job]:
    """One job a data set, which trains both arms from the same starts.

    Raises:
        ArgumentError: for settings outside their range; DataError for a set that cannot be had.
    """
    for name in ("learning_rate", "init_std"):
        positive(name, getattr(settings, name))
    for name in ("hidden_size", "chunk", "n_epochs"):
        at_least(name, getattr(settings, name), 1)
    at_least("n_songs", settings.n_songs, 0)
    check_seeds(settings.seeds)
    for name in ("datasets", "thresholds"):
        distinct(name, getattr(settings, name))
    for threshold in settings.thresholds:
        if threshold is not None:
            positive("threshold", threshold)
    for name in settings.datasets:
        music.load(name)
    return [_job(settings, name, device) for name in settings.datasets]


def bernoulli_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over the 88 notes of the cross-entropy of a note being on; ``(..., 88) -> (...)``."""
    # torch's binary_cross_entropy_with_logits, written in two passes instead of five
    return (torch.nn.functional.softplus(logits) - logits * targets).sum(-1)


def pieces(songs: list[Any], n_songs: int = 0) -> list[Piece]:
    """Songs as next-frame prediction: each frame from those before it, the first from silence.

    ``n_songs`` keeps the first ones only; 0 keeps all.
    """
    result = []
    for song in songs[: n_songs or None]:
        roll = torch.from_numpy(song).float()
        result.append(Piece(torch.cat([torch.zeros_like(roll[:1]), roll[:-1]]), roll))
    return result


def _job(settings: Settings, name: str, device: str) -> Job:
    rolls = music.load(name)
    lengths = [len(piece.inputs) for piece in pieces(rolls.train, settings.n_songs)]
    n_updates = settings.n_epochs * sum(-(-length // settings.chunk) for length in lengths)

    def cost(group: _Group) -> tuple[float, float]:
        flops, held = elman_cost(
            len(group.arms), 1, settings.chunk, settings.hidden_size, 88, 88, read=settings.chunk
        )
        return flops * n_updates, held * SCORED[0]

    _, each = cost(_Group(settings, name, settings.seeds[:1], device))
    groups = [
        _Group(settings, name, seeds, device)
        for seeds in stacks(settings.seeds, SEEDS_A_STACK, device, bytes_each=each)
    ]

    def collect(parts: list[list[dict[str, Any]]]) -> list[dict[str, list[Any]]]:
        measured = {
            arm: Outcome(**row)
            for group, rows in zip(groups, parts, strict=True)
            for arm, row in zip(group.arms, rows, strict=True)
        }
        return [
            columns([measured[threshold, seed] for seed in settings.seeds], "nll")
            for threshold in settings.thresholds
        ]

    return Job(
        experiment="music",
        variant=name,
        scale=settings.scale,
        settings={k: v for k, v in dataclasses.asdict(settings).items() if k != "seeds"}
        | {"datasets": [name]},
        seeds=settings.seeds,
        units=tuple(Unit(group, n_updates, *cost(group)) for group in groups),
        conditions=[{"dataset": name, "threshold": t} for t in settings.thresholds],
        collect=collect,
        reduced=settings.reduced,
    )


@dataclass(frozen=True)
class _Group:
    """Both arms of some seeds, trained as one stack of replicas."""

    settings: Settings
    name: str
    seeds: tuple[int, ...]
    device: str

    @property
    def arms(self) -> list[tuple[float | None, int]]:
        return [(threshold, seed) for threshold in self.settings.thresholds for seed in self.seeds]

    def __call__(self, *, survival: Survival) -> list[dict[str, Any]]:
        settings, arms = self.settings, self.arms
        rolls = music.load(self.name)
        model = Elman(88, settings.hidden_size, 88, replicas=len(arms))
        model.draw_(settings.init_std, [torch.Generator().manual_seed(seed) for _, seed in arms])
        outcomes = fit(
            model.to(self.device),
            bernoulli_nats,
            train_pieces=pieces(rolls.train, settings.n_songs),
            valid_pieces=pieces(rolls.valid, settings.n_songs),
            test_pieces=pieces(rolls.test, settings.n_songs),
            chunk=settings.chunk,
            n_epochs=settings.n_epochs,
            learning_rate=settings.learning_rate,
            threshold=torch.tensor([math.inf if t is None else t for t, _ in arms]),
            orders=[torch.Generator().manual_seed(10_000 + seed) for _, seed in arms],
            survival=survival,
        )
        return [dataclasses.asdict(outcome) for outcome in outcomes]
