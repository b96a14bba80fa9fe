"""The mathematics of backward.js agrees with rnnlib and with numbers of the specification."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnlib import init
from rnnlib.kernels import Errors, elman_ensemble
from rnnlib.widgets import Backward, backward_picture

JavaScript = Callable[[list[list[Any]]], list[Any]]
Net = dict[str, list[float]]

CORNERS = [(radius, gain) for radius in (0.2, 0.9, 2.0) for gain in (0.25, 1.0, 1.5)]


@pytest.fixture(scope="module")
def javascript(module_in_node: Callable[[str], JavaScript]) -> JavaScript:
    return module_in_node("backward")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1311)


def tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def normal(generator: torch.Generator, *size: int) -> Tensor:
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def spelt(W: Tensor, U: Tensor, u: Tensor, error: Tensor) -> Net:
    """A network as backward.js takes it: each matrix row by row in one list."""
    return {
        name: value.flatten().tolist()
        for name, value in (("W", W), ("U", U), ("u", u), ("error", error))
    }


def close(found: Any, expected: Tensor) -> None:
    """To a millionth of the largest entry."""
    found = tensor(found).reshape(expected.shape)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def by_definition(
    W: Tensor, U: Tensor, u: Tensor, error: Tensor, gain: float
) -> tuple[Tensor, Errors]:
    """States and errors by rnnlib's plain loop and automatic differentiation."""
    errors = Errors("squared")
    recurrent = (gain * W)[None].requires_grad_()
    states = elman_ensemble(
        u[None, None], recurrent, gain * U[None], errors=errors, backend="definition"
    )
    (states[0, 0, -1] @ error).backward()
    return states.detach()[0, 0], errors


def compare(found: dict[str, Any], errors: Errors, gain: float) -> None:
    assert errors.norms is not None
    assert errors.omega is not None
    assert errors.active is not None
    assert errors.omega_gradient is not None
    norms = errors.norms[0, 0].flip(0)
    # Each norm to a millionth of itself, however small.
    torch.testing.assert_close(tensor(found["norms"]), norms, rtol=1e-6, atol=0)
    assert found["omega"] == pytest.approx(errors.omega.item(), rel=1e-6)
    assert found["active"] == errors.active.item()
    # Omega depends on gain W: the chain rule brings the gain down once.
    close(found["gradient"], gain * errors.omega_gradient[0])


@pytest.mark.parametrize(("radius", "gain"), CORNERS)
def test_errors_and_omega_equal_rnnlib(javascript: JavaScript, radius: float, gain: float) -> None:
    seeds = [1, 2, 3, 50, 100]
    nets = javascript([["network", seed, radius] for seed in seeds])
    states = javascript([["states", net, gain] for net in nets])
    found = javascript([["backward", net, gain] for net in nets])
    for net, h, seen in zip(nets, states, found, strict=True):
        W, U = tensor(net["W"]).reshape(12, 12), tensor(net["U"]).reshape(12, 2)
        u, error = tensor(net["u"]).reshape(60, 2), tensor(net["error"])
        expected, errors = by_definition(W, U, u, error, gain)
        close(h, expected)
        compare(seen, errors, gain)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1, 7), (5, 3, 20), (12, 2, 60), (20, 4, 33)])
def test_networks_of_any_size_equal_rnnlib(
    javascript: JavaScript, generator: torch.Generator, sizes: tuple[int, int, int]
) -> None:
    n, m, steps = sizes
    for gain in (0.3, 1.0, 1.4):
        W, U = normal(generator, n, n) / n**0.5, normal(generator, n, m)
        u, error = normal(generator, steps, m), 3 * normal(generator, n)
        (seen,) = javascript([["backward", spelt(W, U, u, error), gain]])
        compare(seen, by_definition(W, U, u, error, gain)[1], gain)


def test_values_of_the_specification(javascript: JavaScript) -> None:
    """Section 5.3, standard parametrisation, squared: one step from the state zero."""
    i = torch.arange(3, dtype=torch.float64)
    W = 0.6 * (1 + 1.7 * i[:, None] + 0.9 * i).sin()
    error, x = (3.3 + 0.9 * i).sin(), (5.6 + 0.9 * i).sin()
    net = spelt(W, torch.eye(3, dtype=torch.float64), x, error)
    (seen,) = javascript([["backward", net, 1]])
    gradient = tensor(seen["gradient"]).reshape(3, 3)
    assert seen["norms"][1] / seen["norms"][0] == pytest.approx(0.4857742534, rel=1e-9)
    assert seen["omega"] == pytest.approx(0.5837317172, rel=1e-9)
    assert float(gradient.norm()) == pytest.approx(1.1045194200, rel=1e-9)
    row = [-0.0020927626, 0.0777327008, 0.0987316060]
    assert gradient[0].tolist() == pytest.approx(row, abs=1e-10)


def test_omega_vanishes_for_an_orthogonal_network_at_rest(
    javascript: JavaScript, generator: torch.Generator
) -> None:
    Q = init.orthogonal(6, generator=generator, dtype=torch.float64)
    at_rest = torch.zeros(30, 1, dtype=torch.float64)
    net = spelt(Q, normal(generator, 6, 1), at_rest, normal(generator, 6))
    held, halved = javascript([["backward", net, 1], ["backward", net, 0.5]])
    assert held["omega"] == pytest.approx(0, abs=1e-25)
    assert max(map(abs, held["gradient"])) < 1e-12
    assert held["norms"] == pytest.approx([held["norms"][0]] * 31, rel=1e-12)
    # A gain of one half halves the error at each step, and Omega_k = (1/4 - 1)^2.
    assert halved["omega"] == pytest.approx(0.5625, rel=1e-12)
    assert halved["norms"][30] == pytest.approx(held["norms"][0] / 2**30, rel=1e-9)


def test_a_vanished_error_counts_no_more(javascript: JavaScript) -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    net = spelt(1e-4 * one, one, torch.zeros(9, 1, dtype=torch.float64), one[0])
    (seen,) = javascript([["backward", net, 1]])
    # Norms 1, 1e-4, 1e-8, 1e-12: the fourth has a square below 1e-20.
    assert seen["active"] == 3
    assert seen["omega"] == pytest.approx((1e-8 - 1) ** 2, rel=1e-12)


def test_both_languages_draw_the_same_networks(javascript: JavaScript) -> None:
    (numbers,) = javascript([["draws", 7, 5000]])
    source = backward_picture.draws(7)
    assert numbers == [next(source) for _ in range(5000)]
    assert min(numbers) < -0.99
    assert max(numbers) > 0.99
    assert sum(numbers) / 5000 == pytest.approx(0, abs=4 / math.sqrt(3 * 5000))
    for seed, radius in ((1, 0.2), (1, 2.0), (2, 0.9), (100, 1.1)):
        (net,) = javascript([["network", seed, radius]])
        expected = backward_picture.network(seed, radius)
        for name, value in zip(("W", "U", "u", "error"), expected, strict=True):
            close(net[name], value)
        assert float(init.spectral_radius(expected.W)) == pytest.approx(radius)
        assert float(expected.error.norm()) == pytest.approx(1)


def test_spectral_radius_equals_rnnlib(javascript: JavaScript, generator: torch.Generator) -> None:
    turn = tensor([[0.6, -0.8], [0.8, 0.6]])
    matrices = [
        *(normal(generator, n, n) for n in (1, 2, 3, 5, 12, 12, 12, 20)),
        1e-3 * normal(generator, 12, 12),
        turn,  # a complex pair of modulus 1
        torch.block_diag(3 * turn, -3 * torch.eye(1, dtype=torch.float64)),  # three of modulus 3
        tensor([[2.0, 1.0], [0.0, 2.0]]),  # a Jordan block
        tensor([[0.5, 100.0], [0.0, -0.5]]),  # far from normal
    ]
    found = javascript([["spectralRadius", W.flatten().tolist()] for W in matrices])
    expected = [float(init.spectral_radius(W)) for W in matrices]
    assert found == pytest.approx(expected, rel=1e-9)
    nilpotent = [0.0, 5.0, 0.0, 0.0]
    assert javascript([["spectralRadius", nilpotent], ["spectralRadius", [0.0] * 9]]) == [0, 0]


def test_singular_values_equal_torch(javascript: JavaScript, generator: torch.Generator) -> None:
    thin = normal(generator, 12, 1) @ normal(generator, 1, 12)
    matrices = [
        *(normal(generator, n, n) for n in (1, 2, 7, 12)),
        normal(generator, 12, 12) * torch.logspace(0, -8, 12, dtype=torch.float64),
        thin,  # of rank one
        torch.zeros(4, 4, dtype=torch.float64),
        torch.eye(5, dtype=torch.float64),
    ]
    found = javascript([["singularValues", W.flatten().tolist()] for W in matrices])
    for values, W in zip(found, matrices, strict=True):
        expected = torch.linalg.svdvals(W)
        slack = 1e-14 * float(expected[0])
        torch.testing.assert_close(tensor(values), expected, rtol=1e-6, atol=slack)


@pytest.mark.parametrize(("radius", "gain"), CORNERS)
def test_alpha_zero_leaves_the_network_as_it_is(
    javascript: JavaScript, radius: float, gain: float
) -> None:
    (net,) = javascript([["network", 4, radius]])
    settings = {"gain": gain, "alpha": 0, "updates": 5}
    (path,) = javascript([["descend", net, settings]])
    assert path["matrices"] == [net["W"]] * 6
    assert all(seen == path["errors"][0] for seen in path["errors"])
    assert len(path["errors"]) == 6


@pytest.mark.parametrize(("radius", "gain"), CORNERS)
def test_each_update_equals_rnnlib(javascript: JavaScript, radius: float, gain: float) -> None:
    """From where the update before led: many updates of an exploding network drift apart."""
    for seed, alpha in ((1, 2.0), (5, 8.0)):
        (net,) = javascript([["network", seed, radius]])
        settings = {"gain": gain, "alpha": alpha, "updates": 5}
        (path,) = javascript([["descend", net, settings]])
        assert len(path["matrices"]) == 6
        U, u = tensor(net["U"]).reshape(12, 2), tensor(net["u"]).reshape(60, 2)
        for before, after in pairwise(tensor(path["matrices"]).reshape(-1, 12, 12)):
            errors = by_definition(before, U, u, tensor(net["error"]), gain)[1]
            assert errors.omega_gradient is not None
            close(before - after, 0.01 * alpha * gain * errors.omega_gradient[0])


def test_a_hundred_updates_equal_the_printed_picture(javascript: JavaScript) -> None:
    start = backward_picture.network(1, 0.9)
    (path,) = javascript([["descend", spelt(*start), {"gain": 1, "alpha": 2, "updates": 100}]])
    end = backward_picture.descend(start, 1.0, 2.0, 100)
    close(path["matrices"][100], end.W)
    expected = backward_picture.trace(end, 1.0)
    close(path["errors"][100]["norms"], expected.norms)
    assert path["errors"][100]["omega"] == pytest.approx(expected.omega, rel=1e-6)


@pytest.mark.parametrize(("radius", "gain", "size"), [(0.7, 0.5, 1), (1.3, 1.4, 1), (0.9, 1, 1e-7)])
def test_the_printed_picture_sees_what_the_page_sees(
    javascript: JavaScript, radius: float, gain: float, size: float
) -> None:
    """At gains other than 1, too, and of an error so small that the absolute bound masks it."""
    net = backward_picture.network(3, radius)
    net = net._replace(error=size * net.error)
    spelt_out = spelt(*net)
    settings = {"gain": gain, "alpha": 3, "updates": 2}
    seen, path = javascript([["backward", spelt_out, gain], ["descend", spelt_out, settings]])
    (told,) = javascript([["summary", spelt_out, path, 0, gain]])
    found = backward_picture.trace(net, gain)
    torch.testing.assert_close(found.norms, tensor(seen["norms"]), rtol=1e-6, atol=0)
    assert found.omega == pytest.approx(seen["omega"], rel=1e-6)
    close(seen["gradient"], found.gradient)
    spread = torch.stack([found.smallest, found.largest], dim=1)
    torch.testing.assert_close(spread, tensor(told["spread"]), rtol=1e-6, atol=1e-12)
    close(path["matrices"][2], backward_picture.descend(net, gain, 3.0, 2).W)


def test_descent_turns_the_line_level(javascript: JavaScript) -> None:
    """In most networks, not in all; twenty draws."""
    nets = javascript([["network", seed, 0.9] for seed in range(1, 21)])
    paths = javascript([["descend", net, {"gain": 1, "alpha": 2, "updates": 100}] for net in nets])
    lower, nearer = 0, 0
    for path in paths:
        first, last = path["errors"][0], path["errors"][100]
        lower += last["omega"] < first["omega"]
        nearer += abs(math.log(last["norms"][60])) < abs(math.log(first["norms"][60])) / 2
    assert lower > 10
    assert nearer > 10


def test_a_descent_can_be_carried_on(javascript: JavaScript) -> None:
    (net,) = javascript([["network", 9, 1.2]])
    settings = {"gain": 1.1, "alpha": 3}
    whole, part = javascript([["descend", net, {**settings, "updates": n}] for n in (8, 3)])
    (carried,) = javascript([["descend", net, {**settings, "updates": 8}, part]])
    assert carried == whole


def test_a_descent_that_leaves_the_numbers_ends(javascript: JavaScript) -> None:
    (net,) = javascript([["network", 1, 2.0]])
    (path,) = javascript([["descend", net, {"gain": 1.5, "alpha": math.inf, "updates": 50}]])
    assert len(path["errors"]) == 1
    assert all(math.isfinite(value) for value in path["errors"][-1]["gradient"])
    (told,) = javascript([["summary", net, path, 50, 1.5]])
    assert told["omega"] == path["errors"][-1]["omega"]


def test_summary_equals_torch(javascript: JavaScript) -> None:
    """The Jacobians against automatic differentiation of the step itself."""
    (net,) = javascript([["network", 6, 1.3]])
    settings = {"gain": 0.8, "alpha": 2, "updates": 4}
    (path,) = javascript([["descend", net, settings]])
    (told,) = javascript([["summary", net, path, 4, 0.8]])
    W, U = tensor(path["matrices"][4]).reshape(12, 12), tensor(net["U"]).reshape(12, 2)
    u = tensor(net["u"]).reshape(60, 2)
    h, spread = torch.zeros(12, dtype=torch.float64), []
    delta = tensor(net["error"])
    jacobians = []
    for t in range(60):
        jacobians.append(torch.func.jacrev(lambda h, t=t: torch.tanh(0.8 * (W @ h + U @ u[t])))(h))
        h = torch.tanh(0.8 * (W @ h + U @ u[t]))
    norms = [float(delta.norm())]
    for J in reversed(jacobians):
        values = torch.linalg.svdvals(J)
        spread.append([float(values[-1]), float(values[0])])
        delta = delta @ J
        norms.append(float(delta.norm()))
    torch.testing.assert_close(tensor(told["spread"]), tensor(spread), rtol=1e-6, atol=1e-12)
    assert told["norms"] == pytest.approx(norms, rel=1e-6)
    assert told["factors"] == pytest.approx(
        [later / earlier for earlier, later in pairwise(norms)], rel=1e-6
    )
    assert told["perStep"] == pytest.approx(norms[60] ** (1 / 60), rel=1e-6)
    assert told["radius"] == pytest.approx(float(init.spectral_radius(W)), rel=1e-6)
    assert told["largest"] == pytest.approx(float(init.spectral_norm(W)), rel=1e-6)
    # The error's factor lies within the spread of its step, and no step beats gain times sigma.
    for factor, (least, most) in zip(told["factors"], told["spread"], strict=True):
        assert least * (1 - 1e-9) <= factor <= most * (1 + 1e-9)
        assert most <= 0.8 * told["largest"] * (1 + 1e-9)


def test_findings_say_what_must_happen(javascript: JavaScript) -> None:
    told = {
        "norms": [1, *([0.5] * 60)],
        "factors": [0.5] * 29 + [0.25] + [1] * 30,
        "spread": [[0.1, 2]] * 29 + [[0.0125, 1.5]] + [[0.1, 2]] * 30,
        "active": 60,
        "largest": 1.25,
    }
    below, above, masked = javascript(
        [
            ["findings", told, 0.5],
            ["findings", told, 0.8],
            ["findings", {**told, "active": 7}, 0.5],
        ]
    )
    assert below.startswith("Gain × σ = 0.625 is below 1: the error must vanish. ")
    assert "60 steps back |δ| is 0.5 of what it was." in below
    assert "30 steps back the singular values run from 0.0125 to 1.5; " in below
    assert below.endswith("the error is scaled by 0.25.")
    assert above.startswith("Gain × σ = 1 is not below 1: the error may vanish, hold or explode. ")
    assert "Ω counts the last 7 steps" in masked
    assert "Ω counts" not in below


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("radius", 0.2, None),
        ("radius", 2, None),
        ("radius", 2.01, "spectral radius: a number from 0.2 to 2"),
        ("radius", math.nan, "spectral radius: a number from 0.2 to 2"),
        ("radius", None, "spectral radius: a number from 0.2 to 2"),
        ("gain", 0.25, None),
        ("gain", 0.0, "gain: a number from 0.25 to 1.5"),
        ("alpha", 0, None),
        ("alpha", -0.1, "weight α: a number from 0 to 8"),
        ("alpha", None, "weight α: a number from 0 to 8"),
        ("alpha", math.inf, "weight α: a number from 0 to 8"),
        ("updates", 300, None),
        ("updates", 2.5, "updates: a whole number from 0 to 300"),
        ("updates", -1, "updates: a whole number from 0 to 300"),
        ("seed", 1, None),
        ("seed", 0, "network: a whole number from 1 to 100"),
        ("seed", 1.5, "network: a whole number from 1 to 100"),
    ],
)
def test_the_page_accepts_what_python_accepts(
    javascript: JavaScript, name: str, value: Any, message: str | None
) -> None:
    assert javascript([["objection", name, value]]) == [message]
    if message is None:
        assert Backward.accepted(name, value) == value
    else:
        with pytest.raises(ValueError, match=f"^{name} must be "):
            Backward.accepted(name, value)


def test_both_languages_hold_the_same_constants(javascript: JavaScript) -> None:
    limits, defaults, sizes, rate = javascript([["LIMITS"], ["DEFAULTS"], ["SIZES"], ["RATE"]])
    assert {name: tuple(ends) for name, ends in limits.items()} == backward_picture.LIMITS
    assert defaults == dataclasses.asdict(Backward())
    assert rate == backward_picture.RATE
    assert list(sizes.values()) == [
        backward_picture.N_UNITS,
        backward_picture.N_INPUTS,
        backward_picture.SEQ_LEN,
    ]
