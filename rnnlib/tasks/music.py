"""Piano rolls of polyphonic music."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnlib.checks import one_of
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


def _mat_splits(name: str) -> dict[str, list[Roll]]:
    variables = read_cells(data.read(name)["all"], name)
    wanted = {"train": "traindata", "valid": "validdata", "test": "testdata"}
    absent = [key for key in wanted.values() if key not in variables]
    if absent:
        raise DataError(f"{name}: the file has no variable {', '.join(absent)}")
    return {part: variables[key] for part, key in wanted.items()}
