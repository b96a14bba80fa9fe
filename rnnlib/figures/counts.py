"""How many networks solved a task, and when: a table on a page, lines in a terminal."""

from __future__ import annotations

import html
from dataclasses import dataclass
from statistics import median
from typing import Any

from rnnlib.figures.style import ARMS


@dataclass(frozen=True)
class Counts:
    """Of each cell and algorithm: the networks that solved the task, and their median update.

    Where none did, the least share of wrong answers that any of them reached stands there instead.

    Attributes:
        records: ``Record`` objects of the experiment ``pathological``.
    """

    records: tuple[Any, ...]

    @property
    def arms(self) -> list[str]:
        """The algorithms that occur, in the order of `ARMS`."""
        met = {result.condition["arm"] for record in self.records for result in record.results}
        return [arm for arm in ARMS if arm in met]

    def __repr__(self) -> str:
        lines = []
        for record in self.records:
            lines.append(_title(record))
            for label, cell in _cells(record).items():
                found = (f"{arm} {' '.join(cell[arm])}" for arm in self.arms if arm in cell)
                lines.append(f"  {label}: {', '.join(found)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(arm)}</th>' for arm in self.arms)
        parts = [f'<table class="counts"><thead><tr><td></td>{head}</tr></thead>']
        for record in self.records:
            title = html.escape(_title(record))
            span = len(self.arms) + 1
            parts.append(f'<tbody><tr><th scope="rowgroup" colspan="{span}">{title}</th></tr>')
            for label, cell in _cells(record).items():
                found = (
                    f"<td>{cell[arm][0]}<br><small>{cell[arm][1]}</small></td>"
                    if arm in cell
                    else "<td>–</td>"
                    for arm in self.arms
                )
                parts.append(f'<tr><th scope="row">{html.escape(label)}</th>{"".join(found)}</tr>')
            parts.append("</tbody>")
        return "".join(parts) + "</table>"


def _title(record: Any) -> str:
    updates = record.settings["reading"]["n_updates"]
    return f"{record.variant.replace('_', ' ')}, {record.scale}, at most {updates:,} updates"


def _cells(record: Any) -> dict[str, dict[str, tuple[str, str]]]:
    """Label -> algorithm -> ("13/16", "(2400)")."""
    conditions = [result.condition for result in record.results]
    told = [key for key in ("task", "start") if len({c[key] for c in conditions}) > 1]
    cells: dict[str, dict[str, tuple[str, str]]] = {}
    for result in record.results:
        c, m = result.condition, result.metrics
        length = f"{c['shortest']} to {c['seq_len']}" if c["shortest"] else str(c["seq_len"])
        label = ", ".join([*(c[key].replace("_", " ") for key in told), f"T = {length}"])
        took = [n for n, solved in zip(m["updates"], m["solved"], strict=True) if solved]
        when = f"({median(took):g})" if took else f"({_least(m):.0%} wrong)"
        cells.setdefault(label, {})[c["arm"]] = (f"{len(took)}/{len(m['solved'])}", when)
    return cells


def _least(metrics: Any) -> float:
    return min(error for error in metrics["best_error_rate"] if error is not None)
