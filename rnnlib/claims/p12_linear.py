"""P12, section 2.2: the linear network, where the error is multiplied by a matrix power."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnlib import gradients, init
from rnnlib.cells import LINEAR
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, erratum, holds
from rnnlib.claims.p12_unrolled import Values, distance, network


def _matrix_power() -> Values:
    net = network(6, 1, 15)
    product = gradients.jacobian_product(
        gradients.state_jacobians(net.states(LINEAR), net.W_rec, LINEAR)
    )
    power = torch.linalg.matrix_power(net.W_rec, 15)
    return {
        "error": distance(product, power),
        "agreement": below(distance(product, power), 1e-12),
        "error_transposed": distance(product.mT, torch.linalg.matrix_power(net.W_rec.mT, 15)),
    }


E6 = Claim(
    "P12-E6",
    "equation",
    "section 2.2, equation 6",
    "In a linear network the Jacobian over $l$ steps is the $l$-th power of the recurrent matrix.",
    paper="$(W_{rec}^T)^l$",
    ours="product of 15 Jacobians against the matrix power: relative difference {agreement}",
    measure=_matrix_power,
    judge=holds(lambda v: v["error"] < 1e-12 and v["error_transposed"] < 1e-12),
    note="Right as printed in the layout with derivatives in columns; multiplied from the left by "
    "the error as a row, as equation 4 has it, the factor is $W_{rec}^l$.",
)


def _power_iteration() -> Values:
    first, second = 1.05, 0.945
    rest = torch.linspace(0.7, 0.05, 18, dtype=torch.float64)
    rest[1::2] *= -1
    g = torch.Generator().manual_seed(3)
    spectrum = torch.cat([torch.tensor([first, second], dtype=torch.float64), rest])
    W = init.with_spectrum(spectrum, generator=g)
    error = init.normal((20,), 1.0, generator=g, dtype=torch.float64)
    carried = gradients.error_history(W.expand(200, 20, 20), error).flip(0)  # row l: l steps back
    left, right = _leading_eigenvector(W.mT), _leading_eigenvector(W)
    unit = carried / carried.norm(dim=-1, keepdim=True)
    off = (unit - (unit @ left)[:, None] * left).norm(dim=-1)
    slope = float(gradients.growth_rate(carried.norm(dim=-1), start=150))
    rate = float(gradients.growth_rate(off[80:180]))
    return {
        "slope": slope,
        "slope_error": abs(slope - math.log(first)),
        "rate_ratio": rate / math.log(second / first),
        "cosine_left": float(gradients.alignment(carried[-1], left)),
        "cosine_right": float(gradients.alignment(carried[-1], right)),
    }


def _leading_eigenvector(W: Tensor) -> Tensor:
    values, vectors = torch.linalg.eig(W)
    return vectors[:, values.abs().argmax()].real


E7 = Claim(
    "P12-E7",
    "equation",
    "section 2.2, equation 7 and proof",
    "Carried back $l$ steps, the error tends to $c_j\\lambda_j^l q_j^T$: it grows by the leading "
    "eigenvalue on which it has weight and turns to that eigenvector's direction.",
    paper="rate $\\lvert\\lambda_1\\rvert$ per step",
    ours="ln-slope {slope:.4f} against ln 1.05 = 0.0488; the direction settles at "
    "{rate_ratio:.2f} times the rate ln(λ₂/λ₁)",
    measure=_power_iteration,
    judge=holds(
        lambda v: (
            v["slope_error"] < 1e-3
            and abs(v["rate_ratio"] - 1) < 0.05
            and v["cosine_left"] > 1 - 1e-6
            and v["cosine_right"] < 0.99
        )
    ),
    note="$q_j$ is the left eigenvector of $W_{rec}$, as the row error asks; a right one is "
    "another direction.",
)


def _jordan() -> Values:
    def ratio(lam: float, length: int = 200) -> float:
        block = torch.tensor([[lam, 1.0], [0.0, lam]], dtype=torch.float64)
        norm = init.spectral_norm(torch.linalg.matrix_power(block, length))
        return float(norm) / (length * lam ** (length - 1))

    return {"growing": ratio(1.05), "marginal": ratio(1.0)}


C2 = Claim(
    "P12-C2",
    "statement",
    "section 2.2, after the proof",
    "The proof extends to matrices that are not diagonalisable, by the Jordan form and the whole "
    "subspace of the leading eigenvalue.",
    ours="2×2 block, 200 steps: norm / (l λˡ⁻¹) = {growing:.2f} for λ = 1.05 and {marginal:.2f} "
    "for λ = 1",
    measure=_jordan,
    judge=holds(lambda v: abs(v["growing"] - 1) < 0.01 and abs(v["marginal"] - 1) < 0.01),
    note="The subspace is that of the generalised eigenvectors. At λ = 1 the norm still grows, "
    "linearly in l, although the spectral radius is not larger than 1.",
)


def _radius() -> Values:
    A = torch.tensor([[0.9, 10.0], [0.0, 0.8]], dtype=torch.float64)
    norms = _power_norms(A, 200)
    g = torch.Generator().manual_seed(0)
    W = init.normal((20, 10, 10), 1.0, generator=g, dtype=torch.float64)
    below_one, above_one = (
        gradients.growth_rate(_power_norms(init.scaled_to_radius(W, r), 200), start=100)
        for r in (0.9, 1.1)
    )
    return {
        "decays": float(below_one.max()),
        "grows": float(above_one.min()),
        "peak": float(norms.max()),
        "peak_step": int(norms.argmax()) + 1,
        "last": float(norms[-1]),
    }


def _power_norms(W: Tensor, length: int) -> Tensor:
    """``||W^l||_2`` for l from 1 to ``length``, in the last axis."""
    power, norms = W, []
    for _ in range(length):
        norms.append(init.spectral_norm(power))
        power = power @ W
    return torch.stack(norms, dim=-1)


C3 = Claim(
    "P12-C3",
    "statement",
    "section 2.2, after the proof",
    "For gradients of a linear network to grow, the spectral radius of $W_{rec}$ must exceed 1.",
    paper="1",
    ours="20 random matrices: ln-slope at most {decays:.2f} at radius 0.9, at least {grows:.2f} "
    "at 1.1; yet a matrix of radius 0.9 first grows to {peak:.1f} at l = {peak_step}",
    measure=_radius,
    judge=holds(
        lambda v: (
            v["decays"] < 0
            and v["grows"] > 0
            and v["peak"] > 25
            and v["peak_step"] == 6
            and v["last"] < 1e-6
        )
    ),
    note="True, as the paper sets out to show, for exponential growth as $l\\to\\infty$. A matrix "
    "that is not normal may grow for a while first: (0.9, 10; 0, 0.8).",
)


def _eigen_expansion() -> Values:
    g = torch.Generator().manual_seed(5)
    spectrum = [1.1, 0.9, -0.7, 0.5, -0.3]
    net = network(5, 3, 12)._replace(W_rec=init.with_spectrum(spectrum, generator=g))
    states = net.states(LINEAR)
    immediate = gradients.immediate_derivatives(states[:-1], net.inputs, LINEAR)
    direct = torch.cat([immediate[name] for name in ("W_rec", "W_in", "b")], dim=-1)
    truth = net.gradient(lambda errors: errors[-1], LINEAR)
    error = states[-1] - net.targets[-1]
    lam, right = (part.real for part in torch.linalg.eig(net.W_rec))
    left = torch.linalg.inv(right)

    def expansion(basis: Tensor, first: int) -> Tensor:
        """Equation (8) with the rows of ``basis`` for q_j, summed from step ``first``."""
        c = torch.linalg.solve(basis.mT, error)
        steps = torch.arange(first, 13)
        weights = lam ** (12 - steps)[:, None]  # (steps, j)
        return torch.einsum("j,ij,jn,inp->p", c, weights, basis, direct[steps - 1])

    repaired = distance(expansion(left, 1), truth)
    return {
        "error": repaired,
        "agreement": below(repaired, 1e-10),
        "gap_index": distance(expansion(left, 6), truth),
        "gap_right": distance(expansion(right.mT, 1), truth),
    }


E8 = Claim(
    "P12-E8",
    "equation",
    "section 2.2, equation 8",
    "The whole gradient of a linear network, expanded in eigenvectors: for each $j$ a sum over "
    "the steps from $k$ to $t$.",
    paper="$\\sum_j\\sum_{i=k}^{t}c_j\\lambda_j^{t-i}q_j^T\\,\\partial^+x_i/\\partial\\theta$",
    ours="summed from i = 1 with left eigenvectors it equals autograd's gradient (to "
    "{agreement}); summed from k = 6 it is off by {gap_index:.0%}, with right eigenvectors by "
    "{gap_right:.0%}",
    measure=_eigen_expansion,
    judge=erratum(
        counterexample=lambda v: v["gap_index"] > 0.01 and v["gap_right"] > 0.01,
        repaired=lambda v: v["error"] < 1e-10,
    ),
    note="A slip of notation: $k$ is not defined here. Read it as 1, and $q_j$ as the left "
    "eigenvectors, and the equation and what follows from it are right.",
    repair="$\\sum_jc_j\\sum_{i=1}^{t}\\lambda_j^{t-i}\\,p_j\\,\\partial^+x_i/\\partial\\theta$ "
    "with the left eigenvectors $p_jW_{rec}=\\lambda_jp_j$ and "
    "$\\partial\\mathcal E_t/\\partial x_t=\\sum_jc_jp_j$.",
)
