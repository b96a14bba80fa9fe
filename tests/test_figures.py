"""The figures show the numbers they are given, and come out the same twice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Circle

from rnnlib import dynamics, figures, surface
from rnnlib.checks import ArgumentError
from rnnlib.figures.__main__ import main

mpl.use("Agg")
F64 = torch.float64


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with mpl.rc_context():
        figures.use_book_style()
        yield
    plt.close("all")


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_arms_and_series_differ_in_more_than_colour() -> None:
    plain, clipped = figures.ARMS["plain"], figures.ARMS["clipped"]
    assert plain["marker"] != clipped["marker"]
    assert plain["linestyle"] != clipped["linestyle"]
    for one, other in itertools.combinations(figures.SERIES, 2):
        assert one["linestyle"] != other["linestyle"]
        assert one["color"] != other["color"]


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in "ab":
        fig = figures.bifurcation(5.0, torch.linspace(-3, -2, 50), x0=0.5)
        fig.savefig(tmp_path / f"{name}.svg", metadata={"Date": None})
        written.append((tmp_path / f"{name}.svg").read_bytes())
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0]


def test_the_readme_picture_is_small_and_reproducible(tmp_path: Path) -> None:
    path = tmp_path / "wall.svg"
    main([str(path)])
    first = path.read_bytes()
    assert 20_000 < len(first) < 300_000
    main([str(path)])
    assert path.read_bytes() == first


def test_spread_is_the_median_over_the_range() -> None:
    runs = torch.rand(7, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    _, ax = plt.subplots()
    figures.spread(ax, torch.arange(5), runs)
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), np.median(runs.numpy(), axis=0))
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == runs.min()
    assert corners[:, 1].max() == runs.max()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_success_bars_solve_wilsons_equation(solved: list[bool]) -> None:
    fig, ax = plt.subplots(layout="none")
    figures.success(ax, [20], [solved], "plain")
    (container,) = ax.containers
    (segment,) = container.lines[2][0].get_segments()
    rate, n = sum(solved) / len(solved), len(solved)
    assert container.lines[0].get_ydata()[0] == rate
    for end in segment[:, 1]:
        if 1e-12 < end < 1 - 1e-12:  # where the observed rate is 1.96 standard errors away
            assert (rate - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, rel=1e-9)
        else:
            assert rate == pytest.approx(end, abs=1e-12)
    plt.close(fig)


def test_success_is_drawn_beside_its_length_and_paler_below_the_papers_scale() -> None:
    _, ax = plt.subplots()
    figures.success(ax, [20, 50], [[True], [False]], "plain", shift=1.5)
    figures.success(ax, [20, 50], [[True], [False]], "plain", scale="reduced")
    paper, reduced = (container.lines[0] for container in ax.containers)
    assert paper.get_xdata().tolist() == [21.5, 51.5]
    assert reduced.get_xdata().tolist() == [20, 50]
    assert paper.get_alpha() is None
    assert reduced.get_alpha() < 1
    assert reduced.get_markersize() < paper.get_markersize()


def test_outcomes_leave_failed_runs_out_and_count_them() -> None:
    _, ax = plt.subplots()
    rows = {
        "printed": {"plain": (2.24, 0.942), "clipped": (1.44, 0.006)},
        "ours": {"plain": [2.0, math.nan, 90.0, 2.2], "clipped": [1.9, 2.0, 2.1, 2.2]},
    }
    figures.outcomes(ax, rows, worst=6.0)
    marks = [c.lines[0] for c in ax.containers]
    assert [m.get_xdata()[0] for m in marks] == pytest.approx([2.24, 1.44, 2.1, 2.05])
    assert [m.get_markerfacecolor() == "white" for m in marks] == [True, True, False, False]
    ours = ax.containers[2].lines[2][0].get_segments()[0]
    assert ours[:, 0] == pytest.approx([2.1 - math.sqrt(0.02), 2.1 + math.sqrt(0.02)])
    assert [text.get_text() for text in ax.texts] == ["2 of 4 failed"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["printed", "ours"]


def test_outcomes_show_a_row_in_which_every_run_failed() -> None:
    _, ax = plt.subplots()
    figures.outcomes(ax, {"ours": {"plain": [math.nan, math.inf], "clipped": [1.0, 1.2]}})
    assert len(ax.containers) == 1
    assert [text.get_text() for text in ax.texts] == ["2 of 2 failed"]


def test_power_iteration_draws_the_slopes_it_is_told() -> None:
    norms = 3.0 * 1.1 ** torch.arange(40, dtype=F64).expand(4, 40)
    fig = figures.power_iteration(norms, 1 / norms, growth=1.1, turning=1 / 1.1)
    for ax, expected in zip(fig.axes, (math.log(1.1), -math.log(1.1)), strict=True):
        theory = np.asarray(ax.lines[-1].get_ydata(), dtype=float)
        assert np.diff(np.log(theory)) == pytest.approx(expected)
        np.testing.assert_allclose(theory, ax.lines[0].get_ydata())


def test_profile_has_a_panel_for_each_curve() -> None:
    x = torch.linspace(-1, 1, 9)
    fig = figures.profile(x, {"square": x**2, "cube": x**3}, xlabel="x")
    assert [ax.get_ylabel() for ax in fig.axes] == ["square", "cube"]
    np.testing.assert_array_equal(fig.axes[1].lines[0].get_ydata(), x**3)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_network_draws_every_node_and_edge(n_steps: int) -> None:
    edges = [("u", "x", 0), ("x", "x", 1), ("x", "E", 0)]
    (ax,) = figures.network(edges, n_steps).axes
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    assert len(circles) == 3 + 3 * n_steps + 1  # folded, unrolled, and x_0
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == 3 + 4 * n_steps  # folded; up, up, on and back at each step


def test_a_missing_edge_is_missing_in_the_drawing() -> None:
    (whole,) = figures.network([("u", "x", 0), ("x", "x", 1), ("x", "E", 0)]).axes
    (cut,) = figures.network([("u", "x", 0), ("x", "E", 0)]).axes
    assert len(cut.texts) < len(whole.texts)


def test_bifurcation_branches_are_fixed_points() -> None:
    (ax,) = figures.bifurcation(5.0, torch.linspace(-3.2, -1.8, 141), x0=0.5).axes
    checked = 0
    for line in ax.lines[:3]:
        for b, x in np.asarray(line.get_xydata(), dtype=float):
            if math.isfinite(x):
                assert 5 * logistic(x) + b == pytest.approx(x, abs=1e-9)
                checked += 1
    assert checked > 141
    cross = ax.lines[-1].get_xydata()[0]
    assert 5 * logistic(0.5) + cross[0] == pytest.approx(0.5)


def test_split_steps_meet_at_the_states() -> None:
    drive = torch.tensor([0.1, -0.2, 0.05], dtype=F64)
    x = dynamics.orbit(5.0, -2.5, 0.3, 3, drive=drive)
    moved = x[1:] - drive
    _, ax = plt.subplots()
    figures.split_steps(ax, x, moved)
    segments = [np.asarray(line.get_xydata(), dtype=float) for line in ax.lines[:6]]
    for t in range(3):
        (start, middle), (again, end) = segments[2 * t], segments[2 * t + 1]
        assert start.tolist() == [x[t], t]
        assert middle.tolist() == again.tolist()
        assert end.tolist() == [x[t + 1], t + 1]
        assert end[0] - middle[0] == pytest.approx(drive[t])


def one_unit_error(w: float, b: float) -> float:
    x = 0.5
    for _ in range(50):
        x = w * logistic(x) + b
    return (logistic(x) - 0.7) ** 2


def test_the_map_has_each_error_in_its_place() -> None:
    _, ax = plt.subplots()
    w, b = torch.linspace(4, 6, 5, dtype=F64), torch.linspace(-3.2, -2, 7, dtype=F64)
    image = figures.surface_map(ax, w, b)
    shown = image.get_array()
    assert shown is not None
    for i, j in itertools.product(range(7), range(5)):
        assert shown[i, j] == pytest.approx(one_unit_error(float(w[j]), float(b[i])), abs=1e-9)
    assert image.get_extent() == pytest.approx((4.0, 6.0, -3.2, -2.0))
    line = np.asarray(ax.lines[0].get_xydata(), dtype=float)
    assert line[:, 1] == pytest.approx(0.5 - logistic(0.5) * line[:, 0])


def test_the_cliff_stays_in_its_window() -> None:
    fig = figures.cliff(torch.linspace(4, 6, 9, dtype=F64), low=-3.2, high=-2.0)
    (ax,) = fig.axes
    assert ax.xy_dataLim.intervalx == pytest.approx((4, 6))
    assert ax.xy_dataLim.intervaly == pytest.approx((-3.2, -2.0))
    low, high = ax.zz_dataLim.intervalx
    assert 0 <= low < 1e-3
    assert high == pytest.approx(one_unit_error(4.0, -3.2), abs=1e-9)


def test_descents_show_where_every_run_ends() -> None:
    start = torch.tensor([[5.0, -2.4], [5.0, -2.5]], dtype=F64)
    plain, clipped = (
        surface.descend(start, learning_rate=0.1, threshold=threshold, n_steps=5)
        for threshold in (math.inf, 1.0)
    )
    fig = figures.descents(plain, clipped)
    for ax, path in zip(fig.axes[:2], (plain, clipped), strict=True):
        ends = ax.collections[0].get_offsets()
        np.testing.assert_allclose(ends, path.points[-1])


def record() -> SimpleNamespace:
    def result(rate: float, threshold: float | None, scores: list[float]) -> SimpleNamespace:
        metrics = {
            "train_bits": scores,
            "test_bits": [s + 1 for s in scores],
            "max_norm": [10.0, 30.0],
            "clipped_fraction": [0.0, 0.5],
        }
        condition = {"learning_rate": rate, "threshold": threshold}
        return SimpleNamespace(condition=condition, metrics=metrics)

    results = [
        result(0.1, None, [3.0, 5.0]),
        result(0.1, 45.0, [2.0, 2.0]),
        result(0.3, None, [6.0, 8.0]),
    ]
    return SimpleNamespace(variant="ptb", scale="reduced", results=results)


def test_rows_are_split_by_learning_rate_and_arm() -> None:
    rows = figures.rows_of(record(), "train_bits", "ours")
    assert rows == {
        "ours, rate 0.1": {"plain": [3.0, 5.0], "clipped": [2.0, 2.0]},
        "ours, rate 0.3": {"plain": [6.0, 8.0]},
    }


def test_the_table_gives_mean_and_standard_deviation() -> None:
    head, first, second, _ = figures.text_table([record()], "bits").splitlines()
    assert " ".join(first.split()) == "ptb, reduced, 0.1 plain 4.00 ± 1.41 5.00 ± 1.41 30 25.0%"
    assert "2.00 ± 0.00" in second
    assert head.split()[-2:] == ["norm", "rescaled"]


def test_seeds_without_a_score_are_counted_and_not_averaged() -> None:
    whole = record()
    for metric in ("train_bits", "test_bits", "max_norm", "clipped_fraction"):
        whole.results[0].metrics[metric][0] = math.nan
        whole.results[1].metrics[metric][:] = [None] * len(whole.results[1].metrics[metric])
    _, first, second, _ = figures.text_table([whole], "bits").splitlines()
    assert (
        " ".join(first.split()) == "ptb, reduced, 0.1 plain 5.00 ± 0.00 -1 6.00 ± 0.00 -1 30 50.0%"
    )
    assert "nan ± 0.00 -2" in second


def test_sequences_outline_the_deciding_steps() -> None:
    symbols, channels = torch.tensor([3, 0, 5, 5, 1]), torch.rand(7, 2)
    fig = figures.sequences({"order": (symbols, [1, 4]), "addition": (channels, [0])})
    order, addition = (ax for ax in fig.axes if ax.images)
    assert order.images[0].get_array().shape == (4, 5)  # four different symbols
    assert np.allclose(addition.images[0].get_array(), channels.T)
    outlined = [patch.get_x() + 0.5 for patch in order.patches]
    assert outlined == [1, 4]
    assert len(addition.patches) == 1


def test_inside_shows_medians_and_the_course_of_training() -> None:
    before, after = torch.rand(2, 9, 12) + 0.1, torch.rand(2, 9, 12) + 0.1
    omega = torch.rand(5, 2)
    fig = figures.inside(before, after, range(10, 60, 10), {"Omega": omega}, ("SGD", "SGD-CR"))
    errors, course = fig.axes
    drawn = [line.get_ydata() for line in errors.lines]
    for r in range(2):
        assert np.allclose(drawn[2 * r], before[r].median(0).values)
        assert np.allclose(drawn[2 * r + 1], after[r].median(0).values)
        assert np.allclose(course.lines[r].get_ydata(), omega[:, r])
        assert errors.lines[2 * r].get_alpha() < 1  # before training
        assert errors.lines[2 * r + 1].get_alpha() is None
    assert course.get_ylabel() == "Omega"
    assert [text.get_text() for text in errors.get_legend().get_texts()] == ["SGD", "SGD-CR"]
    with pytest.raises(ArgumentError, match=r"Omega must have shape \(5, 2\), got \(2, 5\)"):
        figures.inside(before, after, range(5), {"Omega": omega.T}, ("SGD", "SGD-CR"))


def test_a_named_arm_keeps_its_name_in_rows_and_tables() -> None:
    results = [
        SimpleNamespace(
            condition={"arm": arm, "threshold": 8.0, "learning_rate": 1.0},
            metrics={
                "train_nll": [1.0, 2.0],
                "test_nll": [3.0, 5.0],
                "max_norm": [7.0, 9.0],
                "clipped_fraction": [0.0, 0.5],
            },
        )
        for arm in ("SGD-C", "SGD-CR-constant")
    ]
    it = SimpleNamespace(variant="piano-midi", scale="reduced", results=results)
    assert figures.rows_of(it, "test_nll", "piano") == {
        "piano": {"SGD-C": [3.0, 5.0], "SGD-CR-constant": [3.0, 5.0]}
    }
    head, first, second = figures.text_table([it], "nll").splitlines()
    assert len(head) == len(first) == len(second)
    assert second.split()[3:5] == ["SGD-CR-constant", "1.50"]
    assert "4.00 ± 1.41" in second


def runs(task: str, seq_len: int, arm: str, updates: list[int], solved: list[bool]) -> object:
    condition = {"task": task, "seq_len": seq_len, "shortest": 0, "start": "basic", "arm": arm}
    metrics = {"updates": updates, "solved": solved, "best_error_rate": [0.25, None, 0.5]}
    return SimpleNamespace(condition=condition, metrics=metrics)


def test_counts_tell_how_many_and_when_or_how_far() -> None:
    results = [
        runs("order", 20, "SGD-CR", [200, 900, 400], [True, True, True]),
        runs("order", 20, "SGD", [4000, 4000, 4000], [False, False, False]),
        runs("addition", 20, "SGD", [4000, 300, 100], [False, True, True]),
    ]
    reading = {"reading": {"n_updates": 4000}}
    it = SimpleNamespace(variant="a_b", scale="reduced", results=results, settings=reading)
    counts = figures.Counts((it,))
    assert repr(counts).splitlines() == [
        "a b, reduced, at most 4,000 updates",
        "  order, T = 20: SGD 0/3 (25% wrong), SGD-CR 3/3 (400)",
        "  addition, T = 20: SGD 2/3 (200)",
    ]
    page = counts._repr_html_()
    assert page.index(">SGD<") < page.index(">SGD-CR<")
    assert "<td>3/3<br><small>(400)</small></td>" in page
    assert page.count("<td>–</td>") == 1


def test_counts_tell_the_start_and_all_lengths_of_one_model() -> None:
    results = []
    for start, shortest in (("basic_tanh", 0), ("smart_tanh", 0), ("smart_tanh", 50)):
        it = runs("order", 199, "SGD-CR", [300, 4000, 100], [True, False, True])
        it.condition |= {"start": start, "shortest": shortest}
        results.append(it)
    reading = {"reading": {"n_updates": 4000}}
    it = SimpleNamespace(variant="x", scale="reduced", results=results, settings=reading)
    assert repr(figures.Counts((it,))).splitlines()[1:] == [
        "  basic tanh, T = 199: SGD-CR 2/3 (200)",
        "  smart tanh, T = 199: SGD-CR 2/3 (200)",
        "  smart tanh, T = 50 to 199: SGD-CR 2/3 (200)",
    ]
