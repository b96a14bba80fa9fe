"""The built pages: all there, every figure described, every link leading somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, Tag

pytestmark = pytest.mark.page

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(entry["file"] for entry in TOC["chapters"])]
CHAPTERS = [page for page in PAGES if re.search(r"/\d\d_", page)]

FIGURES = {"book/01_exploding_gradient": 7, "book/02_vanishing_gradient": 7}
"""The least number of figures of a chapter: those of its paper."""


@pytest.fixture(scope="module")
def soups(html: Path) -> dict[str, BeautifulSoup]:
    return {
        page: BeautifulSoup((html / f"{page}.html").read_text(), "html.parser") for page in PAGES
    }


REPEATED = {"exercise-content", "solution-content"}
"""Ids that sphinx-exercise repeats; nothing links to them."""


def article(soup: BeautifulSoup) -> Tag:
    found = soup.find("article")
    assert isinstance(found, Tag)
    return found


def test_the_front_door_leads_to_the_book(html: Path) -> None:
    assert f"url={PAGES[0]}.html" in (html / "index.html").read_text().replace('"', "")


@pytest.mark.parametrize("page", PAGES)
def test_the_page_has_a_title_and_text(soups: dict[str, BeautifulSoup], page: str) -> None:
    body = article(soups[page])
    assert body.find("h1")
    assert len(body.get_text().split()) > 80


@pytest.mark.parametrize("page", PAGES)
def test_no_traceback_and_no_error(soups: dict[str, BeautifulSoup], page: str) -> None:
    text = article(soups[page]).get_text()
    for sign in (
        "Traceback (most recent call last)",
        "ModuleNotFoundError",
        "ipykernel_",
        "Warning:",
        "VBox(",
        "HBox(",
        "<Figure size",
    ):
        assert sign not in text, sign
    assert not soups[page].select(".output.traceback, .problematic, .system-message")


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_is_described_and_there(
    soups: dict[str, BeautifulSoup], html: Path, page: str
) -> None:
    for picture in article(soups[page]).find_all("img"):
        source = picture["src"]
        assert len(picture.get("alt", "")) > 20, f"{source} has no alt text"
        assert picture["alt"] not in source, "the alt text is the file's name"
        assert ((html / page).parent / unquote(source)).exists(), source


@pytest.mark.parametrize("page", CHAPTERS)
def test_every_figure_has_a_caption(soups: dict[str, BeautifulSoup], page: str) -> None:
    figures = article(soups[page]).select("figure:not(.rnn-widget)")
    assert len(figures) >= FIGURES.get(page, 1)
    for figure in figures:
        caption = figure.find("figcaption")
        assert caption, str(figure)[:200]
        assert len(caption.get_text().split()) > 8, caption.get_text()


@pytest.mark.parametrize("page", PAGES)
def test_every_interactive_figure_is_described(soups: dict[str, BeautifulSoup], page: str) -> None:
    """Without scripts, on paper and for a screen reader it is a picture with a text."""
    for figure in article(soups[page]).select("figure.rnn-widget"):
        picture = figure.select_one(".rnn-static svg, .rnn-static img")
        assert picture, str(figure)[:200]
        assert len(str(picture.get("aria-label") or picture.get("alt"))) > 20


@pytest.mark.parametrize("page", PAGES)
def test_every_inner_link_leads_somewhere(
    soups: dict[str, BeautifulSoup], html: Path, page: str
) -> None:
    targets: dict[Path, set[str]] = {}
    for link in article(soups[page]).find_all("a", href=True):
        url = urlsplit(link["href"])
        if url.scheme or url.netloc:
            assert url.scheme == "https", link["href"]
            continue
        file = (html / page).parent / unquote(url.path) if url.path else html / f"{page}.html"
        assert file.exists(), link["href"]
        if url.fragment and file.suffix == ".html":
            if file.resolve() not in targets:
                target = BeautifulSoup(file.read_text(), "html.parser")
                targets[file.resolve()] = {tag["id"] for tag in target.find_all(id=True)}
            assert unquote(url.fragment) in targets[file.resolve()], link["href"]


@pytest.mark.parametrize("page", PAGES)
def test_ids_are_unique(soups: dict[str, BeautifulSoup], page: str) -> None:
    ids = [tag["id"] for tag in article(soups[page]).find_all(id=True)]
    assert {i for i in ids if ids.count(i) > 1} <= REPEATED


@pytest.mark.parametrize("page", PAGES)
def test_nothing_comes_from_outside(soups: dict[str, BeautifulSoup], page: str) -> None:
    soup = soups[page]
    sources = [tag["src"] for tag in soup.find_all(src=True)]
    sources += [
        tag["href"]
        for tag in soup.find_all("link", href=True)
        if tag.get("rel") not in (["canonical"], ["next"], ["prev"])
    ]
    outside = [s for s in sources if re.match(r"(https?:)?//", s)]
    assert outside == []
    assert "thebe" not in "".join(tag.get_text() for tag in soup.find_all("script")).lower()


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_chapter_cites_claims_of_the_ledger(soups: dict[str, BeautifulSoup], page: str) -> None:
    ledger = article(soups["book/ledger"])
    rows = {str(row["id"]): row for row in ledger.select("table.ledger tr[id]")}
    cited = article(soups[page]).select("a .claim")
    assert cited
    for claim in cited:
        label, _, verdict = claim.get_text().split(" ", 2)
        cells = rows[label.lower()].find_all("td")
        assert verdict in cells[-1].get_text(), f"{label}: the page and the ledger disagree"


def test_the_ledger_is_a_table_of_rows(soups: dict[str, BeautifulSoup]) -> None:
    rows = article(soups["book/ledger"]).select("table.ledger tbody tr")
    assert rows
    for row in rows:
        assert row["data-paper"] in str(row["id"])
        assert row["data-verdict"]
        assert all(cell["data-label"] for cell in row.find_all("td"))
