"""P12, sections 1 to 2.1: the unrolled network, and its gradient as a sum over time."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rnnlib import gradients, init
from rnnlib.cells import (
    LOGISTIC,
    TANH,
    Nonlinearity,
    activation_jacobian,
    activation_step,
    preactivation_jacobian,
    preactivation_step,
)
from rnnlib.claims.claim import Claim, Value
from rnnlib.claims.judging import below, erratum, holds

Values = dict[str, Value]


class Network(NamedTuple):
    """A small random network in the form of equation (2), float64, with inputs and targets."""

    W_rec: Tensor
    W_in: Tensor
    b: Tensor
    x0: Tensor
    inputs: Tensor
    targets: Tensor

    def states(self, f: Nonlinearity = TANH) -> Tensor:
        """``x_0`` to ``x_T``."""
        states = [self.x0]
        for u in self.inputs:
            states.append(preactivation_step(states[-1], u, self.W_rec, self.W_in, self.b, f))
        return torch.stack(states)

    def errors(self, f: Nonlinearity = TANH) -> Tensor:
        """``E_1`` to ``E_T``, each half the squared distance to its target."""
        return (self.states(f)[1:] - self.targets).square().sum(-1) / 2

    def gradient(self, loss: Callable[[Tensor], Tensor], f: Nonlinearity = TANH) -> Tensor:
        """Autograd's derivative of ``loss(errors)`` in W_rec, W_in and b, end to end."""
        leaves = [p.clone().requires_grad_() for p in (self.W_rec, self.W_in, self.b)]
        net = self._replace(W_rec=leaves[0], W_in=leaves[1], b=leaves[2])
        return flat(torch.autograd.grad(loss(net.errors(f)), leaves))


def network(
    n: int = 5, n_inputs: int = 3, n_steps: int = 12, *, std: float = 0.5, seed: int = 1
) -> Network:
    """Draw a network; the same on every machine for the same seed."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return init.normal(shape, scale, generator=g, dtype=torch.float64)

    return Network(
        draw(n, n, scale=std),
        draw(n, n_inputs),
        draw(n, scale=0.3),
        draw(n),
        draw(n_steps, n_inputs),
        draw(n_steps, n),
    )


def flat(parts: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def distance(a: Tensor, b: Tensor) -> float:
    """``|a - b| / |b|`` over all entries."""
    return float((a - b).norm() / b.norm())


def _loop() -> Values:
    net = network(n_steps=6)

    def first_input_moves_last_error(W_rec: Tensor) -> float:
        u = net.inputs.clone().requires_grad_()
        error = net._replace(W_rec=W_rec, inputs=u).errors()[-1]
        return float(torch.autograd.grad(error, u)[0][0].norm())

    with_loop = first_input_moves_last_error(net.W_rec)
    return {
        "with_loop": with_loop,
        "without_loop": first_input_moves_last_error(torch.zeros_like(net.W_rec)),
    }


F1 = Claim(
    "P12-F1",
    "figure",
    "figure 1",
    "A recurrent network is a layered network whose hidden units also feed themselves one step "
    "later; this loop lets information pass from one input to the next.",
    ours="the first of 6 inputs moves the last error with the loop (derivative {with_loop:.3f}) "
    "and not without it ({without_loop:.0f})",
    measure=_loop,
    judge=holds(lambda v: v["with_loop"] > 1e-6 and v["without_loop"] == 0),
    note="The chapter draws the diagram from the same graph: input, state with its delayed loop, "
    "cost.",
)


def _restart() -> Values:
    net = network()
    whole = net.states()
    resumed = net._replace(x0=whole[7], inputs=net.inputs[7:]).states()
    error = float((resumed - whole[7:]).abs().max())
    return {"error": error, "agreement": below(error, 1e-15)}


E1 = Claim(
    "P12-E1",
    "equation",
    "section 1.1, equation 1",
    "The next state is a function of the present state, the input and the parameters, and of "
    "nothing else: $x_t=F(x_{t-1},u_t,\\theta)$.",
    ours="a run taken up again from x₇ continues as the unbroken one (difference {agreement})",
    measure=_restart,
    judge=holds(lambda v: v["error"] < 1e-15),
    note="A definition; what is checked is that our step functions hide no other state.",
)


def _two_forms() -> Values:
    net = network(std=0.3, n_steps=40)
    worst = 0.0
    for f in (TANH, LOGISTIC):
        x = net.states(f)
        h = [f(net.x0)]
        for u in net.inputs:
            h.append(activation_step(h[-1], u, net.W_rec, net.W_in, net.b, f))
        worst = max(worst, float((torch.stack(h) - f(x)).abs().max()))
    zero = torch.zeros((), dtype=torch.float64)
    return {
        "error": worst,
        "agreement": below(worst, 1e-14),
        "zero_tanh": float(TANH(zero)),
        "zero_logistic": float(LOGISTIC(zero)),
    }


E2 = Claim(
    "P12-E2",
    "equation",
    "section 1.1, equation 2 and footnote 1",
    "$x_t=W_{rec}\\sigma(x_{t-1})+W_{in}u_t+b$ and the usual "
    "$h_t=\\sigma(W_{rec}h_{t-1}+W_{in}u_t+b)$ are the same network.",
    ours="with h₀ = σ(x₀) the two agree over 40 steps (difference {agreement}); x₀ = 0 means "
    "h₀ = {zero_tanh:.0f} for tanh and {zero_logistic:.1f} for the logistic function",
    measure=_two_forms,
    judge=holds(lambda v: v["error"] < 1e-14 and v["zero_tanh"] == 0 and v["zero_logistic"] == 0.5),
    note="The state is read at another place, $h_t=\\sigma(x_t)$. So “the initial state is "
    "zero” means different things in the two forms for the logistic function.",
)


def _unrolled() -> Values:
    net = network()
    copies = [
        [p.clone().requires_grad_() for p in (net.W_rec, net.W_in, net.b)] for _ in net.inputs
    ]
    x, loss = net.x0, net.x0.new_zeros(())
    for (W_rec, W_in, b), u, target in zip(copies, net.inputs, net.targets, strict=True):
        x = preactivation_step(x, u, W_rec, W_in, b, TANH)
        loss = loss + (x - target).square().sum() / 2
    by_copy = torch.autograd.grad(loss, [p for copy in copies for p in copy])
    summed = sum(flat(by_copy[i : i + 3]) for i in range(0, len(by_copy), 3))
    assert isinstance(summed, Tensor)
    gap = max(
        distance(summed, net.gradient(Tensor.sum)),
        distance(loss.detach(), net.errors().sum()),
    )
    return {"error": gap, "agreement": below(gap, 1e-12)}


F2 = Claim(
    "P12-F2",
    "figure",
    "figure 2",
    "The network run for T steps is a feedforward network of T layers with the same weights in "
    "each; back-propagating through it gives the gradient.",
    ours="loss and gradient of 12 layers with weights of their own, summed over the layers, equal "
    "those of the loop (relative difference {agreement})",
    measure=_unrolled,
    judge=holds(lambda v: v["error"] < 1e-12),
)


def _sum_over_errors() -> Values:
    net = network()
    parts = [net.gradient(operator.itemgetter(t)) for t in range(len(net.inputs))]
    gap = distance(torch.stack(parts).sum(0), net.gradient(Tensor.sum))
    return {"error": gap, "agreement": below(gap, 1e-12)}


E3 = Claim(
    "P12-E3",
    "equation",
    "section 1.1, equation 3",
    "The gradient is the sum over time of the gradients of the single errors $\\mathcal E_t$.",
    ours="12 separate gradients add up to autograd's (relative difference {agreement})",
    measure=_sum_over_errors,
    judge=holds(lambda v: v["error"] < 1e-12),
)


def _double_sum() -> Values:
    net = network()
    states = net.states()
    jacobians = gradients.state_jacobians(states, net.W_rec, TANH)
    immediate = gradients.immediate_derivatives(states[:-1], net.inputs, TANH)
    total = []
    for name in ("W_rec", "W_in", "b"):
        components = [
            gradients.temporal_components(jacobians[:t], error, immediate[name][:t]).sum(0)
            for t, error in enumerate(states[1:] - net.targets, start=1)
        ]
        total.append(torch.stack(components).sum(0))
    gap = distance(flat(total), net.gradient(Tensor.sum))
    return {"error": gap, "agreement": below(gap, 1e-12)}


E4 = Claim(
    "P12-E4",
    "equation",
    "section 1.1, equation 4",
    "The gradient of one error is a sum of temporal components, one for each earlier step $k$: "
    "error at $t$, carried back to $k$, times the immediate derivative there.",
    ours="all 78 components, for W_rec, W_in and b, add up to autograd's gradient "
    "(relative difference {agreement})",
    measure=_double_sum,
    judge=holds(lambda v: v["error"] < 1e-12),
)


def _jacobian() -> Values:
    i = torch.arange(3, dtype=torch.float64)
    W, x = 0.6 * torch.sin(1 + 1.7 * i[:, None] + 0.9 * i), torch.sin(5.6 + 0.9 * i)
    slope, step = TANH.slope(x), 1e-5
    moved = step * torch.eye(3, dtype=torch.float64)

    def after(start: Tensor) -> Tensor:
        return preactivation_step(start, None, W, None, None, TANH)

    measured = (after(x + moved) - after(x - moved)).mT / (2 * step)
    printed = W.mT * slope
    ours = preactivation_jacobian(x, W, TANH)
    other_form = activation_jacobian(TANH(x), W, TANH).mT
    bound = TANH.slope_bound * init.spectral_norm(W)
    error = float((measured - ours).abs().max())
    return {
        "error": error,
        "agreement": below(error, 1e-10),
        "gap": float((measured - printed).abs().max()),
        "gap_other_form": float((other_form - printed).abs().max()),
        "bound_holds": all(bool(init.spectral_norm(J) <= bound) for J in (ours, printed)),
    }


E5 = Claim(
    "P12-E5",
    "equation",
    "section 1.1, equation 5",
    "The error is carried from step to step by the Jacobians of equation 2, "
    "$\\prod W_{rec}^T\\,\\mathrm{diag}(\\sigma'(x_{i-1}))$.",
    paper="$W_{rec}^T\\,\\mathrm{diag}(\\sigma'(x_{i-1}))$",
    ours="finite differences agree with the repaired form (to {agreement}) and differ from the "
    "printed one by {gap:.2f}",
    measure=_jacobian,
    judge=erratum(
        counterexample=lambda v: v["gap"] > 0.1,
        repaired=lambda v: (
            v["error"] < 1e-10 and v["gap_other_form"] < 1e-15 and v["bound_holds"] is True
        ),
    ),
    note="A slip of transposition. The printed factor is right for the footnote's form of the "
    "network, in the layout with derivatives in columns and with σ′ taken at the argument of step "
    "i; for equation 2 that layout gives $\\mathrm{diag}(\\sigma')W_{rec}^T$. The bounds of "
    "section 2.3 use only norms, which a transpose leaves alone; directions do change.",
    repair="With column states $\\partial x_i/\\partial x_{i-1}=W_{rec}\\,"
    "\\mathrm{diag}(\\sigma'(x_{i-1}))$, the latest factor on the left.",
)


def _long_and_short() -> Values:
    slopes = {}
    for gain in (0.5, 4.0):
        per_seed = []
        for seed in range(5):
            net = network(50, 1, 50, std=gain / math.sqrt(50), seed=seed)
            jacobians = gradients.state_jacobians(net.states(), net.W_rec, TANH)
            norms = gradients.component_norms(jacobians, net.targets[-1])
            per_seed.append(float(gradients.growth_rate(norms.flip(-1))))
        slopes[gain] = per_seed
    return {"small_gain": max(slopes[0.5]), "large_gain": min(slopes[4.0])}


C1 = Claim(
    "P12-C1",
    "statement",
    "section 2",
    "Long-term components can grow exponentially more than short-term ones, and then make the "
    "gradient explode.",
    ours="tanh, 50 units, 5 networks: ln of the component's norm changes per step back by at "
    "most {small_gain:.1f} for gain 0.5 and by at least +{large_gain:.1f} for gain 4",
    measure=_long_and_short,
    judge=holds(lambda v: v["small_gain"] < -0.1 and v["large_gain"] > 0.1),
    note="“Can”, as the paper says: with small weights they die out instead.",
)
