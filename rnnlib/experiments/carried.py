"""Training on long sequences cut into chunks, the state carried from each chunk to the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnlib.checkpoint import Survival
from rnnlib.checks import ArgumentError, at_least, one_of
from rnnlib.models import Elman
from rnnlib.regulariser import Regulariser
from rnnlib.train import train

Loss = Callable[[Tensor, Tensor], Tensor]
"""``(logits (R, B, T, O), targets (R, B, T, ...)) -> nats (R, B, T)`` for every step."""

REDUCTIONS = ("sum", "mean")

SCORED = 32, 200
"""How many pieces are scored at a time, in windows of how many steps."""


@dataclass(frozen=True)
class Piece:
    """A sequence to be predicted: ``targets[t]`` given ``inputs[:t+1]``; time is axis 0."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Outcome:
    """What a replica reached at its epoch of best validation loss, in nats a step.

    The regulariser's columns are NaN where there is none; ``halvings`` counts those of its
    learning rate.
    """

    train: float
    valid: float
    test: float
    best_epoch: int
    diverged: bool
    mean_norm: float
    max_norm: float
    clipped_fraction: float
    omega_first: float = math.nan
    omega_last: float = math.nan
    opposed_fraction: float = math.nan
    halvings: int = 0


def fit(
    model: Elman,
    loss: Loss,
    *,
    train_pieces: Sequence[Piece],
    valid_pieces: Sequence[Piece],
    test_pieces: Sequence[Piece],
    chunk: int,
    n_epochs: int,
    learning_rate: float | Tensor,
    threshold: float | Tensor,
    orders: Sequence[torch.Generator],
    regulariser: Regulariser | None = None,
    reduction: str = "sum",
    halve: bool = False,
    survival: Survival | None = None,
) -> list[Outcome]:
    """Train every replica and report each at its own best epoch.

    One update is one chunk of at most ``chunk`` steps of one piece. The state is zero at the start
    of a piece and carried, without its gradient, from chunk to chunk; the shorter last chunk is
    kept. Each replica goes through the pieces in its own order, drawn anew every epoch.

    Args:
        model: the replicas; trained in place.
        loss: nats of every step; see `Loss`.
        train_pieces, valid_pieces, test_pieces: at least one each, none of them empty.
        chunk: most steps an update goes back in time.
        learning_rate, threshold: one number, or one for each replica ``(R,)``.
        orders: a generator for each replica; replicas to be paired get equal seeds.
        regulariser: joins the gradient; with schedule "1/t" its epoch must be that of the pieces,
            see `updates_an_epoch`.
        reduction: what the loss of an update is, the "sum" or the "mean" over the steps of its
            chunk; a clipping threshold is on the same scale.
        halve: halve a replica's learning rate whenever its epoch's loss rose; see `Halving`.
        survival: saves the state between updates; see `rnnlib.train.train`.

    Raises:
        ArgumentError: for no pieces, an empty piece, a chunk below 1, no epochs, too few or too
            many orders, an unknown reduction, or a regulariser with another epoch.
    """
    one_of("reduction", reduction, REDUCTIONS)
    at_least("chunk", chunk, 1)
    at_least("n_epochs", n_epochs, 1)
    for pieces in (train_pieces, valid_pieces, test_pieces):
        if not pieces or not all(len(piece.inputs) for piece in pieces):
            raise ArgumentError(
                "train, valid and test must hold at least one piece each, and every piece a step, "
                f"got lengths {[len(piece.inputs) for piece in pieces]!r:.60}"
            )
    if len(orders) != model.replicas:
        raise ArgumentError(
            f"orders must hold a generator for each of {model.replicas} replicas, got {len(orders)}"
        )
    device = model.W_rec.device
    chunks = _Chunks(train_pieces, chunk, orders, device)
    best = _Best(model, loss, valid_pieces, len(chunks))
    halving = Halving(learning_rate, model.replicas, len(chunks)) if halve else None
    errors = None
    if regulariser is not None:
        errors = regulariser.errors
        if regulariser.schedule == "1/t" and regulariser.epoch != len(chunks):
            accepted = f"{len(chunks)}, the updates of an epoch"
            raise ArgumentError(f"regulariser.epoch must be {accepted}, got {regulariser.epoch}")

    def objective(
        work: Elman, step: int, replicas: Tensor, carry: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        inputs, targets, mask, starts = chunks.at(step, replicas)
        if carry is not None:
            carry = torch.where(starts[:, None, None], 0.0, carry)
        states = work.states(inputs[:, None], carry, errors=errors)
        nats = loss(work.read_out(states), targets[:, None])
        # Padding stands only behind the end of a piece, so the state that it spoils is never used.
        total = (nats[:, 0] * mask).sum(1)
        if halving is not None:
            halving.note(step, replicas, total)
        losses = total if reduction == "sum" else total / mask.sum(1)
        return losses, states[:, :, -1].detach()

    history = train(
        model,
        objective,
        learning_rate=learning_rate if halving is None else halving,
        threshold=threshold,
        n_updates=n_epochs * len(chunks),
        regulariser=regulariser,
        check=best,
        check_every=len(chunks),
        survival=survival,
        parts=(chunks, best) if halving is None else (chunks, best, halving),
    )
    train_loss = nats_per_step(best.model, loss, train_pieces)
    test_loss = nats_per_step(best.model, loss, test_pieces)
    outcomes = []
    for r in range(model.replicas):
        reached = math.isfinite(best.loss[r])
        omega = {} if regulariser is None else _regularised(regulariser, r)
        outcomes.append(
            Outcome(
                train=float(train_loss[r]) if reached else math.nan,
                valid=float(best.loss[r]) if reached else math.nan,
                test=float(test_loss[r]) if reached else math.nan,
                best_epoch=int(best.epoch[r]),
                diverged=bool(history.diverged[r]),
                mean_norm=float(history.mean_norm[r]),
                max_norm=float(history.max_norm[r]),
                clipped_fraction=float(history.clipped_fraction[r]),
                halvings=0 if halving is None else int(halving.times[r]),
                **omega,
            )
        )
    return outcomes


def updates_an_epoch(lengths: Sequence[int], chunk: int) -> int:
    """How many chunks pieces of these lengths are cut into."""
    return sum(-(-length // chunk) for length in lengths)


class Halving:
    """A learning rate for every replica, halved whenever the loss over an epoch rose.

    P13, supplement, "Polyphonic music prediction", halves the rate when the error over an epoch
    increases. Read here as the training loss: the sum over all steps of an epoch, each counted
    before the update that it caused, against that of the epoch before. The text names no
    validation error there, and a training error is what a run has "over" an epoch.

    Args:
        learning_rate: at the start; one number or ``(R,)``.
        replicas: R.
        epoch: updates in an epoch.

    Attributes:
        rate: ``(R,)`` float64, for the next update.
        times: ``(R,)`` int64, how often it was halved.
    """

    def __init__(self, learning_rate: float | Tensor, replicas: int, epoch: int) -> None:
        start = torch.as_tensor(learning_rate, dtype=torch.float64).cpu()
        self.rate = start.expand(replicas) if start.dim() == 0 else start
        self.epoch = epoch
        self.times = torch.zeros(replicas, dtype=torch.int64)
        self.total = torch.zeros(replicas, dtype=torch.float64)
        self.before = torch.full((replicas,), math.inf, dtype=torch.float64)

    def __call__(self, step: int) -> Tensor:
        """The learning rates of update ``step``, to be asked for in turn."""
        return self.rate

    def note(self, step: int, replicas: Tensor, losses: Tensor) -> None:
        """Add the losses ``(n,)`` that ``replicas`` met at update ``step``, the first being 1."""
        self.total[replicas] += losses.detach().double().cpu()
        if step % self.epoch == 0:
            rose = torch.zeros_like(self.times, dtype=torch.bool)
            rose[replicas] = (self.total > self.before)[replicas]
            # Not in place: the update that is being made still goes by the old rate.
            self.rate = torch.where(rose, self.rate / 2, self.rate)
            self.times = self.times + rose
            self.before, self.total = self.total, torch.zeros_like(self.total)

    _NOTED = ("rate", "times", "total", "before")

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._NOTED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self._NOTED:
            setattr(self, name, state[name])


def nats_per_step(
    model: Elman,
    loss: Loss,
    pieces: Sequence[Piece],
    *,
    batch: int = SCORED[0],
    window: int = SCORED[1],
) -> Tensor:
    """Mean loss over all steps of all pieces in a flat list, ``(R,)`` float64, state carried.

    Pieces are read ``batch`` at a time in windows of ``window`` steps, which only bounds the
    memory.
    """
    total = torch.zeros(model.replicas, dtype=torch.float64)
    by_length = sorted(pieces, key=lambda piece: len(piece.inputs), reverse=True)
    device = model.W_rec.device
    with torch.no_grad():
        for i in range(0, len(by_length), batch):
            inputs, targets, mask = _padded(by_length[i : i + batch], device)
            state = None
            for t in range(0, inputs.shape[1], window):
                part = inputs[:, t : t + window].expand(model.replicas, *[-1] * inputs.dim())
                answers = targets[:, t : t + window].expand(model.replicas, *[-1] * targets.dim())
                states = model.states(part, state)
                nats = loss(model.read_out(states), answers) * mask[:, t : t + window]
                total += nats.sum((1, 2)).double().cpu()
                state = states[:, :, -1]
    return total / sum(len(piece.inputs) for piece in pieces)


def columns(
    outcomes: Sequence[Outcome], unit: str, scale: float = 1.0, *, regularised: bool = False
) -> dict[str, list[Any]]:
    """Outcomes as the metrics of a record, losses multiplied by ``scale`` and named by unit.

    ``regularised`` adds what only a run with a regulariser or halved rates has.
    """
    extra = ("omega_first", "omega_last", "opposed_fraction", "halvings") if regularised else ()
    return {
        f"train_{unit}": [o.train * scale for o in outcomes],
        f"valid_{unit}": [o.valid * scale for o in outcomes],
        f"test_{unit}": [o.test * scale for o in outcomes],
        "best_epoch": [o.best_epoch for o in outcomes],
        "diverged": [o.diverged for o in outcomes],
        "mean_norm": [o.mean_norm for o in outcomes],
        "max_norm": [o.max_norm for o in outcomes],
        "clipped_fraction": [o.clipped_fraction for o in outcomes],
        **{name: [getattr(o, name) for o in outcomes] for name in extra},
    }


def _regularised(regulariser: Regulariser, r: int) -> dict[str, Any]:
    return {
        "omega_first": float(regulariser.first[r]),
        "omega_last": float(regulariser.last[r]),
        "opposed_fraction": float(regulariser.opposed_fraction[r]),
    }


def _padded(pieces: Sequence[Piece], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    inputs = pad([p.inputs for p in pieces], batch_first=True).to(device)
    targets = pad([p.targets for p in pieces], batch_first=True).to(device)
    lengths = torch.tensor([len(p.inputs) for p in pieces], device=device)
    mask = torch.arange(inputs.shape[1], device=device) < lengths[:, None]
    return inputs, targets, mask


class _Chunks:
    """The training pieces as padded chunks, and each replica's own way through them."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        length: int,
        orders: Sequence[torch.Generator],
        device: torch.device,
    ) -> None:
        cut: list[Piece] = []
        self.of_piece: list[range] = []
        for piece in pieces:
            first = len(cut)
            for inputs, targets in zip(
                piece.inputs.split(length), piece.targets.split(length), strict=True
            ):
                cut.append(Piece(inputs, targets))
            self.of_piece.append(range(first, len(cut)))
        self.inputs, self.targets, self.mask = _padded(cut, device)
        self.starts = torch.zeros(len(cut), dtype=torch.bool, device=device)
        self.starts[[chunks.start for chunks in self.of_piece]] = True
        self.orders, self.plan = orders, torch.empty(0)

    def __len__(self) -> int:
        return len(self.inputs)

    def at(self, step: int, replicas: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs and targets ``(R, chunk, ...)``, mask ``(R, chunk)``, starts ``(R,)``.

        To be asked for every step in turn: the first of an epoch draws the orders.
        """
        place = (step - 1) % len(self)
        if place == 0:
            self.plan = torch.tensor([self._way(order) for order in self.orders])
        chosen = self.plan[replicas, place].to(self.inputs.device)
        return self.inputs[chosen], self.targets[chosen], self.mask[chosen], self.starts[chosen]

    def state_dict(self) -> dict[str, Any]:
        return {"plan": self.plan, "orders": [order.get_state() for order in self.orders]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.plan = state["plan"]
        for order, saved in zip(self.orders, state["orders"], strict=True):
            order.set_state(saved)

    def _way(self, order: torch.Generator) -> list[int]:
        shuffled = torch.randperm(len(self.of_piece), generator=order).tolist()
        return [chunk for piece in shuffled for chunk in self.of_piece[piece]]


class _Best:
    """A check that never stops a replica: it keeps the weights of each one's best epoch."""

    def __init__(
        self, model: Elman, loss: Loss, pieces: Sequence[Piece], epoch_length: int
    ) -> None:
        self.task_loss, self.pieces, self.epoch_length = loss, pieces, epoch_length
        self.model = model.select(torch.arange(model.replicas, device=model.W_rec.device))
        self.loss = torch.full((model.replicas,), math.inf, dtype=torch.float64)
        self.epoch = torch.zeros(model.replicas, dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "loss": self.loss, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.loss, self.epoch = state["loss"], state["epoch"]

    def __call__(self, model: Elman, step: int, replicas: Tensor) -> Tensor:
        epoch = step // self.epoch_length
        loss = nats_per_step(model, self.task_loss, self.pieces)
        better = (loss < self.loss[replicas]).nonzero()[:, 0]
        if len(better):
            device = model.W_rec.device
            places = replicas[better]
            self.model.put_(places.to(device), model.select(better.to(device)))
            self.loss[places], self.epoch[places] = loss[better], epoch
        return torch.zeros(len(replicas), dtype=torch.bool)
