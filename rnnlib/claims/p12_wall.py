"""P12, section 2.4: the error surface of one unit, and the wall where its gradient explodes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnlib import gradients
from rnnlib.cells import LOGISTIC, one_unit_step, preactivation_jacobian, preactivation_step
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, holds, less_than, partly
from rnnlib.claims.p12_unrolled import Values
from rnnlib.surface import ErrorSurface, error_surface, wall_line


def _wall_slope(w: float) -> float:
    """``w sigma'(.5)``: the one-step derivative at the start, which on the wall never leaves."""
    return w * float(LOGISTIC.slope(torch.tensor(0.5, dtype=torch.float64)))


def across_wall(w: float, seq_len: int = 50, n: int = 401) -> tuple[Tensor, ErrorSurface]:
    """Zoom in on the wall at ``w``: biases over its width, and the surface there.

    The half-height width is about ``.34 / max|g|``; the final window is three of them.
    """
    centre, half, steepest = wall_line(w), 0.05, 0.0
    unit = torch.linspace(-1, 1, n, dtype=torch.float64)
    while True:
        b = centre + half * unit
        surface = error_surface(w, b, seq_len=seq_len)
        norm = surface.gradient.norm(dim=-1)
        steepest, centre = float(norm.max()), float(b[norm.argmax()])
        if half <= 0.5 / steepest:
            return b, surface
        half = max(half / 20, 0.5 / steepest)


def _one_unit() -> Values:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)[:, None]
    W, b = torch.tensor([[5.0]]).double(), torch.tensor([-2.5]).double()
    by_equation = 5.0 / (1 + torch.exp(-x)) - 2.5
    one = one_unit_step(x, 5.0, -2.5)
    network = preactivation_step(x, None, W, None, b, LOGISTIC)
    error = max(float((one - by_equation).abs().max()), float((one - network).abs().max()))
    return {"error": error, "agreement": below(error, 1e-14)}


E14 = Claim(
    "P12-E14",
    "equation",
    "section 2.4, equation 14",
    "The smallest example: one hidden unit without input, $x_t=w\\sigma(x_{t-1})+b$.",
    ours="our one-unit map is equation 2 with a 1 × 1 matrix, at 81 states (difference "
    "{agreement})",
    measure=_one_unit,
    judge=holds(lambda v: v["error"] < 1e-14),
    note="A definition. σ is the logistic function here.",
)


def _tightness() -> Values:
    values: Values = {}
    for w, name in ((5.0, "w5"), (6.0, "w6")):
        norms = [float(across_wall(w, T)[1].gradient.norm(dim=-1).max()) for T in (70, 80)]
        values[name] = math.log(norms[1] / norms[0]) / 10
        values[f"theory_{name}"] = math.log(_wall_slope(w))
    return values


C7 = Claim(
    "P12-C7",
    "statement",
    "section 2.3, last paragraph",
    "As $t\\to\\infty$ the bound becomes tight, and the gradient is about "
    "$C_k\\alpha^{t-\\lvert P\\rvert}v$.",
    ours="steepest gradient on the one-unit wall, ln-slope over 70 to 80 steps: {w5:.3f} at w = 5 "
    "(ln wσ′ = {theory_w5:.3f}), {w6:.3f} at w = 6 ({theory_w6:.3f})",
    measure=_tightness,
    judge=holds(
        lambda v: abs(v["w5"] - v["theory_w5"]) < 1e-3 and abs(v["w6"] - v["theory_w6"]) < 1e-3
    ),
    note="Shown on the paper's own example, where all Jacobians share their direction trivially.",
)


def _along_wall() -> Values:
    w, states = 5.0, torch.full((51, 1), 0.5, dtype=torch.float64)
    b = torch.tensor([wall_line(w)], dtype=torch.float64)
    W = torch.tensor([[w]], dtype=torch.float64)
    stays = (preactivation_step(states, None, W, None, b, LOGISTIC) - states).abs().max()
    jacobians = preactivation_jacobian(states[:-1], W, LOGISTIC)
    ones = torch.ones(50, 1, 1, dtype=torch.float64)
    components = gradients.temporal_components(jacobians, ones[0, 0], ones)[:, 0].abs()
    return {
        "miss": float(stays),
        "largest_k": int(components.argmax()) + 1,
        "slope_in_k": float(gradients.growth_rate(components)),
        "theory": -math.log(_wall_slope(w)),
    }


C33 = Claim(
    "P12-C33",
    "statement",
    "section 2.4 (bound) and section 2.1 (component)",
    "When the gradient explodes it is “bounded by $C\\alpha^kv$”, and follows the component with "
    "$k=0$.",
    paper="$C\\alpha^kv$, $k=0$",
    ours="on the wall the component of k = {largest_k} is the largest; ln of their size changes "
    "by {slope_in_k:.3f} per step in k, so they grow with t − k",
    measure=_along_wall,
    judge=partly(
        lambda v: (
            v["miss"] < 1e-14
            and v["largest_k"] == 1
            and abs(v["slope_in_k"] - v["theory"]) < 1e-3
            and v["slope_in_k"] < 0
        )
    ),
    note="The growth along $v$ is as stated; the letters slip. Equation 13 is a lower bound with "
    "exponent $t-k-\\lvert P\\rvert$, and the sum of equation 4 begins at $k=1$. Read: the "
    "gradient grows like $C\\alpha^tv$.",
)


def _curvature() -> Values:
    values: Values = {}
    for w, name in ((5.0, "w5"), (6.0, "w6")):
        peaks = []
        for T in (50, 70, 80):
            surface = across_wall(w, T)[1]
            bend = surface.curvature[0].abs().max()
            peaks.append((float(surface.gradient.norm(dim=-1).max()), float(bend)))
        values[f"gradient_{name}"], values[f"curvature_{name}"] = peaks[0]
        values[f"ratio_{name}"] = math.log(peaks[2][1] / peaks[1][1]) / math.log(
            peaks[2][0] / peaks[1][0]
        )
    return values


C8 = Claim(
    "P12-C8",
    "statement",
    "section 2.4",
    "When gradients explode, so does the curvature along $v$.",
    ours="across the wall, w = 5: gradient up to {gradient_w5:.1e}, curvature up to "
    "{curvature_w5:.1e}; w = 6: {gradient_w6:.1e} and {curvature_w6:.1e}. As T grows, curvature "
    "explodes at {ratio_w5:.2f} and {ratio_w6:.2f} times the rate of the gradient",
    measure=_curvature,
    judge=holds(
        lambda v: all(
            abs(v[f"ratio_{w}"] - 2) < 0.01 and v[f"curvature_{w}"] > v[f"gradient_{w}"] ** 2
            for w in ("w5", "w6")
        )
    ),
    note="Curvature is of the order of the squared gradient. Look across the wall, not only where "
    "the gradient peaks: there the second derivative along $v$ is zero by definition.",
)


def _alignment() -> Values:
    gaps, cosines = [], []
    sigma = float(torch.tensor(0.5).double().sigmoid())
    normal = torch.tensor([sigma, 1.0], dtype=torch.float64)
    for w in (5.0, 5.5, 6.0):
        surface = across_wall(w, n=2001)[1]
        gradient, (bend, direction) = surface.gradient, surface.curvature
        norm = gradient.norm(dim=-1)
        steepest = int(norm.argmax())
        unit = -gradient[steepest] / norm[steepest]
        gaps.append(float((unit - normal / normal.norm()).abs().max()))
        # The two curvature maxima, one on either side of the steepest place.
        for side in (slice(None, steepest), slice(steepest + 1, None)):
            bent = int(bend[side].abs().argmax())
            pair = gradient[side][bent], direction[side][bent]
            cosines.append(float(gradients.alignment(*pair)))
    b, surface = across_wall(5.0, n=4001)
    norm = surface.gradient.norm(dim=-1)
    width = float((norm > norm.max() / 2).double().mean() * (b[-1] - b[0]))
    near = b[norm.argmax()] + 0.01 * width * torch.linspace(-1, 1, 4001, dtype=torch.float64)
    inside = error_surface(5.0, near)
    turned = gradients.alignment(inside.gradient, inside.curvature[1]) < 0.99
    share = 0.02 * float(turned.double().mean())
    return {
        "gap_to_normal": max(gaps),
        "normal": below(max(gaps), 1e-3),
        "cosine": min(cosines),
        "share_turned": share,
        "exception": less_than(share, 0.001),
    }


C9 = Claim(
    "P12-C9",
    "statement",
    "section 2.4",
    "If gradient and leading curvature both lie along $v$, the surface has a steep wall "
    "perpendicular to $v$.",
    ours="w = 5, 5.5, 6: where it is steepest the gradient is normal to the wall line (deviation "
    "{normal}); where curvature peaks it lies along the gradient (|cos| = {cosine:.4f}); the two "
    "part on {exception} of the wall's width",
    measure=_alignment,
    judge=holds(
        lambda v: v["gap_to_normal"] < 1e-3 and v["cosine"] > 1 - 1e-6 and v["share_turned"] < 0.01
    ),
    note="The exception is the line of steepest gradient itself, where curvature along $v$ changes "
    "sign.",
)


def _valley() -> Values:
    w = torch.linspace(4, 6, 401, dtype=torch.float64)
    b = torch.linspace(-3.2, -2, 401, dtype=torch.float64)
    norm = error_surface(w[:, None], b).gradient.norm(dim=-1).flatten()
    return {
        "median": float(norm.median()),
        "high": float(norm.quantile(0.99)),
        "above_1": float((norm > 1).double().mean()),
        "above_10": float((norm > 10).double().mean()),
    }


C10 = Claim(
    "P12-C10",
    "statement",
    "section 2.4",
    "The valley is wide: beside the wall lies a large region where first-order steps can be "
    "relied on.",
    ours="window 4 ≤ w ≤ 6, −3.2 ≤ b ≤ −2: gradient norm {median:.2f} in the median, {high:.2f} at "
    "the 99th percentile; {above_1:.1%} of the window above 1, {above_10:.2%} above 10",
    measure=_valley,
    judge=holds(lambda v: v["median"] < 0.2 and v["high"] < 1 and v["above_1"] < 0.02),
)
