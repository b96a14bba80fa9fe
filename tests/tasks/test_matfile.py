"""The MATLAB-5 reader against SciPy's, and against damaged files."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rnnlib.tasks.data import DataError
from rnnlib.tasks.matfile import read_cells

matrices = arrays(
    np.uint8,
    st.tuples(st.integers(0, 7), st.integers(0, 9)),
    elements=st.integers(0, 255),
)


def saved(compress: bool = False, **variables: list[np.ndarray]) -> bytes:
    """A MAT-file written by SciPy with one cell array per variable."""
    cells = {}
    for name, values in variables.items():
        cells[name] = np.empty((1, len(values)), dtype=object)
        for i, value in enumerate(values):
            cells[name][0, i] = value
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, cells, do_compression=compress)
    return buffer.getvalue()


@given(values=st.lists(matrices, min_size=1, max_size=4), compress=st.booleans())
def test_agrees_with_scipy(values: list[np.ndarray], compress: bool) -> None:
    content = saved(compress, traindata=values, testdata=values[:1])
    ours = read_cells(content)
    theirs = scipy.io.loadmat(io.BytesIO(content))
    assert set(ours) == {"traindata", "testdata"}
    for name, cells in ours.items():
        for mine, other in zip(cells, theirs[name][0], strict=True):
            assert mine.dtype == np.uint8
            assert mine.flags.c_contiguous
            np.testing.assert_array_equal(mine, other)


def big_endian(matrix: np.ndarray) -> bytes:
    """A one-cell file in big-endian order, its numbers declared double and stored as uint8."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def array(kind: int, shape: tuple[int, ...], name: bytes, body: bytes) -> bytes:
        flags = element(6, struct.pack(">II", kind, 0))
        dims = element(5, struct.pack(f">{len(shape)}i", *shape))
        return element(14, flags + dims + element(1, name) + body)

    cell = array(6, matrix.shape, b"", element(2, matrix.tobytes(order="F")))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    return header + array(1, (1, 1), b"songs", cell)


def test_reads_big_endian_files_of_doubles_stored_as_bytes() -> None:
    matrix = np.arange(15, dtype=np.uint8).reshape(5, 3)
    content = big_endian(matrix)
    np.testing.assert_array_equal(read_cells(content)["songs"][0], matrix)
    np.testing.assert_array_equal(scipy.io.loadmat(io.BytesIO(content))["songs"][0, 0], matrix)


@pytest.mark.parametrize("compress", [False, True])
def test_a_cut_file_is_an_error_wherever_it_is_cut(compress: bool) -> None:
    content = saved(compress, songs=[np.ones((9, 88), np.uint8), np.zeros((4, 88), np.uint8)])
    for length in (0, 10, 127, *range(129, len(content), 7), len(content) - 1):
        with pytest.raises(DataError, match=r"Nottingham\.mat"):
            read_cells(content[:length], "Nottingham.mat")


@given(at=st.integers(128, 400), byte=st.integers(0, 255))
def test_a_damaged_file_raises_nothing_but_a_data_error(at: int, byte: int) -> None:
    content = bytearray(saved(songs=[np.ones((3, 20), np.uint8), np.ones((2, 9), np.uint8)]))
    content[at % len(content)] = byte
    with contextlib.suppress(DataError):  # any other exception fails the test
        read_cells(bytes(content))


def test_other_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a MATLAB-5 file"):
        read_cells(b"not a mat file" * 20)
    for value in (np.ones((2, 2)) * 0.5, np.ones((2, 2), np.complex64), "text"):
        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = value
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"songs": cell})
        with pytest.raises(DataError):
            read_cells(buffer.getvalue())
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"songs": np.ones((2, 2), np.uint8)})
    with pytest.raises(DataError, match="not a cell array"):
        read_cells(buffer.getvalue())
