"""Character corpora: encoding, and the corpus that comes with Python."""

from __future__ import annotations

import hashlib
import platform
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.checks import ArgumentError
from rnnlib.tasks import text
from rnnlib.tasks.catalogue import DATASETS, Dataset, RemoteFile, characters_of_words
from rnnlib.tasks.data import DataError

ascii_text = st.text(st.characters(min_codepoint=10, max_codepoint=126), max_size=80)


@given(ascii_text)
def test_encoding_is_undone_by_the_alphabet(sample: str) -> None:
    alphabet = "".join(sorted(set(sample)))
    ids = text.encode(sample, alphabet)
    assert ids.dtype == np.uint8
    assert ids.tolist() == [alphabet.index(c) for c in sample]


def test_symbols_outside_the_alphabet_are_named() -> None:
    with pytest.raises(ArgumentError, match="'z' outside alphabet"):
        text.encode("abza", "ab")
    with pytest.raises(ArgumentError, match="must be ASCII"):
        text.encode("naïve", "aeinv")


def test_the_python_corpus_is_what_it_says() -> None:
    corpus = text.load("pydoc-topics")
    joined = "".join(corpus.decode(ids) for ids in (corpus.train, corpus.valid, corpus.test))
    assert set(joined) == set(corpus.alphabet)
    assert set(corpus.alphabet) <= set("\n abcdefghijklmnopqrstuvwxyz0123456789.,:;'\"()[]_-=*")
    assert len(joined) == 320_000
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (288_000, 16_000, 16_000)
    assert "  " not in joined
    assert "***" not in joined
    paragraphs = joined.split("\n")
    assert len(paragraphs) == len(set(paragraphs))
    assert platform.python_version() in corpus.provenance
    assert hashlib.sha256(joined.encode()).hexdigest() in corpus.provenance
    # Not a jumble: the entropy of single symbols is that of English prose, not of noise.
    p = np.bincount(corpus.train) / len(corpus.train)
    bits = -(p[p > 0] * np.log2(p[p > 0])).sum()
    assert 3.9 < bits < 4.7


def test_a_python_without_its_documentation_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="pydoc_data"):
        text.load("pydoc-topics")


def test_penn_treebank_files_are_read_back_to_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("data")
    words = {
        "train": b" a <unk> of n.v. \n the n $ 5 \n",
        "valid": b" the \n",
        "test": b" of \n a \n",
    }
    files = []
    for part, content in words.items():
        stored = characters_of_words(content)
        (folder / f"{part}.txt").write_bytes(stored)
        digest = hashlib.sha256(stored).hexdigest()
        files.append(RemoteFile(part, f"{part}.txt", len(stored), digest, ()))
    monkeypatch.setitem(DATASETS, "ptb-chars", Dataset("ptb-chars", "", "", "", tuple(files)))
    monkeypatch.setenv("RNNLIB_DATA", str(folder))
    corpus = text.load("ptb-chars")
    assert corpus.decode(corpus.train) == "a_<unk>_of_n.v.\nthe_n_$_5\n"
    assert corpus.decode(corpus.valid) == "the\n"
    assert corpus.decode(torch.from_numpy(corpus.test)) == "of\na\n"


def test_an_unknown_corpus_is_named() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'ptb-chars'"):
        text.load("ptb-char")
