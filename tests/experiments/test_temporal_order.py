"""The temporal-order experiment: pairing, criteria and independence of how it is split."""

import dataclasses
import math

import pytest
import torch

from rnnlib import experiments
from rnnlib.checks import ArgumentError
from rnnlib.experiments import temporal_order
from rnnlib.experiments.temporal_order import PLAIN, SETTINGS, Cell, Reading
from rnnlib.tasks.synthetic import TemporalOrder

SMOKE = SETTINGS["smoke"]


def run(settings, workers=1, **changes):
    changed = dataclasses.replace(settings, **changes)
    return list(experiments.run("temporal_order", changed, workers=workers, progress=False))


def test_smoke_records_are_complete():
    records = run(SMOKE)
    assert [r.name for r in records] == [
        "temporal_order-same_rate-smoke",
        "temporal_order-literal-smoke",
    ]
    assert len(records[0].select(seq_len=12, threshold=None)) == 1
    assert all(len(v) == 2 for r in records for x in r.results for v in x.metrics.values())


def test_same_settings_give_the_same_record():
    first, second = run(SMOKE), run(SMOKE)
    assert all(a.same_result(b) for a, b in zip(first, second, strict=True))


def test_a_seed_does_not_depend_on_the_seeds_beside_it():
    together, alone = run(SMOKE, seeds=(0, 1, 2)), run(SMOKE, seeds=(2,))
    for whole, single in zip(together, alone, strict=True):
        for a, b in zip(whole.results, single.results, strict=True):
            assert {k: v[2] for k, v in a.metrics.items()} == {
                k: v[0] for k, v in b.metrics.items()
            }


def test_processes_do_not_change_the_result(monkeypatch):
    monkeypatch.setattr(temporal_order, "SEEDS_A_STACK", 1)  # two stacks, so that two processes run
    one = run(SMOKE.only("literal"), workers=1)
    two = run(SMOKE.only("literal"), workers=2)
    assert one[0].same_result(two[0])


def test_arms_that_never_clip_are_the_same_run():
    reading = Reading("pairing", (Cell(10, 0.1, thresholds=(PLAIN, 1e6, 1e-3)),), n_updates=10)
    (record,) = run(SMOKE, readings=(reading,))
    plain, never, always = (record.select(threshold=t)[0].metrics for t in (PLAIN, 1e6, 1e-3))
    assert plain == never
    assert always["clipped_fraction"] == [1.0, 1.0]
    assert always["rho_start"] == plain["rho_start"]
    assert always["rho_end"] != plain["rho_end"]


def test_clipping_solves_what_plain_descent_does_not():
    """The chapter's central contrast on three seeds: T = 25, learning rate 0.1."""
    reading = Reading("contrast", (Cell(25, 0.1),), n_updates=2600)
    (record,) = run(
        SMOKE,
        seeds=(0, 1, 2),
        hidden_size=50,
        check_every=200,
        screen=1000,
        test=10_000,
        readings=(reading,),
    )
    plain, clipped = (record.select(threshold=t)[0].metrics for t in (PLAIN, 1.0))
    assert sum(clipped["solved"]) >= 2
    assert sum(plain["solved"]) == 0
    assert all(
        e <= 0.015 for e, s in zip(clipped["error_rate"], clipped["solved"], strict=True) if s
    )


def test_solved_means_at_most_one_percent_of_fresh_sequences():
    """A network built to know the answer passes; one that guesses one class does not."""
    task = TemporalOrder(12)
    settings = dataclasses.replace(SMOKE, screen=200, test=400)
    reading = settings.readings[0]
    exam = temporal_order._Exam(settings, reading, task, (0,), torch.tensor([0, 0]), 2)

    class Oracle:
        W_rec = torch.zeros(2, 3, 3)

        def states(self, symbols, *, last):
            return symbols

        def read_out(self, symbols):
            relevant = symbols[symbols < 2].view(*symbols.shape[:2], 2)
            target = relevant[..., 0] + 2 * relevant[..., 1]
            logits = torch.nn.functional.one_hot(target, 4).float()
            logits[1:] = torch.tensor([1.0, 0, 0, 0])  # the second replica always says class 0
            return logits

        def select(self, replicas):
            assert replicas.tolist() == [0]
            return self

    finished = exam(Oracle(), 5, torch.arange(2))
    assert finished.tolist() == [True, False]
    assert exam.perfect_at.tolist() == [5, -1]
    assert math.isclose(float(exam.best[1]), 0.75, abs_tol=0.1)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Cell(9, 0.1), "seq_len must be an integer >= 10, got 9"),
        (Cell(10, 0.0), "learning_rate must be a finite number > 0, got 0.0"),
        (Cell(10, math.nan), "learning_rate must be a finite number > 0, got nan"),
        (Cell(10, 0.1, init_std=-1.0), "init_std must be a finite number > 0, got -1.0"),
        (Cell(10, 0.1, thresholds=(PLAIN, 0.0)), "threshold must be a finite number > 0, got 0.0"),
        (Cell(10, 0.1, thresholds=(1.0, 1.0)), "thresholds must hold .* none twice"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(cell, message):
    with pytest.raises(ArgumentError, match=message):
        run(SMOKE, readings=(Reading("bad", (cell,), n_updates=1),))


def test_the_radius_is_watched_more_often_than_the_answers():
    """A finer watch finds the same results and an earlier, or equal, crossing of one."""
    reading = Reading("watch", (Cell(10, 0.5, init_std=0.3),), n_updates=40)
    options = {"readings": (reading,), "hidden_size": 12, "check_every": 20}
    (coarse,) = run(SMOKE, watch_every=20, **options)
    (fine,) = run(SMOKE, watch_every=2, **options)
    for a, b in zip(coarse.results, fine.results, strict=True):
        late, early = a.metrics.pop("update_of_rho_one"), b.metrics.pop("update_of_rho_one")
        assert a.metrics == b.metrics
        for last, first in zip(late, early, strict=True):
            assert last is None or (first is not None and last - 20 < first <= last)
    with pytest.raises(ArgumentError, match="watch_every must be a divisor of check_every = 5"):
        run(SMOKE, watch_every=2)


def test_unknown_reading_and_hidden_size_zero_are_named():
    with pytest.raises(ArgumentError, match="did you mean 'same_rate'"):
        SMOKE.only("same_rates")
    for name in ("hidden_size", "check_every", "screen", "test"):
        with pytest.raises(ArgumentError, match=f"{name} must be an integer >= 1, got 0"):
            run(SMOKE, **{name: 0})
    with pytest.raises(ArgumentError, match="seeds must hold at least one value and none twice"):
        run(SMOKE, seeds=(1, 1))


def test_the_size_of_a_block_changes_no_batch(monkeypatch):
    task, seeds = TemporalOrder(40), (3, 5)

    def batches():
        data = temporal_order._Data(task, seeds, 4, 6, "cpu")
        return data.block, [data.at(step, torch.tensor([1, 0, 1])) for step in range(1, 14)]

    whole, expected = batches()
    monkeypatch.setattr(temporal_order, "_BLOCK_SYMBOLS", 4 * 2 * 4 * 40)
    parts, found = batches()
    assert (whole, parts) == (6, 4)
    for one, two in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_run_whose_weights_overflow_is_recorded_as_diverged():
    cell = Cell(10, 1e38, init_std=1.0, thresholds=(PLAIN,))
    reading = Reading("overflow", (cell,), n_updates=10)
    (record,) = run(SMOKE, readings=(reading,))
    metrics = record.results[0].metrics
    assert metrics["diverged"] == [True, True]
    assert metrics["solved"] == [False, False]


@pytest.mark.parametrize("scale", SETTINGS)
def test_no_two_streams_are_one(scale):
    """torch's CPU generator keeps the low 32 bits of its seed; those must differ."""
    settings = SETTINGS[scale]
    last = max(reading.n_updates for reading in settings.readings)
    steps = range(settings.check_every, last + 1, settings.check_every)
    asked = [(2, step) for step in steps] + [(3, step) for step in steps]
    streams = [
        temporal_order._stream(seed, *purpose).initial_seed() % 2**32
        for seed in settings.seeds
        for purpose in [(0,), (1,), *asked]
    ]
    assert len(set(streams)) == len(streams)
