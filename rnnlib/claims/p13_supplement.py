"""P13, supplement: the linear network by power iteration, and how hyper-parameters were chosen."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnlib import gradients, init
from rnnlib.cells import LINEAR
from rnnlib.claims import p12_linear as linear
from rnnlib.claims.claim import Claim
from rnnlib.claims.judging import below, erratum
from rnnlib.claims.p12_expansion import seeded
from rnnlib.claims.p12_unrolled import Values, distance, network

E12 = replace(linear.E6, id="P13-E12", where="supplement, equation 12")

E13 = replace(linear.E7, id="P13-E13", where="supplement, equation 13")


def _expansion() -> Values:
    T = 12
    W = init.with_spectrum([1.1, 0.9, -0.7, 0.5, -0.3], generator=seeded(5))
    net = network(5, 3, T)._replace(W_rec=W)
    states = net.states(LINEAR)
    immediate = gradients.immediate_derivatives(states[:-1], net.inputs, LINEAR)
    direct = torch.cat([immediate[name] for name in ("W_rec", "W_in", "b")], dim=-1)
    truth = net.gradient(lambda errors: errors[-1], LINEAR)
    lam, right = (part.real for part in torch.linalg.eig(W))
    left = torch.linalg.inv(right)
    c = torch.linalg.solve(left.mT, states[-1] - net.targets[-1])

    def terms(steps: Tensor) -> Tensor:
        """The sum over j of ``c_j lambda_j^(T - i) q_j d+x_i``, for each step i."""
        weights = lam ** (T - steps)[:, None]
        return torch.einsum("j,ij,jn,inp->ip", c, weights, left, direct[steps - 1])

    whole = terms(torch.arange(1, T + 1)).sum(0)
    # In print neither the power nor the derivative depends on the index i of the sum.
    literal = [(T - k + 1) * terms(torch.tensor([k]))[0] for k in range(1, T + 1)]
    error = distance(whole, truth)
    return {
        "error": error,
        "agreement": below(error, 1e-10),
        "nearest": min(distance(each, truth) for each in literal),
    }


E14 = Claim(
    "P13-E14",
    "equation",
    "supplement, equation 14",
    "The whole gradient of a linear network, expanded in eigenvectors: for each $j$ a sum over "
    "the steps from $k$ to $t$.",
    paper="$\\sum_j\\sum_{i=k}^{t}c_j\\lambda_j^{t-k}q_j^T\\,\\partial^+x_k/\\partial\\theta$",
    ours="with the index i of the sum in place of k, from i = 1, it equals autograd's gradient (to "
    "{agreement}); as printed it is off by at least {nearest:.0%}, whichever k is meant",
    measure=_expansion,
    judge=erratum(
        counterexample=lambda v: v["nearest"] > 0.01,
        repaired=lambda v: v["error"] < 1e-10,
    ),
    note="A misprint: the 2012 paper has i in the power and in the derivative (claim P12-E8). "
    "Nothing that follows depends on it.",
    repair="$\\sum_jc_j\\sum_{i=1}^{t}\\lambda_j^{t-i}\\,p_j\\,\\partial^+x_i/\\partial\\theta$ "
    "with the left eigenvectors $p_jW_{rec}=\\lambda_jp_j$ and "
    "$\\partial\\mathcal E_t/\\partial x_t=\\sum_jc_jp_j$.",
)

S1 = Claim(
    "P13-S1",
    "statement",
    "supplement, experimental setup",
    "All hyper-parameters were selected by a grid search on a validation set.",
    note="The grid is not printed, only the values chosen. Our own grids stand in the settings of "
    "each record.",
)
