"""The look of every figure: palette, sizes, and reproducible vector output."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib as mpl

# Okabe and Ito's palette, told apart by readers with any colour vision.
BLACK, GREY = "#1a1a1a", "#767676"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

# Colour is never the only channel: the two arms also differ in line and marker, as in the paper.
ARMS: dict[str, dict[str, Any]] = {
    "plain": {"color": VERMILLION, "linestyle": "-", "marker": "o"},
    "clipped": {"color": BLUE, "linestyle": "--", "marker": "^"},
    # The four algorithms of the second paper; the first two are those above by another name.
    "SGD": {"color": VERMILLION, "linestyle": "-", "marker": "o"},
    "SGD-C": {"color": BLUE, "linestyle": "--", "marker": "^"},
    "SGD-R": {"color": ORANGE, "linestyle": ":", "marker": "s"},
    "SGD-CR": {"color": GREEN, "linestyle": "-.", "marker": "D"},
    "SGD-CR-constant": {"color": PURPLE, "linestyle": "-.", "marker": "v"},
    "SGD-CR-sum": {"color": SKY, "linestyle": "-.", "marker": "P"},
}
# Up to three curves of one kind, the first the most striking.
SERIES: tuple[dict[str, Any], ...] = (
    {"color": VERMILLION, "linestyle": "-"},
    {"color": BLUE, "linestyle": "--"},
    {"color": GREEN, "linestyle": ":"},
)
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
