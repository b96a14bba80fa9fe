"""How far a run is, told by the process that does the work and shown by the one that waits."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from rnnlib import atomic

TELL_S = 0.5
"""Seconds between two reports of a run."""

LOG_S = 60.0
"""Seconds between two lines where the bar does not go to a terminal."""


class Standing(NamedTuple):
    """How far a stack of networks is in its training.

    Attributes:
        done, of: updates made, and how many there will be at most.
        loss: median over the networks still in training; NaN if there are none.
        finished: networks that reached their goal; of how many: ``networks``.
    """

    done: int
    of: int
    loss: float
    finished: int
    networks: int


Report = Callable[[Standing], None]


def noting(path: Path) -> Report:
    """A report for another process to read from ``path``; what cannot be written is left out."""

    def report(standing: Standing) -> None:
        with contextlib.suppress(OSError):
            atomic.replace(path, json.dumps(standing).encode())

    return report


def noted(path: Path) -> Standing | None:
    """What was last noted in ``path``; None for nothing that can be read."""
    try:
        return Standing(*json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class Bar:
    """One bar for all stacks of a job: updates, loss, and the networks that reached their goal.

    Args:
        label: stands before the bar.
        updates: how many updates each stack makes at most.
        shown: whether to show anything.
    """

    def __init__(self, label: str, updates: Mapping[int, int], *, shown: bool = True) -> None:
        from tqdm.auto import tqdm

        self.updates, self.standings = updates, dict[int, Standing]()
        self._bar = tqdm(
            total=sum(updates.values()), desc=label, unit="update", disable=not shown, miniters=0
        )
        seen = shown and (hasattr(self._bar, "container") or self._bar.fp.isatty())
        self._shown_at, self._every = -math.inf, TELL_S if seen else LOG_S

    def tell(self, stack: int, standing: Standing | None) -> None:
        """Take over how far a stack is, if it is known."""
        if standing is not None:
            self.standings[stack] = standing
        if time.monotonic() - self._shown_at >= self._every:
            self._show()

    def end(self, stack: int, standing: Standing | None) -> None:
        """A stack is done, which it can be before it has made all of its updates."""
        last = standing or self.standings.get(stack) or Standing(0, 0, math.nan, 0, 0)
        whole = self.updates[stack]
        self.standings[stack] = last._replace(done=whole, of=whole, loss=math.nan)
        self._show()

    def _show(self) -> None:
        if self._bar.disable:
            return
        self._shown_at = time.monotonic()
        known = self.standings.values()
        losses = [standing.loss for standing in known if math.isfinite(standing.loss)]
        said = [f"loss {statistics.median(losses):.3g}"] if losses else []
        if finished := sum(standing.finished for standing in known):
            said.append(f"{finished}/{sum(standing.networks for standing in known)} solved")
        self._bar.n = sum(standing.done for standing in known)
        self._bar.set_postfix_str(", ".join(said), refresh=False)
        self._bar.refresh()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
