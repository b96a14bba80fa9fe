r"""Step functions of recurrent networks and their exact Jacobians.

Pascanu, Mikolov & Bengio (2012) write the same network in two ways. Their equation (2) keeps
the state before the non-linearity, their footnote 1 the state after it:

    preactivation:  x_t = W_rec f(x_{t-1}) + W_in u_t + b
    activation:     h_t = f(W_rec h_{t-1} + W_in u_t + b)         with h_t = f(x_t)

The text writes columns, ``W_rec @ x``; the code keeps states in the last axis, ``x @ W_rec.mT``.
This module is the one place where the two conventions meet. All leading axes broadcast: a stack
of weights ``(R, H, H)`` goes with states ``(R, batch, H)`` and biases ``(R, 1, H)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlib import checks

PARAMETRISATIONS = ("preactivation", "activation")


@dataclass(frozen=True)
class Nonlinearity:
    """An element-wise function with its slope; calling it applies ``f``.

    Attributes:
        name: the key in ``NONLINEARITIES``.
        f: the function.
        slope: ``f'(x)`` as a function of the input ``x``.
        slope_of_output: the same number as a function of the output ``h = f(x)``.
        slope_bound: the largest ``|f'|``, the paper's gamma.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    slope_of_output: Callable[[Tensor], Tensor]
    slope_bound: float

    def __call__(self, x: Tensor) -> Tensor:
        return self.f(x)


TANH = Nonlinearity(
    name="tanh",
    f=torch.tanh,
    slope=lambda x: 1 - torch.tanh(x) ** 2,
    slope_of_output=lambda h: 1 - h**2,
    slope_bound=1.0,
)
LOGISTIC = Nonlinearity(
    name="logistic",
    f=torch.sigmoid,
    # sigma(-x) keeps its digits where 1 - sigma(x) would cancel.
    slope=lambda x: torch.sigmoid(x) * torch.sigmoid(-x),
    slope_of_output=lambda h: h * (1 - h),
    slope_bound=0.25,
)
LINEAR = Nonlinearity(
    name="linear",
    f=lambda x: x,
    slope=torch.ones_like,
    slope_of_output=torch.ones_like,
    slope_bound=1.0,
)
NONLINEARITIES = {item.name: item for item in (TANH, LOGISTIC, LINEAR)}


def nonlinearity(choice: str | Nonlinearity) -> Nonlinearity:
    """Return the non-linearity of that name; an instance passes through.

    Raises:
        ArgumentError: for an unknown name; the message lists the accepted ones.
    """
    if isinstance(choice, Nonlinearity):
        return choice
    return NONLINEARITIES[checks.one_of("nonlinearity", choice, NONLINEARITIES)]


def preactivation_step(
    x: Tensor,
    u: Tensor | None,
    W_rec: Tensor,
    W_in: Tensor | None,
    b: Tensor | None,
    f: Nonlinearity,
) -> Tensor:
    """One step of ``x_t = W_rec f(x_{t-1}) + W_in u_t + b``.

    Source: Pascanu, Mikolov & Bengio (2012), equation (2).

    Args:
        x: ``(..., hidden)``; state before the non-linearity.
        u: ``(..., input)``; input of this step, or ``None`` for none.
        W_rec: ``(..., hidden, hidden)``.  W_in: ``(..., hidden, input)``, read only with ``u``.
        b: ``(..., hidden)``, or ``None``.
        f: the non-linearity.

    Returns:
        ``(..., hidden)``; the next state.
    """
    return _affine(f(x), u, W_rec, W_in, b)


def activation_step(
    h: Tensor,
    u: Tensor | None,
    W_rec: Tensor,
    W_in: Tensor | None,
    b: Tensor | None,
    f: Nonlinearity,
) -> Tensor:
    """One step of ``h_t = f(W_rec h_{t-1} + W_in u_t + b)``; shapes as ``preactivation_step``.

    Source: Pascanu, Mikolov & Bengio (2012), footnote 1. With ``h_0 = f(x_0)`` the two forms
    give the same trajectory. "Start at zero" differs: ``x_0 = 0`` means ``h_0 = f(0)``, which is
    0.5 for the logistic function.
    """
    return f(_affine(h, u, W_rec, W_in, b))


def _affine(
    h: Tensor, u: Tensor | None, W_rec: Tensor, W_in: Tensor | None, b: Tensor | None
) -> Tensor:
    """``W_rec h + W_in u + b``, leaving out what is ``None``."""
    total = h @ W_rec.mT
    if u is not None:
        if W_in is None:
            raise checks.ArgumentError("W_in must be a tensor when u is given, got None")
        total = total + u @ W_in.mT
    return total if b is None else total + b


def preactivation_jacobian(x_prev: Tensor, W_rec: Tensor, f: Nonlinearity) -> Tensor:
    """``dx_t / dx_{t-1} = W_rec diag(f'(x_{t-1}))``.

    Source: Pascanu, Mikolov & Bengio (2012), equation (5), whose print transposes ``W_rec``.
    With column states finite differences confirm the form used here.

    Args:
        x_prev: ``(..., hidden)``; the state the step starts from.
        W_rec: ``(..., hidden, hidden)``.

    Returns:
        ``(..., hidden, hidden)``; entry ``[i, j]`` is ``dx_{t,i} / dx_{t-1,j}``.
    """
    return W_rec * f.slope(x_prev).unsqueeze(-2)


def activation_jacobian(h_next: Tensor, W_rec: Tensor, f: Nonlinearity) -> Tensor:
    """``dh_t / dh_{t-1} = diag(f'(a_t)) W_rec``, with ``f'`` read off the output ``h_t = f(a_t)``.

    Args:
        h_next: ``(..., hidden)``; the state the step arrives at.
        W_rec: ``(..., hidden, hidden)``.

    Returns:
        ``(..., hidden, hidden)``; entry ``[i, j]`` is ``dh_{t,i} / dh_{t-1,j}``.
    """
    return f.slope_of_output(h_next).unsqueeze(-1) * W_rec


def one_unit_step(
    x: Tensor, w: Tensor | float, b: Tensor | float, f: Nonlinearity = LOGISTIC
) -> Tensor:
    """``x_t = w f(x_{t-1}) + b``, element by element: the paper's one-unit example.

    Source: Pascanu, Mikolov & Bengio (2012), equation (14), with the logistic function.
    """
    return w * f(x) + b
