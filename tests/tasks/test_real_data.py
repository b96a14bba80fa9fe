"""Published counts of the real data sets; skipped where RNNLIB_DATA is not set."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.io

from rnnlib.tasks import data, music, text
from rnnlib.tasks.catalogue import characters_of_words

pytestmark = pytest.mark.usefixtures("real_data")

# Songs, steps, shortest, longest of train, valid, test; then the test likelihood per step of the
# "Note 1-gram" row of Boulanger-Lewandowski et al. (2012), Table 1.
SETS = {
    "nottingham": ((694, 176561, 40, 1788), (173, 45513, 96, 1473), (170, 44463, 63, 1793), -10.25),
    "piano-midi": ((87, 75911, 111, 3857), (12, 8540, 209, 1637), (25, 19036, 65, 2645), -11.05),
    "musedata": ((524, 245202, 9, 3457), (135, 82755, 63, 3723), (124, 64339, 45, 4273), -11.51),
    "jsb": ((229, 13807, 25, 129), (76, 4602, 32, 144), (77, 4725, 32, 160), -11.06),
}


@pytest.mark.parametrize("name", SETS)
def test_piano_rolls_have_the_known_counts_and_baseline(name: str) -> None:
    rolls = music.load(name)
    *counts, likelihood = SETS[name]
    for songs, wanted in zip((rolls.train, rolls.valid, rolls.test), counts, strict=True):
        steps = [len(song) for song in songs]
        assert (len(steps), sum(steps), min(steps), max(steps)) == wanted
    train, test = np.concatenate(rolls.train), np.concatenate(rolls.test)
    # A note that is absent from training costs ln(steps), and not infinity.
    p = np.clip(train.mean(0), 1 / len(train), 1 - 1 / len(train))
    assert round(np.where(test, np.log(p), np.log1p(-p)).sum() / len(test), 2) == likelihood


@pytest.mark.parametrize("name", SETS)
def test_piano_rolls_agree_with_scipy(name: str) -> None:
    rolls = music.load(name)
    theirs = scipy.io.loadmat(io.BytesIO(data.read(name)["all"]))
    for songs, key in (
        (rolls.train, "traindata"),
        (rolls.valid, "validdata"),
        (rolls.test, "testdata"),
    ):
        for mine, other in zip(songs, theirs[key][0], strict=True):
            np.testing.assert_array_equal(mine, other)


def test_penn_treebank_has_the_published_counts() -> None:
    corpus = text.load("ptb-chars")
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (5017482, 393042, 442423)
    assert len(corpus.alphabet) == 50
    ends = corpus.alphabet.index("\n")
    lines = [int((ids == ends).sum()) for ids in (corpus.train, corpus.valid, corpus.test)]
    assert lines == [42068, 3370, 3761]
    assert corpus.decode(corpus.train[-1:]) == "\n"


def test_the_second_source_of_penn_treebank_gives_the_same_characters() -> None:
    import lzma

    characters = data.fetch("ptb-chars")
    stored = data.read("ptb-chars")
    for part in ("train", "valid", "test"):
        words = characters / f"ptb.{part}.txt.xz"
        if not words.is_file():
            pytest.skip("the word-level files are not in the data folder")
        assert characters_of_words(lzma.decompress(words.read_bytes())) == stored[part]


def test_the_prefix_of_text8_has_27_symbols() -> None:
    corpus = text.load("text8-prefix")
    assert corpus.alphabet == " abcdefghijklmnopqrstuvwxyz"
    sizes = [len(ids) for ids in (corpus.train, corpus.valid, corpus.test)]
    assert sum(sizes) == 6_877_825
    assert sizes[0] == int(0.9 * 6_877_825)
    assert corpus.decode(corpus.train[:22]) == " anarchism originated "
    assert corpus.decode(corpus.test[-30:]).endswith("during world war i one nine ")
