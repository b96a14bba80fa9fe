"""Interactive figures of the book: live in a notebook, computing in the browser on a page.

``RNNLIB_STATIC=1`` leaves out what needs a kernel. The book and its committed notebooks are
built that way: a live widget carries a random id, which would change the file at every run.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from rnnlib.widgets.explore import growth
from rnnlib.widgets.page import Figure
from rnnlib.widgets.states import Backward, Wall

if TYPE_CHECKING:
    from rnnlib.widgets.live import Live

__all__ = ["Backward", "Wall", "backward", "growth", "wall"]


def wall(
    *,
    w: float = 5.0,
    b: float = -2.4,
    learning_rate: float = 0.1,
    threshold: float = 1.0,
    clipping: bool = True,
    seq_len: int = 50,
) -> Figure | Live:
    """Descend the error surface of one unit, plain and clipped, from a start the reader drags.

    ``E = (sigma(x_T) - 0.7)^2`` with ``x_t = w sigma(x_{t-1}) + b`` from ``x_0 = 0.5``.
    Source: Pascanu, Mikolov & Bengio (2012), equation (14), Figure 3 and algorithm 1.

    Returns:
        A displayable object whose attributes are the arguments. Where anywidget is installed and
        ``RNNLIB_STATIC`` is not 1, reading them tells what the reader chose and setting them
        moves the figure.

    Raises:
        ArgumentError: for a value outside what the figure shows; so does every later assignment.
    """
    return _hosted(Wall(w, b, learning_rate, threshold, clipping, seq_len))


def backward(
    *,
    radius: float = 0.9,
    gain: float = 1.0,
    alpha: float = 2.0,
    updates: int = 100,
    seed: int = 1,
) -> Figure | Live:
    """Send an error back through a small tanh network, before and after descent on Omega.

    ``h_t = tanh(gain (W h_{t-1} + U u_t))`` with 12 units over 60 steps; the error enters at the
    last. ``updates`` times ``W`` loses ``0.01 alpha`` times the immediate derivative of Omega.
    Source: Pascanu, Mikolov & Bengio (2013), equations (9) and (10), with squared norms as in the
    proceedings.

    Returns, raises:
        As `wall`.
    """
    return _hosted(Backward(radius, gain, alpha, updates, seed))


def _hosted(figure: Figure) -> Figure | Live:
    if os.environ.get("RNNLIB_STATIC") == "1" or importlib.util.find_spec("anywidget") is None:
        return figure
    from rnnlib.widgets.live import live

    return live(figure)
