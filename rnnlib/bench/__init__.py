"""The benchmark: the kernels against what one would use without them, checked before it is timed.

`run` measures and returns records; `rnnlib bench` writes them; `summary` and `report` read them.
Nothing here decides whether a test passes: a time belongs to a machine and a moment.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnlib.bench.machine import Machine, check_threads, pinned
from rnnlib.bench.measure import Problem, compare, true_results, worst_error
from rnnlib.bench.report import text_table
from rnnlib.bench.summary import MACHINE, OPERATIONS, rows
from rnnlib.checks import ArgumentError, one_of
from rnnlib.kernels import backends
from rnnlib.records import Record, Records, Result, make

FOLDER = "bench"
"""The folder below the book's records: a time is no evidence for a claim of a paper."""

_VERSIONED = ("numba", "triton", "jax", "jaxlib", "accelerated-scan", "fla-core")


@dataclass(frozen=True)
class Preset:
    """How much is measured: ``budget_s`` of repeats for each case, and the record's scale."""

    budget_s: float
    scale: str
    reduced: str


PRESETS = {
    "full": Preset(2.0, "reduced", "sizes that one core goes through in minutes"),
    "quick": Preset(0.5, "smoke", "main sizes only, few repeats"),
    "smoke": Preset(0.0, "smoke", "small sizes, to see that it runs"),
}


def run(
    operation: str = "all",
    *,
    preset: str = "full",
    device: str = "cpu",
    threads: int = 1,
    backend: str = "all",
    with_compile: bool = False,
    progress: bool = False,
) -> Iterator[Record]:
    """Check the arguments, then measure; yield the record of each operation when it is complete.

    Args:
        operation: "elman", "scan", "orbit" or "all".
        preset: "full", "quick" (main sizes only) or "smoke" (for tests).
        device: "cpu" or a CUDA device.
        threads: cores to use; the process is held to them.
        backend: which path of ours is measured; "all" are those that work on the device.
        with_compile: measure ``torch.compile`` as well; needs a C++ compiler and minutes.
        progress: show a bar, and each case's table when it is done.

    Raises:
        ArgumentError: for an unknown operation, preset or backend, a backend that is not there,
            or a number of threads that this machine does not have.
    """
    one_of("operation", operation, (*OPERATIONS, "all"))
    one_of("preset", preset, PRESETS)
    check_threads(threads)
    paths = _paths(backend, device)
    names = OPERATIONS if operation == "all" else (operation,)
    return _run(names, preset, device, threads, paths, with_compile, progress)


def load(folder: str | Path, device: str = "cpu") -> dict[str, Record]:
    """The committed records of a kind of device, by operation; those there are."""
    records = Records.load(folder)
    found = {name: records.find("bench", f"{name}-{device}") for name in OPERATIONS}
    return {name: known[0] for name, known in found.items() if known and known[0].scale != "smoke"}


def _paths(backend: str, device: str) -> tuple[str, ...]:
    """The backends to measure on ``device``."""
    compiled = "numba" if device == "cpu" else "triton"
    one_of("backend", backend, ("all", "torch", "numba", "triton"))
    if backend == "all":
        return ("torch",) if backends.missing(compiled) else ("torch", compiled)
    reason = backends.missing(backend)
    if not reason and backend not in ("torch", compiled):
        reason = f"it does not work on {device}"
    if reason:
        raise ArgumentError(f"backend must be usable here, got {backend!r}: {reason}")
    return (backend,)


def _run(
    names: tuple[str, ...],
    preset: str,
    device: str,
    threads: int,
    paths: tuple[str, ...],
    with_compile: bool,
    progress: bool,
) -> Iterator[Record]:
    options = {"device": device, "backends": paths, "with_compile": with_compile}
    for name in names:
        module = importlib.import_module(f"rnnlib.bench.{name}")
        yield _record(name, module, preset, threads, options, progress)


def _record(
    name: str,
    module: ModuleType,
    preset: str,
    threads: int,
    options: dict[str, Any],
    progress: bool,
) -> Record:
    begun = time.monotonic()
    with pinned(threads):
        machine = Machine(options["device"], small=preset == "smoke")
        entries, left_out = _entries(name, module, machine, preset, options, progress)
    settings = {
        "preset": preset,
        "threads": threads,
        "backends": options["backends"],
        "with_compile": options["with_compile"],
        "budget_s": PRESETS[preset].budget_s,
        "main": module.SMALL if preset == "smoke" else module.MAIN,
        "sweeps": module.SWEEPS if preset == "full" else {},
        "left_out": left_out,
        "more_versions": _versions(),
    }
    return make(
        "bench",
        PRESETS[preset].scale,
        settings,
        [0],
        entries,
        wall_time_s=time.monotonic() - begun,
        device=options["device"],
        variant=f"{name}-{options['device'].partition(':')[0]}",
        reduced=PRESETS[preset].reduced,
    )


def _entries(
    name: str,
    module: ModuleType,
    machine: Machine,
    preset: str,
    options: dict[str, Any],
    progress: bool,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measure all cases of an operation: entries for a record, and peers left out, with why."""
    best = machine.ceilings()
    entries: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    with _Bar(name, [*module.cases(preset), *module.accuracy_cases(preset)], progress) as bar:
        for case in bar.cases:
            problem = module.problem(case, **options)
            if case.task == "accuracy":
                entries += _accuracy(problem, bar.say)
                continue
            budget_s = PRESETS[preset].budget_s
            found, why_not = compare(problem, machine, budget_s=budget_s, say=bar.say)
            entries += found
            left_out |= why_not
            bar.write(text_table(rows(map(Result.model_validate, found), best)))
        for variant, reason in left_out.items():
            bar.write(f"not measured: {variant} ({reason})")
    again = machine.ceilings()
    for kind, rate in best.items():
        entries.append(
            {
                "condition": {"operation": MACHINE, "variant": kind},
                "metrics": {"per_second": [max(rate, again[kind])]},
            }
        )
    return entries, left_out


def _accuracy(problem: Problem, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Only the error of each variant, without a time."""
    truth = true_results(problem, 0)
    inputs = problem.inputs(0)
    for variant in problem.variants:
        say(f"{variant.name}: accuracy")
        error = worst_error(variant.read(variant.bind(inputs)()), truth)
        yield {
            "condition": {**problem.case.condition, "variant": variant.name, "ours": variant.ours},
            "metrics": {"error": [error]},
        }


def _versions() -> dict[str, str]:
    """Versions of what compiled paths and peers bring along."""
    found = {}
    for name in _VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


class _Bar:
    """A progress bar over cases that can be silent, and prints above itself."""

    def __init__(self, name: str, cases: list[Any], shown: bool) -> None:
        self._name, self._cases, self._shown = name, cases, shown

    def __enter__(self) -> _Bar:
        from tqdm.auto import tqdm

        self._bar = tqdm(self._cases, desc=self._name, unit="case", disable=not self._shown)
        self.cases = self._bar
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, what: str) -> None:
        self._bar.set_postfix_str(what, refresh=sys.stderr.isatty())

    def write(self, text: str) -> None:
        if self._shown and text:
            self._bar.write(text + "\n")


__all__ = ["FOLDER", "OPERATIONS", "PRESETS", "load", "run"]
