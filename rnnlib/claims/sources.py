"""Where a figure's numbers come from: its records, and the commands that make them."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

from rnnlib.claims.claim import duration
from rnnlib.records import Record, Records


def link(record: Record) -> str:
    """HTML that leads to the record's file from a page, or a notebook, of the book."""
    return f'<a href="records/{record.name}.json">{html.escape(record.name)}</a>'


def facts(record: Record) -> str:
    """Its seeds, its time and its hardware, such as ``5 seeds, 31 min on AMD EPYC, 2 cores``."""
    return f"{len(record.seeds)} seeds, {duration(record.wall_time_s)} on {record.hardware}"


@dataclass(frozen=True)
class Sources:
    """The records behind a figure; a page shows them as links, a terminal as lines.

    Attributes:
        records: those that exist, paper scale first.
        missing: what has not been run at the paper's scale.
    """

    records: tuple[Record, ...]
    missing: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        """What makes the records again."""
        scales = dict.fromkeys((record.experiment, record.scale) for record in self.records)
        return [f"rnnlib run {name} --scale {scale}" for name, scale in scales]

    def __repr__(self) -> str:
        lines = [f"{record.name}: {facts(record)}" for record in self.records]
        lines += [f"to make again: {command}" for command in self.commands]
        lines += [f"not yet run at paper scale: {', '.join(self.missing) or 'none'}"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        made = "; ".join(f"{link(r)} ({html.escape(facts(r))})" for r in self.records)
        again = " or ".join(f"<code>{html.escape(command)}</code>" for command in self.commands)
        missing = html.escape(", ".join(self.missing) or "none")
        said = f"Records: {made}. To make them again: {again}. " if self.records else ""
        return f'<p class="sources">{said}Not yet run at paper scale: {missing}.</p>'


def sources(records: Records, experiment: str, variants: Iterable[str]) -> Sources:
    """The records of ``experiment`` for ``variants``, and those that have no paper-scale one."""
    names = list(variants)
    found = [record for record in records.find(experiment) if record.variant in names]
    done = {record.variant for record in found if record.scale == "paper"}
    return Sources(tuple(found), tuple(name for name in names if name not in done))
