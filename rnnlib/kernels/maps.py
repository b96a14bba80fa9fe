r"""The small maps that `rnnlib.kernels.orbit` iterates in compiled code.

A map is called like any step, ``map(state, parameters)``, and knows its Jacobian. It also steps in
place on columns, one row of memory for each variable, which is how plain torch is fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, shape


@dataclass(frozen=True)
class OneUnit:
    """The map ``x' = w sigma(x) + b`` with the logistic function: state ``x``, parameters ``w, b``.

    Source: Pascanu, Mikolov & Bengio (2012), equation (14).
    """

    name: ClassVar[str] = "one-unit"
    state_names: ClassVar[tuple[str, ...]] = ("x",)
    parameter_names: ClassVar[tuple[str, ...]] = ("w", "b")

    def __call__(self, state: Tensor, parameters: Tensor) -> Tensor:
        """One step, ``(n, 1)`` and ``(n, 2)`` to ``(n, 1)``."""
        w, b = parameters.split(1, dim=-1)
        return w * torch.sigmoid(state) + b

    def jacobian(self, state: Tensor, parameters: Tensor) -> Tensor:
        """``dx'/dx`` as ``(n, 1, 1)``."""
        # sigma(-x) keeps its digits where 1 - sigma(x) would cancel.
        slope = torch.sigmoid(state) * torch.sigmoid(-state)
        return (parameters[:, :1] * slope)[..., None]

    def in_place(self, x: Tensor, parameters: Tensor) -> Callable[[], object]:
        """The step as a function that overwrites columns ``(1, n)``, parameters ``(2, n)``."""
        w, b = parameters.split(1)
        return lambda: x.sigmoid_().mul_(w).add_(b)


@dataclass(frozen=True, eq=False)
class TwoUnitLSTM:
    r"""Two LSTM units without input and bias: state ``h1, h2, c1, c2``, parameter ``s``.

        (i, f, g, o) = s W h,   c' = sigma(f) c + sigma(i) tanh(g),   h' = sigma(o) tanh(c')

    Every point has the same ``W``, scaled by its own ``s``. Source: Ribeiro, Tiels, Aguirre &
    Schön (2020), figure 1.

    Attributes:
        weights: ``W``, ``(8, 2)``; two rows for each of the gates i, f, g, o, as in
            ``torch.nn.LSTM``; used in the dtype and on the device of the parameters.

    Raises:
        ArgumentError: for weights of another shape or not of a floating dtype.
    """

    weights: Tensor
    name: ClassVar[str] = "lstm"
    state_names: ClassVar[tuple[str, ...]] = ("h1", "h2", "c1", "c2")
    parameter_names: ClassVar[tuple[str, ...]] = ("s",)

    def __post_init__(self) -> None:
        shape("weights", self.weights, (8, 2))
        if not self.weights.is_floating_point():
            raise ArgumentError(f"weights must have a floating dtype, got {self.weights.dtype}")

    def __call__(self, state: Tensor, parameters: Tensor) -> Tensor:
        """One step, ``(n, 4)`` and ``(n, 1)`` to ``(n, 4)``."""
        h, c = state.split(2, dim=-1)
        i, f, g, o = (parameters * (h @ self.weights.to(h).mT)).split(2, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=-1)

    def jacobian(self, state: Tensor, parameters: Tensor) -> Tensor:
        """``d(h', c')/d(h, c)`` as ``(n, 4, 4)``, by the chain rule through the gates."""
        h, c = state.split(2, dim=-1)
        scaled = parameters[..., None] * self.weights.to(h)  # (n, 8, 2)
        W_i, W_f, W_g, W_o = scaled.split(2, dim=-2)
        i, f, g, o = (parameters * (h @ self.weights.to(h).mT)).split(2, dim=-1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        t = torch.tanh(f * c + i * g)

        def rows(factor: Tensor, matrix: Tensor) -> Tensor:
            return factor[..., None] * matrix

        c_by_h = rows(g * i * (1 - i), W_i) + rows(c * f * (1 - f), W_f) + rows(i * (1 - g**2), W_g)
        c_by_c = torch.diag_embed(f)
        through_c = o * (1 - t**2)
        h_by_h = rows(through_c, c_by_h) + rows(t * o * (1 - o), W_o)
        h_by_c = rows(through_c, c_by_c)
        return torch.cat(
            [torch.cat([h_by_h, h_by_c], dim=-1), torch.cat([c_by_h, c_by_c], dim=-1)], dim=-2
        )

    def in_place(self, state: Tensor, parameters: Tensor) -> Callable[[], object]:
        """The step as a function that overwrites columns ``(4, n)``, parameters ``(1, n)``."""
        h, c = state.split(2)
        by_h1, by_h2 = self.weights.to(state).split(1, dim=1)
        gates = state.new_empty(8, state.shape[1])
        i, f, g, o = gates.split(2)

        def advance() -> None:
            torch.mul(by_h1, h[0], out=gates).addcmul_(by_h2, h[1]).mul_(parameters)
            gates[:4].sigmoid_()
            c.mul_(f).addcmul_(i, g.tanh_())
            torch.tanh(c, out=h).mul_(o.sigmoid_())

        return advance


Map = OneUnit | TwoUnitLSTM
