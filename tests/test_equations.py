"""The equations of Pascanu, Mikolov & Bengio (2012), one after the other, as tests.

Where the print is wrong the test shows both: the printed form fails, the repaired one holds.
"""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib import cells, gradients, init
from rnnlib.cells import LINEAR, LOGISTIC, TANH
from rnnlib.surface import error_surface

STEPS, UNITS, INPUTS = 12, 5, 3
NAMES = ("W_rec", "W_in", "b")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def relative(found, truth):
    return float((found - truth).norm() / truth.norm())


class Net:
    """A small random network: parameters, inputs, start and a target for every state."""

    def __init__(self, f=TANH, seed=0):
        self.f = f
        self.parameters = (
            0.9 * randn(UNITS, UNITS, seed=seed),
            randn(UNITS, INPUTS, seed=seed + 1),
            randn(UNITS, seed=seed + 2),
        )
        self.inputs = randn(STEPS, INPUTS, seed=seed + 3)
        self.x0 = randn(UNITS, seed=seed + 4)
        self.targets = randn(STEPS, UNITS, seed=seed + 5)

    def states(self, parameters=None, x0=None, inputs=None):
        """``x_0`` to ``x_T``."""
        states = [self.x0 if x0 is None else x0]
        for u in self.inputs if inputs is None else inputs:
            step = cells.preactivation_step
            states.append(step(states[-1], u, *(parameters or self.parameters), self.f))
        return torch.stack(states)

    def errors(self, parameters=None):
        """``E_1`` to ``E_T``, squared distances to the targets."""
        return (self.states(parameters)[1:] - self.targets).square().sum(-1) / 2

    def gradient(self, weights):
        """Autograd's gradient of ``sum_t weights_t E_t`` for each parameter."""
        leaves = [p.clone().requires_grad_() for p in self.parameters]
        loss = (weights * self.errors(leaves)).sum()
        return dict(zip(NAMES, torch.autograd.grad(loss, leaves), strict=True))


# Section 1: the network ----------------------------------------------------------------------


def test_e1_the_state_carries_all_of_the_past():
    net = Net()
    whole = net.states()
    second_half = net.states(x0=whole[5], inputs=net.inputs[5:])
    assert torch.equal(whole[5:], second_half)


@pytest.mark.parametrize("f", [TANH, LOGISTIC, LINEAR], ids=lambda f: f.name)
def test_e2_both_parametrisations_are_one_network(f):
    net = Net(f)
    x = net.states()
    h = f(net.x0)
    for t, u in enumerate(net.inputs, start=1):
        h = cells.activation_step(h, u, *net.parameters, f)
        # Rounding grows with the state, which explodes in the linear network.
        torch.testing.assert_close(h, f(x[t]), rtol=1e-12, atol=1e-14)


def test_e2_but_a_zero_start_is_not_the_same_start():
    net = Net(LOGISTIC)
    zero = torch.zeros(UNITS, dtype=torch.float64)
    x1 = cells.preactivation_step(zero, net.inputs[0], *net.parameters, LOGISTIC)
    from_zero = cells.activation_step(zero, net.inputs[0], *net.parameters, LOGISTIC)
    from_half = cells.activation_step(zero + 0.5, net.inputs[0], *net.parameters, LOGISTIC)
    torch.testing.assert_close(LOGISTIC(x1), from_half, rtol=0, atol=1e-15)
    assert relative(from_zero, from_half) > 0.01


# Section 2: the gradient as a sum ------------------------------------------------------------


def test_e3_the_gradient_is_the_sum_over_the_errors():
    net = Net()
    each = [net.gradient(row) for row in torch.eye(STEPS, dtype=torch.float64)]
    whole = net.gradient(torch.ones(STEPS, dtype=torch.float64))
    for name in NAMES:
        assert relative(sum(g[name] for g in each), whole[name]) < 1e-12


@pytest.mark.parametrize("f", [TANH, LOGISTIC, LINEAR], ids=lambda f: f.name)
def test_e4_the_double_sum_over_temporal_components_is_autograds_gradient(f):
    net = Net(f)
    states = net.states()
    jacobians = gradients.state_jacobians(states, net.parameters[0], f)
    immediate = gradients.immediate_derivatives(states[:-1], net.inputs, f)
    truth = net.gradient(torch.ones(STEPS, dtype=torch.float64))
    for name in NAMES:
        total = torch.zeros(truth[name].numel(), dtype=torch.float64)
        for t in range(1, STEPS + 1):
            error = states[t] - net.targets[t - 1]
            total += gradients.temporal_components(jacobians[:t], error, immediate[name][:t]).sum(0)
        assert relative(total, truth[name].flatten()) < 1e-12


def test_e4_fails_with_the_printed_jacobian():
    net = Net()
    states = net.states()
    printed = net.parameters[0].mT * TANH.slope(states[:-1]).unsqueeze(-2)
    immediate = gradients.immediate_derivatives(states[:-1], net.inputs, TANH)
    last = torch.eye(STEPS, dtype=torch.float64)[-1]
    error = states[-1] - net.targets[-1]
    wrong = gradients.temporal_components(printed, error, immediate["b"]).sum(0)
    assert relative(wrong, net.gradient(last)["b"]) > 0.1


def test_e5_finite_differences_confirm_our_jacobian_and_reject_the_printed_one():
    i = torch.arange(3, dtype=torch.float64)
    W = 0.6 * torch.sin(1 + 1.7 * i[:, None] + 0.9 * i)
    x = torch.sin(5.6 + 0.9 * i)
    ours = cells.preactivation_jacobian(x, W, TANH)
    printed = W.mT @ torch.diag(TANH.slope(x))
    h = 1e-6
    columns = [
        (
            cells.preactivation_step(x + h * e, None, W, None, None, TANH)
            - cells.preactivation_step(x - h * e, None, W, None, None, TANH)
        )
        / (2 * h)
        for e in torch.eye(3, dtype=torch.float64)
    ]
    differences = torch.stack(columns, dim=1)
    assert float((differences - ours).abs().max()) < 1e-10
    assert float((differences - printed).abs().max()) == pytest.approx(0.5308, abs=5e-5)
    assert float(init.spectral_norm(differences - printed)) == pytest.approx(0.5802, abs=5e-5)
    assert float(init.spectral_norm(ours)) == pytest.approx(0.9066582374, abs=5e-11)
    assert float(init.spectral_norm(printed)) == pytest.approx(0.7166099882, abs=5e-11)


# Section 2.2: the linear network -------------------------------------------------------------


def test_e6_in_the_linear_network_the_product_is_a_power():
    net = Net(LINEAR)
    W = net.parameters[0]
    product = gradients.jacobian_product(gradients.state_jacobians(net.states(), W, LINEAR))
    power = torch.linalg.matrix_power(W, STEPS)
    assert relative(product, power) < 1e-12
    assert relative(product, power.mT) > 0.1  # the printed order


@pytest.mark.parametrize(("w", "derivative"), [(1.1, 2667.97393), (0.9, 0.143160422)])
def test_e6_for_one_linear_unit(w, derivative):
    """``x_t = x_0 w^t`` has ``dx_t/dw = t x_0 w^(t-1)``; every component is equal."""
    x = 0.5 * w ** torch.arange(51, dtype=torch.float64)[:, None]
    W = torch.tensor([[w]], dtype=torch.float64)
    jacobians = gradients.state_jacobians(x, W, LINEAR)
    immediate = gradients.immediate_derivatives(x[:-1], None, LINEAR)["W_rec"]
    components = gradients.temporal_components(jacobians, torch.ones(1).double(), immediate)
    assert float(components.sum()) == pytest.approx(derivative, rel=5e-9)
    torch.testing.assert_close(components, components[:1].expand(50, 1))


@pytest.mark.parametrize("leading", [1.05, 0.95])
def test_e7_power_iteration_grows_by_the_leading_eigenvalue_along_its_left_eigenvector(leading):
    spectrum = leading * 0.9 ** torch.arange(20, dtype=torch.float64)
    W = init.with_spectrum(spectrum, generator=generator(3))
    carried = gradients.error_history(W.expand(200, 20, 20), randn(20)).flip(0)
    rate = gradients.growth_rate(carried.norm(dim=-1), start=150)
    assert float(rate) == pytest.approx(math.log(leading), abs=1e-3)

    values, right = torch.linalg.eig(W)
    first = values.abs().argmax()
    left = torch.linalg.inv(right)[first].real
    assert float(gradients.alignment(carried[-1], left)) == pytest.approx(1, abs=1e-8)
    # The paper's q_j, read as right eigenvectors, are not where the error goes.
    assert float(gradients.alignment(carried[-1], right[:, first].real)) < 0.9
    # What is left of the other directions dies at the ratio of the first two eigenvalues.
    unit = carried / carried.norm(dim=-1, keepdim=True)
    left = left / left.norm() * (unit[-1] @ left).sign()
    deviation = (unit - left).norm(dim=-1)[80:150]
    assert float(deviation.min()) > 1e-10
    assert float(gradients.growth_rate(deviation)) == pytest.approx(math.log(0.9), rel=0.05)


@pytest.mark.parametrize("lam", [1.05, 1.0])
def test_c2_a_jordan_block_grows_by_a_factor_l_more(lam):
    block = torch.tensor([[lam, 1.0], [0.0, lam]], dtype=torch.float64)
    norm = float(init.spectral_norm(gradients.jacobian_product(block.expand(200, 2, 2))))
    assert norm == pytest.approx(200 * lam**199, rel=0.01)


def test_c3_a_radius_below_one_still_allows_a_transient():
    A = torch.tensor([[0.9, 10.0], [0.0, 0.8]], dtype=torch.float64)
    norms = {
        n: float(init.spectral_norm(gradients.jacobian_product(A.expand(n, 2, 2))))
        for n in [*range(1, 51), 200]
    }
    assert float(init.spectral_radius(A)) == pytest.approx(0.9)
    assert max(norms, key=norms.__getitem__) == 6
    assert norms[6] == pytest.approx(26.9362, abs=5e-5)
    assert norms[50] == pytest.approx(0.51398, abs=5e-6)
    assert norms[200] == pytest.approx(7.0554e-8, rel=1e-5)


def test_e8_the_gradient_expands_in_left_eigenvectors_and_sums_from_one():
    net = Net(LINEAR)
    W = init.with_spectrum(torch.tensor([1.1, 0.9, -0.7, 0.4, 0.2]), generator=generator())
    net.parameters = (W, *net.parameters[1:])
    states = net.states()
    values, right = (part.real for part in torch.linalg.eig(W))
    left = torch.linalg.inv(right)
    weights = (states[-1] - net.targets[-1]) @ right  # c with error = c @ left
    immediate = gradients.immediate_derivatives(states[:-1], net.inputs, LINEAR)["W_rec"]
    truth = net.gradient(torch.eye(STEPS, dtype=torch.float64)[-1])["W_rec"].flatten()

    def expansion(rows, first):
        return sum(
            weights[j] * values[j] ** (STEPS - i) * (rows[j] @ immediate[i - 1])
            for j in range(UNITS)
            for i in range(first, STEPS + 1)
        )

    assert relative(expansion(left, 1), truth) < 1e-10
    assert relative(expansion(left, 6), truth) > 0.01
    assert relative(expansion(right.mT, 1), truth) > 0.01


# Section 2.3: the non-linear bound -----------------------------------------------------------


def shared_eigenvector_family(expanding, contracting, seed=0):
    """Jacobians with one right eigenvector and these eigenvalues on it, otherwise random."""
    v = randn(4, seed=seed)
    v = v / v.norm()
    project = torch.eye(4, dtype=torch.float64) - torch.outer(v, v)
    mus = torch.tensor([*expanding, *contracting], dtype=torch.float64)
    mus = mus[torch.randperm(len(mus), generator=generator(seed))]
    rest = 0.3 * randn(len(mus), 4, 4, seed=seed + 1) @ project
    return v, mus, mus[:, None, None] * torch.outer(v, v) + rest


@given(seed=st.integers(0, 2**31), n=st.integers(2, 6))
def test_e9_no_matrix_expands_as_printed(seed, n):
    """Some ``u`` with ``u.v != 0`` is perpendicular to ``Jv``, unless ``Jv`` lies along ``v``;
    then ``u`` perpendicular to ``v`` makes both sides 0, and 0 > 0 fails too."""
    J, v = 100 * randn(n, n, seed=seed), randn(n, seed=seed + 1)
    image = J @ v
    u = v - (v @ image) / (image @ image) * image
    assert float((u @ image).abs()) <= 1e-12 * float(v.norm() * image.norm())
    assert float((u @ v).abs()) > 1e-12 * float(v @ v)  # the print wants |u J v| above this


@given(seed=st.integers(0, 2**31), eigenvalue=st.floats(1.1, 3))
def test_e9_with_at_least_it_holds_for_every_u_once_v_is_a_right_eigenvector(seed, eigenvalue):
    v, _, (J,) = shared_eigenvector_family([eigenvalue], [], seed)
    u = randn(20, 4, seed=seed + 2)
    assert bool(((u @ J @ v).abs() >= eigenvalue * (u @ v).abs() - 1e-12).all())
    # ... and with eigenvalue 1.1 or more but a larger alpha it does not.
    assert not bool(((u @ J @ v).abs() >= 1.01 * eigenvalue * (u @ v).abs()).any())


def test_e10_to_e13_along_a_shared_eigenvector_the_bound_holds_with_its_exponent_repaired():
    """``|g_k v| >= |c| beta^|P| alpha^(t - k - |P|)`` for theta = b, with equality here."""
    alpha, beta, P = 1.3, 0.6, 4
    v, _, jacobians = shared_eigenvector_family([alpha] * 12, [beta] * P)
    t = len(jacobians)
    error = randn(4, seed=9)
    c = float((error @ v).abs())  # E12: the error's weight on v in any orthonormal basis with v
    immediate = torch.eye(4, dtype=torch.float64).expand(t, 4, 4)  # theta = b, gamma_k = 1
    along = (gradients.temporal_components(jacobians, error, immediate) @ v).abs()
    first = float(along[0])  # k = 1: t - 1 factors; the first Jacobian is not among them
    inside = int((jacobians[1:] @ v - beta * v).norm(dim=-1).lt(1e-9).sum())
    assert first == pytest.approx(c * beta**inside * alpha ** (t - 1 - inside), rel=1e-10)
    # The print has t - |P| for every k: too large a bound as soon as k > 0.
    assert first < c * beta**inside * alpha ** (t - inside)


@given(seed=st.integers(0, 2**31))
def test_e13_is_a_lower_bound_for_unequal_factors(seed):
    spread = torch.rand(10, generator=generator(seed), dtype=torch.float64)
    v, mus, jacobians = shared_eigenvector_family((1.2 + spread).tolist(), [0.7, 0.8], seed)
    error = randn(4, seed=seed + 2)
    start = float((gradients.error_history(jacobians, error)[0] @ v).abs())
    c = float((error @ v).abs())
    assert start == pytest.approx(c * float(mus.abs().prod()), rel=1e-9)
    assert start >= c * 0.7**2 * 1.2**10 * (1 - 1e-9)


def test_e11_immediate_derivatives_are_as_large_as_what_the_parameter_multiplies():
    """P12-C32: their spectral norms are |f(x)|, |u| and 1."""
    net = Net()
    states = net.states()[:-1]
    immediate = gradients.immediate_derivatives(states, net.inputs, TANH)
    truth = {
        "W_rec": states.tanh().norm(dim=-1),
        "W_in": net.inputs.norm(dim=-1),
        "b": torch.ones(STEPS, dtype=torch.float64),
    }
    for name in NAMES:
        torch.testing.assert_close(init.spectral_norm(immediate[name]), truth[name])


@given(
    seed=st.integers(0, 2**31), scale=st.floats(0.1, 3), name=st.sampled_from(["tanh", "logistic"])
)
def test_c5_repaired_the_product_is_bounded_by_slope_and_spectral_norm(seed, scale, name):
    f = cells.nonlinearity(name)
    W = scale * randn(4, 4, seed=seed)
    jacobians = cells.preactivation_jacobian(randn(6, 4, seed=seed + 1), W, f)
    bound = (f.slope_bound * init.spectral_norm(W)) ** 6
    product = gradients.jacobian_product(jacobians)
    assert float(init.spectral_norm(product)) <= float(bound) * (1 + 1e-12)


def test_c6_a_radius_of_zero_explodes():
    W = 3 * torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    x = torch.tensor([0.0, 2.0], dtype=torch.float64)
    b = x - W @ x.tanh()
    assert b.tolist() == pytest.approx([-2.89208274, 4.89208274], abs=5e-9)
    # W is nilpotent; of a double zero eigenvalue rounding leaves its square root.
    assert float(init.spectral_radius(W)) < 1e-6
    torch.testing.assert_close(cells.preactivation_step(x, None, W, None, b, TANH), x)
    J = cells.preactivation_jacobian(x, W, TANH)
    assert float(init.spectral_radius(J)) == pytest.approx(2.7880475254, abs=5e-11)
    for length, norm in ((1, 4.25322), (5, 256.991), (10, 4.32931e4), (20, 1.22863e9)):
        product = gradients.jacobian_product(J.expand(length, 2, 2))
        assert float(init.spectral_norm(product)) == pytest.approx(norm, rel=3e-6)


@pytest.mark.parametrize(("gain", "grows"), [(0.5, False), (3.0, True)])
def test_c1_long_term_components_explode_or_vanish_with_the_gain(gain, grows):
    W = gain * randn(100, 100) / 10
    states = [randn(100, seed=1)]
    for _ in range(50):
        states.append(cells.preactivation_step(states[-1], None, W, None, None, TANH))
    jacobians = gradients.state_jacobians(torch.stack(states), W, TANH)
    norms = gradients.component_norms(jacobians, randn(100, seed=2))
    rate = float(gradients.growth_rate(norms.flip(-1)))  # against t - k
    assert rate > 0.05 if grows else rate < -0.05


# Section 2.4: the error surface, equation 14 ---------------------------------------------------

E50 = [
    # w, b, x_50, E, dE/dw, dE/db
    (0, 0, 0, 0.04, -0.05, -0.1),
    (1, 0, 0.6590460684, 0.0016772245, -0.01564536, -0.02373940),
    (2, -1, 0, 0.04, -0.1, -0.2),
    (4, -2, 0.2844214271, 0.0167366329, -1.04452941, -1.78790415),
    (5, -2, 2.6788288056, 0.0555854941, 0.03791834, 0.04052119),
    (5, -2.4, 2.0083603540, 0.0330047413, 0.06986467, 0.07924111),
    (5, -2.6, 1.4498687349, 0.0120952114, 0.11945868, 0.14760181),
    (5, -2.62, -2.0494705443, 0.3432719072, -0.02732879, -0.23950276),
    (5, -2.7, -2.2022625020, 0.3605432052, -0.01941958, -0.19507852),
    (5.5, -2.9, 1.8575812367, 0.0272298751, 0.09316445, 0.10770276),
    (5.5, -2.93, -2.5206864350, 0.3913495254, -0.01032566, -0.1387473),
    (6, -3, 2.5756789099, 0.0525692351, 0.0462364, 0.04975508),
]


@pytest.mark.parametrize(("w", "b", "state", "error", "grad_w", "grad_b"), E50)
def test_e14_error_surface_table(w, b, state, error, grad_w, grad_b):
    found = error_surface(w, b)
    # Half a unit of the last digit printed.
    assert float(found.state) == pytest.approx(state, abs=5.1e-11)
    assert float(found.error) == pytest.approx(error, abs=5.1e-11)
    assert float(found.grad_w) == pytest.approx(grad_w, abs=5.1e-9)
    assert float(found.grad_b) == pytest.approx(grad_b, abs=5.1e-9)


def exact_error(w, b):
    x = mpmath.mpf("0.5")
    for _ in range(50):
        x = w / (1 + mpmath.exp(-x)) + b
    return (1 / (1 + mpmath.exp(-x)) - mpmath.mpf("0.7")) ** 2


@pytest.mark.parametrize(("w", "b"), [row[:2] for row in E50])
def test_e14_values_and_all_derivatives_in_forty_digit_arithmetic(w, b):
    with mpmath.workdps(40):
        # From the float64 parameters, since the wall amplifies a change of the last digit.
        point = (mpmath.mpf(w), mpmath.mpf(b))
        orders = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
        truth = [float(mpmath.diff(exact_error, point, order)) for order in orders]
    found = [float(value) for value in error_surface(w, b)[:6]]
    # Ten digits: fifty steps near the wall expand the rounding of float64 up to a millionfold.
    assert found == pytest.approx(truth, rel=1e-10, abs=1e-13)
