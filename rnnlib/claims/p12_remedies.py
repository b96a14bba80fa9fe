"""P12, section 3: penalties, other remedies, and the rescaled gradient of algorithm 1."""

from __future__ import annotations

import torch

from rnnlib import dynamics, gradients, init
from rnnlib.cells import TANH, preactivation_jacobian, preactivation_step
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, holds, partly
from rnnlib.claims.p12_unrolled import Values


def _damped_regime() -> Values:
    g = torch.Generator().manual_seed(0)
    W = init.normal((20, 8, 8), 1.0, generator=g, dtype=torch.float64)
    W = W * (0.95 / init.spectral_norm(W))[:, None, None]
    x = init.normal((20, 50, 8), 3.0, generator=g, dtype=torch.float64)
    for _ in range(400):
        x = preactivation_step(x, None, W, None, None, TANH)
    to_origin = float(x.abs().max())

    other = torch.tensor([[3.0, 1.4], [-4.0, -1.7]], dtype=torch.float64)
    point = torch.tensor([-1.1, 1.7], dtype=torch.float64)
    for _ in range(300):
        point = preactivation_step(point, None, other, None, None, TANH)
    miss = preactivation_step(point, None, other, None, None, TANH) - point
    (single,) = dynamics.fixed_points(1.0, 0.0)
    return {
        "to_origin": to_origin,
        "origin": below(to_origin, 1e-9),
        "radius": float(init.spectral_radius(other)),
        "other_x": float(point[0]),
        "other_y": float(point[1]),
        "other_miss": float(miss.abs().max()),
        "other_radius": float(init.spectral_radius(preactivation_jacobian(point, other, TANH))),
        "logistic": single.x,
    }


C18 = Claim(
    "P12-C18",
    "statement",
    "section 3.1",
    "An L1 or L2 penalty keeps the spectral radius below 1, so that the gradient cannot explode; "
    "the model then has a single point attractor at the origin, and its memory dies exponentially.",
    paper="$\\rho<1$",
    ours="tanh without bias, σ_max = 0.95: 1000 states in 20 networks all reach the origin "
    "(distance {origin}); yet a matrix with ρ = {radius:.2f} has another stable fixed point at "
    "({other_x:.2f}, {other_y:.2f}), and one logistic unit settles at {logistic:.2f}",
    measure=_damped_regime,
    judge=partly(
        lambda v: (
            v["to_origin"] < 1e-9
            and v["radius"] < 1
            and abs(v["other_x"]) > 1
            and v["other_miss"] < 1e-12
            and v["other_radius"] < 1
            and abs(v["logistic"] - 0.6590460684) < 1e-9
        )
    ),
    note="True with the largest singular value in place of the spectral radius, for tanh units "
    "without biases. This is the regime that strong penalties lead to, so the advice stands.",
)

C19 = Claim(
    "P12-C19",
    "statement",
    "section 3.1",
    "LSTM networks run their recurrent part in a damping regime, which is why explosion is no "
    "issue for them in practice.",
    note="An explanation offered in words. The paper trains no LSTM and names no quantity whose "
    "value would decide it.",
)

C20 = Claim(
    "P12-C20",
    "statement",
    "section 3.1",
    "Pre-programming a model and teacher forcing put it in the right regime from the start; both "
    "ask for knowledge or targets that are not always there.",
    note="A discussion of other authors' work, without a measurement to repeat.",
)


def _rescaling() -> Values:
    g = torch.Generator().manual_seed(0)
    worst, direction, norms_ok = 0.0, 1.0, True
    for scale in (1e-3, 0.1, 1.0, 30.0, 1e4):
        grads = [
            init.normal(shape, scale, generator=g, dtype=torch.float64)
            for shape in ((6, 6), (6, 3), (6,))
        ]
        flat = torch.cat([grad.flatten() for grad in grads])
        ours, norm, _ = gradients.clip_norm(grads, 1.0)
        clipped = torch.cat([grad.flatten() for grad in ours])
        leaves = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads]
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = grad.clone()
        torch.nn.utils.clip_grad_norm_(leaves, 1.0)
        torchs = torch.cat([leaf.grad.flatten() for leaf in leaves if leaf.grad is not None])
        worst = max(worst, float((clipped - torchs).norm() / torchs.norm()))
        direction = min(direction, float(gradients.alignment(clipped, flat)))
        norms_ok &= abs(float(clipped.norm()) - min(float(norm), 1.0)) < 1e-12
    return {
        "gap": worst,
        "agreement": below(worst, 1e-5),
        "cosine": direction,
        "norm_is_min": norms_ok,
    }


A1 = Claim(
    "P12-A1",
    "algorithm",
    "section 3.2, algorithm 1",
    "If the norm of the whole gradient reaches the threshold, rescale the gradient to that norm; "
    "otherwise leave it.",
    ours="equals torch's clip_grad_norm_ up to its added 1e-6 (relative difference {agreement}); "
    "direction unchanged; norm = min(norm, threshold)",
    measure=_rescaling,
    judge=holds(lambda v: v["gap"] < 1e-5 and v["cosine"] > 1 - 1e-12 and v["norm_is_min"] is True),
    note="The norm is that of all parameters together.",
)


def _descent_direction() -> Values:
    g = torch.Generator().manual_seed(0)
    draws = torch.exp(3 * torch.randn(200, 30, generator=g, dtype=torch.float64))
    draws = draws * torch.randn(200, 30, generator=g, dtype=torch.float64).sign()
    by_norm, by_element = 1.0, 1.0
    for grad in draws:
        norm_clipped, element_clipped = (
            gradients.clip_norm([grad], 1.0)[0][0],
            gradients.clip_elementwise([grad], 1.0)[0],
        )
        by_norm = min(by_norm, float(grad @ norm_clipped / (grad.norm() * norm_clipped.norm())))
        cosine = float(grad @ element_clipped / (grad.norm() * element_clipped.norm()))
        by_element = min(by_element, cosine)
    components = torch.tensor([10.0, -4.0, -4.0], dtype=torch.float64)
    clipped = gradients.clip_elementwise(list(components), 5.0)
    return {
        "by_norm": by_norm,
        "by_element": by_element,
        "components_sum": float(components.sum()),
        "clipped_sum": float(torch.stack(clipped).sum()),
    }


C21 = Claim(
    "P12-C21",
    "statement",
    "section 3.2",
    "Rescaling by the norm always moves in a descent direction; this is its advantage over "
    "clipping element by element.",
    ours="cosine with the gradient, least of 200: {by_norm:.2f} rescaled, {by_element:.2f} "
    "element-wise, both above 0; temporal components 10, −4, −4 clipped at 5 before they are "
    "summed give {clipped_sum:.0f} in place of {components_sum:+.0f}",
    measure=_descent_direction,
    judge=partly(
        lambda v: (
            v["by_norm"] > 1 - 1e-12
            and 0 < v["by_element"] < 0.99
            and v["components_sum"] > 0 > v["clipped_sum"]
        )
    ),
    note="The first half holds exactly. Element-wise clipping of the summed gradient keeps a "
    "positive product with it too, so it descends as well, though not steepest. If each temporal "
    "component is clipped, as the later version describes Mikolov's practice, descent can be "
    "lost, and the remark is right.",
)


def _effective_rate() -> Values:
    g = torch.Generator().manual_seed(0)
    rate, threshold, worst = 0.1, 2.0, 0.0
    for scale in (0.01, 0.3, 1.0, 10.0, 1e5):
        grad = init.normal((12,), scale, generator=g, dtype=torch.float64)
        (clipped,), norm, _ = gradients.clip_norm([grad], threshold)
        effective = rate * min(1.0, threshold / float(norm))
        worst = max(worst, float((rate * clipped - effective * grad).norm() / (rate * norm)))
    return {"error": worst, "agreement": below(worst, 1e-14)}


C23 = Claim(
    "P12-C23",
    "statement",
    "section 3.2",
    "The algorithm adapts the learning rate by the norm of the gradient at this instant.",
    ours="a rescaled step is a plain step at rate η·min(1, threshold / norm) (to {agreement})",
    measure=_effective_rate,
    judge=holds(lambda v: v["error"] < 1e-14),
    note="An identity.",
)
