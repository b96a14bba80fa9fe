"""The training loop against a plain per-replica loop with torch.optim.SGD, and its bookkeeping."""

import math

import pytest
import torch

from rnnlib.checks import ArgumentError
from rnnlib.models import Elman
from rnnlib.train import train


def generators(n, offset=0):
    return [torch.Generator().manual_seed(offset + r) for r in range(n)]


def build(replicas, hidden=6, std=0.4):
    return Elman(3, hidden, 2, replicas=replicas).draw_(std, generators(replicas))


def batch(step, replicas):
    """Each replica's own data, a function of its index and the step only."""
    draws = [torch.Generator().manual_seed(1000 * int(r) + step) for r in replicas]
    inputs = torch.stack([torch.randn(4, 5, 3, generator=g) for g in draws])
    targets = torch.stack([torch.randint(0, 2, (4,), generator=g) for g in draws])
    return inputs, targets


def objective(model, step, replicas, carry):
    inputs, targets = batch(step, replicas)
    logits = model.read_out(model.states(inputs, last=True))
    losses = torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none").mean(1)
    return losses, None


@pytest.mark.parametrize("threshold", [math.inf, 0.05])
def test_equals_torch_sgd_a_replica_at_a_time(threshold):
    stack, norms = build(3), []
    history = train(
        stack,
        objective,
        learning_rate=0.3,
        threshold=threshold,
        n_updates=12,
        watch=lambda step, replicas, losses, norm: norms.append(norm),
    )
    norms = torch.stack(norms)
    torch.testing.assert_close(history.mean_norm, norms.mean(0))
    assert torch.equal(history.max_norm, norms.amax(0))
    assert torch.equal(history.update_of_max_norm, norms.argmax(0) + 1)
    assert torch.equal(history.clipped_fraction, (norms >= threshold).double().mean(0))
    for r in range(3):
        alone = build(3).select(torch.tensor([r]))
        optimiser = torch.optim.SGD(alone.parameters(), lr=0.3)
        for step in range(1, 13):
            optimiser.zero_grad()
            objective(alone, step, [r], None)[0].sum().backward()
            norm = torch.nn.utils.clip_grad_norm_(alone.parameters(), threshold)
            assert norm.item() == pytest.approx(norms[step - 1, r].item(), rel=1e-5)
            optimiser.step()
        for expected, found in zip(alone.parameters(), stack.parameters(), strict=True):
            torch.testing.assert_close(found[r], expected[0], rtol=1e-5, atol=1e-6)
    assert history.n_clipped.any() == (threshold < math.inf)


def test_a_replica_trains_the_same_alone_and_in_a_stack():
    stack = build(4)
    train(stack, objective, learning_rate=0.3, threshold=0.1, n_updates=10)
    alone = build(4).select(torch.tensor([2]))

    def only(model, step, replicas, carry):
        return objective(model, step, [2], carry)

    train(alone, only, learning_rate=0.3, threshold=0.1, n_updates=10)
    for whole, single in zip(stack.parameters(), alone.parameters(), strict=True):
        assert torch.equal(whole[2], single[0])


def test_rates_and_thresholds_may_differ_by_replica():
    mixed = build(2)
    rates, bounds = torch.tensor([0.1, 0.5]), torch.tensor([math.inf, 0.01])
    train(mixed, objective, learning_rate=rates, threshold=bounds, n_updates=5)
    for r in range(2):
        same = build(2)
        train(
            same, objective, learning_rate=float(rates[r]), threshold=float(bounds[r]), n_updates=5
        )
        assert torch.equal(mixed.W_rec[r], same.W_rec[r])


def test_finished_replicas_leave_and_keep_their_weights():
    model = build(3)
    seen = []

    def check(work, step, replicas):
        seen.append((step, replicas.tolist()))
        return (replicas == 1) & (step == 4)

    watched = {}
    history = train(
        model,
        objective,
        learning_rate=0.3,
        n_updates=6,
        check=check,
        check_every=2,
        watch=lambda step, replicas, losses, norms: watched.update({step: replicas.tolist()}),
    )
    assert seen == [(2, [0, 1, 2]), (4, [0, 1, 2]), (6, [0, 2])]
    assert history.updates.tolist() == [6, 4, 6]
    assert history.finished.tolist() == [False, True, False]
    assert [len(watched[step]) for step in range(1, 7)] == [3, 3, 3, 3, 2, 2]
    short = build(3)
    train(short, objective, learning_rate=0.3, n_updates=4)
    assert torch.equal(model.W_rec[1], short.W_rec[1])


def test_divergence_is_recorded_and_stays_with_its_replica():
    def explosive(model, step, replicas, carry):
        losses, _ = objective(model, step, replicas, carry)
        factor = torch.where((replicas == 0) & torch.tensor(step == 3), math.nan, 1.0)
        return losses * factor, None

    model, calm = build(2), build(2)
    history = train(model, explosive, learning_rate=0.3, n_updates=5)
    train(calm, objective, learning_rate=0.3, n_updates=5)
    assert history.diverged.tolist() == [True, False]
    assert history.updates.tolist() == [2, 5]
    assert model.W_rec.isfinite().all()
    assert torch.equal(model.W_rec[1], calm.W_rec[1])


def test_carry_follows_its_replica_when_others_leave():
    carried = {}

    def counting(model, step, replicas, carry):
        losses, _ = objective(model, step, replicas, carry)
        carry = replicas.double() if carry is None else carry + 10
        carried[step] = carry.tolist()
        return losses, carry

    def check(work, step, replicas):
        return replicas == 0

    train(build(3), counting, learning_rate=0.1, n_updates=3, check=check, check_every=2)
    assert carried == {1: [0, 1, 2], 2: [10, 11, 12], 3: [21, 22]}


@pytest.mark.parametrize("bad", [0.0, -0.1, math.nan, math.inf])
def test_a_bad_learning_rate_is_refused(bad):
    with pytest.raises(ArgumentError, match=r"learning_rate must hold finite numbers > 0, got"):
        train(build(1), objective, learning_rate=bad, n_updates=1)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan])
def test_a_bad_threshold_is_refused(bad):
    with pytest.raises(ArgumentError, match="threshold must hold numbers > 0"):
        train(build(1), objective, learning_rate=0.1, threshold=bad, n_updates=1)


def test_a_replica_that_breaks_is_not_asked_whether_it_has_finished():
    asked = []

    def explosive(model, step, replicas, carry):
        losses, _ = objective(model, step, replicas, carry)
        return losses * torch.where((replicas == 1) & torch.tensor(step == 2), math.nan, 1.0), None

    def check(work, step, replicas):
        asked.append(replicas.tolist())
        return torch.ones(len(replicas), dtype=torch.bool)

    history = train(build(2), explosive, learning_rate=0.1, n_updates=4, check=check, check_every=2)
    assert asked == [[0]]
    assert history.finished.tolist() == [True, False]
    assert history.diverged.tolist() == [False, True]


def test_a_rate_can_change_with_the_update():
    changing, fixed = build(3), build(3)
    train(changing, objective, learning_rate=lambda step: 0.1 / step, n_updates=3)
    for step in (1, 2, 3):
        only = lambda model, _, replicas, carry, step=step: objective(model, step, replicas, carry)  # noqa: E731
        train(fixed, only, learning_rate=0.1 / step, n_updates=1)
    for a, b in zip(changing.parameters(), fixed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_rate_that_falls_to_zero_is_refused():
    with pytest.raises(ArgumentError, match="learning_rate must hold finite numbers > 0"):
        train(build(1), objective, learning_rate=lambda step: 2.0 - step, n_updates=3)
