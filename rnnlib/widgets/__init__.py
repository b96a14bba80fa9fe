"""Interactive figures of the book: live in a notebook, computing in the browser on a page.

``RNNLIB_STATIC=1`` leaves out what needs a kernel. The book and its committed notebooks are
built that way: a live widget carries a random id, which would change the file at every run.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from rnnlib.widgets.explore import growth
from rnnlib.widgets.page import Wall

if TYPE_CHECKING:
    from rnnlib.widgets.live import LiveWall

__all__ = ["Wall", "growth", "wall"]


def wall(
    *,
    w: float = 5.0,
    b: float = -2.4,
    learning_rate: float = 0.1,
    threshold: float = 1.0,
    clipping: bool = True,
    seq_len: int = 50,
) -> Wall | LiveWall:
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
    state = {
        "w": w,
        "b": b,
        "learning_rate": learning_rate,
        "threshold": threshold,
        "clipping": clipping,
        "seq_len": seq_len,
    }
    if os.environ.get("RNNLIB_STATIC") == "1" or importlib.util.find_spec("anywidget") is None:
        return Wall(**state)  # type: ignore[arg-type]
    from rnnlib.widgets.live import LiveWall

    return LiveWall(**state)
