"""P12, section 4.3: success rates on temporal order, judged by rules fixed before the runs.

The paper does not state its initial weights, lengths or threshold, so its comparison is read in
three ways that are kept apart: the literal set-up, both arms at the same learning rate, and each
arm at its own best rate. A cell counts as *separated* if Wilson's 95 % interval of the rescaled
arm lies above that of the plain arm, as *reversed* if it lies below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlib.claims.claim import Claim, NotMeasured, Verdict
from rnnlib.claims.comparing import (
    Pair,
    by_variant,
    grouped,
    length,
    prefixed,
    solved_by_seed,
)
from rnnlib.claims.p12_unrolled import Values
from rnnlib.records import Record, Result

EXPERIMENT = "temporal_order"
_ARMS = ("plain", "rescaled")


def _cells(record: Record, metric: str = "solved") -> list[Pair]:
    """Every rescaled arm with the plain arm of the same network, length and rate."""
    cells = [
        _pair(arms[None], arm, metric)
        for arms in grouped(record, "threshold")
        if None in arms
        for threshold, arm in arms.items()
        if threshold is not None
    ]
    if not cells:
        raise NotMeasured(f"record {record.name} holds no plain and rescaled arm to compare")
    return sorted(cells, key=lambda cell: cell.seq_len)


def _pair(plain: Result, rescaled: Result, metric: str) -> Pair:
    solved = solved_by_seed(plain, metric), solved_by_seed(rescaled, metric)
    return Pair(length(rescaled), _ARMS, *solved)


def _summary(cells: Sequence[Pair]) -> Values:
    widest = max(cells, key=lambda c: (c.separated, sum(c.second) - sum(c.first)))
    apart = sorted({cell.seq_len for cell in cells if cell.separated})
    return {
        "n_cells": len(cells),
        "n_separated": sum(cell.separated for cell in cells),
        "n_reversed": sum(cell.reversed for cell in cells),
        "where": f" (T = {', '.join(map(str, apart))})" if apart else "",
        "plain_solved": sum(sum(cell.first) for cell in cells),
        "rescaled_solved": sum(sum(cell.second) for cell in cells),
        "runs": sum(len(cell.first) for cell in cells),
        "widest": str(widest),
    }


def _literal(records: Sequence[Record]) -> Values:
    # Solved as the paper defines it: 1000 consecutive right answers.
    cells = _cells(by_variant(records)["literal"], "solved_p12")
    short = [cell for cell in cells if cell.seq_len <= 20]
    if not short:
        raise NotMeasured("the literal reading has no length up to 20")
    return _summary(short)


def _same_rate(records: Sequence[Record]) -> Values:
    found = by_variant(records)
    null = _summary(_cells(found["null"])) if "null" in found else {}
    return _summary(_cells(found["same_rate"])) | prefixed(null, "null")


def _own_best(records: Sequence[Record]) -> Values:
    cells = _cells(by_variant(records)["own_best"])
    best = []
    for seq_len in sorted({cell.seq_len for cell in cells}):
        rates = [cell for cell in cells if cell.seq_len == seq_len]
        plain = max((cell.first for cell in rates), key=sum)
        best.append(Pair(seq_len, _ARMS, plain, max((cell.second for cell in rates), key=sum)))
    return _summary(best)


def _judge_cells(v: Mapping[str, Any]) -> Verdict:
    if not v["n_separated"] > 0:
        return Verdict.NOT_REPRODUCED
    return Verdict.REPRODUCED if v["n_reversed"] == 0 else Verdict.PARTLY


def _both_readings(records: Sequence[Record]) -> Values:
    return prefixed(_literal(records), "literal") | prefixed(_same_rate(records), "rate")


def _judge_both(v: Mapping[str, Any]) -> Verdict:
    if v["literal_n_separated"] > 0 and v["literal_n_reversed"] == 0:
        return Verdict.REPRODUCED
    if v["rate_n_separated"] > 0 and v["rate_n_reversed"] == 0:
        return Verdict.PARTLY
    return Verdict.NOT_REPRODUCED


F7 = Claim(
    "P12-F7",
    "figure",
    "figure 7 and section 4.3",
    "On temporal order, rescaling the gradient solves the task at a much larger rate than plain "
    "descent, for lengths up to about 20.",
    paper="curves only; 50 runs a length",
    ours="literal set-up: intervals apart in {literal_n_separated} of {literal_n_cells} cells; one "
    "larger learning rate for both: apart at {rate_n_separated} of {rate_n_cells} "
    "lengths{rate_where}, reversed at {rate_n_reversed}",
    measure=_both_readings,
    judge=_judge_both,
    experiment=EXPERIMENT,
    variants=("literal", "same_rate"),
    note="Rule, fixed beforehand: reproduced if the literal reading separates; partly if only the "
    "reading with one larger rate for both arms does, and plain descent is nowhere clearly "
    "better. The text gives no initial weights, lengths or threshold, so a null result of the "
    "literal reading cannot refute the figure. Rows a to c give the readings one by one.",
)

F7A = Claim(
    "P12-F7a",
    "figure",
    "figure 7, literal reading",
    "With 50 logistic units at learning rate 0.001, the rescaled arm solves temporal order more "
    "often, at lengths up to 20.",
    paper="curves only",
    ours="plain {plain_solved}, rescaled {rescaled_solved} of {runs} runs solved; intervals apart "
    "in {n_separated} of {n_cells} cells. {widest}",
    measure=_literal,
    judge=_judge_cells,
    experiment=EXPERIMENT,
    variants=("literal",),
    note="Solved means 1000 consecutive right answers. Several initial scales are run, since the "
    "paper states none.",
)

F7B = Claim(
    "P12-F7b",
    "figure",
    "figure 7, both arms at one learning rate",
    "At the same learning rate for both, large enough for steps to leave the valley, the rescaled "
    "arm solves temporal order more often.",
    paper="curves only",
    ours="intervals apart at {n_separated} of {n_cells} lengths{where}. {widest}. At a small rate: "
    "apart in {null_n_separated} of {null_n_cells}",
    measure=_same_rate,
    judge=_judge_cells,
    experiment=EXPERIMENT,
    variants=("same_rate", "null"),
    note="tanh units, weights from N(0, 0.1²). The wording of the paper fits this reading best. "
    "The small rate is a built-in null: where little is clipped little can differ; the verdict "
    "does not use it.",
)

F7C = Claim(
    "P12-F7c",
    "figure",
    "figure 7, each arm at its own best learning rate",
    "With the learning rate chosen for each arm by itself, from one grid and at one budget, the "
    "rescaled arm still solves temporal order more often.",
    paper="curves only",
    ours="intervals apart at {n_separated} of {n_cells} lengths{where}. {widest}",
    measure=_own_best,
    judge=_judge_cells,
    experiment=EXPERIMENT,
    variants=("own_best",),
    note="Rates are chosen on the seeds that are reported, for both arms alike, which flatters "
    "both.",
)
