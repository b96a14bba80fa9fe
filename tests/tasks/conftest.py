"""Every test here has its own cache, no data folder, and no way out of this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

_REAL_DATA = os.environ.get("RNNLIB_DATA")


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache; a connection to anything but the loopback address fails the test."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("RNNLIB_CACHE", str(cache))
    monkeypatch.delenv("RNNLIB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    connect = socket.socket.connect

    def only_loopback(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)
    return cache


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder of this machine; the test is skipped where RNNLIB_DATA is not set."""
    if not _REAL_DATA:
        pytest.skip("RNNLIB_DATA is not set")
    monkeypatch.setenv("RNNLIB_DATA", _REAL_DATA)
