"""Judges built from conditions, and words that rounding does not change."""

import math

import pytest

from rnnlib.claims.claim import Verdict
from rnnlib.claims.judging import below, erratum, holds, less_than, more_than, partly


@pytest.mark.parametrize(("error", "met"), [(1e-13, True), (1e-11, False), (math.nan, False)])
def test_a_condition_decides_and_nan_never_meets_it(error, met):
    def small(values):
        return values["error"] < 1e-12

    failed = Verdict.NOT_REPRODUCED
    assert holds(small)({"error": error}) is (Verdict.REPRODUCED if met else failed)
    assert partly(small)({"error": error}) is (Verdict.PARTLY if met else failed)


@pytest.mark.parametrize("counterexample", [True, False])
@pytest.mark.parametrize("repaired", [True, False])
def test_wrong_as_printed_needs_the_counterexample_and_the_repair(counterexample, repaired):
    judge = erratum(counterexample=lambda v: v["gap"], repaired=lambda v: v["holds"])
    wrong = judge({"gap": counterexample, "holds": repaired}) is Verdict.WRONG
    assert wrong == (counterexample and repaired)


def test_errors_below_their_bound_read_the_same_on_every_machine():
    assert below(3e-16, 1e-12) == below(7e-15, 1e-12) == "below 1e-12"
    assert below(2e-5, 1e-4) == "below 1e-4"


def test_errors_above_their_bound_are_shown():
    assert below(0.03, 1e-4) == "3e-2"
    assert below(math.nan, 1e-4) == "nan"


def test_shares_are_shown_by_their_bound_or_as_they_are():
    assert more_than(0.78, 0.5) == more_than(0.81, 0.5) == "more than 50 %"
    assert more_than(0.3, 0.5) == "30 %"
    assert less_than(0.0006, 0.001) == "less than 0.1 %"
    assert less_than(0.02, 0.001) == "2 %"
