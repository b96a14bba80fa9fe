"""Speed and error of the kernels beside their peers, over size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from rnnlib.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, WIDTH

# Ours are warm and solid; peers are cool and broken, in the order in which they come.
_OURS: dict[str, dict[str, Any]] = {
    "rnnlib, numba": {"color": VERMILLION, "marker": "o", "linewidth": 2.4, "zorder": 3},
    "rnnlib, triton": {"color": VERMILLION, "marker": "o", "linewidth": 2.4, "zorder": 3},
    "rnnlib, torch": {"color": ORANGE, "marker": "s", "zorder": 3},
}
_PEERS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "--", "marker": "^"},
    {"color": GREEN, "linestyle": "-.", "marker": "v"},
    {"color": SKY, "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "D"},
    {"color": PURPLE, "linestyle": ":", "marker": "P"},
    {"color": BLACK, "linestyle": (0, (1, 3)), "marker": "x"},
    {"color": GREY, "linestyle": (0, (8, 2)), "marker": "*"},
)

Curve = Sequence[tuple[float, float]]


def over_size(
    panels: Mapping[str, Mapping[str, Curve]], *, ylabel: str, xlabels: Sequence[str] = ()
) -> Figure:
    """Curves on two logarithmic axes, one panel a sweep, one legend above them all.

    Args:
        panels: the panel's title -> the variant's name -> points ``(size, value)``. A variant
            looks the same in every panel; those of this library stand out. NaN parts a curve in
            two; what has no logarithm is left out, such as an error of exactly zero.
        ylabel: of all panels.
        xlabels: one for each panel; without, the panel's title serves.
    """
    n_columns = min(2, len(panels))
    n_rows = -(-len(panels) // n_columns)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    styles = _styles(names)
    shape = (WIDTH, 2.4 * n_rows + 0.22 * len(names) + 0.3)
    fig, grid = plt.subplots(n_rows, n_columns, figsize=shape, squeeze=False, sharey=True)
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    for i, (ax, (title, curves)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        for name, curve in curves.items():
            kept = [(x, y) for x, y in curve if not y <= 0]
            ax.plot(*np.array(kept, dtype=float).reshape(-1, 2).T, **styles[name])
        ax.set(xscale="log", yscale="log", xlabel=xlabels[i] if xlabels else title)
        if xlabels:
            ax.set_title(title)
        sizes = sorted({x for curve in curves.values() for x, _ in curve if x > 0})
        ax.set_xticks(sizes, _labels(sizes))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.minorticks_off()
        ax.yaxis.set_major_locator(LogLocator(10))
        ax.grid(axis="y", color="#e4e4e4")
    for row in grid:
        row[0].set_ylabel(ylabel)
    keys = [plt.Line2D([], [], **{**styles[name]}, label=name) for name in names]
    fig.legend(handles=keys, loc="outside upper left", handlelength=3.2)
    return fig


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A look for each name: ours by name, peers by order, the definition dotted in grey."""
    peers = iter(_PEERS * (1 + len(names) // len(_PEERS)))
    chosen = {}
    for name in names:
        if name in _OURS:
            chosen[name] = _OURS[name]
        elif name == "definition":
            chosen[name] = {"color": GREY, "linestyle": ":", "marker": "x"}
        else:
            chosen[name] = next(peers)
    return {name: {"markersize": 5, **style} for name, style in chosen.items()}


def _labels(sizes: Sequence[float]) -> list[str]:
    """The sizes as text, without those that would touch their neighbour on the left."""
    apart = (sizes[-1] / sizes[0]) ** 0.13 if sizes else 1.0
    shown: list[str] = []
    last = 0.0
    for x in sizes:
        clear = x >= last * apart
        shown.append(_short(x) if clear else "")
        last = x if clear else last
    return shown


def _short(x: float) -> str:
    """A size as an axis shows it: 100, 4096, 100k."""
    return f"{x / 1000:g}k" if x >= 10_000 and x % 1000 == 0 else f"{x:g}"
