"""The one-unit map against its closed forms, long orbits and the numbers of the specification."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rnnlib import dynamics
from rnnlib.cells import LOGISTIC, TANH, preactivation_step
from rnnlib.checks import ArgumentError


def sigma(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_folds_at_five_are_the_golden_ratio():
    golden = (1 + math.sqrt(5)) / 2
    found = dynamics.folds(5)
    assert found.x_2 == pytest.approx(2 * math.log(golden), rel=1e-14)
    assert found.x_1 == -found.x_2
    assert found.b_1 == pytest.approx(-2.3443896614, abs=5e-11)
    assert found.b_2 == pytest.approx(-2.6556103386, abs=5e-11)


@pytest.mark.parametrize(
    ("w", "b_1", "b_2"),
    [
        (4, -2, -2),
        (4.5, -2.19314718, -2.30685282),
        (5.5, -2.47266970, -3.02733030),
        (6, -2.58490709, -3.41509291),
        (7, -2.77551139, -4.22448861),
        (8, -2.93432005, -5.06567995),
    ],
)
def test_folds_elsewhere(w, b_1, b_2):
    found = dynamics.folds(w)
    assert (found.b_1, found.b_2) == (pytest.approx(b_1, abs=6e-9), pytest.approx(b_2, abs=6e-9))


@given(st.floats(4, 100))
def test_folds_are_double_fixed_points(w):
    found = dynamics.folds(w)
    for x, b in ((found.x_1, found.b_1), (found.x_2, found.b_2)):
        assert w * sigma(x) + b == pytest.approx(x, abs=1e-12)
        assert w * sigma(x) * sigma(-x) == pytest.approx(1, rel=1e-12)
    assert found.b_1 + found.b_2 == pytest.approx(-w, rel=1e-12)


@pytest.mark.parametrize("w", [3.999, -5.0, math.nan, math.inf])
def test_folds_need_a_weight_of_four(w):
    with pytest.raises(ArgumentError, match="w must be a finite number >= 4"):
        dynamics.folds(w)


@pytest.mark.parametrize(
    ("w", "b", "expected"),
    [
        (5, -2.5, [(-1.7760294587, 0.619144), (0, 1.25), (1.7760294587, 0.619144)]),
        (5, -2.6, [(-2.008360, 0.521632), (0.433264, 1.193126), (1.449966, 0.769521)]),
        (5, -2.4, [(-1.449966, 0.769521), (-0.433264, 1.193126), (2.008360, 0.521632)]),
        (5, -3, [(-2.678829, 0.300541)]),
        (5, -2, [(2.678829, 0.300541)]),
        (5, 0, [(4.965365, 0.034396)]),
        (1, 0, [(0.6590460684, 0.224704)]),
        (-9, 3, [(-0.467300, -2.131503)]),
        (-30, 30, [(2.429197, -2.232497)]),
    ],
)
def test_fixed_points_of_the_specification(w, b, expected):
    found = dynamics.fixed_points(w, b)
    assert [p.x for p in found] == pytest.approx([x for x, _ in expected], abs=6e-7)
    assert [p.slope for p in found] == pytest.approx([s for _, s in expected], abs=6e-7)
    assert [p.stable for p in found] == [abs(s) < 1 for _, s in expected]


@given(w=st.floats(-30, 30), b=st.floats(-30, 30))
def test_fixed_points_solve_the_equation_and_none_is_missed(w, b):
    if w >= 4:
        # At a fold itself rounding decides the count, so stay a hair away from it.
        edges = dynamics.folds(w)
        assume(min(abs(b - edges.b_1), abs(b - edges.b_2)) > 1e-9)
        count = 3 if edges.b_2 < b < edges.b_1 else 1
    else:
        count = 1
    found = dynamics.fixed_points(w, b)
    assert len(found) == count
    assert [p.x for p in found] == sorted(p.x for p in found)
    for point in found:
        assert w * sigma(point.x) + b == pytest.approx(point.x, abs=1e-12 * (1 + abs(w)))
        assert point.slope == pytest.approx(w * sigma(point.x) * sigma(-point.x), abs=1e-12)


@given(w=st.floats(-3, 12), b=st.floats(-8, 2))
def test_mirror_symmetry(w, b):
    """If ``x`` is fixed at ``b`` then ``-x`` is fixed at ``-w - b``."""
    if w >= 4:
        edges = dynamics.folds(w)
        assume(min(abs(b - edges.b_1), abs(b - edges.b_2)) > 1e-6)
    here = [p.x for p in dynamics.fixed_points(w, b)]
    there = [-p.x for p in dynamics.fixed_points(w, -w - b)][::-1]
    # Next to a fold a root moves by the square root of the rounding error in b.
    assert here == pytest.approx(there, abs=1e-9)


def test_the_cusp_and_the_middle_of_a_single_branch_are_counted_once():
    assert [p.x for p in dynamics.fixed_points(4, -2)] == pytest.approx([0], abs=1e-5)
    assert [p.x for p in dynamics.fixed_points(2, -1)] == pytest.approx([0], abs=1e-15)


def test_bifurcation_diagram_is_the_inverted_fixed_point_equation():
    b = torch.linspace(-3, -2, 301)
    diagram = dynamics.bifurcation_diagram(5.0, b)
    assert diagram.b.dtype == torch.float64
    edges = dynamics.folds(5.0)
    inside = (diagram.b > edges.b_2) & (diagram.b < edges.b_1)
    assert torch.equal(~diagram.middle.isnan(), inside)
    assert torch.equal(~diagram.lower.isnan(), diagram.b < edges.b_1)
    assert torch.equal(~diagram.upper.isnan(), diagram.b > edges.b_2)
    for branch, stable in ((diagram.lower, True), (diagram.middle, False), (diagram.upper, True)):
        x = branch[~branch.isnan()]
        back = x - 5 * x.sigmoid()
        torch.testing.assert_close(back, diagram.b[~branch.isnan()], rtol=0, atol=1e-14)
        assert bool(((5 * LOGISTIC.slope(x) < 1) == stable).all())


def test_one_two_one_attractors_as_b_falls():
    """P12-C13: the lower attractor appears at b_1, the upper one goes at b_2."""
    edges = dynamics.folds(5.0)
    counts = [
        sum(p.stable for p in dynamics.fixed_points(5.0, b))
        for b in (edges.b_1 + 1e-6, edges.b_1 - 1e-6, edges.b_2 + 1e-6, edges.b_2 - 1e-6)
    ]
    assert counts == [1, 2, 2, 1]


def test_basin_boundary_exists_between_the_folds_and_repels():
    assert dynamics.basin_boundary(5.0, -3.0) is None
    assert dynamics.basin_boundary(-9.0, 3.0) is None  # repelling, but bounds nothing
    on_the_line = dynamics.basin_boundary(5.0, 0.5 - 5 * sigma(0.5))
    assert on_the_line == pytest.approx(0.5, abs=1e-13)
    # P12-C15: the slope there is 1.175, not the 0 of the text.
    assert 5 * sigma(0.5) * sigma(-0.5) == pytest.approx(1.175, abs=5e-4)


@given(w=st.floats(-4, 10), b=st.floats(-8, 3), x0=st.floats(-8, 8))
def test_attractor_of_is_where_a_long_orbit_ends(w, b, x0):
    points = dynamics.fixed_points(w, b)
    # Convergence takes about 1 / (1 - |slope|) steps; near a fold, w = -4 or a basin boundary it
    # takes arbitrarily long.
    assume(all(abs(1 - abs(p.slope)) > 0.05 for p in points))
    boundary = dynamics.basin_boundary(w, b)
    assume(boundary is None or abs(x0 - boundary) > 1e-3)
    end = dynamics.orbit(w, b, x0, 1000)[-1]
    assert float(dynamics.attractor_of(w, b, x0)) == pytest.approx(float(end), abs=1e-9)


def test_the_side_of_the_boundary_decides():
    """At w = 5, b = -2.6 the boundary is 0.433264."""
    ends = dynamics.attractor_of(5.0, -2.6, torch.tensor([0.0, 0.4332, 0.4333, 9.0]))
    assert ends.tolist() == pytest.approx([-2.00836, -2.00836, 1.449966, 1.449966], abs=5e-7)


def test_attractor_of_broadcasts_and_sees_the_jumps():
    """Section 3.7: the state jumps by three units where a fold takes its attractor away."""
    edges = dynamics.folds(5.0)
    b = torch.tensor([[edges.b_2 + 1e-12], [edges.b_2 - 1e-12]], dtype=torch.float64)
    found = dynamics.attractor_of(5.0, b, torch.tensor([-3.0, 3.0]))
    assert found.shape == (2, 2)
    assert found[:, 0].tolist() == pytest.approx([-2.11956, -2.11956], abs=5e-6)
    # 1e-12 away from the fold the attractor is its square root away, 1e-6 in order.
    assert found[:, 1].tolist() == pytest.approx([0.9624237, -2.11956], abs=5e-6)


@pytest.mark.parametrize("w", [-4.01, math.nan, math.inf])
def test_attractor_of_refuses_weights_that_allow_a_cycle(w):
    with pytest.raises(ArgumentError, match="w must be a finite number >= -4"):
        dynamics.attractor_of(w, 0.0, 0.0)


def test_orbit_is_the_recurrence_step_by_step():
    w, b = torch.tensor([[4.0], [6.0]]), torch.tensor([-3.0, -2.0, 0.0])
    orbit = dynamics.orbit(w, b, 0.5, 20)
    assert orbit.shape == (21, 2, 3)
    assert orbit.dtype == torch.float64
    for i in range(2):
        for j in range(3):
            x = 0.5
            for t in range(21):
                assert float(orbit[t, i, j]) == pytest.approx(x, rel=1e-13)
                x = float(w[i, 0]) * sigma(x) + float(b[j])


def test_orbit_of_no_steps_is_the_start_and_lengths_must_fit():
    assert dynamics.orbit(5.0, -2.5, 0.5, 0).tolist() == [0.5]
    with pytest.raises(ArgumentError, match="n_steps must be an integer >= 0, got -1"):
        dynamics.orbit(5.0, -2.5, 0.5, -1)
    with pytest.raises(ArgumentError, match="drive must have 3 rows, one a step, got 2"):
        dynamics.orbit(5.0, -2.5, 0.5, 3, drive=torch.zeros(2))


def test_two_close_starts_part_as_in_figure_5():
    start = torch.tensor([0.5e-3, -0.5e-3], dtype=torch.float64)
    upper, lower = dynamics.orbit(5.0, -2.5, start, 200).unbind(-1)
    gap = (upper - lower)[[10, 20, 30, 50, 200]].tolist()
    assert gap == pytest.approx([0.00931, 0.0867, 0.789, 3.549, 3.5520589], rel=7e-4)
    assert gap[-1] == pytest.approx(3.5520589, abs=5e-8)


@pytest.mark.parametrize(("b", "steps"), [(-2.6557, 700), (-2.66, 98), (-2.7, 28)])
def test_passage_past_the_ghost_of_a_fold(b, steps):
    x = dynamics.orbit(5.0, b, 3.0, 800)
    assert int((x < -1).nonzero()[0]) == steps


def test_drive_adds_to_every_step():
    drive = 0.3 * randn(15, 4)
    driven = dynamics.orbit(5.0, -2.5, 0.2, 15, drive=drive)
    assert driven.shape == (16, 4)
    for j in range(4):
        x = 0.2
        for t in range(15):
            x = 5 * sigma(x) - 2.5 + float(drive[t, j])
            assert float(driven[t + 1, j]) == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize(("push", "end"), [(-0.1556, 0.97), (-0.15562, -2.1196)])
def test_a_steady_push_wins_once_it_reaches_past_the_fold(push, end):
    """P12-F6: 0.1556103 is the distance from b = -2.5 to the fold."""
    n_steps = 20_000
    drive = torch.full((n_steps,), push, dtype=torch.float64)
    last = float(dynamics.orbit(5.0, -2.5, 3.0, n_steps, drive=drive)[-1])
    assert last == pytest.approx(end, abs=1e-2 if end > 0 else 5e-5)


def test_the_step_is_the_constant_map_and_then_the_input_map():
    """P12-F6: F_t = U_t o F~, to rounding."""
    W_rec, W_in, b = randn(4, 4), randn(4, 2, seed=1), randn(4, seed=2)
    x, u = randn(6, 4, seed=3), randn(6, 2, seed=4)
    split = dynamics.input_map(dynamics.constant_map(x, W_rec, b, TANH), u, W_in)
    whole = preactivation_step(x, u, W_rec, W_in, b, TANH)
    torch.testing.assert_close(split, whole, rtol=0, atol=2e-15)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_parameters_that_are_not_finite_are_named(bad):
    for refused in (dynamics.fixed_points, dynamics.basin_boundary):
        with pytest.raises(ArgumentError, match="b must be a finite number, got"):
            refused(5.0, bad)
    with pytest.raises(ArgumentError, match="w must be a finite number, got"):
        dynamics.bifurcation_diagram(bad, torch.zeros(3))
