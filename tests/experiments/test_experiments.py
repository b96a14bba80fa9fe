"""Every experiment: three scales, a smoke run that is complete and repeatable, clear refusals."""

import dataclasses
import math

import pytest

from rnnlib import experiments
from rnnlib.checks import ArgumentError
from rnnlib.experiments import arms, characters, music
from rnnlib.records import SCALES


def run(module, settings, workers=1):
    """The only record of an experiment."""
    name = module.__name__.rpartition(".")[2]
    (record,) = experiments.run(name, settings, workers=workers, progress=False)
    return record


@pytest.mark.parametrize("name", experiments.names())
def test_settings_exist_at_each_scale_and_say_what_was_reduced(name):
    module = experiments.load(name)
    assert module.TITLE
    assert tuple(module.SETTINGS) == SCALES
    for scale, settings in module.SETTINGS.items():
        assert settings.scale == scale
        assert bool(settings.reduced) == (scale != "paper")


@pytest.mark.parametrize("name", experiments.names())
def test_smoke_runs_are_complete_and_repeatable(name):
    settings = experiments.load(name).SETTINGS["smoke"]
    first = list(experiments.run(name, settings, workers=1, progress=False))
    second = list(experiments.run(name, settings, workers=1, progress=False))
    assert first
    for one, two in zip(first, second, strict=True):
        assert one.experiment == name
        assert one.seeds == list(settings.seeds)
        assert one.same_result(two)


@pytest.mark.parametrize("module", [music, characters])
def test_arms_share_their_start_and_data(module, monkeypatch):
    """An arm whose threshold is never reached is the plain arm, to the last bit."""
    settings = module.SETTINGS["smoke"]
    if module is music:
        settings = dataclasses.replace(settings, thresholds=(None, 1e9))
    else:
        monkeypatch.setitem(characters.THRESHOLDS, "pydoc-topics", 1e9)
    record = run(module, settings)
    for plain, never in zip(
        record.select(threshold=None), record.select(threshold=1e9), strict=True
    ):
        assert plain.metrics == never.metrics


@pytest.mark.parametrize("module", [music, characters])
def test_seeds_differ_and_clipping_acts(module):
    settings = module.SETTINGS["smoke"]
    record = run(module, settings)
    unit = "nll" if module is music else "bits"
    plain = record.select(threshold=None)[0].metrics
    assert len(set(plain[f"test_{unit}"])) == len(settings.seeds)
    clipped = next(r for r in record.results if r.condition["threshold"] is not None).metrics
    assert plain["mean_norm"] != clipped["mean_norm"]
    assert all(math.isfinite(v) for v in clipped[f"test_{unit}"])


def test_an_untrained_network_scores_what_it_must():
    """With weights of nearly zero each note costs ln 2, each character ln(alphabet)."""
    tiny = {"init_std": 1e-6, "n_epochs": 1}
    record = run(music, dataclasses.replace(music.SETTINGS["smoke"], learning_rate=1e-12, **tiny))
    for value in record.results[0].metrics["test_nll"]:
        assert value == pytest.approx(88 * math.log(2), rel=1e-4)
    record = run(
        characters,
        dataclasses.replace(characters.SETTINGS["smoke"], learning_rates=(1e-12,), **tiny),
    )
    from rnnlib.tasks import text

    expected = math.log2(len(text.load("pydoc-topics").alphabet))
    for value in record.results[0].metrics["test_bits"]:
        assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("module", [music, characters])
def test_processes_do_not_change_the_result(module, monkeypatch):
    settings = module.SETTINGS["smoke"]
    monkeypatch.setattr(arms, "ARMS_A_STACK", 1)  # as many stacks as there are runs
    assert run(module, settings, workers=1).same_result(run(module, settings, workers=2))


@pytest.mark.parametrize(
    ("module", "change", "message"),
    [
        (music, {"learning_rate": math.nan}, "learning_rate must be a finite number > 0, got nan"),
        (music, {"hidden_size": 0}, "hidden_size must be an integer >= 1, got 0"),
        (music, {"datasets": ("notingham",)}, "did you mean 'nottingham'"),
        (characters, {"learning_rates": (0.1, -1.0)}, "learning_rate must be a finite number > 0"),
        (characters, {"hidden_size": 0}, "hidden_size must be an integer >= 1, got 0"),
        (characters, {"datasets": ("ptb-char",)}, "did you mean 'ptb-chars'"),
        (music, {"seeds": (2**31,)}, r"seed must be an integer below 2\^31, got 2147483648"),
        (characters, {"seeds": (-1,)}, "seed must be an integer >= 0, got -1"),
        (music, {"seeds": ()}, "seeds must hold at least one value and none twice, got"),
        (music, {"thresholds": (None, -1.0)}, "threshold must be a finite number > 0, got -1.0"),
        (music, {"n_songs": -1}, "n_songs must be an integer >= 0, got -1"),
        (music, {"chunk": 0}, "chunk must be an integer >= 1, got 0"),
        (characters, {"learning_rates": (0.1, 0.1)}, "learning_rates must hold .* none twice"),
        (characters, {"n_streams": 0}, "n_streams must be an integer >= 1, got 0"),
        (characters, {"n_eval": 39}, r"n_eval must be 0 \(all\) or at least 40, got 39"),
        (characters, {"n_characters": 1}, r"n_characters must be 0 \(all\) or at least 2, got 1"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(module, change, message):
    settings = dataclasses.replace(module.SETTINGS["smoke"], **change)
    with pytest.raises(ArgumentError, match=message):
        module.jobs(settings)


def test_unknown_experiment_is_named():
    with pytest.raises(ArgumentError, match="did you mean 'music'"):
        experiments.load("musik")
