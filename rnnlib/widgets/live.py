"""The wall in a running notebook: the same module, its state shared with Python by anywidget."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import anywidget
import traitlets

from rnnlib.widgets import page


class LiveWall(anywidget.AnyWidget):
    """``page.Wall`` whose state a kernel can read and set while the reader moves it.

    Its mime bundle keeps the HTML figure beside the live one, for viewers without a kernel.
    """

    _esm = page.module()

    # The checks of `page.accepted` replace traitlets' own, so that both hosts say the same.
    w = traitlets.Any().tag(sync=True)
    b = traitlets.Any().tag(sync=True)
    learning_rate = traitlets.Any().tag(sync=True)
    threshold = traitlets.Any().tag(sync=True)
    clipping = traitlets.Any().tag(sync=True)
    seq_len = traitlets.Any().tag(sync=True)

    @traitlets.validate("w", "b", "learning_rate", "threshold", "clipping", "seq_len")
    def _accept(self, proposal: Any) -> Any:
        return page.accepted(proposal.trait.name, proposal.value)

    def state(self) -> dict[str, Any]:
        """What the reader sees now, by name."""
        return {field.name: getattr(self, field.name) for field in fields(page.Wall)}

    def __repr__(self) -> str:
        return repr(page.Wall(**self.state()))

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return {**data, "text/html": page.html(self.state())}, metadata
