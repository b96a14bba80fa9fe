"""P13, section 2.2: attractors, bifurcations, basins, and what vanishing means there."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rnnlib import dynamics as maps
from rnnlib import gradients, init
from rnnlib.cells import LOGISTIC, TANH, one_unit_step, preactivation_jacobian, preactivation_step
from rnnlib.claims import p12_dynamics as dynamics
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import holds
from rnnlib.claims.p12_dynamics import W
from rnnlib.claims.p12_expansion import draw, seeded
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.p13_mechanics import measured

F3 = replace(
    dynamics.F4,
    id="P13-F3",
    where="figure 3",
    note="As figure 4 of the 2012 paper. Closed form: the folds lie at $x=\\pm2\\ln\\varphi$ with "
    "the golden ratio φ. As $b_1>b_2$, the text's interval $(b_1,b_2)$ reads from right to left.",
)


def _crossings() -> Values:
    folds = maps.folds(W)
    # The bias that makes x the boundary between two basins, for every x between the folds.
    x = torch.linspace(folds.x_1, folds.x_2, 401, dtype=torch.float64)
    b = x - one_unit_step(x, W, 0.0)
    slope = W * LOGISTIC.slope(x[1:-1])
    return {
        **measured(dynamics.C14),
        **measured(dynamics.C16),
        **measured(dynamics.C17),
        "b_1": folds.b_1,
        "b_2": folds.b_2,
        "x_2": folds.x_2,
        "range_error": max(abs(float(b[0]) - folds.b_1), abs(float(b[-1]) - folds.b_2)),
        "whole_range": bool((b.diff() < 0).all() and (slope > 1).all()),
    }


C5 = Claim(
    "P13-C5",
    "statement",
    "section 2.2",
    "To cross a bifurcation is neither necessary nor sufficient for gradients to explode; to cross "
    "a boundary between basins is sufficient. Only two values of $b$ are bifurcations, but a "
    "whole range of them allows a boundary crossing.",
    ours="w = 5: $\\Delta x_{{200}}/\\Delta x_0$ = {across:.0e} across the boundary at b = "
    "{wall:.4f}, where nothing bifurcates; across b₂ = {b_2:.4f} the slope of x₅₀ in b stays below "
    "{steepest:.2f} from x₀ = −3. Each b in ({b_2:.4f}, {b_1:.4f}) has a boundary, at an x₀ in "
    "(−{x_2:.4f}, {x_2:.4f})",
    measure=_crossings,
    judge=holds(
        lambda v: (
            v["across"] > 1e6
            and v["inside"] < 1e-3
            and v["boundary_jump"] > 3
            and v["b_2"] + 1e-3 < v["wall"] < v["b_1"] - 1e-3
            and v["steepest"] < 4
            and v["upper_vanishes"] is True
            and v["range_error"] < 1e-12
            and v["whole_range"] is True
        )
    ),
    note="Shown on the paper's one-unit example. The 2012 paper said “necessary and sufficient” "
    "of boundary crossings; “sufficient” is right (claim P12-C16).",
)

F4 = replace(dynamics.F5, id="P13-F4", where="figure 4")

F5 = replace(
    dynamics.F6,
    id="P13-F5",
    where="figure 5",
    statement="A driven step splits into a fixed map $\\tilde F$ and an input map $U_t$; where a "
    "boundary of $\\tilde F$ is crossed the state moves to another attractor, unless the inputs "
    "oppose.",
)


def _against_distance(sizes: Tensor, distances: Tensor) -> tuple[float, float]:
    """Correlation and slope of ``ln size`` against ``ln distance``."""
    pair = torch.stack([distances.log(), sizes.log()])
    covariance = torch.cov(pair)
    return float(torch.corrcoef(pair)[0, 1]), float(covariance[0, 1] / covariance[0, 0])


def _near_attractors() -> Values:
    values: Values = {}
    for b in (-2.5, -2.0):
        x = maps.orbit(W, b, 1.0, 60)
        distances = (x - maps.attractor_of(W, b, 1.0)).abs()
        sizes = (W * LOGISTIC.slope(x[:-1])).cumprod(0)
        # From step 1 to where the distance nears rounding.
        kept = distances[1:] > 1e-9
        found = _against_distance(sizes[kept], distances[1:][kept])
        name = f"b{-10 * b:.0f}"
        values[f"correlation_{name}"], values[f"slope_{name}"] = found
    g, n, steps = seeded(0), 50, 120
    weights = init.scaled_to_radius(draw(n, n, generator=g), 0.9)
    bias, start = draw(2, n, generator=g)
    states = [start]
    for _ in range(1000):
        states.append(preactivation_step(states[-1], None, weights, None, bias, TANH))
    trajectory, attractor = torch.stack(states[:steps]), states[-1]
    products = [torch.eye(n, dtype=torch.float64)]
    for J in preactivation_jacobian(trajectory[:-1], weights, TANH):
        products.append(J @ products[-1])
    sizes = init.spectral_norm(torch.stack(products))
    distances = (trajectory - attractor).norm(dim=-1)
    kept = distances > 1e-9
    values["correlation_n50"], values["slope_n50"] = _against_distance(sizes[kept], distances[kept])
    values["rate_n50"] = math.exp(float(gradients.growth_rate(sizes[kept])))
    return values


C6 = Claim(
    "P13-C6",
    "statement",
    "section 2.2, last paragraph",
    "If the factors $\\partial x_t/\\partial x_k$ go to zero, $x_t$ does not depend on $x_k$: the "
    "model is close to convergence towards some attractor.",
    ours="free networks, $\\ln\\lVert\\partial x_t/\\partial x_0\\rVert$ against ln of the "
    "distance to the attractor: correlation {correlation_b25:.3f} and {correlation_b20:.3f} for "
    "one unit (w = 5, b = −2.5 and −2; slopes {slope_b25:.2f}, {slope_b20:.2f}), "
    "{correlation_n50:.3f} for 50 tanh units (slope {slope_n50:.2f})",
    measure=_near_attractors,
    judge=holds(
        lambda v: (
            all(v[f"correlation_{name}"] > 0.9 for name in ("b25", "b20", "n50"))
            and all(abs(v[f"slope_{name}"] - 1) < 0.1 for name in ("b25", "b20"))
            and 0 < v["rate_n50"] < 1
        )
    ),
    note="Both shrink by the slope at the attractor, once a step. With input there is no fixed "
    "attractor; what then attracts is the driven trajectory itself.",
)
