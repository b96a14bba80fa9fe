"""The stacked Elman module against its cells, torch.nn.RNN and the two parametrisations."""

import pytest
import torch

from rnnlib import cells
from rnnlib.checks import ArgumentError
from rnnlib.models import Elman

SIZES = (3, 5, 2)


def build(replicas=2, **options):
    generators = [torch.Generator().manual_seed(r) for r in range(replicas)]
    model = Elman(*SIZES, replicas=replicas, **options).draw_(0.6, generators).double()
    if model.b is not None:
        with torch.no_grad():
            model.b.copy_(torch.randn(replicas, 5, generator=generators[0]))
            model.b_out.copy_(torch.randn(replicas, 2, generator=generators[0]))
    return model


def inputs(replicas=2, batch=4, time=6):
    return torch.randn(replicas, batch, time, 3, dtype=torch.float64)


@pytest.mark.parametrize("name", ["tanh", "logistic", "linear"])
@pytest.mark.parametrize("parametrisation", ["activation", "preactivation"])
@pytest.mark.parametrize("bias", [True, False])
def test_states_follow_the_cell(name, parametrisation, bias):
    model, u = build(nonlinearity=name, parametrisation=parametrisation, bias=bias), inputs()
    step = getattr(cells, f"{parametrisation}_step")
    f = cells.nonlinearity(name)
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    states = model.states(u, x)
    for t in range(u.shape[2]):
        for r in range(2):
            b = model.b[r] if bias else None
            expected = step(x[r], u[r, :, t], model.W_rec[r], model.W_in[r], b, f)
            torch.testing.assert_close(states[r, :, t], expected, rtol=1e-12, atol=1e-12)
        x = states[:, :, t]


def test_parametrisations_agree_when_started_alike():
    outside, inside = build(parametrisation="preactivation"), build(parametrisation="activation")
    u, x0 = inputs(), torch.randn(2, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(
        outside.states(u, x0).tanh(), inside.states(u, x0.tanh()), rtol=0, atol=1e-14
    )


def test_symbols_equal_one_hot_inputs():
    for parametrisation in cells.PARAMETRISATIONS:
        model = build(parametrisation=parametrisation)
        symbols = torch.randint(0, 3, (2, 4, 6))
        spelt_out = torch.nn.functional.one_hot(symbols, 3).double()
        torch.testing.assert_close(model.states(symbols), model.states(spelt_out))


def test_forward_is_read_out_of_states():
    model, u = build(), inputs()
    outputs, last = model(u)
    states = model.states(u)
    expected = torch.einsum("roh,rbth->rbto", model.W_out, states) + model.b_out[:, None, None]
    torch.testing.assert_close(outputs, expected)
    assert torch.equal(last, states[:, :, -1])


def test_carrying_the_state_continues_the_sequence():
    model, u = build(), inputs(time=9)
    whole, _ = model(u)
    first, state = model(u[:, :, :4])
    second, _ = model(u[:, :, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 2), whole, rtol=1e-12, atol=1e-12)


def test_a_replica_starts_the_same_alone_and_in_a_stack():
    stack = Elman(*SIZES, replicas=3).draw_(
        [0.1, 0.2, 0.3], [torch.Generator().manual_seed(s) for s in (5, 6, 7)]
    )
    alone = Elman(*SIZES).draw_(0.2, [torch.Generator().manual_seed(6)])
    for many, one in zip(stack.parameters(), alone.parameters(), strict=True):
        assert torch.equal(many[1], one[0])


def test_select_copies_and_put_returns():
    model = build(3)
    chosen = model.select(torch.tensor([2, 0]))
    assert torch.equal(chosen.W_rec[0], model.W_rec[2])
    with torch.no_grad():
        chosen.W_rec.fill_(7.0)
    assert not (model.W_rec == 7.0).any()
    model.put_(torch.tensor([2, 0]), chosen)
    assert (model.W_rec[[0, 2]] == 7.0).all()
    assert not (model.W_rec[1] == 7.0).any()


@pytest.mark.parametrize(
    ("std", "n_generators", "message"),
    [
        ([0.1, 0.2], 3, "std must hold one entry for each of 3 replicas, got 2"),
        (0.1, 2, "generators must hold one entry for each of 3 replicas, got 2"),
        (0.0, 3, "std must be a finite number > 0, got 0.0"),
    ],
)
def test_bad_draws_are_named(std, n_generators, message):
    generators = [torch.Generator() for _ in range(n_generators)]
    with pytest.raises(ArgumentError, match=message):
        Elman(*SIZES, replicas=3).draw_(std, generators)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be an integer >= 1, got 0"),
        ({"replicas": 0}, "replicas must be an integer >= 1, got 0"),
        ({"nonlinearity": "relu"}, "nonlinearity must be one of"),
        ({"parametrisation": "inside"}, "parametrisation must be one of"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Elman(**{"input_size": 3, "hidden_size": 4, "output_size": 2} | arguments)
