"""The book's look: one palette, one style, and the few plots that several pages share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Arc, Circle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from rnnlib import dynamics, surface
from rnnlib.statistics import wilson

# Okabe and Ito's palette, told apart by readers with any colour vision.
BLACK, GREY = "#1a1a1a", "#767676"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

# Colour is never the only channel: the two arms also differ in line and marker, as in the paper.
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"color": VERMILLION, "linestyle": "-", "marker": "o"},
    "clipped": {"color": BLUE, "linestyle": "--", "marker": "^"},
}
WIDTH = 5.6  # inches: at 10.5 pt the text stays readable when a phone shrinks the figure


def use_book_style() -> None:
    """Set sizes, fonts and, inside Jupyter, reproducible SVG output. Call it once a notebook."""
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.5),
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.dpi": 180,  # for what is rasterised inside an SVG
            "svg.hashsalt": "rnnlib",
            "font.size": 10.5,
            "axes.labelsize": 10.5,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.axisbelow": True,
            "xtick.color": GREY,
            "ytick.color": GREY,
            "xtick.labelcolor": BLACK,
            "ytick.labelcolor": BLACK,
            "text.color": BLACK,
            "axes.labelcolor": BLACK,
            "lines.linewidth": 1.8,
            "lines.markersize": 6,
            "legend.frameon": False,
            "image.cmap": "viridis",
        }
    )
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def label(ax: Axes, x: float, y: float, text: str, color: str = BLACK, **options: Any) -> None:
    """Write ``text`` beside a curve, on a white halo so that it reads on any ground."""
    from matplotlib.patheffects import withStroke

    options = {"ha": "left", "va": "center", **options}
    effect = [withStroke(linewidth=3, foreground="white")]
    ax.text(x, y, text, color=color, path_effects=effect, **options)


def spread(ax: Axes, x: Tensor, runs: Tensor, text: str = "", **style: Any) -> None:
    """Draw the median of ``runs`` ``(runs, x)`` over their whole range."""
    style = {"color": BLUE, **style}
    low, high = runs.amin(0), runs.amax(0)
    ax.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    ax.plot(x, runs.median(0).values, label=text, **style)


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
            ax.add_patch(Arc((folded + 0.32, 1.0), 0.62, 0.5, theta1=-140, theta2=128, color=GREY, lw=1.5))
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


def surface_map(ax: Axes, w: Tensor, b: Tensor, *, seq_len: int = 50) -> AxesImage:
    """Map the one-unit error surface over ``w`` and ``b``, with the line its wall lies on.

    Source: P12, Figure 3. Returns the image, for a colour bar.
    """
    error = surface.error_surface(w[None, :], b[:, None], seq_len=seq_len).error
    extent = (float(w[0]), float(w[-1]), float(b[0]), float(b[-1]))
    image = ax.imshow(error, origin="lower", extent=extent, aspect="auto", cmap="cividis")
    _wall(ax, w)
    ax.set(xlim=extent[:2], ylim=extent[2:], xlabel="recurrent weight $w$", ylabel="bias $b$")
    return image


def _wall(ax: Axes, w: Tensor, **style: Any) -> None:
    """The straight part of the wall, where the start is an unstable fixed point."""
    line = torch.linspace(4.2553, float(w[-1]), 50, dtype=torch.float64)
    ax.plot(line, surface.wall_line(line), **{"color": "white", "lw": 1.2, "ls": ":", **style})


def cliff(w: Tensor, low: float, high: float) -> Figure:
    """The one-unit error surface in perspective, over biases ``low`` to ``high`` (P12, Figure 3).

    A regular grid would turn the cliff into a comb; this one is packed around the wall.
    """
    fig = plt.figure(figsize=(WIDTH, 4.4), layout="none")
    ax = fig.add_axes((-0.05, -0.06, 1.08, 1.2), projection="3d")
    packed = torch.logspace(-7, 0, 60, dtype=torch.float64)
    wall = surface.wall_line(w)[:, None]
    b = torch.cat([wall - packed.flip(0) * (wall - low), wall, wall + packed * (high - wall)], dim=1)
    b = b.clamp(low, high)
    error = surface.error_surface(w[:, None], b).error
    options = {"rcount": len(w), "ccount": b.shape[1], "rasterized": True, "antialiased": False}
    ax.plot_surface(w[:, None].expand_as(b), b, error, cmap="cividis", linewidth=0, **options)
    ax.view_init(elev=30, azim=40)
    ax.set_box_aspect((1.3, 1.3, 0.7), zoom=0.9)
    ax.set(xlabel="weight $w$", ylabel="bias $b$", zlabel=r"error $\mathcal{E}_{50}$")
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.set_major_locator(MaxNLocator(4))
    return fig


def descents(plain: surface.Path, clipped: surface.Path, *, n_paths: int = 30) -> Figure:
    """Many descents from nearly one start: paths of a few, end points of all (P12, Figure 3)."""
    fig, panels = plt.subplots(2, 1, figsize=(WIDTH, 7.0))
    windows = ((3.5, 7.0, -3.3, 1.2), (4.25, 5.15, -2.72, -2.12))
    titles = ("plain: thrown off the wall", "rescaled: along the wall (a closer view)")
    for ax, path, arm, title, (w0, w1, b0, b1) in zip(
        panels, (plain, clipped), ARMS, titles, windows, strict=True
    ):
        grid = torch.linspace(0, 1, 400, dtype=torch.float64)
        image = surface_map(ax, w0 + (w1 - w0) * grid, b0 + (b1 - b0) * grid)
        image.set_clim(0, 0.43)
        colour = ORANGE if arm == "plain" else SKY  # the palette's light pair, on a dark ground
        steps = path.points[:, :n_paths]
        ax.plot(steps[..., 0], steps[..., 1], color=colour, lw=0.6, alpha=0.6, ls=ARMS[arm]["linestyle"])
        ends = {"marker": ARMS[arm]["marker"], "color": colour, "s": 22, "lw": 0.5, "ec": BLACK}
        ax.scatter(*path.points[-1].T, label="end", rasterized=True, zorder=3, **ends)
        ax.plot(*path.points[0, 0], "*", color="white", mec=BLACK, ms=14, zorder=4, label="start")
        ax.legend(loc="upper left", frameon=True, framealpha=0.9)
        ax.set_title(title)
        fig.colorbar(image, ax=ax, label=r"error $\mathcal{E}_{50}$", pad=0.02)
    return fig


def split_steps(ax: Axes, states: Tensor, moved: Tensor, **style: Any) -> None:
    """Draw each step downward as two: where the constant map leads, then the input's push.

    Args:
        states: ``(T + 1,)``.  moved: ``(T,)``, the constant map's image of ``states[:-1]``.
    """
    for t, (start, middle, end) in enumerate(zip(states, moved, states[1:], strict=False)):
        ax.plot([start, middle], [t, t + 0.6], **{"lw": 1.6, "color": BLACK, **style})
        ax.plot([middle, end], [t + 0.6, t + 1], **{"lw": 1.2, "color": ORANGE, "ls": "-"})
        ax.plot(end, t + 1, "o", **{"ms": 3.5, "color": BLACK, **style})


def bifurcation(w: float, b: Tensor, *, x0: float) -> Figure:
    """Attractors, the boundary between them and the flow of the one-unit map (P12, Figure 4)."""
    fig, ax = plt.subplots(figsize=(WIDTH, 4.2))
    found, fold = dynamics.bifurcation_diagram(w, b), dynamics.folds(w)
    low, high = float(b[0]), float(b[-1])
    field_b, field_x = np.meshgrid(np.linspace(low, high, 18)[1:-1], np.linspace(-3.4, 3.4, 15))
    flow = w / (1 + np.exp(-field_x)) + field_b - field_x
    pull = np.sign(flow) * np.abs(flow) ** 0.5  # the root keeps the slow passages visible
    arrows = {"color": "#b5b5b5", "angles": "xy", "pivot": "mid", "width": 0.003}
    ax.quiver(field_b, field_x, np.zeros_like(pull), pull, scale=24, **arrows)
    for branch, text in ((found.lower, None), (found.upper, "attractor")):
        ax.plot(b, branch, color=BLUE, linewidth=2.8, label=text)
    ax.plot(b, found.middle, color=VERMILLION, linestyle="--", label="boundary of the basins")
    ax.plot([fold.b_1, fold.b_2], [fold.x_1, fold.x_2], "o", color=BLACK, label="fold", zorder=5)
    for name, where, state, side in (("b_1", fold.b_1, fold.x_1, 1), ("b_2", fold.b_2, fold.x_2, -1)):
        ax.axvline(where, color=GREY, linewidth=0.7, linestyle=":")
        align = {"ha": "left" if side > 0 else "right"}
        label(ax, where + side * 0.02, state + side * 0.05, f"${name}$", BLACK, **align)
    cross = float(surface.wall_line(torch.tensor(w), x0=x0))
    ax.plot(cross, x0, "o", color=VERMILLION, mfc="white", mew=1.8, label=f"$x_0={x0}$ changes basin")
    ax.set(xlabel="bias $b$", ylabel=r"state $x_\infty$", xlim=(low, high), ylim=(-3.6, 3.6))
    ax.legend(loc="upper left", frameon=True, framealpha=0.95, edgecolor="none")
    return fig


def success(
    ax: Axes, lengths: Sequence[int], solved: Sequence[Sequence[bool]], arm: str, shift: float = 0.0
) -> None:
    """Draw success rates with Wilson 95 % intervals against length, in the style of ``arm``."""
    rates = [sum(runs) / len(runs) for runs in solved]
    bounds = [wilson(sum(runs), len(runs)) for runs in solved]
    below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, bounds, strict=True)]
    above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)]
    x = [length + shift for length in lengths]
    ax.errorbar(x, rates, yerr=[below, above], capsize=3, label=arm, **ARMS[arm])


def outcomes(
    ax: Axes, rows: Mapping[str, Mapping[str, Sequence[float]]], *, diverged: float = np.inf
) -> None:
    """One line a source, one marker an arm: mean and standard deviation over its runs.

    Args:
        ax: where to draw; the first row comes out on top.
        rows: row label -> arm -> values of the runs, or ``(mean, sd)`` as a 2-tuple.
        diverged: runs at or above this value, or not finite, are left out of the mean and
            counted in a note beside the marker: a mean over them says nothing.
    """
    for y, (_, arms) in enumerate(rows.items()):
        for shift, (arm, values) in zip((0.16, -0.16), arms.items(), strict=False):
            if isinstance(values, tuple):
                mean, sd, lost, n = *values, 0, 0
            else:
                kept = np.array([v for v in values if np.isfinite(v) and v < diverged])
                n, lost = len(values), len(values) - len(kept)
                mean = kept.mean() if len(kept) else np.nan
                sd = kept.std(ddof=1) if len(kept) > 1 else 0.0
            style = {**ARMS[arm], "linestyle": "none"}
            hollow = {"markerfacecolor": "white"} if isinstance(values, tuple) else {}
            text = arm if y == 0 else None
            ax.errorbar(mean, -y + shift, xerr=sd, capsize=3, label=text, **style, **hollow)
            if lost:
                note = f" {lost} of {n} diverged"
                ax.annotate(note, (mean if len(kept) else 0, -y + shift), va="center", fontsize=9)
    ax.set_yticks([-y for y in range(len(rows))], list(rows))
    ax.grid(axis="x", color="#e4e4e4")


def main(arguments: Sequence[str]) -> None:
    """Write the README's picture: ``python -m rnnlib.figures book/_static/wall.svg``."""
    use_book_style()
    generator = torch.Generator().manual_seed(6)
    jitter = 1e-6 * torch.randn(400, 2, generator=generator, dtype=torch.float64)
    start = torch.tensor([5.0, -2.5], dtype=torch.float64) + jitter
    runs = [
        surface.descend(start, learning_rate=0.1, threshold=threshold, n_steps=400)
        for threshold in (float("inf"), 0.5)
    ]
    path = Path(arguments[0])
    metadata = {"Date": None} if path.suffix == ".svg" else None
    descents(*runs).savefig(path, metadata=metadata, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1:])
