"""Finding, verifying and downloading data sets, against a server on the loopback address."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rnnlib.checks import ArgumentError
from rnnlib.tasks import data
from rnnlib.tasks.catalogue import (
    DATASETS,
    Dataset,
    RemoteFile,
    Source,
    characters_of_words,
    start_of_zip_member,
)
from rnnlib.tasks.data import DataError

CONTENT = bytes(range(256)) * 1200  # 307,200 bytes: more than the pieces a download comes in
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "folder/tiny.bin"


class Server:
    """What is served per path, how it misbehaves, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.stop_after: int | None = None
        self.ranges = True
        self.lie_about_range = False
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.asked.append((self.path, wanted))
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                start = 0
                if wanted and outer.ranges:
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(content):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    shown = start + 1 if outer.lie_about_range else start
                    total = len(content)
                    self.send_header("Content-Range", f"bytes {shown}-{total - 1}/{total}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start : outer.stop_after])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def install(monkeypatch: pytest.MonkeyPatch, *sources: Source) -> None:
    """Add the set "tiny" of one file to the table."""
    file = RemoteFile("all", PATH, len(CONTENT), SHA256, sources)
    monkeypatch.setitem(DATASETS, "tiny", Dataset("tiny", "a test", "", "", (file,)))


def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes) -> Path:
    """A folder named by RNNLIB_DATA with one file in it."""
    path = tmp_path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path / "data"))
    return path


def files_under(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Local copies


def test_the_data_folder_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    path = data_folder(monkeypatch, tmp_path, PATH, CONTENT)
    assert data.available("tiny")
    assert data.fetch("tiny") == path
    assert data.read("tiny") == {"all": CONTENT}
    assert server.asked == []
    assert not isolated.exists()


def test_a_compressed_copy_is_as_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch)
    path = data_folder(monkeypatch, tmp_path, f"{PATH}.xz", lzma.compress(CONTENT))
    assert data.available("tiny")
    assert data.fetch("tiny") == path
    assert data.read("tiny") == {"all": CONTENT}


def test_the_cache_comes_second(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    (isolated / "folder").mkdir(parents=True)
    (isolated / PATH).write_bytes(CONTENT)
    assert data.fetch("tiny") == isolated / PATH
    assert server.asked == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_wrong_file_in_the_data_folder_is_named_and_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server, content: bytes
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    path = data_folder(monkeypatch, tmp_path, PATH, content)
    assert not data.available("tiny")
    for use in (data.fetch, data.read):
        with pytest.raises(DataError) as error:
            use("tiny")
        message = one_line(error)
        assert str(path) in message
        assert SHA256 in message
        assert hashlib.sha256(content).hexdigest() in message
        if len(content) != len(CONTENT):
            assert f"{len(content)} bytes instead of {len(CONTENT)}" in message
    assert path.read_bytes() == content


def test_a_truncated_archive_in_the_data_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch)
    path = data_folder(monkeypatch, tmp_path, f"{PATH}.xz", lzma.compress(CONTENT)[:-20])
    assert not data.available("tiny")
    with pytest.raises(DataError, match="truncated or corrupt") as error:
        data.fetch("tiny")
    assert str(path) in one_line(error)


def test_a_wrong_file_in_the_cache_is_set_aside_and_replaced(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    (isolated / "folder").mkdir(parents=True)
    (isolated / PATH).write_bytes(b"spoilt")
    assert not data.available("tiny")
    assert (isolated / PATH).read_bytes() == b"spoilt"  # asking changes nothing
    assert data.read("tiny") == {"all": CONTENT}
    assert (isolated / f"{PATH}.corrupt").read_bytes() == b"spoilt"


def test_nothing_anywhere_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated: Path
) -> None:
    # A port that was free a moment ago: the connection is refused, as without a network.
    closed = Server()
    closed.http.server_close()
    install(monkeypatch, Source(f"{closed.address}/tiny", SHA256))
    with pytest.raises(DataError) as error:
        data.fetch("tiny")
    message = one_line(error)
    for part in (PATH, "RNNLIB_DATA (not set)", str(isolated / PATH), "rnnlib data fetch tiny"):
        assert part in message
    assert "ConnectionError" in message
    assert files_under(isolated) == set()
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="absent, no folder"):
        data.fetch("tiny")
    assert not (tmp_path / "absent").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs file permissions")
def test_folders_without_write_access_are_enough_to_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch)
    path = data_folder(monkeypatch, tmp_path, PATH, CONTENT)
    path.parent.chmod(0o500)
    try:
        assert data.read("tiny") == {"all": CONTENT}
    finally:
        path.parent.chmod(0o700)


def test_unknown_names_are_met_with_the_nearest() -> None:
    for use in (data.fetch, data.available, data.read):
        with pytest.raises(ArgumentError, match="did you mean 'nottingham'"):
            use("notingham")
    with pytest.raises(ArgumentError, match="one of"):
        data.read("pydoc-topics")  # comes with Python, not as a file with a hash


# Downloads


def test_a_download_is_verified_and_kept(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    assert not data.available("tiny")
    assert data.read("tiny") == {"all": CONTENT}
    assert data.available("tiny")
    assert data.fetch("tiny") == isolated / PATH
    assert len(server.asked) == 1
    assert files_under(isolated) == {PATH}


def test_a_truncated_download_goes_on_where_it_ended(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    server.stop_after = 200_000
    with pytest.raises(DataError, match=r"ended after \d+ of 307200 bytes") as error:
        data.fetch("tiny")
    one_line(error)
    assert not data.available("tiny")
    assert files_under(isolated) == {f"{PATH}.part"}
    kept = (isolated / f"{PATH}.part").stat().st_size
    assert 0 < kept <= 200_000

    server.stop_after = None
    assert data.read("tiny") == {"all": CONTENT}
    assert server.asked[-1] == ("/tiny", f"bytes={kept}-")
    assert files_under(isolated) == {PATH}


def test_a_server_without_ranges_begins_anew(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    server.ranges = False
    (isolated / "folder").mkdir(parents=True)
    (isolated / f"{PATH}.part").write_bytes(CONTENT[:1000])
    assert data.read("tiny") == {"all": CONTENT}


def test_a_part_of_something_else_is_dropped(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    (isolated / "folder").mkdir(parents=True)
    (isolated / f"{PATH}.part").write_bytes(b"\xff" * 1000)
    assert data.read("tiny") == {"all": CONTENT}
    assert [wanted for _, wanted in server.asked] == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_too_long_is_dropped(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server, size: int
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    (isolated / "folder").mkdir(parents=True)
    (isolated / f"{PATH}.part").write_bytes(b"\xff" * size)
    assert data.read("tiny") == {"all": CONTENT}


def test_another_range_than_asked_for_is_not_used(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    server.lie_about_range = True
    (isolated / "folder").mkdir(parents=True)
    (isolated / f"{PATH}.part").write_bytes(CONTENT[:1000])
    assert data.read("tiny") == {"all": CONTENT}
    assert [wanted for _, wanted in server.asked] == ["bytes=1000-", None]


def test_a_download_with_a_wrong_hash_is_refused(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = b"an error page"
    with pytest.raises(DataError) as error:
        data.fetch("tiny")
    message = one_line(error)
    assert f"expected {SHA256}, found {hashlib.sha256(b'an error page').hexdigest()}" in message
    assert files_under(isolated) == set()


def test_the_second_source_is_tried(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    words = hashlib.sha256(CONTENT[::-1]).hexdigest()
    install(
        monkeypatch,
        Source(f"{server.address}/absent", SHA256),
        Source(f"{server.address}/reversed", words, lambda content: content[::-1]),
    )
    server.files["/reversed"] = CONTENT[::-1]
    assert data.read("tiny") == {"all": CONTENT}
    assert [path for path, _ in server.asked] == ["/absent", "/reversed"]
    assert files_under(isolated) == {PATH}


def test_every_failed_source_is_named(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    install(
        monkeypatch,
        Source(f"{server.address}/absent", SHA256),
        Source(f"{server.address}/spoilt", None, lambda content: content[::-1]),
    )
    server.files["/spoilt"] = CONTENT
    with pytest.raises(DataError) as error:
        data.fetch("tiny")
    message = one_line(error)
    assert f"{server.address}/absent: HTTP status 404" in message
    assert f"{server.address}/spoilt is not the expected {PATH}" in message


def test_what_an_interrupted_conversion_left_is_not_used(
    monkeypatch: pytest.MonkeyPatch, isolated: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/reversed", None, lambda c: c[::-1]))
    server.files["/reversed"] = CONTENT[::-1]
    (isolated / "folder").mkdir(parents=True)
    (isolated / f"{PATH}.source").write_bytes(b"old")
    assert data.read("tiny") == {"all": CONTENT}
    assert files_under(isolated) == {PATH}


def test_a_cache_that_cannot_be_made_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    install(monkeypatch, Source(f"{server.address}/tiny", SHA256))
    server.files["/tiny"] = CONTENT
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RNNLIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="cannot write") as error:
        data.fetch("tiny")
    one_line(error)


# The table


def test_every_address_and_hash_is_pinned() -> None:
    for name, dataset in DATASETS.items():
        assert name == dataset.name
        assert dataset.what
        assert dataset.citation
        assert dataset.terms
        assert bool(dataset.files) != bool(dataset.package)
        for file in dataset.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.sources
            for source in file.sources:
                assert re.match(
                    r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/", source.url
                )
                assert source.sha256 == file.sha256 or source.convert is not None


def test_characters_of_words_by_hand() -> None:
    assert characters_of_words(b" a bc \n <unk>\n") == b"a _ b c \n < u n k > \n "


def test_the_start_of_a_cut_zip_archive_is_read() -> None:
    text = b"".join(b"anarchism originated as %d " % (i * i) for i in range(20_000))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", text)
    whole = buffer.getvalue()
    start = start_of_zip_member(whole[: len(whole) // 2])
    assert len(text) // 4 < len(start) < len(text)
    assert text.startswith(start)
    assert start_of_zip_member(whole) == text
    padded = bytearray(whole)  # three bytes in the extra field of the member's header
    padded[28:30] = (3).to_bytes(2, "little")
    padded[35:35] = b"abc"
    assert start_of_zip_member(bytes(padded)) == text
    assert start_of_zip_member(b"not a zip archive" * 9) == b""
    assert start_of_zip_member(whole[:30] + b"\xff" * 50) == b""


def test_importing_the_tasks_stays_light() -> None:
    code = (
        "import sys; from rnnlib.tasks import data, music, synthetic, text; "
        "print({'pooch', 'requests', 'scipy', 'music21', 'matplotlib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
