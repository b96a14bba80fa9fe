"""P13, section 2.3: the wall in the error surface, and curvature that explodes with the slope."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from rnnlib import gradients, init
from rnnlib.claims import p12_descent as descent
from rnnlib.claims import p12_wall as wall
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, holds, partly
from rnnlib.claims.p12_expansion import draw, seeded
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.p13_mechanics import measured

E8 = replace(wall.E14, id="P13-E8", where="section 2.3, equation 8")

F6 = replace(descent.F3, id="P13-F6", where="figure 6")


def _powers() -> Values:
    values: Values = {}
    worst = 0.0
    for rate, name in ((1.1, "up"), (0.9, "down")):
        w = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
        x = torch.tensor(0.5, dtype=torch.float64)
        for t in range(1, 51):
            x = x * w
            if t < 2:
                continue
            (first,) = torch.autograd.grad(x, w, create_graph=True)
            (second,) = torch.autograd.grad(first, w, retain_graph=True)
            found = float(first.detach()), float(second)
            exact = t * 0.5 * rate ** (t - 1), t * (t - 1) * 0.5 * rate ** (t - 2)
            worst = max(worst, *(abs(a / b - 1) for a, b in zip(found, exact, strict=True)))
        values[f"first_{name}"], values[f"second_{name}"] = found
    return values | {"error": worst, "agreement": below(worst, 1e-12)}


C7 = Claim(
    "P13-C7",
    "statement",
    "section 2.3",
    "In the linear case $x_t=x_0w^t$ both derivatives in $w$ explode together.",
    paper="$tx_0w^{t-1}$, $t(t-1)x_0w^{t-2}$",
    ours="autograd's derivatives, t = 2 to 50, agree with both (to {agreement}); at t = 50, "
    "x₀ = 0.5: {first_up:.0f} and {second_up:.0f} for w = 1.1, {first_down:.2f} and "
    "{second_down:.1f} for w = 0.9",
    measure=_powers,
    judge=holds(
        lambda v: (
            v["error"] < 1e-12
            and v["second_up"] > v["first_up"] > 1000
            and v["first_down"] < 1
            and v["second_down"] < 10
        )
    ),
    note="Their ratio is $(t-1)/w$: here both grow at the same exponential rate.",
)


def _along_eigenvector() -> Values:
    leading, steps = 1.05, 200
    rest = torch.linspace(0.9, 0.05, 19, dtype=torch.float64)
    spectrum = torch.cat([torch.tensor([leading], dtype=torch.float64), rest])
    g = seeded(3)
    W = init.with_spectrum(spectrum, generator=g)
    error = draw(20, generator=g)
    values, right = torch.linalg.eig(W)
    first = int(values.abs().argmax())
    v, left = right[:, first].real, torch.linalg.inv(right)[first].real
    gradient = gradients.error_history(W.expand(steps, 20, 20), error).flip(0)  # in x_0
    along = gradient @ v
    power = leading ** torch.arange(steps + 1, dtype=torch.float64)
    bound = float(error @ v) * power
    in_bias = gradient[:-1].sum(0) @ v  # every step adds b once
    geometric = float(error @ v) * (leading**steps - 1) / (leading - 1)
    slope = float(gradients.growth_rate(along.abs()))
    return {
        "slope": slope,
        "theory": math.log(leading),
        "error": float((along / bound - 1).abs().max()),
        "error_bias": abs(float(in_bias) / geometric - 1),
        "cosine_left": float(gradients.alignment(gradient[-1], left)),
        "cosine_right": float(gradients.alignment(gradient[-1], v)),
    }


C8 = Claim(
    "P13-C8",
    "statement",
    "section 2.3",
    "When gradients explode there is a $v$ with $\\frac{\\partial\\mathcal E_t}{\\partial\\theta}"
    "v\\ge C\\alpha^t$, $\\alpha>1$; in the linear case $v$ is the eigenvector of the largest "
    "eigenvalue of $W_{rec}$.",
    ours="20 linear units, $\\lambda_1$ = 1.05: along the eigenvector the gradient in x₀ grows by "
    "ln-slope {slope:.4f} (ln 1.05 = {theory:.4f}), exactly as $\\lambda_1^t$; its direction is "
    "the left eigenvector (|cos| = {cosine_left:.3f}), not this one ({cosine_right:.2f})",
    measure=_along_eigenvector,
    judge=holds(
        lambda v: (
            abs(v["slope"] - v["theory"]) < 1e-9
            and v["error"] < 1e-9
            and v["error_bias"] < 1e-9
            and v["cosine_left"] > 0.999
            and v["cosine_right"] < 0.99
        )
    ),
    note="For θ with as many entries as units, $x_0$ or b. The inequality holds along the right "
    "eigenvector; the gradient itself turns to the left one.",
)


def _two_rates() -> Values:
    wanted = {
        wall.C8: ("ratio_w5", "ratio_w6"),
        descent.C11: ("rescaled_worst", "rescaled"),
        descent.C12: ("fresh", "averaged", "averaged_text"),
    }
    return {
        name: value
        for claim, names in wanted.items()
        for name, value in measured(claim).items()
        if name in names
    }


C9 = Claim(
    "P13-C9",
    "statement",
    "section 2.3",
    "Clipping should work even when gradient and curvature grow at different rates, where a "
    "second-order method would fail.",
    ours="on the wall of figure 6 curvature grows at {ratio_w5:.2f} (w = 5) and {ratio_w6:.2f} "
    "(w = 6) times the rate of the gradient, and every rescaled descent ends with E {rescaled}; of "
    "120 damped Newton runs {fresh:.0%} make a step longer than 1 with a fresh Hessian, "
    "{averaged_text} with one averaged over past steps",
    measure=_two_rates,
    judge=partly(
        lambda v: (
            abs(v["ratio_w5"] - 2) < 0.01
            and abs(v["ratio_w6"] - 2) < 0.01
            and v["rescaled_worst"] < 0.01
            and v["fresh"] == 0
            and v["averaged"] > 0.1
        )
    ),
    note="The first half holds: the rates differ and clipping works. For the second it matters "
    "which is faster. Here curvature is, so a Newton step with a fresh Hessian becomes short at "
    "the wall; the case that the text fears, a gradient that outgrows the curvature, does not "
    "arise on this surface. With a stale Hessian the method does fail.",
)
