"""The 2013 claims that rest on runs: each verdict follows from records, and each can fail."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rnnlib import experiments
from rnnlib.checks import ArgumentError
from rnnlib.claims import of_paper
from rnnlib.claims.claim import Claim, Verdict, evaluate
from rnnlib.claims.comparing import Pair, grouped, interval, middle, solved_by_seed
from rnnlib.records import Record, Records, make

CLAIMS = [claim for claim in of_paper("p13") if claim.experiment]
BY_ID = {claim.id: claim for claim in CLAIMS}
SUCCESS = (Verdict.REPRODUCED, Verdict.REDUCED)
YES, REDUCED, PARTLY, NO, NOT_RUN = (
    Verdict.REPRODUCED,
    Verdict.REDUCED,
    Verdict.PARTLY,
    Verdict.NOT_REPRODUCED,
    Verdict.NOT_RUN,
)
ARMS = ("SGD", "SGD-C", "SGD-R", "SGD-CR")
SETS = ("piano-midi", "nottingham", "musedata")

Make = Callable[[], list[Record]]

# What a network that behaves as the paper says leaves in a record; an arm may differ.
METRICS = {
    "updates": 1000,
    "diverged": False,
    "max_norm": {"SGD-R": 90.0, "": 30.0},
    "rho_start": 0.7,
    "rho_end": 1.3,
    "update_of_rho_one": 400,
    "update_of_max_norm": 700,
    "omega_first": 0.9,
    "omega_last": 0.02,
    "opposed_fraction": {"SGD-CR": 0.7, "": 0.4},
    "ratio_low": {"SGD-CR": 0.8, "": 0.5},
    "ratio_median": 1.0,
    "ratio_high": 1.2,
    "singular_low": 0.01,
    "singular_median": 0.4,
    "singular_high": 1.5,
    "product_norm": {"SGD-CR": 50.0, "": 5.0},
    "to_attractor": {"SGD-CR": 3.0, "": 0.1},
    "error_longer": 0.002,
    "error_twice": 0.004,
}


def record(experiment, variant, results, *, seeds, scale="paper", **settings) -> Record:
    return make(
        experiment,
        scale,
        {"reading": {"n_updates": 5_000_000, **settings}},
        range(seeds),
        results,
        wall_time_s=60.0,
        device="cpu",
        variant=variant,
        reduced="" if scale == "paper" else "fewer updates",
    )


def cell(
    seq_len, solved, *, task="order", start="basic_tanh", shortest=0, rate=0.01, n=16, **metrics
) -> list[dict]:
    """One condition: ``solved`` says how many of ``n`` seeds each arm solved the task with."""
    results = []
    for arm, count in solved.items():
        told = {
            name: value.get(arm, value.get("")) if isinstance(value, dict) else value
            for name, value in (METRICS | metrics).items()
        }
        results.append(
            {
                "condition": {
                    "task": task,
                    "seq_len": seq_len,
                    "learning_rate": rate,
                    "start": start,
                    "shortest": shortest,
                    "arm": arm,
                },
                "metrics": {name: [value] * n for name, value in told.items()}
                | {"solved": [k < count for k in range(n)]},
            }
        )
    return results


def tasks(variant, *cells, n=16, scale="paper") -> Record:
    results = [result for results in cells for result in results]
    return record("pathological", variant, results, seeds=n, scale=scale)


def arms(*counts) -> dict[str, int]:
    """Seeds solved by SGD, SGD-C, SGD-R and SGD-CR."""
    return dict(zip(ARMS, counts, strict=True))


# Seeds solved by length: what the figure shows, and four ways in which it may not.
AS_DRAWN = {10: (16, 16, 16, 16), 20: (5, 16, 8, 16), 100: (0, 0, 4, 16), 200: (0, 0, 0, 16)}
AS_DRAWN_BEYOND = {20: (5, 16, 8, 16), 100: (0, 0, 4, 16)}
NO_CLIPPING = {10: (16, 16, 16, 16), 20: (15, 16, 16, 16), 100: (0, 0, 16, 16)}
NOTHING = {20: (14, 13, 15, 15), 50: (0, 0, 0, 0)}
REVERSED = {20: (16, 3, 16, 16), 100: (0, 0, 0, 16)}
TOO_HARD = {20: (5, 16, 8, 16), 100: (0, 0, 4, 11)}
STARTS = ("sigmoid", "basic_tanh", "smart_tanh")


def figure(*tables, variant="figure_7", scale="paper", n=16, **metrics) -> Record:
    """One panel a table of seeds solved by length; one table serves three starts."""
    tables = tables * 3 if len(tables) == 1 and variant == "figure_7" else tables
    starts = STARTS if variant == "figure_7" else ("basic_tanh",)
    return tasks(
        variant,
        *(
            cell(T, arms(*counts), start=start, n=n, **metrics)
            for start, table in zip(starts, tables, strict=True)
            for T, counts in table.items()
        ),
        n=n,
        scale=scale,
    )


def larger_rate(table, **options) -> Record:
    return figure(table, variant="order", **options)


NULL = figure({20: (13, 12, 14, 16)}, variant="null")


def one_arm(variant, *cells, n=5, scale="paper") -> Record:
    """SGD-CR alone; a cell is (task, shortest, length, solved, other metrics)."""
    return tasks(
        variant,
        *(
            cell(T, {"SGD-CR": k}, task=task, shortest=shortest, n=n, **(more[0] if more else {}))
            for task, shortest, T, k, *more in cells
        ),
        n=n,
        scale=scale,
    )


def model(variant, task, solved=5, *, shortest=50, longest=199, **metrics) -> Record:
    return one_arm(variant, (task, shortest, longest, solved, metrics))


def lengths(table, **options) -> Record:
    """SGD-CR on temporal order: seeds solved by length, of 5."""
    return one_arm("figure_7", *(("order", 0, T, k) for T, k in table.items()), **options)


def memory(five, twenty) -> Record:
    return one_arm(
        "memorisation",
        *(("memorisation_5bit", 0, T, k) for T, k in five.items()),
        *(("memorisation_20bit", 0, T, k) for T, k in twenty.items()),
    )


LONGER = {
    "any_length": "order",
    "addition": "addition",
    "multiplication": "multiplication",
    "order_3bit": "order_3bit",
    "permutation": "permutation",
    "memorisation": "memorisation_5bit",
}


def longer(solved=5, **errors) -> list[Record]:
    """Every task; the error at one and a half times the length of those that are named."""
    return [
        model(
            variant,
            task,
            solved,
            **({"error_longer": errors[variant]} if variant in errors else {}),
        )
        for variant, task in LONGER.items()
    ]


def one_length(variant: str, error: float) -> Record:
    """Networks that learned one length, and their error at one and a half times it."""
    return model(variant, LONGER[variant], shortest=0, error_longer=error)


def thresholds(solved, updates=()) -> Record:
    """The sweep of 2012: seeds solved of 16 by threshold; the mean norm is 2."""
    return record(
        "temporal_order",
        "threshold",
        [
            {
                "condition": {"seq_len": 20, "threshold": t},
                "metrics": {
                    "solved": [s < k for s in range(16)],
                    "updates": [dict(updates).get(t, 1000)] * 16,
                    "mean_norm": [2.0] * 16,
                },
            }
            for t, k in solved.items()
        ],
        seeds=16,
    )


def scored(experiment, variant, results, *, n=5, scale="paper") -> Record:
    """A result is (condition, mean test score, other metrics): the seeds lie 0.004 apart."""
    unit = "nll" if experiment == "regularised_music" else "bits"
    return record(
        experiment,
        variant,
        [
            {
                "condition": {"dataset": variant, **condition},
                "metrics": {
                    f"test_{unit}": [score + 0.004 * (k - n // 2) for k in range(n)],
                    f"valid_{unit}": [more.get("valid", score)] * n,
                    f"train_{unit}": [more.get("train", score)] * n,
                    "diverged": [k < more.get("lost", 0) for k in range(n)],
                    "clipped_fraction": [more.get("clipped", 0.2)] * n,
                },
            }
            for condition, score, more in results
        ],
        seeds=n,
        scale=scale,
    )


def music(variant, *scores, more=None, **options) -> Record:
    """Scores of SGD, SGD-C, SGD-CR and, if there is a fourth, SGD-CR-constant."""
    names = ("SGD", "SGD-C", "SGD-CR", "SGD-CR-constant")[: len(scores)]
    results = [
        ({"arm": name, "learning_rate": 1.0}, score, (more or {}).get(name, {}))
        for name, score in zip(names, scores, strict=True)
    ]
    return scored("regularised_music", variant, results, **options)


PRINTED = {
    "piano-midi": (7.56, 7.53, 7.46, 7.60),
    "nottingham": (3.80, 3.48, 3.46, 3.60),
    "musedata": (7.11, 7.00, 6.98, 7.10),
}


TRAINED = {"piano_midi": (6.87, 6.81), "nottingham": (3.67, 3.21), "musedata": (8.25, 6.54)}


def with_training(**changed) -> list[Record]:
    """Table 1 with its training scores of SGD and SGD-C, or others for some sets."""
    scores = TRAINED | changed
    return [
        music(
            name,
            *PRINTED[name],
            more={arm: {"train": x} for arm, x in zip(("SGD", "SGD-C"), pair, strict=True)},
        )
        for name, pair in zip(SETS, scores.values(), strict=True)
    ]


def unsure(whole: list[Record], *names: str) -> list[Record]:
    """The same scores in the mean, on these sets with one seed that says the opposite."""

    def change(result):
        if result["condition"]["arm"] == "SGD":
            for metric in ("test_nll", "train_nll"):
                first, *rest = result["metrics"][metric]
                result["metrics"][metric] = [first - 4, *(x + 1 for x in rest)]

    return [edited(r, change) if r.variant in names else r for r in whole]


def table_1(more=None, n=5, scale="paper", **changed) -> list[Record]:
    """Table 1, with other scores for some sets: ``nottingham=(SGD, SGD-C, ...)``."""
    scores = PRINTED | {name.replace("_", "-"): values for name, values in changed.items()}
    return [music(name, *scores[name], more=more, n=n, scale=scale) for name in SETS]


def characters(scores, *, n=5, scale="paper") -> list[Record]:
    """Scores by (characters ahead, arm, rate): a number, or (number, other metrics)."""
    results = []
    for (ahead, arm, rate), told in scores.items():
        score, more = told if isinstance(told, tuple) else (told, {})
        results.append(({"ahead": ahead, "arm": arm, "learning_rate": rate}, score, more))
    return [scored("regularised_characters", "ptb-chars", results, n=n, scale=scale)]


TABLE_2 = {
    (1, "SGD", 0.001): 1.50,
    (1, "SGD-C", 0.01): 1.42,
    (1, "SGD-CR", 0.05): 1.41,
    (5, "SGD-C", 0.1): 3.89,
    (5, "SGD-CR", 0.05): 3.74,
}

CASES: dict[str, list[tuple[Make, Verdict]]] = {
    "F7": [
        (lambda: [figure(AS_DRAWN), larger_rate(AS_DRAWN)], YES),
        # This text names no start: one that shows everything is enough ...
        (lambda: [figure(NO_CLIPPING, AS_DRAWN, NOTHING), larger_rate(NOTHING)], YES),
        # ... unless another shows the opposite.
        (lambda: [figure(REVERSED, AS_DRAWN, NOTHING), larger_rate(NOTHING)], NO),
        (lambda: [figure(NOTHING), larger_rate(AS_DRAWN)], PARTLY),
        (lambda: [figure(NO_CLIPPING), larger_rate(NOTHING)], PARTLY),
        (lambda: [figure(TOO_HARD), larger_rate(REVERSED)], PARTLY),
        (lambda: [figure(NOTHING), larger_rate(NOTHING)], NO),
        (lambda: [figure(NOTHING), larger_rate(REVERSED)], NO),
        # A length up to 20 cannot show where the others end.
        (lambda: [figure({20: (0, 0, 0, 16)}), larger_rate(NOTHING)], PARTLY),
        (lambda: [figure(AS_DRAWN)], NOT_RUN),
    ],
    "F7a": [
        (lambda: [figure(AS_DRAWN)], YES),
        (lambda: [figure(NO_CLIPPING, AS_DRAWN, AS_DRAWN)], PARTLY),
        (lambda: [figure(TOO_HARD)], PARTLY),
        (lambda: [figure(NOTHING)], NO),
        (lambda: [figure(REVERSED)], NO),
        # Someone has to fail where the figure ends at zero.
        (lambda: [figure({20: (5, 16, 8, 16), 100: (0, 1, 4, 16)})], PARTLY),
        # A step backwards somewhere, or lengths that end at 20, spoil what else is as drawn.
        (lambda: [figure({10: (16, 5, 16, 16), **AS_DRAWN_BEYOND})], NO),
        (lambda: [figure({10: (5, 16, 8, 16), 20: (0, 0, 0, 16)})], PARTLY),
        # Five seeds can be apart as well, at 5 against 0.
        (lambda: [figure({20: (0, 5, 0, 5), 100: (0, 0, 0, 5)}, n=5)], YES),
        (lambda: [figure({20: (1, 5, 0, 5), 100: (0, 0, 0, 5)}, n=5)], PARTLY),
    ],
    "F7b": [
        (lambda: [larger_rate(AS_DRAWN), NULL], YES),
        (lambda: [larger_rate(NO_CLIPPING), NULL], PARTLY),
        (lambda: [larger_rate(REVERSED), NULL], PARTLY),
        (lambda: [larger_rate({10: (16, 5, 16, 16), **AS_DRAWN_BEYOND}), NULL], PARTLY),
        # The regulariser's step, too, must be reversed nowhere.
        (lambda: [larger_rate({10: (16, 16, 16, 5), **AS_DRAWN_BEYOND}), NULL], PARTLY),
        (lambda: [larger_rate(NOTHING), NULL], NO),
        (lambda: [larger_rate({20: (16, 2, 16, 2)}), NULL], NO),
        (lambda: [larger_rate(AS_DRAWN)], NOT_RUN),
    ],
    "C16": [
        (lambda: [lengths({20: 5, 100: 5, 200: 5})], YES),
        (lambda: [lengths({20: 5, 100: 5})], YES),
        (lambda: [lengths({20: 5, 100: 5, 200: 4})], PARTLY),
        (lambda: [lengths({20: 5, 50: 5})], PARTLY),
        (lambda: [lengths({20: 5, 50: 5, 100: 1, 150: 0, 200: 0})], PARTLY),
        (lambda: [lengths({20: 5, 50: 5}, scale="reduced")], PARTLY),
        (lambda: [lengths({20: 4, 100: 5})], PARTLY),
        (lambda: [lengths({20: 5, 50: 1, 100: 0})], PARTLY),
        (lambda: [lengths({20: 5, 50: 0, 100: 0})], NO),
        (lambda: [lengths({10: 5, 20: 5})], NOT_RUN),
        (lambda: [figure(AS_DRAWN, NOTHING, NOTHING)], YES),
        # One start to the end of what was run, another farther and not to its end.
        (
            lambda: [
                figure({100: (0, 0, 0, 16)}, {150: (0, 0, 0, 16), 200: (0, 0, 0, 9)}, NOTHING)
            ],
            YES,
        ),
    ],
    "C30": [
        (lambda: [figure(AS_DRAWN)], YES),
        (lambda: [figure(AS_DRAWN, {20: (5, 16, 8, 16), 30: (0, 1, 4, 16)}, AS_DRAWN)], PARTLY),
        (lambda: [figure(AS_DRAWN, rho_start=1.2)], PARTLY),
        (lambda: [figure(AS_DRAWN, update_of_max_norm=1)], PARTLY),
        (lambda: [figure({20: (5, 5, 5, 5), 30: (1, 1, 5, 5)}, rho_end=0.6)], NO),
        (lambda: [figure({20: (0, 0, 5, 5), 30: (0, 0, 5, 5)})], NOT_RUN),
        (lambda: [figure({10: (16, 16, 16, 16), 20: (5, 5, 5, 5)})], NOT_RUN),
        # The threshold of 1 is not that of logistic units, whose radius is not looked at.
        (lambda: [logistic_below_one(figure(AS_DRAWN))], YES),
    ],
    "C17": [
        (lambda: [model("any_length", "order")], YES),
        (lambda: [model("any_length", "order", 3)], PARTLY),
        (lambda: [model("any_length", "order", shortest=20, longest=60)], PARTLY),
        (lambda: [model("any_length", "order", shortest=0)], PARTLY),
        (lambda: [model("any_length", "order", 1)], PARTLY),
        (lambda: [model("any_length", "order", 0)], NO),
        (lambda: [model("any_length", "addition")], NOT_RUN),
    ],
    "C18": [
        (lambda: [model("any_length", "order")], YES),
        (lambda: [model("any_length", "order", shortest=20, longest=60)], YES),
        (lambda: [model("any_length", "order", 3)], YES),
        # Too few to speak of more than 9 of 10.
        (lambda: [model("any_length", "order", 2)], PARTLY),
        (lambda: [model("any_length", "order", error_twice=0.01)], YES),
        (lambda: [model("any_length", "order", error_twice=0.02)], NO),
        (lambda: [mixed("any_length", "error_twice", 3)], PARTLY),
        (lambda: [mixed("any_length", "error_twice", 2)], NO),
        (lambda: [model("any_length", "order", 0)], NOT_RUN),
    ],
    "C19": [
        (lambda: [model("addition", "addition")], YES),
        (lambda: [model("addition", "addition", 4)], PARTLY),
        (lambda: [model("addition", "addition", error_twice=0.02)], PARTLY),
        (lambda: [one_arm("addition", ("addition", 0, 100, 5))], PARTLY),
        (lambda: [one_arm("addition", ("addition", 0, 20, 0), ("addition", 0, 50, 1))], PARTLY),
        (lambda: [one_arm("addition", ("addition", 0, 20, 5), ("addition", 0, 50, 0))], NO),
        (lambda: [model("addition", "multiplication")], NOT_RUN),
    ],
    "C20": [
        (lambda: [model("multiplication", "multiplication")], YES),
        (lambda: [model("multiplication", "multiplication", 0)], NO),
    ],
    "C21": [
        (lambda: [model("order_3bit", "order_3bit")], YES),
        (lambda: [model("order_3bit", "order_3bit", error_twice=0.5)], YES),
        (lambda: [model("order_3bit", "order_3bit", longest=60)], PARTLY),
        (lambda: [model("order_3bit", "order_3bit", 1)], PARTLY),
        (lambda: [model("order_3bit", "order_3bit", 0)], NO),
    ],
    "C22": [
        (lambda: [model("permutation", "permutation", 1)], YES),
        (lambda: [model("permutation", "permutation", 0)], PARTLY),
        (lambda: [model("permutation", "permutation", 5)], NO),
        (lambda: [one_arm("permutation", ("permutation", 0, 100, 5))], NOT_RUN),
        (lambda: [one_arm("permutation", ("permutation", 20, 60, 5))], NOT_RUN),
        # 2 of 16 is 1/8; with 16 of 16 at a short length beside it the short one does not count.
        (
            lambda: [
                one_arm(
                    "permutation", ("permutation", 0, 20, 16), ("permutation", 50, 199, 2), n=16
                )
            ],
            YES,
        ),
    ],
    "C23": [
        (lambda: [memory({50: 5, 100: 5}, {50: 5, 200: 5})], YES),
        (lambda: [memory({50: 5, 100: 5}, {50: 5})], PARTLY),
        (lambda: [memory({50: 5, 100: 5}, {})], PARTLY),
        (lambda: [memory({50: 5, 100: 5}, {50: 0, 100: 4})], PARTLY),
        (lambda: [memory({50: 1, 100: 0}, {50: 0, 100: 0})], PARTLY),
        (lambda: [memory({20: 5, 50: 0}, {20: 5, 100: 0})], NO),
    ],
    "C34": [
        (longer, YES),
        (lambda: longer(addition=0.02), PARTLY),
        (lambda: [mixed("addition", "error_longer", 4), *longer()[:1], *longer()[2:]], PARTLY),
        (lambda: [mixed("addition", "error_twice", 0), *longer()[:1], *longer()[2:]], YES),
        (lambda: longer(0)[:1] + longer()[1:], PARTLY),
        (lambda: longer(**dict.fromkeys(LONGER, 0.3)), NO),
        (lambda: longer(0), NOT_RUN),
        # Networks that saw one length are not asked; memorisation has one in the paper, too.
        (lambda: [*longer()[:1], one_length("addition", 0.3), *longer()[2:]], PARTLY),
        (lambda: [*longer()[:5], one_length("memorisation", 0.002)], YES),
        (
            lambda: (
                [one_length(variant, 0.002) for variant in LONGER if variant != "memorisation"]
                + longer(memorisation=0.3)[5:]
            ),
            NO,
        ),
        (lambda: longer()[1:], NOT_RUN),
    ],
    "C11": [
        (lambda: [thresholds({0.1: 11, 1.0: 16, 10.0: 9})], YES),
        # Small ones do well, but the rest does not stay alike for two decades.
        (lambda: [thresholds({0.1: 11, 1.0: 16, 10.0: 2})], PARTLY),
        (lambda: [thresholds({0.1: 2, 1.0: 16, 10.0: 12})], PARTLY),
        (lambda: [thresholds({0.1: 2, 1.0: 16, 10.0: 2})], NO),
        (lambda: [thresholds({0.1: 0, 1.0: 0, 10.0: 0})], NO),
        # Two decades without a threshold that is small beside a mean norm of 2.
        (lambda: [thresholds({0.3: 16, 3.0: 16, 30.0: 16})], PARTLY),
    ],
    "C12": [
        (lambda: [figure(AS_DRAWN)], YES),
        (lambda: [figure(AS_DRAWN, ratio_median=0.7)], NO),
        (lambda: [figure(AS_DRAWN, ratio_median=1.3)], NO),
        (lambda: [figure(AS_DRAWN, singular_low=0.9)], NO),
        # As narrow without the regulariser.
        (lambda: [figure(AS_DRAWN, ratio_low=0.8)], NO),
        (lambda: [lengths({100: 5})], NOT_RUN),
        (lambda: [uneven("ratio_median", 1.0, 0.5, 13)], PARTLY),
        (lambda: [uneven("ratio_median", 1.0, 0.5, 8)], NO),
        (lambda: [figure({20: (5, 5, 5, 0)})], NOT_RUN),
    ],
    "C13": [
        (lambda: [figure(AS_DRAWN), larger_rate(AS_DRAWN)], YES),
        # At the paper's rate nothing, at the larger one everything.
        (lambda: [figure(NOTHING), larger_rate(AS_DRAWN)], YES),
        (lambda: [figure(NOTHING), larger_rate(NOTHING)], PARTLY),
        (lambda: [figure(AS_DRAWN, max_norm=9.0), larger_rate(AS_DRAWN, max_norm=9.0)], PARTLY),
        (
            lambda: [
                figure(AS_DRAWN, max_norm={"SGD-R": math.nan, "": 9.0}, diverged={"SGD-R": True}),
                larger_rate(NOTHING),
            ],
            YES,
        ),
        # Two pairs in three, and a little more.
        (lambda: [larger_in(10, figure(AS_DRAWN)), larger_in(10, larger_rate(AS_DRAWN))], PARTLY),
        (lambda: [larger_in(11, figure(AS_DRAWN)), larger_in(11, larger_rate(AS_DRAWN))], YES),
        (lambda: [figure(NOTHING, max_norm=9.0), larger_rate(NOTHING, max_norm=9.0)], NO),
        (
            lambda: [
                figure(AS_DRAWN, max_norm=9.0),
                larger_rate({20: (0, 0, 16, 0)}, max_norm={"SGD-R": 1.0, "": 9.0}),
            ],
            NO,
        ),
    ],
    "C14": [
        # That the loss rises no record shows, so this is the best there is.
        (lambda: [figure(AS_DRAWN)], PARTLY),
        (lambda: [figure(NOTHING)], PARTLY),
        (lambda: [figure(AS_DRAWN, omega_last=0.95)], NO),
        # Opposed, but not more often than where nothing descends on Omega.
        (lambda: [figure(AS_DRAWN, opposed_fraction=0.7)], NO),
        (lambda: [uneven("opposed_fraction", 0.7, 0.0, 15)], PARTLY),
        (lambda: [uneven("opposed_fraction", 0.7, 0.0, 14)], NO),
        (lambda: [lengths({100: 5})], NOT_RUN),
    ],
    "C35": [
        (lambda: [figure(AS_DRAWN)], YES),
        (lambda: [figure(AS_DRAWN, to_attractor=1.0)], PARTLY),
        (lambda: [figure(AS_DRAWN, product_norm={"SGD-CR": math.inf, "": 5.0})], YES),
        (lambda: [figure(AS_DRAWN, product_norm=1.0, to_attractor=1.0)], NO),
        (
            lambda: [
                figure(
                    AS_DRAWN,
                    product_norm={"SGD-CR": 1.0, "": 5.0},
                    to_attractor={"SGD-CR": 1.0, "": 5.0},
                )
            ],
            NO,
        ),
        # A pair with a network that has no states left is lost, not counted.
        (lambda: [half_lost(figure(AS_DRAWN))], YES),
        # Only where SGD-C failed is the network pushed away.
        (lambda: [pushed({20: 16, 100: 0}, away=(100,))], PARTLY),
        (lambda: [pushed({20: 16, 100: 0}, away=(20,))], NO),
        # ... and there in one respect alone.
        (lambda: [small_product(pushed({20: 16, 100: 0}, away=(100,)))], NO),
        # Two pairs in three are not three in four.
        (lambda: [pushed(dict.fromkeys((10, 20, 30), 16), away=(10, 20))], NO),
        # Three in four of all pairs, with one cell clearly the other way.
        (lambda: [pushed(dict.fromkeys((10, 20, 30, 40, 50), 16), away=(10, 20, 30, 40))], PARTLY),
        (lambda: [lengths({100: 5})], NOT_RUN),
    ],
    "T1": [
        (table_1, YES),
        (lambda: table_1(scale="reduced", nottingham=(5.5, 5.0, 5.01)), REDUCED),
        (lambda: table_1(nottingham=(5.5, 5.0, 5.01)), PARTLY),
        (lambda: table_1(nottingham=(4.2, 3.48, 3.46)), PARTLY),
        (lambda: table_1(nottingham=(3.80, 3.48, 3.52)), PARTLY),
        (lambda: table_1(nottingham=(3.48, 3.50, 3.46)), PARTLY),
        # Lower on every set, clearly on none; clearly on one.
        (lambda: unsure(table_1(), *SETS), NO),
        (lambda: unsure(table_1(), *SETS[1:]), YES),
        (lambda: unsure(table_1(nottingham=(3.48, 3.50, 3.46)), *SETS[:1]), PARTLY),
        (lambda: table_1(more={"SGD-C": {"lost": 1}}), NO),
        (lambda: table_1(more={"SGD-CR": {"lost": 1}}), PARTLY),
        (lambda: table_1(more={"SGD-C": {"clipped": 0.0}}), NO),
        (lambda: table_1(**{s.replace("-", "_"): (math.nan,) * 3 for s in SETS}), NO),
        (lambda: table_1()[:2], NOT_RUN),
        (lambda: table_1(nottingham=(3.80, 3.48)), NOT_RUN),
    ],
    "C25": [
        # What the text prints cannot pass: by the proceedings' list 3.46 is not an improvement.
        (table_1, PARTLY),
        (lambda: [spread(0.02, name) for name in SETS], PARTLY),
        (lambda: [spread(0.2, name) for name in SETS], NO),
        (lambda: table_1(piano_midi=(7.9, 7.8, 7.7)), NO),
        (lambda: table_1(scale="reduced"), NOT_RUN),
        (lambda: table_1(n=1), NOT_RUN),
        (lambda: table_1(musedata=(math.nan,) * 3), NOT_RUN),
    ],
    "C26": [
        (with_training, YES),
        (lambda: with_training(musedata=(8.25, 8.30)), PARTLY),
        (lambda: with_training(**dict.fromkeys(TRAINED, (7.0, 7.1))), NO),
        (lambda: unsure(with_training(), *SETS), NO),
        (lambda: unsure(with_training(), *SETS[:2]), YES),
        (lambda: with_training()[:2], NOT_RUN),
    ],
    "C27": [
        (table_1, YES),
        (lambda: table_1(nottingham=(3.80, 3.48, 3.50)), PARTLY),
        (lambda: table_1(**{s.replace("-", "_"): (4.0, 3.9, 4.0) for s in SETS}), NO),
        (lambda: table_1(**{s.replace("-", "_"): (4.0, 3.9, 3.9) for s in SETS}), NO),
        (lambda: gains(0.02, 0.03, 0.02, 0.03, 0.02), YES),
        # More than two standard errors, against one seed; all seeds, within two standard errors.
        (lambda: gains(-0.001, 0.1, 0.1, 0.1, 0.1), NO),
        (lambda: gains(0.001, 0.001, 0.001, 0.001, 0.1), NO),
        # Clear by the spread of these five alone, not by what it says of others (divisor n - 1).
        (lambda: gains(0.01, 0.01, 0.01, 0.01, 0.065), NO),
        (lambda: table_1(musedata=(7.0, 7.0)), NOT_RUN),
        (lambda: table_1(n=1), NOT_RUN),
        (lambda: table_1(musedata=(math.nan,) * 3), NOT_RUN),
    ],
    "C28": [
        (table_1, YES),
        (lambda: table_1(nottingham=(3.80, 3.48, 3.46, 3.40)), PARTLY),
        (lambda: table_1(**{s.replace("-", "_"): (4.0, 3.9, 3.9, 3.8) for s in SETS}), NO),
        (lambda: table_1(musedata=(7.11, 7.00, 6.99)), NOT_RUN),
    ],
    "T2": [
        (lambda: characters(TABLE_2), YES),
        (lambda: characters(TABLE_2, scale="reduced"), REDUCED),
        (lambda: characters(TABLE_2 | {(1, "SGD", 0.001): 1.44}), PARTLY),
        (lambda: characters(TABLE_2 | {(5, "SGD-CR", 0.05): 3.90}), PARTLY),
        # No worse is not enough.
        (lambda: characters(TABLE_2 | {(5, "SGD-CR", 0.05): 3.89}), PARTLY),
        (lambda: characters(TABLE_2 | {(1, "SGD-C", 0.01): (1.42, {"clipped": 0.0})}), PARTLY),
        (
            lambda: characters(TABLE_2 | {(1, "SGD", 0.001): 1.42, (5, "SGD-CR", 0.05): 3.90}),
            NO,
        ),
        # Other rates do not count here; of the two readings of Omega the better in validation does.
        (lambda: characters(TABLE_2 | {(1, "SGD", 0.05): 1.30}), YES),
        (
            lambda: characters(
                TABLE_2 | {(5, "SGD-CR", 0.05): 3.95, (5, "SGD-CR-sum", 0.05): 3.74}
            ),
            YES,
        ),
        (
            lambda: characters(
                TABLE_2
                | {(5, "SGD-CR", 0.05): 3.95, (5, "SGD-CR-sum", 0.05): (3.74, {"valid": 4.0})}
            ),
            PARTLY,
        ),
        (lambda: characters(dict.fromkeys(TABLE_2, math.nan)), NO),
        (lambda: characters({k: v for k, v in TABLE_2.items() if k[1] != "SGD"}), NOT_RUN),
        (lambda: characters(TABLE_2 | {(5, "SGD-CR", 0.05): (3.7, {"lost": 1})}), PARTLY),
    ],
    "T2a": [
        (lambda: characters(TABLE_2), YES),
        (lambda: characters(TABLE_2 | {(1, "SGD", 0.05): 1.30}), PARTLY),
        (lambda: characters(TABLE_2 | {(1, "SGD", 0.05): 1.3, (5, "SGD-C", 0.05): 3.7}), NO),
        # A rate at which runs are lost is not the best one.
        (lambda: characters(TABLE_2 | {(1, "SGD", 0.05): (1.30, {"lost": 1})}), YES),
    ],
    "C27a": [
        (lambda: characters(TABLE_2), YES),
        (lambda: characters(TABLE_2 | {(1, "SGD-C", 0.05): 1.40}), PARTLY),
        (lambda: characters(TABLE_2 | {(1, "SGD-CR", 0.05): 1.5, (5, "SGD-CR", 0.05): 4.0}), NO),
        (lambda: characters(TABLE_2, n=1), NOT_RUN),
    ],
}
# The same checks on other records.
CASES["C16a"] = [
    (lambda: [larger_rate(AS_DRAWN)], YES),
    (lambda: [larger_rate(NOTHING)], NO),
]
CASES["C16b"] = [
    (lambda: [one_arm("long", ("order", 0, 100, 5), ("order", 0, 200, 5))], YES),
    (lambda: [one_arm("long", ("order", 0, 100, 5), ("order", 0, 200, 1))], PARTLY),
    (lambda: [one_arm("long", ("order", 0, 100, 2), ("order", 0, 200, 0))], PARTLY),
    (lambda: [one_arm("long", ("order", 0, 100, 0), ("order", 0, 200, 0))], NO),
]
CASES["C17a"] = [
    (lambda: [model("any_length_200", "order")], YES),
    (lambda: [model("any_length_200", "order", 1)], PARTLY),
    (lambda: [model("any_length_200", "order", 0)], NO),
]
CASES["C18a"] = [
    (lambda: [model("any_length_200_stopped", "order")], YES),
    (lambda: [model("any_length_200_stopped", "order", error_twice=0.3)], NO),
]

# The arms without which a row says nothing.
NEEDED = {
    **dict.fromkeys(("F7", "F7a", "F7b"), ("SGD", "SGD-C", "SGD-CR")),
    **dict.fromkeys(("C16", "C16a", "C16b", "C17", "C17a", "C18", "C18a"), ("SGD-CR",)),
    **dict.fromkeys(("C19", "C20", "C21", "C22", "C23", "C34", "C25"), ("SGD-CR",)),
    "C13": ("SGD-R", "SGD-CR"),
    **dict.fromkeys(("C12", "C14", "C35"), ("SGD-C", "SGD-CR")),
    "C26": ("SGD", "SGD-C"),
    **dict.fromkeys(("T1", "T2", "T2a"), ("SGD", "SGD-C", "SGD-CR")),
    **dict.fromkeys(("C27", "C27a"), ("SGD-C", "SGD-CR")),
    "C28": ("SGD-CR", "SGD-CR-constant"),
}

# The metrics that can take a verdict away by not being a number.
DECISIVE = {
    **dict.fromkeys(("F7", "F7a", "F7b", "C16", "C16a", "C16b"), ("solved",)),
    **dict.fromkeys(("C17", "C17a", "C21", "C23"), ("solved",)),
    **dict.fromkeys(("C18", "C18a", "C19", "C20"), ("solved", "error_twice")),
    "C11": ("solved",),
    "C12": ("solved", "ratio_low", "ratio_median", "ratio_high", "singular_low"),
    "C13": ("solved", "max_norm"),
    "C14": ("opposed_fraction", "omega_first", "omega_last"),
    "C22": ("solved",),
    "C30": ("solved", "rho_start", "rho_end", "update_of_rho_one", "update_of_max_norm"),
    "C34": ("solved", "error_longer"),
    "C35": ("to_attractor", "product_norm"),
    "T1": ("test_nll", "clipped_fraction"),
    "C25": ("test_nll",),
    "C26": ("train_nll", "test_nll"),
    "C27": ("test_nll",),
    "C28": ("test_nll",),
    "T2": ("test_bits", "clipped_fraction"),
    "T2a": ("test_bits", "clipped_fraction"),
    "C27a": ("test_bits",),
}


def edited(original: Record, change: Callable[[dict], None]) -> Record:
    whole = original.model_dump()
    for result in whole["results"]:
        change(result)
    return Record.model_validate(whole)


def mixed(variant: str, metric: str, right: int) -> Record:
    """Five solved models, of which ``right`` generalise."""

    def change(result):
        result["metrics"][metric] = [0.004] * right + [0.3] * (5 - right)

    return edited(model(variant, LONGER[variant]), change)


def uneven(metric: str, good: float, bad: float, n_good: int) -> Record:
    """Sixteen SGD-CR networks a cell, of which ``n_good`` are as they should be."""

    def change(result):
        if result["condition"]["arm"] == "SGD-CR":
            result["metrics"][metric] = [good] * n_good + [bad] * (16 - n_good)

    return edited(figure({100: (0, 0, 4, 16)}), change)


def pushed(solved: dict[int, int], away: tuple[int, ...]) -> Record:
    """SGD-C's successes by length, and the lengths at which SGD-CR's networks are farther out."""
    record = figure({T: (0, k, 0, 16) for T, k in solved.items()})

    def change(result):
        condition, metrics = result["condition"], result["metrics"]
        if condition["arm"] == "SGD-CR" and condition["seq_len"] not in away:
            for name in ("product_norm", "to_attractor"):
                metrics[name] = [0.01] * 16

    return edited(record, change)


def small_product(whole: Record) -> Record:
    """The same record, with products that the regulariser made smaller everywhere."""

    def change(result):
        if result["condition"]["arm"] == "SGD-CR":
            result["metrics"]["product_norm"] = [0.01] * 16

    return edited(whole, change)


def larger_in(n: int, whole: Record) -> Record:
    """The same record, in which SGD-R has the larger norm in ``n`` of 16 pairs of every cell."""

    def change(result):
        if result["condition"]["arm"] == "SGD-R":
            result["metrics"]["max_norm"] = [90.0] * n + [1.0] * (16 - n)

    return edited(whole, change)


def logistic_below_one(whole: Record) -> Record:
    """The same record, its logistic networks with a spectral radius that stays small."""

    def change(result):
        if result["condition"]["start"] == "sigmoid":
            result["metrics"] |= {"rho_end": [0.08] * 16, "update_of_rho_one": [None] * 16}

    return edited(whole, change)


def gains(*by_seed: float) -> list[Record]:
    """Table 1 with this much between SGD-C and SGD-CR, seed by seed, on every set."""

    def change(result):
        if result["condition"]["arm"] == "SGD-CR":
            result["metrics"]["test_nll"] = [7.0 - gain for gain in by_seed]
        else:
            result["metrics"]["test_nll"] = [7.0] * 5

    return [edited(record, change) for record in table_1()]


def half_lost(whole: Record) -> Record:
    """The same record, with what is inside unknown for every other seed of SGD-CR."""

    def change(result):
        if result["condition"]["arm"] == "SGD-CR":
            values = result["metrics"]["to_attractor"]
            values[::2] = [math.nan] * len(values[::2])

    return edited(whole, change)


def spread(sd: float, variant: str) -> Record:
    """One of table 1's sets, its five seeds far apart."""

    def change(result):
        result["metrics"]["test_nll"] = [7.0 + sd * k for k in range(-2, 3)]

    return edited(music(variant, *PRINTED[variant]), change)


def in_success(short: str) -> list[Record]:
    """Records that give the row the best verdict that it can have."""
    records, verdict = CASES[short][0]
    assert verdict in (*SUCCESS, PARTLY)
    return records()


def judged(short: str, records: list[Record]):
    return evaluate(BY_ID[f"P13-{short}"], Records(records))


ALL = [claim.id.removeprefix("P13-") for claim in CLAIMS]


def test_every_row_that_rests_on_runs_has_its_cases():
    assert set(CASES) == set(ALL)
    for short, cases in CASES.items():
        found = {verdict for _, verdict in cases}
        assert NO in found, short
        assert found & {YES, PARTLY}, short


@pytest.mark.parametrize(
    ("short", "records", "verdict"),
    [(short, *case) for short, cases in CASES.items() for case in cases],
)
def test_verdicts_follow_from_records(short, records, verdict):
    row = judged(short, records())
    assert row.verdict is verdict
    assert "{" not in row.ours.replace("\\frac{", "")
    assert len(row.claim.note) > 40


@pytest.mark.parametrize("short", ALL)
def test_without_a_record_nothing_is_claimed(short):
    assert evaluate(BY_ID[f"P13-{short}"], Records()).verdict is NOT_RUN


@pytest.mark.parametrize("short", ALL)
def test_a_reduced_run_is_called_reduced(short):
    records = in_success(short)
    before = judged(short, records).verdict
    reduced = [
        r.model_copy(update={"scale": "reduced", "reduced": "fewer updates"}) for r in records
    ]
    after = NOT_RUN if short == "C25" else REDUCED if before is YES else before
    assert judged(short, reduced).verdict is after


@pytest.mark.parametrize(
    ("short", "arm"), [(short, arm) for short, needed in NEEDED.items() for arm in needed]
)
def test_without_an_arm_that_it_compares_nothing_is_claimed(short, arm):
    def change(result):
        if result["condition"]["arm"] == arm:
            result["condition"]["arm"] = "another"

    row = judged(short, [edited(r, change) for r in in_success(short)])
    assert row.verdict is NOT_RUN
    assert "holds no" in row.ours


@pytest.mark.parametrize(
    ("short", "metric"), [(short, m) for short, metrics in DECISIVE.items() for m in metrics]
)
def test_a_metric_that_is_not_a_number_takes_the_verdict_away(short, metric):
    def change(result):
        assert metric in result["metrics"]
        result["metrics"][metric] = [math.nan] * len(result["metrics"][metric])

    records = in_success(short)
    best = judged(short, records).verdict
    verdict = judged(short, [edited(r, change) for r in records]).verdict
    assert verdict not in (*SUCCESS, best)


@pytest.mark.parametrize("short", ALL)
def test_values_that_are_not_numbers_prove_nothing(short):
    row = judged(short, in_success(short))
    values = {
        name: math.nan if isinstance(value, float) else -1 if type(value) is int else value
        for name, value in row.values.items()
    }
    assert row.claim.judge(values) in (NO, PARTLY)


def test_counts_come_with_intervals_and_updates():
    row = judged("F7a", [figure(AS_DRAWN, updates={"SGD-CR": 1234, "": 5000})])
    assert "basic tanh T = 10: 16/16/16 (1234), T = 20: 5/16/16 (1234)" in row.ours
    assert "at most 5000000" in row.ours
    row = judged("F7b", [larger_rate({100: (0, 16, 0, 16)}), NULL])
    assert "SGD 0/16 [0.00, 0.19], SGD-C 16/16 [0.81, 1.00], paired p = 3e-05" in row.ours
    row = judged("C22", [model("permutation", "permutation", 1)])
    assert "T = 50 to 199: 1/5 [0.04, 0.62] (1000); 1 of 8 inside and 2 of 5 inside" in row.ours


def test_the_median_of_updates_is_that_of_the_runs_that_succeeded():
    def change(result):
        result["metrics"]["updates"] = [700, 900, 9000, 9000, 9000]

    row = judged("C22", [edited(model("permutation", "permutation", 2), change)])
    assert "2/5 [0.12, 0.77] (800)" in row.ours


def test_the_state_of_the_art_is_that_of_the_proceedings_list():
    values = judged("C25", table_1()).values
    gains = [values[f"{name}_gain"] for name in ("piano_midi", "nottingham", "musedata")]
    assert gains == pytest.approx([7.57 - 7.46, 3.43 - 3.46, 6.99 - 6.99], abs=1e-9)


def test_a_training_score_is_raised_where_the_regulariser_made_it_worse():
    assert judged("C27", table_1()).values["raised"] == 0
    worse = table_1(more={"SGD-CR": {"train": 9.0}})
    assert judged("C27", worse).values["raised"] == 3


def test_a_record_of_other_permutations_says_what_it_has():
    row = judged("C22", [one_arm("permutation", ("permutation", 0, 20, 5))])
    assert "needs one network for all lengths up to 100 or more" in row.ours
    assert "T = 20: 5/5 [0.57, 1.00]" in row.ours


def test_norms_of_runs_that_diverged_count_as_larger():
    row = judged(
        "C13",
        [
            figure(AS_DRAWN, max_norm=9.0, diverged={"SGD-R": True, "": False}),
            larger_rate(NOTHING, max_norm=9.0),
        ],
    )
    # Where both arms have the same norm their pair says nothing.
    assert (row.values["larger"], row.values["differ"]) == (1.0, 3 * 4 * 16)


# The statistics, against other code.


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_pairs_agree_with_scipy(outcomes):
    first, second = zip(*outcomes, strict=True)
    both = Pair(20, ("a", "b"), first, second)
    ends = [
        stats.binomtest(sum(arm), len(arm)).proportion_ci(method="wilson")
        for arm in (first, second)
    ]
    assert interval(first) == pytest.approx((ends[0].low, ends[0].high), abs=1e-6)
    assert both.separated is bool(ends[1].low > ends[0].high)
    assert both.reversed is bool(ends[1].high < ends[0].low)
    assert not (both.separated and both.reversed)
    won = sum(b and not a for a, b in outcomes)
    differ = sum(a != b for a, b in outcomes)
    p = stats.binomtest(won, differ).pvalue if differ else 1.0
    assert both.p == pytest.approx(p)
    swapped = Pair(20, ("b", "a"), second, first)
    assert (swapped.separated, swapped.reversed) == (both.reversed, both.separated)


@pytest.mark.parametrize(("value", "solved"), [(True, True), (1, True), (False, False), (0, False)])
@pytest.mark.parametrize("bad", [math.nan, None, math.inf])
def test_what_is_not_a_yes_is_a_no(value, solved, bad):
    results = cell(20, {"SGD": 2}, n=2)
    results[0]["metrics"]["solved"] = [value, bad]
    (result,) = record("pathological", "order", results, seeds=2).results
    assert solved_by_seed(result) == (solved, False)


def test_groups_hold_what_differs_in_one_key_alone():
    whole = figure({10: (1, 2, 3, 4), 20: (5, 6, 7, 8)})
    groups = grouped(whole, "arm")
    assert len(groups) == 6
    for group in groups:
        assert list(group) == list(ARMS)
        rest = [{k: v for k, v in r.condition.items() if k != "arm"} for r in group.values()]
        assert all(condition == rest[0] for condition in rest)


def test_the_median_is_one_of_finite_numbers():
    assert middle([1, None, math.nan, math.inf, 5, 3]) == 3
    assert math.isnan(middle([None, math.nan]))


# The rows and the experiments that they rest on.


def experiment(name: str):
    try:
        return experiments.load(name)
    except ArgumentError:
        pytest.skip(f"there is no experiment {name} yet")


def variants(settings) -> set[str]:
    """The records that a preset comes to; data need not be at hand."""
    if hasattr(settings, "readings"):
        return {reading.name for reading in settings.readings}
    return set(settings.datasets)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_row_rests_on_records_that_a_preset_makes(claim: Claim):
    module = experiment(claim.experiment)
    assert claim.variants
    assert set(claim.variants) <= variants(module.SETTINGS["reduced"])


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_row_can_be_settled_at_the_papers_scale_or_says_that_it_is_reduced(claim: Claim):
    """Only these rows rest on what no paper-scale preset has."""
    ours = {"P13-F7b", "P13-C16b", "P13-C17a", "P13-C18a"}
    paper = variants(experiment(claim.experiment).SETTINGS["paper"])
    assert (set(claim.variants) <= paper) is (claim.id not in ours)


def test_the_papers_lengths_are_run_at_its_scale():
    readings = {r.name: r for r in experiment("pathological").SETTINGS["paper"].readings}
    assert {c.seq_len for c in readings["figure_7"].cells if c.start == "basic_tanh"} >= {100, 200}
    for name in ("any_length", "addition", "multiplication", "order_3bit", "permutation"):
        assert [(c.shortest, c.seq_len) for c in readings[name].cells] == [(50, 199)]
    assert {c.task for c in readings["memorisation"].cells} == {
        "memorisation_5bit",
        "memorisation_20bit",
    }


@functools.cache
def smoke(name: str) -> Record:
    module = experiment(name)
    settings = module.SETTINGS["smoke"]
    if name == "pathological":
        settings = settings.only("order")
    (found,) = experiments.run(name, settings, workers=1, progress=False)
    return found


TASK_OF = {**LONGER, "any_length_200": "order", "any_length_200_stopped": "order"}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_real_runs_hold_what_a_row_reads(claim: Claim):
    """A run too short to show anything, relabelled: it has to be judged, and cannot convince."""
    if claim.experiment == "temporal_order":
        pytest.skip("judged on the record of 2012, which is committed")
    short = claim.id.removeprefix("P13-")
    records = []
    for variant in claim.variants:
        whole = smoke(claim.experiment).model_dump()
        whole |= {"variant": variant, "scale": "reduced", "reduced": "everything"}
        if short == "C25":  # asks for the paper's scale
            whole |= {"scale": "paper", "reduced": ""}
        for result in whole["results"]:
            condition = result["condition"]
            if claim.experiment == "pathological":
                condition["task"] = TASK_OF.get(variant, "order")
                condition["seq_len"] += 100
                if variant == "permutation":
                    condition["shortest"] = 50
                # Some rows look at solved networks alone.
                result["metrics"]["solved"] = [True, False]
        records.append(Record.model_validate(whole))
    row = judged(short, records)
    # Nothing is missing: if the row does not run, it is because the numbers do not allow it.
    assert row.verdict is not NOT_RUN
    assert row.verdict in Verdict
