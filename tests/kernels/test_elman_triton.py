"""The Triton path of stacked Elman networks: on a GPU if there is one, otherwise interpreted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from rnnlib.kernels import Errors, elman_definition, elman_ensemble  # noqa: E402
from rnnlib.kernels.elman import Problem  # noqa: E402
from rnnlib.kernels.gpu import elman as gpu  # noqa: E402

# The interpreter computes with NumPy, which reports every infinity on the way.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def problem(R=2, B=5, T=6, H=5, I=2, *, symbols=False, gain=0.7):
    g = torch.Generator().manual_seed(0)

    def draw(*shape, scale=1.0):
        return (torch.randn(*shape, generator=g, dtype=torch.float64) * scale).to(DEVICE)

    inputs = torch.randint(0, I, (R, B, T), generator=g).to(DEVICE) if symbols else draw(R, B, T, I)
    weights = draw(R, H, H, scale=gain * H**-0.5), draw(R, H, I), draw(R, H)
    return [inputs, *weights, draw(R, B, H)]


def outcome(args, backend, *, dtype=torch.float32, watch=None, scale=1.0, **options):
    """States, gradients of a weighted sum, and what was seen on the way, by name."""
    leaves = [x.detach().to(dtype) if x.is_floating_point() else x for x in args]
    for x in leaves:
        x.requires_grad_(x.is_floating_point())
    errors = None if watch is None else Errors(**watch)
    states = elman_ensemble(*leaves, errors=errors, backend=backend, **options)
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(states.shape, generator=g, dtype=torch.float64).to(DEVICE, dtype)
    names = ["inputs", "W_rec", "W_in", "b", "initial"]
    wanted = {n: x for n, x in zip(names, leaves, strict=True) if x.requires_grad}
    gradients = torch.autograd.grad((states * weight * scale).sum(), list(wanted.values()))
    found = {"states": states.detach(), **dict(zip(wanted, gradients, strict=True))}
    if errors:
        seen = ["norms", "carried", "omega", "active", "omega_gradient"]
        found |= {n: getattr(errors, n) for n in seen if getattr(errors, n) is not None}
    return found


def check(args, **options):
    """Each tensor to four times the error of the loop in float32, plus 1e-7."""
    exact = outcome(args, "definition", dtype=torch.float64, **options)
    plain = outcome(args, "definition", **options)
    found = outcome(args, "triton", **options)
    assert found.keys() == exact.keys()
    for name, expected in exact.items():
        if name == "active":
            assert torch.equal(found[name], expected)
        scale = expected.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
        allowed = 4 * (plain[name] - expected).abs().max() / scale + 1e-7
        assert found[name].shape == expected.shape, name
        assert (found[name] - expected).abs().max() / scale <= allowed, name
    return found


@pytest.mark.parametrize("symbols", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("parametrisation", ["activation", "preactivation"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "logistic", "linear"])
def test_everything_is_as_good_as_the_definition(nonlinearity, parametrisation, last, symbols):
    options = {"nonlinearity": nonlinearity, "parametrisation": parametrisation, "last": last}
    args = problem(symbols=symbols)
    check(args, watch={"regulariser": "squared", "relative": last}, **options)
    lengths = torch.tensor([0, 4], device=DEVICE)
    watch = {"regulariser": "unsquared", "vanished": 0.4, "relative": not last}
    found = check(args, watch=watch, lengths=lengths, **options)
    assert found["active"][0] == 0 < found["active"][1] < 4 * 5


@pytest.mark.parametrize(
    ("B", "T", "H", "I"),
    [(1, 1, 1, 1), (5, 3, 17, 16), (17, 3, 50, 17), (33, 2, 16, 3), (2, 3, 65, 70), (1, 2, 128, 5)],
)
@pytest.mark.parametrize("symbols", [False, True])
def test_edges_of_the_tiles(B, T, H, I, symbols):
    args = problem(1, B, T, H, I, symbols=symbols)
    check(args, watch={"regulariser": "squared"})


def test_nothing_but_the_gradients_is_asked_for():
    args = problem()
    check(args)
    check(args, watch={})


def test_small_numbers_keep_their_digits():
    """Errors of 1e-30 have a norm, and states go on into the denormal numbers."""
    args = problem()
    large, small = (outcome(args, "triton", watch={}, scale=s) for s in (1.0, 1e-30))
    for name in ("norms", "carried"):
        torch.testing.assert_close(small[name], large[name] * 1e-30, rtol=1e-5, atol=0)
    inputs, W_rec, W_in, b, initial = (x.float() for x in args)
    options = {"nonlinearity": "linear"}
    sinking = inputs * 0, W_rec * 1e-8, W_in, b * 0, initial * 1e-15
    expected = elman_definition(*[x.double() for x in sinking], **options)
    found = elman_ensemble(*sinking, **options, backend="triton")
    assert 1e-44 < expected[:, :, 2].abs().max() < torch.finfo(torch.float32).tiny
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=5e-45)


@pytest.mark.parametrize("parametrisation", ["activation", "preactivation"])
@pytest.mark.parametrize("regulariser", ["squared", "unsquared"])
def test_omega_does_not_depend_on_the_scale_of_the_loss(regulariser, parametrisation):
    args = [x.float() for x in problem(gain=1.0)]
    watch = {"regulariser": regulariser, "relative": True}
    options = {"watch": watch, "parametrisation": parametrisation, "last": True}
    exact = outcome(args, "definition", dtype=torch.float64, **options)
    for exponent in range(-30, 31, 5):
        found = outcome(args, "triton", scale=10.0**exponent, **options)
        assert torch.equal(found["active"], exact["active"])
        for name in ("omega", "omega_gradient"):
            scale = exact[name].abs().max()
            assert (found[name] - exact[name]).abs().max() < 1e-5 * scale, (name, exponent)


@pytest.mark.parametrize("parametrisation", ["activation", "preactivation"])
def test_explosion_overflows_where_the_loop_overflows(parametrisation):
    """Where nothing cancels: only there no order of a sum can change what overflows."""
    options = {"nonlinearity": "linear", "parametrisation": parametrisation}
    args = [x.float().abs().requires_grad_() for x in problem(gain=1e13)]
    expected, found = (
        [states, *torch.autograd.grad(states.sum(), args)]
        for states in (
            elman_definition(*args, **options),
            elman_ensemble(*args, **options, backend="triton"),
        )
    )
    for a, b in zip(expected, found, strict=True):
        assert a.isinf().any()
        for test in (torch.isnan, torch.isposinf, torch.isneginf):
            assert torch.equal(test(b), test(a))


def test_a_sequence_that_is_not_finite_stays_alone():
    args = problem(R=1, B=17)
    clean = outcome(args, "triton")
    args[0][0, 3, 2], args[4][0, 5] = torch.nan, torch.inf
    found = outcome(args, "triton")
    others = torch.ones(17, dtype=torch.bool)
    others[[3, 5]] = False
    for name in ("states", "inputs", "initial"):
        assert torch.equal(found[name][:, others], clean[name][:, others])
    assert found["states"][0, 3, 2:].isnan().all()
    assert found["W_rec"].isnan().all()


@pytest.mark.parametrize("symbols", [False, True])
def test_a_replica_does_not_depend_on_its_company(symbols):
    args = problem(R=3, B=17, T=3, H=17, symbols=symbols)
    options = {"watch": {"regulariser": "unsquared"}, "last": symbols}
    together, again = (outcome(args, "triton", **options) for _ in range(2))
    order = torch.tensor([2, 0, 1], device=DEVICE)

    def run(rows):
        # The weighted sum of `outcome` depends on the number of replicas; a plain one does not.
        leaves = [x[rows] for x in args]
        leaves = [x.float().requires_grad_() if x.is_floating_point() else x for x in leaves]
        errors = Errors("unsquared")
        states = elman_ensemble(*leaves, errors=errors, backend="triton")
        wanted = [x for x in leaves if x.requires_grad]
        found = [states, *torch.autograd.grad(states.sum(), wanted)]
        return [*found, errors.norms, errors.carried, errors.omega, errors.omega_gradient]

    assert all(torch.equal(together[name], again[name]) for name in together)
    whole = run(slice(None))
    for rows in (order, slice(1, 2)):
        for found, expected in zip(run(rows), whole, strict=True):
            assert torch.equal(found, expected[rows])


def test_any_layout_and_no_side_effects():
    args = [x.float() for x in problem(R=3)]
    args[0] = args[0][:1].expand(3, -1, -1, -1)  # one batch for all replicas
    strided = [x.movedim(0, -1).contiguous().movedim(-1, 0) for x in args]
    assert not any(x.is_contiguous() for x in strided)
    before = [x.clone() for x in strided]
    lengths = torch.tensor([6, 2, 4], device=DEVICE)
    spread = torch.stack([lengths, lengths], dim=1)[:, 0]
    expected = outcome(args, "triton", lengths=lengths)
    found = outcome(strided, "triton", lengths=spread)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(torch.equal(x, y) for x, y in zip(strided, before, strict=True))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("parametrisation", ["activation", "preactivation"])
def test_without_gradients_the_same_states(parametrisation, last):
    args = [x.float() for x in problem()]
    lengths = torch.tensor([6, 2], device=DEVICE)
    options = {"parametrisation": parametrisation, "last": last, "lengths": lengths}
    expected = elman_ensemble(*[x.requires_grad_() for x in args], **options, backend="triton")
    with torch.no_grad():
        lean = elman_ensemble(*args, **options, backend="triton")
    assert torch.equal(lean, expected)


@pytest.mark.parametrize("sizes", [(2, 0), (2, 3, 0), (2, 3, 2, 129), (2, 3, 2, 3, 129)])
def test_what_does_not_fit_takes_the_torch_path(sizes):
    args = problem(*sizes)
    expected, found = (
        outcome(args, b, watch={"regulariser": "squared"}) for b in ("torch", "triton")
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_symbol_that_there_is_not_gives_nan():
    """On a GPU nobody looks at the symbols beforehand."""
    inputs, *rest = (x if i == 0 else x.float() for i, x in enumerate(problem(symbols=True, I=3)))
    inputs[0, 1, 2], inputs[1, 0, 4] = 3, -1
    p = Problem(inputs, *rest, None, "tanh", "activation", False)
    states, _ = gpu.forward(p, False)
    expected = torch.zeros(states.shape, dtype=torch.bool)
    expected[0, 1, 2:], expected[1, 0, 4:] = True, True
    assert torch.equal(states.isnan().cpu(), expected)


@triton.jit
def apply_tanh(x: tl.tensor, y: tl.tensor, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    tl.store(y + at, gpu._tanh(tl.load(x + at)))


def test_tanh_to_three_units_in_the_last_place():
    """From denormal arguments to saturation, both signs, and at the ends."""
    magnitudes = torch.logspace(-44, 1.5, 2**13, dtype=torch.float64)
    x = torch.cat([magnitudes, -magnitudes]).float()
    x[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    found = torch.empty_like(x, device=DEVICE)
    apply_tanh[(1,)](x.to(DEVICE), found, SIZE=len(x))
    found = found.cpu()
    assert found[0].isnan()
    assert found[1:3].tolist() == [1, -1]
    expected = x[3:].double().tanh()
    spacing = torch.nextafter(expected.abs().float(), torch.tensor(2.0)) - expected.abs().float()
    assert ((found[3:] - expected).abs() <= 3 * spacing).all()
    assert (found[x.abs() > 9.1] == x[x.abs() > 9.1].sign()).all()


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from rnnlib.kernels.gpu import elman

INTEGERS = "g_r g_b g_t u_r u_b u_t B T H I tiles".split()
DOUBLE = "norms carried omega alive sums".split()

def compiled(kernel, architecture, absent=(), **constants):
    constants = {"ROWS": elman.ROWS, "g_h": 1, "u_i": 1} | dict.fromkeys(absent) | constants
    constants = {n: c for n, c in constants.items() if n in kernel.arg_names}
    types = dict.fromkeys(INTEGERS, "i32") | dict.fromkeys(DOUBLE, "*fp64") | {"lengths": "*i64"}
    types |= {"inputs": "*i64" if constants["SYMBOLS"] else "*fp32"}
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "*fp32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constants)
    options = {"num_warps": constants["UNITS"] // 16, "num_stages": 2, "enable_fp_fusion": True}
    return triton.compile(source, GPUTarget("cuda", architecture, 32), options)

for architecture in (75, 90):
    for symbols, pre, absent in (
        (True, False, ("lengths", "outputs", "d_inputs", "norms", "carried")),
        (False, True, ()),
    ):
        for kernel in (elman._forward, elman._gradients, elman._omega):
            found = compiled(
                kernel, architecture, absent, UNITS=64, INPUTS=16, SYMBOLS=symbols, PRE=pre,
                NONLINEARITY="logistic" if pre else "tanh", LAST=pre,
            )
            for bad in ("tanh.approx", "tf32", "ftz"):
                assert bad not in found.asm["ptx"], (kernel, bad)
            assert found.asm["cubin"]
            assert found.metadata.shared <= elman._shared_bytes(64, 16), kernel
"""


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    """For a T4 and an H200: full float32, and no more shared memory than `_fits` reckons with."""
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
