"""The ledger's filter, used as a reader uses it."""

from __future__ import annotations

import re
from typing import Any

import pytest

LEDGER = "book/ledger.html"
ROWS = "table.ledger:not(.ledger-short) tbody tr"


@pytest.fixture
def ledger(page: Any, site: str) -> Any:
    page.goto(f"{site}/{LEDGER}")
    page.wait_for_selector("form.ledger-filter")
    return page


def visible(page: Any) -> int:
    return page.locator(f"{ROWS}:visible").count()


def announced(page: Any) -> tuple[int, int]:
    shown, total = re.findall(r"\d+", page.locator("form.ledger-filter output").inner_text())
    return int(shown), int(total)


def test_every_verdict_can_be_chosen(ledger: Any) -> None:
    total = ledger.locator(ROWS).count()
    assert announced(ledger) == (total, total)
    select = ledger.get_by_label("Verdict")
    verdicts = select.evaluate("s => Array.from(s.options, o => o.value).filter(Boolean)")
    assert len(verdicts) > 1
    counts = []
    for verdict in verdicts:
        select.select_option(verdict)
        expected = ledger.locator(f'{ROWS}[data-verdict="{verdict}"]').count()
        assert 0 < visible(ledger) == expected
        assert announced(ledger) == (expected, total)
        counts.append(expected)
    assert sum(counts) == total


def test_paper_and_words(ledger: Any) -> None:
    total = ledger.locator(ROWS).count()
    ledger.get_by_label("Paper").select_option("p12")
    assert visible(ledger) == ledger.locator(f'{ROWS}[data-paper="p12"]').count()
    ledger.get_by_label("Words").fill("no such words anywhere")
    assert visible(ledger) == 0
    assert announced(ledger) == (0, total)
    identity = ledger.locator(ROWS).first.get_attribute("id")
    ledger.get_by_label("Words").fill(identity)
    assert ledger.locator(f"#{identity}").is_visible()
    ledger.get_by_role("button", name="Show all").click()
    ledger.wait_for_function(f"() => !document.querySelector('{ROWS}[hidden]')")
    assert visible(ledger) == total


def test_the_filter_works_by_keyboard(ledger: Any) -> None:
    ledger.get_by_label("Verdict").focus()
    ledger.keyboard.press("ArrowDown")
    assert visible(ledger) < ledger.locator(ROWS).count()
    ledger.keyboard.press("Tab")
    ledger.keyboard.type("zzzz")
    assert visible(ledger) == 0
    ledger.keyboard.press("Tab")
    ledger.keyboard.press("Enter")
    ledger.wait_for_function(f"() => !document.querySelector('{ROWS}[hidden]')")


def test_a_link_to_a_hidden_row_reveals_it(ledger: Any) -> None:
    identity = ledger.locator(ROWS).last.get_attribute("id")
    ledger.get_by_label("Words").fill("no such words anywhere")
    ledger.evaluate(f"() => {{ location.hash = '{identity}'; }}")
    ledger.locator(f"#{identity}").wait_for(state="visible")


def test_rows_are_cards_on_a_phone(phone: Any, site: str) -> None:
    phone.goto(f"{site}/{LEDGER}")
    row = phone.locator(ROWS).first
    assert row.evaluate("r => getComputedStyle(r).display") == "block"
    labels = row.locator("td").evaluate_all(
        "cells => cells.map(c => getComputedStyle(c, '::before').content)"
    )
    assert all(len(label) > 3 for label in labels)


@pytest.mark.parametrize("device", ["page", "phone"])
def test_no_formula_leaves_its_cell(request: pytest.FixtureRequest, device: str, site: str) -> None:
    page = request.getfixturevalue(device)
    page.goto(f"{site}/{LEDGER}")
    page.evaluate("() => window.MathJax.startup.promise")
    wide = page.locator(f"{ROWS} td").evaluate_all(
        """cells => cells.filter(cell => {
          for (const folded of cell.querySelectorAll("details")) folded.open = true;
          const right = cell.getBoundingClientRect().right + 1;
          return Array.from(cell.querySelectorAll("mjx-math *"))
            .some(part => part.getBoundingClientRect().right > right);
        }).map(cell => cell.parentElement.id)"""
    )
    assert wide == []


def test_without_scripts_the_whole_table_is_there(browser: Any, site: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/{LEDGER}")
    assert page.locator("form.ledger-filter").count() == 0
    assert visible(page) == page.locator(ROWS).count() > 0
    context.close()
