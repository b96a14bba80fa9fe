"""The wall as an object: its state, checked, and the figure that a page shows without a kernel."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from rnnlib import checks
from rnnlib.checks import ArgumentError
from rnnlib.widgets.picture import WINDOW, picture

MAX_SEQ_LEN = 100

_PAGE = """\
<figure class="rnn-widget" data-widget="wall" id="{id}">
<div class="rnn-live"></div>
<div class="rnn-static">{picture}</div>
<noscript><p>With scripts allowed, the start point, the learning rate and the threshold of this \
figure can be moved.</p></noscript>
<script type="module">
{module}
mount({id_json}, {state});
</script>
</figure>
"""


@dataclass
class Wall:
    """State of the figure; every assignment is checked. Jupyter shows it as self-contained HTML.

    Attributes:
        w, b: where the descent starts, within the window of the map.
        learning_rate, threshold: of the descent; the threshold holds only with ``clipping``.
        clipping: whether the clipped path is drawn beside the plain one.
        seq_len: number of steps of the network.
    """

    w: float = 5.0
    b: float = -2.4
    learning_rate: float = 0.1
    threshold: float = 1.0
    clipping: bool = True
    seq_len: int = 50

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, accepted(name, value))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        return html(asdict(self))


def accepted(name: str, value: Any) -> Any:
    """Return ``value`` if the figure's ``name`` may take it.

    Raises:
        ArgumentError: naming the argument, what is accepted and what was found.
    """
    checks.one_of("state", name, [field.name for field in fields(Wall)])
    if name in WINDOW:
        low, high = WINDOW[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (math.isfinite(value) and low <= value <= high):
            raise ArgumentError(f"{name} must be a number from {low} to {high}, got {value!r}")
        return float(value)
    if name == "clipping":
        if not isinstance(value, bool):
            raise ArgumentError(f"clipping must be True or False, got {value!r}")
        return value
    if name == "seq_len":
        if checks.at_least(name, value, 1) > MAX_SEQ_LEN:
            raise ArgumentError(f"seq_len must be at most {MAX_SEQ_LEN}, got {value!r}")
        return value
    return float(checks.positive(name, value))


@cache
def module() -> str:
    """Source of ``wall.js``, the one module that every host of the figure runs."""
    return files("rnnlib.widgets").joinpath("wall.js").read_text(encoding="utf-8").rstrip()


def html(state: Mapping[str, Any]) -> str:
    """The figure as one piece of HTML that asks nothing of the network.

    The picture stands outside ``<noscript>``, so that it also serves print and the many notebook
    viewers that drop scripts; the module hides it on screen once it runs. The id follows from the
    state, so that the same call writes the same bytes.
    """
    text = json.dumps(dict(state), sort_keys=True)
    name = "wall-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    return _PAGE.format(
        id=name,
        id_json=json.dumps(name),
        picture=picture(**state),
        module=module(),
        state=text,
    )
