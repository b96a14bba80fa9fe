"""The book's figures: one palette and style, and the plots that cells call by name.

``python -m rnnlib.figures book/_static/wall.svg`` writes the README's picture.
"""

from rnnlib.figures.counts import Counts
from rnnlib.figures.diagrams import bifurcation, network, split_steps
from rnnlib.figures.errors import inside
from rnnlib.figures.kernels import over_size
from rnnlib.figures.plots import label, outcomes, power_iteration, profile, spread, success
from rnnlib.figures.scores import rows_of, text_table
from rnnlib.figures.style import (
    ARMS,
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SERIES,
    SKY,
    VERMILLION,
    WIDTH,
    YELLOW,
    use_book_style,
)
from rnnlib.figures.tasks import sequences
from rnnlib.figures.wall import cliff, descents, surface_map

__all__ = [
    "ARMS",
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SERIES",
    "SKY",
    "VERMILLION",
    "WIDTH",
    "YELLOW",
    "Counts",
    "bifurcation",
    "cliff",
    "descents",
    "inside",
    "label",
    "network",
    "outcomes",
    "over_size",
    "power_iteration",
    "profile",
    "rows_of",
    "sequences",
    "split_steps",
    "spread",
    "success",
    "surface_map",
    "text_table",
    "use_book_style",
]
