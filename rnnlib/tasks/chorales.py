"""Bach chorales of the music21 corpus as piano rolls in C major or A minor."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnlib import atomic
from rnnlib.tasks import data
from rnnlib.tasks.download import DataError
from rnnlib.tasks.musicxml import Score, piano_roll, read_score

Roll = NDArray[np.uint8]
Splits = dict[str, list[Roll]]

_RECIPE = 1  # raise when the rolls change, so that older caches are not read
_PARTS = ("train", "valid", "test")
_SHARES = (0.70, 0.85)  # where valid and test begin, in the order of BWV numbers

# Weight of each scale degree in a major and a minor key: Aarden (2003), from the Essen folk songs,
# the default profile of music21's key analysis.
_PROFILES = np.array(
    [
        [17.7661, 0.145624, 14.9265, 0.160186, 19.8049, 11.3587,
         0.291248, 22.062, 0.145624, 8.15494, 0.232998, 4.95122],
        [18.2648, 0.737619, 14.0499, 16.8599, 0.702494, 14.4362,
         0.702494, 18.6161, 4.56621, 1.93186, 7.37619, 1.75623],
    ]
)  # fmt: skip


def load() -> tuple[Splits, str]:
    """Rolls of all chorales in four parts, split 70/15/15 by BWV number, and their provenance.

    Eighth-note frames, 88 notes; each chorale is transposed by the least number of semitones to C
    major or A minor (see :func:`key`). Repeats are played once; of equal rolls the first is kept,
    so that no song stands on two sides of the split. The result is kept in the user cache.

    Raises:
        DataError: if music21 is not installed or its corpus has no chorale in four parts.
    """
    folder = data.fetch("bach-chorales")
    try:
        release = version("music21")
    except PackageNotFoundError:
        release = "unknown"
    cache = data.cache_folder() / f"bach-chorales-music21-{release}-recipe-{_RECIPE}.npz"
    splits = _read_cache(cache)
    if splits is None:
        splits = split(build(folder))
        _write_cache(cache, splits)
    digest = hashlib.sha256()
    for song in (song for part in _PARTS for song in splits[part]):
        digest.update(len(song).to_bytes(8, "little") + song.tobytes())
    counts = "/".join(str(len(splits[part])) for part in _PARTS)
    return splits, (
        f"Bach chorales from the corpus of music21 {release}, all in four parts, {counts} songs, "
        f"SHA-256 of the rolls {digest.hexdigest()}"
    )


def build(folder: Path) -> list[Roll]:
    """Rolls of the four-part scores in a folder of ``.mxl`` files, by BWV number.

    Raises:
        DataError: if a file is damaged or no score has four parts.
    """
    rolls: dict[bytes, Roll] = {}
    for path in sorted(folder.glob("*.mxl"), key=bwv_order):
        try:
            score = read_score(path)
        except (ValueError, OSError) as error:
            raise DataError(f"bach-chorales: {path} cannot be read ({error})") from error
        if len(score.parts) == 4:
            roll = piano_roll(score, shift=transposition(score), lowest=21, n_notes=88)
            rolls.setdefault(roll.tobytes(), roll)
    if not rolls:
        raise DataError(f"bach-chorales: no chorale in four parts under {folder}")
    return list(rolls.values())


def split(rolls: list[Roll]) -> Splits:
    """First 70 % train, next 15 % valid, last 15 % test.

    The order of BWV numbers keeps settings of one hymn together: 250 to 438 follow its title.
    """
    valid, test = (int(share * len(rolls)) for share in _SHARES)
    return {"train": rolls[:valid], "valid": rolls[valid:test], "test": rolls[test:]}


def key(score: Score) -> tuple[int, bool]:
    """Tonic (0 = C, 11 = B) and whether the key is minor.

    A chorale whose last bass note is the major or minor tonic of its key signature has that key.
    For the others, modal signatures above all, it is the key whose profile correlates best with
    the sounding time of the twelve pitch classes (Krumhansl & Schmuckler, weights of Aarden).
    """
    major = 7 * score.fifths % 12
    minor = (major + 9) % 12
    bass = score.parts[-1]
    last = bass[-1].pitch % 12 if bass else None
    if last in (major, minor):
        return last, last == minor
    sounding = np.zeros(12)
    for note in (note for part in score.parts for note in part):
        sounding[note.pitch % 12] += float(note.end - note.start)
    keys = [(tonic, mode) for mode in (0, 1) for tonic in range(12)]
    fits = [np.corrcoef(np.roll(_PROFILES[mode], tonic), sounding)[0, 1] for tonic, mode in keys]
    tonic, mode = keys[int(np.argmax(fits))]
    return tonic, bool(mode)


def transposition(score: Score) -> int:
    """Semitones, -6 to 5, that bring a score to C major or A minor."""
    tonic, minor = key(score)
    return ((9 if minor else 0) - tonic + 6) % 12 - 6


def bwv_order(path: Path) -> list[tuple[int, str]]:
    """Sort key by the numbers in a file name: bwv2.6 before bwv10.7."""
    pieces = re.split(r"(\d+)", path.stem)
    return [(int(piece) if piece.isdigit() else -1, piece) for piece in pieces]


def _read_cache(path: Path) -> Splits | None:
    """Splits kept by an earlier call; None if there are none or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            frames, lengths, counts = stored["frames"], stored["lengths"], stored["counts"]
        songs = np.split(frames, np.cumsum(lengths)[:-1])
        if counts.sum() != len(songs) or lengths.sum() != len(frames) or len(counts) != 3:
            return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    ends = np.cumsum(counts)
    return {
        part: songs[end - count : end]
        for part, count, end in zip(_PARTS, counts, ends, strict=True)
    }


def _write_cache(path: Path, splits: Splits) -> None:
    songs = [song for part in _PARTS for song in splits[part]]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        frames=np.concatenate(songs),
        lengths=np.array([len(song) for song in songs]),
        counts=np.array([len(splits[part]) for part in _PARTS]),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.replace(path, buffer.getvalue())
    except OSError:
        return  # a cache that cannot be written costs seconds, not correctness
