"""The building blocks of the compiled CPU kernels: elementary functions, small products, memory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.kernels import backends

numba = pytest.importorskip("numba")

from rnnlib.kernels import cpu  # noqa: E402
from rnnlib.kernels.cpu import elementary, tile  # noqa: E402

DTYPES = [np.float32, np.float64]


@numba.njit(fastmath={"contract"}, error_model="numpy")
def apply_tanh(x, y):
    for i in range(x.size):
        y[i] = elementary.tanh(x[i])


@numba.njit(fastmath={"contract"}, error_model="numpy")
def apply_logistic(x, y):
    for i in range(x.size):
        y[i] = elementary.logistic(x[i])


def exact_logistic(x):
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-np.abs(x))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "exact"), [(apply_tanh, np.tanh), (apply_logistic, exact_logistic)]
)
def test_elementary_functions_to_three_units_in_the_last_place(function, exact, dtype):
    """Against NumPy in long double, from denormal arguments to saturation, both signs."""
    magnitudes = np.geomspace(np.finfo(dtype).smallest_subnormal, 90, 100_003)
    x = np.concatenate([-magnitudes, magnitudes]).astype(dtype)
    found = np.empty_like(x)
    function(x, found)
    reference = exact(x.astype(np.longdouble))
    normal = np.abs(reference) >= np.finfo(dtype).tiny
    spacing = np.spacing(np.abs(reference).astype(dtype))
    assert (np.abs(found - reference)[normal] <= 3 * spacing[normal]).all()
    # The logistic function's subnormal values are zero, as documented.
    assert (np.abs(found - reference)[~normal] <= np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_elementary_functions_at_the_ends(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30], dtype)
    found = np.empty_like(x)
    apply_tanh(x, found)
    np.testing.assert_array_equal(found, np.array([0, -0.0, 1, -1, np.nan, 1, -1], dtype))
    assert np.signbit(found[1])
    apply_logistic(x, found)
    np.testing.assert_array_equal(found, np.array([0.5, 0.5, 1, 0, np.nan, 1, 0], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loops_over_them_use_vectors(dtype):
    """What the speed rests on: the division, one a value, is done for several values at once."""
    x = np.zeros(64, dtype)
    apply_tanh(x, x.copy())
    signature = next(s for s in apply_tanh.signatures if s[0].dtype == numba.from_dtype(x.dtype))
    assembly = apply_tanh.inspect_asm(signature)
    if not numba.core.config.ENABLE_AVX or "vdiv" not in assembly:
        pytest.skip("not an x86 machine with AVX")
    assert ("vdivps" if dtype == np.float32 else "vdivpd") in assembly


def test_only_compiled_code_can_call_them():
    for name in ("tanh", "logistic", "tanh_parts", "logistic_parts"):
        function = getattr(elementary, name)
        with pytest.raises(NotImplementedError, match="only compiled code"):
            function(1.0)


@given(
    rows=st.integers(1, 11),
    depth=st.integers(0, 9),
    columns=st.integers(1, 150),
    dtype=st.sampled_from(DTYPES),
    transposed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_product_adds_a_times_b(rows, depth, columns, dtype, transposed, seed):
    """Whole numbers, so that every sum is exact: it must be equal, and nothing else may move."""
    draw = np.random.default_rng(seed)
    width = tile.padded(columns, np.dtype(dtype).itemsize)
    a = draw.integers(-9, 9, (depth, rows) if transposed else (rows, depth)).astype(dtype)
    b = np.zeros((depth, width), dtype)
    b[:, :columns] = draw.integers(-9, 9, (depth, columns))
    c = draw.integers(-9, 9, (rows + 1, width)).astype(dtype)
    expected = c.copy()
    expected[:rows] += (a.T if transposed else a) @ b
    row, step = (1, rows) if transposed else (depth, 1)
    tile.product(a, 0, row, step, rows, depth, b, 0, width, width, c, 0, width)
    np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_does_not_depend_on_the_tile_it_falls_in(dtype):
    """Row by row and column block by column block, bit for bit the same as all at once."""
    draw = np.random.default_rng(0)
    width = tile.padded(50, np.dtype(dtype).itemsize)
    a, b = draw.normal(size=(7, 33)).astype(dtype), draw.normal(size=(33, width)).astype(dtype)
    whole, parts = np.zeros((7, width), dtype), np.zeros((7, width), dtype)
    tile.product(a, 0, 33, 1, 7, 33, b, 0, width, width, whole, 0, width)
    lanes = tile.VECTOR_BYTES // np.dtype(dtype).itemsize
    for i in range(7):
        for j in range(0, width, lanes):
            at = i * width + j
            tile.product(a, i * 33, 33, 1, 1, 33, b, j, width, lanes, parts, at, width)
    assert whole.tobytes() == parts.tobytes()
    np.testing.assert_allclose(whole, a @ b, rtol=1e-4, atol=1e-5)


def test_padding_and_aligned_zeros():
    lanes = tile.VECTOR_BYTES // 4
    assert [tile.padded(n, 4) for n in (0, 1, lanes, lanes + 1)] == [0, lanes, lanes, 2 * lanes]
    memory = tile.zeros(3, 5 * lanes, np.zeros(1, np.float32))
    assert memory.shape == (3, 5 * lanes)
    assert not memory.any()
    assert memory.ctypes.data % tile.VECTOR_BYTES == 0


def test_memory_is_used_again_only_when_nobody_holds_it():
    shape = (1024, 1031)  # a size of its own, so that no other test's memory fits
    first = backends.empty(shape, torch.float32)
    address = first.data_ptr()
    assert backends.empty(shape, torch.float32).data_ptr() != address
    view = first[5:6]
    del first
    assert backends.empty(shape, torch.float32).data_ptr() != address
    view.fill_(3.0)
    del view
    addresses = {backends.empty(shape, torch.float32).data_ptr() for _ in range(3)}
    assert len(addresses) == 1  # each was dropped before the next was asked for


def test_the_memory_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(backends, "_POOL", [])
    monkeypatch.setattr(backends, "_POOLED_BYTES", 2**23)
    held = [backends.empty((2**19 + i,), torch.float32) for i in range(4)]
    del held
    for i in range(8):
        backends.empty((2**20 + i * 1000,), torch.float32)
        assert sum(each.nbytes for each in backends._POOL) <= 2**23
    assert backends.empty((2**22,), torch.float32).shape == (2**22,)  # too large to be kept
    assert sum(each.nbytes for each in backends._POOL) <= 2**23
    backends.release()
    assert backends._POOL == []
    assert backends.empty((0, 3), torch.complex64).shape == (0, 3)


def test_compiled_code_older_than_a_source_is_removed(tmp_path):
    """Numba would run it: it does not look at the files of the functions that a function calls."""
    package = tmp_path / "cpu"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text(Path(cpu.__file__).read_text(encoding="utf-8"))
    (package / "tile.py").write_text("")
    stale, fresh = (package / "__pycache__" / name for name in ("elman.nbi", "scan.1.nbc"))
    for path, age in ((stale, 100), (fresh, -100)):
        path.write_text("")
        os.utime(path, (time.time() - age,) * 2)
    subprocess.run([sys.executable, "-c", "import cpu"], cwd=tmp_path, check=True)
    assert not stale.exists()
    assert fresh.exists()
