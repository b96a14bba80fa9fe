"""The error on its way back, in a browser on a page of its own: hands, keys, themes, print."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from rnnlib import init
from rnnlib.widgets import Backward, Wall, backward_picture
from rnnlib.widgets import page as widget_page

Open = Callable[..., Any]

NOW, START = "path.rnn-now", "path.rnn-start"


@pytest.fixture
def opened(framed: Open) -> Open:
    """Open the figure's HTML, or that of ``body``."""
    html = Backward()._repr_html_()
    return lambda body=None, **options: framed(body or html, **options)


def readout(page: Any, row: str = "now") -> list[str]:
    """The cells of one row: Omega, radius, largest singular value, factor per step."""
    return list(page.locator(f".rnn-readout tr:has(th:text-is('{row}')) td").all_inner_texts())


def changed(page: Any, before: list[str], row: str = "now") -> list[str]:
    """Wait for the row to differ from ``before``."""
    for _ in range(100):
        if (now := readout(page, row)) != before:
            return now
        page.wait_for_timeout(20)
    raise AssertionError(f"the readout stayed at {before}")


def line(page: Any, which: str = NOW) -> list[float]:
    """How far down the picture the line stands at each step back."""
    path = page.locator(which).get_attribute("d")
    return [float(point.split(",")[1]) for point in path[1:].split("L")]


def field(page: Any, name: str) -> Any:
    return page.locator(f"input[name={name}]")


def test_it_opens_with_what_rnnlib_computes(opened: Open) -> None:
    page = opened()
    start = backward_picture.network(1, 0.9)
    end = backward_picture.descend(start, 1.0, 2.0, 100)
    for which, row, net in ((START, "start", start), (NOW, "now", end)):
        seen = backward_picture.trace(net, 1.0)
        drawn = line(page, which)
        # 15 decades on 230 pixels.
        assert drawn == pytest.approx((8 + (5 - seen.norms.log10()) / 15 * 230).tolist(), abs=0.051)
        omega, radius, largest, per_step = readout(page, row)
        assert float(omega) == pytest.approx(seen.omega, rel=5e-3)
        assert float(largest) == pytest.approx(float(init.spectral_norm(net.W)), abs=0.0051)
        assert float(radius) == pytest.approx(float(init.spectral_radius(net.W)), abs=0.0051)
        assert per_step == f"× {float(seen.norms[60]) ** (1 / 60):.3f}"
    assert "may vanish, hold or explode" in page.locator(".rnn-note").inner_text()


def test_a_slider_moves_the_line(opened: Open) -> None:
    page = opened()
    slider = page.get_by_role("slider", name="spectral radius")
    flat, steep, before = line(page), line(page, START), readout(page)
    slider.fill("0.3")
    changed(page, before)
    assert line(page, START)[30] > steep[30] + 20
    assert line(page) != flat
    assert readout(page, "start")[1] == "0.30"
    assert field(page, "radius").input_value() == "0.3"


def test_alpha_turns_the_line_level_while_it_moves(opened: Open) -> None:
    page = opened()
    before, slider = readout(page), page.get_by_role("slider", name="weight α")
    slider.fill("0")
    before = changed(page, before)
    assert before == readout(page, "start")
    assert line(page) == line(page, START)  # alpha 0 leaves the network as it is
    ends = [line(page)[60]]
    for alpha in ("0.3", "0.8", "2"):
        slider.fill(alpha)
        before = changed(page, before)
        ends.append(line(page)[60])
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] < ends[0] - 50  # pixels; one decade is 15 of them
    level = line(page)[0]
    assert abs(ends[-1] - level) < 15


def test_an_update_lowers_omega(opened: Open) -> None:
    page = opened()
    before = readout(page)
    page.get_by_role("button", name="To the start").click()
    before = changed(page, before)
    assert before == readout(page, "start")
    page.get_by_role("button", name="One update").click()
    after = changed(page, before)
    assert float(after[0]) < float(before[0])
    assert field(page, "updates").input_value() == "1"
    assert page.get_by_text("after 1 update on Ω").is_visible()


def test_playing_lowers_omega_and_ends(opened: Open) -> None:
    page = opened(Backward(updates=200)._repr_html_(), reduced_motion="no-preference")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Play").wait_for()  # by itself, after the last
    assert field(page, "updates").input_value() == "300"
    last = readout(page)
    page.get_by_role("button", name="Play").click()  # from the start again
    first = changed(page, last)
    page.get_by_role("button", name="Pause").click()
    assert int(field(page, "updates").input_value()) < 300
    assert float(last[0]) < float(readout(page, "start")[0])
    assert float(first[0]) > float(last[0])


def test_motion_only_where_it_is_welcome(opened: Open) -> None:
    still = opened(reduced_motion="reduce")
    assert still.get_by_role("button", name="Play").count() == 0
    assert still.get_by_role("button", name="One update").is_visible()
    page = opened(reduced_motion="no-preference")
    before = readout(page)
    page.wait_for_timeout(300)
    assert readout(page) == before  # nothing moves by itself
    page.get_by_role("button", name="Play").click()
    changed(page, before)
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(100)
    paused = readout(page)
    page.wait_for_timeout(200)
    assert readout(page) == paused


@pytest.mark.parametrize(
    ("name", "value"),
    [("radius", "1.4"), ("gain", "0.5"), ("alpha", "0.25"), ("updates", "7"), ("seed", "12")],
)
def test_a_typed_value_moves_the_line(opened: Open, name: str, value: str) -> None:
    page = opened()
    before = readout(page)
    field(page, name).fill(value)
    changed(page, before)
    assert page.locator(".rnn-error").inner_text() == ""
    assert field(page, name).input_value() == value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("radius", "3", "spectral radius: a number from 0.2 to 2. The figure still shows 0.9."),
        ("gain", "", "gain: a number from 0.25 to 1.5. The figure still shows 1."),
        ("alpha", "-1", "weight α: a number from 0 to 8. The figure still shows 2."),
        ("updates", "1.5", "updates: a whole number from 0 to 300. The figure still shows 100."),
        ("seed", "0", "network: a whole number from 1 to 100. The figure still shows 1."),
    ],
)
def test_bad_input_is_named_and_the_last_good_state_stays(
    opened: Open, name: str, value: str, message: str
) -> None:
    page = opened()
    before = readout(page)
    entry = field(page, name)
    entry.fill(value)
    entry.press("Enter")
    entry.blur()
    assert page.locator(".rnn-error").inner_text() == message
    assert entry.get_attribute("aria-invalid") == "true"
    page.wait_for_timeout(100)
    assert readout(page) == before
    page.get_by_role("button", name="One update").click()
    changed(page, before)
    assert page.locator(".rnn-error").inner_text() == ""
    assert page.locator("[aria-invalid]").count() == 0


def test_an_error_that_must_vanish_is_said_to(opened: Open) -> None:
    page = opened()
    field(page, "updates").fill("0")
    field(page, "radius").fill("0.3")
    page.get_by_text("is below 1: the error must vanish").wait_for()
    assert "Ω counts the last" in page.locator(".rnn-note").inner_text()


def test_every_control_has_a_name_and_keys_reach_and_move_it(opened: Open) -> None:
    page = opened()
    names = [
        *("spectral radius", "gain", "network", "weight α", "updates"),
        *("Spectral radius", "Gain of tanh", "Network", "Weight α of Ω", "Updates on Ω"),
        *("Play", "One update", "To the start"),
    ]
    snapshot = page.locator(".rnn-backward").aria_snapshot()
    for name in names:
        assert re.search(rf'- (slider|spinbutton|button) "{name}', snapshot), name
    reached = []
    for _ in range(13):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => { const e = document.activeElement;
                return e.name || e.textContent || `${e.getAttribute("aria-label")} slider`; }"""
            )
        )
    assert len(set(reached)) == 13
    assert {"radius", "spectral radius slider", "Play", "One update", "seed"} <= set(reached)
    before = readout(page)
    page.get_by_role("slider", name="gain").focus()
    page.keyboard.press("ArrowRight")
    changed(page, before)
    assert field(page, "gain").input_value() == "1.01"
    page.get_by_role("button", name="One update").focus()
    page.keyboard.press("Enter")
    page.get_by_text("after 101 updates on Ω").wait_for()
    assert field(page, "updates").input_value() == "101"


def test_a_change_is_spoken_once_it_settles(opened: Open) -> None:
    page = opened()
    spoken = page.locator("[aria-live=polite]")
    page.wait_for_function("() => document.querySelector('[aria-live=polite]').textContent")
    assert spoken.inner_text().startswith("After 100 updates with α 2: Omega 0.0203, at the start")
    field(page, "updates").fill("5")
    page.wait_for_function(
        "() => /^After 5 /.test(document.querySelector('[aria-live=polite]').textContent)"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone(opened: Open, theme: str) -> None:
    page = opened(theme=theme, width=360, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 360
    wide = page.evaluate(
        """() => Array.from(document.querySelectorAll(".rnn-backward *"))
        .filter((e) => !e.closest(".rnn-unseen, svg svg")
          && e.getBoundingClientRect().right > 361)
        .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    before = readout(page)
    page.get_by_role("button", name="One update").tap()
    changed(page, before)
    assert page.get_by_role("button", name="One update").bounding_box()["height"] >= 36


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_stand_out_in_both_themes(
    opened: Open, contrast: Callable[[str, str], float], theme: str
) -> None:
    page = opened(theme=theme)
    assert page.locator(".rnn-backward").get_attribute("data-theme") == theme
    texts = page.evaluate(
        """() => [".rnn-keys span", ".rnn-note", ".rnn-readout td", ".rnn-readout thead th",
        ".rnn-controls label"].map((s) => getComputedStyle(document.querySelector(s)).color)
        .concat(Array.from(document.querySelectorAll(".rnn-live svg text"),
          (e) => getComputedStyle(e).fill))"""
    )
    assert min(contrast(text, theme) for text in texts) >= 4.5
    strokes = page.evaluate(
        """() => ["path.rnn-start", "path.rnn-now", "path.rnn-dots"]
        .map((s) => getComputedStyle(document.querySelector(s)).stroke)"""
    )
    assert strokes[0] != strokes[1]
    assert min(contrast(stroke, theme) for stroke in strokes) >= 3
    dashes = page.evaluate(
        """() => ["path.rnn-start", "path.rnn-now"]
        .map((s) => getComputedStyle(document.querySelector(s)).strokeDasharray)"""
    )
    assert dashes[0] != "none"  # a second channel beside colour
    assert dashes[1] == "none"


def test_it_follows_a_change_of_theme(opened: Open) -> None:
    page = opened()
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.locator(".rnn-backward[data-theme=dark]").wait_for()


def test_without_scripts_the_picture_is_shown(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator(".rnn-static > svg").is_visible()
    assert page.locator(".rnn-static > svg").bounding_box()["width"] > 500


def test_print_shows_the_picture_and_no_controls(opened: Open) -> None:
    page = opened()
    assert page.locator(".rnn-static").is_hidden()
    page.emulate_media(media="print")
    picture = page.locator(".rnn-static > svg")
    assert picture.is_visible()
    assert page.locator(".rnn-live").is_hidden()
    # Every word of the picture lies within it.
    right = picture.bounding_box()["x"] + picture.bounding_box()["width"]
    for text in picture.locator("text").all():
        assert text.bounding_box()["x"] + text.bounding_box()["width"] <= right


def test_the_lines_stay_within_their_panel(opened: Open) -> None:
    """Beyond the shown decades a line is cut off, not drawn over the controls."""
    page = opened(Backward(radius=0.2, gain=0.25, updates=0)._repr_html_())
    plot = page.locator("svg svg").first
    assert max(line(page)) > 1000
    assert plot.evaluate("(e) => getComputedStyle(e).overflow") == "hidden"
    box, outer = plot.bounding_box(), page.locator(".rnn-backward").bounding_box()
    assert box["width"] <= outer["width"]


def test_it_lives_beside_the_wall(opened: Open) -> None:
    page = opened(Wall()._repr_html_() + Backward()._repr_html_())
    assert page.locator("figure[data-live]").count() == 2
    before = readout(page)
    field(page, "alpha").fill("4")
    changed(page, before)


def test_render_keeps_step_with_the_model_of_a_notebook(opened: Open) -> None:
    """anywidget's contract: get, set, save_changes, on, off, and a function that lets go."""
    page = opened("<div id='cell'></div>")
    page.evaluate(
        """async (source) => {
          const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
          const { default: widget, LocalModel, DEFAULTS } = await import(address);
          window.model = new LocalModel(DEFAULTS);
          window.saved = [];
          model.save_changes = () => saved.push(model.get("updates"));
          window.letGo = widget.render({ model, el: document.getElementById("cell") });
        }""",
        widget_page.module("backward"),
    )
    before = readout(page)
    page.evaluate("() => { model.set('radius', 1.2); }")  # what Python does
    before = changed(page, before)
    assert field(page, "radius").input_value() == "1.2"
    field(page, "updates").fill("20")  # what the reader does
    before = changed(page, before)
    assert page.evaluate("() => [model.get('updates'), saved.at(-1)]") == [20, 20]
    page.evaluate("() => { saved.length = 0; }")
    page.get_by_role("button", name="Play").click()
    before = changed(page, before)
    assert page.evaluate("() => saved") == []  # a kernel is not told of every frame
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate("() => saved.length === 1 && saved[0] === model.get('updates')")
    page.wait_for_timeout(100)  # for the last frame to be drawn
    before = readout(page)
    page.evaluate("() => { letGo(); model.set('radius', 0.5); }")
    page.wait_for_timeout(100)
    assert readout(page) == before
