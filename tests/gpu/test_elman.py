"""Stacked Elman networks on a CUDA device, at sizes that Triton's interpreter cannot reach."""

import pytest
import torch

from rnnlib.kernels import Errors, elman_definition, elman_ensemble
from rnnlib.kernels.backends import missing

pytestmark = pytest.mark.gpu

NO_TRITON = pytest.mark.skipif(bool(missing("triton")), reason="no triton")
BACKENDS = pytest.mark.parametrize("backend", ["torch", pytest.param("triton", marks=[NO_TRITON])])


def problem(R, B, T, H, I, *, symbols=False, gain=0.8):
    g = torch.Generator("cuda").manual_seed(0)

    def draw(*shape, scale=1.0):
        return torch.randn(*shape, generator=g, device="cuda") * scale

    if symbols:
        inputs = torch.randint(0, I, (R, B, T), generator=g, device="cuda")
    else:
        inputs = draw(R, B, T, I)
    weights = draw(R, H, H, scale=gain * H**-0.5), draw(R, H, I), draw(R, H)
    return [inputs, *weights, draw(R, B, H)]


def outcome(run, args, *, dtype=torch.float32, watch=None, weight=None, **options):
    """States, their gradients and what was seen on the way."""
    leaves = [x.detach().to(dtype) if x.is_floating_point() else x for x in args]
    for x in leaves:
        x.requires_grad_(x.is_floating_point())
    errors = watch and Errors(watch)
    states = run(*leaves, errors=errors, **options)
    total = states.sum() if weight is None else (states * weight).sum()
    gradients = torch.autograd.grad(total, [x for x in leaves if x.requires_grad])
    seen = []
    if errors:
        seen = [errors.norms, errors.carried, errors.omega, errors.active, errors.omega_gradient]
    return [states.detach(), *gradients, *seen]


@BACKENDS
@pytest.mark.parametrize(
    ("sizes", "symbols", "last", "watch"),
    [
        ((3, 20, 100, 50, 6), True, True, None),
        ((2, 100, 200, 50, 2), False, False, "squared"),
        ((2, 33, 50, 100, 20), False, False, "unsquared"),
        ((1, 20, 50, 128, 100), True, False, "squared"),
        ((1, 5, 40, 64, 128), False, True, None),
        ((64, 16, 30, 16, 1), False, False, "squared"),
        ((2, 1, 4000, 33, 3), True, False, None),
    ],
)
@pytest.mark.parametrize("parametrisation", ["activation", "preactivation"])
def test_everything_is_as_good_as_the_definition(
    sizes, symbols, last, watch, parametrisation, backend
):
    R, B, T, H, _ = sizes
    args = problem(*sizes, symbols=symbols)
    g = torch.Generator("cuda").manual_seed(1)
    options = {
        "watch": watch,
        "weight": torch.randn(R, B, *([] if last else [T]), H, generator=g, device="cuda"),
        "lengths": torch.linspace(T, T // 2, R, device="cuda").long(),
        "last": last,
        "parametrisation": parametrisation,
    }
    exact = outcome(elman_definition, args, dtype=torch.float64, **options)
    plain = outcome(elman_definition, args, **options)
    found = outcome(elman_ensemble, args, backend=backend, **options)
    for a, b, c in zip(exact, plain, found, strict=True):
        scale = a.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
        assert (c - a).abs().max() / scale <= 4 * (b - a).abs().max() / scale + 1e-7


@NO_TRITON
@pytest.mark.parametrize("H", [16, 50, 128])
def test_a_replica_does_not_depend_on_its_company(H):
    if H > 64 and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("too little shared memory: the torch path, which promises less")
    args = problem(300, 40, 20, H, 6, symbols=True)

    def run(rows):
        return outcome(elman_ensemble, [x[rows] for x in args], watch="squared", backend="triton")

    together = run(slice(None))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0)).cuda()
    for rows in (slice(None), order, slice(299, 300), slice(100, 107)):
        for found, expected in zip(run(rows), together, strict=True):
            assert torch.equal(found, expected[rows])


@BACKENDS
@pytest.mark.parametrize("gain", [0.05, 20.0])
def test_long_runs_vanish_and_explode_where_the_loop_does(gain, backend):
    """Down through the denormal numbers to zero, or up to infinity where nothing cancels."""
    args = [x.abs() for x in problem(2, 20, 400, 50, 2, gain=gain)]
    options = {"nonlinearity": "linear", "last": gain < 1}
    expected = outcome(elman_definition, args, **options)
    found = outcome(elman_ensemble, args, backend=backend, **options)
    assert any(x.isinf().any() if gain > 1 else (x == 0).all() for x in expected)
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(b.isfinite(), a.isfinite())
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-42)


@NO_TRITON
def test_more_numbers_than_fit_into_32_bits():
    R, B, T, H = 40, 64, 17_000, 50
    if torch.cuda.mem_get_info()[0] < 6 * 4 * R * B * T * H:
        pytest.skip("too little memory on this device")
    args = problem(R, B, T, H, 2, symbols=True)
    with torch.no_grad():
        states = elman_ensemble(*args, backend="triton")
        assert states.numel() > 2**31
        alone = elman_ensemble(*(x[-1:] for x in args), backend="triton")
    assert torch.equal(states[-1:], alone)
    del states
    found = outcome(elman_ensemble, args, backend="triton")
    expected = outcome(elman_ensemble, [x[-1:] for x in args], backend="triton")
    assert all(torch.equal(x[-1:], y) for x, y in zip(found, expected, strict=True))
