"""The built pages in a real browser: no error, nothing from outside, legible on a telephone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(entry["file"] for entry in TOC["chapters"])]

OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth;
  return Array.from(document.querySelectorAll("article *")).filter(element => {
    const box = element.getBoundingClientRect();
    if (!box.width || box.right <= width + 1) return false;
    for (let e = element; e; e = e.parentElement) {
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return false;
    }
    return true;
  }).slice(0, 5).map(element => element.outerHTML.slice(0, 120));
}"""


def load(page: Any, url: str) -> None:
    """Open a page and wait until its mathematics is set and its pictures are there."""
    page.goto(url, wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate("""async () => {
      for (const picture of document.images) picture.loading = "eager";
      await Promise.all(Array.from(document.images).map(p => p.decode().catch(() => null)));
    }""")


@pytest.mark.parametrize("name", PAGES)
def test_pictures_and_mathematics(page: Any, site: str, name: str) -> None:
    load(page, f"{site}/{name}.html")
    broken = page.evaluate(
        "() => Array.from(document.images).filter(p => !p.naturalWidth).map(p => p.src)"
    )
    assert broken == []
    sources = page.locator("article .math").count()
    assert page.locator("article mjx-container").count() >= sources
    assert page.locator("article mjx-merror, article [data-mjx-error]").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_no_sideways_scrolling_on_a_phone(phone: Any, site: str, name: str) -> None:
    load(phone, f"{site}/{name}.html")
    width = phone.evaluate("() => document.scrollingElement.scrollWidth")
    assert width <= 390, phone.evaluate(OVERFLOWING)
    assert phone.evaluate(OVERFLOWING) == []


def test_success_counts_stand_side_by_side_on_a_phone(phone: Any, site: str) -> None:
    """No algorithm's column may lie outside the screen, where nobody looks for it."""
    load(phone, f"{site}/book/02_vanishing_gradient.html")
    edges = phone.locator("article table.counts").evaluate_all(
        "all => all.map(table => table.getBoundingClientRect().right)"
    )
    assert len(edges) >= 3
    assert max(edges) <= 390


@pytest.mark.parametrize("name", PAGES)
def test_dark_mode_keeps_figures_on_a_light_card(page: Any, site: str, name: str) -> None:
    page.add_init_script("localStorage.setItem('mode', 'dark')")
    load(page, f"{site}/{name}.html")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    cards = page.locator("article .cell_output img, article figure img").evaluate_all(
        "all => all.map(p => [getComputedStyle(p).backgroundColor, getComputedStyle(p).filter])"
    )
    assert all(card == ["rgb(255, 255, 255)", "none"] for card in cards)


@pytest.mark.parametrize("name", PAGES)
def test_paper_is_white_and_nothing_is_cut_off(page: Any, site: str, name: str) -> None:
    """Printed from dark mode: dark text, no control, no box that would have to be scrolled."""
    page.add_init_script("localStorage.setItem('mode', 'dark')")
    load(page, f"{site}/{name}.html")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 less the margins
    colour, ground = page.evaluate(
        """() => [getComputedStyle(document.querySelector("article section > p")).color,
        getComputedStyle(document.body).backgroundColor]"""
    )
    assert (colour, ground) == ("rgb(34, 40, 50)", "rgb(255, 255, 255)")
    cut = page.locator("article pre").evaluate_all(
        "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)"
    )
    assert cut == []
    assert page.locator(":is(article, form) :is(button, select, input):visible").count() == 0


@pytest.mark.parametrize("device", ["page", "phone"])
def test_the_wall_of_the_chapter_answers_a_drag(
    request: pytest.FixtureRequest, device: str, site: str
) -> None:
    """In the built chapter itself; tests/browser/test_wall.py knows the figure in detail."""
    page = request.getfixturevalue(device)
    load(page, f"{site}/book/01_exploding_gradient.html")
    wall = page.locator("figure.rnn-widget[data-widget=wall]")
    handle = wall.locator(".rnn-handle circle").nth(2)
    handle.scroll_into_view_if_needed()
    before = wall.locator(".rnn-readout").inner_text()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y - 10, steps=4)
    page.mouse.up()
    assert float(wall.locator("input[name=w]").input_value()) < 5
    assert wall.locator(".rnn-readout").inner_text() != before


def test_the_front_door(page: Any, site: str) -> None:
    page.goto(f"{site}/")
    page.wait_for_url(f"**/{PAGES[0]}.html")
    assert page.locator("article h1").is_visible()


def test_the_search_index_is_there(page: Any, site: str) -> None:
    page.goto(f"{site}/search.html?q=gradient")
    page.wait_for_selector("#search-results li")
