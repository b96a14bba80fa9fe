"""P12, section 2.3, first half: when a product of different Jacobians must grow."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlib import gradients, init
from rnnlib.cells import (
    LOGISTIC,
    TANH,
    Nonlinearity,
    preactivation_jacobian,
    preactivation_step,
)
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, erratum, holds
from rnnlib.claims.p12_unrolled import Values


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, generator: torch.Generator, std: float = 1.0) -> Tensor:
    return init.normal(shape, std, generator=generator, dtype=torch.float64)


def _for_all_u(eigenvalue: float, bound: float) -> Values:
    """Try ``|u^T J v| > bound |u^T v|`` for all u, on any J and v and on an eigenvector v."""
    g = seeded(7)
    met = 0
    for n in (2, 3, 5, 8):
        for J in draw(50, n, n, generator=g):
            v, u = draw(n, generator=g), draw(n, generator=g)
            Jv = J @ v
            u = u - (u @ Jv) / (Jv @ Jv) * Jv  # perpendicular to J v: the left side is 0
            met += bool((u @ Jv).abs() > bound * (u @ v).abs())
    # v = e_1 is an eigenvector, u = e_2 is perpendicular to it: 0 > 0 is asked.
    J = torch.tensor([[eigenvalue, 0.4], [0.0, 0.3]], dtype=torch.float64)
    v, other = torch.eye(2, dtype=torch.float64)
    strict = bool((other @ J @ v).abs() > bound * (other @ v).abs())
    many = draw(1000, 2, generator=g)
    repaired = bool(((many @ J @ v).abs() >= bound * (many @ v).abs()).all())
    slope = eigenvalue  # of a one-unit map: u and v are numbers, u not 0
    return {
        "met": met,
        "strict_for_eigenvector": strict,
        "repaired": repaired,
        "one_unit": bool((many[:, 0] * slope).abs().gt(bound * many[:, 0].abs()).all()),
    }


_REPAIRED_EXPANSION = (
    "$v$ is a right eigenvector of the Jacobian with $\\lvert\\mu\\rvert\\ge{}$; this is what the "
    "condition says with ≥ in place of >."
)

E9 = Claim(
    "P12-E9",
    "equation",
    "section 2.3, equation 9",
    "A Jacobian “expands along $v$” by $\\alpha>1$ if $\\lvert u^TJv\\rvert>\\alpha\\lvert "
    "u^Tv\\rvert$ for every vector $u$.",
    paper="$\\alpha>1$",
    ours="met by {met} of 200 random Jacobians and directions, nor by an eigenvector; with ≥ an "
    "eigenvector meets it",
    measure=lambda: _for_all_u(1.2, 1.1),
    judge=erratum(
        counterexample=lambda v: v["met"] == 0 and v["strict_for_eigenvector"] is False,
        repaired=lambda v: v["repaired"] is True and v["one_unit"] is True,
    ),
    note="For two or more units no matrix satisfies it: take $u$ perpendicular to $Jv$, or to $v$. "
    "For one unit and $u\\ne0$ it reads $\\lvert F'\\rvert>\\alpha$ and is right, so the paper's "
    "one-unit example is untouched.",
    repair=_REPAIRED_EXPANSION.format("\\alpha")
    + " Without a shared direction: a cone that every Jacobian maps into itself, stretching each "
    "of its vectors by at least α.",
)

E10 = Claim(
    "P12-E10",
    "equation",
    "section 2.3, equation 10",
    "The matrices of the set $P$ do not expand, but shrink $v$ by no more than a factor "
    "$\\beta>0$, in the same sense as equation 9.",
    paper="$\\beta>0$",
    ours="met by {met} of 200 random Jacobians and directions with β = 0.5, nor by an eigenvector; "
    "with ≥ an eigenvector meets it",
    measure=lambda: _for_all_u(0.6, 0.5),
    judge=erratum(
        counterexample=lambda v: v["met"] == 0 and v["strict_for_eigenvector"] is False,
        repaired=lambda v: v["repaired"] is True and v["one_unit"] is True,
    ),
    note="As equation 9. The idea, that no Jacobian may wipe out what the others have built up, "
    "is what matters and stands.",
    repair=_REPAIRED_EXPANSION.format("\\beta"),
)

# A family that shares its expanding direction: T Jacobians, of which P directly after step K are
# the non-expanding ones, as in the paper's chain.
ALPHA, BETA, T, K, P = 1.2, 0.5, 24, 6, 4


def shared_direction() -> tuple[Tensor, Tensor, Tensor]:
    """Jacobians ``J_1`` to ``J_T``, their common right eigenvector, and an error at ``T``."""
    g = seeded(11)
    basis = draw(5, 5, generator=g)
    spectra = 0.9 * torch.rand(T, 5, generator=g, dtype=torch.float64)
    spectra[:, 0] = ALPHA
    spectra[K : K + P, 0] = BETA
    jacobians = torch.linalg.solve(basis, basis * spectra[:, None], left=False)
    return jacobians, basis[:, 0], draw(5, generator=g)


def _product_along_v() -> Values:
    jacobians, v, _ = shared_direction()

    def growth(first: int) -> float:
        carried = gradients.jacobian_product(jacobians[first:]) @ v
        return float(carried @ v / (v @ v))

    whole = growth(0) / (BETA**P * ALPHA ** (T - P))
    later = growth(K) / (BETA**P * ALPHA ** (T - K - P))
    error = max(abs(whole - 1), abs(later - 1))
    return {
        "error": error,
        "agreement": below(error, 1e-12),
        "printed_over_true": 1 / (growth(K) / (BETA**P * ALPHA ** (T - P))),
    }


C4 = Claim(
    "P12-C4",
    "statement",
    "section 2.3, after equation 10",
    "The product of the Jacobians then expands along $v$ roughly by "
    "$\\beta^{\\lvert P\\rvert}\\alpha^{t-\\lvert P\\rvert}$.",
    ours="24 matrices with a common eigenvector, 4 of them in P: equal (to {agreement}) counted "
    "from k = 0; from k = 6 the exponent is t − k − |P|, and the print is {printed_over_true:.1f} "
    "times too large",
    measure=_product_along_v,
    judge=holds(lambda v: v["error"] < 1e-12),
    note="Read with $k=0$, as section 2.1 does, the exponent is right; in general it is "
    "$t-k-\\lvert P\\rvert$, the number of factors outside $P$.",
)


def _nilpotent(f: Nonlinearity, scale: float, saturated: float) -> tuple[Tensor, Tensor, float]:
    """``W = c(1, 1; -1, -1)``, spectral radius 0, its Jacobian at a fixed point, the miss there."""
    W = scale * torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    x = torch.tensor([0.0, saturated], dtype=torch.float64)
    b = x - f(x) @ W.mT
    miss = (preactivation_step(x, None, W, None, b, f) - x).abs().max()
    return W, preactivation_jacobian(x, W, f), float(miss)


def _products_of_radii() -> Values:
    W, J, miss = _nilpotent(TANH, 3.0, 2.0)
    A, B = draw(2, 200, 4, 4, generator=seeded(2))
    norms_hold = init.spectral_norm(A @ B) <= init.spectral_norm(A) * init.spectral_norm(B)
    g = seeded(4)
    lam = torch.linspace(0.3, 1.7, 6, dtype=torch.float64)
    return {
        "radius_W": float(init.spectral_radius(W)),
        "radius_J": float(init.spectral_radius(J)),
        "miss": miss,
        "norms_hold": bool(norms_hold.all()),
        "norm_J_within_bound": bool(
            init.spectral_norm(J) <= TANH.slope_bound * init.spectral_norm(W)
        ),
        "alpha_within_radius": bool(
            lam.max() <= init.spectral_radius(init.with_spectrum(lam, generator=g)) + 1e-9
        ),
    }


C5 = Claim(
    "P12-C5",
    "statement",
    "section 2.3, after equation 10",
    "$\\alpha$ is bounded by the spectral radius of each Jacobian, and this in turn by the product "
    "of the spectral radii of $W_{rec}$ and $\\mathrm{diag}(\\sigma')$.",
    paper="$\\rho(J)\\le\\rho(W_{rec})\\,\\rho(\\mathrm{diag}\\,\\sigma')$",
    ours="W = 3·(1, 1; −1, −1) has radius {radius_W:.0f}, its Jacobian at a fixed point radius "
    "{radius_J:.3f}",
    measure=_products_of_radii,
    judge=erratum(
        counterexample=lambda v: v["radius_W"] < 1e-6 and v["radius_J"] > 2 and v["miss"] < 1e-12,
        repaired=lambda v: (
            v["norms_hold"] is True
            and v["norm_J_within_bound"] is True
            and v["alpha_within_radius"] is True
        ),
    ),
    note="The first half is true once equation 9 is repaired, since α is then at most the modulus "
    "of an eigenvalue. The second half is true of norms, which is what the text's own inequality "
    "uses, and of radii when $W_{rec}$ is normal. Also $\\rho_{\\sigma'}\\le1$ and $\\le1/4$: the "
    "bounds are attained at 0. The 2013 proceedings version speaks of the largest singular value.",
    repair="$\\lVert J\\rVert_2\\le\\gamma\\,\\sigma_{\\max}(W_{rec})$ with "
    "$\\gamma=\\max\\lvert\\sigma'\\rvert$.",
)


def _explosion_at_radius_zero() -> Values:
    _, J_tanh, _ = _nilpotent(TANH, 3.0, 2.0)
    W_logistic, J_logistic, miss = _nilpotent(LOGISTIC, 12.0, 3.0)
    W = draw(50, 6, 6, generator=seeded(6))
    bounded = True
    for f in (TANH, LOGISTIC):
        scaled = W * (0.95 / f.slope_bound / init.spectral_norm(W))[:, None, None]
        states = draw(30, 50, 6, generator=seeded(8), std=2.0)
        product = gradients.jacobian_product(
            preactivation_jacobian(states, scaled, f).transpose(0, 1)
        )
        bounded &= bool((init.spectral_norm(product) <= 0.95**30 * (1 + 1e-12)).all())
    return {
        "radius_W": float(init.spectral_radius(W_logistic)),
        "miss": miss,
        "growth_tanh": float(init.spectral_norm(torch.linalg.matrix_power(J_tanh, 20))),
        "growth_logistic": float(init.spectral_norm(torch.linalg.matrix_power(J_logistic, 20))),
        "norm_bound": bounded,
    }


C6 = Claim(
    "P12-C6",
    "statement",
    "section 2.3, after equation 10",
    "For gradients to explode the spectral radius of $W_{rec}$ must exceed 1 for tanh units, and 4 "
    "for sigmoid units.",
    paper="$\\rho>1$ (tanh), $\\rho>4$ (sigmoid)",
    ours="radius {radius_W:.0f}, yet over 20 steps the Jacobian grows to {growth_tanh:.1e} "
    "(tanh) and {growth_logistic:.1e} (sigmoid); with σ_max·γ = 0.95 no product exceeds 0.95ˡ",
    measure=_explosion_at_radius_zero,
    judge=erratum(
        counterexample=lambda v: (
            v["radius_W"] < 1e-6
            and v["miss"] < 1e-12
            and v["growth_tanh"] > 1e6
            and v["growth_logistic"] > 1e6
        ),
        repaired=lambda v: v["norm_bound"] is True,
    ),
    note="Right for one unit and for normal matrices, where radius and norm agree, and a good "
    "guide for random ones. The counterexample is local: it explodes around an unstable fixed "
    "point, which is the picture of section 2.5.",
    repair="The largest singular value of $W_{rec}$ must exceed $1/\\gamma$: 1 for tanh, 4 for the "
    "logistic function.",
)
