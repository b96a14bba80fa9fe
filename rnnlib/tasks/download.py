"""Download with a pinned hash: resumable, atomic, and named when something is wrong."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

_TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds between two pieces
_PIECE = 1 << 16


class DataError(RuntimeError):
    """A data set is absent, damaged or not what it should be; the message is one line."""


class ResumingDownloader:
    """A pooch downloader that keeps what it has in ``<name>.part`` and asks for the rest.

    ``resumed`` tells whether the last call went on from an earlier part, ``found`` is the SHA-256
    of what the last complete call delivered.
    """

    def __init__(self, part: Path) -> None:
        self.part = part
        self.resumed = False
        self.found = ""

    def __call__(self, url: str, output_file: Any, pooch: Any, check_only: bool = False) -> None:
        """Deliver ``url`` into ``output_file``; a short answer leaves the part for a later call.

        Raises:
            DataError: if the server ends early.
            requests.RequestException: if the server cannot be reached or refuses.
        """
        have = self.part.stat().st_size if self.part.exists() else 0
        self.resumed = have > 0 and self._continue(url, have)
        if not self.resumed:
            self._request(url, 0)
        self.found = hashlib.sha256(self.part.read_bytes()).hexdigest()
        os.replace(self.part, output_file)

    def _continue(self, url: str, have: int) -> bool:
        """Append the rest to the part; False if the server does not give exactly that."""
        import requests

        try:
            return self._request(url, have)
        except requests.HTTPError as error:
            # The part is as long as the file or longer, so it is not the beginning of it.
            if error.response is None or error.response.status_code != 416:
                raise
            return False

    def _request(self, url: str, have: int) -> bool:
        """Write the answer from byte ``have`` on; False if it does not begin there."""
        import requests

        # Without "identity" a server may compress, and sizes and ranges would mean other bytes.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            if have and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                return False
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            try:
                with open(self.part, "ab" if have else "wb") as file:
                    for piece in answer.iter_content(_PIECE):
                        file.write(piece)
            except requests.RequestException as error:
                raise DataError(_truncated(url, self.part, total)) from error
        if total is not None and self.part.stat().st_size != total:
            raise DataError(_truncated(url, self.part, total))
        return True


def download(url: str, target: Path, sha256: str | None) -> Path:
    """Download ``url`` to ``target``, which appears complete and verified or not at all.

    Args:
        url: address of the file.
        target: where it belongs; its folder exists.
        sha256: pinned hash; None only if the caller verifies the content after conversion.

    Raises:
        DataError: if the address cannot be reached, ends early, or has another hash.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    downloader = ResumingDownloader(target.with_name(target.name + ".part"))
    for attempt in range(2):
        try:
            return Path(
                pooch.retrieve(
                    url,
                    known_hash=f"sha256:{sha256}" if sha256 else None,
                    fname=target.name,
                    path=target.parent,
                    downloader=downloader,
                )
            )
        except requests.RequestException as error:
            raise DataError(f"{url}: {_reason(error)}") from error
        except ValueError as error:
            # A part left by an older, different download spoils the sum: begin once from zero.
            if downloader.resumed and attempt == 0:
                continue
            raise DataError(
                f"{url}: SHA-256 expected {sha256}, found {downloader.found}; nothing was kept"
            ) from error
    raise AssertionError("unreachable: the second attempt returns or raises")


def _truncated(url: str, part: Path, total: int | None) -> str:
    of = f" of {total}" if total is not None else ""
    return f"{url}: ended after {part.stat().st_size}{of} bytes, the next attempt continues there"


def _reason(error: Exception) -> str:
    """The part of a requests error that a reader can act on, in one line."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    return type(error).__name__
