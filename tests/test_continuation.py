"""Continuation against fixed points known in closed form."""

import math

import pytest
import torch

from rnnlib import dynamics
from rnnlib.checks import ArgumentError
from rnnlib.continuation import continuation


def one_unit(x, b):
    return 5 * torch.sigmoid(x) + b


@pytest.fixture(scope="module")
def branch():
    """The curve of the one-unit map at w = 5, from b = -2 down through both folds to b < -3."""
    return continuation(one_unit, torch.tensor([2.7]), -2.0, step_length=-0.05, n_steps=130)


def test_every_point_is_a_fixed_point(branch):
    x = branch.points[:, 0]
    torch.testing.assert_close(branch.parameters, x - 5 * x.sigmoid(), rtol=0, atol=1e-13)


def test_it_starts_where_told_and_sets_out_in_the_direction_of_the_sign(branch):
    assert float(branch.parameters[0]) == -2
    assert float(branch.points[0, 0]) == pytest.approx(dynamics.fixed_points(5, -2)[0].x, abs=1e-12)
    assert float(branch.parameters[1]) < -2
    up = continuation(one_unit, torch.tensor([2.7]), -2.0, step_length=0.05, n_steps=1)
    assert float(up.parameters[1]) > -2


def test_it_turns_at_both_folds(branch):
    edges = dynamics.folds(5)
    b, x = branch.parameters, branch.points[:, 0]
    turns = (b.diff().sign().diff() != 0).nonzero().flatten() + 1
    # Between steps of 0.05 a turn is seen to half a step in x, to its square in b.
    assert x[turns].tolist() == pytest.approx([edges.x_2, edges.x_1], abs=0.05)
    assert b[turns].tolist() == pytest.approx([edges.b_2, edges.b_1], abs=1e-3)
    assert float(b[-1]) < -3
    assert bool((x.diff() < 0).all())


def test_eigenvalues_and_stability_are_the_slope(branch):
    x = branch.points[:, 0]
    slope = 5 * x.sigmoid() * (-x).sigmoid()
    torch.testing.assert_close(branch.eigenvalues[:, 0].real, slope, rtol=0, atol=1e-12)
    edges = dynamics.folds(5)
    assert torch.equal(branch.stable, (x < edges.x_1) | (x > edges.x_2))


def test_steps_have_the_stated_length(branch):
    steps = torch.cat([branch.points, branch.parameters[:, None]], dim=1).diff(dim=0).norm(dim=-1)
    # The corrector moves at right angles to the prediction, so no step is shorter.
    assert float(steps.min()) >= 0.05 - 1e-12
    assert float(steps.max()) < 0.0505


def test_two_units_that_turn_into_each_other():
    """x -> p tanh(R x) with R a rotation by 60 degrees: 0 is fixed, eigenvalues p exp(+-i pi/3)."""
    c, s = math.cos(math.pi / 3), math.sin(math.pi / 3)
    R = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    branch = continuation(
        lambda x, p: p * torch.tanh(R @ x),
        torch.tensor([0.1, -0.1]),
        0.5,
        step_length=0.1,
        n_steps=8,
    )
    expected = [0.5 + 0.1 * i for i in range(9)]
    assert branch.parameters.tolist() == pytest.approx(expected, abs=1e-12)
    assert float(branch.points.abs().max()) < 1e-12
    torch.testing.assert_close(
        branch.eigenvalues.angle().abs(), torch.full((9, 2), math.pi / 3, dtype=torch.float64)
    )
    assert branch.stable.tolist() == [p < 1 - 1e-9 for p in expected]


@pytest.mark.parametrize("step_length", [0, 0.0, math.nan, math.inf])
def test_a_step_must_go_somewhere(step_length):
    with pytest.raises(ArgumentError, match="step_length must be finite and not 0"):
        continuation(one_unit, torch.zeros(1), -2.0, step_length=step_length, n_steps=1)


def test_a_map_without_a_fixed_point_is_an_error_not_a_loop():
    with pytest.raises(ArgumentError, match="x0 must lie near a fixed point"):
        continuation(
            lambda x, p: x + 1 + x**2 + 0 * p, torch.ones(1), 0.0, step_length=0.1, n_steps=1
        )
