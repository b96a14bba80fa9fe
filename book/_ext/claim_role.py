"""The role {claim}`P12-E7`: a link to the claim's row in the ledger, with its computed verdict."""

from __future__ import annotations

from dataclasses import dataclass

from docutils import nodes
from docutils.nodes import Element, Node, TextElement, system_message
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from repository import ROOT

LEDGER = "book/ledger"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What a page shows of a claim; kept with the pages, so that a claim is checked once."""

    id: str
    anchor: str
    mark: str
    verdict: str
    slug: str
    where: str


class ClaimRole(SphinxRole):
    """Turn the id of a claim into a link; an unknown id is a warning with the nearest ids."""

    def run(self) -> tuple[list[Node], list[system_message]]:
        from rnnlib.checks import ArgumentError

        try:
            found = look_up(self.env, self.text.strip())
        except ArgumentError as error:
            logger.warning("%s", error, location=self.get_location(), type="claim")
            return [nodes.literal(self.rawtext, self.text)], []
        return [self._link(found)], []

    def _link(self, found: Found) -> Node:
        label = nodes.inline("", "", classes=["claim", f"claim-{found.slug}"])
        label += nodes.Text(f"{found.id} ")
        label += nodes.inline("", found.mark, classes=["claim-mark"])
        label += nodes.Text(f" {found.verdict}")
        return addnodes.pending_xref(
            self.rawtext,
            label,
            refdomain="",
            reftype="claim",
            reftarget=found.anchor,
            refdoc=self.env.docname,
            reftitle=f"{found.where}: {found.verdict}. Open its row in the ledger.",
            refwarn=False,
        )


def look_up(env: BuildEnvironment, claim_id: str) -> Found:
    """Check the claim against the committed records, at most once for one state of the code.

    Raises:
        ArgumentError: for an id that no paper has.
    """
    from rnnlib import claims
    from rnnlib.records import Records

    digest = getattr(env, "rnnlib_digest", None)
    kept: tuple[str | None, dict[str, Found]] = getattr(env, "rnnlib_claims", (None, {}))
    if kept[0] != digest:
        kept = (digest, {})
    env.rnnlib_claims = kept  # type: ignore[attr-defined]
    if claim_id not in kept[1]:
        claim = claims.find(claim_id)
        row = claims.evaluate(claim, Records.load(ROOT / "book" / "records"))
        verdict = row.verdict
        kept[1][claim_id] = Found(
            claim.id, claim.anchor, verdict.mark, str(verdict), verdict.slug, claim.where
        )
    return kept[1][claim_id]


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, contnode: TextElement
) -> Element | None:
    """Point a claim's link at its row, from whatever page it stands on."""
    if node["reftype"] != "claim":
        return None
    base = "" if node["refdoc"] == LEDGER else app.builder.get_relative_uri(node["refdoc"], LEDGER)
    return nodes.reference(
        "",
        "",
        contnode,
        internal=True,
        refuri=f"{base}#{node['reftarget']}",
        reftitle=node["reftitle"],
    )
