"""The statistics of the book: an interval for a rate, and two tests of a difference."""

from __future__ import annotations

import math

import numpy as np

from rnnlib.checks import ArgumentError, at_least

_Z = 1.959964  # of a normal variable, 95 % lie within so many standard deviations


def wilson(successes: int, n: int) -> tuple[float, float]:
    r"""Return Wilson's 95 % interval for a success rate.

    The ends are the rates :math:`p` at which the observed rate lies :math:`z = 1.96` standard
    errors off, :math:`|\hat p - p| = z \sqrt{p (1 - p) / n}`.
    Source: E. B. Wilson (1927), J. Am. Stat. Assoc. 22, 209-212.

    Raises:
        ArgumentError: for no trials, or more successes than trials.
    """
    at_least("n", n, 1)
    at_least("successes", successes, 0)
    if successes > n:
        raise ArgumentError(f"successes must be at most the number of trials, {n}, got {successes}")
    rate = successes / n
    middle = rate + _Z**2 / (2 * n)
    half = _Z * math.sqrt(rate * (1 - rate) / n + (_Z / (2 * n)) ** 2)
    # At 0 and n successes an end is exactly 0 or 1, which rounding would miss.
    low = 0.0 if successes == 0 else (middle - half) / (1 + _Z**2 / n)
    high = 1.0 if successes == n else (middle + half) / (1 + _Z**2 / n)
    return low, high


def sign_test(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value of paired outcomes that differ: exact, binomial with 1/2.

    Also known as the exact McNemar test: pairs on which both succeed or both fail say nothing.

    Args:
        only_a: pairs (seeds) on which only the first succeeded.
        only_b: pairs on which only the second did.

    Raises:
        ArgumentError: for a negative count.
    """
    at_least("only_a", only_a, 0)
    at_least("only_b", only_b, 0)
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**n)


def welch(mean1: float, sd1: float, n1: int, mean2: float, sd2: float, n2: int) -> float:
    r"""Return Welch's two-sided p-value that two means are equal, variances unknown.

    :math:`t = (m_1 - m_2) / \sqrt{v_1 + v_2}` with :math:`v_i = s_i^2 / n_i` and
    :math:`(v_1 + v_2)^2 / (v_1^2/(n_1-1) + v_2^2/(n_2-1))` degrees of freedom.
    Source: B. L. Welch (1947), Biometrika 34, 28-35.

    Args:
        sd1, sd2: standard deviations of the samples (divisor ``n - 1``).

    Returns:
        The p-value; NaN if a mean or a standard deviation is not finite (a diverged run).

    Raises:
        ArgumentError: for fewer than two values in a group, a negative standard deviation, or
            two that are zero.
    """
    at_least("n1", n1, 2)
    at_least("n2", n2, 2)
    if not all(map(math.isfinite, (mean1, sd1, mean2, sd2))):
        return math.nan
    if min(sd1, sd2) < 0 or max(sd1, sd2) == 0:
        raise ArgumentError(f"sd1 and sd2 must be >= 0 and not both 0, got {sd1!r} and {sd2!r}")
    # Only ratios matter; without the common factor, squares of tiny spreads would underflow.
    scale = max(sd1, sd2)
    v1, v2 = (sd1 / scale) ** 2 / n1, (sd2 / scale) ** 2 / n2
    df = (v1 + v2) ** 2 / (v1**2 / (n1 - 1) + v2**2 / (n2 - 1))
    return _student_two_sided(abs(mean1 - mean2) / scale / math.sqrt(v1 + v2), df)


def _student_two_sided(t: float, df: float) -> float:
    r"""Return :math:`P(|T| \ge t)` for Student's distribution.

    With :math:`t = \sqrt{\nu} \cot\varphi` the density becomes a power of the sine:
    :math:`P = \int_0^{\varphi} \sin^{\nu-1} / \int_0^{\pi/2} \sin^{\nu-1}`. The nodes of the
    double-exponential rule crowd at both ends, where a fractional power is not smooth.
    """
    step = 1 / 64
    s = np.arange(-5, 5 + step, step)
    weight = np.pi * np.cosh(s) * step
    left = 1 / (1 + np.exp(-np.pi * np.sinh(s)))  # from 0 to 1, exact in relative terms near 0
    right = 1 / (1 + np.exp(np.pi * np.sinh(s)))

    def integral(upper: float) -> float:
        power = np.sin(upper * left) ** (df - 1)
        return float(upper * np.sum(power * left * right * weight))

    return min(1.0, integral(math.atan2(math.sqrt(df), t)) / integral(math.pi / 2))
