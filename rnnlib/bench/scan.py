"""Linear scans: our `linear_scan` against loops and tree scans, forward and backward.

Task "gradient": all states ``(B, T, H)``, and the gradient of a fixed linear function of them in
the inputs and in a decay ``(H,)`` that does not change in time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlib.bench.measure import BYTES, Case, Problem, Tensors, Variant
from rnnlib.kernels.scan import linear_scan, linear_scan_definition

MAIN = {"B": 8, "T": 4096, "H": 128}
SWEEPS = {"T": (64, 256, 1024, 4096, 16384), "H": (16, 128, 512), "B": (1, 8, 32)}
SMALL = {"B": 2, "T": 20, "H": 3}
ACCURACY_T = (64, 1024, 16384)

DTYPES = ("float32", "complex64")

Call = Callable[[], Any]


def cases(preset: str) -> Iterator[Case]:
    """The cases of "full", "quick" (real only) or "smoke", the main ones first."""
    for dtype in DTYPES[:1] if preset == "quick" else DTYPES:
        yield Case("scan", "gradient", SMALL if preset == "smoke" else MAIN, dtype)
    if preset == "full":
        for name, values in SWEEPS.items():
            for dtype in DTYPES if name == "T" else DTYPES[:1]:
                for value in values:
                    if value != MAIN[name]:
                        yield Case("scan", "gradient", {**MAIN, name: value}, dtype)


def accuracy_cases(preset: str) -> Iterator[Case]:
    """Sequence lengths at which each dtype is compared with the definition."""
    for T in ACCURACY_T if preset == "full" else ():
        for dtype in ("float32", "float64", "complex64", "complex128"):
            yield Case("scan", "accuracy", {"B": 2, "T": T, "H": 32}, dtype)


def problem(
    case: Case, *, device: str = "cpu", backends: Sequence[str], with_compile: bool = False
) -> Problem:
    """A case with its inputs, definition and variants; see `rnnlib.bench.measure.Problem`."""
    count = math.prod(case.size.values())
    variants = [_variant(f"rnnlib, {backend}", backend) for backend in backends]
    if case.task == "accuracy":
        variants.append(_variant("definition", "definition"))
    else:
        variants += _peers(case, device)
    return Problem(
        case,
        lambda seed: inputs(case, seed, device),
        lambda tensors: _gradient(linear_scan_definition)(tensors)(),
        variants,
        # A step is a product and a sum; backwards two of each. Complex: 6 + 2 instead of 1 + 1.
        flop=count * (24.0 if case.dtype.startswith("complex") else 6.0),
        n_bytes=count * 5.0 * BYTES[case.dtype],
    )


def inputs(case: Case, seed: int, device: str) -> dict[str, Tensor]:
    """Decays of modulus 0.9 to 1, any phase where complex; normal inputs and errors."""
    B, T, H = (case.size[name] for name in "BTH")
    dtype: torch.dtype = getattr(torch, case.dtype)
    narrow = torch.complex64 if dtype.is_complex else torch.float32
    rng = torch.Generator().manual_seed(seed)
    modulus = 0.9 + 0.1 * torch.rand(H, generator=rng)
    decay = modulus.to(narrow)
    if dtype.is_complex:
        decay = torch.polar(modulus, 2 * math.pi * torch.rand(H, generator=rng))
    made = {
        "decay": decay,
        "inputs": torch.randn(B, T, H, generator=rng, dtype=narrow),
        "errors": torch.randn(B, T, H, generator=rng, dtype=narrow),
    }
    return {name: tensor.to(device, dtype) for name, tensor in made.items()}


def _variant(name: str, backend: str) -> Variant:
    return Variant(name, _gradient(functools.partial(linear_scan, backend=backend)), ours=True)


def _gradient(scan: Callable[[Tensor, Tensor], Tensor], time: int = 1) -> Callable[[Tensors], Call]:
    """Bind a differentiable scan to fresh leaves with time on axis ``time``, (B, H) beside it."""

    def bind(tensors: Tensors) -> Call:
        decay = tensors["decay"].detach().clone().requires_grad_()
        x, errors = (
            tensors[n].detach().movedim(1, time).clone(memory_format=torch.contiguous_format)
            for n in ("inputs", "errors")
        )
        x.requires_grad_()

        def call() -> Tensors:
            states = scan(decay, x)
            d_decay, d_x = torch.autograd.grad(states, (decay, x), errors)
            return {"states": states.detach(), "d_decay": d_decay, "d_inputs": d_x}

        return call

    return bind


def _moved(found: Tensors, time: int) -> Tensors:
    return {n: t if n == "d_decay" else t.movedim(time, 1) for n, t in found.items()}


def _peers(case: Case, device: str) -> Iterator[Variant]:
    by_time = functools.partial(_moved, time=0)
    by_channel = functools.partial(_moved, time=2)
    yield Variant("loop over unbound steps + autograd", _gradient(_loop, 0), by_time)
    yield Variant("torch associative_scan (prototype)", _gradient(_torch_tree))
    if device == "cpu":
        yield Variant("JAX lax.scan", _jax("scan"), _from_jax)
        yield Variant("JAX lax.associative_scan", _jax("associative_scan"), _from_jax)
    elif case.dtype == "float32":
        yield Variant("accelerated_scan, Triton", _gradient(_accelerated, 2), by_channel)
        yield Variant("fla HGRN, chunked", _gradient(_fla))


def _loop(decay: Tensor, x: Tensor) -> Tensor:
    h, states = torch.zeros_like(x[0]), []
    for x_t in x.unbind(0):  # x[t] instead would make the backward pass quadratic in T
        h = decay * h + x_t
        states.append(h)
    return torch.stack(states)


def _combine(first: Any, then: Any) -> Any:
    """``h -> a h + x`` twice, as one such map."""
    return first[0] * then[0], then[0] * first[1] + then[1]


def _torch_tree(decay: Tensor, x: Tensor) -> Tensor:
    from torch._higher_order_ops.associative_scan import associative_scan

    gates = decay.expand_as(x)
    _, states = associative_scan(_combine, (gates, x), 1, combine_mode="generic")
    return states


def _accelerated(decay: Tensor, x: Tensor) -> Tensor:
    from accelerated_scan.triton import scan

    return scan(decay[:, None].expand_as(x).contiguous(), x)


def _fla(decay: Tensor, x: Tensor) -> Tensor:
    from fla.ops.hgrn import chunk_hgrn

    states, _ = chunk_hgrn(x, decay.log().expand_as(x).contiguous())
    return states


@functools.cache
def _jax_gradient(kind: str) -> Any:
    import jax
    import jax.numpy as jnp

    def by_step(decay: Any, x: Any) -> Any:
        def step(h: Any, x_t: Any) -> Any:
            h = decay * h + x_t
            return h, h

        # Time first, as lax.scan wants it; the arrays come in that way.
        return jax.lax.scan(step, jnp.zeros_like(x[0]), x)[1]

    def tree(decay: Any, x: Any) -> Any:
        return jax.lax.associative_scan(_combine, (jnp.broadcast_to(decay, x.shape), x))[1]

    def gradient(decay: Any, x: Any, errors: Any) -> Any:
        states, pull = jax.vjp(by_step if kind == "scan" else tree, decay, x)
        return states, *pull(errors)

    return jax.jit(gradient)


def _jax(kind: str) -> Callable[[Tensors], Call]:
    def bind(tensors: Tensors) -> Call:
        import jax

        gradient = _jax_gradient(kind)
        # JAX transposes where torch takes the adjoint, so complex errors go in conjugated.
        by_time = (tensors["inputs"].transpose(0, 1), tensors["errors"].transpose(0, 1).conj())
        x, errors = (jax.device_put(t.resolve_conj().contiguous().numpy()) for t in by_time)
        decay = jax.device_put(tensors["decay"].numpy())
        return lambda: jax.block_until_ready(gradient(decay, x, errors))

    return bind


def _from_jax(found: Sequence[Any]) -> Tensors:
    import numpy as np

    states, d_decay, d_x = (torch.from_numpy(np.array(each)) for each in found)
    return {
        "states": states.transpose(0, 1),
        "d_decay": d_decay.conj(),
        "d_inputs": d_x.transpose(0, 1).conj(),
    }
