"""Run a chapter again when the code or the records under it have changed.

Two caches know only a part of what a page depends on. jupyter-cache keys an executed chapter by
the text of its cells, and Sphinx re-reads a page when its file changes; neither sees `rnnlib`.
One digest covers what both overlook. It is kept in each cache, so that neither can believe the
other.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from repository import ROOT

logger = logging.getLogger(__name__)


def digest(root: Path = ROOT) -> str:
    """SHA-256 of the library, the records, and what else decides a chapter's numbers."""
    total = hashlib.sha256()
    for name in ("RNNLIB_SCALE", "RNNLIB_DATA"):
        total.update(f"{name}={os.environ.get(name, '')}\0".encode())
    total.update(f"python {platform.python_version()} torch {version('torch')}\0".encode())
    for path in _sources(root):
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for folder, suffixes in (("rnnlib", {".py", ".js"}), ("book/records", {".json", ".npz"})):
        yield from sorted(p for p in (root / folder).rglob("*") if p.suffix in suffixes)


def empty_stale_cache(app: Sphinx, config: Config) -> None:
    """Delete the executed chapters if they were computed by other code or from other records."""
    folder = Path(config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache")
    mark = folder / "rnnlib.sha256"
    now = digest()
    if folder.exists() and not (mark.exists() and mark.read_text() == now):
        logger.info("rnnlib, a record or the scale has changed: every chapter runs again")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(now)


def outdated_pages(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Name every page for reading again unless it was read with the present code and records."""
    now = digest()
    before = getattr(env, "rnnlib_digest", None)
    env.rnnlib_digest = now  # type: ignore[attr-defined]  # pickled with the pages it vouches for
    return [] if before == now else sorted(env.found_docs)
