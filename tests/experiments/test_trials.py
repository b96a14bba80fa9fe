"""Exams and training data of synthetic tasks: what passes, what is drawn, and from which stream."""

import types

import pytest
import torch

from rnnlib.experiments import pathological, temporal_order, trials
from rnnlib.experiments.trials import Batch, Data, Exam, answers, stream
from rnnlib.models import Elman
from rnnlib.tasks.synthetic import Addition, Memorisation, Redrawn, TemporalOrder
from rnnlib.train import History

EXAM = {"n_updates": 100, "check_every": 5, "screen": 200, "test": 400}


class Oracle:
    """Knows the answers; its second replica always says class 0."""

    W_rec = torch.zeros(2, 3, 3)
    weak = ()  # replicas that have forgotten

    def states(self, symbols, *, last, lengths, errors):
        return symbols

    def read_out(self, symbols):
        relevant = symbols[symbols < 2].view(*symbols.shape[:2], 2)
        target = relevant[..., 0] + 2 * relevant[..., 1]
        logits = torch.nn.functional.one_hot(target, 4).float()
        for r in (1, *self.weak):
            logits[r : r + 1] = torch.tensor([1.0, 0, 0, 0])
        return logits

    def select(self, replicas):
        assert replicas.tolist() == [0]
        return self


def test_solved_means_at_most_one_percent_of_fresh_sequences():
    exam = Exam(TemporalOrder(12), (0,), torch.tensor([0, 0]), **EXAM)
    assert exam(Oracle(), 5, torch.arange(2)).tolist() == [True, False]
    assert exam.solved_at.tolist() == [5, -1]
    assert exam.perfect_at.tolist() == [5, -1]
    assert exam.error[1] == pytest.approx(0.75, abs=0.1)


def answered(monkeypatch, screens, test=0.0):
    """A network whose exams go as told; returns what it was asked: purpose and how many."""
    asked, shares = [], iter(screens)

    def wrong(self, model, step, replicas, n, *, purpose, task=None):
        asked.append((purpose, n))
        share = next(shares) if purpose == trials.SCREEN else test
        return torch.full((len(replicas),), share)

    monkeypatch.setattr(Exam, "wrong", wrong)
    network = types.SimpleNamespace(W_rec=torch.zeros(1, 3, 3))
    network.select = lambda replicas: network
    return network, asked


@pytest.mark.parametrize(
    ("screen", "test", "tested", "solved"),
    [
        (0.015, 0.01, True, True),
        (0.016, 0.0, False, False),
        (0.0, 0.0101, True, False),
    ],
)
def test_the_screen_lets_to_the_test_which_decides(monkeypatch, screen, test, tested, solved):
    network, asked = answered(monkeypatch, [screen], test)
    exam = Exam(TemporalOrder(12), (0,), torch.tensor([0]), **EXAM)
    assert exam(network, 5, torch.arange(1)).tolist() == [solved]
    assert asked == [(trials.SCREEN, 200), (trials.TEST, 400)][: 2 if tested else 1]
    assert exam.solved_at.tolist() == [5 if solved else -1]


def test_a_relapse_is_more_than_a_tenth_wrong_and_the_best_screen_is_kept(monkeypatch):
    screens = (0.01, 0.1, 0.11, 0.05, 0.2)
    network, _ = answered(monkeypatch, screens)
    exam = Exam(TemporalOrder(12), (0,), torch.tensor([0]), linger=95, **EXAM)
    relapses = []
    for step in range(1, len(screens) + 1):
        exam(network, 5 * step, torch.arange(1))
        relapses += exam.relapses.tolist()
    assert relapses == [0, 0, 1, 1, 2]
    assert exam.error.tolist() == pytest.approx([0.2])
    assert exam.best.tolist() == pytest.approx([0.01])


def test_the_last_update_is_followed_by_an_exam(monkeypatch):
    network, asked = answered(monkeypatch, [0.0])
    exam = Exam(TemporalOrder(12), (0,), torch.tensor([0]), **EXAM | {"n_updates": 7})
    exam(network, 6, torch.arange(1))
    assert not asked
    assert exam(network, 7, torch.arange(1)).tolist() == [True]


def test_an_exam_in_parts_asks_no_sequence_twice(monkeypatch):
    asked = []

    class Watched(Oracle):
        def states(self, symbols, **options):
            asked.append(symbols[0])
            return symbols

    monkeypatch.setattr(trials, "_ASKED_AT_ONCE", 100)
    exam = Exam(TemporalOrder(40), (0,), torch.tensor([0, 0]), **EXAM)
    found = exam.wrong(Watched(), 5, torch.arange(2), 250, purpose=trials.SCREEN)
    assert found.tolist() == pytest.approx([0.0, 0.75], abs=0.1)
    assert [len(part) for part in asked] == [100, 100, 50]
    assert len(torch.cat(asked).unique(dim=0)) == 250


def test_a_record_says_when_the_task_was_solved_not_when_the_network_left():
    exam = Exam(TemporalOrder(12), (0,), torch.tensor([0, 0]), linger=15, **EXAM)
    exam(Oracle(), 5, torch.arange(2))
    history = History.blank(2)
    history.updates[:] = 20
    rows = [exam.metrics(r, history) for r in range(2)]
    assert [(row["solved"], row["updates"]) for row in rows] == [(True, 5), (False, 20)]


def test_an_exam_goes_on_where_it_was_stopped():
    exam, again = (
        Exam(TemporalOrder(12), (0,), torch.tensor([0, 0]), linger=50, **EXAM) for _ in range(2)
    )
    oracle = Oracle()
    exam(oracle, 5, torch.arange(2))
    oracle.weak, oracle.W_rec = (0,), torch.eye(3).repeat(2, 1, 1) * 1.5
    exam(oracle, 10, torch.arange(2))
    assert exam.relapses.tolist() == [1, 0]
    again.load_state_dict(exam.state_dict())
    for name, value in vars(exam).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(again, name)), name


def test_a_network_that_lingers_may_relapse():
    exam, oracle = Exam(TemporalOrder(12), (0,), torch.tensor([0, 0]), linger=15, **EXAM), Oracle()
    assert not exam(oracle, 5, torch.arange(2)).any()
    oracle.weak = (0,)
    assert not exam(oracle, 10, torch.arange(2)).any()
    assert not exam(oracle, 15, torch.arange(2)).any()
    assert exam.relapses.tolist() == [1, 0]  # one fall, however long it lies
    oracle.weak = ()
    assert exam(oracle, 20, torch.arange(2)).tolist() == [True, False]
    oracle.weak = (0,)
    exam(oracle, 25, torch.arange(2))
    assert exam.relapses.tolist() == [2, 0]
    assert exam.solved_at.tolist() == [5, -1]  # the first time counts


def test_a_network_has_until_its_last_update_to_solve_the_task_and_then_lingers():
    exam, oracle = Exam(TemporalOrder(12), (0,), torch.tensor([0, 0]), linger=30, **EXAM), Oracle()
    last = EXAM["n_updates"]
    assert exam(oracle, last, torch.arange(2)).tolist() == [False, True]
    assert exam(oracle, last + 25, torch.tensor([0])).tolist() == [False]
    assert exam(oracle, last + 30, torch.tensor([0])).tolist() == [True]


class ShortSighted:
    """Knows the answer to sequences of at most 55 steps and guesses at longer ones."""

    W_rec = torch.zeros(1, 3, 3)

    def states(self, symbols, *, last, lengths, errors):
        return symbols

    def read_out(self, symbols):
        logits = Oracle.read_out(Oracle(), symbols)
        return torch.where(torch.tensor(symbols.shape[2] > 55), torch.zeros_like(logits), logits)

    def select(self, replicas):
        return self


def test_an_exam_over_many_lengths_is_not_passed_by_luck():
    """Wrong in three quarters of one length in eight: 9 %, far from one in a hundred."""
    task = Redrawn(TemporalOrder(20), 20, 60)
    exam = Exam(
        task, (0,), torch.tensor([0]), n_updates=99, check_every=1, screen=1000, test=10_000
    )
    for step in range(1, 41):
        exam(ShortSighted(), step, torch.arange(1))
    assert exam.solved_at.tolist() == [-1]
    assert exam.best.item() < 0.09  # a screen is shorter, and luck has its part in it


def test_between_checks_only_the_radius_is_looked_at():
    exam = Exam(TemporalOrder(12), (0,), torch.tensor([0, 0]), **EXAM)
    oracle = types.SimpleNamespace(W_rec=torch.eye(3).expand(2, -1, -1) * 1.5)
    assert not exam(oracle, 3, torch.arange(2)).any()
    assert not exam(oracle, 4, torch.arange(2)).any()
    assert exam.rho_passed_one_at.tolist() == [3, 3]  # the first time counts


@pytest.mark.parametrize("task", [TemporalOrder(40), Redrawn(Addition(20), 20, 40)])
def test_the_size_of_a_block_changes_no_batch(monkeypatch, task):
    seeds = (3, 5)

    def batches():
        data = Data(task, seeds, 4, 6, "cpu")
        return data.block, [data.at(step, torch.tensor([1, 0, 1])) for step in range(1, 14)]

    whole, expected = batches()
    monkeypatch.setattr(trials, "_BLOCK_SYMBOLS", 4 * 2 * 4 * task.max_length)
    parts, found = batches()
    assert (whole, parts) == (6, 4)
    for one, two in zip(expected, found, strict=True):
        longest = int(one.lengths.max())
        assert torch.equal(one.lengths, two.lengths)
        assert torch.equal(one.inputs[:, :, :longest], two.inputs[:, :, :longest])
        assert torch.equal(one.targets, two.targets)


def test_the_sequences_of_an_update_share_a_length_and_updates_do_not():
    data = Data(Redrawn(TemporalOrder(20), 20, 60), (1, 2), 4, 50, "cpu")
    lengths = torch.stack([data.at(step, torch.arange(2)).lengths for step in range(1, 51)])
    assert (lengths == lengths[..., :1]).all()
    assert len(lengths[:, 0, 0].unique()) > 20
    assert (lengths[:, 0, 0] != lengths[:, 1, 0]).any()


def test_lengths_and_sequences_have_streams_of_their_own():
    task = Redrawn(TemporalOrder(20), 20, 60)
    data = Data(task, (3, 5), 4, 6, "cpu")
    found = [data.at(step, torch.arange(2)) for step in range(1, 13)]
    for r, seed in enumerate((3, 5)):
        lengths = task.draw_lengths(12, stream(seed, trials.LENGTHS)).repeat_interleave(4)
        expected = task.sample_replicas(48, [stream(seed, trials.TRAINING)], lengths[None])
        assert torch.equal(torch.cat([batch.lengths[r] for batch in found]), lengths)
        assert torch.equal(torch.cat([batch.targets[r] for batch in found]), expected.targets[0])


def test_a_stream_goes_on_after_a_restart():
    task = Redrawn(TemporalOrder(20), 20, 60)
    data, again = (Data(task, (1, 2), 4, 3, "cpu") for _ in range(2))
    for step in range(1, 6):
        data.at(step, torch.arange(2))
    again.load_state_dict(data.state_dict())
    for step in range(6, 12):
        for a, b in zip(
            data.at(step, torch.arange(2)), again.at(step, torch.arange(2)), strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("task", [Redrawn(Addition(20), 20, 40), Memorisation(6)])
def test_padding_does_not_reach_the_answers(task):
    """A replica among longer ones answers as it does alone."""
    model = Elman(task.n_inputs, 5, task.n_outputs, replicas=3)
    model.draw_(0.5, [stream(seed, 0) for seed in range(3)])
    together = task.sample_replicas(4, [stream(seed, 1) for seed in range(3)])
    outputs, batch = answers(model, task, together)
    losses = task.loss(outputs, batch.targets, batch.lengths)
    for r in range(3):
        one = model.select(torch.tensor([r]))
        alone = Batch(*(part[r : r + 1] for part in together))
        expected, cut = answers(one, task, alone)
        torch.testing.assert_close(
            losses[r : r + 1], task.loss(expected, cut.targets, cut.lengths), rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("scale", temporal_order.SETTINGS)
@pytest.mark.parametrize("experiment", [temporal_order, pathological])
def test_no_two_streams_are_one(experiment, scale):
    """torch's CPU generator keeps the low 32 bits of its seed; those must differ."""
    settings, used = experiment.SETTINGS[scale], set()
    once = [(p,) for p in (trials.WEIGHTS, trials.TRAINING, trials.LENGTHS, trials.INSIDE)]
    for reading in settings.readings:
        steps = range(settings.check_every, reading.n_updates + 1, settings.check_every)
        asked = [(purpose, step) for purpose in (trials.SCREEN, trials.TEST) for step in steps]
        seeds = getattr(reading, "seeds", ()) or settings.seeds
        used |= {(seed, *p) for seed in seeds for p in (*once, (trials.LONGER, 0), *asked)}
    streams = {stream(*purpose).initial_seed() % 2**32 for purpose in used}
    assert len(streams) == len(used)
