"""P13, section 4.1.1: success rates on temporal order, judged by rules fixed before the runs.

The text gives the figure no start, and its two versions differ in rate, weight and threshold. So
the figure is read in the proceedings' setting, three starts at rate 0.01, and once more at a rate
of 0.1. Cells are compared by Wilson's 95 % intervals: an arm is *apart* if its interval lies above
the other's and *reversed* if it lies below. Counts of successes come with the updates they had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnlib.claims.claim import Claim, NotMeasured, Verdict
from rnnlib.claims.comparing import (
    Pair,
    after,
    budget,
    by_variant,
    grouped,
    length,
    pair,
    prefixed,
    solved_by_seed,
)
from rnnlib.claims.p12_unrolled import Values
from rnnlib.records import Record, Result

EXPERIMENT = "pathological"
SHORT = 20
"""The length beyond which, the text says, neither SGD nor SGD-C solves temporal order."""

_ARMS = ("SGD", "SGD-C", "SGD-CR")


@dataclass(frozen=True)
class _Panel:
    """One start at one rate: the step from SGD to SGD-C, and that to SGD-CR, at every length."""

    start: str
    clipping: tuple[Pair, ...]
    regulariser: tuple[Pair, ...]
    table: str

    @property
    def clipping_apart(self) -> int:
        return sum(p.separated for p in self.clipping)

    @property
    def regulariser_apart(self) -> int:
        return sum(p.separated for p in self.regulariser)

    @property
    def reversed(self) -> int:
        return sum(p.reversed for p in (*self.clipping, *self.regulariser))

    @property
    def complete(self) -> bool:
        """All that the figure shows: each step helps, SGD-CR never fails, the others do at last."""
        longest = self.clipping[-1]
        return (
            self.clipping_apart > 0
            and self.regulariser_apart > 0
            and self.reversed == 0
            and all(all(p.second) for p in self.regulariser)
            and longest.seq_len > SHORT
            and not any((*longest.first, *longest.second))
        )


def _panels(record: Record) -> list[_Panel]:
    by_start: dict[str, list[dict[str, Result]]] = {}
    for arms in grouped(record, "arm"):
        if all(name in arms for name in _ARMS):
            by_start.setdefault(str(arms["SGD"].condition["start"]), []).append(arms)
    if not by_start:
        raise NotMeasured(f"record {record.name} holds no {', '.join(_ARMS)} to compare")
    panels = []
    for start, cells in by_start.items():
        cells.sort(key=lambda arms: length(arms["SGD"]))
        panels.append(
            _Panel(
                start,
                tuple(pair(arms, "SGD", "SGD-C") for arms in cells),
                tuple(pair(arms, "SGD-C", "SGD-CR") for arms in cells),
                f"{start.replace('_', ' ')} " + ", ".join(_cell(arms) for arms in cells),
            )
        )
    return panels


def _cell(arms: Mapping[str, Result]) -> str:
    counts = "/".join(str(sum(solved_by_seed(arms[name]))) for name in _ARMS)
    return f"T = {length(arms['SGD'])}: {counts}{after(arms['SGD-CR'])}"


def _summary(record: Record) -> Values:
    panels = _panels(record)
    return {
        "starts": len(panels),
        "complete": sum(panel.complete for panel in panels),
        "n_cells": sum(len(panel.clipping) for panel in panels),
        "clipping_apart": sum(panel.clipping_apart for panel in panels),
        "regulariser_apart": sum(panel.regulariser_apart for panel in panels),
        "reversed": sum(panel.reversed for panel in panels),
        "table": "; ".join(panel.table for panel in panels),
        "runs": len(panels[0].clipping[0].first),
        "updates": budget(record),
        "widest": str(
            max(
                (p for panel in panels for p in panel.clipping),
                key=lambda p: (p.separated, sum(p.second) - sum(p.first)),
            )
        ),
    }


def _both_readings(records: Sequence[Record]) -> Values:
    found = by_variant(records)
    paper, rate = _summary(found["figure_7"]), _summary(found["order"])
    return prefixed(paper, "paper") | prefixed(rate, "rate")


def _judge_both(v: Mapping[str, Any]) -> Verdict:
    if v["paper_complete"] > 0 and v["paper_reversed"] == 0:
        return Verdict.REPRODUCED
    if any(v[f"{r}_regulariser_apart"] > 0 and v[f"{r}_reversed"] == 0 for r in ("paper", "rate")):
        return Verdict.PARTLY
    return Verdict.NOT_REPRODUCED


F7 = Claim(
    "P13-F7",
    "figure",
    "figure 7 and section 4.1.1",
    "Success rate on temporal order against length: clipping solves it more often than plain SGD, "
    "and SGD-CR always; beyond length 20 neither SGD nor SGD-C does.",
    paper="0, 0 and 100 % beyond 20, to length 200",
    ours="proceedings' setting, {paper_updates} updates: {paper_complete} of {paper_starts} starts "
    "show all of it; of {paper_n_cells} cells clipping is apart in {paper_clipping_apart}, the "
    "regulariser in {paper_regulariser_apart}, reversed {paper_reversed}. Basic tanh at rate 0.1, "
    "{rate_updates} updates: of {rate_n_cells} lengths {rate_clipping_apart}, "
    "{rate_regulariser_apart} and {rate_reversed}",
    measure=_both_readings,
    judge=_judge_both,
    experiment=EXPERIMENT,
    variants=("figure_7", "order"),
    note="Rule, fixed before the runs: reproduced if with one of the proceedings' starts (this "
    "text names none) each step of SGD, SGD-C, SGD-CR is apart at some length and reversed at "
    "none (from the other starts, too), SGD-CR solves the task with every seed at every length "
    "that was run, and at the longest the others with none; partly if in either reading the "
    "regulariser is apart somewhere and nothing is reversed. Rows a and b give the readings one by "
    "one, C16 the length that SGD-CR reached.",
)


def _proceedings(records: Sequence[Record]) -> Values:
    (record,) = records
    return _summary(record)


def _judge_proceedings(v: Mapping[str, Any]) -> Verdict:
    if v["complete"] == v["starts"] and v["starts"] >= 3:
        return Verdict.REPRODUCED
    if v["regulariser_apart"] > 0 and v["reversed"] == 0:
        return Verdict.PARTLY
    return Verdict.NOT_REPRODUCED


F7A = Claim(
    "P13-F7a",
    "figure",
    "figure 7, the proceedings' three starts",
    "With 50 units at learning rate 0.01, clipping at 1 and a weight of 4, from logistic and two "
    "kinds of tanh starts, each step of SGD, SGD-C, SGD-CR solves temporal order more often.",
    paper="curves only; 5 runs a length",
    ours="solved with SGD/SGD-C/SGD-CR of {runs} each (SGD-CR's median updates, of at most "
    "{updates}): {table}",
    measure=_proceedings,
    judge=_judge_proceedings,
    experiment=EXPERIMENT,
    variants=("figure_7",),
    note="Rule, fixed before the runs: reproduced if every one of the three starts shows all that "
    "row F7 asks of one; partly if the regulariser is apart somewhere and nothing is reversed. "
    "The proceedings allow 5 million updates; a network that fails within fewer refutes nothing, "
    "so the counts come with theirs. Five seeds are apart only at 5 against 0. The reduced run "
    "ends at length 20 for the logistic start, where not all of this can be asked.",
)


def _larger_rate(records: Sequence[Record]) -> Values:
    found = by_variant(records)
    return _summary(found["order"]) | prefixed(_summary(found["null"]), "null")


def _judge_larger_rate(v: Mapping[str, Any]) -> Verdict:
    shown = (v["clipping_apart"] > 0) + (v["regulariser_apart"] > 0)
    if shown == 2 and v["reversed"] == 0:
        return Verdict.REPRODUCED
    return Verdict.PARTLY if shown > 0 else Verdict.NOT_REPRODUCED


F7B = Claim(
    "P13-F7b",
    "figure",
    "figure 7, basic tanh at learning rate 0.1",
    "In our reading, at ten times the proceedings' rate, large enough for steps to leave the "
    "valley: clipping solves temporal order more "
    "often than plain SGD, and the regulariser more often still.",
    paper="curves only",
    ours="clipping apart at {clipping_apart} of {n_cells} lengths, the regulariser at "
    "{regulariser_apart}, reversed {reversed}. {table} of {runs}, SGD/SGD-C/SGD-CR, in at most "
    "{updates} updates. {widest}. At rate 0.01 clipping is apart in {null_clipping_apart} of "
    "{null_n_cells}, the regulariser in {null_regulariser_apart}",
    measure=_larger_rate,
    judge=_judge_larger_rate,
    experiment=EXPERIMENT,
    variants=("order", "null"),
    note="Rule, fixed before the runs: reproduced if both steps are apart at some length and "
    "neither is reversed at any, partly if one is apart. The rate is ours: a pilot with other "
    "seeds had found the steps apart there, and not at 0.01 and length 20, the null, which the "
    "verdict does not use.",
)
