"""What goes on inside a network on the way of an error back through time (P13, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnlib.experiments.trials import answers
from rnnlib.kernels import Errors
from rnnlib.kernels.elman import slope
from rnnlib.models import Elman
from rnnlib.tasks.task import Batch, Task

_SEQUENCES = 20
_PLACES = 10  # steps at which Jacobians are looked at
_REST = 500  # steps without an input, to see where the state goes


def inside(model: Elman, task: Task, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
    """Measure each replica on 20 sequences of its own generator.

    Args:
        model: R replicas.
        task: whose sequences are shown; for errors its loss at the end of each, or at every step.
        generators: R of them, for CPU.

    Returns:
        each ``(R,)`` float64, NaN for a replica whose weights are not finite:

        * ``ratio_low``, ``ratio_median``, ``ratio_high``: 5, 50 and 95 % quantiles, over steps and
          sequences, of ``|delta_{k+1} J_{k+1}| / |delta_{k+1}|``, what a step back makes of the
          error's length. Errors that have vanished are left out.
        * ``singular_low``, ``singular_median``, ``singular_high``: medians, over ten steps of two
          sequences, of the smallest, the median and the largest singular value of ``J_k``.
        * ``product_norm``: the largest spectral norm of ``dh_T/dh_k`` that was met there.
        * ``to_attractor``: mean distance from the last state to where the network goes from there
          when its input is switched off.
    """
    finite = torch.stack([p.detach().flatten(1).isfinite().all(1) for p in model.parameters()])
    alive = finite.all(0)
    sound = model.select(alive.nonzero()[:, 0])
    keep = alive.nonzero()[:, 0].tolist()
    found = _inside(sound, task, [generators[r] for r in keep]) if keep else {}
    whole = {}
    for name in _NAMES:
        whole[name] = torch.full((model.replicas,), torch.nan, dtype=torch.float64)
        if keep:
            whole[name][alive.cpu()] = found[name].double().cpu()
    return whole


_NAMES = (
    *("ratio_low", "ratio_median", "ratio_high"),
    *("singular_low", "singular_median", "singular_high"),
    *("product_norm", "to_attractor"),
)


def _inside(model: Elman, task: Task, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
    # The longest, so that a network does not depend on what else is in the stack.
    lengths_asked = torch.full((len(generators), _SEQUENCES), task.max_length)
    drawn = task.sample_replicas(_SEQUENCES, generators, lengths_asked)
    errors = Errors("squared", relative=True)
    outputs, batch = answers(model, task, drawn, errors)
    lengths = batch.lengths if task.every_step else None
    loss = task.loss(outputs, batch.targets, lengths).mean(1).sum()
    torch.autograd.grad(loss, list(model.parameters()))
    assert errors.norms is not None
    assert errors.carried is not None
    before = errors.norms[:, :, 1:]
    counts = before > 1e-10 * before.amax(2, keepdim=True)
    ratio = (errors.carried / before).masked_fill(~counts, torch.nan).flatten(1)
    low, median, high = ratio.nanquantile(ratio.new_tensor([0.05, 0.5, 0.95]), dim=1)
    return {
        "ratio_low": low,
        "ratio_median": median,
        "ratio_high": high,
        **_jacobians(model, batch),
        "to_attractor": _to_attractor(model, batch),
    }


@torch.no_grad()
def _jacobians(model: Elman, batch: Batch) -> dict[str, Tensor]:
    """Of the first two sequences: singular values of single steps, norms of products."""
    steps = batch.inputs.shape[2]
    states = model.states(batch.inputs[:, :2])
    J = slope(states, model.nonlinearity)[..., None] * model.W_rec[:, None, None]
    places = torch.linspace(0, steps - 1, min(_PLACES, steps)).long().tolist()
    values = torch.linalg.svdvals(J[:, :, places])
    product, norms = torch.eye(J.shape[-1]).to(J).expand(*J.shape[:2], -1, -1), []
    for k in reversed(range(1, steps)):
        product = product @ J[:, :, k]
        if k in places:
            # An explosion may leave the range of numbers; its norm is then infinite.
            bounded = product.where(product.isfinite(), 0.0)
            norm = torch.linalg.matrix_norm(bounded, ord=2)
            norms.append(norm.masked_fill(~product.isfinite().flatten(2).all(2), torch.inf))
    return {
        "singular_low": values[..., -1].flatten(1).median(1).values,
        "singular_median": values.median(-1).values.flatten(1).median(1).values,
        "singular_high": values[..., 0].flatten(1).median(1).values,
        "product_norm": torch.stack(norms).flatten(2).amax((0, 2)),
    }


@torch.no_grad()
def _to_attractor(model: Elman, batch: Batch) -> Tensor:
    last = model.states(batch.inputs, last=True)
    nothing = last.new_zeros(*last.shape[:2], _REST, model.W_in.shape[2])
    return (last - model.states(nothing, last, last=True)).norm(dim=2).mean(1)
