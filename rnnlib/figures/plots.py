"""Plots that several chapters share: runs with their spread, success rates, arms compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import blended_transform_factory
from torch import Tensor

from rnnlib.figures.style import ARMS, BLACK, BLUE, GREEN, VERMILLION, WIDTH
from rnnlib.statistics import wilson


def label(ax: Axes, x: float, y: float, text: str, color: str = BLACK, **options: Any) -> None:
    """Write ``text`` beside a curve, on a white halo so that it reads on any ground."""
    options = {"ha": "left", "va": "center", **options}
    effect = [withStroke(linewidth=3, foreground="white")]
    ax.text(x, y, text, color=color, path_effects=effect, **options)


def spread(ax: Axes, x: Tensor, runs: Tensor, text: str = "", **style: Any) -> None:
    """Draw the median of ``runs`` ``(runs, x)`` over their whole range."""
    style = {"color": BLUE, **style}
    low, high = runs.amin(0), runs.amax(0)
    ax.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    ax.plot(x, runs.median(0).values, label=text, **style)


def success(
    ax: Axes,
    lengths: Sequence[int],
    solved: Sequence[Sequence[bool]],
    arm: str,
    shift: float = 0.0,
    scale: str = "paper",
) -> None:
    """Draw success rates with Wilson 95 % intervals against length, in the style of ``arm``.

    A run below the paper's ``scale`` is drawn smaller and paler.
    """
    style = ARMS[arm] if scale == "paper" else {**ARMS[arm], "alpha": 0.55, "markersize": 4}
    rates = [sum(runs) / len(runs) for runs in solved]
    bounds = [wilson(sum(runs), len(runs)) for runs in solved]
    below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, bounds, strict=True)]
    above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)]
    x = [length + shift for length in lengths]
    ax.errorbar(x, rates, yerr=[below, above], capsize=3, label=f"{arm}, {scale} scale", **style)


def profile(x: Tensor, curves: Mapping[str, Tensor], *, xlabel: str) -> Figure:
    """Several quantities over one axis, one panel each, from the top down."""
    colours = (BLACK, BLUE, VERMILLION, GREEN)
    fig, panels = plt.subplots(
        len(curves), 1, figsize=(WIDTH, 1.4 * len(curves) + 0.4), sharex=True
    )
    for ax, (name, curve), colour in zip(panels, curves.items(), colours, strict=False):
        ax.plot(x, curve, color=colour)
        ax.set_ylabel(name)
    panels[-1].set_xlabel(xlabel)
    return fig


def power_iteration(norms: Tensor, tilt: Tensor, *, growth: float, turning: float) -> Figure:
    """Norms ``(runs, l)`` of vectors under powers of a matrix, and their angle to its eigenvector.

    Dotted lines have the slopes that theory gives: factors ``growth`` and ``turning`` a step.
    """
    fig, panels = plt.subplots(2, 1, figsize=(WIDTH, 4.8), sharex=True)
    names = ("norm of the error", r"sine of the angle to $\mathbf{p}_1$")
    for ax, runs, factor, name in zip(panels, (norms, tilt), (growth, turning), names, strict=True):
        steps = np.arange(runs.shape[-1])
        ax.semilogy(steps, runs.mT, color=BLUE, linewidth=0.8)
        start = float(runs[:, -1].log().mean().exp()) / factor ** steps[-1]
        ax.semilogy(steps, start * factor**steps, color=BLACK, linestyle=":")
        label(ax, steps[-1], start * factor ** steps[-1], f" factor {factor:.3f}")
        ax.set_ylabel(name)
    panels[-1].set(xlabel="steps back in time, $l$", xlim=(-5, norms.shape[-1] + 35))
    return fig


def outcomes(
    ax: Axes, rows: Mapping[str, Mapping[str, Sequence[float]]], *, worst: float = np.inf
) -> None:
    """One row a source, one marker an arm: mean and standard deviation over its runs.

    Args:
        ax: where to draw; the first row comes out on top.
        rows: row label -> arm -> the value of each run, or a tuple ``(mean, sd)`` from a print,
            which is drawn hollow.
        worst: a score that needs no learning. Runs that are not below it are left out of the
            mean and counted beside the marker: no mean over them says anything.
    """
    for y, arms in enumerate(rows.values()):
        places = np.linspace(0.17, -0.17, len(arms)) * (1 if len(arms) < 3 else 1.6)
        for shift, (arm, values) in zip(places, arms.items(), strict=True):
            style: dict[str, Any] = {**ARMS[arm], "linestyle": "none", "capsize": 3}
            place = shift - y
            if isinstance(values, tuple):
                mean, sd = values
                ax.errorbar(mean, place, xerr=sd or None, markerfacecolor="white", **style)
                continue
            kept = [value for value in values if value < worst]
            if kept:
                sd = float(np.std(kept, ddof=1)) if len(kept) > 1 else 0.0
                ax.errorbar(np.mean(kept), place, xerr=sd, **style)
            if len(kept) < len(values):
                note = f"{len(values) - len(kept)} of {len(values)} failed"
                beside = blended_transform_factory(ax.transAxes, ax.transData)
                options = {"va": "center", "fontsize": 9, "color": ARMS[arm]["color"]}
                ax.text(1.01, place, note, transform=beside, **options)
    met = {arm for arms in rows.values() for arm in arms}
    shown = [arm for arm in ARMS if arm in met]
    keys = [Line2D([], [], **{**ARMS[arm], "linestyle": "none"}, label=arm) for arm in shown]
    ax.legend(handles=keys, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(shown))
    ax.set_yticks([-y for y in range(len(rows))], list(rows))
    ax.grid(axis="x", color="#e4e4e4")
