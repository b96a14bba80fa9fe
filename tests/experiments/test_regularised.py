"""Tables 1 and 2 of P13: the supplement's numbers, paired arms, what each arm is."""

import dataclasses
import math

import pytest
import torch

from rnnlib import experiments
from rnnlib.checks import ArgumentError
from rnnlib.experiments import arms as algorithms
from rnnlib.experiments import regularised_characters as characters
from rnnlib.experiments import regularised_music as music
from rnnlib.experiments.characters import pieces as parts_of
from rnnlib.experiments.jobs import STACK_BYTES
from rnnlib.tasks import music as rolls
from rnnlib.tasks import text
from rnnlib.tasks.data import available

METRICS = {
    *("best_epoch", "diverged", "mean_norm", "max_norm", "clipped_fraction"),
    *("omega_first", "omega_last", "opposed_fraction", "halvings"),
}


def smoke(module, reading=None, **changes):
    """The smoke preset with its only reading, or its other settings, changed."""
    settings = module.SETTINGS["smoke"]
    changed = dataclasses.replace(settings.readings[0], **(reading or {}))
    return dataclasses.replace(settings, readings=(changed,), **changes)


def run(module, settings, workers=1):
    name = module.__name__.rpartition(".")[2]
    (record,) = experiments.run(name, settings, workers=workers, progress=False)
    return record


def without_weight(module, **changes):
    """Settings in which no arm is regularised and none ever clips."""
    if module is music:
        return smoke(module, {"alpha": 0.0}, threshold=1e9, **changes)
    tasks = tuple(dataclasses.replace(task, alpha=0.0) for task in characters.TASKS)
    return smoke(module, threshold=1e9, tasks=tasks, **changes)


@pytest.mark.parametrize("module", [music, characters])
def test_records_say_which_arm_and_what_happened(module):
    settings = module.SETTINGS["smoke"]
    record = run(module, settings)
    unit = "nll" if module is music else "bits"
    scores = {f"{fold}_{unit}" for fold in ("train", "valid", "test")}
    assert record.results
    for result in record.results:
        assert set(result.metrics) == METRICS | scores
        for name, values in result.metrics.items():
            assert len(values) == len(settings.seeds), name
            assert all(math.isfinite(v) for v in values), name
        plain, clipped = result.condition["arm"] == "SGD", "-C" in result.condition["arm"]
        assert plain != clipped
        assert (result.condition["threshold"] is None) == plain
        assert (result.condition["alpha"] > 0) == ("-CR" in result.condition["arm"])
        assert result.condition["dataset"] == record.variant


@pytest.mark.parametrize("module", [music, characters])
def test_arms_share_their_start_and_their_data(module):
    """Without weight and threshold all arms of a task and rate are one, to the last bit."""
    record = run(module, without_weight(module))
    seen = {}
    for result in record.results:
        key = (result.condition.get("ahead"), result.condition["learning_rate"])
        assert seen.setdefault(key, result.metrics) == result.metrics
    assert len(seen) == (1 if module is music else 5)
    assert len({tuple(metrics["train_" + unit(module)]) for metrics in seen.values()}) == len(seen)


def unit(module):
    return "nll" if module is music else "bits"


@pytest.mark.parametrize("module", [music, characters])
def test_arms_and_seeds_differ(module):
    settings = dataclasses.replace(module.SETTINGS["smoke"], threshold=1.0)
    if module is characters:
        tasks = tuple(dataclasses.replace(task, alpha=20.0) for task in characters.TASKS)
        settings = dataclasses.replace(settings, tasks=tasks)
    record = run(module, settings)
    scores = [tuple(result.metrics["test_" + unit(module)]) for result in record.results]
    assert len(set(scores)) == len(scores)
    assert all(len(set(row)) == len(row) for row in scores)


def test_a_constant_alpha_is_the_same_for_one_epoch_and_another_afterwards():
    for n_epochs, same in ((1, True), (2, False)):
        record = run(music, smoke(music, {"n_epochs": n_epochs}))
        decaying, constant = record.results[-2:]
        assert [r.condition["arm"] for r in (decaying, constant)] == ["SGD-CR", "SGD-CR-constant"]
        # Stacks of other arms may round otherwise.
        close = constant.metrics["omega_last"] == pytest.approx(
            decaying.metrics["omega_last"], rel=1e-6
        )
        assert close is same


def test_the_arm_of_the_sum_weighs_every_step_of_a_chunk():
    """alpha times a sum over 200 steps is 200 alpha times their mean."""
    (task,) = [task for task in characters.TASKS if task.ahead == 5]
    summed = run(characters, smoke(characters, tasks=(task,)))
    heavier = dataclasses.replace(task, alpha=200 * task.alpha)
    mean = run(characters, smoke(characters, tasks=(heavier,)))
    for one, other in zip(
        (r for r in summed.results if r.condition["arm"] == "SGD-CR-sum"),
        (r for r in mean.results if r.condition["arm"] == "SGD-CR"),
        strict=True,
    ):
        for name, values in one.metrics.items():
            assert values == pytest.approx(other.metrics[name], rel=1e-6), name


def test_an_untrained_network_scores_what_it_must():
    """With weights of nearly zero each note costs ln 2, each character ln(alphabet)."""
    record = run(music, smoke(music, {"learning_rate": 1e-12}, init_std=1e-6))
    for result in record.results:
        assert result.metrics["test_nll"] == pytest.approx([88 * math.log(2)] * 2, rel=1e-4)
    tasks = (dataclasses.replace(characters.TASKS[1], rates=(1e-12,)),)
    record = run(characters, smoke(characters, tasks=tasks, init_std=1e-6))
    expected = math.log2(len(text.load("pydoc-topics").alphabet))
    for result in record.results:
        assert result.metrics["test_bits"] == pytest.approx([expected] * 2, rel=1e-4)


@pytest.mark.parametrize("module", [music, characters])
def test_processes_and_stacks_do_not_change_the_result(module, monkeypatch):
    settings = module.SETTINGS["smoke"]
    monkeypatch.setattr(algorithms, "ARMS_A_STACK", 2)
    assert run(module, settings, workers=1).same_result(run(module, settings, workers=2))


def test_an_arm_that_diverges_leaves_the_others_alone():
    record = run(music, smoke(music, {"learning_rate": 1e38}, threshold=1e-37))
    plain, clipped, *_ = (result.metrics for result in record.results)
    assert all(plain["diverged"])
    assert all(math.isnan(value) for value in plain["test_nll"])
    assert not any(clipped["diverged"])
    assert all(math.isfinite(value) for value in clipped["test_nll"])


def test_the_papers_scale_has_the_supplements_numbers():
    piano, nottingham, muse = music.SETTINGS["paper"].readings
    assert dataclasses.replace(piano, name="nottingham") == nottingham
    for reading, numbers in ((piano, (300, 1.0, 0.5)), (muse, (400, 0.5, 0.1))):
        assert (reading.hidden_size, reading.learning_rate, reading.alpha) == numbers
        assert reading.n_songs == 0
    assert (music.SETTINGS["paper"].threshold, music.SETTINGS["paper"].chunk) == (8.0, 200)
    settings = characters.SETTINGS["paper"]
    assert (settings.threshold, settings.chunk) == (45.0, 200)
    assert settings.readings == (characters.Reading("ptb-chars", 20, hidden_size=500),)
    told = {
        (1, "SGD"): (0.001, 0.0),
        (1, "SGD-C"): (0.01, 0.0),
        (1, "SGD-CR"): (0.05, 0.01),
        (5, "SGD-C"): (0.1, 0.0),
        (5, "SGD-CR"): (0.05, 0.05),
    }
    if not available("ptb-chars"):
        pytest.skip("ptb-chars is not here")
    (job,) = characters.jobs(settings)
    run_with = {
        (c["ahead"], c["arm"], c["learning_rate"], c["alpha"]): c["threshold"]
        for c in job.conditions
    }
    for (ahead, arm), (rate, alpha) in told.items():
        assert run_with[ahead, arm, rate, alpha] == (None if arm == "SGD" else 45.0)
        assert characters.PAPER_RATES[ahead][arm] == rate
    assert [task.schedule for task in settings.tasks] == ["constant", "1/t"]


@pytest.mark.parametrize(
    ("module", "bias", "reduction", "halve"),
    [(music, True, "mean", True), (characters, False, "sum", False)],
)
def test_networks_and_losses_are_those_of_the_supplement(
    monkeypatch, module, bias, reduction, halve
):
    told, fit = [], algorithms.fit

    def spy(model, loss, **options):
        told.append((model.nonlinearity, model.b is not None, model.b_out is not None))
        told.append((options["reduction"], options["halve"], options["chunk"]))
        return fit(model, loss, **options)

    monkeypatch.setattr(algorithms, "fit", spy)
    run(module, module.SETTINGS["smoke"])
    assert set(told) == {("logistic", bias, bias), (reduction, halve, 200)}


def courses(module):
    (job,) = module.jobs(module.SETTINGS["smoke"])
    return {unit.work.course for unit in job.units}


def test_each_fold_is_that_of_the_data():
    (course,) = courses(music)
    folds = rolls.load("bach-chorales")
    for found, songs in zip(course.data(), (folds.train, folds.valid, folds.test), strict=True):
        assert len(found) == 3  # n_songs
        for piece, song in zip(found, songs, strict=False):
            assert torch.equal(piece.targets, torch.from_numpy(song).float())

    corpus = text.load("pydoc-topics")
    asked = ((corpus.train, 900, 1), (corpus.valid, 400, 20), (corpus.test, 400, 20))
    assert {course.data.ahead for course in courses(characters)} == {1, 5}
    for course in courses(characters):
        for found, (ids, limit, parts) in zip(course.data(), asked, strict=True):
            symbols = torch.as_tensor(ids[:limit]).long()
            expected = parts_of(symbols, parts, ahead=course.data.ahead)
            assert len(found) == parts
            for piece, other in zip(found, expected, strict=True):
                assert torch.equal(piece.inputs, other.inputs)
                assert torch.equal(piece.targets, other.targets)


def test_every_rate_is_run_by_every_arm():
    (job,) = characters.jobs(characters.SETTINGS["smoke"])
    rates = {}
    for c in job.conditions:
        rates.setdefault((c["ahead"], c["arm"]), set()).add(c["learning_rate"])
    assert len(rates) == 8
    for (ahead, _), found in rates.items():
        assert found == set(characters.PAPER_RATES[ahead].values())


@pytest.mark.parametrize("module", [music, characters])
def test_memory_splits_the_stacks_of_an_accelerator(module):
    usual, wide = (
        module.jobs(smoke(module, {"hidden_size": size}, seeds=tuple(range(20))), "cuda")[0]
        for size in (100, 4000)
    )
    assert len(usual.units) == 2  # one for each schedule
    assert len(wide.units) > 2
    assert all(unit.n_bytes <= STACK_BYTES for unit in (*usual.units, *wide.units))


@pytest.mark.parametrize(
    ("module", "reading", "changes", "message"),
    [
        (music, {"learning_rate": math.nan}, {}, "learning_rate must be a finite number > 0"),
        (music, {"alpha": -1.0}, {}, "alpha must hold finite numbers >= 0, got -1.0"),
        (music, {"hidden_size": 0}, {}, "hidden_size must be an integer >= 1, got 0"),
        (music, {"n_epochs": 0}, {}, "n_epochs must be an integer >= 1, got 0"),
        (music, {"n_songs": -1}, {}, "n_songs must be an integer >= 0, got -1"),
        (music, {"name": "notingham"}, {}, "did you mean 'nottingham'"),
        (music, {}, {"threshold": 0.0}, "threshold must be a finite number > 0, got 0.0"),
        (music, {}, {"init_std": 0.0}, "init_std must be a finite number > 0, got 0.0"),
        (music, {}, {"chunk": 0}, "chunk must be an integer >= 1, got 0"),
        (music, {}, {"form": "cubed"}, "form must be one of"),
        (music, {}, {"seeds": ()}, "seeds must hold at least one value and none twice"),
        (characters, {"name": "ptb-char"}, {}, "did you mean 'ptb-chars'"),
        (characters, {"n_eval": 119}, {}, r"n_eval must be 0 \(all\) or at least 120, got 119"),
        (characters, {"n_characters": 5}, {}, r"n_characters must be 0 .* at least 6, got 5"),
        (characters, {}, {"threshold": -1.0}, "threshold must be a finite number > 0, got -1.0"),
        (characters, {}, {"chunk": 0}, "chunk must be an integer >= 1, got 0"),
        (characters, {}, {"n_streams": 0}, "n_streams must be an integer >= 1, got 0"),
        (characters, {}, {"tasks": ()}, "tasks must hold at least one value and none twice"),
        (characters, {}, {"seeds": (2**31,)}, r"seed must be an integer below 2\^31"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(module, reading, changes, message):
    with pytest.raises(ArgumentError, match=message):
        module.jobs(smoke(module, reading, **changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ahead": 0}, "ahead must be an integer >= 1, got 0"),
        ({"rates": ()}, "rates must hold at least one value and none twice"),
        ({"rates": (0.1, -0.1)}, "learning_rate must be a finite number > 0, got -0.1"),
        ({"alpha": math.inf}, "alpha must hold finite numbers >= 0, got inf"),
        ({"schedule": "2/t"}, "schedule must be one of constant, 1/t, got '2/t'"),
    ],
)
def test_bad_tasks_are_refused_before_anything_runs(change, message):
    task = dataclasses.replace(characters.TASKS[0], **change)
    with pytest.raises(ArgumentError, match=message):
        characters.jobs(smoke(characters, tasks=(task,)))


@pytest.mark.parametrize("module", [music, characters])
def test_a_reading_is_chosen_by_its_name(module):
    settings = module.SETTINGS["reduced"]
    first = settings.readings[0]
    assert settings.only(first.name).readings == (first,)
    with pytest.raises(ArgumentError, match="reading must be one of"):
        settings.only("none")
    twice = dataclasses.replace(settings, readings=(first, first))
    with pytest.raises(ArgumentError, match=r"readings must hold .* none twice"):
        module.jobs(twice)
