"""What holds for every synthetic task: streams, lengths, padding, losses, trivial answers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rnnlib.checks import ArgumentError
from rnnlib.tasks.synthetic import (
    Addition,
    Memorisation,
    Multiplication,
    RandomPermutation,
    Redrawn,
    Task,
    TemporalOrder,
    TemporalOrder3Bit,
)

TASKS: dict[str, Task] = {
    "temporal order": TemporalOrder(20),
    "temporal order, text": TemporalOrder(20, places="text"),
    "3 bit": TemporalOrder3Bit(20),
    "addition": Addition(20),
    "addition, absolute": Addition(20, "absolute"),
    "multiplication": Multiplication(20),
    "multiplication, absolute": Multiplication(20, "absolute"),
    "permutation": RandomPermutation(20),
    "permutation, every step": RandomPermutation(20, "every"),
    "memorisation": Memorisation(10),
    "memorisation of 3 values": Memorisation(14, 3, 3),
}
FIXED = [name for name, task in TASKS.items() if task.max_length == 20]
CLASSES = [name for name, task in TASKS.items() if task.n_outputs > 1]
each_task = pytest.mark.parametrize("name", TASKS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_outputs(task: Task, targets: Tensor, seed: int = 0) -> Tensor:
    shape = (*targets.shape, task.n_outputs)
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


@each_task
@given(data=st.data())
def test_a_sequence_is_what_it_is_alone_then_padded_with_zeros(
    name: str, data: st.DataObject
) -> None:
    task = TASKS[name]
    row = st.lists(st.integers(task.min_length, 70), min_size=3, max_size=3)
    lengths = torch.tensor(data.draw(st.lists(row, min_size=1, max_size=3)))
    seeds = range(len(lengths))
    inputs, targets, told = task.sample_replicas(3, [seeded(s) for s in seeds], lengths)
    assert torch.equal(told, lengths)
    assert inputs.shape[:3] == (*lengths.shape, int(lengths.max()))
    for r in seeds:
        own = seeded(r)
        for b, length in enumerate(lengths[r].tolist()):
            alone = task.of_length(length).sample_replicas(1, [own], torch.tensor([[length]]))
            assert torch.equal(inputs[r, b, :length], alone.inputs[0, 0])
            assert not inputs[r, b, length:].any()
            if task.every_step:
                assert torch.equal(targets[r, b, :length], alone.targets[0, 0])
                assert not targets[r, b, length:].any()
            else:
                assert torch.equal(targets[r, b], alone.targets[0, 0])


@each_task
def test_updates_drawn_together_are_those_drawn_in_turn(name: str) -> None:
    task = Redrawn(TASKS[name], 20, 60)
    lengths = torch.stack([task.draw_lengths(5, seeded(s)).repeat_interleave(4) for s in (1, 2)])
    together = task.sample_replicas(20, [seeded(3), seeded(4)], lengths)
    generators = [seeded(3), seeded(4)]
    for update, own in enumerate(lengths.split(4, 1)):
        batch = task.sample_replicas(4, generators, own)
        steps = int(own.max())
        part = slice(4 * update, 4 * update + 4)
        assert torch.equal(together.inputs[:, part, :steps], batch.inputs)
        targets = together.targets[:, part]
        assert torch.equal(targets[..., :steps] if task.every_step else targets, batch.targets)


@each_task
def test_lengths_drawn_together_are_those_drawn_in_turn(name: str) -> None:
    for task in (TASKS[name], Redrawn(TASKS[name], 30, 90)):
        one = seeded(0)
        apart = torch.cat([task.draw_lengths(n, one) for n in (1, 0, 2, 4)])
        assert apart.dtype == torch.int64
        assert torch.equal(apart, task.draw_lengths(7, seeded(0)))
        assert int(apart.max()) <= task.max_length


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_length_takes_nothing_from_the_stream(name: str) -> None:
    task, generator = TASKS[name], seeded(0)
    assert task.draw_lengths(3, generator).tolist() == [20, 20, 20]
    assert torch.equal(generator.get_state(), seeded(0).get_state())
    told = task.sample_replicas(3, [seeded(1)], torch.full((1, 3), 20))
    for one, two in zip(told, task.sample_replicas(3, [seeded(1)]), strict=True):
        assert torch.equal(one, two)


@each_task
def test_sample_is_one_replica_and_the_global_generator_is_not_touched(name: str) -> None:
    before = torch.get_rng_state()
    inputs, targets = TASKS[name].sample(6, generator=seeded(5))
    batch = TASKS[name].sample_replicas(6, [seeded(4), seeded(5)])
    steps = inputs.shape[1]
    assert torch.equal(batch.inputs[1, :, :steps], inputs)
    assert torch.equal(batch.targets[1].reshape(targets.shape), targets)
    assert torch.equal(before, torch.get_rng_state())


@each_task
def test_inputs_fit_the_width_that_is_told(name: str) -> None:
    task = TASKS[name]
    inputs, targets = task.sample(3000, generator=seeded(6))
    if inputs.dtype == torch.int64:
        assert int(inputs.max()) == task.n_inputs - 1
        asked = targets.unique().tolist()
        last_only = isinstance(task, RandomPermutation) and not task.every_step
        assert asked == list(range(2 if last_only else task.n_outputs))
    else:
        assert inputs.shape[2] == task.n_inputs
        assert task.n_outputs == 1


@pytest.mark.parametrize("name", CLASSES)
def test_the_trivial_answer_costs_what_is_said(name: str) -> None:
    """The answer learnt from the frequencies of the targets at each step and nothing else.

    Its mean loss lies within 5 standard errors of the closed form, after the (K - 1) / 2n nats by
    which frequencies of K classes out of n underestimate an entropy; the share of wrong answers
    within 5 standard deviations.
    """
    n = 20_000
    task = TASKS[name]
    _, targets, _ = task.sample_replicas(n, [seeded(7)])
    counts = torch.nn.functional.one_hot(targets, task.n_outputs).sum(1, keepdim=True).double()
    outputs = (counts / n).log().expand(*targets.shape, -1)
    loss = task.loss(outputs, targets)
    bias = ((counts > 0).sum(-1) - 1).double().mean() / (2 * n)
    se = float(loss.std()) / n**0.5
    assert float(loss.mean() + bias) == pytest.approx(task.trivial_loss, abs=5 * se + 1e-5)
    share = task.trivial_error
    sd = math.sqrt(share * (1 - share) / n)
    wrong = float(task.wrong(outputs, targets).double().mean())
    assert wrong == pytest.approx(share, abs=5 * sd)


@pytest.mark.parametrize("name", CLASSES)
def test_the_loss_is_the_cross_entropy_of_a_loop(name: str) -> None:
    task = TASKS[name]
    lengths = torch.tensor([[20, 33, 20], [41, 20, 29]])
    _, targets, _ = task.sample_replicas(3, [seeded(1), seeded(2)], lengths)
    outputs = random_outputs(task, targets)
    loss, wrong = task.loss(outputs, targets, lengths), task.wrong(outputs, targets, lengths)
    best = outputs.scatter(-1, targets[..., None], 9.0)  # every answer right
    assert not task.wrong(best, targets, lengths).any()
    for r in range(2):
        for b in range(3):
            steps = range(int(lengths[r, b])) if task.every_step else [...]
            nats, misses = [], []
            for t in steps:
                answer, target = outputs[r, b][t].tolist(), int(targets[r, b][t])
                nats.append(math.log(sum(math.exp(a) for a in answer)) - answer[target])
                misses.append(answer.index(max(answer)) != target)
            assert float(loss[r, b]) == pytest.approx(sum(nats) / len(nats), rel=1e-12)
            asked = misses[-1:] if isinstance(task, RandomPermutation) else misses
            assert bool(wrong[r, b]) == any(asked)
    if not task.every_step:
        assert torch.equal(loss, task.loss(outputs, targets))
    else:  # nothing behind an end counts, be it NaN
        behind = torch.arange(41) >= lengths[..., None]
        spoilt = outputs.masked_fill(behind[..., None], math.nan)
        assert torch.equal(loss, task.loss(spoilt, targets, lengths))
        assert torch.equal(wrong, task.wrong(spoilt, targets, lengths))
        whole = task.loss(outputs, targets)
        assert torch.equal(whole, task.loss(outputs, targets, torch.full((2, 3), 41)))


@each_task
def test_an_answer_that_is_not_a_number_is_wrong(name: str) -> None:
    _, targets, _ = TASKS[name].sample_replicas(50, [seeded(0)])
    outputs = random_outputs(TASKS[name], targets) * math.nan
    assert TASKS[name].wrong(outputs, targets).all()


@each_task
def test_the_same_task_at_another_length(name: str) -> None:
    task = TASKS[name]
    longer = task.of_length(50)
    assert longer.nominal_length == 50
    assert longer.max_length == (54 if longer.n_outputs == 1 else longer.max_length)
    assert type(longer) is type(task)
    assert longer.of_length(task.nominal_length) == task
    task.of_length(task.min_nominal_length)
    with pytest.raises(ArgumentError, match=r"seq_len|delay"):
        task.of_length(task.min_nominal_length - 1)


def test_a_redrawn_length_is_uniform_with_both_ends() -> None:
    lengths = Redrawn(TemporalOrder(100)).draw_lengths(60_000, seeded(1))
    counts = torch.bincount(lengths)
    assert (len(counts), int(lengths.min())) == (200, 50)
    spread = math.sqrt(60_000 / 150 * (1 - 1 / 150))
    assert float((counts[50:] - 400).abs().max()) <= 5 * spread


def test_addition_varies_about_the_redrawn_length() -> None:
    task = Redrawn(Addition(20), 20, 21)  # 20 or 21, then 0 or 1 more
    n = 40_000
    counts = torch.bincount(task.draw_lengths(n, seeded(2)))
    assert counts[:20].sum() == 0
    for found, share in zip(counts[20:].tolist(), (0.25, 0.5, 0.25), strict=True):
        assert found == pytest.approx(n * share, abs=5 * math.sqrt(n * share * (1 - share)))
    assert Redrawn(Addition(20)).max_length == 199 + 18
    assert int(Redrawn(Addition(20)).draw_lengths(n, seeded(3)).max()) == 199 + 18


@each_task
def test_redrawn_replicas_have_a_length_each_and_the_rest_is_the_task(name: str) -> None:
    task, redrawn = TASKS[name], Redrawn(TASKS[name], 20, 60)
    batch = redrawn.sample_replicas(2, [seeded(s) for s in range(9)])
    assert torch.equal(batch.lengths[:, :1].expand(9, 2), batch.lengths)
    assert len(batch.lengths.unique()) > 4
    for quantity in ("n_inputs", "n_outputs", "every_step", "min_length", "trivial_error"):
        assert getattr(redrawn, quantity) == getattr(task, quantity)
    losses = [task.of_length(n).trivial_loss for n in range(20, 61)]
    assert redrawn.trivial_loss == pytest.approx(sum(losses) / 41, rel=1e-12)
    outputs = random_outputs(task, batch.targets)
    for judge in ("loss", "wrong"):
        found = getattr(redrawn, judge)(outputs, batch.targets, batch.lengths)
        assert torch.equal(found, getattr(task, judge)(outputs, batch.targets, batch.lengths))


def test_redrawn_lengths_out_of_range_are_named() -> None:
    with pytest.raises(ArgumentError, match="shortest must be an integer >= 10, got 9"):
        Redrawn(Addition(20), shortest=9)
    with pytest.raises(ArgumentError, match="longest must be an integer >= 50, got 49"):
        Redrawn(TemporalOrder(20), longest=49)


@each_task
def test_bad_arguments_are_named(name: str) -> None:
    for task in (TASKS[name], Redrawn(TASKS[name])):
        least = task.min_length
        two = [seeded(0), seeded(1)]
        with pytest.raises(ArgumentError, match="batch must be an integer >= 0, got -1"):
            task.sample_replicas(-1, two)
        with pytest.raises(ArgumentError, match="generators must hold at least one"):
            task.sample_replicas(1, [])
        with pytest.raises(ArgumentError, match=r"lengths must have shape \(2, 3\), got \(2, 4\)"):
            task.sample_replicas(3, two, torch.full((2, 4), 50))
        with pytest.raises(ArgumentError, match=r"lengths must have dtype torch.int64, got .*32"):
            task.sample_replicas(3, two, torch.full((2, 3), 50.0))
        lengths = torch.full((2, 3), 50)
        lengths[1, 2] = least - 1
        with pytest.raises(ArgumentError, match=f"lengths must be >= {least} .* got {least - 1}"):
            task.sample_replicas(3, two, lengths)
        with pytest.raises(ArgumentError, match="n must be an integer >= 0"):
            task.draw_lengths(-1, seeded(0))
        _, targets, _ = task.sample_replicas(3, two)
        outputs = random_outputs(task, targets)
        for judge in (task.loss, task.wrong):
            with pytest.raises(ArgumentError, match="outputs must have shape"):
                judge(outputs[..., None], targets)
            with pytest.raises(ArgumentError, match="targets must have shape"):
                judge(outputs, targets[0])
            with pytest.raises(ArgumentError, match=r"lengths must have shape \(2, 3\)"):
                judge(outputs, targets, torch.tensor([50, 50]))
