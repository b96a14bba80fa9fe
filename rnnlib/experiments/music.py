"""Polyphonic music: nats a time step with and without clipping (P12, section 4.1, Table 1)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnlib.checks import at_least, distinct
from rnnlib.experiments.arms import Arm, Course, compare, seeded_2012
from rnnlib.experiments.carried import Piece, updates_an_epoch
from rnnlib.experiments.jobs import Job, check_seeds
from rnnlib.tasks import music

TITLE = "Polyphonic music: negative log-likelihood a time step"

PAPER_SETS = ("nottingham", "piano-midi", "musedata")


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
    at_least("chunk", settings.chunk, 1)
    at_least("n_songs", settings.n_songs, 0)
    check_seeds(settings.seeds)
    for name in ("datasets", "thresholds"):
        distinct(name, getattr(settings, name))
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


@dataclass(frozen=True)
class Songs:
    """The first ``n_songs`` of each fold of a data set; 0: all."""

    name: str
    n_songs: int

    def __call__(self) -> tuple[list[Piece], list[Piece], list[Piece]]:
        rolls = music.load(self.name)
        train, valid, test = (
            pieces(songs, self.n_songs) for songs in (rolls.train, rolls.valid, rolls.test)
        )
        return train, valid, test


def _job(settings: Settings, name: str, device: str) -> Job:
    rolls, some = music.load(name), settings.n_songs or None
    course = Course(
        data=Songs(name, settings.n_songs),
        loss=bernoulli_nats,
        sizes=(88, settings.hidden_size, 88),
        bias=True,
        init_std=settings.init_std,
        chunk=settings.chunk,
        n_epochs=settings.n_epochs,
        epoch=updates_an_epoch([len(song) for song in rolls.train[:some]], settings.chunk),
        scored=sum(len(song) for song in rolls.valid[:some]),
        nonlinearity="tanh",
        seeding=seeded_2012,
    )
    rate = settings.learning_rate
    arms = [Arm("rescaled" if t else "plain", rate, t) for t in settings.thresholds]
    units, collect = compare([(course, arm) for arm in arms], settings.seeds, device, unit="nll")
    return Job(
        experiment="music",
        variant=name,
        scale=settings.scale,
        settings={k: v for k, v in dataclasses.asdict(settings).items() if k != "seeds"}
        | {"datasets": [name]},
        seeds=settings.seeds,
        units=units,
        conditions=[{"dataset": name, "threshold": t} for t in settings.thresholds],
        collect=collect,
        reduced=settings.reduced,
    )
