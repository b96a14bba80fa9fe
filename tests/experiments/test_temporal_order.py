"""The temporal-order experiment: pairing, criteria and independence of how it is split."""

import dataclasses
import math

import pytest

from rnnlib import experiments
from rnnlib.checks import ArgumentError
from rnnlib.experiments import temporal_order
from rnnlib.experiments.temporal_order import PLAIN, SETTINGS, Cell, Reading

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


@pytest.mark.parametrize("name", ["n_updates", "batch"])
def test_a_reading_without_work_is_refused(name):
    readings = tuple(dataclasses.replace(r, **{name: 0}) for r in SMOKE.readings)
    with pytest.raises(ArgumentError, match=f"{name} must be an integer >= 1, got 0"):
        run(SMOKE, readings=readings)


def test_a_run_whose_weights_overflow_is_recorded_as_diverged():
    cell = Cell(10, 1e38, init_std=1.0, thresholds=(PLAIN,))
    reading = Reading("overflow", (cell,), n_updates=10)
    (record,) = run(SMOKE, readings=(reading,))
    metrics = record.results[0].metrics
    assert metrics["diverged"] == [True, True]
    assert metrics["solved"] == [False, False]
