"""MusicXML reading by hand-written scores, and the chorales against music21's own reading."""

from __future__ import annotations

import importlib.util
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rnnlib.tasks import chorales, data, music
from rnnlib.tasks.data import DataError
from rnnlib.tasks.musicxml import Note, Score, piano_roll, read_score

needs_music21 = pytest.mark.skipif(
    importlib.util.find_spec("music21") is None, reason="music21 is not installed"
)


def note(step: str, octave: int, duration: int, alter: int = 0, extra: str = "") -> str:
    return (
        f"<note>{extra}<pitch><step>{step}</step><alter>{alter}</alter>"
        f"<octave>{octave}</octave></pitch><duration>{duration}</duration></note>"
    )


def write_score(path: Path, *parts: str, fifths: int = 0) -> Path:
    """A ``.mxl`` file; each part is the XML inside its measures."""
    key = f"<key><fifths>{fifths}</fifths></key>"
    body = "".join(f"<part id='P{i}'>{part}</part>" for i, part in enumerate(parts))
    body = body.replace("<divisions>", f"{key}<divisions>", 1)
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="score.xml"/></rootfiles></container>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("score.xml", f"<score-partwise>{body}</score-partwise>")
    return path


def attributes(divisions: int) -> str:
    return f"<attributes><divisions>{divisions}</divisions></attributes>"


def test_time_runs_as_written(tmp_path: Path) -> None:
    part = (
        "<measure>" + attributes(2) + note("C", 4, 2) + note("E", 4, 2, extra="<chord/>")
        + "<note><grace/><pitch><step>A</step><octave>5</octave></pitch></note>"
        + "<note><rest/><duration>1</duration></note>" + note("F", 4, 1, alter=1)
        + "<backup><duration>4</duration></backup>" + note("B", 3, 1, alter=-1)
        + "<forward><duration>1</duration></forward>" + "</measure>"
        + "<measure>" + attributes(3) + note("G", 4, 2) + note("A", 4, 1) + "</measure>"
    )  # fmt: skip
    score = read_score(write_score(tmp_path / "s.mxl", part, fifths=-3))
    assert score.fifths == -3
    assert score.parts == [
        [
            Note(60, Fraction(0), Fraction(1)),
            Note(64, Fraction(0), Fraction(1)),
            Note(66, Fraction(3, 2), Fraction(2)),
            Note(58, Fraction(0), Fraction(1, 2)),
            Note(67, Fraction(2), Fraction(8, 3)),
            Note(69, Fraction(8, 3), Fraction(3)),
        ]
    ]
    roll = piano_roll(score, shift=0, lowest=21, n_notes=88)
    sounding = [sorted((np.flatnonzero(frame) + 21).tolist()) for frame in roll]
    assert sounding == [[58, 60, 64], [60, 64], [], [66], [67], [67]]


def test_a_note_between_two_frames_leaves_no_trace_and_silence_is_trimmed() -> None:
    half = Fraction(1, 2)
    notes = [
        Note(60, 2 * half, 3 * half),
        Note(62, 3 * half + Fraction(1, 4), 4 * half),
        Note(64, 4 * half, 5 * half),
        Note(10, 0 * half, 8 * half),
    ]
    roll = piano_roll(Score([notes], 0), shift=1, lowest=21, n_notes=88)
    assert [(np.flatnonzero(frame) + 21).tolist() for frame in roll] == [[61], [], [65]]
    assert piano_roll(Score([[]], 0), shift=0, lowest=21, n_notes=88).shape == (0, 88)


def chord_of(fifths: int, bass: int, scale: list[int]) -> Score:
    """A scale in the upper part over one long bass note."""
    upper = [Note(60 + p, Fraction(i), Fraction(i + 1)) for i, p in enumerate(scale)]
    return Score([upper, [Note(bass, Fraction(0), Fraction(len(scale)))]], fifths)


@pytest.mark.parametrize("fifths", range(-6, 7))
def test_key_signature_and_last_bass_note_give_the_key(fifths: int) -> None:
    major = 7 * fifths % 12
    for tonic, minor in ((major, False), ((major + 9) % 12, True)):
        score = chord_of(fifths, 36 + tonic, [0])
        assert chorales.key(score) == (tonic, minor)
        shift = chorales.transposition(score)
        assert -6 <= shift <= 5
        assert (tonic + shift) % 12 == (9 if minor else 0)


def test_a_modal_signature_falls_back_to_the_notes() -> None:
    # D minor without its flat in the signature: the last bass note, D, is neither C nor A.
    score = chord_of(0, 38, [2, 5, 9, 2, 10, 9, 7, 5, 4, 2, 1, 2])
    assert chorales.key(score) == (2, True)


def test_files_are_ordered_by_number() -> None:
    names = ["bwv10.7", "bwv2.6", "bwv244.29-a", "bwv244.3", "bwv253", "bwv9.7"]
    ordered = sorted((Path(f"{name}.mxl") for name in names), key=chorales.bwv_order)
    assert [path.stem for path in ordered] == [
        "bwv2.6", "bwv9.7", "bwv10.7", "bwv244.3", "bwv244.29-a", "bwv253",
    ]  # fmt: skip


def test_a_folder_gives_the_scores_in_four_parts_once_each(tmp_path: Path) -> None:
    def voices(*octaves: int) -> list[str]:
        return [f"<measure>{attributes(1)}{note('G', octave, 2)}</measure>" for octave in octaves]

    write_score(tmp_path / "bwv10.mxl", *voices(5, 4, 3, 2), fifths=1)
    write_score(tmp_path / "bwv2.mxl", *voices(5, 4, 4, 2), fifths=1)
    write_score(tmp_path / "bwv3.mxl", *voices(5, 4, 3), fifths=1)
    write_score(tmp_path / "bwv11.mxl", *voices(5, 4, 3, 2), fifths=1)
    rolls = chorales.build(tmp_path)
    # G becomes C, five semitones up; bwv11 repeats bwv10, bwv3 has three parts.
    assert [(np.flatnonzero(roll[0]) + 21).tolist() for roll in rolls] == [
        [48, 72, 84],
        [48, 60, 72, 84],
    ]
    assert [len(roll) for roll in rolls] == [4, 4]


def test_a_damaged_score_is_named(tmp_path: Path) -> None:
    (tmp_path / "bwv1.mxl").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"bwv1\.mxl") as error:
        chorales.build(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no chorale in four parts"):
        chorales.build(tmp_path / "empty")


def test_without_music21_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not data.available("bach-chorales")
    for use in (data.fetch, music.load):
        with pytest.raises(DataError, match=r'music21.*pip install "rnnlib\[music\]"'):
            use("bach-chorales")


@needs_music21
def test_the_chorales_load_cache_and_repeat(
    isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = music.load("bach-chorales")
    assert len(first.train) + len(first.valid) + len(first.test) > 300
    total = len(first.train) + len(first.valid) + len(first.test)
    assert len(first.train) == int(0.70 * total)
    assert len(first.train) + len(first.valid) == int(0.85 * total)
    songs = {song.tobytes() for part in (first.train, first.valid, first.test) for song in part}
    assert len(songs) == total
    assert max(int(song.sum(1).max()) for song in first.train) <= 4
    # The seven notes of C major hold nearly everything but the raised notes of A minor.
    heard = sum(song.sum(0, dtype=np.int64) for song in first.train)
    in_scale = np.isin((np.arange(88) + 21) % 12, (0, 2, 4, 5, 7, 9, 11))
    assert heard[in_scale].sum() / heard.sum() > 0.93

    (cache,) = isolated.glob("*.npz")
    with np.load(cache, allow_pickle=False) as stored:
        assert set(stored) == {"frames", "lengths", "counts"}

    built: list[Path] = []

    def build(folder: Path) -> list[np.ndarray]:
        built.append(folder)
        return [*first.train, *first.valid, *first.test]

    monkeypatch.setattr(chorales, "build", build)
    assert_same(first, music.load("bach-chorales"))
    assert built == []  # the cache was enough
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    assert_same(first, music.load("bach-chorales"))
    assert len(built) == 1  # a damaged cache is built again
    assert len(cache.read_bytes()) == len(whole)


def assert_same(one: music.PianoRolls, other: music.PianoRolls) -> None:
    assert one.provenance == other.provenance
    for a, b in ((one.train, other.train), (one.valid, other.valid), (one.test, other.test)):
        for song, same in zip(a, b, strict=True):
            np.testing.assert_array_equal(song, same)


@needs_music21
def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RNNLIB_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(chorales, "build", lambda folder: [np.ones((5, 88), np.uint8)] * 20)
    assert len(music.load("bach-chorales").train) == 14


@needs_music21
@pytest.mark.parametrize("name", ["bwv66.6", "bwv101.7", "bwv171.6", "bwv111.6", "bwv244.29-a"])
def test_rolls_agree_with_music21(name: str) -> None:
    from music21 import converter

    path = data.fetch("bach-chorales") / f"{name}.mxl"
    ours = piano_roll(read_score(path), shift=0, lowest=21, n_notes=88)
    theirs = converter.parse(path, forceSource=True, storePickle=False)
    flat = theirs.flatten().notes
    length = round(2 * float(max(n.offset + n.quarterLength for n in flat)))
    roll = np.zeros((length, 88), np.uint8)
    for frame in range(length):
        time = Fraction(frame, 2)
        for n in flat:
            if Fraction(n.offset) <= time < Fraction(n.offset) + Fraction(n.quarterLength):
                for pitch in n.pitches:
                    roll[frame, pitch.midi - 21] = 1
    sounding = np.flatnonzero(roll.any(1))
    np.testing.assert_array_equal(ours, roll[sounding[0] : sounding[-1] + 1])


@needs_music21
@pytest.mark.parametrize("name", ["bwv66.6", "bwv26.6", "bwv10.7", "bwv40.3"])
def test_keys_agree_with_music21(name: str) -> None:
    from music21 import converter

    path = data.fetch("bach-chorales") / f"{name}.mxl"
    theirs = converter.parse(path, forceSource=True, storePickle=False).analyze("key")
    assert chorales.key(read_score(path)) == (theirs.tonic.pitchClass, theirs.mode == "minor")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (f"<measure>{attributes(0)}{note('C', 4, 1)}</measure>", "divisions must be at least 1"),
        (f"<measure>{attributes(1)}{note('H', 4, 1)}</measure>", "a pitch has the step 'H'"),
    ],
)
def test_impossible_notes_are_named(tmp_path: Path, part: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_score(write_score(tmp_path / "s.mxl", part))


def test_a_score_whose_compressed_bytes_are_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bwv1.mxl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", "<container/>" * 50)
    content = bytearray(path.read_bytes())
    start = 30 + len("META-INF/container.xml")
    content[start : start + 4] = b"\xff\xff\xff\xff"  # no block of a deflate stream begins so
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bwv1.mxl is not compressed MusicXML"):
        chorales.build(tmp_path)
