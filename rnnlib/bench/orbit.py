"""Orbits of a small map for many parameters at once: our `orbit` against loops over steps.

Task "orbit": two LSTM units without input, a scale of the weights for each point, ten states kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlib.bench.measure import BYTES, FUNCTION_FLOP, Case, Problem, Tensors, Variant
from rnnlib.kernels.orbit import TwoUnitLSTM, orbit, orbit_definition

MAIN = {"N": 100_000, "T": 100}
SWEEPS = {"N": (100, 1_000, 10_000, 100_000)}
SMALL = {"N": 150, "T": 20}
ACCURACY_T = (10, 100)
KEPT = 10

_ONE_BY_ONE = 200
"""Points that a peer computes which takes them one at a time; its times are scaled up."""

Call = Callable[[], Any]


def cases(preset: str) -> Iterator[Case]:
    """The cases of "full", "quick" or "smoke", the main one first."""
    yield Case("orbit", "orbit", SMALL if preset == "smoke" else MAIN)
    if preset == "full":
        for n in SWEEPS["N"]:
            if n != MAIN["N"]:
                yield Case("orbit", "orbit", {**MAIN, "N": n})


def accuracy_cases(preset: str) -> Iterator[Case]:
    """Numbers of steps after which each dtype is compared with the definition."""
    for T in ACCURACY_T if preset == "full" else ():
        for dtype in ("float32", "float64"):
            yield Case("orbit", "accuracy", {"N": 1_000, "T": T}, dtype)


def problem(
    case: Case, *, device: str = "cpu", backends: Sequence[str], with_compile: bool = False
) -> Problem:
    """A case with its inputs, definition and variants; see `rnnlib.bench.measure.Problem`."""
    N, T = case.size["N"], case.size["T"]
    variants = [
        Variant(f"rnnlib, {backend}", _bound(orbit, T, backend=backend), ours=True)
        for backend in backends
    ]
    if case.task == "accuracy":
        variants.append(Variant("definition", _bound(orbit_definition, T)))
    else:
        variants += _peers(N, T, device)
    # A step: W h and its scale, the cell, the output, and ten functions.
    return Problem(
        case,
        lambda seed: inputs(case, seed, device),
        lambda tensors: _bound(orbit_definition, T)(tensors)(),
        variants,
        flop=N * T * (40.0 + 10 * FUNCTION_FLOP),
        n_bytes=N * (5.0 + 4 * KEPT) * BYTES[case.dtype],
    )


def inputs(case: Case, seed: int, device: str) -> dict[str, Tensor]:
    """Weights that stay away from chaos, in which no two roundings agree for long."""
    rng = torch.Generator().manual_seed(seed)
    N = case.size["N"]
    made = {
        "weights": torch.randn(8, 2, generator=rng),
        "scale": 0.5 + torch.rand(N, 1, generator=rng),
        "state": torch.randn(N, 4, generator=rng),
    }
    return {name: tensor.to(device, getattr(torch, case.dtype)) for name, tensor in made.items()}


def _bound(run: Callable[..., Tensor], T: int, **options: Any) -> Callable[[Tensors], Call]:
    def bind(tensors: Tensors) -> Call:
        step = TwoUnitLSTM(tensors["weights"])
        every = T // KEPT

        def call() -> Tensors:
            kept = run(step, tensors["scale"], tensors["state"], keep=KEPT, every=every, **options)
            return _named(kept)

        return call

    return bind


def _named(kept: Tensor) -> Tensors:
    return {"h": kept[..., :2], "c": kept[..., 2:]}


def _peers(N: int, T: int, device: str) -> Iterator[Variant]:
    n = min(N, _ONE_BY_ONE)
    yield Variant(
        "torch.nn.LSTM, point by point",
        lambda tensors: _nn_lstm(tensors, n, T),
        part=lambda truth: {"h": truth["h"][:, :n]},
        share=n / N,
    )
    yield Variant("vectorised torch step", lambda tensors: _vectorised(tensors, T))
    if device == "cpu":
        yield Variant("JAX lax.scan under jit", lambda tensors: _jax(tensors, T), _from_jax)


def _nn_lstm(tensors: Tensors, n: int, T: int) -> Call:
    network = torch.nn.LSTM(1, 2, bias=False).to(tensors["scale"])
    by_input, by_state = network.parameters()
    still = tensors["scale"].new_zeros(T, 1)
    points = [
        (scale * tensors["weights"], *state.unflatten(0, (2, 1, 2)))
        for scale, state in zip(tensors["scale"][:n], tensors["state"][:n], strict=True)
    ]

    @torch.no_grad()
    def call() -> Tensors:
        orbits = []
        for weights, h, c in points:
            by_input.zero_()
            by_state.copy_(weights)
            orbits.append(network(still, (h, c))[0][T // KEPT - 1 :: T // KEPT])
        return {"h": torch.stack(orbits, dim=1)}

    return call


def _vectorised(tensors: Tensors, T: int) -> Call:
    scale, W = tensors["scale"], tensors["weights"].mT.contiguous()

    @torch.no_grad()
    def call() -> Tensors:
        h, c = tensors["state"].split(2, dim=1)
        kept = []
        for t in range(1, T + 1):
            i, f, g, o = (scale * (h @ W)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            if t % (T // KEPT) == 0:
                kept.append((h, c))
        return {
            name: torch.stack(each)
            for name, each in zip("hc", zip(*kept, strict=True), strict=True)
        }

    return call


@functools.cache
def _jax_orbit(T: int) -> Any:
    import jax
    import jax.numpy as jnp

    def run(W: Any, scale: Any, h: Any, c: Any) -> Any:
        def step(_: Any, z: Any) -> Any:
            h, c = z
            i, f, g, o = jnp.split(scale * (W @ h), 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return jax.nn.sigmoid(o) * jnp.tanh(c), c

        def frame(z: Any, _: Any) -> Any:
            z = jax.lax.fori_loop(0, T // KEPT, step, z)
            return z, z

        return jax.lax.scan(frame, (h, c), None, length=KEPT)[1]

    return jax.jit(run)


def _jax(tensors: Tensors, T: int) -> Call:
    import jax

    run = _jax_orbit(T)
    h, c = tensors["state"].mT.split(2)  # points along the rows, which XLA vectorises
    given = (tensors["weights"], tensors["scale"].mT, h, c)
    arrays = [jax.device_put(each.contiguous().numpy()) for each in given]
    return lambda: jax.block_until_ready(run(*arrays))


def _from_jax(found: Sequence[Any]) -> Tensors:
    import numpy as np

    h, c = (torch.from_numpy(np.array(each)).mT for each in found)
    return {"h": h, "c": c}
