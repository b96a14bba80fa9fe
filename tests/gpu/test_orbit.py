"""Orbits and exponents on a CUDA device, at sizes that Triton's interpreter cannot reach."""

import pytest
import torch

from rnnlib.kernels.backends import missing
from rnnlib.kernels.maps import OneUnit, TwoUnitLSTM
from rnnlib.kernels.orbit import lyapunov_exponents, orbit, orbit_definition

pytestmark = pytest.mark.gpu

BACKENDS = [
    "torch",
    pytest.param("triton", marks=pytest.mark.skipif(bool(missing("triton")), reason="no triton")),
]

WEIGHTS = torch.tensor(
    [[-1, -4], [-3, -2], [-2, 6], [0, -6], [-1, -6], [6, -9], [4, 1], [-9, -7]],
    dtype=torch.float64,
)
LSTM = TwoUnitLSTM(WEIGHTS)


def grid(n, dtype):
    g = torch.Generator().manual_seed(0)
    s = 0.5 + 1.5 * torch.rand(n, 1, generator=g, dtype=torch.float64)
    state = 2 * torch.rand(n, 4, generator=g, dtype=torch.float64) - 1
    return s.to("cuda", dtype), state.to("cuda", dtype)


def error(found, expected):
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps", [1, 8])
def test_values_are_as_good_as_the_definition(steps, backend):
    s, state = grid(100_001, torch.float64)
    exact = orbit_definition(LSTM, s, state, burn_in=steps - 1)
    found = orbit(LSTM, s, state, burn_in=steps - 1, backend=backend)
    assert error(found, exact) < (1e-14 if steps == 1 else 1e-11)
    s, state = s.float(), state.float()
    exact = orbit_definition(LSTM, s.double(), state.double(), burn_in=steps - 1)
    plain = error(orbit_definition(LSTM, s, state, burn_in=steps - 1), exact)
    assert (
        error(orbit(LSTM, s, state, burn_in=steps - 1, backend=backend), exact) <= 4 * plain + 1e-7
    )


@pytest.mark.skipif(bool(missing("triton")), reason="no triton")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_point_does_not_depend_on_its_company_and_bits_repeat(dtype):
    s, state = grid(100_001, dtype)
    together = orbit(LSTM, s, state, burn_in=500, keep=2, backend="triton")
    assert torch.equal(together, orbit(LSTM, s, state, burn_in=500, keep=2, backend="triton"))
    for n in (1, 127, 129, 5000):
        alone = orbit(LSTM, s[:n], state[:n], burn_in=500, keep=2, backend="triton")
        assert torch.equal(alone, together[:, :n])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exponents_of_the_chaotic_lstm(dtype):
    s = torch.tensor([0.8, 1.0, 1.3, 1.6, 2.0], dtype=dtype, device="cuda")[:, None]
    first = torch.tensor([-0.4489, 0.170, 0.180, -0.636, -0.972], dtype=dtype, device="cuda")
    half = torch.full((4,), 0.5, dtype=dtype, device="cuda")
    found = lyapunov_exponents(LSTM, s, half, burn_in=2000, n_steps=20_000, n_exponents=1)
    assert ((found[:, 0] - first).abs() < 0.02).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exponent_at_a_fixed_point(dtype):
    """x = 0 is a fixed point where b = -w/2, with slope w/4."""
    w = torch.linspace(0.5, 3.5, 10_000, dtype=dtype, device="cuda")
    parameters = torch.stack([w, -w / 2], dim=1)
    found = lyapunov_exponents(OneUnit(), parameters, torch.zeros_like(w[:1]), n_steps=100)
    torch.testing.assert_close(found[:, 0], (w / 4).log())


@pytest.mark.skipif(bool(missing("triton")), reason="no triton")
def test_more_numbers_than_32_bits_count():
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB")
    s, state = grid(1_000_000, torch.float32)
    kept = orbit(LSTM, s, state, keep=600, backend="triton")
    for k in (0, 530, 540, 599):
        assert torch.equal(kept[k], orbit(LSTM, s, state, burn_in=k, backend="triton")[0])
