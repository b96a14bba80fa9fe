"""The error surface of one unit: from above, in perspective, and descended (P12, Figure 3)."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from rnnlib import surface
from rnnlib.figures.style import ARMS, BLACK, ORANGE, SKY, WIDTH


def surface_map(ax: Axes, w: Tensor, b: Tensor, *, seq_len: int = 50) -> AxesImage:
    """Map the one-unit error surface over ``w`` and ``b``, with the line its wall lies on.

    Source: P12, Figure 3. Returns the image, for a colour bar.
    """
    error = surface.error_surface(w[None, :], b[:, None], seq_len=seq_len).error
    extent = (float(w[0]), float(w[-1]), float(b[0]), float(b[-1]))
    image = ax.imshow(error.numpy(), origin="lower", extent=extent, aspect="auto", cmap="cividis")
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
    fig = plt.figure(figsize=(WIDTH, 4.0), constrained_layout=False)
    ax: Any = fig.add_axes((0, 0, 1, 1), projection="3d")
    packed = torch.logspace(-9, 0, 90, dtype=torch.float64)
    wall = surface.wall_line(w)[:, None]
    b = torch.cat(
        [wall - packed.flip(0) * (wall - low), wall, wall + packed * (high - wall)], dim=1
    )
    b = b.clamp(low, high)
    error = surface.error_surface(w[:, None], b).error
    options = {"rcount": len(w), "ccount": b.shape[1], "rasterized": True, "antialiased": False}
    ax.plot_surface(w[:, None].expand_as(b), b, error, cmap="cividis", linewidth=0, **options)
    ax.view_init(elev=30, azim=40)
    ax.set_box_aspect((1.3, 1.3, 0.7), zoom=1.15)
    ax.set(xlabel="weight $w$", ylabel="bias $b$", zlabel=r"error $\mathcal{E}_{50}$")
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.set_major_locator(MaxNLocator(4))
    return fig


def descents(
    plain: surface.Path, clipped: surface.Path, *, n_paths: int = 16, stacked: bool = True
) -> Figure:
    """Many descents from nearly one start: paths of a few, end points of all (P12, Figure 3)."""
    shape, size = ((2, 1), (WIDTH, 7.0)) if stacked else ((1, 2), (2 * WIDTH, 3.7))
    fig, panels = plt.subplots(*shape, figsize=size)
    windows = ((3.5, 7.0, -3.3, 1.2), (4.25, 5.15, -2.72, -2.12))
    titles = ("plain: thrown off the wall", "rescaled: along the wall (a closer view)")
    for ax, path, arm, title, (w0, w1, b0, b1) in zip(
        panels, (plain, clipped), ("plain", "clipped"), titles, windows, strict=True
    ):
        grid = torch.linspace(0, 1, 400, dtype=torch.float64)
        image = surface_map(ax, w0 + (w1 - w0) * grid, b0 + (b1 - b0) * grid)
        image.set_clim(0, 0.43)
        colour = ORANGE if arm == "plain" else SKY  # the palette's light pair, on a dark ground
        steps = path.points[:, : n_paths if arm == "plain" else 2]  # the zigzags would merge
        ax.plot(
            steps[..., 0], steps[..., 1], color=colour, lw=0.6, alpha=0.6, ls=ARMS[arm]["linestyle"]
        )
        ends = {"marker": ARMS[arm]["marker"], "color": colour, "s": 22, "lw": 0.5, "ec": "white"}
        ax.scatter(*path.points[-1].T, label="end", rasterized=True, zorder=3, **ends)
        ax.plot(*path.points[0, 0], "*", color="white", mec=BLACK, ms=14, zorder=4, label="start")
        ax.legend(
            loc=f"upper {'left' if arm == 'plain' else 'right'}", frameon=True, framealpha=0.9
        )
        ax.set_title(title)
        fig.colorbar(image, ax=ax, label=r"error $\mathcal{E}_{50}$", pad=0.02)
    return fig
