"""Reader of MATLAB-5 files that hold cell arrays of uint8 matrices, without SciPy."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from rnnlib.tasks.download import DataError

_UINT8, _MATRIX, _COMPRESSED = 2, 14, 15
_CELL_CLASS, _NUMERIC_CLASSES = 1, range(6, 16)

Matrix = NDArray[np.uint8]


def read_cells(content: bytes, source: str = "MAT-file") -> dict[str, list[Matrix]]:
    """Variables of a MATLAB-5 file, each a cell array of matrices stored as uint8.

    Format: "MAT-File Format", MathWorks, chapter 1: a 128-byte header, then elements of a tag
    (type, size) and data padded to 8 bytes; a cell array is a matrix whose data are matrices;
    numbers are stored column by column.

    Args:
        content: the whole file.
        source: name used in messages.

    Raises:
        DataError: if the file is not MATLAB 5, is cut short, or holds anything else.
    """
    if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{source} is not a MATLAB-5 file")
    order = "<" if content[126:128] == b"IM" else ">"
    try:
        variables = {}
        for kind, data in _elements(memoryview(content)[128:], order):
            if kind == _COMPRESSED:
                ((kind, data),) = _elements(memoryview(zlib.decompress(data)), order)
            if kind != _MATRIX:
                raise DataError(f"{source} holds an element of type {kind} where a matrix belongs")
            name, value = _matrix(data, order)
            if not isinstance(value, list):
                raise DataError(f"{source}: variable {name!r} is not a cell array")
            variables[name] = [_numeric(cell, name, order) for cell in value]
        return variables
    except (struct.error, zlib.error, ValueError) as error:
        raise DataError(f"{source} is truncated or corrupt ({error})") from error


def _elements(data: memoryview, order: str) -> list[tuple[int, memoryview]]:
    """Split data into (type, content) elements."""
    found, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # small element: size and type share a word, the data fill the next
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError(f"small element of {size} bytes")
        else:
            start = at + 8
            end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data):
            raise ValueError(f"element of {size} bytes at {at} exceeds the data")
        found.append((kind, data[start : start + size]))
        at = end
    return found


def _matrix(data: memoryview, order: str) -> tuple[str, list[memoryview] | Matrix]:
    """Name and value of a matrix element: the cells of a cell array, or a uint8 array."""
    (_, flags), (_, dims), (_, name), *values = _elements(data, order)
    array_class = struct.unpack_from(order + "I", flags)[0] & 0xFF
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    title = bytes(name).decode("ascii", "replace")
    if array_class == _CELL_CLASS:
        if len(values) != math.prod(shape) or any(kind != _MATRIX for kind, _ in values):
            raise ValueError(f"variable {title!r} has {len(values)} cells, not {shape}")
        return title, [value for _, value in values]
    # MATLAB stores whole numbers of any class, double too, in the smallest type that holds them.
    if array_class not in _NUMERIC_CLASSES or len(values) != 1 or values[0][0] != _UINT8:
        raise ValueError(f"{title or 'a cell'} is not a real matrix stored as uint8")
    numbers = np.frombuffer(values[0][1], dtype=np.uint8)
    return title, numbers.reshape(shape, order="F")


def _numeric(cell: memoryview, name: str, order: str) -> Matrix:
    value = _matrix(cell, order)[1]
    if isinstance(value, list):
        raise ValueError(f"variable {name!r} holds a cell array inside a cell")
    return np.ascontiguousarray(value)
