"""Every job of the papers' scale takes a few updates, by the same path as the real run."""

import dataclasses
from typing import Any

import pytest

from rnnlib import experiments, records_import
from rnnlib.experiments import runner
from rnnlib.experiments.jobs import STACK_BYTES
from rnnlib.experiments.runner import Means
from rnnlib.overrides import override, selections
from rnnlib.records import read
from rnnlib.tasks.data import DATASETS, available

SMALL = {
    "seeds": (0, 1),
    "hidden_size": 6,
    "n_epochs": 1,
    "n_songs": 2,
    "n_characters": 2000,
    "n_eval": 500,
    "check_every": 2,
    "watch_every": 1,
    "screen": 20,
    "test": 30,
    "longer": 10,
}
"""What makes a run small and changes nothing else: no length, rate, threshold or start."""


def paper_jobs() -> list[tuple[str, str]]:
    found = []
    for name in experiments.names():
        preset = experiments.load(name).SETTINGS["paper"]
        for field in selections(preset):
            found += [(name, getattr(part, "name", part)) for part in getattr(preset, field)]
    return found


def paper(name: str, variant: str) -> Any:
    """The preset with one of its records alone."""
    preset = experiments.load(name).SETTINGS["paper"]
    (field,) = selections(preset)
    return override(preset, {field: variant})


def small(settings: Any) -> Any:
    """The settings with sizes and counts at their least."""
    kept = {f.name for f in dataclasses.fields(settings)}
    settings = dataclasses.replace(settings, **{k: v for k, v in SMALL.items() if k in kept})
    if "readings" not in kept:
        return settings
    readings: list[Any] = []
    for reading in settings.readings:
        if not hasattr(reading, "cells"):
            own = {f.name for f in dataclasses.fields(reading)}
            sizes = {k: v for k, v in SMALL.items() if k in own}
            readings.append(dataclasses.replace(reading, **sizes))
            continue
        cells = [
            dataclasses.replace(c, hidden_size=16) if hasattr(c, "hidden_size") else c
            for c in reading.cells
        ]
        readings.append(dataclasses.replace(reading, cells=tuple(cells), n_updates=3, batch=2))
    return dataclasses.replace(settings, readings=tuple(readings))


@pytest.mark.parametrize(("name", "variant"), paper_jobs())
def test_a_job_of_the_papers_scale_runs(tmp_path, name, variant):
    if variant in DATASETS and not available(variant):
        pytest.skip(f"{variant} is not here")
    (job,) = experiments.load(name).jobs(small(paper(name, variant)), "cpu")
    record = runner.run(job, tmp_path, Means(workers=1, progress=False))
    assert read(tmp_path / f"{job.name}.json").same_result(record)
    assert job.scale == "paper"
    assert job.reduced == ""
    with pytest.raises(Exception, match="must be"):  # it is not the paper's, and cannot pass for it
        records_import.check_belongs(record, allow_dirty=True)


@pytest.mark.parametrize(("name", "variant"), paper_jobs())
def test_its_stacks_fit_a_small_accelerator(name, variant):
    if variant in DATASETS and not available(variant):
        pytest.skip(f"{variant} is not here")
    (job,) = experiments.load(name).jobs(paper(name, variant), "cuda")
    for unit in job.units:
        assert unit.n_bytes <= STACK_BYTES
