"""Cells against loops over entries, torch's own cell and automatic differentiation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from rnnlib import cells
from rnnlib.checks import ArgumentError

ALL = list(cells.NONLINEARITIES.values())
every_nonlinearity = pytest.mark.parametrize("f", ALL, ids=lambda f: f.name)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def parts():
    """State, input, recurrent and input weights and bias of one step: 5 units, 3 inputs."""
    return randn(5, seed=1), randn(3, seed=2), randn(5, 5), randn(5, 3, seed=3), randn(5, seed=4)


@every_nonlinearity
def test_slopes_are_the_derivative(f):
    x = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    (truth,) = torch.autograd.grad(f(x).sum(), x)
    torch.testing.assert_close(f.slope(x), truth, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(f.slope_of_output(f(x)), truth, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "bound"), [("tanh", 1.0), ("logistic", 0.25), ("linear", 1.0)])
@given(x=st.floats(-50, 50))
def test_slope_bound_is_attained_at_zero_and_nowhere_exceeded(name, bound, x):
    f = cells.NONLINEARITIES[name]
    assert f.slope_bound == bound == float(f.slope(torch.zeros(())))
    # The logistic slope is a product of two rounded numbers, so it may round up past its bound.
    rounding = 1 + 2 * torch.finfo(torch.float64).eps
    assert abs(float(f.slope(torch.tensor(x, dtype=torch.float64)))) <= bound * rounding


def test_logistic_slope_keeps_its_digits_in_saturation():
    far = torch.tensor([-40.0, 40.0], dtype=torch.float64)
    exact = math.exp(-40) / (1 + math.exp(-40)) ** 2
    assert cells.LOGISTIC.slope(far).tolist() == pytest.approx([exact, exact], rel=1e-14, abs=0)


def test_nonlinearity_by_name_or_as_it_is():
    assert cells.nonlinearity("logistic") is cells.LOGISTIC
    assert cells.nonlinearity(cells.TANH) is cells.TANH
    with pytest.raises(ArgumentError, match=r"tanh, logistic, linear, got 'tahn'.*'tanh'"):
        cells.nonlinearity("tahn")


@every_nonlinearity
def test_steps_are_the_equations_entry_by_entry(f, parts):
    x, u, W_rec, W_in, b = parts

    def scalar(value):
        return float(f(torch.tensor(value, dtype=torch.float64)))

    def affine(state):
        return [
            sum(float(W_rec[i, j]) * state[j] for j in range(5))
            + sum(float(W_in[i, j]) * float(u[j]) for j in range(3))
            + float(b[i])
            for i in range(5)
        ]

    before = affine([scalar(v) for v in x.tolist()])
    after = [scalar(v) for v in affine(x.tolist())]
    assert cells.preactivation_step(*parts, f).tolist() == pytest.approx(before, rel=1e-13)
    assert cells.activation_step(*parts, f).tolist() == pytest.approx(after, rel=1e-13)


def test_activation_step_is_torchs_cell(parts):
    h, u, W_rec, W_in, b = parts
    cell = torch.nn.RNNCell(3, 5, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_hh.copy_(W_rec)
        cell.weight_ih.copy_(W_in)
        cell.bias_hh.copy_(b)
        cell.bias_ih.zero_()
        torch.testing.assert_close(
            cells.activation_step(h, u, W_rec, W_in, b, cells.TANH), cell(u, h)
        )


def test_absent_input_and_bias_count_as_zero(parts):
    x, u, W_rec, W_in, b = parts
    for step in (cells.preactivation_step, cells.activation_step):
        torch.testing.assert_close(
            step(x, None, W_rec, None, None, cells.TANH),
            step(x, 0 * u, W_rec, W_in, 0 * b, cells.TANH),
        )
    with pytest.raises(ArgumentError, match="W_in must be a tensor when u is given"):
        cells.preactivation_step(x, u, W_rec, None, b, cells.TANH)


@every_nonlinearity
def test_jacobians_are_the_derivative_of_the_step(f, parts):
    x, u, W_rec, W_in, b = parts
    truth = jacobian(lambda state: cells.preactivation_step(state, u, W_rec, W_in, b, f), x)
    torch.testing.assert_close(
        cells.preactivation_jacobian(x, W_rec, f), truth, rtol=1e-12, atol=1e-14
    )

    def after(state):
        return cells.activation_step(state, u, W_rec, W_in, b, f)

    torch.testing.assert_close(
        cells.activation_jacobian(after(x), W_rec, f), jacobian(after, x), rtol=1e-12, atol=1e-14
    )


def test_leading_axes_broadcast():
    """Two networks, each on its own batch of four, equal eight separate steps."""
    x, u = randn(2, 4, 5), randn(2, 4, 3)
    W_rec, W_in, b = randn(2, 5, 5), randn(2, 5, 3), randn(2, 1, 5)
    f = cells.TANH
    stacked = cells.preactivation_step(x, u, W_rec, W_in, b, f)
    jacobians = cells.preactivation_jacobian(x, W_rec[:, None], f)
    after = cells.activation_jacobian(stacked, W_rec[:, None], f)
    for r in range(2):
        for i in range(4):
            single = cells.preactivation_step(x[r, i], u[r, i], W_rec[r], W_in[r], b[r, 0], f)
            torch.testing.assert_close(stacked[r, i], single)
            torch.testing.assert_close(
                jacobians[r, i], cells.preactivation_jacobian(x[r, i], W_rec[r], f)
            )
            torch.testing.assert_close(after[r, i], cells.activation_jacobian(single, W_rec[r], f))


@every_nonlinearity
def test_one_unit_step_is_the_network_of_one_unit(f):
    x = randn(7, 1)
    W, b = torch.tensor([[5.0]]).double(), torch.tensor([-2.5]).double()
    torch.testing.assert_close(
        cells.one_unit_step(x, 5.0, -2.5, f), cells.preactivation_step(x, None, W, None, b, f)
    )


def test_one_unit_step_is_logistic_unless_told():
    assert float(cells.one_unit_step(torch.zeros(()), 4.0, 1.0)) == 3.0
