"""A headless Chromium on the built book, cut off from everything but the book's own server."""

from __future__ import annotations

import functools
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
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


FRAME = """<!doctype html><html lang="en" data-theme="{theme}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>figure</title>
<style>html {{ background: {ground}; }} body {{ margin: 16px; font-family: sans-serif; }}</style>
{body}"""
GROUND = {"light": "#ffffff", "dark": "#14181e"}


@pytest.fixture
def framed(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open HTML from a file, on a page with nothing else; no error or request may occur."""
    contexts, trouble = [], []

    def gate(route: Any) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            trouble.append(route.request.url)
            route.abort()

    def act(body: str, *, theme: str = "light", width: int = 760, **options: Any) -> Any:
        file = tmp_path / f"{len(contexts)}.html"
        text = FRAME.format(theme=theme, ground=GROUND[theme], body=body)
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 1000}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.route("**/*", gate)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "console",
            lambda message: trouble.append(message.text) if message.type == "error" else None,
        )
        page.goto(file.as_uri())
        return page

    yield act
    for context in contexts:
        context.close()
    assert trouble == []


def luminance(colour: str) -> float:
    """WCAG relative luminance of ``rgb(r, g, b)`` or ``#rrggbb``."""
    if colour.startswith("#"):
        parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    else:
        parts = [int(part) for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 3294.6 if p <= 10 else ((p / 255 + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture
def contrast() -> Callable[[str, str], float]:
    """WCAG contrast of a colour with the ground of a theme in `framed`."""

    def of(colour: str, theme: str) -> float:
        low, high = sorted((luminance(colour), luminance(GROUND[theme])))
        return (high + 0.05) / (low + 0.05)

    return of


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the built pages."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.page)
