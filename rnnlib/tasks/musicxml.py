"""Piano roll of a compressed MusicXML score, frame by frame, without a music library."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_FRAMES_PER_QUARTER = 2


@dataclass(frozen=True)
class Note:
    """One written note: MIDI pitch, start and end in quarter notes from the beginning."""

    pitch: int
    start: Fraction
    end: Fraction


@dataclass(frozen=True)
class Score:
    """Notes of each part and the key signature (fifths, flats negative) at the beginning."""

    parts: list[list[Note]]
    fifths: int


def read_score(path: Path) -> Score:
    """Read a ``.mxl`` file: written notes in written order, repeats played once, no grace notes.

    Raises:
        ValueError: if the file is not compressed partwise MusicXML, has a duration or an
            alteration that is not a whole number, or a note that does not exist.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            rootfile = container.find(".//{*}rootfile")
            name = rootfile.get("full-path", "") if rootfile is not None else ""
            root = ElementTree.fromstring(archive.read(name))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ElementTree.ParseError) as error:
        raise ValueError(f"{path.name} is not compressed MusicXML ({error})") from error
    if root.tag != "score-partwise":
        raise ValueError(f"{path.name} holds {root.tag}, not a partwise score")
    fifths = root.find(".//key/fifths")
    return Score(
        parts=[_part_notes(part) for part in root.findall("part")],
        fifths=_whole(fifths) if fifths is not None else 0,
    )


def piano_roll(score: Score, shift: int, lowest: int, n_notes: int) -> NDArray[np.uint8]:
    """Notes sounding at each eighth-note instant, without silence at either end.

    ``roll[k, j] = 1`` if a note of pitch ``lowest + j``, after transposing by ``shift``
    semitones, has started at instant k and not ended. Notes shorter than an eighth that begin
    between two instants leave no trace. Pitches outside the range are dropped.

    Returns:
        uint8 (time, n_notes).
    """
    notes = [note for part in score.parts for note in part]
    length = max((_frame(note.end) for note in notes), default=0)
    roll = np.zeros((length, n_notes), dtype=np.uint8)
    for note in notes:
        column = note.pitch + shift - lowest
        if 0 <= column < n_notes:
            roll[_frame(note.start) : _frame(note.end), column] = 1
    sounding = np.flatnonzero(roll.any(1))
    return roll[sounding[0] : sounding[-1] + 1] if len(sounding) else roll[:0]


def _part_notes(part: Element) -> list[Note]:
    """Notes of one part; time runs on through the measures, back and forth within each."""
    notes: list[Note] = []
    divisions, beginning = 1, Fraction(0)
    for measure in part.iter("measure"):
        now = last_start = longest = beginning
        for element in measure:
            if element.tag == "attributes":
                found = element.find("divisions")
                divisions = _whole(found) if found is not None else divisions
                if divisions < 1:
                    raise ValueError(f"divisions must be at least 1, got {divisions}")
            elif element.tag in ("forward", "backup", "note"):
                duration = element.find("duration")
                if duration is None:  # a grace note takes no time
                    continue
                span = Fraction(_whole(duration), divisions)
                if element.tag == "backup":
                    now -= span
                    continue
                start = last_start if element.find("chord") is not None else now
                pitch = element.find("pitch")
                if pitch is not None:
                    notes.append(Note(_midi(pitch), start, start + span))
                last_start, now = start, start + span
                longest = max(longest, now)
        beginning = longest
    return notes


def _midi(pitch: Element) -> int:
    step, octave, alter = pitch.findtext("step", "C"), pitch.find("octave"), pitch.find("alter")
    if octave is None:
        raise ValueError("a pitch has no octave")
    if step not in _STEPS:
        raise ValueError(f"a pitch has the step {step!r}")
    return 12 * (_whole(octave) + 1) + _STEPS[step] + (_whole(alter) if alter is not None else 0)


def _whole(element: Element) -> int:
    return int(element.text or "")


def _frame(time: Fraction) -> int:
    """First eighth-note instant at or after a time in quarter notes."""
    return math.ceil(time * _FRAMES_PER_QUARTER)
