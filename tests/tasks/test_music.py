"""Piano rolls."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from rnnlib.checks import ArgumentError
from rnnlib.tasks import music
from rnnlib.tasks.catalogue import DATASETS, Dataset, RemoteFile
from rnnlib.tasks.data import DataError


def random_roll(steps: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, 88)) < 0.05).astype(np.uint8)


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path, variables: dict[str, list[np.ndarray]]
) -> None:
    """Put a small file where "jsb" is looked for, with its own hash in the table."""
    cells = {}
    for name, songs in variables.items():
        cells[name] = np.empty((1, len(songs)), dtype=object)
        for i, song in enumerate(songs):
            cells[name][0, i] = song
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, cells)
    content = buffer.getvalue()
    folder.mkdir()
    (folder / "small.mat").write_bytes(content)
    file = RemoteFile("all", "small.mat", len(content), hashlib.sha256(content).hexdigest(), ())
    monkeypatch.setitem(DATASETS, "jsb", Dataset("jsb", "small rolls", "a test", "", (file,)))
    monkeypatch.setenv("RNNLIB_DATA", str(folder))


def test_songs_arrive_in_their_splits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    songs = [random_roll(steps, seed) for seed, steps in enumerate((5, 130, 1, 9))]
    parts = {"traindata": songs[:2], "validdata": songs[2:3], "testdata": songs[3:]}
    install(monkeypatch, tmp_path / "data", parts)
    rolls = music.load("jsb")
    assert rolls.name == "jsb"
    assert "small rolls" in rolls.provenance
    for found, wanted in zip((rolls.train, rolls.valid, rolls.test), parts.values(), strict=True):
        for mine, song in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(mine, song)
            assert mine.dtype == np.uint8


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"traindata": [random_roll(3, 0)]}, "no variable validdata, testdata"),
        (
            {
                "traindata": [random_roll(3, 0) * 7],
                "validdata": [random_roll(3, 0)],
                "testdata": [random_roll(3, 0)],
            },
            "train holds something other",
        ),
        (
            {
                "traindata": [random_roll(3, 0)],
                "validdata": [random_roll(3, 0)],
                "testdata": [random_roll(3, 0)[:, :80]],
            },
            "test holds something other",
        ),
    ],
)
def test_a_file_with_other_content_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, list[np.ndarray]],
    message: str,
) -> None:
    install(monkeypatch, tmp_path / "data", variables)
    with pytest.raises(DataError, match=message):
        music.load("jsb")


def test_an_unknown_set_is_named() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'nottingham'"):
        music.load("Nottingham")
