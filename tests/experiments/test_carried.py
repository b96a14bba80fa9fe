"""Training on chunks with the state carried over: against a plain loop, one song at a time."""

import math

import pytest
import torch

from rnnlib.checks import ArgumentError
from rnnlib.experiments.carried import Piece, fit, nats_per_step
from rnnlib.experiments.characters import cross_entropy_nats
from rnnlib.experiments.characters import pieces as text_pieces
from rnnlib.experiments.music import bernoulli_nats
from rnnlib.experiments.music import pieces as music_pieces
from rnnlib.models import Elman


def rolls(lengths, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [(torch.rand(n, 88, generator=g) < 0.05).to(torch.uint8).numpy() for n in lengths]


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


def test_scores_belong_to_the_epoch_of_best_validation_loss():
    songs = music_pieces(rolls([30, 30]))
    silence = music_pieces([s * 0 for s in rolls([20])])
    model = build(1)
    (outcome,) = fit(
        model,
        bernoulli_nats,
        train_pieces=songs,
        valid_pieces=silence,
        test_pieces=songs,
        chunk=10,
        n_epochs=4,
        learning_rate=0.02,
        threshold=1.0,
        orders=orders(1),
    )
    curve = outcome.valid_curve
    assert outcome.valid == min(curve)
    assert curve[outcome.best_epoch - 1] == min(curve)


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
