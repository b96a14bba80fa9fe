"""Runs jobs so that nothing finished is lost: checkpoints, a lock, retries, a budget, a cluster."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import math
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import torch

from rnnlib import atomic, checkpoint, records
from rnnlib.checkpoint import Deadline, Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.environment import check_device
from rnnlib.experiments.jobs import Job, Unit, code_digest
from rnnlib.progress import Bar, noted, noting
from rnnlib.provenance import git_state, hardware_name, usable_cores
from rnnlib.records import Record, Result

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How many losses of processes in a row, with nothing finished in between, end a run."""

GRACE_S = 30.0
"""Seconds that a cluster's workers have to save once time is up."""

ANSWER_S = 10.0
"""Seconds that a cluster's scheduler has to answer."""

UNFINISHED = "unfinished"
"""Folder beside the records where interrupted runs wait to be continued."""

SPEEDS = "speeds.json"
"""File in there of what `rnnlib.experiments.plan` has measured."""


@dataclass(frozen=True)
class Means:
    """Where and how jobs are run; none of it changes a result.

    Attributes:
        device: "cpu" or "cuda"; the type decides the last bits of a result.
        workers: processes at a time; 0: one a core on a CPU, one in all elsewhere.
        cluster: address of a Dask scheduler; empty: this machine.
        every: seconds between checkpoints; at most an interval's work is lost.
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


class Part(NamedTuple):
    """What a unit returned, and the name of the processor or card that did the work."""

    rows: list[dict[str, Any]]
    hardware: str


class WorkersLost(RuntimeError):
    """The processes that do the work were lost too often; what they had saved is kept."""


def run(job: Job, folder: Path, means: Means, deadline: Deadline | None = None) -> Record:
    """Run ``job``, or go on where it was interrupted, and return its record.

    Units that were finished are not run again; one that was interrupted goes on from its last
    checkpoint. All this waits in ``folder/unfinished`` under a name that holds the settings, the
    code and the type of device, so that only like is continued with like. There it stays when the
    job is done, until `forget`: a sweep that is stopped at a later job does not repeat this one.

    Raises:
        Stopped: when the deadline passes or a signal asks for it; it tells whether all is saved.
        OSError: naming the record that cannot be written, and where it lies instead.
        ArgumentError: if another process is running the same job here.
        WorkersLost: if processes are lost again and again.
    """
    deadline = deadline or Deadline()
    place, code = _place(job, folder, means), git_state()  # what was imported, not what is there
    with _alone_in(place, job, folder):
        place.mkdir(exist_ok=True)
        for left_by_a_kill in (*place.glob(".*.tmp"), *place.glob("sitting-*")):
            left_by_a_kill.unlink(missing_ok=True)
        kept = (_kept(place / f"unit-{i}.done") for i in range(len(job.units)))
        parts = {i: part for i, part in enumerate(kept) if part is not None}
        waiting = [i for i in range(len(job.units)) if i not in parts]
        spent = _Clock(place / "seconds", min(means.every, 60.0))
        updates = {i: unit.n_updates for i, unit in enumerate(job.units)}
        saved = True
        with Bar(job.name, updates, shown=means.progress) as bar, spent:
            for i in parts:
                bar.end(i, noted(_note(place, i)))
            found = contextlib.closing(_run_units(job, waiting, place, means, deadline, bar))
            try:
                with found as units:
                    for i, part in units:
                        parts[i] = part
                        saved &= _keep(part, place / f"unit-{i}")
                        bar.end(i, noted(_note(place, i)))
            except Stopped as stopped:
                raise Stopped(saved and stopped.saved) from None
        record = records.make(
            job.experiment,
            job.scale,
            job.settings,
            job.seeds,
            [
                Result(condition=dict(condition), metrics=metrics)
                for condition, metrics in zip(
                    job.conditions,
                    job.collect([parts[i].rows for i in range(len(job.units))]),
                    strict=True,
                )
            ],
            wall_time_s=spent.total,
            device=means.device,
            hardware="; ".join(sorted({part.hardware for part in parts.values()})),
            variant=job.variant,
            reduced=job.reduced,
            code=code,
        )
        _write(record, folder)
    return record


def forget(job: Job, folder: Path, means: Means) -> None:
    """Remove what was kept to go on with ``job``, unless another process is at it.

    Run again, the job then begins from the beginning.
    """
    place = _place(job, folder, means)
    with contextlib.suppress(ArgumentError), _alone_in(place, job, folder) as lock:
        shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # Windows does so when the lock is released
            os.unlink(lock)
    with contextlib.suppress(OSError):  # other jobs wait in it
        place.parent.rmdir()


def tidy(folder: Path) -> None:
    """Remove ``folder/unfinished`` if no job waits in it."""
    with contextlib.suppress(OSError):
        if [path.name for path in (folder / UNFINISHED).iterdir()] == [SPEEDS]:
            shutil.rmtree(folder / UNFINISHED)


def share_done(job: Job, folder: Path, means: Means) -> float:
    """The share of the operations of ``job`` that need not be done again, from 0 to 1."""
    place, done = _place(job, folder, means), 0.0
    if not place.is_dir():
        return 0.0
    for i, unit in enumerate(job.units):
        if (place / f"unit-{i}.done").exists():
            done += unit.flops
        elif (saved := Survival(place / f"unit-{i}").restore()) is not None:
            done += unit.flops * saved.get("done", 0) / max(unit.n_updates, 1)
    return done / max(sum(unit.flops for unit in job.units), 1.0)


def _place(job: Job, folder: Path, means: Means) -> Path:
    """Absolute, for a cluster's workers have working folders of their own."""
    return folder.absolute() / UNFINISHED / f"{job.name}-{job.digest(means.device)}"


@contextlib.contextmanager
def _alone_in(place: Path, job: Job, folder: Path) -> Iterator[Path]:
    """Hold the job's lock, the file that is yielded."""
    place.parent.mkdir(parents=True, exist_ok=True)
    path = place.with_name(place.name + ".lock")
    try:
        held = filelock.FileLock(path).acquire(timeout=0)
    except filelock.Timeout:
        raise ArgumentError(
            f"{job.name} must be run by one process at a time in {folder}, got a second one"
        ) from None
    with held:
        yield path


def _note(place: Path, unit: int) -> Path:
    """Where a unit says how far it is."""
    return place / f"unit-{unit}.note"


def _kept(path: Path) -> Part | None:
    """What a unit returned, or None if it has to be run."""
    saved = Survival(path).restore()
    return None if saved is None else Part(**saved)


def _keep(part: Part, unit: Path) -> bool:
    """Keep what a unit returned; if that fails (a full disk), its last checkpoint stays."""
    done = unit.with_name(unit.name + ".done")
    try:
        checkpoint.write(done, part._asdict())
    except OSError as error:
        aside = _elsewhere(lambda folder: checkpoint.write(folder / done.name, part._asdict()))
        log.warning("%s: not saved: %s%s", done, error.strerror or error, aside)
        return False
    Survival(unit).clear()
    return True


def _write(record: Record, folder: Path) -> None:
    """Write the record; where that cannot be done, hours of work must not end in nothing."""
    try:
        records.write(record, folder)
    except OSError as error:
        aside = _elsewhere(lambda folder: records.write(record, folder))
        path = folder / f"{record.name}.json"
        raise OSError(error.errno, f"{error.strerror or error}{aside}", str(path)) from error


def _elsewhere(write: Callable[[Path], object]) -> str:
    """Let ``write`` use a new folder for temporary files, and say so; empty if it cannot."""
    with contextlib.suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="rnnlib-"))
        try:
            write(folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return f"; kept in {folder}"
    return ""


def _run_units(
    job: Job, waiting: list[int], place: Path, means: Means, deadline: Deadline, bar: Bar
) -> Generator[tuple[int, Part], None, None]:
    """Yield what each unit returns, as it returns."""
    if _in_process(means, len(waiting)):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for i in waiting:
                if deadline():
                    raise Stopped
                unit = place / f"unit-{i}"
                report = functools.partial(bar.tell, i)
                survival = Survival(unit, every=means.every, stop=deadline, report=report)
                yield i, Part(job.units[i].work(survival=survival), hardware_name(means.device))
        finally:
            torch.set_num_threads(threads)
        return
    sitting = place / f"sitting-{uuid.uuid4().hex}"  # workers go on for as long as it is there
    sitting.touch()
    remaining, losses, code = set(waiting), 0, code_digest()

    def look() -> None:
        for i in remaining:
            bar.tell(i, noted(_note(place, i)))

    while remaining:
        with _executor(means, len(remaining)) as (pool, begun):
            try:
                futures = {
                    pool.submit(
                        _in_worker, job.units[i], place / f"unit-{i}", means, sitting, code
                    ): i
                    for i in sorted(remaining)
                }
                for future, part in _as_they_come(set(futures), deadline, sitting, look, begun):
                    remaining.remove(futures[future])
                    losses = 0
                    yield futures[future], part
            except BrokenProcessPool:  # Dask begins lost work anew by itself
                losses += 1
                if deadline():  # the signal went to the processes as well, and they saved nothing
                    raise Stopped(saved=False) from None
                if losses == ATTEMPTS:
                    raise WorkersLost(
                        f"{job.name} lost its processes {ATTEMPTS} times in a row (too little "
                        "memory?); what they had saved is kept, and fewer --workers need less"
                    ) from None
                log.warning("a process was lost; what it was at goes on from its checkpoint")
            except BaseException:
                sitting.unlink(missing_ok=True)
                raise
    sitting.unlink(missing_ok=True)


def _as_they_come(
    pending: set[Future[Any]],
    deadline: Deadline,
    sitting: Path,
    look: Callable[[], None],
    begun: Callable[[], bool],
) -> Iterator[tuple[Future[Any], Part]]:
    """What comes of the futures. When time is up the workers are told, and save what they have."""
    stopped, saved, at_work, out_of_reach = False, True, True, math.inf
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        look()
        for future in done:
            if future.cancelled():
                if not deadline():
                    raise WorkersLost("the cluster was lost; what its workers had saved is kept")
                stopped, saved = True, False
            elif isinstance(came := future.result(), Stopped):
                stopped, saved = True, saved and came.saved
            else:
                yield future, came
        if pending and deadline():
            if out_of_reach == math.inf:
                sitting.unlink(missing_ok=True)
                at_work = begun()
                out_of_reach = time.monotonic() + (GRACE_S if at_work else 0.0)
            if time.monotonic() >= out_of_reach:
                for future in pending:
                    future.cancel()
                stopped, saved = True, saved and not at_work
                break
    if stopped:
        raise Stopped(saved)


def _in_worker(unit: Unit, path: Path, means: Means, sitting: Path, code: str) -> Part | Stopped:
    """Run a unit in a process of its own, with one torch thread.

    On another machine that does not share the folder there is nothing to save to.
    """
    if code != code_digest():
        raise ArgumentError(
            "workers must have the rnnlib and the libraries of this process, got other versions"
        )
    try:
        check_device(means.device)
    except ArgumentError as error:
        raise ArgumentError(f"on a worker, {error}") from None
    torch.set_num_threads(1)
    hardware = hardware_name(means.device)
    if not path.parent.is_dir():
        return Part(unit.work(survival=Survival()), hardware)
    looked_at, over = -math.inf, False

    def stop() -> bool:
        nonlocal looked_at, over
        if not over and time.monotonic() - looked_at > 0.2:
            looked_at, over = time.monotonic(), not sitting.exists()
        return over

    if stop():
        return Stopped()
    try:
        report = noting(path.with_name(path.name + ".note"))
        survival = Survival(path, every=means.every, stop=stop, report=report)
        return Part(unit.work(survival=survival), hardware)
    except Stopped as stopped:
        return stopped


def _in_process(means: Means, n_units: int) -> bool:
    return not means.cluster and (means.n_workers == 1 or n_units <= 1)


@contextlib.contextmanager
def _executor(means: Means, n_units: int) -> Iterator[tuple[Executor, Callable[[], bool]]]:
    """What runs the units, and whether any of them may have begun."""
    if means.cluster:
        with _dask(means.cluster) as found:
            yield found
        return
    context = multiprocessing.get_context("spawn")
    n = min(means.n_workers, n_units)
    with ProcessPoolExecutor(n, mp_context=context, initializer=_start_worker) as pool:
        yield pool, lambda: True


def check_cluster(address: str) -> None:
    """Accept the address of a Dask scheduler that answers.

    A client of Dask that finds another server there can wait for ever.

    Raises:
        ArgumentError: without Dask, or if nothing or something else answers at the address.
    """
    if importlib.util.find_spec("distributed") is None:
        raise ArgumentError('cluster needs Dask: pip install "rnnlib[cluster]"')
    try:
        place = urllib.parse.urlsplit(address)
        if place.scheme not in ("tcp", "tls"):
            raise ValueError("it has to begin with tcp:// or tls://")
        at = (place.hostname or "", place.port or 0)
        with socket.create_connection(at, timeout=ANSWER_S) as scheduler:
            if place.scheme == "tcp" and not scheduler.recv(1):  # it speaks first; the web waits
                raise ValueError("it hangs up")
    except (OSError, ValueError) as error:
        message = f"cluster must be the address of a Dask scheduler, got {address!r}: {error}"
        raise ArgumentError(message) from None


@contextlib.contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, Callable[[], bool]]]:
    """The executor of a Dask cluster, which begins anew elsewhere what a lost worker was at."""
    check_cluster(address)
    from distributed import Client, KilledWorker

    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # of a lost scheduler we say one line, it prints a traceback
    try:
        with Client(address, timeout=ANSWER_S, set_as_default=False) as client:
            if not client.nthreads():
                log.warning("%s has no workers yet; waiting for some", address)
            yield client.get_executor(pure=False), lambda: any(client.processing().values())
    except KilledWorker as error:
        raise WorkersLost(f"{error}; what was saved is kept") from None
    finally:
        logger.setLevel(level)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Clock:
    """Seconds that a job has taken over all of its sittings, noted in a file as they pass."""

    def __init__(self, path: Path, every: float) -> None:
        self.path, self.every, self.over = path, every, threading.Event()
        try:
            self.before = float(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.before = 0.0
        self.total = self.before

    def __enter__(self) -> None:
        self.begun = time.perf_counter()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self._note()

    def _run(self) -> None:
        while not self.over.wait(self.every):
            self._note()

    def _note(self) -> None:
        self.total = self.before + time.perf_counter() - self.begun
        with contextlib.suppress(OSError):
            atomic.replace(self.path, str(self.total).encode())
