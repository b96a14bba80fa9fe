"""What one would write, or call, for an ensemble of Elman networks: the peers of our kernel.

Each gets its inputs in the layout that suits it, copied outside the timed part, and is left to its
own devices otherwise. All return the states and the gradients in the three parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlib.bench.measure import Tensors, Variant

NAMES = ("states", "W_rec", "W_in", "b")
PARAMETERS = NAMES[1:]
_WITH_OMEGA = (*NAMES, "omega", "d_omega")

Call = Callable[[], Any]


def peers(omega: bool, device: str, main: bool, with_compile: bool) -> Iterator[Variant]:
    """The peers for a task; those that are slow beyond interest only at the main size."""
    if omega:
        yield Variant("batched product a step + autograd", _batched(_batched_omega), _by_time)
        yield from _with_jax(omega, device)
        return
    if main:
        yield Variant("loop over replicas and steps", _one_by_one(_plain_loop), _replicas)
    yield Variant("torch.nn.RNN, replica by replica", _one_by_one(_nn_rnn), _replicas)
    yield Variant("torch.func.vmap of grad", _vmap)
    yield Variant("batched product a step + autograd", _batched(_batched_gradient), _by_time)
    if device != "cpu":
        yield Variant("batched product under a CUDA graph", _cuda_graph(), _by_time)
    yield from _with_jax(omega, device)
    if with_compile:
        run = functools.partial(_batched_gradient, unroll=torch.compile(_batched_states))
        yield Variant("torch.compile of the batched loop", _batched(run), _by_time)


def leaves(tensors: Tensors) -> tuple[Tensor, ...]:
    """The three parameters, as leaves of a new graph."""
    return tuple(tensors[name].detach().clone().requires_grad_() for name in PARAMETERS)


def regulariser(e: Tensor, h: Tensor, W_rec: Tensor) -> dict[str, Tensor]:
    """Mean over steps of ``(|v|^2 / |e|^2 - 1)^2``, ``v = W^T f' e``, and its gradient in ``W``.

    Args:
        e: ``dE/dh_t`` in all, ``(R, n, H)``; like ``h`` it counts as constant.
        h: the states of the same ``n`` steps and sequences.
        W_rec: ``(R, H, H)``, a leaf.
    """
    v = torch.bmm(e * (1 - h * h), W_rec)
    ratio = v.square().sum(-1) / e.square().sum(-1)
    omega = (ratio - 1).square().mean(1)
    (gradient,) = torch.autograd.grad(omega.sum(), W_rec)
    return {"omega": omega.detach(), "d_omega": gradient}


def _one_by_one(make: Callable[..., Call]) -> Callable[[Tensors], Call]:
    """Bind each replica by itself; the call runs them one after the other."""

    def bind(tensors: Tensors) -> Call:
        calls = []
        for r in range(len(tensors["W_rec"])):
            weights = [tensors[name][r].detach().clone().requires_grad_() for name in PARAMETERS]
            u, errors = (tensors[n][r].transpose(0, 1).contiguous() for n in ("inputs", "errors"))
            calls.append(make(u, errors, *weights))
        return lambda: [call() for call in calls]

    return bind


def _replicas(found: Sequence[Sequence[Tensor]]) -> Tensors:
    states, *gradients = (torch.stack(list(each)) for each in zip(*found, strict=True))
    return dict(zip(NAMES, (states.transpose(1, 2), *gradients), strict=True))


def _unrolled(u: Tensor, W_rec: Tensor, W_in: Tensor, b: Tensor) -> Tensor:
    """The states ``(T, B, H)`` of one network, step by step."""
    h, states = u.new_zeros(u.shape[1], b.shape[0]), []
    for drive in torch.nn.functional.linear(u, W_in, b).unbind(0):
        h = torch.tanh(drive + h @ W_rec.mT)
        states.append(h)
    return torch.stack(states)


def _plain_loop(u: Tensor, errors: Tensor, *weights: Tensor) -> Call:
    def call() -> tuple[Tensor, ...]:
        states = _unrolled(u, *weights)
        return states, *torch.autograd.grad(states, weights, errors)

    return call


def _nn_rnn(u: Tensor, errors: Tensor, W_rec: Tensor, W_in: Tensor, b: Tensor) -> Call:
    network = torch.nn.RNN(u.shape[2], len(b)).to(u.device, u.dtype)
    by_input, by_state, bias, second_bias = network.parameters()
    with torch.no_grad():
        for own, given in ((by_input, W_in), (by_state, W_rec), (bias, b), (second_bias, 0 * b)):
            own.copy_(given)
    weights = (by_state, by_input, bias)

    def call() -> tuple[Tensor, ...]:
        states, _ = network(u)
        return states, *torch.autograd.grad(states, weights, errors)

    return call


def _vmap(tensors: Tensors) -> Call:
    u, errors = (tensors[name].transpose(1, 2).contiguous() for name in ("inputs", "errors"))
    weights = tuple(tensors[name] for name in PARAMETERS)

    def loss(weights: Any, u: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
        states = _unrolled(u, *weights)
        return (states * errors).sum(), states

    step = torch.func.vmap(torch.func.grad(loss, has_aux=True))

    def call() -> Tensors:
        gradients, states = step(weights, u, errors)
        return dict(zip(NAMES, (states.transpose(1, 2), *gradients), strict=True))

    return call


def _batched(run: Callable[..., Any]) -> Callable[[Tensors], Call]:
    return lambda tensors: functools.partial(run, *_batched_arguments(tensors))


def _batched_arguments(tensors: Tensors) -> tuple[Tensor, ...]:
    """Inputs ``(R, T B, I)``, errors ``(T, R, B, H)`` and the parameters."""
    u = tensors["inputs"].transpose(1, 2).flatten(1, 2).contiguous()
    return u, tensors["errors"].permute(2, 0, 1, 3).contiguous(), *leaves(tensors)


def _batched_steps(
    u: Tensor, shape: torch.Size, W_rec: Tensor, W_in: Tensor, b: Tensor
) -> list[Tensor]:
    T, R, B, H = shape
    drive = torch.baddbmm(b[:, None], u, W_in.mT).view(R, T, B, H)
    h, steps = u.new_zeros(R, B, H), []
    for d in drive.unbind(1):
        h = torch.tanh(torch.baddbmm(d, h, W_rec.mT))
        steps.append(h)
    return steps


def _batched_states(u: Tensor, shape: torch.Size, *weights: Tensor) -> Tensor:
    return torch.stack(_batched_steps(u, shape, *weights))


def _batched_gradient(
    u: Tensor, errors: Tensor, *weights: Tensor, unroll: Callable[..., Tensor] = _batched_states
) -> tuple[Tensor, ...]:
    states = unroll(u, errors.shape, *weights)
    return states, *torch.autograd.grad(states, weights, errors)


def _batched_omega(u: Tensor, errors: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    steps = _batched_steps(u, errors.shape, *weights)
    states = torch.stack(steps)
    found = torch.autograd.grad(states, (*weights, *steps), errors)  # the latter are dE/dh_t
    e, h = (x.transpose(0, 1).flatten(1, 2) for x in (torch.stack(found[3:]), states.detach()))
    return states, *found[:3], *regulariser(e, h, weights[0]).values()


def _by_time(found: Sequence[Tensor]) -> Tensors:
    states, *rest = found
    return dict(zip(_WITH_OMEGA, (states.permute(1, 2, 0, 3), *rest), strict=False))


def _cuda_graph() -> Callable[[Tensors], Call]:
    """Capture the batched loop once; then copy fresh inputs into its own and replay it."""
    held: list[Tensor] = []
    graph: Any = None
    found: Any = None

    def bind(tensors: Tensors) -> Call:
        nonlocal graph, found
        fresh = _batched_arguments(tensors)
        if graph is None:
            held.extend(fresh)
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(3):
                    _batched_gradient(*held)
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                found = _batched_gradient(*held)
        with torch.no_grad():
            for own, new in zip(held, fresh, strict=True):
                own.copy_(new)

        def replay() -> Any:
            graph.replay()
            return found

        return replay

    return bind


def _with_jax(omega: bool, device: str) -> Iterator[Variant]:
    """All replicas in one batched step, or one replica after the other in one compiled loop."""
    if device != "cpu":
        return
    for name, at_once in (("JAX lax.scan under vmap", True), ("JAX lax.scan under lax.map", False)):
        yield Variant(name, _jax(omega, at_once), _from_jax)


@functools.cache
def _jax_step(omega: bool, at_once: bool) -> Any:
    import jax
    import jax.numpy as jnp

    def states(weights: Any, u: Any, nudge: Any) -> Any:
        W_rec, W_in, b = weights

        def step(h: Any, x: Any) -> Any:
            drive, moved = x
            h = jnp.tanh(drive + h @ W_rec.T)
            h = h if moved is None else h + moved
            return h, h

        start = jnp.zeros((u.shape[1], len(b)), u.dtype)
        return jax.lax.scan(step, start, (u @ W_in.T + b, nudge))[1]

    def gradient(weights: Any, u: Any, errors: Any) -> Any:
        h, pull = jax.vjp(lambda weights: states(weights, u, None), weights)
        return h, *pull(errors)[0]

    def with_omega(weights: Any, u: Any, errors: Any) -> Any:
        # The gradient in a nudge of every state is dE/dh_t.
        h, pull = jax.vjp(lambda w, nudge: states(w, u, nudge), weights, jnp.zeros_like(errors))
        gradients, e = pull(errors)

        def value(W: Any) -> Any:
            v = (e * (1 - h * h)) @ W
            return jnp.mean(((v * v).sum(-1) / (e * e).sum(-1) - 1) ** 2)

        return h, *gradients, *jax.value_and_grad(value)(weights[0])

    run = with_omega if omega else gradient
    if at_once:
        return jax.jit(jax.vmap(run))
    return jax.jit(lambda *stacks: jax.lax.map(lambda each: run(*each), stacks))


def _jax(omega: bool, at_once: bool) -> Callable[[Tensors], Call]:
    def bind(tensors: Tensors) -> Call:
        import jax

        step = _jax_step(omega, at_once)
        u, errors = (
            jax.device_put(tensors[name].transpose(1, 2).contiguous().numpy())
            for name in ("inputs", "errors")
        )
        weights = tuple(jax.device_put(tensors[name].numpy()) for name in PARAMETERS)
        return lambda: jax.block_until_ready(step(weights, u, errors))

    return bind


def _from_jax(found: Sequence[Any]) -> Tensors:
    import numpy as np

    states, *rest = (torch.from_numpy(np.array(each)) for each in found)
    return dict(zip(_WITH_OMEGA, (states.transpose(1, 2), *rest), strict=False))
