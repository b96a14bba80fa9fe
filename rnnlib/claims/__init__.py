"""The claims of the papers, each with a check that can fail."""

from __future__ import annotations

import difflib
import importlib

from rnnlib.checks import ArgumentError, one_of
from rnnlib.claims.claim import Claim, NotMeasured, Row, Verdict, evaluate

PAPERS = {
    "p12": "Pascanu, Mikolov & Bengio (2012)",
    "p13": "Pascanu, Mikolov & Bengio (2013)",
}
"""Key of each paper, the name of its module here, and how the book cites it."""


def papers() -> dict[str, list[Claim]]:
    """Return the claims of every paper, in the paper's order; modules are imported on demand."""
    return {key: of_paper(key) for key in PAPERS}


def of_paper(key: str) -> list[Claim]:
    """Return the claims of one paper.

    Raises:
        ArgumentError: for a paper that is not in ``PAPERS``.
    """
    one_of("paper", key, PAPERS)
    return list(importlib.import_module(f"rnnlib.claims.{key}").CLAIMS)


def find(claim_id: str) -> Claim:
    """Return the claim with this id, in upper or lower case.

    Raises:
        ArgumentError: with the nearest ids.
    """
    known = {claim.id.lower(): claim for claims in papers().values() for claim in claims}
    if claim_id.lower() in known:
        return known[claim_id.lower()]
    near = [known[key].id for key in difflib.get_close_matches(claim_id.lower(), known, n=3)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ArgumentError(
        f"claim must be one of the {len(known)} ids that `rnnlib ledger` lists, "
        f"got {claim_id!r}{hint}"
    )


__all__ = [
    "PAPERS",
    "Claim",
    "NotMeasured",
    "Row",
    "Verdict",
    "evaluate",
    "find",
    "of_paper",
    "papers",
]
