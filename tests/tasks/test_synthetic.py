"""The temporal-order generators against their written specification."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rnnlib.checks import ArgumentError
from rnnlib.tasks.synthetic import TemporalOrder, TemporalOrder3Bit, TemporalOrderOriginal


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def entropy(counts: Tensor) -> float:
    p = counts.double() / counts.sum()
    return float(-(p * p.log()).nansum())


def assert_uniform(values: Tensor, low: int, high: int) -> None:
    """Every value of low..high occurs, and none beyond; each within 5 s.d. of its share."""
    assert int(values.min()) == low
    assert int(values.max()) == high
    counts = torch.bincount((values - low).flatten(), minlength=high - low + 1).double()
    share = 1 / len(counts)
    spread = math.sqrt(values.numel() * share * (1 - share))
    assert float((counts - values.numel() * share).abs().max()) <= 5 * spread


# Where each relevant symbol may first stand, as the papers write it: a share of the length.
STARTS = {
    "program": (TemporalOrder, {"places": "program"}, (0.1, 0.5)),
    "text": (TemporalOrder, {"places": "text"}, (0.1, 0.4)),
    "3 bit": (TemporalOrder3Bit, {}, (0.1, 0.3, 0.6)),
}


@pytest.mark.parametrize("version", STARTS)
@given(seq_len=st.integers(10, 200), batch=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_every_sequence_obeys_the_rules(version: str, seq_len: int, batch: int, seed: int) -> None:
    kind, choice, shares = STARTS[version]
    symbols, targets = kind(seq_len, **choice).sample(batch, generator=seeded(seed))
    assert symbols.shape == (batch, seq_len)
    assert symbols.dtype == targets.dtype == torch.int64
    for row, target in zip(symbols.tolist(), targets.tolist(), strict=True):
        places = [t for t, symbol in enumerate(row) if symbol in (0, 1)]
        assert len(places) == len(shares)
        for place, share in zip(places, shares, strict=True):
            assert 0 <= place - int(share * seq_len) < int(0.1 * seq_len)
        assert target == sum(row[place] << i for i, place in enumerate(places))
        assert all(2 <= row[t] <= 5 for t in range(seq_len) if t not in places)


def test_the_program_is_the_default() -> None:
    assert TemporalOrder(40) == TemporalOrder(40, places="program")
    assert TemporalOrder(40) != TemporalOrder(40, places="text")


def test_the_places_of_the_text_are_earlier_and_nothing_else_changes() -> None:
    program, answers = TemporalOrder(100).sample(2000, generator=seeded(4))
    text, same = TemporalOrder(100, places="text").sample(2000, generator=seeded(4))
    assert torch.equal(answers, same)
    late, early = (x.flip(1).lt(2).long().argmax(1) for x in (text, program))
    assert torch.equal(late - early, torch.full((2000,), 10))


def test_three_places_and_eight_classes_are_uniform_and_independent() -> None:
    symbols, targets = TemporalOrder3Bit(57).sample(60_000, generator=seeded(8))
    places = symbols.lt(2).nonzero()[:, 1].view(-1, 3) - torch.tensor((5, 17, 34))
    assert_uniform(targets, 0, 7)
    assert_uniform(places @ torch.tensor((25, 5, 1)), 0, 124)
    assert_uniform(targets * 5 + places[:, 2], 0, 39)
    assert_uniform(symbols[symbols >= 2], 2, 5)
    assert entropy(torch.bincount(targets)) == pytest.approx(math.log(8), abs=1e-3)


@pytest.mark.parametrize(("known", "left"), [(0, 8), (1, 4), (2, 2), (3, 1)])
def test_each_symbol_known_of_three_saves_ln_2(known: int, left: int) -> None:
    symbols, targets = TemporalOrder3Bit(20).sample(100_000, generator=seeded(9))
    values = symbols[symbols < 2].view(-1, 3)
    group = (values[:, :known] << torch.arange(known)).sum(1)
    for value in range(2**known):
        counts = torch.bincount(targets[group == value], minlength=8)
        assert entropy(counts) == pytest.approx(math.log(left), abs=1e-3)


def test_positions_are_fixed_below_twenty_steps() -> None:
    symbols, _ = TemporalOrder(10).sample(500, generator=seeded(0))
    relevant = symbols < 2
    assert relevant[:, [1, 5]].all()
    assert int(relevant.sum()) == 1000


def test_positions_classes_and_distractors_are_uniform() -> None:
    symbols, targets = TemporalOrder(57).sample(40_000, generator=seeded(1))
    relevant = symbols < 2
    first = relevant.long().argmax(1)
    second = 56 - relevant.flip(1).long().argmax(1)
    assert_uniform(first, 5, 9)
    assert_uniform(second, 28, 32)
    assert_uniform(targets, 0, 3)
    assert_uniform(symbols[~relevant], 2, 5)
    # Jointly, too: position pairs, and positions with classes.
    assert_uniform((first - 5) * 5 + (second - 28), 0, 24)
    assert_uniform((first - 5) * 4 + targets, 0, 19)
    # Neighbouring distractors, which share a random word.
    assert_uniform((symbols[:, 0] - 2) * 4 + (symbols[:, 1] - 2), 0, 15)


def test_entropy_of_the_class_is_ln_4_ln_2_and_0() -> None:
    symbols, targets = TemporalOrder(20).sample(100_000, generator=seeded(2))
    assert entropy(torch.bincount(targets)) == pytest.approx(math.log(4), abs=1e-3)
    first = symbols.gather(1, (symbols < 2).long().argmax(1, keepdim=True))[:, 0]
    for value in (0, 1):  # one symbol known: the plateau at ln 2
        left = entropy(torch.bincount(targets[first == value], minlength=4))
        assert left == pytest.approx(math.log(2), abs=1e-3)
    for symbol in range(2, 6):  # a distractor tells nothing
        left = entropy(torch.bincount(targets[symbols[:, 0] == symbol], minlength=4))
        assert left == pytest.approx(math.log(4), abs=1e-3)


def test_a_replica_depends_on_its_own_generator_only() -> None:
    task = TemporalOrder(33)
    symbols, targets, lengths = task.sample_replicas(7, [seeded(s) for s in (3, 4, 5)])
    assert symbols.shape == (3, 7, 33)
    assert targets.shape == lengths.shape == (3, 7)
    assert lengths.unique().tolist() == [33]
    for row, seed in enumerate((3, 4, 5)):
        alone = task.sample(7, generator=seeded(seed))
        assert torch.equal(symbols[row], alone[0])
        assert torch.equal(targets[row], alone[1])
    assert not torch.equal(symbols[0], symbols[1])


def test_the_global_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    TemporalOrder(25).sample(3, generator=seeded(0))
    TemporalOrderOriginal().sample(3, generator=seeded(0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_seed_always_gives_the_same_batches() -> None:
    # Pinned on the CPU: a change here changes every record of the experiment.
    generator = seeded(0)
    TemporalOrder(40).sample(1, generator=generator)
    symbols, targets = TemporalOrder(40).sample(2, generator=generator)
    assert ["".join(map(str, row)) for row in symbols.tolist()] == [
        "5235413532445534342223142353254425543354",
        "2435315423244522432321525423234252435252",
    ]
    assert targets.tolist() == [3, 3]


def test_every_bit_is_what_the_committed_records_were_made_with() -> None:
    digest = hashlib.sha256()
    for seq_len in (10, 20, 31, 32, 57, 100, 200):
        generators = [seeded(s) for s in (1, 2, 2**31)]
        symbols, targets, _ = TemporalOrder(seq_len).sample_replicas(23, generators)
        digest.update(symbols.numpy().tobytes() + targets.numpy().tobytes())
    assert digest.hexdigest()[:16] == "e27a472fec2db13b"
    digest = hashlib.sha256()
    for part in TemporalOrderOriginal().sample(50, generator=seeded(9)):
        digest.update(part.numpy().tobytes())
    assert digest.hexdigest()[:16] == "4480ee59ff85dc4d"


@pytest.mark.parametrize("seq_len", [9, 0, -1, 10.0, True])
@pytest.mark.parametrize("kind", [TemporalOrder, TemporalOrder3Bit])
def test_a_bad_length_is_named(kind: type[TemporalOrder], seq_len: int) -> None:
    with pytest.raises(ArgumentError, match="seq_len must be an integer >= 10"):
        kind(seq_len)


def test_other_bad_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="symbols must be 6"):
        TemporalOrder(20, symbols=8)
    with pytest.raises(ArgumentError, match="places must be one of program, text, got 'texts'"):
        TemporalOrder(20, places="texts")
    with pytest.raises(ArgumentError, match="batch"):
        TemporalOrder(20).sample(-1, generator=seeded(0))
    with pytest.raises(ArgumentError, match="generators"):
        TemporalOrder(20).sample_replicas(1, [])


def test_the_original_task_obeys_its_rules() -> None:
    task = TemporalOrderOriginal()
    symbols, lengths, targets = task.sample(300, generator=seeded(6))
    assert symbols.shape == (300, 110)
    for padded, length, target in zip(
        symbols.tolist(), lengths.tolist(), targets.tolist(), strict=True
    ):
        row = padded[:length]
        assert padded[length:] == [task.padding] * (110 - length)
        assert row[0] == 0
        assert row[-1] == 1
        places = [t for t, symbol in enumerate(row) if symbol in (6, 7)]
        assert len(places) == 2
        assert 10 <= places[0] <= 20
        assert 50 <= places[1] <= 60
        assert target == (row[places[0]] == 7) + 2 * (row[places[1]] == 7)
        assert all(2 <= row[t] <= 5 for t in range(1, length - 1) if t not in places)


def test_the_original_task_is_uniform() -> None:
    symbols, lengths, targets = TemporalOrderOriginal().sample(40_000, generator=seeded(7))
    relevant = symbols >= 6
    first = relevant.long().argmax(1)
    second = 109 - relevant.flip(1).long().argmax(1)
    assert_uniform(lengths, 100, 110)
    assert_uniform(first, 10, 20)
    assert_uniform(second, 50, 60)
    assert_uniform(targets, 0, 3)
    assert_uniform((first - 10) * 11 + (second - 50), 0, 120)
    assert_uniform((lengths - 100) * 11 + (second - 50), 0, 120)
    assert_uniform((lengths - 100) * 11 + (first - 10), 0, 120)
    assert_uniform(symbols[(symbols >= 2) & ~relevant], 2, 5)
    assert entropy(torch.bincount(targets)) == pytest.approx(math.log(4), abs=1e-3)
