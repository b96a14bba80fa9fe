"""A figure in a running notebook: the same module, its state shared with Python by anywidget."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import cache
from typing import Any

import anywidget
import traitlets

from rnnlib.widgets import page
from rnnlib.widgets.page import Figure


class Checked(traitlets.TraitType):
    """A trait that takes what the figure's own checks take, so that both hosts say the same."""

    def validate(self, obj: Live, value: Any) -> Any:
        return obj.kind.accepted(str(self.name), value)


class Live(anywidget.AnyWidget):
    """A figure whose state a kernel can read and set while the reader moves it.

    Its mime bundle keeps the HTML figure beside the live one, for viewers without a kernel.
    """

    kind: type[Figure]

    def state(self) -> dict[str, Any]:
        """What the reader sees now, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self.kind)}

    def __repr__(self) -> str:
        return repr(self.kind(**self.state()))

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return {**data, "text/html": self.kind(**self.state())._repr_html_()}, metadata


def live(figure: Figure) -> Live:
    """The live twin of a figure, in the same state."""
    # mypy takes the class for its instances, which cannot be hashed.
    return _twin(type(figure))(**asdict(figure))  # type: ignore[arg-type]


@cache
def _twin(kind: type[Figure]) -> type[Live]:
    traits = {field.name: Checked().tag(sync=True) for field in fields(kind)}
    body = {"kind": kind, "_esm": page.module(kind.name), **traits}
    return type(f"Live{kind.__name__}", (Live,), body)
