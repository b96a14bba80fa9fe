"""What Python hands to a page or a notebook: the HTML, the mime bundle, and refusals."""

from __future__ import annotations

import base64
import dataclasses
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch

from rnnlib import checks, surface, widgets
from rnnlib.widgets import Backward, Wall, backward_picture, page
from rnnlib.widgets.page import Figure

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Elements(HTMLParser):
    """Every tag with its attributes, and whether all that were opened were closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def static(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNLIB_STATIC", "1")


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNLIB_STATIC", raising=False)
    pytest.importorskip("anywidget")


both = pytest.mark.parametrize("kind", [Wall, Backward])


@both
def test_the_figure_is_self_contained(kind: type[Figure]) -> None:
    text = kind()._repr_html_()
    addresses = set(re.findall(r"https?://[^\s\"'<>]*", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bimport\s*[({\"']|\bfrom\s*[\"']|url\(|@import|fetch\(", text)
    elements = Elements(text)
    assert elements.open == []
    tags = [tag for tag, _ in elements.found]
    assert tags[0] == "figure"
    assert elements.found[0][1]["data-widget"] == kind.name
    assert tags.count("script") == 1
    assert "noscript" in tags
    assert not {"link", "iframe", "object", "img"} & set(tags)
    for _, attributes in elements.found:
        assert "src" not in attributes
        assert (attributes.get("href") or "data:").startswith("data:")


@both
def test_the_module_survives_being_inlined(kind: type[Figure]) -> None:
    """A script ends at the first closing tag, even inside a string."""
    module = page.module(kind.name)
    assert "</script" not in module.lower()
    assert "<!--" not in module
    text = kind()._repr_html_()
    (script,) = re.findall(r'<script type="module">\n(.*?)\n</script>', text, flags=re.DOTALL)
    assert script.startswith(module)
    assert script.splitlines()[-1].startswith(f'mount("{kind.name}-')


@pytest.mark.parametrize(
    ("kind", "state", "near"),
    [(Wall, {"w": 5.25}, {"w": 5.26}), (Backward, {"updates": 3}, {"updates": 3, "seed": 2})],
)
def test_the_same_state_writes_the_same_bytes(
    kind: type[Figure], state: dict[str, Any], near: dict[str, Any]
) -> None:
    first = kind(**state)._repr_html_()
    backward_picture.picture.cache_clear()
    assert kind(**state)._repr_html_() == first
    other = kind(**near)._repr_html_()
    ids = [re.findall(r'<figure[^>]* id="([^"]+)"', text) for text in (first, other)]
    assert len(ids[0]) == 1
    assert ids[0] != ids[1]


def test_the_picture_of_the_wall_holds_the_surface() -> None:
    """The PNG, decoded by hand: its shades are the root of the error, row by row from the top."""
    text = Wall(seq_len=50)._repr_html_()
    (data,) = re.findall(r"data:image/png;base64,([^\"]+)", text)
    png, chunks, at = base64.b64decode(data), {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        tag, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(tag + body)
        chunks[tag] = body
        at += 12 + length
    columns, rows = struct.unpack_from(">II", chunks[b"IHDR"])
    shades = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8)
    shades = shades.reshape(rows, columns + 1)[:, 1:]
    for row, column in ((0, 0), (10, 200), (rows - 1, 3), (rows // 2, columns // 2)):
        w = 4 + (column + 0.5) / columns * 2
        b = -2 - (row + 0.5) / rows * 1.2
        error = float(surface.error_surface(w, b).error)
        assert abs(int(shades[row, column]) - 255 * (error / 0.43) ** 0.5) <= 0.51


def test_the_picture_tells_both_ends_in_words() -> None:
    drawn = [element for element in Elements(Wall()._repr_html_()).found if element[0] == "svg"]
    label = drawn[0][1]["aria-label"]
    assert label is not None
    assert "plain (solid, disc): after 400 steps at w = " in label
    assert "clipped (dashed, triangle): after 400 steps at w = 4.37, b = −2.2" in label
    unclipped = Wall(clipping=False)._repr_html_().split("<script")[0]
    assert "clipped" not in unclipped


def test_the_picture_of_the_error_shows_and_tells_both_networks() -> None:
    state = {"radius": 0.7, "gain": 1.2, "alpha": 4.0, "updates": 5, "seed": 3}
    svg = Backward(**state).picture()  # type: ignore[arg-type]
    start = backward_picture.network(3, 0.7)
    end = backward_picture.descend(start, 1.2, 4.0, 5)
    lines = re.findall(r'<polyline points="([^"]+)"', svg)
    for net, line, name in zip((start, end), lines, ("start", "after 5"), strict=True):
        seen = backward_picture.trace(net, 1.2)
        downs = [float(point.split(",")[1]) for point in line.split()]
        # 15 decades on 220 units, from 10^5 at 34 downwards.
        expected = 34 + (5 - seen.norms.log10()) / 15 * 220
        assert downs == pytest.approx(expected.tolist(), abs=0.051)
        radius, largest = torch.linalg.eigvals(net.W).abs().max(), torch.linalg.svdvals(net.W)[0]
        step = float(seen.norms[-1]) ** (1 / 60)
        told = f"Ω {seen.omega:.3g}, radius {radius:.2f}, largest σ {largest:.2f}, "
        assert re.search(rf"{name}.*?: {re.escape(told)}\|δ\| × {step:.3f} per step", svg)
    assert lines[0] != lines[1]

    def down(value: torch.Tensor) -> list[float]:
        """4 decades on 120 units, from 10 at 304 downwards."""
        return (304 + (1 - value.log10()) / 4 * 120).tolist()

    bars = re.findall(r"M[\d.]+,([-\d.]+)V([-\d.]+)", svg)
    dots = re.findall(r"M[\d.]+,([-\d.]+)h0", svg)
    seen = backward_picture.trace(end, 1.2)
    assert [float(low) for low, _ in bars] == pytest.approx(down(seen.smallest), abs=0.051)
    assert [float(high) for _, high in bars] == pytest.approx(down(seen.largest), abs=0.051)
    factors = down(seen.norms[1:] / seen.norms[:-1])
    assert [float(dot) for dot in dots] == pytest.approx(factors, abs=0.051)


@pytest.mark.usefixtures("static")
def test_static_is_html_only() -> None:
    figure = widgets.wall(w=4.5)
    assert isinstance(figure, widgets.Wall)
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"].startswith("Wall(w=4.5, b=-2.4, ")
    figure.w = 5.5
    assert '"w": 5.5' in figure._repr_html_()
    assert repr(widgets.backward(updates=0, gain=1)) == (
        "Backward(radius=0.9, gain=1.0, alpha=2.0, updates=0, seed=1)"
    )


@pytest.mark.usefixtures("live")
def test_live_carries_both_and_shares_its_state() -> None:
    figure: Any = widgets.wall(w=4.5, clipping=False)
    data, _ = figure._repr_mimebundle_()
    assert data[WIDGET_VIEW]["model_id"] == figure.model_id
    assert data["text/html"] == Wall(w=4.5, clipping=False)._repr_html_()
    assert data["text/plain"] == repr(Wall(w=4.5, clipping=False))
    synced = figure.get_state()
    assert synced["_esm"] == page.module("wall")
    assert {name: synced[name] for name in figure.state()} == figure.state()
    # What the page sends arrives in Python, as numbers of the right kind.
    figure.set_state({"w": 5, "seq_len": 20})
    assert (figure.w, figure.seq_len) == (5.0, 20)
    assert isinstance(figure.w, float)


@pytest.mark.usefixtures("live")
def test_live_figures_of_two_kinds_share_nothing() -> None:
    wall: Any = widgets.wall()
    error: Any = widgets.backward(alpha=0.5, updates=0)
    synced = error.get_state()
    assert synced["_esm"] == page.module("backward")
    expected = {"radius": 0.9, "gain": 1.0, "alpha": 0.5, "updates": 0, "seed": 1}
    assert {name: synced[name] for name in expected} == error.state() == expected
    assert not hasattr(wall, "alpha")
    data, _ = error._repr_mimebundle_()
    assert data["text/html"] == Backward(**expected)._repr_html_()  # type: ignore[arg-type]
    error.set_state({"alpha": 4, "updates": 2})
    assert (error.alpha, error.updates) == (4.0, 2)


WALL, BACKWARD = (Wall, widgets.wall), (Backward, widgets.backward)
BAD_WALL = [
    ("w", 3.9, "w must be a number from 4.0 to 6.0, got 3.9"),
    ("w", "5", "w must be a number from 4.0 to 6.0, got '5'"),
    ("b", float("nan"), "b must be a number from -3.2 to -2.0, got nan"),
    ("learning_rate", 0, "learning_rate must be a finite number > 0, got 0"),
    ("learning_rate", -0.1, "learning_rate must be a finite number > 0, got -0.1"),
    ("learning_rate", float("nan"), "learning_rate must be a finite number > 0, got nan"),
    ("threshold", float("inf"), "threshold must be a finite number > 0, got inf"),
    ("clipping", 1, "clipping must be True or False, got 1"),
    ("seq_len", 0, "seq_len must be an integer >= 1, got 0"),
    ("seq_len", 101, "seq_len must be at most 100, got 101"),
    ("seq_len", 10.0, "seq_len must be an integer >= 1, got 10.0"),
]
BAD_BACKWARD = [
    ("radius", 0.1, "radius must be a number from 0.2 to 2.0, got 0.1"),
    ("radius", None, "radius must be a number from 0.2 to 2.0, got None"),
    ("gain", 1.6, "gain must be a number from 0.25 to 1.5, got 1.6"),
    ("gain", True, "gain must be a number from 0.25 to 1.5, got True"),
    ("alpha", -1, "alpha must be a number from 0.0 to 8.0, got -1"),
    ("alpha", float("nan"), "alpha must be a number from 0.0 to 8.0, got nan"),
    ("alpha", float("inf"), "alpha must be a number from 0.0 to 8.0, got inf"),
    ("updates", -1, "updates must be an integer >= 0, got -1"),
    ("updates", 301, "updates must be at most 300, got 301"),
    ("updates", 2.0, "updates must be an integer >= 0, got 2.0"),
    ("seed", 0, "seed must be an integer >= 1, got 0"),
    ("seed", 101, "seed must be at most 100, got 101"),
]
BAD = [(*WALL, *row) for row in BAD_WALL] + [(*BACKWARD, *row) for row in BAD_BACKWARD]


@pytest.mark.parametrize(("kind", "entry", "name", "value", "message"), BAD)
def test_a_bad_state_is_refused_and_the_last_good_one_kept(
    kind: type[Figure], entry: Callable[..., Any], name: str, value: Any, message: str
) -> None:
    hosts: list[Any] = [kind(), entry()]
    for figure in hosts:
        before = getattr(figure, name)
        with pytest.raises(checks.ArgumentError, match=f"^{re.escape(message)}$"):
            setattr(figure, name, value)
        assert getattr(figure, name) == before
    with pytest.raises(checks.ArgumentError, match=re.escape(message)):
        entry(**{name: value})


def test_an_unknown_state_is_named() -> None:
    with pytest.raises(checks.ArgumentError, match="did you mean 'seq_len'"):
        Wall().seqlen = 20  # type: ignore[attr-defined]
    with pytest.raises(checks.ArgumentError, match="did you mean 'radius'"):
        Backward().radus = 1.0  # type: ignore[attr-defined]
    for kind in (Wall, Backward):
        assert [field.name for field in dataclasses.fields(kind)] == list(kind().__dict__)


def test_importing_widgets_draws_in_nothing() -> None:
    code = (
        "import sys, rnnlib.widgets; heavy = {'matplotlib', 'ipywidgets', 'anywidget', 'IPython',"
        " 'scipy', 'rnnlib.figures'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
