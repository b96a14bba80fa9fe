"""Experiments: one module each, with settings at three scales and a function that runs them.

A module offers ``TITLE``, ``SETTINGS`` (a frozen dataclass for each scale) and
``run(settings, *, device, progress) -> Iterator[Record]``, which checks its settings at once and
yields each record when it is complete. Adding an experiment is adding its name here.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from rnnlib.checks import one_of

_NAMES = ("temporal_order", "music", "characters")


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
