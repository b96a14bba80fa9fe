r"""The linear recurrence ``h_t = a_t h_{t-1} + x_t``, channel by channel, and its adjoint.

`linear_scan_definition` is that line in a loop and says what is correct; `linear_scan` computes the
same in one pass over the memory. The gradient of a loss with ``g_t = dE/dh_t`` is a scan too,

    e_t = g_t + conj(a_{t+1}) e_{t+1},    dE/dx_t = e_t,    dE/da_t = e_t conj(h_{t-1}),

run from the end (compare Martin & Cundy 2017, "Parallelizing linear recurrent neural nets over
sequence length", arXiv 1709.04057). So a scan can be differentiated any number of times by scans.
The first derivative alone, which training needs, is one pass that sums ``dE/da`` as it goes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnlib.checks import ArgumentError, shape
from rnnlib.kernels import backends

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def linear_scan_definition(
    decay: Tensor,
    inputs: Tensor,
    initial: Tensor | None = None,
    *,
    resets: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """The recurrence as a plain loop: slow, any floating or complex dtype, any decay.

    Arguments, result and errors as for `linear_scan`, which takes four dtypes and finite decays.
    """
    decay, inputs, initial = _checked(decay, inputs, initial, resets)
    B, T, H = inputs.shape
    h = inputs.new_zeros(B, H) if initial is None else initial
    if T == 0:
        return inputs * decay + h[:, None]
    steps = [decay] * T if decay.dim() == 1 else decay.unbind(-2)
    states = list(inputs.unbind(1))
    for t in reversed(range(T)) if reverse else range(T):
        a = steps[t]
        if resets is not None:
            a, h = (x.masked_fill(resets[:, t, None], 0) for x in (a, h))
        h = states[t] = a * h + states[t]
    return torch.stack(states, dim=1)


def linear_scan(
    decay: Tensor,
    inputs: Tensor,
    initial: Tensor | None = None,
    *,
    resets: Tensor | None = None,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Run ``h_t = a_t h_{t-1} + x_t`` over time, each channel by itself.

    Args:
        decay: ``a``, of shape ``(H,)``, ``(T, H)`` or ``(B, T, H)``.
        inputs: ``x``, of shape ``(B, T, H)``. Decay, inputs and initial state are float32 or
            float64, or complex of that precision; if one of them is complex, so is the result.
        initial: ``(B, H)``, the state before the first step; None is zero.
        resets: ``(B, T)`` bool or None; where true the state before is forgotten, as if ``a_t``
            were 0, even if that state is infinite or NaN.
        reverse: run ``h_t = a_t h_{t+1} + x_t`` from the end; ``initial`` is then the state after
            the last step.
        backend: "auto", or one of `rnnlib.kernels.backends.BACKENDS`.

    Returns:
        ``(B, T, H)``, all states. Differentiable any number of times in decay, inputs and initial,
        also by `torch.func` (both modes, vmap). Beside the result it takes memory for some rows of
        states, in plain torch ``4 sqrt(T)``, and for a copy of what is not contiguous.

    Raises:
        ArgumentError: for shapes, dtypes or devices that disagree, a backend that is not there,
            or, on a CPU, a decay that holds NaN or an infinity. On a GPU one would have to wait
            for the values, and under vmap or `torch.compile` there are none to look at: there
            such a decay gives the states that the loop would give.
    """
    decay, inputs, initial = _checked(decay, inputs, initial, resets)
    if inputs.dtype not in DTYPES:
        accepted = "float32, float64, complex64 or complex128"
        raise ArgumentError(f"inputs must be {accepted}, got {inputs.dtype}")
    compiling = torch.compiler.is_compiling()
    if not compiling:
        backend = backends.choose(backend, inputs, numba=DTYPES, triton=DTYPES)
        _refuse_nonfinite(decay)
    if backend == "definition" or inputs.shape[1] == 0:
        return linear_scan_definition(decay, inputs, initial, resets=resets, reverse=reverse)
    # The compiler knows operators; it does not take functions with a forward mode.
    run = _scan if compiling else _Scan.apply
    return run(decay, inputs, initial, resets, reverse, backend)


def _checked(
    decay: Tensor, inputs: Tensor, initial: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check shapes, dtypes and devices; bring the numbers to the one dtype of the result."""
    shape("inputs", inputs, (None, None, None))
    B, T, H = inputs.shape
    if tuple(decay.shape) not in ((H,), (T, H), (B, T, H)):
        accepted = f"({H},), ({T}, {H}) or ({B}, {T}, {H})"
        raise ArgumentError(f"decay must have shape {accepted}, got {tuple(decay.shape)}")
    if initial is not None:
        shape("initial", initial, (B, H))
    if resets is not None:
        shape("resets", resets, (B, T))
        if resets.dtype != torch.bool:
            raise ArgumentError(f"resets must be torch.bool, got {resets.dtype}")
    if not _has_fractions(inputs):
        raise ArgumentError(f"inputs must be floating or complex, got {inputs.dtype}")
    for name, tensor in (("decay", decay), ("initial", initial), ("resets", resets)):
        if tensor is not None and tensor.device != inputs.device:
            where = f"{inputs.device}, where inputs are"
            raise ArgumentError(f"{name} must be on {where}, got {tensor.device}")
    precision = torch.finfo(inputs.dtype).eps
    dtype = inputs.dtype
    for name, tensor in (("decay", decay), ("initial", initial)):
        if tensor is None:
            continue
        if not _has_fractions(tensor) or torch.finfo(tensor.dtype).eps != precision:
            accepted = f"real or complex of the precision of inputs, {inputs.dtype}"
            raise ArgumentError(f"{name} must be {accepted}, got {tensor.dtype}")
        dtype = torch.promote_types(dtype, tensor.dtype)
    return decay.to(dtype), inputs.to(dtype), None if initial is None else initial.to(dtype)


def _has_fractions(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _refuse_nonfinite(decay: Tensor) -> None:
    if decay.device.type != "cpu":
        return
    try:
        # One sum is cheaper than looking at each number; it may overflow, so it is not the verdict.
        finite = decay.detach().sum().isfinite() or decay.detach().isfinite().all()
    except RuntimeError:  # no values to look at: under vmap, or a tensor that is only a shape
        return
    if not finite:
        bad = decay.detach()[~decay.detach().isfinite()]
        raise ArgumentError(f"decay must be finite, got {bad[0].item()} ({len(bad)} not finite)")


@torch.library.custom_op(
    "rnnlib::linear_scan",
    mutates_args=(),
    schema="(Tensor decay, Tensor inputs, Tensor? initial, Tensor? resets, bool reverse, "
    "str backend) -> Tensor",
)
def _scan(
    decay: Tensor,
    inputs: Tensor,
    initial: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    backend: str,
) -> Tensor:
    """The states, without a derivative of their own."""
    decay = _three_axes(decay)
    backend = backends.choose(backend, inputs, numba=DTYPES, triton=DTYPES)
    if inputs.numel() == 0:
        return torch.empty_like(inputs, memory_format=torch.contiguous_format)
    return _path(backend).scan(decay, inputs, initial, resets, reverse)


@torch.library.custom_op(
    "rnnlib::linear_scan_adjoint",
    mutates_args=(),
    schema="(Tensor decay, Tensor states, Tensor grad, Tensor? resets, bool reverse, "
    "str backend) -> (Tensor, Tensor)",
)
def _adjoint(
    decay: Tensor,
    states: Tensor,
    grad: Tensor,
    resets: Tensor | None,
    reverse: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of inputs and decay; the latter lacks what the initial state adds to it."""
    axes = _three_axes(decay)
    backend = backends.choose(backend, states, numba=DTYPES, triton=DTYPES)
    if states.numel() == 0:
        return torch.empty_like(states), torch.zeros_like(decay)
    d_inputs, d_decay = _path(backend).adjoint(axes, states, grad, resets, reverse)
    return d_inputs, d_decay.reshape(decay.shape)


@_scan.register_fake
def _(decay: Tensor, inputs: Tensor, *rest: Any) -> Tensor:
    return inputs.new_empty(inputs.shape)


@_adjoint.register_fake
def _(decay: Tensor, states: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return states.new_empty(states.shape), decay.new_empty(decay.shape)


def _path(backend: str) -> Any:
    """The module that computes `scan` and `adjoint`; its dependencies are loaded only now."""
    if backend == "numba":
        from rnnlib.kernels.cpu import scan as compiled

        return compiled
    if backend == "triton":
        from rnnlib.kernels.gpu import scan as on_gpu

        return on_gpu
    from rnnlib.kernels import scan_torch

    return scan_torch


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Save what the derivatives need: the states, not the inputs."""
    decay, _, initial, resets, ctx.reverse, ctx.backend = inputs
    ctx.save_for_backward(decay, initial, resets, output)
    ctx.save_for_forward(decay, initial, resets, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    decay, initial, resets, states = ctx.saved_tensors
    reverse, backend = ctx.reverse, ctx.backend
    of_decay, _, of_initial, *_ = ctx.needs_input_grad
    d_decay = d_initial = None
    # The pass that does all at once has no derivative itself: it is for those who ask for none.
    at_once = of_decay and not torch.is_grad_enabled()
    if at_once:
        d_inputs, d_decay = _adjoint(decay, states, grad, resets, reverse, backend)
    else:
        # Step t of the adjoint takes what belongs to the step after; its first, anything.
        step = 1 if reverse else -1
        a = decay if decay.dim() == 1 else decay.roll(step, -2)
        forget = None if resets is None else resets.roll(step, 1)
        d_inputs = _Scan.apply(a.conj(), grad, None, forget, not reverse, backend)
        if of_decay:
            product = d_inputs * _before(states, initial, reverse).conj()
            d_decay = _forget(product, resets).sum_to_size(decay.shape)
    first = -1 if reverse else 0
    e = d_inputs.narrow(1, first, 1)
    forget = None if resets is None else resets.narrow(1, first, 1)
    if of_initial:
        a = _three_axes(decay).narrow(1, first, 1)
        d_initial = _forget(a.conj() * e, forget).squeeze(1)
    if at_once and d_decay is not None:
        start = torch.zeros_like(e) if initial is None else initial[:, None]
        row = _three_axes(d_decay).narrow(1, first, 1)
        row += _forget(e * start.conj(), forget).sum_to_size(row.shape)
    return d_decay, d_inputs, d_initial, None, None, None


class _Scan(torch.autograd.Function):
    forward = staticmethod(_scan)
    setup_context = staticmethod(_keep)
    backward = staticmethod(_backward)

    @staticmethod
    def jvp(
        ctx: Any, d_decay: Tensor | None, d_inputs: Tensor | None, d_initial: Tensor | None, *_: Any
    ) -> Tensor:
        # Torch turns the forward mode off in here, and a jvp within a jvp would be wrong without a
        # word (pytorch issue 197867): turn it on, for numbers rid of the tangents at hand.
        with forward_ad._set_fwd_grad_enabled(True):
            decay, initial, resets, states = map(_primal, ctx.saved_tensors)
            drive = torch.zeros_like(states) if d_inputs is None else d_inputs
            if d_decay is not None:
                carried = d_decay * _before(states, initial, ctx.reverse)
                drive = drive + _forget(carried, resets)
            return _Scan.apply(decay, drive, d_initial, resets, ctx.reverse, ctx.backend)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        decay: Tensor,
        inputs: Tensor,
        initial: Tensor | None,
        resets: Tensor | None,
        reverse: bool,
        backend: str,
    ) -> tuple[Tensor, int]:
        """Take the mapped axis for more channels or, if it cannot be, for more sequences."""
        V, (of_decay, of_inputs, of_initial, of_resets, *_) = info.batch_size, in_dims

        def merge(x: Any, mapped: int | None, axis: int) -> Any:
            """Merge the mapped axis, of copies if there is none, with another one."""
            if x is None:
                return None
            x = x[None] if mapped is None else x.movedim(mapped, 0)
            return x.expand(V, *x.shape[1:]).movedim(0, axis - 1).flatten(axis - 1, axis)

        by_channel = of_decay is not None and of_resets is None
        inputs = merge(inputs, of_inputs, -1 if by_channel else -3)
        initial = merge(initial, of_initial, -1 if by_channel else -2)
        if by_channel:
            decay = merge(decay, of_decay, -1)
        else:
            resets = merge(resets, of_resets, -2)
            if of_decay is not None:
                # Resets have no channels and shared decays no sequences: spell the decays out.
                decay = decay.movedim(of_decay, 0)
                decay = decay.reshape(V, *[1] * (4 - decay.dim()), *decay.shape[1:])
                decay = decay.expand(V, inputs.shape[0] // V, *inputs.shape[1:]).flatten(0, 1)
            elif decay.dim() == 3:
                decay = merge(decay, None, -3)
        states = _Scan.apply(decay, inputs, initial, resets, reverse, backend)
        mapped = 2 if by_channel else 0
        sizes = list(states.shape)
        sizes[mapped : mapped + 1] = [V, sizes[mapped] // V]
        return states.reshape(sizes), mapped


_scan.register_autograd(_backward, setup_context=_keep)


def _three_axes(decay: Tensor) -> Tensor:
    return decay.reshape((1,) * (3 - decay.dim()) + tuple(decay.shape))


def _primal(x: Any) -> Any:
    return x if x is None else forward_ad.unpack_dual(x).primal


def _forget(carried: Tensor, resets: Tensor | None) -> Tensor:
    """Zero in place of what would be carried over a reset."""
    return carried if resets is None else carried.masked_fill(resets[..., None], 0)


def _before(states: Tensor, initial: Tensor | None, reverse: bool) -> Tensor:
    """The state that each step started from."""
    start = torch.zeros_like(states[:, :1]) if initial is None else initial[:, None]
    return torch.cat([states[:, 1:], start] if reverse else [start, states[:, :-1]], dim=1)
