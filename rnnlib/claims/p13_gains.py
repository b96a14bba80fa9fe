"""P13, section 4.2: how sure the gains on music and characters are.

A gain is a difference of scores seed by seed; it is *clear* if its mean exceeds two of its
standard errors and no seed says the opposite.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rnnlib.claims.claim import Claim, NotMeasured, Verdict
from rnnlib.claims.comparing import clear, differences, number, standard_error
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.p13_natural import SETS, at_own_best, in_order, read_arm, slug
from rnnlib.claims.p13_tables import MUSIC
from rnnlib.claims.scores import mean
from rnnlib.records import Record

STATE_OF_THE_ART = {"piano-midi": 7.57, "nottingham": 3.43, "musedata": 6.99}
"""Test scores of earlier recurrent networks, as the proceedings list them."""


def _state_of_the_art(records: Sequence[Record]) -> Values:
    values: Values = {}
    texts = []
    for record in in_order(records):
        arm = read_arm(record, "SGD-CR", "nll")
        if sum(map(math.isfinite, arm.test)) < 2:
            raise NotMeasured(f"record {record.name} has fewer than two scores of SGD-CR")
        before, printed = STATE_OF_THE_ART[record.variant], number(MUSIC[record.variant]["test"][2])
        values[f"{slug(record)}_spread"] = arm.spread
        values[f"{slug(record)}_gain"] = before - printed
        values[f"{slug(record)}_ours"] = before - arm.mean
        texts.append(f"{record.variant} {before:.2f} → {printed:.2f}, ours {arm}")
    if any(record.scale != "paper" for record in records):
        raise NotMeasured(
            "needs the paper's scale, to stand beside others' best: " + "; ".join(texts)
        )
    return values | {"table": "; ".join(texts)}


def _judge_state_of_the_art(v: Mapping[str, Any]) -> Verdict:
    sure = [
        v[f"{name}_gain"] > 2 * v[f"{name}_spread"] and v[f"{name}_ours"] > 0
        for name in ("piano_midi", "nottingham")
    ]
    if all(sure) and abs(v["musedata_gain"]) < 0.005:
        return Verdict.REPRODUCED
    return Verdict.PARTLY if any(sure) else Verdict.NOT_REPRODUCED


C25 = Claim(
    "P13-C25",
    "statement",
    "section 4.2",
    "On music SGD-CR improves on the state of the art for recurrent networks in a statistically "
    "significant way, except for MuseData, where it is exactly the same.",
    paper="7.46, 3.46, 6.99",
    ours="earlier and printed score, and ours with its standard deviation over seeds: {table}",
    measure=_state_of_the_art,
    judge=_judge_state_of_the_art,
    experiment="regularised_music",
    variants=SETS,
    note="The text gives no spread, so the printed differences are held against that of our own "
    "runs. Rule, fixed before the runs: reproduced if both printed improvements exceed two of our "
    "standard deviations, our own mean improves on the earlier score as well, and MuseData is the "
    "same to the printed digits; partly if one of the two sets does. Only runs at the paper's "
    "scale count. The "
    "earlier scores are those that the proceedings list; by these Nottingham's 3.46 does not "
    "improve on 3.43, so that this text can be right in part at most. The proceedings print 3.36, "
    "which does.",
)


def _summary(gains: Mapping[str, Sequence[float]]) -> Values:
    """How many of these rows improved, clearly or not; each holds what was saved by seed.

    Raises:
        NotMeasured: for a row with fewer than two seeds.
    """
    for name, saved in gains.items():
        if len(saved) < 2:
            raise NotMeasured(f"{name}: fewer than two seeds have scores of both arms")
    return {
        "rows": len(gains),
        "better": sum(statistics.fmean(saved) > 0 for saved in gains.values()),
        "clear": sum(clear(saved) for saved in gains.values()),
        "worse": sum(clear(saved, -1) for saved in gains.values()),
        "table": "; ".join(f"{name} {_text(saved)}" for name, saved in gains.items()),
    }


def _text(saved: Sequence[float]) -> str:
    return f"{statistics.fmean(saved):+.3f} ± {standard_error(saved):.3f}"


def _judge_gains(v: Mapping[str, Any]) -> Verdict:
    if v["clear"] > 0:
        return Verdict.REPRODUCED if v["better"] == v["rows"] > 0 else Verdict.PARTLY
    return Verdict.NOT_REPRODUCED


_GAINS = (
    "Rule: reproduced if the mean difference, seed by seed, is an improvement in every row and "
    "clear in one (more than two standard errors, and no seed says the opposite); partly if it is "
    "clear in one and none in another. "
)


def _regularised_music(records: Sequence[Record]) -> Values:
    arms = {
        r.variant: (read_arm(r, "SGD-C", "nll"), read_arm(r, "SGD-CR", "nll"))
        for r in in_order(records)
    }
    gains = {name: differences(a.test, b.test) for name, (a, b) in arms.items()}
    raised = sum(mean(after.train) > mean(before.train) for before, after in arms.values())
    return _summary(gains) | {"raised": raised}


C27 = Claim(
    "P13-C27",
    "statement",
    "section 4.2",
    "The regulariser improves the test error even on tasks that are not dominated by long-term "
    "contributions: music.",
    paper="test −0.07, −0.02, −0.01",
    ours="test score of SGD-C minus SGD-CR: {table}; better on {better} of {rows}, clearly on "
    "{clear}, clearly worse on {worse}; the training score is raised on {raised}",
    measure=_regularised_music,
    judge=_judge_gains,
    experiment="regularised_music",
    variants=SETS,
    note=_GAINS
    + "The paper's own differences come without a spread. On Piano-midi.de its training score "
    "rises, from 6.81 to 7.01, while the test score falls.",
)


def _regularised_characters(records: Sequence[Record]) -> Values:
    (record,) = records
    gains, as_mean = (
        {
            f"{ahead} ahead": differences(
                at_own_best(record, "SGD-C", ahead).test, at_own_best(record, pushed, ahead).test
            )
            for ahead in (1, 5)
        }
        for pushed in ("SGD-CR", "SGD-CR as a mean")
    )
    return _summary(gains) | {"as_mean": _summary(as_mean)["table"]}


C27A = Claim(
    "P13-C27a",
    "statement",
    "section 4.2, characters",
    "The regulariser improves the test error on the next character, and on the fifth next, for "
    "which long-term contributions should count for more.",
    paper="test −0.01 bit, −0.15 bit",
    ours="test score of SGD-C minus SGD-CR: {table}; better on {better} of {rows}, clearly on "
    "{clear}, clearly worse on {worse}; with Ω always a mean: {as_mean}",
    measure=_regularised_characters,
    judge=_judge_gains,
    experiment="regularised_characters",
    variants=("ptb-chars",),
    note=_GAINS
    + "At first an improvement of all means was partly, which chance grants in a quarter of all "
    "cases; this was changed when the record was known, and so was the verdict. Each arm is at the "
    "rate that the validation set prefers, the regularised one also in the reading of Ω, mean or "
    "sum over steps.",
)


def _schedules(records: Sequence[Record]) -> Values:
    return _summary(
        {
            r.variant: differences(
                read_arm(r, "SGD-CR-constant", "nll").test, read_arm(r, "SGD-CR", "nll").test
            )
            for r in in_order(records)
        }
    )


C28 = Claim(
    "P13-C28",
    "statement",
    "supplement, natural tasks",
    "For natural tasks it seems useful to let the regulariser's weight decrease, as 1/t.",
    paper="proceedings: a constant weight seems to harm",
    ours="test score with a constant weight minus that with 1/t: {table}; better on {better} of "
    "{rows}, clearly on {clear}, clearly worse on {worse}",
    measure=_schedules,
    judge=_judge_gains,
    experiment="regularised_music",
    variants=SETS,
    note=_GAINS + "On music; for the next character the supplement itself keeps the weight "
    "constant.",
)


def _both_improve(records: Sequence[Record]) -> Values:
    texts, both, sure = [], 0, 0
    for record in in_order(records):
        plain, clipped = (read_arm(record, arm, "nll") for arm in ("SGD", "SGD-C"))
        saved = differences(plain.train, clipped.train), differences(plain.test, clipped.test)
        both += mean(plain.train) > mean(clipped.train) and plain.mean > clipped.mean
        sure += all(map(clear, saved))
        texts.append(
            f"{record.variant} train {mean(plain.train):.2f} → {mean(clipped.train):.2f}, "
            f"test {plain.mean:.2f} → {clipped.mean:.2f}"
        )
    return {"rows": len(texts), "better": both, "clear": sure, "table": "; ".join(texts)}


C26 = Claim(
    "P13-C26",
    "statement",
    "section 4.2",
    "Clipping solves an optimisation issue and does not act as a regulariser, as training and test "
    "error both improve in general.",
    paper="train 6.87 → 6.81, 3.67 → 3.21, 8.25 → 6.54, 1.46 → 1.34; test in tables 1 and 2",
    ours="SGD → SGD-C: {table}; both lower on {better} of {rows}, clearly on {clear}",
    measure=_both_improve,
    judge=_judge_gains,
    experiment="regularised_music",
    variants=SETS,
    note="Rule, fixed before these runs: reproduced if with clipping the mean training and the "
    "mean test score are both lower on every set, and both clearly so on one (more than two "
    "standard errors, and no seed says the opposite); partly if clearly on one and not on all. An "
    "earlier version of this row did arithmetic on the printed tables, which could not fail.",
)
