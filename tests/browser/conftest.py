"""A headless Chromium on the built book, cut off from everything but the book's own server."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLAGS = (
    "--no-sandbox",  # the pages are ours, and a container's root has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing(what: str) -> None:
    """Skip the test, or fail on CI, where nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


class Quiet(SimpleHTTPRequestHandler):
    """Serve files without a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the built book, served on loopback, such as ``http://127.0.0.1:4711``."""
    folder = ROOT / "_build" / "html"
    if not (folder / "index.html").exists():
        missing("no book in _build/html; run 'make book' first")
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def chromium() -> str | None:
    """The browser to use: ``CHROMIUM``, or the first known name on the path."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A playwright ``Browser``; skips without Chromium, but fails on CI."""
    path = chromium()
    if path is None:
        missing("no Chromium on this machine; set CHROMIUM to its path")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


@dataclass
class Trouble:
    """What went wrong on a page while a test used it."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail on a script error, on a request that left this machine, on a missing file."""
        assert self.errors == []
        assert self.outside == []
        assert self.failed == []


def watched(context: Any, site: str) -> tuple[Any, Trouble]:
    """A page of ``context`` that reaches ``site`` only, and the trouble it runs into."""
    trouble = Trouble()
    page = context.new_page()

    def gate(route: Any) -> None:
        if route.request.url.startswith((site + "/", "data:", "blob:")):
            route.continue_()
        else:
            trouble.outside.append(route.request.url)
            route.abort()

    page.route("**/*", gate)
    page.on("pageerror", lambda error: trouble.errors.append(str(error)))
    page.on(
        "console",
        lambda message: trouble.errors.append(message.text) if message.type == "error" else None,
    )
    page.on(
        "response",
        lambda answer: trouble.failed.append(answer.url) if answer.status >= 400 else None,
    )
    return page, trouble


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """A page 1280 pixels wide; after the test it must have met no trouble."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, trouble = watched(context, site)
    yield opened
    context.close()
    trouble.check()


@pytest.fixture
def phone(browser: Any, site: str) -> Iterator[Any]:
    """The same on a telephone: 390 pixels wide, touched by a finger."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
    )
    opened, trouble = watched(context, site)
    yield opened
    context.close()
    trouble.check()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the built pages."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.page)
