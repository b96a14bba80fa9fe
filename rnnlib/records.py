"""Run records: what was run, what came out, on what machine; written in one step, read checked.

A record is one JSON file ``<experiment>[-<variant>]-<scale>.json``, with an ``.npz`` beside it
when the run keeps curves. ``rnnlib.schema`` says what stands in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnlib import atomic
from rnnlib.checks import one_of
from rnnlib.provenance import git_state, hardware_name, library_versions, utc_now
from rnnlib.schema import SCALES, SCHEMA_VERSION, CurvesFile, Record, RecordError, Result, validate


def make(
    experiment: str,
    scale: str,
    settings: Any,
    seeds: Sequence[int],
    results: Iterable[Result | Mapping[str, Any]],
    *,
    wall_time_s: float,
    device: str,
    hardware: str | None = None,
    variant: str = "",
    reduced: str = "",
    curves: Mapping[str, np.ndarray] | None = None,
    code: tuple[str | None, bool | None] | None = None,
) -> Record:
    """Build a record of a finished run and fill in where it comes from.

    Args:
        settings: a dataclass or a mapping; all of it is kept.
        results: one entry a condition; each metric holds one value for each of ``seeds``.
        hardware: what did the work, if that was not this machine.
        reduced: what differs from the paper's set-up; empty at paper scale.
        curves: arrays worth keeping, written to an ``.npz`` beside the record.
        code: the `git_state` when the run began; a long run may end beside newer code than its
            own. Without: that of now.

    Raises:
        ArgumentError: for a scale that does not exist.
        RecordError: naming the field that is not valid.
    """
    one_of("scale", scale, SCALES)
    stem = "-".join(part for part in (experiment, variant, scale) if part)
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        settings = dataclasses.asdict(settings)
    commit, dirty = code or git_state()
    packed = _pack(curves, stem) if curves else None
    digest = hashlib.sha256(packed).hexdigest() if packed is not None else ""
    record = validate(
        {
            "schema_version": SCHEMA_VERSION,
            "experiment": experiment,
            "variant": variant,
            "scale": scale,
            "reduced": reduced,
            "settings": settings,
            "seeds": list(seeds),
            "wall_time_s": wall_time_s,
            "device": device,
            "hardware": hardware_name(device) if hardware is None else hardware,
            "versions": library_versions(),
            "git_commit": commit,
            "git_dirty": dirty,
            "utc": utc_now(),
            # The checksum in the name lets a new file lie beside the old until the JSON changes.
            "curves": {"file": f"{stem}-{digest[:12]}.npz", "sha256": digest} if packed else None,
            "results": [r.model_dump() if isinstance(r, Result) else r for r in results],
        },
        where=f"record {stem}",
    )
    record._curves_bytes = packed
    return record


def write(record: Record, folder: str | os.PathLike[str]) -> Path:
    """Write ``record`` and its curves into ``folder``, all of it or nothing; return the path.

    The curves are written first, under a name of their own; replacing the JSON file is the one
    step that makes the new record valid. Until then the old record stays as it was.

    Raises:
        RecordError: if the record names curves that it does not carry.
    """
    folder = Path(folder)
    path = folder / f"{record.name}.json"
    curves = record.curves
    if curves is not None and record._curves_bytes is None:
        raise RecordError(f"{path}: curves must be at hand to be written, got only their name")
    folder.mkdir(parents=True, exist_ok=True)
    if curves is not None and record._curves_bytes is not None:
        atomic.replace(folder / curves.file, record._curves_bytes)
    atomic.replace(path, record.dump().encode())
    ours = re.compile(re.escape(record.name) + r"-[0-9a-f]{12}\.npz")
    for file in folder.iterdir():
        if ours.fullmatch(file.name) and (curves is None or file.name != curves.file):
            file.unlink(missing_ok=True)  # another process may be tidying up as well
    return path


def read(path: str | os.PathLike[str]) -> Record:
    """Read and check the record at ``path``, with its curves.

    Raises:
        RecordError: one line naming the file and the field, or the checksum that is wrong.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not a JSON file: {error}") from error
    record = validate(content, where=str(path))
    if record.curves is not None:
        beside = path.parent / record.curves.file
        try:
            packed = beside.read_bytes()
        except OSError as error:
            raise RecordError(f"{path}: curves: {beside.name}: {error.strerror}") from error
        found = hashlib.sha256(packed).hexdigest()
        if found != record.curves.sha256:
            raise RecordError(
                f"{path}: curves: {beside.name} must have SHA-256 {record.curves.sha256}, "
                f"got {found}"
            )
        record._curves_bytes = packed
    return record


def load_curves(record: Record) -> dict[str, np.ndarray]:
    """Return the arrays kept with ``record``; none: an empty dict."""
    if record._curves_bytes is None:
        return {}
    with np.load(io.BytesIO(record._curves_bytes), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


class Records:
    """The records of one folder, or any others whose names differ."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = sorted(
            records, key=lambda r: (r.experiment, -SCALES.index(r.scale), r.variant)
        )
        names = [record.name for record in self._records]
        for name in names:
            if names.count(name) > 1:
                raise RecordError(f"records must have different names, got {name} twice")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Records:
        """Read every record in ``folder``; a folder that does not exist holds none.

        Raises:
            RecordError: for the first file that is not a valid record of its name.
        """
        records = []
        for path in sorted(Path(folder).glob("*.json")):
            record = read(path)
            if path.stem != record.name:
                raise RecordError(f"{path}: its content asks for the name {record.name}.json")
            records.append(record)
        return cls(records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def find(
        self, experiment: str, variant: str | None = None, scale: str | None = None
    ) -> list[Record]:
        """Return the matching records, paper scale first, smoke last, then by variant."""
        return [
            record
            for record in self._records
            if record.experiment == experiment
            and variant in (None, record.variant)
            and scale in (None, record.scale)
        ]

    def best(self, experiment: str) -> list[Record]:
        """Return, for each variant, the record at the largest scale, sorted by variant.

        Smoke runs show that the code runs; they are no evidence and are left out.
        """
        chosen: dict[str, Record] = {}
        for record in self.find(experiment):
            if record.scale != "smoke":
                chosen.setdefault(record.variant, record)
        return [chosen[variant] for variant in sorted(chosen)]


def default_folder() -> Path:
    """Return the book's folder of records: that of the source tree, or ``book/records`` here."""
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file() and (root / "book").is_dir():
        return root / "book" / "records"
    return Path("book") / "records"


def _pack(curves: Mapping[str, np.ndarray], stem: str) -> bytes:
    arrays = {name: np.asarray(array) for name, array in curves.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise RecordError(f"record {stem}: curves.{name} must be numbers, got objects")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


__all__ = [
    "SCALES",
    "CurvesFile",
    "Record",
    "RecordError",
    "Records",
    "Result",
    "default_folder",
    "load_curves",
    "make",
    "read",
    "write",
]
