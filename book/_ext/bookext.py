"""The book's own Sphinx extension: addresses, claims, freshness, and nothing loaded from outside.

Each part lies in a module of its own; this one connects them to Sphinx.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

import claim_role
import freshness
import progress
import repository

logger = logging.getLogger(__name__)

MATHJAX = ("tex-chtml-full.js", "output/chtml/fonts/woff-v2")
"""The parts of the wheel that a page loads: one script with all of TeX, and its fonts."""


def add_buttons(app: Sphinx, config: Config) -> None:
    """Link the repository and Colab if the repository's address is known; else say so."""
    url = repository.address()
    if not url:
        logger.info(repository.UNKNOWN)
        return
    options = config.html_theme_options
    options.update(
        repository_url=url, repository_branch=repository.branch(), use_repository_button=True
    )
    options.setdefault("launch_buttons", {})["colab_url"] = "https://colab.research.google.com"


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Leave out Thebe's scripts: no page uses them, and one would come from outside."""

    def is_thebe(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" in f"{getattr(script, 'filename', script)} {body}".lower()

    context["script_files"] = [s for s in context.get("script_files", []) if not is_thebe(s)]


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy MathJax from the installed wheel, so that pages typeset without a network."""
    if error is not None or app.builder.format != "html":
        return
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package sphinx-mathjax-offline is missing; run 'make venv'")
    wheel = Path(spec.submodule_search_locations[0]) / "static" / "mathjax"
    for part in MATHJAX:
        source, target = wheel / part, Path(app.outdir) / "_static" / "mathjax" / part
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)


def copy_records(app: Sphinx, error: Exception | None) -> None:
    """Put the records where the pages' links to them lead."""
    if error is None and app.builder.format == "html":
        for path in (repository.ROOT / "book" / "records").glob("*.json"):
            target = Path(app.outdir) / "book" / "records" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect everything; the order of the handlers below is the order of a build."""
    progress.report_during_build()
    app.connect("config-inited", add_buttons)
    app.connect("config-inited", freshness.empty_stale_cache)
    app.connect("env-get-outdated", freshness.outdated_pages)
    app.add_role("claim", claim_role.ClaimRole())
    app.connect("missing-reference", claim_role.resolve)
    app.connect("html-page-context", drop_thebe, priority=900)  # after the theme's own handlers
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", copy_records)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
