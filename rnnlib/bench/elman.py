"""Elman ensembles: our `elman_ensemble` against what one would write, or call, without it.

Task "gradient": states at every step, and the gradient of a fixed linear function of them in the
three parameters. Task "omega": the same, and the regulariser of Pascanu et al. (2013) with its
gradient, in the variant with squared norms.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlib.bench.elman_peers import NAMES, leaves, peers, regulariser
from rnnlib.bench.measure import BYTES, FUNCTION_FLOP, Case, Problem, Tensors, Variant
from rnnlib.kernels import Errors, elman_definition, elman_ensemble

MAIN = {"R": 64, "B": 20, "T": 100, "H": 50, "I": 2}
SWEEPS = {
    "T": (50, 100, 200, 1000),
    "R": (1, 8, 64),
    "B": (1, 20, 100),
    "H": (2, 16, 50, 64, 100, 200),
}
SMALL = {"R": 2, "B": 3, "T": 5, "H": 4, "I": 2}
ACCURACY_T = (10, 100, 1000)


def cases(preset: str) -> Iterator[Case]:
    """The cases of "full", "quick" or "smoke", the main ones first."""
    main = SMALL if preset == "smoke" else MAIN
    for task in ("gradient", "omega"):
        yield Case("elman", task, main)
    if preset == "full":
        for name, values in SWEEPS.items():
            for value in values:
                if value != MAIN[name]:
                    yield Case("elman", "gradient", {**MAIN, name: value})


def accuracy_cases(preset: str) -> Iterator[Case]:
    """Sequence lengths at which float32 and float64 results are compared with the definition."""
    for T in ACCURACY_T if preset == "full" else ():
        for dtype in ("float32", "float64"):
            yield Case("elman", "accuracy", {**MAIN, "R": 4, "T": T}, dtype)


def problem(
    case: Case, *, device: str = "cpu", backends: Sequence[str], with_compile: bool = False
) -> Problem:
    """A case with its inputs, definition and variants; see `rnnlib.bench.measure.Problem`."""
    R, B, T, H, I = (case.size[name] for name in "RBTHI")
    omega = case.task == "omega"
    steps = R * B * T
    products = 3 * (H + I) - I + (H if omega else 0)  # per unit and step: forward, back, gradients
    n_weights = R * H * (H + I + 1)
    variants = [_ours(backend, omega) for backend in backends]
    if case.task == "accuracy":
        variants.append(Variant("definition", _definition_bound))
    else:
        everywhere = case.size in (MAIN, SMALL)
        variants += peers(omega, device, everywhere, with_compile and case.size == MAIN)
    return Problem(
        case,
        lambda seed: inputs(case, seed, device),
        lambda tensors: definition(tensors, omega),
        variants,
        flop=steps * H * (2.0 * products + FUNCTION_FLOP),
        n_bytes=BYTES[case.dtype] * (steps * (I + 2.0 * H) + (3 if omega else 2) * n_weights),
    )


def inputs(case: Case, seed: int, device: str) -> dict[str, Tensor]:
    """Random networks below the edge of explosion, inputs, and errors ``dE/dh_t``'s direct part."""
    R, B, T, H, I = (case.size[name] for name in "RBTHI")
    rng = torch.Generator().manual_seed(seed)
    made = {
        "inputs": torch.randn(R, B, T, I, generator=rng),
        "W_rec": torch.randn(R, H, H, generator=rng) * (0.9 / H**0.5),
        "W_in": torch.randn(R, H, I, generator=rng),
        "b": 0.1 * torch.randn(R, H, generator=rng),
        "errors": torch.randn(R, B, T, H, generator=rng),
    }
    return {name: tensor.to(device, getattr(torch, case.dtype)) for name, tensor in made.items()}


def definition(tensors: Tensors, omega: bool) -> dict[str, Tensor]:
    """The plain loop, its gradients by autograd, and the regulariser as its formula reads."""
    weights = leaves(tensors)
    states = elman_definition(tensors["inputs"], *weights)
    found = torch.autograd.grad(states, weights, tensors["errors"])
    results = dict(zip(NAMES, (states.detach(), *found), strict=True))
    if omega:
        h, W_rec = results["states"], weights[0]
        e, total = torch.zeros_like(h[:, :, 0]), torch.zeros_like(h)
        for t in reversed(range(h.shape[2])):  # e: dE/dh_t, what later steps send back included
            e = e + tensors["errors"][:, :, t]
            total[:, :, t] = e
            e = (e * (1 - h[:, :, t] ** 2)) @ W_rec.detach()
        results |= regulariser(total.flatten(1, 2), h.flatten(1, 2), W_rec)
    return results


def _definition_bound(tensors: Tensors) -> Any:
    return functools.partial(definition, tensors, False)


def _ours(backend: str, omega: bool) -> Variant:
    def bind(tensors: Tensors) -> Any:
        weights = leaves(tensors)

        def call() -> dict[str, Tensor]:
            seen = Errors(regulariser="squared") if omega else None
            states = elman_ensemble(tensors["inputs"], *weights, errors=seen, backend=backend)
            found = torch.autograd.grad(states, weights, tensors["errors"])
            results = dict(zip(NAMES, (states.detach(), *found), strict=True))
            if seen is not None and seen.omega is not None and seen.omega_gradient is not None:
                results |= {"omega": seen.omega, "d_omega": seen.omega_gradient}
            return results

        return call

    return Variant(f"rnnlib, {backend}", bind, ours=True)
