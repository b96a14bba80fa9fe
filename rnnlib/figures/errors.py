"""Errors on their way back through time, and what training makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from rnnlib.checks import shape
from rnnlib.figures.style import ARMS, WIDTH


def inside(
    before: Tensor,
    after: Tensor,
    updates: Sequence[int],
    course: Mapping[str, Tensor],
    arms: Sequence[str],
) -> Figure:
    """Error norms of some networks, and the course of some numbers in training.

    Args:
        before, after: ``(arms, sequences, steps back)``, error norms relative to the last step's,
            before training (pale) and after it.
        updates: at which the numbers of ``course`` were taken.
        course: label of a panel -> ``(updates, arms)``.
        arms: names, one for each network; known ones are in `ARMS`.

    Raises:
        ArgumentError: if a panel's numbers do not have this shape.
    """
    fig, panels = plt.subplots(1 + len(course), 1, figsize=(WIDTH, 2.2 * (1 + len(course)) + 0.6))
    errors = panels[0]
    for r, arm in enumerate(arms):
        style = {key: value for key, value in ARMS[arm].items() if key != "marker"}
        errors.plot(before[r].median(0).values, **style, alpha=0.35)
        errors.plot(after[r].median(0).values, **style, label=arm)
        for ax, (label, values) in zip(panels[1:], course.items(), strict=True):
            shape(label, values, (len(updates), len(arms)))
            ax.plot(updates, values[:, r], **style)
            ax.set_ylabel(label)
            ax.sharex(panels[-1])
    errors.set(yscale="log", xlabel="steps back in time", ylabel="norm of the error")
    errors.set_xticks(np.arange(0, before.shape[-1], 5))
    errors.legend(ncols=2)
    panels[-1].set_xlabel("updates")
    return fig
