"""Random permutation and noiseless memorisation against their written specification."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.checks import ArgumentError
from rnnlib.tasks.synthetic import Memorisation, RandomPermutation, Redrawn


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_uniform(values: torch.Tensor, low: int, high: int) -> None:
    """Every value of low..high occurs, and none beyond; each within 5 s.d. of its share."""
    assert (int(values.min()), int(values.max())) == (low, high)
    counts = torch.bincount((values - low).flatten(), minlength=high - low + 1).double()
    share = 1 / len(counts)
    spread = math.sqrt(values.numel() * share * (1 - share))
    assert float((counts - values.numel() * share).abs().max()) <= 5 * spread


@given(seq_len=st.integers(2, 80), batch=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_a_permutation_ends_as_it_begins(seq_len: int, batch: int, seed: int) -> None:
    inputs, last = RandomPermutation(seq_len).sample(batch, generator=seeded(seed))
    again, following = RandomPermutation(seq_len, "every").sample(batch, generator=seeded(seed))
    assert inputs.shape == following.shape == (batch, seq_len)
    assert inputs.dtype == last.dtype == following.dtype == torch.int64
    assert torch.equal(inputs, again)
    for row, target, rest in zip(inputs.tolist(), last.tolist(), following.tolist(), strict=True):
        assert row[0] in (0, 1)
        assert target == row[0]
        assert all(2 <= symbol <= 99 for symbol in row[1:])
        assert rest == [*row[1:], row[0]]


def test_the_symbols_of_a_permutation_are_uniform_and_independent() -> None:
    inputs, _ = RandomPermutation(6).sample(200_000, generator=seeded(0))
    assert_uniform(inputs[:, 0], 0, 1)
    for step in range(1, 6):
        assert_uniform(inputs[:, step], 2, 99)
    assert_uniform((inputs[:, 1] - 2) * 98 + inputs[:, 2] - 2, 0, 98**2 - 1)  # of one word
    assert_uniform((inputs[:, 2] - 2) * 98 + inputs[:, 3] - 2, 0, 98**2 - 1)  # of two words
    assert_uniform((inputs[:, 1] - 2) * 2 + inputs[:, 0], 0, 195)
    repeats = (inputs[:, 1:, None] == inputs[:, None, 1:]).sum((1, 2)) > 5
    expected = 1 - math.prod(1 - k / 98 for k in range(5))  # not a permutation
    assert float(repeats.double().mean()) == pytest.approx(expected, abs=0.004)


def test_only_the_last_symbol_decides_whether_a_permutation_is_right() -> None:
    targets = torch.tensor([[[5, 7, 1], [9, 0, 0]]])  # lengths 3 and 2
    lengths = torch.tensor([[3, 2]])
    task = RandomPermutation(3, "every")

    def wrong(*answers: list[int]) -> list[bool]:
        outputs = torch.nn.functional.one_hot(torch.tensor([answers]), 100).float()
        return task.wrong(outputs, targets, lengths)[0].tolist()

    assert wrong([5, 7, 1], [9, 0, 0]) == [False, False]
    assert wrong([8, 8, 1], [8, 0, 8]) == [False, False]
    assert wrong([5, 7, 0], [9, 1, 0]) == [True, True]
    assert task.wrong(torch.zeros(1, 2, 3, 100), targets)[0].tolist() == [True, False]


def test_trivial_losses_of_a_permutation() -> None:
    assert RandomPermutation(50).trivial_loss == pytest.approx(0.693147, abs=1e-6)
    every = RandomPermutation(50, "every").trivial_loss
    assert 50 * every == pytest.approx(49 * 4.584967 + 0.693147, abs=1e-4)


@given(
    delay=st.integers(0, 60),
    n_positions=st.integers(1, 12),
    n_values=st.integers(2, 9),
    batch=st.integers(0, 4),
    seed=st.integers(0, 2**31),
)
def test_a_pattern_is_shown_cued_and_recalled(
    delay: int, n_positions: int, n_values: int, batch: int, seed: int
) -> None:
    task = Memorisation(delay, n_positions, n_values)
    inputs, targets = task.sample(batch, generator=seeded(seed))
    assert inputs.shape == targets.shape == (batch, delay + 2 * n_positions)
    assert inputs.dtype == targets.dtype == torch.int64
    assert (task.n_inputs, task.n_outputs) == (n_values + 2, n_values + 1)
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        pattern = row[:n_positions]
        assert all(0 <= symbol < n_values for symbol in pattern)
        blank, cue = n_values, n_values + 1
        assert row[n_positions:] == [blank] * delay + [cue] + [blank] * (n_positions - 1)
        assert target == [blank] * (n_positions + delay) + pattern


def test_patterns_are_uniform() -> None:
    inputs, _ = Memorisation(1).sample(60_000, generator=seeded(1))
    assert_uniform(inputs[:, :5] @ (2 ** torch.arange(5)), 0, 31)
    inputs, _ = Memorisation(1, 10, 5).sample(60_000, generator=seeded(2))
    for i, j in itertools.combinations(range(10), 2):
        assert_uniform(inputs[:, i] * 5 + inputs[:, j], 0, 24)


@pytest.mark.parametrize("task", [Memorisation(50), Memorisation(0, 3, 4), Memorisation(7, 1, 2)])
def test_all_patterns_come_and_are_to_be_recalled(task: Memorisation) -> None:
    inputs, targets, lengths = task.sample_replicas(2000, [seeded(3)])
    shown = [tuple(row[: task.n_positions]) for row in inputs[0].tolist()]
    recalled = [tuple(row[-task.n_positions :]) for row in targets[0].tolist()]
    assert set(shown) == set(itertools.product(range(task.n_values), repeat=task.n_positions))
    assert shown == recalled
    assert lengths.unique().tolist() == [inputs.shape[2]] == [task.max_length]


def test_thirty_two_patterns_of_five_bits_and_ten_million_of_twenty() -> None:
    assert Memorisation(50).n_patterns == 32
    assert Memorisation(50, 10, 5).n_patterns == 9_765_625


@pytest.mark.parametrize(
    ("choice", "losses"),
    [
        ((5, 2), {50: 0.057762, 100: 0.031507, 200: 0.016504}),
        ((10, 5), {50: 0.229920, 100: 0.134120, 200: 0.073156}),
    ],
)
def test_trivial_losses_of_memorisation(choice: tuple[int, int], losses: dict[int, float]) -> None:
    for delay, loss in losses.items():
        assert Memorisation(delay, *choice).trivial_loss == pytest.approx(loss, abs=5e-7)
    n_positions, n_values = choice
    assert Memorisation(50, *choice).trivial_error == 1 - n_values**-n_positions


def test_one_wrong_step_makes_a_memory_wrong() -> None:
    task = Memorisation(3, 2, 2)
    _, targets, lengths = task.sample_replicas(4, [seeded(0)])
    answers = torch.nn.functional.one_hot(targets, 3).double()
    assert not task.wrong(answers, targets).any()
    for step in range(7):
        spoilt = answers.clone()
        spoilt[0, 1, step] = spoilt[0, 1, step].roll(1)
        assert task.wrong(spoilt, targets)[0].tolist() == [False, True, False, False]
        shorter = torch.full_like(lengths, step)  # the wrong step lies behind the end
        assert not task.wrong(spoilt, targets, shorter).any()
    answers[0, 2, 0, 0] = math.nan
    assert task.wrong(answers, targets)[0].tolist() == [False, False, True, False]


def test_bad_arguments_are_named() -> None:
    for seq_len in (1, 0, -1, 2.0, True):
        with pytest.raises(ArgumentError, match="seq_len must be an integer >= 2"):
            RandomPermutation(seq_len)
    with pytest.raises(ArgumentError, match=r"targets must be one of last, every, got 'all'"):
        RandomPermutation(20, "all")
    with pytest.raises(ArgumentError, match="delay must be an integer >= 0, got -1"):
        Memorisation(-1)
    with pytest.raises(ArgumentError, match="n_positions must be an integer >= 1, got 0"):
        Memorisation(5, 0)
    with pytest.raises(ArgumentError, match="n_values must be an integer >= 2, got 1"):
        Memorisation(5, 5, 1)
    with pytest.raises(ArgumentError, match="delay must be an integer >= 0, got -1"):
        Memorisation(5).of_length(-1)
    with pytest.raises(ArgumentError, match="shortest must be an integer >= 0, got -1"):
        Redrawn(Memorisation(5), -1, 5)


def test_the_length_of_memorisation_is_its_delay() -> None:
    """As in the paper; the pattern and its recall come on top, also where it is redrawn."""
    assert Memorisation(5).of_length(0) == Memorisation(0)
    assert (Memorisation(7).nominal_length, Memorisation(7).max_length) == (7, 17)
    lengths = Redrawn(Memorisation(7), 3, 6).draw_lengths(500, torch.Generator().manual_seed(0))
    assert sorted(set(lengths.tolist())) == [13, 14, 15, 16]
