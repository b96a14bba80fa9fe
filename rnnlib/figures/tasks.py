"""What a synthetic task looks like: one sequence of each, with the steps that decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from rnnlib.figures.style import VERMILLION, WIDTH


def sequences(examples: Mapping[str, tuple[Tensor, Any]]) -> Figure:
    """One panel an example: input channels from bottom to top, time to the right.

    Args:
        examples: title -> ``(inputs, deciding)``; symbols ``(T,)`` int64 or channels ``(T, C)``,
            and the steps that decide the answer, which are outlined.
    """
    n_rows = -(-len(examples) // 2)
    fig, panels = plt.subplots(n_rows, 2, figsize=(WIDTH, 1.25 * n_rows + 0.3), squeeze=False)
    for ax in panels.flat[len(examples) :]:
        ax.axis("off")
    for ax, (title, (inputs, deciding)) in zip(panels.flat, examples.items(), strict=False):
        image = _image(inputs)
        ax.imshow(image, cmap="Greys", vmin=0, vmax=1.3, aspect="auto", origin="lower")
        for step in deciding:
            ax.add_patch(
                Rectangle((step - 0.5, -0.5), 1, len(image), fill=False, ec=VERMILLION, lw=1.6)
            )
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
    fig.supxlabel("time", fontsize=10)
    fig.supylabel("input symbol or channel", fontsize=10)
    return fig


def _image(inputs: Tensor) -> np.ndarray:
    """Channels by time; the symbols that occur in a sequence are packed into rows."""
    if inputs.dim() == 2:
        return inputs.T.numpy()
    values = inputs.numpy()
    rows = {symbol: i for i, symbol in enumerate(sorted(set(values.tolist())))}
    image = np.zeros((len(rows), len(values)))
    image[[rows[symbol] for symbol in values.tolist()], np.arange(len(values))] = 1.0
    return image
