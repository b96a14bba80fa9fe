"""Gradients over time against automatic differentiation, explicit products and torch's clipping."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from rnnlib import cells, gradients
from rnnlib.cells import LOGISTIC, TANH
from rnnlib.checks import ArgumentError

T, H, INPUTS = 7, 5, 3


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def net():
    """Weights, inputs and start of a small tanh network, and its states ``x_0`` to ``x_T``."""
    weights = randn(H, H), randn(H, INPUTS, seed=1), randn(H, seed=2)
    u, x0 = randn(T, INPUTS, seed=3), randn(H, seed=4)
    return weights, u, x0, run(x0, u, weights)


def run(x0, u, weights, step=cells.preactivation_step, f=TANH):
    W_rec, W_in, b = weights
    states = [x0]
    for u_t in u:
        states.append(step(states[-1], u_t, W_rec, W_in, b, f))
    return torch.stack(states)


@pytest.mark.parametrize("parametrisation", cells.PARAMETRISATIONS)
@pytest.mark.parametrize("f", [TANH, LOGISTIC], ids=lambda f: f.name)
def test_product_of_state_jacobians_is_the_derivative_of_the_run(net, parametrisation, f):
    weights, u, x0, _ = net
    step = getattr(cells, f"{parametrisation}_step")
    states = run(x0, u, weights, step, f)
    jacobians = gradients.state_jacobians(states, weights[0], f, parametrisation=parametrisation)
    assert jacobians.shape == (T, H, H)
    truth = jacobian(lambda x: run(x, u, weights, step, f)[-1], x0)
    torch.testing.assert_close(gradients.jacobian_product(jacobians), truth, rtol=1e-11, atol=1e-14)


def test_state_jacobians_refuses_an_unknown_form(net):
    with pytest.raises(ArgumentError, match="parametrisation must be one of preactivation"):
        gradients.state_jacobians(net[3], net[0][0], TANH, parametrisation="post")


def test_jacobian_product_puts_the_latest_on_the_left():
    first, second = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    product = gradients.jacobian_product(torch.stack([first, second]))
    assert torch.equal(product, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))


def test_jacobian_product_of_nothing_is_the_identity_and_a_batch_is_a_batch():
    assert torch.equal(gradients.jacobian_product(torch.zeros(0, 3, 3)), torch.eye(3))
    stack = randn(2, 4, 3, 3)
    torch.testing.assert_close(
        gradients.jacobian_product(stack)[1], gradients.jacobian_product(stack[1])
    )


def test_error_history_is_autograds_gradient_of_every_state(net):
    (W_rec, W_in, b), u, x0, states = net
    error = randn(H, seed=5)
    tape = [x0.clone().requires_grad_()]
    for u_t in u:
        tape.append(cells.preactivation_step(tape[-1], u_t, W_rec, W_in, b, TANH))
    truth = torch.stack(torch.autograd.grad(error @ tape[-1], tape))
    history = gradients.error_history(gradients.state_jacobians(states, W_rec, TANH), error)
    torch.testing.assert_close(history, truth, rtol=1e-11, atol=1e-14)


def test_error_history_of_a_batch_is_row_by_row():
    jacobians, errors = randn(2, 4, 3, 3), randn(2, 3, seed=1)
    history = gradients.error_history(jacobians, errors)
    for i in range(2):
        torch.testing.assert_close(history[i], gradients.error_history(jacobians[i], errors[i]))


def test_error_history_overflows_in_float32_and_not_in_float64():
    growing = 1e3 * torch.eye(2).expand(20, 2, 2)
    assert not bool(gradients.error_history(growing, torch.ones(2))[0].isfinite().any())
    history = gradients.error_history(growing.double(), torch.ones(2, dtype=torch.float64))
    assert float(history[0, 0]) == pytest.approx(1e60, rel=1e-12)


@pytest.mark.parametrize("wrong", [(T, H, H + 1), (T, H + 1, H + 1), (H, H)])
def test_error_history_names_the_shapes(wrong):
    with pytest.raises(ArgumentError, match=r"jacobians must have shape \(..., time, 5, 5\)"):
        gradients.error_history(torch.zeros(wrong), torch.zeros(H))


def test_immediate_derivatives_hold_the_previous_state_fixed(net):
    weights, u, _, states = net
    ours = gradients.immediate_derivatives(states[:-1], u, TANH)
    assert set(ours) == {"W_rec", "W_in", "b"}
    for t in range(T):
        truth = jacobian(
            lambda *p, t=t: cells.preactivation_step(states[t], u[t], *p, TANH), weights
        )
        for name, value in zip(("W_rec", "W_in", "b"), truth, strict=True):
            torch.testing.assert_close(ours[name][t], value.flatten(1), rtol=1e-13, atol=0)


def test_immediate_derivatives_without_input_have_no_entry_for_it(net):
    assert set(gradients.immediate_derivatives(net[3][:-1], None, TANH)) == {"W_rec", "b"}
    with pytest.raises(ArgumentError, match="inputs must have shape"):
        gradients.immediate_derivatives(net[3][:-1], net[1][:-1], TANH)


def test_components_are_products_written_out(net):
    (W_rec, _, _), u, _, states = net
    jacobians = gradients.state_jacobians(states, W_rec, TANH)
    immediate = gradients.immediate_derivatives(states[:-1], u, TANH)["W_rec"]
    error = randn(H, seed=5)
    components = gradients.temporal_components(jacobians, error, immediate)
    for k in range(1, T + 1):
        row = error
        for later in range(T, k, -1):
            row = row @ jacobians[later - 1]
        torch.testing.assert_close(components[k - 1], row @ immediate[k - 1])


def test_components_refuse_axes_that_differ(net):
    jacobians, error = torch.zeros(T, H, H), torch.zeros(H)
    with pytest.raises(ArgumentError, match=r"immediate must have shape \(7, 5, any\)"):
        gradients.temporal_components(jacobians, error, torch.zeros(T - 1, H, 2))


def test_component_norms_are_the_norms_of_the_components(net):
    (W_rec, _, _), u, _, states = net
    jacobians = gradients.state_jacobians(states, W_rec, TANH)
    immediate = gradients.immediate_derivatives(states[:-1], u, TANH)
    error = randn(H, seed=5)
    norms = gradients.component_norms(jacobians, error)
    factors = {"W_rec": states[:-1].tanh().norm(dim=-1), "W_in": u.norm(dim=-1), "b": 1}
    for name, factor in factors.items():
        truth = gradients.temporal_components(jacobians, error, immediate[name]).norm(dim=-1)
        torch.testing.assert_close(norms * factor, truth, rtol=1e-12, atol=0)


@given(rate=st.floats(-3, 3), scale=st.floats(1e-3, 1e3), length=st.integers(2, 40))
def test_growth_rate_of_a_geometric_sequence_is_its_ratio(rate, scale, length):
    norms = scale * torch.exp(rate * torch.arange(length, dtype=torch.float64))
    assert float(gradients.growth_rate(norms)) == pytest.approx(rate, abs=1e-10)


def test_growth_rate_is_the_least_squares_line_of_each_row():
    norms = randn(3, 30).exp()
    truth = np.polyfit(np.arange(25), norms[:, 5:].log().numpy().T, 1)[0]
    np.testing.assert_allclose(gradients.growth_rate(norms, start=5).numpy(), truth, rtol=1e-11)
    with pytest.raises(ArgumentError, match="start must leave at least 2 of 30 norms, got 29"):
        gradients.growth_rate(norms, start=29)


@given(angle=st.floats(0, math.pi), p=st.floats(-200, 200), q=st.floats(-200, 200))
def test_alignment_sees_the_angle_and_nothing_else(angle, p, q):
    a = 10.0**p * torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = -(10.0**q) * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    assert float(gradients.alignment(a, b)) == pytest.approx(abs(math.cos(angle)), abs=1e-12)


# Algorithm 1 --------------------------------------------------------------------------------


def parameters(scale=1.0, dtype=torch.float64):
    return [scale * randn(4, 3).to(dtype), scale * randn(4, seed=1).to(dtype)]


def joint_norm(tensors):
    return math.sqrt(sum(float(v) ** 2 for t in tensors for v in t.flatten()))


@given(scale=st.floats(1e-8, 1e8), threshold=st.floats(1e-4, 1e4))
def test_clip_norm_caps_the_joint_norm_and_keeps_the_direction(scale, threshold):
    before = parameters(scale)
    after, norm, factor = gradients.clip_norm(before, threshold)
    assert float(norm) == pytest.approx(joint_norm(before), rel=1e-12)
    assert joint_norm(after) == pytest.approx(min(float(norm), threshold), rel=1e-12)
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, float(factor) * b)


@pytest.mark.parametrize("threshold", [0.5, 100.0])
def test_clip_norm_agrees_with_torch_up_to_its_epsilon(threshold):
    before = parameters()
    theirs = [torch.nn.Parameter(torch.zeros_like(g)) for g in before]
    for parameter, g in zip(theirs, before, strict=True):
        parameter.grad = g.clone()
    torch.nn.utils.clip_grad_norm_(theirs, threshold)
    ours, _, _ = gradients.clip_norm(before, threshold)
    for a, parameter in zip(ours, theirs, strict=True):
        # torch divides by norm + 1e-6; the norm is above 3 here.
        torch.testing.assert_close(a, parameter.grad, rtol=4e-7, atol=0)


def test_clip_norm_leaves_small_gradients_bitwise_alone_and_inf_means_never():
    before = parameters()
    for threshold in (1e6, math.inf):
        after, _, factor = gradients.clip_norm(before, threshold)
        assert float(factor) == 1.0
        assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_clip_norm_does_not_overflow_where_float32_squares_would():
    before = [torch.full((4,), 1e30)]
    after, norm, _ = gradients.clip_norm(before, 1.0)
    assert float(norm) == pytest.approx(2e30)
    assert after[0].dtype == torch.float32
    torch.testing.assert_close(after[0], torch.full((4,), 0.5))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("threshold", [1.0, math.inf])
def test_a_gradient_that_is_no_number_stays_none(bad, threshold):
    after, norm, factor = gradients.clip_norm([torch.tensor([1.0, bad])], threshold)
    assert not math.isfinite(norm)
    assert math.isnan(factor)
    assert bool(after[0].isnan().all())


def test_each_replica_is_clipped_as_if_alone():
    stacked = [randn(4, 3, 2), randn(4, 3, seed=1), randn(4, seed=2)]
    stacked[0][2, 0, 0] = math.nan  # must not touch the neighbours
    thresholds = torch.tensor([0.1, 100.0, 1.0, math.inf])
    after, norm, factor = gradients.clip_norm(stacked, thresholds, replicas=True)
    assert norm.shape == factor.shape == (4,)
    for r in range(4):
        alone, norm_r, factor_r = gradients.clip_norm([g[r] for g in stacked], float(thresholds[r]))
        for a, b in zip(after, alone, strict=True):
            torch.testing.assert_close(a[r], b, equal_nan=True, rtol=1e-7, atol=0)
        torch.testing.assert_close(norm[r], norm_r, equal_nan=True)
        torch.testing.assert_close(factor[r], factor_r, equal_nan=True, rtol=1e-7, atol=0)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan])
def test_clip_norm_refuses_a_threshold_that_is_not_above_zero(threshold):
    with pytest.raises(ArgumentError, match="threshold must be a number > 0"):
        gradients.clip_norm(parameters(), threshold)


def test_clip_norm_refuses_no_gradients_and_thresholds_of_another_shape():
    with pytest.raises(ArgumentError, match="gradients must hold at least one tensor"):
        gradients.clip_norm([], 1.0)
    with pytest.raises(ArgumentError, match=r"threshold must have shape \(4\), got \(3,\)"):
        gradients.clip_norm(parameters(), torch.ones(3), replicas=True)


def test_clip_elementwise_is_torchs_clip_by_value():
    before = parameters()
    theirs = [torch.nn.Parameter(torch.zeros_like(g)) for g in before]
    for parameter, g in zip(theirs, before, strict=True):
        parameter.grad = g.clone()
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    for a, parameter in zip(gradients.clip_elementwise(before, 0.3), theirs, strict=True):
        assert torch.equal(a, parameter.grad)
    with pytest.raises(ArgumentError, match="bound must be a finite number > 0"):
        gradients.clip_elementwise(before, math.inf)


@given(seed=st.integers(0, 2**31), bound=st.floats(0.01, 3))
def test_both_clips_descend_but_only_the_norm_keeps_steepest_descent(seed, bound):
    """P12-C21: clipping the summed gradient by value turns it but never past a right angle."""
    g = randn(6, seed=seed)
    (by_norm,), _, _ = gradients.clip_norm([g], bound)
    (by_value,) = gradients.clip_elementwise([g], bound)
    assert float(gradients.alignment(g, by_norm)) == pytest.approx(1, abs=1e-12)
    assert float(g @ by_value) > 0


def test_clipping_the_components_instead_of_their_sum_can_turn_uphill():
    components = torch.tensor([10.0, -4.0, -4.0])
    (clipped,) = gradients.clip_elementwise([components], 5.0)
    assert float(components.sum()) == 2
    assert float(clipped.sum()) == -3
