"""Addition and multiplication against their written specification."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rnnlib.checks import ArgumentError
from rnnlib.tasks.synthetic import Addition, Multiplication

KINDS = (Addition, Multiplication)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within_five_sd(counts: Tensor, shares: Tensor) -> bool:
    n = counts.sum()
    spread = (n * shares * (1 - shares)).sqrt()
    return bool(((counts - n * shares).abs() <= 5 * spread).all())


@pytest.mark.parametrize("kind", KINDS)
@given(seq_len=st.integers(10, 200), batch=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_every_sequence_obeys_the_rules(
    kind: type[Addition], seq_len: int, batch: int, seed: int
) -> None:
    inputs, targets = kind(seq_len).sample(batch, generator=seeded(seed))
    length = inputs.shape[1] if batch else seq_len
    assert seq_len <= length < seq_len + int(0.1 * seq_len)
    assert inputs.dtype == targets.dtype == torch.float32
    assert targets.shape == (batch,)
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        first, second = (t for t, (marker, _) in enumerate(row) if marker == 1)
        assert sum(marker for marker, _ in row) == 2
        assert 0 <= first < int(0.1 * length)
        assert 0 <= second - int(0.1 * length) < int(0.4 * length)
        assert all(0 <= value < 1 for _, value in row)
        one, two = row[first][1], row[second][1]
        exact = (one + two) / 2 if kind is Addition else one * two
        assert target == pytest.approx(exact, rel=1e-7)


def test_places_are_uniform_over_both_ranges_jointly() -> None:
    n = 60_000
    lengths = torch.full((1, n), 57)
    inputs, _, _ = Addition(57).sample_replicas(n, [seeded(0)], lengths)
    places = inputs[0, ..., 0].nonzero()[:, 1].view(-1, 2)
    assert places.min(0).values.tolist() == [0, 5]
    assert places.max(0).values.tolist() == [4, 26]  # 5 places, then floor(.4 57) = 22
    pairs = torch.bincount(places[:, 0] * 22 + places[:, 1] - 5, minlength=110)
    assert within_five_sd(pairs, torch.full((110,), 1 / 110))


def test_values_are_uniform_everywhere_and_independent_of_each_other_and_of_the_places() -> None:
    n = 40_000
    inputs, _, _ = Addition(20).sample_replicas(n, [seeded(1)], torch.full((1, n), 20))
    markers, values = inputs[0].unbind(-1)
    # Mean 1/2, variance 1/12, fourth central moment 1/80, so the variance of a square is 1/180.
    centred = values.double() - 0.5
    assert float(centred.mean(0).abs().max()) <= 5 * math.sqrt(1 / 12 / n)
    assert float((centred.square().mean(0) - 1 / 12).abs().max()) <= 5 * math.sqrt(1 / 180 / n)
    covariance = centred.T @ centred / n
    covariance.fill_diagonal_(0)
    assert float(covariance.abs().max()) <= 5 / 12 / math.sqrt(n)
    tenths = torch.bincount((values * 10).long().flatten(), minlength=10)
    assert within_five_sd(tenths, torch.full((10,), 0.1))
    marked = torch.bincount((values[markers == 1] * 10).long(), minlength=10)
    assert within_five_sd(marked, torch.full((10,), 0.1))


def test_the_length_is_uniform_on_its_tenth() -> None:
    lengths = Addition(57).draw_lengths(40_000, seeded(2))
    assert lengths.unique().tolist() == [57, 58, 59, 60, 61]
    assert within_five_sd(torch.bincount(lengths - 57), torch.full((5,), 0.2))
    assert Addition(57).max_length == 61
    assert Addition(19).draw_lengths(100, seeded(2)).unique().tolist() == [19]


def test_without_lengths_a_replica_has_one_length_of_its_own() -> None:
    generators = [seeded(s) for s in range(40)]
    inputs, _, lengths = Addition(100).sample_replicas(3, generators)
    assert bool((lengths == lengths[:, :1]).all())
    assert len(lengths[:, 0].unique()) > 5
    assert inputs.shape == (40, 3, int(lengths.max()), 2)


@pytest.mark.parametrize(
    ("task", "answer", "share"),
    [
        (Addition(10), 0.5, 0.36),
        (Addition(10, "absolute"), 0.5, 0.8464),
        (Multiplication(10), 0.25, 0.39046),
        (Multiplication(10, "absolute"), 0.25, 0.88875),
    ],
)
def test_the_trivial_answer_is_the_best_constant_and_fails_as_often_as_said(
    task: Addition, answer: float, share: float
) -> None:
    n = 400_000
    assert task.trivial_error == pytest.approx(share, abs=1e-5)
    _, targets = task.sample(n, generator=seeded(3))
    targets = targets[None]
    assert float(targets.mean()) == pytest.approx(answer, abs=5 * float(targets.std()) / n**0.5)
    outputs = torch.full((1, n, 1), answer)
    loss = task.loss(outputs, targets)
    assert float(loss.mean()) == pytest.approx(
        task.trivial_loss, abs=5 * float(loss.std()) / n**0.5
    )
    wrong = task.wrong(outputs, targets).double()
    sd = math.sqrt(share * (1 - share) / n)
    assert float(wrong.mean()) == pytest.approx(task.trivial_error, abs=5 * sd)


@pytest.mark.parametrize(
    ("criterion", "answer", "share"), [("squared", 0.2, 0.2335), ("absolute", 0.04, 0.7179)]
)
def test_of_a_product_another_constant_is_wrong_less_often(
    criterion: str, answer: float, share: float
) -> None:
    n = 400_000
    task = Multiplication(10, criterion)
    _, targets = task.sample(n, generator=seeded(4))

    def wrong(constant: float) -> float:
        return float(task.wrong(torch.full((1, n, 1), constant), targets[None]).double().mean())

    found = wrong(answer)
    assert found == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / n) + 5e-5)
    assert found < wrong(answer - 0.02) - 0.001
    assert found < wrong(answer + 0.02) - 0.001


def test_squared_error_may_reach_its_bound_and_absolute_error_may_not() -> None:
    errors = [0.0, 0.03, 0.0399, 0.0401, 0.199, 0.201, -0.199, -0.201, math.nan, math.inf]
    outputs = torch.tensor(errors, dtype=torch.float64).view(1, -1, 1)
    targets = torch.zeros(1, len(errors), dtype=torch.float64)
    squared = [abs(e) >= 0.2 or math.isnan(e) for e in errors]
    absolute = [abs(e) >= 0.04 or math.isnan(e) for e in errors]
    assert Addition(10).wrong(outputs, targets)[0].tolist() == squared
    assert Addition(10, "absolute").wrong(outputs, targets)[0].tolist() == absolute
    assert Addition(10, "absolute").wrong(outputs * 0 + 0.04, targets).all()
    loss = Multiplication(10).loss(outputs, targets)[0]
    for found, e in zip(loss.tolist(), errors, strict=True):
        assert found == pytest.approx(e * e, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_arguments_are_named(kind: type[Addition]) -> None:
    for seq_len in (9, 0, -1, 10.0, True):
        with pytest.raises(ArgumentError, match="seq_len must be an integer >= 10"):
            kind(seq_len)
    with pytest.raises(
        ArgumentError, match=r"criterion must be one of squared, absolute.*'square'"
    ):
        kind(20, "square")
