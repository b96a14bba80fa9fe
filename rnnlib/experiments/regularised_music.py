"""Polyphonic music with and without clipping and the regulariser (P13, section 4.2, Table 1)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rnnlib.checks import at_least, distinct
from rnnlib.experiments.arms import Arm, Course, compare
from rnnlib.experiments.carried import updates_an_epoch
from rnnlib.experiments.jobs import Job, check_seeds, only
from rnnlib.experiments.music import Songs, bernoulli_nats
from rnnlib.tasks import music

TITLE = "Polyphonic music: negative log-likelihood a time step, with the regulariser"


@dataclass(frozen=True)
class Reading:
    """A data set and the numbers that the supplement gives for it: those of Piano-midi.de.

    With ``n_songs`` above 0 only the first ones of each fold are used.
    """

    name: str
    n_epochs: int
    hidden_size: int = 300
    learning_rate: float = 1.0
    alpha: float = 0.5
    n_songs: int = 0
    reduced: str = ""


@dataclass(frozen=True)
class Settings:
    """Logistic units, chunks of 200, threshold 8 on the loss averaged over a chunk (supplement).

    Arms: SGD, SGD-C, SGD-CR of Table 1, and SGD-CR-constant, whose alpha stays that of epoch 1.
    The learning rate is halved whenever the loss over an epoch rose, see `carried.Halving`, and
    the regulariser's weight is alpha / t in epoch t. Nottingham takes the numbers of Piano-midi.de,
    as the supplement says; for MuseData its words "alpha was .1" and "alpha_t = 1/t" are read as
    .1 / t, like the .5 / t of Piano-midi.de. The learning rate is the same in all arms.

    Readings where the text is silent: alpha weighs the mean of Omega_k over the steps, as in the
    authors' program, beside a loss that is a mean, too, and Omega_k takes squared norms; units
    have biases; weights are from N(0, 0.1^2), the only initial distribution that the supplement
    prints (for the addition task); the state is carried from chunk to chunk within a song, one
    song at a time, songs in random order; scores are those of the epoch of best validation loss.
    """

    scale: str
    seeds: tuple[int, ...]
    readings: tuple[Reading, ...]
    threshold: float = 8.0
    chunk: int = 200
    init_std: float = 0.1
    form: str = "squared"
    reduced: str = ""

    only = only  # as a method


_STOPPED = "instead of training until the validation loss stops falling"


def _paper_sets(*n_epochs: int, reduced: bool = False) -> tuple[Reading, ...]:
    said = [f"{n} epochs {_STOPPED}" if reduced else "" for n in n_epochs]
    return (
        Reading("piano-midi", n_epochs[0], reduced=said[0]),
        Reading("nottingham", n_epochs[1], reduced=said[1]),
        Reading(
            "musedata",
            n_epochs[2],
            hidden_size=400,
            learning_rate=0.5,
            alpha=0.1,
            reduced=said[2],
        ),
    )


SETTINGS = {
    "smoke": Settings(
        "smoke",
        (0, 1),
        (Reading("bach-chorales", 2, hidden_size=6, n_songs=3),),
        reduced="everything",
    ),
    "reduced": Settings(
        "reduced",
        (0, 1, 2, 3, 4),
        (
            Reading(
                "bach-chorales",
                10,
                hidden_size=100,
                n_songs=100,
                reduced=f"100 units instead of 300, the first 100 songs, 10 epochs {_STOPPED}",
            ),
            *_paper_sets(20, 10, 6, reduced=True),
        ),
        reduced=f"at most 20 epochs {_STOPPED}",
    ),
    "paper": Settings("paper", (0, 1, 2, 3, 4), _paper_sets(250, 250, 250)),
}


def jobs(settings: Settings, device: str = "cpu") -> list[Job]:
    """One job a data set, which trains all arms from the same starts.

    Raises:
        ArgumentError: for settings outside their range; DataError for a set that cannot be had.
    """
    check_seeds(settings.seeds)
    distinct("readings", [reading.name for reading in settings.readings])
    at_least("chunk", settings.chunk, 1)
    for reading in settings.readings:
        at_least("n_songs", reading.n_songs, 0)
    return [_job(settings, reading, device) for reading in settings.readings]


def _job(settings: Settings, reading: Reading, device: str) -> Job:
    rolls, some = music.load(reading.name), reading.n_songs or None
    course = Course(
        data=Songs(reading.name, reading.n_songs),
        loss=bernoulli_nats,
        sizes=(88, reading.hidden_size, 88),
        bias=True,
        init_std=settings.init_std,
        chunk=settings.chunk,
        n_epochs=reading.n_epochs,
        epoch=updates_an_epoch([len(song) for song in rolls.train[:some]], settings.chunk),
        scored=sum(len(song) for song in rolls.valid[:some]),
        reduction="mean",
        halve=True,
        form=settings.form,
    )
    rate, clip, alpha = reading.learning_rate, settings.threshold, reading.alpha
    arms = (
        Arm("SGD", rate, schedule="1/t"),
        Arm("SGD-C", rate, clip, schedule="1/t"),
        Arm("SGD-CR", rate, clip, alpha, "1/t"),
        Arm("SGD-CR-constant", rate, clip, alpha),
    )
    units, collect = compare([(course, arm) for arm in arms], settings.seeds, device, unit="nll")
    shared = ("threshold", "chunk", "init_std", "form")
    return Job(
        experiment="regularised_music",
        variant=reading.name,
        scale=settings.scale,
        settings={
            "reading": dataclasses.asdict(reading),
            **{name: getattr(settings, name) for name in shared},
        },
        seeds=settings.seeds,
        units=units,
        conditions=[{"dataset": reading.name, **arm.condition()} for arm in arms],
        collect=collect,
        reduced=reading.reduced or settings.reduced,
    )
