"""P13, sections 1 to 2.1: the gradient as a sum over time, and when its terms vanish or explode."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rnnlib import gradients, init
from rnnlib.cells import LINEAR, LOGISTIC, TANH, Nonlinearity, preactivation_step
from rnnlib.claims import p12_expansion as expansion
from rnnlib.claims import p12_linear as linear
from rnnlib.claims import p12_unrolled as unrolled
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import erratum, holds
from rnnlib.claims.p12_expansion import draw, seeded
from rnnlib.claims.p12_unrolled import Network, Values, network


def measured(claim: Claim) -> Values:
    """The values of a claim of mathematics, for one that rests on the same object."""
    assert claim.measure is not None
    return dict(claim.measure())


F1 = replace(
    unrolled.F1,
    id="P13-F1",
    note="As in the 2012 paper. A drawing; what is checked is that the loop carries information.",
)

E1 = replace(unrolled.E1, id="P13-E1")

E2 = replace(
    unrolled.E2,
    id="P13-E2",
    where="section 1.1, equation 2 (again as equation 11) and footnote 1",
)

F2 = replace(unrolled.F2, id="P13-F2")

E3 = replace(unrolled.E3, id="P13-E3")

E4 = replace(unrolled.E4, id="P13-E4")

E5 = replace(
    unrolled.E5,
    id="P13-E5",
    note="A slip of transposition, taken over from the 2012 paper. The printed factor is right for "
    "the footnote's form of the network, in the layout with derivatives in columns and with σ′ "
    "taken at the argument of step i. The bounds of section 2.1 use only norms, which a transpose "
    "leaves alone; equation 10 repeats the slip.",
)


def _rows() -> Values:
    net = network()
    x, u = net.states()[3], net.inputs[3]

    def step(W_rec: Tensor) -> Tensor:
        return preactivation_step(x, u, W_rec, net.W_in, net.b, TANH)

    # [i, j, l] is dx_i / dW_jl.
    derivative = torch.autograd.functional.jacobian(step, net.W_rec)
    own = derivative.diagonal(dim1=0, dim2=1).mT
    diagonal = torch.eye(len(x), dtype=torch.bool)
    return {
        "own": float((own - TANH(x)).abs().max()),
        "others": float(derivative[~diagonal].abs().max()),
    }


C1 = Claim(
    "P13-C1",
    "statement",
    "section 1.1, after equation 5",
    "Every row $i$ of the immediate derivative $\\partial^+x_k/\\partial W_{rec}$ is just "
    "$\\sigma(x_{k-1})$.",
    paper="$\\sigma(x_{k-1})$",
    ours="autograd, one step of 5 units: $\\partial x_{{k,i}}/\\partial W_{{i,:}}$ differs from "
    "$\\sigma(x_{{k-1}})$ by {own:.0f}; the derivative in every other row of $W_{{rec}}$ is "
    "{others:.0f}",
    measure=_rows,
    judge=holds(lambda v: v["own"] == 0 and v["others"] == 0),
    note="The whole derivative has n rows and n² columns; row i is $\\sigma(x_{k-1})$ in the n "
    "columns of its own weights and 0 in the rest.",
)


def _linear_conditions() -> Values:
    return measured(linear.C3) | {"marginal": measured(linear.C2)["marginal"]}


C2 = Claim(
    "P13-C2",
    "statement",
    "section 2.1",
    "For a linear network the conditions are tight: $\\lambda_1<1$ is sufficient for long-term "
    "components to vanish as $t\\to\\infty$, $\\lambda_1>1$ is necessary for gradients to explode.",
    paper="1",
    ours="20 random matrices: ln-slope at most {decays:.2f} at $\\lvert\\lambda_1\\rvert$ = 0.9, "
    "at least {grows:.2f} at 1.1; (0.9, 10; 0, 0.8) first grows to {peak:.1f} at l = {peak_step}, "
    "then to {last:.0e} at l = 200; a Jordan block of 1 grows like {marginal:.2f} l",
    measure=_linear_conditions,
    judge=holds(
        lambda v: (
            v["decays"] < 0
            and v["grows"] > 0
            and v["peak"] > 25
            and v["last"] < 1e-6
            and abs(v["marginal"] - 1) < 0.01
        )
    ),
    note="With $\\lambda_1$ the modulus of the largest eigenvalue, and exploding for growing "
    "exponentially. At $\\lvert\\lambda_1\\rvert=1$ neither is ensured: the norm may stay, or grow "
    "like a power of l. Before the limit a matrix that is not normal may grow for a while.",
)

E6 = Claim(
    "P13-E6",
    "equation",
    "section 2.1, equation 6",
    "If $\\lambda_1$, the modulus of the largest eigenvalue of $W_{rec}$, is below $1/\\gamma$, "
    "every Jacobian has a norm below 1, so long-term components vanish.",
    paper="$\\lVert W_{rec}^T\\rVert\\lVert\\mathrm{diag}(\\sigma')\\rVert<\\gamma^{-1}\\gamma<1$",
    ours="$W$ = 12·(1, 1; −1, −1), logistic, has $\\lambda_1$ = {radius_W:.0f} < 4, yet around a "
    "fixed point the Jacobian grows to {growth_logistic:.1e} over 20 steps (3·(1, 1; −1, −1), "
    "tanh: {growth_tanh:.1e}); with $\\sigma_{{max}}$ = 0.95/γ instead, no product over 30 steps "
    "exceeds $0.95^{{30}}$, in 50 networks",
    measure=lambda: measured(expansion.C6),
    judge=erratum(
        counterexample=lambda v: (
            0 <= v["radius_W"] < 1e-6
            and v["miss"] < 1e-12
            and v["growth_tanh"] > 1e6
            and v["growth_logistic"] > 1e6
        ),
        repaired=lambda v: v["norm_bound"] is True,
    ),
    note="One word: the proof needs the largest singular value, which is the 2-norm that the "
    "equation speaks of. The proceedings version says so, and is right. For normal matrices, such "
    "as symmetric ones, and for one unit the two agree and the print is right too. (Its last sign "
    "should be =, which changes nothing.)",
    repair="If the largest singular value of $W_{rec}$ is below $1/\\gamma$, then "
    "$\\lVert\\partial x_{k+1}/\\partial x_k\\rVert\\le\\sigma_{\\max}(W_{rec})\\,\\gamma<1$.",
)

_ETA = 0.95


def _scaled(net: Network, norm: float) -> Network:
    return net._replace(W_rec=net.W_rec * (norm / init.spectral_norm(net.W_rec)))


def _carried_back(net: Network, f: Nonlinearity, parametrisation: str) -> Tensor:
    """Errors ``delta_0`` to ``delta_t`` of the last step, ``(t + 1, n)``."""
    states = net.states(f)
    if parametrisation == "activation":
        states = f(states)
    jacobians = gradients.state_jacobians(states, net.W_rec, f, parametrisation=parametrisation)
    return gradients.error_history(jacobians, net.targets[-1])


def _geometric_decay() -> Values:
    steps = 60
    bound = _ETA ** torch.arange(steps, 0, -1, dtype=torch.float64)[:, None]
    worst, above = 0.0, []
    for f in (TANH, LOGISTIC):
        for parametrisation in ("preactivation", "activation"):
            for seed in range(5):
                net = _scaled(network(20, 3, steps, seed=seed), _ETA / f.slope_bound)
                *back, last = _carried_back(net, f, parametrisation)
                carried = torch.stack(back)
                ratio = carried.norm(dim=-1) / (bound[:, 0] * last.norm())
                worst = max(worst, float(ratio.max()))
                above.append((carried > bound * last).double().mean())
    rotation = init.orthogonal(20, _ETA, generator=seeded(0), dtype=torch.float64)
    net = network(20, 3, steps)._replace(W_rec=rotation)
    *back, last = _carried_back(net, LINEAR, "preactivation")
    tight = torch.stack(back).norm(dim=-1) / (bound[:, 0] * last.norm())
    return {
        "worst": worst,
        "tight": float((tight - 1).abs().max()),
        "entrywise": float(torch.stack(above).mean()),
    }


E7 = Claim(
    "P13-E7",
    "equation",
    "section 2.1, equation 7",
    "If every Jacobian has a norm of at most $\\eta<1$, the error carried back $t-k$ steps is at "
    "most $\\eta^{t-k}$ times the error at $t$.",
    paper="$\\delta_t\\prod J\\le\\eta^{t-k}\\delta_t$",
    ours="η = 0.95, 20 driven networks of 60 steps: $\\lVert\\delta_k\\rVert$ is at most "
    "{worst:.2f} of $\\eta^{{t-k}}\\lVert\\delta_t\\rVert$; a linear network of 0.95 times a "
    "rotation meets it with equality",
    measure=_geometric_decay,
    judge=holds(
        lambda v: 0 <= v["worst"] <= 1 and v["tight"] < 1e-12 and 0.1 < v["entrywise"] < 0.9
    ),
    note="Read with norms on both sides, which the proof has in mind and the proceedings version "
    "prints; entry by entry the two row vectors cannot be compared. What gives such an η is the "
    "largest singular value (claim P13-E6).",
)


def _largest_slopes() -> Values:
    values: Values = {}
    for f in (TANH, LOGISTIC):
        grid = torch.linspace(-8, 8, 1601, dtype=torch.float64)
        x = torch.cat([grid, torch.zeros(1, dtype=torch.float64)]).requires_grad_()
        (slope,) = torch.autograd.grad(f(x).sum(), x)
        values[f"{f.name}_largest"] = float(slope.abs().max())
        values[f"{f.name}_at_zero"] = float(slope[-1])
    return values


C3 = Claim(
    "P13-C3",
    "statement",
    "section 2.1",
    "The slope of σ is bounded by $\\gamma=1$ for tanh and $\\gamma=1/4$ for the sigmoid.",
    paper="1; 1/4",
    ours="largest slope on a grid from −8 to 8, by autograd: {tanh_largest:.2f} and "
    "{logistic_largest:.2f}, both at 0",
    measure=_largest_slopes,
    judge=holds(
        lambda v: (
            v["tanh_largest"] == v["tanh_at_zero"] == 1
            and v["logistic_largest"] == v["logistic_at_zero"] == 0.25
        )
    ),
    note="The bounds are attained.",
)


def _growth(norm: float, push: float) -> Tensor:
    """ln-slope of the error norm, of 4 tanh networks with this ``sigma_max`` and input strength."""
    g, n, steps = seeded(0), 100, 100
    W = draw(4, n, n, generator=g)
    W = W * (norm / init.spectral_norm(W))[:, None, None]
    x, error = draw(2, 4, n, generator=g)
    states = [x]
    for u in push * draw(steps, 4, n, generator=g):
        states.append(preactivation_step(states[-1][:, None], None, W, None, None, TANH)[:, 0] + u)
    jacobians = gradients.state_jacobians(torch.stack(states, dim=1), W[:, None], TANH)
    return gradients.growth_rate(gradients.error_history(jacobians, error).norm(dim=-1).flip(-1))


def _converse() -> Values:
    small = max(float(_growth(0.95, push).max()) for push in (0.0, 0.3, 3.0))
    example = measured(expansion.C6)
    return {
        "small": small,
        "theory": math.log(0.95),
        "free": float(_growth(4.0, 0.0).min()),
        "driven": float(_growth(4.0, 10.0).max()),
        **{name: example[name] for name in ("radius_W", "miss", "growth_tanh", "growth_logistic")},
    }


C4 = Claim(
    "P13-C4",
    "statement",
    "section 2.1, last paragraph",
    "Inverting the proof: for gradients to explode the largest eigenvalue $\\lambda_1$ must be "
    "larger than $1/\\gamma$; otherwise the long-term components would vanish.",
    paper="$\\lambda_1>1/\\gamma$",
    ours="$\\lambda_1$ = {radius_W:.0f}, yet growth to {growth_tanh:.1e} (tanh) over 20 steps. "
    "tanh, 100 units, ln-slope of the error per step back: at most {small:.2f} at "
    "$\\sigma_{{max}}$ = 0.95; at 4 at least {free:+.2f} without input and at most {driven:.2f} "
    "with strong input, so the condition is not sufficient",
    measure=_converse,
    judge=erratum(
        counterexample=lambda v: (
            0 <= v["radius_W"] < 1e-6
            and v["miss"] < 1e-12
            and v["growth_tanh"] > 1e6
            and v["growth_logistic"] > 1e6
        ),
        repaired=lambda v: v["small"] <= v["theory"] and v["free"] > 0.05 and v["driven"] < -0.05,
    ),
    note="Right with the largest singular value, as in the proceedings version. The converse of "
    "“below $1/\\gamma$ vanishes” leaves the border open: at $\\sigma_{\\max}=1/\\gamma$ the error "
    "cannot grow, but need not vanish. Networks with large weights whose units saturate vanish "
    "all the same.",
    repair="For gradients to explode the largest singular value of $W_{rec}$ must exceed "
    "$1/\\gamma$: 1 for tanh, 4 for the sigmoid. This is necessary and not sufficient.",
)
