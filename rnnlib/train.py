"""One training loop: gradient descent for a stack of replicas, clipped, regularised or neither."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnlib.checkpoint import Stateful, Survival
from rnnlib.checks import ArgumentError, at_least, shape
from rnnlib.gradients import clip_norm
from rnnlib.models import Elman
from rnnlib.progress import Standing
from rnnlib.regulariser import Regulariser

Objective = Callable[[Elman, int, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
"""``(model, step, replicas, carry) -> (losses, carry)``: the loss of each replica still training.

``model`` holds those replicas only, ``replicas`` are their indices in the whole stack, and
``carry`` is what the call before returned for them (a state, or None).
"""

Check = Callable[[Elman, int, Tensor], Tensor]
"""``(model, step, replicas) -> finished``: a boolean for each replica still training."""


Watch = Callable[[int, Tensor, Tensor, Tensor], None]
"""``(step, replicas, losses, norms)``: what the replicas still training met in an update."""


@dataclass
class History:
    """What happened to each replica, all ``(R,)`` and on the CPU.

    The norms are those of the whole gradient before clipping, over the updates that were made.
    """

    updates: Tensor  # int64, updates made
    finished: Tensor  # bool, left because the check said so
    diverged: Tensor  # bool, left because loss or gradient was not finite
    max_norm: Tensor  # float64, NaN without an update
    update_of_max_norm: Tensor  # int64, the first update that met it; 0 without one
    sum_norm: Tensor  # float64
    n_clipped: Tensor  # int64, updates whose gradient was rescaled

    @classmethod
    def blank(cls, n_replicas: int) -> History:
        """Nothing has happened yet."""
        whole = torch.zeros(n_replicas, dtype=torch.int64)
        no, number = whole.bool(), whole.double()
        return cls(
            updates=whole.clone(),
            finished=no.clone(),
            diverged=no.clone(),
            max_norm=number + math.nan,
            update_of_max_norm=whole.clone(),
            sum_norm=number.clone(),
            n_clipped=whole.clone(),
        )

    @property
    def mean_norm(self) -> Tensor:
        """NaN without an update."""
        return self.sum_norm / self.updates

    @property
    def clipped_fraction(self) -> Tensor:
        """The share of updates whose gradient was rescaled; NaN without an update."""
        return self.n_clipped / self.updates

    def _add(self, step: int, replicas: Tensor, norm: Tensor, clipped: Tensor) -> None:
        self.updates[replicas] = step
        self.sum_norm[replicas] += norm
        self.n_clipped[replicas] += clipped
        new = replicas[~(norm <= self.max_norm[replicas])]  # the first norm is above NaN, too
        self.max_norm[new] = norm[~(norm <= self.max_norm[replicas])]
        self.update_of_max_norm[new] = step


def train(
    model: Elman,
    objective: Objective,
    *,
    learning_rate: float | Tensor | Callable[[int], Tensor],
    threshold: float | Tensor = math.inf,
    n_updates: int,
    regulariser: Regulariser | None = None,
    check: Check | None = None,
    check_every: int = 1,
    watch: Watch | None = None,
    survival: Survival | None = None,
    parts: Sequence[Stateful] = (),
) -> History:
    """Train every replica of ``model`` in place by SGD with norm clipping (algorithm 1).

    One update is ``theta <- theta - learning_rate * clip(g, threshold)`` with the joint norm of a
    replica's own parameters; with a regulariser ``g`` is the gradient of the loss plus, for W_rec,
    the immediate derivative of alpha Omega (Pascanu, Mikolov & Bengio, 2013, section 3.3). The
    four algorithms of that paper are one call: SGD, SGD-C (a threshold), SGD-R (a regulariser),
    SGD-CR (both). A replica leaves the stack when ``check`` says that it has finished,
    or when its loss or gradient stops being finite; its weights then stay as they were before that
    update. Nothing a replica does changes another, so the stack is only a way to save time.

    Args:
        model: the replicas; changed in place.
        objective: gives the losses; see `Objective`. Losses are summed over replicas to take all
            gradients in one backward pass.
        learning_rate: above zero; one number, one for each replica ``(R,)``, or a function of
            the update's number (the first is 1) that returns these.
        threshold: above zero, ``inf`` for plain SGD; one number or ``(R,)``.
        n_updates: how many updates at most.
        regulariser: its ``errors`` must be handed to `Elman.states` by the objective.
        check, check_every: ask ``check`` after every so many updates, and after the last.
        watch: called after every update; see `Watch`.
        survival: saves the state between updates and gives it back after a restart, so that the
            rest of the run is bit for bit that of an unbroken one. Without: nothing is saved.
        parts: what else has a state that the run depends on: data streams, the check.

    Returns:
        the way each replica left and what norms it met.

    Raises:
        ArgumentError: for a learning rate or threshold that is not above zero or not one for each
            replica, a negative number of updates, ``check_every`` below 1, or a regulariser whose
            ``errors`` the objective leaves empty.
        Stopped: if ``survival`` stops the run.
    """
    at_least("n_updates", n_updates, 0)
    at_least("check_every", check_every, 1)
    rates = learning_rate if callable(learning_rate) else _constant(learning_rate, model)
    bound = _per_replica("threshold", threshold, model, finite=False)
    survival = survival or Survival()
    parts = (*parts, regulariser) if regulariser is not None else parts

    n_replicas, device = model.replicas, model.W_rec.device
    done, history = 0, History.blank(n_replicas)
    replicas, work, carry = torch.arange(n_replicas), model.select(torch.arange(n_replicas)), None
    saved = survival.restore()
    if saved is not None:
        done, replicas, history = saved["done"], saved["replicas"], History(**saved["history"])
        model.load_state_dict(saved["model"])
        work = model.select(replicas.to(device))
        work.load_state_dict(saved["work"])
        carry = None if saved["carry"] is None else saved["carry"].to(device)
        for part, before in zip(parts, saved["parts"], strict=True):
            part.load_state_dict(before)

    def state() -> dict[str, Any]:
        return {
            "done": step,
            "replicas": replicas,
            "history": vars(history),
            "model": model.state_dict(),
            "work": work.state_dict(),
            "carry": carry,
            "parts": [part.state_dict() for part in parts],
        }

    step, losses = done, torch.full((n_replicas,), math.nan)

    def standing() -> Standing:
        loss = float(losses.detach().median()) if len(replicas) else math.nan
        return Standing(step, n_updates, loss, int(history.finished.sum()), n_replicas)

    for step in range(done + 1, n_updates + 1):
        rate = _per_replica("learning_rate", rates(step), model, finite=True)
        if regulariser is not None:
            regulariser.expect()
        losses, carry = objective(work, step, replicas, carry)
        parameters = list(work.parameters())
        grads = torch.autograd.grad(losses.sum(), parameters)
        if regulariser is not None:
            regulariser.add_(grads[0], step, replicas)  # W_rec is an Elman's first parameter
        clipped, norm, _ = clip_norm(grads, bound[replicas], replicas=True)
        broken = ~(norm.isfinite() & losses.detach().isfinite())
        with torch.no_grad():
            for p, g in zip(parameters, clipped, strict=True):
                g[broken] = 0.0  # its clipped gradient is NaN
                p.sub_(rate[replicas].to(p.dtype).view(-1, *[1] * (p.dim() - 1)) * g)

        if watch is not None:
            watch(step, replicas, losses.detach(), norm)
        rescaled, norm, broken = (norm >= bound[replicas]).cpu(), norm.cpu(), broken.cpu()
        history._add(step, replicas[~broken], norm[~broken], rescaled[~broken])
        history.diverged[replicas[broken]] = True
        replicas, work, carry = _without(broken, model, replicas, work, carry)
        if len(replicas) and check is not None and (step % check_every == 0 or step == n_updates):
            finished = check(work, step, replicas).cpu()
            history.finished[replicas[finished]] = True
            replicas, work, carry = _without(finished, model, replicas, work, carry)
        if not len(replicas):
            break

        survival.tell(standing)
        survival.pause(state)
    survival.tell(standing, now=True)
    if len(replicas):
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


def _constant(value: float | Tensor, model: Elman) -> Callable[[int], Tensor]:
    values = _per_replica("learning_rate", value, model, finite=True)
    return lambda step: values


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
