r"""Elman networks by the stack: ``R`` networks with their own weights on their own batches.

For each replica ``r`` and sequence ``b``, in the two parametrisations of Pascanu, Mikolov & Bengio,

    h_t = f(W_rec h_{t-1} + W_in u_t + b)        "activation": 2012, footnote 1
    x_t = W_rec f(x_{t-1}) + W_in u_t + b        "preactivation": 2012 and 2013, equation (2)

with f = tanh, logistic or linear. `elman_definition` is that line in a loop and says what is
correct. `elman_ensemble` computes the same with backpropagation through time written out by hand,
since automatic differentiation of the loop costs several times the arithmetic of networks this
small. One backward pass also yields what an `Errors` object asks for: the norm of the error at
every step, and the regulariser Omega of Pascanu et al. (2013), equations (9) and (10), with its
immediate derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, at_least, one_of, shape
from rnnlib.kernels import backends

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "logistic": torch.sigmoid,
    "linear": torch.clone,
}
PARAMETRISATIONS = ("activation", "preactivation")
REGULARISERS = ("squared", "unsquared")

_COMPILED = (torch.float32, torch.float64)
_ON_GPU = (torch.float32,)


class Errors:
    r"""What one backward pass through `elman_ensemble` saw; ``backward()`` fills it.

    The error at step k is ``delta_k = dE/dh_k`` (``dE/dx_k`` for "preactivation"), the sum over
    all later losses. Its part that came through the recurrence is ``r_k = delta_{k+1} J_{k+1}``,
    with ``J_{k+1} = dh_{k+1}/dh_k``. With ``m_k = |delta_{k+1}|`` and ``n_k = |r_k|`` of one
    sequence,

        Omega_k = (n_k^2 / m_k^2 - 1)^2        "squared": the proceedings' program
        Omega_k = (n_k / m_k - 1)^2            "unsquared": equation (9) of the arXiv text

    and Omega is the mean of Omega_k over the pairs of step and sequence whose error has not
    vanished. Its derivative is the immediate one, equation (10): only the W_rec that stands in
    J counts, while states, errors and slopes are constants. It is not added to ``W_rec.grad``.

    Args:
        regulariser: "squared", "unsquared", or None to watch the norms only.
        vanished: a pair counts as vanished where ``m_k^2`` is below this. The default is that of
            the authors' program; it is absolute, so it depends on the scale of the loss.
        relative: compare with ``vanished`` times the largest ``m^2`` that the sequence has had so
            far on its way back, which does not depend on the scale of the loss.
            In either case an error below the smallest normal number of its dtype has vanished,
            and one whose square is below that of float64.

    Attributes (None until filled; all on the device of the networks):
        norms: ``(R, B, T+1)`` float64, ``|delta_k|`` for k = 0..T; 0 after a replica's length.
        carried: ``(R, B, T)`` float64, ``n_k`` for k = 0..T-1.
        omega: ``(R,)`` float64; 0 where every error has vanished.
        active: ``(R,)`` float64, how many pairs of step and sequence had not vanished.
        omega_gradient: ``(R, H, H)``, the immediate derivative of ``omega``, dtype of ``W_rec``.

    Raises:
        ArgumentError: for an unknown regulariser, or ``vanished`` below 0.
    """

    norms: Tensor | None = None
    carried: Tensor | None = None
    omega: Tensor | None = None
    active: Tensor | None = None
    omega_gradient: Tensor | None = None

    def __init__(
        self, regulariser: str | None = None, *, vanished: float = 1e-20, relative: bool = False
    ) -> None:
        if regulariser is not None:
            one_of("regulariser", regulariser, REGULARISERS)
        if not vanished >= 0:
            raise ArgumentError(f"vanished must be a number >= 0, got {vanished!r}")
        self.watch = Watch(regulariser, float(vanished), relative)

    def fill(self, seen: Seen) -> None:
        """Take over what a backward pass saw."""
        self.norms, self.carried = seen.norms, seen.carried
        if self.watch.regulariser:
            self.omega, self.active = seen.omega, seen.active
            self.omega_gradient = seen.omega_gradient


class Watch(NamedTuple):
    """What a backward pass is asked to see: the arguments of `Errors`."""

    regulariser: str | None
    vanished: float
    relative: bool

    def blank(self, p: Problem) -> Seen:
        """Zeros of the right shapes, for a backward pass to fill."""
        R, B, T, _ = p.sizes
        numbers: dict[str, Any] = {"dtype": torch.float64, "device": p.W_rec.device}
        return Seen(
            norms=torch.zeros(R, B, T + 1, **numbers),
            carried=torch.zeros(R, B, T, **numbers),
            omega=torch.zeros(R, **numbers),
            active=torch.zeros(R, **numbers),
            omega_gradient=torch.zeros_like(p.W_rec),
        )

    def weigh(self, m2: Tensor, n2: Tensor, largest: Tensor, dtype: torch.dtype) -> Weighed:
        r"""Omega_k and what its derivative takes, for each sequence.

        The derivative is ``dOmega_k/dW = c delta^T r`` (see `Errors`), where ``c`` is
        ``4(q - 1)/m^2`` with ``q = n^2/m^2``, or ``2(n/m - 1)/(n m)``. The product is a ratio that
        does not depend on the scale of the loss, but ``c`` overflows float32 where m is below
        1e-19. So ``delta`` and ``r`` are first lifted to a norm of about one, by powers of two,
        which round nothing.

        Args:
            m2, n2: squared norms, float64; 0 where a sequence takes no step.
            largest: the largest ``m2`` so far.
            dtype: that of the errors.
        """
        bound = self.vanished * largest if self.relative else torch.full_like(m2, self.vanished)
        least = max(torch.finfo(dtype).tiny ** 2, torch.finfo(torch.float64).tiny)
        alive = ~((m2 < bound) | (m2 < least))
        ratio = torch.where(alive, n2 / m2, 1.0)
        lift_m, lift_n = _lift(m2.sqrt(), dtype), _lift(n2.sqrt(), dtype)
        if self.regulariser == "unsquared":
            ratio = ratio.sqrt()
            product = (m2 * lift_m * lift_m) * (n2 * lift_n * lift_n)
            factor = 2 * (ratio - 1) / product.sqrt()
        else:
            factor = 4 * (ratio - 1) / (m2 * lift_m * lift_n)
        factor = torch.where(alive & (n2 > 0), factor, 0.0)
        return Weighed((ratio - 1) ** 2, alive, *(x.to(dtype) for x in (factor, lift_m, lift_n)))


class Weighed(NamedTuple):
    """Omega_k, and its derivative as ``factor (lift_m delta)^T (lift_n r)``; by `Watch.weigh`.

    All of the shape of ``m2``; ``omega`` is float64, the last three have the dtype of the errors.
    Where an error has vanished, ``omega`` and ``factor`` are 0.
    """

    omega: Tensor
    alive: Tensor
    factor: Tensor
    lift_m: Tensor
    lift_n: Tensor


def _lift(norm: Tensor, dtype: torch.dtype) -> Tensor:
    """The power of two that brings ``norm`` to 1/2..1, as far as ``dtype`` has it; 1 for zero."""
    tiny = torch.finfo(dtype).tiny
    power = norm.frexp().mantissa / norm  # exact
    return torch.where(norm > 0, power, 1.0).clamp(tiny, 1 / tiny)


class Seen(NamedTuple):
    """The tensors of `Errors`; those of the regulariser are meaningless where none was asked."""

    norms: Tensor
    carried: Tensor
    omega: Tensor
    active: Tensor
    omega_gradient: Tensor


class Problem(NamedTuple):
    """The checked arguments of `elman_ensemble`, as its paths take them.

    ``b`` and ``initial`` are tensors; ``lengths`` is int64 ``(R,)`` or None for all steps.
    """

    inputs: Tensor
    W_rec: Tensor
    W_in: Tensor
    b: Tensor
    initial: Tensor
    lengths: Tensor | None
    nonlinearity: str
    parametrisation: str
    last: bool

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """R, B, T, H."""
        n_replicas, batch, time = self.inputs.shape[:3]
        return n_replicas, batch, time, self.W_rec.shape[1]


class Backward(NamedTuple):
    """Gradients in the order of the arguments, and what was seen on the way."""

    inputs: Tensor | None
    W_rec: Tensor
    W_in: Tensor
    b: Tensor
    initial: Tensor
    seen: Seen | None


def elman_definition(
    inputs: Tensor,
    W_rec: Tensor,
    W_in: Tensor,
    b: Tensor | None = None,
    initial: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
    parametrisation: str = "activation",
    lengths: Tensor | None = None,
    stopped: Tensor | None = None,
    last: bool = False,
    errors: Errors | None = None,
) -> Tensor:
    """The recurrence as a plain loop: slow, any float dtype, differentiable any number of times.

    Arguments, result and errors as for `elman_ensemble`.
    """
    choices = (nonlinearity, parametrisation, last)
    p = _problem(inputs, W_rec, W_in, b, initial, lengths, stopped, *choices)
    return _loop(p, errors)


def elman_ensemble(
    inputs: Tensor,
    W_rec: Tensor,
    W_in: Tensor,
    b: Tensor | None = None,
    initial: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
    parametrisation: str = "activation",
    lengths: Tensor | None = None,
    stopped: Tensor | None = None,
    last: bool = False,
    errors: Errors | None = None,
    backend: str = "auto",
) -> Tensor:
    """Run ``R`` Elman networks on ``R`` batches, with backpropagation through time by hand.

    What happens to a replica depends on its own numbers alone, bit for bit: not on its place in
    the stack, nor on the company it is in ("numba" and "triton"; "torch" multiplies stacks of
    matrices, and its libraries promise this for most shapes only).

    Args:
        inputs: ``(R, B, T, I)`` floating, or ``(R, B, T)`` int64 symbols in ``0..I-1`` that stand
            for one-hot inputs.
        W_rec: ``(R, H, H)``, column convention: ``h_t`` gets ``W_rec @ h_{t-1}``.
        W_in: ``(R, H, I)``.
        b: ``(R, H)`` or None for no bias.
        initial: ``(R, B, H)``, the state before the first input in the network's own
            parametrisation; None is zero.
        nonlinearity: "tanh", "logistic" or "linear".
        parametrisation: "activation" or "preactivation", see above.
        lengths: ``(R,)`` int64 in ``0..T``: how many steps each replica takes; None is all.
        stopped: ``(R,)`` bool: replicas to leave out; they take no step.
        last: return only the state after a replica's last step.
        errors: filled by the backward pass, see `Errors`.
        backend: "auto", "definition", "torch", "numba" or "triton".

    Returns:
        ``(R, B, T, H)``, zero after a replica's length, or ``(R, B, H)`` with ``last``; dtype of
        ``W_rec``. Differentiable once in every floating argument; a second time is refused: use
        ``backend="definition"`` for that.

    Raises:
        ArgumentError: for shapes, dtypes or devices that disagree, no replicas, symbols that are
            not int64 or (on a CPU) lie outside ``0..I-1``, lengths outside ``0..T``, an unknown
            name, or a backend that cannot be used here.
    """
    choices = (nonlinearity, parametrisation, last)
    p = _problem(inputs, W_rec, W_in, b, initial, lengths, stopped, *choices)
    chosen = backends.choose(backend, W_rec, numba=_COMPILED, triton=_ON_GPU)
    if chosen == "definition":
        return _loop(p, errors)
    return _apply(p, chosen, errors)


def _apply(p: Problem, backend: str, errors: Errors | None) -> Tensor:
    if not torch.is_grad_enabled():
        return _path(backend).forward(p, False)[0]
    return _Elman.apply(*p, backend, errors)[0]


def _problem(
    inputs: Tensor,
    W_rec: Tensor,
    W_in: Tensor,
    b: Tensor | None,
    initial: Tensor | None,
    lengths: Tensor | None,
    stopped: Tensor | None,
    nonlinearity: str,
    parametrisation: str,
    last: bool,
) -> Problem:
    one_of("nonlinearity", nonlinearity, NONLINEARITIES)
    one_of("parametrisation", parametrisation, PARAMETRISATIONS)
    if W_rec.dim() != 3 or W_rec.shape[1] != W_rec.shape[2]:
        found = tuple(W_rec.shape)
        raise ArgumentError(f"W_rec must have shape (replicas, hidden, hidden), got {found}")
    n_replicas, hidden, _ = W_rec.shape
    at_least("replicas", n_replicas, 1)
    if not W_rec.is_floating_point():
        raise ArgumentError(f"W_rec must have a floating dtype, got {W_rec.dtype}")
    shape("W_in", W_in, (n_replicas, hidden, None))
    if b is None:
        b = W_rec.new_zeros(n_replicas, hidden)
    shape("b", b, (n_replicas, hidden))
    if inputs.is_floating_point():
        shape("inputs", inputs, (n_replicas, None, None, W_in.shape[2]))
        _same("inputs", inputs, W_rec.dtype, W_rec.device)
    else:
        shape("inputs", inputs, (n_replicas, None, None))
        _same("inputs", inputs, torch.int64, W_rec.device)
        # To look at a GPU's symbols would make it wait; a GPU asserts by itself.
        if inputs.device.type == "cpu":
            _within("inputs", inputs, W_in.shape[2] - 1, "symbols")
    if initial is None:
        initial = W_rec.new_zeros(n_replicas, inputs.shape[1], hidden)
    shape("initial", initial, (n_replicas, inputs.shape[1], hidden))
    for name, tensor in (("W_in", W_in), ("b", b), ("initial", initial)):
        _same(name, tensor, W_rec.dtype, W_rec.device)
    if lengths is not None:
        shape("lengths", lengths, (n_replicas,))
        _same("lengths", lengths, torch.int64, W_rec.device)
        _within("lengths", lengths, inputs.shape[2], "lengths")
    if stopped is not None:
        shape("stopped", stopped, (n_replicas,))
        _same("stopped", stopped, torch.bool, W_rec.device)
        if lengths is None:
            lengths = torch.full_like(stopped, inputs.shape[2], dtype=torch.int64)
        lengths = lengths.masked_fill(stopped, 0)
    choices = (nonlinearity, parametrisation, last)
    return Problem(inputs, W_rec, W_in, b, initial, lengths, *choices)


def _same(name: str, tensor: Tensor, dtype: torch.dtype, device: torch.device) -> None:
    if tensor.dtype != dtype or tensor.device != device:
        found = f"{tensor.dtype} on {tensor.device}"
        raise ArgumentError(f"{name} must be {dtype} on {device}, as W_rec asks, got {found}")


def _within(name: str, values: Tensor, largest: int, what: str) -> None:
    if values.numel() and not 0 <= values.min() <= values.max() <= largest:
        found = f"{int(values.min())} to {int(values.max())}"
        raise ArgumentError(f"{name} must hold {what} from 0 to {largest}, got {found}")


def one_hot(p: Problem) -> Tensor:
    """Symbols ``(R, B, T)`` as ``(R, B, T, I)``, laid out by time; other inputs as they are."""
    if p.inputs.is_floating_point():
        return p.inputs
    by_time = p.inputs.permute(2, 0, 1)[..., None]
    spelt_out = p.W_in.new_zeros(*by_time.shape[:3], p.W_in.shape[2])
    return spelt_out.scatter_(3, by_time, 1.0).permute(1, 2, 0, 3)


def slope(h: Tensor, nonlinearity: str) -> Tensor:
    """``f'`` written in the activation ``h = f(a)``."""
    if nonlinearity == "tanh":
        return 1 - h * h
    return h * (1 - h) if nonlinearity == "logistic" else torch.ones_like(h)


def _loop(p: Problem, errors: Errors | None) -> Tensor:
    f = NONLINEARITIES[p.nonlinearity]
    pre = p.parametrisation == "preactivation"
    u, bias = one_hot(p), p.b[:, None]
    # With errors to watch every state must be a node of the graph, the first one too.
    first = p.initial
    if errors is not None and torch.is_grad_enabled():
        first = first.clone() if first.requires_grad else first.detach().requires_grad_()
    states, outputs = [first], []
    for t in range(u.shape[2]):
        before = f(states[-1]) if pre else states[-1]
        a = before @ p.W_rec.mT + u[:, :, t] @ p.W_in.mT + bias
        state = a if pre else f(a)
        if p.lengths is None:
            states.append(state)
            outputs.append(state)
        else:
            running = (t < p.lengths)[:, None, None]
            states.append(torch.where(running, state, states[-1]))
            outputs.append(torch.where(running, states[-1], 0.0))
    if errors is not None and torch.is_grad_enabled():
        _watch(p, states, errors)
    if p.last:
        return states[-1]
    return torch.stack(outputs, dim=2) if outputs else first[:, :, None][:, :, :0]


def _watch(p: Problem, states: list[Tensor], errors: Errors) -> None:
    """Collect the total error at every state; the one at the first state comes last."""
    deltas: list[Tensor] = [torch.zeros_like(state) for state in states]

    def keep(k: int) -> Callable[[Tensor], None]:
        def hook(delta: Tensor) -> None:
            deltas[k] = delta.detach()
            if k == 0:
                errors.fill(_seen_by_definition(p, [s.detach() for s in states], deltas, errors))

        return hook

    for k, state in enumerate(states):
        if state.requires_grad:
            state.register_hook(keep(k))


@torch.no_grad()
def _seen_by_definition(
    p: Problem, states: list[Tensor], deltas: list[Tensor], errors: Errors
) -> Seen:
    pre = p.parametrisation == "preactivation"
    R, _, T, _ = p.sizes
    lengths = torch.full((R,), T, device=p.W_rec.device) if p.lengths is None else p.lengths
    seen, watch = errors.watch.blank(p), errors.watch
    largest = torch.zeros_like(seen.norms[:, :, 0])
    total = torch.zeros_like(seen.omega)
    for k in reversed(range(T)):
        h, h_next = (NONLINEARITIES[p.nonlinearity](s) if pre else s for s in states[k : k + 2])
        running = (k < lengths)[:, None]
        delta = torch.where(running[..., None], deltas[k + 1], 0.0)
        if pre:
            at_argument, back = delta, slope(h, p.nonlinearity)
        else:
            at_argument, back = delta * slope(h_next, p.nonlinearity), torch.ones_like(h)
        r = (at_argument @ p.W_rec) * back
        m2, n2 = (e.double().square().sum(-1) for e in (delta, r))
        seen.norms[:, :, k + 1], seen.carried[:, :, k] = m2.sqrt(), n2.sqrt()
        if watch.regulariser:
            largest = torch.where(m2 > largest, m2, largest)
            weighed = watch.weigh(m2, n2, largest, p.W_rec.dtype)
            total += weighed.omega.sum(1)
            seen.active.add_(weighed.alive.sum(1))
            factor, lift_m, lift_n = (each[..., None] for each in weighed[2:])
            weighted = factor * (lift_n * r) * back
            seen.omega_gradient.add_((lift_m * at_argument).mT @ weighted)
    first = deltas[0].double().square().sum(-1).sqrt()
    # Where no step was taken, the first state is the last one and nothing came back to it.
    seen.norms[:, :, 0] = torch.where((lengths > 0)[:, None] | p.last, first, 0.0)
    divisor = seen.active.clamp_min(1)
    seen.omega.copy_(total / divisor)
    seen.omega_gradient.div_(divisor[:, None, None].to(p.W_rec.dtype))
    return seen


def _path(backend: str) -> Any:
    """The module that holds ``forward`` and ``backward`` of a backend."""
    if backend == "numba":
        from rnnlib.kernels.cpu import elman as compiled

        return compiled
    if backend == "triton":
        from rnnlib.kernels.gpu import elman as on_gpu

        return on_gpu
    from rnnlib.kernels import elman_torch

    return elman_torch


class _Elman(torch.autograd.Function):
    """A path's ``forward``; its outputs are the states and what it keeps for `_Gradients`."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        *problem, backend, _ = args
        output, kept = _path(backend).forward(Problem(*problem), True)
        return output, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *problem, ctx.backend, ctx.errors = inputs
        ctx.choices = problem[6:]
        kept = output[1:]
        ctx.mark_non_differentiable(*kept)
        ctx.save_for_backward(*problem[:6], *kept)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        problem, kept = ctx.saved_tensors[:6], ctx.saved_tensors[6:]
        choices = (*ctx.choices, ctx.backend, ctx.errors, ctx.needs_input_grad[0])
        d_inputs, *rest = _Gradients.apply(*problem, grad, *choices, *kept)
        return d_inputs if ctx.needs_input_grad[0] else None, *rest, *[None] * 6

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *args: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """A mapped axis is more replicas. Nothing is kept: `_Gradients` starts anew."""
        *_, errors = args
        if errors is not None:
            raise ArgumentError("errors must be None under torch.func.vmap, which cannot fill it")
        problem = _more_replicas(info.batch_size, in_dims[:6], args[:6])
        output = _Elman.apply(*problem, *args[6:])[0]
        return (output.unflatten(0, (info.batch_size, -1)),), (0,)


class _Gradients(torch.autograd.Function):
    """A path's ``backward``. It has no derivative: what it starts from are numbers."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        problem, grad, choices, kept = args[:6], args[6], args[7:10], args[13:]
        backend, errors, want_inputs = args[10:13]
        p, path = Problem(*problem, *choices), _path(backend)
        if not kept:
            kept = path.forward(p, True)[1]
        watch = errors.watch if errors else None
        found = path.backward(p, kept, grad, want_inputs=want_inputs, watch=watch)
        if errors:
            errors.fill(found.seen)
        d_inputs = grad.new_zeros(0) if found.inputs is None else found.inputs
        return d_inputs, *found[1:5]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[None, ...]:
        advice = 'use backend="definition" for second derivatives'
        raise RuntimeError(f"elman_ensemble can be differentiated once: {advice}")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *args: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        tensors = _more_replicas(info.batch_size, in_dims[:7], args[:7])
        found = _Gradients.apply(*tensors, *args[7:13])
        n = info.batch_size
        whole = (each.unflatten(0, (n, -1)) if each.numel() else each[None] for each in found)
        return tuple(whole), (0,) * len(found)


def _more_replicas(
    n: int, dims: tuple[int | None, ...], tensors: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Join a mapped axis of length ``n`` to the replicas; what is not mapped is repeated."""

    def joined(tensor: Tensor | None, dim: int | None) -> Tensor | None:
        if tensor is None:
            return None
        mapped = tensor.expand(n, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        return mapped.flatten(0, 1)

    return [joined(tensor, dim) for tensor, dim in zip(tensors, dims, strict=True)]
