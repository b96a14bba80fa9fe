"""P13, sections 3.1 and 3.2: earlier remedies, and the rescaled gradient of algorithm 1."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rnnlib import gradients, init
from rnnlib.cells import LINEAR, TANH, activation_step, preactivation_jacobian, preactivation_step
from rnnlib.claims import p12_remedies as remedies
from rnnlib.claims import p12_wall as wall
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import holds, partly
from rnnlib.claims.p12_expansion import draw, seeded
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.p13_mechanics import measured
from rnnlib.kernels import elman_ensemble


def _earlier_remedies() -> Values:
    alpha = 0.8
    frequency = torch.tensor([0.0, 0.5, 1.0, 2.0, math.pi], dtype=torch.float64)
    x = torch.zeros(5, dtype=torch.complex128)
    for k in range(400):
        x = alpha * x + (1 - alpha) * torch.polar(torch.ones_like(frequency), frequency * k)
    gain = x.abs()
    turn = torch.polar(torch.ones_like(frequency), -frequency)
    error = float((gain - (1 - alpha) / (1 - alpha * turn).abs()).abs().max())
    return measured(remedies.C18) | {
        "gains": ", ".join(f"{value:.3f}" for value in gain.tolist()),
        "low_pass": bool((gain.diff() < 0).all()),
        "gain_error": error,
        "gain_high": float(gain[-1]),
    }


C10 = Claim(
    "P13-C10",
    "statement",
    "section 3.1",
    "Earlier remedies and their limits: an L1 or L2 penalty keeps the spectral radius below 1 and "
    "leaves one attractor, at the origin; leaky units act as a low-pass filter; teacher forcing, "
    "LSTM, Hessian-free learning and clipping each entry of the temporal components are discussed "
    "in words.",
    ours="leaky unit, α = 0.8, its linear part: gain {gains} at frequencies 0, 0.5, 1, 2, π. A "
    "tanh network with σ_max = 0.95 always reaches the origin (distance {origin}), yet one with "
    "ρ = {radius:.2f} has another stable fixed point at ({other_x:.2f}, {other_y:.2f})",
    measure=_earlier_remedies,
    judge=partly(
        lambda v: (
            v["gain_error"] < 1e-12
            and v["low_pass"] is True
            and v["gain_high"] < 0.2
            and v["to_origin"] < 1e-9
            and 0 < v["radius"] < 1
            and abs(v["other_x"]) > 1
            and v["other_miss"] < 1e-12
            and v["other_radius"] < 1
        )
    ),
    note="The filter is as stated. The penalty's regime is too, with the largest singular value "
    "in place of the spectral radius (claim P12-C18). The rest is a discussion of other authors' "
    "work, without a measurement to repeat.",
)


def _cosines(n: int, gain: float, push: float) -> Tensor:
    """|cos| between the components of W_rec at lags 0 and 40, in 20 random tanh networks."""
    g, lag, found = seeded(n), 40, []
    for _ in range(20):
        W = draw(n, n, generator=g, std=gain / math.sqrt(n))
        x, error = draw(2, n, generator=g)
        states = [x]
        for u in push * draw(2 * lag, n, generator=g):
            states.append(preactivation_step(states[-1], None, W, None, None, TANH) + u)
        late = torch.stack(states[lag - 1 :])
        deltas = gradients.error_history(preactivation_jacobian(late[1:-1], W, TANH), error)
        # A component is the outer product of delta_k and f(x_{k-1}).
        sources = TANH(late[:-1])
        found.append(
            gradients.alignment(deltas[0], deltas[-1])
            * gradients.alignment(sources[0], sources[-1])
        )
    return torch.stack(found)


def _orthogonality() -> Values:
    values: Values = {}
    for name, gain, push in (("driven", 0.9, 0.5), ("free", 1.5, 0.0)):
        for n in (10, 50, 200):
            cosines = _cosines(n, gain, push)
            values[f"{name}_{n}"] = float(cosines.mean())
        values[f"{name}_largest"] = float(cosines.max())
    return values


C31 = Claim(
    "P13-C31",
    "statement",
    "section 3.1",
    "In high-dimensional spaces long-term components are likely to be orthogonal to short-term "
    "ones, which is presumably why Hessian-free learning copes with vanishing gradients.",
    ours="20 random tanh networks, components of $W_{{rec}}$ at lags 0 and 40: mean |cos| for 10, "
    "50 and 200 units {driven_10:.2f}, {driven_50:.3f}, {driven_200:.4f} where gradients vanish "
    "(gain 0.9, with input); {free_10:.2f}, {free_50:.3f}, {free_200:.3f} where they explode (gain "
    "1.5, without). Largest at 200: {driven_largest:.2f} and {free_largest:.2f}",
    measure=_orthogonality,
    judge=holds(
        lambda v: all(
            v[f"{name}_10"] > v[f"{name}_50"] > v[f"{name}_200"] > 0
            and 0 < v[f"{name}_largest"] < 0.2
            for name in ("driven", "free")
        )
    ),
    note="Checked: the orthogonality, for random weights; the bound of 0.2 for the largest at 200 "
    "units is ours. That Hessian-free learning owes its success to it is offered as a presumption, "
    "and is not checked.",
)

C32 = Claim(
    "P13-C32",
    "statement",
    "section 3.1",
    "That structural damping helps suggests that curvature, while it may explode together with "
    "the gradient, need not grow at the same rate, and so need not suffice against the explosion.",
    ours="on the wall of figure 6 both explode; curvature grows at {ratio_w5:.2f} (w = 5) and "
    "{ratio_w6:.2f} (w = 6) times the rate of the gradient",
    measure=lambda: measured(wall.C8),
    judge=partly(
        lambda v: all(
            abs(v[f"ratio_{w}"] - 2) < 0.01 and v[f"curvature_{w}"] > v[f"gradient_{w}"] ** 2
            for w in ("w5", "w6")
        )
    ),
    note="A suggestion, so checked only as far as it speaks of rates: they do differ, but here "
    "curvature is the faster and would suffice. Structural damping itself is not run.",
)


def _memory_of_a_pulse() -> Values:
    g, n, steps = seeded(0), 100, 200
    slopes = []
    for _ in range(5):
        W = init.scaled_to_radius(draw(n, n, generator=g), 0.95)
        W_in, drive = draw(n, 1, generator=g), 0.5 * draw(steps, 1, generator=g)
        pair = torch.zeros(2, n, dtype=torch.float64)
        pair = pair + torch.tensor([[0.0], [1.0]]) * W_in[:, 0]  # the pulse, in one of the two
        distances = []
        for u in drive:
            pair = activation_step(pair, u, W, W_in, None, TANH)
            distances.append((pair[0] - pair[1]).norm())
        slopes.append(float(gradients.growth_rate(torch.stack(distances), start=20)))

    # Radius below 1, and yet two attractors: which one is reached is remembered for ever.
    other = torch.tensor([[3.0, 1.4], [-4.0, -1.7]], dtype=torch.float64)
    pair = torch.tensor([[0.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    for _ in range(1000):
        pair = activation_step(pair, None, other, None, None, TANH)

    one = torch.ones(1, 1, dtype=torch.float64)
    chain = preactivation_jacobian(torch.linspace(-9, 9, 1000).double()[:, None], one, LINEAR)
    return {
        "slowest": max(slopes),
        "linear_unit": float(gradients.jacobian_product(chain)),
        "radius": float(init.spectral_radius(other)),
        "kept": float((pair[0] - pair[1]).norm()),
    }


C33 = Claim(
    "P13-C33",
    "statement",
    "section 3.1",
    "In an echo state network the largest eigenvalue is below 1, so what is fed in has to die out "
    "exponentially; an LSTM has linear units whose connection to themselves is fixed to 1.",
    paper="< 1; 1",
    ours="5 driven tanh reservoirs, ρ = 0.95: the trace of a pulse decays, ln-slope at most "
    "{slowest:.3f} per step; 1000 steps of a linear unit with weight 1 have the Jacobian "
    "{linear_unit:.0f}. Yet with ρ = {radius:.2f} a pulse can leave a difference of {kept:.2f} "
    "for ever",
    measure=_memory_of_a_pulse,
    judge=partly(
        lambda v: (
            v["slowest"] < -0.01 and v["linear_unit"] == 1 and 0 < v["radius"] < 1 and v["kept"] > 1
        )
    ),
    note="Reservoirs as they are usually drawn do forget. That they must does not follow from the "
    "eigenvalue; it does if the largest singular value is below 1. The exception is (3, 1.4; −4, "
    "−1.7), which has a second attractor.",
)

A1 = replace(remedies.A1, id="P13-A1")


def _on_the_mini_batch() -> Values:
    g, R, n, steps = seeded(0), 100, 5, 10
    leaves = [
        draw(R, n, n, generator=g, std=0.7).requires_grad_(),
        draw(R, n, 2, generator=g).requires_grad_(),
        draw(R, n, generator=g, std=0.3).requires_grad_(),
    ]
    inputs, targets = draw(R, 64, steps, 2, generator=g), draw(R, 64, n, generator=g)

    def losses(parameters: list[Tensor], some: slice) -> Tensor:
        last = elman_ensemble(inputs[:, some], *parameters, last=True, backend="torch")
        return (last - targets[:, some]).square().mean(dim=(1, 2))

    def along(a: list[Tensor], b: list[Tensor]) -> Tensor:
        return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)

    batch, everything = slice(0, 4), slice(None)
    before = losses(leaves, batch)
    gradient = [*torch.autograd.grad(before.sum(), leaves)]
    of_all = [*torch.autograd.grad(losses(leaves, everything).sum(), leaves)]
    threshold = 0.1
    clipped, norm, _ = gradients.clip_norm(gradient, threshold, replicas=True)
    cosine = along(gradient, clipped) / (norm * along(clipped, clipped).sqrt())
    moved = [p.detach() - 0.01 * step for p, step in zip(leaves, clipped, strict=True)]
    other = measured(remedies.C21)
    return {
        "clipped": float((norm >= threshold).double().mean()),
        "cosine": float(cosine.min()),
        "falls": float((losses(moved, batch) < before).double().mean()),
        "against_all": float((along(of_all, clipped) < 0).double().mean()),
        "components_sum": other["components_sum"],
        "clipped_sum": other["clipped_sum"],
    }


C36 = Claim(
    "P13-C36",
    "statement",
    "section 3.2",
    "Rescaling by the norm ensures that we always move in a descent direction with respect to the "
    "current mini-batch.",
    ours="100 networks, mini-batches of 4, {clipped:.0%} clipped: cosine with the mini-batch's "
    "gradient at least {cosine:.3f}, and its loss falls in {falls:.0%}; the loss on all 64 "
    "sequences would rise in {against_all:.0%}. Temporal components 10, −4, −4 clipped at 5 "
    "before they are summed give {clipped_sum:.0f} in place of {components_sum:+.0f}",
    measure=_on_the_mini_batch,
    judge=holds(
        lambda v: (
            v["clipped"] > 0.5
            and v["cosine"] > 1 - 1e-12
            and v["falls"] == 1
            and v["components_sum"] > 0 > v["clipped_sum"]
        )
    ),
    note="The qualification, which the 2012 paper lacked, makes the sentence exact: nothing is "
    "promised for the whole loss. The last numbers show how clipping the temporal components, "
    "which the text ascribes to Mikolov, can lose descent.",
)
