"""Runs jobs so that nothing finished is lost: checkpoints, a lock, retries, a budget, a cluster."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import torch

from rnnlib import checkpoint, records
from rnnlib.checkpoint import CheckpointError, Deadline, Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.experiments.jobs import Job, Unit
from rnnlib.provenance import usable_cores
from rnnlib.records import Record

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a unit is begun before the loss of its process counts as its own fault."""

UNFINISHED = "unfinished"
"""Folder beside the records where interrupted runs wait to be continued."""


@dataclass(frozen=True)
class Means:
    """Where and how jobs are run; none of it changes a result.

    Attributes:
        device: "cpu" or "cuda"; the type decides the last bits of a result.
        workers: processes at a time; 0: one a core on a CPU, one in all elsewhere.
        cluster: address of a Dask scheduler; empty: this machine.
        every: seconds between checkpoints; at least an interval's work can be lost.
        progress: whether to show bars.
    """

    device: str = "cpu"
    workers: int = 0
    cluster: str = ""
    every: float = 60.0
    progress: bool = True

    @property
    def n_workers(self) -> int:
        """How many units run at a time on this machine."""
        on_cpu = torch.device(self.device).type == "cpu"
        return self.workers or (usable_cores() if on_cpu else 1)


def run(job: Job, folder: Path, means: Means, deadline: Deadline | None = None) -> Record:
    """Run ``job``, or go on where it was interrupted, and return its record.

    Units that were finished are not run again; one that was interrupted goes on from its last
    checkpoint. What is unfinished waits in ``folder/unfinished`` under a name that holds the
    settings, the code and the type of device, so that only like is continued with like.

    Raises:
        Stopped: when the deadline passes or a signal asks for it; everything is saved.
        ArgumentError: if another process is running the same job here.
    """
    deadline = deadline or Deadline()
    place = folder / UNFINISHED / f"{job.name}-{job.digest(means.device)}"
    place.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(place.with_name(place.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ArgumentError(
            f"{job.name} must be run by one process at a time in {folder}, got a second one"
        ) from None
    with lock:
        spent = _Clock(place / "seconds")
        parts: list[Any] = [_finished(place / f"unit-{i}.done") for i in range(len(job.units))]
        waiting = [i for i, part in enumerate(parts) if part is None]
        with _bar(job, len(parts), len(waiting), means) as bar, spent:
            for i, part in _run_units(job, waiting, place, means, deadline):
                parts[i] = part
                checkpoint.write(place / f"unit-{i}.done", {"part": part})
                Survival(place / f"unit-{i}").clear()
                spent.note()
                bar.update()
        record = records.make(
            job.experiment,
            job.scale,
            job.settings,
            job.seeds,
            job.collect(parts),
            wall_time_s=spent.total,
            device=means.device,
            variant=job.variant,
            reduced=job.reduced,
        )
        records.write(record, folder)
        shutil.rmtree(place, ignore_errors=True)
    return record


def _finished(path: Path) -> Any:
    try:
        return checkpoint.read(path)["part"]
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        log.warning("%s; the unit is run again", error)
        return None


def _run_units(
    job: Job, waiting: list[int], place: Path, means: Means, deadline: Deadline
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield what each unit returns, as it returns."""
    alone = not means.cluster and (means.n_workers == 1 or len(waiting) <= 1)
    if alone:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for i in waiting:
                survival = Survival(place / f"unit-{i}", every=means.every, stop=deadline)
                label = f"{job.name} {i + 1}/{len(job.units)}" if means.progress else ""
                yield i, job.units[i].work(survival=survival, progress=label)
        finally:
            torch.set_num_threads(threads)
        return
    flag = place / "stop"
    flag.unlink(missing_ok=True)
    remaining = dict.fromkeys(waiting, 0)
    while remaining:
        with _executor(means, len(remaining)) as pool:
            futures: dict[Future[Any], int] = {
                pool.submit(_in_worker, job.units[i], place / f"unit-{i}", means.every, flag): i
                for i in remaining
            }
            try:
                for future in _as_they_come(futures, deadline, flag):
                    part = future.result()
                    del remaining[futures[future]]
                    yield futures[future], part
            except BrokenProcessPool as error:  # Dask begins lost work anew by itself
                for i in remaining:
                    remaining[i] += 1
                    if remaining[i] >= ATTEMPTS:
                        raise
                log.warning("a worker was lost (%s); what it was at is run again", error)
            except BaseException:
                flag.touch()
                for future in futures:
                    future.cancel()
                raise


def _as_they_come(
    futures: dict[Future[Any], int], deadline: Deadline, flag: Path
) -> Iterator[Future[Any]]:
    """Futures as they are done. When time is up the workers are told, and save what they have."""
    pending, stopped = set(futures), False
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            if future.cancelled() or isinstance(future.exception(), Stopped):
                stopped = True
            else:
                yield future
        if deadline() and not flag.exists():
            flag.touch()
            for future in pending:
                future.cancel()
    if stopped:
        raise Stopped


def _in_worker(unit: Unit, path: Path, every: float, flag: Path) -> list[dict[str, Any]]:
    """Run a unit in a process of its own, with one torch thread.

    On another machine that does not share the folder there is nothing to save to.
    """
    torch.set_num_threads(1)
    looked_at = 0.0
    told = False

    def stop() -> bool:
        nonlocal looked_at, told
        if not told and time.monotonic() - looked_at > 0.2:
            looked_at, told = time.monotonic(), flag.exists()
        return told

    survival = Survival(path if path.parent.is_dir() else None, every=every, stop=stop)
    return unit.work(survival=survival, progress="")


@contextlib.contextmanager
def _executor(means: Means, n_units: int) -> Iterator[Executor]:
    if means.cluster:
        with _dask(means.cluster) as pool:
            yield pool
        return
    context = multiprocessing.get_context("spawn")
    n = min(means.n_workers, n_units)
    with ProcessPoolExecutor(n, mp_context=context, initializer=_start_worker) as pool:
        yield pool


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Executor]:
    """The executor of a Dask cluster, which begins anew elsewhere what a lost worker was at.

    Raises:
        ArgumentError: without Dask, or if nothing answers at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        message = 'cluster needs Dask: pip install "rnnlib[cluster]"'
        raise ArgumentError(message) from None
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        message = f"cluster must be the address of a Dask scheduler, got {address!r}: {error}"
        raise ArgumentError(message) from None
    with client:
        yield client.get_executor(pure=False, retries=ATTEMPTS - 1)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


class _Clock:
    """Seconds that a job has taken over all of its sittings, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.before = float(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.before = 0.0
        self.total = self.before

    def __enter__(self) -> None:
        self.begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.note()

    def note(self) -> None:
        """Bring the total up to date."""
        self.total = self.before + time.perf_counter() - self.begun
        with contextlib.suppress(OSError):
            self.path.write_text(str(self.total), encoding="utf-8")


@contextlib.contextmanager
def _bar(job: Job, n_units: int, n_waiting: int, means: Means) -> Iterator[Any]:
    from tqdm.auto import tqdm

    alone = not means.cluster and (means.n_workers == 1 or n_waiting <= 1)
    with tqdm(
        total=n_units,
        initial=n_units - n_waiting,
        desc=job.name,
        unit="unit",
        disable=not means.progress or alone,
    ) as bar:
        yield bar
