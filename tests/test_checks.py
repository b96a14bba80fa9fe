"""Every refusal names the argument, what is accepted and what was found."""

import math

import pytest
import torch

from rnnlib import checks
from rnnlib.checks import ArgumentError


@pytest.mark.parametrize("value", [1, 0.5, 5e-324, 1e308])
def test_positive_returns_what_it_accepts(value):
    assert checks.positive("learning_rate", value) is value


@pytest.mark.parametrize(
    "value", [0, 0.0, -1, -1e-300, math.nan, math.inf, -math.inf, True, "1", None]
)
def test_positive_refuses_everything_else(value):
    with pytest.raises(ArgumentError) as refusal:
        checks.positive("learning_rate", value)
    assert str(refusal.value) == f"learning_rate must be a finite number > 0, got {value!r}"


def test_at_least_accepts_the_minimum_itself():
    assert checks.at_least("seq_len", 10, 10) == 10


@pytest.mark.parametrize("value", [9, -1, 10.0, math.nan, True, "10"])
def test_at_least_refuses_less_and_what_is_no_integer(value):
    with pytest.raises(ArgumentError) as refusal:
        checks.at_least("seq_len", value, 10)
    assert str(refusal.value) == f"seq_len must be an integer >= 10, got {value!r}"


def test_one_of_suggests_the_nearest():
    accepted = ("smoke", "reduced", "paper")
    assert checks.one_of("scale", "paper", accepted) == "paper"
    with pytest.raises(ArgumentError) as near:
        checks.one_of("scale", "papr", accepted)
    assert str(near.value) == (
        "scale must be one of smoke, reduced, paper, got 'papr'; did you mean 'paper'?"
    )
    with pytest.raises(ArgumentError) as far:
        checks.one_of("scale", "zzz", accepted)
    assert "did you mean" not in str(far.value)


def test_one_of_reads_an_iterator_once():
    assert checks.one_of("scale", "b", iter("abc")) == "b"


def test_shape_takes_none_for_any_length():
    tensor = torch.zeros(2, 3)
    assert checks.shape("W", tensor, (None, 3)) is tensor
    for expected in ((3, None), (2,), (2, 3, None)):
        with pytest.raises(ArgumentError, match=r"^W must have shape .*, got \(2, 3\)$"):
            checks.shape("W", tensor, expected)


def test_an_argument_error_is_a_value_error():
    assert issubclass(ArgumentError, ValueError)


@pytest.mark.parametrize("values", [(), (1, 2, 1), ("a", "a"), (None, None)])
def test_distinct_refuses_nothing_and_repetition(values):
    checks.distinct("seeds", (0, 1, 2))
    with pytest.raises(ArgumentError, match="seeds must hold at least one value and none twice"):
        checks.distinct("seeds", values)
