"""P12, section 2.3, second half: the lower bound on a temporal component, and its assumptions."""

from __future__ import annotations

import torch

from rnnlib import gradients, init
from rnnlib.cells import LOGISTIC, TANH, Nonlinearity
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, erratum, holds, partly
from rnnlib.claims.p12_expansion import ALPHA, BETA, K, P, T, draw, seeded, shared_direction
from rnnlib.claims.p12_unrolled import Values, network


def _immediate_shapes() -> Values:
    net = network(4, 1, 6)
    immediate = gradients.immediate_derivatives(net.states()[:-1], net.inputs, TANH)
    identity = torch.eye(4, dtype=torch.float64)
    return {
        "hidden": 4,
        "parameters": int(immediate["W_rec"].shape[-1]),
        "bias_error": float((immediate["b"] - identity).abs().max()),
        "input_error": float((immediate["W_in"] - net.inputs[:, :, None] * identity).abs().max()),
    }


E11 = Claim(
    "P12-E11",
    "equation",
    "section 2.3, equation 11",
    "The immediate derivative does not cancel the direction: $\\lvert u^T\\,"
    "\\partial^+x_k/\\partial\\theta\\;v\\rvert\\ge\\gamma_k\\lvert u^Tv\\rvert$ for all $u$.",
    ours="holds for b with γ_k = 1 and for W_in with a single input; for W_rec the derivative is "
    "{hidden} × {parameters} and v has {hidden} entries",
    measure=_immediate_shapes,
    judge=partly(
        lambda v: (
            v["bias_error"] == 0 and v["input_error"] < 1e-15 and v["parameters"] != v["hidden"]
        )
    ),
    note="An assumption of the argument. It is meaningful where there are as many parameters as "
    "units; for $\\theta=b$ the argument goes through.",
)


def _loss_in_basis() -> Values:
    g = seeded(9)
    v, error = draw(6, generator=g), draw(6, generator=g)
    columns = torch.cat([v[:, None], draw(6, 5, generator=g)], dim=1)
    basis = torch.linalg.qr(columns).Q.mT  # orthonormal rows, the first along v
    c = basis @ error
    gap = float((c @ basis - error).abs().max())
    return {
        "error": gap,
        "agreement": below(gap, 1e-14),
        "first_along_v": float(gradients.alignment(basis[0], v)),
        "c_1": float(c[0].abs()),
    }


E12 = Claim(
    "P12-E12",
    "equation",
    "section 2.3, equation 12",
    "The error at the last state is written in an orthonormal basis whose first vector is $v$, "
    "with $c_1\\ne0$.",
    ours="six random coefficients rebuild the error (difference {agreement}); |c₁| = {c_1:.2f}",
    measure=_loss_in_basis,
    judge=holds(
        lambda v: v["error"] < 1e-14 and v["first_along_v"] > 1 - 1e-12 and v["c_1"] > 1e-3
    ),
    note="An identity; $c_1\\ne0$ holds for all errors but those perpendicular to $v$.",
)


def _lower_bound() -> Values:
    jacobians, v, error = shared_direction()
    v = v / v.norm()
    immediate = torch.eye(5, dtype=torch.float64).expand(T, 5, 5)  # theta = b, gamma_k = 1
    component = gradients.temporal_components(jacobians, error, immediate)[K - 1]
    along = float((component @ v).abs())
    c_1 = float((error @ v).abs())
    gap = abs(along / (BETA**P * ALPHA ** (T - K - P) * c_1) - 1)
    # One unit, where equation (9) can be met as printed: F' = 1.1, alpha = 1.09, P empty.
    chain = torch.full((20, 1, 1), 1.1, dtype=torch.float64)
    ones = torch.ones(20, 1, 1, dtype=torch.float64)
    single = gradients.temporal_components(chain, ones[0, 0], ones)[9, 0]
    return {
        "error": gap,
        "agreement": below(gap, 1e-12),
        "printed": BETA**P * ALPHA ** (T - P) * c_1 / along,
        "single": float(single),
        "single_printed": 1.09**20,
        "single_repaired": 1.09**10,
    }


E13 = Claim(
    "P12-E13",
    "equation",
    "section 2.3, equation 13",
    "The temporal component of step $k$ is bounded from below: $\\lvert g_k^Tv\\rvert\\ge "
    "C_k\\alpha^{t-\\lvert P\\rvert}$, with $C_k=\\gamma_k\\beta^{\\lvert P\\rvert}\\lvert c_1"
    "\\rvert$.",
    paper="exponent $t-\\lvert P\\rvert$",
    ours="exponent t − k − |P|: met with equality (to {agreement}); the printed bound is "
    "{printed:.1f} times the component of k = 6, and for one unit asks {single_printed:.1f} where "
    "there is {single:.1f}",
    measure=_lower_bound,
    judge=erratum(
        counterexample=lambda v: v["printed"] > 1.01 and v["single"] < v["single_printed"],
        repaired=lambda v: v["error"] < 1e-12 and v["single"] >= v["single_repaired"],
    ),
    note="Right if the count starts at $k=0$, or if $C_k$ takes up $\\alpha^{-k}$; growth in $t$ "
    "for a fixed $k$, which is the point, stands. The first ≥ of the chain is an equality.",
    repair="If all Jacobians share the right eigenvector $v$: $\\lvert g_k^Tv\\rvert\\ge\\gamma_k"
    "\\beta^{\\lvert P\\rvert}\\alpha^{t-k-\\lvert P\\rvert}\\lvert c_1\\rvert$, $P$ counted among "
    "the $t-k$ factors.",
)


def _immediate_norms() -> Values:
    net = network(4, 2, 8)
    states = net.states()
    immediate = gradients.immediate_derivatives(states[:-1], net.inputs, TANH)
    expected = {
        "W_rec": TANH(states[:-1]).norm(dim=-1),
        "W_in": net.inputs.norm(dim=-1),
        "b": torch.ones(8, dtype=torch.float64),
    }
    error = max(
        float((init.spectral_norm(immediate[name]) - norm).abs().max())
        for name, norm in expected.items()
    )

    def norm_and_slope(f: Nonlinearity, x: float) -> tuple[float, float]:
        state = torch.full((1, 4), x, dtype=torch.float64)
        direct = gradients.immediate_derivatives(state, None, f)["W_rec"]
        return float(init.spectral_norm(direct)), float(f.slope(state).max())

    norm, slope = norm_and_slope(TANH, 10.0)
    return {
        "error": error,
        "agreement": below(error, 1e-12),
        "saturated_norm": norm,
        "saturated_slope": slope,
        "norm_at_zero": norm_and_slope(TANH, 0.0)[0],
        "logistic_low": norm_and_slope(LOGISTIC, -20.0)[0],
    }


C32 = Claim(
    "P12-C32",
    "statement",
    "section 2.3, after equation 13",
    "The norm of the immediate derivative is set by the norms of state and input; the state must "
    "not go to saturation faster than the product grows, which tanh and sigmoid can satisfy.",
    ours="spectral norms are ‖σ(x)‖, ‖u‖ and 1 for W_rec, W_in and b (difference {agreement}); "
    "saturated tanh (x = 10) has norm {saturated_norm:.1f} while its slope is below 1e-7",
    measure=_immediate_norms,
    judge=partly(
        lambda v: (
            v["error"] < 1e-12
            and v["saturated_norm"] > 1
            and v["saturated_slope"] < 1e-7
            and v["norm_at_zero"] == 0
            and v["logistic_low"] < 1e-7
        )
    ),
    note="The first half holds exactly. The second names the wrong end for tanh: the immediate "
    "derivative vanishes where $\\sigma\\to0$ (tanh at 0, the logistic function at $-\\infty$). "
    "What saturation takes away is the Jacobian, through $\\sigma'$.",
)
