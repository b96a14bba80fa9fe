r"""The vanishing-gradient regulariser in training: alpha Omega joins the gradient of W_rec.

Pascanu, Mikolov & Bengio (2013), section 3.3. Omega asks that an error keep its length while it
travels back, step by step and only along its own direction; `rnnlib.kernels.Errors` defines it and
computes it on the way of backpropagation. Here is what training adds: a weight for every replica,
its schedule, and what is worth knowing afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, at_least, one_of, shape
from rnnlib.kernels.elman import REGULARISERS, Errors

SCHEDULES = ("constant", "1/t")


class Regulariser:
    """A weight alpha for every replica; `rnnlib.train.train` adds ``alpha dOmega+/dW_rec``.

    The objective hands ``errors`` to `Elman.states`; the gradient is added before the joint norm
    is taken and clipped, as in the authors' program. A replica of weight 0 trains as if there were
    no regulariser, to the last bit, and its Omega is measured all the same.

    Args:
        alpha: at least 0; one number or one for each replica, ``(R,)``.
        replicas: R.
        form: "squared" (the proceedings and the authors' program) or "unsquared" (equation 9 of
            the arXiv text).
        schedule: "constant", or "1/t": alpha divided by the epoch t = 1, 2, ...
        epoch: how many updates an epoch of "1/t" has.
        relative: which errors have vanished and no longer count, see `Errors`; relative to an
            error's largest norm, the mask does not depend on the scale of the loss, as the
            program's absolute bound does.

    Attributes:
        errors: filled by every backward pass.
        first, last: ``(R,)`` float64, Omega at a replica's first and last update; NaN before.
        cosine: ``(R,)`` float64, of the angle between the gradients of the loss and of Omega with
            respect to W_rec at the last update; NaN before, and where one of them is zero.
        updates, opposed: ``(R,)`` int64, updates made, and those in which these two pointed into
            opposite half-spaces.

    Raises:
        ArgumentError: for an alpha below 0 or not finite, or an unknown form or schedule.
    """

    def __init__(
        self,
        alpha: float | Tensor,
        *,
        replicas: int,
        form: str = "squared",
        schedule: str = "constant",
        epoch: int = 1,
        relative: bool = True,
    ) -> None:
        self.schedule = one_of("schedule", schedule, SCHEDULES)
        self.epoch = at_least("epoch", epoch, 1)
        self.errors = Errors(one_of("form", form, REGULARISERS), relative=relative)
        weights = torch.as_tensor(alpha, dtype=torch.float64).cpu()
        self.alpha = shape(
            "alpha", weights.expand(replicas) if weights.dim() == 0 else weights, (replicas,)
        )
        if not ((self.alpha >= 0) & self.alpha.isfinite()).all():
            wrong = self.alpha[~((self.alpha >= 0) & self.alpha.isfinite())][0]
            raise ArgumentError(f"alpha must hold finite numbers >= 0, got {wrong.item()}")
        self.first = torch.full((replicas,), torch.nan, dtype=torch.float64)
        self.last = self.first.clone()
        self.cosine = self.first.clone()
        self.updates = torch.zeros(replicas, dtype=torch.int64)
        self.opposed = self.updates.clone()

    def weight(self, step: int) -> Tensor:
        """``(R,)`` float64: alpha at update ``step``, the first being 1."""
        if self.schedule == "constant":
            return self.alpha
        return self.alpha / (1 + (step - 1) // self.epoch)

    def expect(self) -> None:
        """Forget the last backward pass, so that one which does not fill ``errors`` is noticed."""
        self.errors.omega = self.errors.omega_gradient = None

    def add_(self, grad: Tensor, step: int, replicas: Tensor) -> None:
        """Add ``alpha dOmega+/dW_rec`` to the loss's ``grad`` of W_rec, ``(n, H, H)``.

        Args:
            grad: changed in place; row i belongs to replica ``replicas[i]``.
            step: number of the update.
            replicas: ``(n,)`` indices of the replicas still training, on the CPU.

        Raises:
            ArgumentError: if the backward pass did not fill ``errors``.
        """
        omega, push = self.errors.omega, self.errors.omega_gradient
        if omega is None or push is None:
            raise ArgumentError("the objective must hand regulariser.errors to Elman.states")
        weight = self.weight(step)[replicas].to(grad)[:, None, None]
        one, other = grad.double(), push.double()
        along = (one * other).sum((1, 2))
        cosine = along / (torch.linalg.matrix_norm(one) * torch.linalg.matrix_norm(other))
        # Not 0 * push: what is not finite must not reach a replica without the regulariser.
        grad += torch.where(weight > 0, weight * push, 0.0)

        omega, along, cosine = omega.cpu(), along.cpu(), cosine.cpu()
        fresh = self.updates[replicas] == 0
        self.first[replicas[fresh]] = omega[fresh]
        self.last[replicas] = omega
        self.cosine[replicas] = cosine
        self.updates[replicas] += 1
        self.opposed[replicas] += along < 0

    @property
    def opposed_fraction(self) -> Tensor:
        """``(R,)``: share of the updates in which loss and Omega pulled apart; NaN before."""
        return self.opposed / self.updates

    _NOTED = ("first", "last", "cosine", "updates", "opposed")

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._NOTED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self._NOTED:
            setattr(self, name, state[name])
