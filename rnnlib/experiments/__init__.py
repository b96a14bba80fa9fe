"""Experiments: one module each, with settings at three scales and the jobs that they come to.

A module offers ``TITLE``, ``SETTINGS`` (a frozen dataclass for each scale) and
``jobs(settings, device) -> list[Job]``, which checks its settings at once; each job becomes one
record. Checkpoints, budgets, processes, clusters and estimates follow from that. Adding an
experiment is adding its name here.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnlib.checks import one_of
from rnnlib.experiments import runner
from rnnlib.records import Record

_NAMES = (
    *("temporal_order", "music", "characters"),
    *("pathological", "regularised_music", "regularised_characters"),
)


def names() -> list[str]:
    """The experiments that exist."""
    return list(_NAMES)


def load(name: str) -> ModuleType:
    """Import an experiment by name.

    Raises:
        ArgumentError: for a name that is not known, with the nearest one.
    """
    one_of("experiment", name, _NAMES)
    return importlib.import_module(f"rnnlib.experiments.{name}")


def run(
    experiment: str, settings: Any, *, device: str = "cpu", workers: int = 0, progress: bool = True
) -> Iterator[Record]:
    """Run an experiment here and now and keep nothing on disk: what a chapter does.

    ``rnnlib run`` does the same with checkpoints and leaves the records in a folder.

    Args:
        experiment: one of `names`.
        settings: one of the module's ``SETTINGS``, or a changed copy.
        workers: processes at a time; 0: one a core.

    Yields:
        each record as it is complete.

    Raises:
        ArgumentError: for settings outside their range, before anything is run.
    """
    jobs = load(experiment).jobs(settings, device)
    means = runner.Means(device=device, workers=workers, progress=progress, every=float("inf"))
    return _run(jobs, means)


def _run(jobs: list[Any], means: runner.Means) -> Iterator[Record]:
    with tempfile.TemporaryDirectory(prefix="rnnlib-") as folder:
        for job in jobs:
            yield runner.run(job, Path(folder), means)
