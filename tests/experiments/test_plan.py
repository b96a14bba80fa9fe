"""What a run will cost: operations counted by hand, an estimate that leaves nothing behind."""

import dataclasses
import itertools
import os
import types

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from rnnlib import experiments, provenance
from rnnlib.checkpoint import Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.experiments import characters, jobs, plan, temporal_order
from rnnlib.experiments.jobs import STACK_BYTES, Job, Unit, elman_cost, stacks
from rnnlib.experiments.runner import Means

SIZES = dict(replicas=2, batch=3, time=4, hidden=5, inputs=6, outputs=7)


def cost(read):
    return elman_cost(*SIZES.values(), read=read)


@pytest.mark.parametrize("read", [1, 4])
def test_operations_are_those_of_a_count_by_hand(read):
    """Every multiplication and addition of every product, one by one; two more going back."""
    forward = 0
    replicas, batch, time, hidden, inputs, outputs = SIZES.values()
    for _ in itertools.product(range(replicas), range(batch), range(time), range(hidden)):
        forward += 2 * hidden + 2 * inputs  # its row of W_rec and of W_in
    for _ in itertools.product(range(replicas), range(batch), range(read), range(outputs)):
        forward += 2 * hidden
    assert cost(read)[0] == 3 * forward


@pytest.mark.parametrize("read", [1, 4])
def test_operations_are_those_that_torch_counts(read):
    """Where gradients of inputs and of the first state are wanted as well."""
    replicas, batch, time, hidden, inputs, outputs = SIZES.values()

    def leaf(*shape):
        return torch.randn(replicas, *shape, requires_grad=True)

    W_rec, W_in, W_out = leaf(hidden, hidden), leaf(hidden, inputs), leaf(outputs, hidden)
    state, u = leaf(batch, hidden), leaf(time, batch, inputs)
    with FlopCounterMode(display=False) as counter:
        loss = torch.zeros(())
        for t in range(time):
            state = torch.tanh(state @ W_rec.mT + u[:, t] @ W_in.mT)
            if t >= time - read:
                loss = loss + (state @ W_out.mT).sum()
        loss.backward()
    assert counter.get_total_flops() == cost(read)[0]


@pytest.mark.parametrize("read", [1, 4])
def test_memory_covers_what_a_gradient_holds(read):
    """Inputs, states, outputs, weights and their gradients at least, and not ten times that."""
    replicas, batch, time, hidden, inputs, outputs = SIZES.values()
    per_sequence = time * (inputs + hidden) + read * outputs
    weights = hidden * (hidden + inputs + outputs)
    least = 4 * replicas * (batch * per_sequence + 2 * weights)
    assert least <= cost(read)[1] <= 10 * least


# Stacks


@given(
    n=st.integers(1, 60),
    size=st.integers(1, 20),
    bytes_each=st.sampled_from([0.0, 1.0, 2.0**28, 2.0**31, 2.0**40]),
    device=st.sampled_from(["cpu", "cuda", "cuda:1"]),
)
def test_stacks_hold_every_item_once_in_as_few_stacks_as_fit(n, size, bytes_each, device):
    dealt = stacks(range(n), size, device, bytes_each=bytes_each)
    assert sorted(itertools.chain(*dealt)) == list(range(n))
    longest = max(map(len, dealt))
    assert longest - min(map(len, dealt)) <= 1
    if device == "cpu":
        most = size
    elif bytes_each:
        most = max(1, int(STACK_BYTES / bytes_each))
    else:
        most = n
    assert longest <= most
    assert len(dealt) == -(-n // most)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", experiments.names())
def test_stacks_do_not_depend_on_the_machine(name, device, monkeypatch):
    """Neither cores nor memory decide them, for they decide the last bits of the results."""

    def units():
        settings = experiments.load(name).SETTINGS
        found = [*experiments.load(name).jobs(settings["smoke"], device)]
        if name == "temporal_order":  # the one whose paper runs need no data
            found += experiments.load(name).jobs(settings["paper"], device)
        return [[dataclasses.asdict(unit.work) for unit in job.units] for job in found]

    here = units()
    for cores, memory in ((1, 2**30), (128, 2**42)):
        with monkeypatch.context() as patch:
            patch.setattr(provenance, "usable_cores", lambda cores=cores: cores)
            patch.setattr(os, "cpu_count", lambda cores=cores: cores)
            patch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
            patch.setattr(torch.cuda, "mem_get_info", lambda *_, m=memory: (m, m))
            patch.setattr(
                torch.cuda,
                "get_device_properties",
                lambda *_, m=memory: types.SimpleNamespace(total_memory=m),
            )
            assert units() == here


def test_seeds_are_integers_that_the_generator_can_tell_apart():
    jobs.check_seeds((0, 5, 2**31 - 1))
    for bad in ((), (1, 1), (-1,), (2**31,), (1.0,)):
        with pytest.raises(ArgumentError, match="seed"):
            jobs.check_seeds(bad)


# Estimates


def never(**_):
    raise AssertionError("nothing is to be trained")


def made_of(*units):
    return Job(
        experiment="toy",
        variant="",
        scale="paper",
        settings={},
        seeds=(0,),
        units=units,
        conditions=(),
        collect=never,
    )


MIXED = made_of(
    Unit(never, n_updates=100, flops=6e9, n_bytes=3e6),
    Unit(never, n_updates=300, flops=2e9, n_bytes=5e6),
    Unit(never, n_updates=100, flops=4e9, n_bytes=1e6),
)


def test_without_a_calibration_operations_are_counted_and_nothing_runs():
    guess = plan.estimate(MIXED, Means(workers=2), calibrate_s=0)
    assert (guess.n_units, guess.n_updates) == (3, 300)
    assert (guess.flops, guess.n_bytes) == (12e9, 10e6)
    assert (guess.seconds, guess.update_s) == (0, 0)


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [
        (1, 100.0),  # 12 GFLOP at the speed of the costliest, which takes 50 s for its 6
        (2, 50.0),
        (3, 50.0),  # no sooner than the costliest by itself
        (64, 50.0),
    ],
)
def test_time_is_that_of_the_operations_shared_out(monkeypatch, workers, seconds):
    calibrated = []
    monkeypatch.setattr(
        plan, "seconds_an_update", lambda unit, *_: calibrated.append(unit.flops) or 0.5
    )
    guess = plan.estimate(MIXED, Means(workers=workers))
    assert calibrated == [6e9]
    assert (guess.seconds, guess.update_s) == (seconds, 0.5)
    assert guess.n_bytes == min(workers, 3) * 5e6


@pytest.mark.parametrize(
    ("durations", "given", "expected"),
    [
        ([9.0] + [0.25] * 1000, 1.0, 0.25),  # the first update compiles
        ([9.0, 4.0, 4.0, 4.0], 1.0, 4.0),
        ([0.5, 0.25, 0.25], 100.0, 0.25),  # it is over before the calibration is
        ([0.5], 1.0, 0.5),
        ([], 1.0, 0.125),
    ],
)
def test_an_update_is_timed_without_the_first(monkeypatch, durations, given, expected):
    now = [100.0]
    monkeypatch.setattr(plan, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    made = []

    def work(*, survival):
        for duration in durations:
            now[0] += duration
            made.append(duration)
            survival.pause(never)
        if not durations:
            now[0] += expected
        return []

    assert plan.seconds_an_update(Unit(work, len(durations), 1.0, 1.0), given) == expected
    assert sum(made[1:]) <= max(given, 2 * expected) + expected


def test_an_update_that_nothing_follows_tells_nothing():
    """It was cut off after its first one, which compiles."""

    def work(*, survival):
        for _ in range(9):
            survival.pause(never)

    asked = iter([True])
    assert plan.seconds_an_update(Unit(work, 9, 1.0, 1.0), 1.0, lambda: next(asked)) == 0.0
    asked = iter([False, True])
    assert plan.seconds_an_update(Unit(work, 9, 1.0, 1.0), 1.0, lambda: next(asked)) > 0.0


@pytest.fixture
def measured(monkeypatch):
    """What is measured takes three seconds, of which half a second goes to an update."""
    now, found = [100.0], []

    def measure(unit, seconds, stop):
        found.append((unit.flops, seconds))
        now[0] += 3
        return 0.5

    monkeypatch.setattr(plan, "seconds_an_update", measure)
    monkeypatch.setattr(plan, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    return found


def others(n):
    return [dataclasses.replace(MIXED, settings={"n": i}) for i in range(n)]


def test_measurements_end_with_the_time_for_all_of_them(measured):
    calibration = plan.Calibration(total_s=4.0)
    guesses = [plan.estimate(job, Means(), calibration=calibration) for job in others(4)]
    assert [guess.update_s for guess in guesses] == [0.5, 0.5, 0, 0]
    assert guesses[2] == plan.estimate(MIXED, Means(), calibrate_s=0)
    assert measured == [(6e9, 1.0), (6e9, 1.0)]


def test_what_was_measured_is_not_measured_again(measured, tmp_path, monkeypatch):
    path = tmp_path / "unfinished" / "speeds.json"
    for _ in range(2):
        for job in others(2):
            plan.estimate(job, Means(), calibration=plan.Calibration(path))
    assert len(measured) == 2
    for change in ("cuda", "another card"):  # neither tells anything about the other
        with monkeypatch.context() as patch:
            patch.setattr(plan, "hardware_name", lambda device, change=change: change)
            assert plan.Calibration(path).update_s(MIXED, "cpu", 1.0) == 0.5
    assert len(measured) == 4
    path.write_text("[1]", encoding="utf-8")
    assert plan.Calibration(path).known == {}


def test_a_stop_ends_the_measurement_and_keeps_nothing_of_it(measured, tmp_path):
    path = tmp_path / "speeds.json"
    with pytest.raises(Stopped):
        plan.estimate(MIXED, Means(), calibration=plan.Calibration(path, stop=lambda: True))
    assert not path.exists()


@pytest.mark.parametrize("module", [temporal_order, characters])
def test_a_calibration_leaves_nothing_and_changes_no_result(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    job = module.jobs(module.SETTINGS["smoke"])[0]
    before = job.units[0].work(survival=Survival())
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert plan.estimate(job, Means(workers=1), calibrate_s=0.01).seconds > 0
    assert os.listdir(tmp_path) == []
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert job.units[0].work(survival=Survival()) == before


# Words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("8m", 480),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 1M30S ", 90),
        ("0.05s", 0.05),
    ],
)
def test_a_time_is_read(text, seconds):
    assert plan.seconds_of("budget", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "8", "m", "8 minutes", "-8m", "1e3s", "0s", "0h0m", "nan", "inf", "8m!", "1.2.3s"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ArgumentError, match=r"every must be a time such as .*, got ") as refused:
        plan.seconds_of("every", text)
    assert str(refused.value).endswith(f"got {text!r}")


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_hours_minutes_and_seconds_add_up(h, m, s):
    assert plan.seconds_of("budget", f"{h}h{m}m{s}s") == 3600 * h + 60 * m + s


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0, "B", "0 B"),
        (1023, "B", "1023 B"),
        (1536, "B", "1.5 KiB"),
        (16.25 * 2**20, "B", "16.2 MiB"),
        (300 * 2**30, "B", "300 GiB"),
        (999, "FLOP", "999 FLOP"),
        (3.2e12, "FLOP", "3.2 TFLOP"),
        (1.24e15, "FLOP", "1.2 PFLOP"),
        (5e21, "FLOP", "5000 EFLOP"),
    ],
)
def test_a_quantity_is_said_with_its_prefix(number, unit, text):
    assert plan.quantity(number, unit) == text
