"""P12, section 2.5: attractors, bifurcations and basin boundaries, with and without input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnlib import dynamics, gradients
from rnnlib.cells import LOGISTIC, TANH, one_unit_step, preactivation_step
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, erratum, holds
from rnnlib.claims.p12_unrolled import Values, network
from rnnlib.surface import error_surface, wall_line

W = 5.0  # the paper's fixed weight


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _slope(x: float) -> float:
    return float(W * LOGISTIC.slope(_numbers(x)))


def _diagram() -> Values:
    folds = dynamics.folds(W)
    golden = 2 * math.log((1 + math.sqrt(5)) / 2)  # where 5 sigma'(x) = 1
    b = torch.linspace(-2.65, -2.35, 61, dtype=torch.float64)
    diagram = dynamics.bifurcation_diagram(W, b)
    slopes = [W * LOGISTIC.slope(x) for x in (diagram.lower, diagram.middle, diagram.upper)]
    return {
        "b_1": folds.b_1,
        "b_2": folds.b_2,
        "fold_error": max(abs(folds.x_1 + golden), abs(folds.x_2 - golden)),
        "outer_stable": bool((slopes[0] < 1).all() and (slopes[2] < 1).all()),
        "middle_unstable": bool((slopes[1] > 1).all()),
    }


F4 = Claim(
    "P12-F4",
    "figure",
    "figure 4",
    "With $w=5$ and the bias varied, the one-unit network has two bifurcations, $b_1$ and $b_2$; "
    "between them two attractors are parted by a moving boundary.",
    paper="$b_1$, $b_2$ unlabelled",
    ours="b₁ = {b_1:.6f}, b₂ = {b_2:.6f}; two stable branches and an unstable one between",
    measure=_diagram,
    judge=holds(
        lambda v: (
            abs(v["b_1"] + 2.3443896614) < 1e-9
            and abs(v["b_2"] + 2.6556103386) < 1e-9
            and v["fold_error"] < 1e-12
            and v["outer_stable"] is True
            and v["middle_unstable"] is True
        )
    ),
    note="Closed form: the folds lie at $x=\\pm2\\ln\\varphi$ with the golden ratio φ.",
)


def _count() -> Values:
    b_1, b_2, *_ = dynamics.folds(W)
    scan = [b_1 + 0.3, b_1 + 1e-3, b_1 - 1e-3, -2.5, b_2 + 1e-3, b_2 - 1e-3, b_2 - 0.3]
    counts = [sum(p.stable for p in dynamics.fixed_points(W, b)) for b in scan]
    return {"counts": ", ".join(map(str, counts)), "b_1": b_1, "b_2": b_2}


C13 = Claim(
    "P12-C13",
    "statement",
    "section 2.5, with figure 4",
    "As $b$ falls, a new attractor appears at $b_1$ and one of the two disappears at $b_2$; in "
    "$(b_1,b_2)$ there are two.",
    ours="attractors along a scan of falling b across both: {counts}",
    measure=_count,
    judge=holds(lambda v: v["counts"] == "1, 1, 2, 2, 2, 1, 1" and v["b_1"] > v["b_2"]),
    note="By this description $b_1>b_2$, so the interval is $(b_2,b_1)$ on the number line; with "
    "$b$ falling from left to right it reads as printed.",
)


def _events() -> Values:
    b_2 = dynamics.folds(W).b_2
    wall = wall_line(W)

    def jump(x0: float, b: float) -> float:
        ends = dynamics.attractor_of(W, _numbers(b + 1e-9, b - 1e-9), x0)
        return float((ends[0] - ends[1]).abs())

    elsewhere = max(jump(0.5, b) for b in (-2.2, -2.5, -2.9))
    return {
        "wall": wall,
        "boundary_jump": jump(0.5, wall),
        "fold_jump": jump(3.0, b_2),
        "elsewhere": elsewhere,
        "elsewhere_text": below(elsewhere, 1e-6),
    }


C14 = Claim(
    "P12-C14",
    "statement",
    "section 2.5",
    "Two events give a large change of $x_t$, $t\\to\\infty$, for a small change of the bias: "
    "crossing a boundary between basins and crossing a bifurcation.",
    ours="Δx∞ for a change of 2e-9 in b: {boundary_jump:.2f} where the boundary passes x₀ = 0.5 "
    "(b = {wall:.4f}), {fold_jump:.2f} at b₂ from x₀ = 3, {elsewhere_text} elsewhere",
    measure=_events,
    judge=holds(lambda v: v["boundary_jump"] > 3 and v["fold_jump"] > 3 and v["elsewhere"] < 1e-6),
)


def _closeness() -> Values:
    b, step = wall_line(W), 1e-3
    for _ in range(4):  # zoom in on the steepest place
        near = b + step * torch.linspace(-1, 1, 401, dtype=torch.float64)
        b = float(near[error_surface(W, near).gradient.norm(dim=-1).argmax()])
        step /= 20
    far = _numbers(1e-1, 1e-3, 1e-4, 1e-5)
    norms = torch.stack([error_surface(W, b + s * far).gradient.norm(dim=-1) for s in (-1, 1)])
    least = norms.amin(0).tolist()
    return {
        "at_1e_1": float(norms[:, 0].max()),
        "at_1e_3": least[1],
        "at_1e_4": least[2],
        "at_1e_5": least[3],
    }


C31 = Claim(
    "P12-C31",
    "statement",
    "section 2.5",
    "It is enough to be close to such a boundary for the gradient to be large, since $F$ is "
    "smooth.",
    ours="w = 5: gradient norm at most {at_1e_1:.2f} at distance 0.1 in b, at least {at_1e_3:.2f} "
    "at 1e-3, {at_1e_4:.0f} at 1e-4, {at_1e_5:.0f} at 1e-5",
    measure=_closeness,
    judge=holds(lambda v: v["at_1e_1"] < 0.5 and v["at_1e_4"] > 50 and v["at_1e_5"] > 1000),
    note="“Close” means below 1e-3 at 50 steps, and shrinks like $F'^{-T}$.",
)


def _slope_on_boundary() -> Values:
    b = wall_line(W)
    boundary = dynamics.basin_boundary(W, b)
    assert boundary is not None
    x = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    here = torch.tensor(boundary, dtype=torch.float64)
    displacement = float((one_unit_step(here, W, b) - here).abs())
    return {
        "boundary": boundary,
        "slope": _slope(boundary),
        "slope_at_fold": _slope(dynamics.folds(W).x_2),
        "least_slope": float((W * LOGISTIC.slope(x)).min()),
        "displacement": displacement,
        "displacement_text": below(displacement, 1e-12),
    }


C15 = Claim(
    "P12-C15",
    "statement",
    "section 2.5",
    "Near a boundary $F$ has to change direction gradually, with $\\lVert F'\\rVert$ being 0 on "
    "the boundary.",
    paper="0",
    ours="on the boundary x = {boundary:.2f}: F′ = {slope:.3f}, and F(x) − x {displacement_text}; "
    "at the folds F′ = {slope_at_fold:.3f}",
    measure=_slope_on_boundary,
    judge=erratum(
        counterexample=lambda v: v["slope"] > 0.1 and v["least_slope"] > 0,
        repaired=lambda v: (
            v["displacement"] < 1e-12 and v["slope"] > 1 and abs(v["slope_at_fold"] - 1) < 1e-9
        ),
    ),
    note="What vanishes on the boundary and changes sign there is the displacement $F(x)-x$, the "
    "arrow of the figure; with it in place of $F'$ the sentence is right. The conclusion, that "
    "closeness is enough, holds (claim P12-C31).",
    repair="On the boundary, an unstable fixed point, $F(x)-x=0$ and $F'>1$; $F'=1$ at the folds. "
    "$F'$ is nowhere 0 for the logistic function.",
)


def _necessary() -> Values:
    # The linear unit x -> 1.1 x: one fixed point, no attractor to cross to, and it explodes.
    chain = torch.full((50, 1, 1), 1.1, dtype=torch.float64)
    b, step = wall_line(W), 1e-9

    def stretch(x0: float) -> float:
        ends = dynamics.orbit(W, b, _numbers(x0 - step, x0 + step), 200)[-1]
        return float(ends.diff()) / (2 * step)

    inside = abs(stretch(1.0))
    return {
        "linear": float(gradients.jacobian_product(chain)),
        "across": stretch(0.5),
        "inside": inside,
        "inside_text": below(inside, 1e-3),
    }


C16 = Claim(
    "P12-C16",
    "statement",
    "section 2.5",
    "A necessary and sufficient condition for the gradient to explode is that a boundary between "
    "basins of attraction is crossed, by a change of $x_0$ or of the parameters.",
    paper="necessary and sufficient",
    ours="sufficient on the example: Δx₂₀₀/Δx₀ = {across:.0e} across the boundary, {inside_text} "
    "inside a basin; not necessary: the linear unit of weight 1.1 has no second attractor and "
    "dx₅₀/dx₀ = {linear:.0f}",
    measure=_necessary,
    judge=erratum(
        counterexample=lambda v: v["linear"] > 100,
        repaired=lambda v: v["across"] > 1e6 and v["inside"] < 1e-3,
    ),
    note="For one bounded unit with $w>0$ the two agree: only orbits that linger at the unstable "
    "fixed point, the boundary, are stretched for long. The later version of the paper says "
    "“sufficient”.",
    repair="Crossing a boundary between basins is sufficient for the gradient over long times to "
    "explode.",
)


def _silent_bifurcation() -> Values:
    b = torch.linspace(-2.75, -2.55, 401, dtype=torch.float64, requires_grad=True)
    x = dynamics.orbit(W, b, -3.0, 50)[-1]
    (slope,) = torch.autograd.grad(x.sum(), b)
    upper = dynamics.bifurcation_diagram(W, b.detach()).upper
    return {
        "steepest": float(slope.abs().max()),
        "upper_vanishes": bool(upper[0].isnan() and not upper[-1].isnan()),
    }


C17 = Claim(
    "P12-C17",
    "statement",
    "section 2.5",
    "Crossing a bifurcation may leave a given state's fate unchanged: the change is global, but "
    "locally things may stay the same.",
    ours="from x₀ = −3, b swept across b₂, where the other attractor vanishes: the slope of x₅₀ in "
    "b stays below {steepest:.2f}",
    measure=_silent_bifurcation,
    judge=holds(lambda v: v["steepest"] < 4 and v["upper_vanishes"] is True),
)


def _two_starts() -> Values:
    start = _numbers(-5e-4, 5e-4)
    gaps = dynamics.orbit(W, -2.5, start, 200).diff(dim=-1)[:, 0]
    return {
        **{f"t{t}": float(gaps[t]) for t in (10, 20, 30, 50)},
        "limit": float(gaps[-1]),
        "attractors": float(dynamics.attractor_of(W, -2.5, start).diff()),
    }


F5 = Claim(
    "P12-F5",
    "figure",
    "figure 5",
    "A small $\\Delta x_0$ becomes a large $\\Delta x_t$ under the same maps $F_1,F_2,\\dots$, if "
    "the two starts lie on either side of a boundary.",
    ours="w = 5, b = −2.5, Δx₀ = 0.001: Δx = {t10:.4f}, {t20:.3f}, {t30:.2f}, {t50:.2f} after 10, "
    "20, 30, 50 steps; limit {limit:.4f}",
    measure=_two_starts,
    judge=holds(
        lambda v: (
            v["t10"] < v["t20"] < v["t30"] < v["t50"]
            and v["t50"] > 1000 * 1e-3
            and abs(v["limit"] - 3.5520589) < 1e-6
            and abs(v["limit"] - v["attractors"]) < 1e-9
        )
    ),
)


def _two_maps() -> Values:
    net = network(5, 3, 1)
    whole = preactivation_step(net.x0, net.inputs[0], net.W_rec, net.W_in, net.b, TANH)
    fixed = dynamics.constant_map(net.x0, net.W_rec, net.b, TANH)
    error = float((dynamics.input_map(fixed, net.inputs[0], net.W_in) - whole).abs().max())
    # Bounded input, |w_in u| <= 0.1: how often does the basin of the fixed map decide?
    g = torch.Generator().manual_seed(0)
    push = 0.1 * (2 * torch.rand(60, 2000, 4, generator=g, dtype=torch.float64) - 1)
    start = _numbers(0.0, 0.1, 0.3, 1.0)
    end = dynamics.orbit(W, -2.5, start, 60, drive=push)[-1]
    as_predicted = (end > 0).double().mean(0).tolist()
    # A constant input shifts the bias: up to the fold the upper basin stands, beyond it is empty.
    held, swept = dynamics.attractor_of(W, -2.5 + _numbers(-0.1556, -0.15562), 3.0).tolist()
    return {
        "error": error,
        "agreement": below(error, 1e-15),
        "on_boundary": as_predicted[0],
        "near": as_predicted[1],
        "far": as_predicted[3],
        "held": held,
        "swept": swept,
    }


F6 = Claim(
    "P12-F6",
    "figure",
    "figure 6",
    "A driven step splits into a fixed map $\\tilde F$ and an input map $U_t$; basins are those of "
    "$\\tilde F$, and a bounded input interferes only close to their boundary.",
    ours="Uₜ∘F̃ is the step (difference {agreement}); input up to 0.1: the run ends where F̃ "
    "alone would take it in {on_boundary:.1f} of the runs from the boundary, in {far:.1f} from "
    "distance 1",
    measure=_two_maps,
    judge=holds(
        lambda v: (
            v["error"] < 1e-15
            and abs(v["on_boundary"] - 0.5) < 0.05
            and v["on_boundary"] < v["near"] < v["far"]
            and v["far"] == 1
            and v["swept"] < 0 < v["held"]
        )
    ),
    note="The input must stay below the distance from $b$ to the nearest fold, 0.1556 here: a "
    "constant input of −0.1556 leaves the upper state alone, one of −0.15562 empties its basin.",
)
