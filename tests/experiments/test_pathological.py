"""The pathological tasks: pairing, all tasks through one path, what a network is measured by."""

import dataclasses
import functools
import math

import pytest
import torch

from rnnlib import experiments
from rnnlib.checks import ArgumentError
from rnnlib.experiments import pathological
from rnnlib.experiments.inside import inside
from rnnlib.experiments.pathological import (
    ARMS,
    SETTINGS,
    STARTS,
    TASKS,
    Cell,
    Reading,
    draw_,
    others,
    task_of,
)
from rnnlib.experiments.trials import LONGER, SCREEN, Exam, stream
from rnnlib.init import spectral_radius
from rnnlib.models import Elman
from rnnlib.tasks.synthetic import Redrawn, TemporalOrder

SMOKE = SETTINGS["smoke"]


def run(*cells, n_updates=10, workers=1, linger=0, **changes):
    reading = Reading("it", cells, n_updates=n_updates, linger=linger)
    settings = dataclasses.replace(SMOKE, readings=(reading,), **changes)
    (record,) = experiments.run("pathological", settings, workers=workers, progress=False)
    return record


@pytest.mark.parametrize("task", TASKS)
def test_every_task_goes_through_the_same_path(task):
    record = run(Cell(task, 12, 0.01, 1.0, hidden_size=6, arms=("SGD-CR",)), n_updates=5)
    (result,) = record.results
    assert result.metrics["solved"] == [False, False]
    assert all(0 <= error <= 1 for error in result.metrics["error_twice"])
    assert all(omega > 0 for omega in result.metrics["omega_first"])


def test_arms_differ_in_clipping_and_regulariser_alone():
    record = run(Cell("order", 12, 0.1, 4.0, threshold=0.05, hidden_size=8))
    by_arm = {result.condition["arm"]: result.metrics for result in record.results}
    assert list(by_arm) == list(ARMS)
    starts = [m["rho_start"] for m in by_arm.values()]
    assert starts == [starts[0]] * 4
    assert [max(m["clipped_fraction"]) > 0 for m in by_arm.values()] == [False, True, False, True]
    ends = {tuple(m["rho_end"]) for m in by_arm.values()}
    assert len(ends) == 4


def test_without_weight_the_regularised_arms_are_the_others():
    record = run(Cell("order", 12, 0.1, 0.0, threshold=0.05, hidden_size=8))
    by_arm = {result.condition["arm"]: result.metrics for result in record.results}
    assert by_arm["SGD"] == by_arm["SGD-R"]
    assert by_arm["SGD-C"] == by_arm["SGD-CR"]


def test_the_regulariser_learns_temporal_order_where_descent_does_not():
    """Small enough for a test: length 20, 20 units, three seeds."""
    cell = Cell("order", 20, 0.1, 4.0, hidden_size=20, arms=("SGD", "SGD-CR"))
    record = run(cell, n_updates=1500, seeds=(0, 1, 2), check_every=100, screen=400, test=1000)
    plain, both = (result.metrics for result in record.results)
    assert sum(both["solved"]) >= 2
    assert sum(both["solved"]) > sum(plain["solved"])
    assert all(end > 1 for end, ok in zip(both["rho_end"], both["solved"], strict=True) if ok)


def test_the_form_of_omega_is_the_cells():
    cells = [
        Cell("order", 12, 0.1, 4.0, hidden_size=8, form=form, arms=("SGD-CR",))
        for form in ("squared", "unsquared")
    ]
    one, other = (result.metrics for result in run(*cells).results)
    assert one["rho_start"] == other["rho_start"]
    assert one["omega_first"] != other["omega_first"]


def test_who_lingers_trains_on_and_is_asked_at_other_lengths(monkeypatch):
    asked = set()

    def wrong(self, model, step, replicas, n, *, purpose, task=None):
        if purpose != LONGER:
            return torch.zeros(len(replicas))
        asked.add((task.seq_len, n))
        return torch.full((len(replicas),), task.seq_len / 100)

    monkeypatch.setattr(Exam, "wrong", wrong)
    cell = Cell("order", 12, 0.1, 4.0, hidden_size=8, arms=("SGD-CR",))
    left, stayed = (run(cell, linger=n).results[0].metrics for n in (0, 5))
    assert left["updates"] == stayed["updates"] == [5, 5]
    assert left["rho_end"] != stayed["rho_end"]
    assert asked == {(18, SMOKE.longer), (24, SMOKE.longer)}
    assert left["error_longer"] == pytest.approx([0.18] * 2)
    assert left["error_twice"] == pytest.approx([0.24] * 2)


def test_without_a_linger_a_network_goes_on_until_no_answer_is_wrong(monkeypatch):
    def wrong(self, model, step, replicas, n, *, purpose, task=None):
        perfect = purpose == SCREEN and step >= 10
        return torch.full((len(replicas),), 0.0 if perfect else 0.005)

    monkeypatch.setattr(Exam, "wrong", wrong)
    cell = Cell("order", 12, 0.1, 4.0, hidden_size=8, arms=("SGD-CR",))
    stopped, perfect, stayed = (
        run(cell, n_updates=20, linger=n).results[0].metrics for n in (0, None, 5)
    )
    assert stopped["updates"] == perfect["updates"] == [5, 5]
    assert perfect["rho_end"] == stayed["rho_end"] != stopped["rho_end"]
    assert perfect["error_rate"] == [0, 0]


def test_the_radius_is_looked_at_more_often_than_exams_are_held():
    cell = Cell("order", 12, 0.01, 4.0, start="large_tanh", arms=("SGD",))
    (result,) = run(cell, check_every=10, watch_every=2).results
    assert min(result.metrics["rho_start"]) > 1
    assert result.metrics["update_of_rho_one"] == [2, 2]


@pytest.mark.parametrize("start", STARTS)
def test_each_start_has_its_units(monkeypatch, start):
    seen = []

    def spy(model, *rest):
        seen.append(model.nonlinearity)
        return inside(model, *rest)

    monkeypatch.setattr(pathological, "inside", spy)
    run(Cell("order", 12, 0.01, 4.0, start=start, hidden_size=15, arms=("SGD",)), n_updates=5)
    assert seen == ["logistic" if start == "sigmoid" else "tanh"]


def test_padding_does_not_reach_the_training_loss(monkeypatch):
    """Of a task that is read at every step; a network among longer ones trains as it does alone."""
    cell = Cell("memorisation_5bit", 10, 0.1, 2.0, hidden_size=8, shortest=10)
    (both,) = (result.metrics for result in run(cell).results if result.condition["arm"] == "SGD")
    monkeypatch.setattr(pathological, "SEEDS_A_STACK", 1)
    (apart,) = (result.metrics for result in run(cell).results if result.condition["arm"] == "SGD")
    for name in ("mean_norm", "max_norm", "rho_end"):
        assert both[name] == pytest.approx(apart[name], rel=1e-4), name


def test_processes_and_stacks_change_nothing():
    cells = (
        Cell("order", 12, 0.1, 4.0, hidden_size=8),
        Cell("addition", 14, 0.01, 0.5, hidden_size=8, shortest=10),
    )
    assert run(*cells).same_result(run(*cells, workers=2))


def test_starts():
    for start, (radius, norm) in {
        "sigmoid": (0.0747, 0.1364),
        "basic_tanh": (0.747, 1.364),
        "large_tanh": (2.24, 4.09),
        "smart_tanh": (0.95, 1.80),
    }.items():
        model = Elman(6, 50, 4, replicas=40)
        draw_(model, start, [stream(seed, 0) for seed in range(40)])
        rho = spectral_radius(model.W_rec.detach())
        assert rho.mean().item() == pytest.approx(radius, rel=0.03)
        sigma = torch.linalg.matrix_norm(model.W_rec.detach(), ord=2)
        assert sigma.mean().item() == pytest.approx(norm, rel=0.05)
        std = {"basic_tanh": 0.1, "large_tanh": 0.3}.get(start, 0.01)
        for weights in (model.W_in, model.W_out):
            assert weights.std().item() == pytest.approx(std, rel=0.05)
        assert not model.b.any()
    assert ((model.W_rec != 0).sum(2) == 15).all()


def test_inside_an_orthogonal_linear_network_nothing_is_lost():
    model = Elman(6, 8, 4, replicas=2, nonlinearity="linear").draw_(0.1, [stream(0, 0)] * 2)
    with torch.no_grad():
        model.W_rec.copy_(torch.linalg.qr(torch.randn(2, 8, 8)).Q)
    found = inside(model, TemporalOrder(20), [stream(0, 1)] * 2)
    for name in ("ratio_low", "ratio_median", "ratio_high", "singular_low", "product_norm"):
        assert found[name].tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_inside_a_network_does_not_depend_on_its_neighbours():
    task = Redrawn(TemporalOrder(20), 12, 30)
    model = Elman(6, 8, 4, replicas=4).draw_(0.4, [stream(seed, 0) for seed in range(4)])
    together = inside(model, task, [stream(seed, 1) for seed in range(4)])
    alone = inside(model.select(torch.tensor([2])), task, [stream(2, 1)])
    for name, values in together.items():
        assert values[2].item() == pytest.approx(alone[name].item(), rel=1e-5), name


def test_lengths_that_nobody_runs_are_named():
    settings = pathological.SETTINGS["reduced"]
    with pytest.raises(ArgumentError, match=r"length must be one of 10, 20, .*, got '11'"):
        settings.only("order").at(11)
    found = {reading.name for reading in settings.at(10).readings}
    assert found == {"order", "figure_7", "permutation", "memorisation"}


def test_inside_a_growing_linear_network_products_reach_back_to_the_first_place():
    """Ten places in 20 steps: the second is two steps after the start, 18 before the end."""
    model = Elman(6, 8, 4, nonlinearity="linear").draw_(0.1, [stream(0, 0)])
    with torch.no_grad():
        model.W_rec[0] = 1.1 * torch.linalg.qr(torch.randn(8, 8)).Q
    found = inside(model, TemporalOrder(20), [stream(0, 1)])
    assert found["product_norm"].item() == pytest.approx(1.1**18, rel=1e-4)


def test_inside_a_contracting_network_the_state_comes_home():
    model = Elman(6, 8, 4).draw_(0.1, [stream(0, 0)])
    found = inside(model, TemporalOrder(20), [stream(0, 1)])
    last = model.states(TemporalOrder(20).sample(20, generator=stream(0, 1))[0][None], last=True)
    assert found["to_attractor"].item() == pytest.approx(last.norm(dim=2).mean().item(), rel=1e-4)
    assert found["ratio_high"] < 1
    assert found["singular_high"] < 1


def bistable():
    """Units that hold one of two states, driven hard; the matrix is far from normal."""
    model = Elman(6, 5, 4).draw_(1.0, [stream(3, 0)])
    with torch.no_grad():
        model.W_rec[0] = 1.4 * torch.eye(5) + 0.8 * torch.ones(5, 5).triu(1)
    return model


def forgetful():
    """The error turns from a direction that dies at once to one that fades, and vanishes."""
    model = Elman(6, 5, 4).draw_(0.3, [stream(4, 0)])
    with torch.no_grad():
        model.W_rec[0] = torch.diag(torch.tensor([0.02, 0.05, 0.1, 0.15, 0.2]))
        model.W_rec[0, 0] += 0.1
    return model


@pytest.mark.parametrize("make", [bistable, forgetful])
def test_inside_is_what_automatic_differentiation_finds(make):
    model, n, T = make(), 20, 20
    found = inside(model, TemporalOrder(T), [stream(0, 1)])
    symbols, targets = TemporalOrder(T).sample(n, generator=stream(0, 1))
    weights = (model.W_rec, model.W_in, model.b, model.W_out, model.b_out)
    W, U, b, V, c = (p.detach()[0].double() for p in weights)

    def step(h, drive):
        return torch.tanh(W @ h + drive + b)

    def loss(h, target):
        return torch.nn.functional.cross_entropy(V @ h + c, target)

    ratios, singular, norms, distances = [], [], [], []
    for s in range(n):
        h, J = torch.zeros(5, dtype=torch.float64), []
        for drive in U.mT[symbols[s]]:
            J.append(torch.func.jacrev(step)(h, drive))
            h = step(h, drive)
        delta = torch.func.grad(loss)(h, targets[s])
        size = [delta.norm()]
        for jacobian in reversed(J):
            delta = delta @ jacobian
            size.append(delta.norm())
        size = torch.stack(size)  # from the last step back
        alive = size[:-1] > 1e-10 * size[:-1].max()
        ratios.append((size[1:] / size[:-1])[alive])
        rest = h
        for _ in range(500):
            rest = step(rest, 0.0)
        distances.append((h - rest).norm())
        if s < 2:
            places = torch.linspace(0, T - 1, 10).long().tolist()
            singular.append(torch.linalg.svdvals(torch.stack([J[k] for k in places])))
            for k in places[1:]:  # dh_T/dh_k
                chain = functools.reduce(torch.matmul, reversed(J[k:]))
                norms.append(torch.linalg.matrix_norm(chain, ord=2))
    if make is forgetful:
        assert sum(map(len, ratios)) < n * T
    spread = torch.cat(singular)
    low, median, high = torch.cat(ratios).quantile(torch.tensor([0.05, 0.5, 0.95]).double())
    for name, expected in {
        "ratio_low": low,
        "ratio_median": median,
        "ratio_high": high,
        "singular_low": spread[:, -1].median(),
        "singular_median": spread[:, 2].median(),
        "singular_high": spread[:, 0].median(),
        "product_norm": torch.stack(norms).max(),
        "to_attractor": torch.stack(distances).mean(),
    }.items():
        assert found[name].item() == pytest.approx(float(expected), rel=1e-3), name


def test_the_scale_of_its_errors_hides_no_network():
    """What has vanished is told by a sequence's own largest error."""
    model = bistable()
    both = Elman(6, 5, 4, replicas=2)
    with torch.no_grad():
        for stack, one in zip(both.parameters(), model.parameters(), strict=True):
            stack.copy_(one.expand_as(stack))
        both.W_out[1] *= 1e-14
    found = inside(both, TemporalOrder(20), [stream(0, 1)] * 2)
    assert all(values.isfinite().all() for values in found.values())


def test_what_is_not_finite_is_told_as_such():
    model = Elman(6, 8, 4, replicas=2).draw_(0.1, [stream(0, 0)] * 2)
    with torch.no_grad():
        model.W_out[0] = math.nan
    found = inside(model, TemporalOrder(20), [stream(0, 1)] * 2)
    assert all(value[0].isnan() for value in found.values())
    assert all(value[1].isfinite() for value in found.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "ordr"}, "task must be one of .*order.*got 'ordr'"),
        ({"start": "tanh"}, "start must be one of .*basic_tanh.*got 'tanh'"),
        ({"arms": ("SGD-X",)}, "arm must be one of .*SGD-CR.*got 'SGD-X'"),
        ({"arms": ("SGD", "SGD")}, "arms must hold at least one value and none twice"),
        ({"alpha": -1.0}, "alpha must hold finite numbers >= 0, got -1.0"),
        ({"threshold": 0.0}, "threshold must be"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"seq_len": 9}, "seq_len must be an integer >= 10, got 9"),
        ({"shortest": 20}, "shortest must be at most the longest length, 12, got 20"),
        ({"form": "cubed"}, "form must be one of"),
        ({"start": "smart_tanh", "hidden_size": 10}, "hidden_size must be an integer >= 15"),
    ],
)
def test_bad_cells_are_refused_before_anything_is_run(change, message):
    cell = dataclasses.replace(Cell("order", 12, 0.1, 4.0), **change)
    reading = Reading("it", (cell,), n_updates=10)
    with pytest.raises(ArgumentError, match=message):
        pathological.jobs(dataclasses.replace(SMOKE, readings=(reading,)))


@pytest.mark.parametrize("scale", SETTINGS)
def test_presets_are_accepted(scale):
    assert pathological.jobs(SETTINGS[scale])
    starts = {c.start for r in SETTINGS["paper"].readings for c in r.cells}
    assert starts == set(STARTS) - {"large_tanh"}


def test_readings_and_lengths_can_be_picked():
    reduced = SETTINGS["reduced"]
    (reading,) = reduced.only("order").at(10, 30).readings
    assert reading.name == "order"
    assert [cell.seq_len for cell in reading.cells] == [10, 30]
    with pytest.raises(ArgumentError, match=r"reading must be one of .*order.*got 'ordr'"):
        reduced.only("ordr")


@pytest.mark.parametrize(("task", "longest"), [("addition", 199), ("order", 199)])
def test_redrawn_lengths_end_where_the_paper_ends(task, longest):
    found = task_of(Cell(task, longest, 0.01, 1.0, shortest=50))
    assert found.nominal_length == longest
    lengths = found.draw_lengths(4000, stream(0, 0))
    most = longest + (longest // 10 - 1 if task == "addition" else 0)
    assert 50 <= lengths.min() <= 55
    assert most - 5 <= lengths.max() <= most


def test_a_single_length_may_be_redrawn():
    found = task_of(Cell("order", 12, 0.01, 1.0, shortest=12))
    assert found.draw_lengths(5, stream(0, 0)).tolist() == [12] * 5


def test_what_else_a_network_is_asked():
    fixed = others(TASKS["order"](20))
    assert {name: task.nominal_length for name, task in fixed.items()} == {
        "longer": 30,
        "twice": 40,
    }
    one_model = others(task_of(Cell("addition", 40, 0.01, 1.0, shortest=20)))
    assert {name: task.nominal_length for name, task in one_model.items()} == {
        "longer": 60,
        "twice": 80,
        "shortest": 20,
        "longest": 40,
        "strict": 40,
    }
    assert one_model["strict"].criterion == "absolute"
    assert others(TASKS["memorisation_5bit"](10))["twice"].delay == 20
