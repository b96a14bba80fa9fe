"""Where the book's repository lies: the environment first, then pyproject.toml, else nowhere."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

UNKNOWN = (
    "No repository address: the Colab and repository buttons are left out. Set "
    "BOOK_REPOSITORY_URL, or Repository under [project.urls] in pyproject.toml."
)


def address() -> str:
    """The repository's https address without a trailing slash, or "" where none is known.

    ``BOOK_REPOSITORY_URL`` wins, then ``GITHUB_REPOSITORY`` (set in every GitHub workflow, so a
    fork's book points to the fork), then ``[project.urls] Repository``.
    """
    if url := os.environ.get("BOOK_REPOSITORY_URL"):
        return _cleaned(url)
    if name := os.environ.get("GITHUB_REPOSITORY"):
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        return _cleaned(f"{server}/{name}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return _cleaned(project.get("urls", {}).get("Repository", ""))


def branch() -> str:
    """The branch whose notebooks the Colab button opens (``BOOK_NOTEBOOK_BRANCH``, or main)."""
    return os.environ.get("BOOK_NOTEBOOK_BRANCH") or "main"


def revision() -> str:
    """The commit, tag or branch that the notebooks install (``BOOK_REVISION``, or main)."""
    return os.environ.get("BOOK_REVISION") or "main"


def _cleaned(url: str) -> str:
    return re.sub(r"(\.git)?/*$", "", url.strip())
