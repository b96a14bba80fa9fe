"""Variants of one computation, timed in turns and held against its float64 definition.

What is timed is first checked: a variant whose result is not that of the definition is reported
with its error and without a time.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnlib.bench.machine import Machine

Tensors = Mapping[str, Tensor]

TOLERANCE = {"float32": 1e-3, "complex64": 1e-3, "float64": 1e-9, "complex128": 1e-9}
"""Largest error that rounding can explain. The tests of the kernels hold ours to far less; this
bound is for peers that sum in another order, and only tells their result from another result."""

BYTES = {"float32": 4, "float64": 8, "complex64": 8, "complex128": 16}

FUNCTION_FLOP = 20
"""What one tanh or exponential counts: about a polynomial that is exact to float32."""

DRIFT = 0.1
"""A case is marked unsteady if the control moved by more than this share while it ran."""

_REPEATS = (3, 25)


@dataclass(frozen=True)
class Case:
    """One computation at one size: ``operation`` of ``task``, such as the gradient of "elman"."""

    operation: str
    task: str
    size: Mapping[str, int]
    dtype: str = "float32"

    @property
    def condition(self) -> dict[str, Any]:
        """The case as a record's condition; a variant's name completes it."""
        return {
            "operation": self.operation,
            "task": self.task,
            "dtype": self.dtype,
            **self.size,
        }

    def __str__(self) -> str:
        sizes = " ".join(f"{name}={value}" for name, value in self.size.items())
        return f"{self.operation}, {self.task}, {self.dtype}, {sizes}"


def _same(anything: Any) -> Any:
    return anything


@dataclass(frozen=True)
class Variant:
    """One way to compute a case.

    Args:
        name: what the tables call it.
        bind: from fresh inputs to a call without arguments. Only the call is timed, so copies,
            other layouts and modules belong into ``bind``.
        read: from what the call returns to tensors named as the definition names them.
        part: which part of the definition's tensors the variant computes; all of them as a rule.
        share: the share of the case's work that it does. Its times are divided by it.
        ours: whether it belongs to this library; otherwise it is a peer.
    """

    name: str
    bind: Callable[[Tensors], Callable[[], Any]]
    read: Callable[[Any], Tensors] = _same
    part: Callable[[Tensors], Tensors] = _same
    share: float = 1.0
    ours: bool = False


@dataclass(frozen=True)
class Problem:
    """A case with everything that it takes to measure it.

    Args:
        inputs: from a seed to the inputs, in the case's dtype and on its device.
        definition: from inputs in float64 or complex128 to the true results.
        flop, n_bytes: the least arithmetic and the least memory traffic that the case needs.
    """

    case: Case
    inputs: Callable[[int], Tensors]
    definition: Callable[[Tensors], Tensors]
    variants: Sequence[Variant]
    flop: float
    n_bytes: float


def compare(
    problem: Problem,
    machine: Machine,
    *,
    budget_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Check and time every variant of a case.

    A variant is called once on the inputs of seed 1, to compile, and once on those of seed 0,
    whose results must be the definition's. Then all take turns, each round on the inputs of another
    seed and the last on seed 0, whose results must be right again. The number of rounds follows
    from ``budget_s``, the seconds to spend on all variants together, and lies between 3 and 25.

    Args:
        say: told what is being done, for a progress bar.

    Returns:
        One entry a variant for the results of a record, and the peers that could not run, each
        with the reason.

    Raises:
        Exception: whatever a variant of ours raises; that is a fault of ours.
    """
    before = machine.control()
    say("definition")
    truth = true_results(problem, 0)
    seen = problem.inputs(1), problem.inputs(0)
    tolerance = TOLERANCE[problem.case.dtype]
    trials: dict[str, _Trial] = {}
    left_out: dict[str, str] = {}
    for variant in problem.variants:
        say(f"{variant.name}: first calls")
        try:
            trials[variant.name] = _try(variant, seen, variant.part(truth), machine)
        except Exception as reason:
            if variant.ours:
                raise
            left_out[variant.name] = _one_line(reason)
    expected = {name: trial.again_s for name, trial in trials.items() if trial.error <= tolerance}
    racing = [variant for variant in problem.variants if variant.name in expected]
    n = _n_repeats(sum(expected.values()), budget_s)

    def check(variant: Variant, result: Any) -> None:
        error = worst_error(variant.read(result), variant.part(truth))
        trials[variant.name].error = max(error, trials[variant.name].error)

    times = interleave(racing, n, problem.inputs, machine, check, expected=expected, say=say)
    after = machine.control()
    drift = max(abs(after[name] / before[name] - 1) for name in before)
    entries = []
    for variant in problem.variants:
        if variant.name in trials:
            trial = trials[variant.name]
            right = trial.error <= tolerance
            metrics: dict[str, Any] = {
                "error": trial.error,
                "correct": right,
                "first_call_s": trial.first_s / variant.share,
                **(spread([t / variant.share for t in times[variant.name]]) if right else {}),
                "peak_bytes": trial.peak_bytes if right and variant.share == 1 else None,
                "flop": problem.flop,
                "bytes": problem.n_bytes,
                "drift": drift,
            }
            who = {"variant": variant.name, "ours": variant.ours, "share": variant.share}
            entries.append(
                {
                    "condition": problem.case.condition | who,
                    "metrics": {name: [value] for name, value in metrics.items()},
                }
            )
    return entries, left_out


@dataclass
class _Trial:
    """What the first calls of a variant showed; ``again_s`` is a guide to the next ones."""

    error: float
    first_s: float
    again_s: float
    peak_bytes: float | None


def _try(
    variant: Variant, inputs: tuple[Tensors, Tensors], truth: Tensors, machine: Machine
) -> _Trial:
    """Call once to compile, and again on inputs whose results are known."""
    cold, known = inputs
    first_s = machine.timed(variant.bind(cold))[0]
    again_s, result, peak_bytes = machine.gauged(variant.bind(known))
    return _Trial(worst_error(variant.read(result), truth), first_s, again_s, peak_bytes)


def true_results(problem: Problem, seed: int) -> Tensors:
    """What the definition says in float64 or complex128 of the inputs of ``seed``."""
    wide = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    inputs = problem.inputs(seed)
    return problem.definition({n: t.to(wide.get(t.dtype, t.dtype)) for n, t in inputs.items()})


def interleave(
    variants: Sequence[Variant],
    n: int,
    inputs: Callable[[int], Tensors],
    machine: Machine,
    check: Callable[[Variant, Any], None],
    *,
    expected: Mapping[str, float] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, list[float]]:
    """Run all variants once a round for ``n`` rounds, so that a slow minute slows them all.

    Rounds compute on ``inputs(1)``, ``inputs(2)``, ..., the last on ``inputs(0)``, whose results
    ``check`` is given. Making and binding inputs and checking are not timed.

    Returns:
        The times of each variant.
    """
    times: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for seed in (*range(1, n), 0):
        fresh = inputs(seed)
        for variant in variants:
            say(f"{variant.name}: {len(times[variant.name]) + 1} of {n}")
            call = variant.bind(fresh)
            seconds, result = machine.timed(call, (expected or {}).get(variant.name))
            times[variant.name].append(seconds)
            if seed == 0:
                check(variant, result)
            del call, result
    return times


def worst_error(found: Tensors, truth: Tensors) -> float:
    """Largest error over all tensors, each relative to the largest true value of its tensor.

    Infinite where a tensor is missing or has another shape, or a value is not finite.
    """
    if found.keys() != truth.keys():
        return math.inf
    worst = 0.0
    for name, true in truth.items():
        if found[name].shape != true.shape:
            return math.inf
        error = torch.linalg.vector_norm(true - found[name].detach(), math.inf)
        if not error.isfinite():
            return math.inf
        scale = torch.linalg.vector_norm(true, math.inf)
        worst = max(worst, float(error / scale if scale > 0 else error))
    return worst


def spread(times: Sequence[float]) -> dict[str, float | int]:
    """Median, minimum and quartiles of a sample."""
    low, median, high = (
        statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [times[0]] * 3
    )
    return {
        "time_s": median,
        "time_min_s": min(times),
        "time_q1_s": low,
        "time_q3_s": high,
        "n_repeats": len(times),
    }


def _n_repeats(round_s: float, budget_s: float) -> int:
    least, most = _REPEATS
    return max(least, min(most, int(budget_s / max(round_s, 1e-9))))


def _one_line(reason: Exception) -> str:
    text = next((line for line in str(reason).splitlines() if line.strip()), "")
    return f"{type(reason).__name__}: {text}"[:200]
