"""P13, section 4.1.2: the other pathological tasks, and sequences longer than those of training.

`p13_lengths` says what the rules have in common, and what of them was changed when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rnnlib.claims.claim import Claim, NotMeasured, Verdict
from rnnlib.claims.comparing import budget, interval, length, networks, solved_by_seed
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.p13_lengths import (
    C17,
    LONG,
    PARTLY,
    RULE,
    cell,
    judge_success,
    share_right,
    success,
    trained,
)
from rnnlib.claims.p13_success_rates import EXPERIMENT
from rnnlib.records import Record, Result


def _extrapolates(v: Mapping[str, Any]) -> bool:
    return v["one_model"] is True and v["generalised"] > 0.9


_BOTH = (
    RULE
    + "it is one network for all of them, and more than 9 of 10 networks make at most 1 % errors "
    "at twice the longest length"
    + PARTLY
    + "An answer is right if its squared error is at most 0.04, as in the proceedings and the "
    "authors' program. This text says an error below 0.04, a much stricter reading; what it would "
    "say of these networks stands in the record as error_strict. "
)

C19 = Claim(
    "P13-C19",
    "statement",
    "section 4.1.2 and supplement",
    "SGD-CR solves the addition problem with one model for lengths from 50 to 200, always, and "
    "that model generalises to 400 steps.",
    paper="100 %; error below 1 % at 400",
    ours="SGD-CR at rate {rates} in at most {updates} updates (median of those that succeeded): "
    "{table}; {beyond}",
    measure=success("addition"),
    judge=judge_success(_extrapolates),
    experiment=EXPERIMENT,
    variants=("addition",),
    note=_BOTH
    + "A first reduced run, of 16 seeds, allowed 20,000 updates, in which nothing was solved; so "
    "the budget was raised. The proceedings allow 5 million; fewer refute nothing.",
)

C20 = replace(
    C19,
    id="P13-C20",
    statement="On the multiplication problem the same hyper-parameters give very similar results: "
    "always solved, by one model for lengths from 50 to 200.",
    paper="100 %",
    measure=success("multiplication"),
    variants=("multiplication",),
    note=_BOTH + "The proceedings allow 5 million updates; fewer refute nothing.",
)

C21 = Claim(
    "P13-C21",
    "statement",
    "section 4.1.2 and supplement",
    "SGD-CR solves the 3-bit temporal order problem with one model for all lengths up to 200, "
    "always.",
    paper="100 %",
    ours=C17.ours,
    measure=success("order_3bit"),
    judge=judge_success(lambda v: v["one_model"] is True),
    experiment=EXPERIMENT,
    variants=("order_3bit",),
    note=RULE
    + "and it is one network for all of them"
    + PARTLY
    + "100 units; a network that has learned nothing is wrong in 87.5 %. The supplement's rate is "
    "0.001. Length 50 was added when 20 and 30 were known.",
)

C23 = Claim(
    "P13-C23",
    "statement",
    "section 4.1.2 and supplement",
    "SGD-CR solves noiseless memorisation of 5 bits and of over 20 bits, always, with a model of "
    "its own for each of the lengths 50, 100, 150 and 200.",
    paper="100 %",
    ours=C17.ours,
    measure=success("memorisation_5bit", "memorisation_20bit"),
    judge=judge_success(lambda v: v["n_tasks"] == 2),
    experiment=EXPERIMENT,
    variants=("memorisation",),
    note=RULE
    + "for both patterns"
    + PARTLY
    + "The length is the number of blanks between the pattern and its recall. A sequence is right "
    "only if all of its steps are. The text gives no hyper-parameters for this task, and lists "
    "four lengths as five. A delay of 50, and the 20 bits, were added when shorter delays were "
    "known.",
)


def _hardest(records: Sequence[Record]) -> Values:
    (record,) = records
    results = trained(record, "permutation")
    long = [r for r in results if r.condition["shortest"] and length(r) >= LONG]
    if not long:
        cells = ", ".join(cell(result) for result in results)
        need = f"needs one network for all lengths up to {LONG} or more, which is harder than"
        raise NotMeasured(f"{need} one length: {cells}")
    solved = [s for result in long for s in solved_by_seed(result)]
    low, high = interval(solved)
    return {
        "solved": sum(solved),
        "table": ", ".join(cell(result) for result in long),
        "low": low,
        "high": high,
        "contains_v2": low <= 1 / 8 <= high,
        "contains_proceedings": low <= 2 / 5 <= high,
        "both": " and ".join(
            f"{share} {'inside' if low <= value <= high else 'outside'}"
            for share, value in (("1 of 8", 1 / 8), ("2 of 5", 2 / 5))
        ),
        "updates": budget(record),
    }


def _judge_hardest(v: Mapping[str, Any]) -> Verdict:
    if v["contains_v2"] is not True:
        return Verdict.NOT_REPRODUCED
    return Verdict.REPRODUCED if v["solved"] > 0 else Verdict.PARTLY


C22 = Claim(
    "P13-C22",
    "statement",
    "section 4.1.2 and supplement",
    "Random permutation is the hardest of these problems: one trial of 8 succeeded.",
    paper="1 of 8 (proceedings: 2 of 5)",
    ours="SGD-CR in at most {updates} updates: {table}; {both} the interval",
    measure=_hardest,
    judge=_judge_hardest,
    experiment=EXPERIMENT,
    variants=("permutation",),
    note="Rule, fixed before the runs: reproduced if Wilson's interval of our proportion contains "
    "1/8 and some run succeeded, partly if none did and it still contains 1/8. Judged on networks "
    "for all lengths up to 100 and more only: an easier task cannot speak against a proportion. "
    "(The rule first asked for the length alone; it was narrowed when 10 and 20 were known.) The "
    "proceedings' 2 of 5 is shown and not used. The supplement's rate is 0.001.",
)

_TASKS = ("any_length", "addition", "multiplication", "order_3bit", "permutation", "memorisation")


def _asked(result: Result) -> bool:
    """Whether it was trained as the paper's: on a range of lengths, memorisation on one."""
    return bool(result.condition["shortest"]) or "memorisation" in str(result.condition["task"])


def _longer(records: Sequence[Record]) -> Values:
    values: dict[str, float] = {}
    texts = []
    for record in records:
        asked = [result for result in trained(record) if _asked(result)]
        solved = [n for n in networks(asked) if n["solved"]]
        name = record.variant.replace("_", " ")
        if not solved:
            texts.append(f"{name} {'none solved' if asked else 'not asked, as one length a model'}")
            continue
        values[record.variant] = share_right(solved, "error_longer")
        twice = share_right(solved, "error_twice")
        texts.append(f"{name} {values[record.variant]:.0%}, {twice:.0%} of {len(solved)}")
    if not values:
        raise NotMeasured("no SGD-CR network that is asked solved its task: " + "; ".join(texts))
    return {
        "n_tasks": len(values),
        "n_longer": sum(share > 0.9 for share in values.values()),
        "table": "; ".join(texts),
    }


def _judge_longer(v: Mapping[str, Any]) -> Verdict:
    if v["n_longer"] == v["n_tasks"] == len(_TASKS):
        return Verdict.REPRODUCED
    return Verdict.PARTLY if v["n_longer"] > 0 else Verdict.NOT_REPRODUCED


C34 = Claim(
    "P13-C34",
    "statement",
    "section 4.1.2",
    "In all cases the trained models generalise to sequences longer than those of their training.",
    paper="all tasks",
    ours="share of the networks that solved their task with at most 1 % errors at one and a half "
    "times, and at twice, the longest training length: {table}",
    measure=_longer,
    judge=_judge_longer,
    experiment=EXPERIMENT,
    variants=_TASKS,
    note="Rule, fixed before the runs: reproduced if for every one of the six tasks more than 9 of "
    "10 networks that solved it make at most 1 % errors at one and a half times the length; partly "
    "if that holds for some. The text names no factor, so twice the length is shown and not asked "
    "for. A task that nobody solved leaves the row at partly. Asked are networks trained as the "
    "paper's are, on a range of lengths (memorisation on one): those that saw one length say "
    "nothing. (This was narrowed when some of the records were known.)",
)
