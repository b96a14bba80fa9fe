"""The linear scan against the loop that defines it, scipy's filter, gradcheck and torch.func."""

import gc
import itertools
import weakref

import numpy as np
import pytest
import scipy.signal
import torch
from functorch.compile import make_boxed_func
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.backends.common import aot_autograd
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import rnnlib.kernels.scan_torch
from rnnlib.checks import ArgumentError
from rnnlib.kernels import backends
from rnnlib.kernels.scan import linear_scan, linear_scan_definition

BACKENDS = [name for name in ("torch", "numba") if not backends.missing(name)]
LAYOUTS = ["H", "TH", "BTH"]
KINDS = [torch.float64, torch.complex128]

each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_kind = pytest.mark.parametrize("dtype", KINDS, ids=["real", "complex"])
each_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def problem(B=2, T=5, H=3, *, layout="H", dtype=torch.float64, modulus=None, seed=0):
    """Decay, inputs, initial state and resets; the first step is reset in the first sequence."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    decay = draw(*{"H": (H,), "TH": (T, H), "BTH": (B, T, H)}[layout])
    size = decay.abs()
    decay = decay / size * (size / (1 + size) * 1.2 if modulus is None else modulus)
    resets = torch.rand(B, T, generator=g) < 0.2
    if B and T:
        resets[0, 0] = True
    return decay, draw(B, T, H), draw(B, H), resets


def with_gradients(run, args, create_graph=False, **options):
    """Result and gradients of all arguments, for a loss that weighs every number differently."""
    args = [None if x is None else x.detach().requires_grad_() for x in args]
    result = run(*args, **options)
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(result.shape, generator=g, dtype=torch.complex128)
    weight = weight.to(result.dtype) if result.is_complex() else weight.real.to(result.dtype)
    given = [x for x in args if x is not None]
    return [result.detach(), *torch.autograd.grad(result, given, weight, create_graph=create_graph)]


def distance(found, exact):
    """Largest error over largest value."""
    return (found - exact).abs().max() / exact.abs().max().clamp(min=1e-300)


def wide(x):
    return x.to(torch.complex128 if x.is_complex() else torch.float64)


def narrow(x):
    return x.to(torch.complex64 if x.is_complex() else torch.float32)


def assert_as_good_as_the_loop(tested, args, gradients=True, **options):
    """In single precision: at most 4 times the error of the loop in single precision, plus 1e-7."""
    single = [None if x is None else narrow(x) for x in args]
    double = [None if x is None else wide(x) for x in single]

    def run(scan, args, **more):
        return (
            with_gradients(scan, args, **options, **more)
            if gradients
            else [scan(*args, **options, **more)]
        )

    exact, loop = (run(linear_scan_definition, x) for x in (double, single))
    for backend in tested:
        fast = run(linear_scan, single, backend=backend)
        for e, l, f in zip(exact, loop, fast, strict=True):
            assert f.dtype == l.dtype
            assert distance(f, e) <= 4 * distance(l, e) + 1e-7


@each_backend
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 90), st.integers(1, 20)),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(KINDS),
    starts=st.booleans(),
    resets=st.booleans(),
    reverse=st.booleans(),
    create_graph=st.booleans(),
)
@settings(max_examples=60)
def test_equals_the_definition_in_values_and_gradients(
    backend, sizes, layout, dtype, starts, resets, reverse, create_graph
):
    decay, inputs, initial, mask = problem(*sizes, layout=layout, dtype=dtype)
    args = decay, inputs, initial if starts else None
    options = {"resets": mask if resets else None, "reverse": reverse}
    expected = with_gradients(linear_scan_definition, args, **options)
    options |= {"backend": backend, "create_graph": create_graph}
    found = with_gradients(linear_scan, args, **options)
    for e, f in zip(expected, found, strict=True):
        assert e.shape == f.shape
    # The gradient of the decay is a sum, whose terms may cancel: they set the scale of its errors.
    scales = [e.abs().max() for e in expected]
    scales[1] = (expected[2].abs() * expected[0].abs().max()).sum()
    for e, f, scale in zip(expected, found, scales, strict=True):
        assert (f - e).abs().max() <= 1e-14 * scale.clamp(min=1)


@each_backend
def test_equals_a_recursive_filter_of_scipy(backend):
    decay, inputs, _, _ = problem(2, 300, 4)
    found = linear_scan(decay, inputs, backend=backend)
    for h, a in enumerate(decay.tolist()):
        filtered = scipy.signal.lfilter([1], [1, -a], inputs[..., h].numpy(), axis=1)
        np.testing.assert_allclose(found[..., h].numpy(), filtered, rtol=1e-11, atol=1e-13)


@each_backend
@each_layout
@each_kind
def test_passes_gradcheck_twice_and_in_both_modes(backend, layout, dtype):
    *args, resets = problem(2, 3, 2, layout=layout, dtype=dtype)
    for x in args:
        x.requires_grad_()
    reverse = layout == "TH"

    def run(*args):
        return linear_scan(*args, resets=resets, reverse=reverse, backend=backend)

    assert gradcheck(run, args, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(run, args, check_fwd_over_rev=True)


@each_backend
@each_kind
def test_passes_gradcheck_without_initial_state_and_in_chunks(backend, dtype, monkeypatch):
    monkeypatch.setattr(rnnlib.kernels.scan_torch, "_WORTH_CHUNKS", 4)
    decay, inputs, _, _ = problem(1, 7, 2, layout="TH", dtype=dtype)
    args = decay.requires_grad_(), inputs.requires_grad_()
    assert gradcheck(lambda *args: linear_scan(*args, backend=backend), args)
    assert gradgradcheck(lambda *args: linear_scan(*args, backend=backend), args)


@each_kind
@each_direction
@pytest.mark.parametrize("modulus", [0.0, 0.5, 1 - 1e-4, 1.0, 1.01])
def test_single_precision_is_as_good_as_the_loop(dtype, reverse, modulus):
    for layout in LAYOUTS:
        *args, resets = problem(1, 500, 5, layout=layout, dtype=dtype, modulus=modulus)
        mask = resets if layout == "TH" else None
        assert_as_good_as_the_loop(BACKENDS, args, reverse=reverse, resets=mask)


@each_kind
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 200, 1), (1, 60, 50), (2, 33, 63), (5, 31, 65)])
def test_single_precision_in_awkward_sizes(dtype, sizes):
    *args, resets = problem(*sizes, dtype=dtype)
    assert_as_good_as_the_loop(BACKENDS, args, resets=resets)


@each_kind
def test_single_precision_over_many_steps(dtype):
    args = problem(1, 65_536, 2, dtype=dtype, modulus=1 - 1e-4)[:2]
    assert_as_good_as_the_loop(BACKENDS, args, gradients=not dtype.is_complex)


@pytest.mark.skipif("numba" not in BACKENDS, reason="numba is not installed")
@each_layout
def test_numba_states_and_their_gradients_are_the_loop_s_to_the_last_bit(layout):
    *args, resets = problem(2, 100, 33, layout=layout, dtype=torch.float32)
    for reverse in (False, True):
        options = {"resets": resets, "reverse": reverse}
        expected = with_gradients(linear_scan_definition, args, **options)
        found = with_gradients(linear_scan, args, backend="numba", **options)
        for e, f in zip((expected[0], *expected[2:]), (found[0], *found[2:]), strict=True):
            assert torch.equal(e, f)


def same_pattern(e, f):
    """Whether NaN, infinity and minus infinity stand in the same places."""
    reals = (torch.view_as_real(x) if x.is_complex() else x for x in (e, f))
    return torch.equal(*(torch.stack([x.isnan(), x == torch.inf, x == -torch.inf]) for x in reals))


@each_backend
@each_layout
@each_direction
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=["real", "complex"])
# Within one chunk, over chunks, and in a product of decays although the states are zero.
@pytest.mark.parametrize(("modulus", "T"), [(1.5, 400), (4.0, 400), (1e20, 400)])
def test_overflow_is_where_the_loop_has_it(backend, layout, reverse, dtype, modulus, T):
    # Torch rounds complex products by another rule where 8 channels do not fill a vector.
    args = problem(2, T, 8, layout=layout, dtype=dtype, modulus=modulus)
    _, inputs, initial, resets = args
    inputs[1, :, :3] = 0
    initial[1, :3] = 0
    for mask in (None, resets):
        options = {"resets": mask, "reverse": reverse}
        expected = with_gradients(linear_scan_definition, args[:3], **options)
        found = with_gradients(linear_scan, args[:3], backend=backend, **options)
        assert mask is not None or not expected[0].isfinite().all()
        assert same_pattern(expected[0], found[0])
        for e, f in zip(expected[1:], found[1:], strict=True):
            assert torch.equal(e.isfinite(), f.isfinite())
        # Where torch adds two complex gradients an infinite one becomes NaN, and sums of infinities
        # depend on their order; so more can be asked of the gradients of real inputs only.
        assert dtype.is_complex or same_pattern(expected[2], found[2])


@each_backend
@each_direction
def test_what_overflowed_stays_so_until_it_is_forgotten(backend, reverse):
    decay, inputs = torch.full((1,), 0.5), torch.zeros(1, 200, 1)
    resets = torch.zeros(1, 200, dtype=torch.bool)
    resets[0, 150] = True
    for t in range(100, 116):  # where a chunk ends too; the decay is no cure
        huge = inputs.index_fill(1, torch.tensor([t, t + 1]), 3e38)
        for mask in (None, resets):
            options = {"resets": mask, "reverse": reverse}
            expected = linear_scan_definition(decay, huge, **options)
            assert expected.isinf().any()
            assert torch.equal(linear_scan(decay, huge, backend=backend, **options), expected)


@each_backend
def test_infinite_and_missing_inputs_pass_through_as_in_the_loop(backend):
    decay, inputs, _, _ = problem(1, 200, 4, dtype=torch.float32)
    inputs[0, 70, 1], inputs[0, 90, 2] = torch.inf, torch.nan
    expected = linear_scan_definition(decay, inputs)
    assert same_pattern(expected, linear_scan(decay, inputs, backend=backend))


@each_backend
def test_states_vanish_through_the_denormal_numbers(backend):
    decay, initial = torch.tensor([0.3, 0.1, 1e-8]), torch.tensor([[1.0, -1e30, 1e38]])
    inputs = torch.zeros(1, 90, 3)
    expected = linear_scan_definition(decay, inputs, initial)
    found = linear_scan(decay, inputs, initial, backend=backend)
    assert 0 < expected[0, 84, 0] < 1e-44
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=5e-45)


@each_backend
@each_kind
def test_other_memory_layouts_change_nothing_and_nothing_is_changed(backend, dtype):
    decay, inputs, initial, resets = problem(3, 40, 4, layout="BTH", dtype=dtype)
    expected = linear_scan(decay, inputs, initial, resets=resets, backend=backend)
    strided = [x.mT.contiguous().mT for x in (decay, inputs, initial, resets)]
    before = [x.clone() for x in strided]
    for _ in range(2):  # bitwise, and again
        found = linear_scan(*strided[:3], resets=strided[3], backend=backend)
        assert torch.equal(found, expected)
    assert all(torch.equal(x, y) for x, y in zip(before, strided, strict=True))
    expanded = inputs[:1, :, :1].expand(3, 40, 4), initial[:1].expand(3, 4)
    found = linear_scan(decay, *expanded, backend=backend)
    assert torch.equal(found, linear_scan(decay, *(x.clone() for x in expanded), backend=backend))
    if dtype.is_complex:
        lazy = [x.conj().resolve_conj().conj() for x in (decay, inputs, initial)]
        assert torch.equal(linear_scan(*lazy, resets=resets, backend=backend), expected)


@each_backend
@each_layout
def test_a_sequence_of_one_is_not_its_own_result(backend, layout):
    decay, inputs, initial, _ = problem(1, 50, 4, layout=layout)
    before = inputs.clone()
    linear_scan(decay, inputs, initial, backend=backend).zero_()
    assert torch.equal(before, inputs)


@each_backend
@each_layout
@each_kind
def test_reverse_is_the_scan_of_what_is_reversed(backend, layout, dtype):
    decay, inputs, initial, resets = problem(2, 60, 3, layout=layout, dtype=dtype)
    mirrored = decay if layout == "H" else decay.flip(-2)
    there = linear_scan(decay, inputs, initial, resets=resets, reverse=True, backend=backend)
    back = linear_scan(
        mirrored, inputs.flip(1), initial, resets=resets.flip(1), backend=backend
    ).flip(1)
    assert distance(there, back) < 1e-14


@each_layout
@pytest.mark.parametrize("backend", ["definition", *BACKENDS])
@pytest.mark.parametrize("sizes", [(2, 0, 3), (0, 4, 3), (2, 4, 0), (0, 0, 0)])
def test_nothing_to_scan_gives_nothing_and_gradients_of_zero(backend, layout, sizes):
    *args, resets = problem(*sizes, layout=layout)
    result, *grads = with_gradients(linear_scan, args, resets=resets, backend=backend)
    assert result.shape == sizes
    for x, g in zip(args, grads, strict=True):
        assert g.shape == x.shape
        assert not g.any()


@each_backend
@each_layout
def test_real_numbers_join_complex_ones(backend, layout):
    real = problem(2, 6, 3, layout=layout)[:3]
    imaginary = problem(2, 6, 3, layout=layout, seed=2, dtype=torch.complex128)[:3]
    for args in itertools.product(*zip(real, imaginary, strict=True)):
        expected = with_gradients(linear_scan_definition, args)
        found = with_gradients(linear_scan, args, backend=backend)
        assert found[0].is_complex() == any(x.is_complex() for x in args)
        for x, e, f in zip((found[0], *args), expected, found, strict=True):
            assert f.dtype == x.dtype
            torch.testing.assert_close(f, e)


def test_the_definition_takes_other_floating_dtypes():
    *args, _ = (x.bfloat16() for x in problem(2, 6, 3))
    assert linear_scan_definition(*args).dtype == torch.bfloat16


def test_backend_definition_is_the_definition_and_auto_the_fastest():
    *args, resets = problem(2, 50, 3)
    expected = linear_scan_definition(*args, resets=resets)
    assert torch.equal(linear_scan(*args, resets=resets, backend="definition"), expected)
    fastest = linear_scan(*args, resets=resets, backend=BACKENDS[-1])
    assert torch.equal(linear_scan(*args, resets=resets), fastest)


@pytest.mark.parametrize(
    ("name", "change", "accepted"),
    [
        ("inputs", {"inputs": torch.zeros(2, 5)}, "shape"),
        ("inputs", {"inputs": torch.zeros(2, 5, 3, dtype=torch.int64)}, "floating or complex"),
        ("inputs", {"inputs": torch.zeros(2, 5, 3).half(), "decay": torch.zeros(3).half()}, "flo"),
        ("decay", {"decay": torch.zeros(4)}, r"\(3,\), \(5, 3\) or \(2, 5, 3\)"),
        ("decay", {"decay": torch.zeros(2, 3)}, "shape"),
        ("decay", {"decay": torch.zeros(3).double()}, "precision of inputs"),
        ("decay", {"decay": torch.zeros(3, dtype=torch.bool)}, "precision of inputs"),
        ("decay", {"decay": torch.zeros(3, device="meta")}, "cpu"),
        ("initial", {"initial": torch.zeros(1, 3)}, "shape"),
        ("initial", {"initial": torch.zeros(2, 3, dtype=torch.complex128)}, "precision"),
        ("resets", {"resets": torch.zeros(2, 5)}, "torch.bool"),
        ("resets", {"resets": torch.zeros(2, 4, dtype=torch.bool)}, "shape"),
        ("decay", {"decay": torch.tensor([0.5, torch.nan, 1])}, "finite, got nan"),
        ("decay", {"decay": torch.full((5, 3), -torch.inf)}, "finite, got -inf"),
        ("backend", {"backend": "fortran"}, "one of auto, definition"),
    ],
)
@pytest.mark.parametrize("backend", ["definition", *BACKENDS])
def test_refuses_by_name_what_it_does_not_take(backend, name, change, accepted):
    arguments = {"decay": torch.zeros(3), "inputs": torch.zeros(2, 5, 3), "backend": backend}
    with pytest.raises(ArgumentError, match=f"^{name} must .*{accepted}"):
        linear_scan(**arguments | change)


def test_finite_decays_whose_sum_overflows_are_taken():
    decay = torch.full((4,), 3e38)
    assert torch.equal(linear_scan(decay, torch.zeros(1, 2, 4)), torch.zeros(1, 2, 4))


@each_backend
def test_the_first_derivative_is_one_pass_and_a_second_one_still_there(backend, monkeypatch):
    path = pytest.importorskip("rnnlib.kernels.cpu.scan") if backend == "numba" else None
    path = path or rnnlib.kernels.scan_torch
    passes = []
    for name in ("scan", "adjoint"):
        original = getattr(path, name)

        def counted(*args, original=original, name=name):
            passes.append(name)
            return original(*args)

        if name == "adjoint" or backend == "numba":
            monkeypatch.setattr(path, name, counted)
    *args, _ = problem()
    for x in args:
        x.requires_grad_()
    loss = linear_scan(*args, backend=backend).abs().square().sum()
    passes.clear()
    torch.autograd.grad(loss, args, retain_graph=True)
    assert passes == ["adjoint"]
    passes.clear()
    torch.autograd.grad(loss, args, create_graph=True)
    assert "adjoint" not in passes


def test_states_go_when_they_are_let_go():
    decay, inputs, _, _ = problem()
    gc.disable()
    try:
        states = linear_scan(decay.requires_grad_(), inputs)
        gone = weakref.ref(states)
        del states
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.skipif("numba" not in BACKENDS, reason="numba is not installed")
@each_layout
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_threads_change_no_bit(layout, batch, monkeypatch):
    *args, resets = problem(batch, 30, 50, layout=layout, dtype=torch.complex64)
    alone = with_gradients(linear_scan, args, resets=resets, backend="numba")
    monkeypatch.setattr("rnnlib.kernels.cpu.scan._WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = with_gradients(linear_scan, args, resets=resets, backend="numba")
    assert all(torch.equal(a, s) for a, s in zip(alone, shared, strict=True))


def squares(scan, resets):
    return lambda *args: scan(*args, resets=resets).abs().square().sum()


@each_layout
@each_kind
def test_the_transforms_of_torch_func_hold(layout, dtype):
    *args, resets = problem(2, 4, 2, layout=layout, dtype=dtype)
    args, everything = tuple(args), (0, 1, 2)
    tangents = tuple(problem(2, 4, 2, layout=layout, dtype=dtype, seed=3)[:3])

    def outcomes(scan):
        loss = squares(scan, resets)
        yield grad(loss, everything)(*args)
        states, pull = vjp(lambda *args: scan(*args, resets=resets, reverse=True), *args)
        yield states, pull(tangents[1])
        yield jvp(lambda *args: scan(*args, resets=resets), args, tangents)
        yield jvp(lambda decay: scan(decay, *args[1:]), args[:1], tangents[:1])
        if dtype.is_complex:
            return
        yield jacrev(scan, everything)(*args)
        yield jacfwd(scan, everything)(*args)
        yield hessian(loss, everything)(*args)
        yield jacrev(jacrev(loss))(*args)
        yield jacfwd(jacfwd(loss))(*args)
        yield jacrev(jacfwd(jacrev(loss)))(*args)

    for expected, found in zip(
        outcomes(linear_scan_definition), outcomes(linear_scan), strict=True
    ):
        torch.testing.assert_close(found, expected)


@each_layout
@pytest.mark.parametrize("mapped", [m for m in itertools.product((0, 1), repeat=4) if any(m)])
def test_vmap_holds_whatever_is_mapped(layout, mapped):
    V = 3
    args = problem(2, 4, 3, layout=layout)
    many = [
        torch.stack(x, 1)
        for x in zip(*(problem(2, 4, 3, layout=layout, seed=s) for s in range(V)), strict=True)
    ]
    args = [m if is_mapped else x for x, m, is_mapped in zip(args, many, mapped, strict=True)]
    dims = tuple(1 if is_mapped else None for is_mapped in mapped)
    for scan_gradients in (False, True):

        def run(scan, *args, scan_gradients=scan_gradients):
            if scan_gradients:
                return grad(squares(scan, args[3]), (0, 1, 2))(*args[:3])
            return scan(*args[:3], resets=args[3], reverse=True)

        expected = [
            run(
                linear_scan_definition,
                *(x.select(1, v) if d else x for x, d in zip(args, dims, strict=True)),
            )
            for v in range(V)
        ]
        found = vmap(lambda *args: run(linear_scan, *args), dims)(*args)
        for v, e in enumerate(expected):
            f = [x[v] for x in found] if scan_gradients else found[v]
            torch.testing.assert_close(f, list(e) if scan_gradients else e)


def test_compiles_into_one_graph_with_one_operator_each_way():
    graphs = []

    def keep(graph, _):
        graphs.append(str(graph.code))
        return make_boxed_func(graph.forward)

    compiled = torch.compile(linear_scan, fullgraph=True, backend=aot_autograd(fw_compiler=keep))
    for T in (4, 5, 6):
        *args, resets = problem(2, T, 3)
        expected = with_gradients(linear_scan_definition, args, resets=resets)
        for e, f in zip(expected, with_gradients(compiled, args, resets=resets), strict=True):
            torch.testing.assert_close(f, e)
    assert len(graphs) <= 4  # the second T makes it a symbol
    assert all(graph.count("rnnlib.linear_scan") == 1 for graph in graphs)


@each_layout
def test_the_operators_keep_torch_s_rules(layout):
    decay, inputs, initial, resets = problem(layout=layout)
    common = resets, False, "auto"
    torch.library.opcheck(torch.ops.rnnlib.linear_scan, (decay, inputs, initial, *common))
    torch.library.opcheck(torch.ops.rnnlib.linear_scan_adjoint, (decay, inputs, inputs, *common))
