"""Exploration with the kernel: how fast temporal components grow, by gain, length and unit."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnnlib import cells, checks, gradients, init

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_NETWORKS = 6
INVITATION = (
    '<p class="rnn-widget rnn-invitation">Run this chapter in Colab or JupyterLab to move the '
    "gain, the length, the unit and the size of these networks.</p>"
)


def growth(
    *, gain: float = 1.5, seq_len: int = 50, unit: str = "tanh", hidden_size: int = 50
) -> None:
    """Show how temporal components grow, with controls that redraw the figure.

    The figure is shown by every host. The controls need a kernel and ipywidgets; where either is
    missing, or with ``RNNLIB_STATIC=1``, a sentence takes their place.

    Raises:
        ArgumentError: as ``component_growth``.
    """
    from IPython.display import display

    settings: dict[str, Any] = {
        "gain": gain,
        "seq_len": seq_len,
        "unit": unit,
        "hidden_size": hidden_size,
    }
    shown = display(growth_figure(**settings), display_id=True)
    bundle: dict[str, Any] = {"text/plain": f"growth({settings})", "text/html": INVITATION}
    metadata: dict[str, Any] = {}
    if os.environ.get("RNNLIB_STATIC") != "1" and importlib.util.find_spec("ipywidgets"):
        controls = growth_controls(settings)

        def redraw(_: Any) -> None:
            chosen = {name: control.value for name, control in controls.items()}
            shown.update(growth_figure(**chosen))

        import ipywidgets

        for control in controls.values():
            control.observe(redraw, names="value")
        live = ipywidgets.VBox(list(controls.values()))._repr_mimebundle_()
        data, metadata = live if isinstance(live, tuple) else (live, {})
        bundle = {**data, **bundle}
    display(bundle, metadata=metadata, raw=True)


def growth_controls(settings: dict[str, Any]) -> dict[str, Any]:
    """Plain ipywidgets, one an argument of ``growth_figure``; they report when released."""
    import ipywidgets

    steady = {"continuous_update": False, "style": {"description_width": "6em"}}
    return {
        "gain": ipywidgets.FloatSlider(
            settings["gain"],
            min=0.1,
            max=max(8, settings["gain"]),
            step=0.1,
            description="gain g",
            **steady,
        ),
        "seq_len": ipywidgets.IntSlider(
            settings["seq_len"],
            min=2,
            max=max(100, settings["seq_len"]),
            description="length T",
            **steady,
        ),
        "unit": ipywidgets.Dropdown(
            options=list(cells.NONLINEARITIES),
            value=settings["unit"],
            description="unit",
            style=steady["style"],
        ),
        "hidden_size": ipywidgets.IntSlider(
            settings["hidden_size"],
            min=1,
            max=max(100, settings["hidden_size"]),
            description="hidden size",
            **steady,
        ),
    }


def component_growth(
    gain: float, seq_len: int, unit: str, hidden_size: int, *, seed: int = 0
) -> Tensor:
    """Norms of the temporal components of random networks, against the distance ``t - k``.

    ``x_t = W_rec f(x_{t-1})`` with ``W_rec`` from N(0, gain^2 / hidden_size), from ``x_0`` and
    with an error ``dE_t / dx_t``, both drawn from N(0, 1). The component is that of the bias,
    whose immediate derivative is the identity: what is seen is the product of Jacobians alone.
    Source: Pascanu, Mikolov & Bengio (2012), equations (2) and (4).

    Returns:
        ``(N_NETWORKS, seq_len)``, float64; column ``l`` belongs to ``k = t - l``.

    Raises:
        ArgumentError: for a gain not above 0, a length below 2, an unknown unit or a hidden size
            below 1.
    """
    checks.positive("gain", gain)
    checks.at_least("seq_len", seq_len, 2)
    checks.at_least("hidden_size", hidden_size, 1)
    f = cells.nonlinearity(checks.one_of("unit", unit, cells.NONLINEARITIES))
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, std: float = 1.0) -> Tensor:
        return init.normal(shape, std, generator=generator, dtype=torch.float64)

    W_rec = draw(N_NETWORKS, hidden_size, hidden_size, std=gain / math.sqrt(hidden_size))
    states = [draw(N_NETWORKS, 1, hidden_size)]
    for _ in range(seq_len):
        states.append(cells.preactivation_step(states[-1], None, W_rec, None, None, f))
    path = torch.cat(states, dim=1)
    jacobians = gradients.state_jacobians(path, W_rec[:, None], f)
    error = draw(N_NETWORKS, hidden_size)
    return gradients.component_norms(jacobians, error).flip(-1)


def growth_figure(gain: float, seq_len: int, unit: str, hidden_size: int) -> Figure:
    """Draw ``component_growth`` on a logarithmic axis, with the mean factor a step in the title."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    from rnnlib import figures

    norms = component_growth(gain, seq_len, unit, hidden_size)
    tiny = torch.finfo(norms.dtype).tiny
    factor = math.exp(gradients.growth_rate(norms.clamp(min=tiny)).mean())
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 3.2))
    plt.close(fig)  # shown by its own output, not a second time at the end of the cell
    text = f"median of {N_NETWORKS} networks, with their range"
    figures.spread(ax, torch.arange(seq_len), norms, text)
    ax.legend(loc="upper left")
    decades = norms.clamp(min=tiny).log10()
    ax.set(
        yscale="log", ylim=(10 ** float(decades.min().floor()), 10 ** float(decades.max().ceil()))
    )
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set(
        title=f"{unit}, g = {gain:g}, {hidden_size} units: a factor {factor:.2f} a step back",
        xlabel="distance $t-k$",
        ylabel="norm of the component",
    )
    return fig
