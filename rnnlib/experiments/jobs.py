"""What an experiment is to its runner: jobs, each one record; units, each one stack of replicas."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from rnnlib.checkpoint import Survival
from rnnlib.checks import ArgumentError, at_least, distinct, one_of
from rnnlib.provenance import library_versions, source_digest
from rnnlib.schema import to_json

Item = TypeVar("Item")

STACK_BYTES = 6 * 2**30
"""Memory that a stack of replicas may take on an accelerator: less than half of a 16 GB card.

It is a constant, and not what the card at hand offers, so that the stacks, and with them the last
bits of the results, are the same on every card.
"""


class Readings(Protocol):
    """Settings, a frozen dataclass, that hold readings by name."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def readings(self) -> tuple[Any, ...]: ...


Settings = TypeVar("Settings", bound=Readings)


class Work(Protocol):
    """Trains a stack of replicas; returns plain data, the same whenever it is run again."""

    def __call__(self, *, survival: Survival) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Unit:
    """A stack of replicas that is trained as one.

    Attributes:
        work: what does it; must be picklable, for it may run in another process or machine.
        n_updates: how many updates at most.
        flops: floating-point operations of all of them, evaluation included.
        n_bytes: memory that it needs at once, apart from the data.
    """

    work: Work
    n_updates: int
    flops: float
    n_bytes: float


@dataclass(frozen=True)
class Job:
    """What becomes one record.

    Attributes:
        units: independent of each other; longest first is fastest.
        conditions: what the results of the record are of, in order.
        collect: makes each condition's metrics, a value a seed, from what the units returned, in
            the order of ``units``.
        settings: what the record says about how it was made.
        reduced: what a reduced run reduced.
    """

    experiment: str
    variant: str
    scale: str
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    units: tuple[Unit, ...]
    conditions: Sequence[Mapping[str, Any]]
    collect: Callable[[list[list[dict[str, Any]]]], list[dict[str, list[Any]]]] = field(repr=False)
    reduced: str = ""

    @property
    def name(self) -> str:
        """The record's name."""
        return "-".join(part for part in (self.experiment, self.variant, self.scale) if part)

    def digest(self, device: str) -> str:
        """Equal for runs that must give the same numbers: settings, seeds, code, kind of device."""
        kind = torch.device(device).type
        told = [self.name, self.settings, list(self.seeds), len(self.units), kind, code_digest()]
        return hashlib.sha256(to_json(told, sort_keys=True).encode()).hexdigest()[:12]


def code_digest() -> str:
    """Equal where the same code computes: this library's, and the versions of the others."""
    told = [source_digest(), library_versions()]
    return hashlib.sha256(to_json(told, sort_keys=True).encode()).hexdigest()


def only(settings: Settings, *names: str) -> Settings:
    """The same settings with the readings of these names alone.

    Raises:
        ArgumentError: for a name that no reading has, with the nearest one.
    """
    known = {reading.name: reading for reading in settings.readings}
    chosen = tuple(known[one_of("reading", name, known)] for name in names)
    return dataclasses.replace(settings, readings=chosen)


def check_seeds(seeds: Sequence[int]) -> None:
    """Accept different integers from 0 to 2^31 - 1.

    torch's CPU generator keeps 32 bits of a seed: beyond them two seeds could be one.

    Raises:
        ArgumentError: for no seed, a seed given twice, or one out of range.
    """
    distinct("seeds", seeds)
    for seed in seeds:
        if at_least("seed", seed, 0) >= 2**31:
            raise ArgumentError(f"seed must be an integer below 2^31, got {seed}")


def stacks(
    items: Sequence[Item], size: int, device: str, *, bytes_each: float = 0.0
) -> list[tuple[Item, ...]]:
    """Deal ``items`` into stacks: of at most ``size`` on a CPU, of `STACK_BYTES` elsewhere.

    The last bit of a product can depend on what else is in the stack, so the stacks follow from
    the settings and the type of device, never from the machine at hand.
    """
    if torch.device(device).type != "cpu":
        size = max(1, int(STACK_BYTES // bytes_each)) if bytes_each else len(items)
    n_stacks = -(-len(items) // size)
    return [tuple(items[i::n_stacks]) for i in range(n_stacks)]


def elman_cost(
    replicas: int, batch: int, time: int, hidden: int, inputs: int, outputs: int, *, read: int
) -> tuple[float, float]:
    """Floating-point operations of an update, forward and backward, and bytes it holds at once.

    Three products of each kind: one forward, two backward. ``read`` is at how many steps the
    network is read out.
    """
    steps = 6.0 * replicas * batch * time * hidden * (hidden + inputs)
    heads = 6.0 * replicas * batch * read * hidden * outputs
    held = 4.0 * replicas * batch * (3 * time * hidden + time * inputs + 4 * read * outputs)
    weights = 4.0 * 5 * replicas * hidden * (hidden + inputs + outputs)
    return steps + heads, held + weights
