"""Errors on their way back through time, and what training makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from rnnlib.figures.style import ARMS, WIDTH


def inside(
    before: Tensor, after: Tensor, noted: Sequence[tuple[int, Tensor, Tensor]], arms: Sequence[str]
) -> Figure:
    """Error norms, Omega and spectral radius of some networks, one for each of ``arms``.

    Args:
        before, after: ``(arms, sequences, steps back)``, error norms relative to the last step's.
        noted: ``(update, Omega (arms,), spectral radius (arms,))`` in the course of training.
    """
    fig, (errors, omega, radius) = plt.subplots(3, 1, figsize=(WIDTH, 7.5))
    updates = [update for update, _, _ in noted]
    for r, arm in enumerate(arms):
        style = {key: value for key, value in ARMS[arm].items() if key != "marker"}
        errors.plot(before[r].median(0).values, **style, alpha=0.35)
        errors.plot(after[r].median(0).values, **style, label=arm)
        omega.plot(updates, [float(values[r]) for _, values, _ in noted], **style)
        radius.plot(updates, [float(values[r]) for _, _, values in noted], **style)
    errors.set(yscale="log", xlabel="steps back in time", ylabel="norm of the error")
    omega.set(ylabel=r"$\Omega$", ylim=(0, None))
    radius.axhline(1.0, color="grey", linewidth=0.6)
    radius.set(xlabel="updates", ylabel=r"$\rho(\mathbf{W}_{rec})$")
    radius.sharex(omega)
    errors.legend(loc="lower left")
    errors.set_xticks(np.arange(0, before.shape[-1], 5))
    return fig
