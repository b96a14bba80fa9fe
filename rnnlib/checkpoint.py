"""Checkpoints: what a long run needs to go on, kept so that no interruption can spoil it.

A `Survival` is handed down to whatever runs long. It says when to save, and when to stop because
time is up or somebody asked; what it has saved it gives back after a restart. Two generations of
a checkpoint are kept, each with its checksum, and a new one takes its place in one step: a run
that is killed at any moment loses at most what it did since the last one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from rnnlib import atomic
from rnnlib.progress import TELL_S, Report, Standing

log = logging.getLogger(__name__)

VERSION = 1
_MAGIC = b"rnnlib checkpoint "  # then the version, the checksum and the content, a line each


class Stateful(Protocol):
    """Something whose state goes into a checkpoint: tensors, numbers, text, lists, mappings."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Stopped(Exception):
    """A run ended before it was done.

    Attributes:
        saved: whether what it had reached is saved; otherwise an older state, if any, is.
    """

    def __init__(self, saved: bool = True) -> None:
        super().__init__(saved)
        self.saved = saved


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and what is wrong with it."""


class Survival:
    """Saves the state of one run, stops it in time, and says how far it is.

    Args:
        path: file of the checkpoint; the one before it lies beside it as ``path.1``. None: nothing
            is saved, and there is nothing to go on from.
        every: seconds between checkpoints.
        stop: asked whether to stop now; see `Deadline`.
        report: told every half second how far the run is.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        every: float = 60.0,
        stop: Callable[[], bool] = lambda: False,
        report: Report | None = None,
    ) -> None:
        self.path, self.every, self.stop, self.report = path, every, stop, report
        self._saved_at = time.monotonic()
        self._told_at = -math.inf

    def restore(self) -> dict[str, Any] | None:
        """Return the newest state that can be read, or None to start from the beginning.

        One that is damaged is named in a warning and set aside as ``….damaged``.
        """
        if self.path is None:
            return None
        for path in _generations(self.path):
            try:
                return read(path)
            except FileNotFoundError:
                continue
            except CheckpointError as error:
                aside = path.with_name(path.name + ".damaged")
                os.replace(path, aside)
                log.warning("%s; set aside as %s", error, aside.name)
        return None

    def tell(self, standing: Callable[[], Standing], *, now: bool = False) -> None:
        """Report if it is time to, or ``now``; ``standing`` is asked for only then."""
        if self.report is not None and (now or time.monotonic() - self._told_at >= TELL_S):
            self.report(standing())
            self._told_at = time.monotonic()

    def pause(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save if it is time to, and stop if it is time to; called where the state is whole.

        A checkpoint that cannot be written (a full disk) is a warning: the run goes on, and the
        checkpoint before it stays.

        Raises:
            Stopped: after saving, when ``stop`` says so; it tells whether that succeeded.
        """
        stopping, saved = self.stop(), False
        if stopping or time.monotonic() - self._saved_at >= self.every:
            if self.path is not None:
                try:
                    write(self.path, state())
                    saved = True
                except OSError as error:
                    log.warning("%s: not saved: %s", self.path, error.strerror or error)
            self._saved_at = time.monotonic()
        if stopping:
            raise Stopped(saved)

    def clear(self) -> None:
        """Remove the checkpoints of a run that is done."""
        if self.path is not None:
            for path in _generations(self.path):
                path.unlink(missing_ok=True)


class Deadline:
    """Whether to stop: after ``seconds``, or once the process is asked to by SIGINT or SIGTERM."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._end = time.monotonic() + seconds
        self.asked = ""

    def __call__(self) -> bool:
        return bool(self.asked) or time.monotonic() >= self._end

    @property
    def left(self) -> float:
        """Seconds left; below zero when time is up, ``inf`` without a limit."""
        return 0.0 if self.asked else self._end - time.monotonic()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Deadline]:
        """Answer the first SIGINT or SIGTERM by stopping in order, the next one at once.

        Outside the main thread signals cannot be had, and nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        old = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

        def answer(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = signal.Signals(number).name

        for name in old:
            signal.signal(name, answer)
        try:
            yield self
        finally:
            for name, handler in old.items():
                signal.signal(name, handler)


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Make ``state`` the content of ``path`` in one step; what was there becomes ``path.1``.

    Raises:
        OSError: if it cannot be written; both files are then as they were.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, _, before = _generations(path)
    atomic.replace(fresh, _MAGIC + f"{VERSION}\n{digest}\n".encode() + content)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, before)
    os.replace(fresh, path)


def read(path: Path) -> dict[str, Any]:
    """Return the state in ``path``; only plain data and tensors are ever unpickled.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: for a file that is cut short, altered, of another version, or that holds
            anything else.
    """
    head, _, rest = path.read_bytes().partition(b"\n")
    digest, _, content = rest.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise CheckpointError(f"{path}: not a checkpoint of rnnlib")
    version = head.removeprefix(_MAGIC).decode(errors="replace")
    if version != str(VERSION):
        raise CheckpointError(f"{path}: must have version {VERSION}, got {version:.20}")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise CheckpointError(f"{path}: damaged: its content does not have its checksum")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is not ours makes the loader raise
        raise CheckpointError(f"{path}: must hold plain data and tensors, got others") from error


def _generations(path: Path) -> tuple[Path, Path, Path]:
    """Newest first. The first is there only if a run was killed between two renames."""
    return path.with_name(path.name + ".new"), path, path.with_name(path.name + ".1")
