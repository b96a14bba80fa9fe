"""Training on chunks with the state carried over: against a plain loop, one song at a time."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.checkpoint import Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.experiments.carried import Halving, Piece, fit, nats_per_step, updates_an_epoch
from rnnlib.experiments.characters import cross_entropy_nats
from rnnlib.experiments.characters import pieces as text_pieces
from rnnlib.experiments.music import bernoulli_nats
from rnnlib.experiments.music import pieces as music_pieces
from rnnlib.models import Elman
from rnnlib.regulariser import Regulariser


def rolls(lengths, seed=0, density=0.05):
    g = torch.Generator().manual_seed(seed)
    return [(torch.rand(n, 88, generator=g) < density).to(torch.uint8).numpy() for n in lengths]


def build(replicas=2):
    generators = [torch.Generator().manual_seed(r) for r in range(replicas)]
    return Elman(88, 7, 88, replicas=replicas).draw_(0.3, generators)


def orders(n):
    return [torch.Generator().manual_seed(50 + r) for r in range(n)]


def test_bernoulli_nats_is_the_cross_entropy_of_88_notes():
    logits, targets = torch.randn(3, 4, 88) * 20, (torch.rand(3, 4, 88) < 0.5).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.double(), targets.double(), reduction="none"
    ).sum(-1)
    torch.testing.assert_close(
        bernoulli_nats(logits, targets).double(), expected, rtol=1e-5, atol=0
    )


def test_cross_entropy_nats_is_minus_log_softmax():
    logits, targets = torch.randn(2, 3, 4, 9), torch.randint(0, 9, (2, 3, 4))
    expected = -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(cross_entropy_nats(logits, targets), expected)


def test_music_pieces_predict_each_frame_from_the_ones_before():
    (song,) = rolls([6])
    (piece,) = music_pieces([song])
    assert piece.inputs[0].sum() == 0
    assert torch.equal(piece.inputs[1:], piece.targets[:-1])
    assert torch.equal(piece.targets, torch.from_numpy(song).float())


def test_text_pieces_cover_the_text():
    symbols = torch.arange(23)
    parts = text_pieces(symbols, 4)
    assert torch.equal(torch.cat([torch.cat([p.inputs, p.targets[-1:]]) for p in parts]), symbols)


def test_text_pieces_ask_for_the_character_ahead():
    for piece in text_pieces(torch.arange(40), 3, ahead=5):
        assert torch.equal(piece.targets, piece.inputs + 5)
        assert len(piece.inputs) in (8, 9)  # 13 or 14 characters, five of which are never read


def test_evaluation_equals_one_song_at_a_time():
    model, songs = build(), music_pieces(rolls([5, 31, 12, 1]))
    together = nats_per_step(model, bernoulli_nats, songs, batch=3, window=7)
    total = torch.zeros(2, dtype=torch.float64)
    for song in songs:
        outputs, _ = model(song.inputs.expand(2, 1, -1, -1))
        total += bernoulli_nats(outputs, song.targets.expand(2, 1, -1, -1)).sum((1, 2)).double()
    torch.testing.assert_close(together, total / 49, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threshold", [math.inf, 40.0])
def test_fit_equals_a_plain_loop_over_songs_and_chunks(threshold):
    lengths, chunk, rate = [9, 4, 14], 5, 1e-3
    songs = music_pieces(rolls(lengths))
    stack = build()
    outcomes = fit(
        stack,
        bernoulli_nats,
        train_pieces=songs,
        valid_pieces=songs,
        test_pieces=songs,
        chunk=chunk,
        n_epochs=2,
        learning_rate=rate,
        threshold=threshold,
        orders=orders(2),
    )
    for r, order in enumerate(orders(2)):
        alone = build().select(torch.tensor([r]))
        optimiser = torch.optim.SGD(alone.parameters(), lr=rate)
        norms, best = [], math.inf
        for _ in range(2):
            for i in torch.randperm(len(songs), generator=order).tolist():
                state = None
                for t in range(0, lengths[i], chunk):
                    part = slice(t, t + chunk)
                    optimiser.zero_grad()
                    outputs, state = alone(songs[i].inputs[part][None, None], state)
                    bernoulli_nats(outputs, songs[i].targets[part][None, None]).sum().backward()
                    norms.append(
                        float(torch.nn.utils.clip_grad_norm_(alone.parameters(), threshold))
                    )
                    optimiser.step()
                    state = state.detach()
            best = min(best, float(nats_per_step(alone, bernoulli_nats, songs)))
        assert outcomes[r].valid == pytest.approx(best, rel=1e-5)
        assert outcomes[r].mean_norm == pytest.approx(sum(norms) / len(norms), rel=1e-4)
        clipped = sum(n >= threshold for n in norms) / len(norms)
        assert outcomes[r].clipped_fraction == pytest.approx(clipped)
        assert outcomes[r].valid == outcomes[r].test == outcomes[r].train


def omega_by_hand(states, errors, W, form):
    """Mean of Omega_k over the steps of a chunk; only W is differentiated."""
    terms = []
    for h, delta in zip(states, errors, strict=True):
        slope = (h * (1 - h)).detach()
        ratio = ((delta * slope) @ W).norm() / delta.norm()
        terms.append((ratio**2 - 1) ** 2 if form == "squared" else (ratio - 1) ** 2)
    return torch.stack(terms).mean()


def by_hand(songs, order, *, chunk, n_epochs, rate, threshold, alpha, form):
    """One logistic network, in float64 and with automatic differentiation of everything."""
    model = build_logistic(1).double()
    W_rec, W_in, W_out, b, b_out = (p for p in model.parameters())
    halvings, before, norms, omegas, opposed = 0, math.inf, [], [], 0
    for epoch in range(1, n_epochs + 1):
        total = 0.0
        for i in torch.randperm(len(songs), generator=order).tolist():
            h = torch.zeros(7, dtype=torch.float64)
            for t in range(0, len(songs[i].inputs), chunk):
                part = songs[i].inputs[t : t + chunk].double()
                h, states = h.detach(), []
                for u in part:
                    h = torch.sigmoid(W_rec[0] @ h + W_in[0] @ u + b[0])
                    states.append(h)
                logits = torch.stack(states) @ W_out[0].T + b_out[0]
                targets = songs[i].targets[t : t + chunk].double()
                nats = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits, targets, reduction="sum"
                )
                total += float(nats.detach())
                loss = nats / len(part)
                parameters = list(model.parameters())
                grads = list(torch.autograd.grad(loss, parameters, retain_graph=True))
                omega = omega_by_hand(states, torch.autograd.grad(loss, states), W_rec[0], form)
                (push,) = torch.autograd.grad(omega, W_rec)
                omegas.append(float(omega.detach()))
                opposed += float((push * grads[0]).sum()) < 0
                grads[0] = grads[0] + alpha / epoch * push
                norm = float(torch.stack([g.norm() for g in grads]).norm())
                norms.append(norm)
                scale = min(1.0, threshold / norm) * rate / 2**halvings
                with torch.no_grad():
                    for p, g in zip(parameters, grads, strict=True):
                        p -= scale * g
        halvings += total > before
        before = total
    return {
        "omega_first": omegas[0],
        "omega_last": omegas[-1],
        "opposed_fraction": opposed / len(omegas),
        "mean_norm": sum(norms) / len(norms),
        "max_norm": max(norms),
        "clipped_fraction": sum(n >= threshold for n in norms) / len(norms),
        "halvings": halvings,
    }


def build_logistic(replicas):
    generators = [torch.Generator().manual_seed(r) for r in range(replicas)]
    model = Elman(88, 7, 88, replicas=replicas, nonlinearity="logistic")
    return model.draw_(0.3, generators)


@pytest.mark.parametrize("form", ["squared", "unsquared"])
def test_fit_with_everything_equals_automatic_differentiation(form):
    """The mean over chunks of unequal length, alpha / t, clipping and halving, all at once."""
    songs = music_pieces(rolls([9, 4, 14], density=0.5))
    options = {"chunk": 5, "n_epochs": 5, "threshold": 3.0}
    epoch = updates_an_epoch([9, 4, 14], 5)
    assert epoch == 6
    (outcome,) = fit(
        build_logistic(1),
        bernoulli_nats,
        train_pieces=songs,
        valid_pieces=songs,
        test_pieces=songs,
        learning_rate=2.5,
        orders=orders(1),
        regulariser=Regulariser(2.0, replicas=1, form=form, schedule="1/t", epoch=epoch),
        reduction="mean",
        halve=True,
        **options,
    )
    expected = by_hand(songs, orders(1)[0], rate=2.5, alpha=2.0, form=form, **options)
    assert 0 < expected["halvings"] < 4  # by itself the rate would go on as it began
    assert 0 < expected["clipped_fraction"] < 1
    assert 0 < expected["opposed_fraction"] < 1
    for name, value in expected.items():
        assert getattr(outcome, name) == pytest.approx(value, rel=1e-4), name


def test_a_regulariser_without_weight_changes_nothing():
    songs = music_pieces(rolls([9, 14]))
    options = {
        "train_pieces": songs,
        "valid_pieces": songs,
        "test_pieces": songs,
        "chunk": 5,
        "n_epochs": 2,
        "learning_rate": 1e-2,
        "threshold": 20.0,
    }
    plain = fit(build(), bernoulli_nats, orders=orders(2), **options)
    watched = fit(
        build(), bernoulli_nats, orders=orders(2), regulariser=Regulariser(0, replicas=2), **options
    )
    for without, with_it in zip(plain, watched, strict=True):
        assert math.isnan(without.omega_first)
        assert with_it.omega_first > 0
        for field in dataclasses.fields(without):
            if not field.name.startswith(("omega", "opposed")):
                assert getattr(without, field.name) == getattr(with_it, field.name)


@given(
    st.lists(
        st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=2, max_size=2), min_size=1, max_size=9
    )
)
def test_halving_halves_after_every_rise_of_its_own_replica(epochs):
    halving = Halving(torch.tensor([1.0, 0.5]), 2, epoch=2)
    everyone, step = torch.arange(2), 0
    for i, losses in enumerate(epochs):
        for share in (0.25, 0.75):
            step += 1
            during = halving(step)
            halving.note(step, everyone, share * torch.tensor(losses))
            for r, start in enumerate((1.0, 0.5)):
                rises = sum(b[r] > a[r] for a, b in itertools.pairwise(epochs[:i]))
                assert during[r] == start / 2**rises


def test_halving_leaves_alone_who_has_left():
    halving = Halving(1.0, 2, epoch=1)
    halving.note(1, torch.arange(2), torch.tensor([1.0, 1.0]))
    halving.note(2, torch.tensor([1]), torch.tensor([2.0]))
    assert halving.rate.tolist() == [1.0, 0.5]
    assert halving.times.tolist() == [0, 1]


class _Mortal(Survival):
    """Stops after so many updates, once it has saved."""

    def __init__(self, path, life):
        super().__init__(path, stop=self.over)
        self.life = life

    def over(self):
        self.life -= 1
        return self.life <= 0


def test_an_interrupted_run_ends_bit_for_bit_as_an_unbroken_one(tmp_path):
    songs = music_pieces(rolls([9, 4, 14], density=0.5))

    def train(survival=None):
        alphas = torch.tensor([0.0, 2.0])
        return fit(
            build_logistic(2),
            bernoulli_nats,
            train_pieces=songs,
            valid_pieces=songs,
            test_pieces=songs,
            chunk=5,
            n_epochs=5,
            learning_rate=torch.tensor([3.0, 2.5]),
            threshold=torch.tensor([math.inf, 3.0]),
            orders=orders(2),
            regulariser=Regulariser(alphas, replicas=2, schedule="1/t", epoch=6),
            reduction="mean",
            halve=True,
            survival=survival,
        )

    whole, deaths = train(), 0
    assert all(outcome.halvings for outcome in whole)
    while True:
        try:
            pieced = train(_Mortal(tmp_path / "c", 4))
            break
        except Stopped:
            deaths += 1
    assert deaths == 7
    assert pieced == whole


def test_scores_belong_to_the_epoch_of_best_validation_loss():
    songs = music_pieces(rolls([30, 30]))
    denser = music_pieces(rolls([20], seed=3, density=0.3))
    curve = []
    for n_epochs in (1, 2, 3, 4):
        model = build(1)
        (outcome,) = fit(
            model,
            bernoulli_nats,
            train_pieces=songs,
            valid_pieces=denser,
            test_pieces=songs,
            chunk=10,
            n_epochs=n_epochs,
            learning_rate=0.3,
            threshold=1.0,
            orders=orders(1),
        )
        curve.append(float(nats_per_step(model, bernoulli_nats, denser)))
        assert outcome.valid == min(curve)
        assert outcome.best_epoch == 1 + curve.index(min(curve))
    assert outcome.best_epoch == 3


def test_a_replica_that_diverges_says_so_and_keeps_its_best_epoch():
    songs = music_pieces(rolls([12, 8]))
    wild, calm = fit(
        build(2),
        bernoulli_nats,
        train_pieces=songs,
        valid_pieces=songs,
        test_pieces=songs,
        chunk=10,
        n_epochs=3,
        learning_rate=torch.tensor([1e38, 1e-3]),
        threshold=math.inf,
        orders=orders(2),
    )
    assert wild.diverged
    assert math.isnan(wild.test)
    assert not calm.diverged
    assert math.isfinite(calm.test)


def test_empty_and_impossible_requests_are_named():
    songs = music_pieces(rolls([5]))
    good = {
        "train_pieces": songs,
        "valid_pieces": songs,
        "test_pieces": songs,
        "chunk": 5,
        "n_epochs": 1,
        "learning_rate": 0.1,
        "threshold": 1.0,
        "orders": orders(2),
    }
    for change, message in (
        ({"test_pieces": []}, "at least one piece"),
        (
            {"valid_pieces": music_pieces(rolls([5, 0]))},
            r"every piece a step, got lengths \[5, 0\]",
        ),
        ({"orders": orders(1)}, "orders must hold a generator for each of 2 replicas, got 1"),
        ({"threshold": 0.0}, "threshold must hold numbers > 0"),
        ({"chunk": 0}, "chunk must be an integer >= 1, got 0"),
        ({"n_epochs": 0}, "n_epochs must be an integer >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must hold finite numbers > 0"),
        ({"learning_rate": 0.0, "halve": True}, "learning_rate must hold finite numbers > 0"),
        ({"learning_rate": torch.ones(3), "halve": True}, r"learning_rate must have shape \(2\)"),
        ({"reduction": "avg"}, "reduction must be one of sum, mean, got 'avg'"),
        (
            {"regulariser": Regulariser(1.0, replicas=2, schedule="1/t", epoch=2)},
            "regulariser.epoch must be 1, the updates of an epoch, got 2",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            fit(build(), bernoulli_nats, **(good | change))


def test_the_state_is_carried_from_window_to_window():
    """A second window of the same piece starts from the state the first one left."""
    model = build(1)
    piece = Piece(torch.ones(4, 88), torch.zeros(4, 88))
    whole = nats_per_step(model, bernoulli_nats, [piece], window=4)
    in_parts = nats_per_step(model, bernoulli_nats, [piece], window=2)
    cold = nats_per_step(
        model, bernoulli_nats, [Piece(piece.inputs[:2], piece.targets[:2])] * 2, window=2
    )
    torch.testing.assert_close(whole, in_parts)
    assert not torch.allclose(whole, cold)
