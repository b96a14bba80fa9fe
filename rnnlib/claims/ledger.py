"""The ledger: every claim with its verdict, as the page of the book and as short tables.

All text is deterministic: it depends on the claims and the records alone, so that a test can
compare the committed page with a fresh one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from rnnlib.checks import ArgumentError
from rnnlib.claims import PAPERS, papers
from rnnlib.claims.claim import Row, Verdict, evaluate
from rnnlib.claims.sources import link
from rnnlib.records import Records

BEGIN, END = "<!-- ledger summary: begin -->", "<!-- ledger summary: end -->"
"""What stands between these lines in a page is written by ``embed``."""

_MEANINGS = {
    Verdict.REPRODUCED: "The check passes: for mathematics by computation, for an experiment at "
    "the paper's own scale.",
    Verdict.REDUCED: "The check passes on a smaller run, with fewer updates, seeds or units than "
    "the paper's. The record says what was reduced.",
    Verdict.PARTLY: "A part of the statement holds in our runs; another does not, or was not "
    "tried.",
    Verdict.NOT_REPRODUCED: "The check was run and fails. This says what we found with the set-up "
    "we could reconstruct; the paper's may differ.",
    Verdict.WRONG: "The printed statement has a counterexample, which the check computes. A "
    "repaired statement stands beside it and is checked as well.",
    Verdict.NOT_RUN: "The check exists; a record that holds what it asks about does not yet.",
    Verdict.NOT_CHECKABLE: "Nothing to measure: a definition, a drawing or an opinion. The row "
    "says why.",
}

# Columns and their shares of the width: words get what numbers leave.
_WIDTHS = {
    "Claim": 10,
    "Statement": 25,
    "Paper": 12,
    "Ours": 22,
    "Scale": 8,
    "Cost": 6,
    "Hardware": 8,
    "Verdict": 9,
}


def evaluate_all(records: Records, paper: str | None = None) -> list[Row]:
    """Check every claim (of one paper, or of all) and return the rows in the paper's order."""
    return [
        evaluate(claim, records)
        for key, claims in papers().items()
        if paper in (None, key)
        for claim in claims
    ]


def render(rows: Sequence[Row]) -> str:
    """Return the MyST source of the ledger page."""
    meanings = "\n".join(f"| {v.mark} | {v} | {meaning} |" for v, meaning in _MEANINGS.items())
    tables = "\n\n".join(
        f"## {PAPERS[key]}\n\n{_table(group)}" for key, group in _by_paper(rows).items()
    )
    return f"""\
(ledger)=
# The ledger

Every claim of the papers that this book tells again, with the paper's value, ours, and the verdict
that follows. No verdict is typed: each comes from a check that runs on the records of our
experiments or, for mathematics, on a computation of under a second, and each check can fail.
`rnnlib ledger` prints the same rows; `rnnlib run NAME` makes a record.

| mark | verdict | what it means |
|:-:|---|---|
{meanings}

A spread written with $\\pm$ is a standard deviation over seeds; an interval after a success rate
is Wilson's at 95 %. *Cost* is the wall time of the runs that a row rests on, on the hardware named
beside it.

## Summary

{summary(rows)}

{tables}
"""


def summary(rows: Sequence[Row]) -> str:
    """Return a Markdown table that counts the verdicts, one column for each paper."""
    groups = _by_paper(rows)
    lines = [
        "| | verdict | " + " | ".join(PAPERS[key] for key in groups) + " |",
        "|:-:|---|" + "--:|" * len(groups),
    ]
    for verdict in Verdict:
        counts = [sum(row.verdict is verdict for row in group) for group in groups.values()]
        lines.append(f"| {verdict.mark} | {verdict} | " + " | ".join(map(str, counts)) + " |")
    totals = [str(len(group)) for group in groups.values()]
    lines.append("| | all claims | " + " | ".join(totals) + " |")
    return "\n".join(lines)


def embed(page: str, rows: Sequence[Row]) -> str:
    """Return ``page`` with a fresh summary between its ``BEGIN`` and ``END`` lines.

    Raises:
        ArgumentError: if the page does not hold the two lines once each, in this order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ArgumentError(f"the page must hold {BEGIN!r} and {END!r} once each")
    return f"{before}{BEGIN}\n\n{summary(rows)}\n\n{END}{after}"


def chapter_ledger(rows: Iterable[Row], page: str = "ledger.html") -> str:
    """Return a short HTML table for a chapter: claim, statement, paper's value, ours, verdict."""
    lines = [
        '<table class="ledger ledger-short">',
        "<thead><tr><th>Claim</th><th>Statement</th><th>Paper</th><th>Ours</th><th>Verdict</th>"
        "</tr></thead>",
        "<tbody>",
    ]
    for row in rows:
        claim = row.claim
        cells = {
            "Claim": f'<a href="{page}#{claim.anchor}">{claim.id}</a>',
            "Statement": inline(claim.statement),
            "Paper": inline(claim.paper),
            "Ours": inline(row.ours),
            "Verdict": _verdict(row.verdict),
        }
        lines.append(_tr("", row, cells))
    return "\n".join([*lines, "</tbody>", "</table>"])


def inline(text: str) -> str:
    r"""Return ``text`` as HTML: ``$math$`` for MathJax, backticks as code, the rest escaped.

    Source: the span is the one that Sphinx writes for inline math, so that the page's MathJax
    finds it. A literal dollar is written ``\$``.
    """
    parts = []
    # Odd pieces are those that matched: $...$ or `...`.
    for i, piece in enumerate(re.split(r"((?<!\\)\$[^$]+\$|`[^`]+`)", " ".join(text.split()))):
        if i % 2 == 0:
            parts.append(html.escape(piece.replace(r"\$", "$"), quote=False))
        elif piece.startswith("$"):
            tex = html.escape(piece[1:-1], quote=False)
            parts.append(rf'<span class="math notranslate nohighlight">\({tex}\)</span>')
        else:
            parts.append(f"<code>{html.escape(piece[1:-1], quote=False)}</code>")
    return "".join(parts)


def _by_paper(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups = {key: [row for row in rows if row.claim.paper_key == key] for key in PAPERS}
    return {key: group for key, group in groups.items() if group}


def _table(rows: Sequence[Row]) -> str:
    """Return one paper's table; it holds no blank line, at which Markdown would end it."""
    head = tuple(_WIDTHS)
    lines = [
        # A formula too long for a narrow window scrolls in this box, not with the page.
        '<div class="pst-scrollable-table-container">',
        '<table class="ledger">',
        "<colgroup>"
        + "".join(f'<col style="width:{w}%">' for w in _WIDTHS.values())
        + "</colgroup>",
        "<thead><tr>" + "".join(f'<th scope="col">{h}</th>' for h in head) + "</tr></thead>",
        "<tbody>",
    ]
    for row in rows:
        claim = row.claim
        cells = (
            f'<a href="#{claim.anchor}">{claim.id}</a> <span class="ledger-where">{claim.kind}, '
            f"{inline(claim.where)}</span>",
            inline(claim.statement) + _details(row),
            inline(claim.paper),
            inline(row.ours),
            _scale(row),
            inline(row.cost).replace(" ", "&nbsp;"),
            inline(row.hardware),
            _verdict(row.verdict),
        )
        lines.append(_tr(f'id="{claim.anchor}" ', row, dict(zip(head, cells, strict=True))))
    return "\n".join([*lines, "</tbody>", "</table>", "</div>"])


def _tr(attributes: str, row: Row, cells: dict[str, str]) -> str:
    # The inner box keeps a cell's words and formulas one item where the style sheet uses a grid.
    data = "".join(
        f'<td data-label="{label}"><div>{cell}</div></td>' for label, cell in cells.items()
    )
    paper, verdict = row.claim.paper_key, row.verdict.slug
    return f'<tr {attributes}data-paper="{paper}" data-verdict="{verdict}">{data}</tr>'


def _verdict(verdict: Verdict) -> str:
    return f'<span class="ledger-mark" aria-hidden="true">{verdict.mark}</span> {verdict}'


def _scale(row: Row) -> str:
    """Return the scale with the number of seeds behind it."""
    counts = sorted({len(record.seeds) for record in row.records})
    if not counts:
        return row.scale
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{row.scale}, {span} seed{'s' if counts != [1] else ''}"


def _details(row: Row) -> str:
    """Return what is folded below a statement: the repair, the note, how to run it again."""
    claim = row.claim
    parts = []
    if claim.repair:
        parts.append(f"<p><strong>What holds:</strong> {inline(claim.repair)}</p>")
    if claim.note:
        parts.append(f"<p>{inline(claim.note)}</p>")
    reduced = dict.fromkeys(record.reduced for record in row.records if record.reduced)
    if reduced:
        parts.append(f"<p><strong>Reduced:</strong> {inline('; '.join(reduced))}</p>")
    if row.records:
        parts.append(f"<p>From {', '.join(link(record) for record in row.records)}.</p>")
    if claim.experiment:
        parts.append(f"<p>To run it: <code>rnnlib run {claim.experiment} --scale paper</code></p>")
    if not parts:
        return ""
    word = "Repair" if claim.repair else "Note" if claim.note else "More"
    return f"<details><summary>{word}</summary>{''.join(parts)}</details>"
