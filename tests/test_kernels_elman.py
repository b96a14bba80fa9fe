"""The stacked Elman kernel against the loop that defines it, torch.nn.RNN and gradcheck."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlib.checks import ArgumentError
from rnnlib.kernels import elman_definition, elman_ensemble

NONLINEARITIES = ["tanh", "logistic", "linear"]


def problem(R=3, B=4, T=7, H=5, n_in=2, *, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=0.7):
        values = torch.randn(*shape, generator=g, dtype=dtype) * scale
        return values.requires_grad_()

    return draw(R, B, T, n_in), draw(R, H, H), draw(R, H, n_in), draw(R, H), draw(R, B, H)


@pytest.mark.parametrize("f", NONLINEARITIES)
@pytest.mark.parametrize("last", [False, True])
def test_passes_gradcheck_in_every_argument(f, last):
    def run(*args):
        return elman_ensemble(*args, nonlinearity=f, last=last)

    assert torch.autograd.gradcheck(run, problem(R=2, B=2, T=4, H=3))


@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 2, st.integers(1, 9), *[st.integers(1, 6)] * 2),
    f=st.sampled_from(NONLINEARITIES),
)
@settings(deadline=None, max_examples=40)
def test_equals_the_definition_in_values_and_gradients(sizes, f):
    args = problem(*sizes)
    weight = torch.randn_like(elman_definition(*args))
    results = []
    for run in (elman_definition, elman_ensemble):
        states = run(*args, nonlinearity=f)
        grads = torch.autograd.grad((states * weight).sum(), args)
        results.append([states, *grads])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_equals_torch_rnn_for_each_replica():
    u, W, U, b, h0 = (p.detach() for p in problem())
    states = elman_ensemble(u, W, U, b, h0)
    for r in range(len(W)):
        rnn = torch.nn.RNN(U.shape[2], W.shape[1], batch_first=True, dtype=torch.float64)
        with torch.no_grad():
            rnn.weight_hh_l0.copy_(W[r])
            rnn.weight_ih_l0.copy_(U[r])
            rnn.bias_ih_l0.copy_(b[r])
            rnn.bias_hh_l0.zero_()
        expected, _ = rnn(u[r], h0[r][None])
        torch.testing.assert_close(states[r], expected, rtol=1e-12, atol=1e-12)


def test_symbols_are_one_hot_inputs():
    _, W, U, b, _ = problem(n_in=4)
    symbols = torch.randint(0, 4, (3, 4, 7), generator=torch.Generator().manual_seed(1))
    spelt_out = torch.nn.functional.one_hot(symbols, 4).to(W)
    for run in (elman_definition, elman_ensemble):
        assert torch.equal(run(symbols, W, U, b), run(spelt_out, W, U, b))


def test_last_is_the_last_state():
    args = problem()
    states = elman_ensemble(*args)
    assert torch.equal(elman_ensemble(*args, last=True), states[:, :, -1])
    with torch.no_grad():  # a path of its own, which keeps nothing on the way
        lean = elman_ensemble(*args, last=True)
    torch.testing.assert_close(lean, states[:, :, -1], rtol=1e-13, atol=1e-13)


def test_float32_error_is_that_of_the_float32_loop():
    args = [p.detach() for p in problem(R=4, B=20, T=100, H=50)]
    args[1] *= 0.14
    exact = elman_definition(*args)
    single = [p.float() for p in args]
    loop = (elman_definition(*single) - exact).abs().max()
    fast = (elman_ensemble(*single) - exact).abs().max()
    assert fast <= 4 * loop + 1e-7


def test_a_replica_does_not_depend_on_its_batch_mates():
    args = [p.detach().float() for p in problem(R=9, B=20, T=30, H=50)]
    together = elman_ensemble(*args)
    for r in (0, 4, 8):
        alone = elman_ensemble(*(p[r : r + 1] for p in args))
        assert torch.equal(alone[0], together[r])


def test_groups_of_replicas_do_not_change_the_result(monkeypatch):
    args = problem(R=5, B=3, T=6)
    whole = torch.autograd.grad(elman_ensemble(*args).square().sum(), args)
    monkeypatch.setattr("rnnlib.kernels.elman._GROUP_BYTES", 1)
    split = torch.autograd.grad(elman_ensemble(*args).square().sum(), args)
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_explosion_overflows_where_the_loop_overflows():
    u, W, U, b, _ = (p.detach().float() for p in problem(R=2, T=400, H=6))
    W = W * 20
    loop = elman_definition(u, W, U, b, nonlinearity="linear")
    fast = elman_ensemble(u, W, U, b, nonlinearity="linear")
    assert not loop.isfinite().all()
    assert torch.equal(loop.isfinite(), fast.isfinite())


def test_non_contiguous_inputs_and_no_side_effects():
    u, W, U, b, h0 = (p.detach() for p in problem())
    strided = u.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    before = [p.clone() for p in (strided, W, U, b, h0)]
    assert not strided.is_contiguous()
    assert torch.equal(elman_ensemble(strided, W, U, b, h0), elman_ensemble(u, W, U, b, h0))
    assert all(torch.equal(x, y) for x, y in zip(before, (strided, W, U, b, h0), strict=True))


def test_no_steps_leave_the_initial_state():
    u, W, U, b, h0 = problem(T=1)
    empty = u[:, :, :0]
    assert elman_ensemble(empty, W, U, b, h0).shape == (3, 4, 0, 5)
    assert torch.equal(elman_ensemble(empty, W, U, b, h0, last=True), h0)
    (grad,) = torch.autograd.grad(elman_ensemble(empty, W, U, b, h0, last=True).sum(), h0)
    assert torch.equal(grad, torch.ones_like(h0))


@pytest.mark.parametrize("last", [False, True])
def test_an_empty_batch_gives_empty_states_and_zero_gradients(last):
    args = problem(B=0)
    states = elman_ensemble(*args, last=last)
    assert states.shape == ((3, 0, 5) if last else (3, 0, 7, 5))
    assert not any(g.any() for g in torch.autograd.grad(states.sum(), args))
    with torch.no_grad():
        assert elman_ensemble(*args, last=last).shape == states.shape


def test_a_second_derivative_is_refused_and_not_wrong():
    args = problem(R=1, T=3)
    (grad,) = torch.autograd.grad(elman_ensemble(*args).square().sum(), args[1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


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
        ({"W_rec": torch.zeros(0, 5, 5)}, "replicas must be an integer >= 1, got 0"),
        ({"W_rec": torch.zeros(3, 5, 5, dtype=torch.int64)}, "W_rec must have a floating dtype"),
        ({"inputs": torch.zeros(3, 4, 7, 2).double()}, "inputs must be torch.float32 on cpu"),
        ({"inputs": torch.zeros(3, 4, 7, dtype=torch.int32)}, "inputs must be torch.int64 on cpu"),
        ({"initial": torch.zeros(3, 4, 5).double()}, "initial must be torch.float32 on cpu"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    names = ["inputs", "W_rec", "W_in", "b", "initial"]
    args = dict(zip(names, problem(dtype=torch.float32), strict=True)) | change
    with pytest.raises(ArgumentError, match=message):
        elman_ensemble(**args)
