"""P13, section 4.1.1: the lengths that SGD-CR masters, one by one and with a single model.

"100 %" is met if every seed solved its task at every length that was run; this was fixed before
the runs. The lengths are the point of these claims, so a record whose longest is below 100, half
the paper's, is at most partly: what it does not try it does not show. What counts as partly was
changed while the longest runs were under way, see ``PARTLY``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnlib.claims.claim import Claim, NotMeasured, Verdict
from rnnlib.claims.comparing import (
    after,
    budget,
    length,
    middle,
    networks,
    number,
    rate,
    solved_by_seed,
)
from rnnlib.claims.judging import Condition, Judge
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.p13_success_rates import EXPERIMENT, SHORT
from rnnlib.records import Record, Result

LONG = 100
"""Half the text's 200."""


def trained(record: Record, *tasks: str) -> list[Result]:
    """Results of SGD-CR on these tasks (on all, if none is named), shortest sequences first."""
    found = [
        result
        for result in record.select(arm="SGD-CR")
        if not tasks or result.condition["task"] in tasks
    ]
    if not found:
        raise NotMeasured(
            f"record {record.name} holds no SGD-CR on {' or '.join(tasks) or 'any task'}"
        )
    return sorted(found, key=length)


def cell(result: Result) -> str:
    """Say ``T = 50 to 199: 4/5 [0.38, 0.96] (336000)``, the last being the median of updates."""
    shortest = result.condition["shortest"]
    lengths = f"{shortest} to {length(result)}" if shortest else str(length(result))
    return f"T = {lengths}: {rate(solved_by_seed(result))}{after(result)}"


def share_right(solved: Sequence[Mapping[str, Any]], metric: str) -> float:
    """The share with at most 1 % errors; 0 of no networks, which have shown nothing."""
    return sum(number(n[metric]) <= 0.01 for n in solved) / len(solved) if solved else 0.0


def _reach(records: Sequence[Record]) -> Values:
    (record,) = records
    by_start: dict[str, list[Result]] = {}
    for result in trained(record, "order"):
        by_start.setdefault(str(result.condition["start"]), []).append(result)
    found = []
    for start, results in by_start.items():
        reach = 0
        for result in results:
            if not all(solved_by_seed(result)):
                break
            reach = length(result)
        beyond = [s for r in results if length(r) > SHORT for s in solved_by_seed(r)]
        if beyond:
            found.append((reach, sum(beyond) / len(beyond), length(results[-1]), start))
    if not found:
        raise NotMeasured(f"record {record.name} holds no SGD-CR at a length above {SHORT}")
    # A start that solved all that was run, if it is long enough, stands before a longer reach.
    reach, beyond_short, run, start = max(found, key=lambda f: (LONG <= f[0] == f[2], *f))
    clipped = sorted(record.select(arm="SGD-C", task="order", start=start), key=length)
    return {
        "start": start.replace("_", " "),
        "reach": reach,
        "all_seeds": f"all seeds up to length {reach}" if reach else "at no length all seeds",
        "clipped": ", ".join(map(cell, clipped)) or "not run",
        "beyond": beyond_short,
        "run": run,
        "updates": budget(record),
        "table": "; ".join(
            f"{start.replace('_', ' ')} {', '.join(map(cell, results))}"
            for start, results in by_start.items()
        ),
    }


def _judge_reach(v: Mapping[str, Any]) -> Verdict:
    if v["reach"] >= LONG and v["reach"] == v["run"]:
        return Verdict.REPRODUCED
    return Verdict.PARTLY if v["beyond"] > 0 else Verdict.NOT_REPRODUCED


PARTLY = "; partly if some network solved it at a length beyond 20. "
"""As it stands since 21 November 2026. Before, lengths of 10 and 20 counted as well, and one length
with all seeds, or more than half of all runs, was asked for; no verdict that stood changed."""


C16 = Claim(
    "P13-C16",
    "statement",
    "section 4.1.1",
    "SGD-CR solves temporal order with a success rate of 100 % for lengths up to 200.",
    paper="100 % to length 200",
    ours="from the best start, {start}, {all_seeds} ({run} was run), in at most {updates} updates "
    "(median of those that succeeded): {table}",
    measure=_reach,
    judge=_judge_reach,
    experiment=EXPERIMENT,
    variants=("figure_7",),
    note="Rule: reproduced if from one start every seed solves the task at every length that was "
    "run and these reach 100 or more (200 at the paper's scale)" + PARTLY + "A record that stops "
    "below 100 is at most partly: what it does not try it does not show. "
    "Proceedings' setting, which allows 5 million updates; fewer refute nothing. Rows a and b: a "
    "larger rate, and longer sequences.",
)

C16A = replace(
    C16,
    id="P13-C16a",
    where="section 4.1.1, at learning rate 0.1",
    variants=("order",),
    note="As C16, with one start, basic tanh, and ten times the proceedings' rate. This text gives "
    "no rate for the figure; its supplement has 0.001 for the model of all lengths.",
)

C16B = replace(
    C16,
    id="P13-C16b",
    where="section 4.1.1, lengths from 100 to 200",
    ours=C16.ours + "; SGD-C {clipped}",
    variants=("long",),
    note="As C16, from basic tanh starts and at long sequences alone, with the updates that a few "
    "hours of a CPU allow; fewer than 5 million refute nothing.",
)


def success(*tasks: str) -> Callable[[Sequence[Record]], Values]:
    """A measure: how often SGD-CR solved these tasks, and what became of twice the length."""

    def measure(records: Sequence[Record]) -> Values:
        (record,) = records
        results = trained(record, *tasks)
        solved = [n for n in networks(results) if n["solved"]]
        right, error = share_right(solved, "error_twice"), middle(n["error_twice"] for n in solved)
        longest = {str(result.condition["task"]): length(result) for result in results}
        return {
            "n_cells": len(results),
            "n_full": sum(all(solved_by_seed(result)) for result in results),
            "n_tasks": len(longest),
            "longest": min(longest.values()),
            "one_model": all(result.condition["shortest"] for result in results),
            "solved": len(solved),
            "beyond_short": sum(
                sum(solved_by_seed(result)) for result in results if length(result) > SHORT
            ),
            "rates": " and ".join(
                f"{rate:g}"
                for rate in sorted({number(r.condition["learning_rate"]) for r in results})
            ),
            "generalised": right,
            "error_twice": error,
            "beyond": f"at twice the length median error {error:.2%}, at most 1 % for {right:.0%}"
            if solved
            else "none to be asked beyond its length",
            "table": "; ".join(
                f"{task.replace('_', ' ')} "
                + ", ".join(cell(r) for r in results if r.condition["task"] == task)
                for task in longest
            ),
            "updates": budget(record),
        }

    return measure


def judge_success(condition: Condition) -> Judge:
    """100 % and ``condition``; partly for some success beyond length 20."""

    def judge(v: Mapping[str, Any]) -> Verdict:
        if v["n_full"] == v["n_cells"] > 0 and v["longest"] >= LONG and condition(v):
            return Verdict.REPRODUCED
        return Verdict.PARTLY if v["beyond_short"] > 0 else Verdict.NOT_REPRODUCED

    return judge


RULE = (
    "Rule: reproduced if every seed solved the task at every length that was run, these reach 100 "
    "or more, "
)

C17 = Claim(
    "P13-C17",
    "statement",
    "section 4.1.1",
    "A single model can be trained to deal with any length from 50 to 200, if the length changes "
    "from update to update.",
    paper="100 %",
    ours="SGD-CR at rate {rates} in at most {updates} updates (median of those that succeeded): "
    "{table}",
    measure=success("order"),
    judge=judge_success(lambda v: v["one_model"] is True),
    experiment=EXPERIMENT,
    variants=("any_length",),
    note=RULE
    + "and it is one network for all of them"
    + PARTLY
    + "Solved means at most 1 % errors over sequences of lengths drawn as in training. The "
    "authors' own log reaches this after 280 000 updates and no error after 336 000; fewer "
    "refute nothing. The proceedings' rate is 0.01. A first reduced run allowed 20 000 updates; "
    "this one 40 000.",
)

C17A = replace(
    C17,
    id="P13-C17a",
    where="section 4.1.1, lengths from 50 to 199",
    variants=("any_length_200",),
    note="As C17, with SGD-CR alone, the defaults of the authors' program and the updates of their "
    "own log, which reached 1 % errors after 280 000 and none after 336 000. One log is one run: "
    "networks that need more refute nothing.",
)


def _twice(records: Sequence[Record]) -> Values:
    (record,) = records
    solved = [n for n in networks(trained(record, "order")) if n["solved"]]
    if not solved:
        raise NotMeasured("no SGD-CR network solved the task for all lengths")
    return {
        "runs": len(solved),
        "twice": share_right(solved, "error_twice"),
        "error_twice": middle(n["error_twice"] for n in solved),
        "error_longer": middle(n["error_longer"] for n in solved),
        "longest": max(length(result) for result in trained(record, "order")),
    }


def _judge_twice(v: Mapping[str, Any]) -> Verdict:
    if v["twice"] > 0.9 and v["runs"] >= 3:
        return Verdict.REPRODUCED
    return Verdict.PARTLY if v["twice"] > 0.5 else Verdict.NOT_REPRODUCED


C18 = Claim(
    "P13-C18",
    "statement",
    "section 4.1.1",
    "The model trained for all lengths generalises to new sequences that are twice as long as "
    "those of its training.",
    paper="400 steps after 200",
    ours="{runs} networks that solved lengths up to {longest}: median error {error_longer:.2%} at "
    "one and a half times and {error_twice:.2%} at twice the length, there at most 1 % for "
    "{twice:.0%}",
    measure=_twice,
    judge=_judge_twice,
    experiment=EXPERIMENT,
    variants=("any_length",),
    note="Rule, fixed before the runs: reproduced if more than 9 of 10 networks that solved the "
    "task answer at most 1 % of the sequences of twice the longest training length wrongly, partly "
    "if more than half do. (That it takes three networks at least to reproduce was added later, "
    "and changed no verdict.) The claim is about the ratio, so shorter lengths count; but the "
    "authors trained for longer, until no answer was wrong, and fewer updates refute nothing. "
    "A first reduced run of ours stopped at the first success, "
    "with medians of 32 % and 49 % and the same verdict; this one goes on for 20,000 updates.",
)

C18A = replace(
    C18,
    id="P13-C18a",
    where="section 4.1.1, after lengths from 50 to 199",
    variants=("any_length_200_stopped",),
    note="As C18, for the networks of row C17a, and so for sequences of about 400 steps; each is "
    "asked when an exam of 1000 sequences had no wrong answer, where the authors' program stops. "
    "This record was added when networks that had gone on for 20,000 updates after success were "
    "known, some of which were asked when they had lost the task.",
)
