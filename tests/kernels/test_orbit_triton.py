"""The Triton path of orbits and exponents: on a GPU if there is one, otherwise interpreted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from rnnlib.kernels.maps import OneUnit, TwoUnitLSTM
from rnnlib.kernels.orbit import (
    lyapunov_definition,
    lyapunov_exponents,
    orbit,
    orbit_definition,
)

# The interpreter computes with NumPy, which reports every infinity on the way.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

WEIGHTS = torch.tensor(
    [[-1, -4], [-3, -2], [-2, 6], [0, -6], [-1, -6], [6, -9], [4, 1], [-9, -7]],
    dtype=torch.float64,
)
MAPS = pytest.mark.parametrize("step", [OneUnit(), TwoUnitLSTM(WEIGHTS)], ids=lambda s: s.name)


def grid(step, n, *, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    size, count = len(step.state_names), len(step.parameter_names)
    state = 2 * torch.rand(n, size, generator=g, dtype=torch.float64) - 1
    parameters = 0.5 + 1.5 * torch.rand(n, count, generator=g, dtype=torch.float64)
    if count == 2:
        parameters = (parameters - 1.25) * 8
    return parameters.to(DEVICE, dtype), state.to(DEVICE, dtype)


def triton(step, parameters, state, **options):
    return orbit(step, parameters, state, **options, backend="triton")


def error(found, expected):
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


@MAPS
@pytest.mark.parametrize("steps", [1, 8])
def test_values_are_as_good_as_the_definition(step, steps):
    parameters, state = grid(step, 300)
    exact = orbit_definition(step, parameters, state, burn_in=steps - 1)
    found = triton(step, parameters, state, burn_in=steps - 1)
    assert error(found, exact) < (1e-14 if steps == 1 else 1e-11)
    parameters, state = parameters.float(), state.float()
    exact = orbit_definition(step, parameters.double(), state.double(), burn_in=steps - 1)
    plain = error(orbit_definition(step, parameters, state, burn_in=steps - 1), exact)
    found = triton(step, parameters, state, burn_in=steps - 1)
    assert found.dtype == torch.float32
    assert error(found, exact) <= 4 * plain + 1e-7


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 2e-15)])
def test_every_size_of_state_keeps_its_digits(dtype, tolerance):
    """From saturation down to where an exponential alone would have cancelled to nothing."""
    step = TwoUnitLSTM(WEIGHTS)
    size = torch.logspace(-20, 1.3, 400, dtype=torch.float64)[:, None].to(DEVICE)
    state = (size * torch.tensor([1.0, -0.7, 0.6, -1.0], device=DEVICE)).to(dtype)
    s = torch.full((400, 1), 0.3, device=DEVICE, dtype=dtype)
    exact = orbit_definition(step, s.double(), state.double())
    wrong = (triton(step, s, state).double() - exact).abs().amax(2) / exact.abs().amax(2)
    assert wrong.max() < tolerance


@MAPS
@pytest.mark.parametrize(("burn_in", "keep", "every"), [(0, 1, 1), (0, 4, 1), (3, 2, 2), (1, 3, 5)])
def test_which_states_are_kept(step, burn_in, keep, every):
    parameters, state = grid(step, 5)
    whole = triton(step, parameters, state, keep=burn_in + keep * every)
    found = triton(step, parameters, state, burn_in=burn_in, keep=keep, every=every)
    assert torch.equal(found, whole[burn_in + every - 1 :: every])


@MAPS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_point_does_not_depend_on_its_company(step, dtype):
    parameters, state = grid(step, 130, dtype=dtype)

    def run(rows):
        p, x = parameters[rows], state[rows]
        exponents = lyapunov_exponents(step, p, x, n_steps=4, backend="triton")
        return torch.cat([triton(step, p, x, burn_in=20)[0], exponents], dim=1)

    together = run(slice(None))
    for n in (1, 128, 129):
        assert torch.equal(run(slice(n)), together[:n])
    assert torch.equal(run(torch.arange(129, -1, -1)), together.flip(0))
    assert triton(step, parameters[:0], state[:0]).shape == (1, 0, state.shape[1])


@MAPS
def test_nan_and_infinity_stay_with_their_point(step):
    parameters, state = grid(step, 20)
    clean = triton(step, parameters, state, keep=3)
    parameters[3], parameters[4], state[5], state[6] = torch.nan, torch.inf, torch.nan, -torch.inf
    found = triton(step, parameters, state, keep=3)
    touched = torch.zeros(20, dtype=torch.bool)
    touched[3:7] = True
    assert torch.equal(found[:, ~touched], clean[:, ~touched])
    expected = orbit_definition(step, parameters, state, keep=3)
    for test in (torch.isnan, torch.isposinf, torch.isneginf):
        assert torch.equal(test(found), test(expected))
    exponents = lyapunov_exponents(step, parameters, state, n_steps=3, backend="triton")
    assert exponents[[3, 5]].isnan().all()
    assert not exponents[~touched].isnan().any()


@pytest.mark.parametrize("renormalise", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_exponents_agree_with_the_definition(count, renormalise):
    step = TwoUnitLSTM(WEIGHTS) if count else OneUnit()
    parameters, state = grid(step, 200)
    options = {"burn_in": 1, "n_steps": 7, "n_exponents": count or 1, "renormalise": renormalise}
    exact = lyapunov_definition(step, parameters, state, **options)
    found = lyapunov_exponents(step, parameters, state, **options, backend="triton")
    # The third and fourth directions of some points are a small multiple of rounding, or less.
    tolerance = 1e-10 if count <= 2 else 1e-5
    kept = 3 if renormalise == 3 else 4
    torch.testing.assert_close(found[:, :kept], exact[:, :kept], rtol=tolerance, atol=tolerance)
    single = lyapunov_exponents(
        step, parameters.float(), state.float(), **options, backend="triton"
    )
    ordinary = (single.double() - exact).abs().nan_to_num(0).median()
    assert ordinary < 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_directions_vanish_at_the_origin_of_the_lstm(dtype):
    s = torch.linspace(0.3, 2.0, 20, dtype=dtype, device=DEVICE)[:, None]
    origin = torch.zeros(4, dtype=dtype, device=DEVICE)
    found = lyapunov_exponents(TwoUnitLSTM(WEIGHTS), s, origin, n_steps=40, backend="triton")
    expected = (2.8125 * s**2 - 1.25 * s + 0.25).log()
    torch.testing.assert_close(found[:, :2].sum(1, keepdim=True), expected, rtol=0, atol=0.1)
    assert found[:, 2:].isneginf().all()


def test_a_frame_that_overflows_has_no_exponent():
    parameters = torch.tensor([[1e30, 0.0], [1.0, 0.0]], device=DEVICE)
    state = torch.zeros(1, device=DEVICE)
    found = lyapunov_exponents(OneUnit(), parameters, state, n_steps=1, backend="triton")
    assert found[:, 0].isnan().tolist() == [1, 0]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rnnlib.kernels.gpu import orbit

def assembler(kernel, dtype, **options):
    types = {name: "*" + dtype for name in ("weights", "parameters", "state", "kept")}
    types |= {"logs": "*fp64", "lost": "*i32", "rounding": "fp32"}
    types |= dict.fromkeys(options, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, options)
    return triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]

for dtype in ("fp32", "fp64"):
    for kernel, options in (
        (orbit._one_unit_orbit, {}),
        (orbit._lstm_orbit, {}),
        (orbit._one_unit_growth, {}),
        (orbit._lstm_growth, {"COUNT": 4}),
    ):
        code = assembler(kernel, dtype, BLOCK=128, **options)
        assert "tanh.approx" not in code, kernel
        assert "ld.local" not in code and "st.local" not in code, kernel
        if dtype == "fp64":
            assert "ex2.approx" not in code, kernel
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    """To machine code, with no approximate tanh and every number in a register."""
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(root),
    }
    script = tmp_path / "compile_all.py"
    script.write_text(COMPILE)
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
