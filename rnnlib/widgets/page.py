"""An interactive figure: a checked state, and the HTML that a page without a kernel shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from rnnlib import checks

_PAGE = """\
<figure class="rnn-widget" data-widget="{name}" id="{id}">
<div class="rnn-live"></div>
<div class="rnn-static">{picture}</div>
<noscript><p>With scripts allowed, {movable} of this figure can be moved.</p></noscript>
<script type="module">
{module}
mount({id_json}, {state});
</script>
</figure>
"""


@dataclass
class Figure:
    """State of a figure; every assignment is checked. Jupyter shows it as self-contained HTML.

    A figure is a subclass that is a dataclass: its fields are the state, ``NAME.js`` draws it.
    """

    name: ClassVar[str]
    movable: ClassVar[str]  # what a reader without scripts misses

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """Return ``value``, as the figure keeps it, if its ``name`` may take it."""
        raise NotImplementedError

    def picture(self) -> str:
        """The static picture of this state, an ``<svg>`` element."""
        raise NotImplementedError

    @classmethod
    def accepted(cls, name: str, value: Any) -> Any:
        """Return ``value`` if the figure has a ``name`` that may take it.

        Raises:
            ArgumentError: naming the argument, what is accepted and what was found.
        """
        checks.one_of("state", name, [field.name for field in fields(cls)])
        return cls.checked(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, self.accepted(name, value))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        """The figure as one piece of HTML that asks nothing of the network.

        The picture stands outside ``<noscript>``, so that it also serves print and the many
        notebook viewers that drop scripts; the module hides it on screen once it runs. The id
        follows from the state, so that the same call writes the same bytes.
        """
        state = json.dumps(asdict(self), sort_keys=True)
        figure_id = f"{self.name}-" + hashlib.sha256(state.encode()).hexdigest()[:8]
        return _PAGE.format(
            name=self.name,
            id=figure_id,
            id_json=json.dumps(figure_id),
            picture=self.picture(),
            movable=self.movable,
            module=module(self.name),
            state=state,
        )


@cache
def module(name: str) -> str:
    """Source of the one module that every host of the figure runs.

    It is ``host.js``, what all figures share, followed by ``NAME.js``: a page that is a single
    file has nowhere to import from.
    """
    folder = files("rnnlib.widgets")
    parts = [folder.joinpath(f"{part}.js").read_text(encoding="utf-8") for part in ("host", name)]
    return "\n".join(parts).rstrip()
