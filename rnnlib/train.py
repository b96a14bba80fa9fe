"""One training loop: stochastic gradient descent for a stack of replicas, clipped or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlib.checks import ArgumentError, at_least, shape
from rnnlib.gradients import clip_norm
from rnnlib.models import Elman

Objective = Callable[[Elman, int, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""``(model, step, replicas, carry) -> (losses, carry)``: the loss of each replica still training.

``model`` holds those replicas only, ``replicas`` are their indices in the whole stack, and
``carry`` is what the call before returned for them (a state, or None).
"""

Check = Callable[[Elman, int, Tensor], Tensor]
"""``(model, step, replicas) -> finished``: a boolean for each replica still training."""


@dataclass(frozen=True)
class History:
    """What happened to each replica; rows are updates, columns replicas, NaN once it has left."""

    loss: Tensor  # (updates, R) float64, in the objective's own unit
    grad_norm: Tensor  # (updates, R) float64, joint norm over all parameters before clipping
    updates: Tensor  # (R,) int64, updates made
    finished: Tensor  # (R,) bool, left because the check said so
    diverged: Tensor  # (R,) bool, left because loss or gradient was not finite
    threshold: Tensor  # (R,) float64

    @property
    def clipped(self) -> Tensor:
        """``(updates, R)``: whether the gradient was rescaled in that update."""
        return self.grad_norm >= self.threshold


def train(
    model: Elman,
    objective: Objective,
    *,
    learning_rate: float | Tensor,
    threshold: float | Tensor = math.inf,
    n_updates: int,
    check: Check | None = None,
    check_every: int = 1,
    progress: str = "",
) -> History:
    """Train every replica of ``model`` in place by SGD with norm clipping (algorithm 1).

    One update is ``theta <- theta - learning_rate * clip(g, threshold)`` with the joint norm of a
    replica's own parameters. A replica leaves the stack when ``check`` says that it has finished,
    or when its loss or gradient stops being finite; its weights then stay as they were before that
    update. Nothing a replica does changes another, so the stack is only a way to save time.

    Args:
        model: the replicas; changed in place.
        objective: gives the losses; see `Objective`. Losses are summed over replicas to take all
            gradients in one backward pass.
        learning_rate: above zero; one number or one for each replica, ``(R,)``.
        threshold: above zero, ``inf`` for plain SGD; one number or ``(R,)``.
        n_updates: how many updates at most.
        check, check_every: ask ``check`` after every so many updates, and after the last.
        progress: a label for a tqdm bar; empty for none.

    Returns:
        losses, gradient norms and the way each replica left, on the CPU.

    Raises:
        ArgumentError: for a learning rate or threshold that is not above zero or not one for each
            replica, a negative number of updates, or ``check_every`` below 1.
    """
    at_least("n_updates", n_updates, 0)
    at_least("check_every", check_every, 1)
    rate = _per_replica("learning_rate", learning_rate, model, finite=True)
    bound = _per_replica("threshold", threshold, model, finite=False)

    n_replicas, device = model.replicas, model.W_rec.device
    nan = torch.full((n_updates, n_replicas), math.nan, dtype=torch.float64)
    history = History(
        loss=nan,
        grad_norm=nan.clone(),
        updates=torch.zeros(n_replicas, dtype=torch.int64),
        finished=torch.zeros(n_replicas, dtype=torch.bool),
        diverged=torch.zeros(n_replicas, dtype=torch.bool),
        threshold=bound.cpu(),
    )
    replicas, work, carry = torch.arange(n_replicas), model.select(torch.arange(n_replicas)), None

    for step in _steps(n_updates, progress):
        losses, carry = objective(work, step, replicas, carry)
        parameters = list(work.parameters())
        grads = torch.autograd.grad(losses.sum(), parameters)
        clipped, norm, _ = clip_norm(grads, bound[replicas], replicas=True)
        broken = ~(norm.isfinite() & losses.detach().isfinite())
        with torch.no_grad():
            for p, g in zip(parameters, clipped, strict=True):
                g[broken] = 0.0  # its clipped gradient is NaN
                p.sub_(rate[replicas].to(p.dtype).view(-1, *[1] * (p.dim() - 1)) * g)

        history.loss[step - 1, replicas] = losses.detach().double().cpu()
        history.grad_norm[step - 1, replicas] = norm.cpu()
        history.updates[replicas[~broken.cpu()]] = step
        history.diverged[replicas[broken.cpu()]] = True
        replicas, work, carry = _without(broken.cpu(), model, replicas, work, carry)
        if len(replicas) and check is not None and (step % check_every == 0 or step == n_updates):
            finished = check(work, step, replicas).cpu()
            history.finished[replicas[finished]] = True
            replicas, work, carry = _without(finished, model, replicas, work, carry)
        if not len(replicas):
            return history
    model.put_(replicas.to(device), work)
    return history


def _without(
    leaving: Tensor, model: Elman, replicas: Tensor, work: Elman, carry: Tensor | None
) -> tuple[Tensor, Elman, Tensor | None]:
    """Hand the weights back to ``model`` and go on with those of ``replicas`` that stay."""
    if not leaving.any():
        return replicas, work, carry
    device = model.W_rec.device
    model.put_(replicas.to(device), work)
    stay = (~leaving).nonzero()[:, 0]
    if not len(stay):
        return replicas[stay], work, None
    kept = None if carry is None else carry[stay.to(device)]
    return replicas[stay], work.select(stay.to(device)), kept


def _per_replica(name: str, value: float | Tensor, model: Elman, *, finite: bool) -> Tensor:
    values = torch.as_tensor(value, dtype=torch.float64, device=model.W_rec.device)
    if values.dim() == 0:
        values = values.expand(model.replicas)
    shape(name, values, (model.replicas,))
    good = (values > 0) & (values.isfinite() if finite else ~values.isnan())
    if not good.all():
        accepted = "finite numbers > 0" if finite else "numbers > 0 (inf for no clipping)"
        raise ArgumentError(f"{name} must hold {accepted}, got {values[~good][0].item()}")
    return values


def _steps(n_updates: int, progress: str) -> Iterable[int]:
    steps = range(1, n_updates + 1)
    if not progress:
        return steps
    from tqdm.auto import tqdm

    return tqdm(steps, desc=progress, unit="update", mininterval=0.5)
