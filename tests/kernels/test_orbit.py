"""Orbits and Lyapunov exponents against the loops that define them, closed forms and the paper.

Two orbits of a chaotic map part for good after some dozen steps, whatever computes them. So values
are compared over at most 8 steps, and what is compared after that are averages.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.cells import one_unit_step
from rnnlib.checks import ArgumentError
from rnnlib.dynamics import fixed_points
from rnnlib.kernels.backends import missing
from rnnlib.kernels.maps import OneUnit, TwoUnitLSTM
from rnnlib.kernels.orbit import (
    lyapunov_definition,
    lyapunov_exponents,
    orbit,
    orbit_definition,
)

# Ribeiro et al. (2020), figure 1: the chaotic LSTM, after Laurent & von Brecht (2017).
WEIGHTS = torch.tensor(
    [[-1, -4], [-3, -2], [-2, 6], [0, -6], [-1, -6], [6, -9], [4, 1], [-9, -7]],
    dtype=torch.float64,
)
LSTM = TwoUnitLSTM(WEIGHTS)
HALF = torch.full((4,), 0.5, dtype=torch.float64)

FAST = [
    "torch",
    pytest.param("numba", marks=pytest.mark.skipif(bool(missing("numba")), reason="no numba")),
]


def grid(step, n, *, dtype=torch.float64, seed=0):
    """Parameters and states of ``n`` points over the range that the chapters look at."""
    g = torch.Generator().manual_seed(seed)

    def draw(columns, low, high):
        return low + (high - low) * torch.rand(n, columns, generator=g, dtype=torch.float64)

    if isinstance(step, TwoUnitLSTM):
        parameters, state = draw(1, 0.5, 2.0), draw(4, -1.0, 1.0)
    else:
        parameters, state = draw(2, -8.0, 8.0), draw(1, -5.0, 5.0)
    return parameters.to(dtype), state.to(dtype)


def error(found, expected):
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def logistic_map(x, p):
    return p * x * (1 - x)


def henon(state, p):
    x, y = state.split(1, dim=-1)
    return torch.cat([1 - p[:, :1] * x**2 + y, p[:, 1:] * x], dim=-1)


# --- the maps -------------------------------------------------------------------------------------


def test_the_lstm_is_torch_lstm_without_input():
    parameters, state = grid(LSTM, 5)
    for s, z in zip(parameters, state, strict=True):
        cell = torch.nn.LSTMCell(1, 2, bias=False, dtype=torch.float64)
        with torch.no_grad():
            cell.weight_hh.copy_(s * WEIGHTS)
            h, c = cell(torch.zeros(1, 1, dtype=torch.float64), (z[None, :2], z[None, 2:]))
        expected = torch.cat([h, c], dim=1)
        torch.testing.assert_close(LSTM(z[None], s[None]), expected, rtol=1e-14, atol=1e-14)


def test_the_one_unit_map_is_the_one_unit_step():
    parameters, x = grid(OneUnit(), 50)
    w, b = parameters.split(1, dim=1)
    assert torch.equal(OneUnit()(x, parameters), one_unit_step(x, w, b))


@pytest.mark.parametrize("step", [OneUnit(), LSTM], ids=lambda step: step.name)
def test_the_jacobians_are_the_derivatives(step):
    parameters, state = grid(step, 40)
    for p, x in zip(parameters, state, strict=True):
        expected = torch.autograd.functional.jacobian(lambda z, p=p: step(z[None], p[None])[0], x)
        found = step.jacobian(x[None], p[None])[0]
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)


# --- orbits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("step", [OneUnit(), LSTM], ids=lambda step: step.name)
@pytest.mark.parametrize("steps", [1, 8])
def test_values_are_as_good_as_the_definition(step, steps, backend):
    parameters, state = grid(step, 1000)
    exact = orbit_definition(step, parameters, state, burn_in=steps - 1)
    double = orbit(step, parameters, state, burn_in=steps - 1, backend=backend)
    assert error(double, exact) < (1e-14 if steps == 1 else 1e-11)

    parameters, state = parameters.float(), state.float()
    exact = orbit_definition(step, parameters.double(), state.double(), burn_in=steps - 1)
    plain = error(orbit_definition(step, parameters, state, burn_in=steps - 1), exact)
    single = orbit(step, parameters, state, burn_in=steps - 1, backend=backend)
    assert single.dtype == torch.float32
    assert error(single, exact) <= 4 * plain + 1e-7


def test_the_first_outputs_of_the_chaotic_lstm():
    expected = [
        [0.322829, -0.000015],
        [-0.004394, 0.012294],
        [-0.018328, 0.023723],
        [-0.038613, -0.066729],
        [0.089684, 0.081379],
    ]
    found = orbit(LSTM, torch.ones(1, 1, dtype=torch.float64), HALF, keep=5)
    torch.testing.assert_close(found[:, 0, :2], torch.tensor(expected).double(), rtol=0, atol=6e-7)


@given(burn_in=st.integers(0, 9), keep=st.integers(1, 5), every=st.integers(1, 4))
def test_which_states_are_kept(burn_in, keep, every):
    parameters, state = grid(LSTM, 3)
    for backend in ("definition", "torch", "auto"):
        whole = orbit(LSTM, parameters, state, keep=burn_in + keep * every, backend=backend)
        found = orbit(
            LSTM, parameters, state, burn_in=burn_in, keep=keep, every=every, backend=backend
        )
        assert torch.equal(found, whole[burn_in + every - 1 :: every])


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("step", [OneUnit(), LSTM], ids=lambda step: step.name)
def test_a_point_does_not_depend_on_its_company(step, dtype, backend):
    """300 steps of chaos: one other bit anywhere would be seen."""
    parameters, state = grid(step, 13_000, dtype=dtype)
    together = orbit(step, parameters, state, burn_in=100, keep=2, every=100, backend=backend)
    for n in (1, 63, 64, 65, 3073):
        alone = orbit(
            step, parameters[:n], state[:n], burn_in=100, keep=2, every=100, backend=backend
        )
        assert torch.equal(alone, together[:, :n])
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    shuffled = orbit(
        step, parameters[order], state[order], burn_in=100, keep=2, every=100, backend=backend
    )
    assert torch.equal(shuffled, together[:, order])


@pytest.mark.parametrize("backend", FAST)
def test_an_exponent_does_not_depend_on_its_company(backend):
    parameters, state = grid(LSTM, 130)

    def run(rows):
        return lyapunov_exponents(
            LSTM, parameters[rows], state[rows], burn_in=50, n_steps=60, backend=backend
        )

    together = run(slice(None))
    for n in (1, 63, 64, 65):
        assert torch.equal(run(slice(n)), together[:n])
    assert torch.equal(run(torch.arange(129, -1, -1)), together.flip(0))


@pytest.mark.parametrize("backend", FAST)
def test_bits_repeat_and_the_number_of_threads_does_not_matter(backend):
    parameters, state = grid(LSTM, 1000)

    def run():
        return (
            orbit(LSTM, parameters, state, burn_in=200, backend=backend),
            lyapunov_exponents(LSTM, parameters, state, n_steps=20, backend=backend),
        )

    expected = run()
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = run()
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize("step", [OneUnit(), LSTM], ids=lambda step: step.name)
def test_nan_and_infinity_stay_with_their_point(step, backend):
    parameters, state = grid(step, 70)
    clean = orbit(step, parameters, state, keep=4, backend=backend)
    clean_exponents = lyapunov_exponents(step, parameters, state, n_steps=5, backend=backend)
    parameters[7], parameters[9], parameters[11] = torch.nan, torch.inf, -torch.inf
    state[13], state[66], state[68] = torch.nan, torch.inf, -torch.inf
    found = orbit(step, parameters, state, keep=4, backend=backend)
    exponents = lyapunov_exponents(step, parameters, state, n_steps=5, backend=backend)
    touched = torch.zeros(70, dtype=torch.bool)
    touched[[7, 9, 11, 13, 66, 68]] = True
    assert torch.equal(found[:, ~touched], clean[:, ~touched])
    assert torch.equal(exponents[~touched], clean_exponents[~touched])
    expected = orbit_definition(step, parameters, state, keep=4)[:, touched]
    for test in (torch.isnan, torch.isposinf, torch.isneginf):
        assert torch.equal(test(found[:, touched]), test(expected))
    finite = expected.isfinite()
    torch.testing.assert_close(found[:, touched][finite], expected[finite], rtol=1e-12, atol=1e-12)
    assert exponents[[7, 13]].isnan().all()


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize("step", [OneUnit(), LSTM], ids=lambda step: step.name)
def test_inputs_may_have_any_layout_and_are_left_alone(step, backend):
    parameters, state = grid(step, 9)
    wide = torch.zeros(9, 2 * state.shape[1], dtype=torch.float64)
    wide[:, ::2] = state
    layouts = [(parameters.mT.contiguous().mT, wide[:, ::2]), (parameters, state)]
    results = []
    for p, x in layouts:
        before = p.clone(), x.clone()
        results.append(
            (
                orbit(step, p, x, keep=3, backend=backend),
                lyapunov_exponents(step, p, x, n_steps=3, backend=backend),
            )
        )
        assert torch.equal(p, before[0])
        assert torch.equal(x, before[1])
    assert all(map(torch.equal, *results))
    one_state = orbit(step, parameters, state[0], backend=backend)
    same = orbit(step, parameters[:1].expand(9, -1), state, backend=backend)
    assert torch.equal(one_state[:, 0], same[:, 0])
    assert torch.equal(one_state, orbit(step, parameters, state[:1].expand(9, -1), backend=backend))


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize("step", [OneUnit(), LSTM], ids=lambda step: step.name)
def test_no_points_give_an_empty_result(step, backend):
    parameters, state = grid(step, 0)
    size = state.shape[1]
    assert orbit(step, parameters, state, keep=2, backend=backend).shape == (2, 0, size)
    assert lyapunov_exponents(step, parameters, state, n_steps=2, backend=backend).shape == (
        0,
        size,
    )


@pytest.mark.parametrize("backend", ["definition", "torch", "auto"])
def test_a_step_of_your_own(backend):
    parameters, state = grid(LSTM, 5000)
    found = orbit(lambda x, p: LSTM(x, p), parameters, state, burn_in=2, keep=2, backend=backend)
    expected = orbit_definition(LSTM, parameters, state, burn_in=2, keep=2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_a_point_that_diverges_ends_in_infinity_and_has_no_exponent():
    x = torch.tensor([[2.0], [0.3], [-1.0]], dtype=torch.float64)
    four = torch.full_like(x, 4.0)
    assert orbit(logistic_map, four, x, burn_in=30)[0, :, 0].isfinite().tolist() == [0, 1, 0]
    found = lyapunov_exponents(logistic_map, four, x, n_steps=30)
    assert found[:, 0].isnan().tolist() == [1, 0, 1]


@pytest.mark.parametrize("backend", ["definition", *FAST])
def test_a_frame_that_overflows_has_no_exponent(backend):
    parameters = torch.tensor([[1e30, 0.0], [1.0, 0.0]])
    found = lyapunov_exponents(OneUnit(), parameters, torch.zeros(1), n_steps=1, backend=backend)
    assert found[:, 0].isnan().tolist() == [1, 0]


def test_the_definition_can_be_differentiated_and_the_fast_paths_refuse():
    parameters, state = grid(LSTM, 3)
    parameters.requires_grad_()
    (slope,) = torch.autograd.grad(
        orbit_definition(LSTM, parameters, state, burn_in=5)[0, :, 0].sum(), parameters
    )
    shifted = (
        orbit(LSTM, parameters.detach() + h, state, burn_in=5)[0, :, :1] for h in (1e-6, -1e-6)
    )
    torch.testing.assert_close(slope, (next(shifted) - next(shifted)) / 2e-6, rtol=1e-6, atol=1e-8)
    with pytest.raises(ArgumentError, match="parameters must not require a gradient"):
        orbit(LSTM, parameters, state)
    with pytest.raises(ArgumentError, match="state must not require a gradient"):
        lyapunov_exponents(LSTM, parameters.detach(), state.requires_grad_(), n_steps=1)
    with torch.no_grad():
        assert not orbit(LSTM, parameters, state).requires_grad
    trained = TwoUnitLSTM(WEIGHTS.clone().requires_grad_())
    with pytest.raises(ArgumentError, match="weights must not require a gradient"):
        orbit(trained, parameters.detach(), state.detach())


ONE = torch.ones(2, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: orbit("lstm", ONE, HALF), "step must be OneUnit"),
        (lambda: orbit(LSTM, ONE[0], HALF), "parameters must have shape"),
        (lambda: orbit(LSTM, ONE.expand(2, 2), HALF), "parameters must have shape"),
        (lambda: orbit(OneUnit(), ONE, HALF[:1]), "parameters must have shape"),
        (lambda: orbit(LSTM, ONE.int(), HALF), "parameters must be float32 or float64"),
        (lambda: orbit(LSTM, ONE.half(), HALF.half()), "parameters must be float32 or float64"),
        (lambda: orbit(LSTM, ONE, HALF.float()), "state must be torch.float64"),
        (lambda: orbit(LSTM, ONE, HALF[:3]), "state must have shape"),
        (lambda: orbit(LSTM, ONE, HALF.expand(3, 4)), "state must have shape"),
        (lambda: orbit(LSTM, ONE, HALF, burn_in=-1), "burn_in must be an integer >= 0"),
        (lambda: orbit(LSTM, ONE, HALF, keep=0), "keep must be an integer >= 1"),
        (lambda: orbit(LSTM, ONE, HALF, every=0), "every must be an integer >= 1"),
        (lambda: orbit(LSTM, ONE, HALF, every=1.5), "every must be an integer >= 1"),
        (lambda: orbit(LSTM, ONE, HALF, backend="numbat"), "did you mean 'numba'"),
        (lambda: orbit(logistic_map, ONE, ONE[0], backend="numba"), "the built-in maps only"),
        (lambda: orbit(logistic_map, ONE, ONE[0], backend="triton"), "the built-in maps only"),
        (lambda: orbit(lambda x, p: x[:1], ONE, ONE[0]), "step must return torch.float64"),
        (lambda: orbit(lambda x, p: x.float(), ONE, ONE[0]), "step must return torch.float64"),
        (lambda: lyapunov_exponents(LSTM, ONE, HALF, n_steps=0), "n_steps must be an integer >= 1"),
        (lambda: lyapunov_exponents(LSTM, ONE, HALF, n_steps=1, renormalise=0), "renormalise"),
        (lambda: lyapunov_exponents(LSTM, ONE, HALF, n_steps=1, n_exponents=0), "n_exponents"),
        (lambda: lyapunov_exponents(LSTM, ONE, HALF, n_steps=1, n_exponents=5), "size 4, got 5"),
        (lambda: TwoUnitLSTM(WEIGHTS.mT), "weights must have shape"),
        (lambda: TwoUnitLSTM(WEIGHTS.int()), "weights must have a floating dtype"),
    ],
)
def test_a_wrong_argument_is_named(call, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        call()


# --- averages -------------------------------------------------------------------------------------


def test_the_logistic_map_at_4_has_the_arcsine_density():
    g = torch.Generator().manual_seed(0)
    x = 0.05 + 0.9 * torch.rand(2000, 1, generator=g, dtype=torch.float64)
    states = orbit(logistic_map, torch.full_like(x, 4.0), x, burn_in=100, keep=50).flatten()
    share = (2 / math.pi * states.sqrt().asin()).sort().values  # uniform if the density is right
    uniform = torch.linspace(0, 1, len(share), dtype=torch.float64)
    # Kolmogorov-Smirnov: 1.63 / sqrt(n) is the 1 % bound for independent draws
    assert (share - uniform).abs().max() < 1.63 / math.sqrt(len(share)) * 2


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_strange_attractor_of_the_lstm(dtype, backend):
    g = torch.Generator().manual_seed(0)
    state = (HALF + 0.1 * torch.rand(640, 4, generator=g, dtype=torch.float64)).to(dtype)
    h = orbit(LSTM, torch.ones_like(state[:, :1]), state, burn_in=200, keep=300, backend=backend)
    h = h[..., :2].reshape(-1, 2).double()
    # Averages over 2.5 million states of the definition. One orbit of 4900 states, as the paper's
    # figure has it, gives 0.0326, 0.0168 and 0.0788, 0.1020.
    mean, std = torch.tensor([[0.0330, 0.0170], [0.0791, 0.1026]]).double()
    torch.testing.assert_close(h.mean(0), mean, rtol=0, atol=3e-4)
    torch.testing.assert_close(h.std(0), std, rtol=0, atol=3e-4)
    extremes = torch.stack([h.amin(0), h.amax(0)])
    expected = torch.tensor([[-0.0869, -0.171], [0.2233, 0.252]]).double()
    torch.testing.assert_close(extremes, expected, rtol=0, atol=2e-3)


# --- Lyapunov exponents ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("step", [OneUnit(), LSTM], ids=lambda step: step.name)
@pytest.mark.parametrize("renormalise", [1, 3])
def test_exponents_agree_with_the_definition(step, renormalise, backend):
    parameters, state = grid(step, 300)
    options = {"burn_in": 2, "n_steps": 8, "renormalise": renormalise}
    for n_exponents in range(1, min(2, state.shape[1]) + 1):
        options["n_exponents"] = n_exponents
        exact = lyapunov_definition(step, parameters, state, **options)
        found = lyapunov_exponents(step, parameters, state, **options, backend=backend)
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)
        assert (found.diff(dim=1) <= 0).all()

        few, short = parameters.float(), state.float()
        exact = lyapunov_definition(step, few.double(), short.double(), **options)
        plain = lyapunov_definition(step, few, short, **options) - exact
        found = lyapunov_exponents(step, few, short, **options, backend=backend)
        assert found.dtype == torch.float32
        # The worst point of a second exponent is one whose direction is almost lost: its error
        # is decided by chance, so there the ordinary point is compared.
        measure = torch.Tensor.median if n_exponents > 1 else torch.Tensor.max
        assert measure((found - exact).abs()) <= 4 * measure(plain.abs()) + 1e-7


TABLE = """
0.75 -0.0968 -7.610
0.80 -0.4489 -6.743
0.85 -0.0385 -6.491
0.90 +0.131  -6.490
0.95 +0.204  -6.856
1.00 +0.170  -6.516
1.05 +0.171  -6.365
1.10 +0.037  -6.564
1.20 +0.053  -6.964
1.30 +0.180  -6.733
1.40 +0.169  -6.871
1.45 +0.106  -7.526
1.50 -0.485  -8.934
1.60 -0.636  -9.736
1.80 -0.585  -11.20
2.00 -0.972  -12.23
"""


@pytest.mark.skipif(bool(missing("numba")), reason="the plain path takes minutes")
def test_the_exponents_of_the_chaotic_lstm():
    s, first, total = torch.tensor([float(word) for word in TABLE.split()]).view(-1, 3).T.double()
    found = lyapunov_exponents(LSTM, s[:, None], HALF, burn_in=2000, n_steps=20_000)
    chaos = (first > 0).double()
    assert ((found[:, 0] - first).abs() < 0.01 + 0.01 * chaos).all()
    assert ((found.sum(1) - total).abs() < 0.05).all()
    # Over 20,000 steps the last exponent of one chaotic orbit varies by 0.009 from start to start.
    starts = HALF + 0.01 * torch.randn(32, 4, generator=torch.Generator().manual_seed(0)).double()
    at_one = lyapunov_exponents(
        LSTM, torch.ones(32, 1).double(), starts, burn_in=2000, n_steps=20_000
    ).mean(0)
    torch.testing.assert_close(
        at_one, torch.tensor([0.170, -0.384, -1.679, -4.623]).double(), rtol=0, atol=0.005
    )
    single = lyapunov_exponents(
        LSTM, s[:, None].float(), HALF.float(), burn_in=2000, n_steps=20_000, n_exponents=1
    )
    assert ((single[:, 0] - first).abs() < 0.015 + 0.01 * chaos).all()


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_origin_of_the_lstm(dtype, backend):
    """Its multipliers have |mu|^2 = 2.8125 s^2 - 1.25 s + 0.25; two directions vanish."""
    s = torch.linspace(0.3, 2.0, 30, dtype=dtype)[:, None]
    found = lyapunov_exponents(
        LSTM, s, torch.zeros(4, dtype=dtype), n_steps=1000, n_exponents=4, backend=backend
    )
    expected = 0.5 * (2.8125 * s**2 - 1.25 * s + 0.25).log()
    torch.testing.assert_close(found[:, :2].mean(1, keepdim=True), expected, rtol=0, atol=2e-3)
    torch.testing.assert_close(found[:, :1], expected, rtol=0, atol=5e-3)
    assert found[:, 2:].isneginf().all()


@pytest.mark.parametrize("backend", ["definition", *FAST])
def test_the_exponents_add_up_to_the_volume(backend):
    parameters, state = grid(LSTM, 200)
    found = lyapunov_exponents(LSTM, parameters, state, n_steps=8, backend=backend)
    states = torch.cat([state[None], orbit_definition(LSTM, parameters, state, keep=7)])
    jacobians = torch.stack([LSTM.jacobian(x, parameters) for x in states])
    volume = jacobians.det().abs().log().mean(0)
    lengths = torch.linalg.svdvals(jacobians)
    resolved = (lengths[..., 3] / lengths[..., 0]).amin(0) > 1e-9
    assert resolved.sum() > 150
    torch.testing.assert_close(found.sum(1)[resolved], volume[resolved], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize(("w", "b"), [(2.0, -1.0), (6.0, -3.5), (-3.0, 1.0), (60.0, -1.0)])
def test_the_exponent_at_a_fixed_point_is_the_log_of_the_slope(w, b, backend):
    for point in fixed_points(w, b):
        if point.stable or point.x == 0:
            found = lyapunov_exponents(
                OneUnit(),
                torch.tensor([[w, b]], dtype=torch.float64),
                torch.tensor([point.x], dtype=torch.float64),
                n_steps=50,
                backend=backend,
            )
            assert found.item() == pytest.approx(math.log(abs(point.slope)), rel=1e-9)


@pytest.mark.parametrize("backend", ["definition", "torch"])
@pytest.mark.parametrize("renormalise", [1, 7])
def test_a_linear_map_has_the_logs_of_its_eigenvalues(renormalise, backend):
    basis = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, 1.0]]).double()
    values = torch.tensor([1.5, -0.8, 0.1]).double()
    triangle = values.diag() + torch.tensor([[0.0, 3, -1], [0, 0, 2], [0, 0, 0]]).double()
    scale = torch.tensor([[1.0], [0.5]]).double()
    expected = values.abs().log() + scale.log()
    # Triangular: the first frame is the last, and the result is exact. Otherwise the frame has to
    # turn first, which costs a constant over the number of steps.
    for A, error in ((triangle, 1e-13), (basis @ values.diag() @ basis.inverse(), 3 / 400)):
        found = lyapunov_exponents(
            lambda x, p, A=A: p * (x @ A.T),
            scale,
            torch.zeros(3).double(),
            n_steps=400,
            renormalise=renormalise,
            backend=backend,
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=error)


def test_callables_have_the_exponents_of_the_books():
    x = torch.linspace(0.1, 0.9, 40, dtype=torch.float64)[:, None]
    four = torch.full_like(x, 4.0)
    found = lyapunov_exponents(logistic_map, four, x, burn_in=50, n_steps=500)
    assert found.mean().item() == pytest.approx(math.log(2), abs=3e-3)

    p = torch.tensor([[1.4, 0.3]], dtype=torch.float64).expand(40, -1)
    state = torch.cat([x, x], dim=1) * 0.1
    found = lyapunov_exponents(henon, p, state, burn_in=50, n_steps=500)
    torch.testing.assert_close(found.sum(1), torch.full((40,), 0.3).double().log())
    assert found[:, 0].mean().item() == pytest.approx(0.4192, abs=5e-3)


@pytest.mark.parametrize("backend", ["definition", "torch"])
def test_a_superstable_orbit_has_minus_infinity(backend):
    half = torch.tensor([[0.5]], dtype=torch.float64)
    found = lyapunov_exponents(logistic_map, 4 * half, half, n_steps=3, backend=backend)
    assert found.item() == -math.inf


def test_a_map_may_bring_its_jacobian():
    class Doubling:
        def __call__(self, x, p):
            return (2 * x).frac()

        def jacobian(self, x, p):
            return torch.full((len(x), 1, 1), 2.0, dtype=x.dtype)

    x = torch.full((1, 1), 0.3, dtype=torch.float64)
    assert lyapunov_exponents(Doubling(), x, x, n_steps=5).item() == pytest.approx(math.log(2))
