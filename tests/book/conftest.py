"""The repository, the book's own modules, and the built pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def html(root: Path) -> Path:
    """The folder of the built pages; skips where there is none, but fails on CI."""
    folder = root / "_build" / "html"
    if not (folder / "index.html").exists():
        message = "no book in _build/html; run 'make book' first"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
