"""The library's modules depend on each other in one direction, and importing them is light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LAYERS = (
    {"checks", "atomic", "progress", "checkpoint", "provenance", "schema", "environment"},
    {"kernels"},
    {"cells"},
    {"init"},
    {"models"},
    {
        "gradients",
        "regulariser",
        "continuation",
        "dynamics",
        "surface",
        "signals",
        "statistics",
        "tasks",
    },
    {"train"},
    {"records"},
    {"experiments", "bench"},
    {"claims"},
    {"overrides", "records_import", "wheels", "cli", "__main__"},
)
"""What a module imports stands in an earlier layer or in its own. A new module goes in here."""

DRAWING = {"figures", "widgets"}
"""Leaves: they import what they draw; nothing below the command line imports them."""

DRAWABLE = {name for layer in LAYERS[:8] for name in layer}

HEAVY = (
    *("matplotlib", "scipy", "triton", "numba", "jax"),
    *("music21", "dask", "distributed", "IPython"),
)
JUPYTER = ("ipywidgets", "anywidget", "ipykernel", "nbformat", "jupyter_core", "pytest", "sympy")

LEVEL = {name: i for i, layer in enumerate(LAYERS) for name in layer}


def unit(path: Path, package: Path) -> str:
    """The module or subpackage directly under `rnnlib` that a file belongs to."""
    return path.relative_to(package).with_suffix("").parts[0]


def imported(path: Path, package: Path) -> Iterator[str]:
    """The units that a file imports, anywhere in it, type-checking blocks and functions too."""
    parts = ("rnnlib", *path.relative_to(package).with_suffix("").parts)
    here = parts[:-1]  # the package that a relative import starts from
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        for name in names:
            if name[0] == "rnnlib" and len(name) > 1 and not name[1].startswith("__version"):
                yield name[1]


def arrows(package: Path) -> set[tuple[str, str]]:
    """Every pair (unit, unit it imports) of the package."""
    return {
        (unit(path, package), target)
        for path in package.rglob("*.py")
        if path != package / "__init__.py"
        for target in imported(path, package)
        if target != unit(path, package)
    }


def backward(pairs: set[tuple[str, str]]) -> list[str]:
    """The imports that point to the right, as sentences."""
    bad = []
    for source, target in sorted(pairs):
        if source in DRAWING:
            if target not in DRAWABLE | DRAWING:
                bad.append(f"{source} imports {target}, which it cannot draw")
        elif target in DRAWING:
            bad.append(f"{source} imports {target}, which only chapters and tests may")
        elif source not in LEVEL or target not in LEVEL:
            unknown = source if source not in LEVEL else target
            bad.append(f"{unknown} has no place in LAYERS")
        elif LEVEL[target] > LEVEL[source]:
            bad.append(f"{source} imports {target}, which stands to its right")
    return bad


def test_imports_point_to_the_left(root: Path) -> None:
    pairs = arrows(root / "rnnlib")
    assert ("models", "cells") in pairs  # the reader of imports reads something
    assert backward(pairs) == []


def test_no_import_goes_round_in_a_circle(root: Path) -> None:
    graph: dict[str, set[str]] = {}
    for source, target in arrows(root / "rnnlib"):
        graph.setdefault(source, set()).add(target)
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("checks") < order.index("cli")


def test_every_module_has_a_place(root: Path) -> None:
    package = root / "rnnlib"
    units = {unit(path, package) for path in package.rglob("*.py")} - {"__init__"}
    assert units - set(LEVEL) - DRAWING == set()


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("cells.py", "from rnnlib.models import Elman", "cells imports models"),
        ("cells.py", "def f():\n    from rnnlib import claims", "cells imports claims"),
        ("tasks/music.py", "from ..train import fit", "tasks imports train"),
        ("tasks/music.py", "from .. import cli", "tasks imports cli"),
        ("train.py", "import rnnlib.figures", "train imports figures"),
        ("novelty.py", "import rnnlib.checks", "novelty has no place"),
        ("figures.py", "import rnnlib.cli", "figures imports cli"),
    ],
)
def test_a_backward_import_is_seen(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    path = tmp_path / "rnnlib" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert [text.startswith(complaint) for text in backward(arrows(tmp_path / "rnnlib"))] == [True]


def test_nothing_imports_the_book(root: Path) -> None:
    for path in (root / "rnnlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(a.name.split(".")[0] == "book" for a in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "book", path


def run(code: str) -> dict[str, object]:
    """Run code in a fresh interpreter; it prints one line of JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_library_is_light(root: Path) -> None:
    package = root / "rnnlib"
    modules = sorted(
        ".".join(("rnnlib", *path.relative_to(package).with_suffix("").parts))
        for path in package.rglob("*.py")
        if unit(path, package) not in DRAWING | {"__main__", "__init__"}
        and not path.is_relative_to(package / "kernels" / "cpu")  # imported by the first call
        and not path.is_relative_to(package / "kernels" / "gpu")
    )
    found = run(
        "import importlib, json, sys\n"
        "import torch\n"
        "before = set(sys.modules)\n"
        f"for name in {modules!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "print(json.dumps({'new': sorted({m.split('.')[0] for m in set(sys.modules) - before})}))"
    )
    new = set(found["new"])  # type: ignore[call-overload]
    assert "rnnlib" in new
    assert new & set(HEAVY + JUPYTER) == set()


def test_importing_the_package_takes_no_time() -> None:
    found = run(
        "import json, time, torch\n"
        "begun = time.process_time()\n"
        "import rnnlib\n"
        "print(json.dumps({'seconds': time.process_time() - begun}))"
    )
    assert float(found["seconds"]) < 0.5  # type: ignore[arg-type]
