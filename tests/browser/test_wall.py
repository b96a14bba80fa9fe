"""The wall in a browser, on a page that holds nothing but its HTML: hands, keys, themes, print."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rnnlib import surface
from rnnlib.widgets import Wall
from rnnlib.widgets import page as wall_page
from rnnlib.widgets import wall_picture as picture

Open = Callable[..., Any]


@pytest.fixture
def opened(framed: Open) -> Open:
    """Open the wall's HTML, or that of ``body``."""
    return lambda body=None, **options: framed(body or Wall()._repr_html_(), **options)


def readout(page: Any, kind: str = "plain") -> list[str]:
    """The cells of one row: largest step, w, b, error."""
    return list(page.locator(f".rnn-readout tr:has(th:text-is('{kind}')) td").all_inner_texts())


def changed(page: Any, before: list[str], kind: str = "plain") -> list[str]:
    """Wait for the row to differ from ``before``."""
    for _ in range(100):
        if (now := readout(page, kind)) != before:
            return now
        page.wait_for_timeout(20)
    raise AssertionError(f"the readout stayed at {before}")


def start(page: Any) -> tuple[float, float]:
    return tuple(float(page.locator(f"input[name={name}]").input_value()) for name in "wb")  # type: ignore[return-value]


def centre(page: Any) -> tuple[float, float]:
    box = page.locator(".rnn-handle circle").nth(2).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_it_opens_with_both_paths_and_the_clipped_one_in_the_valley(opened: Open) -> None:
    page = opened()
    assert start(page) == (5.0, -2.4)
    largest, w, _, error = readout(page, "clipped")
    assert float(largest) <= 0.1
    assert 4.3 < float(w) < 4.5
    assert "10⁻" in error or float(error) < 0.01
    assert float(readout(page, "plain")[0]) > 1
    note = page.locator(".rnn-note")
    page.wait_for_function(
        "() => /Of 100 starts/.test(document.querySelector('.rnn-note').textContent)"
    )
    assert "leaves the window at step" in note.inner_text()
    assert note.inner_text().endswith("clipped descent, 0 and 100.")


def test_the_map_is_painted_with_the_error(opened: Open) -> None:
    page = opened()
    places = [(0.1, 0.9), (0.9, 0.1), (0.3, 0.15), (0.8, 0.6)]  # right, down
    painted = page.evaluate(
        """(places) => { const c = document.querySelector(".rnn-map canvas");
        return [[c.width, c.height], ...places.map(([x, y]) => Array.from(c.getContext("2d")
          .getImageData(Math.floor(x * c.width), Math.floor(y * c.height), 1, 1).data))]; }""",
        places,
    )
    (columns, rows), *pixels = painted
    for (right, fall), pixel in zip(places, pixels, strict=True):
        w = 4 + 2 * (int(right * columns) + 0.5) / columns
        b = -2 - 1.2 * (int(fall * rows) + 0.5) / rows
        expected = picture.colour((float(surface.error_surface(w, b).error) / 0.43) ** 0.5)
        assert pixel == pytest.approx([*expected, 255], abs=2)


def test_dragging_the_start_changes_the_descent(opened: Open) -> None:
    page = opened()
    before = readout(page)
    x, y = centre(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 20, steps=4)
    page.mouse.move(x + 120, y - 40, steps=4)
    page.mouse.up()
    changed(page, before)
    w, b = start(page)
    assert w > 5.2
    assert -2.4 < b < -2.2
    assert centre(page) == pytest.approx((x + 120, y - 40), abs=1)
    page.mouse.move(x, y)  # released: the point stays
    assert start(page) == (w, b)


def test_a_drag_beyond_the_map_stops_at_its_border(opened: Open) -> None:
    page = opened()
    x, y = centre(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 2000, y + 2000, steps=3)
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('input[name=w]').value === '6.00'")
    assert start(page) == (6.0, -3.2)


def test_a_click_on_the_map_moves_the_start(opened: Open) -> None:
    page = opened()
    before = readout(page)
    page.locator(".rnn-surface").click(position={"x": 500, "y": 60})
    changed(page, before)
    assert start(page)[0] > 5.3


@pytest.mark.parametrize(
    ("name", "value"),
    [("w", "4.7"), ("b", "-2.9"), ("learning_rate", "0.2"), ("seq_len", "20")],
)
def test_a_typed_value_changes_the_descent(opened: Open, name: str, value: str) -> None:
    page = opened()
    before = readout(page)
    page.locator(f"input[name={name}]").fill(value)
    changed(page, before)
    assert page.locator(".rnn-error").inner_text() == ""


def test_the_threshold_bounds_every_clipped_step(opened: Open) -> None:
    page = opened()
    before = readout(page, "clipped")
    page.locator("input[name=threshold]").fill("0.5")
    assert float(changed(page, before, "clipped")[0]) <= 0.05


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("w", "", "w: a number from 4 to 6. The figure still shows 5."),
        ("w", "9", "w: a number from 4 to 6. The figure still shows 5."),
        ("b", "1", "b: a number from −3.2 to −2. The figure still shows −2.4."),
        ("learning_rate", "-1", "learning rate: a number above 0. The figure still shows 0.1."),
        ("learning_rate", "0", "learning rate: a number above 0. The figure still shows 0.1."),
        ("threshold", "", "threshold: a number above 0. The figure still shows 1."),
        ("seq_len", "2.5", "T: a whole number from 1 to 100. The figure still shows 50."),
    ],
)
def test_bad_input_is_named_and_the_last_good_state_stays(
    opened: Open, name: str, value: str, message: str
) -> None:
    page = opened()
    before = readout(page)
    field = page.locator(f"input[name={name}]")
    field.fill(value)
    field.press("Enter")
    field.blur()
    assert page.locator(".rnn-error").inner_text() == message
    assert field.get_attribute("aria-invalid") == "true"
    assert field.input_value() == value  # left for the reader to mend
    page.wait_for_timeout(100)
    assert readout(page) == before
    page.locator("input[name=w]").fill("4.9")
    changed(page, before)
    assert page.locator(".rnn-error").inner_text() == ""
    assert page.locator("[aria-invalid]").count() == 0


def test_letters_are_not_a_number(opened: Open) -> None:
    page = opened()
    before = readout(page)
    field = page.locator("input[name=learning_rate]")
    field.click()
    field.press("ControlOrMeta+a")
    field.press_sequentially("-e")
    field.blur()
    assert "learning rate: a number above 0" in page.locator(".rnn-error").inner_text()
    assert readout(page) == before


def test_clipping_can_be_switched_off_and_on(opened: Open) -> None:
    page = opened()
    path, row = page.locator("path.rnn-clipped").first, page.locator(".rnn-readout tbody tr").nth(1)
    assert path.get_attribute("d")
    assert row.is_visible()
    page.get_by_label("Clip norm at").uncheck()
    row.wait_for(state="hidden")
    assert not path.is_visible()
    assert page.locator("input[name=threshold]").is_disabled()
    page.get_by_label("Clip norm at").check()
    row.wait_for(state="visible")


def test_arrow_keys_move_the_start(opened: Open) -> None:
    page = opened()
    handle = page.get_by_role("slider", name="start of the descent")
    handle.focus()
    for keys, expected in (
        (["ArrowRight"], (5.01, -2.4)),
        (["ArrowUp", "ArrowUp"], (5.01, -2.38)),
        (["Shift+ArrowLeft"], (4.91, -2.38)),
        (["ArrowDown"], (4.91, -2.39)),
        (["Home"], (5.0, -2.4)),
        (["Shift+ArrowRight"] * 12, (6.0, -2.4)),
    ):
        for key in keys:
            page.keyboard.press(key)
            page.wait_for_timeout(60)
        assert start(page) == pytest.approx(expected)
    assert handle.get_attribute("aria-valuetext") == "w 6.00, b −2.40"
    assert float(handle.get_attribute("aria-valuenow")) == 6.0


def test_every_control_has_a_name_and_is_reached_by_tab(opened: Open) -> None:
    page = opened()
    names = [
        *("start of the descent", "w", "b", "learning rate", "Learning rate", "Clip norm at"),
        *("threshold of the gradient norm", "sequence length T", "Length T", "Steps shown", "Play"),
    ]
    snapshot = page.locator(".rnn-wall").aria_snapshot()
    for name in names:
        assert re.search(rf'- (slider|spinbutton|checkbox|button) "{name}', snapshot), name
    reached = set()
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("() => document.activeElement.name || document.activeElement.tagName")
        )
    assert {"w", "b", "learning_rate", "threshold", "seq_len", "clipping", "g", "BUTTON"} <= reached


def test_a_change_is_spoken_once_it_settles(opened: Open) -> None:
    page = opened()
    spoken = page.locator("[aria-live=polite]")
    page.wait_for_function("() => document.querySelector('[aria-live=polite]').textContent")
    assert "from w 5.00, b −2.40" in spoken.inner_text()
    page.locator("input[name=w]").fill("4.5")
    page.wait_for_function(
        "() => /from w 4.50/.test(document.querySelector('[aria-live=polite]').textContent)"
    )


def test_a_step_before_the_last_can_be_shown(opened: Open) -> None:
    page = opened()
    before = readout(page)
    page.get_by_label("Steps shown").fill("0")
    assert changed(page, before) == ["0", "5.000", "−2.400", "0.033"]
    assert "after 0 steps" in page.locator(".rnn-readout thead").inner_text()


def test_motion_only_where_it_is_welcome(opened: Open) -> None:
    still = opened(reduced_motion="reduce")
    assert still.locator(".rnn-wall button").is_hidden()
    page = opened(reduced_motion="no-preference")
    before = readout(page)
    page.wait_for_timeout(300)
    assert readout(page) == before  # nothing moves by itself
    page.get_by_role("button", name="Play").click()
    changed(page, before)
    page.get_by_role("button", name="Pause").click()
    paused = readout(page)
    page.wait_for_timeout(200)
    assert readout(page) == paused


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_and_follows_a_finger(opened: Open, theme: str) -> None:
    page = opened(theme=theme, width=390, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 390
    wide = page.evaluate(
        """() => Array.from(document.querySelectorAll(".rnn-wall *"))
        .filter((e) => !e.closest(".rnn-unseen") && e.getBoundingClientRect().right > 391)
        .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    before = readout(page)
    box = page.locator(".rnn-surface").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.2)
    changed(page, before)
    assert start(page)[0] == pytest.approx(5.6, abs=0.02)
    # A finger that drags the point moves it; the browser must not scroll instead.
    session = page.context.new_cdp_session(page)
    x, y = centre(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": x, "y": y})
    for i in range(1, 6):
        touch("touchMove", {"x": x - 12 * i, "y": y + 4 * i})
    touch("touchEnd")
    page.wait_for_function("() => Number(document.querySelector('input[name=w]').value) < 5.3")
    assert page.evaluate("() => scrollY") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_stand_out_in_both_themes(
    opened: Open, contrast: Callable[[str, str], float], theme: str
) -> None:
    page = opened(theme=theme)
    assert page.locator(".rnn-wall").get_attribute("data-theme") == theme
    texts = page.evaluate(
        """() => [".rnn-head span", ".rnn-note", ".rnn-readout td", ".rnn-readout thead th",
        ".rnn-controls label"].map((s) => getComputedStyle(document.querySelector(s)).color)
        .concat([".rnn-curve text.rnn-muted", ".rnn-map text.rnn-muted"]
        .map((s) => getComputedStyle(document.querySelector(s)).fill))"""
    )
    assert min(contrast(text, theme) for text in texts) >= 4.5
    strokes = page.evaluate(
        """() => [".rnn-curve .rnn-plain", ".rnn-curve .rnn-dots"]
        .map((s) => getComputedStyle(document.querySelector(s)).stroke)"""
    )
    assert strokes[0] != strokes[1]
    assert min(contrast(stroke, theme) for stroke in strokes) >= 3


def test_it_follows_a_change_of_theme(opened: Open) -> None:
    page = opened()
    pixel = """() => Array.from(document.querySelector(".rnn-map canvas").getContext("2d")
      .getImageData(3, 3, 1, 1).data)"""
    before = page.evaluate(pixel)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.locator(".rnn-wall[data-theme=dark]").wait_for()
    assert page.evaluate(pixel) != before
    # A page that says nothing follows the system.
    page.evaluate("() => { delete document.documentElement.dataset.theme; }")
    page.emulate_media(color_scheme="light")
    page.locator(".rnn-wall[data-theme=light]").wait_for()
    page.emulate_media(color_scheme="dark")
    page.locator(".rnn-wall[data-theme=dark]").wait_for()


def test_without_scripts_the_picture_is_shown(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator(".rnn-static > svg").is_visible()
    box = page.locator(".rnn-static > svg").bounding_box()
    assert box["width"] > 500


def test_print_shows_the_picture_and_no_controls(opened: Open) -> None:
    page = opened()
    assert page.locator(".rnn-static").is_hidden()
    page.emulate_media(media="print")
    assert page.locator(".rnn-static > svg").is_visible()
    assert page.locator(".rnn-live").is_hidden()


def test_two_equal_figures_live_side_by_side(opened: Open) -> None:
    page = opened(Wall()._repr_html_() * 2)
    assert page.locator("figure[data-live] .rnn-wall").count() == 2
    first, second = (page.locator("input[name=w]").nth(i) for i in range(2))
    first.fill("4.6")
    page.wait_for_timeout(100)
    assert second.input_value() == "5.00"
    ids = page.evaluate(
        "() => Array.from(document.querySelectorAll('.rnn-wall [id]'), (e) => e.id)"
    )
    assert len(ids) == len(set(ids))


def test_render_keeps_step_with_the_model_of_a_notebook(opened: Open) -> None:
    """anywidget's contract: get, set, save_changes, on, off, and a function that lets go."""
    page = opened("<div id='cell'></div>")
    page.evaluate(
        """async (source) => {
          const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
          const { default: widget, LocalModel, DEFAULTS } = await import(address);
          window.model = new LocalModel(DEFAULTS);
          window.saved = [];
          model.save_changes = () => saved.push(model.get("w"));
          window.letGo = widget.render({ model, el: document.getElementById("cell") });
        }""",
        wall_page.module("wall"),
    )
    before = readout(page)
    page.evaluate("() => { model.set('w', 4.6); }")  # what Python does
    before = changed(page, before)
    assert start(page) == (4.6, -2.4)
    page.locator("input[name=w]").fill("4.8")  # what the reader does
    before = changed(page, before)
    assert page.evaluate("() => [model.get('w'), saved.at(-1)]") == [4.8, 4.8]
    page.evaluate("() => { letGo(); model.set('w', 5.5); }")
    page.wait_for_timeout(100)
    assert readout(page) == before
