"""alpha Omega in training: against automatic differentiation with detached states and errors."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from rnnlib.checkpoint import Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.models import Elman
from rnnlib.regulariser import Regulariser
from rnnlib.train import train

R, B, T, H = 3, 4, 7, 5


def network(seed=0, std=0.6):
    model = Elman(2, H, 3, replicas=R)
    return model.draw_(std, [torch.Generator().manual_seed(seed + r) for r in range(R)])


class Task:
    """Random inputs and classes, new ones for every update."""

    def __init__(self, regulariser=None):
        self.errors = regulariser.errors if regulariser else None

    def __call__(self, work, step, replicas, carry):
        rng = torch.Generator().manual_seed(100 + step)
        inputs = torch.randn(R, B, T, 2, generator=rng)[replicas]
        targets = torch.randint(3, (R, B), generator=rng)[replicas]
        logits = work.read_out(work.states(inputs, last=True, errors=self.errors))
        return torch.nn.functional.cross_entropy(logits.mT, targets, reduction="none").mean(1), None


def by_definition(model, r, form):
    """Gradient of loss and of Omega for one replica, with a graph node for every state."""
    rng = torch.Generator().manual_seed(101)
    inputs = torch.randn(R, B, T, 2, generator=rng)[r].double()
    targets = torch.randint(3, (R, B), generator=rng)[r]
    W, W_in, W_out = (p[r].detach().double() for p in (model.W_rec, model.W_in, model.W_out))
    b, b_out = (p[r].detach().double() for p in (model.b, model.b_out))
    W.requires_grad_()
    h = [torch.zeros(B, H, dtype=torch.float64, requires_grad=True)]
    for t in range(T):
        h.append(torch.tanh(h[-1] @ W.T + inputs[:, t] @ W_in.T + b))
    loss = torch.nn.functional.cross_entropy(h[-1] @ W_out.T + b_out, targets)
    grad_W, *deltas = torch.autograd.grad(loss, [W, *h], retain_graph=True)
    terms = []
    for k in range(T):
        slope = 1 - h[k + 1].detach() ** 2
        ratio = ((deltas[k + 1] * slope) @ W).norm(dim=1) / deltas[k + 1].norm(dim=1)
        terms.append((ratio**2 - 1) ** 2 if form == "squared" else (ratio - 1) ** 2)
    omega = torch.stack(terms).mean()
    (push,) = torch.autograd.grad(omega, W)
    return grad_W, push, omega.item()


@pytest.mark.parametrize("form", ["squared", "unsquared"])
def test_one_update_adds_the_immediate_derivative(form):
    model, alpha = network(), torch.tensor([0.0, 0.5, 4.0])
    before = network()
    regulariser = Regulariser(alpha, replicas=R, form=form)
    train(model, Task(regulariser), learning_rate=0.1, n_updates=1, regulariser=regulariser)
    for r in range(R):
        grad, push, omega = by_definition(before, r, form)
        expected = before.W_rec[r].double() - 0.1 * (grad + alpha[r] * push)
        assert torch.allclose(model.W_rec[r].double(), expected, atol=2e-6, rtol=0)
        assert regulariser.last[r] == pytest.approx(omega, rel=1e-5)
        assert regulariser.opposed[r] == int((grad * push).sum() < 0)
        cosine = torch.nn.functional.cosine_similarity(grad.flatten(), push.flatten(), dim=0)
        assert regulariser.cosine[r] == pytest.approx(cosine.item(), abs=1e-5)


def test_the_sum_is_what_is_clipped():
    model, before = network(), network()
    regulariser = Regulariser(4.0, replicas=R)
    history = train(
        model,
        Task(regulariser),
        learning_rate=1.0,
        threshold=1e-3,
        n_updates=1,
        regulariser=regulariser,
    )
    moved = [
        (a - b).flatten(1) for a, b in zip(model.parameters(), before.parameters(), strict=True)
    ]
    assert torch.allclose(torch.cat(moved, 1).norm(dim=1), torch.full((R,), 1e-3), rtol=1e-3)
    for r in range(R):
        grad, push, _ = by_definition(before, r, "squared")
        assert history.max_norm[r] >= (grad + 4 * push).norm() * (1 - 1e-5)


@pytest.mark.parametrize("form", ["squared", "unsquared"])
def test_a_confident_network_does_not_diverge(form):
    """The right class is 20 nats ahead: errors begin at 1e-9 and count until they are 1e-19."""
    model, before = (network(std=0.3) for _ in range(2))
    for each in (model, before):
        with torch.no_grad():
            each.b_out[:, 0] += 20
    alpha = torch.tensor([0.0, 0.5, 4.0])
    regulariser = Regulariser(alpha, replicas=R, form=form)

    def sure(work, step, replicas, carry):
        inputs = torch.randn(R, B, 200, 2, generator=torch.Generator().manual_seed(step))
        last = work.states(inputs[replicas], last=True, errors=regulariser.errors)
        logits = work.read_out(last)
        right = torch.zeros(len(replicas), B, dtype=torch.int64)
        return torch.nn.functional.cross_entropy(logits.mT, right, reduction="none").mean(1), None

    history = train(model, sure, learning_rate=0.01, n_updates=3, regulariser=regulariser)
    assert not history.diverged.any()
    assert (history.updates == 3).all()
    moved = (model.W_rec - before.W_rec).flatten(1).norm(dim=1)
    assert moved[0] < 1e-6 < 1e-3 < moved[1] < moved[2]


def test_weight_zero_trains_as_without():
    plain, with_it = network(), network()
    regulariser = Regulariser(0.0, replicas=R)
    train(plain, Task(), learning_rate=0.1, n_updates=5)
    train(with_it, Task(regulariser), learning_rate=0.1, n_updates=5, regulariser=regulariser)
    for a, b in zip(plain.parameters(), with_it.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (regulariser.updates == 5).all()
    assert (regulariser.last > 0).all()


def test_a_replica_keeps_its_weight_when_another_leaves():
    whole, parted = network(), network()
    for model, leaves in ((whole, False), (parted, True)):
        regulariser = Regulariser(torch.tensor([0.0, 4.0, 0.5]), replicas=R)
        train(
            model,
            Task(regulariser),
            learning_rate=0.1,
            n_updates=4,
            regulariser=regulariser,
            check=lambda work, step, replicas, leaves=leaves: (replicas == 0) & leaves,
        )
        assert regulariser.updates.tolist() == [1 if leaves else 4, 4, 4]
    for a, b in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(a[1:], b[1:], rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_stays_with_its_replica():
    regulariser = Regulariser(torch.tensor([0.0, 1.0]), replicas=2)
    regulariser.errors.omega = torch.tensor([math.nan, 0.5], dtype=torch.float64)
    regulariser.errors.omega_gradient = torch.full((2, 1, 1), math.inf)
    grad = torch.ones(2, 1, 1)
    regulariser.add_(grad, 1, torch.tensor([0, 1]))
    assert grad.flatten().tolist() == [1.0, math.inf]


def test_schedules():
    constant = Regulariser(2.0, replicas=2)
    falling = Regulariser(torch.tensor([2.0, 0.0]), replicas=2, schedule="1/t", epoch=10)
    assert [constant.weight(step)[0].item() for step in (1, 10, 11, 100)] == [2.0] * 4
    assert [falling.weight(step)[0].item() for step in (1, 10, 11, 21)] == [2, 2, 1, 2 / 3]
    assert falling.weight(11)[1] == 0


def test_regularised_training_goes_on_where_it_was_stopped(tmp_path):
    def check(work, step, replicas):  # one leaves before the stop, its numbers stay
        return (replicas == 0) & (step == 2)

    whole, halves = network(), network()
    kept = Regulariser(1.0, replicas=R, schedule="1/t", epoch=3)
    train(whole, Task(kept), learning_rate=0.1, n_updates=8, regulariser=kept, check=check)

    asked = iter([False] * 4 + [True])
    survival = Survival(tmp_path / "unit", stop=lambda: next(asked, False))
    first = Regulariser(1.0, replicas=R, schedule="1/t", epoch=3)
    with pytest.raises(Stopped):
        train(
            halves,
            Task(first),
            learning_rate=0.1,
            n_updates=8,
            regulariser=first,
            check=check,
            survival=survival,
        )
    halves, then = network(seed=50), Regulariser(1.0, replicas=R, schedule="1/t", epoch=3)
    train(
        halves,
        Task(then),
        learning_rate=0.1,
        n_updates=8,
        regulariser=then,
        check=check,
        survival=Survival(tmp_path / "unit"),
    )
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.equal(a, b)
    for name in ("first", "last", "cosine", "updates", "opposed"):
        assert torch.equal(getattr(kept, name), getattr(then, name)), name


@given(st.integers(0, 2**31), st.integers(-80, 80))
@example(0, -30)  # squares below 1e-20, which have vanished by an absolute bound
def test_the_scale_of_the_loss_does_not_matter(seed, exponent):
    """Omega, its gradient and what counts as vanished are ratios; a power of two rounds nothing."""
    model = network(seed, std=0.3)
    measured = []
    for scale in (1.0, 2.0**exponent):
        regulariser = Regulariser(1.0, replicas=R)
        losses, _ = Task(regulariser)(model, 1, torch.arange(R), None)
        torch.autograd.grad((scale * losses).sum(), model.W_rec)
        measured.append(regulariser.errors)
    one, other = measured
    for name in ("omega", "omega_gradient", "active"):
        assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("alpha", [-1.0, math.nan, math.inf, torch.tensor([1.0, -0.5, 1.0])])
def test_weights_below_zero_are_refused(alpha):
    with pytest.raises(ArgumentError, match="alpha must hold finite numbers >= 0, got"):
        Regulariser(alpha, replicas=R)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosine"}, "schedule must be one of .*constant.*got 'cosine'"),
        ({"form": "cubed"}, "form must be one of .*squared.*got 'cubed'"),
        ({"epoch": 0}, "epoch must be"),
    ],
)
def test_unknown_choices_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Regulariser(1.0, replicas=R, **options)


def test_a_weight_for_every_replica():
    with pytest.raises(ArgumentError, match="alpha"):
        Regulariser(torch.ones(2), replicas=R)


def test_an_objective_that_ignores_the_regulariser_is_noticed():
    with pytest.raises(ArgumentError, match=r"objective must hand regulariser\.errors"):
        train(
            network(),
            Task(),
            learning_rate=0.1,
            n_updates=1,
            regulariser=Regulariser(1.0, replicas=R),
        )


def test_an_objective_that_forgets_the_regulariser_later_is_noticed():
    """What an update before left in ``errors`` must not be taken for this one's."""
    regulariser = Regulariser(1.0, replicas=R)
    task = Task(regulariser)

    def once(work, step, replicas, carry):
        task.errors = regulariser.errors if step == 1 else None
        return task(work, step, replicas, carry)

    with pytest.raises(ArgumentError, match=r"objective must hand regulariser\.errors"):
        train(network(), once, learning_rate=0.1, n_updates=2, regulariser=regulariser)
    assert regulariser.updates.tolist() == [1] * R
