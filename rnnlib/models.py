"""Recurrent networks as modules, many replicas to a module: own weights, one stack of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rnnlib.cells import NONLINEARITIES, PARAMETRISATIONS
from rnnlib.checks import ArgumentError, at_least, one_of
from rnnlib.init import normal
from rnnlib.kernels import Errors, elman_ensemble


class Elman(nn.Module):
    """``replicas`` Elman networks with a linear read-out; axis 0 of every tensor is the replica.

    Both parametrisations of Pascanu, Mikolov & Bengio (2012): "activation" keeps the state
    ``h_t = f(W_rec h_{t-1} + W_in u_t + b)`` of their footnote 1, "preactivation" the state
    ``x_t = W_rec f(x_{t-1}) + W_in u_t + b`` of their equation (2). The read-out is
    ``W_out state + b_out``. Replicas never exchange a number: what happens to one does not depend
    on its batch-mates, and diverging harms nobody else.

    Parameters start at zero; fill them with `draw_`.

    Args:
        input_size, hidden_size, output_size: sizes; integers of at least 1.
        replicas: how many networks.
        nonlinearity: "tanh", "logistic" or "linear".
        parametrisation: "activation" or "preactivation".
        bias: whether hidden and output units have biases.

    Raises:
        ArgumentError: for a size below 1 or an unknown name.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        replicas: int = 1,
        nonlinearity: str = "tanh",
        parametrisation: str = "activation",
        bias: bool = True,
    ) -> None:
        super().__init__()
        at_least("input_size", input_size, 1)
        at_least("hidden_size", hidden_size, 1)
        at_least("output_size", output_size, 1)
        at_least("replicas", replicas, 1)
        self.nonlinearity = one_of("nonlinearity", nonlinearity, NONLINEARITIES)
        self.parametrisation = one_of("parametrisation", parametrisation, PARAMETRISATIONS)
        self.W_rec = nn.Parameter(torch.zeros(replicas, hidden_size, hidden_size))
        self.W_in = nn.Parameter(torch.zeros(replicas, hidden_size, input_size))
        self.W_out = nn.Parameter(torch.zeros(replicas, output_size, hidden_size))
        self.b = nn.Parameter(torch.zeros(replicas, hidden_size)) if bias else None
        self.b_out = nn.Parameter(torch.zeros(replicas, output_size)) if bias else None

    @property
    def replicas(self) -> int:
        return len(self.W_rec)

    def draw_(self, std: float | Sequence[float], generators: Sequence[torch.Generator]) -> Elman:
        """Fill every weight matrix of replica ``r`` from N(0, std[r]^2); biases become zero.

        Each replica has its own generator, so that its start is the same alone and in a stack.

        Raises:
            ArgumentError: unless there is a generator and, in a list, a ``std`` for each replica;
                for a ``std`` that is not a finite number above zero.
        """
        scales = [std] * self.replicas if isinstance(std, int | float) else list(std)
        for name, given in (("std", scales), ("generators", generators)):
            if len(given) != self.replicas:
                raise ArgumentError(
                    f"{name} must hold one entry for each of {self.replicas} replicas, "
                    f"got {len(given)}"
                )
        with torch.no_grad():
            for matrix in (self.W_rec, self.W_in, self.W_out):
                for weights, scale, generator in zip(matrix, scales, generators, strict=True):
                    weights.copy_(normal(weights.shape, scale, generator=generator))
            for bias in (self.b, self.b_out):
                if bias is not None:
                    bias.zero_()
        return self

    def states(
        self,
        inputs: Tensor,
        initial: Tensor | None = None,
        *,
        last: bool = False,
        lengths: Tensor | None = None,
        stopped: Tensor | None = None,
        errors: Errors | None = None,
    ) -> Tensor:
        """All states ``(R, B, T, H)``, or the last one ``(R, B, H)``.

        ``inputs`` is ``(R, B, T, I)`` or symbols ``(R, B, T)``. ``initial`` is the state before
        the first input in the network's own parametrisation, zero if None: an ``x_0`` of zero
        means ``h_0 = f(0)``, which is 0.5 for the logistic unit. ``lengths``, ``stopped`` and
        ``errors`` are those of `rnnlib.kernels.elman_ensemble`.
        """
        return elman_ensemble(
            inputs,
            self.W_rec,
            self.W_in,
            self.b,
            initial,
            nonlinearity=self.nonlinearity,
            parametrisation=self.parametrisation,
            lengths=lengths,
            stopped=stopped,
            last=last,
            errors=errors,
        )

    def read_out(self, states: Tensor) -> Tensor:
        """``W_out state + b_out`` for states ``(R, B, H)`` or ``(R, B, T, H)``."""
        rows = states.flatten(1, -2)
        if self.b_out is None:
            outputs = rows @ self.W_out.mT
        else:
            outputs = torch.baddbmm(self.b_out[:, None], rows, self.W_out.mT)
        return outputs.unflatten(1, states.shape[1:-1])

    def forward(self, inputs: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs ``(R, B, T, O)`` at every step and the last state ``(R, B, H)``."""
        states = self.states(inputs, initial)
        return self.read_out(states), states[:, :, -1]

    def select(self, replicas: Tensor) -> Elman:
        """A new module that holds copies of the chosen replicas."""
        chosen = Elman(
            self.W_in.shape[2],
            self.W_rec.shape[1],
            self.W_out.shape[1],
            replicas=len(replicas),
            nonlinearity=self.nonlinearity,
            parametrisation=self.parametrisation,
            bias=self.b is not None,
        ).to(self.W_rec)
        with torch.no_grad():
            for new, old in zip(chosen.parameters(), self.parameters(), strict=True):
                new.copy_(old[replicas])
        return chosen

    def put_(self, replicas: Tensor, source: Elman) -> None:
        """Copy the replicas of ``source`` into the places ``replicas`` of this module."""
        with torch.no_grad():
            for mine, theirs in zip(self.parameters(), source.parameters(), strict=True):
                mine[replicas] = theirs
