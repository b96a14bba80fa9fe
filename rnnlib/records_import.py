"""Bring in records that were made elsewhere: only what belongs here, and all of it or nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rnnlib import experiments, records
from rnnlib.checks import ArgumentError, one_of
from rnnlib.claims import Row, evaluate, papers
from rnnlib.experiments.jobs import Job
from rnnlib.overrides import override, selections
from rnnlib.provenance import has_commit, library_versions
from rnnlib.records import Record, RecordError, Records
from rnnlib.schema import to_json
from rnnlib.tasks.data import DataError

EVIDENCE = ("reduced", "paper")
"""The scales that settle claims; a smoke run shows no more than that the code runs."""


@dataclass(frozen=True)
class Arrivals:
    """What some files hold for a folder of records.

    Attributes:
        new: records to be written; with ``replace`` also those that take another's place.
        here: records that the folder has already, with the same result to the last bit.
        refused: a line for each file that does not belong, with the reason.
        replaced: what lies in the folder under the names of ``new``.
        verdicts: each claim that ``new`` bears on, before and after.
    """

    new: tuple[Record, ...]
    here: tuple[Record, ...]
    refused: tuple[str, ...]
    replaced: tuple[Record, ...]
    verdicts: tuple[tuple[Row, Row], ...]

    @property
    def changed(self) -> list[tuple[Row, Row]]:
        """The claims whose verdict becomes another one."""
        return [(old, new) for old, new in self.verdicts if old.verdict is not new.verdict]


def examine(
    paths: Iterable[Path], folder: Path, *, replace: bool = False, allow_dirty: bool = False
) -> Arrivals:
    """Read and judge the records in ``paths`` and write nothing.

    Args:
        paths: files, or folders whose ``*.json`` files are taken.
        replace: accept another result under the name of a record that ``folder`` has.
        allow_dirty: accept records whose code no commit holds.

    Raises:
        ArgumentError: for a path that is not there, or a folder without a record.
        RecordError: if a record that lies in ``folder`` is not valid.
    """
    present = Records.load(folder)
    known = {record.name: record for record in present}
    new: dict[str, Record] = {}
    here: dict[str, Record] = {}
    refused: list[str] = []
    for path in _files(paths):
        try:
            record = records.read(path)
            _check_name(record, path)
            check_belongs(record, allow_dirty=allow_dirty)
            old, twin = known.get(record.name), new.get(record.name)
            if old is not None and record.same_result(old):
                here[record.name] = record
            elif old is not None and not replace:
                raise RecordError(f"{folder} has another result under this name; see --replace")
            elif twin is not None and not record.same_result(twin):
                raise RecordError("another file given has another result under this name")
            else:
                new.setdefault(record.name, record)
        except (ArgumentError, DataError, RecordError) as error:
            refused.append(f"{path}: {_reason(error, path)}")
    arriving = tuple(new.values())
    after = Records([*arriving, *(record for record in present if record.name not in new)])
    verdicts: tuple[tuple[Row, Row], ...] = ()
    if arriving and not refused:
        try:
            verdicts = tuple(_verdicts(present, after, {r.experiment for r in arriving}))
        except RecordError as error:
            refused.append(str(error))
    replaced = tuple(known[name] for name in new if name in known)
    return Arrivals(arriving, tuple(here.values()), tuple(refused), replaced, verdicts)


def merge(arrivals: Arrivals, folder: Path) -> None:
    """Write the new records into ``folder``; if one cannot be, the folder is as it was.

    Raises:
        RecordError: if anything was refused.
        OSError: if a record cannot be written.
    """
    if arrivals.refused:
        raise RecordError(arrivals.refused[0])
    before = {record.name: record for record in arrivals.replaced}
    begun: list[Record] = []
    try:
        for record in arrivals.new:
            begun.append(record)
            records.write(record, folder)
    except BaseException:
        for record in begun:
            if record.name not in before:
                (folder / f"{record.name}.json").unlink(missing_ok=True)
                if record.curves is not None:
                    (folder / record.curves.file).unlink(missing_ok=True)
        for record in begun:
            if record.name in before:
                records.write(before[record.name], folder)
        raise


def check_belongs(record: Record, *, allow_dirty: bool = False) -> None:
    """Accept a record of this version's experiments at this version's settings.

    A record says "paper" or "reduced" of a preset: its settings, its seeds in their order, its
    conditions and what was reduced must be those of the preset. More seeds would be welcome, but
    fewer or others would let somebody choose the luckier ones. What nobody can see is a number
    that was changed by hand: for that the commit is there, and the command that runs it again.

    Raises:
        ArgumentError, RecordError: naming what is accepted and what was found.
        DataError: if the settings need a data set to be compared and it cannot be had.
    """
    one_of("experiment", record.experiment, experiments.names())
    if record.scale not in EVIDENCE:
        raise RecordError(f"scale must be {' or '.join(EVIDENCE)}, got {record.scale!r}")
    job = _job(record)
    for name, ours, theirs in (
        ("settings", job.settings, record.settings),
        ("seeds", list(job.seeds), record.seeds),
        ("reduced", job.reduced, record.reduced),
        ("conditions", list(job.conditions), [result.condition for result in record.results]),
    ):
        _check_same(name, json.loads(to_json(ours)), json.loads(to_json(theirs)))
    _check_origin(record)
    if not allow_dirty and (record.git_commit is None or record.git_dirty is not False):
        found = "no commit" if record.git_commit is None else "changes that no commit holds"
        raise RecordError(f"code must be that of a commit, got {found}; see --allow-dirty")


def _check_origin(record: Record) -> None:
    """Accept what this version, a device and a clock can have said of a run."""
    measured = [sorted(result.metrics) for result in record.results]
    if any(names != measured[0] for names in measured):
        raise RecordError(f"metrics must be the same in all conditions, got {measured!r:.120}")
    ours, theirs = library_versions()["rnnlib"], record.versions.get("rnnlib")
    if theirs != ours:
        raise RecordError(f"versions.rnnlib must be {ours!r}, got {theirs!r}")
    one_of("device", record.device.partition(":")[0], ("cpu", "cuda"))
    try:
        made = datetime.fromisoformat(record.utc)
    except ValueError:
        raise RecordError(f"utc must be a date and time, got {record.utc!r}") from None
    if made > datetime.now(UTC) + timedelta(days=1):  # a day for clocks that are wrong
        raise RecordError(f"utc must not lie in the future, got {record.utc!r}")
    if record.git_commit is not None and has_commit(record.git_commit) is False:
        raise RecordError(f"git_commit must be one of this repository, got {record.git_commit}")


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise ArgumentError(f"FILE must be a record or a folder of them, got '{path}'")
            yield path
            continue
        inside = sorted(path.glob("*.json"))
        if not inside:
            raise ArgumentError(f"FILE must hold a record, got the folder '{path}' without one")
        yield from inside


def _check_name(record: Record, path: Path) -> None:
    if path.name != f"{record.name}.json":
        raise RecordError(f"its content asks for the name {record.name}.json")


def _reason(error: Exception, path: Path) -> str:
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def _job(record: Record) -> Job:
    """The job that makes this record in this version."""
    module = experiments.load(record.experiment)
    preset = module.SETTINGS[record.scale]
    for field in selections(preset):  # spares the data sets of the other variants
        with contextlib.suppress(ArgumentError):
            preset = override(preset, {field: record.variant})
    jobs = {job.variant: job for job in module.jobs(preset, "cpu")}
    return jobs[one_of("variant", record.variant, jobs)]


def _check_same(place: str, ours: Any, theirs: Any) -> None:
    """Raise for the first value, however deep, in which ``theirs`` differs from ``ours``."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key in ours:
            _check_same(f"{place}.{key}", ours[key], theirs[key])
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            _check_same(f"{place}.{i}", *pair)
    elif ours != theirs:
        raise RecordError(f"{place} must be {ours!r:.80} at this scale, got {theirs!r:.80}")


def _verdicts(before: Records, after: Records, changed: set[str]) -> Iterator[tuple[Row, Row]]:
    """Judge the claims that rest on these experiments twice.

    Raises:
        RecordError: if a check cannot read the new records: then no ledger could be made of them.
    """
    for claims in papers().values():
        for claim in claims:
            if claim.experiment in changed:
                row = evaluate(claim, before)
                try:
                    yield row, evaluate(claim, after)
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    raise RecordError(f"{claim.id} cannot be judged with them: {what}") from error
