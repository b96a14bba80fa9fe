"""The mathematics of wall.js agrees with rnnlib and with numbers of the specification."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnlib import dynamics, surface
from rnnlib.widgets import Wall, page
from rnnlib.widgets import wall_picture as picture

JavaScript = Callable[[list[list[Any]]], list[Any]]


@pytest.fixture(scope="module")
def javascript(module_in_node: Callable[[str], JavaScript]) -> JavaScript:
    return module_in_node("wall")


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1211)


# Computed for the specification with 60 to 150 digits: w, b, x_50, E, dE/dw, dE/db.
REFERENCE = [
    (0.0, 0.0, 0.0, 0.04, -0.05, -0.1),
    (1.0, 0.0, 0.6590460684, 0.0016772245, -0.01564536, -0.02373940),
    (4.0, -2.0, 0.2844214271, 0.0167366329, -1.04452941, -1.78790415),
    (5.0, -2.4, 2.0083603540, 0.0330047413, 0.06986467, 0.07924111),
    (5.0, -2.62, -2.0494705443, 0.3432719072, -0.02732879, -0.23950276),
    (6.0, -3.0, 2.5756789099, 0.0525692351, 0.0462364, 0.04975508),
]


@pytest.mark.parametrize("row", REFERENCE)
def test_reference_values(javascript: JavaScript, row: tuple[float, ...]) -> None:
    w, b, x, error, grad_w, grad_b = row
    found, state = javascript([["errorAndGradient", w, b], ["state", w, b]])
    assert state == pytest.approx(x, rel=1e-9, abs=1e-12)
    assert found["state"] == state
    assert found["error"] == pytest.approx(error, rel=1e-8)
    assert found["gradW"] == pytest.approx(grad_w, rel=1e-6)
    assert found["gradB"] == pytest.approx(grad_b, rel=1e-6)


@pytest.mark.parametrize(
    ("seq_len", "x0", "target"), [(1, 0.5, 0.7), (50, 0.5, 0.7), (77, -1, 0.2)]
)
def test_error_and_gradient_equal_rnnlib(
    javascript: JavaScript, generator: torch.Generator, seq_len: int, x0: float, target: float
) -> None:
    w, b = uniform(400, 0, 6, generator), uniform(400, -4, 1, generator)
    problem = {"seqLen": seq_len, "x0": x0, "target": target}
    pairs = zip(w.tolist(), b.tolist(), strict=True)
    found = javascript([["errorAndGradient", *pair, problem] for pair in pairs])
    truth = surface.error_surface(w, b, seq_len=seq_len, x0=x0, target=target)
    # A rounding of 1e-16 in a step acts like a shift of b by that much: where the surface is
    # steep the error may differ by the gradient times it, the gradient by the Hessian times it.
    slack = 1e-13
    gradient = truth.gradient.norm(dim=-1)
    hessian = torch.stack([truth.hess_ww, truth.hess_wb, truth.hess_bb]).abs().amax(0)
    for name, expected, steepness in (
        ("error", truth.error, gradient),
        ("gradW", truth.grad_w, hessian),
        ("gradB", truth.grad_b, hessian),
    ):
        got = torch.tensor([row[name] for row in found], dtype=torch.float64)
        miss = (got - expected).abs()
        assert (miss <= 1e-6 * expected.abs() + slack * (1 + steepness)).all(), name
        # The slack must stay the exception, or the test would compare nothing.
        assert (miss <= 1e-6 * expected.abs()).double().mean() > 0.98, name


@pytest.mark.parametrize("threshold", [math.inf, 1.0, 0.05])
def test_one_update_equals_rnnlib(
    javascript: JavaScript, generator: torch.Generator, threshold: float
) -> None:
    w, b = uniform(300, 4, 6, generator), uniform(300, -3.2, -2, generator)
    starts = torch.stack([w, b], dim=-1)
    settings = {"learningRate": 0.1, "threshold": threshold, "nSteps": 1}
    found = javascript([["descend", start, settings] for start in starts.tolist()])
    truth = surface.descend(starts, learning_rate=0.1, threshold=threshold, n_steps=1)
    after = torch.tensor([[row["w"][1], row["b"][1]] for row in found], dtype=torch.float64)
    torch.testing.assert_close(after, truth.points[1], rtol=1e-6, atol=0)
    for name, expected in (
        ("stepLength", truth.step_length[0]),
        ("gradNorm", truth.grad_norm[0]),
        ("error", truth.error[0]),
    ):
        got = torch.tensor([row[name][0] for row in found], dtype=torch.float64)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("threshold", [math.inf, 0.1])
def test_twenty_steps_far_from_the_wall_equal_rnnlib(
    javascript: JavaScript, generator: torch.Generator, threshold: float
) -> None:
    w = uniform(60, 5, 6, generator)
    # At least 0.15 above the wall line, where the gradient stays below 0.3 for all 20 steps.
    b = (surface.wall_line(w) + uniform(60, 0.15, 0.5, generator)).clamp(max=-2)
    starts = torch.stack([w, b], dim=-1)
    settings = {"learningRate": 0.05, "threshold": threshold, "nSteps": 20}
    found = javascript([["descend", start, settings] for start in starts.tolist()])
    truth = surface.descend(starts, learning_rate=0.05, threshold=threshold, n_steps=20)
    assert truth.grad_norm.max() < 0.5
    if math.isfinite(threshold):
        assert (truth.grad_norm > threshold).any()
    for name, expected in (("w", truth.points[..., 0]), ("b", truth.points[..., 1])):
        got = torch.tensor([row[name] for row in found], dtype=torch.float64).T
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)


def test_clipping_decides_where_the_neighbours_of_a_start_end(javascript: JavaScript) -> None:
    """P12-F3 (c) in the browser: single plain runs are chaotic, their shares are not."""
    (starts,) = javascript([["nearby", [5.0, -2.4], 100, 1e-6]])
    assert max(math.hypot(w - 5, b + 2.4) for w, b in starts) <= 1e-6
    assert len({tuple(start) for start in starts}) == 100
    plain = javascript([["descend", start] for start in starts])
    clipped = javascript([["descend", start, {"threshold": 1}] for start in starts])
    assert sum(row["error"][-1] > 0.08 for row in plain) > 50
    assert all(row["error"][-1] < 0.01 for row in clipped)
    assert max(max(row["stepLength"]) for row in clipped) <= 0.1 * (1 + 1e-12)


def test_a_descent_that_leaves_the_numbers_stops(javascript: JavaScript) -> None:
    on_the_wall = [5.5, -2.92352710]  # gradient norm near 4e5: one step overflows
    (path,) = javascript([["descend", on_the_wall, {"learningRate": 1e305, "nSteps": 50}]])
    (told,) = javascript([["summary", path, 50]])
    assert path["n"] == 1
    assert not math.isfinite(path["gradNorm"][path["n"]])
    assert told["stopped"]
    assert told["steps"] == path["n"]


def test_summary_names_the_step_that_leaves_the_window(javascript: JavaScript) -> None:
    path = {
        "n": 3,
        "w": [5, 5.5, 6.5, 5.9],
        "b": [-2.4, -2.5, -2.5, -2.5],
        "error": [0.3, 0.2, 0.1, 0.05],
        "stepLength": [0.5, 1.0, 0.6],
    }
    early, late = javascript([["summary", path, 1], ["summary", path, 400]])
    assert (early["left"], early["largest"], early["inside"]) == (-1, 0.5, True)
    assert (late["left"], late["largest"], late["inside"]) == (2, 1.0, True)
    assert (late["w"], late["error"], late["steps"], late["stopped"]) == (5.9, 0.05, 3, True)


def test_surface_is_row_by_row(javascript: JavaScript) -> None:
    w = torch.linspace(4, 6, 7, dtype=torch.float64)
    b = torch.linspace(-3.2, -2, 5, dtype=torch.float64)
    (found,) = javascript([["surface", w.tolist(), b.tolist(), {"seqLen": 30}]])
    truth = surface.error_surface(w[None, :], b[:, None], seq_len=30).error
    got = torch.tensor(found, dtype=torch.float64).reshape(5, 7)
    torch.testing.assert_close(got, truth, rtol=1e-6, atol=1e-13)


def test_guides_equal_rnnlib(javascript: JavaScript) -> None:
    wide = torch.linspace(4.26, 6, 30, dtype=torch.float64)
    narrow = torch.linspace(4.01, 4.25, 9, dtype=torch.float64)
    found = javascript([["wallLine", w] for w in [*wide.tolist(), *narrow.tolist()]])
    expected = [*surface.wall_line(wide).tolist(), *(dynamics.folds(float(w)).b_2 for w in narrow)]
    assert found == pytest.approx(expected, rel=1e-10)
    (valley,) = javascript([["valleyLine", 4.2]])
    assert valley == pytest.approx(surface.valley_line(4.2), rel=1e-12)
    # On the valley line the target is a fixed point, so the error vanishes.
    (there,) = javascript([["errorAndGradient", 4.2, valley, {"seqLen": 2000}]])
    assert there["error"] < 1e-12


BOX = [[4, 6], [-3.2, -2]]


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ([5, -2.5], [5.5, -2.4], [0, 1]),
        ([5, -2.5], [5, -1.5], [0, 0.5]),
        ([3, -2.5], [5, -2.5], [0.5, 1]),
        ([3, -2.5], [7, -2.5], [0.25, 0.75]),
        ([3, -1], [3.5, -1], None),
        ([3, -2.1], [4.2, -1], None),
        ([5, -2.5], [5, -2.5], [0, 1]),
    ],
)
def test_clip_segment(
    javascript: JavaScript, p: list[float], q: list[float], expected: list[float] | None
) -> None:
    (found,) = javascript([["clipSegment", p, q, BOX]])
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("w", 5.5, None),
        ("w", 6.0, None),
        ("w", 6.1, "w: a number from 4 to 6"),
        ("w", math.nan, "w: a number from 4 to 6"),
        ("b", -2.0, None),
        ("b", 1.0, "b: a number from −3.2 to −2"),
        ("b", None, "b: a number from −3.2 to −2"),
        ("learning_rate", 0.3, None),
        ("learning_rate", 0.0, "learning rate: a number above 0"),
        ("learning_rate", -1.0, "learning rate: a number above 0"),
        ("learning_rate", math.nan, "learning rate: a number above 0"),
        ("threshold", math.inf, "threshold: a number above 0"),
        ("seq_len", 100, None),
        ("seq_len", 2.5, "T: a whole number from 1 to 100"),
        ("seq_len", 0, "T: a whole number from 1 to 100"),
    ],
)
def test_the_page_accepts_what_python_accepts(
    javascript: JavaScript, name: str, value: Any, message: str | None
) -> None:
    assert javascript([["objection", name, value]]) == [message]
    if message is None:
        assert Wall.accepted(name, value) == value
    else:
        with pytest.raises(ValueError, match=f"^{name} must be "):
            Wall.accepted(name, value)


def test_both_languages_hold_the_same_constants(javascript: JavaScript) -> None:
    window, defaults, n_steps = javascript([["WINDOW"], ["DEFAULTS"], ["N_STEPS"]])
    assert {name: tuple(ends) for name, ends in window.items()} == picture.WINDOW
    assert defaults == dataclasses.asdict(Wall())
    assert n_steps == picture.N_STEPS


def test_the_printed_picture_has_the_colours_of_the_screen(javascript: JavaScript) -> None:
    fractions = [i / 255 for i in range(256)]
    found = javascript([["colour", fraction, "light"] for fraction in fractions])
    for fraction, shade in zip(fractions, found, strict=True):
        assert shade == list(picture.colour(fraction))
    # Lightness falls from no error to the largest, and rises in the dark theme; whole numbers
    # from 0 to 255 leave it uneven by up to half a unit.
    dark = javascript([["colour", fraction, "dark"] for fraction in fractions])
    for shades, sign in ((found, -1), (dark, 1)):
        light = [sign * (0.2126 * r + 0.7152 * g + 0.0722 * b) for r, g, b in shades]
        assert all(later > earlier - 0.5 for earlier, later in pairwise(light))
        assert light[-1] - light[0] > 80


def test_the_anchors_are_viridis() -> None:
    viridis = pytest.importorskip("matplotlib").colormaps["viridis"]
    for i, anchor in enumerate(re.findall(r'"([0-9a-f]{6})"', page.module("wall"))):
        expected = [round(255 * channel) for channel in viridis(i / 8)[:3]]
        assert list(bytes.fromhex(anchor)) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0895, "0.0895"),
        (3.48775, "3.49"),
        (5.1e-6, "5.1·10⁻⁶"),
        (-0.5, "−0.5"),
        (0, "0"),
        (123456.0, "1.2·10⁵"),
        (math.inf, "not finite"),
    ],
)
def test_numbers_read_well(javascript: JavaScript, number: float, text: str) -> None:
    assert javascript([["readable", number]]) == [text]


def test_the_walk_in_plain_floats_equals_rnnlib(generator: torch.Generator) -> None:
    """wall_picture.descend, which draws the printed figure, against surface.descend."""
    w = uniform(20, 5, 6, generator)
    starts = torch.stack([w, (surface.wall_line(w) + 0.3).clamp(max=-2)], dim=-1)
    truth = surface.descend(starts, learning_rate=0.05, threshold=0.1, n_steps=20)
    for i, (start_w, start_b) in enumerate(starts.tolist()):
        path = picture.descend(start_w, start_b, 0.05, 0.1, 50)[:21]
        found = torch.tensor(path, dtype=torch.float64)
        torch.testing.assert_close(found[:, :2], truth.points[:, i], rtol=1e-9, atol=0)
        torch.testing.assert_close(found[:, 2], truth.error[:, i], rtol=1e-6, atol=1e-12)
