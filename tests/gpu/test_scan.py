"""The linear scan on a CUDA device, at sizes that Triton's interpreter cannot reach."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from rnnlib.kernels.backends import missing
from rnnlib.kernels.scan import linear_scan, linear_scan_definition

pytestmark = pytest.mark.gpu

BACKENDS = [
    "torch",
    pytest.param("triton", marks=pytest.mark.skipif(bool(missing("triton")), reason="no triton")),
]
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_layout = pytest.mark.parametrize("layout", ["H", "TH", "BTH"])

# Few lanes and many steps, which Triton cuts into chunks; and the other way round.
each_shape = pytest.mark.parametrize("sizes", [(1, 3001, 50), (3, 1000, 65), (70, 130, 512)])


def problem(B, T, H, *, layout="H", dtype=torch.float64, modulus=None):
    g = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype).cuda()

    decay = draw(*{"H": (H,), "TH": (T, H), "BTH": (B, T, H)}[layout])
    size = decay.abs()
    decay = decay / size * (size / (1 + size) * 1.2 if modulus is None else modulus)
    resets = torch.rand(B, T, generator=g) < 0.01
    return decay, draw(B, T, H), draw(B, H), resets.cuda()


def with_gradients(run, args, **options):
    args = [x.detach().requires_grad_() for x in args]
    result = run(*args, **options)
    g = torch.Generator(result.device).manual_seed(1)
    weight = torch.randn(result.shape, generator=g, device=result.device, dtype=result.dtype)
    return [result.detach(), *torch.autograd.grad(result, args, weight)]


def distance(found, exact):
    return ((found - exact).abs().max() / exact.abs().max()).item()


@each_backend
@each_layout
@each_shape
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_equals_the_definition_in_values_and_gradients(backend, layout, sizes, dtype):
    *args, resets = problem(*sizes, layout=layout, dtype=dtype)
    options = {"resets": resets if layout == "TH" else None, "reverse": layout == "BTH"}
    expected = with_gradients(linear_scan_definition, args, **options)
    found = with_gradients(linear_scan, args, backend=backend, **options)
    again = with_gradients(linear_scan, args, backend=backend, **options)
    for e, f, a in zip(expected, found, again, strict=True):
        assert distance(f, e) < 1e-12
        assert torch.equal(f, a)


@each_backend
@each_shape
@pytest.mark.parametrize("modulus", [0.0, 0.5, 1 - 1e-4, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_single_precision_is_as_good_as_the_loop(backend, sizes, modulus, dtype):
    *single, _ = problem(*sizes, dtype=dtype, modulus=modulus)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    exact = with_gradients(linear_scan_definition, [x.to(wide) for x in single])
    loop = with_gradients(linear_scan_definition, single)
    fast = with_gradients(linear_scan, single, backend=backend)
    for e, l, f in zip(exact, loop, fast, strict=True):
        if e.any():
            assert distance(f, e) <= 4 * distance(l, e) + 1e-7


@each_backend
@each_layout
@pytest.mark.parametrize("modulus", [1.2, 4.0, 1e20])
def test_overflow_is_where_the_loop_has_it(backend, layout, modulus):
    args = problem(2, 1500, 8, layout=layout, dtype=torch.float32, modulus=modulus)
    _, inputs, initial, resets = args
    inputs[1, :, :3] = 0
    initial[1, :3] = 0
    for mask in (None, resets):
        expected = linear_scan_definition(*args[:3], resets=mask)
        found = linear_scan(*args[:3], resets=mask, backend=backend)
        assert mask is not None or not expected.isfinite().all()
        assert torch.equal(expected.isnan(), found.isnan())
        assert torch.equal(expected.isinf(), found.isinf())


@each_backend
def test_passes_gradcheck_twice_and_in_both_modes(backend):
    *args, resets = problem(2, 4, 2, layout="TH", dtype=torch.complex128)
    for x in args:
        x.requires_grad_()

    def run(*args):
        return linear_scan(*args, resets=resets, backend=backend)

    assert gradcheck(run, args, check_forward_ad=True)
    assert gradgradcheck(run, args)


def test_auto_is_triton_and_the_host_does_not_wait():
    if missing("triton"):
        pytest.skip("no triton")
    *args, resets = problem(2, 1500, 8, dtype=torch.complex64)
    expected = with_gradients(linear_scan, args, resets=resets, backend="triton")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = with_gradients(linear_scan, args, resets=resets)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(e, f) for e, f in zip(expected, found, strict=True))


def test_more_numbers_than_32_bits_can_count():
    if missing("triton") or torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs triton and 24 GiB")
    inputs = torch.ones(1, 2**16 + 1, 2**15, device="cuda")
    states = linear_scan(torch.full((2**15,), 0.5, device="cuda"), inputs)
    assert (states[0, -1] == 2).all()
    assert (states[0, 40] == states[0, -1]).all()


def test_compiles_into_one_graph():
    *args, resets = problem(2, 50, 8)
    compiled = torch.compile(linear_scan, fullgraph=True, backend="aot_eager")
    expected = with_gradients(linear_scan, args, resets=resets)
    for e, f in zip(expected, with_gradients(compiled, args, resets=resets), strict=True):
        torch.testing.assert_close(f, e)
