"""The static picture of the error on its way back, for print and for readers without scripts.

The descent is the library's own; `backward.js` repeats it in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from rnnlib import init
from rnnlib.kernels import Errors, elman_ensemble

LIMITS: dict[str, tuple[float, float]] = {
    "radius": (0.2, 2.0),
    "gain": (0.25, 1.5),
    "alpha": (0.0, 8.0),
    "updates": (0, 300),
    "seed": (1, 100),
}
N_UNITS, N_INPUTS, SEQ_LEN = 12, 2, 60
RATE = 0.01  # of the descent, as in the authors' program

_INK, _MUTED, _RULE, _BLUE = "#1f2328", "#59636e", "#d0d7de", "#0072b2"
_LEFT, _RIGHT = 46, 630  # of both panels, in a drawing 640 wide


class Network(NamedTuple):
    """W ``(H, H)``, U ``(H, I)``, inputs ``(T, I)`` and the error at the end ``(H,)``; float64."""

    W: Tensor
    U: Tensor
    inputs: Tensor
    error: Tensor


class Trace(NamedTuple):
    """What an error meets on its way back through a network, step by step.

    ``norms`` ``(T+1,)`` after 0..T steps back, ``smallest`` and ``largest`` ``(T,)`` singular
    values of the Jacobians, Omega and its immediate derivative ``(H, H)`` with respect to W.
    """

    norms: Tensor
    smallest: Tensor
    largest: Tensor
    omega: float
    gradient: Tensor


def draws(seed: int) -> Iterator[float]:
    """Numbers between -1 and 1 that `backward.js` can draw too.

    Source: Park and Miller (1988), the minimal standard generator; the first ten are left out,
    since small seeds start alike.
    """
    x, left_out = seed, 10
    while True:
        x = 16807 * x % 2147483647
        if left_out:
            left_out -= 1
        else:
            yield 2 * x / 2147483647 - 1


def network(seed: int, radius: float) -> Network:
    """The network of a seed, its recurrent matrix at the given spectral radius."""
    numbers = draws(seed)

    def draw(*size: int) -> Tensor:
        n = torch.Size(size).numel()
        return torch.tensor(list(islice(numbers, n)), dtype=torch.float64).reshape(size)

    W, U = draw(N_UNITS, N_UNITS), draw(N_UNITS, N_INPUTS)
    inputs, error = draw(SEQ_LEN, N_INPUTS), draw(N_UNITS)
    return Network(init.scaled_to_radius(W, radius), U / 2, inputs, error / error.norm())


def trace(net: Network, gain: float) -> Trace:
    """Send the error back through ``h_t = tanh(gain (W h_{t-1} + U u_t))``."""
    errors = Errors("squared")
    W = (gain * net.W)[None].requires_grad_()
    h = elman_ensemble(
        net.inputs[None, None], W, gain * net.U[None], errors=errors, backend="torch"
    )
    (h[0, 0, -1] @ net.error).backward()
    h, W = h.detach()[0, 0], W.detach()[0]
    spread = torch.linalg.svdvals((1 - h.square())[..., None] * W).flip(0)
    assert errors.norms is not None
    assert errors.omega is not None
    assert errors.omega_gradient is not None
    return Trace(
        errors.norms[0, 0].flip(0),
        spread[:, -1],
        spread[:, 0],
        errors.omega.item(),
        gain * errors.omega_gradient[0],
    )


def descend(net: Network, gain: float, alpha: float, updates: int) -> Network:
    """Make ``updates`` steps of descent on ``alpha`` Omega."""
    for _ in range(updates):
        net = net._replace(W=net.W - RATE * alpha * trace(net, gain).gradient)
    return net


class Panel(NamedTuple):
    """A logarithmic panel over the steps back: its place, its decades and its marked values."""

    top: int
    height: int
    low: int
    high: int
    marks: dict[str, float]

    def down(self, value: float) -> float:
        decade = math.log10(max(value, 1e-300))
        return self.top + (self.high - decade) / (self.high - self.low) * self.height

    def draw(self, *inside: str) -> str:
        parts = []
        for name, value in self.marks.items():
            y, stroke = self.down(value), _MUTED if value == 1 else _RULE
            parts.append(f'<path d="M{_LEFT},{y:.1f}H{_RIGHT}" stroke="{stroke}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{name}</text>')
        bottom = self.top + self.height
        for back in range(0, SEQ_LEN + 1, 10):
            parts.append(
                f'<text x="{_across(back):.1f}" y="{bottom + 16}" text-anchor="middle">'
                f"{back}</text>"
            )
        width = _RIGHT - _LEFT
        # An inner svg clips to its own box, and needs no id for it.
        return (
            f'<g fill="{_MUTED}">{"".join(parts)}</g>'
            f'<svg x="{_LEFT}" y="{self.top}" width="{width}" height="{self.height}" '
            f'viewBox="{_LEFT} {self.top} {width} {self.height}" fill="none">'
            f"{''.join(inside)}</svg>"
        )


_NORM = Panel(34, 220, -10, 5, {"10⁵": 1e5, "1": 1, "10⁻⁵": 1e-5, "10⁻¹⁰": 1e-10})
_FACTOR = Panel(304, 120, -3, 1, {"10": 10, "1": 1, "0.1": 0.1, "0.01": 0.01, "0.001": 0.001})


@cache
def picture(radius: float, gain: float, alpha: float, updates: int, seed: int) -> str:
    """Draw the norms before and after the descent, and what each step back multiplies by.

    Returns:
        An ``<svg>`` element.
    """
    start = network(seed, radius)
    end = descend(start, gain, alpha, updates)
    before, after = trace(start, gain), trace(end, gain)
    told = [
        f"{name}: Ω {seen.omega:.3g}, radius {float(init.spectral_radius(net.W)):.2f}, "
        f"largest σ {float(init.spectral_norm(net.W)):.2f}, |δ| × "
        f"{float(seen.norms[-1] / seen.norms[0]) ** (1 / SEQ_LEN):.3f} per step"
        for name, net, seen in (
            ("start (dashed)", start, before),
            (f"after {updates} updates on Ω (solid)", end, after),
        )
    ]
    label = f"Norm of an error against steps back in time, logarithmic. {'; '.join(told)}."
    factors = (after.norms[1:] / after.norms[:-1]).tolist()
    steps = enumerate(zip(after.smallest.tolist(), after.largest.tolist(), factors, strict=True))
    bars, dots = "", ""
    for i, (smallest, largest, factor) in steps:
        x = f"{_across(i + 0.5):.1f}"
        bars += f"M{x},{_FACTOR.down(smallest):.1f}V{_FACTOR.down(largest):.1f}"
        dots += f"M{x},{_FACTOR.down(factor):.1f}h0"
    lines = "".join(
        f'<text x="{_LEFT}" y="{482 + 17 * i}">{line}</text>' for i, line in enumerate(told)
    )
    return (
        f'<svg viewBox="0 0 640 508" style="max-width:100%;height:auto;font:12px sans-serif" '
        f'fill="{_INK}" role="img" aria-label="{label}">'
        '<rect width="640" height="508" fill="#fff"/>'
        f'<text x="{_LEFT}" y="20" font-size="14">The error |δ| on its way back in time; gain '
        f"{gain:g}, α = {alpha:g}, network {seed}</text>"
        + _NORM.draw(
            f'<polyline points="{_curve(before.norms)}" stroke="{_MUTED}" stroke-width="2" '
            'stroke-dasharray="6 4"/>',
            f'<polyline points="{_curve(after.norms)}" stroke="{_BLUE}" stroke-width="2.5"/>',
        )
        + f'<text x="{_LEFT}" y="294" font-size="14">What each step back multiplies by: all '
        "directions (bars), the error (dots)</text>"
        + _FACTOR.draw(
            f'<path d="{bars}" stroke="{_MUTED}" stroke-opacity=".5" stroke-width="7"/>',
            f'<path d="{dots}" stroke="{_BLUE}" stroke-width="5" stroke-linecap="round"/>',
        )
        + f'<text x="{(_LEFT + _RIGHT) / 2}" y="458" text-anchor="middle">steps back in time</text>'
        f"{lines}</svg>"
    )


def _across(back: float) -> float:
    return _LEFT + back / SEQ_LEN * (_RIGHT - _LEFT)


def _curve(norms: Tensor) -> str:
    points = enumerate(norms.tolist())
    return " ".join(f"{_across(back):.1f},{_NORM.down(norm):.1f}" for back, norm in points)
