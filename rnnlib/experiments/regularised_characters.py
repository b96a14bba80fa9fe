"""The next and the fifth-next character, with the regulariser (P13, section 4.2, Table 2)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from rnnlib.checks import ArgumentError, at_least, distinct
from rnnlib.experiments.arms import Arm, Course, compare
from rnnlib.experiments.carried import updates_an_epoch
from rnnlib.experiments.characters import Text, cross_entropy_nats
from rnnlib.experiments.jobs import Job, check_seeds, only
from rnnlib.tasks import text

TITLE = "The next and the fifth-next character: bits a character, with the regulariser"


@dataclass(frozen=True)
class Task:
    """Which character is asked for, and the supplement's numbers for it."""

    ahead: int
    rates: tuple[float, ...]
    alpha: float
    schedule: str


PAPER_RATES = {
    1: {"SGD": 0.001, "SGD-C": 0.01, "SGD-CR": 0.05},
    5: {"SGD-C": 0.1, "SGD-CR": 0.05},
}
"""The learning rate that the supplement gives each arm, by how many characters it looks ahead."""

TASKS = tuple(
    Task(ahead, tuple(sorted(PAPER_RATES[ahead].values())), alpha, schedule)
    for ahead, alpha, schedule in ((1, 0.01, "constant"), (5, 0.05, "1/t"))
)


@dataclass(frozen=True)
class Reading:
    """A corpus and how much of it is used: its first characters, 0 for all.

    ``n_eval`` are validation and test characters, each.
    """

    name: str
    n_epochs: int
    hidden_size: int = 500
    n_characters: int = 0
    n_eval: int = 0
    reduced: str = ""


@dataclass(frozen=True)
class Settings:
    """500 logistic units without biases, chunks of 200, threshold 45 on the summed loss.

    So the supplement, "Language modelling". It gives each arm a learning rate of its own, which
    leaves open what a difference between two arms comes from. Here every arm runs at each rate
    that the supplement names for the task: `PAPER_RATES` picks the paper's own reading, and one
    rate for all arms is another. Plain SGD, for which Table 2 has no entry at five characters
    ahead, runs there too.

    The loss is a sum over the chunk, Omega a mean over the steps in the authors' program and a sum
    in equation (9), and the text does not say which of them alpha weighs here. Both are run:
    ``SGD-CR`` with the mean, as everywhere in this library, and ``SGD-CR-sum`` with alpha times
    the number of steps in a chunk, which is alpha times the sum.

    Readings where the text is silent: Omega_k takes squared norms; weights are from N(0, 0.1^2),
    the only initial distribution that the supplement prints (for the addition task); one stream of
    text; scores are those of the epoch of best validation loss. Validation and test text are read
    in ``n_streams`` parts from a zero state.
    """

    scale: str
    seeds: tuple[int, ...]
    readings: tuple[Reading, ...]
    tasks: tuple[Task, ...] = TASKS
    threshold: float = 45.0
    chunk: int = 200
    init_std: float = 0.1
    form: str = "squared"
    n_streams: int = 20
    reduced: str = ""

    only = only  # as a method


SETTINGS = {
    "smoke": Settings(
        "smoke",
        (0, 1),
        (Reading("pydoc-topics", 2, hidden_size=6, n_characters=900, n_eval=400),),
        reduced="everything",
    ),
    "reduced": Settings(
        "reduced",
        (0, 1, 2),
        (
            Reading(
                "pydoc-topics",
                3,
                hidden_size=100,
                n_characters=25_000,
                n_eval=10_000,
                reduced="100 units instead of 500, the first 25,000 training and 10,000 "
                "validation and test characters, 3 epochs",
            ),
            Reading(
                "ptb-chars",
                4,
                hidden_size=200,
                n_characters=500_000,
                n_eval=100_000,
                reduced="200 units instead of 500, the first 500,000 training and 100,000 "
                "validation and test characters, 4 epochs",
            ),
        ),
        reduced="3 seeds instead of 5",
    ),
    "paper": Settings("paper", (0, 1, 2, 3, 4), (Reading("ptb-chars", 20),)),
}


def jobs(settings: Settings, device: str = "cpu") -> list[Job]:
    """One job a corpus, which trains all arms on all tasks from the same starts.

    Raises:
        ArgumentError: for settings outside their range; DataError for a corpus that cannot be had.
    """
    check_seeds(settings.seeds)
    distinct("readings", [reading.name for reading in settings.readings])
    distinct("tasks", settings.tasks)
    at_least("chunk", settings.chunk, 1)
    at_least("n_streams", settings.n_streams, 1)
    for task in settings.tasks:
        at_least("ahead", task.ahead, 1)
        distinct("rates", task.rates)
    furthest = max(task.ahead for task in settings.tasks)
    for reading in settings.readings:
        # A text answers fewer questions than it has characters; 0 stands for all of it.
        for name, parts in (("n_characters", 1), ("n_eval", settings.n_streams)):
            number, fewest = at_least(name, getattr(reading, name), 0), parts * (furthest + 1)
            if 0 < number < fewest:
                raise ArgumentError(f"{name} must be 0 (all) or at least {fewest}, got {number}")
    return [_job(settings, reading, device) for reading in settings.readings]


def _job(settings: Settings, reading: Reading, device: str) -> Job:
    corpus = text.load(reading.name)
    n_symbols = len(corpus.alphabet)
    n_train, n_valid = (
        min(len(part), limit or len(part))
        for part, limit in ((corpus.train, reading.n_characters), (corpus.valid, reading.n_eval))
    )
    clip = settings.threshold
    pairs: list[tuple[Course, Arm]] = []
    conditions = []
    for task in settings.tasks:
        course = Course(
            data=Text(
                reading.name,
                task.ahead,
                reading.n_characters,
                reading.n_eval,
                settings.n_streams,
            ),
            loss=cross_entropy_nats,
            sizes=(n_symbols, reading.hidden_size, n_symbols),
            bias=False,
            init_std=settings.init_std,
            chunk=settings.chunk,
            n_epochs=reading.n_epochs,
            epoch=updates_an_epoch([n_train - task.ahead], settings.chunk),
            scored=n_valid,
            reduction="sum",
            halve=False,
            form=settings.form,
        )
        regular = (task.alpha, task.schedule)
        for rate in task.rates:
            arms = (
                Arm("SGD", rate, schedule=task.schedule),
                Arm("SGD-C", rate, clip, schedule=task.schedule),
                Arm("SGD-CR", rate, clip, *regular),
                Arm("SGD-CR-sum", rate, clip, *regular, summed=True),
            )
            pairs += [(course, arm) for arm in arms]
            named = {"dataset": reading.name, "ahead": task.ahead}
            conditions += [{**named, **arm.condition()} for arm in arms]
    units, collect = compare(pairs, settings.seeds, device, unit="bits", scale=1 / math.log(2))
    shared = ("threshold", "chunk", "init_std", "form", "n_streams")
    said = (reading.reduced, settings.reduced)
    return Job(
        experiment="regularised_characters",
        variant=reading.name,
        scale=settings.scale,
        settings={
            "reading": dataclasses.asdict(reading),
            "tasks": [dataclasses.asdict(task) for task in settings.tasks],
            **{name: getattr(settings, name) for name in shared},
        },
        seeds=settings.seeds,
        units=units,
        conditions=conditions,
        collect=collect,
        reduced=", ".join(part for part in said if part),
    )
