"""What a benchmark's record says in tables and sentences, for a terminal and for the book."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnnlib.bench.measure import DRIFT
from rnnlib.bench.summary import OPERATIONS, Row, ceilings, holds, ours, rows
from rnnlib.records import Record

NOT_MEASURED = "No benchmark record yet; `rnnlib bench` makes one."


def text_table(found: Sequence[Row]) -> str:
    """Every row in plain text, case by case, the fastest variant first.

    "spread" is the distance of the quartiles over the median, "first" the first call with all that
    is compiled in it, "speed" in units of the best peer's, "ceiling" the share of what
    the machine could do at best. A star marks ours, a tilde a time that is scaled up.
    """
    lines: list[str] = []
    head = f"  {'':34s} {'median':>8s} {'spread':>6s} {'first':>8s} {'error':>6s} {'memory':>8s}"
    last = None
    for row in sorted(found, key=lambda r: (_order(found, r), r.time_s or float("inf"))):
        if row.condition != last:
            last = row.condition
            lines += ["", title(row), f"{head} {'speed':>7s} {'ceiling':>7s}"]
        mark = "*" if row.ours else "~" if row.scaled else " "
        start = f"{mark} {row.variant:34.34s}"
        if row.time_s is None or row.quartiles_s is None or row.share is None:
            lines.append(f"{start} WRONG, not timed; error {row.error:.0e}")
            continue
        spread = (row.quartiles_s[1] - row.quartiles_s[0]) / row.time_s
        ratio = f"{_digits(row.ratio)} x" if row.ratio else "–"
        lines.append(
            f"{start} {duration(row.time_s):>8s} {spread:6.0%} {duration(row.first_call_s):>8s} "
            f"{row.error:6.0e} {memory(row.peak_bytes):>8s} {ratio:>7s} {row.share:7.1%}"
        )
    return "\n".join(lines).lstrip("\n")


def _order(found: Sequence[Row], row: Row) -> int:
    return next(i for i, other in enumerate(found) if other.condition == row.condition)


def title(row: Row) -> str:
    """The case in a line, with a warning if the machine was not steady."""
    condition = row.condition
    sizes = " ".join(f"{name}={value}" for name, value in row.size.items())
    text = f"{condition['operation']}, {condition['task']}, {condition['dtype']}: {sizes}"
    return text if row.steady else f"{text}  (UNSTEADY: the control moved by more than {DRIFT:.0%})"


def html_table(found: Iterable[Row]) -> str:
    """The rows as a table that becomes cards on a narrow screen; for ``IPython.display.HTML``."""
    head = ("Computation", "Time", "Best peer", "Faster by", "Of the ceiling", "Error", "Memory")
    lines = [
        '<table class="ledger ledger-short">',
        f"<thead><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr></thead>",
        "<tbody>",
    ]
    for row in found:
        if row.time_s is None or row.share is None:
            continue
        peer_s = row.time_s * row.ratio if row.ratio else 0.0
        sizes = ", ".join(f"{name} = {value:,}" for name, value in row.size.items())
        what = f"{row.condition['operation']}, {row.condition['task']}, {row.condition['dtype']}"
        cells = (
            f'{html.escape(what)}<span class="ledger-where">{sizes}; '
            f"{html.escape(row.variant)}</span>",
            duration(row.time_s) + ("" if row.steady else " (unsteady)"),
            f"{duration(peer_s)}, {html.escape(row.peer)}" if row.ratio else "none",
            f"{_digits(row.ratio)} ×" if row.ratio else "–",
            f"{row.share:.0%} ({'arithmetic' if row.bound == 'product' else 'memory'})",
            f"{row.error:.0e}",
            memory(row.peak_bytes),
        )
        data = "".join(
            f'<td data-label="{label}"><div>{cell}</div></td>'
            for label, cell in zip(head, cells, strict=True)
        )
        lines.append(f"<tr>{data}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def conclusion(record: Record, **condition: Any) -> str:
    """One sentence: over which range of ratios ours stand to the best peer, and where they lose."""
    found = [
        row
        for row in ours(rows(record.results, ceilings(record)))
        if row.ratio and holds(row.condition, condition)
    ]
    if not found:
        return "no case with a peer was timed"
    ratios = sorted(row.ratio for row in found if row.ratio)
    low, middle, high = (_digits(r) for r in (ratios[0], statistics.median(ratios), ratios[-1]))
    if len(found) == 1:
        text = f"1 size: {low} times as fast as the best peer"
    else:
        text = f"{len(found)} sizes: between {low} and {high} times as fast as the best peer, "
        text += f"median {middle}"
    lost = [row for row in found if row.ratio and row.ratio < 0.995]
    for row in lost:
        sizes = " ".join(f"{name}={value}" for name, value in row.size.items())
        text += f"\n  slower at {sizes}: {_digits(row.ratio or 0)} x {row.peer}"
    return text


def provenance(records: Mapping[str, Record]) -> str:
    """Where the times come from: a line for each record, and the versions."""
    if not records:
        return NOT_MEASURED
    lines = []
    for name, record in records.items():
        threads = record.settings["threads"]
        day, commit = record.utc[:10], (record.git_commit or "unknown")[:9]
        cores = f"{threads} thread{'s' if threads != 1 else ''}"
        lines.append(f"{name:6s} {record.hardware}; {cores}; {day}, commit {commit}")
    versions: dict[str, str] = {}
    for record in records.values():
        versions |= record.versions | record.settings.get("more_versions", {})
    return "\n".join([*lines, ", ".join(f"{name} {known}" for name, known in versions.items())])


def not_measured(cpu: Mapping[str, Record], gpu: Mapping[str, Record]) -> str:
    """What the records leave open: devices, rivals, and cases on an unsteady machine."""
    lines = []
    for device, known in (("CPU", cpu), ("GPU", gpu)):
        if absent := [name for name in OPERATIONS if name not in known]:
            lines.append(f"not yet run on a {device}: {', '.join(absent)}")
    for name, record in {**cpu, **{f"{name} on a GPU": r for name, r in gpu.items()}}.items():
        for variant, reason in record.settings["left_out"].items():
            lines.append(f"{name}: without {variant} ({reason})")
        found = rows(record.results, ceilings(record))
        cases = {repr(row.condition): row.steady for row in found}
        if unsteady := sum(not steady for steady in cases.values()):
            lines.append(f"{name}: {unsteady} of {len(cases)} cases on an unsteady machine")
        if wrong := [row.variant for row in found if row.time_s is None]:
            lines.append(f"{name}: wrong and so not timed: {', '.join(dict.fromkeys(wrong))}")
    if "elman" in cpu and not cpu["elman"].settings["with_compile"]:
        lines.append("elman: without torch.compile (takes minutes to compile; --compile)")
    return "\n".join(lines) or "nothing was left out"


def _digits(ratio: float) -> str:
    """A ratio in two digits, such as 12, 3.4 or 0.0056."""
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.995 else f"{ratio:.2g}"


def duration(seconds: float) -> str:
    """A time in three digits, such as ``12.3 ms``."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def memory(n_bytes: float | None) -> str:
    """An amount of memory in three digits, such as ``33.6 MB``; a dash where it is not known."""
    if n_bytes is None:
        return "–"
    if n_bytes < 1e5:
        return "< 0.1 MB"
    return f"{n_bytes / 1e6:.3g} MB" if n_bytes < 9.995e8 else f"{n_bytes / 1e9:.3g} GB"
