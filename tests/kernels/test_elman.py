"""Every path of the stacked Elman kernel against the loop, torch.nn.RNN and finite differences."""

import importlib.util

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlib.checks import ArgumentError
from rnnlib.kernels import Errors, elman_definition, elman_ensemble

NONLINEARITIES = ["tanh", "logistic", "linear"]
PARAMETRISATIONS = ["activation", "preactivation"]
FAST = ["torch"] + (["numba"] if importlib.util.find_spec("numba") else [])


def problem(R=3, B=4, T=7, H=5, n_in=2, *, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=0.7):
        values = torch.randn(*shape, generator=g, dtype=dtype) * scale
        return values.requires_grad_()

    return draw(R, B, T, n_in), draw(R, H, H), draw(R, H, n_in), draw(R, H), draw(R, B, H)


def plain(*sizes, gain=None, **options):
    """A problem in float32 without gradients; ``gain`` scales W_rec to about that radius."""
    args = [p.detach() for p in problem(*sizes, **options)]
    if gain is not None:
        args[1] *= gain / (0.7 * sizes[3] ** 0.5)
    return args


def gradients(run, args, weight=None, **options):
    leaves = [p.detach().clone().requires_grad_() for p in args]
    states = run(*leaves, **options)
    loss = states.sum() if weight is None else (states * weight.to(states)).sum()
    return [states.detach(), *torch.autograd.grad(loss, leaves)]


def watched(run, args, errors, *, scale=1.0, **options):
    """Fill ``errors`` by a backward pass with a loss at every state asked for."""
    leaves = [p.detach().clone().requires_grad_() for p in args]
    states = run(*leaves, errors=errors, **options)
    weight = torch.linspace(0.5, 1.5, states.numel(), dtype=states.dtype).reshape(states.shape)
    (states * weight * scale).sum().backward()
    return errors


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("f", NONLINEARITIES)
@pytest.mark.parametrize("last", [False, True])
def test_passes_gradcheck_in_every_argument(f, last, parametrisation, backend):
    def run(*args):
        return elman_ensemble(
            *args, nonlinearity=f, parametrisation=parametrisation, last=last, backend=backend
        )

    assert torch.autograd.gradcheck(run, problem(R=2, B=2, T=4, H=3))


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 2, st.integers(1, 9), *[st.integers(1, 9)] * 2),
    f=st.sampled_from(NONLINEARITIES),
    parametrisation=st.sampled_from(PARAMETRISATIONS),
    last=st.booleans(),
    backend=st.sampled_from(FAST),
    data=st.data(),
)
@settings(deadline=None, max_examples=80)
def test_equals_the_definition_in_values_and_gradients(
    sizes, f, parametrisation, last, backend, data
):
    R, _, T, *_ = sizes
    args = problem(*sizes)
    chosen = data.draw(st.none() | st.lists(st.integers(0, T), min_size=R, max_size=R))
    lengths = None if chosen is None else torch.tensor(chosen)
    stopped = torch.tensor(data.draw(st.lists(st.booleans(), min_size=R, max_size=R)))
    options = {
        "nonlinearity": f,
        "parametrisation": parametrisation,
        "last": last,
        "lengths": lengths,
        "stopped": stopped,
    }
    weight = torch.randn_like(elman_definition(*args, **options))
    expected = gradients(elman_definition, args, weight, **options)
    found = gradients(elman_ensemble, args, weight, backend=backend, **options)
    for want, have in zip(expected, found, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-11, atol=1e-11)
    with torch.no_grad():  # a path of its own, which keeps nothing on the way
        lean = elman_ensemble(*args, backend=backend, **options)
    torch.testing.assert_close(lean, expected[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", FAST)
def test_equals_torch_rnn_for_each_replica(backend):
    u, W, U, b, h0 = plain()
    states = elman_ensemble(u, W, U, b, h0, backend=backend)
    for r in range(len(W)):
        rnn = torch.nn.RNN(U.shape[2], W.shape[1], batch_first=True, dtype=torch.float64)
        with torch.no_grad():
            rnn.weight_hh_l0.copy_(W[r])
            rnn.weight_ih_l0.copy_(U[r])
            rnn.bias_ih_l0.copy_(b[r])
            rnn.bias_hh_l0.zero_()
        expected, _ = rnn(u[r], h0[r][None])
        torch.testing.assert_close(states[r], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["definition", *FAST])
def test_symbols_are_one_hot_inputs(backend):
    args = plain(n_in=4)
    symbols = torch.randint(0, 4, (3, 4, 7), generator=torch.Generator().manual_seed(1))
    spelt_out = torch.nn.functional.one_hot(symbols, 4).to(args[1])
    found = gradients(lambda *w: elman_ensemble(symbols, *w, backend=backend), args[1:])
    expected = gradients(lambda *w: elman_ensemble(spelt_out, *w, backend=backend), args[1:])
    assert torch.equal(found[0], expected[0])
    for want, have in zip(expected, found, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", FAST)
def test_a_length_is_a_shorter_run(backend):
    args = problem(T=9)
    lengths = torch.tensor([9, 4, 0])
    states, d_inputs, *_ = gradients(elman_ensemble, args, lengths=lengths, backend=backend)
    for r, n in enumerate(lengths.tolist()):
        one = [p[r : r + 1] for p in args]
        alone = elman_ensemble(one[0][:, :, :n], *one[1:], backend=backend)
        torch.testing.assert_close(states[r, :, :n], alone[0].detach(), rtol=1e-13, atol=1e-13)
        assert not states[r, :, n:].any()
        assert not d_inputs[r, :, n:].any()
        assert n == 0 or d_inputs[r, :, :n].any()


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
def test_a_stopped_replica_takes_no_step(backend, parametrisation):
    args = problem()
    stopped = torch.tensor([False, True, False])
    options = {"parametrisation": parametrisation, "backend": backend, "last": True}
    found = gradients(elman_ensemble, args, stopped=stopped, **options)
    running = gradients(elman_ensemble, args, **options)
    assert torch.equal(found[0][1], args[4][1])
    assert torch.equal(found[0][0], running[0][0])
    assert not any(g[1].any() for g in found[1:5])
    assert all(g[0].any() for g in found[1:])


def worst(found, exact):
    return float((found - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("gain", [0.1, 1.0, 1.5])
@pytest.mark.parametrize("f", ["tanh", "logistic"])
def test_float32_error_is_that_of_the_float32_loop(backend, f, gain):
    """The protocol's bound at H = 50 and T = 100, for values and gradients.

    Its constant is 4 for the compiled path and 8 for torch's, which sums more terms at a time.
    At gain 1.5 a tanh network is chaotic: rounding grows by itself, so T is 10 there.
    """
    args = plain(4, 20, 10 if gain > 1 else 100, 50, gain=gain)
    exact = gradients(elman_definition, args, nonlinearity=f)
    single = [p.float() for p in args]
    loop = gradients(elman_definition, single, nonlinearity=f)
    fast = gradients(elman_ensemble, single, nonlinearity=f, backend=backend)
    for reference, slow, quick in zip(exact, loop, fast, strict=True):
        bound = (4 if backend == "numba" else 8) * worst(slow, reference) + 1e-7
        assert worst(quick, reference) <= bound


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("B", "T", "H", "n_in"),
    [(1, 1, 1, 1), (1, 40, 50, 2), (3, 5, 63, 2), (5, 5, 65, 20), (2, 3, 130, 1), (7, 2, 16, 16)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odd_sizes(B, T, H, n_in, dtype, backend):
    args = plain(2, B, T, H, n_in, gain=0.9)
    exact = gradients(elman_definition, args)
    given = [p.to(dtype) for p in args]
    loop = gradients(elman_definition, given)
    fast = gradients(elman_ensemble, given, backend=backend)
    rounding = 1e-7 if dtype == torch.float32 else 1e-14
    for reference, slow, quick in zip(exact, loop, fast, strict=True):
        assert worst(quick, reference) <= 4 * worst(slow, reference) + rounding


@pytest.mark.parametrize("backend", FAST)
def test_a_long_sequence(backend):
    args = plain(1, 1, 65_536, 2, gain=0.9)
    with torch.no_grad():
        exact = elman_definition(*args, last=True)
    found, d_inputs, *_ = gradients(elman_ensemble, args, last=True, backend=backend)
    torch.testing.assert_close(found, exact, rtol=1e-11, atol=1e-11)
    # What lies 200 steps back has vanished: the end of the sequence alone has the same gradient.
    with torch.no_grad():
        before = elman_ensemble(args[0][:, :, :-200], *args[1:], last=True, backend=backend)
    tail = [args[0][:, :, -200:], *args[1:4], before]
    _, d_tail, *_ = gradients(elman_definition, tail, last=True)
    torch.testing.assert_close(d_inputs[:, :, -200:], d_tail, rtol=1e-10, atol=1e-12)
    assert d_inputs.isfinite().all()


@pytest.mark.skipif("numba" not in FAST, reason="numba is not installed")
@pytest.mark.parametrize(("B", "H"), [(1, 1), (20, 50), (3, 65)])
def test_a_replica_does_not_depend_on_its_place_or_company(B, H):
    """Bit for bit, states, gradients and what Errors saw; also when two threads share the work."""
    args = [p.float() for p in plain(9, B, 12, H, gain=1.0)]
    seen = Errors("squared")
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    together = gradients(elman_ensemble, args, backend="numba", errors=seen)
    shuffled = gradients(elman_ensemble, [p[order] for p in args], backend="numba")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared = gradients(elman_ensemble, args, backend="numba")
    finally:
        torch.set_num_threads(threads)
    for a, b, c in zip(together, shuffled, shared, strict=True):
        assert torch.equal(a[order], b)
        assert torch.equal(a, c)
    for r in (0, 4, 8):
        own = Errors("squared")
        one = [p[r : r + 1] for p in args]
        alone = gradients(elman_ensemble, one, backend="numba", errors=own)
        assert all(torch.equal(a[r], b[0]) for a, b in zip(together, alone, strict=True))
        assert torch.equal(own.omega_gradient[0], seen.omega_gradient[r])
        assert torch.equal(own.norms[0], seen.norms[r])


def test_the_torch_path_keeps_replicas_apart_at_the_books_size():
    args = [p.float() for p in plain(9, 20, 30, 50)]
    together = elman_ensemble(*args, backend="torch")
    for r in (0, 4, 8):
        alone = elman_ensemble(*(p[r : r + 1] for p in args), backend="torch")
        assert torch.equal(alone[0], together[r])


def test_groups_of_replicas_do_not_change_the_result(monkeypatch):
    args = problem(R=5, B=3, T=6)
    whole = gradients(elman_ensemble, args, backend="torch")
    monkeypatch.setattr("rnnlib.kernels.elman_torch._GROUP_BYTES", 1)
    split = gradients(elman_ensemble, args, backend="torch")
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("backend", FAST)
def test_the_same_bits_again(backend):
    args = [p.float() for p in plain()]
    first, second = (gradients(elman_ensemble, args, backend=backend) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("backend", FAST)
def test_explosion_overflows_where_the_loop_overflows(backend):
    """Linear networks of radius 5: states and gradients pass the largest float32 within 60 steps.

    In the one step that overflows, whether a sum is inf or still finite depends on the order of
    its terms, for the loop as well; before it all must be finite, after it none may be.
    """
    args = [p.float() for p in plain(2, 3, 100, 6, gain=5.0)]
    exact = elman_definition(*(p.double() for p in args), nonlinearity="linear")
    loop = elman_definition(*args, nonlinearity="linear")
    fast = elman_ensemble(*args, nonlinearity="linear", backend=backend)
    size = exact.abs().amax(3, keepdim=True).expand_as(exact)
    limit = torch.finfo(torch.float32).max
    below, above = size < limit / 30, size > limit * 30
    assert below.any()
    assert above.any()
    for states in (loop, fast):
        assert states[below].isfinite().all()
        assert not states[above].isfinite().any()
    assert torch.equal(loop[above].isnan(), fast[above].isnan())
    _, d_loop, *_ = gradients(elman_definition, args, nonlinearity="linear", last=True)
    _, d_fast, *_ = gradients(elman_ensemble, args, nonlinearity="linear", last=True)
    assert not d_loop[:, :, 0].isfinite().any()
    assert torch.equal(d_loop.isfinite(), d_fast.isfinite())


@pytest.mark.parametrize("backend", FAST)
def test_vanishing_runs_into_denormals_and_zero(backend):
    args = [p.float() for p in plain(2, 3, 120, 6, gain=0.3)]
    _, d_loop, *_ = gradients(elman_definition, args, last=True)
    _, d_fast, *_ = gradients(elman_ensemble, args, last=True, backend=backend)
    tiny = torch.finfo(torch.float32).tiny
    assert ((d_loop != 0) & (d_loop.abs() < tiny)).any()
    assert not d_loop[:, :, 0].any()
    difference, size = (d_fast - d_loop).norm(dim=-1), d_loop.norm(dim=-1)
    assert (difference <= 1e-4 * size + tiny).all()
    assert not d_fast[:, :, 0].any()


@pytest.mark.parametrize("backend", FAST)
def test_a_diverged_replica_harms_nobody(backend):
    args = [p.float() for p in plain()]
    healthy = gradients(elman_ensemble, args, backend=backend)
    args[1][1] = float("nan")
    found = gradients(elman_ensemble, args, backend=backend)
    for a, b in zip(healthy, found, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
    assert found[0][1].isnan().all()


@pytest.mark.parametrize("backend", FAST)
def test_non_contiguous_and_expanded_inputs_and_no_side_effects(backend):
    u, W, U, b, h0 = plain()
    strided = u.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    shared = b[:1].expand_as(b)
    before = [p.clone() for p in (strided, W, U, shared, h0)]
    assert not strided.is_contiguous()
    found = gradients(elman_ensemble, (strided, W, U, shared, h0), backend=backend)
    expected = gradients(elman_ensemble, (u, W, U, shared.clone(), h0), backend=backend)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))
    after = (strided, W, U, shared, h0)
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize("backend", FAST)
def test_no_steps_leave_the_initial_state(backend):
    u, W, U, b, h0 = problem(T=1)
    empty = u[:, :, :0]
    assert elman_ensemble(empty, W, U, b, h0, backend=backend).shape == (3, 4, 0, 5)
    final = elman_ensemble(empty, W, U, b, h0, last=True, backend=backend)
    assert torch.equal(final, h0)
    (grad,) = torch.autograd.grad(final.sum(), h0)
    assert torch.equal(grad, torch.ones_like(h0))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("last", [False, True])
def test_an_empty_batch_gives_empty_states_and_zero_gradients(last, backend):
    args = problem(B=0)
    states = elman_ensemble(*args, last=last, backend=backend)
    assert states.shape == ((3, 0, 5) if last else (3, 0, 7, 5))
    assert not any(g.any() for g in torch.autograd.grad(states.sum(), args))
    with torch.no_grad():
        assert elman_ensemble(*args, last=last, backend=backend).shape == states.shape


@pytest.mark.parametrize("backend", FAST)
def test_a_second_derivative_is_refused_and_not_wrong(backend):
    args = problem(R=1, T=3)
    states = elman_ensemble(*args, backend=backend)
    (grad,) = torch.autograd.grad(states.square().sum(), args[1], create_graph=True)
    with pytest.raises(RuntimeError, match='use backend="definition" for second'):
        grad.sum().backward()


def test_the_definition_can_be_asked_for_and_is_differentiable_twice():
    args = problem(R=1, B=2, T=3, H=2)

    def run(W):
        return elman_ensemble(args[0], W, *args[2:], backend="definition")

    assert torch.autograd.gradgradcheck(run, args[1])


# --- what a backward pass sees -------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize(
    ("parametrisation", "regulariser", "omega", "norm", "first_row"),
    [
        (
            "preactivation",
            "squared",
            0.5512700291,
            1.3331046950,
            (0.0304209105, 0.1572831913, 0.0356965037),
        ),
        (
            "activation",
            "squared",
            0.5837317172,
            1.1045194200,
            (-0.0020927626, 0.0777327008, 0.0987316060),
        ),
        (
            "preactivation",
            "unsquared",
            0.2425871687,
            0.8713182276,
            (0.0198831299, 0.1028004117, 0.0233312615),
        ),
        (
            "activation",
            "unsquared",
            0.2644281185,
            0.7651666612,
            (-0.0014497818, 0.0538500909, 0.0683972884),
        ),
    ],
)
def test_omega_of_three_units_by_hand(
    parametrisation, regulariser, omega, norm, first_row, backend
):
    """Values computed apart from this library, to ten digits."""
    i = torch.arange(3, dtype=torch.float64)
    W = (0.6 * torch.sin(1 + 1.7 * i[:, None] + 0.9 * i))[None].requires_grad_()
    delta, x = torch.sin(3.3 + 0.9 * i), torch.sin(5.6 + 0.9 * i)
    u, U = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 3, 1, dtype=torch.float64)
    pre = parametrisation == "preactivation"
    # The slope that counts is that of x_0 in the one form and of h_1 = tanh(b) in the other.
    initial = x[None, None] if pre else torch.zeros(1, 1, 3, dtype=torch.float64)
    b = torch.zeros(1, 3, dtype=torch.float64) if pre else x[None]
    seen = Errors(regulariser)
    options = {"parametrisation": parametrisation, "backend": backend, "errors": seen}
    states = elman_ensemble(u, W, U, b, initial, last=True, **options)
    (states * delta).sum().backward()
    assert float(seen.omega) == pytest.approx(omega, abs=1e-9)
    assert float(seen.omega_gradient.norm()) == pytest.approx(norm, abs=1e-9)
    assert seen.omega_gradient[0, 0].tolist() == pytest.approx(first_row, abs=1e-9)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("regulariser", ["squared", "unsquared"])
@pytest.mark.parametrize("f", NONLINEARITIES)
@pytest.mark.parametrize("last", [False, True])
def test_errors_equal_the_definitions(f, regulariser, parametrisation, last, backend):
    args = problem(R=4, B=3, T=8)
    options = {
        "nonlinearity": f,
        "parametrisation": parametrisation,
        "last": last,
        "lengths": torch.tensor([8, 5, 0, 1]),
    }
    expected = watched(elman_definition, args, Errors(regulariser), **options)
    found = watched(elman_ensemble, args, Errors(regulariser), backend=backend, **options)
    for name in ("norms", "carried", "omega", "active", "omega_gradient"):
        want, have = getattr(expected, name), getattr(found, name)
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-12, msg=name)
    assert found.active.tolist() == [24, 15, 0, 3]


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
def test_norms_are_those_of_autograd(parametrisation, backend):
    u, W, U, b, h0 = problem()
    f, states = torch.tanh, [h0]
    for t in range(u.shape[2]):
        before = f(states[-1]) if parametrisation == "preactivation" else states[-1]
        a = torch.einsum("rij,rbj->rbi", W, before) + u[:, :, t] @ U.mT + b[:, None]
        states.append(a if parametrisation == "preactivation" else f(a))
    stack = torch.stack(states[1:], 2)
    weight = torch.linspace(0.5, 1.5, stack.numel(), dtype=stack.dtype).reshape(stack.shape)
    deltas = torch.autograd.grad((stack * weight).sum(), states)
    expected = torch.stack([delta.norm(dim=-1) for delta in deltas], 2)
    args = (u, W, U, b, h0)
    options = {"parametrisation": parametrisation, "backend": backend}
    seen = watched(elman_ensemble, args, Errors(), **options)
    torch.testing.assert_close(seen.norms, expected, rtol=1e-12, atol=1e-12)
    assert seen.omega is None
    direct = torch.cat([torch.zeros_like(weight[:, :, :1]), weight], 2)
    through = torch.stack(deltas, 2) - direct  # what did not come from the loss at that step
    torch.testing.assert_close(
        seen.carried, through[:, :, :-1].norm(dim=-1), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("regulariser", ["squared", "unsquared"])
def test_the_immediate_derivative_by_finite_differences(regulariser, parametrisation, backend):
    """Move only the W_rec in the Jacobian; errors, states and slopes stay where they were."""
    R, B, T, H = 2, 3, 6, 4
    u, W, U, b, h0 = plain(R, B, T, H)
    options = {"parametrisation": parametrisation, "backend": backend, "last": True}
    seen = watched(elman_ensemble, (u, W, U, b, h0), Errors(regulariser), **options)
    pre = parametrisation == "preactivation"
    with torch.no_grad():
        states = [h0, *elman_ensemble(u, W, U, b, h0, parametrisation=parametrisation).unbind(2)]
    activations = [s.tanh() if pre else s for s in states]
    weight = torch.linspace(0.5, 1.5, R * B * H, dtype=W.dtype).reshape(R, B, H)

    def carry(delta, W, k):
        slopes = [1 - h * h for h in activations]
        return (delta @ W) * slopes[k] if pre else (delta * slopes[k + 1]) @ W

    deltas = [weight]
    for k in reversed(range(T)):
        deltas.insert(0, carry(deltas[0], W, k))

    def omega(moved):
        total = 0
        for k in range(T):
            ratio = carry(deltas[k + 1], moved, k).norm(dim=-1) / deltas[k + 1].norm(dim=-1)
            total = total + (ratio ** (2 if regulariser == "squared" else 1) - 1) ** 2
        return total.mean(1) / T

    torch.testing.assert_close(seen.omega, omega(W), rtol=1e-11, atol=0)
    step = 1e-6
    for i in range(H):
        for j in range(H):
            up, down = W.clone(), W.clone()
            up[:, i, j] += step
            down[:, i, j] -= step
            slope = (omega(up) - omega(down)) / (2 * step)
            torch.testing.assert_close(seen.omega_gradient[:, i, j], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("backend", ["definition", *FAST])
def test_omega_of_an_orthogonal_linear_network_is_zero(backend):
    args = plain()
    args[1] = torch.linalg.qr(args[1]).Q
    for regulariser in ("squared", "unsquared"):
        seen = Errors(regulariser)
        watched(elman_ensemble, args, seen, nonlinearity="linear", last=True, backend=backend)
        assert seen.omega.abs().max() < 1e-25
        assert seen.omega_gradient.abs().max() < 1e-13


@pytest.mark.parametrize("backend", ["definition", *FAST])
def test_vanished_errors_do_not_count(backend):
    """Absolutely by default, as in the authors' program; by the sequence's own largest on request.

    Errors fall about tenfold a step here, so their squares pass 1e-20 after ten steps.
    """
    args = plain(2, 3, 20, 5, gain=0.1)

    def active(scale, **options):
        leaves = [p.clone().requires_grad_() for p in args]
        seen = Errors("squared", **options)
        states = elman_ensemble(*leaves, last=True, errors=seen, backend=backend)
        (states.sum() * scale).backward()
        return seen

    plainly, scaled = active(1.0), active(1e-6)
    assert (scaled.active < plainly.active).all()
    assert (plainly.active < 3 * 20).all()
    plainly, scaled = active(1.0, relative=True), active(1e-6, relative=True)
    assert torch.equal(scaled.active, plainly.active)
    torch.testing.assert_close(scaled.omega, plainly.omega)
    torch.testing.assert_close(scaled.omega_gradient, plainly.omega_gradient)
    assert torch.equal(active(1.0, vanished=0.0).active, torch.full((2,), 60.0).double())
    for options in ({}, {"relative": True}, {"vanished": 0.0}):
        nothing = active(0.0, **options)
        assert not any(t.any() for t in (nothing.active, nothing.omega, nothing.omega_gradient))


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("regulariser", ["squared", "unsquared"])
def test_omega_in_float32_does_not_depend_on_the_scale_of_the_loss(
    regulariser, parametrisation, backend
):
    """Against float64 at scale 1. The factor of the derivative alone is up to 1e70 here."""
    args = [p.float() for p in plain(2, 3, 12, 5, gain=1.0)]
    options = {"parametrisation": parametrisation, "last": True}
    exact = Errors(regulariser, relative=True)
    watched(elman_definition, [p.double() for p in args], exact, **options)
    assert 1e-5 < exact.norms.min() < 0.1 * exact.norms.max() < 1
    for exponent in range(-30, 31, 5):
        seen = Errors(regulariser, relative=True)
        watched(elman_ensemble, args, seen, scale=10.0**exponent, backend=backend, **options)
        assert torch.equal(seen.active, exact.active)
        torch.testing.assert_close(seen.omega, exact.omega, rtol=1e-5, atol=0)
        assert worst(seen.omega_gradient, exact.omega_gradient) < 1e-5, exponent


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize(
    ("regulariser", "gain", "scale", "rounding"),
    [("squared", 20.0, 1e-36, 1e-5), ("unsquared", 1e-40, 1.0, 1e-2)],
)
def test_omega_of_errors_that_one_step_lifts_or_sinks(regulariser, gain, scale, rounding, backend):
    """Right up to where float32 ends: n/m is 20 from 1e-36 on, or 1e-40, a denormal number."""
    args = [p.float() for p in plain(2, 3, 1, 5, gain=gain)]
    options = {"nonlinearity": "linear", "last": True, "scale": scale}
    exact, seen = (Errors(regulariser, relative=True) for _ in range(2))
    watched(elman_definition, [p.double() for p in args], exact, **options)
    watched(elman_ensemble, args, seen, backend=backend, **options)
    assert exact.omega_gradient.abs().max() > 0.1
    torch.testing.assert_close(seen.omega, exact.omega, rtol=1e-5, atol=0)
    assert worst(seen.omega_gradient, exact.omega_gradient) < rounding


@pytest.mark.parametrize("backend", ["definition", *FAST])
@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_the_relative_bound_is_that_of_the_largest_error_met_so_far(backend, gain):
    """Errors that fall pass it; those that grow do not, however small they were at first."""
    args = plain(2, 3, 20, 5, gain=gain)
    watch = Errors("squared", vanished=1e-6, relative=True)
    seen = watched(elman_ensemble, args, watch, nonlinearity="linear", last=True, backend=backend)
    m2 = seen.norms[:, :, 1:].square().flip(2)  # from the last step back
    alive = m2 >= 1e-6 * m2.cummax(2).values
    assert torch.equal(seen.active, alive.sum((1, 2)).double())
    if gain < 1:
        assert not alive.all(2).any()
    else:
        assert alive.all()
        assert (m2 < 1e-6 * m2.amax(2, keepdim=True)).any()


@pytest.mark.parametrize("backend", FAST)
def test_norms_of_float32_errors_far_below_their_squares(backend):
    """|delta| near 1e-30 squares to 1e-60, which float32 does not have."""
    args = [p.float() for p in plain(1, 2, 12, 5, gain=0.3)]
    leaves = [p.clone().requires_grad_() for p in args]
    seen = Errors()
    states = elman_ensemble(*leaves, last=True, errors=seen, backend=backend)
    (states * 1e-28).sum().backward()
    exact = Errors()
    leaves = [p.double().requires_grad_() for p in args]
    (elman_definition(*leaves, last=True, errors=exact) * 1e-28).sum().backward()
    assert exact.norms.max() < 1e-26
    torch.testing.assert_close(seen.norms, exact.norms, rtol=1e-4, atol=0)


def test_watching_changes_no_gradient():
    args = plain()
    for backend in FAST:
        bare = gradients(elman_ensemble, args, backend=backend)
        seen = gradients(elman_ensemble, args, backend=backend, errors=Errors("squared"))
        assert all(torch.equal(a, b) for a, b in zip(bare, seen, strict=True))


# --- as part of torch ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("last", [False, True])
def test_torch_func(backend, last):
    """grad, and vmap over any of the arguments: a mapped axis is more replicas."""
    u, W, U, b, h0 = plain()

    def loss(W, u):
        return elman_ensemble(u, W, U, b, h0, last=last, backend=backend).square().sum()

    expected = torch.func.grad(
        lambda W, u: (
            elman_definition(u, W, U, b, h0)[:, :, -1 if last else slice(None)].square().sum()
        )
    )(W, u)
    torch.testing.assert_close(torch.func.grad(loss)(W, u), expected)
    many = torch.stack([W, 0.5 * W])
    mapped = torch.func.vmap(torch.func.grad(loss), (0, None))(many, u)
    one_by_one = torch.stack([torch.func.grad(loss)(each, u) for each in many])
    torch.testing.assert_close(mapped, one_by_one)
    values = torch.func.vmap(
        lambda u: elman_ensemble(u, W, U, b, h0, last=last, backend=backend), 3, 0
    )(torch.stack([u, -u], 3))
    torch.testing.assert_close(
        values[1], elman_ensemble(-u, W, U, b, h0, last=last, backend=backend)
    )


@pytest.mark.parametrize("backend", FAST)
def test_torch_compile_leaves_the_result_as_it_is(backend):
    args = plain()

    def loss(*args):
        states = elman_ensemble(*args, last=True, backend=backend)
        return (2 * states).square()

    compiled = torch.compile(loss, backend="aot_eager")
    for a, b in zip(gradients(loss, args), gradients(compiled, args), strict=True):
        torch.testing.assert_close(a, b)


# --- errors of the user --------------------------------------------------------------------------


@pytest.mark.parametrize("run", [elman_definition, elman_ensemble])
@pytest.mark.parametrize("bad", [-1, 4])
def test_symbols_outside_the_inputs_are_named(run, bad):
    _, W, U, b, _ = problem(n_in=4)
    symbols = torch.zeros(3, 4, 7, dtype=torch.int64)
    symbols[1, 2, 3] = bad
    with pytest.raises(ArgumentError, match="inputs must hold symbols from 0 to 3, got"):
        run(symbols, W, U, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W_rec": torch.zeros(3, 5, 4)}, "W_rec must have shape"),
        ({"W_in": torch.zeros(2, 5, 2)}, "W_in must have shape"),
        ({"b": torch.zeros(3, 4)}, "b must have shape"),
        ({"inputs": torch.zeros(3, 4, 7, 9)}, "inputs must have shape"),
        ({"initial": torch.zeros(3, 1, 5)}, "initial must have shape"),
        ({"nonlinearity": "tahn"}, "did you mean 'tanh'"),
        ({"parametrisation": "activations"}, "did you mean 'activation'"),
        ({"W_rec": torch.zeros(0, 5, 5)}, "replicas must be an integer >= 1, got 0"),
        ({"W_rec": torch.zeros(3, 5, 5, dtype=torch.int64)}, "W_rec must have a floating dtype"),
        ({"inputs": torch.zeros(3, 4, 7, 2).double()}, "inputs must be torch.float32 on cpu"),
        ({"inputs": torch.zeros(3, 4, 7, dtype=torch.int32)}, "inputs must be torch.int64 on cpu"),
        ({"initial": torch.zeros(3, 4, 5).double()}, "initial must be torch.float32 on cpu"),
        ({"lengths": torch.tensor([1, 8, 2])}, "lengths must hold lengths from 0 to 7, got 1 to 8"),
        ({"lengths": torch.tensor([1, 2])}, "lengths must have shape"),
        ({"lengths": torch.tensor([1.0, 2, 3])}, "lengths must be torch.int64"),
        ({"stopped": torch.tensor([0, 1, 0])}, "stopped must be torch.bool"),
        ({"backend": "nubma"}, "did you mean 'numba'"),
        ({"backend": "triton"}, "backend must be usable here, got 'triton'"),
    ],
)
def test_wrong_arguments_are_named(change, message, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    names = ["inputs", "W_rec", "W_in", "b", "initial"]
    args = dict(zip(names, problem(dtype=torch.float32), strict=True)) | change
    with pytest.raises(ArgumentError, match=message):
        elman_ensemble(**args)


@pytest.mark.skipif("numba" not in FAST, reason="numba is not installed")
def test_a_dtype_that_only_torch_takes():
    args = [p.bfloat16() for p in plain()]
    with pytest.raises(ArgumentError, match=r"got 'numba': it takes torch.float32, torch.float64"):
        elman_ensemble(*args, backend="numba")
    assert elman_ensemble(*args).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regulariser": "square"}, "did you mean 'squared'"),
        ({"vanished": -1.0}, "vanished must be a number >= 0"),
        ({"vanished": float("nan")}, "vanished must be a number >= 0"),
    ],
)
def test_wrong_arguments_of_errors_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Errors(**arguments)


def test_errors_cannot_be_filled_under_vmap():
    u, W, U, *_ = plain()
    with pytest.raises(ArgumentError, match="errors must be None under"):
        torch.func.vmap(lambda u: elman_ensemble(u, W, U, errors=Errors()))(u[None])
