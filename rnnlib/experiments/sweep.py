"""Spread independent groups of replicas over local processes, one torch thread in each."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import torch

from rnnlib.checks import ArgumentError, at_least, distinct
from rnnlib.provenance import usable_cores

Item = TypeVar("Item")
Value = TypeVar("Value")


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


def cpu_workers(device: str) -> int:
    """How many processes to use: one a core on a CPU, one in all for an accelerator."""
    return usable_cores() if torch.device(device).type == "cpu" else 1


def shares(items: Sequence[Item], size: int, device: str) -> list[tuple[Item, ...]]:
    """Deal ``items`` into stacks of at most ``size`` on a CPU, one stack elsewhere.

    The last bit of a product can depend on what else is in the stack, so the stacks follow from
    the settings and the type of device, never from how many cores this machine has.
    """
    n_stacks = -(-len(items) // size) if torch.device(device).type == "cpu" else 1
    return [tuple(items[i::n_stacks]) for i in range(n_stacks)]


def spread(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    workers: int,
    progress: str = "",
) -> list[Value]:
    """``[function(item) for item in items]``, several at a time, in the order of ``items``.

    Small networks run fastest with one thread to an operation and one process to a core, so torch
    is held to one thread while this runs. ``function`` must be importable (processes are spawned).
    The first failure, or an interrupt, ends the other processes at once and is raised.
    """
    if workers <= 1 or len(items) <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [function(item) for item in _bar(items, len(items), progress)]
        finally:
            torch.set_num_threads(threads)
    context = multiprocessing.get_context("spawn")
    n = min(workers, len(items))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(n, mp_context=context, initializer=_start_worker) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in _bar(as_completed(futures), len(futures), progress):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # A pool has no public way to stop what already runs, which may take hours.
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        return [future.result() for future in futures]


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)


def _bar(iterable: Any, total: int, label: str) -> Any:
    if not label:
        return iterable
    from tqdm.auto import tqdm

    return tqdm(iterable, total=total, desc=label, unit="group")
