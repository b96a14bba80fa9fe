"""P13, section 3.3: what the regulariser makes of a network, measured inside those that it trained.

A pair is two networks of one seed, which start from the same
weights and see the same data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rnnlib.claims.claim import Claim, NotMeasured, Verdict
from rnnlib.claims.comparing import middle, number, paired_networks
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.p13_success_rates import EXPERIMENT
from rnnlib.records import Record
from rnnlib.statistics import sign_test

_SINGULAR = ("singular_low", "singular_median", "singular_high")


def _one_direction(records: Sequence[Record]) -> Values:
    (record,) = records
    every = paired_networks(record, "SGD-C", "SGD-CR")
    pairs = [(clipped, pushed) for clipped, pushed, _ in every if pushed["solved"]]
    if not pairs:
        raise NotMeasured(
            f"record {record.name} holds no SGD-CR network that solved the task beside SGD-C"
        )
    found = [pushed for _, pushed in pairs]
    near = [0.8 <= number(n["ratio_median"]) <= 1.25 for n in found]
    spread = [number(n["singular_low"]) < 0.1 for n in found]
    narrower = [_width(pushed) < _width(clipped) for clipped, pushed in pairs]
    quantiles = (*("ratio_low", "ratio_median", "ratio_high"), *_SINGULAR)
    return {
        "runs": len(found),
        "near": sum(near) / len(found),
        "spread": sum(spread) / len(found),
        "narrower": sum(narrower) / len(found),
        "clipped_low": middle(clipped["ratio_low"] for clipped, _ in pairs),
        "clipped_high": middle(clipped["ratio_high"] for clipped, _ in pairs),
        **{name: middle(n[name] for n in found) for name in quantiles},
    }


def _width(network: Mapping[str, Any]) -> float:
    """How far apart the 5 % and the 95 % quantile of the error's factor lie, as a quotient."""
    low = number(network["ratio_low"])
    return number(network["ratio_high"]) / low if low > 0 else math.nan


def _judge_one_direction(v: Mapping[str, Any]) -> Verdict:
    shares = v["near"], v["spread"], v["narrower"]
    if all(share > 0.9 for share in shares):
        return Verdict.REPRODUCED
    most = all(share > 0.5 for share in shares)
    return Verdict.PARTLY if most else Verdict.NOT_REPRODUCED


C12 = Claim(
    "P13-C12",
    "statement",
    "section 3.3",
    "The regulariser makes the Jacobians preserve the norm in the direction of the error alone: "
    "their eigenvalues are not all close to 1.",
    ours="{runs} SGD-CR networks that solved the task: a step back multiplies the error's norm by "
    "{ratio_median:.2f} (5 to 95 %: {ratio_low:.2f} to {ratio_high:.2f}), while a Jacobian's "
    "singular values go from {singular_low:.1g} over {singular_median:.2f} to {singular_high:.2f} "
    "(medians); near 1 in {near:.0%}, spread out in {spread:.0%}; the error's range is narrower "
    "than with SGD-C ({clipped_low:.2f} to {clipped_high:.2f}) in {narrower:.0%}",
    measure=_one_direction,
    judge=_judge_one_direction,
    experiment=EXPERIMENT,
    variants=("figure_7",),
    note="Rule: reproduced if in more than 9 of 10 networks the median ratio of the error's norms "
    "lies from 0.8 to 1.25, in as many the smallest singular value is typically below 0.1, and in "
    "as many the error's factor has a narrower range (5 to 95 %, as a quotient) than in the SGD-C "
    "network of the same seed; partly if each holds in more than half. The third condition was "
    "added when the record was known, since networks without a regulariser pass the first two; "
    "the verdict stayed. Singular values, not "
    "eigenvalues, say what a Jacobian does to norms. Networks that did not solve the task are "
    "left out.",
)


def _share(found: Sequence[tuple[bool, bool]], which: int) -> float:
    return sum(pair[which] for pair in found) / len(found) if found else math.nan


def _away(records: Sequence[Record]) -> Values:
    (record,) = records
    larger: list[tuple[bool, bool]] = []
    vanished: list[tuple[bool, bool]] = []
    tally: dict[tuple[int, str], list[int]] = {}
    names = ("to_attractor", "product_norm")
    lost = 0
    for clipped, pushed, cell in paired_networks(record, "SGD-C", "SGD-CR"):
        values = [(number(clipped[name]), number(pushed[name])) for name in names]
        if any(math.isnan(a) or math.isnan(b) for a, b in values):
            lost += 1
            continue
        first, second = (b > a for a, b in values)
        larger.append((first, second))
        if not clipped["solved"]:
            vanished.append((first, second))
        for name, (a, b) in zip(names, values, strict=True):
            counts = tally.setdefault((cell, name), [0, 0])
            counts[0] += b > a
            counts[1] += b < a
    if not larger:
        raise NotMeasured(f"record {record.name} holds no SGD-C and SGD-CR to compare")
    clear = [counts for counts in tally.values() if sign_test(*counts) < 0.05]
    return {
        "pairs": len(larger),
        "lost": lost,
        "attractor": _share(larger, 0),
        "product": _share(larger, 1),
        "n_vanished": len(vanished),
        "attractor_vanished": _share(vanished, 0),
        "product_vanished": _share(vanished, 1),
        "clear": sum(up > down for up, down in clear),
        "reversed": sum(up < down for up, down in clear),
        "tests": len(tally),
    }


def _judge_away(v: Mapping[str, Any]) -> Verdict:
    farther, closer = v["attractor"] > 0.75, v["product"] > 0.75
    if farther and closer and v["reversed"] == 0:
        return Verdict.REPRODUCED
    where_it_vanishes = v["attractor_vanished"] > 0.75 and v["product_vanished"] > 0.75
    some = farther or closer or where_it_vanishes
    return Verdict.PARTLY if some else Verdict.NOT_REPRODUCED


C35 = Claim(
    "P13-C35",
    "statement",
    "section 3.3",
    "Preventing gradients from vanishing pushes the model away from the attractor, and closer to "
    "the boundaries between basins.",
    ours="SGD-CR against SGD-C in {pairs} pairs ({lost} lost): farther from the attractor in "
    "{attractor:.0%}, larger $\\lVert\\partial x_T/\\partial x_k\\rVert$ in {product:.0%}; where "
    "SGD-C had not solved the task ({n_vanished} pairs) {attractor_vanished:.0%} and "
    "{product_vanished:.0%}. Clear by seed in {clear} of {tests} tests, the other way in "
    "{reversed}",
    measure=_away,
    judge=_judge_away,
    experiment=EXPERIMENT,
    variants=("figure_7",),
    note="Rule, fixed before the runs: reproduced if the distance from the last state to where the "
    "network goes without input, and the largest norm of a Jacobian product, are larger with the "
    "regulariser in more than three of four pairs each, and no cell's sign test (5 %) says the "
    "opposite of either; partly if one of the two is, or both where SGD-C failed. A network that "
    "SGD-C trained to success has left its attractor too, which the sentence does not speak of. "
    "The product's norm stands for the boundary's closeness, which is not measured; the text gives "
    "no number.",
)
