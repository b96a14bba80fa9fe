"""Piano rolls of polyphonic music: loading, and the note baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnlib.checks import ArgumentError, one_of
from rnnlib.tasks import chorales, data
from rnnlib.tasks.download import DataError
from rnnlib.tasks.matfile import read_cells

NOTES = 88
LOWEST_NOTE = 21  # MIDI number of column 0, A0; column 87 is C8

Roll = NDArray[np.uint8]
NAMES = ("nottingham", "piano-midi", "musedata", "jsb", "bach-chorales")


@dataclass(frozen=True)
class PianoRolls:
    """Songs of one data set, each a uint8 array (time, 88) of 0 and 1; column j is note 21 + j.

    ``provenance`` is one sentence on what was loaded, to be printed under a figure.
    """

    name: str
    train: list[Roll]
    valid: list[Roll]
    test: list[Roll]
    provenance: str


def load(name: str) -> PianoRolls:
    """Load piano rolls with their fixed split.

    "nottingham", "piano-midi", "musedata" and "jsb" are the sets of Boulanger-Lewandowski, Bengio
    & Vincent (2012) with the published split; "bach-chorales" is built from the music21 corpus
    (see :mod:`rnnlib.tasks.chorales`).

    Raises:
        ArgumentError: for another name.
        DataError: if the data set is absent and cannot be downloaded, or is damaged.
    """
    one_of("name", name, NAMES)
    if name == "bach-chorales":
        splits, provenance = chorales.load()
    else:
        splits = _mat_splits(name)
        provenance = f"{data.DATASETS[name].what} ({data.DATASETS[name].citation})"
    for part, songs in splits.items():
        for song in songs:
            if song.ndim != 2 or song.shape[1] != NOTES or song.size == 0 or song.max() > 1:
                raise DataError(f"{name}: {part} holds something other than 0/1 rolls (time, 88)")
    return PianoRolls(name, splits["train"], splits["valid"], splits["test"], provenance)


def note_marginal_nll(train: Iterable[Roll], test: Iterable[Roll]) -> float:
    """Negative log-likelihood per step of independent notes with their training frequencies.

    ``-sum_j [v_j ln p_j + (1 - v_j) ln(1 - p_j)]`` in nats, averaged over all steps of all test
    songs in one flat list; ``p_j`` is clipped to ``[1/T, 1 - 1/T]`` with T training steps, so that
    a note absent from training costs ln T and not infinity.

    Source: "Note 1-gram" of Boulanger-Lewandowski et al. (2012), Table 1.

    Raises:
        ArgumentError: if either side has no step.
    """
    seen, asked = list(train), list(test)
    steps, asked_steps = sum(map(len, seen)), sum(map(len, asked))
    if steps < 2 or asked_steps < 1:
        raise ArgumentError(
            f"train and test must hold at least 2 and 1 steps, got {steps} and {asked_steps}"
        )
    on = np.sum([roll.sum(0, dtype=np.float64) for roll in seen], axis=0)
    p = np.clip(on / steps, 1 / steps, 1 - 1 / steps)
    asked_on = np.sum([roll.sum(0, dtype=np.float64) for roll in asked], axis=0)
    total = asked_on @ np.log(p) + (asked_steps - asked_on) @ np.log1p(-p)
    return float(-total / asked_steps)


def _mat_splits(name: str) -> dict[str, list[Roll]]:
    variables = read_cells(data.read(name)["all"], name)
    wanted = {"train": "traindata", "valid": "validdata", "test": "testdata"}
    absent = [key for key in wanted.values() if key not in variables]
    if absent:
        raise DataError(f"{name}: the file has no variable {', '.join(absent)}")
    return {part: variables[key] for part, key in wanted.items()}
