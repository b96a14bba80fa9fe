"""Write the README's picture: ``python -m rnnlib.figures book/_static/wall.svg``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import torch

from rnnlib import surface
from rnnlib.figures import descents, use_book_style


def main(arguments: Sequence[str]) -> None:
    """Write the README's picture: ``python -m rnnlib.figures book/_static/wall.svg``."""
    use_book_style()
    mpl.rcParams["savefig.dpi"] = 100
    generator = torch.Generator().manual_seed(6)
    jitter = 1e-6 * torch.randn(400, 2, generator=generator, dtype=torch.float64)
    start = torch.tensor([5.0, -2.5], dtype=torch.float64) + jitter
    runs = [
        surface.descend(start, learning_rate=0.1, threshold=threshold, n_steps=400)
        for threshold in (float("inf"), 0.5)
    ]
    path = Path(arguments[0])
    metadata = {"Date": None} if path.suffix == ".svg" else None
    descents(*runs, stacked=False).savefig(path, metadata=metadata, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1:])
