"""The exploration of growth: its numbers, its figure in every host, and its controls."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rnnlib import cells, checks, gradients, init
from rnnlib.widgets import explore, growth

pytest.importorskip("matplotlib")
IPython = pytest.importorskip("IPython")

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.mark.parametrize("unit", ["tanh", "logistic", "linear"])
def test_norms_are_those_of_the_components_of_autograd(unit: str) -> None:
    """Give every step its own copy of the bias: its gradient is the temporal component."""
    gain, seq_len, hidden = 1.3, 7, 5
    norms = explore.component_growth(gain, seq_len, unit, hidden, seed=3)
    assert norms.shape == (explore.N_NETWORKS, seq_len)
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = gain / math.sqrt(hidden) * draw(explore.N_NETWORKS, hidden, hidden)
    x0, error = draw(explore.N_NETWORKS, 1, hidden), draw(explore.N_NETWORKS, hidden)
    f = cells.NONLINEARITIES[unit]
    for network, W in enumerate(weights):
        copies = [W.new_zeros(hidden).requires_grad_() for _ in range(seq_len)]
        x = x0[network, 0]
        for copy in copies:
            x = W @ f(x) + copy
        expected = [part.norm() for part in torch.autograd.grad(x @ error[network], copies)]
        torch.testing.assert_close(
            norms[network].flip(0), torch.stack(expected), rtol=1e-10, atol=0
        )


def test_linear_components_grow_as_the_spectral_radius() -> None:
    generator = torch.Generator().manual_seed(0)
    radius = init.spectral_radius(
        1.5
        / math.sqrt(10)
        * init.normal((explore.N_NETWORKS, 10, 10), 1.0, generator=generator, dtype=torch.float64)
    )
    norms = explore.component_growth(1.5, 400, "linear", 10)
    rates = gradients.growth_rate(norms, start=100)
    # A complex leading pair makes the norm swing about the line, by less and less per step.
    torch.testing.assert_close(rates, radius.log(), rtol=0, atol=2e-3)


def test_a_contraction_shrinks_every_component() -> None:
    """The logistic slope is at most 1/4 and this gain keeps the spectral norm near 2."""
    norms = explore.component_growth(1.0, 30, "logistic", 40)
    assert (norms[:, 1:] < norms[:, :-1]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": 0.0}, "gain must be a finite number > 0, got 0.0"),
        ({"gain": float("nan")}, "gain must be a finite number > 0, got nan"),
        ({"seq_len": 1}, "seq_len must be an integer >= 2, got 1"),
        ({"unit": "relu"}, "unit must be one of tanh, logistic, linear, got 'relu'"),
        ({"hidden_size": 0}, "hidden_size must be an integer >= 1, got 0"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_shown(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(checks.ArgumentError, match=message):
        growth(**settings)


class Notebook:
    """What a cell displayed, and what later updates replaced."""

    def __init__(self) -> None:
        self.shown: list[tuple[Any, dict[str, Any]]] = []
        self.updates: list[Any] = []

    def display(self, thing: Any, **options: Any) -> Any:
        self.shown.append((thing, options))
        return self if options.get("display_id") else None

    def update(self, thing: Any) -> None:
        self.updates.append(thing)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    notebook = Notebook()
    monkeypatch.setattr("IPython.display.display", notebook.display)
    return notebook


def test_static_shows_the_figure_and_a_sentence(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNLIB_STATIC", "1")
    growth(gain=2.0)
    (figure, _), (bundle, options) = notebook.shown
    assert figure.axes[0].get_title(loc="left") or figure.axes[0].get_title()
    assert len(figure.axes[0].lines) == 1
    assert set(bundle) == {"text/plain", "text/html"}
    assert "Colab or JupyterLab" in bundle["text/html"]
    assert options["raw"]


def test_live_controls_redraw_the_same_figure(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    ipywidgets = pytest.importorskip("ipywidgets")
    monkeypatch.delenv("RNNLIB_STATIC", raising=False)
    made: list[Any] = []
    monkeypatch.setattr(
        ipywidgets, "VBox", lambda children: made.extend(children) or _VBox(children)
    )
    growth(gain=2.0, hidden_size=8)
    (figure, _), (bundle, _) = notebook.shown
    assert WIDGET_VIEW in bundle
    assert "text/html" in bundle
    assert notebook.updates == []
    made[0].value = 3.0
    made[2].value = "linear"
    assert len(notebook.updates) == 2
    before, after = (f.axes[0].lines[0].get_ydata() for f in (figure, notebook.updates[-1]))
    expected = explore.component_growth(3.0, 50, "linear", 8).median(0).values
    assert after == pytest.approx(expected.tolist())
    assert after != pytest.approx(before)


def _VBox(children: list[Any]) -> Any:
    import ipywidgets

    return ipywidgets.Box(children)
