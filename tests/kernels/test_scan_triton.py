"""The Triton path of the linear scan: on a GPU if there is one, otherwise interpreted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

import rnnlib.kernels.gpu.scan
from rnnlib.kernels.scan import linear_scan, linear_scan_definition

# The interpreter computes with NumPy, which reports every infinity on the way.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

each_layout = pytest.mark.parametrize("layout", ["H", "TH", "BTH"])
each_kind = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)


@pytest.fixture(params=["whole", "chunks"])
def path(request, monkeypatch):
    """Time in one piece, or in chunks of 8 steps, of which the last may be shorter."""
    shortest = 7 if request.param == "chunks" else 10**9
    monkeypatch.setattr(rnnlib.kernels.gpu.scan, "_SHORTEST_CHUNK", shortest)


def problem(B, T, H, *, layout="H", dtype=torch.float64, modulus=None, seed=0):
    """Decay, inputs, initial state and resets, of which one is at the first step."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype).to(DEVICE)

    decay = draw(*{"H": (H,), "TH": (T, H), "BTH": (B, T, H)}[layout])
    size = decay.abs()
    decay = decay / size * (size / (1 + size) * 1.2 if modulus is None else modulus)
    resets = torch.rand(B, T, generator=g) < 0.2
    resets[0, 0] = True
    return decay, draw(B, T, H), draw(B, H), resets.to(DEVICE)


def with_gradients(run, args, **options):
    args = [x.detach().requires_grad_() for x in args]
    result = run(*args, **options)
    weight = torch.linspace(-1, 2, result.numel(), dtype=torch.float64, device=DEVICE)
    weight = weight.reshape(result.shape).to(result.dtype)
    return [result.detach(), *torch.autograd.grad(result, args, weight)]


def distance(found, exact):
    return ((found - exact).abs().max() / exact.abs().max().clamp(min=1e-30)).item()


@each_kind
@pytest.mark.parametrize(
    ("layout", "reverse"), [("H", False), ("H", True), ("TH", True), ("BTH", False)]
)
def test_equals_the_definition_in_values_and_gradients(path, layout, dtype, reverse):
    *args, resets = problem(2, 23, 40, layout=layout, dtype=dtype)
    if reverse:
        args.pop()  # no initial state
    options = {"resets": None if layout == "TH" else resets, "reverse": reverse}
    expected = with_gradients(linear_scan_definition, args, **options)
    found = with_gradients(linear_scan, args, backend="triton", **options)
    for e, f in zip(expected, found, strict=True):
        assert e.shape == f.shape
        assert distance(f, e) < 1e-13


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 1, 2), (2, 9, 1)])
def test_small_sizes(path, sizes):
    for layout in ("H", "TH", "BTH"):
        *args, resets = problem(*sizes, layout=layout)
        expected = with_gradients(linear_scan_definition, args, resets=resets)
        found = with_gradients(linear_scan, args, resets=resets, backend="triton")
        for e, f in zip(expected, found, strict=True):
            torch.testing.assert_close(f, e)


@pytest.mark.parametrize("modulus", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_single_precision_is_as_good_as_the_loop(path, dtype, modulus):
    *single, _ = problem(1, 40, 3, dtype=dtype, modulus=modulus)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    exact = with_gradients(linear_scan_definition, [x.to(wide) for x in single])
    loop = with_gradients(linear_scan_definition, single)
    fast = with_gradients(linear_scan, single, backend="triton")
    for e, l, f in zip(exact, loop, fast, strict=True):
        assert f.dtype == l.dtype
        assert distance(f, e) <= 4 * distance(l, e) + 1e-7


@each_layout
def test_real_states_in_one_piece_are_the_loop_s_to_the_last_bit(layout):
    *args, resets = problem(2, 20, 5, layout=layout, dtype=torch.float32)
    expected = linear_scan_definition(*args, resets=resets)
    for _ in range(2):
        assert torch.equal(linear_scan(*args, resets=resets, backend="triton"), expected)


def same_pattern(e, f):
    reals = (torch.view_as_real(x) if x.is_complex() else x for x in (e, f))
    return torch.equal(*(torch.stack([x.isnan(), x == torch.inf, x == -torch.inf]) for x in reals))


@pytest.mark.parametrize(
    ("layout", "dtype", "modulus"),
    [("H", torch.complex64, 1e3), ("BTH", torch.float32, 1e20), ("TH", torch.float64, 1e60)],
    ids=str,
)
def test_overflow_is_where_the_loop_has_it(path, layout, dtype, modulus):
    args = problem(2, 23, 8, layout=layout, dtype=dtype, modulus=modulus)
    _, inputs, initial, resets = args
    inputs[1, :, :3] = 0
    initial[1, :3] = 0
    for mask in (None, resets):
        expected = with_gradients(linear_scan_definition, args[:3], resets=mask)
        found = with_gradients(linear_scan, args[:3], resets=mask, backend="triton")
        assert mask is not None or not expected[0].isfinite().all()
        assert same_pattern(expected[0], found[0])
        for e, f in zip(expected[1:], found[1:], strict=True):
            assert torch.equal(e.isfinite(), f.isfinite())


def test_what_overflowed_between_chunks_stays_so(path):
    decay, inputs = torch.full((1,), 0.5), torch.zeros(1, 24, 1)
    inputs[0, 7:9] = 3e38  # the second chunk begins with step 8; the decay is no cure
    decay, inputs = decay.to(DEVICE), inputs.to(DEVICE)
    assert linear_scan(decay, inputs, backend="triton")[0, 8:].isinf().all()


def test_products_of_decays_overflow_where_states_are_zero(path):
    resets = torch.zeros(1, 24, dtype=torch.bool)
    resets[0, [12, 20]] = True  # whoever looks at the ends of chunks only sees nothing amiss
    decay, inputs = torch.tensor([1e60], dtype=torch.float64), torch.zeros(1, 24, 1).double()
    decay, inputs, resets = decay.to(DEVICE), inputs.to(DEVICE), resets.to(DEVICE)
    assert not linear_scan(decay, inputs, resets=resets, backend="triton").any()


def test_states_vanish_through_the_denormal_numbers(path):
    decay, initial = torch.tensor([0.1, 1e-6]), torch.tensor([[-1e-30, 1e38]])
    decay, initial = decay.to(DEVICE), initial.to(DEVICE)
    inputs = torch.zeros(1, 23, 2, device=DEVICE)
    expected = linear_scan_definition(decay, inputs, initial)
    found = linear_scan(decay, inputs, initial, backend="triton")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=5e-45)


def test_other_memory_layouts_change_nothing_and_nothing_is_changed(path):
    args = problem(3, 20, 4, layout="BTH", dtype=torch.complex128)
    expected = linear_scan(*args[:3], resets=args[3], backend="triton")
    strided = [x.mT.contiguous().mT for x in args]
    before = [x.clone() for x in strided]
    assert torch.equal(linear_scan(*strided[:3], resets=strided[3], backend="triton"), expected)
    assert all(torch.equal(x, y) for x, y in zip(before, strided, strict=True))


COMPILE = """
import re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rnnlib.kernels.gpu import scan

def assembler(kernel, dtype, **options):
    types = {"resets": "*u8", "flags": "*i32", "products": "*fp64"}
    types |= dict.fromkeys(("lanes", "T", "H", "C", "N"), "i32")
    types |= dict.fromkeys(options, "constexpr")
    signature = {name: types.get(name, "*" + dtype) for name in kernel.arg_names}
    source = ASTSource(kernel, signature, options)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=scan._LAUNCH).asm["ptx"]

for COMPLEX, dtype in ((False, "fp64"), (True, "fp32")):
    assembler(scan._carry, dtype, COMPLEX=COMPLEX, BLOCK=scan._BLOCK)
    for kernel in scan._forward, scan._backward:
        for n, PHASE in enumerate(("whole", "ends", "chunks", "again")):
            BY_STEP = n % 2 == 0
            options = {name: value for name, value in globals().items() if name.isupper()}
            code = assembler(
                kernel, dtype, **options, BY_BATCH=BY_STEP, RESETS=n > 1, BACKWARD=n != 1,
                BLOCK=scan._BLOCK, AHEAD=scan._AHEAD,
            )
            assert "fma." not in code, kernel
            assert ".local" not in code and ".shared" not in code, kernel
            # The rows of a step ahead are loaded before the first state is written.
            loads = re.findall(r"(ld|st)[.]global", code)
            assert loads.index("st") > scan._AHEAD
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    """To machine code, with every number in a register and nothing fused."""
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    script = tmp_path / "compile_all.py"
    script.write_text(COMPILE)
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
