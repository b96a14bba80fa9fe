r"""Orbits and Lyapunov exponents of small maps, for a large grid of parameters at once.

Each of ``N`` points has its own parameters and its own state, and runs on its own:

    x_t = F(x_{t-1}; p),        J_t = dF/dx at x_{t-1}.

A bifurcation diagram keeps some of the ``x_t``; the Lyapunov exponents are the mean logarithmic
growth rates of volumes under ``J_t ... J_1``. `orbit_definition` and `lyapunov_definition` are
those lines in a loop and say what is correct. `orbit` and `lyapunov_exponents` compute the same
with the states of a block of points kept in the cache of a CPU or the registers of a GPU.

A map is any function ``step(state, parameters)`` from ``(n, S)`` and ``(n, P)`` to ``(n, S)`` that
treats each row by itself and takes any number of rows. `OneUnit` and `TwoUnitLSTM` are such
functions that the compiled paths know too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, at_least, shape
from rnnlib.kernels import backends
from rnnlib.kernels.maps import Map, TwoUnitLSTM

Step = Callable[[Tensor, Tensor], Tensor]

_DTYPES = (torch.float32, torch.float64)

# The states of a block of points hold so many numbers. What a step computes on the way is a few
# times as much: it stays in the second-level cache and is too little for torch to start threads.
_BLOCK = 12288

# torch computes the last few numbers of a row by other instructions than the rest. Rows that are a
# multiple of this have no such rest, so a point's bits do not depend on the number of points.
_PAD = 64


class _Kept(NamedTuple):
    burn_in: int
    keep: int
    every: int


class _Averaged(NamedTuple):
    burn_in: int
    n_steps: int
    n_exponents: int
    renormalise: int


def orbit_definition(
    step: Step,
    parameters: Tensor,
    state: Tensor,
    *,
    burn_in: int = 0,
    keep: int = 1,
    every: int = 1,
) -> Tensor:
    """The iteration as a plain loop: slow and, unlike `orbit`, differentiable.

    Arguments, result and errors as for `orbit`.
    """
    x = _checked(step, parameters, state)
    _kept(burn_in, keep, every)
    states = []
    for t in range(1, burn_in + keep * every + 1):
        x = _next(step, x, parameters)
        if t > burn_in and (t - burn_in) % every == 0:
            states.append(x)
    return torch.stack(states)


def orbit(
    step: Step,
    parameters: Tensor,
    state: Tensor,
    *,
    burn_in: int = 0,
    keep: int = 1,
    every: int = 1,
    backend: str = "auto",
) -> Tensor:
    """Iterate a map at ``N`` parameter points and keep the states after a burn-in.

    The states kept are those after ``burn_in + every``, ``burn_in + 2 every``, ... steps, up to
    ``burn_in + keep every``, which is also the number of steps made. A point that diverges ends
    in inf or NaN and disturbs no other. With a built-in map a point's result does not depend, to
    the last bit, on the points beside it (on a GPU: with "triton").

    Args:
        step: `OneUnit()`, `TwoUnitLSTM(weights)`, or your own ``step(state, parameters)`` from
            ``(n, S)`` and ``(n, P)`` to ``(n, S)``, which "torch" and "definition" can run. It is
            called with blocks of points, some of them twice: treat each row by itself.
        parameters: ``(N, P)``, float32 or float64; columns as ``step.parameter_names`` says.
        state: ``(S,)`` or ``(N, S)``, the state before the first step; dtype of ``parameters``.
        burn_in: steps made before the first that can be kept.
        keep: how many states to keep.
        every: steps from one state kept to the next.
        backend: "auto", "definition", "torch", "numba" or "triton".

    Returns:
        ``(keep, N, S)``, dtype of ``parameters``. No gradient flows through it.

    Raises:
        ArgumentError: for shapes, dtypes or devices that disagree (in what ``step`` returns, too),
            ``burn_in < 0``, ``keep < 1`` or ``every < 1``, arguments that require a gradient while
            gradients are enabled, or a backend that is not there or cannot run ``step``.
    """
    state = _checked(step, parameters, state)
    plan = _kept(burn_in, keep, every)
    _no_gradient(step, parameters, state)
    backend = _choose(backend, step, parameters)
    with torch.no_grad():
        if backend == "definition":
            return orbit_definition(step, parameters, state, **plan._asdict())
        if backend == "torch":
            return _orbit_torch(step, parameters, state, plan)
        return _compiled(backend).orbit(*_arguments(step, parameters, state), *plan)


def lyapunov_definition(
    step: Step,
    parameters: Tensor,
    state: Tensor,
    *,
    burn_in: int = 0,
    n_steps: int,
    n_exponents: int | None = None,
    renormalise: int = 1,
) -> Tensor:
    """The QR method as a plain loop, with LAPACK's QR.

    Arguments, result and errors as for `lyapunov_exponents`.
    """
    state = _checked(step, parameters, state)
    plan = _averaged(state, burn_in, n_steps, n_exponents, renormalise)
    return _exponents(_growth(step, parameters, state, plan), plan)


def lyapunov_exponents(
    step: Step,
    parameters: Tensor,
    state: Tensor,
    *,
    burn_in: int = 0,
    n_steps: int,
    n_exponents: int | None = None,
    renormalise: int = 1,
    backend: str = "auto",
) -> Tensor:
    r"""The largest Lyapunov exponents of a map at ``N`` parameter points, by the QR method.

    An orthonormal frame is carried along, ``J_t Q_{t-1} = Q_t R_t``, and exponent ``k`` is the
    mean of ``log (R_t)_kk`` over the steps after the burn-in: natural logarithm, per step.

    A direction shorter than rounding, ``(R_t)_kk <= 4 S eps |J_t Q_{t-1}|``, is lost: its length
    is noise and counts as that bound. An exponent lost in at least half of the
    orthonormalisations is -inf, the true value where Jacobians are rank-deficient (a superstable
    orbit, the origin of the LSTM). Where it is not the true value, orthonormalise more often or
    use float64. A point that runs to infinity or NaN has NaN exponents.

    Args:
        step, parameters, state, burn_in, backend: as for `orbit`. The Jacobian comes from
            ``step.jacobian(state, parameters)``, ``(n, S, S)``, if there is one, otherwise from
            ``torch.func``, which must then be able to transform ``step``.
        n_steps: steps to average over.
        n_exponents: how many, from the largest down; None is all ``S``.
        renormalise: steps from one orthonormalisation to the next (one is always made at the end);
            more is faster, as long as squares of the frame's numbers stay in range in between.

    Returns:
        ``(N, n_exponents)``, each row in descending order; dtype of ``parameters``. No gradient
        flows through it.

    Raises:
        ArgumentError: as for `orbit`, and for ``n_steps < 1``, ``renormalise < 1`` or
            ``n_exponents`` outside ``1..S``.

    Source: Benettin, Galgani, Giorgilli & Strelcyn (1980), Meccanica 15.
    """
    state = _checked(step, parameters, state)
    plan = _averaged(state, burn_in, n_steps, n_exponents, renormalise)
    _no_gradient(step, parameters, state)
    backend = _choose(backend, step, parameters)
    with torch.no_grad():
        if backend == "definition":
            return lyapunov_definition(step, parameters, state, **plan._asdict())
        if backend == "torch":
            growth = _growth_torch(step, parameters, state, plan)
        else:
            arguments = _arguments(step, parameters, state)
            growth = _compiled(backend).growth(*arguments, *plan, _rounding(state))
        return _exponents(growth, plan).to(state.dtype)


def _growth(step: Step, parameters: Tensor, x: Tensor, plan: _Averaged) -> tuple[Tensor, Tensor]:
    """Sums of ``log R_kk`` and how often direction ``k`` was lost, both ``(n, n_exponents)``."""
    jacobian = getattr(step, "jacobian", None) or _derivative(step)
    for _ in range(plan.burn_in):
        x = _next(step, x, parameters)
    logs = x.new_zeros(len(x), plan.n_exponents)
    lost = torch.zeros_like(logs)
    frame = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[:, : plan.n_exponents]
    for t in range(1, plan.n_steps + 1):
        frame = jacobian(x, parameters) @ frame
        x = _next(step, x, parameters)
        if t % plan.renormalise == 0 or t == plan.n_steps:
            norm = frame.square().sum(dim=(1, 2)).sqrt()[:, None]
            least = _rounding(x) * norm.where(norm.isfinite(), torch.nan)
            frame, upper = torch.linalg.qr(frame)
            lengths = upper.diagonal(dim1=1, dim2=2).abs()
            logs += torch.maximum(lengths, least).log()
            lost += lengths <= least
    return logs, lost


def _exponents(growth: tuple[Tensor, Tensor], plan: _Averaged) -> Tensor:
    """Exponents in descending order from the sums over an orbit."""
    logs, lost = growth
    times = -(-plan.n_steps // plan.renormalise)
    gone = (2 * lost >= times) & ~logs.isnan()
    return (logs / plan.n_steps).masked_fill(gone, -torch.inf).sort(dim=1, descending=True).values


def _rounding(x: Tensor) -> float:
    """The relative length under which a direction is noise; LAPACK's QR leaves a few eps."""
    return 4 * x.shape[1] * torch.finfo(x.dtype).eps


def _derivative(step: Step) -> Step:
    """The Jacobian ``(n, S, S)`` of any step, by forward-mode differentiation of one row."""

    def row(x: Tensor, p: Tensor) -> Tensor:
        return step(x[None], p[None])[0]

    return torch.func.vmap(torch.func.jacfwd(row))


def _orbit_torch(step: Step, parameters: Tensor, state: Tensor, plan: _Kept) -> Tensor:
    result = state.new_empty(plan.keep, *state.mT.shape).mT  # rows of one variable: long copies
    for rows, padded in _blocks(state):
        x, p = state[padded], parameters[padded]
        advance = None
        if isinstance(step, Map):
            columns = x.mT.contiguous()
            x, advance = columns.mT, step.in_place(columns, p.mT.contiguous())
        steps = plan.burn_in + plan.every
        for kept in result:
            for _ in range(steps):
                if advance is None:
                    x = _next(step, x, p)
                else:
                    advance()
            kept[rows] = x[: rows.stop - rows.start]
            steps = plan.every
    return result


def _growth_torch(
    step: Step, parameters: Tensor, state: Tensor, plan: _Averaged
) -> tuple[Tensor, Tensor]:
    logs = state.new_empty(len(state), plan.n_exponents)
    lost = torch.empty_like(logs)
    for rows, padded in _blocks(state):
        p, x = parameters[padded], state[padded]
        sums = _growth(step, p, x, plan)
        logs[rows], lost[rows] = (part[: rows.stop - rows.start] for part in sums)
    return logs, lost


def _blocks(state: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of points to work through one after the other, and the rows to fill each up with."""
    n = len(state)
    size = max(_BLOCK // (max(state.shape[1], 1) * _PAD), 1) * _PAD
    if state.device.type != "cpu":
        size = max(n, 1)
    for start in range(0, n, size):
        stop = min(start + size, n)
        full = -(-(stop - start) // _PAD) * _PAD
        padded = torch.arange(start, start + full, device=state.device).clamp_(max=stop - 1)
        yield slice(start, stop), padded


def _compiled(backend: str) -> Any:
    folder = {"numba": "cpu", "triton": "gpu"}[backend]
    return importlib.import_module(f"rnnlib.kernels.{folder}.orbit")


def _arguments(step: Step, parameters: Tensor, state: Tensor) -> tuple[str, Tensor, Tensor, Tensor]:
    """What a compiled path gets: the map's name, its weights, and contiguous parameters, states."""
    assert isinstance(step, Map)
    weights = step.weights if isinstance(step, TwoUnitLSTM) else parameters.new_zeros(8, 2)
    weights = weights.detach().to(parameters).contiguous()
    return step.name, weights, parameters.detach().contiguous(), state.detach().contiguous()


def _next(step: Step, x: Tensor, parameters: Tensor) -> Tensor:
    result = step(x, parameters)
    if result.shape != x.shape or result.dtype != x.dtype:
        expected, found = (f"{t.dtype} {tuple(t.shape)}" for t in (x, result))
        raise ArgumentError(f"step must return {expected} for such a state, got {found}")
    return result


def _checked(step: Step, parameters: Tensor, state: Tensor) -> Tensor:
    """The state of every point, ``(N, S)``."""
    if not callable(step):
        raise ArgumentError(f"step must be OneUnit(), TwoUnitLSTM(...) or a function, got {step!r}")
    n_parameters = len(step.parameter_names) if isinstance(step, Map) else None
    shape("parameters", parameters, (None, n_parameters))
    if parameters.dtype not in _DTYPES:
        raise ArgumentError(f"parameters must be float32 or float64, got {parameters.dtype}")
    if state.dtype != parameters.dtype or state.device != parameters.device:
        expected, found = (f"{t.dtype} on {t.device}" for t in (parameters, state))
        raise ArgumentError(f"state must be {expected}, as parameters are, got {found}")
    size = len(step.state_names) if isinstance(step, Map) else None
    if state.dim() == 1:
        shape("state", state, (size,))
        return state.expand(len(parameters), -1)
    return shape("state", state, (len(parameters), size))


def _kept(burn_in: int, keep: int, every: int) -> _Kept:
    return _Kept(
        at_least("burn_in", burn_in, 0), at_least("keep", keep, 1), at_least("every", every, 1)
    )


def _averaged(
    state: Tensor, burn_in: int, n_steps: int, n_exponents: int | None, renormalise: int
) -> _Averaged:
    size = state.shape[1]
    count = at_least("n_exponents", size if n_exponents is None else n_exponents, 1)
    if count > size:
        raise ArgumentError(f"n_exponents must be at most the state's size {size}, got {count}")
    return _Averaged(
        at_least("burn_in", burn_in, 0),
        at_least("n_steps", n_steps, 1),
        count,
        at_least("renormalise", renormalise, 1),
    )


def _no_gradient(step: Step, parameters: Tensor, state: Tensor) -> None:
    """Refuse to cut a history silently."""
    named = {"parameters": parameters, "state": state}
    if isinstance(step, TwoUnitLSTM):
        named["weights"] = step.weights
    for name, tensor in named.items():
        if tensor.requires_grad and torch.is_grad_enabled():
            advice = "detach it, or differentiate orbit_definition"
            raise ArgumentError(f"{name} must not require a gradient: {advice}")


def _choose(backend: str, step: Step, parameters: Tensor) -> str:
    if isinstance(step, Map):
        return backends.choose(backend, parameters, numba=_DTYPES, triton=_DTYPES)
    if backend in ("numba", "triton"):
        why = f"it runs the built-in maps only, not {step!r}"
        raise ArgumentError(f"backend must be torch or definition here, got {backend!r}: {why}")
    return backends.choose(backend, parameters, numba=(), triton=())
