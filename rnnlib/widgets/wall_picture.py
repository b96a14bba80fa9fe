"""The wall's static picture, for print and for readers without scripts: SVG written from numbers.

It needs no plotting library and is a tenth of the size that one would write.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterable

import torch
from torch import Tensor

from rnnlib import surface

WINDOW = {"w": (4.0, 6.0), "b": (-3.2, -2.0)}
N_STEPS = 400

# As in wall.js: nine anchors of viridis, paled and turned so that low error is light.
_VIRIDIS = (
    *("440154", "472d7b", "3b528b", "2c728e", "21918c"),
    *("28ae80", "5ec962", "addc30", "fde725"),
)
_TINT, _LARGEST_ERROR = 0.3, 0.43
_PLAIN, _CLIPPED, _INK, _MUTED = "#d55e00", "#0072b2", "#1f2328", "#59636e"

_LEFT, _TOP, _WIDTH, _HEIGHT = 46, 34, 584, 350  # of the map, in a drawing 640 wide
_COLUMNS, _ROWS = 236, 138  # just too few cells for torch to split: forking would cost more


def picture(
    w: float,
    b: float,
    learning_rate: float,
    threshold: float,
    clipping: bool,
    seq_len: int,
) -> str:
    """Draw the error surface with the two paths from one start; returns an ``<svg>`` element."""
    ends, paths, marks = [], [], []
    for name, limit, colour, shape in (
        ("plain", math.inf, _PLAIN, "M-5,0a5,5 0 1 0 10,0a5,5 0 1 0 -10,0"),
        ("clipped", threshold, _CLIPPED, "M0,-6L6,5L-6,5z"),
    ):
        if name == "clipped" and not clipping:
            continue
        path = descend(w, b, learning_rate, limit, seq_len)
        dashes = "" if name == "plain" else ' stroke-dasharray="5 3"'
        line = _points((here[0], here[1]) for here in path)
        paths.append(f'<polyline points="{line}" stroke="#fff" stroke-width="4"{dashes}/>')
        paths.append(f'<polyline points="{line}" stroke="{colour}" stroke-width="2"{dashes}/>')
        last_w, last_b, error = path[-1]
        place = f'transform="translate({_across(last_w):.1f} {_down(last_b):.1f})"'
        marks.append(f'<path d="{shape}" fill="{colour}" stroke="#fff" {place}/>')
        ends.append(
            f"{name} ({'dashed, triangle' if dashes else 'solid, disc'}): after {len(path) - 1} "
            f"steps at w = {last_w:.2f}, b = {last_b:.2f}, error {error:.6f}".replace("-", "−")
        )
    told = "".join(
        f'<text x="{_LEFT}" y="{438 + 17 * i}">{end}</text>' for i, end in enumerate(ends)
    )
    label = "Error surface over w and b: a wall falls from the upper left to the lower right; "
    label += "; ".join(ends)
    setting = f"learning rate {learning_rate:g}" + (
        f", threshold {threshold:g}" if clipping else ""
    )
    return (
        f'<svg viewBox="0 0 640 464" style="max-width:100%;height:auto;font:12px sans-serif" '
        f'fill="{_INK}" role="img" aria-label="{label}">'
        '<rect width="640" height="464" fill="#fff"/>'
        f'<text x="{_LEFT}" y="20" font-size="14">Error after T = {seq_len} steps of the network; '
        f"{setting}</text>{_axes()}"
        # An inner svg clips to its own box, and needs no id for it.
        f'<svg x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
        'stroke-linejoin="round">'
        f'<image width="{_WIDTH}" height="{_HEIGHT}" preserveAspectRatio="none" '
        f'href="{_heat_map(seq_len)}"/>'
        f'<polyline points="{_guide()}" stroke="{_INK}" stroke-width="1.5"/>{"".join(paths)}'
        f'<circle cx="{_across(w):.1f}" cy="{_down(b):.1f}" r="7" fill="#fff" stroke="{_INK}" '
        f'stroke-width="2"/>{"".join(marks)}</svg>{told}</svg>'
    )


def descend(
    w: float, b: float, learning_rate: float, threshold: float, seq_len: int
) -> list[tuple[float, float, float]]:
    """``surface.descend`` from one start in plain floats: much faster than tensors of one.

    Returns:
        ``(w, b, error)`` of each point, up to the first where the gradient is not finite.
    """
    path = []
    for _ in range(N_STEPS + 1):
        x, x_w, x_b = 0.5, 0.0, 0.0
        for _ in range(seq_len):
            s = _sigma(x)
            slope = w * s * (1 - s)
            x_w, x_b, x = s + slope * x_w, 1 + slope * x_b, w * s + b
        s = _sigma(x)
        first = 2 * (s - 0.7) * s * (1 - s)
        norm = math.hypot(first * x_w, first * x_b)
        path.append((w, b, (s - 0.7) ** 2))
        if not math.isfinite(norm):
            break
        rate = learning_rate * (threshold / norm if norm >= threshold else 1)
        w, b = w - rate * first * x_w, b - rate * first * x_b
    return path


def _sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0  # exp overflows beyond


def _across(w: float) -> float:
    low, high = WINDOW["w"]
    return (w - low) / (high - low) * _WIDTH


def _down(b: float) -> float:
    low, high = WINDOW["b"]
    return (high - b) / (high - low) * _HEIGHT


def _points(points: Iterable[tuple[float, float]]) -> str:
    """Pixels of a path; points far outside stay within the reach of a drawing."""
    near = ((min(max(w, -1e3), 1e3), min(max(b, -1e3), 1e3)) for w, b in points)
    return " ".join(f"{_across(w):.1f},{_down(b):.1f}" for w, b in near)


def _guide() -> str:
    """The wall's straight part, where the start is an unstable fixed point."""
    return _points((w, surface.wall_line(w)) for w in (4.2553, WINDOW["w"][1]))


def _axes() -> str:
    parts = []
    for i in range(9):
        w = WINDOW["w"][0] + i / 4
        parts.append(
            f'<text x="{_LEFT + _across(w):.1f}" y="{_TOP + _HEIGHT + 17}" text-anchor="middle">'
            f"{w:g}</text>"
        )
    for i in range(7):
        b = WINDOW["b"][0] + i / 5
        parts.append(
            f'<text x="{_LEFT - 6}" y="{_TOP + _down(b) + 4:.1f}" text-anchor="end">'
            f"−{abs(b):.1f}</text>"
        )
    names = (
        f'<text x="{_LEFT + _WIDTH / 2}" y="{_TOP + _HEIGHT + 34}" font-style="italic">w</text>'
        f'<text x="20" y="{_TOP + _down(-2.5) + 4:.1f}" font-style="italic">b</text>'
    )
    return f'<g fill="{_MUTED}">{"".join(parts)}</g>{names}'


def _heat_map(seq_len: int) -> str:
    """The surface as a PNG in a data address; its shade is the root of the error, as on screen."""
    w = _centres(*WINDOW["w"], _COLUMNS)
    b = _centres(*WINDOW["b"], _ROWS).flip(0)
    error = surface.error_surface(w[None, :], b[:, None], seq_len=seq_len).error
    shade = (255 * (error / _LARGEST_ERROR).sqrt().clamp(max=1)).round().to(torch.uint8).numpy()
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in shade), 9)
    header = struct.pack(">IIBBBBB", _COLUMNS, _ROWS, 8, 3, 0, 0, 0)  # 8 bits, with a palette
    palette = bytes(value for i in range(256) for value in colour(i / 255))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))
        for tag, body in ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", data), (b"IEND", b""))
    )
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _centres(low: float, high: float, n: int) -> Tensor:
    """Centres of ``n`` equal cells."""
    return low + (torch.arange(n, dtype=torch.float64) + 0.5) / n * (high - low)


def colour(fraction: float) -> tuple[int, int, int]:
    """Red, green and blue (0 to 255) of a shade between 0, no error, and 1."""
    at = (1 - fraction) * (len(_VIRIDIS) - 1)
    i = min(int(at), len(_VIRIDIS) - 2)
    low, high = (bytes.fromhex(anchor) for anchor in _VIRIDIS[i : i + 2])
    red, green, blue = (
        math.floor(full + _TINT * (255 - full) + 0.5)
        for full in (p + (at - i) * (q - p) for p, q in zip(low, high, strict=True))
    )
    return red, green, blue
