"""Character corpora: loading as symbol numbers."""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rnnlib.checks import ArgumentError, one_of
from rnnlib.tasks import data
from rnnlib.tasks.download import DataError

Ids = NDArray[np.uint8]
NAMES = ("ptb-chars", "text8-prefix", "pydoc-topics")

# Everything else in the documentation becomes a blank, runs of blanks become one.
_PYDOC_ALPHABET = "\n abcdefghijklmnopqrstuvwxyz0123456789.,:;'\"()[]_-=*"
_PYDOC_LENGTH = 320_000
_SHARES = (0.90, 0.95)  # where valid and test begin, for corpora without a published split


@dataclass(frozen=True)
class Corpus:
    """A text as numbers: ``train[i]`` is an index into ``alphabet``.

    ``provenance`` is one sentence on what was loaded, to be printed under a figure.
    """

    name: str
    alphabet: str
    train: Ids
    valid: Ids
    test: Ids
    provenance: str

    def decode(self, ids: NDArray[np.integer] | Tensor) -> str:
        """The text of a sequence of symbol numbers."""
        return "".join(self.alphabet[int(i)] for i in ids)


def load(name: str) -> Corpus:
    """Load a character corpus.

    "ptb-chars": Penn Treebank in Mikolov's preprocessing with its published split; 50 symbols,
    ``_`` for a blank and a newline per sentence. "text8-prefix": the first 6,877,825 characters of
    text8, split 90/5/5, not comparable with published text8 numbers. "pydoc-topics": the
    documentation that comes with the running Python, split 90/5/5 (see :func:`pydoc_text`).

    Raises:
        ArgumentError: for another name.
        DataError: if the corpus is absent and cannot be downloaded, or is damaged.
    """
    one_of("name", name, NAMES)
    if name == "ptb-chars":
        parts = {part: _ptb_text(content) for part, content in data.read(name).items()}
        provenance = "Penn Treebank, character level, Mikolov's split"
        train, valid, test = parts["train"], parts["valid"], parts["test"]
    else:
        if name == "text8-prefix":
            text = data.read(name)["all"].decode("ascii")
            provenance = "first 6,877,825 characters of text8, split 90/5/5"
        else:
            text, provenance = pydoc_text()
        cuts = [int(share * len(text)) for share in _SHARES]
        train, valid, test = text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]
    alphabet = "".join(sorted(set(train + valid + test)))
    return Corpus(
        name,
        alphabet,
        encode(train, alphabet),
        encode(valid, alphabet),
        encode(test, alphabet),
        provenance,
    )


def encode(text: str, alphabet: str) -> Ids:
    """Numbers of the symbols of an ASCII text, uint8 (len(text),).

    Raises:
        ArgumentError: if the text is not ASCII or has a symbol outside ``alphabet``.
    """
    table = np.full(128, 255, dtype=np.uint8)
    try:
        table[np.frombuffer(alphabet.encode("ascii"), np.uint8)] = np.arange(len(alphabet))
        ids = table[np.frombuffer(text.encode("ascii"), np.uint8)]
    except UnicodeEncodeError as error:
        raise ArgumentError(f"text and alphabet must be ASCII, got {error.object!r:.40}") from error
    if ids.size and ids.max() == 255:
        raise ArgumentError(f"text has the symbol {text[int(ids.argmax())]!r} outside alphabet")
    return ids


def pydoc_text() -> tuple[str, str]:
    """The language topics of the running Python as a small corpus, and where it comes from.

    Topics in alphabetical order, lower case, a newline between paragraphs; a paragraph that came
    before is left out, since topics quote each other and would stand on two sides of the split.
    Every symbol outside ``a-z 0-9 . , : ; ' " ( ) [ ] _ - = *`` becomes a blank, as does a rule of
    three or more ``*``, ``=`` or ``-``; runs of blanks become one. The text is cut at 320,000
    symbols, which Python 3.10 to 3.13 all reach. It differs between Python versions, so the
    provenance names the version and the SHA-256.

    Raises:
        DataError: if this Python comes without ``pydoc_data``.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "pydoc-topics: this Python comes without the module pydoc_data.topics; "
            "use one that has its standard library in full"
        ) from error
    paragraphs = "\n\n".join(topics[key] for key in sorted(topics)).lower().split("\n\n")
    table = {i: " " for i in range(128) if chr(i) not in _PYDOC_ALPHABET}
    plain = (p.encode("ascii", "replace").decode().translate(table) for p in paragraphs)
    lines = (" ".join(re.sub(r"[*=-]{3,}", " ", p).replace("\n", " ").split()) for p in plain)
    text = "\n".join(dict.fromkeys(line for line in lines if line))[:_PYDOC_LENGTH]
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()
    provenance = (
        f"pydoc_data.topics of Python {platform.python_version()}, {len(text)} symbols, "
        f"split 90/5/5, SHA-256 {digest}"
    )
    return text, provenance


def _ptb_text(content: bytes) -> str:
    """Undo the one blank after every character of the character files."""
    return content.decode("ascii")[::2]
