"""The 2012 ledger: complete, with the verdicts we found, and every check able to fail."""

import functools
import math
from collections.abc import Callable

import pytest
from scipy import stats

from rnnlib.claims import of_paper
from rnnlib.claims.claim import Claim, Row, Verdict, evaluate
from rnnlib.records import Record, Records, make

CLAIMS = of_paper("p12")
BY_ID = {claim.id: claim for claim in CLAIMS}
MATHEMATICS = [claim for claim in CLAIMS if claim.measure and not claim.experiment]
SUCCESS = (Verdict.REPRODUCED, Verdict.REDUCED)
# A check that can fail must be able to leave its verdict for one of these.
FAILURE = (Verdict.NOT_REPRODUCED, Verdict.PARTLY)

IDS = {
    *(f"P12-F{i}" for i in range(1, 8)),
    *(f"P12-F7{reading}" for reading in "abc"),
    *(f"P12-E{i}" for i in range(1, 15)),
    *(f"P12-C{i}" for i in range(1, 34)),
    "P12-A1",
    "P12-T1",
    "P12-T2",
}

WRONG = {"E5", "E8", "E9", "E10", "C5", "C6", "E13", "C15", "C16"}
PARTLY = {"E11", "C32", "C33", "C12", "C18", "C21", "C25", "C30"}
NOT_CHECKABLE = {"C19", "C20", "C24", "C27"}

# For each claim of mathematics: single values that must take its verdict away.
MUST_FAIL: dict[str, dict[str, list[object]]] = {
    "F1": {"with_loop": [0.0, math.nan], "without_loop": [0.01]},
    "E1": {"error": [1e-9]},
    "E2": {"error": [1e-10], "zero_logistic": [0.0], "zero_tanh": [0.1]},
    "F2": {"error": [1e-6]},
    "E3": {"error": [1e-6]},
    "E4": {"error": [1e-6]},
    "E5": {"error": [0.1], "gap": [1e-9], "gap_other_form": [0.5], "bound_holds": [False]},
    "C1": {"small_gain": [0.2], "large_gain": [-0.2, 0.0]},
    "E6": {"error": [0.1], "error_transposed": [0.1]},
    "E7": {
        "slope_error": [0.01],
        "rate_ratio": [0.8, 1.2],
        "cosine_left": [0.9],
        "cosine_right": [1.0],
    },
    "C2": {"growing": [1.1], "marginal": [0.9]},
    "C3": {"decays": [0.1], "grows": [-0.1], "peak": [1.0], "peak_step": [1], "last": [1.0]},
    "E8": {"error": [0.1], "gap_index": [0.0], "gap_right": [0.0]},
    "E9": {
        "met": [3],
        "strict_for_eigenvector": [True],
        "repaired": [False],
        "one_unit": [False],
    },
    "E10": {
        "met": [3],
        "strict_for_eigenvector": [True],
        "repaired": [False],
        "one_unit": [False],
    },
    "C4": {"error": [0.1]},
    "C5": {
        "radius_W": [3.0],
        "radius_J": [0.0],
        "miss": [0.1],
        "norms_hold": [False],
        "norm_J_within_bound": [False],
        "alpha_within_radius": [False],
    },
    "C6": {
        "radius_W": [5.0],
        "miss": [0.1],
        "growth_tanh": [1.0],
        "growth_logistic": [1.0],
        "norm_bound": [False],
    },
    "E11": {"bias_error": [1.0], "input_error": [1.0], "parameters": [4]},
    "E12": {"error": [0.1], "first_along_v": [0.5], "c_1": [0.0]},
    "E13": {"error": [0.1], "printed": [0.9], "single": [6.0, 1.0]},
    "C32": {
        "error": [0.1],
        "saturated_norm": [0.0],
        "saturated_slope": [0.5],
        "norm_at_zero": [1.0],
        "logistic_low": [1.0],
    },
    "C7": {"w5": [0.2], "w6": [0.3]},
    "E14": {"error": [0.1]},
    "F3": {
        "offset": [0.01],
        "below_wall": [0.02],
        "above_wall": [0.3],
        "plain_lost": [0.3],
        "rescaled_worst": [0.09],
        "rescaled_step": [1.5],
    },
    "C33": {"miss": [0.1], "largest_k": [50], "slope_in_k": [0.161, 0.0]},
    "C8": {"ratio_w5": [1.0], "ratio_w6": [1.0], "curvature_w5": [1e5], "curvature_w6": [1e5]},
    "C9": {"gap_to_normal": [0.1], "cosine": [0.8], "share_turned": [0.5]},
    "C11": {"plain_jumps": [0.1], "steps_to_return": [100], "rescaled_worst": [0.09]},
    "C10": {"median": [5.0], "high": [5.0], "above_1": [0.4]},
    "C12": {"fresh": [0.5], "averaged": [0.0]},
    "F4": {
        "b_1": [-2.0],
        "b_2": [-3.0],
        "fold_error": [0.1],
        "outer_stable": [False],
        "middle_unstable": [False],
    },
    "C13": {"counts": ["1, 1, 1, 1, 1, 1, 1"], "b_1": [-3.0]},
    "C14": {"boundary_jump": [0.0], "fold_jump": [0.0], "elsewhere": [1.0]},
    "C31": {"at_1e_1": [10.0], "at_1e_4": [0.1], "at_1e_5": [0.1]},
    "C15": {
        "slope": [0.0, 0.5],
        "least_slope": [0.0],
        "displacement": [0.1],
        "slope_at_fold": [0.0],
    },
    "C16": {"linear": [1.0], "across": [1.0], "inside": [10.0]},
    "C17": {"steepest": [1e3], "upper_vanishes": [False]},
    "F5": {"t50": [0.001], "limit": [0.0], "attractors": [0.0], "t10": [1.0]},
    "F6": {"error": [0.1], "on_boundary": [0.9], "far": [0.7], "held": [-2.0], "swept": [1.0]},
    "C18": {
        "to_origin": [1.0],
        "radius": [1.2],
        "other_x": [0.0],
        "other_miss": [0.1],
        "other_radius": [1.5],
        "logistic": [0.0],
    },
    "A1": {"gap": [0.1], "cosine": [0.9], "norm_is_min": [False]},
    "C21": {"by_norm": [0.9], "by_element": [-0.1, 1.0], "clipped_sum": [1.0]},
    "C23": {"error": [0.1]},
    "C25": {"test": [4], "train": [1]},
    "C30": {"improved": [4], "p_text8": [math.nan]},
}

# Computed once with separate code, the one-unit model with 60 to 150 digits.
REFERENCE = [
    ("E5", "gap", 0.5308, 5e-5),
    ("C3", "peak", 26.9362, 5e-5),
    ("C3", "last", 7.0554e-8, 5e-12),
    ("C5", "radius_J", 2.7880475254, 5e-11),
    ("C6", "growth_tanh", 1.22863e9, 1e4),
    ("C7", "theory_w5", 0.161284, 5e-7),
    ("C7", "theory_w6", 0.343606, 5e-7),
    ("F3", "below_wall", 0.3528, 1e-4),
    ("F3", "above_wall", 0.0172, 1e-4),
    ("C8", "gradient_w5", 6773.13, 0.5),
    ("C8", "curvature_w5", 2.3e8, 0.5e7),
    ("C8", "curvature_w6", 1.7e15, 0.5e14),
    ("C10", "median", 0.102, 5e-4),
    ("C10", "high", 0.757, 5e-4),
    ("C10", "above_1", 0.0070, 1e-4),
    ("C10", "above_10", 0.0016, 1e-4),
    ("C31", "at_1e_1", 0.190, 5e-4),
    ("C31", "at_1e_5", 5970, 2),
    ("C17", "steepest", 2.3064, 1e-4),
    ("F5", "t10", 0.00931, 5e-6),
    ("F5", "t20", 0.0867, 5e-5),
    ("F5", "t30", 0.789, 5e-4),
    ("F5", "t50", 3.549, 5e-4),
    ("F6", "swept", -2.1196, 5e-5),
    ("C18", "other_x", -1.131847, 5e-7),
    ("C18", "other_y", 1.664261, 5e-7),
    ("C18", "other_radius", 0.7668, 5e-5),
]


def expected_verdict(claim: Claim) -> Verdict:
    short = claim.id.removeprefix("P12-")
    if short in WRONG:
        return Verdict.WRONG
    return Verdict.PARTLY if short in PARTLY else Verdict.REPRODUCED


@functools.cache
def evaluated(claim_id: str) -> Row:
    return evaluate(BY_ID[claim_id], Records())


def test_every_claim_of_the_paper_is_entered_once():
    ids = [claim.id for claim in CLAIMS]
    assert len(ids) == len(set(ids)) == 60
    assert set(ids) == IDS


def test_claims_follow_the_paper_section_by_section():
    sections = [
        float(claim.where.split("section ")[1][:3].strip(",. "))
        for claim in CLAIMS
        if claim.where.startswith("section")
    ]
    assert sections == sorted(sections)


@pytest.mark.parametrize("claim", MATHEMATICS, ids=lambda claim: claim.id)
def test_mathematics_has_the_verdict_we_found(claim):
    row = evaluated(claim.id)
    assert row.verdict is expected_verdict(claim)
    assert row.ours
    assert "{" not in row.ours


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_what_is_wrong_as_printed_has_a_repair_and_a_fair_reading(claim):
    wrong = claim.id.removeprefix("P12-") in WRONG
    assert bool(claim.repair) is wrong
    assert claim.note or not wrong


def test_what_cannot_be_checked_says_why():
    unchecked = {claim.id.removeprefix("P12-") for claim in CLAIMS if claim.judge is None}
    assert unchecked == NOT_CHECKABLE
    for short in unchecked:
        row = evaluated(f"P12-{short}")
        assert row.verdict is Verdict.NOT_CHECKABLE
        assert len(row.claim.note) > 40


def test_every_check_has_a_way_to_fail():
    with_judge = {claim.id.removeprefix("P12-") for claim in CLAIMS if claim.judge}
    assert with_judge == {*MUST_FAIL} | {*RECORD_CASES}
    for short, cases in RECORD_CASES.items():
        assert any(verdict in FAILURE for _, verdict in cases), short


@pytest.mark.parametrize(
    ("short", "name", "bad"),
    [
        (s, name, bad)
        for s, table in MUST_FAIL.items()
        for name, bads in table.items()
        for bad in bads
    ],
)
def test_a_bad_value_takes_the_verdict_away(short, name, bad):
    row = evaluated(f"P12-{short}")
    assert name in row.values
    verdict = row.claim.judge({**row.values, name: bad})
    assert verdict in FAILURE
    assert verdict is not row.verdict


@pytest.mark.parametrize("claim", MATHEMATICS, ids=lambda claim: claim.id)
def test_what_is_not_a_number_proves_nothing(claim):
    values = {
        name: math.nan if isinstance(value, float) else -1 if type(value) is int else value
        for name, value in evaluated(claim.id).values.items()
    }
    assert claim.judge(values) is Verdict.NOT_REPRODUCED


@pytest.mark.parametrize(("short", "name", "reference", "tolerance"), REFERENCE)
def test_measured_numbers_agree_with_separate_code(short, name, reference, tolerance):
    assert evaluated(f"P12-{short}").values[name] == pytest.approx(reference, abs=tolerance)


def test_significance_agrees_with_scipy():
    values = evaluated("P12-C30").values
    printed = {
        "p_piano_midi": (7.79, 0.013, 7.77, 0.019),
        "p_nottingham": (4.57, 0.718, 4.05, 0.052),
        "p_musedata": (8.00, 0.426, 7.24, 0.037),
        "p_text8": (1.82, 0.067, 1.80, 0.021),
        "p_ptb": (2.24, 0.942, 1.44, 0.006),
    }
    for name, (m1, s1, m2, s2) in printed.items():
        p = stats.ttest_ind_from_stats(m1, s1, 5, m2, s2, 5, equal_var=False).pvalue
        assert values[name] == pytest.approx(p, rel=1e-9)
    assert (values["significant"], values["inside"]) == (1, 3)


# Claims about experiments: records made up to deserve each verdict.


def record(
    experiment: str, variant: str, results: list[dict], *, seeds=16, scale="paper"
) -> Record:
    return make(
        experiment,
        scale,
        {"check_every": 200},
        range(seeds),
        results,
        wall_time_s=60.0,
        device="cpu",
        variant=variant,
        reduced="" if scale == "paper" else "fewer updates",
    )


def order(
    reading: str, cells: list[tuple], *, rate: float = 0.1, n: int = 16, scale: str = "paper"
) -> Record:
    """A temporal-order record; a cell is (length, threshold, seeds solved, other metrics)."""
    results = []
    for seq_len, threshold, solved, *more in cells:
        extra = more[0] if more else {}
        metrics = {
            "solved": [k < solved for k in range(n)],
            "solved_p12": [k < solved for k in range(n)],
            "updates": [1000] * n,
            "mean_norm": [2.0] * n,
            "rho_start": [0.7] * n,
            "rho_end": [1.3] * n,
            "update_of_rho_one": [400] * n,
            "update_of_max_norm": [700] * n,
        }
        condition = {
            "reading": reading,
            "nonlinearity": "tanh",
            "init_std": 0.1,
            "seq_len": seq_len,
            "learning_rate": extra.pop("learning_rate", rate),
            "threshold": threshold,
        }
        metrics |= {name: [value] * n for name, value in extra.items()}
        results.append({"condition": condition, "metrics": metrics})
    return record("temporal_order", reading, results, seeds=n, scale=scale)


def arms(reading: str, table: dict[int, tuple[int, int]], **options) -> Record:
    """Both arms: ``{length: (plain solved, rescaled solved)}``."""
    cells = [(T, t, k) for T, pair in table.items() for t, k in zip((None, 1.0), pair, strict=True)]
    return order(reading, cells, **options)


def logistic(table: dict[int, tuple[int, int]]) -> Record:
    """The literal reading: as `arms`, with the paper's units."""
    whole = arms("literal", table).model_dump(mode="json")
    for result in whole["results"]:
        result["condition"]["nonlinearity"] = "logistic"
    return Record.model_validate(whole)


def own_best(plain: dict[float, int], rescaled: dict[float, int]) -> Record:
    """One length; seeds solved by rate."""
    return order(
        "own_best",
        [
            (25, threshold, solved, {"learning_rate": rate})
            for threshold, table in ((None, plain), (1.0, rescaled))
            for rate, solved in table.items()
        ],
    )


def sweep(solved: dict[float, int], updates: dict[float, int] | None = None) -> Record:
    return order(
        "threshold",
        [(20, t, k, {"updates": (updates or {}).get(t, 1000)}) for t, k in solved.items()],
    )


def events(**metrics) -> Record:
    return order("same_rate", [(20, None, 3, dict(metrics)), (20, 1.0, 16, dict(metrics))])


def scores(experiment: str, variant: str, unit: str, arms: list[tuple], *, scale="paper") -> Record:
    """An arm is (condition, scores of every fold, diverged, clipped fraction)."""
    return record(
        experiment,
        variant,
        [
            {
                "condition": {"dataset": variant, **condition},
                "metrics": {
                    **{f"{fold}_{unit}": list(values) for fold in ("train", "valid", "test")},
                    "diverged": [k < diverged for k in range(len(values))],
                    "clipped_fraction": [clipped] * len(values),
                },
            }
            for condition, values, diverged, clipped in arms
        ],
        seeds=len(arms[0][1]),
        scale=scale,
    )


def music(
    variant: str, plain: float, rescaled: float, *, clipped=0.2, lost=0, scale="paper"
) -> Record:
    arms = [
        ({"threshold": None}, [plain - 0.01, plain + 0.01], 0, 0.0),
        ({"threshold": 120.0}, [rescaled - 0.01, rescaled + 0.01], lost, clipped),
    ]
    return scores("music", variant, "nll", arms, scale=scale)


def three_sets(nottingham, musedata, piano, **options) -> list[Record]:
    return [
        music("nottingham", *nottingham, **options),
        music("musedata", *musedata, **options),
        music("piano-midi", *piano, **options),
    ]


AS_PRINTED = ((4.57, 4.05), (8.00, 7.24), (7.79, 7.77))


def characters(*rates: tuple, elementwise: float | None = None) -> list[Record]:
    """A rate is (rate, plain scores, plain runs diverged, rescaled scores)."""
    arms = []
    for rate, plain, diverged, rescaled in rates:
        at = {"learning_rate": rate}
        arms.append(({**at, "threshold": None}, plain, diverged, 0.0))
        arms.append(({**at, "threshold": 45.0}, rescaled, 0, 0.3))
        if elementwise is not None:
            values = [elementwise] * len(plain)
            arms.append(({**at, "threshold": 1.0, "clipping": "elementwise"}, values, 0, 0.3))
    return [scores("characters", "ptb-chars", "bits", arms)]


EVEN = {10: (16, 16), 15: (12, 13), 20: (4, 5)}
APART = {10: (16, 16), 20: (3, 16), 25: (0, 16)}
BETTER_PLAIN = {10: (16, 2), 20: (3, 16)}
NULL = arms("null", {20: (13, 12)}, rate=0.01)
CLOSE, LOST, TIGHT = [1.50, 1.51, 1.52], [1.5, 2.2, 3.0], [1.44, 1.45, 1.44]

RECORD_CASES: dict[str, list[tuple[Callable[[], list[Record]], Verdict]]] = {
    "F7": [
        (lambda: [arms("literal", APART), arms("same_rate", APART)], Verdict.REPRODUCED),
        (lambda: [arms("literal", EVEN), arms("same_rate", APART)], Verdict.PARTLY),
        (lambda: [arms("literal", EVEN), arms("same_rate", EVEN)], Verdict.NOT_REPRODUCED),
        (
            lambda: [arms("literal", EVEN), arms("same_rate", BETTER_PLAIN)],
            Verdict.NOT_REPRODUCED,
        ),
    ],
    "F7a": [
        (lambda: [arms("literal", APART)], Verdict.REPRODUCED),
        (lambda: [arms("literal", EVEN)], Verdict.NOT_REPRODUCED),
        (lambda: [arms("literal", {10: (0, 0), 20: (0, 0)})], Verdict.NOT_REPRODUCED),
        # A difference beyond the lengths that the figure speaks of does not count.
        (lambda: [arms("literal", {20: (0, 0), 25: (0, 16)})], Verdict.NOT_REPRODUCED),
        (lambda: [arms("literal", BETTER_PLAIN)], Verdict.PARTLY),
    ],
    "F7b": [
        (lambda: [arms("same_rate", APART), NULL], Verdict.REPRODUCED),
        (lambda: [arms("same_rate", EVEN), NULL], Verdict.NOT_REPRODUCED),
        (lambda: [arms("same_rate", BETTER_PLAIN), NULL], Verdict.PARTLY),
    ],
    "F7c": [
        (lambda: [own_best({0.01: 7, 0.1: 0}, {0.01: 5, 0.1: 16})], Verdict.REPRODUCED),
        (lambda: [own_best({0.01: 0, 0.1: 0}, {0.01: 0, 0.1: 0})], Verdict.NOT_REPRODUCED),
        # Apart at one rate, but plain does as well at its own.
        (lambda: [own_best({0.01: 16, 0.1: 0}, {0.01: 5, 0.1: 16})], Verdict.NOT_REPRODUCED),
    ],
    "C22": [
        (lambda: [sweep({0.1: 11, 1.0: 16, 10.0: 9})], Verdict.REPRODUCED),
        (lambda: [sweep({0.1: 2, 1.0: 16, 10.0: 12})], Verdict.PARTLY),
        (
            lambda: [sweep({0.1: 16, 1.0: 16, 10.0: 16}, updates={0.1: 5000})],
            Verdict.PARTLY,
        ),
        (lambda: [sweep({0.1: 2, 1.0: 16, 10.0: 2})], Verdict.NOT_REPRODUCED),
        (
            lambda: [order("threshold", [(20, 1.0, 0, {"mean_norm": math.nan})])],
            Verdict.NOT_RUN,
        ),
        # A wide range that leaves out the mean norm of 2 does not show the heuristic at work.
        (lambda: [sweep({0.001: 16, 0.1: 16, 1.0: 16, 3.0: 2})], Verdict.NOT_REPRODUCED),
    ],
    "C28": [
        (lambda: [logistic({20: (3, 16), 25: (0, 0)})], Verdict.REPRODUCED),
        (lambda: [logistic({20: (0, 0), 25: (0, 0)})], Verdict.PARTLY),
        (lambda: [logistic({20: (3, 16), 25: (0, 1)})], Verdict.NOT_REPRODUCED),
        (lambda: [logistic({20: (3, 16)})], Verdict.NOT_RUN),
        (lambda: [arms("literal", {20: (3, 16), 25: (0, 0)})], Verdict.NOT_RUN),
    ],
    "C29": [
        (lambda: [events()], Verdict.REPRODUCED),
        (lambda: [events(rho_end=0.6)], Verdict.NOT_REPRODUCED),
        (lambda: [events(rho_start=1.2)], Verdict.NOT_REPRODUCED),
        (lambda: [events(update_of_max_norm=1)], Verdict.NOT_REPRODUCED),
        (lambda: [events(update_of_rho_one=None)], Verdict.NOT_REPRODUCED),
        (lambda: [arms("same_rate", {20: (0, 0)})], Verdict.NOT_RUN),
    ],
    "T1": [
        (lambda: three_sets(*AS_PRINTED), Verdict.REPRODUCED),
        (lambda: three_sets((5.5, 5.0), (8.9, 8.1), (8.8, 8.8), scale="reduced"), Verdict.REDUCED),
        (lambda: three_sets((5.5, 5.0), (8.9, 8.1), (8.8, 8.8)), Verdict.PARTLY),
        (lambda: three_sets((4.0, 4.05), (8.0, 7.24), (7.79, 7.77)), Verdict.PARTLY),
        (lambda: three_sets((4.57, 4.05), (8.0, 7.24), (7.9, 7.7)), Verdict.PARTLY),
        (lambda: three_sets((4.0, 4.05), (7.2, 7.24), (7.7, 7.77)), Verdict.NOT_REPRODUCED),
        (lambda: three_sets(*AS_PRINTED, clipped=0.0), Verdict.NOT_REPRODUCED),
        (lambda: three_sets(*AS_PRINTED, lost=1), Verdict.NOT_REPRODUCED),
        (lambda: three_sets((4.57, math.nan), (8.0, math.nan), (7.8, 7.8)), Verdict.NOT_REPRODUCED),
        (lambda: three_sets(*AS_PRINTED)[:2], Verdict.NOT_RUN),
        (lambda: [music("bach-chorales", 8.0, 7.0)], Verdict.NOT_RUN),
    ],
    "T2": [
        (lambda: characters((0.1, LOST, 0, TIGHT)), Verdict.REPRODUCED),
        (lambda: characters((0.1, CLOSE, 1, TIGHT)), Verdict.REPRODUCED),
        (lambda: characters((0.03, CLOSE, 0, TIGHT), (0.1, LOST, 2, TIGHT)), Verdict.PARTLY),
        (lambda: characters((0.1, CLOSE, 0, TIGHT)), Verdict.NOT_REPRODUCED),
        (lambda: characters((0.1, TIGHT, 0, LOST)), Verdict.NOT_REPRODUCED),
    ],
    "C26": [
        (lambda: characters((0.1, LOST, 0, TIGHT), elementwise=1.45), Verdict.REPRODUCED),
        (lambda: characters((0.1, LOST, 0, TIGHT), elementwise=1.60), Verdict.NOT_REPRODUCED),
        (lambda: characters((0.1, LOST, 0, TIGHT)), Verdict.NOT_RUN),
    ],
}


@pytest.mark.parametrize(
    ("short", "records", "verdict"),
    [(short, *case) for short, cases in RECORD_CASES.items() for case in cases],
)
def test_verdicts_follow_from_records(short, records, verdict):
    row = evaluate(BY_ID[f"P12-{short}"], Records(records()))
    assert row.verdict is verdict
    assert "{" not in row.ours


@pytest.mark.parametrize("short", RECORD_CASES)
def test_without_a_record_nothing_is_claimed(short):
    assert evaluate(BY_ID[f"P12-{short}"], Records()).verdict is Verdict.NOT_RUN


@pytest.mark.parametrize("short", ["F7a", "F7b"])
def test_a_reduced_run_is_called_reduced(short):
    reading = {"F7a": "literal", "F7b": "same_rate"}[short]
    null = arms("null", {20: (13, 12)}, scale="reduced")
    row = evaluate(BY_ID[f"P12-{short}"], Records([arms(reading, APART, scale="reduced"), null]))
    assert row.verdict is Verdict.REDUCED


def test_the_separated_cell_is_shown_with_its_intervals():
    row = evaluate(BY_ID["P12-F7b"], Records([arms("same_rate", {25: (0, 16)}), NULL]))
    assert "plain 0/16 [0.00, 0.19], rescaled 16/16 [0.81, 1.00], paired p = 3e-05" in row.ours
