"""The statistics agree with SciPy and obey the laws that define them."""

from __future__ import annotations

import math

import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from rnnlib.checks import ArgumentError
from rnnlib.statistics import sign_test, welch, wilson

counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_is_scipys_interval(counted):
    successes, n = counted
    theirs = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    # z is given to seven digits here, to sixteen there.
    assert wilson(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-7)


@given(counts)
def test_wilson_ends_lie_z_standard_errors_from_the_observed_rate(counted):
    successes, n = counted
    for end in wilson(successes, n):
        off = 1.959964 * math.sqrt(end * (1 - end) / n)
        assert abs(successes / n - end) == pytest.approx(off, abs=1e-9)


@given(counts)
def test_wilson_of_failures_mirrors_that_of_successes(counted):
    successes, n = counted
    low, high = wilson(successes, n)
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilson_at_the_ends_is_closed():
    assert wilson(0, 16)[0] == 0
    assert wilson(16, 16)[1] == 1
    assert wilson(0, 50) == pytest.approx((0, 0.0713476), abs=1e-6)


@given(st.integers(0, 40), st.integers(0, 40))
def test_sign_test_is_the_exact_binomial_test(a, b):
    theirs = scipy.stats.binomtest(a, a + b).pvalue if a + b else 1.0
    assert sign_test(a, b) == pytest.approx(theirs, rel=1e-10)
    assert sign_test(a, b) == sign_test(b, a)


def test_sign_test_of_five_against_none():
    assert sign_test(5, 0) == 2 / 2**5


means, spreads = st.floats(-10, 10), st.floats(1e-3, 10)
sizes = st.integers(2, 200)


@given(means, spreads, sizes, means, spreads, sizes)
def test_welch_is_scipys(m1, s1, n1, m2, s2, n2):
    theirs = scipy.stats.ttest_ind_from_stats(m1, s1, n1, m2, s2, n2, equal_var=False).pvalue
    assume(theirs > 1e-250)
    # The quadrature is exact to rounding; the power of the sine costs about df * epsilon.
    assert welch(m1, s1, n1, m2, s2, n2) == pytest.approx(theirs, rel=1e-9)


@given(means, spreads, sizes, means, spreads, sizes, st.sampled_from([1e-200, 1e-3, 1e6]))
def test_welch_does_not_depend_on_the_unit_or_the_order(m1, s1, n1, m2, s2, n2, unit):
    p = welch(m1, s1, n1, m2, s2, n2)
    assert welch(m2, s2, n2, m1, s1, n1) == pytest.approx(p, rel=1e-9)
    scaled = welch(m1 * unit, s1 * unit, n1, m2 * unit, s2 * unit, n2)
    assert scaled == pytest.approx(p, rel=1e-6, abs=1e-300)


def test_welch_on_the_music_and_character_tables_of_the_2012_paper():
    # Test scores of plain and rescaled training, five runs each; p as the specification has it.
    rows = {
        "Piano-midi": (7.79, 0.013, 7.77, 0.019, 0.09),
        "Nottingham": (4.57, 0.718, 4.05, 0.052, 0.18),
        "MuseData": (8.00, 0.426, 7.24, 0.037, 0.016),
        "text8": (1.82, 0.067, 1.80, 0.021, 0.55),
        "PTB": (2.24, 0.942, 1.44, 0.006, 0.13),
    }
    for name, (m1, s1, m2, s2, p) in rows.items():
        assert welch(m1, s1, 5, m2, s2, 5) == pytest.approx(p, abs=0.006), name


def test_welch_of_a_diverged_run_is_nan():
    assert math.isnan(welch(math.nan, 1.0, 5, 0.0, 1.0, 5))
    assert math.isnan(welch(0.0, 1.0, 5, 0.0, math.inf, 5))


def test_welch_of_equal_means_is_one():
    assert welch(2.0, 0.5, 4, 2.0, 0.1, 7) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: wilson(1, 0), "n must"),
        (lambda: wilson(5, 4), "successes must be at most the number of trials, 4, got 5"),
        (lambda: wilson(-1, 4), "successes must"),
        (lambda: sign_test(-1, 2), "only_a must"),
        (lambda: welch(0.0, 1.0, 1, 0.0, 1.0, 5), "n1 must"),
        (lambda: welch(0.0, 0.0, 5, 0.0, 0.0, 5), "sd1 and sd2"),
        (lambda: welch(0.0, -1.0, 5, 0.0, 1.0, 5), "sd1 and sd2"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(call, names):
    with pytest.raises(ArgumentError, match=names):
        call()
