"""Diagrams of recurrent networks and of their dynamics (P12, Figures 1, 2, 4 and 6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle
from torch import Tensor

from rnnlib import dynamics, surface
from rnnlib.figures.plots import label
from rnnlib.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILLION, WIDTH


def network(edges: Iterable[tuple[str, str, int]], n_steps: int = 3) -> Figure:
    r"""Draw a recurrent network folded and unrolled in time (P12, Figures 1 and 2).

    Args:
        edges: ``(from, to, delay)`` between the rows ``u`` (input), ``x`` (state) and
            ``E`` (error); ``delay`` is the number of steps that the arrow takes.
        n_steps: how many copies the unrolled graph shows.
    """
    row = {"u": 0.0, "x": 1.0, "E": 2.0}
    symbol = {"u": r"\mathbf{u}", "x": r"\mathbf{x}", "E": r"\mathcal{E}"}
    colour = {"u": GREEN, "x": BLUE, "E": VERMILLION}
    fig, ax = plt.subplots(figsize=(WIDTH, 2.9))

    def node(x: float, name: str, index: str) -> None:
        ax.add_patch(Circle((x, row[name]), 0.27, fc="white", ec=colour[name], lw=1.8, zorder=3))
        ax.text(x, row[name], f"${symbol[name]}_{{{index}}}$", ha="center", va="center", zorder=4)

    def arrow(start: tuple[float, float], end: tuple[float, float], **how: Any) -> None:
        style = {"arrowstyle": "-|>", "color": GREY, "lw": 1.5, "shrinkA": 17, "shrinkB": 17, **how}
        ax.annotate("", end, start, arrowprops=style)

    folded = -2.6  # where the folded graph stands; the unrolled one starts at 0
    for name in row:
        node(folded, name, "t")
        for t in range(1, n_steps + 1):
            node(t, name, str(t))
    node(0, "x", "0")
    for start, end, delay in edges:
        if delay:  # the folded graph shows a delay as a loop, the unrolled one as a step
            ax.add_patch(
                Arc((folded + 0.32, 1.0), 0.62, 0.5, theta1=-140, theta2=128, color=GREY, lw=1.5)
            )
            arrow((folded + 0.2, 1.235), (folded + 0.1, 1.17), shrinkA=0, shrinkB=0)
            ax.text(folded + 0.7, 1.0, f"delay\n{delay} step", va="center", fontsize=9)
        else:
            arrow((folded, row[start]), (folded, row[end]))
        for t in range(max(1, delay), n_steps + 1):
            arrow((t - delay, row[start]), (t, row[end]))
            if delay:
                back = {"color": VERMILLION, "linestyle": "--", "connectionstyle": "arc3,rad=-.4"}
                arrow((t, row[end]), (t - delay, row[start]), **back)
    for x, text in ((folded - 0.3, "folded"), (0.7, "unrolled in time")):
        ax.text(x, 2.6, text, fontweight="bold", va="center")
    ax.set(xlim=(folded - 0.4, n_steps + 0.4), ylim=(-0.35, 2.8), aspect="equal")
    ax.axis("off")
    return fig


def bifurcation(w: float, b: Tensor, *, x0: float) -> Figure:
    """Attractors, the boundary between them and the flow of the one-unit map (P12, Figure 4)."""
    fig, ax = plt.subplots(figsize=(WIDTH, 4.2))
    found, fold = dynamics.bifurcation_diagram(w, b), dynamics.folds(w)
    low, high = float(b[0]), float(b[-1])
    field_b, field_x = np.meshgrid(np.linspace(low, high, 18)[1:-1], np.linspace(-3.4, 3.4, 15))
    flow = w / (1 + np.exp(-field_x)) + field_b - field_x
    pull = np.sign(flow) * np.abs(flow) ** 0.5  # the root keeps the slow passages visible
    arrows: dict[str, Any] = {"color": "#b5b5b5", "angles": "xy", "pivot": "mid", "width": 0.003}
    ax.quiver(field_b, field_x, np.zeros_like(pull), pull, scale=24, **arrows)
    for branch, text in ((found.lower, None), (found.upper, "attractor")):
        ax.plot(b, branch, color=BLUE, linewidth=2.8, label=text)
    ax.plot(b, found.middle, color=VERMILLION, linestyle="--", label="boundary of the basins")
    ax.plot([fold.b_1, fold.b_2], [fold.x_1, fold.x_2], "o", color=BLACK, label="fold", zorder=5)
    for name, where, state, side in (
        ("b_1", fold.b_1, fold.x_1, 1),
        ("b_2", fold.b_2, fold.x_2, -1),
    ):
        ax.axvline(where, color=GREY, linewidth=0.7, linestyle=":")
        align = {"ha": "left" if side > 0 else "right"}
        label(ax, where + side * 0.02, state + side * 0.05, f"${name}$", BLACK, **align)
    cross = float(surface.wall_line(torch.tensor(w), x0=x0))
    ax.plot(
        cross, x0, "o", color=VERMILLION, mfc="white", mew=1.8, label=f"$x_0={x0}$ changes basin"
    )
    ax.set(xlabel="bias $b$", ylabel=r"state $x_\infty$", xlim=(low, high), ylim=(-3.6, 3.6))
    ax.legend(loc="upper left", frameon=True, framealpha=0.95, edgecolor="none")
    return fig


def split_steps(ax: Axes, states: Tensor, moved: Tensor, *, boundary: float = 0.0) -> None:
    """Draw a driven orbit downward, each step in two: the constant map, then the input's push.

    Source: P12, Figure 6.

    Args:
        ax: where to draw.
        states: ``(T + 1,)``.
        moved: ``(T,)``; the constant map's image of ``states[:-1]``.
        boundary: where the constant map's basins meet.
    """
    for t, (start, middle, end) in enumerate(zip(states, moved, states[1:], strict=False)):
        names = (r"constant map $\tilde F$", "input $U_t$") if t == 0 else (None, None)
        ax.plot([start, middle], [t, t + 0.7], color=BLACK, linewidth=2, label=names[0])
        ax.plot([middle, end], [t + 0.7, t + 1], color=ORANGE, linewidth=2, label=names[1])
    ax.plot(states, range(len(states)), "o", color=BLACK, markersize=5)
    ax.axvline(boundary, color=GREY, linestyle=":", label="boundary")
    ax.set(xlabel="state $x_t$", ylabel="step $t$", ylim=(len(states) - 0.7, -0.3))
    ax.legend(loc="lower left")
